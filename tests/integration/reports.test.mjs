// Reports against known acts: what the server adds up, what `holdfast report` prints of it in each form, and the compliance of a made inventory of Cosmos DB accounts, whose
// right answer is kept beside each account as it is made.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { Chance } from "../support/chance.mjs";
import { DOMAIN, Daemon } from "../support/daemon.mjs";
import { binaries } from "../support/paths.mjs";

const EXIT = { ok: 0, usage: 1, refused: 2, failed: 3, notCompliant: 4 };
const DAY_S = 86400;
const PAGE = 1000; // events of one page
const ACCOUNTS = 500;
const SEED = 20261122;
/** A formula, a tag, an entity, a quote, a line break, what could steer a terminal, and text that runs backwards. */
const HOSTILE = ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "<script>alert(1)</script>", "a\"b,c\r\nd", "&lt;b&gt;", "' onload='x", "evil\u001b[2J\u202egnp"];

let d, orders, payroll, sealed, officer, nobody, auditor, everyone, cmk;
const file = (name) => path.join(d.dir, name);
const url = (vault, key) => `https://${vault}.${DOMAIN}:${d.port}/keys/${key}`;

function run(args, { via = ["--socket", d.socket] } = {}) {
	const res = spawnSync(binaries.cli, [...via, "report", ...args], { encoding: "utf8", maxBuffer: 64 << 20 });
	return { code: res.status, out: res.stdout, err: res.stderr };
}

function report(...args) {
	const { code, out, err } = run(["--json", ...args]);
	assert.equal(code, EXIT.ok, `report ${args.join(" ")}: ${err}`);
	return JSON.parse(out);
}

async function as(who, target) {
	return d.http.request("GET", `/audit/v1/reports/${target}`, { token: await d.token(who) });
}

/** Make keys older than they are: all that a report of age goes by, but for the log. */
function age(vault, name, days, { expired = false } = {}) {
	const db = new DatabaseSync(d.database);
	try {
		const seconds = days * DAY_S, where = "name = ? AND vault_id = (SELECT id FROM vault WHERE name = ?)";
		const { changes } = db.prepare(`UPDATE key SET created_s = created_s - ${seconds} WHERE ${where}`).run(name, vault.name);
		assert.equal(changes, 1, name);
		const versions = `key_id = (SELECT id FROM key WHERE ${where})`;
		db.prepare(`UPDATE version SET created_s = created_s - ${seconds} WHERE ${versions}`).run(name, vault.name);
		if (expired)
			db.prepare(`UPDATE version SET exp_s = created_s + 1 WHERE ${versions}`).run(name, vault.name);
	} finally {
		db.close();
	}
}

before(async () => {
	d = await Daemon.start({ log: { interval_ms: 100 } });
	orders = await d.makeVault("orders", { purgeProtection: true });
	payroll = await d.makeVault("payroll");
	sealed = await d.makeVault("sealed");
	officer = await d.makePrincipal(orders, "officer", ["crypto-officer"]);
	nobody = await d.makePrincipal(orders, "nobody", ["reader"]);
	auditor = await d.makePrincipal(payroll, "auditor", ["auditor"]);
	everyone = await d.cli("principal", "create", "@installation", "everyone");
	await d.cli("role", "grant", "@installation", everyone.client_id, "auditor");
	const second = await d.makePrincipal(payroll, "second", ["crypto-officer"]), third = await d.makePrincipal(sealed, "third", ["crypto-officer"]);
	const make = (vault, who, name, body) => d.ok(vault, who, "POST", `/keys/${name}/create`, body);
	const rsa = { kty: "RSA", key_size: 2048 }, aes = { kty: "oct-HSM" };
	const disabled = { ...aes, attributes: { enabled: false } };
	const later = { ...aes, attributes: { nbf: Math.floor(Date.now() / 1000) + 100 * DAY_S } };
	cmk = await make(orders, officer, "cmk", rsa);
	for (const [name, body] of Object.entries({ off: disabled, past: aes, early: later, gone: aes, taken: aes, aes, again: aes, idle: aes, late: disabled }))
		await make(orders, officer, name, body);
	await make(payroll, second, "p1", aes);
	await make(sealed, third, "cmk", aes);
	// Rotations: two of one key by hand, one by creating under a name that exists.
	await d.ok(orders, officer, "POST", "/keys/aes/rotate");
	await d.ok(orders, officer, "POST", "/keys/aes/rotate");
	await make(orders, officer, "again", aes);
	// Use.
	const { value } = await d.ok(orders, officer, "POST", "/keys/cmk/wrapkey", { alg: "RSA-OAEP-256", value: Buffer.alloc(32).toString("base64url") });
	assert.ok(value);
	// Denials: three of one who is known, one of a stranger.
	for (let i = 0; i < 3; i++)
		assert.equal((await d.call(orders, nobody, "POST", "/keys/x/create", aes)).status, 403);
	assert.equal((await d.call(orders, null, "GET", "/keys", undefined, { token: "stranger" })).status, 401);
	// Revocations: five acts.
	await d.cli("key", "revoke", "orders", "taken", "--reason", "superseded");
	await d.ok(orders, officer, "PATCH", "/keys/idle", { attributes: { enabled: false } });
	await d.ok(orders, officer, "PATCH", "/keys/idle", { attributes: { enabled: true } });
	await d.ok(orders, officer, "DELETE", "/keys/gone");
	await d.cli("role", "remove", "orders", nobody.client_id, "reader");
	await d.cli("vault", "lock", "sealed", "--reason", "test");
	await d.ok(orders, officer, "PUT", "/keys/late/rotationpolicy", { lifetimeActions: [{ trigger: { timeAfterCreate: "P30D" }, action: { type: "Rotate" } }], attributes: {} });
	await d.ok(orders, officer, "PUT", "/keys/aes/rotationpolicy", { lifetimeActions: [{ trigger: { timeAfterCreate: "P300D" }, action: { type: "Rotate" } }], attributes: {} });
	await d.stop();
	age(orders, "late", 100); // disabled: no scheduler rotates it
	age(orders, "idle", 400);
	age(orders, "cmk", 200);
	age(orders, "past", 10, { expired: true });
	age(payroll, "p1", 500);
	await d.restart();
});
after(async () => {
	const how = await d?.stop();
	await d?.destroy();
	if (how)
		assert.deepEqual(how, { code: 0, signal: null }); // a sanitizer finds what was left behind
});

const byKey = (rows) => Object.fromEntries(rows.map((row) => [`${row.vault}/${row.key}`, row]));

describe("reports of the server", () => {
	test("rotations per key and quarter, with keys that were never rotated", () => {
		const now = new Date(), quarter = `${now.getUTCFullYear()}-Q${Math.floor(now.getUTCMonth() / 3) + 1}`;
		const { facts, value } = report("rotations");
		const rows = byKey(value);
		assert.deepEqual(rows["orders/aes"], { vault: "orders", key: "aes", quarter, rotations: 2, automatic: 0, creations: 1 });
		assert.deepEqual(rows["orders/again"], { vault: "orders", key: "again", quarter, rotations: 1, automatic: 0, creations: 1 });
		assert.equal(rows["orders/cmk"].rotations, 0);
		assert.deepEqual(facts, { keys: 12, created: 12, rotations: 3, automatic_rotations: 0, created_and_not_rotated: 10 });
		assert.equal(report("rotations", "--quarter", quarter).facts.rotations, 3);
		assert.equal(report("rotations", "--quarter", "2020-Q1").facts.keys, 0);
		assert.equal(report("rotations", "--to", "2020-01-01").facts.keys, 0);
		assert.equal(report("rotations", "--vault", "payroll").facts.keys, 1);
	});

	test("keys that are overdue, by their policy or by their age", () => {
		const { facts, value } = report("overdue");
		assert.deepEqual(facts, { overdue: 3, by_policy: 1, by_age: 2 });
		const rows = byKey(value);
		assert.deepEqual([rows["orders/late"].basis, rows["orders/late"].late_days, rows["orders/late"].state], ["policy", 70, "disabled"]);
		assert.deepEqual([rows["orders/idle"].basis, rows["orders/idle"].late_days, rows["orders/idle"].state], ["age", 35, "enabled"]);
		assert.deepEqual([rows["payroll/p1"].basis, rows["payroll/p1"].late_days], ["age", 135]);
		assert.equal(report("overdue", "--max-age", "450").facts.overdue, 2);
		assert.equal(report("overdue", "--max-age", "0").facts.overdue, 1, "only by policy");
	});

	test("denials by principal and reason", async () => {
		const { pseudonym } = await d.cli("principal", "show", "orders", nobody.client_id);
		const mine = report("denials", "--vault", "orders").value.filter((row) => row.principal === pseudonym);
		assert.equal(mine.length, 1);
		assert.deepEqual([mine[0].vault, mine[0].name, mine[0].count], ["orders", "nobody", 3]);
		assert.match(mine[0].reason, /Forbidden/);
		assert.ok(mine[0].first <= mine[0].last && Math.abs(mine[0].last - Date.now() / 1000) < 120);
		const strangers = report("denials").value.filter((row) => row.principal === undefined);
		assert.ok(strangers.reduce((sum, row) => sum + row.count, 0) >= 1);
		const all = report("denials");
		assert.equal(all.facts.principals, new Set(all.value.map((row) => row.principal).filter((pid) => pid !== undefined)).size);
	});

	test("time from the order to revoke to its effect", async () => {
		const { facts, value } = report("revocations");
		const acts = Object.fromEntries(value.map((row) => [row.act, row]));
		for (const act of ["key_revoke", "key_disable", "key_delete", "role_remove", "vault_lock"])
			assert.equal(acts[act]?.count, 1, act);
		assert.deepEqual([facts.revocations, facts.measured], [5, 5]);
		assert.ok(facts.p50_us > 0 && facts.p50_us <= facts.p95_us && facts.p95_us <= facts.max_us && facts.max_us < 30e6, JSON.stringify(facts));
		// The same times, by the leaves themselves.
		const took = (await d.entries(0)).map(({ leaf }) => leaf.det?.took_us).filter((us) => us !== undefined).sort((a, b) => a - b);
		assert.deepEqual([facts.p50_us, facts.p95_us, facts.max_us], [took[2], took[4], took[4]]);
		const [head, ...rows] = parseCsv(run(["revocations", "--csv"]).out), named = rows.map((row) => Object.fromEntries(row.map((cell, i) => [head[i], cell])));
		assert.deepEqual(named.map((row) => [row.act, Number(row.p50_us)]), value.map((row) => [row.act, row.p50_us]), "under the same names the same numbers");
		assert.match(run(["revocations"]).out, /^ +p50 +\d+\.\d{3} ms$/m);
	});

	test("keys that are not used", async () => {
		const { facts, value } = report("unused", "--days", "90");
		assert.deepEqual(value.map((row) => `${row.vault}/${row.key}`).sort(), ["orders/idle", "orders/late", "payroll/p1"], "cmk is old too, and was used today");
		assert.deepEqual(facts, { unused: 3, never_used: 3 });
		assert.equal(byKey(value)["payroll/p1"].unused_days, 500);
		const all = byKey(report("unused", "--days", "0").value);
		assert.ok(all["orders/cmk"].last_used > Date.now() / 1000 - 120);
		assert.equal(all["orders/aes"].last_used, undefined);
		// A page that ended in the middle of a key's events: the next one goes on with that key, below where it was.
		const from = async (place) => (await as(everyone, `unused?vault=orders&after=${Buffer.from(place).toString("base64url")}`)).json.value.map((row) => [row.key, row.last_used]);
		assert.deepEqual(await from("korders/cmk"), [["idle", undefined], ["late", undefined]]);
		assert.deepEqual(await from("korders/cmk@0"), [["cmk", undefined], ["idle", undefined], ["late", undefined]]);
		assert.deepEqual(await from("korders/gone@0"), [["idle", undefined], ["late", undefined]], "deleted in between");
	});

	test("vaults with purge protection and rotation policies", () => {
		const { facts, value } = report("protection");
		assert.deepEqual(facts, { vaults: 3, purge_protection_percent: 33.3, keys: 11, keys_rotating_percent: 18.1, vaults_rotating_percent: 0.0 });
		assert.deepEqual(value.find((row) => row.vault === "orders"),
			{ vault: "orders", purge_protection: true, locked: false, retention_days: 90, keys: 9, rotating: 2, rotating_percent: 22.2 });
		assert.equal(value.find((row) => row.vault === "sealed").locked, true);
	});

	test("pages end and go on, and add up to the same", async () => {
		const names = new Set();
		let next = "", pages = 0;
		const first = await as(everyone, "rotations");
		assert.equal(first.json.next, undefined, "so few fit on one page");
		for (; pages < 20 && next !== undefined; pages++) {
			const res = await as(everyone, `protection${next ? `?after=${next}` : ""}`);
			assert.equal(res.status, 200, res.text);
			res.json.value.forEach((row) => names.add(row.vault));
			next = res.json.next;
		}
		assert.equal(names.size, 3);
		// A place in the middle of a vault, and one behind a vault.
		const at = (text) => Buffer.from(text).toString("base64url");
		const rest = (await as(everyone, `protection?after=${at("korders/idle")}`)).json.value;
		assert.deepEqual(rest.map((row) => [row.vault, row.keys]), [["orders", 4], ["payroll", 1], ["sealed", 1]], "late, off, past and taken are behind idle");
		assert.deepEqual((await as(everyone, `protection?after=${at("korders/")}`)).json.value.map((row) => row.vault), ["payroll", "sealed"]);
		for (const bad of ["x", at("korders"), at("s12"), "%00"])
			assert.equal((await as(everyone, `protection?after=${bad}`)).status, 400, bad);
		assert.equal((await as(everyone, `rotations?after=${at("korders/")}`)).status, 400);
		assert.equal((await as(everyone, "rotations?from=5&to=5")).status, 400);
		assert.equal((await as(everyone, "unused?days=-1")).status, 400);
	});

	test("more events than a page holds add up, and none counts twice", async () => {
		const count = PAGE + 20, busy = await d.makePrincipal(payroll, "busy");
		const token = await d.token(busy), client = d.client(16), from = Math.floor(Date.now() / 1000);
		const worker = async (n) => {
			for (let i = 0; i < n; i++)
				assert.equal((await d.call(payroll, null, "GET", "/keys", undefined, { token, client })).status, 403);
		};
		await Promise.all(Array.from({ length: 20 }, () => worker(count / 20)));
		client.close();
		const pages = []; // of at most so many, and of fewer when they take longer than a page may
		for (let next = ""; next !== undefined;) {
			const { json } = await as(auditor, `denials?from=${from}${next}`);
			pages.push(json.value[0]?.count ?? 0);
			next = json.next === undefined ? undefined : `&after=${json.next}`;
		}
		assert.ok(pages.length > 1 && pages.every((n) => n <= PAGE), String(pages));
		assert.equal(pages.reduce((sum, n) => sum + n, 0), count);
		const mine = report("denials", "--vault", "payroll", "--from", String(from));
		assert.deepEqual([mine.value.length, mine.value[0].name, mine.value[0].count, mine.facts], [1, "busy", count, { denials: count, principals: 1 }]);
	});

	test("pages are asked for one after the other, and what a server answers instead is an error", async (t) => {
		const row = (key, quarter, rotations, creations) => ({ vault: "v", key, quarter, rotations, automatic: rotations, creations });
		const pages = new Map([["", { value: [row("a", "2026-Q1", 1, 1), row("b", "2026-Q1", 0, 1)], next: "p/2" }],
			["p/2", { value: [row("a", "2026-Q1", 2, 0), row("a", "2026-Q2", 4, 0)], next: "p3" }], ["p3", { value: [] }]]);
		const socket = file("fake.sock"), asked = [];
		const server = http.createServer((req, res) => {
			asked.push(req.url);
			res.end(JSON.stringify(pages.get(new URL(req.url, "http://x").searchParams.get("after") ?? "")));
		});
		await new Promise((resolve) => server.listen(socket, resolve));
		t.after(() => server.close());
		const ask = (...args) => new Promise((resolve) => {
			execFile(binaries.cli, ["--socket", socket, ...args], (err, out, said) => resolve({ code: err?.code ?? 0, out, said }));
		});
		const { out } = await ask("--json", "report", "rotations", "--vault", "v w", "--from", "5");
		assert.deepEqual(JSON.parse(out).value, [row("a", "2026-Q1", 3, 1), row("b", "2026-Q1", 0, 1), row("a", "2026-Q2", 4, 0)]);
		assert.deepEqual(JSON.parse(out).facts, { keys: 2, created: 2, rotations: 7, automatic_rotations: 7, created_and_not_rotated: 1 });
		assert.deepEqual(asked.map((target) => new URL(target, "http://x").searchParams.get("after")), [null, "p/2", "p3"]);
		assert.ok(asked.every((target) => target.startsWith("/audit/v1/reports/rotations?vault=v%20w&from=5")));
		for (const bad of [{ value: 7 }, {}, []]) {
			pages.set("", bad);
			assert.equal((await ask("report", "rotations")).code, EXIT.failed);
		}
		pages.set("", { value: [{ vault: 7, key: { x: 1 }, quarter: null }, 8, "x", null] });
		assert.equal((await ask("report", "rotations")).code, EXIT.ok, "what is no text is none");
	});

	test("a vault's auditor sees his own vault, and none of another", async () => {
		for (const name of ["rotations", "overdue", "denials", "revocations", "unused?days=0", "protection"]) {
			const res = await as(auditor, name);
			assert.equal(res.status, 200, res.text);
			assert.ok(res.json.value.every((row) => row.vault === "payroll"), `${name}: ${res.text}`);
		}
		assert.equal((await as(auditor, "overdue")).json.value.length, 1);
		for (const name of ["rotations", "overdue", "unused"]) {
			assert.equal((await as(auditor, `${name}?vault=orders`)).status, 404);
			assert.equal((await as(auditor, `${name}?vault=${orders.id}`)).status, 404);
			assert.equal((await as(everyone, `${name}?vault=${orders.id}`)).status, 200);
		}
		assert.equal((await as(officer, "protection").catch((err) => err)).status, 403);
		const ask = async (who) => (await d.http.request("POST", "/audit/v1/reports/keys",
			{ token: await d.token(who), body: { keys: [url("payroll", "p1"), url("orders", "cmk"), url("nowhere", "k")] } })).json.value.map((row) => row.state);
		assert.deepEqual(await ask(auditor), ["enabled", "not_yours", "not_yours"]);
		assert.deepEqual(await ask(everyone), ["enabled", "enabled", "no_vault"]);
		// Who asked is in the log, with what.
		const leaf = (await d.entries(0)).map((e) => e.leaf).filter((l) => l.type === "audit.read" && l.det?.report === "unused").at(-1);
		assert.equal(leaf.det.what, "report");
		assert.equal(leaf.det.vault, orders.id);
	});

	test("in each form; all on one page", () => {
		assert.match(run(["protection"]).out, /^Purge protection and rotation policies\n {2}vaults +3\n {2}purge protection percent +33\.3 %\n[\s\S]*VAULT +PURGE PROTECTION/);
		const csv = run(["protection", "--csv"]).out.split("\r\n");
		assert.deepEqual([csv[0], csv[1], csv.length], ["vault,purge_protection,retention_days,locked,keys,rotating,rotating_percent", "orders,yes,90,no,9,2,22.2", 5]);
		assert.equal(run(["all", "--html", "--output", file("all.html")]).code, EXIT.ok);
		const page = fs.readFileSync(file("all.html"), "utf8");
		assert.equal(page.match(/<h2>/g).length, 6);
		assert.ok(page.match(/<svg /g).length >= 6);
		assert.doesNotMatch(page, /<script|src=|href=|http:|https:/);
		assert.equal(fs.statSync(file("all.html")).mode & 0o777, 0o600);
		assert.equal(JSON.parse(run(["--json", "all"]).out).reports.length, 6);
		assert.equal(run(["all", "--csv"]).code, EXIT.usage);
		assert.equal(run(["protection", "--csv", "--html"]).code, EXIT.usage);
		assert.equal(run(["rotations", "--quarter", "2026-Q5"]).code, EXIT.usage);
		assert.equal(run(["rotations", "--quarter", "2026-Q1", "--from", "2026-01-01"]).code, EXIT.usage);
		assert.equal(run(["overdue", "--vault", "nowhere"]).code, EXIT.refused);
	});
});

/* ---- Cosmos DB ---- */

/** What each kind of key means, by hand. */
const KEYS = () => [
	[undefined, "none", "", false], ["", "none", "", false], [null, "none", "", false],
	[url("orders", "cmk"), "ours", "enabled", true], [url("orders", "cmk").toUpperCase().replace("HTTPS", "https"), "ours", "enabled", true],
	[cmk.key.kid, "ours", "enabled", true], [url("orders", "off"), "ours", "disabled", false], [url("orders", "past"), "ours", "expired", false],
	[url("orders", "early"), "ours", "not_yet_valid", false], [url("orders", "gone"), "ours", "deleted", false], [url("orders", "taken"), "ours", "revoked", false],
	[url("orders", "never"), "ours", "unknown", false], [url("orders", "aes"), "ours", "enabled", false], [`${url("orders", "cmk")}/${"0".repeat(32)}`, "ours", "no_version", false],
	[url("nowhere", "cmk"), "ours", "no_vault", false], [url("sealed", "cmk"), "ours", "vault_locked", false],
	["https://orders.vault.azure.net/keys/cmk", "foreign", "not checked", true], ["https://pool.managedhsm.azure.net/keys/cmk", "foreign", "not checked", true],
	[`https://orders.${DOMAIN}.evil.net/keys/cmk`, "foreign", "not checked", true], [`https://orders.${DOMAIN}@evil.net/keys/cmk`, "invalid", "", false],
	["not a key", "invalid", "", false], [`https://orders.${DOMAIN}/keys/${"k".repeat(600)}`, "invalid", "", false],
];
const TAGS = [
	[{ dataClassification: "confidential" }, "confidential"], [{ "data-classification": "Restricted" }, "restricted"], [{ DATACLASSIFICATION: "PII" }, "pii"],
	[{ classification: "secret", owner: "x" }, "secret"], [{ dataClassification: "public" }, "exempt"], [{ dataClassification: "public", classification: "pii" }, "pii"],
	[{ dataClassification: "internal" }, ""], [{}, ""], [null, ""], [undefined, ""],
];

/** @return accounts with what is right about each */
function makeAccounts() {
	const chance = new Chance(SEED), kinds = KEYS();
	return Array.from({ length: ACCOUNTS }, (_, i) => {
		const [key, source, state, good] = kinds[i < kinds.length ? i : chance.below(kinds.length)];
		const [tags, cls] = TAGS[i < kinds.length ? 0 : chance.below(TAGS.length)];
		const needs = cls !== "" && cls !== "exempt";
		const name = i % 50 === 7 ? HOSTILE[Math.floor(i / 50)] : `account-${i}`;
		return { name, group: `group-${i % 7}`, id: `/subscriptions/s/resourceGroups/group-${i % 7}/providers/Microsoft.DocumentDB/databaseAccounts/a${i}`, key, source, state, good, tags, cls,
			needs, result: needs ? (good ? "compliant" : "not compliant") : cls === "exempt" ? "exempt" : "unclassified" };
	});
}

/** As Azure's tools print them. */
const FORMS = {
	az: (list) => list.map((a) => ({ id: a.id, name: a.name, resourceGroup: a.group, location: "West Europe", type: "Microsoft.DocumentDB/databaseAccounts", kind: "GlobalDocumentDB",
		tags: a.tags, keyVaultKeyUri: a.key, keyVaultKeyUriVersion: null })),
	arm: (list) => ({ value: list.map((a) => ({ id: a.id, name: a.name, location: "West Europe", type: "Microsoft.DocumentDB/databaseAccounts", tags: a.tags,
		properties: { provisioningState: "Succeeded", keyVaultKeyUri: a.key } })) }),
	graph: (list) => ({ count: list.length + 1, total_records: list.length + 1, skip_token: null, data: [...list.map((a) => ({ id: a.id, name: a.name, location: "westeurope",
		type: "microsoft.documentdb/databaseaccounts", tags: a.tags, resourceGroup: a.group, properties: { keyVaultKeyUri: a.key } })),
	{ id: "/x", name: "vm", type: "microsoft.compute/virtualmachines" }] }),
};

function write(name, value) {
	fs.writeFileSync(file(name), typeof value === "string" ? value : JSON.stringify(value));
	return file(name);
}

const cosmos = (inventory, ...args) => run(["cosmos", "--inventory", inventory, ...args]);

/** RFC 4180. @return rows of fields */
function parseCsv(text) {
	const rows = [[]];
	let at = 0;
	while (at < text.length) {
		const m = /"((?:[^"]|"")*)"(,|\r\n)|([^",\r\n]*)(,|\r\n)/y;
		m.lastIndex = at;
		const found = m.exec(text);
		assert.ok(found, `no CSV at ${at}: ${JSON.stringify(text.slice(at, at + 80))}`);
		rows.at(-1).push(found[1] !== undefined ? found[1].replaceAll('""', '"') : found[3]);
		at = m.lastIndex;
		if ((found[2] ?? found[4]) === "\r\n")
			rows.push([]);
	}
	assert.deepEqual(rows.pop(), []);
	return rows;
}

describe("compliance of Cosmos DB accounts", () => {
	test("a made inventory of 500 accounts gives the known answer, in all three forms", () => {
		const accounts = makeAccounts();
		const right = new Map(accounts.map((a) => [a.id, a]));
		const needing = accounts.filter((a) => a.needs), good = needing.filter((a) => a.good), percent = (n, of) => Math.floor(n * 1000 / of) / 10;
		const count = (name, value) => accounts.filter((a) => a[name] === value).length;
		for (const [form, shape] of Object.entries(FORMS)) {
			const { code, out, err } = run(["--json", "cosmos", "--inventory", write(`${form}.json`, shape(accounts))]);
			assert.equal(code, EXIT.notCompliant, err);
			assert.match(err, new RegExp(`^holdfast: ${count("result", "unclassified")} accounts have no tag`));
			const { facts, value, classes } = JSON.parse(out);
			delete facts.at;
			assert.deepEqual(facts, { accounts: ACCOUNTS, needing_a_key: needing.length, compliant: good.length, not_compliant: needing.length - good.length, exempt: count("result", "exempt"),
				unclassified: count("result", "unclassified"), without_a_key: count("source", "none"), with_a_key_of_ours: count("source", "ours"),
				with_a_foreign_key: count("source", "foreign"), compliant_percent: percent(good.length, needing.length) }, form);
			assert.equal(value.length, ACCOUNTS);
			for (const row of value) {
				const a = right.get(row.id);
				assert.deepEqual([row.account, row.resource_group, row.class, row.source, row.state, row.result, row.needs], [a.name, a.group, a.cls, a.source, a.state, a.result, a.needs], row.id);
				assert.equal(row.reason !== "", a.result === "not compliant", row.id);
			}
			for (const row of classes) {
				const of = accounts.filter((a) => (a.cls || "(unclassified)") === row.class), fine = of.filter((a) => a.result === "compliant");
				assert.deepEqual([row.accounts, row.compliant, row.compliant_percent], [of.length, fine.length, of[0].needs ? percent(fine.length, of.length) : null], row.class);
			}
			assert.equal(classes.length, 6);
		}
	});

	test("what accounts are called is text in each form, whatever it looks like", () => {
		const accounts = makeAccounts(), inventory = file("az.json");
		const rows = parseCsv(cosmos(inventory, "--csv").out);
		assert.equal(rows.length, ACCOUNTS + 1);
		assert.ok(rows.every((row) => row.length === 10 && row.every((cell) => !/^[=+\-@\t\r]/.test(cell))));
		const [account, id] = [rows[0].indexOf("account"), rows[0].indexOf("id")];
		for (const a of accounts)
			assert.equal(rows.find((row) => row[id] === a.id)[account], /^[=+\-@\t]/.test(a.name) ? `'${a.name}` : a.name);
		const page = cosmos(inventory, "--html").out, body = page.slice(page.indexOf("<body>"));
		assert.match(page, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
		assert.doesNotMatch(body, /<script|<b>|[\u0000-\u0008\u001b\u202e]/); // eslint-disable-line no-control-regex
		assert.match(body, /&#39; onload=&#39;x/);
		assert.deepEqual([...new Set([...body.matchAll(/<\/?([a-z0-9]+)/g)].map((m) => m[1]))].sort(),
			["body", "dd", "dl", "dt", "h1", "h2", "h3", "html", "p", "rect", "svg", "table", "tbody", "td", "text", "th", "thead", "tr"]);
		assert.doesNotMatch(cosmos(inventory).out, /[\u0000-\u0009\u000b-\u001f\u202e]/); // eslint-disable-line no-control-regex
	});

	test("how long it takes until an account gets its key, from one run to the next", () => {
		const state = file("state.json"), day = 1_790_000_000;
		const account = (n, key, tags = { dataClassification: "pii" }) => ({ id: `/subscriptions/s/a${n}`, name: `a${n}`, tags, keyVaultKeyUri: key });
		const good = url("orders", "cmk");
		const once = (at, list, ...args) => {
			const res = run(["--json", "cosmos", "--inventory", write("small.json", list), "--state", state, "--at", String(at), ...args]);
			return { ...res, facts: res.out && JSON.parse(res.out).facts };
		};
		const times = ({ facts }) => [facts.remediated, facts.mean_time_to_remediate_s, facts.not_remediated_yet, facts.oldest_not_remediated_s];
		let res = once(day, [1, 2, 3, 4, 5].map((n) => account(n, n === 5 ? good : null)));
		assert.deepEqual([res.code, ...times(res)], [EXIT.notCompliant, 0, null, 4, 0]);
		assert.equal(fs.statSync(state).mode & 0o777, 0o600);
		// a1 got its key after 2 days, a2 vanished, a3 is not confidential any more, a4 still lacks one, a5 lost its own.
		res = once(day + 2 * DAY_S, [account(1, good), account(3, null, { dataClassification: "public" }), account(4, null), account(5, "")]);
		assert.deepEqual(times(res), [1, 2 * DAY_S, 2, 2 * DAY_S]);
		// a2 is back, with a key: nobody knows when it got it. a4 after 10 days, a5 after 8, under another spelling of its id.
		res = once(day + 10 * DAY_S, [account(1, good), account(2, good), account(4, good), { ...account(5, good), id: "/SUBSCRIPTIONS/S/A5" }]);
		assert.deepEqual([res.code, ...times(res)], [EXIT.ok, 3, (2 + 10 + 8) * DAY_S / 3 | 0, 0, null]);
		// a1 loses it again, and gets it after a day.
		once(day + 11 * DAY_S, [account(1, null)]);
		res = once(day + 12 * DAY_S, [account(1, good)]);
		assert.deepEqual(times(res), [4, (2 + 10 + 8 + 1) * DAY_S / 4, 0, null]);
		assert.match(cosmos(file("small.json"), "--state", state, "--at", String(day + 12 * DAY_S), "--html").out, /<polyline class="line" points="/);
		// What cannot be right is refused, and the file stays as it is.
		const before = fs.readFileSync(state, "utf8");
		assert.match(once(day, [account(1, good)]).err, /after this one/);
		const change = (edit) => {
			const parsed = JSON.parse(before);
			edit(parsed);
			return cosmos(file("small.json"), "--state", write("bad-state.json", parsed));
		};
		for (const [edit, message] of [[(s) => delete s.format, /is no state of this report/], [(s) => (s.version = 2), /is of version 2/], [(s) => (s.accounts = []), /damaged/],
			[(s) => (Object.values(s.accounts)[0].since = "x"), /damaged/]]) {
			const { code, err } = change(edit);
			assert.equal(code, EXIT.usage);
			assert.match(err, message);
		}
		assert.equal(cosmos(file("small.json"), "--state", write("bad-state.json", "{")).code, EXIT.usage);
		assert.equal(fs.readFileSync(state, "utf8"), before);
	});

	test("rules of one's own; and what is no inventory is refused with the place", () => {
		const list = [{ id: "/a", name: "a", tags: { env: "prod", tier: "Gold" } }, { id: "/b", name: "b", tags: { env: "dev" } }, { id: "/c", name: "c", tags: { dataClassification: "pii" } }];
		const { out, code } = run(["--json", "cosmos", "--inventory", write("own.json", list), "--classify", "tier=gold,silver:top", "--classify", "ENV=dev,test:exempt"]);
		assert.equal(code, EXIT.notCompliant);
		assert.deepEqual(JSON.parse(out).value.map((row) => [row.account, row.class, row.result]), [["a", "top", "not compliant"], ["c", "", "unclassified"], ["b", "exempt", "exempt"]]);
		for (const rule of ["tier", "tier=gold", "=gold:top", "tier=:top", "tier=gold:", "tier=gold:Top!", "tier=a,,b:top"])
			assert.match(cosmos(file("own.json"), "--classify", rule).err, /expected TAG=VALUE/, rule);
		for (const [text, message] of [
			["{", /line 1, column 1: /], ["[\n{\"id\":}", /line 2, column \d+/], ["7", /expected the list|line 1/], ["{}", /expected the list/], ["[1]", /\[0\]: expected an object/],
			[[{ name: "a" }], /\[0\]\.id: expected/], [{ value: [{ id: "/a", name: "a" }, { id: "/A", name: "b" }] }, /value\[1\]\.id: the same account/],
			[{ data: [{ id: "/a", name: "a", tags: ["x"] }] }, /data\[0\]\.tags: expected/], [[{ id: "/a", name: "a", tags: { x: 1 } }], /tags: expected/],
			[[{ id: "/a", name: "a", properties: { keyVaultKeyUri: 1 } }], /\[0\]\.keyVaultKeyUri: expected/], [{ value: [], nextLink: "https://more" }, /nextLink: there are more/],
			[{ data: [], total_records: 3 }, /found 3, and this file has 0/], [{ data: [], skip_token: "x" }, /skip_token: there are more/], [{ data: [], resultTruncated: "true" }, /cut off/],
			["[{\"id\":\"/a\",\"id\":\"/b\"}]", /line 1, column \d+: duplicate/],
		]) {
			const res = cosmos(write("bad.json", text));
			assert.equal(res.code, EXIT.usage, JSON.stringify(text));
			assert.match(res.err, message);
			assert.equal(res.out, "");
		}
		assert.equal(cosmos(file("missing.json")).code, EXIT.usage);
		assert.equal(cosmos(write("empty.json", [])).code, EXIT.ok);
		fs.writeFileSync(file("large.json"), "");
		fs.truncateSync(file("large.json"), (64 << 20) + 1);
		assert.match(cosmos(file("large.json")).err, /expected a file of 1 to 67108864 bytes/);
		assert.equal(run(["cosmos", "--inventory", file("az.json")], { via: ["--socket", file("nowhere.sock")] }).code, EXIT.failed);
	});
});
