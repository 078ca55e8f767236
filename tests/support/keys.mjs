// Keys and algorithms as Node.js' own cryptography (OpenSSL) has them: what the server does is checked against these, in both directions.
import {
	constants, createCipheriv, createDecipheriv, createHash, createHmac, createPrivateKey, createPublicKey, generateKeyPair,
	privateDecrypt, privateEncrypt, publicDecrypt, publicEncrypt, randomBytes, sign, verify,
} from "node:crypto";
import { promisify } from "node:util";

const makePair = promisify(generateKeyPair);
export const RSA_SIZES = [2048, 3072, 4096];
export const AES_SIZES = [128, 192, 256];

/** Wire name of a curve -> its name here, its one algorithm, bytes of a coordinate. */
export const CURVES = {
	"P-256": { here: "P-256", alg: "ES256", length: 32 },
	"P-256K": { here: "secp256k1", alg: "ES256K", length: 32 },
	"P-384": { here: "P-384", alg: "ES384", length: 48 },
	"P-521": { here: "P-521", alg: "ES512", length: 66 },
};

const pkcs1 = { padding: constants.RSA_PKCS1_PADDING };
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const p1363 = { dsaEncoding: "ieee-p1363" };
/** Algorithms that sign a digest. */
export const SIGNATURES = {
	RS256: { hash: "sha256", kty: "RSA", how: pkcs1 }, RS384: { hash: "sha384", kty: "RSA", how: pkcs1 },
		RS512: { hash: "sha512", kty: "RSA", how: pkcs1 },
	PS256: { hash: "sha256", kty: "RSA", how: pss }, PS384: { hash: "sha384", kty: "RSA", how: pss },
		PS512: { hash: "sha512", kty: "RSA", how: pss },
	ES256: { hash: "sha256", kty: "EC", how: p1363 }, ES256K: { hash: "sha256", kty: "EC", how: p1363 },
	ES384: { hash: "sha384", kty: "EC", how: p1363 }, ES512: { hash: "sha512", kty: "EC", how: p1363 },
};
export const RSA_SIGNATURES = Object.keys(SIGNATURES).filter((alg) => SIGNATURES[alg].kty === "RSA");
export const MACS = { HS256: { hash: "sha256", bytes: 32 }, HS384: { hash: "sha384", bytes: 48 }, HS512: { hash: "sha512", bytes: 64 } };

const oaep = (oaepHash) => ({ padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash });
export const RSA_ENCRYPTIONS = {
	"RSA-OAEP": { how: oaep("sha1"), overhead: 42 }, "RSA-OAEP-256": { how: oaep("sha256"), overhead: 66 },
		"RSA1_5": { how: pkcs1, overhead: 11 },
};

export const b64 = (bytes) => Buffer.from(bytes).toString("base64url");
export const unb64 = (text) => Buffer.from(text, "base64url");

/* ---- keys ---- */

const pairs = new Map();
function cached(name, make) {
	if (!pairs.has(name))
		pairs.set(name, make());
	return pairs.get(name);
}
/** One RSA pair for each size and run: making it is slow. @return {Promise<{publicKey, privateKey}>} */
export function rsaPair(modulusLength, { fresh = false, publicExponent = 65537 } = {}) {
	const make = () => makePair("rsa", { modulusLength, publicExponent });
	return fresh ? make() : cached(`rsa-${modulusLength}-${publicExponent}`, make);
}
export function ecPair(crv, { fresh = false } = {}) {
	const make = () => makePair("ec", { namedCurve: CURVES[crv].here });
	return fresh ? make() : cached(`ec-${crv}`, make);
}

/** A key object as the JWK of the wire (keyvault-keys.md 4.3). */
export function jwkOf(key) {
	const { crv, ...jwk } = key.export({ format: "jwk" });
	return crv === undefined ? jwk : { ...jwk, crv: Object.keys(CURVES).find((name) => CURVES[name].here === crv) };
}
export const octJwk = (bytes) => ({ kty: "oct", k: b64(bytes) });

/** The same with bytes, as the official client wants it. */
export function sdkJwk({ kty, crv, key_ops: keyOps, ...members }) {
	const bytes = Object.fromEntries(Object.entries(members).map(([name, value]) => [name, unb64(value)]));
	return { kty, ...(crv && { crv }), ...(keyOps && { keyOps }), ...bytes };
}

/** The public half that the server shows, of the wire or of the official client. */
export function publicOf(jwk) {
	const text = (value) => (typeof value === "string" ? value : b64(value));
	if (jwk.kty.startsWith("RSA"))
		return createPublicKey({ format: "jwk", key: { kty: "RSA", n: text(jwk.n), e: text(jwk.e) } });
	return createPublicKey({ format: "jwk", key: { kty: "EC", crv: CURVES[jwk.crv].here, x: text(jwk.x), y: text(jwk.y) } });
}
export const privateOf = (jwk) => createPrivateKey({ format: "jwk", key: jwk.crv ? { ...jwk, crv: CURVES[jwk.crv].here } : jwk });

/* ---- signatures and MACs ---- */

export const digestOf = (alg, message) => createHash(SIGNATURES[alg].hash).update(message).digest();

export function signHere(alg, privateKey, message) {
	if (alg === "RSNULL")
		return privateEncrypt({ key: privateKey, ...pkcs1 }, message);
	return sign(SIGNATURES[alg].hash, message, { key: privateKey, ...SIGNATURES[alg].how });
}

export function verifyHere(alg, publicKey, message, signature) {
	if (alg === "RSNULL")
		return publicDecrypt({ key: publicKey, ...pkcs1 }, signature).equals(message);
	return verify(SIGNATURES[alg].hash, message, { key: publicKey, ...SIGNATURES[alg].how }, signature);
}

export const macHere = (alg, key, message) => createHmac(MACS[alg].hash, key).update(message).digest();

/* ---- encryption ---- */

export const encryptHere = (alg, publicKey, plain) => publicEncrypt({ key: publicKey, ...RSA_ENCRYPTIONS[alg].how }, plain);
export const decryptHere = (alg, privateKey, value) => privateDecrypt({ key: privateKey, ...RSA_ENCRYPTIONS[alg].how }, value);

const both = (cipher, input) => Buffer.concat([cipher.update(input), cipher.final()]);

/** A*GCM. @return {{value, tag}} */
export function gcmHere(key, iv, aad, plain) {
	const cipher = createCipheriv(`aes-${key.length * 8}-gcm`, key, iv).setAAD(aad);
	return { value: both(cipher, plain), tag: cipher.getAuthTag() };
}
export function openGcmHere(key, iv, aad, value, tag) {
	return both(createDecipheriv(`aes-${key.length * 8}-gcm`, key, iv, { authTagLength: 16 }).setAAD(aad).setAuthTag(tag), value);
}
/** A*CBC (pad: A*CBCPAD). */
export const cbcHere = (key, iv, plain, pad) => both(createCipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(pad), plain);
export const openCbcHere = (key, iv, value, pad) => both(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(pad), value);

const KW_IV = Buffer.alloc(8, 0xa6); // RFC 3394 section 2.2.3.1
const KWP_IV = Buffer.from("a65959a6", "hex"); // RFC 5649 section 3
/** RFC 3394 (pad: RFC 5649). */
export function wrapHere(key, plain, pad) {
	return both(createCipheriv(`id-aes${key.length * 8}-wrap${pad ? "-pad" : ""}`, key, pad ? KWP_IV : KW_IV), plain);
}
export function unwrapHere(key, value, pad) {
	return both(createDecipheriv(`id-aes${key.length * 8}-wrap${pad ? "-pad" : ""}`, key, pad ? KWP_IV : KW_IV), value);
}

/* ---- transfer of a key from another HSM (keyvault-keys.md section 13) ---- */

/** PKCS #8 of a private key, or the bytes of a secret: what the other HSM wraps. */
export const transferable = (key) => (Buffer.isBuffer(key) ? key : key.export({ format: "der", type: "pkcs8" }));

/** CKM_RSA_AES_KEY_WRAP: RSA-OAEP-SHA-1 of an AES-256 key || AES-KWP of the target. */
export function transferCiphertext(exchangePublic, target, { ephemeral = randomBytes(32), oaepHash = "sha1" } = {}) {
	return Buffer.concat([publicEncrypt({ key: exchangePublic, ...oaep(oaepHash) }, ephemeral), wrapHere(ephemeral, target, true)]);
}

/** The transfer blob, an object; `key_hsm` is base64 of its JSON text. */
export function transferBlob(kid, ciphertext) {
	return {
		schema_version: "1.0.0",
		header: { kid, alg: "dir", enc: "CKM_RSA_AES_KEY_WRAP" },
		ciphertext: b64(ciphertext),
		generator: "holdfast tests; 1",
	};
}

/* ---- tampering ---- */

/** A copy with one bit turned. */
export function flipped(bytes, bit) {
	const copy = Buffer.from(bytes);
	copy[bit >> 3] ^= 1 << (bit & 7);
	return copy;
}
