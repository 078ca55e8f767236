// Wrap and unwrap through the official client, cross-checked with Node.js' own cryptography in both directions.
import assert from "node:assert/strict";
import { constants, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { refused, sdk } from "./clients.mjs";

const HOUR_MS = 3600 * 1000;
let d, vault, officer, keys, crypto;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("crypto");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys, crypto } = sdk(d, vault, officer));
});
after(() => d?.destroy());

/** Encrypt with the public half that the server shows. */
function encryptThere(jwk, alg, plain) {
	const key = createPublicKey({
		format: "jwk",
		key: { kty: "RSA", n: Buffer.from(jwk.n).toString("base64url"), e: Buffer.from(jwk.e).toString("base64url") },
	});
	if (alg === "RSA1_5")
		return publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, plain);
	return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: alg === "RSA-OAEP" ? "sha1" : "sha256" }, plain);
}

function serverWrap(keyPath, alg, plain, who = officer, where = vault) {
	return d.call(where, who, "POST", `${keyPath}/wrapkey`, { alg, value: plain.toString("base64url") });
}
function serverUnwrap(keyPath, alg, wrapped, who = officer, where = vault) {
	return d.call(where, who, "POST", `${keyPath}/unwrapkey`, { alg, value: wrapped.toString("base64url") });
}

const OAEP_MAX = { "RSA-OAEP": { 2048: 214, 3072: 342, 4096: 470 }, "RSA-OAEP-256": { 2048: 190, 3072: 318, 4096: 446 } };

for (const keySize of [2048, 3072, 4096]) {
	for (const kty of ["RSA", "RSA-HSM"]) {
		describe(`${kty} ${keySize}`, () => {
			let key;
			before(async () => {
				key = await keys.createKey(`k-${kty}-${keySize}`, kty, { keySize });
			});
			for (const alg of ["RSA-OAEP", "RSA-OAEP-256"]) {
				test(`${alg}: what Node.js encrypts, the server unwraps, from 0 bytes to the longest`, async () => {
					const client = crypto(key);
					for (const length of [1, 16, 32, OAEP_MAX[alg][keySize]]) {
						const plain = randomBytes(length);
						const got = await client.unwrapKey(alg, encryptThere(key.key, alg, plain));
						assert.deepEqual(Buffer.from(got.result), plain);
						assert.equal(got.keyID, key.id);
					}
					const empty = await serverUnwrap(`/keys/${key.name}`, alg, encryptThere(key.key, alg, Buffer.alloc(0)));
					assert.ok(empty.status === 200 ? empty.json.value === "" : empty.status === 400, "no crash on an empty plaintext");
				});
				test(`${alg}: what the server wraps, it unwraps; one byte too many is refused`, async () => {
					const plain = randomBytes(OAEP_MAX[alg][keySize]);
					const wrapped = await serverWrap(`/keys/${key.name}`, alg, plain);
					assert.equal(wrapped.status, 200, wrapped.text);
					assert.equal(wrapped.json.kid, key.id);
					const value = Buffer.from(wrapped.json.value, "base64url");
					assert.equal(value.length, keySize / 8);
					const back = await serverUnwrap(`/keys/${key.name}/${key.properties.version}`, alg, value);
					assert.equal(back.json?.value, plain.toString("base64url"), back.text);
					assertError(await serverWrap(`/keys/${key.name}`, alg, randomBytes(plain.length + 1)), 400, "BadParameter");
				});
				test(`${alg}: the client's wrap and the server's unwrap agree`, async () => {
					const plain = randomBytes(32);
					const client = crypto(key);
					const wrapped = await client.wrapKey(alg, plain);
					assert.deepEqual(Buffer.from((await client.unwrapKey(alg, wrapped.result)).result), plain);
				});
			}
			test("the algorithms of other paddings do not open it", async () => {
				const wrapped = encryptThere(key.key, "RSA-OAEP", randomBytes(32));
				assertError(await serverUnwrap(`/keys/${key.name}`, "RSA-OAEP-256", wrapped), 400, "BadParameter");
			});
		});
	}
}

describe("RSA1_5", () => {
	test("is refused in a vault that does not allow it", async () => {
		const key = await keys.createRsaKey("no-rsa15", { keySize: 2048 });
		assertError(await serverWrap("/keys/no-rsa15", "RSA1_5", randomBytes(32)), 400, "BadParameter");
		const wrapped = encryptThere(key.key, "RSA1_5", randomBytes(32));
		assertError(await serverUnwrap("/keys/no-rsa15", "RSA1_5", wrapped), 400, "BadParameter");
	});
	test("works in a vault that allows it, in both directions, and its errors tell nothing", async () => {
		const legacy = await d.makeVault("legacy", { allowRsa15: true });
		const owner = await d.makePrincipal(legacy, "owner", ["crypto-officer"]);
		const client = sdk(d, legacy, owner);
		const key = await client.keys.createRsaKey("k", { keySize: 2048 });
		const plain = randomBytes(32);
		const got = await client.crypto(key).unwrapKey("RSA1_5", encryptThere(key.key, "RSA1_5", plain));
		assert.deepEqual(Buffer.from(got.result), plain);
		const wrapped = await serverWrap("/keys/k", "RSA1_5", plain, owner, legacy);
		assert.equal(wrapped.status, 200, wrapped.text);
		const back = await serverUnwrap("/keys/k", "RSA1_5", Buffer.from(wrapped.json.value, "base64url"), owner, legacy);
		assert.equal(back.json.value, plain.toString("base64url"));
		// Random ciphertexts below n: either refused with one and the same body, or (implicit rejection) a value that is not ours.
		const bodies = new Set();
		for (let i = 0; i < 20; i++) {
			const bad = randomBytes(256);
			bad[0] = 0;
			const res = await serverUnwrap("/keys/k", "RSA1_5", bad, owner, legacy);
			assert.ok([200, 400].includes(res.status));
			if (res.status === 400)
				bodies.add(res.text);
		}
		assert.ok(bodies.size <= 1);
	});
});

describe("AES key wrap", () => {
	for (const keySize of [128, 192, 256]) {
		const alg = `A${keySize}KW`;
		test(`${alg} round-trips through the client and is 8 bytes longer`, async () => {
			const key = await keys.createOctKey(`kw-${keySize}`, { hsm: true, keySize });
			const client = crypto(key);
			for (const length of [16, 24, 32, 64, 128, 1024]) {
				const plain = randomBytes(length);
				const wrapped = await client.wrapKey(alg, plain);
				assert.equal(wrapped.keyID, key.id);
				assert.equal(wrapped.result.length, length + 8);
				assert.notEqual(Buffer.from(wrapped.result).indexOf(plain), 0);
				assert.deepEqual(Buffer.from((await client.unwrapKey(alg, wrapped.result)).result), plain);
			}
			const plain = randomBytes(32);
			const twice = [await client.wrapKey(alg, plain), await client.wrapKey(alg, plain)];
			assert.deepEqual(twice[0].result, twice[1].result, "RFC 3394 is deterministic");
			const mechanism = await serverWrap(`/keys/kw-${keySize}`, "CKM_AES_KEY_WRAP", plain);
			assert.equal(mechanism.json?.value, Buffer.from(twice[0].result).toString("base64url"), mechanism.text);
		});
		test(`CKM_AES_KEY_WRAP_PAD round-trips every length under ${keySize} bits`, async () => {
			const key = await keys.createOctKey(`kwp-${keySize}`, { hsm: true, keySize });
			const client = crypto(key);
			for (const length of [1, 2, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 100, 1000]) {
				const plain = randomBytes(length);
				const wrapped = await client.wrapKey("CKM_AES_KEY_WRAP_PAD", plain);
				assert.equal(wrapped.result.length, Math.ceil(length / 8) * 8 + 8, `${length} bytes`);
				assert.deepEqual(Buffer.from((await client.unwrapKey("CKM_AES_KEY_WRAP_PAD", wrapped.result)).result), plain);
			}
		});
	}
	test("lengths that RFC 3394 does not allow, and algorithms of another size, are refused", async () => {
		await keys.createOctKey("kw-strict", { hsm: true, keySize: 256 });
		for (const length of [0, 1, 8, 15, 17, 31])
			assertError(await serverWrap("/keys/kw-strict", "A256KW", randomBytes(length)), 400, "BadParameter");
		for (const length of [0, 8, 16, 23, 25])
			assertError(await serverUnwrap("/keys/kw-strict", "A256KW", randomBytes(length)), 400, "BadParameter");
		assertError(await serverWrap("/keys/kw-strict", "CKM_AES_KEY_WRAP_PAD", Buffer.alloc(0)), 400, "BadParameter");
		for (const alg of ["A128KW", "A192KW", "RSA-OAEP", "A256GCM", "A256CBC", "nonsense", ""])
			assertError(await serverWrap("/keys/kw-strict", alg, randomBytes(32)), 400, "BadParameter");
	});
	test("every flipped bit of a wrapped value is refused, with one and the same body", async () => {
		await keys.createOctKey("kw-flip", { hsm: true, keySize: 256 });
		const bodies = new Set();
		for (const alg of ["A256KW", "CKM_AES_KEY_WRAP_PAD"]) {
			const res = await serverWrap("/keys/kw-flip", alg, randomBytes(16));
			const good = Buffer.from(res.json.value, "base64url");
			for (let bit = 0; bit < good.length * 8; bit++) {
				const bad = Buffer.from(good);
				bad[bit >> 3] ^= 1 << (bit & 7);
				const refusal = await serverUnwrap("/keys/kw-flip", alg, bad);
				assert.equal(refusal.status, 400, `${alg}, bit ${bit}: ${refusal.text}`);
				bodies.add(refusal.text);
			}
			assert.equal((await serverUnwrap("/keys/kw-flip", alg, good)).status, 200);
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
	});
});

describe("RSA ciphertexts that are not right", () => {
	test("are refused with one and the same body", async () => {
		const key = await keys.createRsaKey("rsa-bad", { keySize: 2048 });
		const good = encryptThere(key.key, "RSA-OAEP-256", randomBytes(32));
		const n = Buffer.from(key.key.n);
		const tampered = Array.from({ length: 24 }, (_, i) => {
			const bad = Buffer.from(good);
			bad[i * 10 + 5] ^= 0x10;
			return bad;
		}).filter((bad) => bad.compare(n) < 0);
		const bodies = new Set();
		for (const bad of [...tampered, randomBelow(n), Buffer.alloc(256), Buffer.concat([Buffer.alloc(255), Buffer.from([1])])]) {
			for (const alg of ["RSA-OAEP-256", "RSA-OAEP"]) {
				const res = await serverUnwrap("/keys/rsa-bad", alg, bad);
				assertError(res, 400, "BadParameter");
				bodies.add(res.text);
			}
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
		for (const bad of [good.subarray(1), Buffer.concat([Buffer.from([0]), good]), Buffer.alloc(256, 0xff), n, Buffer.alloc(0), Buffer.alloc(1)])
			assertError(await serverUnwrap("/keys/rsa-bad", "RSA-OAEP-256", bad), 400, "BadParameter");
		assert.equal((await serverUnwrap("/keys/rsa-bad", "RSA-OAEP-256", good)).status, 200, "and the good one still opens");
		assert.equal((await d.health()).status, 200, "a caller's bad data is no outage");
	});
	function randomBelow(n) {
		const value = randomBytes(n.length);
		value[0] = n[0] >> 1;
		return value;
	}
});

describe("versions", () => {
	test("all forms of a path without a version act on the latest, and kid names the version used", async () => {
		const first = await keys.createOctKey("forms", { hsm: true, keySize: 256 });
		const second = await keys.createOctKey("forms", { hsm: true, keySize: 256 });
		const plain = randomBytes(32);
		for (const keyPath of ["/keys/forms/", "/keys/forms", "/keys/FORMS"]) {
			for (const op of ["wrapkey", "wrapKey", "WRAPKEY"]) {
				const res = await d.call(vault, officer, "POST", `${keyPath}/${op}`, { alg: "A256KW", value: plain.toString("base64url") });
				assert.equal(res.status, 200, `${keyPath}/${op}: ${res.text}`);
				assert.equal(res.json.kid, second.id);
			}
		}
		assert.equal((await serverWrap(`/keys/forms/${first.properties.version}`, "A256KW", plain)).json.kid, first.id);
		for (const id of [`${vault.origin}/keys/forms`, `${vault.origin}/keys/forms/`])
			assert.equal((await crypto(id).wrapKey("A256KW", plain)).keyID, second.id);
		assert.equal((await crypto(first.id).wrapKey("A256KW", plain)).keyID, first.id);
	});
	test("after a rotation old ciphertext opens under its own version and not under the new one", async () => {
		for (const [name, kty, alg] of [["rot-oct", "oct-HSM", "A256KW"], ["rot-rsa", "RSA", "RSA-OAEP-256"]]) {
			const first = await keys.createKey(name, kty, { keySize: kty === "RSA" ? 2048 : 256 });
			const plain = randomBytes(32);
			const wrapped = Buffer.from((await serverWrap(`/keys/${name}`, alg, plain)).json.value, "base64url");
			const second = await keys.rotateKey(name);
			assert.equal((await serverWrap(`/keys/${name}`, alg, plain)).json.kid, second.id);
			assertError(await serverUnwrap(`/keys/${name}`, alg, wrapped), 400, "BadParameter");
			const back = await serverUnwrap(`/keys/${name}/${first.properties.version}`, alg, wrapped);
			assert.equal(back.json?.value, plain.toString("base64url"), back.text);
		}
	});
});

describe("the state of a key decides (keyvault-keys.md 9.1)", () => {
	const states = [
		["disabled", { enabled: false }, { wrapkey: "KeyDisabled", unwrapkey: "KeyDisabled" }],
		["expired", { exp: Math.floor((Date.now() - HOUR_MS) / 1000) }, { wrapkey: "KeyExpired", unwrapkey: null }],
		["not yet valid", { nbf: Math.floor((Date.now() + HOUR_MS) / 1000) }, { wrapkey: "KeyNotYetValid", unwrapkey: null }],
		["disabled and expired", { enabled: false, exp: Math.floor((Date.now() - HOUR_MS) / 1000) },
			{ wrapkey: "KeyDisabled", unwrapkey: "KeyDisabled" }],
	];
	for (const [kty, alg] of [["oct-HSM", "A256KW"], ["RSA", "RSA-OAEP-256"]]) {
		for (const [what, attributes, expected] of states) {
			test(`a ${kty} key that is ${what}`, async () => {
				const name = `state-${kty}-${what}`.replaceAll(" ", "-");
				await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty, ...(kty === "RSA" ? { key_size: 2048 } : {}) });
				const plain = randomBytes(32).toString("base64url");
				const { value } = await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain });
				await d.ok(vault, officer, "PATCH", `/keys/${name}`, { attributes });
				for (const [op, inner] of Object.entries(expected)) {
					const res = await d.call(vault, officer, "POST", `/keys/${name}//${op}`, { alg, value: op === "wrapkey" ? plain : value });
					if (inner !== null)
						assertError(res, 403, "Forbidden", inner);
					else
						assert.equal(res.json?.value, plain, res.text);
				}
				await d.ok(vault, officer, "GET", `/keys/${name}`);
				await d.ok(vault, officer, "GET", "/keys?maxresults=1");
				await d.ok(vault, officer, "POST", `/keys/${name}/rotate`);
				await d.ok(vault, officer, "DELETE", `/keys/${name}`);
			});
		}
	}
	test("an operation that key_ops lacks is refused, until key_ops get it", async () => {
		for (const [kty, alg] of [["oct-HSM", "A256KW"], ["RSA", "RSA-OAEP-256"]]) {
			const name = `ops-${kty}`;
			await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty, key_ops: ["wrapKey"] });
			const plain = randomBytes(32).toString("base64url");
			const { value } = await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain });
			const res = await d.call(vault, officer, "POST", `/keys/${name}/unwrapkey`, { alg, value });
			assertError(res, 403, "Forbidden", "KeyOperationForbidden");
			await d.ok(vault, officer, "PATCH", `/keys/${name}`, { key_ops: ["unwrapKey"] });
			assert.equal((await d.ok(vault, officer, "POST", `/keys/${name}/unwrapkey`, { alg, value })).value, plain);
			assertError(await d.call(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain }), 403, "Forbidden",
				"KeyOperationForbidden");
		}
	});
	test("the client itself reports a disabled key", async () => {
		const key = await keys.createOctKey("sdk-disabled", { hsm: true, keySize: 256, enabled: false });
		await assert.rejects(crypto(key.id).wrapKey("A256KW", randomBytes(32)), refused(403, "Forbidden", "KeyDisabled"));
	});
	test("disabling one version leaves the others usable", async () => {
		const first = await keys.createOctKey("one-version", { hsm: true, keySize: 256 });
		const second = await keys.createOctKey("one-version", { hsm: true, keySize: 256 });
		await keys.updateKeyProperties("one-version", first.properties.version, { enabled: false });
		assertError(await serverWrap(`/keys/one-version/${first.properties.version}`, "A256KW", randomBytes(32)), 403, "Forbidden", "KeyDisabled");
		assert.equal((await serverWrap("/keys/one-version", "A256KW", randomBytes(32))).json.kid, second.id);
	});
});
