// Events of vaults, sent to receivers outside: both shapes and their handshakes, signatures, where nothing may be sent, order and loss under kill -9 of either side, and
// what could not be delivered.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { issueServerCert } from "../support/certs.mjs";
import { DOMAIN, Daemon, authority, freePort, until } from "../support/daemon.mjs";
import { fillUp, tmpfs } from "../support/disk.mjs";
import { Description } from "../support/openapi.mjs";
import { Receiver, isSigned } from "../support/webhook_receiver.mjs";

const TOKEN = "receivers-own-token";
const KEY_EVENT = "Microsoft.KeyVault.KeyNewVersionCreated";
const NOW_S = Math.floor(Date.now() / 1000);

let d, dir, receiver, vault, other, app, deaf;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-webhook-"));
	const ca = authority(dir);
	const [cert, key] = [path.join(dir, "receiver.crt"), path.join(dir, "receiver.key")];
	issueServerCert(ca, "receiver.localhost", cert, key);
	receiver = new Receiver(await freePort(), cert, key, path.join(dir, "received"));
	await receiver.start();
	deaf = await freePort();
	d = await Daemon.start({ webhooks: { hosts: [`127.0.0.1:${receiver.port}`, `127.0.0.1:${deaf}`], ca: ca.cert } });
	vault = await d.makeVault("orders");
	other = await d.makeVault("payroll");
	app = await d.makePrincipal(vault, "app", ["crypto-officer"]);
});
after(async () => {
	await receiver?.kill9();
	await d?.destroy();
	if (dir)
		fs.rmSync(dir, { recursive: true, force: true });
});

const at = (v, rest = "") => `/admin/v1/vaults/${v.name}/webhooks${rest}`;
const create = (name, body = {}, v = vault) => d.admin("POST", at(v), { name, url: receiver.url(name), ...body });
const get = async (name) => (await d.adminOk("GET", at(vault, `/${name}`))).json;
const reaches = (name, state) => until(`${name} is ${state}`, async () => (await get(name)).state === state);
const remove = (name) => d.adminOk("DELETE", at(vault, `/${name}`));
const makeKey = (name) => d.ok(vault, app, "POST", `/keys/${name}/create`, { kty: "EC", crv: "P-256" });

/** A subscription whose receiver has agreed. */
async function subscribe(name, body) {
	const res = await create(name, body);
	assert.equal(res.status, 200, res.text);
	await reaches(name, "active");
	return res.json;
}

test("an event reaches both shapes, signed, and only its own vault's subscribers", async () => {
	const grid = await subscribe("ok-grid", { url: `${receiver.url("ok-grid")}?code=${TOKEN}` });
	const cloud = await subscribe("ok-cloud", { shape: "cloud-events", events: ["KeyNewVersionCreated"] });
	assert.equal((await create("ok-other", {}, other)).status, 200);

	const made = await d.ok(vault, app, "POST", "/keys/cmk/create", { kty: "EC", crv: "P-256", attributes: { exp: NOW_S + 86400 * 365, nbf: NOW_S } });
	await d.cli("role", "grant", vault.name, app.client_id, "reader");
	const [event] = await until("the event", () => receiver.events("ok-grid").length >= 2 && receiver.events("ok-grid"));
	const version = made.key.kid.split("/").at(-1);
	const data = { Id: made.key.kid, VaultName: "orders", ObjectType: "Key", ObjectName: "cmk", Version: version, NBF: NOW_S, EXP: NOW_S + 86400 * 365 };
	const { request, ...body } = event;
	assert.deepEqual(Object.keys(body), ["id", "topic", "subject", "eventType", "eventTime", "data", "dataVersion", "metadataVersion"]);
	assert.deepEqual(body.data, data);
	assert.deepEqual([body.subject, body.eventType, body.dataVersion, body.metadataVersion], ["cmk", KEY_EVENT, "1", "1"]);
	assert.equal(body.topic, `/tenants/${vault.tenant_id}/vaults/orders`);
	assert.equal(request.headers["aeg-event-type"], "Notification");
	assert.equal(request.headers["aeg-subscription-name"], "ok-grid");
	assert.equal(request.headers["webhook-id"], body.id);
	assert.equal(isSigned(request, grid.secret), true);
	assert.equal(isSigned(request, cloud.secret), false);
	assert.equal(isSigned({ ...request, body: `${request.body} ` }, grid.secret), false);
	assert.deepEqual((await d.entries()).filter(({ leaf }) => leaf.id === body.id).map(({ leaf }) => [leaf.type, leaf.ts]), [["key.create", body.eventTime]]);

	const access = receiver.events("ok-grid").at(-1);
	assert.equal(access.eventType, "Microsoft.KeyVault.VaultAccessPolicyChanged");
	assert.equal(access.subject, "orders");
	assert.deepEqual(access.data, { Id: vault.url ?? d.origin, VaultName: "orders", ObjectType: "", ObjectName: "", Version: "", NBF: null, EXP: null });

	const [{ request: cloudRequest, ...cloudBody }, ...more] = await until("the cloud event", () => receiver.events("ok-cloud").length > 0 && receiver.events("ok-cloud"));
	assert.equal(more.length, 0, "the grant was not asked for");
	assert.deepEqual(cloudBody, { specversion: "1.0", id: body.id, source: body.topic, type: KEY_EVENT, subject: "cmk", time: body.eventTime,
		datacontenttype: "application/json", data });
	assert.match(cloudRequest.headers["content-type"], /^application\/cloudevents\+json/);
	assert.equal(isSigned(cloudRequest, cloud.secret), true);
	assert.deepEqual(receiver.requests("ok-cloud").filter((r) => r.method === "OPTIONS").map((r) => r.headers["webhook-request-origin"]), [DOMAIN]);
	assert.equal(receiver.events("ok-other").length, 0);
});

test("a new secret signs at once, and the one before goes on until the next", async () => {
	const first = (await create("ok-secret")).json;
	await reaches("ok-secret", "active");
	const second = await d.cli("webhook", "new-secret", "orders", "ok-secret");
	assert.equal(second.secret_generation, 2);
	assert.notEqual(second.secret, first.secret);
	await makeKey("twice-signed");
	const [event] = await until("the event", () => receiver.events("ok-secret").length > 0 && receiver.events("ok-secret"));
	assert.equal(isSigned(event.request, first.secret) && isSigned(event.request, second.secret), true);
	assert.equal((await get("ok-secret")).secret, undefined);
	await remove("ok-secret");
});

test("nothing goes to an address that is not listed, nor to a receiver that does not agree", async () => {
	const refused = [
		["https://evil.example.com/", 403], [`https://127.0.0.1:${receiver.port + 1}/`, 403], ["https://127.0.0.1/", 403],
		[`https://127.0.0.1:${receiver.port}@evil.example.com/`, 400], [`http://localhost:${receiver.port}/`, 400], ["ftp://127.0.0.1/", 400],
		[`https://127.0.0.1:${receiver.port}/#x`, 400], [`https://127.0.0.1:${receiver.port}/${"x".repeat(512)}`, 400], ["file:///etc/passwd", 400],
	];
	for (const [url, status] of refused) {
		const res = await create("bad", { url });
		assert.equal(res.status, status, `${url}: ${res.text}`);
	}
	assert.equal((await create("evil\r\nX: y")).status, 400);
	assert.equal((await create("OK-GRID")).status, 409, "the name is taken");
	for (const [name, shape] of [["wrong-grid", "event-grid"], ["wrong-cloud", "cloud-events"]]) {
		await create(name, { shape });
		await reaches(name, "refused");
		assert.match((await get(name)).failure, /^HTTP 200: /);
	}
	const redirect = await create("redirect-1");
	assert.equal(redirect.status, 200);
	await reaches("redirect-1", "active");
	await makeKey("not-for-all");
	await until("it was redirected", async () => (await get("redirect-1")).failure === "HTTP 302");
	assert.deepEqual([receiver.events("wrong-grid").length, receiver.events("wrong-cloud").length, receiver.requests("ok-redirected").length], [0, 0, 0]);
	await Promise.all(["wrong-grid", "wrong-cloud", "redirect-1"].map(remove));
});

test("slow receivers and one that is silent delay no other", async () => {
	const slow = Array.from({ length: 9 }, (_, i) => `slow-${i + 1}`);
	for (const name of slow)
		await subscribe(name, { events: ["KeyNewVersionCreated"] });
	await create("silent", { url: `https://127.0.0.1:${deaf}/` });
	await until("it was tried", async () => (await get("silent")).failure === "could not connect to the receiver");
	assert.match(d.logText(), /"?webhook_not_sent"?.*Couldn't connect|"?webhook_not_sent"?.*Failed to connect/, "the operator is told more");
	await makeKey("slow-a");
	await makeKey("slow-b");
	const from = Date.now();
	await until("the quick one has both", () => receiver.events("ok-grid").filter((e) => e.subject.startsWith("slow-")).length === 2, 2000);
	assert.ok(Date.now() - from < 2000);
	assert.ok(receiver.events("slow-1").length <= 1);
	assert.equal((await get("silent")).state, "pending");
	await Promise.all([...slow, "silent"].map(remove));
});

test("a tenant whose receivers hang, and who deletes and makes its webhooks again and again, delays no other tenant's", async () => {
	const names = Array.from({ length: 15 }, (_, i) => `hang-${i}`);
	let stops = false;
	const attack = (async () => {
		for (let round = 0; !stops; round++) {
			for (const name of names) {
				if (round > 0)
					await d.adminOk("DELETE", at(other, `/${name}`));
				await create(name, {}, other);
			}
			await sleep(100);
		}
	})();
	await until("they hang", () => names.some((name) => receiver.requests(name).length > 0));
	await subscribe("ok-fair", { events: ["KeyNewVersionCreated"] });
	const from = Date.now();
	await makeKey("fair");
	await until("it has come", () => receiver.events("ok-fair").length === 1, 3000);
	assert.ok(Date.now() - from < 3000);
	stops = true;
	await attack;
	await Promise.all([remove("ok-fair"), ...names.map((name) => d.adminOk("DELETE", at(other, `/${name}`)))]);
	// What was under way fails now, for webhooks that are gone: that is no failure of the server.
	const said = d.logText().split("webhook_not_sent").length;
	await receiver.kill9();
	await receiver.start();
	await until("it was given up", () => d.logText().split("webhook_not_sent").length > said);
	await makeKey("fair-after");
	await until("all go on", () => receiver.events("ok-grid").some((e) => e.subject === "fair-after"));
	assert.ok(!d.logText().includes("webhook_turn_failed"));
});

test("kill -9 of receiver and daemon, again and again: nothing is lost, nothing out of order, and what comes twice has the same id", async () => {
	const made = [];
	for (let round = 0; round < 3; round++) {
		for (let i = 0; i < 4; i++) {
			made.push(`crash-${round}-${i}`);
			await makeKey(made.at(-1));
		}
		if (round % 2 === 0) {
			await receiver.kill9();
			made.push(`crash-${round}-x`);
			await makeKey(made.at(-1));
			await receiver.start();
		}
		await d.kill9();
		await d.restart();
	}
	const seen = (name) => receiver.events(name).filter((e) => e.subject.startsWith("crash-"));
	for (const name of ["ok-grid", "ok-cloud"]) {
		await until(`${name} has all`, () => new Set(seen(name).map((e) => e.subject)).size === made.length, 15_000);
		const events = seen(name), first = new Map();
		events.forEach((e) => first.has(e.id) || first.set(e.id, e.subject));
		assert.deepEqual([...first.values()], made);
		assert.ok(events.every((e) => first.get(e.id) === e.subject && e.request.headers["webhook-id"] === e.id));
	}
});

test("a full disk delays what is under way, and loses none of it", async (t) => {
	const disk = tmpfs(24);
	if (!disk.dir)
		return t.skip(disk.reason);
	let small;
	try {
		small = await Daemon.start({ webhooks: d.config.webhooks, stateDir: path.join(disk.dir, "state") });
		const cramped = await small.makeVault("cramped"), officer = await small.makePrincipal(cramped, "officer", ["crypto-officer"]), made = [];
		const make = async (name) => {
			const res = await small.call(cramped, officer, "POST", `/keys/${name}/create`, { kty: "EC", crv: "P-256" });
			if (res.status === 200)
				made.push(name);
			return res.status;
		};
		await small.adminOk("POST", at(cramped), { name: "ok-disk", url: receiver.url("ok-disk") });
		await make("disk-before");
		fillUp(path.join(disk.dir, "filler"));
		for (let i = 0; await make(`disk-${i}`) === 200; i++)
			assert.ok(i < 1000, "there is room yet");
		fs.rmSync(path.join(disk.dir, "filler"));
		await until("it makes keys again", async () => await make("disk-after") === 200, 15_000);
		await until("all have come", () => new Set(receiver.events("ok-disk").map((e) => e.id)).size === made.length, 15_000);
		assert.deepEqual([...new Set(receiver.events("ok-disk").map((e) => e.subject))], made);
	} finally {
		await small?.destroy();
		disk.remove();
	}
	return undefined;
});

test("what was given up is listed, tried again and dropped", async () => {
	await subscribe("gone-1", { events: ["KeyNewVersionCreated"] });
	await makeKey("dead-a");
	await makeKey("dead-b");
	const letters = await until("both are dead", async () => {
		const { value } = (await d.adminOk("GET", at(vault, "/gone-1/deadletters"))).json;
		return value.length === 2 && value;
	});
	assert.deepEqual(letters.map((l) => [l.key, l.http, l.failure, l.type, l.attempts]), [["dead-a", 410, "HTTP 410", KEY_EVENT, 1], ["dead-b", 410, "HTTP 410", KEY_EVENT, 1]]);
	assert.deepEqual((await d.cli("webhook", "dead-letters", "orders", "gone-1")).value, letters);
	assert.deepEqual(await d.cli("webhook", "retry", "orders", "gone-1", "--id", letters[1].event), { retried: 1, left: 1 });
	await until("it was tried again", () => receiver.events("gone-1").filter((e) => e.id === letters[1].event).length === 2);
	await until("and is dead again", async () => (await get("gone-1")).dead_letters === 2);
	assert.deepEqual(await d.cli("webhook", "drop", "orders", "gone-1"), { dropped: 2, left: 0 });
	assert.equal((await get("gone-1")).dead_letters, 0);
	await remove("gone-1");
});

test("a receiver that is down for a while gets all of it in order, and a request for its consent again changes nothing", async () => {
	await subscribe("toggle-1", { events: ["KeyNewVersionCreated"] });
	receiver.setDown(true);
	await makeKey("down-a");
	await makeKey("down-b");
	await until("it was tried", () => receiver.events("toggle-1").length > 0);
	await until("both wait", async () => (await get("toggle-1")).waiting === 2);
	receiver.setDown(false);
	await d.cli("webhook", "validate", "orders", "toggle-1");
	await until("it has both", () => new Set(receiver.events("toggle-1").map((e) => e.subject)).size === 2);
	const subjects = receiver.events("toggle-1").map((e) => e.subject);
	assert.equal(subjects.indexOf("down-b"), subjects.lastIndexOf("down-a") + 1);
	await remove("toggle-1");
});

test("another tenant sees nothing of it, a receiver's token stands nowhere, and a shredded vault says nothing more", async () => {
	const admin = await d.makePrincipal(other, "their-admin", ["administrator"]);
	const token = await d.token(admin);
	for (const [method, target] of [["GET", at(vault)], ["GET", at(vault, "/ok-grid")], ["DELETE", at(vault, "/ok-grid")], ["POST", at(vault, "/ok-grid/secret")]])
		assert.ok([401, 403, 404].includes((await d.http.request(method, target, { token })).status), `${method} ${target}`);
	const mine = (await d.http.request("GET", at(other), { token })).json.value;
	assert.deepEqual(mine.map((h) => h.name), ["ok-other"]);
	const list = (await d.adminOk("GET", at(vault))).json;
	const description = new Description((await d.http.request("GET", "/openapi.json")).json);
	const operation = description.operations().find((o) => o.id === "WebhookList");
	description.assertMatches(description.response(operation, 200).content["application/json"].schema, list);
	const shown = JSON.stringify(list);
	assert.ok(!shown.includes(TOKEN));
	assert.ok(list.value.length > 0 && list.value.every((h) => h.url === `https://127.0.0.1:${receiver.port}`), "nothing of the path, which may be a token as well");
	const leaves = (await d.entries()).map(({ text }) => text).join("\n");
	assert.ok(leaves.includes("\"tenant.webhook\"") && !leaves.includes(TOKEN) && !leaves.includes("whsec_"));
	assert.ok(!d.logText().includes(TOKEN) && !d.logText().includes("whsec_"));
	await d.shred(other);
	const before = receiver.requests("ok-other").length;
	await sleep(300);
	assert.equal(receiver.requests("ok-other").length, before);
});
