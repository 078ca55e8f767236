// AES encryption, AES key wrap and HMAC through the official client, checked with Node.js' own cryptography in both directions: the same key,
// imported, is on both sides.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import {
	AES_SIZES, MACS, b64, cbcHere, flipped, gcmHere, macHere, octJwk, openCbcHere, openGcmHere, sdkJwk, unb64, unwrapHere, wrapHere,
} from "../support/keys.mjs";
import { refused, sdk } from "./clients.mjs";

const VALUE_MAX = 32 * 1024;
const AAD_MAX = 8 * 1024;
const IV = Buffer.alloc(16, 7);
let d, vault, officer, keys, crypto;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("symmetric");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys, crypto } = sdk(d, vault, officer));
});
after(() => d?.destroy());

const post = (name, op, body) => d.call(vault, officer, "POST", `/keys/${name}/${op}`, body);

/** An imported key: its bytes here, its name there. */
async function shared(name, bytes, options = {}) {
	const secret = randomBytes(bytes);
	const key = await keys.importKey(name, sdkJwk({ ...octJwk(secret), ...options.jwk }), { hardwareProtected: options.hsm });
	return { secret, key, client: crypto(key) };
}

for (const kty of ["oct", "oct-HSM"]) {
	const hsm = kty === "oct-HSM";
	for (const keySize of AES_SIZES) {
		describe(`${kty} ${keySize}`, () => {
			const name = `aes-${kty}-${keySize}`;
			const [GCM, CBC, CBCPAD, KW] = ["GCM", "CBC", "CBCPAD", "KW"].map((mode) => `A${keySize}${mode}`);
			let secret, key, client, made;
			before(async () => {
				({ secret, key, client } = await shared(name, keySize / 8, { hsm }));
				made = await keys.createOctKey(`${name}-made`, { hsm, keySize });
				for (const one of [key, made]) {
					assert.equal(one.keyType, kty);
					assert.equal(one.key.k, undefined);
				}
			});
			test(`${GCM}: what the server encrypts Node.js decrypts, and the other way round`, async () => {
				for (const [length, aadLength] of [[1, 0], [16, 1], [17, 20], [1000, 100], [VALUE_MAX, AAD_MAX]]) {
					const plain = randomBytes(length);
					const aad = randomBytes(aadLength);
					const extra = aadLength > 0 ? { additionalAuthenticatedData: aad } : {};
					const sealed = await client.encrypt({ algorithm: GCM, plaintext: plain, ...extra });
					assert.equal(sealed.keyID, key.id);
					assert.equal(sealed.iv.length, 12);
					assert.equal(sealed.authenticationTag.length, 16);
					assert.equal(sealed.result.length, length);
					assert.deepEqual(openGcmHere(secret, sealed.iv, aad, sealed.result, sealed.authenticationTag), plain);
					const iv = randomBytes(12);
					const here = gcmHere(secret, iv, aad, plain);
					const opened = await client.decrypt({ algorithm: GCM, ciphertext: here.value, iv, authenticationTag: here.tag, ...extra });
					assert.deepEqual(Buffer.from(opened.result), plain);
				}
			});
			test(`${GCM} under a key made here round-trips`, async () => {
				const plain = randomBytes(100);
				const there = crypto(made);
				const { result, iv, authenticationTag } = await there.encrypt({ algorithm: GCM, plaintext: plain });
				assert.deepEqual(Buffer.from((await there.decrypt({ algorithm: GCM, ciphertext: result, iv, authenticationTag })).result), plain);
			});
			test(`${CBC} and ${CBCPAD}: what the server encrypts Node.js decrypts, and the other way round`, async () => {
				for (const [algorithm, pad, lengths] of [[CBC, false, [16, 32, 4096]], [CBCPAD, true, [1, 15, 16, 17, 4095]]]) {
					for (const length of lengths) {
						const plain = randomBytes(length);
						const iv = randomBytes(16);
						const sealed = await client.encrypt({ algorithm, plaintext: plain, iv });
						assert.deepEqual(Buffer.from(sealed.iv), iv);
						assert.equal(sealed.authenticationTag, undefined);
						assert.deepEqual(Buffer.from(sealed.result), cbcHere(secret, iv, plain, pad));
						assert.deepEqual(openCbcHere(secret, iv, Buffer.from(sealed.result), pad), plain);
						const opened = await client.decrypt({ algorithm, ciphertext: cbcHere(secret, iv, plain, pad), iv });
						assert.deepEqual(Buffer.from(opened.result), plain);
					}
				}
				const nothing = await post(name, "decrypt", { alg: CBCPAD, value: b64(cbcHere(secret, IV, Buffer.alloc(0), true)), iv: b64(IV) });
				assert.equal(nothing.status, 200, nothing.text);
				assert.equal(nothing.json.value, "", "a block of padding alone is an empty plaintext");
			});
			test(`${KW} and CKM_AES_KEY_WRAP are RFC 3394, CKM_AES_KEY_WRAP_PAD is RFC 5649`, async () => {
				for (const [algorithm, pad, lengths] of [
					[KW, false, [16, 24, 32, 256]], ["CKM_AES_KEY_WRAP", false, [16, 64]],
					["CKM_AES_KEY_WRAP_PAD", true, [1, 7, 8, 9, 16, 20, 31, 33, 1218]],
				]) {
					for (const length of lengths) {
						const plain = randomBytes(length);
						const wrapped = Buffer.from((await client.wrapKey(algorithm, plain)).result);
						assert.deepEqual(wrapped, wrapHere(secret, plain, pad), `${algorithm}, ${length} bytes`);
						assert.deepEqual(unwrapHere(secret, wrapped, pad), plain);
						assert.deepEqual(Buffer.from((await client.unwrapKey(algorithm, wrapHere(secret, plain, pad))).result), plain);
					}
				}
			});
			test("algorithms of other sizes and families are 400", async () => {
				const value = b64(randomBytes(32));
				const others = AES_SIZES.filter((size) => size !== keySize);
				const iv = b64(IV);
				for (const size of others) {
					for (const mode of ["GCM", "CBC", "CBCPAD"])
						for (const op of ["encrypt", "decrypt"])
							assertError(await post(name, op, { alg: `A${size}${mode}`, value, ...(mode !== "GCM" && { iv }) }), 400, "BadParameter");
					for (const op of ["wrapkey", "unwrapkey"])
						assertError(await post(name, op, { alg: `A${size}KW`, value }), 400, "BadParameter");
				}
				for (const alg of [GCM, CBC, CBCPAD])
					for (const op of ["wrapkey", "unwrapkey"])
						assertError(await post(name, op, { alg, value, iv }), 400, "BadParameter");
				for (const alg of [KW, "CKM_AES_KEY_WRAP_PAD", "RSA-OAEP", "RSA1_5", "ES256", "HS256"])
					for (const op of ["encrypt", "decrypt"])
						assertError(await post(name, op, { alg, value }), 400, "BadParameter");
			});
		});
	}
}

describe("GCM nonces are the server's", () => {
	test("200 encryptions have 200 nonces, under parallel requests too", async () => {
		await shared("nonces", 32, { hsm: true });
		const sealed = await Promise.all(Array.from({ length: 200 }, () => post("nonces", "encrypt", { alg: "A256GCM", value: b64(IV) })));
		for (const res of sealed)
			assert.equal(res.status, 200, res.text);
		assert.equal(new Set(sealed.map((res) => res.json.iv)).size, 200);
		assert.equal(new Set(sealed.map((res) => res.json.value)).size, 200);
		const columns = Array.from({ length: 12 }, (_, i) => new Set(sealed.map((res) => unb64(res.json.iv)[i])));
		for (const seen of columns)
			assert.ok(seen.size > 50, "every byte of the nonce is random, not a counter");
	});
	test("a caller's own nonce is refused, not ignored", async () => {
		assertError(await post("nonces", "encrypt", { alg: "A256GCM", value: b64(IV), iv: b64(randomBytes(12)) }), 400, "BadParameter");
		assertError(await post("nonces", "encrypt", { alg: "A256GCM", value: b64(IV), tag: b64(randomBytes(16)) }), 400, "BadParameter");
	});
	test("the official client sends none, whatever its caller asks for", async () => {
		const key = await keys.getKey("nonces");
		const sealed = await crypto(key).encrypt({ algorithm: "A256GCM", plaintext: IV });
		assert.equal(sealed.iv.length, 12);
	});
});

describe("what authenticates refuses every change", () => {
	test("GCM: each bit of ciphertext, tag, nonce and additional data, with one and the same body", async () => {
		await shared("gcm-flip", 32);
		const parts = await d.ok(vault, officer, "POST", "/keys/gcm-flip/encrypt",
			{ alg: "A256GCM", value: b64(randomBytes(8)), aad: b64(randomBytes(4)) });
		const good = { alg: "A256GCM", value: parts.value, iv: parts.iv, tag: parts.tag, aad: parts.aad };
		assert.equal((await post("gcm-flip", "decrypt", good)).status, 200);
		const bodies = new Set();
		for (const member of ["value", "iv", "tag", "aad"]) {
			const bytes = unb64(good[member]);
			for (let bit = 0; bit < bytes.length * 8; bit++) {
				const res = await post("gcm-flip", "decrypt", { ...good, [member]: b64(flipped(bytes, bit)) });
				assertError(res, 400, "BadParameter");
				bodies.add(res.text);
			}
		}
		for (const change of [{ aad: undefined }, { value: good.value.slice(0, 8) }])
			bodies.add((await post("gcm-flip", "decrypt", { ...good, ...change })).text);
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
	});
	test("GCM under another key or version", async () => {
		const first = await keys.createOctKey("gcm-two", { hsm: true, keySize: 256 });
		const sealed = await d.ok(vault, officer, "POST", "/keys/gcm-two/encrypt", { alg: "A256GCM", value: b64(randomBytes(8)) });
		await keys.rotateKey("gcm-two");
		const body = { alg: "A256GCM", value: sealed.value, iv: sealed.iv, tag: sealed.tag };
		assertError(await post("gcm-two", "decrypt", body), 400, "BadParameter");
		assert.equal((await post(`gcm-two/${first.properties.version}`, "decrypt", body)).status, 200);
		assert.equal(sealed.kid, first.id);
	});
	test("key wrap: each bit, with one and the same body", async () => {
		const { secret } = await shared("kw-flip", 16);
		const bodies = new Set();
		for (const [alg, pad] of [["A128KW", false], ["CKM_AES_KEY_WRAP_PAD", true]]) {
			const good = wrapHere(secret, randomBytes(16), pad);
			for (let bit = 0; bit < good.length * 8; bit++) {
				const res = await post("kw-flip", "unwrapkey", { alg, value: b64(flipped(good, bit)) });
				assertError(res, 400, "BadParameter");
				bodies.add(res.text);
			}
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
	});
	test("CBC padding: every bad last block has one and the same body, so that none is told from another", async () => {
		const { secret } = await shared("cbc-pad", 32);
		const bodies = new Set();
		const end = (...bytes) => Buffer.concat([Buffer.alloc(16 - bytes.length, 0x41), Buffer.from(bytes)]);
		for (const block of [end(0), end(17), end(255), end(1, 2), end(3, 2, 3), end(4, 4, 5, 4), Buffer.alloc(16, 0), end(16)]) {
			for (const lead of [Buffer.alloc(0), randomBytes(16)]) {
				const value = cbcHere(secret, IV, Buffer.concat([lead, block]), false);
				const res = await post("cbc-pad", "decrypt", { alg: "A256CBCPAD", value: b64(value), iv: b64(IV) });
				assertError(res, 400, "BadParameter");
				bodies.add(res.text);
			}
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
	});
});

describe("parameters", () => {
	let key;
	before(async () => {
		({ key } = await shared("params", 32));
	});
	const refusedWith = async (op, body) => assertError(await post("params", op, body), 400, "BadParameter");

	test("CBC needs an iv of 16 bytes, and the client does not make one up", async () => {
		const value = b64(randomBytes(32));
		for (const alg of ["A256CBC", "A256CBCPAD"]) {
			for (const op of ["encrypt", "decrypt"]) {
				await refusedWith(op, { alg, value });
				for (const length of [0, 1, 12, 15, 17, 32])
					await refusedWith(op, { alg, value, iv: b64(randomBytes(length)) });
			}
		}
		// 4.10.2 means to draw one (initializeIV), but asks an array with `in`.
		await assert.rejects(crypto(key).encrypt({ algorithm: "A256CBC", plaintext: randomBytes(16) }), refused(400, "BadParameter"));
	});
	test("GCM decryption needs an iv of 12 and a tag of 16 bytes", async () => {
		const value = b64(randomBytes(20));
		const iv = b64(randomBytes(12));
		const tag = b64(randomBytes(16));
		await refusedWith("decrypt", { alg: "A256GCM", value, iv });
		await refusedWith("decrypt", { alg: "A256GCM", value, tag });
		for (const length of [0, 1, 8, 11, 13, 16])
			await refusedWith("decrypt", { alg: "A256GCM", value, iv: b64(randomBytes(length)), tag });
		for (const length of [0, 4, 8, 12, 15, 17])
			await refusedWith("decrypt", { alg: "A256GCM", value, iv, tag: b64(randomBytes(length)) });
	});
	test("additional data and tags do not belong to CBC, nor any of them to key wrap", async () => {
		const value = b64(randomBytes(32));
		await refusedWith("encrypt", { alg: "A256CBC", value, iv: b64(IV), aad: "AAAA" });
		await refusedWith("decrypt", { alg: "A256CBC", value, iv: b64(IV), aad: "AAAA" });
		await refusedWith("decrypt", { alg: "A256CBC", value, iv: b64(IV), tag: b64(IV) });
		for (const extra of [{ iv: b64(IV) }, { aad: "AAAA" }, { tag: b64(IV) }]) {
			await refusedWith("wrapkey", { alg: "A256KW", value, ...extra });
			await refusedWith("unwrapkey", { alg: "A256KW", value, ...extra });
		}
	});
	test("CBC without padding takes whole blocks", async () => {
		for (const length of [1, 15, 17, 33])
			for (const op of ["encrypt", "decrypt"])
				await refusedWith(op, { alg: "A256CBC", value: b64(randomBytes(length)), iv: b64(IV) });
		await refusedWith("decrypt", { alg: "A256CBCPAD", value: b64(randomBytes(17)), iv: b64(IV) });
	});
	test("empty and oversized values are refused", async () => {
		for (const alg of ["A256CBC", "A256CBCPAD"])
			await refusedWith("encrypt", { alg, value: "", iv: b64(IV) });
		await refusedWith("encrypt", { alg: "A256GCM", value: "" });
		for (const alg of ["A256KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"])
			for (const op of ["wrapkey", "unwrapkey"])
				await refusedWith(op, { alg, value: "" });
		await refusedWith("encrypt", { alg: "A256GCM", value: b64(randomBytes(VALUE_MAX + 1)) });
		await refusedWith("encrypt", { alg: "A256GCM", value: b64(IV), aad: b64(randomBytes(AAD_MAX + 1)) });
		await refusedWith("encrypt", { alg: "A256CBCPAD", value: b64(randomBytes(VALUE_MAX + 16)), iv: b64(IV) });
		await refusedWith("encrypt", { alg: "A256GCM" });
		await refusedWith("encrypt", { value: b64(IV) });
	});
	test("values that are no base64url are refused, padded ones are read", async () => {
		for (const value of ["A", "AAAAA", "A A=", "A+/A", "%%%%", "AA==AA"])
			await refusedWith("encrypt", { alg: "A256GCM", value });
		for (const member of ["iv", "tag", "aad"])
			await refusedWith("decrypt", { alg: "A256GCM", value: b64(IV), iv: b64(randomBytes(12)), tag: b64(IV), [member]: "!!!!" });
		const res = await post("params", "encrypt", { alg: "A256CBC", value: IV.toString("base64"), iv: `${b64(IV)}==` });
		assert.equal(res.status, 200, res.text);
	});
});

describe("HMAC", () => {
	for (const kty of ["oct", "oct-HSM"]) {
		const hsm = kty === "oct-HSM";
		for (const [alg, { bytes }] of Object.entries(MACS)) {
			test(`${alg} under ${kty}: both sides make the same, and verify each other's`, async () => {
				const { secret, key, client } = await shared(`mac-${kty}-${alg}`, bytes, { hsm, jwk: { key_ops: ["sign", "verify"] } });
				for (const length of [1, 32, 64, 1000, VALUE_MAX / 2]) {
					const message = randomBytes(length);
					const made = await client.sign(alg, message);
					assert.deepEqual(Buffer.from(made.result), macHere(alg, secret, message));
					assert.equal(made.keyID, key.id);
					assert.equal((await client.verify(alg, message, macHere(alg, secret, message))).result, true);
				}
				const message = randomBytes(32);
				const mac = macHere(alg, secret, message);
				for (const wrong of [...Array.from({ length: bytes }, (_, i) => flipped(mac, i * 8 + (i & 7))), mac.subarray(1),
					Buffer.concat([mac, mac]),
					Buffer.alloc(bytes), Buffer.alloc(1)]) {
					const res = await post(key.name, "verify", { alg, digest: b64(message), value: b64(wrong) });
					assert.equal(res.status, 200, res.text);
					assert.deepEqual(res.json, { value: false });
				}
				assert.equal((await client.verify(alg, randomBytes(32), mac)).result, false);
			});
		}
	}
	test("a key made here signs and verifies", async () => {
		for (const [hsm, keySize, algs] of [[true, 256, ["HS256"]], [true, 512, ["HS256", "HS384", "HS512"]], [false, 384, ["HS256", "HS384"]]]) {
			const key = await keys.createOctKey(`mac-made-${hsm}-${keySize}`, { hsm, keySize, keyOps: ["sign", "verify"] });
			for (const alg of algs) {
				const message = randomBytes(40);
				const { result } = await crypto(key).sign(alg, message);
				assert.equal(result.length, MACS[alg].bytes);
				assert.equal((await crypto(key).verify(alg, message, result)).result, true);
			}
		}
	});
	test("a key shorter than the hash is 400 for it, and an AES key cannot sign", async () => {
		await shared("mac-short", 32, { jwk: { key_ops: ["sign", "verify"] } });
		for (const alg of ["HS384", "HS512"])
			for (const op of ["sign", "verify"])
				assertError(await post("mac-short", op, { alg, value: b64(IV), digest: b64(IV) }), 400, "BadParameter");
		await assert.rejects(shared("mac-tiny", 16, { jwk: { key_ops: ["sign", "verify"] } }), refused(400, "BadParameter"));
		await assert.rejects(shared("aes-long", 64, { jwk: { key_ops: ["encrypt"] } }), refused(400, "BadParameter"));
		assertError(await post("params", "sign", { alg: "HS256", value: b64(IV) }), 403, "Forbidden", "KeyOperationForbidden");
		for (const alg of ["RS256", "ES256", "A256GCM"])
			assertError(await post("mac-short", "sign", { alg, value: b64(randomBytes(32)) }), 400, "BadParameter");
	});
	test("an oct-HSM is either for AES or for MACs, for life", async () => {
		for (const keyOps of [["encrypt", "sign"], ["verify", "wrapKey"], ["sign", "verify", "decrypt"]])
			await assert.rejects(keys.createOctKey("mixed", { hsm: true, keySize: 256, keyOps }), refused(400, "BadParameter"));
		await assert.rejects(keys.getKey("mixed"), refused(404, "KeyNotFound"));
		await keys.createOctKey("only-mac", { hsm: true, keySize: 256, keyOps: ["sign"] });
		await assert.rejects(keys.updateKeyProperties("only-mac", { keyOps: ["encrypt"] }), refused(400, "BadParameter"));
		assert.deepEqual([...(await keys.updateKeyProperties("only-mac", { keyOps: ["verify", "sign"] })).keyOperations].sort(),
			["sign", "verify"]);
		await keys.createOctKey("only-aes", { hsm: true, keySize: 256 });
		await assert.rejects(keys.updateKeyProperties("only-aes", { keyOps: ["sign"] }), refused(400, "BadParameter"));
	});
	test("an oct key may be both, each operation with the right object", async () => {
		const everything = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"];
		const { secret, client } = await shared("both", 32, { jwk: { key_ops: everything } });
		const message = randomBytes(48);
		for (let i = 0; i < 3; i++) {
			assert.deepEqual(Buffer.from((await client.sign("HS256", message)).result), macHere("HS256", secret, message));
			const sealed = await client.encrypt({ algorithm: "A256GCM", plaintext: message });
			assert.deepEqual(openGcmHere(secret, sealed.iv, Buffer.alloc(0), sealed.result, sealed.authenticationTag), message);
			assert.deepEqual(Buffer.from((await client.wrapKey("A256KW", message)).result), wrapHere(secret, message, false));
		}
	});
});
