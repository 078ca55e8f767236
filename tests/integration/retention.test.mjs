// Retention (audit-log.md section 13): bodies of old leaves go once an archive of them was confirmed by its root and two people agreed; hashes, roots and proofs stay, and so
// does what must be kept for ever. The past is made by libfaketime; the daemon has no switch for it.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { assertError } from "../support/asserts.mjs";
import { DAY_S, DaemonClock, noClock } from "../support/clock.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { leafOf, receipt } from "../support/log.mjs";
import { binaries } from "../support/paths.mjs";
import { checkInclusion, hashLeaf, rootOf } from "../support/transparency.mjs";

const WAITS_FOR_APPROVAL = 5; // exit code of the command line
const OLD_DAYS = 500;
const SECRET_DAYS = 700; // what they know is older than what is pruned
const BEFORE = "2000000000"; // in the future: all that is signed
let d, clock, archive, oldSize, leaves;

const skip = noClock;
const approvers = [];

before(async () => {
	if (skip)
		return;
	clock = new DaemonClock();
	clock.set(-OLD_DAYS * DAY_S);
	d = await Daemon.start({ daemonEnv: clock.env });
	archive = path.join(d.dir, "archive.jsonl");
	for (const name of ["one", "two"]) {
		const who = (await d.adminOk("POST", "/admin/v1/principals", { name, secret_days: SECRET_DAYS })).json;
		const grant = () => d.admin("POST", "/admin/v1/roles/grant", { principal: who.client_id, role: "approver" });
		const res = await grant();
		if (res.status === 403) { // founded: the first one decides over the second
			await vote(approvers[0], res.json.error.innererror.approval);
			assert.equal((await grant()).status, 200);
		}
		approvers.push(who);
	}
	const vault = await d.makeVault("old");
	await Promise.all(Array.from({ length: 60 }, () => d.admin("GET", `/admin/v1/vaults/${vault.name}`)));
	await d.shred(vault, "old");
	await d.kill9();
	delete d.daemonEnv;
	await d.restart();
	leaves = await d.entries();
	oldSize = leaves.findIndex(({ leaf }) => leaf.type === "node.start" && leaf.seq > 1);
});
after(async () => {
	await d?.destroy();
	clock?.remove();
});

const prune = (...args) => d.cli("log", "prune", "--archive", archive, "--reason", "older than 400 days", ...args);
const retention = async () => (await d.adminOk("GET", "/audit/v1/retention")).json;

async function vote(who, id) {
	const res = await d.http.request("POST", `/admin/v1/approvals/${id}/approve`, { token: await d.token(who, { fresh: true }), body: {} });
	assert.equal(res.status, 200, res.text);
}

function verify(file, ...args) {
	const keys = JSON.parse(execFileSync(binaries.cli, ["--socket", d.socket, "--json", "log", "keys"], { env: d.env, encoding: "utf8" }));
	return new Promise((resolve) => {
		execFile(binaries.verify, ["--key", keys.log.find((k) => k.current).vkey, "--checkpoint", `${file}.checkpoint`, ...args, file], { encoding: "utf8" },
			(err, stdout, stderr) => resolve({ code: err ? err.code : 0, out: stdout + stderr }));
	});
}

test("an archive is the first leaves as they were written, with the root of a signed checkpoint", { skip }, async () => {
	const now = await retention();
	assert.equal(now.keep_days, 400);
	assert.equal(now.pruned, 0);
	assert.ok(now.size > 80 && now.size <= oldSize, `${now.size} of ${oldSize}`);
	const said = await d.cli("log", "archive", archive);
	assert.deepEqual(said, { file: archive, size: now.size, bodies: now.size, root: now.root });
	const lines = fs.readFileSync(archive, "utf8").trimEnd().split("\n");
	assert.deepEqual(lines, leaves.slice(0, now.size).map(({ text }) => text));
	assert.equal(rootOf(lines.map((line) => hashLeaf(Buffer.from(line)))).toString("base64"), now.root);
	const { code, out } = await verify(archive, "--complete");
	assert.equal(code, 0, out);
	assert.ok((await d.cli("log", "archive", `${archive}.early`, "--before", BEFORE)).size >= now.size);
});

test("nothing is dropped that is young, altered, not signed, or not agreed by two others", { skip }, async () => {
	const { size, root } = await retention();
	const nobody = (await d.adminOk("POST", "/admin/v1/principals", { name: "nobody" })).json;
	const asks = async (query) => d.http.request("GET", `/audit/v1/retention${query}`, { token: await d.token(nobody) });
	assert.deepEqual(Object.keys((await asks("")).json), ["keep_days", "pruned", "under_way", "has_time"]);
	assertError(await asks("?before=5"), 403, "Forbidden", "ForbiddenByRbac");
	const ask = (body) => d.admin("POST", "/admin/v1/log/prune", { reason: "x", ...body });
	await until("what is young is signed", async () => (await d.adminOk("GET", `/audit/v1/retention?before=${BEFORE}`)).json.size > size);
	const young = await d.cli("log", "archive", `${archive}.young`, "--before", BEFORE);
	await assert.rejects(d.cli("log", "archive", `${archive}.young`, "--size", String(size)), /holds \d+ events already, more than the \d+ that were asked for/);
	assertError(await ask({ size: young.size, root: young.root }), 409, "Conflict");
	assertError(await ask({ size, root: young.root }), 400, "BadParameter");
	assertError(await ask({ size: size + 1, root }), 400, "BadParameter");
	assertError(await ask({ size, root: "AAAA" }), 400, "BadParameter");
	fs.writeFileSync(`${archive}.bad`, fs.readFileSync(archive, "utf8").replace('"type":"audit.read"', '"type":"audit.raed"'));
	await assert.rejects(d.cli("log", "prune", "--archive", `${archive}.bad`, "--reason", "x"), /another root/);
	fs.writeFileSync(`${archive}.gap`, fs.readFileSync(archive, "utf8").split("\n").slice(1).join("\n"));
	await assert.rejects(d.cli("log", "prune", "--archive", `${archive}.gap`, "--reason", "x"), /no archive/);
	const asked = await prune().catch((err) => err);
	assert.equal(asked.exitCode, WAITS_FOR_APPROVAL, asked.stderr);
	const [id] = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(asked.stderr);
	await vote(approvers[0], id);
	const again = await prune().catch((err) => err);
	assert.equal(again.exitCode, WAITS_FOR_APPROVAL, "one is not enough");
	assert.equal((await retention()).pruned, 0);
	assert.ok((await d.entries()).every(({ leaf }) => leaf.hash === undefined));
	await vote(approvers[1], id);
});

test("bodies are gone after a kill in the middle too; hashes, proofs and what must stay are there", { skip }, async () => {
	const { size, root } = await retention();
	assert.deepEqual(await prune(), { size, under_way: true });
	await d.kill9();
	await d.restart();
	const done = await until("it is pruned", async () => {
		const now = await retention();
		return now.pruned === size && !now.under_way ? now : null;
	}, 20_000);
	assert.equal(done.size, undefined, "nothing more is old enough");
	const now = await d.entries();
	const kept = (leaf) => /^(log\.|key\.(destroy|purge)$|tenant\.(shred|rotate_root|resurrected)|backup\.epoch_end$)/.test(leaf.type);
	for (let seq = 0; seq < size; seq++) {
		const was = leaves[seq];
		if (kept(was.leaf))
			assert.equal(now[seq].text, was.text);
		else
			assert.deepEqual(now[seq].leaf, { hash: hashLeaf(Buffer.from(was.text)).toString("base64"), seq });
	}
	const outcome = now.map(({ leaf }) => leaf).find(({ type, phase }) => type === "log.pruned" && phase === "outcome");
	const intent = now[outcome.ref].leaf;
	assert.deepEqual(outcome.det, { count: now.slice(0, size).filter(({ leaf }) => leaf.hash).length, from: 0, root, to: size });
	assert.equal(intent.appr.length, 2);
	assert.equal(intent.det.root, root);
	const db = new DatabaseSync(d.database, { readOnly: true });
	assert.equal(db.prepare("SELECT count(*) AS n FROM event WHERE seq < ? AND length(leaf) = 0").get(size).n, outcome.det.count);
	db.close();

	const gone = leaves.findIndex(({ leaf }) => leaf.type === "audit.read");
	const proof = (await d.adminOk("GET", `/audit/v1/proof/inclusion?seq=${gone}&size=${size}`)).json;
	assert.ok(checkInclusion(gone, size, hashLeaf(Buffer.from(leaves[gone].text)), proof.hashes.map((h) => Buffer.from(h, "base64")), Buffer.from(root, "base64")));
	for (const target of [`/audit/v1/entries/${leaves[gone].leaf.id}`, `/audit/v1/proof/bundle?seq=${gone}`, "/audit/v1/tile/entries/000.p/40"])
		assertError(await d.admin("GET", target), 410, "Gone");
	assert.equal((await d.admin("GET", `/audit/v1/entries/${leaves[0].leaf.id}`)).status, 200, "log.init");
	assert.equal((await d.admin("GET", "/audit/v1/tile/0/000.p/40")).status, 200);
});

/** The export without these bodies: the tree is the same. */
function withoutBodies(file, ...seqs) {
	const name = `${file}.hidden-${seqs.join("-")}`;
	const lines = fs.readFileSync(file, "utf8").trimEnd().split("\n");
	for (const seq of seqs)
		lines[seq] = JSON.stringify({ hash: hashLeaf(Buffer.from(lines[seq])).toString("base64"), seq });
	fs.writeFileSync(name, `${lines.join("\n")}\n`);
	fs.copyFileSync(`${file}.checkpoint`, `${name}.checkpoint`);
	return name;
}

test("the verifier misses each body that no log.pruned says was dropped", { skip }, async () => {
	const { pruned } = await retention();
	const file = path.join(d.dir, "whole.jsonl");
	await d.cli("log", "export", "--output", file);
	for (const [seq, where] of [[0, "the range"], [pruned + 1, "behind it"]]) {
		const less = withoutBodies(file, seq);
		const strict = await verify(less, "--complete");
		assert.equal(strict.code, 8, `${where}: ${strict.out}`);
		assert.match(strict.out, /: missing_body: /);
		const others = await verify(less);
		assert.equal(others.code, 0, others.out);
		assert.match(others.out, /warning: hidden: /);
	}
	const key = JSON.parse(execFileSync(binaries.cli, ["--socket", d.socket, "--json", "log", "keys"], { env: d.env, encoding: "utf8" })).log.find((k) => k.current).vkey;
	const piped = (...args) => spawnSync(binaries.verify, ["--key", key, "--checkpoint", `${file}.checkpoint`, ...args, "-"], { input: fs.readFileSync(file), encoding: "utf8" });
	const once = piped("--complete");
	assert.equal(once.status, 1, once.stdout + once.stderr);
	assert.match(once.stderr, /read twice/);
	assert.match(piped().stdout, /warning: hidden: .* not compared/);
});

test("an archive that was made after a pruning is complete with what follows it", { skip }, async () => {
	const second = `${archive}.later`, rest = `${archive}.rest`;
	const told = (await d.entries()).findIndex(({ leaf }) => leaf.type === "log.pruned" && leaf.phase === "intent");
	let size = told;
	while ((await d.admin("GET", `/audit/v1/checkpoint/${size}`)).status !== 200)
		size--;
	assert.ok(size > (await retention()).pruned);
	await d.cli("log", "archive", second, "--size", String(size));
	assert.equal((await verify(second, "--complete")).code, 8);
	await d.cli("log", "export", "--from", String(size), "--output", rest);
	const { code, out } = await verify(rest, "--complete", second);
	assert.equal(code, 0, out);
});

test("the rest is exported, checked and archived as before, and nothing is pruned twice", { skip }, async () => {
	const { pruned } = await retention();
	const file = path.join(d.dir, "rest.jsonl");
	await d.cli("log", "export", "--output", file);
	const { code, out } = await verify(file, "--complete");
	assert.equal(code, 0, out);
	assert.match(out, new RegExp(`dropped the bodies below seq ${pruned}`));
	assert.match(out, /0 findings, 0 warnings/);
	assertError(await d.admin("POST", "/admin/v1/log/prune", { size: pruned, root: Buffer.alloc(32).toString("base64"), reason: "x" }), 409, "Conflict");
	const second = await d.cli("log", "archive", `${archive}.second`, "--before", BEFORE);
	assert.ok(second.size > pruned && second.bodies < second.size);
	const whole = (await d.adminOk("GET", "/admin/v1/check")).json.value.find(({ name }) => name === "log");
	assert.equal(whole.result, "good");
	const res = await d.admin("GET", "/admin/v1/status");
	assert.equal(leafOf(await d.entries(), receipt(res)).type, "audit.read");
});

test("a body that nobody pruned is missing, and an altered one is altered: never pruned, never true", { skip }, async () => {
	const now = await d.entries();
	const gone = now.findLast(({ leaf }) => leaf.type === "node.start");
	const altered = now.find(({ leaf }) => leaf.type === "log.pruned" && leaf.phase === "outcome");
	const newest = Math.max(gone.leaf.seq, altered.leaf.seq);
	await until("both are signed", async () => Number((await d.adminOk("GET", "/audit/v1/checkpoint")).text.split("\n")[1]) > newest);
	await d.kill9();
	const db = new DatabaseSync(d.database);
	db.prepare("UPDATE event SET leaf = x'' WHERE seq = ?").run(gone.leaf.seq);
	db.prepare("UPDATE event SET leaf = ? WHERE seq = ?").run(Buffer.from(altered.text.replace('"count":', '"cuont":')), altered.leaf.seq);
	db.close();
	await d.restart();
	for (const { leaf, text } of [gone, altered]) {
		const res = await d.admin("GET", `/audit/v1/entries/${leaf.id}`);
		assert.equal(res.status, 503, res.text);
		assert.equal(res.json.error.innererror.code, "log_integrity", res.text);
		assert.equal((await d.admin("GET", `/audit/v1/entries?start=${leaf.seq}&count=1`)).status, 503);
		const { value } = await d.adminOk("GET", `/audit/v1/events?type=${leaf.type}&limit=1000`).then((r) => r.json);
		assert.deepEqual(value.find(({ seq }) => seq === leaf.seq), { damaged: true, hash: hashLeaf(Buffer.from(text)).toString("base64"), seq: leaf.seq });
	}
	const said = (await d.adminOk("GET", "/admin/v1/check")).json.value;
	assert.equal(said.find(({ name }) => name === "log-bodies")?.result, "bad");
	const alarms = (await d.adminOk("GET", "/audit/v1/events?type=log.integrity_failed")).json.value;
	for (const { leaf } of [gone, altered])
		assert.ok(alarms.some(({ det }) => det.state === "leaf_damaged" && det.why.includes(`leaf ${leaf.seq} `)), JSON.stringify(alarms));
});
