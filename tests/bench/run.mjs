// make bench (node tests/bench/run.mjs, from the root of the repository)
// A real daemon (durable events on, SoftHSM2 token, TLS) under load from 1, 8, 32 and 256 connections, beside two floors measured the same
// minute on the same machine: the PKCS#11 module alone (best of 1..cores threads), and the HTTP library alone (same TLS, same threads).
// Load generator and server share the machine, so the figures are a lower bound of what the server does with one of its own.
//
//	BENCH_SECONDS   duration of each point (default 3)
//	BENCH_KEYS      keys in the memory test (default 1000), BENCH_RSA_KEYS of them wrapped RSA-2048 (default 100; each takes 0.1 s to make,
//	                which is the software token's time), the others oct-HSM
//	BENCH_OUT       result file (default build/bench.json): [{name, connections, rps, p50_us, p99_us, ratio_hsm, ratio_http, rss_kib}]
// ratio_hsm = rps / the module's best rps for the same calls; ratio_http = rps / the HTTP floor's rps at the same connections.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import os from "node:os";
import path from "node:path";
import { DOMAIN, Daemon, UNLIMITED, freePort } from "../support/daemon.mjs";
import { softhsm } from "../support/paths.mjs";
import { SECONDS, buildPrograms, load, note, printHead, programs, requestFile, results, run, writeResults } from "./rig.mjs";

const KEYS = Number(process.env.BENCH_KEYS ?? 1000);
const RSA_KEYS = Math.min(KEYS, Number(process.env.BENCH_RSA_KEYS ?? 100));
const OUT = process.env.BENCH_OUT ?? "build/bench.json";
const CONNECTIONS = [1, 8, 32, 256];
const RSS_CONNECTIONS = 256;
const MAKERS = 4; // keys made at a time
const CORES = os.availableParallelism();
const floors = {}; // name -> best rps of the module

async function measureModule(d) {
	const out = await run("pkcs11_floor", [softhsm.module, "holdfast", d.pinFile, SECONDS, CORES], { env: d.env });
	for (const line of out.trim().split("\n")) {
		const { name, threads, rps } = JSON.parse(line);
		if (rps > (floors[name]?.rps ?? 0))
			floors[name] = { rps, threads };
	}
	for (const [name, { rps, threads }] of Object.entries(floors))
		note({ name: `pkcs11 ${name}`, connections: threads, rps });
}

/** rps of the bare HTTP server at each number of connections, with a POST like that of an unwrap. */
async function measureHttp(d, file) {
	const port = await freePort();
	const server = spawn(path.join(programs, "http_floor"), [port, d.cert, d.certKey, CORES].map(String), { stdio: ["pipe", "pipe", "inherit"] });
	const rates = new Map();
	try {
		await new Promise((resolve, reject) => {
			server.stdout.once("data", resolve);
			server.once("exit", (code) => reject(new Error(`http_floor ended: ${code}`)));
		});
		for (const connections of CONNECTIONS) {
			const got = await load(d, port, DOMAIN, connections, [file]);
			rates.set(connections, got.rps);
			note({ name: "http floor", connections, rps: got.rps, p50_us: got.p50_us, p99_us: got.p99_us });
		}
	} finally {
		server.stdin.end();
	}
	return rates;
}

async function makeKeys(d, vault, officer) {
	const names = Array.from({ length: KEYS }, (_, i) => ({ name: `m${i}`, kty: i < RSA_KEYS ? "RSA" : "oct-HSM" }));
	const queue = [...names];
	await Promise.all(Array.from({ length: MAKERS }, async () => {
		for (let next = queue.shift(); next; next = queue.shift())
			await d.ok(vault, officer, "POST", `/keys/${next.name}/create`, { kty: next.kty });
	}));
	return names;
}

async function main() {
	buildPrograms();
	const d = await Daemon.start({ limits: { ...UNLIMITED, queue: 4096 }, log: { level: "warn" } });
	try {
		const vault = await d.makeVault("bench");
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		const user = await d.makePrincipal(vault, "user", ["crypto-service-encryption-user"]);
		const token = await d.token(user);
		const { host, hostname } = new URL(vault.origin);
		const plain = randomBytes(32).toString("base64url");
		const file = async (name, alg) => {
			const { value } = await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain });
			const version = (await d.ok(vault, officer, "GET", `/keys/${name}`)).key.kid.split("/").pop();
			return requestFile(d, host, token, "POST", `/keys/${name}/${version}/unwrapkey`, { alg, value });
		};
		await d.ok(vault, officer, "POST", "/keys/rsa/create", { kty: "RSA", key_size: 2048 });
		await d.ok(vault, officer, "POST", "/keys/aes/create", { kty: "oct-HSM", key_size: 256 });
		const points = {
			"unwrap-rsa-2048": await file("rsa", "RSA-OAEP-256"),
			"unwrap-a256kw": await file("aes", "A256KW"),
			"get-key": requestFile(d, host, token, "GET", "/keys/rsa"),
		};

		console.log(`${CORES} cores, ${SECONDS} s a point, ${os.cpus()[0]?.model ?? "?"}`);
		printHead();
		await measureModule(d);
		const http = await measureHttp(d, points["unwrap-rsa-2048"]);
		for (const [name, request] of Object.entries(points)) {
			for (const connections of CONNECTIONS) {
				const got = await load(d, d.port, hostname, connections, [request]);
				note({
					name, connections, rps: got.rps, p50_us: got.p50_us, p99_us: got.p99_us,
					ratio_hsm: floors[name] ? got.rps / floors[name].rps : undefined,
					ratio_http: got.rps / http.get(connections),
					rss_kib: d.rssKib(),
				});
			}
		}

		// Memory: many keys, each used, then many connections at once.
		const keys = await makeKeys(d, vault, officer);
		const files = [];
		for (const { name, kty } of keys)
			files.push(await file(name, kty === "RSA" ? "RSA-OAEP-256" : "A256KW"));
		for (const { name, kty } of keys.slice(0, RSS_CONNECTIONS))
			await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg: kty === "RSA" ? "RSA-OAEP-256" : "A256KW", value: plain });
		const got = await load(d, d.port, hostname, RSS_CONNECTIONS, files);
		note({ name: `unwrap-mix-${KEYS}-keys`, connections: RSS_CONNECTIONS, rps: got.rps, p50_us: got.p50_us, p99_us: got.p99_us, rss_kib: d.rssKib() });

		const entries = await d.logSize();
		const answered = results.filter((r) => r.ratio_http !== undefined).reduce((n, r) => n + r.rps * SECONDS, 0);
		assert.ok(entries >= answered, `${entries} leaves for at least ${answered.toFixed(0)} answers: the log was not on`);
		writeResults(OUT);
	} finally {
		await d.destroy();
	}
}

await main();
