// Backup and restore of a key through the official client (keyvault-keys.md section 12): what comes back, and what is refused.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertErrorBody, assertReceipt } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { b64, digestOf, ecPair, encryptHere, flipped, jwkOf, octJwk, openGcmHere, publicOf, rsaPair, sdkJwk, signHere,
	verifyHere } from "../support/keys.mjs";
import { leafOf } from "../support/log.mjs";
import { collect, refused, sdk } from "./clients.mjs";

const POLL = { intervalInMs: 20 };
const BODY_LIMIT = 2 * 1024 * 1024;
const BROKEN = "Malformed backup blob";
let d, vault, officer, keys, remote;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("backup");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys, remote } = sdk(d, vault, officer));
});
after(() => d?.destroy());

async function purge(name) {
	await (await keys.beginDeleteKey(name, POLL)).pollUntilDone();
	await keys.purgeDeletedKey(name);
}
const restore = (value, who = officer, where = vault) => d.call(where, who, "POST", "/keys/restore", { value: b64(value) });

/** All that the server shows of a key: its versions in order, each in full, and its rotation policy. */
async function picture(name) {
	const versions = await collect(keys.listPropertiesOfKeyVersions(name));
	return {
		versions: await Promise.all(versions.map(({ version }) => d.ok(vault, officer, "GET", `/keys/${name}/${version}`))),
		latest: await d.ok(vault, officer, "GET", `/keys/${name}`),
		policy: await d.ok(vault, officer, "GET", `/keys/${name}/rotationpolicy`),
	};
}

describe("a key comes back as it was", () => {
	test("RSA: all versions under their ids, with attributes, tags, operations and policy; old data opens", async () => {
		const { privateKey } = await rsaPair(2048);
		const first = await keys.importKey("Whole", sdkJwk(jwkOf(privateKey)), { tags: { a: "1" }, expiresOn: new Date(2000000000000) });
		await keys.createRsaKey("Whole", { keySize: 2048, tags: { b: "2" }, keyOps: ["decrypt", "sign"], notBefore: new Date(1500000000000) });
		await keys.createRsaKey("Whole", { keySize: 3072 });
		await keys.updateKeyProperties("Whole", first.properties.version, { enabled: false });
		await keys.updateKeyRotationPolicy("Whole", { expiresIn: "P2Y", lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P90D" }] });
		const before_ = await picture("Whole");
		const plain = randomBytes(32);
		const sealed = await remote(await keys.getKey("Whole")).encrypt("RSA-OAEP-256", plain);

		const blob = await keys.backupKey("Whole");
		assert.ok(blob.length > 1000);
		await purge("Whole");
		await assert.rejects(keys.getKey("Whole"), refused(404, "KeyNotFound"));
		const back = await keys.restoreKeyBackup(blob);
		assert.equal(back.id, before_.latest.key.kid);
		assert.deepEqual(await picture("Whole"), before_);
		assert.deepEqual(Buffer.from((await remote(back).decrypt("RSA-OAEP-256", sealed.result)).result), plain);
		await keys.updateKeyProperties("Whole", first.properties.version, { enabled: true });
		const opened = await remote(first).decrypt("RSA-OAEP", encryptHere("RSA-OAEP", publicOf(first.key), plain));
		assert.deepEqual(Buffer.from(opened.result), plain);
	});
	test("EC and oct: signatures verify and ciphertexts open after it, from the imported material too", async () => {
		const { privateKey } = await ecPair("P-521");
		const curve = await keys.importKey("curve", sdkJwk(jwkOf(privateKey)));
		const secret = randomBytes(32);
		const oct = await keys.importKey("secret", sdkJwk(octJwk(secret)));
		const plain = randomBytes(100);
		const sealed = await remote(oct).encrypt({ algorithm: "A256GCM", plaintext: plain });
		for (const name of ["curve", "secret"]) {
			const blob = await keys.backupKey(name);
			await purge(name);
			assert.equal((await keys.restoreKeyBackup(blob)).id, name === "curve" ? curve.id : oct.id);
		}
		const { result } = await remote(curve).sign("ES512", digestOf("ES512", plain));
		assert.ok(verifyHere("ES512", publicOf(curve.key), plain, Buffer.from(result)));
		assert.equal((await remote(curve).verify("ES512", digestOf("ES512", plain), signHere("ES512", privateKey, plain))).result, true);
		const opened = await remote(oct).decrypt({ algorithm: "A256GCM", ciphertext: sealed.result, iv: sealed.iv,
			authenticationTag: sealed.authenticationTag });
		assert.deepEqual(Buffer.from(opened.result), plain);
		const again = await remote(oct).encrypt({ algorithm: "A256GCM", plaintext: plain });
		assert.deepEqual(openGcmHere(secret, again.iv, Buffer.alloc(0), again.result, again.authenticationTag), plain);
		assert.notDeepEqual(again.iv, sealed.iv);
	});
	test("disabled and expired keys can be backed up, and come back so", async () => {
		await keys.createEcKey("expired", { curve: "P-256", expiresOn: new Date(1600000000000) });
		await keys.createEcKey("expired", { curve: "P-256", enabled: false });
		const before_ = await picture("expired");
		const blob = await keys.backupKey("expired");
		await purge("expired");
		await keys.restoreKeyBackup(blob);
		assert.deepEqual(await picture("expired"), before_);
		assertError(await d.call(vault, officer, "POST", "/keys/expired/sign", { alg: "ES256", value: b64(randomBytes(32)) }), 403, "Forbidden",
			"KeyDisabled");
	});
	test("a restored key lives on: new versions, rotation, another backup; an older one brings back what was then", async () => {
		const first = await keys.createEcKey("lives", { curve: "P-256" });
		const older = await keys.backupKey("lives");
		const second = await keys.rotateKey("lives");
		const newer = await keys.backupKey("lives");
		await purge("lives");
		await keys.restoreKeyBackup(newer);
		assert.equal((await keys.getKey("lives")).id, second.id);
		await keys.rotateKey("lives");
		assert.equal((await collect(keys.listPropertiesOfKeyVersions("lives"))).length, 3);
		await keys.backupKey("lives");
		await purge("lives");
		await keys.restoreKeyBackup(older);
		assert.deepEqual((await collect(keys.listPropertiesOfKeyVersions("lives"))).map((v) => v.id), [first.id]);
	});
	test("the same blob serves more than once, and is never the same twice", async () => {
		await keys.createEcKey("again", { curve: "P-256" });
		const blob = await keys.backupKey("again");
		assert.notDeepEqual(await keys.backupKey("again"), blob);
		for (let i = 0; i < 2; i++) {
			await purge("again");
			await keys.restoreKeyBackup(blob);
		}
	});
	test("a revoked version stays revoked", async () => {
		await keys.createEcKey("revoked", { curve: "P-256" });
		await d.cli("key", "revoke", vault.name, "revoked", "--reason", "keyCompromise");
		const blob = await keys.backupKey("revoked");
		await purge("revoked");
		await keys.restoreKeyBackup(blob);
		await assert.rejects(keys.updateKeyProperties("revoked", { enabled: true }), refused(403, "Forbidden", "KeyRevoked"));
	});
	test("a restored key survives a restart, and a backup made before it is good after it", async () => {
		const key = await keys.createEcKey("restart", { curve: "P-256" });
		const blob = await keys.backupKey("restart");
		await purge("restart");
		await d.stop();
		await d.restart();
		await keys.restoreKeyBackup(blob);
		await d.stop();
		await d.restart();
		const { result } = await remote(key).sign("ES256", digestOf("ES256", "x"));
		assert.ok(verifyHere("ES256", publicOf(key.key), Buffer.from("x"), Buffer.from(result)));
	});
	test("both are in the log; the restore says whose backup it was", async () => {
		await keys.createEcKey("logged", { curve: "P-256" });
		const made = await d.call(vault, officer, "POST", "/keys/logged/backup");
		assert.deepEqual(Object.keys(made.json), ["value"]);
		await purge("logged");
		const back = await d.call(vault, officer, "POST", "/keys/restore", made.json);
		const entries = await d.entries();
		assert.equal(leafOf(entries, assertReceipt(made)).type, "key.backup");
		const leaf = leafOf(entries, assertReceipt(back));
		assert.equal(leaf.type, "key.restore");
		assert.equal(leaf.key.name, "logged");
		assert.ok(leaf.det.revives, JSON.stringify(leaf));
	});
});

describe("backup is refused", () => {
	test("for keys that never leave the HSM, with the reason", async () => {
		for (const kty of ["RSA-HSM", "EC-HSM", "oct-HSM"]) {
			await keys.createKey(`hsm-${kty}`, kty);
			const res = await d.call(vault, officer, "POST", `/keys/hsm-${kty}/backup`);
			assertError(res, 400, "BadParameter");
			assert.match(res.json.error.message, /HSM/);
		}
		await keys.createEcKey("mixed", { curve: "P-256" });
		await keys.createEcKey("mixed", { curve: "P-256", hsm: true });
		await keys.createEcKey("mixed", { curve: "P-256" });
		await assert.rejects(keys.backupKey("mixed"), refused(400, "BadParameter"));
	});
	test("for keys that are not there, or deleted", async () => {
		await assert.rejects(keys.backupKey("nothing"), refused(404, "KeyNotFound"));
		await keys.createEcKey("deleted", { curve: "P-256" });
		await (await keys.beginDeleteKey("deleted", POLL)).pollUntilDone();
		await assert.rejects(keys.backupKey("deleted"), refused(404, "KeyNotFound"));
	});
});

describe("restore is refused", () => {
	let blob, name;
	before(async () => {
		name = "victim";
		await keys.createEcKey(name, { curve: "P-256" });
		blob = Buffer.from(await keys.backupKey(name));
	});

	test("while the name lives (409), in whatever case, and while it is deleted (409)", async () => {
		const untouched = await picture(name);
		assertError(await restore(blob), 409, "Conflict");
		assert.deepEqual(await picture(name), untouched);
		await (await keys.beginDeleteKey(name, POLL)).pollUntilDone();
		assertError(await restore(blob), 409, "Conflict", "ObjectIsDeletedButRecoverable");
		await keys.purgeDeletedKey(name);
		await keys.createOctKey("VICTIM", { keySize: 128 });
		assertError(await restore(blob), 409, "Conflict");
		assert.equal((await keys.getKey(name)).keyType, "oct");
		await purge(name);
	});
	test("in another vault, and in another installation", async () => {
		const other = await d.makeVault("elsewhere");
		const owner = await d.makePrincipal(other, "owner", ["crypto-officer"]);
		assertError(await restore(blob, owner, other), 400, BROKEN);
		assert.deepEqual((await d.ok(other, owner, "GET", "/keys")).value, []);
		const second = await Daemon.start();
		try {
			const there = await second.makeVault("backup");
			const who = await second.makePrincipal(there, "owner", ["crypto-officer"]);
			assertError(await second.call(there, who, "POST", "/keys/restore", { value: b64(blob) }), 400, BROKEN);
		} finally {
			await second.destroy();
		}
	});
	test("when a bit of it is turned, wherever", async () => {
		const step = Math.max(1, Math.floor(blob.length / 60));
		const places = [...Array.from({ length: 64 }, (_, i) => i), ...Array.from({ length: 60 }, (_, i) => i * step),
			...Array.from({ length: 17 }, (_, i) => blob.length - 1 - i)];
		for (const at of places) {
			const res = await restore(flipped(blob, at * 8 + (at & 7)));
			assert.equal(res.status, 400, `byte ${at}: ${res.text}`);
			assertError(res, 400, BROKEN);
		}
	});
	test("when it is cut, stretched, swapped with another's half, empty, or noise", async () => {
		await keys.createEcKey("donor", { curve: "P-256" });
		const other = Buffer.from(await keys.backupKey("donor"));
		const half = blob.length >> 1;
		for (const bad of [blob.subarray(0, -1), blob.subarray(0, half), blob.subarray(0, 1), blob.subarray(0, 16), blob.subarray(1),
			Buffer.concat([blob, Buffer.alloc(1)]), Buffer.concat([blob, blob]), Buffer.concat([blob.subarray(0, half), other.subarray(half)]),
			randomBytes(blob.length), Buffer.alloc(blob.length), Buffer.alloc(100, 0xff), Buffer.from("{}"), Buffer.from("A backup, surely")]) {
			const res = await restore(bad);
			assert.equal(res.status, 400, `${bad.length} bytes: ${res.text}`);
			assertError(res, 400, BROKEN);
		}
		await assert.rejects(keys.restoreKeyBackup(blob.subarray(0, half)), refused(400, BROKEN));
	});
	test("when the body is none: no value, another type, no base64url", async () => {
		for (const body of [{}, { value: null }, { value: 5 }, { value: [] }, { value: "" }, { value: "§§§" }, { value: "A A" }, "", "[]", "{"]) {
			const res = await d.call(vault, officer, "POST", "/keys/restore", body);
			assert.ok(res.status === 400 && ["BadParameter", BROKEN].includes(res.json.error.code), res.text);
		}
	});
	test("above the limit (413), and read below it", async () => {
		const big = await d.call(vault, officer, "POST", "/keys/restore", { value: "A".repeat(BODY_LIMIT + 4096) }, { client: d.client() });
		assertErrorBody(big, 413, "RequestBodyTooLarge");
		assertErrorBody(await d.call(vault, officer, "POST", "/keys/restore", { value: "A".repeat(BODY_LIMIT - 1024) }, { client: d.client() }),
			400);
		assert.equal((await d.health()).status, 200);
	});
	test("and after all that nothing was restored, and the good one still is", async () => {
		await assert.rejects(keys.getKey(name), refused(404, "KeyNotFound"));
		assert.equal((await keys.restoreKeyBackup(blob)).name, name);
	});
	test("a key named restore is a key, and POST to it is the operation", async () => {
		await keys.createEcKey("restore", { curve: "P-256" });
		assert.equal((await keys.getKey("restore")).name, "restore");
		assert.equal((await keys.updateKeyProperties("restore", { tags: { a: "b" } })).properties.tags.a, "b");
		await assert.rejects(keys.restoreKeyBackup(Buffer.from("x")), refused(400, BROKEN));
		await purge("restore");
	});
	test("after the vault has been shredded", async () => {
		const doomed = await d.makeVault("doomed");
		const owner = await d.makePrincipal(doomed, "owner", ["crypto-officer"]);
		const mine = sdk(d, doomed, owner).keys;
		await mine.createEcKey("k", { curve: "P-256" });
		const copy = await mine.backupKey("k");
		const token = await d.token(owner);
		await d.shred(doomed);
		const res = await d.call(doomed, null, "POST", "/keys/restore", { value: b64(copy) }, { token });
		assert.ok([401, 403].includes(res.status), res.text);
		assertError(await restore(copy), 400, BROKEN);
	});
});
