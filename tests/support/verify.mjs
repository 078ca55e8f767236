// The log of a daemon, exported and checked offline by holdfast-verify.
import { execFile, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { binaries } from "./paths.mjs";

/** @return {{code, out}} how holdfast-verify ended, and what it said. @param args  more of its options */
export function verifyLog(d, ...args) {
	const file = path.join(d.dir, `export-${randomBytes(4).toString("hex")}.jsonl`);
	execFileSync(binaries.cli, ["--socket", d.socket, "log", "export", "--output", file], { env: d.env, stdio: ["ignore", "ignore", "pipe"] });
	const keys = JSON.parse(execFileSync(binaries.cli, ["--socket", d.socket, "--json", "log", "keys"], { env: d.env, encoding: "utf8" }));
	const { vkey } = keys.log.find((k) => k.current);
	return new Promise((resolve) => {
		execFile(binaries.verify, ["--key", vkey, "--checkpoint", `${file}.checkpoint`, ...args, file], { encoding: "utf8", maxBuffer: 64 << 20 },
			(err, stdout, stderr) => resolve({ code: err ? err.code : 0, out: stdout + stderr }));
	});
}
