// The Azure clients for Python that Debian ships, synchronous and not, run the life of a key: tests/python, each test of it one here.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { needsAzure, pythonEnv, pythonProgram } from "../support/python.mjs";

const ROLES = { officer: ["crypto-officer"], reader: ["reader"] };
const LIMIT_MS = 180_000;
let d, rig;

before(async () => {
	if (needsAzure())
		return;
	d = await Daemon.start();
	const vault = await d.makeVault("orders", { retentionDays: 30, allowRsa15: true });
	const other = await d.makeVault("pages");
	const principals = { lister: await d.makePrincipal(other, "lister", ["crypto-officer"]) };
	for (const [name, roles] of Object.entries(ROLES))
		principals[name] = await d.makePrincipal(vault, name, roles);
	rig = { origin: d.origin, vault: vault.origin, other_vault: other.origin, principals };
});
after(() => d?.destroy());

/** Runs tests/python. @return {{results: {name, state, detail}[], code, stderr}} */
function runPython() {
	return new Promise((resolve, reject) => {
		const env = { ...pythonEnv(d), HOLDFAST_RIG: JSON.stringify(rig) };
		const child = spawn(pythonProgram, ["-W", "ignore", "tests/python/run.py"],
			{ env, timeout: LIMIT_MS, stdio: ["ignore", "pipe", "pipe"] });
		let stdout = "", stderr = "";
		child.stdout.on("data", (chunk) => {
			stdout += chunk;
		});
		child.stderr.on("data", (chunk) => {
			stderr += chunk;
		});
		child.once("error", reject);
		child.once("close", (code) => {
			const results = stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
			resolve({ results, code, stderr });
		});
	});
}

test("the Python clients", async (t) => {
	const missing = needsAzure();
	if (missing)
		return t.skip(missing);
	const { results, code, stderr } = await runPython();
	for (const { name, state, detail } of results) {
		await t.test(name, (sub) => {
			if (state === "skipped")
				sub.skip(detail);
			else
				assert.equal(state, "passed", detail);
		});
	}
	assert.equal(code, 0, stderr);
	assert.ok(results.length > 20, `only ${results.length} tests ran:\n${stderr}`);
});
