// Input that no client of ours would send. Each is refused with the right status, the error shape, all headers and, once the caller is known,
// a receipt; and the server goes on.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertErrorBody, assertHeaders, assertReceipt } from "../support/asserts.mjs";
import { API_VERSION, Daemon } from "../support/daemon.mjs";
import { rawExchange } from "../support/http.mjs";
import { leafOf } from "../support/log.mjs";

const BODY_LIMIT = 64 * 1024;
let d, vault, user, version, plain, wrapped;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	user = await d.makePrincipal(vault, "user", ["crypto-officer"]);
	version = (await d.ok(vault, user, "POST", "/keys/k1/create", { kty: "oct-HSM" })).key.kid.split("/").pop();
	await d.ok(vault, user, "POST", "/keys/rsa/create", { kty: "RSA" });
	plain = randomBytes(32).toString("base64url");
	wrapped = (await d.ok(vault, user, "POST", "/keys/k1/wrapkey", { alg: "A256KW", value: plain })).value;
});
after(() => d?.destroy());

const BAD_BODIES = {
	create: [
		["not JSON", "{\"kty\":"], ["empty", ""], ["text after it", "{\"kty\":\"oct-HSM\"} x"], ["a duplicate member", "{\"kty\":\"oct-HSM\",\"kty\":\"RSA\"}"],
		["a nested duplicate", "{\"kty\":\"oct-HSM\",\"attributes\":{\"enabled\":true,\"enabled\":false}}"],
		["an array", "[]"], ["a text", "\"x\""], ["null", "null"], ["a number", "5"], ["NUL in a text", "{\"kty\":\"oct-HSM\\u0000\"}"],
		["a lone surrogate", "{\"kty\":\"oct-HSM\",\"tags\":{\"a\":\"\\ud800\"}}"], ["not UTF-8", Buffer.from("{\"kty\":\"\xff\xfe\"}", "latin1")],
		["a comment", "{/**/\"kty\":\"oct-HSM\"}"], ["NaN", "{\"kty\":\"oct-HSM\",\"key_size\":NaN}"], ["a big integer", "{\"kty\":\"RSA\",\"key_size\":99999999999999999999}"],
		["depth 2000", `{"kty":"oct-HSM","x":${"[".repeat(2000)}${"]".repeat(2000)}}`],
		["depth 40", `{"kty":"oct-HSM","x":${"[".repeat(40)}${"]".repeat(40)}}`],
		["1000 members", JSON.stringify({ kty: "oct-HSM", ...Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`m${i}`, i])) })],
		["no kty", {}], ["kty null", { kty: null }], ["kty a number", { kty: 5 }], ["kty unknown", { kty: "DSA" }], ["kty in other case", { kty: "rsa" }],
		["size as text", { kty: "RSA", key_size: "2048" }], ["size with a fraction", "{\"kty\":\"RSA\",\"key_size\":2048.5}"],
		["RSA 1024", { kty: "RSA", key_size: 1024 }], ["RSA 2047", { kty: "RSA", key_size: 2047 }], ["RSA 8192", { kty: "RSA", key_size: 8192 }],
		["RSA 0", { kty: "RSA", key_size: 0 }], ["RSA -2048", { kty: "RSA", key_size: -2048 }], ["RSA-HSM 256", { kty: "RSA-HSM", key_size: 256 }],
		["oct 64", { kty: "oct-HSM", key_size: 64 }], ["oct 2048", { kty: "oct-HSM", key_size: 2048 }], ["even exponent", { kty: "RSA", public_exponent: 4 }],
		["attributes an array", { kty: "oct-HSM", attributes: [] }], ["enabled a text", { kty: "oct-HSM", attributes: { enabled: "yes" } }],
		["exp negative", { kty: "oct-HSM", attributes: { exp: -1 } }], ["exp a text", { kty: "oct-HSM", attributes: { exp: "soon" } }],
		["exp with a fraction", "{\"kty\":\"oct-HSM\",\"attributes\":{\"exp\":1.5}}"],
		["nbf after exp", { kty: "oct-HSM", attributes: { nbf: 2000000000, exp: 1900000000 } }],
		["nbf at exp", { kty: "oct-HSM", attributes: { nbf: 2000000000, exp: 2000000000 } }],
		["key_ops a text", { kty: "oct-HSM", key_ops: "wrapKey" }], ["key_ops of numbers", { kty: "oct-HSM", key_ops: [1] }],
		["key_ops unknown", { kty: "oct-HSM", key_ops: ["fly"] }], ["tags an array", { kty: "oct-HSM", tags: ["a"] }],
		["a tag that is no text", { kty: "oct-HSM", tags: { a: 1 } }], ["a tag value of 257", { kty: "oct-HSM", tags: { a: "x".repeat(257) } }],
		["a tag name of 257", { kty: "oct-HSM", tags: { ["x".repeat(257)]: "a" } }],
		["16 tags", { kty: "oct-HSM", tags: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`t${i}`, "x"])) }],
	],
	unwrapkey: [
		["no alg", () => ({ value: wrapped })], ["alg a number", () => ({ alg: 1, value: wrapped })], ["alg null", () => ({ alg: null, value: wrapped })],
		["alg unknown", () => ({ alg: "ROT13", value: wrapped })], ["alg in other case", () => ({ alg: "a256kw", value: wrapped })],
		["alg of another size", () => ({ alg: "A128KW", value: wrapped })], ["alg of RSA", () => ({ alg: "RSA-OAEP-256", value: wrapped })],
		["no value", { alg: "A256KW" }], ["value null", { alg: "A256KW", value: null }], ["value a number", { alg: "A256KW", value: 5 }],
		["value empty", { alg: "A256KW", value: "" }], ["value rubbish", { alg: "A256KW", value: "!!!!" }],
		["value with a blank", () => ({ alg: "A256KW", value: `${wrapped.slice(0, 8)} ${wrapped.slice(8)}` })],
		["value of impossible length", () => ({ alg: "A256KW", value: `${wrapped}A`.slice(0, 53) })],
		["value with padding inside", () => ({ alg: "A256KW", value: `${wrapped.slice(0, 8)}==${wrapped.slice(8)}` })],
		["value cut", () => ({ alg: "A256KW", value: Buffer.from(wrapped, "base64url").subarray(0, 32).toString("base64url") })],
		["value tampered", () => ({ alg: "A256KW", value: Buffer.from(wrapped, "base64url").fill(7, 3, 5).toString("base64url") })],
	],
};

async function refusedWell(res, status, code, inner) {
	assertError(res, status, code, inner);
	assertReceipt(res);
}

describe("a bad body is 400 BadParameter", () => {
	for (const [what, body] of BAD_BODIES.create) {
		test(`create: ${what}`, async () => {
			await refusedWell(await d.call(vault, user, "POST", "/keys/never/create", body), 400, "BadParameter");
			assert.equal((await d.call(vault, user, "GET", "/keys/never")).status, 404, "nothing was made");
		});
	}
	for (const [what, body] of BAD_BODIES.unwrapkey) {
		test(`unwrapkey: ${what}`, async () => {
			await refusedWell(await d.call(vault, user, "POST", "/keys/k1/unwrapkey", typeof body === "function" ? body() : body), 400, "BadParameter");
		});
	}
	test("unwrapkey: an AES algorithm on an RSA key, and a wrong length of ciphertext", async () => {
		await refusedWell(await d.call(vault, user, "POST", "/keys/rsa/unwrapkey", { alg: "A256KW", value: wrapped }), 400, "BadParameter");
		for (const length of [1, 255, 257, 512])
			await refusedWell(await d.call(vault, user, "POST", "/keys/rsa/unwrapkey",
				{ alg: "RSA-OAEP-256", value: Buffer.alloc(length, 1).toString("base64url") }), 400, "BadParameter");
	});
	test("update: wrong types and dates", async () => {
		for (const body of [{ attributes: { enabled: 1 } }, { attributes: { exp: "x" } }, { attributes: { nbf: 5, exp: 4 } }, { key_ops: ["fly"] }, "[]"])
			await refusedWell(await d.call(vault, user, "PATCH", "/keys/k1", body), 400, "BadParameter");
		assert.equal((await d.ok(vault, user, "GET", "/keys/k1")).attributes.enabled, true);
	});
});

/* Every operation that reads a body, with one that would do. */
const READERS = [
	["POST", "/keys/k1/encrypt", () => ({ alg: "A256GCM", value: plain })],
	["POST", "/keys/k1/decrypt", () => ({ alg: "A256CBC", value: plain, iv: "A".repeat(22) })],
	["POST", "/keys/rsa/sign", () => ({ alg: "RS256", value: plain })],
	["POST", "/keys/rsa/verify", () => ({ alg: "RS256", digest: plain, value: plain })],
	["POST", "/rng", () => ({ count: 4 })], ["PUT", "/keys/k1/rotationpolicy", () => ({ lifetimeActions: [] })],
	["PUT", "/keys/imported", () => ({ key: { kty: "oct", k: plain } })],
];
const BROKEN = [
	["not JSON", "{\"alg\":"], ["empty", ""], ["an array", "[]"], ["a text", "\"x\""], ["null", "null"], ["a number", "5"], ["text after it", "{} x"],
	["not UTF-8", Buffer.from("{\"alg\":\"\xff\xfe\"}", "latin1")], ["depth 40", `{"alg":${"[".repeat(40)}${"]".repeat(40)}}`],
	["a byte order mark", "\ufeff{}"], ["a duplicate member", "{\"x\":1,\"x\":1}"],
	["1000 members", JSON.stringify(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`m${i}`, i])))],
];

describe("every operation that reads a body", () => {
	for (const [method, keyPath, good] of READERS) {
		test(`${method} ${keyPath} refuses what is no JSON object, is labelled otherwise, or too large, and works with a good one`, async () => {
			for (const [what, body] of BROKEN) {
				const res = await d.call(vault, user, method, keyPath, body);
				assert.equal(res.status, 400, `${what}: ${res.status} ${res.text}`);
				await refusedWell(res, 400, "BadParameter");
			}
			assertError(await d.call(vault, user, method, keyPath, JSON.stringify(good()), { headers: { "content-type": "text/plain" } }), 415,
				"UnsupportedMediaType");
			const big = { ...good(), pad: "A".repeat(BODY_LIMIT) };
			assertErrorBody(await d.call(vault, user, method, keyPath, big, { client: d.client() }), 413, "RequestBodyTooLarge");
			const res = await d.call(vault, user, method, keyPath, good());
			assert.equal(res.status, 200, res.text);
		});
	}
});

describe("what is tolerated", () => {
	test("padding, null members, unknown members, a query name in any case and percent-encoded", async () => {
		const value = wrapped.padEnd(Math.ceil(wrapped.length / 4) * 4, "=");
		for (const body of [{ alg: "A256KW", value }, { alg: "A256KW", value, iv: null, aad: null, tag: null }, { alg: "A256KW", value, later: { x: [1] } }]) {
			const res = await d.call(vault, user, "POST", "/keys/k1/unwrapkey", body);
			assert.equal(res.json?.value, plain, res.text);
		}
		for (const query of ["api%2Dversion", "API-Version", "%61pi-version"]) {
			const res = await d.call(vault, user, "GET", `/keys/k1?${query}=${API_VERSION}`, undefined, { apiVersion: null });
			assert.equal(res.status, 200, `${query}: ${res.text}`);
		}
		assert.equal((await d.call(vault, user, "PATCH", "/keys/k1", { attributes: { exp: null, nbf: null }, tags: null })).status, 200);
		assert.equal((await d.call(vault, user, "PATCH", "/keys/k1", { attributes: {} })).status, 200);
	});
	test("a content type with parameters, and every documented api-version", async () => {
		for (const type of ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
			assert.equal((await d.call(vault, user, "PATCH", "/keys/k1", "{}", { headers: { "content-type": type } })).status, 200, type);
		for (const apiVersion of ["7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"])
			assert.equal((await d.call(vault, user, "GET", "/keys/k1", undefined, { apiVersion })).status, 200, apiVersion);
	});
});

describe("the request itself", () => {
	test("a missing or unknown api-version is 400", async () => {
		for (const apiVersion of [null, "", "1.0", "2999-01-01", "7.6%00", "7.6x"]) {
			const res = await d.call(vault, user, "GET", "/keys/k1", undefined, { apiVersion });
			assertErrorBody(res, 400, "BadParameter");
		}
	});
	test("a body that is not labelled JSON is 415", async () => {
		for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data; boundary=x", null]) {
			const res = await d.call(vault, user, "POST", "/keys/k1/wrapkey", JSON.stringify({ alg: "A256KW", value: plain }),
				{ headers: { "content-type": type } });
			assertError(res, 415, "UnsupportedMediaType");
		}
	});
	test("a body over the limit is 413, also when its length is not announced", async () => {
		const big = JSON.stringify({ alg: "A256KW", value: "A".repeat(BODY_LIMIT + 1) });
		assertErrorBody(await d.call(vault, user, "POST", "/keys/k1/wrapkey", big, { client: d.client() }), 413, "RequestBodyTooLarge");
		const token = await d.token(user);
		const head = `POST /keys/k1/wrapkey?api-version=${API_VERSION} HTTP/1.1\r\nHost: ${new URL(vault.origin).host}\r\n`
			+ `Authorization: Bearer ${token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
		const chunk = `${(16384).toString(16)}\r\n${"A".repeat(16384)}\r\n`;
		const got = await rawExchange({ ca: d.caPem, origin: vault.origin, bytes: head + chunk.repeat(6) + "0\r\n\r\n" });
		assert.match(got.text, /^HTTP\/1\.1 413 /);
		const nearly = JSON.stringify({ alg: "A256KW", value: plain, pad: "A".repeat(BODY_LIMIT - 200) });
		assert.equal((await d.call(vault, user, "POST", "/keys/k1/wrapkey", nearly)).status, 200, "a body below the limit is read");
	});
	test("unknown routes are 400 BadParameter", async () => {
		for (const [method, keyPath, body] of [
			["GET", "/"], ["GET", "/foo"], ["GET", "/keysx"], ["GET", "/keys/k1/v/w/x"],
			["POST", `/keys/k1/${version}/frobnicate`, {}], ["POST", "/keys/k1/frobnicate", {}], ["GET", "/secrets/x"], ["GET", "/certificates"],
			["GET", "/.well-known/x"],
		])
			assertError(await d.call(vault, user, method, keyPath, body), 400, "BadParameter");
	});
	test("a path without a name is 400, with the headers of every answer", async () => {
		assertError(await d.call(vault, user, "POST", "/keys//create", { kty: "oct-HSM" }, { client: d.client() }), 400, "BadParameter");
	});
	test("management, audit and health do not live on a vault host", async () => {
		for (const other of ["/admin/v1/vaults", "/audit/v1/entries", "/health/ready", `/${vault.tenant_id}/oauth2/v2.0/token`]) {
			const res = await d.call(vault, user, "GET", other);
			assert.ok([400, 404].includes(res.status), `${other}: ${res.status}`);
		}
	});
	test("bad names are 400, and a version that is none is no version", async () => {
		for (const name of ["a_b", "a%20b", "a.b", "%C3%A4", "x".repeat(128), "a;b", "a%2Bb"])
			assertErrorBody(await d.call(vault, user, "POST", `/keys/${name}/create`, { kty: "oct-HSM" }), 400, "BadParameter");
		assert.equal((await d.call(vault, user, "POST", `/keys/${"x".repeat(127)}/create`, { kty: "oct-HSM" })).status, 200);
		for (const bad of ["123", version.slice(1), `${version}0`, "g".repeat(32)]) {
			const res = await d.call(vault, user, "GET", `/keys/k1/${bad}`);
			assert.ok([400, 404].includes(res.status), `${bad}: ${res.status}`);
		}
	});
	test("the wrong method is 405 with Allow", async () => {
		for (const [method, keyPath, allow] of [
			["DELETE", "/keys", "GET"], ["POST", "/keys", "GET"], ["PUT", "/deletedkeys/k1", "DELETE"], ["PATCH", "/deletedkeys/k1", "GET"],
			["GET", "/keys/k1/create", "POST"], ["DELETE", `/keys/k1/${version}`, "PATCH"], ["GET", "/keys/k1/rotate", "POST"],
			["GET", "/rng", "POST"], ["POST", "/keys/k1", "PUT"], ["GET", "/keys/k1/backup", "POST"], ["POST", "/keys/k1/rotationpolicy", "PUT"],
			["DELETE", "/keys/k1/rotationpolicy", "GET"], ["PUT", "/keys/k1/sign", "POST"], ["GET", `/keys/k1/${version}/decrypt`, "POST"],
			["POST", `/keys/k1/${version}/attestation`, "GET"], ["DELETE", `/keys/k1/${version}/release`, "POST"],
		]) {
			const res = await d.call(vault, user, method, keyPath);
			assertError(res, 405, "MethodNotAllowed");
			assert.ok((res.headers.allow ?? "").split(/, ?/).includes(allow), `${method} ${keyPath}: Allow: ${res.headers.allow}`);
		}
	});
	test("a path that hides another is 400 and closes the connection", async () => {
		const token = await d.token(user);
		for (const target of ["/keys/k1%00x", "/keys%2fk1", "/keys/k1%5cx", "/keys/./k1", "/keys/x/../k1", "/keys/%2e%2e/keys/k1", "//keys/k1",
			"/keys//k1", "/keys/k1///wrapkey", `/keys/${"x".repeat(3000)}`]) {
			const got = await rawExchange({ ca: d.caPem, origin: vault.origin, bytes: `GET ${target}?api-version=${API_VERSION} HTTP/1.1\r\n`
				+ `Host: ${new URL(vault.origin).host}\r\nAuthorization: Bearer ${token}\r\n\r\n`, waitMs: 1500 });
			assert.match(got.text, /^HTTP\/1\.1 4(00|14) /, `${target}: ${got.text.slice(0, 60)}`);
		}
	});
	test("request smuggling is refused and the connection closed", async () => {
		const token = await d.token(user);
		const { host } = new URL(vault.origin);
		const line = `POST /keys/k1/wrapkey?api-version=${API_VERSION} HTTP/1.1\r\n`;
		const common = `Authorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;
		for (const [what, bytes] of Object.entries({
			"two lengths": `${line}Host: ${host}\r\n${common}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
			"length and chunked": `${line}Host: ${host}\r\n${common}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
			"blank before the colon": `${line}Host: ${host}\r\n${common}Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}`,
			"two hosts": `${line}Host: ${host}\r\nHost: other.vault.localhost\r\n${common}Content-Length: 2\r\n\r\n{}`,
			"no host": `${line}${common}Content-Length: 2\r\n\r\n{}`,
			"two tokens": `${line}Host: ${host}\r\n${common}Authorization: Bearer x\r\nContent-Length: 2\r\n\r\n{}`,
			"other coding": `${line}Host: ${host}\r\n${common}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
			"too many headers": `${line}Host: ${host}\r\n${common}${Array.from({ length: 80 }, (_, i) => `x-h${i}: 1\r\n`).join("")}Content-Length: 2\r\n\r\n{}`,
			"HTTP/1.0 chunked": `${line.replace("1.1", "1.0")}Host: ${host}\r\n${common}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
			"not HTTP": "\x16\x03\x01 hello\r\n\r\n",
		})) {
			const got = await rawExchange({ ca: d.caPem, origin: vault.origin, bytes });
			assert.ok(got.text === "" || /^HTTP\/1\.[01] 4\d\d /.test(got.text), `${what}: ${got.text.slice(0, 80)}`);
			assert.ok(got.closed, `${what}: the connection stays open`);
			assert.ok((got.text.match(/HTTP\/1\.[01] \d/g) ?? []).length <= 1, `${what}: more than one answer`);
		}
	});
	test("an unknown host never falls back to a vault", async () => {
		for (const host of [`nobody.vault.localhost:${d.port}`, "example.com", "127.0.0.1", `x.orders.vault.localhost:${d.port}`, "orders", "orders.vault.localhost."]) {
			const res = await d.call(vault, user, "GET", "/keys/k1", undefined, { host });
			assert.ok(res.status >= 400 && res.status < 500, `${host}: ${res.status}`);
			assert.ok(!res.text.includes(version), host);
		}
	});
});

describe("headers and receipts", () => {
	test("an answer has all headers, echoes the client's request id, and its receipt is in the log", async () => {
		const id = "11111111-2222-3333-4444-555555555555";
		const res = await d.call(vault, user, "GET", "/keys/k1", undefined, { headers: { "x-ms-client-request-id": id } });
		assert.equal(res.status, 200);
		assertHeaders(res);
		assert.equal(res.headers["x-ms-client-request-id"], id);
		assert.equal(res.headers["x-ms-keyvault-region"], "testsite");
		const got = assertReceipt(res);
		const leaf = leafOf(await d.entries(), got);
		assert.equal(leaf.type, "key.get");
		assert.equal(leaf.corr, id);
		assert.equal(leaf.req, res.headers["x-ms-request-id"]);
		assert.equal(leaf.http, 200);
		assert.equal(leaf.key.name, "k1");
		assert.equal(leaf.key.ver, version);
	});
	test("each answer has its own request id and leaf", async () => {
		const answers = await Promise.all(Array.from({ length: 40 }, () => d.call(vault, user, "GET", "/keys/k1")));
		assert.equal(new Set(answers.map((r) => r.headers["x-ms-request-id"])).size, 40);
		assert.equal(new Set(answers.map((r) => r.headers["x-audit-seq"])).size, 40);
	});
	test("a client request id that cannot be echoed is left out and does no harm", async () => {
		const res = await d.call(vault, user, "GET", "/keys/k1", undefined, { headers: { "x-ms-client-request-id": "x".repeat(2000) } });
		assert.equal(res.status, 200);
		assert.ok((res.headers["x-ms-client-request-id"] ?? "").length <= 128);
	});
	test("a refusal without a token has the headers and no receipt", async () => {
		const res = await d.call(vault, null, "GET", "/keys/k1");
		assertError(res, 401, "Unauthorized");
		assert.equal(res.headers["x-audit-seq"], undefined);
	});
	test("the server is ready after all this", async () => {
		assert.equal((await d.health()).status, 200);
		assert.equal((await d.call(vault, user, "POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped })).json?.value, plain);
	});
});
