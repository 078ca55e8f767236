// What people see of the log: every `holdfast log` command, `check` and `witness` against a real daemon; what is exported and proved is checked with holdfast-verify.
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Daemon, until } from "../support/daemon.mjs";
import { leafHash } from "../support/log.mjs";
import { binaries } from "../support/paths.mjs";

const EXIT = { usage: 1, refused: 2, failed: 3, approval: 5 };
const MORE_THAN_A_PAGE = 1050;
const REASON = "restored by mistake";
/** What could steer a terminal, or show text in another order: C0 but for the line feed, DEL, C1, directions. */
const STEERING = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/; // eslint-disable-line no-control-regex
/** Clear the screen, twice; ring; write from right to left; a second line that looks like one of ours. */
const HOSTILE = "evil\u001b[2J\u009b2J\u0007\u202egnp.exe\n       0  2026-01-01";

let d, vault, other, officer, approver, key;

before(async () => {
	d = await Daemon.start({ log: { interval_ms: 100 } });
	approver = await d.cli("principal", "create", "@installation", "second");
	await d.cli("role", "grant", "@installation", approver.client_id, "approver");
	vault = await d.makeVault("orders");
	other = await d.makeVault("payroll");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	await d.ok(vault, officer, "POST", "/keys/k1/create", { kty: "oct-HSM" });
	key = json("log", "keys").log.find((k) => k.current).vkey;
});
after(() => d?.destroy());

/** holdfast ARGS on the local socket. @return {{code, out, err}} */
function run(args, { input = "" } = {}) {
	const res = spawnSync(binaries.cli, ["--socket", d.socket, ...args], { input, encoding: "utf8" });
	return { code: res.status, out: res.stdout, err: res.stderr };
}

/** The same, which must succeed. @return what was printed */
function ok(...args) {
	const { code, out, err } = run(args);
	assert.equal(code, 0, `holdfast ${args.join(" ")}: ${err}`);
	return out;
}

const json = (...args) => JSON.parse(ok("--json", ...args));

/** The same, which must end with `code`. @return what was said */
function ends(code, ...args) {
	const res = run(args);
	assert.equal(res.code, code, `holdfast ${args.join(" ")}: ${res.code} ${res.out}${res.err}`);
	return res.err;
}

/** holdfast-verify ARGS, with the log's first key. @return {{code, out}} */
function verify(...args) {
	const res = spawnSync(binaries.verify, ["--key", key, ...args], { encoding: "utf8" });
	return { code: res.status, out: res.stdout + res.stderr };
}

function verified(...args) {
	const { code, out } = verify(...args);
	assert.equal(code, 0, out);
}

const file = (name) => path.join(d.dir, name);
const lines = (text) => text.trimEnd().split("\n");
const leaves = (text) => lines(text).map((line) => JSON.parse(line));
const get = (name, headers) => d.call(vault, officer, "GET", `/keys/${name}`, undefined, { headers });

describe("looking at the log", () => {
	test("a table for people, the leaves themselves for programs, of one vault or of all", async () => {
		const table = lines(ok("log", "list", "--from", "0", "-n", "3"));
		assert.match(table[0], /^ +SEQ +TIME +TYPE +RESULT/);
		assert.equal(table.length, 4);
		assert.match(table[1], /^ +0 +\d{4}-\d\d-\d\dT[\d:.]+Z +log\.init +ok/);
		const [text] = lines(ok("--json", "log", "list", "-n", "1"));
		assert.equal(leafHash(text), leafHash((await d.entries(0))[0].text));
		await d.ok(other, await d.makePrincipal(other, "o", ["crypto-officer"]), "GET", "/keys");
		const mine = leaves(ok("--json", "log", "list", "--vault", "orders"));
		assert.ok(mine.length > 2 && mine.every((leaf) => leaf.tenant === vault.id));
		const all = (await d.entries(0)).map(({ leaf }) => leaf).filter((leaf) => leaf.tenant === vault.id);
		const newest = leaves(ok("--json", "log", "tail", "--vault", "orders", "-n", "2"));
		assert.ok(newest.length === 2 && newest.every((leaf) => leaf.tenant === vault.id && leaf.seq >= all.at(-2).seq), "reading is an event of the vault too");
		assert.deepEqual(leaves(ok("--json", "log", "list", "--vault", "orders", "-n", "2")), all.slice(0, 2));
		assert.equal(lines(ok("log", "tail", "-n", "2")).length, 3);
		assert.match(ends(EXIT.refused, "log", "tail", "--vault", "nobody"), /NotFound/);
		assert.ok(leaves(ok("--json", "log", "list", "--vault", "@installation", "-n", "3")).every((leaf) => leaf.tenant === undefined));
		assert.match(ends(EXIT.usage, "log", "list", "--from", "x"), /--from x: expected a sequence number/);
		assert.match(ends(EXIT.usage, "log", "show", "x"), /x: expected a sequence number or an event's id/);
		assert.match(ends(EXIT.refused, "log", "show", "999999999"), /no entry 999999999 yet/);
	});

	test("what strangers write into the log cannot steer the terminal of whoever reads it", async () => {
		const second = await d.makePrincipal(other, "second", ["approver"]);
		const [, id] = /approval needed: (\S+)/.exec(ends(EXIT.approval, "vault", "shred", "payroll", "--yes"));
		const res = await d.vote(other, second, id, "deny", { reason: HOSTILE });
		const seq = res.headers["x-audit-seq"];
		const shown = ok("log", "show", seq);
		assert.match(shown, /^det\.reason +evil\?\[2J\?2J\?\?gnp\.exe\? {7}0 {2}2026-01-01$/m);
		for (const text of [shown, ok("log", "list", "--from", seq), ok("log", "tail")])
			assert.doesNotMatch(text, STEERING);
		assert.equal(json("log", "show", seq).det.reason, HOSTILE);
	});

	test("one event by its place or its id, with what promises that it stays", async () => {
		const seq = (await get("k1")).headers["x-audit-seq"];
		const { id } = json("log", "show", seq);
		assert.equal(json("log", "show", id).seq, Number(seq));
		await until("a checkpoint covers it", () => json("log", "checkpoint").size > Number(seq));
		const shown = ok("log", "show", id);
		assert.match(shown, /^type +key\.get$/m);
		assert.match(shown, /^\(proof\) +covered by the checkpoint of size \d+, signed by$/m);
		assert.ok(shown.includes(json("log", "checkpoint").origin));
	});

	test("tail -f shows each event once, over a restart of the server too", async () => {
		const tail = spawn(binaries.cli, ["--socket", d.socket, "--json", "log", "tail", "-n", "0", "-f"], { stdio: ["ignore", "pipe", "ignore"] });
		try {
			let out = "";
			tail.stdout.setEncoding("utf8").on("data", (text) => {
				out += text;
			});
			const seqs = () => out.split("\n").slice(0, -1).map((line) => JSON.parse(line).seq);
			await until("it follows", async () => {
				await get("k1");
				return seqs().length > 0;
			});
			await d.stop();
			await d.restart();
			const last = Number((await get("k1")).headers["x-audit-seq"]);
			await until("the event after the restart was shown", () => seqs().includes(last));
			const seen = seqs();
			assert.deepEqual(seen, Array.from(seen, (_, i) => seen[0] + i), "without a gap, none twice");
		} finally {
			tail.kill("SIGKILL");
		}
	});
});

describe("checkpoints, keys, proofs", () => {
	test("a checkpoint is a signed note; that of a size is asked for by it", () => {
		const note = ok("log", "checkpoint"), { origin, size, checkpoint } = json("log", "checkpoint");
		assert.match(note, /^[\w./-]+\n\d+\n[\w+/]{43}=\n\n— /);
		assert.ok(checkpoint.startsWith(`${origin}\n${size}\n`));
		assert.equal(ok("log", "checkpoint", "--size", String(size)), checkpoint);
		assert.match(ends(EXIT.refused, "log", "checkpoint", "--size", "999999999"), /HTTP 40/);
		assert.match(ends(EXIT.usage, "log", "checkpoint", "--size", "x"), /expected the size of a checkpoint/);
		assert.ok(lines(ok("log", "keys")).includes(key));
	});

	test("nor can a server that answers something else as a checkpoint or a proof steer it", async (t) => {
		const socket = file("hostile.sock"), answers = new Map([["/audit/v1/entries", '{"seq":0}\n'], ["/audit/v1/checkpoint", ok("log", "checkpoint")]]);
		const server = http.createServer((req, res) => res.end(answers.get(req.url.split("?")[0])));
		const ask = (...args) => new Promise((resolve) => {
			execFile(binaries.cli, ["--socket", socket, ...args], (err, out, said) => resolve({ code: err?.code ?? 0, out, said }));
		});
		await new Promise((resolve) => server.listen(socket, resolve));
		t.after(() => server.close());
		assert.equal((await ask("log", "checkpoint")).code, 0);
		for (const hostile of ["\u001b[2J", "\u009b2J", "\u202e", "\u007f", "\r"]) {
			answers.set("/audit/v1/proof/bundle", `c2sp.org/tlog-proof@v1\nindex 0\n${hostile}\n`);
			const { code, out, said } = await ask("log", "prove", "0");
			assert.deepEqual([code, out], [EXIT.failed, ""]);
			assert.match(said, /could steer a terminal/);
		}
		answers.set("/audit/v1/checkpoint", `${answers.get("/audit/v1/checkpoint")}\u009b2J\n`);
		assert.deepEqual(Object.values(await ask("log", "checkpoint")).slice(0, 2), [EXIT.failed, ""]);
	});

	test("an event is proved by its place or its id, and each flipped byte of the proof is refused", async () => {
		const seq = (await get("k1")).headers["x-audit-seq"], bundle = file("bundle");
		const said = ok("log", "prove", seq, "--output", bundle);
		assert.match(said, new RegExp(`^seq +${seq}$`, "m"));
		verified("--bundle", bundle);
		assert.equal(json("log", "prove", json("log", "show", seq).id, "--output", file("bundle2")).seq, Number(seq));
		verified("--bundle", file("bundle2"));
		const text = ok("log", "prove", seq);
		assert.match(text, /^c2sp\.org\/tlog-proof@v1\n/);
		for (const at of [40, Math.floor(text.length / 2), text.length - 10]) {
			const bad = Buffer.from(text);
			bad[at] ^= 1;
			fs.writeFileSync(file("bad"), bad);
			assert.notEqual(verify("--bundle", file("bad")).code, 0, `byte ${at}`);
		}
		assert.match(ends(EXIT.refused, "log", "prove", "999999999"), /no entry/);
		assert.match(ends(EXIT.failed, "log", "prove", "0", "--output", "/nonexistent/x"), /nonexistent/);
	});
});

describe("export", () => {
	test("it is what the verifier accepts, goes on where it ended, and cuts a torn line", async () => {
		const log = file("log.jsonl"), note = `${log}.checkpoint`;
		await Promise.all(Array.from({ length: MORE_THAN_A_PAGE }, () => get("k1")));
		const size = json("status").log_size;
		await until("a checkpoint covers them", () => json("log", "checkpoint").size >= size);
		const first = json("log", "export", "--output", log);
		assert.equal(first.added, first.size);
		assert.equal(lines(fs.readFileSync(log, "utf8")).length, first.size);
		assert.equal(fs.statSync(log).mode & 0o777, 0o600);
		verified("--complete", "--checkpoint", note, log);
		fs.copyFileSync(note, file("trusted"));

		const whole = fs.readFileSync(log);
		fs.truncateSync(log, whole.length - 25);
		await get("k1");
		const second = await until("a checkpoint covers it", () => {
			const res = json("log", "export", "--output", log);
			return res.size > first.size ? res : null;
		});
		assert.ok(second.added > 0);
		const now = fs.readFileSync(log);
		assert.ok(now.subarray(0, whole.length).equals(whole), "the same bytes, cut line included");
		assert.equal(lines(now.toString()).length, second.size);
		verified("--trusted", file("trusted"), "--checkpoint", note, log);

		fs.writeFileSync(file("torn"), whole.subarray(0, 10)); // not one whole line
		assert.equal(json("log", "export", "--output", file("torn")).added >= first.size, true);
		assert.ok(fs.readFileSync(file("torn")).subarray(0, whole.length).equals(whole));

		now[now.length >> 1] ^= 1;
		fs.writeFileSync(file("tampered"), now);
		assert.notEqual(verify("--checkpoint", note, file("tampered")).code, 0);
	});

	test("from a later event on, for whoever has the rest", () => {
		const part = file("part.jsonl");
		json("log", "export", "--output", part, "--from", "5");
		assert.equal(leaves(fs.readFileSync(part, "utf8"))[0].seq, 5);
		verified("--partial", part);
		assert.match(ends(EXIT.refused, "log", "export", "--output", file("none"), "--from", "999999999"), /covers only \d+/);
	});

	test("a file that is not of this log is left as it is", () => {
		const log = file("foreign.jsonl");
		json("log", "export", "--output", log);
		const text = fs.readFileSync(log, "utf8"), all = lines(text);
		for (const [last, code, message] of [
			[all.at(-1).replace(/"salt":"./, '"salt":"~'), EXIT.refused, /of another log, or of one that was changed/],
			[all.at(-1).replace(/"seq":\d+/, '"seq":999999999'), EXIT.refused, /was rolled back\. Keep the file/],
			["not a leaf", EXIT.usage, /no event of a log/],
		]) {
			const changed = `${[...all.slice(0, -1), last].join("\n")}\n`;
			fs.writeFileSync(log, changed);
			assert.match(ends(code, "log", "export", "--output", log), message);
			assert.equal(fs.readFileSync(log, "utf8"), changed);
		}
		/* Nor is anything cut that looks like the rest of a line, before it is known whose it is. */
		for (const [content, code, message] of [
			[`${all.at(-1).replace(/"salt":"./, '"salt":"~')}\n{"act`, EXIT.refused, /of another log, or of one that was changed/],
			["-----BEGIN PRIVATE KEY-----", EXIT.refused, /of another log/],
			["x".repeat(70_000), EXIT.usage, /no event of a log/],
		]) {
			fs.writeFileSync(log, content);
			assert.match(ends(code, "log", "export", "--output", log), message);
			assert.equal(fs.readFileSync(log, "utf8"), content);
		}
		assert.match(ends(EXIT.usage, "log", "export"), /--output is missing/);
		assert.match(ends(EXIT.failed, "log", "export", "--output", "/nonexistent/x"), /No such file/);
		assert.match(ends(EXIT.usage, "log", "export", "--output", "/dev/null"), /expected a regular file/);
	});

	test("it checks with the first key over a change of the key", () => {
		const log = file("rotated.jsonl"), { old_key: old, new_key: young } = json("log", "rotate-key");
		assert.equal(old, key);
		const keys = json("log", "keys").log, current = keys.find((k) => k.current);
		assert.equal(current.vkey, young);
		assert.equal(current.generation, 2);
		const res = json("log", "export", "--output", log);
		assert.deepEqual(res.key_changes, [`${log}.checkpoint-${current.from_size}`]);
		verified("--checkpoint", res.key_changes[0], "--checkpoint", `${log}.checkpoint`, log);
	});
});

describe("check and witness", () => {
	test("check says what is noticed, and its exit code whether something is bad", () => {
		const res = run(["check"]);
		assert.equal(res.code, 0, res.out + res.err);
		assert.match(res.out, /^warn +witness\w* .*together/m); // no witness: what nothing here can notice is said
		for (const line of json("check").value)
			assert.match(line.result, /^(good|warn)$/);
		assert.equal(spawnSync(binaries.cli, ["--socket", "/nonexistent", "check"]).status, EXIT.failed);
	});

	test("witness is the other program, with all that stands behind the word", () => {
		const res = spawnSync(binaries.cli, ["witness", "--help"], { encoding: "utf8" });
		assert.equal(res.status, 0, res.stderr);
		assert.match(res.stdout + res.stderr, /holdfast-witness/);
		assert.match(ends(EXIT.usage, "--json", "witness"), /must be the first word/);
	});
});

describe("a log that was rolled back", () => {
	test("it takes the origin, a reason and others to accept it", async () => {
		const accept = ["log", "accept-rollback", "--reason", REASON];
		assert.match(ends(EXIT.refused, ...accept, "--yes"), /Conflict/);
		await d.stop();
		const copy = file("older.db");
		fs.copyFileSync(d.database, copy);
		await d.restart();
		const log = file("evidence.jsonl"), last = Number((await get("k1")).headers["x-audit-seq"]);
		await until("a checkpoint covers it", () => json("log", "export", "--output", log).size > last);
		await d.stop();
		for (const end of ["-wal", "-shm"])
			fs.rmSync(d.database + end, { force: true });
		fs.copyFileSync(copy, d.database);
		await d.restart({ ready: false });
		assert.equal((await d.health()).status, 503);

		const { code, out } = run(["check"]);
		assert.equal(code, 1);
		assert.match(out, /^bad /m);
		assert.match(ends(EXIT.refused, "log", "export", "--output", log), /was rolled back\. Keep the file/);
		const origin = json("status").log_origin;
		const wrong = run(accept, { input: "something\n" });
		assert.equal(wrong.code, EXIT.usage);
		assert.match(wrong.err, /given up, for ever[^]*not confirmed; nothing was changed/);
		const asked = run(accept, { input: `${origin}\n` });
		assert.equal(asked.code, EXIT.approval, asked.err);
		const [, id] = /approval needed: (\S+)/.exec(asked.err);
		assert.match(ok("approval", "show", "@installation", id), /^Accept /);
		const token = await d.token(approver, { fresh: true });
		const vote = await d.http.request("POST", `/admin/v1/approvals/${id}/approve`, { token, body: {} });
		assert.equal(vote.status, 200, vote.text);
		const accepted = run([...accept, "--yes"]);
		assert.equal(accepted.code, 0, accepted.err);
		assert.match(accepted.out, /Restart the server/);
		await d.stop();
		await d.restart();
		const init = json("log", "show", "0");
		assert.equal(init.type, "log.init");
		assert.equal(init.appr.length, 1);
		assert.notEqual(json("log", "checkpoint").origin, origin);
		assert.equal(json("log", "show", "1").type, "log.restored");
		assert.match(ok("log", "show", "0"), /^appr +/m);
		key = json("log", "keys").log.find((k) => k.current).vkey;
		json("log", "export", "--output", file("next.jsonl"));
		verified("--checkpoint", `${file("next.jsonl")}.checkpoint`, file("next.jsonl"));
	});
});
