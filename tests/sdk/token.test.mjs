// The token endpoint, discovery and published keys (keyvault-keys.md 3.6), and what is done with tokens that are not good.
import assert from "node:assert/strict";
import { createHmac, createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertErrorBody } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { credentialOf } from "./clients.mjs";

let d, vault, user, scope;

before(async () => {
	d = await Daemon.start({ limits: { token_life_s: 300 } });
	vault = await d.makeVault("orders");
	user = await d.makePrincipal(vault, "user", ["crypto-user"]);
	scope = `${d.origin}/.default`;
});
after(() => d?.destroy());

function form(changes = {}) {
	const all = { grant_type: "client_credentials", client_id: user.client_id, client_secret: user.secret, scope, ...changes };
	return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
}
const segment = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));

describe("discovery", () => {
	test("names issuer, endpoints and keys, all https, and the keys verify a token", async () => {
		const res = await d.http.request("GET", `/${vault.tenant_id}/v2.0/.well-known/openid-configuration`);
		assert.equal(res.status, 200, res.text);
		for (const name of ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"])
			assert.ok(res.json[name]?.startsWith("https://"), name);
		assert.equal(res.json.token_endpoint, `${d.origin}/${vault.tenant_id}/oauth2/v2.0/token`);
		const jwks = await d.http.request("GET", new URL(res.json.jwks_uri).pathname);
		assert.equal(jwks.status, 200);
		const token = await d.token(user, { fresh: true });
		const [head, body, signature] = token.split(".");
		const { alg, kid } = decode(head);
		assert.equal(alg, "ES256");
		const jwk = jwks.json.keys.find((k) => k.kid === kid);
		assert.ok(jwk, "kid is published");
		assert.equal(jwk.d, undefined);
		const key = { key: createPublicKey({ format: "jwk", key: jwk }), dsaEncoding: "ieee-p1363" };
		assert.ok(verify("sha256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url")));
		const claims = decode(body);
		assert.equal(claims.iss, res.json.issuer);
		assert.equal(claims.tid, vault.tenant_id);
		assert.equal(claims.azp ?? claims.appid, user.client_id);
		assert.ok(claims.oid);
		assert.equal(claims.exp - claims.iat, 300);
		assert.ok(Math.abs(claims.iat - Date.now() / 1000) < 60);
	});
});

describe("the token endpoint", () => {
	test("answers a bearer token with an integer life, not to be stored", async () => {
		const res = await d.tokenRequest(vault.tenant_id, form());
		assert.equal(res.status, 200, res.text);
		assert.equal(res.json.token_type, "Bearer");
		assert.equal(res.json.expires_in, 300);
		assert.equal(res.headers["cache-control"], "no-store");
		assert.equal(typeof res.json.access_token, "string");
	});
	test("ignores unknown members and query parameters", async () => {
		const res = await d.http.request("POST", `/${vault.tenant_id}/oauth2/v2.0/token?client-request-id=1`, {
			body: new URLSearchParams({ ...form(), "x-client-SKU": "msal.js.node", claims: "{}" }).toString(),
			headers: { "content-type": "application/x-www-form-urlencoded;charset=utf-8" },
		});
		assert.equal(res.status, 200, res.text);
	});
	const errors = [
		["a wrong secret", { client_secret: "wrong" }, 401, "invalid_client"],
		["an empty secret", { client_secret: "" }, 401, "invalid_client"],
		["no secret", { client_secret: undefined }, null, null],
		["an unknown client", { client_id: "00000000-0000-4000-8000-000000000001" }, 401, "invalid_client"],
		["a client id that is none", { client_id: "x' OR 1=1 --" }, 401, "invalid_client"],
		["no client id", { client_id: undefined }, null, null],
		["another grant", { grant_type: "password" }, 400, "unsupported_grant_type"],
		["no grant", { grant_type: undefined }, 400, "invalid_request"],
		["a scope without /.default", { scope: "https://vault.localhost/keys" }, 400, "invalid_scope"],
		["a scope of somebody else", { scope: "https://vault.example.com/.default" }, 400, "invalid_scope"],
		["no scope", { scope: undefined }, 400, null],
	];
	for (const [what, change, status, error] of errors) {
		test(`refuses ${what} with an RFC 6749 error`, async () => {
			const res = await d.tokenRequest(vault.tenant_id, form(change));
			assert.ok(status === null ? [400, 401].includes(res.status) : res.status === status, `${res.status} ${res.text}`);
			if (error === null)
				assert.match(res.json.error, /^invalid_(request|client|scope)$/);
			else
				assert.equal(res.json.error, error);
			assert.equal(res.headers["cache-control"], "no-store");
			assert.match(res.headers["content-type"], /^application\/json/);
			assert.equal(res.json.access_token, undefined);
			if (change.client_secret)
				assert.ok(!res.text.includes(change.client_secret));
		});
	}
	test("a wrong secret and an unknown client look alike", async () => {
		const one = await d.tokenRequest(vault.tenant_id, form({ client_secret: "wrong" }));
		const two = await d.tokenRequest(vault.tenant_id, form({ client_id: "00000000-0000-4000-8000-000000000001" }));
		const body = ({ json: { trace_id: _trace, ...rest } }) => rest;
		assert.deepEqual(body(one), body(two));
	});
	test("refuses a body that is not a form, a repeated member, and an unknown directory", async () => {
		const json = await d.http.request("POST", `/${vault.tenant_id}/oauth2/v2.0/token`, { body: form() });
		assert.ok([400, 415].includes(json.status), json.text);
		const twice = await d.http.request("POST", `/${vault.tenant_id}/oauth2/v2.0/token`, {
			body: `${new URLSearchParams(form())}&client_id=${user.client_id}`,
			headers: { "content-type": "application/x-www-form-urlencoded" },
		});
		assert.equal(twice.status, 400, twice.text);
		const unknown = await d.tokenRequest("00000000-0000-4000-8000-000000000000", form());
		assert.ok(unknown.status >= 400 && unknown.status < 500, unknown.text);
		const get = await d.http.request("GET", `/${vault.tenant_id}/oauth2/v2.0/token`);
		assert.equal(get.status, 405, get.text);
		assert.equal(get.headers.allow, "POST");
	});
	test("the official credential gets a token, and says so when the secret is wrong", async () => {
		const token = await credentialOf(d, user).getToken(scope);
		assert.ok(token.token && token.expiresOnTimestamp > Date.now());
		await assert.rejects(credentialOf(d, { ...user, secret: "wrong" }).getToken(scope), /invalid_client/);
	});
});

describe("a vault refuses", () => {
	let good, head, body, signature;
	before(async () => {
		good = await d.token(user);
		[head, body, signature] = good.split(".");
		assert.equal((await d.call(vault, null, "GET", "/keys", undefined, { token: good })).status, 200);
	});
	const get = (headers) => d.call(vault, null, "GET", "/keys", undefined, { headers });
	const bearer = (token) => get({ authorization: `Bearer ${token}` });

	test("a request without a token with the exact challenge, before it looks at anything else", async () => {
		const challenge = new RegExp(`^Bearer authorization="https://[a-z0-9.-]+(:\\d+)?/${vault.tenant_id}", resource="${d.origin}"$`);
		for (const [method, keyPath, payload, options] of [
			["GET", "/keys"], ["POST", "/keys/x/create"], ["POST", "/keys/x/create", "{broken"], ["GET", "/nonsense"], ["PUT", "/keys"],
			["GET", "/keys", undefined, { apiVersion: null }], ["DELETE", "/keys/nothing"], ["GET", "/health/ready"], ["GET", "/admin/v1/vaults"],
			["POST", "/keys/x/create", "x", { headers: { "content-type": "text/plain" } }],
		]) {
			const res = await d.call(vault, null, method, keyPath, payload, options);
			assertError(res, 401, "Unauthorized");
			assert.match(res.headers["www-authenticate"], challenge, `${method} ${keyPath}`);
			assert.match(res.json.error.message, /^AKV10000: Request is missing a Bearer or PoP token\./);
		}
	});
	test("tokens that are garbled in any way, each with a challenge", async () => {
		const flip = (text, at) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
		const bad = {
			"nothing": "", "one word": "abc", "two dots": "a.b.c", "four dots": "a.b.c.d", "empty parts": "..",
			"no signature": `${head}.${body}.`, "cut": good.slice(0, -4), "flipped signature": `${head}.${body}.${flip(signature, 10)}`,
			"flipped body": `${head}.${flip(body, 20)}.${signature}`, "flipped head": `${flip(head, 5)}.${body}.${signature}`,
			"zero signature": `${head}.${body}.${Buffer.alloc(64).toString("base64url")}`,
			"DER length": `${head}.${body}.${Buffer.concat([Buffer.from([0x30, 0x44]), Buffer.alloc(68)]).toString("base64url")}`,
			"long": "x".repeat(6000), "padded": `${good}=`,
			"head not JSON": `${Buffer.from("{{{").toString("base64url")}.${body}.${signature}`,
			"head an array": `${segment([])}.${body}.${signature}`,
		};
		for (const [what, token] of Object.entries(bad)) {
			const res = await bearer(token);
			assert.equal(res.status, 401, `${what}: ${res.status} ${res.text}`);
			assertErrorBody(res, 401, "Unauthorized");
			assert.ok(res.headers["www-authenticate"], what);
			assert.ok(token.length < 8 || !res.text.includes(token), `${what}: the token is echoed`);
		}
	});
	test("other schemes, and Bearer in other shapes", async () => {
		for (const authorization of [`Basic ${Buffer.from("a:b").toString("base64")}`, "Bearer", `Digest ${good}`, good, `PoP ${good}`])
			assert.equal((await get({ authorization })).status, 401, authorization.slice(0, 12));
	});
	test("algorithm confusion: none, HMAC with the public key, a key in the header, another key", async () => {
		const claims = decode(body);
		const { alg, kid, typ } = decode(head);
		const jwks = await d.http.request("GET", new URL((await d.http.request("GET",
			`/${vault.tenant_id}/v2.0/.well-known/openid-configuration`)).json.jwks_uri).pathname);
		const published = createPublicKey({ format: "jwk", key: jwks.json.keys[0] });
		const mine = generateKeyPairSync("ec", { namedCurve: "P-256" });
		const signed = (header, payload) => {
			const input = `${segment(header)}.${segment(payload)}`;
			return `${input}.${sign("sha256", Buffer.from(input), { key: mine.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
		};
		const hmac = (secret) => {
			const input = `${segment({ alg: "HS256", kid, typ })}.${body}`;
			return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
		};
		for (const [what, token] of Object.entries({
			"none": `${segment({ alg: "none", kid, typ })}.${body}.`,
			"None": `${segment({ alg: "None", kid })}.${body}.`,
			"HMAC with the PEM": hmac(published.export({ type: "spki", format: "pem" })),
			"HMAC with the DER": hmac(published.export({ type: "spki", format: "der" })),
			"another key, same kid": signed({ alg, kid, typ }, claims),
			"another key in jwk": signed({ alg, typ, jwk: mine.publicKey.export({ format: "jwk" }) }, claims),
			"another key, no kid": signed({ alg, typ }, claims),
			"longer life": `${head}.${segment({ ...claims, exp: claims.exp + 100000 })}.${signature}`,
			"other tenant": `${head}.${segment({ ...claims, tid: "00000000-0000-4000-8000-000000000000" })}.${signature}`,
			"crit": `${segment({ alg, kid, typ, crit: ["x"], x: 1 })}.${body}.${signature}`,
		}))
			assert.equal((await bearer(token)).status, 401, what);
	});
	test("nothing of that stops the good token", async () => {
		assert.equal((await bearer(good)).status, 200);
	});
});
