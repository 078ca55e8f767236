// The whole life of a key through the official JavaScript client.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { collect, refused, sdk } from "./clients.mjs";

const POLL = { intervalInMs: 20 };
let d, vault, officer, keys;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders", { retentionDays: 30 });
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys } = sdk(d, vault, officer));
});
after(() => d?.destroy());

for (const keySize of [2048, 3072, 4096]) {
	for (const hsm of [false, true]) {
		test(`an ${hsm ? "RSA-HSM" : "RSA"} key of ${keySize} bits is created with modulus, exponent and default operations`, async () => {
			const key = await keys.createRsaKey(`rsa-${keySize}-${hsm}`, { hsm, keySize });
			assert.equal(key.keyType, hsm ? "RSA-HSM" : "RSA");
			assert.equal(key.key.n.length, keySize / 8);
			assert.ok(key.key.n[0] >= 0x80, "n has its full length");
			assert.deepEqual([...key.key.e], [1, 0, 1]);
			assert.deepEqual([...key.keyOperations].sort(), ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"]);
			for (const secret of ["d", "p", "q", "dp", "dq", "qi", "k"])
				assert.equal(key.key[secret], undefined);
			assert.match(key.properties.version, /^[0-9a-f]{32}$/);
			assert.equal(key.id, `${vault.origin}/keys/rsa-${keySize}-${hsm}/${key.properties.version}`);
			assert.equal(key.properties.enabled, true);
			assert.equal(key.properties.recoveryLevel, "CustomizedRecoverable+Purgeable");
			assert.equal(key.properties.recoverableDays, 30);
		});
	}
}

for (const keySize of [128, 192, 256]) {
	test(`an oct-HSM key of ${keySize} bits is created and shows no material`, async () => {
		const key = await keys.createOctKey(`oct-${keySize}`, { hsm: true, keySize });
		assert.equal(key.keyType, "oct-HSM");
		assert.equal(key.key.k, undefined);
		assert.deepEqual([...key.keyOperations].sort(), ["decrypt", "encrypt", "unwrapKey", "wrapKey"]);
	});
}

test("attributes, tags and operations given at creation are kept, and get returns the same as create", async () => {
	const expiresOn = new Date(1999999999000);
	const notBefore = new Date(1600000000000);
	const made = await keys.createKey("attributes", "RSA", {
		keySize: 2048, enabled: false, expiresOn, notBefore, tags: { app: "orders", "Ümlaut \"x\"": "ä\n" }, keyOps: ["wrapKey", "unwrapKey"],
	});
	assert.deepEqual(made.properties.expiresOn, expiresOn);
	assert.deepEqual(made.properties.notBefore, notBefore);
	assert.equal(made.properties.enabled, false);
	assert.deepEqual(made.properties.tags, { app: "orders", "Ümlaut \"x\"": "ä\n" });
	assert.deepEqual([...made.keyOperations].sort(), ["unwrapKey", "wrapKey"]);
	assert.deepEqual(await keys.getKey("attributes"), made);
	assert.deepEqual(await keys.getKey("attributes", { version: made.properties.version }), made);
	assert.deepEqual(await keys.getKey("ATTRIBUTES"), made, "names are compared without case and shown as given");
});

test("a second create makes a new version that inherits nothing, and old versions stay readable", async () => {
	const first = await keys.createOctKey("twice", { hsm: true, keySize: 128, tags: { a: "1" }, keyOps: ["wrapKey", "unwrapKey"] });
	const second = await keys.createOctKey("twice", { hsm: true, keySize: 256 });
	assert.notEqual(first.properties.version, second.properties.version);
	assert.deepEqual(second.properties.tags ?? {}, {});
	assert.equal(second.keyOperations.length, 4);
	assert.equal((await keys.getKey("twice")).properties.version, second.properties.version);
	const old = await keys.getKey("twice", { version: first.properties.version });
	assert.deepEqual(old.properties.tags, { a: "1" });
});

test("the latest version is the newest, also when it is disabled", async () => {
	await keys.createOctKey("latest", { hsm: true });
	const second = await keys.createOctKey("latest", { hsm: true });
	await keys.updateKeyProperties("latest", second.properties.version, { enabled: false });
	const got = await keys.getKey("latest");
	assert.equal(got.properties.version, second.properties.version);
	assert.equal(got.properties.enabled, false);
});

test("listing gives each key once, without version, over many pages", async () => {
	const names = Array.from({ length: 30 }, (_, i) => `page-${String(i).padStart(2, "0")}`);
	for (const name of names)
		await keys.createOctKey(name, { hsm: true, tags: { n: name } });
	const all = await collect(keys.listPropertiesOfKeys());
	assert.equal(new Set(all.map((p) => p.name)).size, all.length, "no key twice");
	for (const name of names) {
		const one = all.find((p) => p.name === name);
		assert.ok(one, `${name} is missing`);
		assert.equal(one.version, undefined);
		assert.equal(one.id, `${vault.origin}/keys/${name}`);
		assert.deepEqual(one.tags, { n: name });
	}
	let pages = 0;
	const paged = [];
	for await (const page of keys.listPropertiesOfKeys().byPage({ maxPageSize: 4 })) {
		assert.ok(page.length <= 4);
		paged.push(...page.map((p) => p.name));
		pages++;
	}
	assert.deepEqual(paged.sort(), all.map((p) => p.name).sort());
	assert.ok(pages >= all.length / 4);
});

test("a page has at most 25 entries, and maxresults outside 1 to 25 is refused", async () => {
	const page = await d.ok(vault, officer, "GET", "/keys");
	assert.equal(page.value.length, 25);
	const next = new URL(page.nextLink);
	assert.equal(next.host, new URL(vault.origin).host);
	assert.equal(next.pathname, "/keys");
	assert.ok(next.searchParams.get("api-version") && next.searchParams.get("$skiptoken"));
	assert.equal((await d.ok(vault, officer, "GET", "/keys?maxresults=1")).value.length, 1);
	for (const bad of ["0", "26", "-1", "x", ""])
		assert.equal((await d.call(vault, officer, "GET", `/keys?maxresults=${bad}`)).status, 400, `maxresults=${bad}`);
	const forged = await d.call(vault, officer, "GET", "/keys?$skiptoken=eyJmb3JnZWQiOjF9");
	assert.ok([200, 400].includes(forged.status), "a forged skip token does no harm");
});

test("listing versions gives all versions of the key, over pages, and the last page has nextLink null", async () => {
	const made = [];
	for (let i = 0; i < 7; i++)
		made.push((await keys.createOctKey("versions", { hsm: true })).properties.version);
	const all = await collect(keys.listPropertiesOfKeyVersions("versions"));
	assert.deepEqual(all.map((p) => p.version).sort(), [...made].sort());
	const paged = [];
	for await (const page of keys.listPropertiesOfKeyVersions("versions").byPage({ maxPageSize: 3 }))
		paged.push(...page.map((p) => p.version));
	assert.deepEqual(paged.sort(), [...made].sort());
	const raw = await d.ok(vault, officer, "GET", "/keys/versions/versions?maxresults=25");
	assert.ok("nextLink" in raw && raw.nextLink === null);
});

test("update changes what is given and leaves the rest", async () => {
	const key = await keys.createRsaKey("update", { keySize: 2048, tags: { a: "1", b: "2" } });
	const version = key.properties.version;
	let got = await keys.updateKeyProperties("update", version, { enabled: false });
	assert.equal(got.properties.enabled, false);
	assert.deepEqual(got.properties.tags, { a: "1", b: "2" });
	got = await keys.updateKeyProperties("update", version, { expiresOn: new Date(2000000000000), notBefore: new Date(1000000000000) });
	assert.equal(got.properties.enabled, false);
	assert.deepEqual(got.properties.expiresOn, new Date(2000000000000));
	assert.deepEqual(got.properties.notBefore, new Date(1000000000000));
	got = await keys.updateKeyProperties("update", version, { tags: { c: "3" } });
	assert.deepEqual(got.properties.tags, { c: "3" }, "tags are replaced as a whole");
	got = await keys.updateKeyProperties("update", version, { tags: {} });
	assert.deepEqual(got.properties.tags ?? {}, {});
	got = await keys.updateKeyProperties("update", version, { keyOps: ["unwrapKey"] });
	assert.deepEqual(got.keyOperations, ["unwrapKey"]);
	got = await keys.updateKeyProperties("update", { enabled: true });
	assert.equal(got.properties.enabled, true, "without a version the latest is updated");
	assert.deepEqual(got.keyOperations, ["unwrapKey"]);
	assert.deepEqual(got.properties.expiresOn, new Date(2000000000000));
	assert.deepEqual(got.key.n, key.key.n);
	assert.ok(got.properties.updatedOn >= got.properties.createdOn);
	assert.deepEqual(await keys.getKey("update"), got);
});

test("rotate makes a new version of the same type and size and keeps tags and operations", async () => {
	for (const [name, first] of [
		["rotate-rsa", await keys.createRsaKey("rotate-rsa", { keySize: 3072, tags: { t: "1" }, keyOps: ["wrapKey", "unwrapKey"] })],
		["rotate-oct", await keys.createOctKey("rotate-oct", { hsm: true, keySize: 192, tags: { t: "1" }, keyOps: ["wrapKey", "unwrapKey"] })],
	]) {
		const second = await keys.rotateKey(name);
		assert.notEqual(second.properties.version, first.properties.version);
		assert.equal(second.keyType, first.keyType);
		assert.equal(second.key.n?.length, first.key.n?.length);
		assert.notDeepEqual([second.key.n, second.properties.version], [first.key.n, first.properties.version]);
		assert.deepEqual(second.properties.tags, { t: "1" });
		assert.deepEqual([...second.keyOperations].sort(), ["unwrapKey", "wrapKey"]);
		assert.equal((await keys.getKey(name)).properties.version, second.properties.version);
		assert.equal((await keys.getKey(name, { version: first.properties.version })).properties.enabled, true);
	}
});

test("delete, poll, look at it, recover: the key is as it was, with all versions", async () => {
	const first = await keys.createOctKey("recoverme", { hsm: true, tags: { a: "1" } });
	const second = await keys.createOctKey("recoverme", { hsm: true });
	const poller = await keys.beginDeleteKey("recoverme", POLL);
	const deleted = await poller.pollUntilDone();
	assert.equal(deleted.name, "recoverme");
	assert.equal(deleted.properties.version, second.properties.version);
	assert.equal(deleted.properties.recoveryId, `${vault.origin}/deletedkeys/recoverme`);
	assert.equal(deleted.properties.scheduledPurgeDate - deleted.properties.deletedOn, 30 * 86400 * 1000);

	await assert.rejects(keys.getKey("recoverme"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.getKey("recoverme", { version: first.properties.version }), refused(404, "KeyNotFound"));
	await assert.rejects(keys.createOctKey("recoverme", { hsm: true }), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));
	await assert.rejects(keys.createOctKey("RecoverMe", { hsm: true }), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));
	await assert.rejects(keys.updateKeyProperties("recoverme", { enabled: true }), refused(404, "KeyNotFound"));
	await assert.rejects(keys.rotateKey("recoverme"), refused(404, "KeyNotFound"));
	assert.ok(!(await collect(keys.listPropertiesOfKeys())).some((p) => p.name === "recoverme"));
	const listed = (await collect(keys.listDeletedKeys())).find((k) => k.name === "recoverme");
	assert.ok(listed?.properties.deletedOn && listed.properties.scheduledPurgeDate && listed.properties.recoveryId);

	const back = await (await keys.beginRecoverDeletedKey("recoverme", POLL)).pollUntilDone();
	assert.equal(back.properties.version, second.properties.version);
	assert.deepEqual((await keys.getKey("recoverme", { version: first.properties.version })).properties.tags, { a: "1" });
	await assert.rejects(keys.getDeletedKey("recoverme"), refused(404, "KeyNotFound"));
	assert.equal((await collect(keys.listPropertiesOfKeyVersions("recoverme"))).length, 2);
});

test("purge removes the key for good, and its name can be used again", async () => {
	const first = await keys.createRsaKey("purgeme", { keySize: 2048 });
	await (await keys.beginDeleteKey("purgeme", POLL)).pollUntilDone();
	await keys.purgeDeletedKey("purgeme");
	await assert.rejects(keys.getDeletedKey("purgeme"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.getKey("purgeme"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.purgeDeletedKey("purgeme"), refused(404, "KeyNotFound"));
	const again = await keys.createRsaKey("purgeme", { keySize: 2048 });
	assert.notEqual(again.properties.version, first.properties.version);
	await assert.rejects(keys.getKey("purgeme", { version: first.properties.version }), refused(404, "KeyNotFound"));
});

test("purge answers 204 without a body", async () => {
	await keys.createOctKey("purge204", { hsm: true });
	await d.ok(vault, officer, "DELETE", "/keys/purge204");
	const res = await d.call(vault, officer, "DELETE", "/deletedkeys/purge204");
	assert.equal(res.status, 204);
	assert.equal(res.body.length, 0);
});

test("purge protection refuses the purge and shows in recoveryLevel", async () => {
	const safe = await d.makeVault("safe", { purgeProtection: true });
	const owner = await d.makePrincipal(safe, "owner", ["crypto-officer"]);
	const { keys: protectedKeys } = sdk(d, safe, owner);
	const key = await protectedKeys.createOctKey("k", { hsm: true });
	assert.equal(key.properties.recoveryLevel, "Recoverable");
	assert.equal(key.properties.recoverableDays, 90);
	await (await protectedKeys.beginDeleteKey("k", POLL)).pollUntilDone();
	await assert.rejects(protectedKeys.purgeDeletedKey("k"), refused(403, "Forbidden"));
	await protectedKeys.getDeletedKey("k");
});

test("what does not exist is 404 KeyNotFound, for every operation", async () => {
	const version = "0".repeat(32);
	await keys.createOctKey("exists", { hsm: true });
	await assert.rejects(keys.getKey("nothing"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.getKey("exists", { version }), refused(404, "KeyNotFound"));
	await assert.rejects(keys.updateKeyProperties("nothing", { enabled: true }), refused(404, "KeyNotFound"));
	await assert.rejects(keys.updateKeyProperties("exists", version, { enabled: true }), refused(404, "KeyNotFound"));
	await assert.rejects(keys.rotateKey("nothing"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.beginDeleteKey("nothing"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.getDeletedKey("exists"), refused(404, "KeyNotFound"));
	await assert.rejects(keys.purgeDeletedKey("exists"), refused(404, "KeyNotFound"));
	assert.equal((await d.call(vault, officer, "POST", "/deletedkeys/nothing/recover")).status, 404);
	assert.equal((await d.call(vault, officer, "GET", "/keys/nothing/versions")).status, 404);
});

test("a vault can be reached without case in its name, and ids are shown in the configured form", async () => {
	await keys.createOctKey("CaseOfName", { hsm: true });
	const res = await d.call(vault, officer, "GET", "/keys/caseofname", undefined,
		{ host: `ORDERS.Vault.LocalHost:${d.port}` });
	assert.equal(res.status, 200, res.text);
	assert.ok(res.json.key.kid.startsWith(`${vault.origin}/keys/CaseOfName/`));
});
