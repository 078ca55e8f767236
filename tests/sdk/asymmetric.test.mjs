// Encrypt, decrypt, sign and verify under RSA keys and curves through the official client, checked with Node.js' own cryptography in both
// directions: generated keys by their public half, imported ones by both halves.
import assert from "node:assert/strict";
import { constants, createHash, publicEncrypt, randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import {
	CURVES, RSA_ENCRYPTIONS, RSA_SIGNATURES, RSA_SIZES, SIGNATURES, b64, decryptHere, digestOf, ecPair, encryptHere, flipped, jwkOf, publicOf,
	rsaPair, sdkJwk, signHere, verifyHere,
} from "../support/keys.mjs";
import { refused, sdk } from "./clients.mjs";

const EVERY_ALG = [...Object.keys(SIGNATURES), "RSNULL", ...Object.keys(RSA_ENCRYPTIONS), "A256KW", "CKM_AES_KEY_WRAP", "A256GCM",
	"A256CBC", "A256CBCPAD", "HS256", "HS512"];
let d, vault, officer, keys, remote, crypto;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("asymmetric", { allowRsa15: true });
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys, remote, crypto } = sdk(d, vault, officer));
});
after(() => d?.destroy());

const post = (key, op, body) => d.call(vault, officer, "POST", `/keys/${key.name}/${key.properties.version}/${op}`, body);
const sign = (key, alg, value) => post(key, "sign", { alg, value: b64(value) });
const verify = (key, alg, digest, value) => post(key, "verify", { alg, digest: b64(digest), value: b64(value) });

/** Signatures that are none, of every sort, are false and no error (keyvault-keys.md 6.9). */
async function assertWrongOnesAreFalse(key, alg, digest, signature) {
	const last = signature.length * 8 - 1;
	for (const wrong of [flipped(signature, 0), flipped(signature, last), flipped(signature, last >> 1), Buffer.alloc(signature.length),
		Buffer.alloc(signature.length, 0xff), signature.subarray(1), signature.subarray(0, -1), Buffer.concat([signature, Buffer.alloc(1)]),
		Buffer.concat([Buffer.alloc(1), signature]), Buffer.alloc(1), Buffer.alloc(0), randomBytes(signature.length)]) {
		const res = await verify(key, alg, digest, wrong);
		assert.equal(res.status, 200, `${alg}, ${wrong.length} bytes: ${res.text}`);
		assert.deepEqual(res.json, { value: false });
	}
	for (const bit of [0, digest.length * 8 - 1])
		assert.deepEqual((await verify(key, alg, flipped(digest, bit), signature)).json, { value: false }, `${alg}: another digest`);
}

/** One algorithm over a key: signed there and verified here, and, with the private half at hand, the other way round. */
async function assertSigns(key, alg, privateKey) {
	const message = randomBytes(100);
	const digest = digestOf(alg, message);
	const client = remote(key);
	const made = await client.sign(alg, digest);
	assert.equal(made.keyID, key.id);
	assert.equal(made.algorithm, alg);
	const signature = Buffer.from(made.result);
	assert.ok(verifyHere(alg, publicOf(key.key), message, signature), `${alg}: Node.js refuses the server's signature`);
	assert.equal((await client.verify(alg, digest, signature)).result, true);
	if (privateKey)
		assert.equal((await client.verify(alg, digest, signHere(alg, privateKey, message))).result, true,
			`${alg}: the server refuses Node.js' signature`);
	return { digest, signature };
}

async function assertLengthsOfDigests(key, alg) {
	const { length } = createHash(SIGNATURES[alg].hash).digest();
	for (const wrong of [1, 20, length - 1, length + 1, 128]) {
		assertError(await sign(key, alg, randomBytes(wrong)), 400, "BadParameter");
		assertError(await verify(key, alg, randomBytes(wrong), randomBytes(64)), 400, "BadParameter");
	}
	assertError(await post(key, "sign", { alg }), 400, "BadParameter");
	assertError(await post(key, "sign", { alg, value: "" }), 400, "BadParameter");
}

async function assertOthersAreRefused(key, own) {
	const value = b64(randomBytes(32));
	for (const alg of EVERY_ALG.filter((name) => !own.signs.includes(name))) {
		assertError(await post(key, "sign", { alg, value }), 400, "BadParameter");
		assertError(await post(key, "verify", { alg, digest: value, value }), 400, "BadParameter");
	}
	if (!own.encrypts)
		return;
	for (const alg of EVERY_ALG.filter((name) => !own.encrypts.includes(name)))
		for (const op of ["encrypt", "decrypt", "wrapkey", "unwrapkey"])
			assertError(await post(key, op, { alg, value }), 400, "BadParameter");
}

for (const kty of ["RSA", "RSA-HSM"]) {
	for (const keySize of RSA_SIZES) {
		describe(`${kty} ${keySize}`, () => {
			const hsm = kty === "RSA-HSM";
			const size = keySize / 8;
			const isSmallest = keySize === RSA_SIZES[0]; // what no size changes is tried with the fastest
			let made, imported, privateKey;
			before(async () => {
				({ privateKey } = await rsaPair(keySize));
				imported = await keys.importKey(`imported-${kty}-${keySize}`, sdkJwk(jwkOf(privateKey)), { hardwareProtected: hsm });
				made = await keys.createRsaKey(`made-${kty}-${keySize}`, { hsm, keySize });
				assert.equal(imported.keyType, kty);
			});
			for (const alg of RSA_SIGNATURES) {
				test(`${alg}: what one side signs the other verifies`, async () => {
					const { digest, signature } = await assertSigns(made, alg);
					assert.equal(signature.length, size);
					await assertSigns(imported, alg, privateKey);
					if (isSmallest)
						await assertWrongOnesAreFalse(made, alg, digest, signature);
					else
						assert.deepEqual((await verify(made, alg, digest, flipped(signature, 77))).json, { value: false });
				});
			}
			test("RSNULL: pads any bytes up to the modulus less 11, without naming a hash", async () => {
				for (const length of isSmallest ? [1, 20, 32, 36, 51, size - 11] : [size - 11]) {
					const value = randomBytes(length);
					for (const [key, own] of [[made, null], [imported, privateKey]]) {
						const signature = Buffer.from((await remote(key).sign("RSNULL", value)).result);
						assert.ok(verifyHere("RSNULL", publicOf(key.key), value, signature));
						assert.equal((await remote(key).verify("RSNULL", value, own ? signHere("RSNULL", own, value) : signature)).result, true);
					}
				}
				const value = randomBytes(32);
				await assertWrongOnesAreFalse(made, "RSNULL", value, Buffer.from((await remote(made).sign("RSNULL", value)).result));
				assertError(await sign(made, "RSNULL", randomBytes(size - 10)), 400, "BadParameter");
			});
			for (const [alg, { overhead }] of Object.entries(RSA_ENCRYPTIONS)) {
				test(`${alg}: what one side encrypts the other decrypts`, async () => {
					for (const length of isSmallest ? [1, 32, size - overhead] : [size - overhead]) {
						const plain = randomBytes(length);
						for (const key of [made, imported]) {
							const opened = await remote(key).decrypt({ algorithm: alg, ciphertext: encryptHere(alg, publicOf(key.key), plain) });
							assert.deepEqual(Buffer.from(opened.result), plain);
							assert.equal(opened.keyID, key.id);
							const sealed = await remote(key).encrypt({ algorithm: alg, plaintext: plain });
							assert.equal(sealed.result.length, size);
							assert.equal(sealed.keyID, key.id);
							assert.deepEqual(Buffer.from((await remote(key).decrypt(alg, sealed.result)).result), plain);
							if (key === imported)
								assert.deepEqual(decryptHere(alg, privateKey, Buffer.from(sealed.result)), plain);
						}
					}
					const long = await post(made, "encrypt", { alg, value: b64(randomBytes(size - overhead + 1)) });
					assertError(long, 400, "BadParameter");
				});
				test(`${alg}: encrypt and unwrap are one computation, so are wrap and decrypt`, async () => {
					const plain = randomBytes(32);
					const sealed = await remote(imported).encrypt(alg, plain);
					assert.deepEqual(Buffer.from((await remote(imported).unwrapKey(alg, sealed.result)).result), plain);
					const wrapped = await remote(imported).wrapKey(alg, plain);
					assert.deepEqual(Buffer.from((await remote(imported).decrypt(alg, wrapped.result)).result), plain);
					assert.deepEqual(decryptHere(alg, privateKey, Buffer.from(wrapped.result)), plain);
				});
			}
			if (!isSmallest)
				return;
			test("algorithms that do not fit, and digests of another length, are 400", async () => {
				await assertOthersAreRefused(made, { signs: [...RSA_SIGNATURES, "RSNULL"], encrypts: Object.keys(RSA_ENCRYPTIONS) });
				for (const alg of RSA_SIGNATURES)
					await assertLengthsOfDigests(made, alg);
			});
		});
	}
}

for (const kty of ["EC", "EC-HSM"]) {
	for (const [curve, { alg, length }] of Object.entries(CURVES)) {
		describe(`${kty} ${curve}`, () => {
			const hsm = kty === "EC-HSM";
			let made, imported, privateKey;
			before(async () => {
				({ privateKey } = await ecPair(curve));
				imported = await keys.importKey(`imported-${kty}-${curve}`, sdkJwk(jwkOf(privateKey)), { hardwareProtected: hsm });
				made = await keys.createEcKey(`made-${kty}-${curve}`, { hsm, curve });
			});
			test("is made with its curve, full-length coordinates on it, and no private half", () => {
				for (const key of [made, imported]) {
					assert.equal(key.keyType, kty);
					assert.equal(key.key.crv, curve);
					assert.equal(key.key.x.length, length);
					assert.equal(key.key.y.length, length);
					assert.equal(key.key.d, undefined);
					assert.deepEqual([...key.keyOperations].sort(), ["sign", "verify"]);
					publicOf(key.key); // refuses a point that is not on the curve
				}
				const { x, y } = jwkOf(privateKey);
				assert.deepEqual([b64(imported.key.x), b64(imported.key.y)], [x, y]);
			});
			test(`${alg}: what one side signs the other verifies, often enough to meet short integers`, async () => {
				const { signature } = await assertSigns(made, alg);
				assert.equal(signature.length, 2 * length);
				await assertSigns(imported, alg, privateKey);
				for (let i = 0; i < 24; i++) {
					const message = randomBytes(16);
					const res = await sign(imported, alg, digestOf(alg, message));
					assert.ok(verifyHere(alg, publicOf(imported.key), message, Buffer.from(res.json.value, "base64url")), res.text);
					assert.deepEqual((await verify(imported, alg, digestOf(alg, message), signHere(alg, privateKey, message))).json, { value: true });
				}
			});
			test("a signature that is none is false: flipped, cut, stretched, DER, r or s of 0", async () => {
				const message = randomBytes(50);
				const digest = digestOf(alg, message);
				const signature = Buffer.from((await remote(made).sign(alg, digest)).result);
				await assertWrongOnesAreFalse(made, alg, digest, signature);
				const half = Buffer.alloc(length);
				const integer = Buffer.concat([Buffer.from([2, length + 1, 0]), signature.subarray(0, length)]);
				for (const wrong of [Buffer.concat([half, signature.subarray(length)]), Buffer.concat([signature.subarray(0, length), half]),
					Buffer.concat([Buffer.from([0x30, 2 * integer.length]), integer, integer])])
					assert.deepEqual((await verify(made, alg, digest, wrong)).json, { value: false });
			});
			test("algorithms that do not fit, and digests of another length, are 400; encryption is no operation of it", async () => {
				await assertOthersAreRefused(made, { signs: [alg] });
				await assertLengthsOfDigests(made, alg);
				const body = { alg: "RSA-OAEP", value: b64(randomBytes(32)) };
				for (const op of ["encrypt", "decrypt", "wrapkey", "unwrapkey"])
					assertError(await post(made, op, body), 403, "Forbidden", "KeyOperationForbidden");
			});
		});
	}
}

describe("signData and verifyData", () => {
	test("hash on the client and sign on the server, for each algorithm", async () => {
		const message = randomBytes(1000);
		const rsa = await keys.importKey("data-rsa", sdkJwk(jwkOf((await rsaPair(2048)).privateKey)));
		for (const [alg, { kty }] of Object.entries(SIGNATURES)) {
			const curve = Object.keys(CURVES).find((name) => CURVES[name].alg === alg);
			const key = kty === "RSA" ? rsa : await keys.createEcKey(`data-${curve}`, { curve });
			const client = remote(key);
			const { result, keyID } = await client.signData(alg, message);
			assert.equal(keyID, key.id);
			assert.ok(verifyHere(alg, publicOf(key.key), message, Buffer.from(result)), alg);
			assert.equal((await client.verifyData(alg, message, result)).result, true, alg);
			assert.equal((await client.verifyData(alg, randomBytes(1000), result)).result, false, alg);
		}
	});
	test("the client verifies RS* by itself with the public half that the server shows", async () => {
		const key = await keys.getKey("data-rsa");
		for (const alg of ["RS256", "RS384", "RS512"]) {
			const { result } = await crypto(key.id).signData(alg, "text");
			assert.equal((await crypto(key.id).verifyData(alg, "text", result)).result, true);
			assert.equal((await crypto(key.id).verifyData(alg, "tex", result)).result, false);
		}
	});
});

describe("clients of a key", () => {
	test("getCryptographyClient uses the latest version, or the one that it is given", async () => {
		const first = await keys.createEcKey("versions", { curve: "P-256" });
		const second = await keys.createEcKey("versions", { curve: "P-256" });
		const message = randomBytes(10);
		const digest = digestOf("ES256", message);
		const latest = keys.getCryptographyClient("versions");
		const pinned = keys.getCryptographyClient("versions", { keyVersion: first.properties.version });
		assert.equal(latest.vaultUrl, vault.origin);
		for (const [client, key] of [[latest, second], [pinned, first]]) {
			const { result } = await client.sign("ES256", digest);
			assert.ok(verifyHere("ES256", publicOf(key.key), message, Buffer.from(result)));
			assert.equal(client.keyID, key.id);
		}
		assert.equal((await latest.verify("ES256", digest, (await pinned.sign("ES256", digest)).result)).result, false,
			"another version's signature");
	});
	test("a path without a version signs with the latest, and says so", async () => {
		const latest = await keys.getKey("versions");
		for (const keyPath of ["/keys/versions/sign", "/keys/versions//sign", "/keys/VERSIONS/Sign"]) {
			const { kid } = await d.ok(vault, officer, "POST", keyPath, { alg: "ES256", value: b64(randomBytes(32)) });
			assert.equal(kid, latest.id);
		}
	});
});

describe("RSA ciphertexts that are not right", () => {
	test("are refused with one and the same body, whatever is wrong with them, under decrypt as under unwrap", async () => {
		const key = await keys.getKey("made-RSA-2048");
		const good = encryptHere("RSA-OAEP", publicOf(key.key), randomBytes(32));
		const raw = (block) => publicEncrypt({ key: publicOf(key.key), padding: constants.RSA_NO_PADDING }, block);
		const bodies = new Set();
		const bad = [flipped(good, 1000), flipped(good, 2047), encryptHere("RSA-OAEP-256", publicOf(key.key), randomBytes(32)),
			encryptHere("RSA1_5", publicOf(key.key), randomBytes(32)), raw(Buffer.alloc(256)),
			raw(Buffer.concat([Buffer.from([0]), randomBytes(255)])),
			raw(Buffer.concat([Buffer.from([1]), Buffer.alloc(255)]))];
		for (const op of ["decrypt", "unwrapkey"]) {
			for (const value of bad) {
				const res = await post(key, op, { alg: "RSA-OAEP", value: b64(value) });
				assertError(res, 400, "BadParameter");
				bodies.add(res.text);
			}
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
	});
	test("RSA1_5 is 400 in a vault that does not allow it, in all four operations", async () => {
		const strict = await d.makeVault("strict");
		const owner = await d.makePrincipal(strict, "owner", ["crypto-officer"]);
		const client = sdk(d, strict, owner);
		const key = await client.keys.importKey("k", sdkJwk(jwkOf((await rsaPair(2048)).privateKey)));
		for (const op of ["encrypt", "decrypt", "wrapKey", "unwrapKey"])
			await assert.rejects(client.remote(key)[op]("RSA1_5", randomBytes(op.startsWith("un") || op === "decrypt" ? 256 : 32)),
				refused(400, "BadParameter"));
	});
});

describe("the state of a key (keyvault-keys.md 9.1)", () => {
	const HOUR_S = 3600;
	const now = Math.floor(Date.now() / 1000);
	for (const [what, attributes, inner] of [
		["disabled", { enabled: false }, "KeyDisabled"], ["expired", { exp: now - HOUR_S }, "KeyExpired"],
		["not yet valid", { nbf: now + HOUR_S }, "KeyNotYetValid"],
	]) {
		const rest = what === "disabled" ? "and everything else" : "old ones can be read";
		test(`${what}: new signatures and ciphertexts are refused, ${rest}`, async () => {
			const name = `state-${what.replaceAll(" ", "-")}`;
			const { privateKey, publicKey } = await rsaPair(2048);
			const key = await keys.importKey(name, sdkJwk(jwkOf(privateKey)));
			const plain = randomBytes(32);
			const digest = digestOf("PS256", plain);
			const signature = signHere("PS256", privateKey, plain);
			await d.ok(vault, officer, "PATCH", `/keys/${name}`, { attributes });
			assertError(await sign(key, "PS256", digest), 403, "Forbidden", inner);
			for (const op of ["encrypt", "wrapkey"])
				assertError(await post(key, op, { alg: "RSA-OAEP", value: b64(plain) }), 403, "Forbidden", inner);
			const ciphertext = b64(encryptHere("RSA-OAEP", publicKey, plain));
			for (const op of ["decrypt", "unwrapkey"]) {
				const res = await post(key, op, { alg: "RSA-OAEP", value: ciphertext });
				if (what === "disabled")
					assertError(res, 403, "Forbidden", inner);
				else
					assert.equal(res.json?.value, b64(plain), res.text);
			}
			const verified = await verify(key, "PS256", digest, signature);
			if (what === "disabled")
				assertError(verified, 403, "Forbidden", inner);
			else
				assert.deepEqual(verified.json, { value: true });
		});
	}
	test("each operation needs its own entry in key_ops", async () => {
		const { privateKey, publicKey } = await rsaPair(2048);
		const plain = randomBytes(32);
		const bodies = {
			encrypt: { alg: "RSA-OAEP", value: b64(plain) }, wrapKey: { alg: "RSA-OAEP", value: b64(plain) },
			decrypt: { alg: "RSA-OAEP", value: b64(encryptHere("RSA-OAEP", publicKey, plain)) },
			unwrapKey: { alg: "RSA-OAEP", value: b64(encryptHere("RSA-OAEP", publicKey, plain)) },
			sign: { alg: "RS256", value: b64(digestOf("RS256", plain)) },
			verify: { alg: "RS256", digest: b64(digestOf("RS256", plain)), value: b64(signHere("RS256", privateKey, plain)) },
		};
		for (const hardwareProtected of [false, true]) {
			const key = await keys.importKey(`ops-${hardwareProtected}`, sdkJwk(jwkOf(privateKey)), { hardwareProtected });
			for (const allowed of Object.keys(bodies)) {
				await keys.updateKeyProperties(key.name, { keyOps: [allowed] });
				for (const [op, body] of Object.entries(bodies)) {
					const res = await post(key, op, body);
					if (op === allowed)
						assert.equal(res.status, 200, `${op}: ${res.text}`);
					else
						assertError(res, 403, "Forbidden", "KeyOperationForbidden");
				}
			}
		}
	});
});
