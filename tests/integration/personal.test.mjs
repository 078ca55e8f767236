// Personal data (audit-log.md section 12): what identifies people stands outside the log, sealed, for those vaults alone whose policy gives a basis; leaves commit to it. Shown
// to a privacy officer with a reason, erased on request, by age and with its vault; the log stays whole, and the bytes are gone.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { assertError } from "../support/asserts.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { leafOf, receipt } from "../support/log.mjs";
import { Needles, searchFiles, searchMemory, whyNotSearched } from "../support/search.mjs";
import { verifyLog } from "../support/verify.mjs";

const AGENT = "planted-user-agent/7.3 (of nobody else)";
const DAYS = 30;
let d;

before(async () => {
	d = await Daemon.start();
});
after(() => d?.destroy());

const base = (vault) => `/admin/v1/vaults/${vault.name}`;
const asUser = async (who, method, target, body) => d.http.request(method, target, { token: await d.token(who), body });
const show = (vault, who, ref, body) => asUser(who, "POST", `${base(vault)}/persons/${ref}/show`, body);
const erase = (vault, who, body) => asUser(who, "POST", `${base(vault)}/persons/erase`, body);
const keep = (vault, days, basis = "Art. 6(1)(f): security of processing") => d.adminOk("PATCH", base(vault), { person_days: days, person_basis: basis });

/** A request of the key API with a user agent of its own. @return its leaf */
async function call(vault, who, agent, method = "GET", path = "/keys") {
	const res = await d.call(vault, who, method, path, undefined, { headers: { "user-agent": agent } });
	return leafOf(await d.entries(), receipt(res));
}

/** The records that the database holds of a vault. */
function sealed(vault) {
	const db = new DatabaseSync(d.database, { readOnly: true });
	const all = db.prepare("SELECT m.wrapped FROM person p JOIN vault v ON v.id = p.vault_id JOIN material m ON m.id = p.material WHERE v.name = ?").all(vault.name);
	db.close();
	return all.map((row) => Buffer.from(row.wrapped));
}

/** A vault that keeps records, with a user and a privacy officer; its key is at hand. */
async function scene(name) {
	const vault = await d.makeVault(name);
	const user = await d.makePrincipal(vault, `${name}-user`, ["crypto-user"]);
	const officer = await d.makePrincipal(vault, `${name}-officer`, ["privacy-officer"]);
	assert.equal((await call(vault, user, AGENT)).pii, undefined, "nobody has said that it may be kept");
	assertError(await d.admin("PATCH", base(vault), { person_days: DAYS }), 400, "BadParameter");
	assertError(await d.admin("PATCH", base(vault), { person_days: 401, person_basis: "x" }), 400, "BadParameter");
	await keep(vault, DAYS);
	await until("the vault's key is at hand", async () => (await call(vault, user, "first")).pii !== undefined);
	return { vault, user, officer };
}

test("a record is made once a day for each shape of a caller, and shown to a privacy officer with a reason", async () => {
	const { vault, user, officer } = await scene("shown");
	const leaf = await call(vault, user, AGENT);
	const again = await call(vault, user, AGENT);
	assert.deepEqual(again.pii, leaf.pii);
	assert.notDeepEqual((await call(vault, user, `${AGENT}+`)).pii, leaf.pii);
	assert.equal((await call(vault, user, "x".repeat(300))).pii.com.length, 43);

	const res = await show(vault, officer, leaf.pii.ref, { reason: "ticket 17", leaf: leaf.seq });
	assert.equal(res.status, 200, res.text);
	assert.deepEqual({ ...res.json.record, salt: undefined }, { addr: "127.0.0.1", agent: AGENT, id: user.client_id, name: "shown-user", salt: undefined, v: 1 });
	assert.equal(res.json.leaf_matches, true);
	assert.equal(createHash("sha256").update(res.json.text).digest("base64url"), leaf.pii.com);
	const read = leafOf(await d.entries(), receipt(res));
	assert.equal(read.type, "audit.read");
	assert.deepEqual(read.det, { reason: "ticket 17", ref: leaf.pii.ref, what: "person" });
	assert.equal((await show(vault, officer, leaf.pii.ref, { reason: "x", leaf: 0 })).json.leaf_matches, false, "not that of log.init");

	assertError(await show(vault, officer, leaf.pii.ref, {}), 400, "BadParameter");
	assertError(await show(vault, officer, 4, { reason: "x" }), 404, "NotFound");
	assertError(await show(vault, user, leaf.pii.ref, { reason: "x" }), 403, "Forbidden", "ForbiddenByRbac");
	const admin = await d.makePrincipal(vault, "boss", ["administrator"]);
	assertError(await show(vault, admin, leaf.pii.ref, { reason: "x" }), 403, "Forbidden", "ForbiddenByRbac");
	assertError(await asUser(officer, "PATCH", base(vault), { person_days: 0 }), 403, "Forbidden", "ForbiddenByRbac");
	const denied = await call(vault, officer, "denied one");
	assert.equal(denied.result, "denied");
	assert.equal((await show(vault, officer, denied.pii.ref, { reason: "who was refused" })).json.record.agent, "denied one");
});

test("an erased record is gone from database, journals and memory; leaves and proofs stay", async (t) => {
	const { vault, user, officer } = await scene("erased");
	const why = whyNotSearched(d.child.pid), canLook = why === null;
	if (!canLook)
		t.diagnostic(`the daemon's memory is not searched: ${why}`);
	const leaf = await call(vault, user, AGENT);
	await call(vault, officer, "stays");
	const before = sealed(vault);
	const needles = new Needles();
	before.forEach((bytes, i) => needles.raw(`record ${i}`, bytes));
	assert.ok(searchFiles([d.database, `${d.database}-wal`], needles).length > 0);

	assertError(await erase(vault, user, { principal: user.client_id, basis: "gdpr-art17" }), 403, "Forbidden", "ForbiddenByRbac");
	assertError(await erase(vault, officer, { basis: "gdpr-art17" }), 400, "BadParameter");
	const res = await erase(vault, officer, { principal: user.client_id, basis: "gdpr-art17" });
	assert.equal(res.status, 200, res.text);
	assert.ok(res.json.erased >= 2, res.text);
	assert.ok(["display name", "labels", "backup"].every((word) => res.json.not_erased.some((text) => text.includes(word))), res.text);
	const told = leafOf(await d.entries(), receipt(res));
	assert.equal(told.type, "audit.erase");
	assert.deepEqual(told.det, { basis: "gdpr-art17", by: "person", count: res.json.erased });
	assertError(await show(vault, officer, leaf.pii.ref, { reason: "x" }), 404, "NotFound");

	const left = sealed(vault).map((bytes) => bytes.toString("hex"));
	const gone = new Needles();
	before.filter((bytes) => !left.includes(bytes.toString("hex"))).forEach((bytes, i) => gone.raw(`record ${i}`, bytes));
	assert.deepEqual(searchFiles([d.stateDir, d.tokenDir, d.logFile], gone), []);
	assert.deepEqual(searchFiles([d.stateDir, d.tokenDir, d.logFile], new Needles().raw("agent", Buffer.from(AGENT))), [], "never in the clear");
	if (canLook)
		await until("nothing is left in memory", () => searchMemory(d.child.pid, gone).length === 0);
	assert.notEqual((await call(vault, user, AGENT)).pii.ref, leaf.pii.ref, "whoever comes again has a new record");

	const one = await call(vault, officer, "stays");
	assert.equal((await d.cli("person", "erase", vault.name, String(one.pii.ref), "--basis", "other")).erased, 1);
	for (const who of [user.client_id, user.name])
		assert.equal((await d.cli("person", "list", vault.name, "--principal", who)).value.length, 1);
	const { code, out } = await verifyLog(d);
	assert.equal(code, 0, out);
});

test("no row stands in for another; what is past its time goes by itself; a shredded vault takes its records with it", async () => {
	const { vault, user, officer } = await scene("sealed");
	const aged = await scene("aged");
	const leaf = await call(vault, user, AGENT);
	const second = await call(vault, officer, "second");
	assertError(await show(aged.vault, aged.officer, leaf.pii.ref, { reason: "x" }), 404, "NotFound");
	await d.stop();
	const db = new DatabaseSync(d.database);
	db.prepare("UPDATE person SET material = (SELECT material FROM person WHERE ref = ?) WHERE ref = ?").run(second.pii.ref, leaf.pii.ref);
	db.prepare("UPDATE person SET created_s = created_s - ? WHERE vault_id = (SELECT id FROM vault WHERE name = 'aged')").run((DAYS + 1) * 86400);
	db.close();
	await d.restart();
	assert.equal((await show(vault, officer, second.pii.ref, { reason: "x" })).status, 200);
	assertError(await show(vault, officer, leaf.pii.ref, { reason: "x" }), 409, "Conflict");

	await until("old records are gone", () => sealed(aged.vault).length === 0);
	assert.ok(sealed(vault).length > 0, "the others are not");
	const erased = (await d.entries()).map(({ leaf: l }) => l).filter(({ type, det }) => type === "audit.erase" && det?.basis === "retention");
	assert.ok(erased.length > 0 && erased.every(({ actor, det }) => actor.kind === "system" && det.by === "age" && det.count > 0));

	await d.shred(vault, "test");
	assert.equal(sealed(vault).length, 0);
});

test("a vault that keeps nothing any more has nothing", async () => {
	const { vault, user } = await scene("ended");
	await call(vault, user, AGENT);
	await d.adminOk("PATCH", base(vault), { person_days: 0 });
	await until("they are gone", () => sealed(vault).length === 0);
	assert.equal((await call(vault, user, AGENT)).pii, undefined);
});
