// kill -9 under load, again and again: what was acknowledged is there afterwards, and what was begun is settled.
// ROUNDS: how often (default 10).
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon } from "../support/daemon.mjs";
import { Load } from "../support/load.mjs";
import { assertLeaf, assertOrder, leafOf, openIntents, receipt } from "../support/log.mjs";
import { verifyLog } from "../support/verify.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 10);
const CALLERS = 8;
const RUN_MS = { min: 250, max: 1500 };
const ROLE_PAUSE_MS = 10;
const ALG = { "oct-HSM": "A256KW", "RSA": "RSA-OAEP-256" };

let d, vault, officer, visitor;
const plain = randomBytes(32).toString("base64url");
const model = { keys: new Map(), purged: new Set(), next: 0 }; // what has been acknowledged; a name is used by one caller only

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("crash");
	officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	visitor = await d.makePrincipal(vault, "visitor");
	await d.token(officer);
});
after(() => d?.destroy());

const call = (client, method, path, body) => d.call(vault, officer, method, path, body, { client });

/** Made by the HSM, or brought with its bytes. */
async function createKey(client, kty, secret) {
	const name = `k${model.next++}`;
	const tags = { made: name };
	const res = secret ? await call(client, "PUT", `/keys/${name}`, { Hsm: true, key: { kty: "oct", k: secret.toString("base64url") }, tags })
		: await call(client, "POST", `/keys/${name}/create`, { kty, tags });
	if (res.status === 200)
		model.keys.set(name, { kty, versions: [res.json.key.kid.split("/").pop()], wrapped: [], busy: false, isTouched: true });
	return res;
}

/** One key that no other caller is using now, so that the model stays exact. */
function pick() {
	const free = [...model.keys.entries()].filter(([, key]) => !key.busy && !key.lost);
	return free.length > 0 ? free[randomInt(free.length)] : null;
}

const MOVES = {
	create: (client) => createKey(client, "oct-HSM"),
	createWrapped: (client) => createKey(client, "RSA"),
	createImported: (client) => createKey(client, "oct-HSM", randomBytes(32)),
	async wrap(client, name, key) {
		const version = key.versions.at(-1);
		const res = await call(client, "POST", `/keys/${name}/wrapkey`, { alg: ALG[key.kty], value: plain });
		if (res.status === 200) {
			assert.ok(res.json.kid.endsWith(version), "the latest acknowledged version is used");
			key.wrapped.push({ version, value: res.json.value });
		}
		return res;
	},
	async unwrap(client, name, key) {
		const one = key.wrapped.at(-1);
		if (!one)
			return MOVES.wrap(client, name, key);
		const res = await call(client, "POST", `/keys/${name}/${one.version}/unwrapkey`, { alg: ALG[key.kty], value: one.value });
		if (res.status === 200)
			assert.equal(res.json.value, plain);
		return res;
	},
	async rotate(client, name, key) {
		const res = await call(client, "POST", `/keys/${name}/rotate`);
		if (res.status === 200)
			key.versions.push(res.json.key.kid.split("/").pop());
		return res;
	},
	async tag(client, name, key) {
		const tag = String(randomInt(1 << 30));
		const res = await call(client, "PATCH", `/keys/${name}`, { tags: { tag } });
		if (res.status === 200)
			key.tag = { version: key.versions.at(-1), tag };
		return res;
	},
	async purge(client, name, key) {
		key.lost = "purge"; // until it is answered nobody else takes this key
		const gone = await call(client, "DELETE", `/keys/${name}`);
		if (gone.status !== 200) {
			key.lost = undefined;
			return gone;
		}
		const res = await call(client, "DELETE", `/deletedkeys/${name}`);
		if (res.status === 204) {
			model.keys.delete(name);
			model.purged.add(name);
		}
		return res;
	},
	/** Out of the vault and back, from its backup. */
	async restore(client, name, key) {
		if (key.kty !== "RSA")
			return MOVES.unwrap(client, name, key);
		const backup = await call(client, "POST", `/keys/${name}/backup`);
		if (backup.status !== 200)
			return backup;
		key.lost = "purge"; // until it is back
		const gone = await call(client, "DELETE", `/keys/${name}`);
		const purged = gone.status === 200 ? await call(client, "DELETE", `/deletedkeys/${name}`) : gone;
		if (purged.status !== 204)
			return purged;
		const res = await call(client, "POST", "/keys/restore", { value: backup.json.value });
		if (res.status === 200)
			key.lost = undefined; // with all versions, and what was wrapped under them
		return res;
	},
};
const WEIGHTS = [["create", 8], ["createImported", 4], ["createWrapped", 1], ["restore", 6], ["wrap", 20], ["unwrap", 20], ["rotate", 4], ["tag", 8], ["purge", 2]];
const BAG = WEIGHTS.flatMap(([move, weight]) => Array(weight).fill(move));

async function step(client, i) {
	if (i === 0) { // one caller changes roles: two-phase too; not faster than the others
		const what = randomInt(2) ? "grant" : "remove";
		await sleep(ROLE_PAUSE_MS);
		return d.admin("POST", `/admin/v1/vaults/crash/roles/${what}`, { principal: visitor.client_id, role: "reader" });
	}
	const move = BAG[randomInt(BAG.length)];
	if (move.startsWith("create"))
		return MOVES[move](client);
	const picked = pick();
	if (!picked)
		return createKey(client, "oct-HSM");
	const [name, key] = picked;
	key.busy = true;
	key.isTouched = true;
	try {
		const res = await MOVES[move](client, name, key);
		key.busy = false;
		return res;
	} catch (err) {
		// The answer did not come: what became of it is open, so the model stops following this key's latest version, tags and deletion.
		if (move !== "restore")
			key.lost = ["wrap", "unwrap"].includes(move) ? undefined : move;
		key.busy = false;
		throw err;
	}
}

/** Everything acknowledged about one key holds. */
async function checkKey(name, key) {
	key.isTouched = false;
	if (key.lost === "purge") { // perhaps deleted, perhaps purged: either is well, half is not
		const live = await call(undefined, "GET", `/keys/${name}`);
		const deleted = await call(undefined, "GET", `/deletedkeys/${name}`);
		assert.ok([200, 404].includes(live.status) && [200, 404].includes(deleted.status));
		assert.ok(!(live.status === 200 && deleted.status === 200));
		model.keys.delete(name);
		return;
	}
	const { value: versions } = await d.ok(vault, officer, "GET", `/keys/${name}/versions`);
	const found = versions.map((v) => v.kid.split("/").pop());
	for (const version of key.versions.slice(-20))
		assert.ok(versions.length === 25 || found.includes(version), `${name}/${version} was acknowledged and is gone`);
	const alg = ALG[key.kty];
	for (const { version, value } of key.wrapped.splice(0)) {
		const res = await call(undefined, "POST", `/keys/${name}/${version}/unwrapkey`, { alg, value });
		assert.equal(res.json?.value, plain, `${name}/${version}: ${res.status} ${res.text}`);
	}
	for (const version of key.versions) {
		const { value } = await d.ok(vault, officer, "POST", `/keys/${name}/${version}/wrapkey`, { alg, value: plain });
		assert.equal((await d.ok(vault, officer, "POST", `/keys/${name}/${version}/unwrapkey`, { alg, value })).value, plain);
	}
	if (key.lost === "tag")
		key.tag = undefined; // the old ones or the new ones: unknown
	if (key.tag)
		assert.deepEqual((await d.ok(vault, officer, "GET", `/keys/${name}/${key.tag.version}`)).tags, { tag: key.tag.tag });
	key.lost = undefined;
	const latest = (await d.ok(vault, officer, "GET", `/keys/${name}`)).key.kid.split("/").pop();
	if (latest !== key.versions.at(-1))
		key.versions.push(latest); // an unanswered rotation that did happen
}

test(`${ROUNDS} times kill -9 under load: nothing acknowledged is lost and nothing begun is left open`, async () => {
	let checked = 0;
	let acknowledged = 0;
	for (let round = 0; round < ROUNDS; round++) {
		const load = new Load(d, CALLERS, step);
		await sleep(randomInt(RUN_MS.min, RUN_MS.max));
		await d.kill9();
		const samples = await load.stop();
		await d.restart();

		const entries = await d.entries(checked);
		assertOrder(entries, checked);
		for (const entry of entries)
			assertLeaf(entry);
		let receipts = 0;
		for (const { res, status } of samples) {
			const got = receipt(res);
			if (got === null) {
				assert.ok([429, 503].includes(status), `an answer ${status} without a receipt: ${res.text}`);
				continue;
			}
			const leaf = leafOf(entries, got, checked);
			assert.equal(leaf.http, status);
			receipts++;
		}
		assert.ok(receipts > 0, `round ${round}: nothing was acknowledged, so nothing was tested`);
		acknowledged += receipts;
		assert.deepEqual(openIntents(entries), [], `round ${round}: intents without outcome`);
		assert.deepEqual(samples.filter((s) => s.status >= 500).map((s) => s.res.text), []);

		for (const [name, key] of [...model.keys].filter(([, k]) => k.isTouched)) // all of them again at the end
			await checkKey(name, key);
		for (const name of model.purged)
			assert.equal((await call(undefined, "GET", `/deletedkeys/${name}`)).status, 404);
		model.purged.clear();
		// The next round's first leaf: everything up to here has been looked at.
		checked += entries.length;
	}
	const all = await d.entries(0);
	assertOrder(all, 0);
	assert.deepEqual(openIntents(all), []);
	assert.ok(all.filter(({ leaf }) => leaf.type === "node.start").length >= ROUNDS + 1);
	console.log(`# ${ROUNDS} rounds, ${acknowledged} acknowledged requests, ${model.keys.size} keys, ${all.length} leaves`);
});

test("after the crashes it stops in order and starts again", async () => {
	const how = await d.stop();
	assert.equal(how.code, 0, JSON.stringify(how));
	await d.restart();
	const types = (await d.entries(0)).map(({ leaf }) => leaf.type);
	assert.ok(types.includes("node.stop"));
	for (const [name, key] of model.keys)
		await checkKey(name, key);
	const { code, out } = await verifyLog(d);
	assert.equal(code, 0, out);
});
