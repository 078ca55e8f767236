// Backups of the whole server while it runs, and the epochs that end them: made under load, verified, kept in number; what was sealed in an ended epoch stays closed; and a purge is
// complete only when the last backup that outlived it has ended. What a restore does is in restore.test.mjs.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { verifyLog } from "../support/verify.mjs";

let d, dir, vault, app, approver;
before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-backups-"));
	d = await Daemon.start({ backup: { directory: dir, every_hours: 0, keep: 2 } });
	vault = await d.makeVault("orders");
	app = await d.makePrincipal(vault, "app", ["crypto-officer", "crypto-user"]);
	await d.ok(vault, app, "POST", "/keys/rsa/create", { kty: "RSA" });
	await d.ok(vault, app, "POST", "/keys/oct/create", { kty: "oct-HSM" });
	approver = (await d.adminOk("POST", "/admin/v1/principals", { name: "approver" })).json;
	await d.adminOk("POST", "/admin/v1/roles/grant", { principal: approver.client_id, role: "approver" });
});
after(async () => {
	await d?.destroy();
	fs.rmSync(dir, { recursive: true, force: true });
});

const backups = async () => (await d.cli("backup", "list")).value;
const create = () => d.cli("backup", "create", "--wait");
const files = () => fs.readdirSync(dir).sort();
const epochs = async () => (await d.cli("backup", "epochs")).value;

/** With what the installation's approver says. */
async function endEpoch(number) {
	const ask = () => d.admin("POST", `/admin/v1/backups/epochs/${number}/end`, { reason: "test" });
	assertError(await ask(), 403, "Forbidden", "ForbiddenByPolicy");
	const [request] = (await d.adminOk("GET", "/admin/v1/approvals")).json.value;
	assert.equal(request.act, "backup.end_epoch");
	assert.match(await d.cliText("approval", "show", "@installation", request.id), new RegExp(`^Destroy the key of the backup epoch ${number}, for ever: no backup that was made in it`));
	const token = await d.token(approver, { fresh: true });
	const vote = await d.http.request("POST", `/admin/v1/approvals/${request.id}/approve`, { token, body: {} });
	assert.equal(vote.status, 200, vote.text);
	const res = await ask();
	assert.equal(res.status, 200, res.text);
	return res.json;
}

test("a backup is made while the server works, and every version of it loads", async () => {
	let works = true, calls = 0;
	const load = Promise.all(Array.from({ length: 4 }, async () => {
		while (works) {
			await d.ok(vault, app, "POST", "/keys/oct/wrapkey", { alg: "A256KW", value: Buffer.alloc(32, 7).toString("base64url") });
			calls++;
		}
	}));
	const task = await create();
	works = false;
	await load;
	assert.ok(calls > 0);
	assert.equal(task.state, "done");
	const [backup] = await backups();
	assert.equal(backup.id, task.id);
	assert.equal(backup.state, "there");
	assert.deepEqual(files(), [backup.file]);
	assert.equal(fs.statSync(path.join(dir, backup.file)).mode & 0o777, 0o600);
	assert.equal(fs.statSync(path.join(dir, backup.file)).size, backup.bytes);
	const { report } = await d.cli("backup", "verify", backup.id);
	assert.deepEqual([report.keys, report.versions, report.loaded, report.resident, report.failed], [2, 2, 1, 1, 0]);
	assert.deepEqual(files(), [backup.file], "nothing is left of the verification");
});

test("a changed backup is found out, and one that is not there is not known", async () => {
	const [backup] = await backups();
	const file = path.join(dir, backup.file), whole = fs.readFileSync(file);
	const changed = Buffer.from(whole);
	changed[changed.length - 100] ^= 1;
	fs.writeFileSync(file, changed);
	await assert.rejects(d.cli("backup", "verify", backup.id), (e) => e.exitCode === 3 && /seal is broken/.test(e.stderr));
	fs.writeFileSync(file, whole);
	assertError(await d.admin("POST", `/admin/v1/backups/${crypto.randomUUID()}/verify`), 404, "NotFound");
	assertError(await d.admin("POST", "/admin/v1/backups/1/verify"), 400, "BadParameter");
});

test("only so many files are kept, and nobody else's is touched", async () => {
	const mine = path.join(dir, "notes.hfbackup");
	fs.writeFileSync(mine, "mine");
	await create();
	await create();
	await until("the oldest is removed", async () => (await backups()).filter((b) => b.state === "there").length === 2);
	const all = await backups();
	assert.equal(all.length, 3, "what was removed is still known: it may have been copied");
	assert.deepEqual(all.map((b) => b.made), all.map((b) => b.made).sort((a, b) => b - a), "the newest first");
	const { task } = await d.cli("backup", "list");
	assert.deepEqual([task.act, task.state], ["create", "done"]);
	assert.equal(files().length, 3);
	fs.rmSync(mine);
});

test("what was sealed in an ended epoch stays closed", async () => {
	const { value: early } = await d.ok(vault, app, "POST", "/keys/rsa/backup");
	const { number } = await d.cli("backup", "new-epoch");
	assert.equal(number, 2);
	const { value: late } = await d.ok(vault, app, "POST", "/keys/rsa/backup");
	assert.equal((await endEpoch(1)).state, "ended");
	const states = Object.fromEntries((await epochs()).map((e) => [e.number, e.state]));
	assert.deepEqual(states, { 1: "ended", 2: "open" });
	await d.ok(vault, app, "DELETE", "/keys/rsa");
	await until("the key is purged", async () => (await d.call(vault, app, "DELETE", "/deletedkeys/rsa")).status === 204);
	const refused = await d.call(vault, app, "POST", "/keys/restore", { value: early });
	assert.equal(refused.status, 400, refused.text);
	assert.match(refused.text, /backup epoch 1, which ended at .*destroyed/);
	await d.ok(vault, app, "POST", "/keys/restore", { value: late });
	await until("the files of that epoch are gone", async () => (await backups()).every((b) => b.state !== "there"));
	assertError(await d.admin("POST", "/admin/v1/backups/epochs/1/end", { reason: "again" }), 409, "Conflict");
	const [ended] = await backups();
	await assert.rejects(d.cli("backup", "verify", ended.id), (e) => e.exitCode === 2 && /The epoch 1 of this backup has ended/.test(e.stderr));
	assert.doesNotMatch(fs.readFileSync(d.logFile, "utf8"), /The key of backup epoch 1/, "nobody has tried to open it");
});

test("a purge is complete when the last backup that outlived it has ended", async () => {
	await d.ok(vault, app, "POST", "/keys/gone/create", { kty: "EC" });
	await create();
	await d.ok(vault, app, "DELETE", "/keys/gone");
	await until("the key is purged", async () => (await d.call(vault, app, "DELETE", "/deletedkeys/gone")).status === 204);
	const find = async () => (await d.cli("certificate", "list", "--vault", "orders")).value.find((c) => c.key === "gone");
	const pending = await until("a certificate", async () => (await find())?.issued && find());
	assert.equal(pending.state, "pending");
	const two = (await epochs()).find((e) => e.number === 2);
	assert.ok(Math.abs(pending.until - two.until) <= 1);
	await endEpoch(2);
	assert.equal((await epochs())[0].number, 3, "there is always one");
	await until("it is complete", async () => (await find()).state === "complete");

	// A key that came back from one of its backups is not dead, however long ago that backup ended; when it dies again, that is another certificate, and both are true.
	const statesOf = async (key) => (await d.cli("certificate", "list", "--vault", "orders")).value.filter((c) => c.key === key).map((c) => c.state).sort();
	assert.deepEqual(await statesOf("rsa"), ["pending"]);
	await d.ok(vault, app, "DELETE", "/keys/rsa");
	await until("the key is purged", async () => (await d.call(vault, app, "DELETE", "/deletedkeys/rsa")).status === 204);
	await until("both are complete", async () => (await statesOf("rsa")).join() === "complete,complete");
});

test("a start removes what a crash left, and the log can be verified", async () => {
	const left = path.join(dir, "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.copy");
	fs.writeFileSync(left, "a database");
	await d.kill9();
	await d.restart();
	assert.equal(fs.existsSync(left), false);
	const { code, out } = await verifyLog(d);
	assert.equal(code, 0, out);
});

test("without a directory there are no backups, and the answer says so", async () => {
	const other = await Daemon.start();
	try {
		const res = await other.admin("POST", "/admin/v1/backups");
		assert.equal(res.status, 400);
		assert.match(res.text, /section backup with a directory/);
		assert.equal((await other.cli("backup", "epochs")).value.length, 1);
	} finally {
		await other.destroy();
	}
});
