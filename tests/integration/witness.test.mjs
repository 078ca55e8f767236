// A real daemon and real witnesses over TLS: checkpoints are cosigned, what is put back together is noticed, forks are refused, and what must be witnessed waits for it.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { TestLog, cosigned, logVkey, makeWitness, parseNote } from "../support/witness.mjs";

const SOON_MS = 15_000; // a witness that was away is asked again after 1, 2, 4, … s

/** The newest checkpoint as text. */
async function checkpoint(d) {
	const res = await d.admin("GET", "/audit/v1/checkpoint");
	assert.equal(res.status, 200, res.text);
	return res.text;
}

/** A daemon that knows its witness, both running. @param log  more settings of the section */
async function pair(t, log = {}) {
	const d = await Daemon.start({ log: { interval_ms: 100 } });
	t.after(() => d.destroy());
	const w = await makeWitness(d, "w1", [await logVkey(d)]);
	t.after(() => w.stop());
	await d.stop();
	Object.assign(d.config.log, log, { witnesses: [{ key: w.vkey, url: w.url, ca: d.ca.cert }] });
	d.writeConfig();
	await d.restart();
	return { d, w };
}

/** Wait until a checkpoint of at least this size is cosigned. @return the parsed note */
async function untilCosigned(d, w, size = 1) {
	return until(`${w.name} has cosigned ${size} leaves`, async () => {
		const note = parseNote(await checkpoint(d));
		const lines = note.lines.map((l) => `${l.line}\n`).join("");
		return note.size >= size && cosigned(note.text, lines, w.vkey) !== null ? note : null;
	}, SOON_MS);
}

const leafCount = async (d) => (await d.entries(0)).length;

/** Everything that this machine knows, as a snapshot of it has it. */
function snapshot(d, name) {
	for (const dir of [d.stateDir, d.tokenDir])
		fs.cpSync(dir, path.join(d.dir, `${name}-${path.basename(dir)}`), { recursive: true });
}
function putBack(d, name) {
	for (const dir of [d.stateDir, d.tokenDir]) {
		fs.rmSync(dir, { recursive: true });
		fs.cpSync(path.join(d.dir, `${name}-${path.basename(dir)}`), dir, { recursive: true });
	}
}

describe("a daemon and its witness", { concurrency: 2 }, () => {
	test("checkpoints are cosigned within seconds; the witness comes and goes, and what was signed meanwhile is caught up", async (t) => {
		const { d, w } = await pair(t);
		const vault = await d.makeVault("orders");
		let note = await untilCosigned(d, w, await leafCount(d));
		assert.ok(Number((await w.remembered())[note.origin].size) >= note.size);
		await w.stop("SIGKILL");
		await d.makePrincipal(vault, "officer", ["administrator"]);
		await until("the silence is noticed", () => d.logText().includes("witness_failed"), SOON_MS);
		assert.equal((await d.health()).status, 200, "nothing depends on it");
		const size = await leafCount(d);
		await w.restart();
		note = await untilCosigned(d, w, size);
		await until("its return is written down", () => d.logText().includes("witness_back"), SOON_MS);
		await d.kill9();
		await d.restart();
		await untilCosigned(d, w, note.size + 1);
		assert.ok(!d.logText().includes("witness_knows"));
	});

	test("database and token put back together are noticed before anything is served, and the witness is named", async (t) => {
		const { d, w } = await pair(t);
		const vault = await d.makeVault("orders");
		await untilCosigned(d, w, await leafCount(d));
		await d.stop();
		snapshot(d, "old");
		await d.restart();
		const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
		await d.ok(vault, officer, "POST", "/keys/k1/create", { kty: "oct-HSM" });
		const note = await untilCosigned(d, w, await leafCount(d));
		await d.stop();
		putBack(d, "old");
		await d.restart({ ready: false });
		await until("the verdict", () => d.logText().includes("witness_knows_more"), SOON_MS);
		const health = await d.health();
		assert.equal(health.status, 503, health.text);
		const refused = await d.admin("POST", "/admin/v1/vaults", { name: "more" });
		assert.equal(refused.status, 503, refused.text);
		assert.match(refused.text, /log_integrity/);
		const last = (await d.entries(0)).map(({ leaf }) => leaf).filter((leaf) => leaf.type === "log.integrity_failed").at(-1);
		assert.ok(last, "it is written down");
		assert.ok(parseNote(await checkpoint(d)).size < note.size, "and nothing more is signed");
		assert.ok(Number((await w.remembered())[note.origin].size) >= note.size);
		// The witness that could have told is away: the daemon cannot know, warns, and serves; it finds out with its first submission after the return.
		await d.stop();
		putBack(d, "old");
		await w.stop();
		await d.restart();
		await until("it says whom it could not ask", () => /witness_not_asked.*witness\.example\.net\/w1|witness\.example\.net\/w1.*witness_not_asked/.test(d.logText()), SOON_MS);
		await w.restart();
		await until("the rollback is noticed", async () => (await d.health()).status === 503, SOON_MS);
		assert.match(d.logText(), /witness_refuses/);
	});

	test("two branches: what grew beside the witness's log is never cosigned, and is noticed though it is larger", async (t) => {
		const { d, w } = await pair(t);
		await d.makeVault("orders");
		const first = await untilCosigned(d, w, await leafCount(d));
		await d.stop();
		snapshot(d, "fork");
		await d.restart();
		const before = await untilCosigned(d, w, first.size + 1);
		await d.stop();
		const known = (await w.remembered())[before.origin];
		putBack(d, "fork");
		await w.stop();
		await d.restart();
		while (await leafCount(d) <= Number(known.size) + 1)
			continue; // each look is an event
		await until("its checkpoint", async () => parseNote(await checkpoint(d)).size > Number(known.size), SOON_MS);
		await w.restart();
		await until("the fork is noticed", async () => (await d.health()).status === 503, SOON_MS);
		assert.deepEqual((await w.remembered())[before.origin], known, "the witness stands by what it cosigned");
		assert.match(w.logText(), /ALARM/);
		// And again at the next start.
		await d.stop();
		await d.restart({ ready: false });
		assert.match(d.logText(), /witness_knows_another/);
		assert.equal((await d.health()).status, 503);
	});

	test("where it is required, what cannot be undone is answered with its cosignature; without the witness nothing is destroyed, and what has begun goes on when it is back", async (t) => {
		const { d, w } = await pair(t, { witnesses_required: true, quorum: 1 });
		const vault = await d.makeVault("orders");
		const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
		const remove = async (name) => {
			await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty: "oct-HSM" });
			await d.ok(vault, officer, "DELETE", `/keys/${name}`);
			return d.call(vault, officer, "DELETE", `/deletedkeys/${name}`);
		};
		const good = await remove("k1");
		assert.equal(good.status, 204, good.text);
		const { origin } = parseNote(await checkpoint(d));
		assert.ok(Number((await w.remembered())[origin].size) > Number(good.headers["x-audit-seq"]), "the witness knew it before the answer left");
		await w.stop();
		const bad = await remove("k2");
		assertError(bad, 503, "ServiceUnavailable", "audit_unavailable");
		assert.match(bad.text, /has begun.*Nothing has been destroyed yet; it goes on by itself/);
		assert.equal((await d.call(vault, officer, "POST", "/deletedkeys/k2/recover")).status, 409, "nothing takes it back");
		assert.equal((await d.call(vault, officer, "POST", "/keys/k3/create", { kty: "oct-HSM" })).status, 200, "what needs no witness goes on");
		await w.restart();
		await until("it is witnessed again", async () => (await remove(`k${Date.now()}`)).status === 204, SOON_MS);
		await until("it went on by itself", async () => (await d.call(vault, officer, "GET", "/deletedkeys/k2")).status === 404, SOON_MS);
	});

	test("a witness that does not know the log, or whose certificate nobody vouches for, is an alarm and no more", async (t) => {
		const d = await Daemon.start({ log: { interval_ms: 100 } });
		t.after(() => d.destroy());
		const stranger = await makeWitness(d, "w1", [new TestLog("another.example.net/log").vkey]);
		t.after(() => stranger.stop());
		const impostor = await makeWitness(d, "w2", [await logVkey(d)]);
		t.after(() => impostor.stop());
		await d.stop();
		d.config.log.witnesses = [{ key: stranger.vkey, url: stranger.url, ca: d.ca.cert }, { key: impostor.vkey, url: impostor.url, ca: d.cert }];
		d.writeConfig();
		await d.restart();
		await until("both are named", () => /witness_refuses[^\n]*w1/.test(d.logText()) && /witness_failed[^\n]*w2/.test(d.logText()), SOON_MS);
		await d.makeVault("orders");
		assert.equal((await d.health()).status, 200);
		assert.deepEqual(await impostor.remembered(), {});
	});
});
