// The event log as its auditors meet it: a real daemon, whose every claim is checked with node:crypto and the specifications alone (transparency.mjs). Clients that kept
// a receipt, tenants that must not read one another, mirrors that rebuild the tree, and checkpoints that must extend one another whatever happened in between.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon, DOMAIN, until } from "../support/daemon.mjs";
import { EkmTenant } from "../support/ekm.mjs";
import * as t from "../support/transparency.mjs";

const ORIGIN = `${DOMAIN}/audit/log1`;
const GOLDEN = new URL("../../../shared/vectors/audit-log/golden-v1.json", import.meta.url);
const TIME_MS = 60_000;

let d, orders, payroll, officer, clerk, ordersAuditor, payrollAuditor, auditor;
let vkeys;

before(async () => {
	d = await Daemon.start({ log: { interval_ms: 100 }, ekm: {} });
	orders = await d.makeVault("orders");
	payroll = await d.makeVault("payroll");
	officer = await d.makePrincipal(orders, "officer", ["crypto-officer"]);
	clerk = await d.makePrincipal(payroll, "clerk", ["crypto-officer"]);
	ordersAuditor = await d.makePrincipal(orders, "orders-auditor", ["auditor"]);
	payrollAuditor = await d.makePrincipal(payroll, "payroll-auditor", ["auditor"]);
	auditor = await d.makePrincipal(payroll, "revision");
	await d.cli("role", "grant", payroll.name, auditor.client_id, "auditor", "--installation");
	const keys = (await read(officer, "keys")).json;
	assert.equal(keys.origin, ORIGIN);
	vkeys = keys.log.map(({ vkey }) => t.parseVkey(vkey));
});
after(() => d?.destroy());

/* ---- asking ---- */

/** Whatever it answers; a caller who asks faster than 50 times a second waits as he is told. */
async function ask(who, path) {
	for (;;) {
		const res = await d.http.request("GET", `/audit/v1/${path}`, { token: await d.token(who) });
		if (res.status !== 429)
			return res;
		await sleep(1000 * Number(res.headers["retry-after"]));
	}
}

async function read(who, path) {
	const res = await ask(who, path);
	assert.equal(res.status, 200, `${path}: ${res.status} ${res.text}`);
	return res;
}

const newest = async (who = officer) => t.openCheckpoint((await read(who, "checkpoint")).text, vkeys);
/** A checkpoint that covers the leaf. */
const covering = (seq) => until(`a checkpoint covers leaf ${seq}`, async () => {
	const c = await newest();
	return c.size > seq ? c : null;
});
const receiptOf = ({ headers }) => ({ seq: Number(headers["x-audit-seq"]), leaf: headers["x-audit-leaf"], origin: headers["x-audit-origin"] });

/* ---- */

test("the checker itself agrees with the published examples", { skip: !fs.existsSync(GOLDEN) }, () => {
	const golden = JSON.parse(fs.readFileSync(GOLDEN, "utf8"));
	const keys = Object.values(golden.keys).map(({ vkey }) => t.parseVkey(vkey));
	const roots = golden.roots_hex.map((hex) => Buffer.from(hex, "hex"));
	const hashes = golden.leaves.map(({ canonical }) => t.hashLeaf(canonical));
	roots.forEach((root, size) => assert.deepEqual(t.rootOf(hashes.slice(0, size)), root));
	for (const { index, size, hashes_b64: path } of golden.inclusion)
		assert.ok(t.checkInclusion(index, size, hashes[index], path.map(t.fromBase64), roots[size]));
	for (const { from, to, hashes_b64: path } of golden.consistency)
		assert.ok(t.checkConsistency(from, to, roots[from], roots[to], path.map(t.fromBase64)));
	for (const note of Object.values(golden.checkpoints))
		assert.deepEqual(t.openCheckpoint(note, keys).root, roots[t.openCheckpoint(note, keys).size]);
	assert.equal(t.openBundle(golden.tlog_proof_index10, keys).seq, 10);
	assert.throws(() => t.openBundle(golden.tlog_proof_index10.replace("index 10", "index 9"), keys));
	assert.equal(t.tileName(1234067), "x001/x234/067");
	assert.equal(t.tileName(0, 5), "000.p/5");
});

describe("checkpoints", { timeout: TIME_MS }, () => {
	test("the newest is signed by the log's key, for any caller, and found again by its size", async () => {
		const res = await read(clerk, "checkpoint");
		assert.equal(res.headers["content-type"], "text/plain; charset=utf-8");
		assert.equal(res.headers["cache-control"], "private, max-age=2");
		const c = t.openCheckpoint(res.text, vkeys);
		assert.equal(c.origin, ORIGIN);
		assert.deepEqual(c.signers, [ORIGIN]);
		assert.equal((await read(officer, `checkpoint/${c.size}`)).text, c.note);
		assert.equal((await ask(officer, "checkpoint/1")).status, 404);
		assert.equal((await d.http.request("GET", "/audit/v1/checkpoint")).status, 401);
	});

	test("a note of which one character is another is refused by the checker", async () => {
		const { note } = await newest();
		for (const [from, to] of [["log1", "log2"], [/\n(\d)/, (_, n) => `\n${(Number(n) % 9) + 1}`]])
			assert.throws(() => t.openCheckpoint(note.replace(from, to), vkeys));
	});

	test("every one extends all that were signed before, over a stop and a kill", async () => {
		const seen = [await newest()];
		const goOn = async () => {
			const { seq } = receiptOf(await read(officer, "keys"));
			seen.push(await covering(seq));
		};
		await goOn();
		await goOn();
		await d.stop();
		await d.restart();
		await goOn();
		await d.kill9();
		await d.restart();
		await goOn();
		for (const [i, from] of seen.entries())
			for (const to of seen.slice(i)) {
				const proof = (await read(officer, `proof/consistency?from=${from.size}&to=${to.size}`)).json;
				assert.ok(t.consistencyHolds(proof, from.root, to.root), `from ${from.size} to ${to.size}`);
				if (from !== to)
					assert.ok(!t.consistencyHolds(proof, to.root, from.root));
			}
		assert.equal((await ask(officer, `proof/consistency?from=1`)).status, 400);
	});
});

test("whoever kept a receipt proves that the log keeps it: of a success, a refusal, an error", { timeout: TIME_MS }, async () => {
	const answers = [
		await d.call(orders, officer, "POST", "/keys/kept/create", { kty: "oct-HSM", key_size: 256 }),
		await d.call(orders, officer, "GET", "/keys/kept"),
		await d.call(orders, officer, "GET", "/keys/nothing"),
		await d.call(orders, ordersAuditor, "GET", "/keys/kept"),
		await d.call(orders, officer, "POST", "/keys/kept/create", { kty: "nothing" }),
		await d.call(orders, officer, "GET", "/no/such/path"),
		await ask(officer, "entries"),
	];
	/* A Managed HSM pool's are as good. */
	const pool = await EkmTenant.make(d, "azure");
	await pool.makeKey("cmk", { kty: "oct-HSM", key_size: 256 });
	const client = pool.client();
	answers.push(await client.metadata("cmk"), await client.metadata("nothing"));
	client.close();
	assert.deepEqual(answers.map(({ status }) => status), [200, 200, 404, 403, 400, 400, 403, 200, 404]);
	const receipts = answers.map(receiptOf);
	const c = await covering(Math.max(...receipts.map(({ seq }) => seq)));
	for (const [i, { seq, leaf, origin }] of receipts.entries()) {
		assert.equal(origin, ORIGIN);
		const proof = (await read(clerk, `proof/inclusion?seq=${seq}&size=${c.size}`)).json;
		assert.equal(proof.leaf, leaf);
		assert.ok(t.inclusionHolds(proof, c.root), `leaf ${seq}`);
		/* What the hash stands for is what happened. */
		const { text } = await read(auditor, `entries?start=${seq}&count=1`);
		assert.equal(t.hashLeaf(text.trimEnd()).toString("base64"), leaf);
		assert.equal(JSON.parse(text).http, answers[i].status);
	}
});

test("tenants see one another's leaves as hashes, and compute the same root", { timeout: TIME_MS }, async () => {
	await d.ok(payroll, clerk, "POST", "/keys/salaries/create", { kty: "oct-HSM", key_size: 256 });
	const { seq } = receiptOf(await d.call(payroll, clerk, "GET", "/keys/salaries"));
	const c = await covering(seq);
	const whole = {};
	for (const [name, who] of Object.entries({ ordersAuditor, payrollAuditor, auditor })) {
		const hashes = [];
		while (hashes.length < c.size) {
			const { text } = await read(who, `entries?start=${hashes.length}&count=${Math.min(1000, c.size - hashes.length)}`);
			for (const line of text.trimEnd().split("\n")) {
				const entry = JSON.parse(line);
				assert.equal(entry.seq, hashes.length);
				whole[name] = (whole[name] ?? 0) + (entry.hash ? 0 : 1);
				hashes.push(entry.hash ? t.fromBase64(entry.hash) : t.hashLeaf(line));
			}
			if (name === "ordersAuditor")
				assert.ok(!text.includes("salaries") && !text.includes(payroll.id));
		}
		assert.deepEqual(t.rootOf(hashes), c.root, name);
	}
	assert.equal(whole.auditor, c.size);
	assert.ok(whole.ordersAuditor > 0 && whole.payrollAuditor > 0 && whole.ordersAuditor + whole.payrollAuditor < c.size);

	const { id } = JSON.parse((await read(payrollAuditor, `entries?start=${seq}&count=1`)).text);
	assert.equal((await read(payrollAuditor, `entries/${id}`)).json.id, id);
	assert.deepEqual(Object.keys((await read(ordersAuditor, `entries/${id}`)).json), ["hash", "seq"]);
	const bundle = t.openBundle((await read(payrollAuditor, `proof/bundle?id=${id}`)).text, vkeys);
	assert.equal(bundle.seq, seq);
	assert.equal(JSON.parse(bundle.leaf).key.name, "salaries");
	const refused = await ask(ordersAuditor, `proof/bundle?id=${id}`);
	assert.equal(refused.status, 403);
	assert.match(refused.json.error.message, /'Holdfast\/audit\/read'/);
	assert.equal((await ask(clerk, `proof/bundle?id=${id}`)).status, 403);
	assert.equal((await ask(ordersAuditor, "tile/entries/000.p/1")).status, 403);
});

test("a mirror rebuilds the tree from tiles", { timeout: TIME_MS }, async () => {
	const { size } = await newest();
	const client = d.client(16);
	const token = await d.token(officer);
	await Promise.all(Array.from({ length: Math.max(0, 300 - size) }, () => client.request("GET", "/audit/v1/keys", { token })));
	client.close();
	const c = await covering(299);
	const hashes = [];
	const entries = [];
	for (const { name, width } of t.tilesOf(c.size)) {
		const tile = await read(clerk, `tile/0/${name}`);
		assert.equal(tile.headers["cache-control"], width === 256 ? "private, max-age=31536000, immutable" : "no-cache");
		hashes.push(...t.splitTile(tile.body));
		entries.push(...t.splitEntries((await read(auditor, `tile/entries/${name}`)).body));
	}
	assert.equal(hashes.length, c.size);
	assert.deepEqual(t.rootOf(hashes), c.root);
	assert.deepEqual(entries.map(t.hashLeaf), hashes);
	const [first] = t.splitTile((await read(clerk, "tile/1/000.p/1")).body);
	assert.deepEqual(first, t.rootOf(hashes.slice(0, 256)));
	assert.equal((await ask(clerk, "tile/1/000")).status, 404);
	assert.equal((await ask(clerk, "tile/0/0")).status, 400);
});

test("the keys name the attestation key, and every read is written down", { timeout: TIME_MS }, async () => {
	const res = await read(clerk, "keys");
	assert.deepEqual(res.json.log.map(({ origin, generation, current }) => ({ origin, generation, current })), [{ origin: ORIGIN, generation: 1, current: true }]);
	assert.equal(t.parseVkey(res.json.attestation[0].vkey).name, `${DOMAIN}/attest/k1`);
	assert.deepEqual([res.json.witnesses, res.json.closed], [[], []]);
	const { seq } = receiptOf(res);
	const leaf = JSON.parse((await read(auditor, `entries?start=${seq}&count=1`)).text);
	assert.equal(leaf.type, "audit.read");
	assert.deepEqual(leaf.det, { what: "keys" });
	assert.equal(leaf.tenant, payroll.id);
});
