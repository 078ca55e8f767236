// Each credential of @azure/identity that an application may have, against the daemon: gets a token, uses a key, is replaced without a gap, and is worth nothing once it was
// taken away. Clients in use notice a revocation only by fetching a new token, which they do by themselves.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { certificateSdk, managedSdk, refused, sdk } from "../sdk/clients.mjs";
import { makeSelfSigned } from "../support/certs.mjs";
import { Daemon, until } from "../support/daemon.mjs";

const OAEP = "RSA-OAEP-256";
const PLAIN = Buffer.from("0123456789abcdef0123456789abcdef");
const REFUSED = /invalid_client|AADSTS|unauthorized|401/i;
let d, vault, officer, managed, header; // one managed identity: the official client reads its environment once

before(async () => {
	d = await Daemon.start({ identity: {} });
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "RSA" });
	managed = await d.makePrincipal(vault, "managed-app", ["crypto-user"]);
	header = await d.addHeaderSecret(vault, managed);
});
after(() => d?.destroy());

const at = (who) => `/admin/v1/vaults/${vault.name}/principals/${who.client_id}`;

/** The whole way: a token, the key, wrapped and unwrapped. */
async function assertUses(clients) {
	const crypto = clients.crypto((await clients.keys.getKey("k")).id);
	const { result } = await crypto.wrapKey(OAEP, PLAIN);
	assert.deepEqual(Buffer.from((await crypto.unwrapKey(OAEP, result)).result), PLAIN);
}

const assertNoToken = (clients) => assert.rejects(clients.credential.getToken(`${d.origin}/.default`), REFUSED);

describe("ClientSecretCredential", () => {
	let app;
	const addSecret = async (days = 30) => (await d.adminOk("POST", `${at(app)}/credentials/secrets`, { kind: "secret", days, label: "next" })).json;
	const withSecret = (secret) => sdk(d, vault, { ...app, secret });

	before(async () => {
		app = await d.makePrincipal(vault, "secret-app", ["crypto-user"]);
	});

	test("gets a token and uses a key", () => assertUses(withSecret(app.secret)));

	test("its secret is replaced by another without a moment in which none works", async () => {
		const { value: [first] } = (await d.adminOk("GET", `${at(app)}/credentials`)).json;
		let isDone = false;
		let tries = 0;
		let current = app.secret;
		const caller = (async () => {
			while (!isDone) {
				const secret = current;
				await d.token({ ...app, secret }, { fresh: true }); // fails the test unless it is answered with one
				tries++;
			}
		})();
		const next = await addSecret();
		await assertUses(withSecret(app.secret));
		await assertUses(withSecret(next.secret));
		const third = await d.admin("POST", `${at(app)}/credentials/secrets`, { kind: "secret", days: 30 });
		assert.equal(third.status, 409, third.text); // two at once, and no more
		current = next.secret;
		const seen = tries;
		await until("the caller uses the new secret", () => tries > seen + 2);
		await d.adminOk("DELETE", `${at(app)}/credentials/${first.id}`);
		const after_ = tries;
		await until("the caller goes on", () => tries > after_ + 2);
		isDone = true;
		await caller;
		await assertNoToken(withSecret(app.secret));
		app = { ...app, secret: next.secret };
		await assertUses(withSecret(app.secret));
	});

	test("what is listed of a secret is not the secret", async () => {
		const { text } = await d.adminOk("GET", `${at(app)}/credentials`);
		assert.ok(!text.includes(app.secret));
		assert.doesNotMatch(text, /"(secret|hash)":/);
	});

	test("a wrong one, another's, and that of another kind get no token", async () => {
		const { secret } = await d.addHeaderSecret(vault, app);
		for (const wrong of ["guess", `${app.secret}x`, app.secret.slice(0, -1), officer.secret, secret])
			await assertNoToken(withSecret(wrong));
	});
});

describe("ClientCertificateCredential", () => {
	let app, current;
	const add = async (made) => (await d.adminOk("POST", `${at(app)}/credentials/certificates`, { certificate: fs.readFileSync(made.cert, "utf8") })).json;

	before(async () => {
		app = await d.makePrincipal(vault, "certificate-app", ["crypto-user"]);
		current = makeSelfSigned(d.dir, "certificate-app");
		current.id = (await add(current)).id;
	});

	test("gets a token and uses a key, without a secret of this server's", () => assertUses(certificateSdk(d, vault, app, current.pem)));

	test("two are good at once; one that was removed is not, at once", async () => {
		const next = makeSelfSigned(d.dir, "certificate-next");
		await assertNoToken(certificateSdk(d, vault, app, next.pem));
		next.id = (await add(next)).id;
		await assertUses(certificateSdk(d, vault, app, next.pem));
		await assertUses(certificateSdk(d, vault, app, current.pem));
		await d.adminOk("DELETE", `${at(app)}/credentials/${current.id}`);
		await assertNoToken(certificateSdk(d, vault, app, current.pem));
		await assertUses(certificateSdk(d, vault, app, next.pem));
		current = next;
	});

	test("another's certificate, and another's key under this one's certificate, get no token", async () => {
		const stranger = makeSelfSigned(d.dir, "certificate-stranger");
		await assertNoToken(certificateSdk(d, vault, app, stranger.pem));
		await assertNoToken(certificateSdk(d, vault, app, fs.readFileSync(current.cert, "utf8") + fs.readFileSync(stranger.key, "utf8")));
		await assertNoToken(certificateSdk(d, vault, officer, current.pem));
	});

	test("one whose end has passed cannot be added", async () => {
		const res = await d.admin("POST", `${at(app)}/credentials/certificates`, { certificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" });
		assert.equal(res.status, 400, res.text);
	});

	test("a private key that came along is refused, not kept", async () => {
		const res = await d.admin("POST", `${at(app)}/credentials/certificates`, { certificate: makeSelfSigned(d.dir, "with-key").pem });
		assert.equal(res.status, 400, res.text);
	});
});

/** What a service manager sets for the one that it starts. */
async function asService(use) {
	Object.assign(process.env, { IDENTITY_ENDPOINT: `http://127.0.0.1:${d.identityPort}/msi/token`, IDENTITY_HEADER: header.secret });
	try {
		return await use(managedSdk(vault));
	} finally {
		delete process.env.IDENTITY_ENDPOINT;
		delete process.env.IDENTITY_HEADER;
	}
}

test("ManagedIdentityCredential gets a token and uses a key", () => asService(assertUses));

describe("all tokens of a principal are revoked while its client is in use", () => {
	const WAYS = {
		"a secret": async (go) => {
			const app = await d.makePrincipal(vault, "revoked-secret", ["crypto-user"]);
			return go(app, sdk(d, vault, app));
		},
		"a certificate": async (go) => {
			const app = await d.makePrincipal(vault, "revoked-certificate", ["crypto-user"]);
			const made = makeSelfSigned(d.dir, "revoked-certificate");
			await d.adminOk("POST", `${at(app)}/credentials/certificates`, { certificate: fs.readFileSync(made.cert, "utf8") });
			return go(app, certificateSdk(d, vault, app, made.pem));
		},
	};
	for (const [what, as] of Object.entries(WAYS))
		test(`with ${what}: it fetches a new one by itself and goes on; the old one is refused`, () => as(assertGoesOn));

	async function assertGoesOn(app, clients) {
		await assertUses(clients);
		const { token: old } = await clients.credential.getToken(`${d.origin}/.default`);
		const crypto = clients.crypto((await clients.keys.getKey("k")).id);
		await crypto.encrypt({ algorithm: OAEP, plaintext: PLAIN });
		for (let round = 0; round < 3; round++) {
			const from = await d.logSize();
			await d.adminOk("POST", `${at(app)}/revoke-tokens`);
			const { result } = await crypto.wrapKey(OAEP, PLAIN);
			assert.deepEqual(Buffer.from((await crypto.unwrapKey(OAEP, result)).result), PLAIN);
			assert.equal((await clients.keys.getKey("k")).name, "k");
			const logins = (await d.entries(from)).filter(({ leaf }) => leaf.type === "authz.login" && leaf.result === "ok");
			assert.ok(logins.length >= 1, "a new token was fetched");
			const stale = await d.call(vault, null, "GET", "/keys/k", undefined, { token: old });
			assert.equal(stale.status, 401);
			assert.match(stale.headers["www-authenticate"], /error="insufficient_claims", claims="/);
		}
	}

	test("the challenge says from when on tokens count, in the form of the continuous-access protocol", async () => {
		const app = await d.makePrincipal(vault, "challenged", ["reader"]);
		const token = await d.token(app);
		const began = Math.floor(Date.now() / 1000);
		await d.adminOk("POST", `${at(app)}/revoke-tokens`);
		const res = await d.call(vault, null, "GET", "/keys", undefined, { token });
		assert.equal(res.status, 401);
		const [, claims] = /claims="([^"]+)"/.exec(res.headers["www-authenticate"]);
		const { nbf } = JSON.parse(Buffer.from(claims, "base64")).access_token;
		assert.equal(nbf.essential, true);
		assert.ok(Number(nbf.value) > began && Number(nbf.value) <= began + 3, nbf.value);
		const fresh = await d.token(app, { fresh: true }); // at once: no second in which none is good enough
		assert.equal((await d.call(vault, null, "GET", "/keys", undefined, { token: fresh })).status, 200);
	});

	test("disabled: no challenge for a new token, no new token, and the client fails", async () => {
		const app = await d.makePrincipal(vault, "disabled", ["crypto-user"]);
		const clients = sdk(d, vault, app);
		await assertUses(clients);
		const crypto = clients.crypto((await clients.keys.getKey("k")).id);
		const { result } = await crypto.wrapKey(OAEP, PLAIN);
		const token = await d.token(app);
		await d.adminOk("POST", `${at(app)}/disable`);
		await assert.rejects(crypto.unwrapKey(OAEP, result), refused(401));
		const res = await d.call(vault, null, "GET", "/keys/k", undefined, { token });
		assert.equal(res.status, 401);
		assert.doesNotMatch(res.headers["www-authenticate"], /claims=/);
		await assertNoToken(sdk(d, vault, app));
		await d.adminOk("POST", `${at(app)}/enable`);
		assert.deepEqual(Buffer.from((await crypto.unwrapKey(OAEP, result)).result), PLAIN);
	});

	test("a login under way when the tokens are revoked gives no token that outlives it", async () => {
		const app = await d.makePrincipal(vault, "racing", ["reader"]);
		const tokens = [];
		let isDone = false;
		const callers = Array.from({ length: 4 }, async () => {
			while (!isDone)
				tokens.push({ begun: performance.now(), token: await d.token(app, { fresh: true }), ended: performance.now() });
		});
		await sleep(200);
		await d.adminOk("POST", `${at(app)}/revoke-tokens`);
		const revoked = performance.now();
		await sleep(200);
		isDone = true;
		await Promise.all(callers);
		const status = async ({ token }) => (await d.call(vault, null, "GET", "/keys", undefined, { token })).status;
		const before_ = tokens.filter((t) => t.ended < revoked - 50);
		const after_ = tokens.filter((t) => t.begun > revoked);
		assert.ok(before_.length > 0 && after_.length > 0);
		for (const t of before_.slice(-20))
			assert.equal(await status(t), 401);
		for (const t of after_.slice(0, 20))
			assert.equal(await status(t), 200);
	});
});

test("a managed identity, whose official client (4.14.1) does not pass the challenge on: refused until it asks again; what it is given then is good", async () => {
	await asService(assertUses);
	await d.adminOk("POST", `${at(managed)}/revoke-tokens`);
	await asService((clients) => assert.rejects(clients.keys.getKey("k"), refused(401)));
	const res = await fetch(`http://127.0.0.1:${d.identityPort}/msi/token?api-version=2019-08-01&resource=${encodeURIComponent(d.origin)}`,
		{ headers: { "x-identity-header": header.secret } });
	const { access_token: token } = await res.json();
	assert.equal((await d.call(vault, null, "GET", "/keys/k", undefined, { token })).status, 200);
	await d.adminOk("DELETE", `${at(managed)}/credentials/${header.id}`);
	await asService((clients) => assert.rejects(clients.keys.getKey("k")));
});
