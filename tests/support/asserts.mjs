// What every answer of the key API must look like.
import assert from "node:assert/strict";
import { receipt } from "./log.mjs";

const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The headers of every answer on a vault host (keyvault-keys.md 2.3). */
export function assertHeaders(res) {
	assert.match(res.headers["x-ms-request-id"] ?? "", GUID, "x-ms-request-id");
	assert.ok(res.headers["x-ms-keyvault-region"], "x-ms-keyvault-region");
	assert.match(res.headers["x-ms-keyvault-service-version"] ?? "", /^\d+(\.\d+){2,3}$/, "x-ms-keyvault-service-version");
	assert.match(res.headers["x-ms-keyvault-network-info"] ?? "", /conn_type=.*addr=.*act_addr_fam=/, "x-ms-keyvault-network-info");
	assert.match(res.headers["cache-control"] ?? "", /no-cache|no-store/, "cache-control");
	assert.equal(res.headers.pragma, "no-cache");
	assert.equal(res.headers.expires, "-1");
	assert.equal(res.headers["strict-transport-security"], "max-age=31536000;includeSubDomains");
	assert.equal(res.headers["x-content-type-options"], "nosniff");
	if (res.body.length > 0)
		assert.match(res.headers["content-type"] ?? "", /^application\/json; ?charset=utf-8$/);
}

/** The receipt that an audited answer carries. */
export function assertReceipt(res) {
	const got = receipt(res);
	assert.ok(got, "x-audit-seq is missing");
	assert.equal(Buffer.from(got.leaf ?? "", "base64").length, 32, "x-audit-leaf is not a hash");
	assert.match(got.origin ?? "", /^[A-Za-z0-9.\-/]{1,200}$/, "x-audit-origin");
	return got;
}

/** The error shape (keyvault-keys.md 8.1), and nothing else in the body. */
export function assertErrorBody(res, status, code, inner) {
	assert.equal(res.status, status, res.text);
	assert.ok(res.json && typeof res.json === "object", `the body is not JSON: ${res.text}`);
	assert.deepEqual(Object.keys(res.json), ["error"]);
	const { error } = res.json;
	if (code !== undefined)
		assert.equal(error.code, code, res.text);
	assert.ok(typeof error.message === "string" && error.message.length > 0);
	assert.equal(error.innererror?.code, inner, res.text);
	for (const name of Object.keys(error))
		assert.ok(["code", "message", "innererror"].includes(name), `error has a member ${name}`);
}

export function assertError(res, status, code, inner) {
	assertErrorBody(res, status, code, inner);
	assertHeaders(res);
	if (status === 429 || status === 503)
		assert.match(res.headers["retry-after"] ?? "", /^[1-9]\d*$/, "Retry-After");
}
