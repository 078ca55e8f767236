// Keys of every type, size and curve; random bytes; what is refused on purpose: release, secure wrap.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertReceipt } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { AES_SIZES, CURVES, RSA_SIZES, b64 } from "../support/keys.mjs";
import { refused, sdk } from "./clients.mjs";

let d, vault, officer, keys;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("create");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys } = sdk(d, vault, officer));
});
after(() => d?.destroy());

describe("createKey", () => {
	const expected = {
		"RSA": ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"], "EC": ["sign", "verify"],
		"oct": ["decrypt", "encrypt", "unwrapKey", "wrapKey"],
	};
	test("every type, size and curve, software and HSM", async () => {
		for (const hsm of [false, true]) {
			const suffix = hsm ? "-HSM" : "";
			const made = [
				["RSA", await keys.createRsaKey("c-rsa", { hsm, keySize: RSA_SIZES[0] })],
				...await Promise.all(Object.keys(CURVES).map(async (curve) => ["EC", await keys.createEcKey(`c-${curve}`, { hsm, curve })])),
				...await Promise.all(AES_SIZES.map(async (keySize) => ["oct", await keys.createOctKey(`c-${keySize}`, { hsm, keySize })])),
			];
			for (const [kty, key] of made) {
				assert.equal(key.keyType, `${kty}${suffix}`);
				assert.deepEqual([...key.keyOperations].sort(), expected[kty]);
				assert.deepEqual(await keys.getKey(key.name), key);
				for (const secret of ["d", "p", "q", "dp", "dq", "qi", "k", "t"])
					assert.equal(key.key[secret], undefined);
			}
		}
	});
	test("defaults: RSA 2048, P-256, oct 256", async () => {
		assert.equal((await keys.createRsaKey("d-rsa")).key.n.length, 256);
		assert.equal((await keys.createEcKey("d-ec")).key.crv, "P-256");
		await keys.createOctKey("d-oct");
		assert.equal((await d.call(vault, officer, "POST", "/keys/d-oct/wrapkey", { alg: "A256KW", value: b64(randomBytes(32)) })).status, 200);
	});
	test("key_size of a symmetric key shows from 2026-04-01 on", async () => {
		const shown = await d.ok(vault, officer, "GET", "/keys/d-oct", undefined, { apiVersion: "2026-04-01" });
		assert.equal(shown.attributes.key_size, 256);
	});
	for (const [kty, options] of [
		["RSA", { keySize: 1024 }], ["RSA", { keySize: 2049 }], ["RSA-HSM", { keySize: 8192 }], ["RSA", { keySize: 0 }], ["oct", { keySize: 64 }],
		["oct", { keySize: 129 }],
		["oct", { keySize: 1024 }], ["oct-HSM", { keySize: 384, keyOps: ["encrypt"] }], ["oct-HSM", { keySize: 128, keyOps: ["sign", "verify"] }],
		["EC", { curve: "P-224" }],
		["EC", { curve: "secp256k1" }], ["EC-HSM", { curve: "Ed25519" }], ["RSA", { keyOps: ["fly"] }], ["EC", { keyOps: ["encrypt"] }],
		["EC-HSM", { keyOps: ["wrapKey"] }], ["oct-HSM", { keyOps: ["import"] }], ["OKP", {}], ["AKP", {}], ["RSA", { keyOps: ["export"] }],
	]) {
		test(`${kty} with ${JSON.stringify(options)} is 400, and nothing is made`, async () => {
			await assert.rejects(keys.createKey("never", kty, options), refused(400, "BadParameter"));
			await assert.rejects(keys.getKey("never"), refused(404, "KeyNotFound"));
		});
	}
	test("exportable keys and release policies are refused, and say so", async () => {
		const releasePolicy = { encodedPolicy: Buffer.from("{\"version\":\"1.0.0\",\"anyOf\":[]}") };
		for (const options of [{ exportable: true }, { releasePolicy }, { exportable: true, releasePolicy }])
			await assert.rejects(keys.createRsaKey("never", { ...options, hsm: true }), refused(400, "BadParameter"));
		await keys.createEcKey("not-exportable", { curve: "P-256", exportable: false });
		assert.ok(!(await keys.getKey("not-exportable")).properties.exportable);
	});
});

describe("getRandomBytes", () => {
	test("1 to 128 bytes, different each time, and no more", async () => {
		for (const count of [1, 2, 31, 32, 64, 127, 128])
			assert.equal((await keys.getRandomBytes(count)).length, count);
		const many = await Promise.all(Array.from({ length: 50 }, () => keys.getRandomBytes(16)));
		assert.equal(new Set(many.map((bytes) => b64(bytes))).size, 50);
		for (const count of [0, 129, -1, 1e9])
			await assert.rejects(keys.getRandomBytes(count), refused(400, "BadParameter"));
		for (const body of [{}, { count: "5" }, { count: 1.5 }, { count: null }, "", "[]"])
			assertError(await d.call(vault, officer, "POST", "/rng", body), 400, "BadParameter");
	});
	test("they look random: 2,048 bytes have no bias that would be seen by eye", async () => {
		const bytes = Buffer.concat(await Promise.all(Array.from({ length: 16 }, () => keys.getRandomBytes(128))));
		const ones = [...bytes].reduce((sum, byte) => sum + byte.toString(2).replaceAll("0", "").length, 0);
		assert.ok(Math.abs(ones - 8192) < 6 * 64, `${ones} of 16384 bits are set`); // six standard deviations
	});
});

describe("releaseKey", () => {
	test("is refused in both forms, for any key, and logged", async () => {
		const key = await keys.createRsaKey("release", { hsm: true });
		await assert.rejects(keys.releaseKey("release", "e30.e30.e30"), refused(400, "BadParameter"));
		await assert.rejects(keys.releaseKey("release", "x", { version: key.properties.version, nonce: "n", algorithm: "RSA_AES_KEY_WRAP_256" }),
			refused(400, "BadParameter"));
		const res = await d.call(vault, officer, "POST", "/keys/release/release", { target: "x" });
		assertError(res, 400, "BadParameter");
		assertReceipt(res);
	});
	test("so are secure wrap and secure unwrap", async () => {
		for (const [op, body] of [["securewrapkey", { alg: "A256KW" }], ["secureunwrapkey", { alg: "A256KW", value: "AAAA", target: "x" }]]) {
			const res = await d.call(vault, officer, "POST", `/keys/release//${op}`, body, { apiVersion: "2026-04-01" });
			assertError(res, 400, "BadParameter");
			assertReceipt(res);
		}
	});
});
