// The event log as somebody checks it who trusts nobody: signed notes, proofs, bundles and tiles, with node:crypto alone. Written from the specifications (RFC 6962
// section 2.1; C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-tiles), apart from the server's code, so that the two check one another.
import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";

const ED25519 = 0x01;
const ECDSA_P256 = 0x02;
const COSIGNATURE = 0x04;
const HASH_LEN = 32;
const TILE = 256;
const ED25519_SPKI = Buffer.from("302a300506032b6570032100", "hex"); // RFC 8410, up to the key

const sha256 = (...parts) => parts.reduce((h, part) => h.update(part), createHash("sha256")).digest();

/** SHA-256(0x00 || leaf) */
export const hashLeaf = (leaf) => sha256(Buffer.from([0]), leaf);
/** SHA-256(0x01 || left || right) */
export const hashNode = (left, right) => sha256(Buffer.from([1]), left, right);

/** Strict base64 with padding. */
export function fromBase64(text) {
	const bytes = Buffer.from(text, "base64");
	assert.equal(bytes.toString("base64"), text, "not canonical base64");
	return bytes;
}

function toHash(text) {
	const hash = fromBase64(text);
	assert.equal(hash.length, HASH_LEN, "not a hash");
	return hash;
}

/* ---- trees ---- */

/** Root of leaf hashes, by definition. */
export function rootOf(hashes) {
	if (hashes.length === 0)
		return sha256();
	if (hashes.length === 1)
		return hashes[0];
	let k = 1;
	while (k * 2 < hashes.length)
		k *= 2;
	return hashNode(rootOf(hashes.slice(0, k)), rootOf(hashes.slice(k)));
}

/** A proof's walk up the tree: audit-log.md section 4. Numbers, not bits: sizes may be beyond 2^32. */
function walkUp(at, last, hashes, left, right) {
	let a = at;
	let b = last;
	for (const hash of hashes) {
		if (b === 0)
			return false;
		if (a % 2 === 1 || a === b) {
			left(hash);
			for (; a % 2 === 0 && a !== 0; a /= 2)
				b = Math.floor(b / 2);
		} else {
			right(hash);
		}
		a = Math.floor(a / 2);
		b = Math.floor(b / 2);
	}
	return b === 0;
}

/** @param leaf, hashes, root  Buffers */
export function checkInclusion(seq, size, leaf, hashes, root) {
	if (seq >= size || [leaf, root, ...hashes].some((h) => h.length !== HASH_LEN))
		return false;
	let r = leaf;
	const ended = walkUp(seq, size - 1, hashes, (h) => {
		r = hashNode(h, r);
	}, (h) => {
		r = hashNode(r, h);
	});
	return ended && r.equals(root);
}

export function checkConsistency(from, to, fromRoot, toRoot, hashes) {
	if (from === 0 || from > to || hashes.some((h) => h.length !== HASH_LEN))
		return false;
	if (from === to)
		return hashes.length === 0 && fromRoot.equals(toRoot);
	if (hashes.length === 0)
		return false;
	const path = Number.isInteger(Math.log2(from)) ? [fromRoot, ...hashes] : [...hashes];
	let a = from - 1;
	let b = to - 1;
	for (; a % 2 === 1; a = (a - 1) / 2)
		b = Math.floor(b / 2);
	let x = path[0];
	let y = path[0];
	const ended = walkUp(a, b, path.slice(1), (h) => {
		x = hashNode(h, x);
		y = hashNode(h, y);
	}, (h) => {
		y = hashNode(y, h);
	});
	return ended && x.equals(fromRoot) && y.equals(toRoot);
}

/** The proofs as the API answers them. */
export const inclusionHolds = (proof, root) => checkInclusion(proof.seq, proof.size, toHash(proof.leaf), proof.hashes.map(toHash), root);
export const consistencyHolds = (proof, fromRoot, toRoot) => checkConsistency(proof.from, proof.to, fromRoot, toRoot, proof.hashes.map(toHash));

/* ---- signed notes ---- */

/** "name+1a2b3c4d+base64" */
export function parseVkey(text) {
	const [, name, id, data] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text) ?? assert.fail(`not a verifier key: ${text}`);
	const bytes = fromBase64(data);
	const [type] = bytes;
	const pub = bytes.subarray(1);
	const expected = type === ECDSA_P256 ? sha256(pub) : sha256(name, "\n", bytes);
	assert.equal(expected.subarray(0, 4).toString("hex"), id, "the key's id is not its own");
	assert.ok([ED25519, ECDSA_P256, COSIGNATURE].includes(type), `a key of type ${type}`);
	if (type !== ECDSA_P256)
		assert.equal(pub.length, 32);
	const spki = type === ECDSA_P256 ? pub : Buffer.concat([ED25519_SPKI, pub]);
	return { text, name, id: Buffer.from(id, "hex"), type, key: createPublicKey({ key: spki, format: "der", type: "spki" }) };
}

function signatureIsGood(vkey, text, signature) {
	switch (vkey.type) {
	case ED25519:
		return verify(null, Buffer.from(text), vkey.key, signature);
	case ECDSA_P256:
		return verify("sha256", Buffer.from(text), vkey.key, signature);
	default:
		return signature.length === 72 && verify(null, Buffer.from(`cosignature/v1\ntime ${signature.readBigUInt64BE()}\n${text}`), vkey.key, signature.subarray(8));
	}
}

/** Take a note apart and check it: at least one line of a known key, and each of those good. @return {{text, signers: string[]}} names of the known keys that signed */
export function openNote(note, vkeys) {
	const end = note.lastIndexOf("\n\n");
	assert.ok(end > 0 && note.endsWith("\n") && !/[\0-\t\v-\x1f]/.test(note), `not a note: ${note}`);
	const text = note.slice(0, end + 1);
	const signers = [];
	for (const line of note.slice(end + 2, -1).split("\n")) {
		const [, name, data] = /^\u2014 (\S+) (\S+)$/.exec(line) ?? assert.fail(`not a signature line: ${line}`);
		const bytes = fromBase64(data);
		const vkey = vkeys.find((k) => k.name === name && k.id.equals(bytes.subarray(0, 4)));
		if (!vkey)
			continue;
		assert.ok(signatureIsGood(vkey, text, bytes.subarray(4)), `the signature of ${name} is wrong`);
		signers.push(name);
	}
	assert.ok(signers.length > 0, `nobody that is known has signed: ${note}`);
	return { text, signers };
}

/** A signed tree head. @return {{origin, size, root: Buffer, signers, note}} */
export function openCheckpoint(note, vkeys) {
	const { text, signers } = openNote(note, vkeys);
	const [, origin, size, root] = /^([^\n]+)\n(0|[1-9]\d*)\n([^\n]+)\n$/.exec(text) ?? assert.fail(`not a checkpoint: ${text}`);
	return { origin, size: Number(size), root: toHash(root), signers, note };
}

/** A self-contained proof (C2SP tlog-proof), checked. @return {{leaf: Buffer, seq, checkpoint}} */
export function openBundle(bundle, vkeys) {
	const end = bundle.indexOf("\n\n");
	const [head, extra, index, ...hashes] = bundle.slice(0, end).split("\n");
	assert.equal(head, "c2sp.org/tlog-proof@v1");
	const leaf = fromBase64(/^extra (\S+)$/.exec(extra)[1]);
	const seq = Number(/^index (0|[1-9]\d*)$/.exec(index)[1]);
	const checkpoint = openCheckpoint(bundle.slice(end + 2), vkeys);
	assert.ok(checkInclusion(seq, checkpoint.size, hashLeaf(leaf), hashes.map(toHash), checkpoint.root), "the path does not lead to the signed root");
	return { leaf, seq, checkpoint };
}

/* ---- tiles ---- */

/** "x001/x234/067.p/5" of tile 1234067 with 5 hashes; 256 = full. */
export function tileName(index, width = TILE) {
	const groups = String(index).padStart(Math.ceil(String(index).length / 3) * 3, "0").match(/\d{3}/g);
	return groups.map((g, i) => (i < groups.length - 1 ? `x${g}` : g)).join("/") + (width < TILE ? `.p/${width}` : "");
}

/** The tiles of one level that hold `count` nodes: their names and widths, first to last. */
export function tilesOf(count) {
	const tiles = [];
	for (let index = 0; index * TILE < count; index++) {
		const width = Math.min(TILE, count - index * TILE);
		tiles.push({ index, width, name: tileName(index, width) });
	}
	return tiles;
}

/** Bytes of a hash tile -> hashes. */
export function splitTile(bytes) {
	assert.equal(bytes.length % HASH_LEN, 0);
	return Array.from({ length: bytes.length / HASH_LEN }, (_, i) => bytes.subarray(i * HASH_LEN, (i + 1) * HASH_LEN));
}

/** Bytes of an entry tile -> leaves. */
export function splitEntries(bytes) {
	const leaves = [];
	for (let at = 0; at < bytes.length;) {
		const len = bytes.readUInt16BE(at);
		leaves.push(bytes.subarray(at + 2, at + 2 + len));
		assert.equal(leaves.at(-1).length, len, "an entry is cut off");
		at += 2 + len;
	}
	return leaves;
}
