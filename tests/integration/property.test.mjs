// Random requests, valid and spoiled, made from the daemon's own description of its API. Whatever is asked: never a 5xx, never a hang, an answer
// as described, an error in the one shape; and what was refused has changed nothing.
//
//	PROPERTY_SEED=n repeats the choices of a run (its seed is printed), PROPERTY_REQUESTS=n makes more of them.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, test } from "node:test";
import { assertErrorBody } from "../support/asserts.mjs";
import { Chance, newSeed, spoiledBody, spoiledPath, spoiledQuery } from "../support/chance.mjs";
import { makeSelfSigned } from "../support/certs.mjs";
import { API_VERSION, DOMAIN, Daemon } from "../support/daemon.mjs";
import { makeIdentity } from "../support/ekm.mjs";
import {
	CURVES, MACS, b64, cbcHere, digestOf, ecPair, encryptHere, gcmHere, jwkOf, macHere, octJwk, publicOf, rsaPair, signHere, transferBlob,
	transferCiphertext, transferable, wrapHere,
} from "../support/keys.mjs";
import { Description } from "../support/openapi.mjs";

const SEED = Number(process.env.PROPERTY_SEED ?? newSeed());
const REQUESTS = Number(process.env.PROPERTY_REQUESTS ?? 3000);
const BATCH = 50;
const ANSWER_MS = 20_000;
const SPOILED = 0.6;
const MUTATING = new Set(["POST", "PUT", "PATCH", "DELETE"]);
const READS_ONLY = /^(KeyEncrypt|KeyDecrypt|KeyWrap|KeyUnwrap|KeySign|KeyVerify|KeyBackup|Random|Token|ReportKeys)/;
const MEDIA_TYPES = ["text/plain", "application/x-www-form-urlencoded", "application/json;charset=utf-8", "", "*/*"];
const GONE = "gone"; // a deleted key
const LOCAL = Symbol("local socket");
const NEW_NAMES = ["new-1", "new-2", "New-3"];
const AT_THE_EKM_LISTENER = /^Ekm(Info|Metadata|Wrap|Unwrap)$/; // ekm.test.mjs
const POOL = "pool";
const PUBLISHED = { key: "served", external_id: "Served-1" };

/* What management is about, besides keys; anything of it may be changed by an accepted request of management. */
const MANAGED = ["principals", "groups", "roledefinitions", "services"];

let d, vault, admin, nobody, dummy, central, group, member, service, role, description, operations, fixtures, chance, root, certificate;

/** The keys that requests are made for: imported, so that both halves are here and a spoilt one is soon replaced. */
async function makeFixtures() {
	const rsa = (await rsaPair(2048)).privateKey;
	const ec = (await ecPair("P-256")).privateKey;
	const aes = chance.bytes(32);
	const mac = chance.bytes(64);
	const of = (name, kind, jwk, material) => ({ name, kind, body: { key: jwk, tags: { fixture: name } }, material });
	fixtures = [
		of("rsa", "rsa", jwkOf(rsa), rsa), of("rsa-hsm", "rsa", { ...jwkOf(rsa), kty: "RSA-HSM" }, rsa),
		of("ec", "ec", jwkOf(ec), ec), of("ec-hsm", "ec", { ...jwkOf(ec), kty: "EC-HSM" }, ec),
		of("aes", "aes", octJwk(aes), aes), of("aes-hsm", "aes", { ...octJwk(aes), kty: "oct-HSM" }, aes),
		of("mac", "mac", octJwk(mac), mac), { name: "exchange", kind: "exchange" },
	];
	for (const fixture of fixtures)
		await makeFixture(fixture);
	await call("PUT", `/keys/${GONE}`, { key: octJwk(aes) });
	await call("DELETE", `/keys/${GONE}`);
}

/** A pool of Managed HSM, and a key for it that no other request is about. */
async function makePool() {
	const identity = makeIdentity(d.dir, POOL);
	root = fs.readFileSync(identity.ca.cert, "utf8");
	const pool = await d.makePool(vault, POOL, { subjects: [identity.subject], roots: [identity.ca.cert] });
	assert.equal((await call("PUT", `/keys/${PUBLISHED.key}`, { key: octJwk(chance.bytes(32)) })).status, 200);
	await d.publish(vault, pool, PUBLISHED.key, { id: PUBLISHED.external_id });
}

async function makeFixture(fixture) {
	const made = fixture.body ? await call("PUT", `/keys/${fixture.name}`, fixture.body)
		: await call("POST", `/keys/${fixture.name}/create`, { kty: "RSA-HSM", key_ops: ["import"] });
	assert.equal(made.status, 200, made.text);
	fixture.kid = made.json.key.kid;
	fixture.version = fixture.kid.split("/").pop();
	fixture.jwk = made.json.key;
	if (["rsa", "ec"].includes(fixture.name))
		fixture.backup = (await call("POST", `/keys/${fixture.name}/backup`)).json.value;
}

/** Principals, groups, roles and services for requests to be about: of the vault, and one of the installation. */
async function makeManaged() {
	central = (await d.adminOk("POST", "/admin/v1/principals", { name: "central" })).json;
	group = await d.makeGroup(vault, "group");
	member = await d.makePrincipal(vault, "member");
	await d.addMember(vault, group, member);
	service = await d.makeService(vault, "service", { subjects: ["service.example"], roots: [makeIdentity(d.dir, "service").ca.cert] });
	certificate = makeSelfSigned(d.dir, "property");
	await heal(new Set(MANAGED.map((what) => ` ${what}`)));
}

const managed = (what) => `/admin/v1/vaults/${vault.name}/${what}`;

/** The id that an operation's path means, when it is to mean something. */
async function idFor({ id, path }) {
	const at = path.startsWith("/admin/v1/vaults/") ? managed("principals") : "/admin/v1/principals";
	const whom = path.startsWith("/admin/v1/vaults/") || chance.is(0.5) ? dummy : central;
	const of = async (listPath) => (await d.admin("GET", listPath)).json?.value ?? [];
	if (/^(Group|Member)/.test(id))
		return { id: group.id, member: member.client_id };
	if (id.startsWith("RoleDefinition"))
		return { id: role.id };
	if (id.startsWith("Approval"))
		return { id: chance.pick(await of(managed("approvals")))?.id ?? dummy.client_id };
	if (id.startsWith("CredentialRemove"))
		return { id: whom.client_id, credential: (await of(`${at}/${whom.client_id}/credentials`)).at(-1)?.id ?? dummy.client_id };
	return { id: whom.client_id };
}

const call = (method, keyPath, body) => d.call(vault, admin, method, keyPath, body);

before(async () => {
	chance = new Chance(SEED);
	const issuers = [{ name: "partner", issuer: ["https://partner.example"], jwks_url: "https://127.0.0.1:9/jwks" }];
	d = await Daemon.start({ issuers });
	vault = await d.makeVault("property", { allowRsa15: true });
	admin = await d.makePrincipal(vault, "admin", ["administrator"]);
	nobody = await d.makePrincipal(vault, "nobody");
	dummy = await d.makePrincipal(vault, "dummy", ["reader"]);
	description = new Description((await d.http.request("GET", "/openapi.json")).json);
	operations = description.operations().filter(({ id }) => !AT_THE_EKM_LISTENER.test(id));
	await makeFixtures();
	await makePool();
	await makeManaged();
});
after(() => d?.destroy());

/* ---- requests that make sense: what an operation needs under this key ---- */

function cryptoBody(op, { kind, material, jwk }) {
	const plain = chance.bytes(1 + chance.below(48));
	const iv = chance.bytes(16);
	const value = b64(plain);
	if (kind === "mac") {
		const alg = chance.pick(Object.keys(MACS));
		return op === "Verify" ? { alg, digest: value, value: b64(macHere(alg, material, plain)) } : { alg, value };
	}
	if (op === "Sign" || op === "Verify") {
		if (kind === "aes" || kind === "exchange")
			return { alg: "HS256", value, digest: value };
		const alg = kind === "ec" ? CURVES["P-256"].alg : chance.pick(["RS256", "PS384", "PS512", "RSNULL"]);
		const digest = b64(alg === "RSNULL" ? plain : digestOf(alg, plain));
		return op === "Verify" ? { alg, digest, value: b64(signHere(alg, material, plain)) } : { alg, value: digest };
	}
	if (kind === "rsa" || kind === "exchange") {
		const alg = chance.pick(["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"]);
		return { alg, value: /^(Un|De)/.test(op) ? b64(encryptHere(alg, publicOf(jwk), plain)) : value };
	}
	if (kind === "ec")
		return { alg: "RSA-OAEP", value };
	if (op === "Wrap")
		return { alg: "CKM_AES_KEY_WRAP_PAD", value };
	if (op === "Unwrap")
		return { alg: "CKM_AES_KEY_WRAP_PAD", value: b64(wrapHere(material, plain, true)) };
	if (chance.is(0.5))
		return { alg: "A256CBCPAD", iv: b64(iv), value: op === "Encrypt" ? value : b64(cbcHere(material, iv, plain, true)) };
	if (op === "Encrypt")
		return { alg: "A256GCM", value, aad: value };
	const sealed = gcmHere(material, iv.subarray(0, 12), plain, plain);
	return { alg: "A256GCM", value: b64(sealed.value), tag: b64(sealed.tag), iv: b64(iv.subarray(0, 12)), aad: value };
}

function importBody() {
	const { jwk, kid } = fixtures.find((f) => f.kind === "exchange");
	if (chance.is(0.3)) {
		const blob = transferBlob(kid, transferCiphertext(publicOf(jwk), transferable(chance.pick(fixtures.filter((f) => f.material)).material)));
		const key = chance.pick([{ kty: "RSA-HSM" }, { kty: "EC-HSM", crv: "P-256" }, { kty: "oct-HSM" }]);
		return { key: { ...key, key_hsm: Buffer.from(JSON.stringify(blob)).toString("base64") } };
	}
	return { ...structuredClone(chance.pick(fixtures.filter((f) => f.body)).body), Hsm: chance.is(0.3) };
}

const sensible = {
	KeyCreate: () => chance.pick([
		{ kty: "oct" }, { kty: "oct-HSM", key_size: 128 }, { kty: "EC", crv: chance.pick(Object.keys(CURVES)) }, { kty: "EC-HSM" },
		{ kty: "oct", key_size: 512, key_ops: ["sign"] }, { kty: "RSA", tags: { a: "b" } },
		{ kty: "EC", attributes: { enabled: false, exp: 2000000000 } },
	]),
	KeyImport: importBody,
	KeyRestore: () => ({ value: chance.pick(fixtures.filter((f) => f.backup)).backup }),
	KeyUpdate: () => chance.pick([{ tags: { x: chance.text(5) } }, { attributes: { enabled: chance.is(0.5) } },
		{ attributes: { exp: 2000000000 } }, {},
		{ key_ops: [chance.pick(["sign", "verify", "encrypt", "unwrapKey"])] }]),
	KeyRotationPolicySet: () => chance.pick([{ lifetimeActions: [], attributes: {} },
		{ attributes: { expiryTime: "P1Y" }, lifetimeActions: [{ trigger: { timeBeforeExpiry: "P30D" }, action: { type: "Rotate" } }] }]),
	Random: () => ({ count: 1 + chance.below(128) }),
	ReportKeys: () => ({ keys: [`${vault.origin}/keys/${chance.text(8)}`, chance.text(20)] }),
	PrincipalCreate: () => ({ name: chance.text(8) }),
	RoleGrant: () => ({ principal: dummy.client_id, role: chance.pick(["reader", "crypto-user", "auditor", "administrator"]) }),
	RoleRemove: () => ({ principal: dummy.client_id, role: chance.pick(["reader", "crypto-user", "auditor"]) }),
	VaultUpdate: () => chance.pick([{ networks: chance.pick(["", "127.0.0.0/8"]) }, { retention_days: 90 }, { allow_rsa1_5: true }]),
	GroupCreate: () => ({ name: chance.text(8) }),
	MemberAdd: () => ({ member: dummy.client_id }),
	RoleDefinitionCreate: () => ({ name: chance.text(8), actions: [chance.pick(["Microsoft.KeyVault/vaults/keys/*", "Holdfast/vaults/read"])] }),
	CredentialAddSecret: () => ({ kind: chance.pick(["secret", "header"]), days: 3 }),
	CredentialAddCertificate: () => ({ certificate: fs.readFileSync(certificate.cert, "utf8") }),
	CredentialAddIdentity: () => ({ issuer: "partner", subject: chance.text(8) }),
	ServiceAdd: () => ({ name: chance.text(8), subjects: [`${chance.text(8)}.example`], roots: [root] }),
	ServiceCertificates: () => ({ subjects: [`${chance.text(8)}.example`], roots: [root] }),
	ApprovalApprove: () => ({ reason: "property" }),
	ApprovalDeny: () => ({ reason: "property" }),
	KeyRevoke: () => ({ reason: chance.pick(["superseded", "keyCompromise", "unspecified"]) }),
	EkmPoolAdd: () => ({ name: chance.text(8), subjects: [`${chance.text(8)}.azure.net`], roots: [root] }),
	EkmPoolCertificates: () => ({ roots: [root] }),
	EkmKeyPublish: () => PUBLISHED,
	EkmKeyRetire: () => ({ external_id: PUBLISHED.external_id }),
	Token: () => ({ grant_type: "client_credentials", client_id: dummy.client_id, client_secret: dummy.secret,
		scope: `${d.origin}/.default` }),
};

/* What a member's name tells about a value that its schema does not. */
function hint(name, schema) {
	if (name === "principal" || name === "client_id")
		return dummy.client_id;
	// What would change what the rest of the run can do.
	const kept = { networks: ["", "127.0.0.1"], purge_protection: [false], quorum: [1], purge_approvals: [0], issuer: ["", "partner"] };
	if (name in kept)
		return chance.pick(kept[name]);
	if (name === "key_size")
		return chance.pick([128, 192, 256, 512, 2048]); // 4096 bits take seconds
	if (["expiryTime", "timeAfterCreate", "timeBeforeExpiry"].includes(name))
		return chance.pick(["P30D", "P1Y", "P7D", "PT48H", "P90D"]);
	if (schema.contentEncoding)
		return b64(chance.bytes(chance.pick([0, 1, 12, 16, 20, 32, 48, 64, 256])));
	return undefined;
}

function makeBody(operation, fixture) {
	const base = operation.id.replace(/Version\d*$|\d+$/, "");
	const verb = /^Key(Encrypt|Decrypt|Wrap|Unwrap|Sign|Verify)$/.exec(base);
	if (chance.is(0.75)) {
		if (verb)
			return cryptoBody(verb[1], fixture);
		if (sensible[base])
			return sensible[base]();
	}
	return description.make(operation.body, chance, hint);
}

async function makeRequest(choices) {
	const operation = chance.pick(choices);
	const fixture = chance.pick(fixtures);
	const makes = /^(KeyCreate|KeyImport)/.test(operation.id);
	const values = {
		key: chance.is(makes ? 0.4 : 0.85) ? fixture.name : chance.pick([...NEW_NAMES, GONE, "nothing"]),
		version: chance.is(0.9) ? fixture.version : chance.text(32, "0123456789abcdef"),
		vault: chance.is(0.9) ? vault.name : "elsewhere", id: "00000000-0000-4000-8000-000000000000",
		member: dummy.client_id, credential: dummy.client_id, service: chance.is(0.9) ? service.id : "nothing",
		tenant: chance.is(0.9) ? vault.tenant_id : "00000000-0000-4000-8000-000000000000",
		size: String(chance.below(9)), level: chance.pick(["0", "0", "1", "64"]), tile: chance.pick(["000", "000.p/1", "000.p/7", "x001/000", "0"]),
		pool: chance.is(0.9) ? POOL : "nothing", ...(chance.is(0.9) && /\{(id|credential)\}/.test(operation.path) ? await idFor(operation) : {}),
	};
	const request = {
		operation, method: operation.method, path: operation.path.replace(/\{(\w+)\}/g, (_, name) => values[name]),
		query: operation.isVault ? `api-version=${API_VERSION}` : "", headers: {}, withToken: true,
		body: operation.body && makeBody(operation, fixture),
	};
	for (const { name, in: where, schema } of operation.parameters)
		if (where === "query" && name !== "api-version" && chance.is(0.3))
			request.query += `&${name}=${encodeURIComponent(description.make(schema, chance))}`;
	if (chance.is(SPOILED))
		spoil(request);
	return request;
}

function spoil(request) {
	const body = () => ({ body: spoiledBody(chance, request.body) });
	const ways = [
		body, body, body, () => ({ path: spoiledPath(chance, request.path), isElsewhere: true }), () => ({ query: spoiledQuery(chance, request.query) }),
		() => ({ method: chance.pick(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]), isElsewhere: true }),
		() => ({ headers: { "content-type": chance.pick(MEDIA_TYPES) } }), () => ({ withToken: false }),
	];
	Object.assign(request, chance.pick(ways)());
	if (["GET", "HEAD", "OPTIONS"].includes(request.method))
		request.body = undefined;
}

/* ---- sending and judging ---- */

/** @param who  a principal, or LOCAL: the machine's own socket, which serves management alone */
async function send(request, who) {
	const { operation } = request;
	const query = request.query.replace(/^&/, "");
	const isForm = operation.bodyType === "application/x-www-form-urlencoded";
	const raw = request.body === undefined || typeof request.body === "string";
	const target = `${request.path}${query ? `?${query}` : ""}`.replace(/[^\x21-\x7e]/g, encodeURIComponent);
	const options = {
		headers: { ...(isForm && request.body !== undefined && { "content-type": operation.bodyType }), ...request.headers },
		body: isForm && !raw ? new URLSearchParams(request.body).toString() : request.body, timeoutMs: ANSWER_MS,
	};
	if (who === LOCAL)
		return d.local.request(request.method, target, { ...options, host: DOMAIN });
	const token = request.withToken && !operation.isPublic ? await d.token(who) : undefined;
	return d.http.request(request.method, target, { ...options, token, origin: operation.isVault ? vault.origin : d.origin });
}

function told({ method, path, query, body }, res) {
	return `${method} ${path}?${query} ${JSON.stringify(body ?? null)} -> ${res?.status} ${res?.text} (seed ${SEED})`;
}

function judge(request, res) {
	const { operation } = request;
	try {
		assert.ok(res.status < 500 && res.status !== 429, "an answer for bad days only");
		if (request.method === "HEAD")
			return;
		if (res.status >= 400) {
			assert.match(res.headers["content-type"] ?? "", /^application\/json/);
			if (typeof res.json?.error === "string")
				assert.ok(!operation.isVault && res.json.error_description, "an OAuth error elsewhere");
			else
				assertErrorBody(res, res.status, undefined, res.json.error.innererror?.code);
			if (!request.isElsewhere)
				assert.ok(description.response(operation, res.status), `${res.status} is not described for ${operation.id}`);
			return;
		}
		if (request.isElsewhere || !description.response(operation, res.status)?.content)
			return;
		const [[type, { schema }]] = Object.entries(description.response(operation, res.status).content);
		assert.ok(res.headers["content-type"].startsWith(type), res.headers["content-type"]);
		if (type === "application/json")
			description.assertMatches(schema, res.json);
	} catch (err) {
		throw new Error(`${err.message}: ${told(request, res)}`, { cause: err });
	}
}

/* ---- the state ---- */

async function collectPages(listPath) {
	const all = [];
	for (let next = listPath; next !== null;) {
		const res = await call("GET", next);
		assert.equal(res.status, 200, res.text);
		all.push(...res.json.value);
		const url = res.json.nextLink && new URL(res.json.nextLink);
		url?.searchParams.delete("api-version");
		next = url ? url.pathname + url.search : null;
	}
	return all;
}

/** Everything that a refused request must leave as it was, by what it belongs to. */
async function snapshot() {
	const state = new Map();
	for (const item of await collectPages("/keys")) {
		const name = item.kid.split("/").pop();
		const versions = await collectPages(`/keys/${name}/versions`);
		const full = await Promise.all(versions.map(({ kid }) => call("GET", new URL(kid).pathname)));
		state.set(name.toLowerCase(), JSON.stringify([item, versions, full.map((res) => res.json),
			(await call("GET", `/keys/${name}/rotationpolicy`)).json]));
	}
	for (const item of await collectPages("/deletedkeys"))
		state.set(item.kid.split("/").pop().toLowerCase(), JSON.stringify(item));
	for (const what of MANAGED)
		state.set(` ${what}`, (await d.adminOk("GET", managed(what))).text);
	state.set(" central", (await d.adminOk("GET", "/admin/v1/principals")).text);
	state.set(" vaults", (await d.adminOk("GET", "/admin/v1/vaults")).text);
	return state;
}

function differences(one, two, except) {
	return [...new Set([...one.keys(), ...two.keys()])].filter((name) => !except?.has(name) && one.get(name) !== two.get(name));
}

/** What an accepted request may have changed. */
function touches(request, res) {
	if (!request.operation.isVault && !/\/keys\//i.test(request.path))
		return [...MANAGED, "central", "vaults"].map((what) => ` ${what}`);
	const found = /\/(?:deleted)?keys\/([^/]+)/i.exec(request.path)?.[1];
	const restored = res.json?.key?.kid?.split("/").at(-2);
	return [found, restored].filter(Boolean).map((name) => decodeURIComponent(name).toLowerCase());
}

/** Bring the fixture back: what was touched is made anew. */
async function heal(touched) {
	for (const name of touched) {
		if (name.startsWith(" "))
			continue;
		await call("DELETE", `/keys/${name}`);
		if (name !== GONE)
			await call("DELETE", `/deletedkeys/${name}`);
		const fixture = fixtures.find((f) => f.name === name);
		if (fixture)
			await makeFixture(fixture);
	}
	if (touched.has(GONE) && (await call("GET", `/deletedkeys/${GONE}`)).status !== 200) {
		await call("PUT", `/keys/${GONE}`, { key: octJwk(chance.bytes(32)) });
		await call("DELETE", `/keys/${GONE}`);
	}
	if (touched.has(" principals"))
		await healManaged();
}

/** Everybody is there and may be used again, and there are requests to vote on: of the host, and of the administrator. */
async function healManaged() {
	const ok = [200, 204, 404, 409];
	const quietly = async (method, target, body) => {
		const res = await d.admin(method, target, body);
		assert.ok(ok.includes(res.status) || res.json?.error?.innererror?.approval, `${method} ${target}: ${res.text}`);
		return res;
	};
	for (const who of [dummy.client_id, member.client_id, group.id, service.id, nobody.client_id])
		await quietly("POST", `${managed("principals")}/${who}/enable`);
	await quietly("POST", `/admin/v1/principals/${central.client_id}/enable`);
	for (const at of [`${managed("principals")}/${dummy.client_id}`, `/admin/v1/principals/${central.client_id}`])
		for (const credential of (await d.adminOk("GET", `${at}/credentials`)).json.value)
			if (credential.kind !== "secret" || credential.label === "property" || credential.expires < Date.now() / 1000 + 7 * 86400)
				await quietly("DELETE", `${at}/credentials/${credential.id}`);
	await quietly("PATCH", `/admin/v1/vaults/${vault.name}`, { networks: "" });
	await quietly("POST", `${managed("groups")}/${group.id}/members`, { member: member.client_id });
	for (const found of (await d.adminOk("GET", managed("roledefinitions"))).json.value.filter((one) => one.custom))
		await quietly("DELETE", `${managed("roledefinitions")}/${found.id}`);
	role = (await d.adminOk("POST", managed("roledefinitions"), { name: "own", actions: ["Microsoft.KeyVault/vaults/keys/read"] })).json;
	for (const request of (await d.adminOk("GET", managed("approvals"))).json.value)
		await quietly("POST", `${managed("approvals")}/${request.id}/withdraw`).catch(() => undefined); // the host's own
	const wish = { principal: member.client_id, role: "administrator" };
	await quietly("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, wish);
	await d.http.request("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { token: await d.token(admin, { fresh: true }), body: wish });
}

/** One of these was refused and changed something all the same: which? */
async function findCulprit(refusedOnes, who) {
	for (const request of refusedOnes) {
		const earlier = await snapshot();
		const res = await send(request, who);
		const changed = differences(earlier, await snapshot());
		if (res.status >= 400 && changed.length > 0)
			return `${changed.join(", ")} changed by ${told(request, res)}`;
	}
	return `none of them does it alone: ${refusedOnes.map((request) => told(request)).join("\n")}`;
}

/** A batch of requests, then a look at the state. @return the state when nothing accepted has changed it, for the next batch */
async function runBatch(who, choices, count, counts, known) {
	const earlier = known ?? await snapshot();
	const touched = new Set();
	const refusedOnes = [];
	for (let i = 0; i < count; i++) {
		const request = await makeRequest(choices);
		const res = await send(request, who).catch((err) => {
			throw new Error(`${err.message}: ${told(request)}\n${d.logTail()}`);
		});
		judge(request, res);
		const key = `${res.status}`;
		counts.set(key, (counts.get(key) ?? 0) + 1);
		if (res.status < 400) {
			counts.get("operations").add(request.operation.id);
			if (who === nobody)
				assert.ok(!request.operation.needsRole, `done for nobody: ${told(request, res)}`);
			if (MUTATING.has(request.method) && !READS_ONLY.test(request.operation.id))
				touches(request, res).forEach((name) => touched.add(name));
		} else {
			refusedOnes.push(request);
		}
	}
	const later = await snapshot();
	const changed = differences(earlier, later, touched);
	if (changed.length > 0)
		assert.fail(`${changed.join(", ")} changed, though what concerned it was refused: ${await findCulprit(refusedOnes, who)}`);
	await heal(touched);
	return touched.size === 0 ? later : undefined;
}

describe(`random requests (PROPERTY_SEED=${SEED})`, () => {
	const run = async (who, choices, total) => {
		const counts = new Map([["operations", new Set()]]);
		for (let done = 0, known; done < total; done += BATCH)
			known = await runBatch(who, choices, Math.min(BATCH, total - done), counts, known);
		const { operations: reached, ...statuses } = Object.fromEntries(counts);
		const line = `seed ${SEED}: ${JSON.stringify(statuses)}, ${reached.size} of ${choices.length} operations succeeded at least once`;
		return { reached, line };
	};
	/* A vault that is locked, or shredded, refuses all that comes afterwards. */
	const open = ({ path }) => !/\/(shred|lock)$/.test(path);
	test("of an administrator of the vault", async (t) => {
		const choices = operations.filter(open);
		const { reached, line } = await run(admin, choices, REQUESTS * 0.6);
		t.diagnostic(line);
		const allowed = choices.filter(({ path }) => !/^\/audit\/v1\/(reports|events|entries)|\/persons/.test(path)); // those are an auditor's
		assert.ok(REQUESTS < 3000 || reached.size > allowed.length * 0.6, "too few requests make sense to say anything");
	});
	test("of a principal without a role", async (t) => {
		t.diagnostic((await run(nobody, operations, REQUESTS * 0.2)).line);
	});
	test("of the machine's own administrator, for management", async (t) => {
		const management = operations.filter(open).filter(({ path }) => /^\/(admin|audit)\//.test(path));
		const { reached, line } = await run(LOCAL, management, REQUESTS * 0.2);
		t.diagnostic(line);
		assert.ok(REQUESTS < 3000 || reached.size > management.length * 0.6, "too few requests make sense to say anything");
	});
	test("and the daemon is as well as before", async () => {
		assert.equal((await d.health()).status, 200);
		assert.equal(d.child.exitCode, null);
		const errors = d.logText().split("\n").filter((line) => /"level":"(error|crit)/.test(line));
		assert.deepEqual(errors, []);
		assert.deepEqual(await d.stop(), { code: 0, signal: null });
	});
});
