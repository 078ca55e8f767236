// The API's own description (GET /openapi.json): a valid OpenAPI 3.1 document, and one that the server's answers keep to.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import { Daemon } from "../support/daemon.mjs";

const METHODS = ["get", "put", "post", "patch", "delete"];
let d, vault, officer, doc, ajv;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("described");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	const res = await d.http.request("GET", "/openapi.json");
	assert.equal(res.status, 200, res.text);
	assert.match(res.headers["content-type"], /^application\/json/);
	doc = res.json;
	// The document's own keywords (x-…, discriminators of OpenAPI) are not JSON Schema's; its formats are notes.
	ajv = new Ajv({ strict: false, validateFormats: false });
	ajv.addSchema({ $id: "doc", components: doc.components });
});
after(() => d?.destroy());

function operations() {
	return Object.entries(doc.paths).flatMap(([path, item]) => METHODS.filter((m) => item[m]).map((method) => ({ path, method, ...item[method] })));
}

/** The server answered as the document says. */
function assertDescribed(path, method, res) {
	const response = doc.paths[path][method].responses[String(res.status)];
	assert.ok(response, `${method} ${path}: ${res.status} is not described: ${res.text}`);
	const full = response.$ref ? doc.components.responses[response.$ref.split("/").pop()] : response;
	if (!full.content) {
		assert.equal(res.body.length, 0);
		return;
	}
	const { $ref } = full.content["application/json"].schema;
	const validate = ajv.getSchema(`doc${$ref}`);
	assert.ok(validate(res.json), `${method} ${path} ${res.status}: ${ajv.errorsText(validate.errors)}: ${res.text}`);
	// Nothing is said that is not described.
	const described = Object.keys(doc.components.schemas[$ref.split("/").pop()].properties ?? {});
	for (const name of Object.keys(res.json))
		assert.ok(described.includes(name), `${method} ${path}: ${name} is not described`);
}

async function call(method, path, { body, params = {}, query = "" } = {}) {
	const actual = path.replace(/\{(\w+)\}/g, (_, name) => params[name]);
	const res = await d.call(vault, officer, method.toUpperCase(), actual + query, body);
	assertDescribed(path, method, res);
	return res;
}

test("it is a valid OpenAPI 3.1 document", async () => {
	const result = await new Validator().validate(structuredClone(doc));
	assert.ok(result.valid, JSON.stringify(result.errors, null, 1));
	assert.match(doc.openapi, /^3\.1\./);
});

test("every name in it leads somewhere, and every operation has an id of its own", async () => {
	const validator = new Validator();
	assert.ok((await validator.validate(structuredClone(doc))).valid);
	validator.resolveRefs();
	const ids = operations().map((o) => o.operationId);
	assert.equal(new Set(ids).size, ids.length);
	assert.ok(ids.length > 60, `${ids.length} operations`);
});

test("what it calls public answers without a token, and nothing else does", async () => {
	for (const o of operations()) {
		const isVault = doc.paths[o.path].servers[0].url.includes("{vault}");
		const path = o.path.replace("{key}", "k").replace("{version}", "0".repeat(32)).replace("{tenant}", vault.tenant_id)
			.replace("{vault}", vault.name).replace("{id}", officer.client_id)
			.replace(/\{(credential|member|service|pool)\}/, officer.client_id);
		const res = await d.http.request(o.method.toUpperCase(), `${path}?api-version=7.4`, { origin: isVault ? vault.origin : d.origin });
		if (o.security.length > 0)
			assert.equal(res.status, 401, `${o.method} ${o.path}: ${res.text}`);
		else if (o.operationId.startsWith("Token")) // without a client: a refusal of its own
			assert.deepEqual([res.status, res.json.error], [400, "invalid_request"]);
		else
			assertDescribed(o.path, o.method, res);
	}
});

test("the answers of the key operations are as described", async () => {
	const b64 = (n) => randomBytes(n).toString("base64url");
	for (const [name, body] of [
		["rsa", { kty: "RSA", tags: { a: "b" }, attributes: { exp: 4000000000, nbf: 1 } }],
		["ec", { kty: "EC", crv: "P-384" }],
		["aes", { kty: "oct-HSM", key_size: 256 }],
		["mac", { kty: "oct", key_size: 512 }],
	])
		await call("post", "/keys/{key}/create", { params: { key: name }, body });
	const params = { key: "rsa" };
	const version = (await call("get", "/keys/{key}", { params })).json.key.kid.split("/").pop();
	await call("get", "/keys/{key}/{version}", { params: { ...params, version } });
	await call("patch", "/keys/{key}", { params, body: { tags: {} } });
	const page = await call("get", "/keys", { query: "?maxresults=1" });
	assert.ok(page.json.nextLink);
	await call("get", "/keys/{key}/versions", { params });

	await call("post", "/keys/{key}/wrapkey", { params, body: { alg: "RSA-OAEP-256", value: b64(32) } });
	const sealed = (await call("post", "/keys/{key}/encrypt", { params: { key: "aes" }, body: { alg: "A256GCM", value: b64(40), aad: b64(8) } })).json;
	assert.ok(sealed.iv && sealed.tag && sealed.aad);
	await call("post", "/keys/{key}/decrypt", { params: { key: "aes" }, body: { alg: "A256GCM", ...sealed, kid: undefined } });
	const digest = b64(48);
	const signed = (await call("post", "/keys/{key}/sign", { params: { key: "ec" }, body: { alg: "ES384", value: digest } })).json;
	const verified = await call("post", "/keys/{key}/verify", { params: { key: "ec" }, body: { alg: "ES384", digest, value: signed.value } });
	assert.equal(verified.json.value, true);
	await call("post", "/keys/{key}/sign", { params: { key: "mac" }, body: { alg: "HS512", value: b64(1000) } });
	await call("post", "/rng", { body: { count: 32 } });

	await call("post", "/keys/{key}/rotate", { params });
	await call("get", "/keys/{key}/rotationpolicy", { params });
	await call("put", "/keys/{key}/rotationpolicy", { params, body: { lifetimeActions: [], attributes: { expiryTime: "P1Y" } } });
	await call("get", "/keys/{key}/attestation", { params });
	await call("put", "/keys/{key}", { params: { key: "imported" }, body: { key: { kty: "oct", k: b64(32) } } });
	const backup = (await call("post", "/keys/{key}/backup", { params: { key: "imported" } })).json.value;
	await call("delete", "/keys/{key}", { params: { key: "imported" } });
	await call("get", "/deletedkeys/{key}", { params: { key: "imported" } });
	await call("get", "/deletedkeys");
	assert.equal((await call("delete", "/deletedkeys/{key}", { params: { key: "imported" } })).status, 204);
	assert.equal((await call("post", "/keys/restore", { body: { value: backup } })).status, 200);
	for (const path of ["/keys/{key}/release", "/keys/{key}/securewrapkey", "/keys/{key}/secureunwrapkey"])
		assert.equal((await call("post", path, { params, body: {} })).status, 400);
	assert.equal((await call("get", "/keys/{key}", { params: { key: "nothing" } })).status, 404);
});

test("the answers of management and tokens are as described", async () => {
	const admin = async (method, path, body, params = {}) => {
		const res = await d.admin(method.toUpperCase(), path.replace(/\{(\w+)\}/g, (_, name) => params[name]), body);
		assertDescribed(path, method, res);
		return res.json;
	};
	const name = { vault: "managed" };
	await admin("get", "/admin/v1/status");
	await admin("get", "/admin/v1/hsm");
	await admin("post", "/admin/v1/vaults", { name: "managed" });
	await admin("get", "/admin/v1/vaults");
	await admin("get", "/admin/v1/vaults/{vault}", undefined, name);
	const made = await admin("post", "/admin/v1/vaults/{vault}/principals", { name: "p" }, name);
	const role = { principal: made.client_id, role: "reader" };
	await admin("post", "/admin/v1/vaults/{vault}/roles/grant", role, name);
	await admin("get", "/admin/v1/vaults/{vault}/principals", undefined, name);
	await admin("post", "/admin/v1/vaults/{vault}/roles/remove", role, name);
	for (const what of ["disable", "enable"])
		await admin("post", `/admin/v1/vaults/{vault}/principals/{id}/${what}`, undefined, { ...name, id: made.client_id });
	await admin("post", "/admin/v1/vaults/{vault}/roles/grant", { ...role, colour: "red" }, name);
	await admin("post", "/admin/v1/vaults/{vault}/keys/{key}/revoke", { reason: "superseded" }, { vault: vault.name, key: "aes" });
	await admin("post", "/admin/v1/vaults/{vault}/keys/{key}/reinstate", {}, { vault: vault.name, key: "aes" });
	assert.equal((await admin("post", "/admin/v1/vaults/{vault}/shred", { confirm: "managed" }, name)).error.innererror.approval, undefined); // nobody may approve

	const token = await d.tokenRequest(officer.tenant_id, { grant_type: "client_credentials", client_id: officer.client_id,
		client_secret: officer.secret, scope: `${d.origin}/.default` });
	assertDescribed("/{tenant}/oauth2/v2.0/token", "post", token);
});

test("the answers about who may do what are as described", async () => {
	const { json: { name } } = await d.admin("POST", "/admin/v1/vaults", { name: "access", quorum: 1, purge_approvals: 1 });
	const base = "/admin/v1/vaults/{vault}";
	const admin = async (method, path, body, params = {}, query = "") => {
		const all = { vault: name, ...params };
		const res = await d.admin(method.toUpperCase(), path.replace(/\{(\w+)\}/g, (_, n) => all[n]) + query, body);
		assertDescribed(path, method, res);
		assert.ok(res.status < 400 || res.status === 403, `${method} ${path}: ${res.text}`);
		return res.json;
	};
	await admin("patch", base, { networks: "127.0.0.0/8", purge_protection: true });
	const [who, approver] = [await admin("post", `${base}/principals`, { name: "who" }), await admin("post", `${base}/principals`, { name: "approver" })];
	const { id } = who;
	const secret = await admin("post", `${base}/principals/{id}/credentials/secrets`, { kind: "header", days: 3, label: "l" }, { id });
	assert.equal(secret.secret.length, 43);
	const group = await admin("post", `${base}/groups`, { name: "g" });
	await admin("post", `${base}/groups/{id}/members`, { member: id }, { id: group.id });
	await admin("get", `${base}/groups`);
	await admin("get", `${base}/groups/{id}/members`, undefined, { id: group.id });
	const role = await admin("post", `${base}/roledefinitions`, { name: "Mine", actions: ["Microsoft.KeyVault/vaults/keys/read"] });
	await admin("post", `${base}/roles/grant`, { principal: id, role: "Mine", key: "k", until: 4000000000 });
	await admin("post", `${base}/roles/grant`, { principal: group.id, role: "reader" });
	await admin("get", `${base}/roledefinitions`);
	await admin("get", `${base}/access/explain`, undefined, {}, `?principal=${id}&action=keys/read&key=k`);
	await admin("get", `${base}/access/explain`, undefined, {}, `?principal=${id}&action=keys/sign`);
	await admin("get", `${base}/principals/{id}`, undefined, { id });
	await admin("get", `${base}/principals/{id}/credentials`, undefined, { id });
	await admin("delete", `${base}/principals/{id}/credentials/{credential}`, undefined, { id, credential: secret.id });
	await admin("post", `${base}/principals/{id}/revoke-tokens`, undefined, { id });
	await admin("delete", `${base}/groups/{id}/members/{member}`, undefined, { id: group.id, member: id });
	await admin("post", `${base}/roles/remove`, { principal: id, role: "Mine", key: "k" });
	await admin("delete", `${base}/roledefinitions/{id}`, undefined, { id: role.id });
	await admin("get", `${base}/services`);

	await admin("post", `${base}/roles/grant`, { principal: approver.id, role: "approver" });
	const refused = (await admin("patch", base, { purge_protection: false })).error.innererror;
	assert.equal(refused.vault, name);
	const params = { id: refused.approval };
	await admin("get", `${base}/approvals`, undefined, {}, "?all=1");
	await admin("get", `${base}/approvals/{id}`, undefined, params);
	await admin("post", `${base}/approvals/{id}/approve`, {}, params); // the local socket: 403
	const path = `${base}/approvals/{id}/approve`;
	const res = await d.http.request("POST", path.replace("{vault}", name).replace("{id}", params.id), { token: await d.token(approver), body: { reason: "r" } });
	assert.equal(res.json.state, "approved", res.text);
	assertDescribed(path, "post", res);
	await admin("post", `${base}/approvals/{id}/withdraw`, {}, params);

	const own = await admin("post", "/admin/v1/principals", { name: "own", secret_days: 0 });
	await admin("post", "/admin/v1/roles/grant", { principal: own.id, role: "operator" });
	await admin("get", "/admin/v1/principals");
	await admin("get", "/admin/v1/principals/{id}", undefined, { id: own.id });
	await admin("get", "/admin/v1/approvals");
});

test("it says the least and the most that each number and text may be", async () => {
	const { count } = doc.components.schemas.RandomRequest.properties;
	for (const [value, status] of [[count.minimum, 200], [count.maximum, 200], [count.minimum - 1, 400], [count.maximum + 1, 400]])
		assert.equal((await call("post", "/rng", { body: { count: value } })).status, status, `count ${value}`);
	const { value } = doc.components.schemas.KeyWrapRequest.properties;
	assert.equal(value.contentEncoding, "base64url");
	const long = "A".repeat(value.maxLength + 4);
	assert.equal((await call("post", "/keys/{key}/wrapkey", { params: { key: "aes" }, body: { alg: "A256KW", value: long } })).status, 400);
});
