// Runs test programs against a real daemon:  node tests/support/run.mjs tests/sdk tests/integration/crash.test.mjs …
// (no argument: tests/sdk and tests/integration). It makes the run's CA first, because Node.js reads NODE_EXTRA_CA_CERTS at its start only,
// and the official clients (credential and key client alike) trust what that names. A *.test.mjs run without it stops and says so.
// Without a PKCS#11 token to test with it skips, with the reason; under CI=1 that is a failure.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { makeCa } from "./certs.mjs";
import { binaries, softhsm } from "./paths.mjs";

const FILES_AT_ONCE = 4; // at most; one more than there are cores, since much of it is waiting
// What these expect depends on how soon an answer comes, and they load the machine: one file at a time.
const ALONE = new Set(["baddays", "ekm_load", "fairness", "limits", "revocation"].map((name) => `${name}.test.mjs`));
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

function testFiles(argument) {
	const full = path.resolve(argument);
	if (!fs.statSync(full).isDirectory())
		return [full];
	return fs.readdirSync(full).filter((name) => name.endsWith(".test.mjs")).sort().map((name) => path.join(full, name));
}

function main() {
	const missing = !softhsm.util || !softhsm.module ? "SoftHSM2 is not installed (softhsm2-util, libsofthsm2.so)" : null;
	if (missing) {
		console.log(`skipped: ${missing}`);
		return process.env.CI ? 1 : 0;
	}
	if (!fs.existsSync(binaries.daemon) || !fs.existsSync(binaries.cli)) {
		console.error(`${binaries.daemon} and ${binaries.cli} are needed: build them first (make), or set HOLDFAST_BIN`);
		return 1;
	}
	const args = process.argv.slice(2);
	const options = args.filter((a) => a.startsWith("--"));
	const named = args.filter((a) => !a.startsWith("--"));
	const files = (named.length > 0 ? named : [path.join(root, "tests/sdk"), path.join(root, "tests/integration")]).flatMap(testFiles);
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-run-"));
	try {
		const ca = makeCa(dir);
		const runFiles = (some, concurrency) => spawnSync(process.execPath,
			["--import", path.join(root, "tests/support/preload.mjs"), "--test", `--test-concurrency=${concurrency}`, ...options, ...some],
			{ stdio: "inherit", env: { ...process.env, NODE_EXTRA_CA_CERTS: ca.cert, HOLDFAST_TEST_CA: dir } }).status ?? 1;
		const alone = files.filter((file) => ALONE.has(path.basename(file)));
		const together = files.filter((file) => !alone.includes(file));
		const statuses = [
			together.length > 0 ? runFiles(together, Math.min(os.availableParallelism() + 1, FILES_AT_ONCE)) : 0,
			alone.length > 0 ? runFiles(alone, 1) : 0,
		];
		return Math.max(...statuses);
	} finally {
		fs.rmSync(dir, { recursive: true, force: true });
	}
}

process.exit(main());
