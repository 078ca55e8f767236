// Services that are known by their client certificate: on the main listener, in their own vault, as long as their subject and root are registered.
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, test } from "node:test";
import { makeCa, makeIntermediate } from "../support/certs.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { EkmTenant, assertEkmError, makeIdentity } from "../support/ekm.mjs";

const DENIED_MS = 5000; // refusals are counted and written within this
const plain = Buffer.from("0123456789abcdef0123456789abcdef").toString("base64url");
const OAEP = { alg: "RSA-OAEP-256", value: plain };

let d, pool, vault, officer, other, identity, service, client;
const clients = [];
const clientOf = (who, tls) => {
	const made = d.client(1, { identity: who, tls });
	clients.push(made);
	return made;
};

before(async () => {
	d = await Daemon.start({ listen: { client_certificates: true }, ekm: {} });
	pool = await EkmTenant.make(d, "azure-side", { prefix: "p" });
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	other = await d.makeVault("payroll");
	identity = makeIdentity(d.dir, "service", { subject: "orders.service.example" });
	service = await d.makeService(vault, "orders", { subjects: [identity.subject], roots: [identity.ca.cert], roles: ["crypto-user"] });
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "RSA", key_size: 2048 });
	client = clientOf(identity);
});
after(async () => {
	clients.forEach((c) => c.close());
	await d?.destroy();
});

const wrap = (who, { at = vault, ...options } = {}) => d.call(at, null, "POST", "/keys/k/wrapkey", OAEP, { client: who, ...options });

/** 401 with the challenge and, if a certificate was judged, its verdict. */
function assertStranger(res, reason) {
	assert.equal(res.status, 401, res.text);
	assert.match(res.headers["www-authenticate"], /^Bearer authorization="https:/);
	assert.equal(res.json.error.code, "Unauthorized");
	if (reason !== undefined)
		assert.match(res.json.error.message, new RegExp(`\\(certificate: ${reason}\\)`));
}

for (const version of ["TLSv1.2", "TLSv1.3"])
	test(`over ${version} a service wraps and unwraps a key of its vault`, async () => {
		const own = clientOf(identity, { minVersion: version, maxVersion: version });
		const from = await d.logSize();
		const wrapped = await wrap(own);
		assert.equal(wrapped.status, 200, wrapped.text);
		const unwrapped = await d.call(vault, null, "POST", "/keys/k/unwrapkey", { ...OAEP, value: wrapped.json.value }, { client: own });
		assert.equal(unwrapped.json.value, plain);
		const { leaf } = (await d.entries(from)).find((e) => e.leaf.type === "key.wrap");
		assert.equal(leaf.auth ?? leaf.actor.auth, "mtls");
		assert.equal(leaf.det.cert_subject, `CN=${identity.subject}`);
		assert.match(leaf.det.cert_sha256, /^[0-9a-f]{64}$/);
	});

test("a service may do what its roles allow, and no more", async () => {
	const res = await d.call(vault, null, "POST", "/keys/new/create", { kty: "oct-HSM" }, { client });
	assert.equal(res.status, 403, res.text);
	assert.match(res.json.error.message, /keys\/create\/action/);
});

test("a role for one key counts for that key only", async () => {
	const who = makeIdentity(d.dir, "one-key", { subject: "one-key.example" });
	const at = await d.makeService(vault, "one-key", { subjects: [who.subject], roots: [who.ca.cert] });
	const own = clientOf(who);
	await d.ok(vault, officer, "POST", "/keys/k2/create", { kty: "RSA", key_size: 2048 });
	assert.equal((await wrap(own)).status, 403);
	await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { principal: at.client_id, role: "crypto-user", key: "K" });
	assert.equal((await wrap(own)).status, 200);
	const kid = (await d.ok(vault, officer, "GET", "/keys/k")).key.kid;
	const call = (method, target, body) => d.call(vault, null, method, target, body, { client: own });
	assert.equal((await call("POST", `${new URL(kid).pathname}/wrapkey`, OAEP)).status, 200);
	assert.equal((await call("POST", "/keys/k2/wrapkey", OAEP)).status, 403);
	assert.equal((await call("GET", "/keys/k2")).status, 403);
	assert.equal((await call("GET", "/keys")).status, 403);
	assert.equal((await call("GET", "/keys/k/versions")).status, 200);
});

describe("refused", () => {
	const cases = {
		unknown_subject: () => makeIdentity(d.dir, "unknown", { subject: "nobody.example", ca: identity.ca }),
		chain: () => makeIdentity(d.dir, "wrong-root", { subject: identity.subject }),
		dates: () => makeIdentity(d.dir, "expired",
			{ subject: identity.subject, ca: identity.ca, from: "20200101000000Z", to: "20210101000000Z" }),
		purpose: () => makeIdentity(d.dir, "server-only", { subject: identity.subject, ca: identity.ca, usage: "serverAuth" }),
		common_name: () => makeIdentity(d.dir, "nameless", { subject: "x", distinguished: "/O=orders.service.example", ca: identity.ca }),
	};
	for (const [reason, make] of Object.entries(cases))
		test(`a certificate: ${reason}`, async () => {
			assertStranger(await wrap(clientOf(make())), reason);
		});

	test("and counted with subject and reason", async () => {
		const stranger = clientOf(makeIdentity(d.dir, "counted", { subject: "counted.example", ca: identity.ca }));
		const from = await d.logSize();
		for (let i = 0; i < 30; i++)
			assertStranger(await wrap(stranger), "unknown_subject");
		const leaves = await until("the strangers are counted", async () => {
			const found = (await d.entries(from)).filter((e) => e.leaf.det?.subject === "CN=counted.example");
			return found.reduce((sum, e) => sum + (e.leaf.count ?? 1), 0) >= 30 && found;
		}, DENIED_MS);
		assert.ok(leaves.length < 15, `${leaves.length} leaves`);
		assert.ok(leaves.every((e) => e.leaf.type === "authz.denied" && e.leaf.det.why === "unknown_subject" && e.leaf.tenant === vault.id));
	});

	test("without a certificate, as ever", async () => {
		assertStranger(await wrap(d.http));
	});

	test("the host of another vault, and its administration", async () => {
		assertStranger(await wrap(client, { at: other }));
		const res = await client.request("GET", `/admin/v1/vaults/${other.name}`, {});
		assert.equal(res.status, 401, res.text);
	});
});

test("public paths need no certificate, whatever one there is", async () => {
	const stranger = clientOf(makeIdentity(d.dir, "visitor", { subject: "visitor.example" }));
	assert.equal((await stranger.request("GET", "/health/live")).status, 200);
});

describe("a token and a certificate", () => {
	test("a good token counts, with any certificate", async () => {
		const token = await d.token(officer);
		const stranger = clientOf(makeIdentity(d.dir, "with-token", { subject: "with-token.example" }));
		for (const who of [client, stranger]) {
			const res = await d.call(vault, null, "POST", "/keys/by-token/create", { kty: "oct-HSM" }, { client: who, token });
			assert.equal(res.status, 200, res.text); // the service itself may not create
		}
		const theirs = await d.makePrincipal(other, "reader", ["reader"]);
		assert.equal((await d.call(other, theirs, "GET", "/keys", undefined, { client })).status, 200);
	});

	test("a bad token is not made good by a certificate", async () => {
		for (const token of ["x.y.z", "", `${await d.token(officer)}x`])
			assert.equal((await wrap(client, { token })).status, 401);
	});
});

describe("each listener has its own kind", () => {
	test("a pool's certificate is unknown on the main listener", async () => {
		assertStranger(await wrap(clientOf(pool.identity), { at: pool.vault }), "unknown_subject");
	});

	test("a service's certificate is unknown on the listener of pools", async () => {
		const ekm = d.ekmClient({ identity, prefix: "p" });
		try {
			assertEkmError(await ekm.info(), 401, "Unauthorized");
		} finally {
			ekm.close();
		}
	});

	test("a pool is served there as before", async () => {
		const ekm = pool.client();
		try {
			assert.equal((await ekm.info()).status, 200);
		} finally {
			ekm.close();
		}
	});
});

describe("changes take effect on open connections, at once", () => {
	let at, who, own;
	before(async () => {
		who = makeIdentity(d.dir, "changing", { subject: "changing.example" });
		at = await d.makeService(vault, "changing", { subjects: [who.subject], roots: [who.ca.cert], roles: ["crypto-user"] });
		own = clientOf(who);
		assert.equal((await wrap(own)).status, 200);
	});

	test("a second root beside the first", async () => {
		const next = makeIdentity(d.dir, "changing-next", { subject: who.subject });
		const nextClient = clientOf(next);
		assertStranger(await wrap(nextClient), "chain");
		await d.setServiceCertificates(vault, at, { subjects: [who.subject], roots: [who.ca.cert, next.ca.cert] });
		assert.equal((await wrap(own)).status, 200);
		assert.equal((await wrap(nextClient)).status, 200);
		await d.setServiceCertificates(vault, at, { subjects: [who.subject], roots: [next.ca.cert] });
		assertStranger(await wrap(own), "chain");
		assert.equal((await wrap(nextClient)).status, 200);
		await d.setServiceCertificates(vault, at, { subjects: [who.subject], roots: [who.ca.cert] });
		assert.equal((await wrap(own)).status, 200);
	});

	test("another certificate of the same subject and root is as good: nothing is pinned", async () => {
		const renewed = makeIdentity(d.dir, "changing-renewed", { subject: who.subject.toUpperCase(), ca: who.ca });
		assert.equal((await wrap(clientOf(renewed))).status, 200);
	});

	test("what lies between leaf and root comes with the connection", async () => {
		const between = makeIntermediate(who.ca, d.dir, "between");
		const below = makeIdentity(d.dir, "changing-below", { subject: who.subject, ca: between, chain: [between.cert] });
		assert.equal((await wrap(clientOf(below))).status, 200);
		const lacking = makeIdentity(d.dir, "changing-lacking", { subject: who.subject, ca: between });
		assertStranger(await wrap(clientOf(lacking)), "chain");
	});

	test("a service that is disabled, or whose role is taken away", async () => {
		const principal = `/admin/v1/vaults/${vault.name}/principals/${at.client_id}`;
		await d.cli("role", "remove", vault.name, at.client_id, "crypto-user");
		assert.equal((await wrap(own)).status, 403);
		await d.cli("role", "grant", vault.name, at.client_id, "crypto-user");
		await d.adminOk("POST", `${principal}/disable`);
		assert.equal((await wrap(own)).status, 401);
		await d.adminOk("POST", `${principal}/enable`);
		assert.equal((await wrap(own)).status, 200);
	});

	test("a name belongs to one service only, of all vaults", async () => {
		const res = await d.admin("POST", `/admin/v1/vaults/${other.name}/services`,
			{ name: "thief", subjects: [who.subject], roots: [fs.readFileSync(makeCa(d.dir, "thief").cert, "utf8")] });
		assert.equal(res.status, 409, res.text);
		assert.equal((await wrap(own)).status, 200);
	});
});

test("where the configuration does not say so, nobody is asked for a certificate", async () => {
	const plainDaemon = await Daemon.start();
	try {
		const at = await plainDaemon.makeVault("orders");
		const res = await plainDaemon.call(at, null, "GET", "/keys", undefined, { client: plainDaemon.client(1, { identity }) });
		assert.equal(res.status, 401);
		assert.doesNotMatch(res.json.error.message, /certificate/);
	} finally {
		await plainDaemon.destroy();
	}
});
