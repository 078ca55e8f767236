// The keys of a SoftHSM token as its directory has them: what is there, told by nobody but the file system. Ids and labels are encrypted, and need not be read.
import fs from "node:fs";
import path from "node:path";

const CKA_CLASS = 0x0;
const CKA_ID = 0x102;
const KEY_CLASSES = new Set([2, 3, 4]); // public, private, secret
/** CKA_VALUE, CKA_PRIVATE_EXPONENT and the other private parts of RSA. */
const SECRETS = [0x11, 0x123, 0x124, 0x125, 0x126, 0x127, 0x128];
const KIND_BOOL = 1;
const KIND_NUMBER = 2;
const KIND_BYTES = 3;
const HEADER_LEN = 8; // the generation
const NUMBER_LEN = 8;

const numberAt = (bytes, at) => Number(bytes.readBigUInt64BE(at));

/** What an object's file says, as far as it goes: a Map of attributes to numbers and lengths. Big-endian: generation, then type, kind and value of each (ObjectFile.cpp). */
function attributesOf(bytes) {
	const found = new Map();
	for (let at = HEADER_LEN; at + 3 * NUMBER_LEN <= bytes.length;) {
		const type = numberAt(bytes, at);
		const kind = numberAt(bytes, at + NUMBER_LEN);
		at += 2 * NUMBER_LEN;
		if (kind === KIND_BOOL) {
			at += 1;
			continue;
		}
		if (kind !== KIND_NUMBER && kind !== KIND_BYTES)
			break; // lists of mechanisms: they come last
		found.set(type, numberAt(bytes, at));
		at += NUMBER_LEN + (kind === KIND_BYTES ? found.get(type) : 0);
	}
	return found;
}

/** SoftHSM writes an object attribute by attribute. What a process that was killed has left of one, without a name and without key material, is no key. */
function isKey(bytes) {
	const attributes = attributesOf(bytes);
	return KEY_CLASSES.has(attributes.get(CKA_CLASS)) && [CKA_ID, ...SECRETS].some((type) => (attributes.get(type) ?? 0) > 0);
}

/** @return the files of all key objects in the token directory, a Set of names */
export function tokenKeys(tokenDir) {
	const names = fs.readdirSync(tokenDir, { recursive: true }).filter((name) => name.endsWith(".object") && path.basename(name) !== "token.object");
	return new Set(names.filter((name) => isKey(fs.readFileSync(path.join(tokenDir, name)))));
}

export const minus = (a, b) => new Set([...a].filter((x) => !b.has(x)));
export const both = (a, b) => new Set([...a].filter((x) => b.has(x)));
