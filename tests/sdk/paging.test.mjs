// Lists over pages: complete, stable while keys come and go, with tokens that nobody can make or carry elsewhere (keyvault-keys.md section 7).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { b64, flipped, unb64 } from "../support/keys.mjs";
import { collect, sdk } from "./clients.mjs";

const COUNT = 40;
const names = Array.from({ length: COUNT }, (_, i) => `p${String(i).padStart(2, "0")}-${i % 3 ? "x" : "Y"}`);
let d, vault, officer, keys;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("pages");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys } = sdk(d, vault, officer));
	for (const name of names)
		await create(name);
	for (let i = 0; i < 11; i++)
		await create("many");
	for (let i = 0; i < 9; i++) {
		await create(`d${i}`);
		await d.ok(vault, officer, "DELETE", `/keys/d${i}`);
	}
});
after(() => d?.destroy());

const create = (name, where = vault, who = officer) => d.ok(where, who, "POST", `/keys/${name}/create`, { kty: "oct" });
const lists = () => [["/keys", keys.listPropertiesOfKeys(), COUNT + 1],
	["/keys/many/versions", keys.listPropertiesOfKeyVersions("many"), 11],
	["/deletedkeys", keys.listDeletedKeys(), 9]];
const next = async (link) => {
	const url = new URL(link);
	return d.call(vault, officer, "GET", url.pathname + url.search, undefined, { apiVersion: null });
};

test("every list over pages of each size is the whole list, once", async () => {
	for (const maxPageSize of [1, 2, 7, 24, 25]) {
		for (const [listPath, list, count] of lists()) {
			const seen = [];
			for await (const page of list.byPage({ maxPageSize })) {
				assert.ok(page.length <= maxPageSize);
				seen.push(...page.map((item) => item.id));
			}
			assert.equal(seen.length, count, `${listPath}, pages of ${maxPageSize}`);
			assert.equal(new Set(seen).size, count);
		}
	}
	assert.deepEqual((await collect(keys.listPropertiesOfKeys())).map((p) => p.name).sort(), [...names, "many"].sort());
	assert.equal((await collect(keys.listDeletedKeys())).length, 9);
});

test("the client goes on from a continuation token", async () => {
	const all = await collect(keys.listPropertiesOfKeys());
	const first = await keys.listPropertiesOfKeys().byPage({ maxPageSize: 6 }).next();
	const { nextLink } = await d.ok(vault, officer, "GET", "/keys?maxresults=6");
	assert.deepEqual(first.value.map((p) => p.name), all.slice(0, 6).map((p) => p.name));
	const rest = [];
	for await (const page of keys.listPropertiesOfKeys().byPage({ continuationToken: nextLink, maxPageSize: 6 }))
		rest.push(...page.map((p) => p.name));
	assert.deepEqual(rest, all.slice(6).map((p) => p.name));
});

test("nextLink is of the same host, path, version and size, and null at the end", async () => {
	for (const [listPath] of lists()) {
		let body = await d.ok(vault, officer, "GET", `${listPath}?maxresults=4`);
		for (let hops = 0; body.nextLink !== null; hops++) {
			assert.ok(hops < 20);
			const url = new URL(body.nextLink);
			assert.equal(url.origin, vault.origin);
			assert.equal(url.pathname, listPath);
			assert.equal(url.searchParams.get("api-version"), "2025-07-01");
			assert.equal(url.searchParams.get("maxresults"), "4");
			assert.match(url.searchParams.get("$skiptoken"), /^[A-Za-z0-9_-]+$/);
			const res = await next(body.nextLink);
			assert.equal(res.status, 200, res.text);
			body = res.json;
		}
	}
});

test("a list that ends with a full page has no page behind", async () => {
	const res = await d.ok(vault, officer, "GET", "/deletedkeys?maxresults=9");
	assert.equal(res.value.length, 9);
	if (res.nextLink !== null)
		assert.deepEqual((await next(res.nextLink)).json, { value: [], nextLink: null });
});

test("a token that was changed in any byte is 400", async () => {
	const { nextLink } = await d.ok(vault, officer, "GET", "/keys?maxresults=3");
	const token = new URL(nextLink).searchParams.get("$skiptoken");
	const withToken = (text) => d.call(vault, officer, "GET", `/keys?maxresults=3&$skiptoken=${text}`);
	assert.equal((await withToken(token)).status, 200);
	for (let at = 0; at < unb64(token).length; at++)
		assertError(await withToken(b64(flipped(unb64(token), at * 8))), 400, "BadParameter");
	for (const bad of [token.slice(0, -2), `${token}AA`, token.slice(1), "", "A", "AAAA", b64(randomBytes(40)), b64("{\"Next\":\"p10\"}"),
		"%00", "§",
		token.toUpperCase(), "A".repeat(1500)]) {
		const res = await withToken(encodeURIComponent(bad));
		assertError(res, 400, "BadParameter");
	}
});

test("a token of another vault, list, or key is 400", async () => {
	const other = await d.makeVault("pages2");
	const owner = await d.makePrincipal(other, "owner", ["crypto-officer"]);
	for (const name of [...names.slice(0, 4), "many", "many", "many"])
		await create(name, other, owner);
	await create("many2");
	await create("many2");
	const tokenOf = async (where, who, listPath) => {
		const { nextLink } = await d.ok(where, who, "GET", `${listPath}?maxresults=1`);
		return new URL(nextLink).searchParams.get("$skiptoken");
	};
	const use = (where, who, listPath, token) => d.call(where, who, "GET", `${listPath}?$skiptoken=${token}`);
	const keysToken = await tokenOf(vault, officer, "/keys");
	const versionsToken = await tokenOf(vault, officer, "/keys/many/versions");
	const deletedToken = await tokenOf(vault, officer, "/deletedkeys");
	assertError(await use(other, owner, "/keys", keysToken), 400, "BadParameter");
	assertError(await use(other, owner, "/keys/many/versions", versionsToken), 400, "BadParameter");
	assertError(await use(vault, officer, "/keys/many2/versions", versionsToken), 400, "BadParameter");
	for (const [listPath, token] of [["/deletedkeys", keysToken], ["/keys", deletedToken], ["/keys", versionsToken],
		["/keys/many/versions", keysToken]])
		assertError(await use(vault, officer, listPath, token), 400, "BadParameter");
	for (const [listPath, token] of [["/keys", keysToken], ["/keys/many/versions", versionsToken], ["/deletedkeys", deletedToken]])
		assert.equal((await use(vault, officer, listPath, token)).status, 200);
});

test("a token is good for another principal of the vault, and after a restart", async () => {
	const { nextLink } = await d.ok(vault, officer, "GET", "/keys?maxresults=3");
	const url = new URL(nextLink);
	const second = await d.makePrincipal(vault, "second", ["reader"]);
	await d.stop();
	await d.restart();
	for (const who of [officer, second])
		assert.equal((await d.call(vault, who, "GET", url.pathname + url.search, undefined, { apiVersion: null })).status, 200);
});

test("while keys come and go between pages, those that stay are neither repeated nor missed", async () => {
	const stable = new Set(names);
	const seen = [];
	let { value, nextLink: link } = await d.ok(vault, officer, "GET", "/keys?maxresults=5");
	seen.push(...value);
	for (let i = 0; link !== null; i++) {
		await create(`p${String((i * 7) % COUNT).padStart(2, "0")}-new${i}`);
		const last = seen[seen.length - 1].kid.split("/").pop(); // the very key that the cursor stands on
		if (stable.has(last)) {
			stable.delete(last);
			await d.ok(vault, officer, "DELETE", `/keys/${last}`);
		}
		const res = await next(link);
		assert.equal(res.status, 200, res.text);
		({ value, nextLink: link } = res.json);
		seen.push(...value);
	}
	const counts = new Map();
	for (const { kid } of seen)
		counts.set(kid.split("/").pop(), (counts.get(kid.split("/").pop()) ?? 0) + 1);
	for (const name of stable)
		assert.equal(counts.get(name), 1, name);
	for (const [name, count] of counts)
		assert.equal(count, 1, name);
});
