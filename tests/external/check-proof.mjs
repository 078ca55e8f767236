// Checks a tlog-proof (C2SP) of one leaf: its checkpoint's signature and the inclusion proof. Written from RFC 6962, RFC 8032 and the C2SP texts
// alone, with nothing but Node's own library: it shares neither code nor language with the server and with holdfast-verify.
// usage: check-proof.mjs VKEY FILE
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const node = (left, right) => sha256(Buffer.from([1]), left, right);
const fail = (why) => {
	console.error(why);
	process.exit(1);
};
const base64 = (text) => {
	const bytes = Buffer.from(text, "base64");
	return bytes.toString("base64") === text ? bytes : fail(`not canonical base64: ${text}`);
};

/** RFC 6962 section 2.1.1, the other way round: the root that the path leads to. */
function rootFrom(hash, index, size, path) {
	if (size === 1n)
		return path.length === 0 ? hash : fail("the path is too long");
	if (path.length === 0)
		fail("the path is too short");
	let k = 1n;
	while (k * 2n < size)
		k *= 2n;
	const rest = path.slice(0, -1);
	return index < k ? node(rootFrom(hash, index, k, rest), path.at(-1)) : node(path.at(-1), rootFrom(hash, index - k, size - k, rest));
}

const [vkey, file] = process.argv.slice(2);
const [, name, id, key] = vkey.match(/^([^+ ]+)\+([0-9a-f]{8})\+(.+)$/) ?? fail("no verifier key");
const keyBytes = base64(key);
const der = keyBytes[0] === 1 ? Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), keyBytes.subarray(1)]) : keyBytes.subarray(1);
const expectedId = keyBytes[0] === 1 ? sha256(Buffer.from(`${name}\n`), keyBytes) : sha256(der);
if (expectedId.subarray(0, 4).toString("hex") !== id)
	fail("the key id does not belong to the key");

const text = readFileSync(file, "utf8");
const cut = text.indexOf("\n\n");
const [magic, extra, index, ...hashes] = text.slice(0, cut).split("\n");
if (magic !== "c2sp.org/tlog-proof@v1" || !extra.startsWith("extra ") || !/^index (0|[1-9][0-9]*)$/.test(index))
	fail("no tlog-proof with a leaf");
const note = text.slice(cut + 2);
const signed = note.slice(0, note.lastIndexOf("\n\n") + 1);
const line = note.slice(signed.length + 1).split("\n").find((l) => l.startsWith(`— ${name} `) && base64(l.split(" ")[2]).subarray(0, 4).toString("hex") === id);
const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
if (!line || !verify(keyBytes[0] === 1 ? null : "sha256", Buffer.from(signed), publicKey, base64(line.split(" ")[2]).subarray(4)))
	fail("the checkpoint is not signed by this key");

const [origin, size, root] = signed.split("\n");
const leaf = base64(extra.slice(6));
const place = BigInt(index.slice(6));
if (origin !== name || place >= BigInt(size))
	fail("another log, or an index beyond its size");
if (!rootFrom(sha256(Buffer.from([0]), leaf), place, BigInt(size), hashes.map(base64)).equals(base64(root)))
	fail("the path does not lead to the signed root");
console.log(`leaf ${place} of ${size} in ${origin}: ${JSON.parse(leaf).type}`);
