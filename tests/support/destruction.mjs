// What tests of destruction share: a vault with keys of every kind, what there is of it in the token and in the log, and the proof that all of it is gone.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { until } from "./daemon.mjs";
import { jwkOf, rsaPair } from "./keys.mjs";
import { both, minus, tokenKeys } from "./token.mjs";

export const SETTLED_MS = 40_000; // what was interrupted is at an end within this, once everything is there again
const VAULT_OBJECTS = 2; // its root and its pseudonym key
const MAKES = new Set(["key.create", "key.rotate", "key.import", "key.restore"]);
export const plain = randomBytes(32).toString("base64url");

/** name -> how it is made, and what wraps with it. Those with -hsm are objects of the token, the others blobs under the vault's root. */
export const KINDS = {
	"oct": { kty: "oct", alg: "A256KW" },
	"oct-hsm": { kty: "oct-HSM", alg: "A256KW" },
	"rsa": { rsa: true, alg: "RSA-OAEP-256" },
	"rsa-hsm": { rsa: true, isResident: true, alg: "RSA-OAEP-256" },
	"ec": { kty: "EC", crv: "P-256" },
	"ec-hsm": { kty: "EC-HSM", crv: "P-256" },
};

async function makeKey(d, vault, who, name, { kty, crv, rsa, isResident = false }) {
	if (rsa)
		return d.ok(vault, who, "PUT", `/keys/${name}`, { Hsm: isResident, key: jwkOf((await rsaPair(2048)).privateKey) });
	return d.ok(vault, who, "POST", `/keys/${name}/create`, { kty, ...(crv && { crv }) });
}

/** The objects of all versions that a vault's leaves say were made. */
export function objectsInLog(entries, tenant) {
	return new Set(entries.map(({ leaf }) => leaf).filter((leaf) => leaf.tenant === tenant && MAKES.has(leaf.type) && leaf.phase === "outcome" && leaf.result === "ok")
		.map((leaf) => leaf.key.obj));
}

export class Victim {
	/** A vault with a key of each kind, one of them with two versions, one deleted, and something wrapped under each that can. */
	static async make(d, name, { kinds = Object.keys(KINDS) } = {}) {
		const v = new Victim();
		const before = tokenKeys(d.tokenDir);
		v.d = d;
		v.from = (await d.entries(0)).length;
		v.vault = await d.makeVault(name);
		v.officer = await d.makePrincipal(v.vault, "officer", ["administrator"]);
		v.wrapped = [];
		for (const kind of kinds)
			await makeKey(d, v.vault, v.officer, kind, KINDS[kind]);
		for (const kind of kinds.filter((k) => KINDS[k].alg)) {
			const { alg } = KINDS[kind];
			const { kid, value } = await d.ok(v.vault, v.officer, "POST", `/keys/${kind}/wrapkey`, { alg, value: plain });
			v.wrapped.push({ kind, version: kid.split("/").pop(), alg, value });
		}
		await d.ok(v.vault, v.officer, "POST", `/keys/${kinds[0]}/rotate`);
		v.files = minus(tokenKeys(d.tokenDir), before);
		v.tenant = v.vault.id;
		return v;
	}

	/** The key objects of it that the token still has. */
	left() {
		return both(tokenKeys(this.d.tokenDir), this.files);
	}

	async entries() {
		return (await this.d.entries(this.from));
	}

	/** What the server says of it; without a state while it refuses to say, as when nothing has been signed for too long. */
	async shown() {
		const res = await this.d.admin("GET", `/admin/v1/vaults/${this.vault.name}`);
		assert.ok([200, 503].includes(res.status), res.text);
		return res.json;
	}

	async state() {
		return (await this.shown()).state;
	}

	unwrap({ kind, version, alg, value }) {
		return this.d.call(this.vault, this.officer, "POST", `/keys/${kind}/${version}/unwrapkey`, { alg, value });
	}

	async settled() {
		await until(`${this.vault.name} is shredded`, async () => (await this.state()) === "shredded", SETTLED_MS);
	}

	/** Destroyed, and the log says so: once, all of it, and not before it was. */
	async assertDestroyed() {
		assert.equal(await this.state(), "shredded");
		assert.deepEqual([...this.left()], [], "objects of the vault are in the token");
		for (const wrapped of this.wrapped) {
			const res = await this.unwrap(wrapped);
			assert.ok([401, 403].includes(res.status), `unwrap with ${wrapped.kind}: ${res.status} ${res.text}`);
		}
		const entries = await this.entries();
		const mine = entries.map(({ leaf }) => leaf).filter((leaf) => leaf.tenant === this.tenant);
		const intents = mine.filter((leaf) => leaf.type === "tenant.shred" && leaf.phase === "intent");
		assert.equal(intents.length, 1, "one intent");
		const [{ seq }] = intents;
		const ended = mine.filter((leaf) => leaf.type === "tenant.shred" && leaf.phase === "outcome" && leaf.result === "ok");
		assert.deepEqual(ended.map((leaf) => leaf.ref), [seq], "one outcome, of that intent");
		assertEachDied(mine, { intent: seq, outcome: ended[0].seq, objects: objectsInLog(entries, this.tenant), others: VAULT_OBJECTS });
		return { intent: seq, outcome: ended[0].seq };
	}
}

/** Between intent and outcome one key.destroy for each of these objects, and for `others` of which only the number is known; and none twice. */
export function assertEachDied(leaves, { intent, outcome, objects, others = 0 }) {
	const died = leaves.filter((leaf) => leaf.type === "key.destroy" && leaf.seq > intent && leaf.seq < outcome);
	for (const leaf of died) {
		assert.equal(leaf.phase, "single");
		assert.equal(leaf.result, "ok");
		assert.equal(leaf.det.intent, intent);
	}
	const ids = died.map((leaf) => leaf.key.obj);
	assert.equal(new Set(ids).size, ids.length, "an object died twice");
	for (const obj of objects)
		assert.ok(ids.includes(obj), `no key.destroy of ${obj}`);
	assert.equal(ids.length, objects.size + others, "as many died as there were");
}
