// Keys from outside: JSON Web Keys in clear, and keys that another HSM wrapped for an exchange key (BYOK). What is weak, inconsistent or of the
// wrong type is refused by its name, and nothing is made of it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertReceipt } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import {
	AES_SIZES, CURVES, RSA_SIZES, b64, decryptHere, digestOf, ecPair, encryptHere, flipped, jwkOf, macHere, octJwk, publicOf, rsaPair, sdkJwk,
	signHere, transferBlob, transferCiphertext, transferable, unb64, unwrapHere, verifyHere, wrapHere,
} from "../support/keys.mjs";
import { integer, integerOf, prime, primeAfter, rocaPrime, rsaJwk } from "../support/weak.mjs";
import { collect, refused, sdk } from "./clients.mjs";

const MEMBERS = ["n", "e", "d", "p", "q", "dp", "dq", "qi"]; // of an RSA key
let d, vault, officer, keys, remote;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("import");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys, remote } = sdk(d, vault, officer));
});
after(() => d?.destroy());

const put = (name, body) => d.call(vault, officer, "PUT", `/keys/${name}`, body);
const get = (keyPath) => d.call(vault, officer, "GET", keyPath);

/** The key does what its other half, here, expects of it. */
async function assertUsable(key, material) {
	const client = remote(key);
	const plain = randomBytes(32);
	if (Buffer.isBuffer(material)) {
		const alg = "CKM_AES_KEY_WRAP_PAD";
		assert.deepEqual(unwrapHere(material, Buffer.from((await client.wrapKey(alg, plain)).result), true), plain);
		assert.deepEqual(Buffer.from((await client.unwrapKey(alg, wrapHere(material, plain, true))).result), plain);
		return;
	}
	const rsa = key.keyType.startsWith("RSA");
	const alg = rsa ? "PS256" : CURVES[key.key.crv].alg;
	const { result } = await client.sign(alg, digestOf(alg, plain));
	assert.ok(verifyHere(alg, publicOf(jwkOf(material)), plain, Buffer.from(result)));
	assert.equal((await client.verify(alg, digestOf(alg, plain), signHere(alg, material, plain))).result, true);
	if (!rsa)
		return;
	assert.deepEqual(Buffer.from((await client.decrypt("RSA-OAEP", encryptHere("RSA-OAEP", publicOf(jwkOf(material)), plain))).result), plain);
	assert.deepEqual(decryptHere("RSA-OAEP-256", material, Buffer.from((await client.encrypt("RSA-OAEP-256", plain)).result)), plain);
}

/** The public half is the one given, and nothing else is shown. */
function assertPublicHalf(key, jwk) {
	for (const name of ["n", "e", "x", "y"])
		assert.equal(key.key[name] && b64(key.key[name]), jwk[name], name);
	for (const name of ["d", "p", "q", "dp", "dq", "qi", "k", "t"])
		assert.equal(key.key[name], undefined, name);
}

describe("importKey", () => {
	for (const hardwareProtected of [false, true]) {
		const suffix = hardwareProtected ? "-HSM" : "";
		for (const size of RSA_SIZES) {
			test(`an RSA key of ${size} bits becomes RSA${suffix}`, async () => {
				const { privateKey } = await rsaPair(size);
				const key = await keys.importKey(`rsa-${size}${suffix}`, sdkJwk(jwkOf(privateKey)), { hardwareProtected });
				assert.equal(key.keyType, `RSA${suffix}`);
				assertPublicHalf(key, jwkOf(privateKey));
				assert.deepEqual([...key.keyOperations].sort(), ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"]);
				await assertUsable(key, privateKey);
			});
		}
		for (const curve of Object.keys(CURVES)) {
			test(`a ${curve} key becomes EC${suffix}`, async () => {
				const { privateKey } = await ecPair(curve);
				const key = await keys.importKey(`ec-${curve}${suffix}`, sdkJwk(jwkOf(privateKey)), { hardwareProtected });
				assert.equal(key.keyType, `EC${suffix}`);
				assert.equal(key.key.crv, curve);
				assertPublicHalf(key, jwkOf(privateKey));
				assert.deepEqual([...key.keyOperations].sort(), ["sign", "verify"]);
				await assertUsable(key, privateKey);
			});
		}
		for (const size of AES_SIZES) {
			test(`a secret of ${size} bits becomes oct${suffix}`, async () => {
				const secret = randomBytes(size / 8);
				const key = await keys.importKey(`oct-${size}${suffix}`, sdkJwk(octJwk(secret)), { hardwareProtected });
				assert.equal(key.keyType, `oct${suffix}`);
				assertPublicHalf(key, {});
				assert.deepEqual([...key.keyOperations].sort(), ["decrypt", "encrypt", "unwrapKey", "wrapKey"]);
				await assertUsable(key, secret);
			});
		}
		for (const bytes of [48, 64]) {
			test(`a secret of ${bytes} bytes becomes an oct${suffix} for MACs`, async () => {
				const secret = randomBytes(bytes);
				const key = await keys.importKey(`mac-${bytes}${suffix}`, sdkJwk(octJwk(secret)), { hardwareProtected });
				assert.deepEqual([...key.keyOperations].sort(), ["sign", "verify"]);
				const mac = await remote(key).sign("HS384", secret.subarray(0, 20));
				assert.deepEqual(Buffer.from(mac.result), macHere("HS384", secret, secret.subarray(0, 20)));
			});
		}
	}
	test("a type that is hardware-protected by name needs no flag, and a false one does not undo it", async () => {
		const { privateKey } = await ecPair("P-256");
		for (const [Hsm, kty, expected] of [
			[undefined, "EC-HSM", "EC-HSM"], [true, "EC-HSM", "EC-HSM"], [false, "EC-HSM", "EC-HSM"], [true, "EC", "EC-HSM"], [false, "EC", "EC"],
		]) {
			const { key } = await d.ok(vault, officer, "PUT", "/keys/flag", { Hsm, key: { ...jwkOf(privateKey), kty } });
			assert.equal(key.kty, expected);
		}
		assert.equal((await d.ok(vault, officer, "PUT", "/keys/flag", { hsm: true, key: jwkOf(privateKey) })).key.kty, "EC-HSM",
			"in lower case too");
	});
	test("attributes, tags and operations are kept, kid and unknown members ignored, leading zeros tolerated", async () => {
		const { privateKey } = await rsaPair(2048);
		const expiresOn = new Date(1999999999000);
		const notBefore = new Date(1600000000000);
		const made = await keys.importKey("attributes", { ...sdkJwk(jwkOf(privateKey)), keyOps: ["decrypt"], kid: "mine" },
			{ enabled: false, expiresOn, notBefore, tags: { from: "outside" } });
		assert.deepEqual([made.properties.enabled, made.properties.expiresOn, made.properties.notBefore], [false, expiresOn, notBefore]);
		assert.deepEqual(made.properties.tags, { from: "outside" });
		assert.deepEqual(made.keyOperations, ["decrypt"]);
		assert.match(made.properties.version, /^[0-9a-f]{32}$/);
		assert.equal(made.id, `${vault.origin}/keys/attributes/${made.properties.version}`);
		assert.deepEqual(await keys.getKey("attributes"), made);
		const jwk = jwkOf(privateKey);
		const zeros = Object.fromEntries(MEMBERS.map((m) => [m, b64(Buffer.concat([Buffer.alloc(1), unb64(jwk[m])]))]));
		const res = await put("attributes", { key: { ...jwk, ...zeros, use: "sig", alg: "RS256", x5c: ["x"], ext: true }, later: {} });
		assert.equal(res.status, 200, res.text);
		assert.equal(res.json.key.n, jwk.n, "shown without leading zeros");
		assertReceipt(res);
	});
	test("an existing name gets a new version, of another type if need be, and the old one stays", async () => {
		const secret = randomBytes(32);
		const first = await keys.importKey("twice", sdkJwk(octJwk(secret)));
		const second = await keys.importKey("twice", sdkJwk(jwkOf((await ecPair("P-384")).privateKey)));
		assert.notEqual(first.properties.version, second.properties.version);
		assert.equal((await keys.getKey("twice")).keyType, "EC");
		assert.equal((await collect(keys.listPropertiesOfKeyVersions("twice"))).length, 2);
		await assertUsable(first, secret);
	});
	test("a rotated imported key gets material of its own", async () => {
		const { privateKey } = await rsaPair(2048);
		const first = await keys.importKey("rotated", sdkJwk(jwkOf(privateKey)));
		const second = await keys.rotateKey("rotated");
		assert.notDeepEqual(second.key.n, first.key.n);
		await assertUsable(first, privateKey);
	});
	test("a deleted name is 409, and exportable keys are refused", async () => {
		await keys.importKey("gone", sdkJwk(octJwk(randomBytes(32))));
		await d.ok(vault, officer, "DELETE", "/keys/gone");
		await assert.rejects(keys.importKey("gone", sdkJwk(octJwk(randomBytes(32)))), refused(409, "Conflict", "ObjectIsDeletedButRecoverable"));
		const policy = { encodedPolicy: Buffer.from("{}"), contentType: "application/json" };
		for (const options of [{ exportable: true }, { exportable: true, releasePolicy: policy }, { releasePolicy: policy }])
			await assert.rejects(keys.importKey("never", sdkJwk(octJwk(randomBytes(32))), options), refused(400, "BadParameter"));
	});
});

describe("a JWK that is not right is 400, named, and changes nothing", () => {
	let good;
	before(async () => {
		good = { rsa: jwkOf((await rsaPair(2048)).privateKey), ec: jwkOf((await ecPair("P-256")).privateKey), oct: octJwk(randomBytes(32)) };
		await d.ok(vault, officer, "PUT", "/keys/kept", { key: good.rsa });
	});
	after(async () => {
		assert.equal((await d.ok(vault, officer, "GET", "/keys/kept/versions")).value.length, 1, "a refused import made a version");
	});
	const p = prime(1024);
	const q = prime(1024);
	const add = (text, n, length) => integer(integerOf(text) + n, length);
	const rsa = (change) => () => ({ ...good.rsa, ...(typeof change === "function" ? change(good.rsa) : change) });
	const ec = (change) => () => ({ ...good.ec, ...(typeof change === "function" ? change(good.ec) : change) });
	const P256_PRIME = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
	const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

	/* what, JWK, the member or members of which one must be named */
	const cases = [
		["no kty", () => ({ ...good.rsa, kty: undefined }), "kty"], ["kty a number", rsa({ kty: 5 }), "kty"],
		["kty unknown", rsa({ kty: "DSA" }), "kty"],
		["kty in other case", rsa({ kty: "rsa" }), "kty"],
		["kty OKP", () => ({ kty: "OKP", crv: "Ed25519", x: b64(randomBytes(32)), d: b64(randomBytes(32)) }), "kty"],
		["kty of another family", ec({ kty: "RSA" }), "n e"], ["kty oct over an RSA key", rsa({ kty: "oct" }), "k"],
		...MEMBERS.flatMap((m) => [
			[`RSA without ${m}`, rsa({ [m]: undefined }), m], [`RSA with ${m} empty`, rsa({ [m]: "" }), m],
			[`RSA with ${m} null`, rsa({ [m]: null }), m],
			[`RSA with ${m} a number`, rsa({ [m]: 65537 }), m], [`RSA with ${m} no base64url`, rsa({ [m]: "§$%&" }), m],
			[`RSA with ${m} all zero`, rsa({ [m]: b64(Buffer.alloc(32)) }), m],
		]),
		["n not the product", rsa((k) => ({ n: add(k.n, 2n) })), "n p q"], ["n even", rsa((k) => ({ n: add(k.n, 1n) })), "n p q"],
		["n of another key", () => ({ ...good.rsa, n: rsaJwk(p, q).n }), "n p q d"],
		["n of 1024 bits", () => rsaJwk(prime(512), prime(512)), "n"], ["n of 2047 bits", () => rsaJwk(prime(1024), prime(1023)), "n"],
		["n of 2560 bits", () => rsaJwk(prime(1280), prime(1280)), "n"], ["n of 16384 bits", rsa({ n: b64(Buffer.alloc(2048, 0xff)) }), "n"],
		["e 1", rsa({ e: "AQ" }), "e"], ["e 3, consistent", () => rsaJwk(prime(1024, 3n), prime(1024, 3n), 3n), "e"],
		["e even", rsa({ e: integer(65538n) }), "e"],
		["e 65539 for a d of 65537", rsa({ e: integer(65539n) }), "e d"],
		["e 17, consistent", () => rsaJwk(prime(1024, 17n), prime(1024, 17n), 17n), "e"],
		["e of 65 bits, consistent", () => rsaJwk(p, q, (1n << 64n) + 13n), "e"],
		["d cut short", rsa((k) => ({ d: integer(integerOf(k.d) >> 1024n) })), "d"], ["d + 2", rsa((k) => ({ d: add(k.d, 2n) })), "d"],
		["d 1", rsa({ d: "AQ" }), "d"], ["a short d with its long e", () => shortExponent(p, q), "e d"],
		["dp + 1", rsa((k) => ({ dp: add(k.dp, 1n) })), "dp"], ["dq + 1", rsa((k) => ({ dq: add(k.dq, 1n) })), "dq"],
		["qi + 1", rsa((k) => ({ qi: add(k.qi, 1n) })), "qi"],
		["p and q exchanged, the rest not", rsa((k) => ({ p: k.q, q: k.p })), "p q dp dq qi"],
		["p = q", () => ({ ...rsaJwk(p, q), q: integer(p), n: integer(p * p) }), "n p q"],
		["p 1 and q n", rsa((k) => ({ p: "AQ", q: k.n })), "p q"],
		["p a product of two primes, else consistent", composite, "p q"], ["p and q next to one another", () => rsaJwk(primeAfter(p), p), "p q"],
		["the fingerprint of CVE-2017-15361", () => rsaJwk(rocaPrime(1024), rocaPrime(1024)), "n"],
		["no crv", ec({ crv: undefined }), "crv"], ["crv unknown", ec({ crv: "P-224" }), "crv"],
		["crv in OpenSSL's words", ec({ crv: "secp256k1" }), "crv"],
		["crv a number", ec({ crv: 256 }), "crv"], ["crv of another curve of that size", ec({ crv: "P-256K" }), "x y crv"],
		["crv of a longer one", ec({ crv: "P-384" }), "x y d crv"],
		...["x", "y", "d"].flatMap((m) => [
			[`EC without ${m}`, ec({ [m]: undefined }), m], [`EC with ${m} empty`, ec({ [m]: "" }), m], [`EC with ${m} a number`, ec({ [m]: 5 }), m],
			[`EC with ${m} no base64url`, ec({ [m]: "*" }), m], [`EC with ${m} short`, ec((k) => ({ [m]: b64(unb64(k[m]).subarray(1)) })), m],
			[`EC with ${m} long`, ec((k) => ({ [m]: b64(Buffer.concat([Buffer.from([1]), unb64(k[m])])) })), m],
		]),
		["a point off the curve", ec((k) => ({ y: b64(flipped(unb64(k.y), 255)) })), "x y"],
		["the point at infinity", ec({ x: b64(Buffer.alloc(32)), y: b64(Buffer.alloc(32)) }), "x y"],
		["the other point of the same x", ec((k) => ({ y: integer(P256_PRIME - integerOf(k.y), 32) })), "d x y"],
		["x not reduced", ec({ x: b64(Buffer.alloc(32, 0xff)) }), "x"], ["d 0", ec({ d: b64(Buffer.alloc(32)) }), "d"],
		["d the order", ec({ d: integer(P256_ORDER, 32) }), "d"],
		["d above the order", ec({ d: b64(Buffer.alloc(32, 0xff)) }), "d"],
		["d of another point", ec((k) => ({ d: b64(flipped(unb64(k.d), 200)) })), "d"],
		["no k", () => ({ kty: "oct" }), "k"], ["k empty", () => ({ kty: "oct", k: "" }), "k"],
		["k a list", () => ({ kty: "oct", k: [1, 2] }), "k"],
		["k no base64url", () => ({ kty: "oct", k: "a b" }), "k"], ["k all zero", () => octJwk(Buffer.alloc(32)), "k"],
		["k the same byte throughout", () => octJwk(Buffer.alloc(16, 0x5a)), "k"],
		...[1, 8, 15, 17, 23, 31, 33, 40, 63, 65, 128, 256].map((n) => [`k of ${n} bytes`, () => octJwk(randomBytes(n)), "k"]),
	];

	function shortExponent(one, other) {
		const lambda = (one - 1n) * (other - 1n);
		for (let d = (1n << 200n) + 1n; ; d += 2n) {
			try {
				const jwk = rsaJwk(one, other, d, lambda); // with the two exponents exchanged
				return { ...jwk, e: jwk.d, d: jwk.e, dp: integer(d % (one - 1n)), dq: integer(d % (other - 1n)) };
			} catch {
				continue; // not coprime
			}
		}
	}
	function composite() {
		for (;;) {
			const one = prime(512) * prime(512);
			const other = prime(1024);
			if ((one - 1n) % 65537n !== 0n && (one * other) >> 2047n === 1n)
				return rsaJwk(one, other);
		}
	}

	for (const Hsm of [false, true]) {
		describe(Hsm ? "hardware-protected" : "wrapped", () => {
			cases.forEach(([what, make, members], number) => {
				test(what, async () => {
					const key = make();
					const name = `never-${number}`;
					const res = await put(name, { Hsm, key });
					assertError(res, 400, "BadParameter");
					const named = members.split(" ").some((m) => new RegExp(`(?<![A-Za-z])${m}(?![A-Za-z])`).test(res.json.error.message));
					assert.ok(named, `names none of "${members}": ${res.json.error.message}`);
					assert.ok(!res.text.includes(good.rsa.p.slice(0, 20)), "a value is echoed");
					assert.equal((await get(`/keys/${name}`)).status, 404);
					assert.equal((await put("kept", { Hsm, key })).status, 400);
				});
			});
		});
	}
	test("P-521 coordinates must have all 66 bytes, also when they begin with zero", async () => {
		const jwk = jwkOf((await ecPair("P-521")).privateKey);
		for (const m of ["x", "y", "d"]) {
			const res = await put("never", { key: { ...jwk, [m]: b64(unb64(jwk[m]).subarray(1)) } });
			assertError(res, 400, "BadParameter");
			assert.match(res.json.error.message, new RegExp(`(?<![A-Za-z])${m}(?![A-Za-z])`));
		}
	});
	test("bodies around the key: no key, a key that is no object, flags and operations that do not fit", async () => {
		for (const [body, member] of [
			[{}, "key"], [{ key: null }, "key"], [{ key: "x" }, "key"], [{ key: [] }, "key"], ["[]", null], ["", null], [{ key: {} }, "kty"],
			[{ Hsm: "yes", key: good.oct }, "Hsm"], [{ hsm: 1, key: good.oct }, "hsm"], [{ key: { ...good.oct, key_ops: "sign" } }, "key_ops"],
			[{ key: { ...good.oct, key_ops: ["fly"] } }, "key_ops"], [{ key: { ...good.ec, key_ops: ["encrypt"] } }, "key_ops"],
			[{ key: { ...good.oct, key_ops: ["encrypt", "sign"] }, Hsm: true }, "key_ops"],
			[{ key: { ...good.rsa, key_ops: ["import"] } }, "key_ops"],
			[{ key: good.oct, attributes: { exp: -1 } }, "exp"], [{ key: good.oct, tags: { a: 1 } }, "tags"],
			[{ key: { ...good.oct, key_hsm: "AAAA" } }, "key_hsm"], [{ key: good.oct, attributes: { nbf: 5, exp: 4 } }, null],
		]) {
			const res = await put("never", body);
			assertError(res, 400, "BadParameter");
			if (member)
				assert.match(res.json.error.message, new RegExp(member, "i"));
		}
		assert.equal((await get("/keys/never")).status, 404);
	});
	test("bad names are 400, and the version segment is none of import's", async () => {
		for (const name of ["a_b", "a.b", "x".repeat(128)])
			assertError(await put(name, { key: good.oct }), 400, "BadParameter");
		assertError(await put(`kept/${"0".repeat(32)}`, { key: good.oct }), 405, "MethodNotAllowed");
	});
});

describe("transfer from another HSM (BYOK)", () => {
	let exchange, exchangePublic;
	before(async () => {
		exchange = await keys.createRsaKey("exchange", { hsm: true, keySize: 2048, keyOps: ["import"] });
		exchangePublic = publicOf(exchange.key);
	});

	const blobOf = (target, kid = exchange.id) => transferBlob(kid, transferCiphertext(exchangePublic, transferable(target)));
	const keyHsm = (blob) => Buffer.from(typeof blob === "string" ? blob : JSON.stringify(blob)).toString("base64");
	const transfer = (name, jwk, blob) => put(name, { key: { ...jwk, key_hsm: keyHsm(blob) } });

	test("the exchange key is RSA-HSM with the one operation import", () => {
		assert.equal(exchange.keyType, "RSA-HSM");
		assert.deepEqual(exchange.keyOperations, ["import"]);
	});
	for (const size of RSA_SIZES) {
		test(`an RSA key of ${size} bits arrives as RSA-HSM`, async () => {
			const { privateKey } = await rsaPair(size);
			const key = await keys.importKey(`byok-rsa-${size}`, { kty: "RSA-HSM", t: Buffer.from(JSON.stringify(blobOf(privateKey))) });
			assert.equal(key.keyType, "RSA-HSM");
			assertPublicHalf(key, jwkOf(privateKey));
			assert.equal(key.keyOperations.length, 6);
			await assertUsable(key, privateKey);
		});
	}
	for (const curve of Object.keys(CURVES)) {
		test(`a ${curve} key arrives as EC-HSM, its public point found`, async () => {
			for (let i = 0; i < 3; i++) {
				const { privateKey } = await ecPair(curve, { fresh: true });
				const jwk = { kty: "EC-HSM", crv: curve };
				const key = await keys.importKey(`byok-ec-${curve}`, { ...jwk, t: Buffer.from(JSON.stringify(blobOf(privateKey))) },
					{ tags: { i: String(i) } });
				assert.equal(key.keyType, "EC-HSM");
				assertPublicHalf(key, jwkOf(privateKey));
				assert.deepEqual(key.properties.tags, { i: String(i) });
				await assertUsable(key, privateKey);
			}
		});
	}
	for (const size of AES_SIZES) {
		test(`a secret of ${size} bits arrives as oct-HSM`, async () => {
			const secret = randomBytes(size / 8);
			const key = await keys.importKey(`byok-oct-${size}`, { kty: "oct-HSM", t: Buffer.from(JSON.stringify(blobOf(secret))) });
			assert.equal(key.keyType, "oct-HSM");
			assertPublicHalf(key, {});
			await assertUsable(key, secret);
		});
	}
	test("a secret for MACs arrives as oct-HSM that signs", async () => {
		const secret = randomBytes(64);
		const key = await keys.importKey("byok-mac", { kty: "oct-HSM", keyOps: ["sign", "verify"],
			t: Buffer.from(JSON.stringify(blobOf(secret))) });
		assert.deepEqual(Buffer.from((await remote(key).sign("HS512", secret)).result), macHere("HS512", secret, secret));
	});
	test("exchange keys of 3072 bits and an older version serve too; base64 and base64url are read", async () => {
		const old = exchange;
		await keys.rotateKey("exchange");
		const secret = randomBytes(32);
		for (const encoding of ["base64", "base64url"]) {
			const res = await put("byok-old", { key: { kty: "oct-HSM", key_hsm: Buffer.from(JSON.stringify(blobOf(secret,
				old.id))).toString(encoding) } });
			assert.equal(res.status, 200, res.text);
		}
		const larger = await keys.createRsaKey("exchange-3072", { hsm: true, keySize: 3072, keyOps: ["import"] });
		const { privateKey } = await rsaPair(4096);
		const res = await transfer("byok-large", { kty: "RSA-HSM" },
			transferBlob(larger.id, transferCiphertext(publicOf(larger.key), transferable(privateKey))));
		assert.equal(res.status, 200, res.text);
		assert.equal(res.json.key.n, jwkOf(privateKey).n);
	});
	test("blobs that are none are 400, and say what is wrong with them", async () => {
		const good = blobOf(randomBytes(32));
		for (const [what, blob, say] of [
			["no JSON", "{", null], ["empty", "", null], ["a list", "[]", null], ["a text", "\"x\"", null],
			["no schema_version", { ...good, schema_version: undefined }, "schema_version"],
			["schema_version 2", { ...good, schema_version: "2.0.0" }, "schema_version"],
			["schema_version a number", { ...good, schema_version: 1 }, "schema_version"],
			["no header", { ...good, header: undefined }, "header"], ["header a text", { ...good, header: "x" }, "header"],
			["no kid", { ...good, header: { ...good.header, kid: undefined } }, "kid"],
			["kid no URL", { ...good, header: { ...good.header, kid: "exchange" } }, "kid"],
			["kid a number", { ...good, header: { ...good.header, kid: 1 } }, "kid"],
			["kid of another vault", { ...good, header: { ...good.header, kid: exchange.id.replace("import.", "other.") } }, "kid"],
			["kid of another scheme", { ...good, header: { ...good.header, kid: exchange.id.replace("https:", "http:") } }, "kid"],
			["kid of a secret", { ...good, header: { ...good.header, kid: exchange.id.replace("/keys/", "/secrets/") } }, "kid"],
			["kid with more behind", { ...good, header: { ...good.header, kid: `${exchange.id}/x` } }, "kid"],
			["another alg", { ...good, header: { ...good.header, alg: "RSA-OAEP" } }, "alg"],
			["no alg", { ...good, header: { ...good.header, alg: undefined } }, "alg"],
			["another enc", { ...good, header: { ...good.header, enc: "RSA_AES_KEY_WRAP_256" } }, "enc"],
			["no enc", { ...good, header: { ...good.header, enc: undefined } }, "enc"],
			["no ciphertext", { ...good, ciphertext: undefined }, "ciphertext"], ["ciphertext empty", { ...good, ciphertext: "" }, "ciphertext"],
			["ciphertext no base64url", { ...good, ciphertext: "§" }, "ciphertext"],
			["ciphertext a number", { ...good, ciphertext: 5 }, "ciphertext"],
		]) {
			const res = await transfer("never", { kty: "oct-HSM" }, blob);
			assertError(res, 400, "BadParameter");
			if (say)
				assert.match(res.json.error.message, new RegExp(say), what);
		}
		for (const key of [{ kty: "oct-HSM", key_hsm: 5 }, { kty: "oct-HSM", key_hsm: "" }, { kty: "oct-HSM", key_hsm: "§§§" },
			{ kty: "oct-HSM", key_hsm: {} }])
			assertError(await put("never", { key }), 400, "BadParameter");
		assert.equal((await get("/keys/never")).status, 404);
	});
	test("what does not unwrap is refused with one and the same body", async () => {
		const good = transferCiphertext(exchangePublic, randomBytes(32));
		const foreign = await rsaPair(2048);
		const bodies = new Set();
		for (const bad of [flipped(good, 100), flipped(good, 2047), flipped(good, 2048), flipped(good, good.length * 8 - 1), good.subarray(0, -8),
			Buffer.concat([good, Buffer.alloc(8)]), transferCiphertext(foreign.publicKey, randomBytes(32)),
			transferCiphertext(exchangePublic, randomBytes(32), { oaepHash: "sha256" }), randomBytes(good.length)]) {
			const res = await transfer("never", { kty: "oct-HSM" }, transferBlob(exchange.id, bad));
			assertError(res, 400, "BadParameter");
			bodies.add(res.text);
		}
		assert.equal(bodies.size, 1, [...bodies].join("\n"));
		for (const bad of [good.subarray(0, 256), good.subarray(0, 100), good.subarray(0, -1), Buffer.alloc(1)])
			assertError(await transfer("never", { kty: "oct-HSM" }, transferBlob(exchange.id, bad)), 400, "BadParameter");
		assert.equal((await get("/keys/never")).status, 404);
		assert.equal((await d.health()).status, 200, "a caller's bad data is no outage");
	});
	test("material of another type, size or curve than said is refused after unwrapping", async () => {
		const rsa = (await rsaPair(2048)).privateKey;
		const ec = (await ecPair("P-256")).privateKey;
		const small = (await rsaPair(1024)).privateKey;
		const low = (await rsaPair(2048, { publicExponent: 3 })).privateKey;
		for (const [what, jwk, target] of [
			["EC as RSA", { kty: "RSA-HSM" }, ec], ["RSA as EC", { kty: "EC-HSM", crv: "P-256" }, rsa],
			["another curve", { kty: "EC-HSM", crv: "P-384" }, ec],
			["another curve of that size", { kty: "EC-HSM", crv: "P-256K" }, ec], ["a secret as RSA", { kty: "RSA-HSM" }, randomBytes(32)],
			["a secret as EC", { kty: "EC-HSM", crv: "P-256" }, randomBytes(32)], ["RSA as oct", { kty: "oct-HSM" }, rsa],
			["a secret of 15 bytes", { kty: "oct-HSM" }, randomBytes(15)],
			["a secret of 33 bytes", { kty: "oct-HSM" }, randomBytes(33)], ["RSA of 1024 bits", { kty: "RSA-HSM" }, small],
			["an exponent of 3", { kty: "RSA-HSM" }, low],
			["cut PKCS #8", { kty: "RSA-HSM" }, transferable(rsa).subarray(0, 600)], ["no crv", { kty: "EC-HSM" }, ec],
		]) {
			const res = await transfer("never", jwk, blobOf(target));
			assert.equal(res.status, 400, `${what}: ${res.text}`);
			assertError(res, 400, "BadParameter");
			assert.equal((await get("/keys/never")).status, 404, what);
		}
	});
	test("the target must be a type of the HSM, and not in clear beside it", async () => {
		const blob = blobOf(randomBytes(32));
		for (const kty of ["oct", "RSA", "EC"]) {
			const res = await transfer("byok-type", { kty, crv: kty === "EC" ? "P-256" : undefined }, blob);
			assertError(res, 400, "BadParameter");
		}
		assert.equal((await get("/keys/byok-type")).status, 404);
	});
	test("an exchange key that is unknown, disabled, deleted, or none, opens nothing", async () => {
		const secret = randomBytes(32);
		const unknown = exchange.id.replace(/[0-9a-f]{32}$/, "0".repeat(32));
		for (const kid of [unknown, exchange.id.replace("/exchange/", "/nothing/")])
			assertError(await transfer("never", { kty: "oct-HSM" }, blobOf(secret, kid)), 404, "KeyNotFound");
		const plain = await keys.createRsaKey("no-exchange", { hsm: true, keySize: 2048 });
		assertError(await transfer("never", { kty: "oct-HSM" }, transferBlob(plain.id, transferCiphertext(publicOf(plain.key), secret))), 403,
			"Forbidden",
			"KeyOperationForbidden");
		await keys.updateKeyProperties("exchange", exchange.properties.version, { enabled: false });
		assertError(await transfer("never", { kty: "oct-HSM" }, blobOf(secret)), 403, "Forbidden", "KeyDisabled");
		await keys.updateKeyProperties("exchange", exchange.properties.version, { enabled: true });
		await d.ok(vault, officer, "DELETE", "/keys/exchange");
		assertError(await transfer("never", { kty: "oct-HSM" }, blobOf(secret)), 404, "KeyNotFound");
		await d.ok(vault, officer, "POST", "/deletedkeys/exchange/recover");
		assert.equal((await transfer("byok-again", { kty: "oct-HSM" }, blobOf(secret))).status, 200);
		assert.equal((await get("/keys/never")).status, 404);
	});
	test("an exchange key of another vault opens nothing here", async () => {
		const other = await d.makeVault("elsewhere");
		const owner = await d.makePrincipal(other, "owner", ["crypto-officer"]);
		const theirs = await sdk(d, other, owner).keys.createRsaKey("exchange", { hsm: true, keySize: 2048, keyOps: ["import"] });
		const blob = transferBlob(theirs.id, transferCiphertext(publicOf(theirs.key), randomBytes(32)));
		assertError(await transfer("never", { kty: "oct-HSM" }, blob), 400, "BadParameter");
		assert.equal((await d.call(other, owner, "PUT", "/keys/mine", { key: { kty: "oct-HSM", key_hsm: keyHsm(blob) } })).status, 200);
	});
	test("an exchange key does nothing else, and stays one", async () => {
		const value = b64(randomBytes(32));
		for (const [op, body] of [["encrypt", { alg: "RSA-OAEP", value }], ["decrypt", { alg: "RSA-OAEP", value: b64(randomBytes(256)) }],
			["wrapkey", { alg: "RSA-OAEP", value }], ["unwrapkey", { alg: "RSA-OAEP", value: b64(randomBytes(256)) }],
			["sign", { alg: "RS256", value }],
			["verify", { alg: "RS256", digest: value, value: b64(randomBytes(256)) }]])
			assertError(await d.call(vault, officer, "POST", `/keys/exchange/${op}`, body), 403, "Forbidden", "KeyOperationForbidden");
		for (const keyOps of [["decrypt"], ["import", "unwrapKey"], ["sign"]])
			await assert.rejects(keys.updateKeyProperties("exchange", { keyOps }), refused(400, "BadParameter"));
		await keys.createRsaKey("plain-rsa", { hsm: true, keySize: 2048 });
		await assert.rejects(keys.updateKeyProperties("plain-rsa", { keyOps: ["import"] }), refused(400, "BadParameter"));
		for (const [kty, keyOps] of [["RSA", ["import"]], ["EC-HSM", ["import"]], ["oct-HSM", ["import"]], ["RSA-HSM", ["import", "decrypt"]]])
			await assert.rejects(keys.createKey("never", kty, { keyOps }), refused(400, "BadParameter"));
	});
});
