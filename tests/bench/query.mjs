// Questions to a log of QUERY_EVENTS (10 million: about ten minutes, and 10 GB under TMPDIR): a page by each indexed member below 50 ms at its 99th percentile; appending with
// the index running at least half as fast as to an empty log, and never below 5,000 a second.
import { execFileSync, spawn } from "node:child_process";
import path from "node:path";
import readline from "node:readline";

const EVENTS = Number(process.env.QUERY_EVENTS ?? 10_000_000);
const PAGE_MS = 50, LEAST_SHARE = 0.5, LEAST_RATE = 5000;
const build = process.env.HOLDFAST_BIN ?? "build/release";

execFileSync("make", ["--no-print-directory", "-f", "tests/bench/bench.mk", `BUILD=${build}`, `${build}/tests/bench/query`], { stdio: ["ignore", "ignore", "inherit"] });
const child = spawn(path.resolve(build, "tests/bench/query"), [String(EVENTS)], { stdio: ["ignore", "pipe", "inherit"] });
const ended = new Promise((resolve) => child.on("close", resolve));
const missed = [];
for await (const line of readline.createInterface({ input: child.stdout })) {
	const result = JSON.parse(line);
	console.log(line);
	if (result.p99_ms >= PAGE_MS)
		missed.push(`${result.name}: p99 ${result.p99_ms} ms, must be below ${PAGE_MS}`);
	if (result.name === "append_indexed_share" && result.value < LEAST_SHARE)
		missed.push(`appends with the index: ${result.value} of those to an empty log, must be ${LEAST_SHARE}`);
	if (result.name === "append_indexed_per_s" && result.value < LEAST_RATE)
		missed.push(`appends with the index: ${result.value} a second, must be ${LEAST_RATE}`);
}
const code = await ended;
for (const what of missed)
	console.error(`MISSED ${what}`);
process.exitCode = code !== 0 || missed.length > 0 ? 1 : 0;
