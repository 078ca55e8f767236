// What a real daemon serves while its event log is late, or was rolled back: each operation of the API's own description, by each kind of caller. What is not listed here
// must be refused, so that nothing new is served by oversight (spec/audit-log.md 5.5; docs/operation.md).
import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, describe, test } from "node:test";
import { Daemon, until } from "../support/daemon.mjs";
import { EkmTenant } from "../support/ekm.mjs";
import { Description } from "../support/openapi.mjs";

const ALWAYS = [/^GET \/(openapi\.json|health\/live|health\/ready|subscriptions)$/, /^(GET|POST) \/(adfs|\{tenant\})\//, /^GET \/admin\/v1\/(status|hsm|check|exports)$/,
	/^POST \/admin\/v1\/(log\/accept|certificates\/enforce)$/, /^(GET|POST) \/admin\/v1\/(vaults\/\{vault\}\/)?approvals(\/|$)/, /^GET \/audit\/v1\//];
const TAKES_AWAY = [/^(PATCH|DELETE) \/keys\//, /^POST \/admin\/.*\/(revoke|disable|revoke-tokens|roles\/remove|keys\/retire|lock)$/,
	/^GET \/admin\/v1\/backups(\/epochs)?$/, /^POST \/admin\/v1\/roles\/remove$/, /^DELETE \/admin\/.*\/(credentials|members)\/\{\w+\}$/];
const AT_THE_EKM_LISTENER = /^Ekm(Info|Metadata|Wrap|Unwrap)/;
const LATE = /waited too long for their signed checkpoint/;
const ROLLED_BACK = /Until that is settled only the log itself is served/;
/* Makes the first approver, from the server's own host and only while there is none: here is one. */
const FOUNDS = /^POST \/admin\/v1\/(principals|principals\/\{id\}\/credentials\/(secrets|certificates)|roles\/grant)$/;
const NOBODY = "00000000-0000-4000-8000-000000000000";
const FILLED = { vault: "orders", key: "none", version: "0".repeat(32), id: NOBODY, level: "0", tile: "000", size: "1", tenant: NOBODY };

let d, vault, admin, auditor, installation, operations, pool;

before(async () => {
	d = await Daemon.start({ log: { interval_ms: 200, late_ms: 1000 }, ekm: {} });
	vault = await d.makeVault("orders");
	admin = await d.makePrincipal(vault, "admin", ["administrator"]);
	auditor = await d.makePrincipal(vault, "auditor", ["auditor"]);
	installation = await d.makePrincipal(vault, "operator");
	await d.cli("role", "grant", vault.name, installation.client_id, "auditor", "--installation");
	const approver = await d.adminOk("POST", "/admin/v1/principals", { name: "approver" });
	await d.adminOk("POST", "/admin/v1/roles/grant", { principal: approver.json.client_id, role: "approver" });
	await d.ok(vault, admin, "POST", "/keys/a/create", { kty: "oct-HSM" });
	pool = await EkmTenant.make(d, "azure");
	await pool.makeKey("cmk", { kty: "oct-HSM", key_size: 256 });
	const description = new Description((await d.http.request("GET", "/openapi.json")).json);
	operations = description.operations().filter(({ id }) => !AT_THE_EKM_LISTENER.test(id));
});
after(() => d?.destroy());

const fill = (template) => template.replace(/\{(\w+)\}/g, (_, name) => FILLED[name] ?? NOBODY);

function ask(op, caller, token) {
	const target = fill(op.path), body = op.method === "PATCH" ? { attributes: { enabled: false } } : op.body && {};

	if (caller === "socket")
		return d.admin(op.method, target, body);
	return op.isVault ? d.call(vault, null, op.method, target, body, { token }) : d.http.request(op.method, target, { token, body });
}

/** Those who are known, with tokens: the HSM signs them, so they must be there before it goes. */
async function logIn() {
	const tokens = {};
	for (const [name, who] of Object.entries({ admin, auditor, installation }))
		tokens[name] = await d.token(who, { fresh: true });
	return tokens;
}

/** Each operation by each caller: what is in `runs` is judged as ever, all else is 503 for whoever is known, and 401 for strangers. */
async function assertServes(runs, message, tokens) {
	const callers = { socket: undefined, stranger: undefined, ...tokens };
	let refused = 0, served = 0;
	for (const op of operations)
		for (const [caller, token] of Object.entries(callers)) {
			if (caller === "socket" && (op.isVault || op.isPublic))
				continue;
			const res = await ask(op, caller, token);
			const what = `${op.method} ${op.path} by ${caller}: ${res.status} ${res.text?.slice(0, 300)}`;
			if (runs.some((pattern) => pattern.test(`${op.method} ${op.path}`))) {
				served += 1;
				assert.doesNotMatch(res.text, message, what);
				assert.ok(res.status < 500 || op.path === "/health/ready" || /\/(token|keys)$/.test(op.path), what);
			} else if (caller === "stranger") {
				assert.equal(res.status, 401, what);
				assert.doesNotMatch(res.text, message, what);
			} else {
				refused += 1;
				if (res.status === 403 && message === ROLLED_BACK && FOUNDS.test(`${op.method} ${op.path}`))
					continue; /* who may not do it at all is told that first */
				assert.equal(res.status, 503, what);
				assert.match(res.text, message, what);
				assert.equal(res.headers["retry-after"], "1", what);
				if (!FOUNDS.test(`${op.method} ${op.path}`))
					assert.equal(res.headers["x-audit-seq"], undefined, what);
			}
		}
	assert.ok(refused > 150 && served > 50, `${refused} refused, ${served} served`);
	const client = pool.client();
	const res = await client.metadata("cmk");
	client.close();
	assert.deepEqual([res.status, res.json.code, Object.keys(res.json)], [503, "ServiceUnavailable", ["code", "message"]]);
	assert.match(res.json.message, message);
}

describe("what is served", { timeout: 60_000 }, () => {
	test("while the log is late: the log, logins, and what takes access away", async (t) => {
		const away = `${d.tokenDir}.away`, tokens = await logIn();
		const update = (attributes) => d.call(vault, null, "PATCH", "/keys/a", { attributes }, { token: tokens.admin });
		t.after(() => fs.existsSync(away) && fs.renameSync(away, d.tokenDir));
		fs.renameSync(d.tokenDir, away);
		await until("it is late", async () => (await d.health()).json.audit === "late");
		await assertServes([...ALWAYS, ...TAKES_AWAY], LATE, tokens);
		/* To disable a key takes access away; to enable it, or to let it live longer, does not. */
		assert.equal((await update({ enabled: false })).status, 200);
		for (const attributes of [{ enabled: true }, { exp: 4102444800 }, {}]) {
			const res = await update(attributes);
			assert.equal(res.status, 503, res.text);
			assert.match(res.text, LATE);
		}
		fs.renameSync(away, d.tokenDir);
		await until("it is on time again", async () => (await d.health()).status === 200);
		assert.equal((await update({ enabled: true })).status, 200);
	});

	test("while it is rolled back: the log, logins, votes and the acceptance", async () => {
		await d.stop();
		const copy = fs.readFileSync(d.database);
		await d.restart();
		await d.ok(vault, admin, "GET", "/keys/a");
		await d.stop(); /* which pins the newest */
		for (const suffix of ["-wal", "-shm"])
			fs.rmSync(d.database + suffix, { force: true });
		fs.writeFileSync(d.database, copy);
		await d.restart({ ready: false });
		assert.equal((await d.health()).json.audit, "rolled_back");
		await assertServes(ALWAYS, ROLLED_BACK, await logIn());
	});
});
