// What is refused, as the log and the caller see it: the leaf names the key, and numbers in a query are digits.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { leafOf, receipt } from "../support/log.mjs";

let d, vault, officer, reader;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer", "crypto-user"]);
	reader = await d.makePrincipal(vault, "reader", ["reader"]);
	await d.ok(vault, officer, "POST", "/keys/here/create", { kty: "EC" });
});
after(() => d?.destroy());

test("the leaf of a refused operation names the key that it was about", async () => {
	const value = Buffer.alloc(32).toString("base64url");
	const refused = [
		[officer, "PUT", "/keys/k1", { key: { kty: "oct", k: "AA" } }, 400],
		[officer, "POST", "/keys/k2/create", { kty: "RSA", key_size: 1000 }, 400],
		[officer, "POST", "/keys/k3/create", "{", 400],
		[officer, "POST", "/keys/here/sign", { alg: "RS256", value }, 400],
		[officer, "PUT", "/keys/here/rotationpolicy", { lifetimeActions: 7 }, 400],
		[officer, "GET", "/keys/gone", undefined, 404],
		[reader, "POST", "/keys/here/create", { kty: "EC" }, 403],
		[reader, "DELETE", "/keys/here", undefined, 403],
		[reader, "POST", "/keys/here/sign", { alg: "ES256", value }, 403],
		[officer, "POST", "/keys/here/00000000000000000000000000000000/release", { target: "x" }, 400],
	];
	const answers = [];
	for (const [who, method, path, body, status] of refused) {
		const res = await d.call(vault, who, method, path, body, { headers: { "content-type": "application/json" } });
		assert.equal(res.status, status, `${method} ${path}: ${res.text}`);
		answers.push({ res, what: `${method} ${path}: ${status}`, name: path.split("/")[2] });
	}
	const bad = await d.call(vault, officer, "POST", "/keys/no_name/create", { kty: "EC" });
	assert.equal(bad.status, 400, bad.text);
	const entries = await d.entries();
	for (const { res, what, name } of answers)
		assert.equal(leafOf(entries, receipt(res)).key?.name, name, what);
	assert.equal(leafOf(entries, receipt(bad)).key, undefined, "what is not a name is not written");
});

test("maxresults is digits only", async () => {
	for (const size of ["5", "05", "25"])
		await d.ok(vault, officer, "GET", `/keys?maxresults=${size}`);
	for (const size of ["%2B5", "+5", "%205", "%0A5", "5%20", "-5", "0", "26", "", "5x", "000000005", "0x5"]) {
		const res = await d.call(vault, officer, "GET", `/keys?maxresults=${size}`);
		assert.equal(res.status, 400, `${size}: ${res.text}`);
	}
});
