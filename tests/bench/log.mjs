// make bench-log (node tests/bench/log.mjs, from the root of the repository)
// What a large event log costs (tests/bench/log.c), and how fast holdfast-verify reads one.
//
//	BENCH_EVENTS    leaves (default 10,000,000)
//	BENCH_OUT       result file (default build/bench-log.json): [{name, value}]
// The exit status is 1 when a target is missed.
import { spawn } from "node:child_process";
import path from "node:path";
import readline from "node:readline";
import { buildPrograms, programs, results, writeResults } from "./rig.mjs";

const EVENTS = Number(process.env.BENCH_EVENTS ?? 10_000_000);
const OUT = process.env.BENCH_OUT ?? "build/bench-log.json";
const TARGETS = { "append-ratio": (v) => v >= 0.9, "start-ratio": (v) => v >= 0.9, "proof-p99-ms": (v) => v < 5 };

buildPrograms();
let isMissed = false;
const child = spawn(path.join(programs, "log"), [String(EVENTS)], { stdio: ["ignore", "pipe", "inherit"] });
for await (const line of readline.createInterface({ input: child.stdout })) {
	const { name, value } = JSON.parse(line);
	const isGood = TARGETS[name]?.(value) ?? true;
	isMissed ||= !isGood;
	results.push({ name, value });
	console.log(`${name.padEnd(20)} ${String(value).padStart(14)}${isGood ? "" : "  MISSED"}`);
}
const code = child.exitCode ?? await new Promise((resolve) => child.once("exit", resolve));
writeResults(OUT);
process.exitCode = code !== 0 || isMissed ? 1 : 0;
