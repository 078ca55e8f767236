// The log of a daemon, exported and checked offline by holdfast-verify, and with it its destruction certificates.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { until } from "./daemon.mjs";
import { binaries } from "./paths.mjs";

const SIGNED = new Set(["pending", "complete"]);

const keysOf = (d) => JSON.parse(execFileSync(binaries.cli, ["--socket", d.socket, "--json", "log", "keys"], { env: d.env, encoding: "utf8" }));

/** The socket sees all, so the export is complete. @return {{code, out}} how holdfast-verify ended, and what it said. @param args  more of its options */
export function verifyLog(d, ...args) {
	const file = path.join(d.dir, `export-${randomBytes(4).toString("hex")}.jsonl`);
	execFileSync(binaries.cli, ["--socket", d.socket, "log", "export", "--output", file], { env: d.env, stdio: ["ignore", "ignore", "pipe"] });
	const { vkey } = keysOf(d).log.find((k) => k.current);
	return new Promise((resolve) => {
		execFile(binaries.verify, ["--key", vkey, "--complete", "--checkpoint", `${file}.checkpoint`, ...args, file], { encoding: "utf8", maxBuffer: 64 << 20 },
			(err, stdout, stderr) => resolve({ code: err ? err.code : 0, out: stdout + stderr }));
	});
}

/** All destruction certificates that there are, also those that are not signed yet: [{id, state, …}]. */
export async function certificatesOf(d) {
	return (await d.cli("certificate", "list")).value;
}

/** Wait until this many are signed, and there are no others. @return their ids */
export async function signedCertificates(d, wanted, limitMs) {
	return until(`${wanted} certificates are signed`, async () => {
		const all = await certificatesOf(d);
		assert.ok(all.length <= wanted, `more than one certificate for a destruction: ${JSON.stringify(all)}`);
		return all.length === wanted && all.every((c) => SIGNED.has(c.state)) ? all.map((c) => c.id) : null;
	}, limitMs);
}

/** A signed certificate, in a file. @return its name */
export function certificateFile(d, id) {
	const file = path.join(d.dir, `certificate-${id}.txt`);
	execFileSync(binaries.cli, ["--socket", d.socket, "certificate", "show", id, "--output", file], { env: d.env, stdio: ["ignore", "ignore", "pipe"] });
	return file;
}

/** The log and these certificates against it. @return {{code, out}} */
export function verifyWithCertificates(d, ids, ...args) {
	const files = ids.map((id) => certificateFile(d, id));
	return verifyLog(d, ...keysOf(d).attestation.flatMap(({ vkey }) => ["--key", vkey]), ...files.flatMap((file) => ["--certificate", file]), ...args);
}
