// External key management against the real daemon: the conformance tester, the life of a customer-managed key as service -> pool ->
// Holdfast (keyvault-keys.md 20), pools that never see each other's keys, certificates that are refused, and what the log keeps of each request.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { X509Certificate, createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { makeCa, makeIntermediate } from "../support/certs.mjs";
import { Daemon, EKM_HOST, until } from "../support/daemon.mjs";
import { EKM_ALGORITHMS, EkmTenant, assertEkmError, makeIdentity, patiently } from "../support/ekm.mjs";
import { assertLeaf, assertOrder, openIntents } from "../support/log.mjs";
import { binaries } from "../support/paths.mjs";
import { SimulatedPool } from "../support/pool.mjs";

const plain = randomBytes(32).toString("base64url");
const DENIED_MS = 5000; // refusals are counted and written within this
const REPEATED = 100;

let d, orders, payroll;
before(async () => {
	d = await Daemon.start({ ekm: {} });
	orders = await EkmTenant.make(d, "orders", { prefix: "/contoso/prod" });
	payroll = await EkmTenant.make(d, "payroll", { prefix: "/fabrikam/prod" });
	for (const t of [orders, payroll])
		t.keys = {
			aes: await t.makeKey("Data-aes-1", { kty: "oct-HSM", key_size: 256 }),
			rsa: await t.makeKey("Data-rsa-1", { kty: "RSA", key_size: 2048 }),
		};
	orders.keys.off = await orders.makeKey("Data-off-1", { kty: "oct-HSM", key_size: 256 });
	await orders.setEnabled(orders.keys.off, false);
});
after(() => d?.destroy());

/** A client that is closed when `use` is over. */
async function withClient(client, use) {
	try {
		return await use(client);
	} finally {
		client.close();
	}
}

test("the conformance tester finds nothing wrong", async () => {
	const args = ["--url", `${d.ekmOrigin}${orders.prefix}`, "--resolve", `${EKM_HOST}:${d.ekmPort}:127.0.0.1`, "--ca", d.ca.cert,
		"--cert", orders.identity.cert, "--key", orders.identity.key, "--aes-key", "Data-aes-1", "--rsa-key", "Data-rsa-1",
		"--disabled-key", "Data-off-1", "--foreign-cert", payroll.identity.cert, "--foreign-key", payroll.identity.key,
		"--rate", "50", "--seconds", "1", "--json"];
	const run = await new Promise((done) => {
		execFile(binaries.ekmTest, args, { maxBuffer: 1 << 22 }, (error, stdout, stderr) => done({ status: error?.code ?? 0, stdout, stderr }));
	});
	assert.ok(run.stdout.startsWith("{"), `exit ${run.status}: ${run.stderr}`);
	const report = JSON.parse(run.stdout);
	assert.deepEqual(report.checks.filter((row) => row.result === "fail"), []);
	// What no program can see from outside, and the AES key's bytes, which never leave the HSM.
	assert.deepEqual(report.checks.filter((row) => row.result === "skip").map((row) => row.id).sort(), ["audit.records", "client-cert.renewal",
		"client-cert.validity", "error.408", "error.429", "error.502", "error.503", "error.504", "info.unavailable", "openssl.A256KW",
		"openssl.A256KWP", "state.expired", "state.rebound", "tls.port"]);
	assert.equal(run.status, 0);
});

/* ---- the life of a customer-managed key ---- */

/** A database account: its data keys are wrapped under the newest version of the key, and it looks again and again whether it may go on. */
class Account {
	constructor(pool, key) {
		this.pool = pool;
		this.key = key;
		this.backups = []; // what was wrapped under earlier versions
	}

	#crypt(version, operation, value) {
		return patiently(() => this.pool.as("POST", `/keys/${this.key}/${version}/${operation}`, { alg: "RSA-OAEP-256", value }));
	}

	async #newest() {
		const res = await this.pool.as("GET", `/keys/${this.key}`);
		return { ...res, version: res.json.key?.kid.split("/").pop() };
	}

	async #wrapUnder(version) {
		const res = await this.#crypt(version, "wrapkey", this.dataKey);
		assert.equal(res.status, 200, JSON.stringify(res.json));
		this.wrapped = { version, value: res.json.value };
	}

	async enable() {
		this.dataKey = randomBytes(32).toString("base64url");
		await this.#wrapUnder((await this.#newest()).version);
	}

	/** @return "ok", or status and code of the first refusal */
	async open({ version, value }) {
		const res = await this.#crypt(version, "unwrapkey", value);
		if (res.status !== 200)
			return this.#refused(res);
		assert.equal(res.json.value, this.dataKey, "another data key came back");
		return "ok";
	}

	async poll() {
		const newest = await this.#newest();
		if (newest.status !== 200)
			return this.#refused(newest);
		const opened = await this.open(this.wrapped);
		if (opened === "ok" && newest.version !== this.wrapped.version) {
			this.backups.push(this.wrapped);
			await this.#wrapUnder(newest.version);
		}
		return opened;
	}

	#refused(res) {
		this.message = res.json.error.message;
		return `${res.status} ${res.json.error.code}`;
	}
}

describe("service, pool, Holdfast", () => {
	let pool, account, first, second;
	const refer = (id) => patiently(() => pool.as("POST", "/keys/cmk/create", { attributes: { external_key: { id } } }));

	before(async () => {
		pool = await SimulatedPool.start({ client: orders.client({ sockets: 2 }) });
		account = new Account(pool, "cmk");
	});
	after(() => pool?.stop());

	test("the connection check, and a stranger at the pool", async () => {
		const check = await patiently(() => pool.as("POST", "/ekm/check"));
		assert.equal(check.status, 200);
		assert.deepEqual(Object.keys(check.json).sort(), ["api_version", "ekm_product", "ekm_vendor", "proxy_name", "proxy_vendor"]);
		const [, version] = execFileSync(binaries.cli, ["--version"], { encoding: "utf8" }).trim().split(" ");
		assert.deepEqual([check.json.proxy_name, check.json.ekm_product], Array(2).fill(`Holdfast ${version}`));
		assert.equal((await pool.as("GET", "/keys/cmk", undefined, "not-the-secret")).status, 401);
	});

	test("enable: a reference to a published key, a data key under it, polled", async () => {
		first = await orders.makeKey("cmk", { kty: "RSA", key_size: 3072 }, "Cmk-2026-1");
		assert.equal((await refer("Cmk-2026-9")).status, 404, "an id that was never published");
		assert.equal((await refer("cmk-2026-1")).status, 404, "in another letter case");
		const made = await refer("Cmk-2026-1");
		assert.equal(made.status, 200, JSON.stringify(made.json));
		assert.deepEqual([made.json.key.kty, made.json.key.n, made.json.key.e], ["RSA-HSM", first.n, first.e]);
		await account.enable();
		for (let i = 0; i < 3; i++)
			assert.equal(await account.poll(), "ok");
	});

	test("rotate with a new external id: what was wrapped before still unwraps, no id is ever bound anew", async () => {
		second = await orders.makeKey("cmk", { kty: "RSA", key_size: 2048 }, "Cmk-2026-2");
		assert.notEqual(second.version, first.version);
		assert.equal((await refer("Cmk-2026-1")).status, 409, "the pool has that id already");
		assert.equal((await refer("Cmk-2026-2")).status, 200);
		assert.equal(await account.poll(), "ok");
		assert.equal(account.backups.length, 1, "it moved to the new version");
		assert.notEqual(account.wrapped.version, account.backups[0].version);
		assert.equal(await account.poll(), "ok");
		assert.equal(await account.open(account.backups[0]), "ok");
		for (const [key, version] of [["cmk", second.version], ["Data-rsa-1", orders.keys.rsa.version]])
			await assert.rejects(d.publish(orders.vault, orders.pool, key, { version, id: "Cmk-2026-1" }), (err) => err.exitCode === 2);
		await d.publish(orders.vault, orders.pool, "cmk", { version: first.version, id: "Cmk-2026-1" }); // the same version: nothing changes
		assert.equal(await account.open(account.backups[0]), "ok");
	});

	test("disable: refused at once, with the proxy's words; enable: works at once", async () => {
		for (let i = 0; i < 3; i++) {
			await orders.setEnabled(second, false);
			assert.equal(await account.poll(), "403 KeyDisabled");
			const direct = await withClient(orders.client(), (client) => client.unwrap(second.id, "RSA-OAEP-256", account.wrapped.value));
			assertEkmError(direct, 403, "KeyDisabled");
			assert.equal(account.message, direct.json.message, "the pool passes the message on");
			assert.equal(await account.open(account.backups[0]), "ok", "the version before is not meant");
			assert.equal((await refer("Cmk-2026-2")).status, 409);
			await orders.setEnabled(second, true);
			assert.equal(await account.poll(), "ok");
		}
	});

	test("revoke: every version at once; reinstate: recovered", async () => {
		await orders.admin("/keys/cmk/revoke", { reason: "superseded" });
		assert.match(await account.poll(), /^403 /);
		assert.match(await account.open(account.backups[0]), /^403 /);
		await orders.admin("/keys/cmk/reinstate", {});
		for (const version of [first, second])
			await orders.setEnabled(version, true);
		assert.equal(await account.poll(), "ok");
		assert.equal(await account.open(account.backups[0]), "ok");
	});

	test("the reference is deleted and recovered; the external key is not touched", async () => {
		assert.equal((await pool.as("DELETE", "/keys/cmk")).status, 200);
		assert.equal(await account.poll(), "404 KeyNotFound");
		assert.equal((await pool.as("POST", "/deletedkeys/cmk/recover")).status, 200);
		assert.equal(await account.poll(), "ok");
	});

	test("the key itself is deleted and recovered; it cannot be purged while an id is bound to it", async () => {
		await orders.keyApi("DELETE", "/keys/cmk");
		assert.match(await account.poll(), /^404 KeyNotFound/);
		const purge = await d.call(orders.vault, orders.officer, "DELETE", "/deletedkeys/cmk");
		assert.equal(purge.status, 403, purge.text);
		assert.match(purge.text, /Cmk-2026-[12]/, "the refusal names the id");
		await orders.keyApi("POST", "/deletedkeys/cmk/recover");
		assert.equal(await account.poll(), "ok");
	});

	test("retire: the list says when an id was last used, and the id is gone for ever", async () => {
		const listed = async (id) => {
			const { value } = await d.cli("ekm", "key", "list", orders.vault.name, orders.pool.name);
			return value.find((row) => row.external_id === id);
		};
		const before = await listed("Cmk-2026-1");
		assert.ok(before.uses >= 4, JSON.stringify(before));
		assert.ok(Math.abs(before.last_used - Date.now() / 1000) < 120, JSON.stringify(before));
		await d.retire(orders.vault, orders.pool, "Cmk-2026-1");
		assert.equal(await account.open(account.backups[0]), "404 KeyNotFound");
		assert.equal(await account.poll(), "ok", "the newest version is not meant");
		assert.ok((await listed("Cmk-2026-1")).retired > 0);
		assert.deepEqual([...new Set(pool.calls.map((call) => call.operation))].sort(), ["info", "metadata", "unwrapkey", "wrapkey"],
			"a pool delegates nothing else");
		await assert.rejects(d.publish(orders.vault, orders.pool, "Data-rsa-1", { id: "Cmk-2026-1" }), (err) => err.exitCode === 2);
	});
});

/* ---- pools never meet ---- */

describe("two pools with the same key names and the same external ids", () => {
	let a, b;
	before(() => {
		a = orders.client();
		b = payroll.client();
	});
	after(() => {
		a?.close();
		b?.close();
	});

	test("each reaches its own key only", async () => {
		for (const { id, kty } of Object.values(payroll.keys)) {
			const said = [await a.metadata(id), await b.metadata(id)];
			for (const [i, t] of [orders, payroll].entries()) {
				assert.equal(said[i].status, 200, said[i].text);
				const { key } = await d.ok(t.vault, t.officer, "GET", `/keys/${id}`);
				assert.deepEqual([said[i].json.n, said[i].json.e], [key.n, key.e]);
			}
			for (const alg of EKM_ALGORITHMS[kty]) {
				const wrapped = await a.wrap(id, alg, plain);
				assert.equal(wrapped.status, 200, wrapped.text);
				assert.equal((await a.unwrap(id, alg, wrapped.json.value)).json.value, plain);
				assertEkmError(await b.unwrap(id, alg, wrapped.json.value), 400, "BadRequest");
			}
		}
	});

	test("a pool's id that the other lacks is not there for the other, in the words for an id that nobody has", async () => {
		const { value } = (await a.wrap("Data-aes-1", "A256KW", plain)).json;
		for (const call of [(c, id) => c.metadata(id), (c, id) => c.wrap(id, "A256KW", plain), (c, id) => c.unwrap(id, "A256KW", value)]) {
			const [theirs, nobodys] = [await call(b, "Data-off-1"), await call(b, "Data-off-2")];
			assertEkmError(theirs, 404, "KeyNotFound");
			assert.deepEqual(theirs.json, nobodys.json);
		}
	});

	test("with the other's prefix, in other letters, without one or with more, there is nothing", async () => {
		const { value } = (await a.wrap("Data-aes-1", "A256KW", plain)).json;
		const calls = [(o) => a.info(o), (o) => a.metadata("Data-aes-1", o), (o) => a.wrap("Data-aes-1", "A256KW", plain, o),
			(o) => a.unwrap("Data-aes-1", "A256KW", value, o)];
		for (const prefix of [payroll.prefix, "/Contoso/prod", "/contoso/PROD", "", "/contoso", "/prod", "/contoso/prod/x", "//contoso/prod",
			"/contoso/prod/", "/contoso//prod", "/contoso/prod/../../fabrikam/prod", "/contoso/./prod", "/contoso%2fprod"])
			for (const call of calls) {
				const res = await call({ prefix });
				assert.ok([400, 404].includes(res.status), `${prefix}: ${res.status} ${res.text}`);
			}
		for (const call of calls)
			assert.equal((await call({})).status, 200);
	});

	test("certificates crossed: the other's name under one's own root is nobody", async () => {
		for (const [subject, ca] of [[orders.identity.subject, payroll.identity.ca], [payroll.identity.subject, orders.identity.ca]]) {
			const identity = makeIdentity(d.dir, `crossed-${randomBytes(4).toString("hex")}`, { subject, ca });
			for (const t of [orders, payroll])
				await withClient(t.client({ identity }), async (client) => {
					assertEkmError(await client.info(), 401, "Unauthorized");
					assertEkmError(await client.wrap("Data-aes-1", "A256KW", plain), 401, "Unauthorized");
				});
		}
	});

	test("two pools of one vault, one of them from the document that Azure prints: the same id, different keys", async () => {
		const identity = makeIdentity(d.dir, "orders-west");
		const west = Object.assign(Object.create(EkmTenant.prototype), orders, { identity, prefix: "" });
		const root = new X509Certificate(fs.readFileSync(identity.ca.cert)).raw.toString("base64");
		const document = path.join(d.dir, "west.json");
		fs.writeFileSync(document, JSON.stringify({ subjectCommonName: identity.subject, caCertificates: [root] }));
		west.pool = await d.cli("ekm", "pool", "add", orders.vault.name, "west", "--roots", document);
		const key = await west.makeKey("west-aes", { kty: "oct-HSM", key_size: 256 }, "Data-aes-1");
		assert.equal(key.id, "Data-aes-1");
		await withClient(west.client(), async (client) => {
			const { value } = (await client.wrap("Data-aes-1", "A256KW", plain)).json;
			assert.equal((await client.unwrap("Data-aes-1", "A256KW", value)).json.value, plain);
			assertEkmError(await a.unwrap("Data-aes-1", "A256KW", value), 400, "BadRequest");
			assertEkmError(await client.metadata("Data-rsa-1"), 404, "KeyNotFound");
		});
		await assert.rejects(d.makePool(payroll.vault, "thief", { subjects: [identity.subject.toUpperCase()], roots: [identity.ca.cert] }),
			(err) => err.exitCode === 2, "a common name belongs to one pool");
	});

	test("holdfast ekm check says what a pool would meet", async () => {
		const check = (url, identity) => d.cli("ekm", "check", url, "--cert", identity.cert, "--key", identity.key, "--ca", d.ca.cert);
		const verdict = await check(`${d.ekmOrigin}${orders.prefix}`, orders.identity);
		assert.equal(verdict.result, "pass", JSON.stringify(verdict));
		for (const [identity, said] of [[payroll.identity, /404/], [makeIdentity(d.dir, "nobody"), /401 on everything/]])
			await assert.rejects(check(`${d.ekmOrigin}${orders.prefix}`, identity), (err) => err.exitCode === 2 && said.test(err.stdout));
		const elsewhere = { ...orders.identity, key: payroll.identity.key };
		for (const [url, identity, exitCode, said] of [
			[d.ekmOrigin, { ...orders.identity, cert: "nope.crt" }, 1, /--cert nope\.crt: No such file/],
			[d.ekmOrigin, elsewhere, 1, /does not belong to the certificate/],
			["https://ekm.vault.localhost:1", orders.identity, 3, /Cannot connect/],
			[`${d.origin}/x`, orders.identity, 2, /An answer that no EKM proxy gives/]])
			await assert.rejects(check(url, identity), (err) => err.exitCode === exitCode && said.test(err.stdout + err.stderr), `${said}`);
	});

	test("people read why a certificate was refused, each root of a pool, and that a pool has no secret", async () => {
		const read = async (...args) => (await promisify(execFile)(binaries.cli, ["--socket", d.socket, ...args], { env: d.env })).stdout;
		await withClient(orders.client({ identity: makeIdentity(d.dir, "reader") }), (client) => client.info());
		await until("it is in the log", async () => /Unauthorized \(unknown_subject, CN=reader\.\S+\)$/m.test(await read("log", "tail", "-n", "5")));
		const roots = path.join(d.dir, "two-roots.pem");
		fs.writeFileSync(roots, [orders.identity, payroll.identity].map(({ ca }) => fs.readFileSync(ca.cert, "utf8")).join(""));
		const shown = await read("ekm", "pool", "add", orders.vault.name, "shown", "--roots", roots, "--subject", "shown.example");
		assert.equal(shown.match(/CN=.+ root\n +sha256 [0-9a-f]{64}, expires \d{4}-\d\d-\d\dT/g)?.length, 2, shown);
		const { value } = await d.cli("principal", "list", orders.vault.name);
		const hasSecret = (name) => "secret_expires" in value.find((row) => row.name === name);
		assert.deepEqual([hasSecret("shown"), hasSecret("officer")], [false, true]);
	});

	test("a pool cannot log in, and its certificate is worth nothing at the vault", async () => {
		const res = await d.tokenRequest(orders.vault.tenant_id, { grant_type: "client_credentials", client_id: orders.pool.id, client_secret: "",
			scope: `${d.origin}/.default` });
		assert.ok([400, 401].includes(res.status), res.text);
		assert.equal((await d.call(orders.vault, null, "GET", "/keys/Data-aes-1")).status, 401);
	});
});

/* ---- certificates ---- */

describe("client certificates", () => {
	let accepted, refused, first;
	const rootOf = (t) => t.identity.ca;

	before(async () => {
		first = await d.logSize();
		const { subject } = orders.identity;
		const identity = (name, options) => makeIdentity(d.dir, `cert-${name}`, { subject, ca: rootOf(orders), ...options });
		const inter = makeIntermediate(rootOf(orders), d.dir, "orders-inter");
		const notCa = makeIntermediate(rootOf(orders), d.dir, "orders-leaf", { isCa: false });
		const stranger = makeCa(d.dir, "stranger-root", "stranger");
		accepted = {
			"another key and serial number": identity("renewed", {}),
			"the common name in other letters": identity("case", { subject: subject.toUpperCase() }),
			"more in the subject than a common name": identity("more", { distinguished: `/C=US/O=Contoso/CN=${subject}` }),
			"no extended key usage": identity("no-usage", { usage: null }),
			"an intermediate CA that it brings along": identity("inter", { ca: inter, chain: [inter.cert] }),
		};
		const unknown = { subject: "unknown.managedhsmclient.azure.net" };
		refused = [
			["none", null, "no_certificate"],
			["an unknown common name", identity("unknown", unknown), "unknown_subject"],
			["a common name with a suffix", identity("suffix", { subject: `${subject}.evil.example` }), "unknown_subject"],
			["a wildcard", identity("wildcard", { subject: "*.managedhsmclient.azure.net" }), "unknown_subject"],
			["two common names", identity("two", { distinguished: `/CN=${subject}/CN=other.example` }), "common_name"],
			["no common name", identity("no-name", { distinguished: `/O=${subject}` }), "common_name"],
			["an unknown root", identity("root", { ca: stranger }), "chain"],
			["an expired certificate", identity("expired", { from: "20240101000000Z", to: "20240601000000Z" }), "dates"],
			["one that is not valid yet", identity("early", { from: "20440101000000Z", to: "20440601000000Z" }), "dates"],
			["one for servers only", identity("server", { usage: "serverAuth" }), "purpose"],
			["an intermediate CA that is missing", identity("missing", { ca: inter }), "chain"],
			["an issuer that is no CA", identity("no-ca", { ca: notCa, chain: [notCa.cert] }), "chain"],
			["the name of the other pool", identity("other", { subject: payroll.identity.subject }), "chain"],
		].map(([what, id, why]) => ({ what, identity: id, why }));
	});

	test("what is accepted: any certificate of that name under a root of that pool", async () => {
		for (const [what, identity] of Object.entries(accepted))
			await withClient(orders.client({ identity }), async (client) => {
				const res = await client.wrap("Data-aes-1", "A256KW", plain);
				assert.equal(res.status, 200, `${what}: ${res.text}`);
			});
	});

	test("what is refused: 401 on every path, with the flat body", async () => {
		for (const { what, identity } of refused)
			await withClient(orders.client({ identity }), async (client) => {
				const answers = [await client.info(), await client.wrap("Data-aes-1", "A256KW", plain), await client.metadata("no-such-key"),
					await client.info({ prefix: "/no/such" }), await client.info({ version: null }), await client.info({ method: "PUT" })];
				for (const res of answers) {
					assert.equal(res.status, 401, `${what}: ${res.status} ${res.text}`);
					assertEkmError(res, 401, "Unauthorized");
					assert.deepEqual(res.json, answers[0].json);
				}
			});
	});

	test("each is an event with subject and reason, and many of them are few events", async () => {
		const denied = async (start) => (await d.entries(start)).map(({ leaf }) => leaf).filter((leaf) => leaf.type === "authz.denied");
		let seen;
		await until("every refusal is in the log", async () => {
			seen = await denied(first);
			return refused.every((one) => seen.some((leaf) => isAbout(leaf, one)));
		}, DENIED_MS).catch((err) => {
			const missing = refused.filter((one) => !seen.some((leaf) => isAbout(leaf, one))).map(({ what }) => what);
			throw new Error(`${err.message}; missing: ${missing.join(", ")}\n${seen.map((leaf) => JSON.stringify(leaf)).join("\n")}`);
		});
		const before = await d.logSize();
		const stranger = refused.find(({ what }) => what === "an unknown root");
		await withClient(orders.client(stranger), async (client) => {
			for (let i = 0; i < REPEATED; i++)
				await client.info();
		});
		await until("they are counted", async () => {
			const counts = (await denied(before)).filter((leaf) => isAbout(leaf, stranger)).map((leaf) => leaf.count);
			return counts.reduce((sum, n) => sum + n, 0) === REPEATED && counts.length < REPEATED / 10;
		}, DENIED_MS);
	});

	function isAbout(leaf, { identity, why }) {
		if (leaf.det?.why !== why)
			return false;
		if (identity === null)
			return leaf.det.subject === undefined;
		const names = new X509Certificate(fs.readFileSync(identity.cert)).subject.split("\n").map((part) => part.replace(/^[A-Z]+=/, ""));
		return names.every((name) => leaf.det.subject?.includes(name));
	}
});

/* ---- the log ---- */

test("each call is one leaf with the members of ekm-proxy.md 11.1", async () => {
	const first = await d.logSize();
	const context = () => ({ request_id: randomUUID(), correlation_id: randomUUID(), pool_name: "orders-hsm" });
	const strange = { request_id: "a\u0001b\u001b[31m\nc", correlation_id: `${"x".repeat(200)}${randomUUID()}`, pool_name: "\u202epool\r\n" };
	const thumbprint = createHash("sha256").update(new X509Certificate(fs.readFileSync(orders.identity.cert)).raw).digest("hex");
	const sent = [];
	await withClient(orders.client(), async (client) => {
		const call = async (what, target, body, expected) => {
			const res = await client.call(target, { request_context: context(), ...body });
			assert.equal(res.status, expected.http, res.text);
			sent.push({ what, context: res.context, ...expected });
			return res;
		};
		await call("info", "/info", {}, { type: "ekm.info", http: 200 });
		await call("metadata", "/Data-rsa-1/metadata", {}, { type: "ekm.metadata", http: 200, id: "Data-rsa-1" });
		for (const alg of ["A256KW", "A256KWP", "RSA-OAEP", "RSA-OAEP-256"]) {
			const id = alg.startsWith("RSA") ? "Data-rsa-1" : "Data-aes-1";
			const { json } = await call(`wrap ${alg}`, `/${id}/wrapkey`, { alg, value: plain }, { type: "key.wrap", http: 200, id, alg, bytes: 32 });
			await call(`unwrap ${alg}`, `/${id}/unwrapkey`, { alg, value: json.value },
				{ type: "key.unwrap", http: 200, id, alg, bytes: Buffer.from(json.value, "base64url").length });
		}
		await call("disabled", "/Data-off-1/wrapkey", { alg: "A256KW", value: plain },
			{ type: "key.wrap", http: 403, id: "Data-off-1", alg: "A256KW" });
		await call("unknown", "/No-such-1/unwrapkey", { alg: "A256KW", value: plain }, { type: "key.unwrap", http: 404, id: "No-such-1" });
		await call("tampered", "/Data-aes-1/unwrapkey", { alg: "A256KW", value: randomBytes(40).toString("base64url") },
			{ type: "key.unwrap", http: 400, id: "Data-aes-1", alg: "A256KW", bytes: 40 });
		await call("unknown algorithm", "/Data-aes-1/wrapkey", { alg: "A128KW", value: plain }, { type: "key.wrap", http: 400, id: "Data-aes-1", isUnread: true });
		await call("not base64url", "/No-such-2/wrapkey", { alg: "A256KW", value: "??" }, { type: "key.wrap", http: 400, id: "No-such-2", isUnread: true });
		await call("strange", "/Data-aes-1/wrapkey", { alg: "A256KW", value: plain, request_context: strange },
			{ type: "key.wrap", http: 200, id: "Data-aes-1", alg: "A256KW", bytes: 32 });
	});

	const entries = await d.entries(first);
	assertOrder(entries, first);
	entries.forEach(assertLeaf);
	assert.deepEqual(openIntents(await d.entries(0)), []);
	const leaves = entries.map(({ leaf }) => leaf).filter((leaf) => leaf.actor?.auth === "mtls");
	assert.equal(leaves.length, sent.length, "one leaf for each call");
	sent.forEach((call, i) => {
		const leaf = leaves[i];
		const where = `${call.what}: ${JSON.stringify(leaf)}`;
		assert.equal(leaf.type, call.type, where);
		assert.equal(leaf.http, call.http, where);
		assert.equal(leaf.result === "ok", call.http === 200, where);
		assert.equal(leaf.det.external_id, call.id, where);
		assert.equal(leaf.det.pool, orders.pool.name, where);
		if (call.alg !== undefined)
			assert.equal(leaf.alg, call.alg, where);
		if (call.bytes !== undefined) {
			assert.equal(leaf.det.bytes, call.bytes, where);
			assert.ok(Number.isInteger(leaf.det.hsm_ms), where);
		}
		assert.ok(leaf.det.cert_subject.includes(orders.identity.subject), where);
		assert.equal(leaf.det.cert_sha256, thumbprint, where);
		if (call.context !== strange && !call.isUnread) {
			assert.equal(leaf.det.request_id, call.context.request_id, where);
			assert.equal(leaf.corr, call.context.correlation_id, where);
			assert.equal(leaf.det.pool_name, call.context.pool_name, where);
		}
	});
	// eslint-disable-next-line no-control-regex
	assert.ok(entries.every(({ text }) => !/[\x00-\x1f\x7f]/.test(text)), "a control character in the log");
	const last = leaves.at(-1);
	assert.ok((last.corr ?? "").length <= 128, JSON.stringify(last));
	assert.ok(!entries.some(({ text }) => text.includes(plain)), "a plaintext in the log");
	assert.ok(!d.logText().includes(plain));
});

test("nothing of all this is in the daemon's own log as an error", () => {
	const lines = d.logText().split("\n").filter((line) => /"level":"(error|warn)"/.test(line));
	assert.deepEqual(lines, []);
});
