// The key event log as a reader sees it: canonical form, leaf hashes, and the rules that hold between leaves (spec: audit-log.md 3 and 6).
// Written from the specification, apart from the server's encoder, so that the two check one another.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const LEAF_MAX = 8192;
const MEMBERS = new Set(["v", "seq", "ts", "boot", "mono", "node", "id", "salt", "type", "phase", "result", "ref", "tenant", "actor", "key",
	"alg", "req", "corr", "corr_b64", "http", "err", "net", "appr", "pii", "count", "trace", "det", "trunc", "big", "det_sha256"]);
const REQUIRED = ["v", "seq", "ts", "boot", "mono", "node", "id", "salt", "type", "phase", "result"];
export const TWO_PHASE = new Set(["key.create", "key.rotate", "key.purge", "authz.role_grant", "authz.role_revoke",
	"tenant.shred"]);

/** base64 of SHA-256(0x00 || leaf) */
export function leafHash(text) {
	return createHash("sha256").update(Buffer.from([0])).update(text, "utf8").digest("base64");
}

/** The canonical text of a value (audit-log.md 3.1). Throws on what may not stand in a leaf. */
export function canonical(value) {
	if (value === true || value === false)
		return String(value);
	if (typeof value === "number") {
		assert.ok(Number.isSafeInteger(value) && !Object.is(value, -0), `not an allowed number: ${value}`);
		return String(value);
	}
	if (typeof value === "string")
		return JSON.stringify(value); // its escapes are exactly rule 4
	if (Array.isArray(value))
		return `[${value.map(canonical).join(",")}]`;
	assert.ok(typeof value === "object" && value !== null, `not an allowed value: ${value}`);
	const names = Object.keys(value).sort();
	for (const name of names)
		assert.match(name, /^[A-Za-z0-9_]{1,32}$/);
	return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

/** One leaf by itself: canonical, complete, only known members. */
export function assertLeaf({ text, leaf }) {
	assert.equal(canonical(leaf), text, "leaf is not in canonical form");
	assert.ok(Buffer.byteLength(text) <= LEAF_MAX, `leaf of ${Buffer.byteLength(text)} bytes`);
	for (const name of REQUIRED)
		assert.ok(name in leaf, `leaf ${leaf.seq} lacks ${name}: ${text}`);
	for (const name of Object.keys(leaf))
		assert.ok(MEMBERS.has(name), `leaf ${leaf.seq} has an unknown member ${name}`);
	assert.equal(leaf.v, 1);
	assert.match(leaf.ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
	assert.match(leaf.boot, /^[0-9a-f]{16}$/);
	assert.match(leaf.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
	assert.equal(Buffer.from(leaf.salt, "base64url").length, 16);
	assert.ok(["single", "intent", "outcome"].includes(leaf.phase));
	assert.ok(["ok", "denied", "failed", "pending", "unknown"].includes(leaf.result));
	assert.equal(leaf.result === "pending", leaf.phase === "intent", `leaf ${leaf.seq}: pending is for intents`);
	assert.equal("ref" in leaf, leaf.phase === "outcome", `leaf ${leaf.seq}: ref is for outcomes`);
	if (leaf.result === "denied" || leaf.result === "failed")
		assert.ok(leaf.err, `leaf ${leaf.seq} is not ok and has no err`);
}

/** seq runs from `first` without a gap; mono never falls within a boot; a new boot begins with node.start (or log.init, the very first). */
export function assertOrder(entries, first = 0) {
	let boot;
	let mono = 0;
	entries.forEach(({ leaf }, i) => {
		assert.equal(leaf.seq, first + i, "seq is not contiguous");
		if (leaf.boot !== boot) {
			if (boot !== undefined || first === 0)
				assert.ok(["log.init", "node.start"].includes(leaf.type), `boot ${leaf.boot} begins with ${leaf.type}`);
			boot = leaf.boot;
			mono = 0;
		}
		assert.ok(leaf.mono >= mono, `leaf ${leaf.seq}: mono falls`);
		mono = leaf.mono;
	});
}

/** Each outcome closes exactly one earlier intent of the same type, key and tenant. @return intents still open */
export function openIntents(entries) {
	const open = new Map();
	for (const { leaf } of entries) {
		if (leaf.phase === "intent")
			open.set(leaf.seq, leaf);
		if (leaf.phase !== "outcome")
			continue;
		const intent = open.get(leaf.ref);
		assert.ok(intent, `outcome ${leaf.seq} (${leaf.type}) names intent ${leaf.ref}, which is not open`);
		assert.equal(leaf.type, intent.type);
		assert.equal(leaf.tenant, intent.tenant);
		assert.equal(leaf.key?.name, intent.key?.name);
		open.delete(leaf.ref);
	}
	return [...open.values()];
}

/** The receipt of an answer: {seq, leaf (base64), origin}, or null when it has none. */
export function receipt(res) {
	const seq = res.headers["x-audit-seq"];
	if (seq === undefined)
		return null;
	assert.match(seq, /^\d+$/);
	return { seq: Number(seq), leaf: res.headers["x-audit-leaf"], origin: res.headers["x-audit-origin"] };
}

/** The leaf that a receipt names, with its hash checked. `entries` start at seq `first`. */
export function leafOf(entries, got, first = 0) {
	const entry = entries[got.seq - first];
	assert.ok(entry, `leaf ${got.seq} of an answered request is not in the log (${entries.length} from ${first})`);
	assert.equal(leafHash(entry.text), got.leaf, `leaf ${got.seq} does not have the hash of its receipt`);
	return entry.leaf;
}
