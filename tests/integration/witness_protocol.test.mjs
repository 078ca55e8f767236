// The witness program by itself, with a log made here that can be made to lie: C2SP tlog-witness, every answer; what it remembers through kills and restarts.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { authority } from "../support/daemon.mjs";
import { issueServerCert } from "../support/certs.mjs";
import { rawExchange } from "../support/http.mjs";
import { binaries } from "../support/paths.mjs";
import { TYPE_COSIGNATURE, TYPE_P256, TestLog, Witness, cosigned, makeVkey, parseVkey, witnessCommand } from "../support/witness.mjs";

let dir, w, log, p256;
let names = 0;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-witness-"));
	log = new TestLog("log.example.net/one").add(100);
	p256 = new TestLog("log.example.net/p256", { type: TYPE_P256 }).add(9);
	w = await Witness.start(path.join(dir, "w"), { logs: [log.vkey, p256.vkey] });
});
after(async () => {
	await w?.stop();
	fs.rmSync(dir, { recursive: true, force: true });
});

/** A witness of its own for one test, with a log of its own. */
async function fresh(t, options = {}) {
	const own = new TestLog("log.example.net/own").add(40);
	const witness = await Witness.start(path.join(dir, `own${names++}`), { logs: [own.vkey], ...options });
	t.after(() => witness.stop());
	return { own, witness };
}

function assertCosigned(res, note, vkey) {
	assert.equal(res.status, 200, res.text);
	const time = cosigned(note.slice(0, note.lastIndexOf("\n\n") + 1), res.text, vkey);
	assert.ok(Math.abs(time - Date.now() / 1000) < 60, `dated ${time}`);
	return time;
}

function assertKnows(res, size) {
	assert.equal(res.status, 409, res.text);
	assert.equal(res.headers["content-type"], "text/x.tlog.size");
	assert.equal(res.text, `${size}\n`);
}

test("a log grows, is cosigned at each step, and is told what the witness knows when it is mistaken", async () => {
	let known = 0;
	for (const size of [1, 2, 3, 7, 8, 64, 65, 100]) {
		if (known > 0)
			assertKnows(await w.post(log.body(0, size)), known);
		assertCosigned(await w.post(log.body(known, size)), log.note(size), w.vkey);
		assertCosigned(await w.post(log.body(size, size)), log.note(size), w.vkey);
		known = size;
	}
	assertKnows(await w.post(log.body(8, 65)), 100);
	assert.equal((await w.remembered())[log.origin].size, "100");
});

test("a log that signs with P-256, and one that has two keys while it changes them", async (t) => {
	assertCosigned(await w.post(p256.body(0)), p256.note(), w.vkey);
	const { own, witness } = await fresh(t);
	assertCosigned(await witness.post(own.body(0, 5)), own.note(5), witness.vkey);
	const before = own.fork(40);
	own.newKey();
	assert.equal((await witness.post(own.body(5, 6))).status, 403, "its new key is not known yet");
	await witness.stop();
	witness.logs = [`${before.vkey},${own.vkey}`];
	await witness.restart();
	const text = own.text(6);
	assertCosigned(await witness.post(own.body(5, 6, { note: `${text}\n${before.line(text)}${own.line(text)}` })), own.note(6), witness.vkey);
	assertCosigned(await witness.post(own.body(6, 7)), own.note(7), witness.vkey);
});

test("signatures of others are ignored, one of the log's own that is wrong spoils the note, extension lines are cosigned as they are", async (t) => {
	const { own, witness } = await fresh(t);
	const stranger = new TestLog(own.origin);
	const text = own.text(3);
	assertCosigned(await witness.post(own.body(0, 3, { note: `${text}\n${stranger.line(text)}${own.line(text)}` })), own.note(3), witness.vkey);
	assert.equal((await witness.post(own.body(3, 4, { note: stranger.fork(0).note(0) }))).status, 403, "another key of the same name");
	const other = own.line(own.text(2));
	assert.equal((await witness.post(own.body(3, 3, { note: `${text}\n${own.line(text)}${other}` }))).status, 403);
	assert.equal((await witness.post(own.body(3, 3, { note: `${text}\n${own.line(text).repeat(33)}` }))).status, 403, "no stranger has it verify without end");
	assertCosigned(await witness.post(own.body(3, 3, { note: `${text}\n${stranger.line(text).repeat(100)}${own.line(text)}` })), own.note(3), witness.vkey);
	const extended = own.note(5, { extra: "something else\n" });
	assertCosigned(await witness.post(own.body(3, 5, { note: extended })), extended, witness.vkey);
});

test("two branches: the second is never cosigned, whichever way it is submitted, and both are kept as evidence", async (t) => {
	const { own, witness } = await fresh(t);
	assertCosigned(await witness.post(own.body(0, 20)), own.note(20), witness.vkey);
	const branch = own.fork(15).add(10, "other");
	assertKnows(await witness.post(branch.body(20, 20)), 20);
	assertKnows(await witness.post(branch.body(15, 25)), 20);
	assertKnows(await witness.post(branch.body(0, 25)), 20);
	assert.equal((await witness.post(branch.body(20, 25))).status, 422);
	assert.equal((await witness.post(branch.body(20, 25, { proof: own.proof(20, 25) }))).status, 422);
	assert.equal((await witness.post(own.body(20, 25, { proof: own.proof(20, 24) }))).status, 422);
	assert.equal((await witness.post(own.body(20, 25, { proof: [...own.proof(20, 25), own.root()] }))).status, 422);
	assert.equal((await witness.post(own.body(20, 25, { proof: [] }))).status, 422);
	assert.equal((await witness.post(own.body(20, 20, { proof: own.proof(16, 20) }))).status, 422);
	assert.equal((await witness.remembered())[own.origin].size, "20");
	const evidence = fs.readdirSync(witness.state).filter((name) => name.includes(".refused-"));
	const kept = fs.readFileSync(path.join(witness.state, evidence.sort()[0]), "utf8");
	assert.ok(kept.includes(own.note(20)) && kept.includes(branch.line(branch.text(20))), "the log's own signatures under both");
	assert.match(witness.logText(), /ALARM/);
	assertCosigned(await witness.post(own.body(20, 25)), own.note(25), witness.vkey);
});

test("neither strangers nor wrong proofs use up what tells of a fork", async (t) => {
	const { own, witness } = await fresh(t);
	assertCosigned(await witness.post(own.body(0, 20)), own.note(20), witness.vkey);
	const stranger = new TestLog(own.origin).add(20), branch = own.fork(15).add(5, "other");
	for (let i = 0; i < 25; i++) {
		assert.equal((await witness.post(stranger.body(20))).status, 403);
		assert.equal((await witness.post(own.body(20, 25, { proof: [] }))).status, 422);
	}
	assert.ok(!witness.logText().includes("two roots"));
	assertKnows(await witness.post(branch.body(20)), 20);
	assert.match(witness.logText(), /ALARM .*two roots/);
	const evidence = fs.readdirSync(witness.state).filter((name) => name.includes(".refused-"));
	assert.ok(evidence.some((name) => fs.readFileSync(path.join(witness.state, name), "utf8").includes(branch.line(branch.text()))));
	assert.ok(evidence.length <= 8);
});

test("every single bit of a proof counts", async (t) => {
	const { own, witness } = await fresh(t);
	assertCosigned(await witness.post(own.body(0, 11)), own.note(11), witness.vkey);
	const proof = own.proof(11, 37);
	assert.ok(proof.length >= 5);
	for (let i = 0; i < proof.length; i++) {
		const damaged = proof.map((h) => Buffer.from(h));
		damaged[i][i % 32] ^= 1 << (i % 8);
		assert.equal((await witness.post(own.body(11, 37, { proof: damaged }))).status, 422);
	}
	assertCosigned(await witness.post(own.body(11, 37)), own.note(37), witness.vkey);
});

test("what is not a submission is refused, and nothing of it is remembered", async () => {
	const good = log.body(100, 100);
	const hash = `${log.root().toString("base64")}\n`;
	const bad = {
		"nothing": "", "no old line": good.slice(good.indexOf("\n") + 1), "a leading zero": good.replace("old 100", "old 0100"), "a sign": good.replace("old 100", "old +100"),
		"a space": good.replace("old 100", "old  100"), "too large": good.replace("old 100", "old 9223372036854775808"), "carriage returns": good.replaceAll("\n", "\r\n"),
		"no empty line": good.replace("\n\n", "\n"), "no newline at the end": good.slice(0, -1), "64 hashes": good.replace("\n\n", `\n${hash.repeat(64)}\n`),
		"a short hash": good.replace("\n\n", "\nAAAA\n\n"), "bad base64": good.replace("\n\n", `\n${hash.replace("=", "!")}\n`),
		"unused bits": good.replace("\n\n", `\n${"A".repeat(42)}B=\n\n`), "no signature": `${good.slice(0, good.lastIndexOf("\n\n"))}\n\n`,
		"an ASCII dash": good.replace("\u2014", "-"), "control characters": good.replace("log.example", "log\u0001example"),
		"a size with a leading zero": log.body(100, 100, { note: `${log.text().replace("\n100\n", "\n0100\n")}\n${log.line(log.text())}` }),
		"a short root": log.body(100, 100, { note: log.note(100, { root: Buffer.alloc(31) }) }), "a smaller checkpoint": log.body(100, 99, { proof: [] }),
	};
	for (const [what, body] of Object.entries(bad)) {
		const res = await w.post(body);
		assert.equal(res.status, 400, `${what}: ${res.status} ${res.text}`);
	}
	const invalid = Buffer.from(good);
	invalid[invalid.lastIndexOf("log.example")] = 0xff;
	assert.equal((await w.post(invalid)).status, 400, "not UTF-8");
	assert.equal((await w.post(new TestLog("log.example.net/unknown").add(3).body(0))).status, 404);
	assert.equal((await w.post(`${good}${`\u2014 x ${"A".repeat(60)}\n`.repeat(1100)}`)).status, 413);
	assert.equal((await w.http.request("GET", "/add-checkpoint")).status, 405);
	assert.equal((await w.http.request("POST", "/health", { body: "" })).status, 405);
	assert.equal((await w.http.request("GET", "/")).status, 404);
	assert.equal((await w.http.request("GET", "/health")).status, 200);
	assert.equal((await w.remembered())[log.origin].size, "100");
});

test("it is killed again and again between and during submissions, and never cosigns less than before, or another branch", async (t) => {
	const { own, witness } = await fresh(t);
	const branch = own.fork(1).add(39, "other");
	let sizes = 0, time = 0;
	for (let round = 0; round < 6; round++) {
		const under = Array.from({ length: 4 }, (_, i) => witness.post(own.body(sizes, sizes + 1 + i)).catch(() => null));
		if (round % 2 === 0)
			await Promise.race(under);
		await witness.stop("SIGKILL");
		let answered = 0;
		for (const [i, res] of (await Promise.all(under)).entries()) {
			if (res?.status !== 200)
				continue;
			assertCosigned(res, own.note(sizes + 1 + i), witness.vkey);
			answered = Math.max(answered, sizes + 1 + i);
		}
		await witness.restart();
		const now = Number((await witness.remembered())[own.origin]?.size ?? 0);
		assert.ok(now >= Math.max(sizes, answered), `it forgot: ${now} after ${answered}`);
		assertKnows(await witness.post(own.body(now + 1, 40)), now);
		if (now > 1)
			assert.equal((await witness.post(branch.body(now, 40))).status, 422);
		const again = assertCosigned(await witness.post(own.body(now, now + 1)), own.note(now + 1), witness.vkey);
		assert.ok(again >= time);
		time = again;
		sizes = now + 1;
	}
});

test("of many submissions at once one after the other is judged: no two of them are cosigned from the same size", async (t) => {
	const { own, witness } = await fresh(t);
	assertCosigned(await witness.post(own.body(0, 4)), own.note(4), witness.vkey);
	const branches = Array.from({ length: 8 }, (_, i) => own.fork(4).add(3, `branch ${i}`));
	const answers = await Promise.all(branches.map((b) => witness.post(b.body(4, 7))));
	assert.deepEqual(answers.map((a) => a.status).sort(), [200, 409, 409, 409, 409, 409, 409, 409]);
});

test("a damaged memory is refused and never begun anew; other logs go on", async (t) => {
	const { own, witness } = await fresh(t);
	const second = new TestLog("log.example.net/second").add(3);
	await witness.stop();
	witness.logs.push(second.vkey);
	await witness.restart();
	for (const l of [own, second])
		assertCosigned(await witness.post(l.body(0, 2)), l.note(2), witness.vkey);
	await witness.stop();
	const file = path.join(witness.state, (await witness.remembered())[own.origin].file);
	const good = fs.readFileSync(file);
	for (const damage of [(b) => b.subarray(0, b.length - 1), () => Buffer.alloc(0), (b) => {
		const copy = Buffer.from(b);
		copy[copy.indexOf("\n2\n") + 1] = 0x31;
		return copy;
	}]) {
		fs.writeFileSync(file, damage(good));
		await witness.restart();
		assert.equal((await witness.post(own.body(0, 3))).status, 503);
		assert.equal((await witness.post(own.body(2, 3))).status, 503);
		assert.equal((await witness.http.request("GET", "/health")).status, 503);
		assertCosigned(await witness.post(second.body(2, 2)), second.note(2), witness.vkey);
		await assert.rejects(witnessCommand("show", "--state", witness.state), (err) => err.code === 1 && /DAMAGED/.test(err.stdout));
		await witness.stop();
	}
	fs.writeFileSync(file, good);
	await witness.restart();
	assertCosigned(await witness.post(own.body(2, 3)), own.note(3), witness.vkey);
});

test("over TLS; plain HTTP beyond the loopback address is refused, as are keys and directories that others may use", async (t) => {
	const ca = authority(dir);
	const tls = { ca: ca.cert, cert: path.join(dir, "w.crt"), key: path.join(dir, "w.key") };
	issueServerCert(ca, "witness.localhost", tls.cert, tls.key);
	const { own, witness } = await fresh(t, { tls });
	assert.match(witness.url, /^https:/);
	assertCosigned(await witness.post(own.body(0)), own.note(), witness.vkey);

	const refused = (args, why) => {
		const res = spawnSync(binaries.witness, args, { encoding: "utf8", timeout: 5000 });
		assert.notEqual(res.status, 0);
		assert.notEqual(res.status, null, "it began to serve");
		assert.match(res.stderr, why);
	};
	const args = (more) => ["run", "--name", "w", "--key", witness.key, "--state", path.join(dir, "x"), "--log", own.vkey, ...more];
	refused(args(["--listen", "0.0.0.0:0"]), /only TLS/);
	refused(args(["--listen", "[::]:0"]), /only TLS/);
	refused(args(["--listen", "localhost:0"]), /numeric/);
	refused(args(["--tls-cert", tls.cert]), /belong together/);
	refused(["run", "--name", "w", "--key", witness.key, "--state", witness.state, "--log", own.vkey], /another witness/);
	refused(args(["--log", makeVkey("w", TYPE_COSIGNATURE, parseVkey(witness.vkey).pub)]), /witness's key/);
	refused(args(["--log", own.vkey.replace(/\+[0-9a-f]{8}\+/, "+00000000+")]), /not a verifier key/);
	fs.chmodSync(witness.key, 0o640);
	refused(args([]), /others may read/);
	fs.chmodSync(witness.key, 0o600);
	fs.mkdirSync(path.join(dir, "open"));
	fs.chmodSync(path.join(dir, "open"), 0o777);
	refused(["run", "--name", "w", "--key", witness.key, "--state", path.join(dir, "open"), "--log", own.vkey], /written by others/);
	refused(["keygen", "--name", "w", "--key", witness.key], /never overwritten/);
	refused(["keygen", "--name", "with space", "--key", path.join(dir, "n.pem")], /--name/);
	assert.equal(fs.statSync(witness.key).mode & 0o777, 0o600);
	assert.deepEqual(await witness.stop(), { code: 0, signal: null });
});

test("who sends slowly is cut, and keeps nobody else waiting", async (t) => {
	const ca = authority(dir);
	const tls = { ca: ca.cert, cert: path.join(dir, "slow.crt"), key: path.join(dir, "slow.key") };
	issueServerCert(ca, "slow.localhost", tls.cert, tls.key);
	const { own, witness } = await fresh(t, { tls });
	const origin = witness.url.replace("127.0.0.1", "slow.localhost");
	const slow = Array.from({ length: 5 }, () => rawExchange({ ca: fs.readFileSync(ca.cert), origin, waitMs: 9000, bytes: "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold" }));
	/* Nor does who asked for nothing of a log keep a place for long. */
	slow.push(rawExchange({ ca: fs.readFileSync(ca.cert), origin, waitMs: 9000, bytes: "GET /health HTTP/1.1\r\nHost: w\r\n\r\n" }));
	assertCosigned(await witness.post(own.body(0)), own.note(), witness.vkey);
	for (const res of await Promise.all(slow))
		assert.ok(res.closed, "still open after 9 s");
});
