// Certificates instead of secrets (RFC 7523): the official ClientCertificateCredential, what is wrong with assertions that others make, and the claims challenge, which has
// a client come with a new token after the old ones were revoked.
import assert from "node:assert/strict";
import { X509Certificate, constants, createHash, createPrivateKey, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ClientCertificateCredential } from "@azure/identity";
import { KeyClient } from "@azure/keyvault-keys";
import { Daemon } from "../support/daemon.mjs";

const TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const RSA = ["-newkey", "rsa:2048"], P256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
let d, vault, app, other, certificates;

/** A self-signed certificate with its key. */
function makeCertificate(name, how, extra = ["-days", "30"]) {
	const file = (end) => path.join(d.dir, `${name}.${end}`);
	execFileSync("openssl", ["req", "-x509", "-nodes", ...how, ...extra, "-subj", `/CN=${name}`, "-keyout", file("key"), "-out", file("crt")], { stdio: "pipe" });
	const pem = fs.readFileSync(file("crt"), "utf8"), cert = new X509Certificate(pem);
	fs.writeFileSync(file("pem"), fs.readFileSync(file("key"), "utf8") + pem);
	return { pem, der: cert.raw, key: createPrivateKey(fs.readFileSync(file("key"))), file: file("pem") };
}

const digest = (name, bytes) => createHash(name).update(bytes).digest("base64url");
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const endpoint = () => `${d.origin}/${vault.tenant_id}/oauth2/v2.0/token`;

function signature(alg, text, key) {
	switch (alg) {
	case "PS256":
		return sign("sha256", text, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
	case "ES256":
		return sign("sha256", text, { key, dsaEncoding: "ieee-p1363" });
	default:
		return sign("sha256", text, key);
	}
}

/** @param changes  cert, alg, header, claims: members that are undefined are left out */
function assertion({ cert = certificates.rsa, alg = "PS256", header = {}, claims = {}, principal = app } = {}) {
	const now = Math.floor(Date.now() / 1000);
	const text = `${part({ alg, typ: "JWT", "x5t#S256": digest("sha256", cert.der), ...header })}.${part({ aud: endpoint(), iss: principal.client_id,
		sub: principal.client_id, exp: now + 600, nbf: now, jti: randomUUID(), ...claims })}`;
	return `${text}.${signature(alg, Buffer.from(text), cert.key).toString("base64url")}`;
}

const form = (text, changes = {}) => Object.fromEntries(Object.entries({ grant_type: "client_credentials", client_id: app.client_id, scope: `${d.origin}/.default`,
	client_assertion_type: TYPE, client_assertion: text, ...changes }).filter(([, v]) => v !== undefined));
const post = (text, changes) => d.tokenRequest(vault.tenant_id, form(text, changes));
const add = (principal, cert) => d.admin("POST", `/admin/v1/vaults/${vault.name}/principals/${principal.client_id}/credentials/certificates`,
	{ certificate: cert.pem, label: "test" });

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	app = await d.makePrincipal(vault, "app", ["crypto-officer"]);
	other = await d.makePrincipal(vault, "other");
	certificates = { rsa: makeCertificate("rsa", RSA), ec: makeCertificate("ec", P256), other: makeCertificate("other", RSA), stranger: makeCertificate("stranger", RSA) };
	for (const [principal, cert] of [[app, certificates.rsa], [app, certificates.ec], [other, certificates.other]]) {
		const res = await add(principal, cert);
		assert.ok(res.status < 300, res.text);
	}
});
after(() => d?.destroy());

describe("the official credential", () => {
	for (const sendCertificateChain of [false, true]) {
		test(`gets a token with a certificate${sendCertificateChain ? " and its chain" : ""}, and uses a key`, async () => {
			const credential = new ClientCertificateCredential(vault.tenant_id, app.client_id, { certificatePath: certificates.rsa.file },
				{ authorityHost: d.origin, disableInstanceDiscovery: true, sendCertificateChain });
			const keys = new KeyClient(vault.origin, credential);
			assert.equal((await keys.createKey(`by-certificate-${sendCertificateChain}`, "EC")).keyType, "EC");
		});
	}
	test("comes with a new token by itself when the old ones are revoked", async () => {
		const credential = new ClientCertificateCredential(vault.tenant_id, app.client_id, { certificatePath: certificates.rsa.file },
			{ authorityHost: d.origin, disableInstanceDiscovery: true });
		const keys = new KeyClient(vault.origin, credential, { retryOptions: { maxRetries: 0 } });
		await keys.createKey("revoked", "EC");
		const old = await credential.getToken(`${d.origin}/.default`);
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${app.client_id}/revoke-tokens`);
		const refused = await d.call(vault, null, "GET", "/keys", undefined, { token: old.token });
		assert.equal(refused.status, 401, refused.text);
		const match = /^Bearer realm="", authorization_uri="https:\/\/[^"]+", error="insufficient_claims", claims="([A-Za-z0-9+/]+)"$/
			.exec(refused.headers["www-authenticate"]);
		assert.ok(match, refused.headers["www-authenticate"]);
		const claims = JSON.parse(Buffer.from(match[1], "base64"));
		assert.equal(claims.access_token.nbf.essential, true);
		assert.ok(Math.abs(Number(claims.access_token.nbf.value) - Date.now() / 1000) < 60);
		assert.equal((await keys.getKey("revoked")).name, "revoked");
		assert.equal((await keys.getKey("revoked")).name, "revoked");
	});
	test("whose certificate is not registered is told invalid_client", async () => {
		const credential = new ClientCertificateCredential(vault.tenant_id, app.client_id, { certificatePath: certificates.stranger.file },
			{ authorityHost: d.origin, disableInstanceDiscovery: true });
		await assert.rejects(credential.getToken(`${d.origin}/.default`), /invalid_client/);
	});
});

describe("an assertion", () => {
	const now = () => Math.floor(Date.now() / 1000);
	const good = {
		"PS256": () => assertion(), "RS256": () => assertion({ alg: "RS256" }), "ES256": () => assertion({ alg: "ES256", cert: certificates.ec }),
		"found by SHA-1": () => assertion({ header: { "x5t#S256": undefined, x5t: digest("sha1", certificates.rsa.der) } }),
		"of the AD FS endpoint": () => assertion({ claims: { aud: `${d.origin}/adfs/oauth2/token` } }),
		"with a list of audiences": () => assertion({ claims: { aud: ["https://other.test", endpoint()] } }),
	};
	for (const [what, make] of Object.entries(good)) {
		test(`${what} is accepted`, async () => {
			const res = await post(make());
			assert.equal(res.status, 200, res.text);
			assert.equal((await d.call(vault, null, "GET", "/keys", undefined, { token: res.json.access_token })).status, 200);
		});
	}
	const bad = {
		"of somebody else's certificate": () => assertion({ cert: certificates.other }),
		"of an unknown certificate": () => assertion({ cert: certificates.stranger }),
		"that names our certificate and is signed by another key": () => assertion({ cert: { ...certificates.stranger, der: certificates.rsa.der } }),
		"that names no certificate": () => assertion({ header: { "x5t#S256": undefined } }),
		"that names two": () => assertion({ header: { x5t: digest("sha1", certificates.ec.der) } }),
		"with a chain that begins with another": () => assertion({ header: { x5c: [certificates.stranger.der.toString("base64")] } }),
		"with an empty chain": () => assertion({ header: { x5c: [] } }),
		"with a key of its own": () => assertion({ header: { jwk: generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" }) } }),
		"with a URL of keys": () => assertion({ header: { jku: "https://evil.test" } }),
		"of another algorithm than its key's": () => assertion({ header: { alg: "ES256" } }),
		"without algorithm": () => assertion({ header: { alg: "none" } }),
		"of a symmetric algorithm": () => assertion({ header: { alg: "HS256" } }),
		"of another type": () => assertion({ header: { typ: "at+jwt" } }),
		"issued by somebody else": () => assertion({ claims: { iss: other.client_id } }),
		"about somebody else": () => assertion({ claims: { sub: other.client_id } }),
		"for somebody else": () => assertion({ claims: { aud: "https://login.microsoftonline.com/t/oauth2/v2.0/token" } }),
		"for the vault": () => assertion({ claims: { aud: d.origin } }),
		"for no one": () => assertion({ claims: { aud: undefined } }),
		"that has ended": () => assertion({ claims: { exp: now() - 61 } }),
		"that lasts too long": () => assertion({ claims: { exp: now() + 700 } }),
		"without end": () => assertion({ claims: { exp: undefined } }),
		"whose end is a text": () => assertion({ claims: { exp: String(now() + 300) } }),
		"that begins later": () => assertion({ claims: { nbf: now() + 120 } }),
		"without a name of its own": () => assertion({ claims: { jti: undefined } }),
		"with too long a name": () => assertion({ claims: { jti: "x".repeat(257) } }),
		"cut": () => assertion().slice(0, -3), "empty": () => "", "two parts": () => assertion().split(".").slice(0, 2).join("."),
	};
	for (const [what, make] of Object.entries(bad)) {
		test(`${what} is refused`, async () => {
			const text = make(), res = await post(text);
			assert.equal(res.status, 401, res.text);
			assert.equal(res.json.error, "invalid_client");
			assert.equal(res.headers["cache-control"], "no-store");
			assert.ok(text === "" || !res.text.includes(text));
		});
	}
	test("of an unknown client, or in another directory, looks like one of an unknown certificate", async () => {
		const body = ({ json: { trace_id: _trace, ...rest } }) => rest;
		const unknown = body(await post(assertion({ cert: certificates.stranger })));
		const client = "00000000-0000-4000-8000-000000000001";
		assert.deepEqual(body(await post(assertion({ principal: { client_id: client } }), { client_id: client })), unknown);
		assert.deepEqual(body(await d.tokenRequest("00000000-0000-4000-8000-000000000000", form(assertion()))), unknown);
		assert.deepEqual(body(await post(assertion({ principal: other, cert: certificates.rsa }), { client_id: other.client_id })), unknown);
	});
	test("beside a secret, of another type, or without a type is a malformed request", async () => {
		for (const changes of [{ client_secret: app.secret }, { client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" },
			{ client_assertion_type: undefined }]) {
			const res = await post(assertion(), changes);
			assert.equal(res.status, 400, res.text);
			assert.equal(res.json.error, "invalid_request");
		}
	});
	test("can be sent again by its client, as the official ones do, but not without end", async () => {
		const text = assertion();
		const results = [];
		for (let i = 0; i < 20; i++)
			results.push((await post(text)).status);
		assert.deepEqual(results, [...Array(16).fill(200), ...Array(4).fill(401)]);
	});
	test("of a certificate that was removed is refused", async () => {
		const cert = makeCertificate("removed", P256);
		const made = await add(other, cert);
		assert.ok(made.status < 300, made.text);
		const mine = () => assertion({ principal: other, cert, alg: "ES256" });
		assert.equal((await post(mine(), { client_id: other.client_id })).status, 200);
		await d.adminOk("DELETE", `/admin/v1/vaults/${vault.name}/principals/${other.client_id}/credentials/${made.json.id}`);
		assert.equal((await post(mine(), { client_id: other.client_id })).status, 401);
	});
	test("of a principal that was disabled is refused", async () => {
		const mine = () => assertion({ principal: other, cert: certificates.other });
		assert.equal((await post(mine(), { client_id: other.client_id })).status, 200);
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${other.client_id}/disable`);
		assert.equal((await post(mine(), { client_id: other.client_id })).status, 401);
	});
});
