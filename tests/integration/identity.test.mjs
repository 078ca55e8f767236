// Managed identity on the host: a service that has nothing but the two variables that its service manager sets uses a key with the official client,
// and nobody else gets anything from that endpoint.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { managedSdk } from "../sdk/clients.mjs";
import { Daemon, until } from "../support/daemon.mjs";

const PATH = "/msi/token";
const DENIED_MS = 5000; // refusals are counted and written within this
const plain = Buffer.from("0123456789abcdef0123456789abcdef");

let d, vault, officer, app, other, header;
before(async () => {
	d = await Daemon.start({ identity: {} });
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	app = await d.makePrincipal(vault, "app", ["crypto-user"]);
	other = await d.makeVault("payroll");
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "RSA", key_size: 2048 });
	header = await d.addHeaderSecret(vault, app);
});
after(() => d?.destroy());

const endpoint = () => `http://127.0.0.1:${d.identityPort}${PATH}`;

/** The endpoint as it answers. */
function ask({ secret = header.secret, query = { "api-version": "2019-08-01", resource: d.origin }, headers = {}, path = PATH, method } = {}) {
	const port = d.identityPort;
	const all = { ...(secret === null ? {} : { "X-IDENTITY-HEADER": secret }), ...headers };
	return new Promise((resolve, reject) => {
		const target = `${path}?${new URLSearchParams(query)}`;
		const req = http.request({ host: "127.0.0.1", port, method, path: target, headers: all }, async (res) => {
			let text = "";
			for await (const chunk of res)
				text += chunk;
			resolve({ status: res.statusCode, headers: res.headers, text, json: text.startsWith("{") ? JSON.parse(text) : undefined });
		});
		req.on("error", reject);
		req.end();
	});
}

async function asService(secret, use) {
	process.env.IDENTITY_ENDPOINT = endpoint();
	process.env.IDENTITY_HEADER = secret;
	try {
		return await use();
	} finally {
		delete process.env.IDENTITY_ENDPOINT;
		delete process.env.IDENTITY_HEADER;
	}
}

const names = {
	"by itself": () => ({}),
	"by its client id": () => ({ clientId: app.client_id }),
	"by its object id": () => ({ objectId: app.client_id }),
};
for (const [what, options] of Object.entries(names))
	test(`ManagedIdentityCredential, known ${what}, wraps and unwraps`, () => asService(header.secret, async () => {
		const service = managedSdk(vault, options());
		const crypto = service.crypto(await service.keys.getKey("k"));
		const wrapped = await crypto.wrapKey("RSA-OAEP-256", plain);
		const { result } = await crypto.unwrapKey("RSA-OAEP-256", wrapped.result);
		assert.deepEqual(Buffer.from(result), plain);
	}));

test("the answer is App Service's, and the token is the principal's own", async () => {
	const before = Math.floor(Date.now() / 1000);
	const res = await ask();
	assert.equal(res.status, 200, res.text);
	assert.deepEqual(Object.keys(res.json).sort(), ["access_token", "client_id", "expires_on", "resource", "token_type"]);
	assert.equal(res.json.client_id, app.client_id);
	assert.equal(res.json.token_type, "Bearer");
	assert.equal(res.json.resource, d.origin);
	assert.match(res.json.expires_on, /^\d+$/);
	assert.ok(Math.abs(Number(res.json.expires_on) - before - 3600) <= 5);
	assert.equal(res.headers["cache-control"], "no-store");
	const claims = JSON.parse(Buffer.from(res.json.access_token.split(".")[1], "base64url"));
	assert.equal(claims.oid, app.client_id);
	assert.ok(claims.exp >= Number(res.json.expires_on));
	const get = await d.call(vault, null, "GET", "/keys/k", undefined, { token: res.json.access_token });
	assert.equal(get.status, 200, get.text);
	const elsewhere = await d.call(other, null, "GET", "/keys", undefined, { token: res.json.access_token });
	assert.equal(elsewhere.status, 401);
});

test("the login is a leaf of the vault with the principal as its actor", async () => {
	const from = await d.logSize();
	const res = await ask();
	const { leaf } = (await d.entries(from)).find((e) => e.leaf.type === "authz.login");
	assert.equal(leaf.result, "ok");
	assert.equal(leaf.actor.kind, "app");
	assert.equal(leaf.tenant, vault.id);
	assert.equal(String(leaf.seq), res.headers["x-audit-seq"]);
});

test("two secrets are good at once; one that is removed is not, at once", async () => {
	const next = await d.addHeaderSecret(vault, app);
	assert.equal((await ask()).status, 200);
	assert.equal((await ask({ secret: next.secret })).status, 200);
	await d.adminOk("DELETE", `/admin/v1/vaults/${vault.name}/principals/${app.client_id}/credentials/${next.id}`);
	assert.equal((await ask({ secret: next.secret })).status, 401);
	assert.equal((await ask()).status, 200);
});

test("a disabled principal gets no token, and its old ones are worth nothing", async () => {
	const { json } = await ask();
	const at = `/admin/v1/vaults/${vault.name}/principals/${app.client_id}`;
	await d.adminOk("POST", `${at}/disable`);
	try {
		assert.equal((await ask()).status, 401);
		assert.equal((await d.call(vault, null, "GET", "/keys/k", undefined, { token: json.access_token })).status, 401);
	} finally {
		await d.adminOk("POST", `${at}/enable`);
	}
	assert.equal((await ask()).status, 200);
});

test("what is refused says why, in the shape of App Service", async () => {
	const good = { "api-version": "2019-08-01", resource: d.origin };
	const cases = [
		[401, { secret: null }], [401, { secret: "guess" }], [401, { secret: app.secret }], [401, { secret: officer.secret }],
		[400, { query: { resource: d.origin } }], [400, { query: { ...good, "api-version": "2017-09-01" } }],
		[400, { query: { "api-version": "2019-08-01" } }], [400, { query: { ...good, resource: "https://vault.azure.net" } }],
		[400, { query: { ...good, resource: `${d.origin}.evil` } }], [400, { query: { ...good, client_id: officer.client_id } }],
		[400, { headers: { host: "evil.example" } }], [400, { headers: { host: `rebound.example:${d.identityPort}` } }],
		[400, { headers: { "x-forwarded-for": "127.0.0.1" } }], [400, { headers: { forwarded: "for=127.0.0.1" } }],
		[404, { path: "/admin/v1/status" }], [404, { path: "/adfs/oauth2/token" }], [405, { method: "POST" }],
	];
	for (const [status, options] of cases) {
		const res = await ask(options);
		assert.equal(res.status, status, `${JSON.stringify(options)}: ${res.text}`);
		assert.deepEqual(Object.keys(res.json), ["statusCode", "message"]);
		assert.equal(res.json.statusCode, status);
		assert.ok(res.json.message.length > 20);
	}
});

test("guesses are counted, not written one by one", async () => {
	const from = await d.logSize();
	for (let i = 0; i < 100; i++)
		assert.equal((await ask({ secret: `guess-${i}` })).status, 401);
	const leaves = await until("the guesses are counted", async () => {
		const found = (await d.entries(from)).filter((e) => e.leaf.type === "authz.denied");
		return found.reduce((sum, e) => sum + (e.leaf.count ?? 1), 0) >= 100 && found;
	}, DENIED_MS);
	assert.ok(leaves.length < 20, `${leaves.length} leaves`);
	assert.ok(leaves.every((e) => !e.text.includes("guess-")));
});

test("the main listener knows nothing of it", async () => {
	for (const host of [undefined, `orders.vault.localhost:${d.port}`, "127.0.0.1", "localhost"]) {
		const res = await d.http.request("GET", `${PATH}?api-version=2019-08-01&resource=${encodeURIComponent(d.origin)}`,
			{ host, headers: { "x-identity-header": header.secret } });
		assert.ok([401, 404].includes(res.status), `${host}: ${res.status}`);
		assert.ok(!res.text.includes("access_token"));
	}
});
