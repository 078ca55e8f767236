// Key attestation: statements about a key, signed by the installation (docs/attestation.md), opened with Node.js' own cryptography.
import assert from "node:assert/strict";
import { X509Certificate, createHash, verify } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { CURVES, b64, unb64 } from "../support/keys.mjs";
import { refused, sdk } from "./clients.mjs";

let d, vault, officer, keys;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("attestation");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys } = sdk(d, vault, officer));
});
after(() => d?.destroy());

describe("getKeyAttestation", () => {
	let certificate;

	/** The payload of a statement, once its signature is found good. */
	function openStatement(text) {
		const [head, payload, signature] = text.split(".");
		assert.equal(text.split(".").length, 3);
		const header = JSON.parse(unb64(head));
		assert.equal(header.alg, "ES256");
		const key = { key: certificate.publicKey, dsaEncoding: "ieee-p1363" };
		assert.ok(verify("sha256", Buffer.from(`${head}.${payload}`), key, unb64(signature)),
			"the statement's signature is not the certificate's");
		assert.ok(!verify("sha256", Buffer.from(`${head}.${payload}x`), key, unb64(signature)));
		return { header, payload: JSON.parse(unb64(payload)) };
	}

	for (const [kty, options] of [
		["RSA", {}], ["RSA-HSM", {}], ["RSA-HSM", { keyOps: ["import"] }], ["oct-HSM", {}], ["oct", {}],
		["oct-HSM", { keySize: 512, keyOps: ["sign", "verify"] }],
		...Object.keys(CURVES).flatMap((curve) => [["EC", { curve }], ["EC-HSM", { curve }]]),
	]) {
		test(`${kty} ${JSON.stringify(options)}: two statements under the installation's certificate, about this key`, async () => {
			const name = `att-${kty}-${options.curve ?? options.keyOps?.[0] ?? "x"}`;
			const made = await keys.createKey(name, kty, options);
			const got = await keys.getKeyAttestation(name, { version: made.properties.version });
			assert.equal(got.id, made.id);
			assert.deepEqual(got.key, made.key);
			const { attestation } = got.properties;
			assert.ok(attestation.version);
			const pem = Buffer.from(attestation.certificatePemFile).toString();
			certificate = new X509Certificate(pem);
			assert.ok(certificate.verify(certificate.publicKey), "self-signed");
			assert.equal(certificate.ca, false);
			assert.equal(certificate.publicKey.asymmetricKeyDetails.namedCurve, "prime256v1");
			const pub = openStatement(Buffer.from(attestation.publicKeyAttestation).toString());
			const priv = openStatement(Buffer.from(attestation.privateKeyAttestation).toString());
			for (const { payload, header } of [pub, priv]) {
				assert.ok(header.kid);
				assert.equal(payload.kid, made.id);
			}
			assert.notDeepEqual(pub.payload, priv.payload);
			const shown = { kty, crv: made.key.crv, ...Object.fromEntries(["n", "e", "x", "y"].map((m) => [m, made.key[m] && b64(made.key[m])])) };
			for (const [member, value] of Object.entries(shown))
				assert.equal(pub.payload.key[member], value, member);
			const resident = kty.endsWith("-HSM");
			assert.equal(priv.payload.storage, resident ? "hsm-object" : "wrapped-under-root");
			for (const { attributes } of [priv.payload.object, priv.payload.root].filter(Boolean)) {
				assert.equal(attributes.sensitive, true);
				assert.equal(attributes.extractable, false);
			}
			assert.equal(priv.payload.object.attributes.token, resident);
			assert.equal(priv.payload.root === undefined, resident);
			const everything = JSON.stringify([pub.payload, priv.payload]);
			for (const secret of ["d", "p", "q", "dp", "dq", "qi", "k"])
				assert.ok(!everything.includes(`"${secret}":`), secret);
			assert.match(everything, /"size":\d+/, "the log's position");
		});
	}
	test("is the same certificate for all keys and vaults, and after a restart", async () => {
		const print = async (where, who, name) => {
			const { key } = await d.ok(where, who, "GET", `/keys/${name}`);
			const { attributes } = await d.ok(where, who, "GET", `/keys/${name}/${key.kid.split("/").pop()}/attestation`, undefined,
				{ apiVersion: "7.6" });
			const { publicKey } = new X509Certificate(unb64(attributes.attestation.certificatePemFile));
			return createHash("sha256").update(publicKey.export({ format: "der", type: "spki" })).digest("hex");
		};
		const other = await d.makeVault("other");
		const owner = await d.makePrincipal(other, "owner", ["crypto-officer"]);
		await d.ok(other, owner, "POST", "/keys/k/create", { kty: "EC" });
		const prints = [await print(vault, officer, "att-EC-P-256"), await print(other, owner, "k")];
		await d.stop();
		await d.restart();
		prints.push(await print(vault, officer, "att-RSA-x"));
		assert.equal(new Set(prints).size, 1);
	});
	test("of a disabled version it is given; of an unknown key or version it is 404", async () => {
		const made = await keys.createEcKey("att-off", { curve: "P-256", enabled: false });
		assert.ok((await keys.getKeyAttestation("att-off", { version: made.properties.version })).properties.attestation);
		await assert.rejects(keys.getKeyAttestation("att-off", { version: "0".repeat(32) }), refused(404, "KeyNotFound"));
		await assert.rejects(keys.getKeyAttestation("nothing", { version: "0".repeat(32) }), refused(404, "KeyNotFound"));
		assert.equal((await keys.getKey("att-off")).properties.attestation, undefined, "an ordinary get has none");
	});
});
