// What the benchmarks share: their programs, request files, the load generator, and the table of results.
import { execFile, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { API_VERSION } from "../support/daemon.mjs";
import { binaries } from "../support/paths.mjs";

export const SECONDS = Number(process.env.BENCH_SECONDS ?? 3);
export const programs = path.join(path.dirname(binaries.daemon), "tests/bench");
export const results = [];

export function buildPrograms() {
	execFileSync("make", ["-s", "-f", "tests/bench/bench.mk", `BUILD=${path.relative(process.cwd(), path.dirname(binaries.daemon))}`, "bench-programs"],
		{ stdio: "inherit" });
}

export function printHead() {
	console.log("name                    conn       rps    p50_us    p99_us  r_hsm   r_http   rss_kib");
}

export function note(row) {
	results.push(row);
	const ratio = (r) => (r === undefined ? "" : r.toFixed(3));
	console.log([row.name.padEnd(22), String(row.connections).padStart(5), row.rps === undefined ? "".padStart(9) : row.rps.toFixed(0).padStart(9),
		String(row.p50_us ?? "").padStart(9), String(row.p99_us ?? "").padStart(9), ratio(row.ratio_hsm).padStart(7),
		ratio(row.ratio_http).padStart(7), String(row.rss_kib ?? "").padStart(9)].join(" "));
}

export function writeResults(file) {
	fs.mkdirSync(path.dirname(file), { recursive: true });
	fs.writeFileSync(file, `${JSON.stringify(results, null, "\t")}\n`);
	console.log(`written: ${file}`);
}

export function run(program, args, options = {}) {
	return new Promise((resolve, reject) => {
		execFile(path.join(programs, program), args.map(String), options, (err, stdout, stderr) =>
			err ? reject(new Error(`${program}: ${stderr || err.message}`)) : resolve(stdout));
	});
}

/** The bytes of one request, in a file for the load generator. */
export function requestFile(d, host, token, method, target, body) {
	const text = body === undefined ? "" : JSON.stringify(body);
	const file = path.join(d.dir, `request-${randomBytes(6).toString("hex")}`);
	const lines = [`${method} ${target}?api-version=${API_VERSION} HTTP/1.1`, `Host: ${host}`, `Authorization: Bearer ${token}`,
		"Accept: application/json", ...(body === undefined ? [] : ["Content-Type: application/json", `Content-Length: ${text.length}`])];
	fs.writeFileSync(file, `${lines.join("\r\n")}\r\n\r\n${text}`, { mode: 0o600 });
	return file;
}

/** @param rate  requests a second; without it as many as are answered. What is refused with 429 then counts as `refused`. */
export async function load(d, port, serverName, connections, files, { seconds = SECONDS, rate } = {}) {
	const pace = rate === undefined ? [] : ["--rate", rate];
	return JSON.parse(await run("load", [...pace, port, serverName, connections, seconds, d.ca.cert, ...files]));
}
