// Cosmos DB with client-side encryption and the key in Holdfast: the official client, its Key Vault resolver, and the sample of
// docs/samples as its user would copy it, against the real daemon and an emulator of Cosmos DB. The client's cache of unwrapped keys is
// tested on a mocked clock.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, mock, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { CosmosClient, EncryptionAlgorithm, EncryptionQueryBuilder } from "@azure/cosmos";
import { Daemon } from "../support/daemon.mjs";
import { Load, act, assertLinearizable } from "../support/load.mjs";
import { Emulator } from "./emulator.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const SAMPLE = path.join(here, "../../docs/samples/cosmos.mjs");
const PRELOAD = path.join(here, "../support/preload.mjs");
const COSMOS_HOST = "cosmos.vault.localhost"; // covered by the daemon's certificate
const COSMOS_KEY = Buffer.from("emulators take any key").toString("base64");
const KEY = "cosmos";
const CACHE_SECONDS = 60; // the least that the client allows, but for none at all
const SWEEP_MS = 60_000; // how often the client looks for what is too old (EncryptionCacheRefreshIntervalInMs)
const NO_CACHE = 0;
const HOUR_S = 3600;
const KEY_SIZE = 2048; // quickly made
const CALLERS = 4;
const ANSWERS = 2 * CALLERS;
const REFUSED = /Failed to unwrap key/;

let d, sample, sampleFile;
before(async () => {
	d = await Daemon.start({ limits: { queue: 256 } });
	// As its user would: copied beside the packages that it imports.
	sampleFile = path.join(d.dir, "cosmos.mjs");
	fs.copyFileSync(SAMPLE, sampleFile);
	fs.symlinkSync(path.join(here, "node_modules"), path.join(d.dir, "node_modules"));
	sample = await import(pathToFileURL(sampleFile));
});
after(() => d?.destroy());

/** A vault with an officer and an application, an empty Cosmos DB, and what the sample needs in its environment. */
async function scene(t, name) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	const app = await d.makePrincipal(vault, "app", ["crypto-service-encryption-user"]);
	const cosmos = await Emulator.start({ cert: d.cert, key: d.certKey, host: COSMOS_HOST });
	t.after(() => cosmos.stop());
	const envOf = (who) => ({
		COSMOS_ENDPOINT: cosmos.endpoint, COSMOS_KEY, HOLDFAST_VAULT_URL: vault.origin, AZURE_AUTHORITY_HOST: d.origin,
		AZURE_TENANT_ID: who.tenant_id, AZURE_CLIENT_ID: who.client_id, AZURE_CLIENT_SECRET: who.secret,
	});
	const connect = (who, cacheSeconds) => {
		const client = sample.connect(envOf(who), cacheSeconds);
		t.after(() => client.cosmos.dispose());
		return client;
	};
	const plain = new CosmosClient({ endpoint: cosmos.endpoint, key: COSMOS_KEY });
	t.after(() => plain.dispose());
	return { vault, officer, app, cosmos, envOf, connect, plain, stored: plain.database("shop").container("customers") };
}

/** The same with the sample's setup done. */
async function ready(t, name) {
	const s = await scene(t, name);
	s.admin = s.connect(s.officer, NO_CACHE);
	s.key = await sample.setUp(s.admin, KEY_SIZE);
	return s;
}

const customer = (id, changes = {}) =>
	({ id, name: "Ada", iban: "DE02120300000000202051", note: "prefers letters", address: { city: "Bonn" }, ...changes });
const without = (document) => Object.fromEntries(Object.entries(document).filter(([name]) => !name.startsWith("_")));
const revoke = (s) => d.cli("key", "revoke", s.vault.name, KEY, "--reason", "superseded");
const reinstate = (s) => d.cli("key", "reinstate", s.vault.name, KEY);
const setEnabled = (s, version, enabled) => d.ok(s.vault, s.officer, "PATCH", `/keys/${KEY}/${version}`, { attributes: { enabled } });

test("the sample, run as its user would: set up, use, rotate, revoke, reinstate, shred", async (t) => {
	const s = await scene(t, "c-sample");
	const node = (who, command) => promisify(execFile)(process.execPath, ["--import", PRELOAD, sampleFile, command],
		{ env: { ...process.env, ...s.envOf(who) } });
	const fails = (who, command, said = REFUSED) => assert.rejects(node(who, command), (err) => err.code === 1 && said.test(err.stderr));
	const versions = async () => (await d.ok(s.vault, s.officer, "GET", `/keys/${KEY}/versions`)).value.length;

	await fails({ ...s.officer, secret: "" }, "setup", /^failed: not set in the environment: AZURE_CLIENT_SECRET$/m);
	await fails(s.officer, "rotate", /`setup` first/);
	await node(s.officer, "setup");
	await node(s.officer, "setup");
	assert.equal(await versions(), 1, "setup again makes no other key");
	const expected = /read: +\{[^]*iban: 'DE02120300000000202051'[^]*city: 'Bonn'[^]*found: \[ 'c-1' \]/;
	assert.match((await node(s.app, "run")).stdout, expected);
	const [, version] = /rotated; the key is now .*\/keys\/cosmos\/([0-9a-f]{32})/.exec((await node(s.officer, "rotate")).stdout);
	assert.equal((await d.ok(s.vault, s.officer, "GET", `/keys/${KEY}`)).key.kid.split("/").pop(), version);
	await revoke(s);
	await fails(s.app, "run");
	await fails(s.officer, "rotate", /is disabled, nothing was rotated/);
	assert.equal(await versions(), 2);
	await reinstate(s);
	assert.match((await node(s.app, "run")).stdout, expected);
	await d.shred(s.vault);
	await fails(s.app, "run");
});

describe("what is stored", () => {
	test("is ciphertext: equal where deterministic, never equal where randomized, nothing of it is ever sent in clear", async (t) => {
		const s = await ready(t, "c-stored");
		const client = s.connect(s.app);
		const marker = "MARKER-7b1f9e";
		const address = { city: `${marker}-city`, floor: 4, isHome: true };
		const one = customer("c-1", { name: "clear-name", iban: `${marker}-iban`, note: `${marker}-note`, address });
		await sample.write(client, one);
		await sample.write(client, { ...one, id: "c-2" });
		assert.deepEqual(without(await sample.read(client, "c-1")), one);
		assert.deepEqual((await sample.findByIban(client, one.iban)).map((c) => c.id).sort(), ["c-1", "c-2"]);

		const raw = (await s.stored.items.readAll().fetchAll()).resources;
		assert.equal(raw.length, 2);
		assert.equal(raw[0].name, one.name, "what is not encrypted is there to see");
		assert.equal(raw[0].iban, raw[1].iban);
		assert.notEqual(raw[0].note, raw[1].note);
		assert.notEqual(raw[0].address.city, raw[1].address.city);
		for (const value of [raw[0].iban, raw[0].note, raw[0].address.city, raw[0].address.floor, raw[0].address.isHome])
			assert.ok(Buffer.from(value, "base64").length >= 1 + 1 + 32 + 16 + 16, `type, version, tag, IV and a block: ${value}`);
		const everything = s.cosmos.seen.join("\n") + JSON.stringify(raw);
		assert.ok(everything.includes(one.name), "the requests were recorded");
		assert.ok(everything.includes(raw[0].iban), "the encrypted documents were recorded");
		for (const form of [marker, Buffer.from(marker).toString("base64").slice(0, 16)])
			assert.ok(!everything.includes(form), `${form} has left the client`);
	});

	test("can be searched by equality of a deterministic value, not of a randomized one", async (t) => {
		const s = await ready(t, "c-query");
		const client = s.connect(s.app);
		for (const [id, iban] of [["c-1", "A"], ["c-2", "B"], ["c-3", "A"]])
			await sample.write(client, customer(id, { iban }));
		assert.deepEqual((await sample.findByIban(client, "A")).map((c) => [c.id, c.iban, c.note]),
			[["c-1", "A", "prefers letters"], ["c-3", "A", "prefers letters"]]);
		assert.deepEqual(await sample.findByIban(client, "C"), []);
		const byNote = new EncryptionQueryBuilder("SELECT * FROM c WHERE c.note = @note");
		byNote.addParameter("@note", "prefers letters", "/note");
		assert.deepEqual((await (await client.container.items.getEncryptionQueryIterator(byNote)).fetchAll()).resources, []);
		const inClear = { query: "SELECT * FROM c WHERE c.iban = @iban", parameters: [{ name: "@iban", value: "A" }] };
		assert.deepEqual((await s.stored.items.query(inClear).fetchAll()).resources, [], "a client that does not encrypt finds nothing");
	});

	test("is read by nobody who may not unwrap", async (t) => {
		const s = await ready(t, "c-role");
		await sample.write(s.connect(s.app), customer("c-1"));
		await assert.rejects(sample.read(s.connect(await d.makePrincipal(s.vault, "reader", ["reader"])), "c-1"), REFUSED);
		await assert.rejects(sample.read(s.connect(await d.makePrincipal(s.vault, "nobody")), "c-1"), REFUSED);
	});
});

test("every unwrap, allowed or refused, is a leaf of the event log with key, version, algorithm and caller", async (t) => {
	const s = await ready(t, "c-log");
	const start = await d.logSize();
	await sample.write(s.connect(s.app), customer("c-1"));
	await sample.read(s.connect(s.app), "c-1");
	await revoke(s);
	await assert.rejects(sample.read(s.connect(s.app), "c-1"), REFUSED);
	const leaves = (await d.entries(start)).map(({ leaf }) => leaf);
	const unwraps = leaves.filter(({ type }) => type === "key.unwrap");
	assert.deepEqual(unwraps.map(({ result, http }) => [result, http]), [["ok", 200], ["ok", 200], ["denied", 403]]);
	const [login] = leaves.filter(({ type }) => type === "authz.login");
	for (const { alg, key, actor } of unwraps) {
		assert.equal(alg, "RSA-OAEP");
		assert.deepEqual([key.name, key.ver], [KEY, s.key.properties.version]);
		assert.equal(actor.pid, login.actor.pid);
	}
});

describe("the client's cache of unwrapped keys", () => {
	/** A client on a clock that only the test moves; `expire` is what passes until its cache must be empty. */
	async function cached(t, name) {
		const s = await ready(t, name);
		mock.timers.enable({ apis: ["Date", "setInterval"], now: Date.now() });
		t.after(() => mock.timers.reset());
		const client = s.connect(s.app, CACHE_SECONDS);
		await sample.write(client, customer("c-1"));
		const works = async () => assert.deepEqual(without(await sample.read(client, "c-1")), customer("c-1"));
		const fails = () => assert.rejects(sample.read(client, "c-1"), REFUSED);
		const expire = () => {
			for (let passed = 0; passed <= CACHE_SECONDS * 1000; passed += SWEEP_MS)
				mock.timers.tick(SWEEP_MS);
		};
		return { ...s, client, works, fails, expire };
	}

	for (const [what, off, on] of [
		["revoke and reinstate", revoke, reinstate],
		["disable and enable", (s) => setEnabled(s, s.key.properties.version, false), (s) => setEnabled(s, s.key.properties.version, true)],
	]) {
		test(`${what}: reads go on until it ends, then fail, and work again`, async (t) => {
			const s = await cached(t, `c-${what.split(" ")[0]}`);
			await off(s);
			await s.works();
			s.expire();
			await s.fails();
			await on(s);
			await s.works();
			await off(s);
			s.expire();
			await s.fails();
		});
	}

	test("shred: the same, for ever", async (t) => {
		const s = await cached(t, "c-shred");
		await d.shred(s.vault);
		await s.works();
		s.expire();
		await s.fails();
		await assert.rejects(reinstate(s));
		await s.fails();
		await assert.rejects(sample.read(s.connect(s.app, NO_CACHE), "c-1"), REFUSED);
	});

	test("an expired version fails too, by a check of the client's own", async (t) => {
		const s = await cached(t, "c-expired");
		const version = `/keys/${KEY}/${s.key.properties.version}`;
		const expireIn = (seconds) =>
			d.ok(s.vault, s.officer, "PATCH", version, { attributes: { exp: Math.floor(Date.now() / 1000) + seconds } });
		await expireIn(-HOUR_S);
		await s.works();
		s.expire();
		await assert.rejects(sample.read(s.client, "c-1"), /expired at/);
		const { wrappedDataEncryptionKey: value } = (await s.admin.database.readClientEncryptionKey("customers-key")).resource;
		const { value: dataKey } = await d.ok(s.vault, s.app, "POST", `${version}/unwrapkey`,
			{ alg: "RSA-OAEP", value: Buffer.from(value, "base64").toString("base64url") });
		assert.equal(Buffer.from(dataKey, "base64url").length, 32, "the server unwraps, as Key Vault does");
		await expireIn(HOUR_S);
		await s.works();
	});

	// Why docs/cosmos.md wants a key for each client encryption key: the client remembers an unwrapped key by the id of the version that it
	// was wrapped under, and by nothing else.
	for (const [what, makeSecond, isRight] of [
		["under one version of a key are taken for one another", (s) => s.key.id, false],
		["under two versions are not", async (s) => (await s.admin.keys.rotateKey(KEY)).id, true],
	]) {
		test(`two client encryption keys ${what}`, async (t) => {
			const s = await ready(t, `c-two-${isRight}`);
			const encryptionAlgorithm = EncryptionAlgorithm.AEAD_AES_256_CBC_HMAC_SHA256;
			await s.admin.database.createClientEncryptionKey("second-key", encryptionAlgorithm,
				{ type: "AZURE_KEY_VAULT", name: KEY, value: await makeSecond(s), algorithm: "RSA-OAEP" });
			const pathOf = (name, clientEncryptionKeyId) =>
				({ path: name, clientEncryptionKeyId, encryptionType: "Deterministic", encryptionAlgorithm });
			await s.admin.database.containers.create({ id: "two", partitionKey: { paths: ["/id"] }, clientEncryptionPolicy: {
				policyFormatVersion: 2, includedPaths: [pathOf("/a", "customers-key"), pathOf("/b", "second-key")],
			} });
			await s.connect(s.app).database.container("two").items.create({ id: "c-1", a: "same", b: "same" });
			const { resource } = await s.plain.database("shop").container("two").item("c-1", "c-1").read();
			assert.equal(resource.a !== resource.b, isRight);
			const read = s.connect(s.app, NO_CACHE).database.container("two").item("c-1", "c-1").read();
			await (isRight ? read : assert.rejects(read, /Invalid authentication tag/));
		});
	}
});

test("rotation leaves the documents as they are; the version before is needed only by clients that were running", async (t) => {
	const s = await ready(t, "c-rotate");
	const running = s.connect(s.app, NO_CACHE);
	await sample.write(running, customer("c-1"));
	const stored = async () => (await s.stored.items.readAll().fetchAll()).resources;
	const first = await stored();
	const key = await sample.rotate(s.admin);
	assert.notEqual(key.properties.version, s.key.properties.version);
	assert.deepEqual(await stored(), first);
	const { clientEncryptionKeyProperties } = await s.admin.database.readClientEncryptionKey("customers-key");
	assert.equal(clientEncryptionKeyProperties.encryptionKeyWrapMetadata.value, key.id);

	await setEnabled(s, s.key.properties.version, false);
	assert.deepEqual(without(await sample.read(s.connect(s.app), "c-1")), customer("c-1"));
	// As the sample says of rotate().
	await assert.rejects(sample.read(running, "c-1"), REFUSED);
	await running.container.initializeEncryption();
	assert.deepEqual(without(await sample.read(running, "c-1")), customer("c-1"));
});

test("rotation, revocation and shredding in the middle of traffic", async (t) => {
	const s = await ready(t, "c-traffic");
	const clients = Array.from({ length: CALLERS }, () => s.connect(s.app, NO_CACHE));
	await sample.write(clients[0], customer("c-0"));
	let count = 0;
	const load = new Load(d, CALLERS, async (_, i) => {
		try {
			if (i % 2 === 0) {
				assert.deepEqual(without(await sample.read(clients[i], "c-0")), customer("c-0"));
			} else {
				count += 1;
				await sample.write(clients[i], customer(`c-${count}`));
			}
			return { status: 200 };
		} catch (err) {
			if (!REFUSED.test(err.message))
				throw err;
			return { status: 403, text: err.message };
		}
	});
	const periods = [];
	try {
		await load.answers(ANSWERS);
		await sample.rotate(s.admin);
		await load.answers(ANSWERS);
		assert.ok(load.samples.every(({ status }) => status === 200), "rotation refused somebody");
		const off = await act(() => revoke(s));
		await load.answers(ANSWERS);
		const on = await act(() => reinstate(s));
		await load.answers(ANSWERS);
		periods.push({ off, on });
		const shred = await d.agreeToShred(s.vault);
		periods.push({ off: await act(shred) });
		await load.answers(ANSWERS);
	} finally {
		await load.stop();
	}
	assert.deepEqual(load.failures, []);
	assertLinearizable(load.samples, periods, [403]);
});
