// After a destruction nothing of the keys is left, wherever one looks: not in the database and its journals, the token's directory, the backups, the log, the reserve file, nor
// in the memory of the process. Keys with known private halves are planted, used by the official clients and backed up; then every byte is searched for what was planted.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { sdk } from "../sdk/clients.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { b64, ecPair, jwkOf, rsaPair, sdkJwk, unb64 } from "../support/keys.mjs";
import { Needles, searchFiles, searchMemory, whyNotSearched } from "../support/search.mjs";

const PRIVATE_PARTS = ["d", "p", "q", "dp", "dq", "qi", "k"];
const FORGET_MS = 15_000; // what a thread was in the middle of

let d, backups;
before(async () => {
	backups = fs.mkdtempSync(path.join(path.dirname(process.env.HOLDFAST_TEST_CA), "backups-"));
	d = await Daemon.start({ backup: { directory: backups } });
});
after(async () => {
	await d?.destroy();
	fs.rmSync(backups, { recursive: true, force: true });
});

/** Made outside: name -> JWK. */
async function softwareKeys() {
	return {
		rsa: jwkOf((await rsaPair(2048, { fresh: true })).privateKey),
		ec: jwkOf((await ecPair("P-256", { fresh: true })).privateKey),
		oct: { kty: "oct", k: b64(randomBytes(32)) },
	};
}

/** What the database holds of a vault's keys. */
function wrappedBlobs(vault) {
	const db = new DatabaseSync(d.database, { readOnly: true });
	const rows = db.prepare("SELECT m.wrapped FROM version v JOIN material m ON m.id = v.material JOIN key k ON k.id = v.key_id JOIN vault t ON t.id = k.vault_id "
		+ "WHERE t.name = ? AND NOT v.is_resident").all(vault.name);
	db.close();
	return rows.map((row) => Buffer.from(row.wrapped));
}

/** Each key is used, as its owner would. @return the data key that went through the server */
async function use(client, keys) {
	const dataKey = randomBytes(32);
	for (const [name, alg] of [["rsa", "RSA-OAEP-256"], ["oct", "A256KW"]]) {
		const remote = client.remote(keys[name]);
		const { result } = await remote.wrapKey(alg, dataKey);
		assert.deepEqual(Buffer.from((await remote.unwrapKey(alg, result)).result), dataKey);
	}
	await client.remote(keys.ec).signData("ES256", Buffer.from("planted"));
	return dataKey;
}

/** A vault with software keys that were imported, used and backed up; and what must not be found of them afterwards. */
async function plant(name) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	const client = sdk(d, vault, officer);
	const jwks = await softwareKeys();
	const keys = {};
	for (const key of Object.keys(jwks))
		keys[key] = await client.keys.importKey(key, sdkJwk(jwks[key]));
	const secrets = new Needles().number("data key", await use(client, keys));
	for (const [key, jwk] of Object.entries(jwks))
		for (const part of PRIVATE_PARTS.filter((p) => jwk[p]))
			secrets.number(`${key}.${part}`, unb64(jwk[part]));
	const backup = path.join(backups, `${name}.rsa`);
	fs.writeFileSync(backup, await client.keys.backupKey("rsa"));
	const blobs = new Needles();
	wrappedBlobs(vault).forEach((blob, i) => blobs.raw(`wrapped blob ${i}`, blob));
	return { vault, client, secrets, blobs, all: Needles.of(blobs, secrets) };
}

/** Everything on the disk that is the server's, and every backup that was handed out. */
const files = () => [d.stateDir, d.tokenDir, d.logFile, backups];

/** A search that finds nothing afterwards must be one that finds something before. */
function assertFoundBefore(s, canLook) {
	assert.ok(searchFiles([d.database, `${d.database}-wal`], s.blobs).length > 0, "the database holds the wrapped keys");
	assert.deepEqual(searchFiles(files(), s.secrets), [], "in the clear on the disk");
	assert.deepEqual(searchFiles([backups], s.blobs), [], "backups are sealed");
	if (canLook)
		assert.ok(searchMemory(d.child.pid, s.blobs).length > 0, "the process has read the wrapped keys");
}

async function assertForgotten(s, canLook) {
	let left = [];

	assert.deepEqual(searchFiles(files(), s.all), []);
	if (canLook)
		await until("nothing is left in memory", () => {
			left = searchMemory(d.child.pid, s.all);
			return left.length === 0;
		}, FORGET_MS).catch(() => assert.deepEqual(left.map(({ where, name }) => `${name} in ${where}`), []));
}

test("the search finds what is there, in each form, across the borders of what is read at once, and half overwritten", () => {
	const secret = randomBytes(256);
	const needles = new Needles().number("secret", secret);
	const found = (bytes) => {
		const file = path.join(backups, "planted");
		fs.writeFileSync(file, bytes);
		const names = searchFiles([file], needles).map(({ name }) => name.replace(/ \[\d\]$/, ""));
		fs.rmSync(file);
		return [...new Set(names)];
	};
	const border = Buffer.alloc((8 << 20) - 100, 1);
	assert.deepEqual(found(Buffer.concat([border, secret])), ["secret"]);
	assert.deepEqual(found(Buffer.concat([Buffer.alloc(100_000), Buffer.from(secret).reverse()])), ["secret as words"]);
	assert.deepEqual(found(Buffer.concat([Buffer.from("{"), Buffer.from(b64(secret))])), ["secret as base64url"]);
	assert.deepEqual(found(Buffer.concat([Buffer.alloc(200), secret.subarray(200)])), ["secret"]);
	assert.deepEqual(found(randomBytes(1 << 20)), []);
	if (whyNotSearched(process.pid) === null)
		assert.ok(searchMemory(process.pid, new Needles().raw("of this process", secret)).length > 0);
});

test("what was shredded, and what was purged, is found nowhere", async (t) => {
	const why = whyNotSearched(d.child.pid), canLook = why === null;
	if (!canLook)
		t.diagnostic(`the daemon's memory is not searched: ${why}`);
	const shredded = await plant("shredded");
	const purged = await plant("purged");
	await d.cli("backup", "create", "--wait");
	assertFoundBefore(shredded, canLook);

	await d.shred(shredded.vault, "test");
	await assertForgotten(shredded, canLook);

	for (const key of ["rsa", "ec", "oct"])
		await purged.client.keys.getKey(key); // what the server has forgotten it reads again
	assertFoundBefore(purged, canLook);
	for (const key of ["rsa", "ec", "oct"]) {
		await (await purged.client.keys.beginDeleteKey(key, { intervalInMs: 50 })).pollUntilDone();
		await purged.client.keys.purgeDeletedKey(key);
	}
	await assertForgotten(purged, canLook);
});
