// make bench-shred (node tests/bench/shred.mjs, from the root of the repository)
// A vault of very many keys is shredded while other vaults are at work: how long it takes, until its certificate too, and the others' latency beside what it is when nobody
// disturbs them. The others ask at a fixed rate, from a queue that does not wait for answers, so that a pause shows in their p99.
//
//	BENCH_KEYS      keys of the vault (default 10000; a few ms each to make): most are AES, every tenth is EC, every hundredth RSA, and RESIDENT are objects of the token
//	BENCH_RATE      requests a second of the others (default 200)
//	BENCH_SECONDS   duration of each point (default 3); measured again and again for as long as the shred goes on
//	BENCH_ROUNDS    undisturbed points (default 5)
//	BENCH_OUT       result file (default build/bench-shred.json)
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import { DOMAIN, Daemon, UNLIMITED } from "../support/daemon.mjs";
import { jwkOf, rsaPair } from "../support/keys.mjs";
import { certificateFile, signedCertificates, verifyWithCertificates } from "../support/verify.mjs";
import { SECONDS, buildPrograms, load, requestFile, results, writeResults } from "./rig.mjs";

const KEYS = Number(process.env.BENCH_KEYS ?? 10_000);
const RATE = Number(process.env.BENCH_RATE ?? 200);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const OUT = process.env.BENCH_OUT ?? "build/bench-shred.json";
const RESIDENT = 10;
const OTHERS = 2;
const CONNECTIONS = 8;
const MAKERS = 16; // keys made at a time
const SHRED_MS = 600_000;
const SIGNED_MS = 60_000;
const REASON = "contract ended";

function note(row) {
	results.push(row);
	console.log([row.name.padEnd(24), row.seconds === undefined ? "".padStart(9) : row.seconds.toFixed(2).padStart(9), String(row.p50_us ?? "").padStart(9),
		String(row.p99_us ?? "").padStart(9), String(row.refused ?? "").padStart(9)].join(" "));
	return row;
}

/** How the i-th key is made. */
function kindOf(i, rsa) {
	if (i < RESIDENT)
		return ["POST", "/create", { kty: "oct-HSM" }];
	if (i % 100 === 0)
		return ["PUT", "", { key: rsa }];
	return ["POST", "/create", i % 10 === 0 ? { kty: "EC", crv: "P-256" } : { kty: "oct" }];
}

async function makeDoomed(d) {
	const vault = await d.makeVault("doomed");
	const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	const rsa = jwkOf((await rsaPair(2048)).privateKey);
	const begun = Date.now();
	let next = 0;
	await Promise.all(Array.from({ length: MAKERS }, async () => {
		for (let i = next++; i < KEYS; i = next++) {
			const [method, rest, body] = kindOf(i, rsa);
			await d.ok(vault, officer, method, `/keys/k${i}${rest}`, body);
		}
	}));
	console.log(`${KEYS} keys made in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
	return vault;
}

/** A vault that is at work, and its request. */
async function makeOther(d, name) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	const files = [];
	for (const kty of ["oct", "oct-HSM"]) {
		const key = kty.toLowerCase();
		await d.ok(vault, officer, "POST", `/keys/${key}/create`, { kty });
		const { value } = await d.ok(vault, officer, "POST", `/keys/${key}/wrapkey`, { alg: "A256KW", value: randomBytes(32).toString("base64url") });
		files.push(requestFile(d, new URL(vault.origin).host, await d.token(officer), "POST", `/keys/${key}/unwrapkey`, { alg: "A256KW", value }));
	}
	return { host: new URL(vault.origin).hostname, files };
}

/** All others at once. @return the worse of them */
async function measure(d, others) {
	const got = await Promise.all(others.map((o) => load(d, d.port, o.host, CONNECTIONS, o.files, { rate: RATE / OTHERS })));
	return { p50_us: Math.max(...got.map((g) => g.p50_us)), p99_us: Math.max(...got.map((g) => g.p99_us)), refused: got.reduce((sum, g) => sum + g.refused, 0) };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

async function main() {
	buildPrograms();
	const d = await Daemon.start({ limits: { ...UNLIMITED, queue: 4096, token_life_s: 86400 }, log: { level: "warn" } });
	try {
		const others = await Promise.all(Array.from({ length: OTHERS }, (_, i) => makeOther(d, `other-${i}`)));
		const doomed = await makeDoomed(d);
		console.log(`${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? "?"}; the others ask ${RATE} times a second`);
		console.log("                          seconds    p50_us    p99_us   refused");
		const alone = [];
		for (let round = 0; round < ROUNDS; round++)
			alone.push(note({ name: "others, undisturbed", seconds: SECONDS, ...await measure(d, others) }));

		await d.agreeToShred(doomed, REASON);
		const shred = () => d.local.request("POST", `/admin/v1/vaults/${doomed.name}/shred`, { body: { confirm: doomed.name, reason: REASON }, host: DOMAIN, timeoutMs: SHRED_MS });
		const begun = Date.now();
		const sinceBegun = () => (Date.now() - begun) / 1000;
		let took = null;
		const certified = (async () => {
			const answer = await shred();
			took = sinceBegun();
			assert.equal(answer.status, 200, answer.text);
			const [id] = await signedCertificates(d, 1, SIGNED_MS);
			return { id, signed: sinceBegun() };
		})();
		const beside = [];
		do
			beside.push(note({ name: "others, beside a shred", seconds: SECONDS, ...await measure(d, others) }));
		while (took === null);
		const { id, signed } = await certified;
		note({ name: `shred of ${KEYS} keys`, seconds: took });
		note({ name: "  to its certificate", seconds: signed });
		const verified = Date.now();
		const { code, out } = await verifyWithCertificates(d, [id]);
		assert.equal(code, 0, out);
		note({ name: "  certificate checked", seconds: (Date.now() - verified) / 1000, bytes: fs.statSync(certificateFile(d, id)).size });
		const [before, during] = [alone, beside].map((rows) => median(rows.map((r) => r.p99_us)));
		const worst = Math.max(...beside.map((r) => r.p99_us));
		results.push({ name: "p99", undisturbed_us: before, beside_us: during, worst_us: worst, ratio: during / before });
		console.log(`${KEYS} keys in ${took.toFixed(1)} s (${(KEYS / took).toFixed(0)} a second); the others' p99: ${before} us undisturbed, ${during} us beside it ` +
			`(${(during / before).toFixed(1)} times; worst ${worst} us)`);
	} finally {
		await d.destroy();
	}
	writeResults(OUT);
}

await main();
