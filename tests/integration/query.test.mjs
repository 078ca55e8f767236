// Questions to the event log: filters, pages, who sees what, and an index that may be gone at any time.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { Daemon, until } from "../support/daemon.mjs";
import { binaries } from "../support/paths.mjs";

let d, vault, other, officer, stranger, auditor, everything;
const wrapped = { alg: "A256KW", value: Buffer.alloc(32, 1).toString("base64url") };

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	other = await d.makeVault("payroll");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	stranger = await d.makePrincipal(other, "stranger", ["crypto-officer"]);
	auditor = await d.makePrincipal(vault, "auditor", ["auditor"]);
	everything = await d.makePrincipal(other, "everything", ["auditor"]);
	await d.cli("role", "grant", other.name, everything.client_id, "auditor", "--installation");
	for (const [where, who] of [[vault, officer], [other, stranger]])
		for (const key of ["master", "spare"]) {
			await d.ok(where, who, "POST", `/keys/${key}/create`, { kty: "oct-HSM" });
			for (let i = 0; i < 3; i++)
				await d.ok(where, who, "POST", `/keys/${key}/wrapkey`, wrapped, { headers: { "x-ms-client-request-id": `job-${i}` } });
		}
	assert.equal((await d.call(vault, officer, "GET", "/keys/nothing")).status, 404);
	assert.equal((await d.call(vault, auditor, "GET", "/keys")).status, 403);
});
after(() => d?.destroy());

const ask = async (who, query) => d.http.request("GET", `/audit/v1/events${query === "" ? "" : "?"}${query}`, { token: await d.token(who) });
const found = async (who, query) => {
	const res = await ask(who, query);
	assert.equal(res.status, 200, `${query}: ${res.text}`);
	return res.json.value;
};
const seqs = (events) => events.map(({ seq }) => seq);

test("each filter and their combinations answer what the whole log says", async () => {
	const size = await d.logSize();
	const all = (await d.entries(0)).map(({ leaf }) => leaf).filter(({ seq }) => seq < size);
	const pid = all.find(({ type, tenant }) => type === "key.wrap" && tenant === vault.id).actor.pid;
	const version = all.find(({ type, key }) => type === "key.wrap" && key?.ver).key.ver;
	const noon = all[Math.floor(all.length / 2)];
	const cases = [
		["vault=orders", ({ tenant }) => tenant === vault.id],
		[`vault=${vault.id}`, ({ tenant }) => tenant === vault.id],
		["vault=-", ({ tenant }) => tenant === undefined],
		["vault=orders&key=MASTER", ({ tenant, key }) => tenant === vault.id && key?.name === "master"],
		[`version=${version}`, ({ key }) => key?.ver === version],
		[`principal=${officer.client_id}`, ({ actor }) => actor?.pid === pid],
		[`principal=${pid}`, ({ actor }) => actor?.pid === pid],
		["type=key.wrap", ({ type }) => type === "key.wrap"],
		["type=key.wrap,key.create&vault=payroll", ({ type, tenant }) => ["key.wrap", "key.create"].includes(type) && tenant === other.id],
		["type=key.*", ({ type }) => type.startsWith("key.")],
		["type=key.*&intents=no", ({ type, phase }) => type.startsWith("key.") && phase !== "intent"],
		["result=denied", ({ result }) => result === "denied"],
		["err=ForbiddenByRbac", ({ err }) => err === "ForbiddenByRbac"],
		["id=job-1", ({ corr }) => corr === "job-1"],
		["id=job-1&vault=orders&key=spare", ({ corr, tenant, key }) => corr === "job-1" && tenant === vault.id && key?.name === "spare"],
		[`from=${encodeURIComponent(noon.ts)}`, ({ ts }) => ts >= noon.ts],
		[`to=${encodeURIComponent(noon.ts)}`, ({ ts }) => ts < noon.ts],
		[`from=${Math.floor(Date.parse(noon.ts) / 1000)}&to=2099-12-31`, ({ ts }) => Math.floor(Date.parse(ts) / 1000) >= Math.floor(Date.parse(noon.ts) / 1000)],
		["from=2099-01-01T00:00:00%2B02:00", () => false],
	];
	for (const [query, wanted] of cases) {
		const expected = all.filter(wanted);
		const events = (await found(everything, `${query}&order=oldest&limit=1000`)).filter(({ seq }) => seq < size);
		assert.deepEqual(seqs(events), seqs(expected), query);
		assert.deepEqual(events, expected, query);
	}
	assert.deepEqual(seqs(await found(everything, "vault=payroll&type=key.wrap")), seqs(all.filter(({ type, tenant }) => type === "key.wrap" && tenant === other.id)).reverse());
});

test("the auditor of a vault sees nothing of another, whatever is asked; others see nothing at all", async () => {
	const mine = await ask(auditor, "limit=1000");
	assert.equal(mine.status, 200, mine.text);
	assert.ok(mine.json.value.length > 8);
	assert.ok(mine.json.value.every(({ tenant }) => tenant === vault.id));
	assert.ok(!mine.text.includes(other.id));
	assert.deepEqual(seqs((await found(auditor, "vault=orders&type=key.wrap"))).length, 6);
	assert.deepEqual((await found(auditor, "id=job-1")).length, 2);
	// Whether somebody else's directory has this id is not told.
	const theirs = await ask(auditor, `principal=${stranger.client_id}`), nobodys = await ask(auditor, `principal=${randomUUID()}`);
	assert.equal(theirs.status, 404, theirs.text);
	assert.equal(theirs.json.error.message, nobodys.json.error.message);
	assert.notEqual((await found(everything, `principal=${stranger.client_id}`)).length, 0);
	const refused = await ask(auditor, "vault=payroll"), nowhere = await ask(auditor, "vault=nowhere");
	assert.equal(refused.status, 404, refused.text);
	assert.equal(refused.text.replace(/[0-9a-f-]{36}/g, ""), nowhere.text.replace(/[0-9a-f-]{36}/g, ""), "a vault that is there is told from one that is not");
	assert.equal((await ask(auditor, `vault=${other.id}`)).status, 404);
	assert.equal((await ask(auditor, "vault=-")).status, 404);
	for (const who of [officer, stranger])
		assert.equal((await ask(who, "")).status, 403);
	assert.equal((await d.http.request("GET", "/audit/v1/events")).status, 401);
});

test("what is not understood is refused with what would be", async () => {
	const cases = [["wat=1", /wat: there is no such parameter/], ["limit=0", /limit: must be a number from 1 to 1000/], ["limit=1001", /limit/], ["limit=ten", /limit/],
		["type=key.dance", /no type of event key\.dance/], ["type=", /type/], ["type=*", /type/], ["result=fine", /result: must be ok, denied/], ["order=up", /order: must be newest or oldest/],
		["intents=maybe", /intents/], ["from=yesterday", /from: must be a time/], ["to=2026-02-30", /to: must be a time/], ["from=2026-01-01T25:00:00Z", /from/], ["from=2&to=1", /ends before it begins/],
		["key=master", /name the vault too/], ["version=12", /version: must be a key version/], ["principal=officer", /principal: must be the id/], ["id=", /id: must have/],
		[`id=${"x".repeat(129)}`, /id: must have/], ["cursor=AAAA", /cursor: is not one/], ["type=key.wrap&type=key.get", /given twice/]];
	for (const [query, why] of cases) {
		const res = await ask(everything, query);
		assert.equal(res.status, 400, `${query}: ${res.text}`);
		assert.match(res.json.error.message, why, query);
	}
	assert.equal((await ask(everything, "principal=00000000-0000-4000-8000-000000000000")).status, 404);
});

test("pages go on where they were while events are written, and their cursor is good for their filters alone", async () => {
	const whole = seqs(await found(auditor, "type=key.*&order=oldest&limit=1000"));
	const pages = [];
	let cursor = "", answer;
	do {
		answer = (await ask(auditor, `type=key.*&order=oldest&limit=3${cursor}`)).json;
		pages.push(...seqs(answer.value));
		cursor = answer.next === undefined ? "" : `&cursor=${answer.next}`;
		await d.ok(other, stranger, "GET", "/keys/master");
	} while (cursor !== "");
	assert.deepEqual(pages, whole);

	const first = (await ask(everything, "type=key.wrap&limit=2")).json;
	assert.ok(first.next);
	for (const query of ["type=key.get&limit=2", "limit=2", "type=key.wrap&order=oldest", "type=key.wrap&vault=orders"])
		assert.equal((await ask(everything, `${query}&cursor=${first.next}`)).status, 400, query);
	assert.equal((await ask(everything, `type=key.wrap&limit=5&cursor=${first.next}`)).status, 200, "a page may have another length");
	assert.equal((await ask(auditor, `type=key.wrap&limit=2&cursor=${first.next}`)).status, 400, "whose vault is forced has another filter");
	assert.equal((await ask(everything, `type=key.wrap&cursor=${first.next.slice(0, -1)}${first.next.endsWith("A") ? "B" : "A"}`)).status, 400);
});

test("asking is an event, with the names of the filters and not what they said", async () => {
	await found(auditor, "id=job-2&type=key.wrap&limit=7");
	const [leaf] = await found(auditor, "type=audit.read&limit=1");
	assert.equal(leaf.det.what, "events");
	assert.equal(leaf.det.filters, "id,type,limit");
	assert.ok(!JSON.stringify(leaf.det).includes("job-2"));
});

test("the command shows a table, and JSON, and follows pages", async () => {
	const lines = (await d.cliText("log", "query", "--vault", "orders", "--type", "key.wrap", "--order", "oldest", "--limit", "4")).trimEnd().split("\n");
	assert.match(lines[0], /^SEQ +TIME +TYPE +RESULT +VAULT +KEY +PRINCIPAL +PEER/);
	assert.equal(lines.length, 5);
	assert.ok(lines.slice(1).every((line) => line.includes("key.wrap") && line.includes(vault.id) && line.includes("127.0.0.0/24")), lines.join("\n"));
	// What is cut is told, in both forms, and can be gone on with.
	const run = (...args) => spawnSync(binaries.cli, ["--socket", d.socket, ...args], { encoding: "utf8" });
	const cut = run("--json", "log", "query", "--type", "key.wrap", "-n", "2"), { value: two, next } = JSON.parse(cut.stdout);
	assert.equal(two.length, 2);
	assert.equal(cut.stderr.trimEnd(), `holdfast: there may be more: ask with a higher --limit, or narrower, or go on with --cursor ${next}`);
	const rest = JSON.parse(run("--json", "log", "query", "--type", "key.wrap", "--cursor", next).stdout);
	assert.deepEqual([...seqs(two), ...seqs(rest.value)], seqs(await found(everything, "type=key.wrap&limit=1000")));
	assert.equal(rest.next, undefined);
	const denied = run("log", "query", "--vault", "orders", "--result", "denied", "--from", "-1h").stdout;
	assert.match(denied, / ERROR \(DETAIL\)\n.* ForbiddenByRbac/);
	assert.match(run("log", "query", "--type", "audit.read", "-n", "1").stdout, / - \(\w+.*\)\n$/);
	const nothing = run("log", "query", "--vault", vault.id, "--to", "2020-01-01");
	assert.deepEqual([nothing.status, nothing.stderr], [0, "holdfast: no event matches\n"]);
	// Names and pseudonyms of principals, ids of vaults, and the installation.
	const byName = JSON.parse(run("--json", "log", "query", "--vault", "orders", "--principal", "officer", "-n", "1000").stdout).value;
	assert.deepEqual(seqs(byName), seqs(await found(everything, `vault=orders&principal=${officer.client_id}&limit=1000`)));
	assert.equal(JSON.parse(run("--json", "principal", "show", "orders", byName[0].actor.pid).stdout).id, officer.client_id);
	assert.ok(run("principal", "list", "orders").stdout.includes(byName[0].actor.pid));
	assert.equal(JSON.parse(run("--json", "vault", "show", vault.id).stdout).name, "orders");
	assert.ok(run("vault", "list").stdout.includes(vault.id));
	const tail = run("--json", "log", "tail", "--vault", vault.id, "--limit", "2").stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
	assert.ok(tail.length === 2 && tail.every(({ tenant }) => tenant === vault.id));
	assert.ok(JSON.parse(run("--json", "log", "query", "--vault", "@installation").stdout).value.every(({ tenant }) => tenant === undefined));
	assert.match(run("log", "show", randomUUID()).stderr, /log query --id /);
	const { value } = await d.cli("log", "query", "--vault", "orders", "--key", "master", "--type", "key.wrap,key.create", "--intents", "no");
	assert.equal(value.length, 4);
});

test("an index that is gone, or is no index, is made again, and answers never miss anything", async () => {
	const file = `${d.database}-index`;
	const before = seqs(await found(auditor, "type=key.wrap"));
	assert.equal(fs.statSync(file).mode & 0o777, 0o600);
	for (const spoil of [() => fs.rmSync(file), () => fs.writeFileSync(file, "no index at all\n".repeat(1000))]) {
		await d.stop();
		for (const suffix of ["-wal", "-shm"])
			fs.rmSync(file + suffix, { force: true });
		spoil();
		await d.restart();
		assert.deepEqual(seqs(await found(auditor, "type=key.wrap")), before);
		await until("the index has come to the end", async () => {
			const { json } = await ask(everything, "limit=1");
			return json.indexed >= json.value[0].seq - 1;
		});
		assert.deepEqual(seqs(await found(auditor, "type=key.wrap")), before);
	}
	await d.kill9();
	await d.restart();
	assert.deepEqual(seqs(await found(auditor, "type=key.wrap")), before);
});
