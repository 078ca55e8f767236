// A token from a real OpenID Connect provider, a key from here: callers that this server never gave a secret, known by the provider's word within the limits of the configuration.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { clientsOf, refused } from "../sdk/clients.mjs";
import { OidcProvider } from "../oidc/provider.mjs";
import { assertError } from "../support/asserts.mjs";
import { Daemon, authority, until } from "../support/daemon.mjs";
import { decodePart } from "../support/issuer.mjs";

const OAEP = "RSA-OAEP-256";
const PLAIN = Buffer.from("0123456789abcdef0123456789abcdef");
const LEARN_MS = 15_000; // an unknown kid has the keys read again at most every ten seconds
let d, dir, provider, vault, officer, app, other;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-oidc-"));
	provider = await OidcProvider.start(authority(dir), dir, { audience: "https://kms.example", clients: ["app", "stranger", "grouped"] });
	d = await Daemon.start({ issuers: [provider.config("partner", { audience: ["https://kms.example"], refresh_s: 3600 })] });
	vault = await d.makeVault("orders");
	other = await d.makeVault("payroll");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	app = await d.makePrincipal(vault, "app");
	await d.addIdentity(vault, app, "partner", "app");
	await d.grant(vault, app, "crypto-user");
	await d.adminOk("PATCH", `/admin/v1/vaults/${vault.name}`, { issuer: "partner" });
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "RSA" });
});
after(async () => {
	await provider?.stop();
	await d?.destroy();
	if (dir)
		fs.rmSync(dir, { recursive: true, force: true });
});

const bearer = async (client, options) => (await provider.token(client, options)).access_token;
const get = (token, at = vault, keyPath = "/keys/k") => d.call(at, null, "GET", keyPath, undefined, { token });

/** What a program of the partner's would have: a credential that asks its own provider. */
function credentialOf(client) {
	return { asked: [], async getToken(scopes, options) {
		this.asked.push({ scopes, options });
		const { access_token: token, expires_in: life } = await provider.token(client);
		return { token, expiresOnTimestamp: Date.now() + life * 1000 };
	} };
}

test("its token is what it should be, and nothing of this server's", async () => {
	const [head, body] = (await bearer("app")).split(".");
	assert.equal(decodePart(head).alg, "RS256");
	assert.equal(decodePart(body).iss, provider.issuer);
	assert.equal(decodePart(body).sub, "app");
	assert.equal(decodePart(body).aud, "https://kms.example");
});

test("the official client, with a credential of the provider's, wraps and unwraps; the log names the principal", async () => {
	const credential = credentialOf("app");
	const partner = clientsOf(vault, credential);
	const crypto = partner.crypto((await partner.keys.getKey("k")).id);
	const from = await d.logSize();
	const { result } = await crypto.wrapKey(OAEP, PLAIN);
	const unwrapped = await crypto.unwrapKey(OAEP, result);
	assert.deepEqual(Buffer.from(unwrapped.result), PLAIN);
	assert.deepEqual(credential.asked[0].scopes, [`${d.origin}/.default`]);
	const { leaf } = (await d.entries(from)).find((e) => e.leaf.type === "key.unwrap");
	assert.equal(leaf.result, "ok");
	assert.equal(leaf.actor.kind, "app");
	assert.equal(leaf.tenant, vault.id);
});

test("the challenge of a vault that has an issuer names its authority", async () => {
	const res = await d.call(vault, null, "GET", "/keys");
	assertError(res, 401, "Unauthorized");
	assert.ok(res.headers["www-authenticate"].includes(`authorization="${provider.issuer}"`), res.headers["www-authenticate"]);
	const elsewhere = await d.call(other, null, "GET", "/keys");
	assert.ok(elsewhere.headers["www-authenticate"].includes(`authorization="${d.origin}/${other.tenant_id}"`), elsewhere.headers["www-authenticate"]);
});

describe("refused", () => {
	test("whom the vault does not know, and who is known in another vault only", async () => {
		assertError(await get(await bearer("stranger")), 401, "Unauthorized");
		assertError(await get(await bearer("app"), other, "/keys"), 401, "Unauthorized");
	});
	test("a token of the same provider for another audience, this server's own name too", async () => {
		for (const resource of ["https://vault.azure.net", d.origin, "https://kms.example.evil", "https://kms.example/other"])
			assertError(await get(await bearer("app", { resource })), 401, "Unauthorized");
		assert.equal((await get(await bearer("app"))).status, 200);
	});
	test("what its roles do not hold", async () => {
		const res = await d.call(vault, null, "POST", "/keys/new/create", { kty: "oct-HSM" }, { token: await bearer("app") });
		assertError(res, 403, "Forbidden", "ForbiddenByRbac");
		assert.match(res.json.error.message, /keys\/create\/action/);
	});
	test("an issuer that the configuration does not name cannot become somebody's", async () => {
		const res = await d.admin("POST", `/admin/v1/vaults/${vault.name}/principals/${app.client_id}/credentials/identities`, { issuer: "nobody", subject: "app" });
		assert.equal(res.status, 400, res.text);
	});
	test("a principal that was disabled, or whose identity was taken away, with a token that the provider still vouches for", async () => {
		const leaver = await d.makePrincipal(vault, "leaver", ["reader"]);
		const identity = await d.addIdentity(vault, leaver, "partner", "stranger");
		const token = await bearer("stranger");
		const at = `/admin/v1/vaults/${vault.name}/principals/${leaver.client_id}`;
		assert.equal((await get(token)).status, 200);
		await d.adminOk("POST", `${at}/disable`);
		assertError(await get(token), 401, "Unauthorized");
		await d.adminOk("POST", `${at}/enable`);
		assert.equal((await get(token)).status, 200);
		await d.adminOk("DELETE", `${at}/credentials/${identity.id}`);
		assertError(await get(token), 401, "Unauthorized");
	});
	test("tokens of before a revocation, with the challenge for a new one; a token of afterwards counts", async () => {
		const token = await bearer("app");
		assert.equal((await get(token)).status, 200);
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${app.client_id}/revoke-tokens`);
		const res = await get(token);
		assertError(res, 401, "Unauthorized");
		assert.match(res.headers["www-authenticate"], /error="insufficient_claims", claims="[A-Za-z0-9+/]+"/);
		await until("a token of the provider's is new enough", async () => (await get(await bearer("app"))).status === 200, 5000);
		assertError(await get(token), 401, "Unauthorized");
	});
});

describe("a group of the provider's", () => {
	let team, grouped;
	const withGroups = (...groups) => bearer("grouped", { groups });
	const wrap = (token) => d.call(vault, null, "POST", "/keys/k/wrapkey", { alg: OAEP, value: PLAIN.toString("base64url") }, { token });

	before(async () => {
		team = await d.makeGroup(vault, "payments");
		await d.grant(vault, team, "crypto-service-encryption-user");
		await d.addIdentity(vault, team, "partner", "group:payments-team");
		grouped = await d.makePrincipal(vault, "grouped");
		await d.addIdentity(vault, grouped, "partner", "grouped");
	});

	test("gives its role to whoever's token names it, as long as it does", async () => {
		assertError(await wrap(await withGroups()), 403, "Forbidden", "ForbiddenByRbac");
		assertError(await wrap(await withGroups("Payments-Team", "payments-team ", "payments", "role:payments-team")), 403, "Forbidden", "ForbiddenByRbac");
		const token = await withGroups("somebody", "payments-team");
		assert.equal((await wrap(token)).status, 200);
		assertError(await wrap(await withGroups("somebody")), 403, "Forbidden", "ForbiddenByRbac");
	});
	test("gives nothing in another vault, to another issuer's, or to a stranger", async () => {
		const theirs = await d.makeGroup(other, "payments");
		await d.grant(other, theirs, "crypto-service-encryption-user");
		assertError(await get(await withGroups("payments-team"), other, "/keys"), 401, "Unauthorized");
		assertError(await get(await bearer("stranger", { groups: ["payments-team"] })), 401, "Unauthorized");
	});
	test("ends at once for tokens that name it, when its role or its identity is taken away", async () => {
		const token = await withGroups("payments-team");
		assert.equal((await wrap(token)).status, 200);
		await d.remove(vault, team, "crypto-service-encryption-user");
		assertError(await wrap(token), 403, "Forbidden", "ForbiddenByRbac");
		await d.grant(vault, team, "crypto-service-encryption-user");
		assert.equal((await wrap(token)).status, 200);
		const at = `/admin/v1/vaults/${vault.name}/principals/${team.id}/credentials`;
		const [identity] = (await d.adminOk("GET", at)).json.value;
		await d.adminOk("DELETE", `${at}/${identity.id}`);
		assertError(await wrap(token), 403, "Forbidden", "ForbiddenByRbac");
		await d.addIdentity(vault, team, "partner", "group:payments-team");
		assert.equal((await wrap(token)).status, 200);
	});
	test("its tokens approve nothing: who approves is decided here", async () => {
		const approvers = await d.makeGroup(vault, "approvers");
		await d.makePrincipal(vault, "founder", ["approver"]);
		await d.grant(vault, approvers, "approver");
		await d.addIdentity(vault, approvers, "partner", "group:approvers");
		const asked = await d.admin("POST", `/admin/v1/vaults/${vault.name}/shred`, { confirm: vault.name, reason: "test" });
		const vote = await d.vote(vault, null, asked.json.error.innererror.approval, "approve", { token: await withGroups("approvers") });
		assert.equal(vote.status, 403, vote.text);
	});
});

describe("the provider's keys", () => {
	test("are read again when a token names a new one, and not for every token that does", async () => {
		const before_ = provider.fetches;
		const old = await bearer("app");
		assert.equal((await get(old)).status, 200);
		provider.rotate();
		const token = await bearer("app");
		await until("the new key is known", async () => {
			const res = await get(token);
			assert.ok([200, 401, 503].includes(res.status), res.text);
			return res.status === 200;
		}, LEARN_MS);
		assert.ok(provider.fetches - before_ <= 3, `read ${provider.fetches - before_} times`);
		assertError(await get(old), 401, "Unauthorized"); // withdrawn: what it signed is worth nothing, though it was accepted before
	});
	test("of which there may be several", async () => {
		const old = await bearer("app");
		provider.rotate({ keepsOld: true });
		const token = await bearer("app");
		await until("the second key is known", async () => (await get(token)).status === 200, LEARN_MS);
		assert.equal((await get(old)).status, 200);
	});
	test("count for a while when it is away; new ones are not known until it is back", async () => {
		const old = await bearer("app");
		provider.rotate({ keepsOld: true });
		const token = await bearer("app");
		provider.isAway = true;
		try {
			for (let i = 0; i < 5; i++) {
				assert.equal((await get(old)).status, 200);
				assert.ok([401, 503].includes((await get(token)).status));
			}
			await until("it was asked for its keys", async () => {
				assert.ok([401, 503].includes((await get(token)).status));
				return provider.refused > 0;
			}, LEARN_MS);
			assert.ok([401, 503].includes((await get(token)).status));
			assert.equal((await get(old)).status, 200);
		} finally {
			provider.isAway = false;
		}
		await until("the new key is known", async () => (await get(token)).status === 200, 2 * LEARN_MS);
	});
});

test("the official client is told why it is refused", async () => {
	const { keys } = clientsOf(other, credentialOf("app"));
	await assert.rejects(keys.getKey("k"), refused(401, "Unauthorized"));
});
