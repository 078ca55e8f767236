// The key event log as the outside sees it: every request leaves a leaf, in canonical form; acts in two phases; noise is counted; readers see
// what is theirs; and no secret is anywhere.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon, until } from "../support/daemon.mjs";
import { TWO_PHASE, assertLeaf, assertOrder, leafHash, leafOf, openIntents, receipt } from "../support/log.mjs";

let d, vault, officer, reader;
before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	reader = await d.makePrincipal(vault, "reader", ["reader"]);
});
after(() => d?.destroy());

const plain = randomBytes(32);

test("each authenticated request, allowed, refused or wrong, has one leaf that says what it was", async () => {
	const wrapBody = { alg: "A256KW", value: plain.toString("base64url") };
	let value;
	const steps = [
		["POST", "/keys/a/create", { kty: "oct-HSM" }, officer, 200, "key.create", "ok"],
		["POST", "/keys/r/create", { kty: "RSA" }, officer, 200, "key.create", "ok"],
		["GET", "/keys/a", undefined, officer, 200, "key.get", "ok"],
		["GET", "/keys", undefined, officer, 200, "key.list", "ok"],
		["GET", "/keys/a/versions", undefined, officer, 200, "key.list", "ok"],
		["POST", "/keys/a/wrapkey", wrapBody, officer, 200, "key.wrap", "ok"],
		["POST", "/keys/a/unwrapkey", () => ({ alg: "A256KW", value }), officer, 200, "key.unwrap", "ok"],
		["POST", "/keys/a/unwrapkey", { alg: "A256KW", value: randomBytes(40).toString("base64url") }, officer, 400, "key.unwrap", null],
		["POST", "/keys/a/unwrapkey", { alg: "nonsense", value: "AAAA" }, officer, 400, "key.unwrap", null],
		["POST", "/keys/a/wrapkey", "{broken", officer, 400, "key.wrap", null],
		["GET", "/keys/none", undefined, officer, 404, "key.get", null],
		["POST", "/keys/a/unwrapkey", () => ({ alg: "A256KW", value }), reader, 403, null, "denied"],
		["DELETE", "/keys/a", undefined, reader, 403, null, "denied"],
		["PATCH", "/keys/a", { attributes: { enabled: false } }, officer, 200, "key.update", "ok"],
		["POST", "/keys/a/wrapkey", wrapBody, officer, 403, "key.wrap", "denied"],
		["POST", "/keys/a/rotate", undefined, officer, 200, "key.rotate", "ok"],
		["DELETE", "/keys/a", undefined, officer, 200, "key.delete", "ok"],
		["GET", "/deletedkeys/a", undefined, officer, 200, "key.get", "ok"],
		["GET", "/deletedkeys", undefined, officer, 200, "key.list", "ok"],
		["POST", "/deletedkeys/a/recover", undefined, officer, 200, "key.recover", "ok"],
		["DELETE", "/keys/a", undefined, officer, 200, "key.delete", "ok"],
		["DELETE", "/deletedkeys/a", undefined, officer, 204, "key.purge", "ok"],
	];
	const done = [];
	for (const [method, keyPath, body, who, status, type, result] of steps) {
		const id = `step-${done.length}`;
		const res = await d.call(vault, who, method, keyPath, typeof body === "function" ? body() : body, { headers: { "x-ms-client-request-id": id } });
		assert.equal(res.status, status, `${method} ${keyPath}: ${res.text}`);
		if (keyPath === "/keys/a/wrapkey" && status === 200)
			value = res.json.value;
		done.push({ res, id, what: `${method} ${keyPath} -> ${status}`, type, result, keyPath });
	}
	const entries = await d.entries(0);
	for (const { res, id, what, type, result, keyPath } of done) {
		const got = receipt(res);
		assert.ok(got, `${what} has no receipt`);
		const leaf = leafOf(entries, got);
		assert.equal(leaf.http, res.status, what);
		assert.equal(leaf.req, res.headers["x-ms-request-id"], what);
		assert.equal(leaf.corr, id, what);
		if (type)
			assert.equal(leaf.type, type, what);
		if (result)
			assert.equal(leaf.result, result, what);
		else
			assert.notEqual(leaf.result, "ok", what);
		assert.equal(leaf.tenant, vault.id, what);
		assert.equal(leaf.actor.auth, "jwt", what);
		assert.ok(leaf.actor.pid, what);
		assert.ok(leaf.net?.tls, what);
		if (/^\/(deleted)?keys\/a/.test(keyPath) && leaf.result === "ok" && !keyPath.endsWith("versions"))
			assert.equal(leaf.key?.name, "a", what);
		if (/(un)?wrapkey$/.test(keyPath) && leaf.result === "ok")
			assert.equal(leaf.alg, "A256KW", what);
		const same = entries.filter((e) => e.leaf.req === leaf.req && e.leaf.phase !== "intent");
		assert.equal(same.length, 1, `${what}: ${same.length} leaves`);
	}
	const pids = new Set(done.map(({ res }) => leafOf(entries, receipt(res)).actor.pid));
	assert.equal(pids.size, 2, "two callers, two pseudonyms");
});

test("the whole log is canonical, contiguous, and its acts come in pairs", async () => {
	await d.cli("key", "revoke", vault.name, "r", "--reason", "superseded");
	await d.cli("role", "remove", vault.name, reader.client_id, "reader");
	await d.cli("role", "grant", vault.name, reader.client_id, "reader");
	const entries = await d.entries(0);
	assertOrder(entries, 0);
	assert.equal(entries[0].leaf.type, "log.init");
	for (const entry of entries)
		assertLeaf(entry);
	assert.deepEqual(openIntents(entries), []);
	for (const { leaf } of entries) {
		if (TWO_PHASE.has(leaf.type) && leaf.result === "ok")
			assert.equal(leaf.phase, "outcome", `${leaf.type} at ${leaf.seq} is in two phases`);
		if (["key.get", "key.wrap", "key.unwrap", "key.list", "audit.read"].includes(leaf.type))
			assert.equal(leaf.phase, "single");
	}
	assert.equal(new Set(entries.map(({ leaf }) => leaf.salt)).size, entries.length, "no salt twice");
	assert.equal(new Set(entries.map(({ leaf }) => leaf.id)).size, entries.length, "no id twice");
	const types = new Set(entries.map(({ leaf }) => leaf.type));
	for (const type of ["log.init", "node.start", "tenant.create", "key.create", "key.revoke", "authz.role_grant", "authz.role_revoke", "authz.login", "audit.read"])
		assert.ok(types.has(type), `no leaf of ${type}`);
});

test("the command line shows a leaf as it is", async () => {
	const [entry] = await d.entries(0);
	const shown = await d.cli("log", "show", "0");
	assert.deepEqual(shown, entry.leaf);
	const tail = await d.cli("log", "tail", "-n", "1").catch((err) => err);
	assert.ok(tail && !(tail instanceof Error), String(tail));
});

test("requests without a good token are counted, not written one by one", async () => {
	const size = await d.logSize();
	const noise = 300;
	for (let i = 0; i < noise / 20; i++)
		await Promise.all(Array.from({ length: 20 }, (_, n) => d.call(vault, null, "GET", "/keys/a", undefined, n % 2 ? { token: "a.b.c" } : {})));
	const counted = await until("the noise is in the log", async () => {
		const entries = await d.entries(size);
		const denied = entries.map(({ leaf }) => leaf).filter((leaf) => leaf.type === "authz.denied" && leaf.result === "denied");
		const sum = denied.reduce((n, leaf) => n + (leaf.count ?? 1), 0);
		return sum >= noise ? { denied, sum } : null;
	}, 5000);
	assert.equal(counted.sum, noise);
	assert.ok(counted.denied.length <= 30, `${counted.denied.length} leaves for ${noise} refusals`);
	await sleep(1200);
	const later = (await d.entries(size)).filter(({ leaf }) => leaf.type === "authz.denied").reduce((n, { leaf }) => n + (leaf.count ?? 1), 0);
	assert.equal(later, noise, "counted once");
});

test("an auditor of a vault reads its leaves, of the others only hashes; an installation auditor reads all; nobody else reads", async () => {
	const other = await d.makeVault("payroll");
	const stranger = await d.makePrincipal(other, "stranger", ["crypto-officer"]);
	await d.ok(other, stranger, "POST", "/keys/secretname/create", { kty: "oct-HSM" });
	const auditor = await d.makePrincipal(vault, "auditor", ["auditor"]);
	const read = async (who) => d.http.request("GET", "/audit/v1/entries?start=0&count=1000", { token: await d.token(who) });

	const all = await d.entries(0);
	const mine = await read(auditor);
	assert.equal(mine.status, 200, mine.text);
	assert.match(mine.headers["content-type"], /application\/x-ndjson/);
	assert.ok(!mine.text.includes("secretname") && !mine.text.includes(other.id));
	const lines = mine.text.trimEnd().split("\n");
	let seen = 0;
	lines.slice(0, all.length).forEach((line, i) => {
		const { leaf, text } = all[i];
		if (leaf.tenant === vault.id) {
			assert.equal(line, text);
			seen++;
		} else if (line !== text) {
			assert.deepEqual(JSON.parse(line), { hash: leafHash(text), seq: leaf.seq });
		} else {
			assert.equal(leaf.tenant, undefined, "a leaf of another tenant is shown");
		}
	});
	assert.ok(seen > 10);

	for (const who of [officer, reader, stranger])
		assert.equal((await read(who)).status, 403);
	assert.equal((await d.http.request("GET", "/audit/v1/entries?start=0&count=10")).status, 401);
	await d.cli("role", "grant", vault.name, auditor.client_id, "auditor", "--installation");
	const everything = await read(auditor);
	assert.equal(everything.status, 200);
	assert.ok(everything.text.includes("secretname"));
	await d.cli("role", "remove", vault.name, auditor.client_id, "auditor", "--installation");
	assert.ok(!(await read(auditor)).text.includes("secretname"));
	assert.equal((await d.http.request("GET", "/audit/v1/entries?start=0&count=1001", { token: await d.token(auditor) })).status, 400);
	assert.equal((await d.http.request("GET", "/audit/v1/entries?start=-1&count=10", { token: await d.token(auditor) })).status, 400);
	assert.equal((await d.call(vault, auditor, "GET", "/keys")).status, 403, "an auditor uses no keys");
});

test("no secret is in the database, its journal, the log, or what the daemon prints", async () => {
	const secretPlain = randomBytes(24);
	await d.ok(vault, officer, "POST", "/keys/canary/create", { kty: "oct-HSM" });
	await d.ok(vault, officer, "POST", "/keys/canary-rsa/create", { kty: "RSA" });
	const fresh = await d.makePrincipal(vault, "canary", ["crypto-user"]);
	const token = await d.token(fresh);
	const canaries = { "client secret": fresh.secret, "token": token, "token signature": token.split(".")[2], "PIN": d.pin };
	const bytes = { plaintext: secretPlain };
	for (const [name, alg] of [["canary", "A256KW"], ["canary-rsa", "RSA-OAEP-256"]]) {
		const { value } = await d.ok(vault, fresh, "POST", `/keys/${name}/wrapkey`, { alg, value: secretPlain.toString("base64url") });
		bytes[`ciphertext of ${name}`] = Buffer.from(value, "base64url");
		await d.ok(vault, fresh, "POST", `/keys/${name}/unwrapkey`, { alg, value });
		await d.call(vault, fresh, "POST", `/keys/${name}/unwrapkey`, { alg, value: `${value}!` });
		await d.call(vault, fresh, "POST", `/keys/${name}/unwrapkey`, `{"alg":"${alg}","value":"${value}"`);
		await d.call(vault, fresh, "GET", `/keys/${name}?x=${secretPlain.toString("hex")}`);
		await d.call(vault, null, "GET", `/keys/${name}`, undefined, { token: `${token}x` });
	}
	await d.tokenRequest(fresh.tenant_id, { grant_type: "client_credentials", client_id: fresh.client_id, client_secret: `${fresh.secret}x`, scope: "x" });
	for (const [what, value] of Object.entries(bytes)) {
		canaries[`${what}, base64url`] = value.toString("base64url").slice(0, 30);
		canaries[`${what}, base64`] = value.toString("base64").slice(0, 30);
		canaries[`${what}, hex`] = value.toString("hex").slice(0, 40);
		canaries[`${what}, raw`] = value.subarray(0, 24);
	}
	const leaves = (await d.entries(0)).map(({ text }) => text).join("\n");
	const places = { "the leaves": Buffer.from(leaves), "the daemon's output": fs.readFileSync(d.logFile) };
	for (const name of fs.readdirSync(d.stateDir)) {
		const file = path.join(d.stateDir, name);
		if (fs.statSync(file).isFile())
			places[name] = fs.readFileSync(file);
	}
	assert.ok(Object.keys(places).some((name) => name.endsWith("-wal")), "the journal is looked at too");
	for (const [where, content] of Object.entries(places)) {
		for (const [what, canary] of Object.entries(canaries))
			assert.equal(content.indexOf(canary), -1, `${what} is in ${where}`);
	}
	assert.notEqual(places["the leaves"].indexOf("canary-rsa"), -1, "the search finds what is there");
});
