// A machine is lost: its database comes back from a backup, with the token. What the restore says is missing, what is served before people have agreed to go on with it,
// what works afterwards, and what stays dead. A rehearsal does the same and touches nothing.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, test } from "node:test";
import { sdk } from "../sdk/clients.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { Load } from "../support/load.mjs";
import { binaries } from "../support/paths.mjs";
import { Stepper, stepsOf } from "../support/stepper.mjs";
import { certificateFile, signedCertificates, verifyLog } from "../support/verify.mjs";

const plain = randomBytes(32);
const KEY_COUNT = 3;
const KILLS = 5;
const WHOLE = 0, FAILED = 1, USAGE = 2, INCOMPLETE = 3;

let d, backups, vault, doomed, officer, approver, doomedOfficer, backup, certificate, size, former;
const wrapped = new Map(); // key id -> ciphertext

/** holdfastd restore ARGS. @return {{code, out, err, json}} code null: it was killed */
function restoreWith(env, ...args) {
	return new Promise((resolve) => {
		execFile(binaries.daemon, ["restore", "--config", d.configFile, ...args], { env: { ...d.env, ...env }, encoding: "utf8", maxBuffer: 16 << 20 }, (failure, out, err) => {
			const code = failure ? failure.code : 0;
			resolve({ code, out, err, json: args.includes("--json") && out.startsWith("{") ? JSON.parse(out) : null });
		});
	});
}

const restore = (...args) => restoreWith({}, ...args);

/** Every file below these directories, by its SHA-256. */
function hashes(...dirs) {
	return Object.fromEntries(dirs.flatMap((dir) => fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => {
		const file = path.join(e.parentPath ?? e.path, e.name);
		return [file, createHash("sha256").update(fs.readFileSync(file)).digest("hex")];
	})).sort());
}

/** Make a key and wrap under it: an AES key, or an RSA one; both wrapped under the vault's root, as most are. */
async function wrapWith(v, who, name, isRsa) {
	const { keys, remote } = sdk(d, v, who);
	const key = isRsa ? await keys.createRsaKey(name, { keySize: 2048 }) : await keys.createOctKey(name, { keySize: 256 });
	const algorithm = isRsa ? "RSA-OAEP" : "A256KW";
	const { result } = await remote(key).wrapKey(algorithm, plain);
	wrapped.set(key.id, { algorithm, result, v, who });
}

async function unwrap(id) {
	const { algorithm, result, v, who } = wrapped.get(id);
	return Buffer.from((await sdk(d, v, who).crypto(id).unwrapKey(algorithm, result)).result);
}

/** Numbers of the records of persons that the database holds. */
function persons() {
	const db = new DatabaseSync(d.database, { readOnly: true });
	const all = db.prepare("SELECT ref FROM person WHERE material IS NOT NULL").all();
	db.close();
	return all.map(({ ref }) => ref);
}

const accept = () => d.admin("POST", "/admin/v1/log/accept", { reason: "restored from backup" });

before(async () => {
	backups = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-backups-"));
	d = await Daemon.start({ log: { pin_s: 1, interval_ms: 200 }, backup: { directory: backups, every_hours: 0 } });
	approver = (await d.adminOk("POST", "/admin/v1/principals", { name: "second" })).json;
	await d.adminOk("POST", "/admin/v1/roles/grant", { principal: approver.client_id, role: "approver" });
	vault = await d.makeVault("orders");
	doomed = await d.makeVault("doomed");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	doomedOfficer = await d.makePrincipal(doomed, "officer", ["crypto-officer"]);
	for (let i = 0; i < KEY_COUNT; i++)
		await wrapWith(vault, officer, `key${i}`, i === 0);
	await d.ok(vault, officer, "POST", "/keys/resident/create", { kty: "oct-HSM" });
	await wrapWith(doomed, doomedOfficer, "dies", false);
	await d.adminOk("PATCH", `/admin/v1/vaults/${vault.name}`, { person_days: 30, person_basis: "a contract" });

	// The backup is made while others work.
	const { value } = await d.ok(vault, officer, "POST", "/keys/resident/wrapkey", { alg: "A256KW", value: plain.toString("base64url") });
	assert.ok(persons().length > 0, "a record of a person");
	const load = new Load(d, 2, (client) => d.call(vault, officer, "POST", "/keys/resident/unwrapkey", { alg: "A256KW", value }, { client }));
	await d.cli("backup", "create", "--wait");
	await load.stop();
	assert.ok(load.samples.length > 0 && load.samples.every((s) => s.status === 200), "served throughout");
	[backup] = fs.readdirSync(backups).map((name) => path.join(backups, name));
	assert.ok(backup, "a file");

	// Life goes on: a key is made, a vault is shredded. Then the machine dies.
	await d.ok(vault, officer, "POST", "/keys/later/create", { kty: "oct-HSM" });
	await d.shred(doomed);
	const [id] = await signedCertificates(d, 1);
	certificate = certificateFile(d, id);
	({ log_size: size } = (await d.adminOk("GET", "/admin/v1/status")).json);
	former = await verifyLog(d);
	await d.kill9();
});
after(async () => {
	await d?.destroy();
	fs.rmSync(backups, { recursive: true, force: true });
});

describe("a rehearsal", () => {
	test("does it all on a copy, tells what a restore would find, and touches nothing", async () => {
		const dir = path.join(d.dir, "rehearsal");
		const found = hashes(d.stateDir, d.tokenDir, path.dirname(backup));
		const { code, json, err } = await restore("--rehearse", dir, "--json", backup);
		assert.equal(code, INCOMPLETE, err); // a vault was shredded since
		assert.deepEqual(hashes(d.stateDir, d.tokenDir, path.dirname(backup)), found);
		assert.equal(fs.existsSync(dir), false, "nothing of it is left");
		assert.equal(json.rehearsal, true);
		assert.deepEqual(json.rootless.map((v) => v.vault), ["doomed"]);
		assert.equal(json.log.state, "rolled_back");
	});
	test("--keep leaves its directory, which the next one cleans; a directory with anything else in it is refused", async () => {
		const dir = path.join(d.dir, "kept");
		assert.equal((await restore("--rehearse", dir, "--keep", backup)).code, INCOMPLETE);
		assert.ok(fs.existsSync(path.join(dir, "tokens")) && fs.existsSync(path.join(dir, "holdfast.db")));
		assert.equal((await restore("--rehearse", dir, backup)).code, INCOMPLETE);
		assert.deepEqual(fs.readdirSync(dir), []);
		fs.writeFileSync(path.join(dir, "mine"), "");
		const { code, err } = await restore("--rehearse", dir, backup);
		assert.equal(code, FAILED);
		assert.match(err, /not empty/);
		assert.deepEqual(fs.readdirSync(dir), ["mine"]);
	});
	test("refuses the token that is in use, and options that do not belong together", async () => {
		const found = hashes(d.tokenDir);
		const { code, err } = await restore("--rehearse", path.join(d.dir, "r3"), "--token", "pkcs11:manufacturer=SoftHSM%20project", "--pin", d.pinFile, backup);
		assert.equal(code, FAILED);
		assert.match(err, /in use/);
		assert.deepEqual(hashes(d.tokenDir), found);
		for (const args of [["--keep", backup], ["--token", "pkcs11:token=x", backup], ["--rehearse", "x"], []])
			assert.equal((await restore(...args)).code, USAGE, args.join(" "));
	});
});

describe("a restore", () => {
	test("refuses to overwrite a database, or what is left of one", async () => {
		const found = hashes(d.stateDir);
		const { code, err } = await restore(backup);
		assert.equal(code, FAILED);
		assert.match(err, /never overwrites/);
		for (const name of ["", "-shm", "-index", "-index-wal", "-index-shm"]) // an index of the log is made anew from whatever log there is
			fs.rmSync(d.database + name, { force: true });
		fs.writeFileSync(`${d.database}-wal`, "of another");
		assert.match((await restore(backup)).err, /-wal exists/);
		fs.rmSync(`${d.database}-wal`);
		assert.ok(Object.keys(found).length > 0);
	});
	test("of a damaged backup leaves nothing behind", async () => {
		const damaged = path.join(d.dir, "damaged");
		const bytes = fs.readFileSync(backup);
		bytes[bytes.length - 100] ^= 1;
		fs.writeFileSync(damaged, bytes);
		const { code } = await restore(damaged);
		assert.equal(code, FAILED);
		assert.deepEqual(fs.readdirSync(d.stateDir).filter((name) => /holdfast\.db(-|$)|restoring/.test(name)), []);
	});
	test("of a file that is not there says so, and nothing of the database", async () => {
		const { code, err } = await restore(path.join(d.dir, "nosuch"));
		assert.equal(code, FAILED);
		assert.match(err, /not restored: .*nosuch: No such file or directory; there is no backup to read\./);
		const unset = await restoreWith({ SOFTHSM2_CONF: undefined }, "--show-config", backup);
		assert.equal(unset.code, FAILED);
		assert.match(unset.err, /The HSM cannot be opened .*SOFTHSM2_CONF, which is not set/);
	});
	test("shows the configuration in the backup, without secrets, and writes nothing", async () => {
		const found = hashes(d.stateDir);
		const { code, out, err } = await restore("--show-config", backup);
		assert.equal(code, WHOLE, err);
		assert.match(out, new RegExp(d.config.domain));
		assert.ok(!out.includes(d.pin));
		assert.deepEqual(hashes(d.stateDir), found);
	});
	test("killed at any step it has done nothing, or all of it, and is done when it is begun again", async () => {
		const stepper = new Stepper();
		const databaseFiles = () => fs.readdirSync(d.stateDir).filter((name) => /holdfast\.db(-|$)/.test(name));
		const steps = await stepper.count(() => restoreWith(stepper.env, "--json", backup));
		assert.deepEqual(databaseFiles(), ["holdfast.db"]);
		fs.rmSync(d.database);
		for (const step of stepsOf(steps, Math.ceil(steps / KILLS))) {
			stepper.begin("kill", step);
			const { code } = await restoreWith(stepper.env, "--json", backup);
			assert.ok(stepper.end() && code === null, `step ${step} of ${steps}: ${code}`);
			const found = databaseFiles();
			assert.ok(found.length === 0 || (found.length === 1 && found[0] === "holdfast.db"), found.join(" "));
			if (found.length === 1)
				assert.match((await restore(backup)).err, /never overwrites/);
			fs.rmSync(d.database, { force: true });
		}
		stepper.remove();
	});
	test("brings the database back; people accept what is missing; old keys work, and the dead stay dead", async () => {
		const { code, json, err } = await restore("--json", backup);
		assert.equal(code, INCOMPLETE, err);
		assert.equal(fs.statSync(d.database).mode & 0o777, 0o600);
		assert.deepEqual(json.rootless.map((v) => v.vault), ["doomed"]);
		assert.ok(json.unknown.some((o) => o.for.startsWith("version")), "the key that was made later");
		assert.equal(json.log.missing_from, json.log.size);
		assert.ok(json.log.missing_to >= size - 1 - 20 && json.log.missing_to > json.log.missing_from, `${JSON.stringify(json.log)} of ${size}`);
		assert.equal(json.whole, false);

		const brought = persons();
		assert.ok(brought.length > 0, "a backup holds them");
		await d.restart({ ready: false });
		assert.equal((await d.health()).json.audit, "rolled_back");
		assert.equal((await d.call(vault, officer, "GET", "/keys/resident", undefined, { token: await d.token(officer, { fresh: true }) })).status, 503);
		// Several at once: it stops at the first that fails, and says which.
		const missing = path.join(d.dir, "nosuch");
		await assert.rejects(d.cliText("certificate", "enforce", certificate, missing, certificate), (e) => e.exitCode === 1 && e.stderr.includes(`${missing}: not enforced; 1 of 3 files`) &&
			e.stdout.includes(certificate));
		const asked = await accept();
		const id = asked.json.error.innererror.approval;
		const vote = await d.http.request("POST", `/admin/v1/approvals/${id}/approve`, { token: await d.token(approver, { fresh: true }), body: {} });
		assert.equal(vote.status, 200, vote.text);
		assert.equal((await accept()).status, 200);
		await d.stop();
		await d.restart();

		for (const key of [...wrapped.keys()].filter((k) => k.includes("orders")))
			assert.deepEqual(await unwrap(key), plain, key);
		await assert.rejects(unwrap([...wrapped.keys()].find((k) => k.includes("doomed"))));
		const leaves = (await d.entries(0)).map((e) => e.leaf);
		const restored = leaves.filter((l) => l.type === "node.restored");
		assert.equal(restored.length, 1);
		assert.equal(restored[0].det.backup, json.backup.id);
		assert.equal(restored[0].det.size, json.backup.size);
		// Some of the records may have been erased since the backup, and nothing says which: none of them comes back.
		assert.ok(persons().every((ref) => !brought.includes(ref)));
		const erased = leaves.filter((l) => l.type === "audit.erase");
		assert.deepEqual(erased.map(({ det }) => det), [{ basis: "restore", by: "restore", count: brought.length }]);
		assert.equal(leaves[0].det.old_origin, json.log.origin);
		// It outlives what is destroyed from now on, and so may others that were made since.
		const known = (await d.cli("backup", "list")).value;
		assert.deepEqual(known.map((b) => b.state).sort(), ["removed", "there"]);
		assert.equal(known.find((b) => b.state === "there").id, json.backup.id);
		await until("a checkpoint of the new log", async () => (await d.admin("GET", "/audit/v1/checkpoint")).status === 200);
		// Once, not at every start.
		await d.stop();
		await d.restart();
		assert.equal((await d.entries(0)).filter((e) => e.leaf.type === "node.restored").length, 1);
	});
	test("holdfast-verify is content with the log that ended and with the one that followed", async () => {
		assert.equal(former.code, 0, former.out);
		const present = await verifyLog(d);
		assert.equal(present.code, 0, present.out);
	});
});
