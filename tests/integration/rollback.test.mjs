// A copy that comes back: the database, its WAL, the token, or some of them together. What is noticed, what is served then, and how the installation's quorum goes on
// (spec/audit-log.md 5.5, 11.4). Both together are a witness's to notice: witness.test.mjs.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon, until } from "../support/daemon.mjs";
import { verifyLog } from "../support/verify.mjs";

const plain = randomBytes(32).toString("base64url");
const SUFFIXES = ["", "-wal", "-shm"];

let d, vault, officer, approver, value;

beforeEach(async () => {
	d = await Daemon.start({ log: { pin_s: 1, interval_ms: 200 } });
	approver = (await d.adminOk("POST", "/admin/v1/principals", { name: "second" })).json;
	await d.adminOk("POST", "/admin/v1/roles/grant", { principal: approver.client_id, role: "approver" });
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	await d.ok(vault, officer, "POST", "/keys/a/create", { kty: "oct-HSM" });
	({ value } = await d.ok(vault, officer, "POST", "/keys/a/wrapkey", { alg: "A256KW", value: plain }));
});
afterEach(() => d?.destroy());
after(() => d?.destroy());

const unwrap = () => d.call(vault, officer, "POST", "/keys/a/unwrapkey", { alg: "A256KW", value });
const status = async () => (await d.adminOk("GET", "/admin/v1/status")).json;

/** Stop it and keep a copy of the database. */
async function copyDatabase() {
	await d.stop();
	const dir = fs.mkdtempSync(path.join(d.dir, "copy-"));
	for (const suffix of SUFFIXES)
		if (fs.existsSync(d.database + suffix))
			fs.copyFileSync(d.database + suffix, path.join(dir, `db${suffix}`));
	return dir;
}

function putBack(dir) {
	for (const suffix of SUFFIXES) {
		fs.rmSync(d.database + suffix, { force: true });
		if (fs.existsSync(path.join(dir, `db${suffix}`)))
			fs.copyFileSync(path.join(dir, `db${suffix}`), d.database + suffix);
	}
}

/** Some life after the copy: a key is revoked, another is made; the last of it is pinned. */
async function goOn() {
	await d.restart();
	await d.adminOk("POST", "/admin/v1/vaults/orders/keys/a/revoke", { reason: "keyCompromise" });
	await d.ok(vault, officer, "POST", "/keys/later/create", { kty: "oct-HSM" });
	assert.equal((await unwrap()).status, 403);
	const { log_size: size } = await status();
	await d.stop();
	return size;
}

/** What a rolled-back log lets through, and what not. */
async function assertRefused(why) {
	const health = await d.health();
	assert.equal(health.status, 503);
	assert.equal(health.json.audit, "rolled_back");
	const { audit } = await status();
	assert.equal(audit.state, "rolled_back");
	assert.match(audit.why, why);
	const token = await d.token(officer, { fresh: true });
	for (const [method, keyPath, body] of [["POST", "/keys/a/unwrapkey", { alg: "A256KW", value }], ["GET", "/keys/a"], ["GET", "/keys"],
		["POST", "/keys/b/create", { kty: "oct-HSM" }], ["DELETE", "/keys/a"]]) {
		const res = await d.call(vault, officer, method, keyPath, body, { token });
		assert.equal(res.status, 503, `${method} ${keyPath}: ${res.text}`);
		assert.match(res.text, /accept-rollback/, res.text);
	}
	for (const [method, adminPath, body] of [["POST", "/admin/v1/vaults", { name: "new" }], ["POST", "/admin/v1/vaults/orders/keys/a/revoke", { reason: "superseded" }],
		["POST", "/admin/v1/vaults/orders/shred", { confirm: "orders", reason: "x" }]]) {
		const res = await d.admin(method, adminPath, body);
		assert.equal(res.status, 503, `${method} ${adminPath}: ${res.text}`);
	}
	const entries = await d.admin("GET", "/audit/v1/entries?start=0&count=1");
	assert.equal(entries.status, 200, "the log can be read");
	const check = (await d.adminOk("GET", "/admin/v1/check")).json.value;
	assert.ok(check.some((line) => line.result === "bad"), JSON.stringify(check));
}

const accept = () => d.admin("POST", "/admin/v1/log/accept", { reason: "restored from backup" });

/** Asked, approved, asked again. @return the answer */
async function acceptTogether() {
	const asked = await accept();
	assert.equal(asked.status, 403, asked.text);
	const id = asked.json.error.innererror.approval;
	assert.match(id ?? "", /^[0-9a-f-]{36}$/, asked.text);
	assert.equal((await accept()).status, 403, "asking again approves nothing");
	const vote = await d.http.request("POST", `/admin/v1/approvals/${id}/approve`, { token: await d.token(approver, { fresh: true }), body: {} });
	assert.equal(vote.status, 200, vote.text);
	const res = await accept();
	assert.equal(res.status, 200, res.text);
	return res.json;
}

describe("an older database", () => {
	test("is noticed at the start; nothing is served but the log; the quorum accepts it, and the next log begins", async () => {
		const copy = await copyDatabase();
		const known = await goOn();
		putBack(copy);
		await d.restart({ ready: false });
		await assertRefused(/older copy/);
		const { next_origin: next } = await acceptTogether();
		assert.equal(next, `${d.config.domain}/audit/log2`);
		assert.equal((await d.health()).status, 503, "until the restart");
		await d.stop();
		await d.restart();
		const after = await status();
		assert.equal(after.audit.state, "good");
		assert.equal(after.log_origin, next);
		const res = await unwrap();
		assert.equal(res.status, 200, "the older database's keys work again");
		assert.equal(res.json.value, plain);
		assert.equal(res.headers["x-audit-origin"], next);
		const leaves = (await d.entries(0)).map((e) => e.leaf);
		assert.deepEqual(leaves.slice(0, 3).map((l) => l.type), ["log.init", "log.restored", "node.start"]);
		assert.equal(leaves[0].seq, 0);
		assert.equal(leaves[0].det.old_origin, `${d.config.domain}/audit/log1`);
		assert.ok(leaves[0].det.old_size >= known - 20 && leaves[0].det.old_size > leaves[0].det.restored_size, JSON.stringify(leaves[0].det));
		assert.equal(leaves[0].appr.length, 1);
		await until("a checkpoint of the new log", async () => (await d.admin("GET", "/audit/v1/checkpoint")).status === 200);
		const { code, out } = await verifyLog(d);
		assert.equal(code, 0, out);
		assert.ok(out.includes(next), out);
		// The next start finds nothing to complain of, and the older copy is an older copy still.
		await d.stop();
		await d.restart();
		await d.stop();
		putBack(copy);
		await d.restart({ ready: false });
		await assertRefused(/log2|closed|later/);
	});
	test("is noticed after kill -9 too, and when only its WAL was cut off", async () => {
		await d.stop();
		await d.restart();
		const main = fs.readFileSync(d.database);
		await d.ok(vault, officer, "POST", "/keys/later/create", { kty: "oct-HSM" });
		await sleep(1500); // pinned
		await d.kill9();
		fs.writeFileSync(d.database, main);
		fs.rmSync(`${d.database}-wal`, { force: true });
		fs.rmSync(`${d.database}-shm`, { force: true });
		await d.restart({ ready: false });
		assert.equal((await d.health()).json.audit, "rolled_back");
		assert.equal((await unwrap()).status, 503);
	});
	test("an acceptance of one state is none of another", async () => {
		const first = await copyDatabase();
		await goOn();
		const second = await copyDatabase();
		await goOn().catch(() => {}); // the key is revoked already: whatever it says, the log grows
		await d.stop();
		putBack(second);
		await d.restart({ ready: false });
		await acceptTogether();
		await d.stop();
		putBack(first); // instead of the restart that was agreed on
		await d.restart({ ready: false });
		await assertRefused(/older copy/);
	});
	test("one who was not asked cannot accept it, and the local socket does not vote", async () => {
		const copy = await copyDatabase();
		await goOn();
		putBack(copy);
		await d.restart({ ready: false });
		const byOfficer = await d.http.request("POST", "/admin/v1/log/accept", { token: await d.token(officer, { fresh: true }), body: { reason: "mine" } });
		assert.ok([401, 403].includes(byOfficer.status), byOfficer.text);
		const asked = await accept();
		const id = asked.json.error.innererror.approval;
		const vote = await d.admin("POST", `/admin/v1/approvals/${id}/approve`, {});
		assert.equal(vote.status, 403, vote.text);
		assert.equal((await accept()).status, 403);
	});
});

describe("an older token", () => {
	test("is noticed at the start: the database knows of a later pin", async () => {
		await d.stop();
		const tokens = path.join(d.dir, "tokens-copy");
		fs.cpSync(d.tokenDir, tokens, { recursive: true });
		await goOn();
		fs.rmSync(d.tokenDir, { recursive: true });
		fs.cpSync(tokens, d.tokenDir, { recursive: true });
		await d.restart({ ready: false });
		assert.equal((await d.health()).json.audit, "rolled_back");
		assert.match((await status()).audit.why, /token|device|pin/);
		assert.equal((await unwrap()).status, 503);
	});
});

describe("what is no rollback", () => {
	test("nothing to accept in a good log; kill -9 and orderly stops leave it good", async () => {
		const res = await accept();
		assert.equal(res.status, 409, res.text);
		for (let i = 0; i < 3; i++) {
			await d.ok(vault, officer, "GET", "/keys/a");
			await d.kill9();
			await d.restart();
			assert.equal((await status()).audit.state, "good");
		}
		assert.equal((await unwrap()).status, 200);
	});
});
