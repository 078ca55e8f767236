// The token endpoint under /adfs, which names no directory: the same tokens, refusals and leaves as that of the principal's directory.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { receipt } from "../support/log.mjs";

const ALIASES = ["/adfs/oauth2/token", "/adfs/oauth2/v2.0/token", "/ADFS/oauth2/token/"];
const NOBODY = "00000000-0000-4000-8000-000000000001";
let d, vaults, users;

before(async () => {
	d = await Daemon.start();
	vaults = [await d.makeVault("orders"), await d.makeVault("payroll")];
	users = [];
	for (const vault of vaults)
		users.push(await d.makePrincipal(vault, "user", ["crypto-officer"]));
});
after(() => d?.destroy());

function form(user, changes = {}) {
	const all = {
		grant_type: "client_credentials", client_id: user.client_id, client_secret: user.secret, scope: `${d.origin}/.default`, ...changes,
	};
	return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
}
function ask(path, fields) {
	return d.http.request("POST", path, {
		body: new URLSearchParams(fields).toString(), headers: { "content-type": "application/x-www-form-urlencoded" },
	});
}
const claimsOf = (res) => JSON.parse(Buffer.from(res.json.access_token.split(".")[1], "base64url"));
const without = (object, ...names) => Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));

describe("discovery", () => {
	test("names endpoints under /adfs that answer", async () => {
		const res = await d.http.request("GET", "/adfs/.well-known/openid-configuration");
		assert.equal(res.status, 200, res.text);
		assert.equal(res.json.issuer, `${d.origin}/adfs`);
		assert.equal(res.json.token_endpoint, `${d.origin}/adfs/oauth2/token`);
		assert.ok(res.json.authorization_endpoint.startsWith(`${d.origin}/adfs/`));
		const named = await d.http.request("GET", `/${vaults[0].tenant_id}/v2.0/.well-known/openid-configuration`);
		const [keys, same] = await Promise.all([res, named].map((doc) => d.http.request("GET", new URL(doc.json.jwks_uri).pathname)));
		assert.equal(keys.status, 200);
		assert.deepEqual(keys.json, same.json);
		assert.deepEqual(Object.keys(res.json), Object.keys(named.json));
	});
	test("is nothing of a vault's", async () => {
		for (const [method, path] of [["GET", "/adfs/.well-known/openid-configuration"], ["POST", ALIASES[0]], ["GET", "/subscriptions"]])
			assert.equal((await d.call(vaults[0], null, method, path, undefined, { apiVersion: null })).status, 401, path);
	});
});

describe("a token of the alias", () => {
	test("is the principal's own directory's, with the claims that its own endpoint gives", async () => {
		for (const [i, user] of users.entries()) {
			const own = claimsOf(await d.tokenRequest(user.tenant_id, form(user)));
			for (const path of ALIASES) {
				const res = await ask(path, form(user));
				assert.equal(res.status, 200, res.text);
				assert.equal(res.headers["cache-control"], "no-store");
				const claims = claimsOf(res);
				assert.equal(claims.tid, vaults[i].tenant_id);
				assert.deepEqual(without(claims, "iat", "nbf", "exp", "jti"), without(own, "iat", "nbf", "exp", "jti"));
			}
		}
	});
	test("opens the principal's vault and no other", async () => {
		const token = (await ask(ALIASES[0], form(users[0]))).json.access_token;
		assert.equal((await d.call(vaults[0], null, "GET", "/keys", undefined, { token })).status, 200);
		assert.equal((await d.call(vaults[1], null, "GET", "/keys", undefined, { token })).status, 401);
	});
	test("leaves the leaf of a login, with the same members", async () => {
		const start = await d.logSize();
		const own = receipt(await d.tokenRequest(users[0].tenant_id, form(users[0])));
		const alias = receipt(await ask(ALIASES[0], form(users[0])));
		const entries = await d.entries(start);
		const [one, two] = [own, alias].map(({ seq }) => entries.find(({ leaf }) => leaf.seq === seq).leaf);
		assert.equal(two.type, "authz.login");
		assert.equal(two.result, "ok");
		const each = ["seq", "ts", "mono", "id", "salt", "req"];
		assert.deepEqual(without(two, ...each), without(one, ...each));
	});
});

describe("the alias refuses", () => {
	const cases = {
		"a wrong secret": { client_secret: "wrong" },
		"another's secret": () => ({ client_secret: users[1].secret }),
		"an unknown client": { client_id: NOBODY },
		"a client id that is none": { client_id: "adfs" },
		"an empty secret": { client_secret: "" },
		"no secret": { client_secret: undefined },
		"another grant": { grant_type: "password" },
		"no scope": { scope: undefined },
		"a scope of somebody else": { scope: "https://vault.example.com/.default" },
	};
	for (const [what, change] of Object.entries(cases)) {
		test(`${what}, in the words of the other endpoint`, async () => {
			const fields = form(users[0], typeof change === "function" ? change() : change);
			const own = await d.tokenRequest(users[0].tenant_id, fields);
			assert.ok([400, 401].includes(own.status));
			for (const path of ALIASES) {
				const res = await ask(path, fields);
				assert.equal(res.status, own.status, res.text);
				assert.deepEqual(without(res.json, "trace_id"), without(own.json, "trace_id"));
				assert.equal(res.headers["cache-control"], "no-store");
			}
		});
	}
	test("a disabled principal, and a principal of a vault that is shredded", async () => {
		const gone = await d.makeVault("gone");
		const leaver = await d.makePrincipal(gone, "leaver");
		const orphan = await d.makePrincipal(gone, "orphan");
		await d.cli("principal", "disable", gone.name, leaver.client_id);
		assert.equal((await ask(ALIASES[0], form(leaver))).status, 401);
		assert.equal((await ask(ALIASES[0], form(orphan))).status, 200);
		await d.shred(gone);
		const res = await ask(ALIASES[0], form(orphan));
		assert.equal(res.status, 401);
		assert.equal(res.json.error, "invalid_client");
	});
	test("other names without a directory", async () => {
		const others = ["/adfs2/oauth2/token", "/oauth2/token", "//oauth2/v2.0/token", "/common/oauth2/v2.0/token", "/%00/oauth2/v2.0/token"];
		for (const path of others) {
			const res = await ask(path, form(users[0]));
			assert.ok([400, 401, 404].includes(res.status), `${path}: ${res.status}`);
			assert.equal(res.json?.access_token, undefined);
		}
		const get = await d.http.request("GET", ALIASES[0]);
		assert.equal(get.status, 405);
		assert.equal(get.headers.allow, "POST");
	});
});

test("nobody has a subscription", async () => {
	const res = await d.http.request("GET", "/subscriptions?api-version=2019-11-01");
	assert.equal(res.status, 200);
	assert.deepEqual(res.json, { value: [] });
	assert.equal((await d.http.request("POST", "/subscriptions")).status, 405);
	assert.notEqual((await d.http.request("GET", `/subscriptions/${NOBODY}`)).status, 200);
});
