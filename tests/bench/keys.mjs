// make bench-keys (node tests/bench/keys.mjs): does a vault of very many keys stay as fast as one of few?
// Two vaults on one daemon, KEYS and FEW wrapped AES-256 keys. List (first page), get and unwrap over a working set, in turns, so that both meet the
// same machine; each figure is the best of ROUNDS. Prints the ratios, the cost of a cold load (first use of a key), and the time that a start takes.
//
//	BENCH_KEYS      keys of the large vault (default 100000; about 3 ms each to make)
//	BENCH_SECONDS   duration of each point (default 3)
//	BENCH_OUT       result file (default build/bench-keys.json)
import { randomBytes } from "node:crypto";
import { Daemon, UNLIMITED } from "../support/daemon.mjs";
import { buildPrograms, load, note, printHead, requestFile, writeResults } from "./rig.mjs";

const KEYS = Number(process.env.BENCH_KEYS ?? 100_000);
const OUT = process.env.BENCH_OUT ?? "build/bench-keys.json";
const FEW = 100;
const WORKING_SET = Math.min(1000, KEYS);
const COLD = Math.min(500, KEYS - WORKING_SET);
const CONNECTIONS = 32;
const ROUNDS = 3;
const MAKERS = 16; // keys made at a time

async function each(count, act) {
	let next = 0;
	await Promise.all(Array.from({ length: MAKERS }, async () => {
		for (let i = next++; i < count; i = next++)
			await act(i);
	}));
}

/** A vault of `count` keys k0, k1, …, and the request files of its three measurements. */
async function makeVault(d, name, count, workingSet) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	const begun = Date.now();
	await each(count, (i) => d.ok(vault, officer, "POST", `/keys/k${i}/create`, { kty: "oct", key_size: 256 }));
	console.log(`${name}: ${count} keys made in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
	const token = await d.token(officer);
	const { host, hostname } = new URL(vault.origin);
	const files = { "list-keys": [requestFile(d, host, token, "GET", "/keys")], "get-key": [], "unwrap-a256kw": [] };
	// Spread over the whole vault, not the first pages of its tables.
	const step = count / workingSet;
	await each(workingSet, async (i) => {
		const path = `/keys/k${Math.floor(i * step)}`;
		const { kid, value } = await d.ok(vault, officer, "POST", `${path}/wrapkey`, { alg: "A256KW", value: randomBytes(32).toString("base64url") });
		files["get-key"].push(requestFile(d, host, token, "GET", path));
		files["unwrap-a256kw"].push(requestFile(d, host, token, "POST", `${path}/${kid.split("/").pop()}/unwrapkey`, { alg: "A256KW", value }));
	});
	return { vault, officer, hostname, files };
}

const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];

/** One wrap after the other: of keys that were never used, then of the same ones again. */
async function measureCold(d, { vault, officer }) {
	const times = { cold: [], warm: [] };
	const step = KEYS / WORKING_SET;
	for (const which of ["cold", "warm"]) {
		for (let i = 0; i < COLD; i++) {
			const begun = process.hrtime.bigint();
			await d.ok(vault, officer, "POST", `/keys/k${Math.floor(i * step) + 1}/wrapkey`, { alg: "A256KW", value: randomBytes(32).toString("base64url") });
			times[which].push(Number(process.hrtime.bigint() - begun) / 1000);
		}
		note({ name: `wrap, ${which} key`, connections: 1, p50_us: Math.round(median(times[which])) });
	}
}

async function main() {
	buildPrograms();
	const d = await Daemon.start({ limits: { ...UNLIMITED, queue: 4096, token_life_s: 86400 }, log: { level: "warn" } });
	try {
		const vaults = { few: await makeVault(d, "few", FEW, FEW), many: await makeVault(d, "many", KEYS, WORKING_SET) };
		printHead();
		await measureCold(d, vaults.many);
		for (const name of Object.keys(vaults.few.files)) {
			const best = {};
			for (let round = 0; round < ROUNDS; round++) {
				for (const [which, v] of Object.entries(vaults)) {
					const got = await load(d, d.port, v.hostname, CONNECTIONS, v.files[name]);
					if (got.rps > (best[which]?.rps ?? 0))
						best[which] = got;
				}
			}
			note({ name: `${name} of ${FEW}`, connections: CONNECTIONS, ...best.few });
			note({ name: `${name} of ${KEYS}`, connections: CONNECTIONS, ...best.many, ratio_few: best.many.rps / best.few.rps, rss_kib: d.rssKib() });
			console.log(`${name}: ratio ${(best.many.rps / best.few.rps).toFixed(3)}`);
		}
		await d.stop();
		const begun = Date.now();
		await d.restart();
		console.log(`start with ${KEYS} keys: ${Date.now() - begun} ms`);
		note({ name: "start", connections: 0, p50_us: (Date.now() - begun) * 1000 });
		writeResults(OUT);
	} finally {
		await d.destroy();
	}
}

await main();
