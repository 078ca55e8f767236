// Break-glass, and what is looked at before a shred: one command makes a vault refuse everything, in every dialect and while the HSM is away; several people open it again.
// That no answer follows the lock's own is in revocation.test.mjs.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { assertError } from "../support/asserts.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { EkmTenant, assertEkmError } from "../support/ekm.mjs";
import { binaries } from "../support/paths.mjs";

const BACK_MS = 20_000;
const plain = randomBytes(32).toString("base64url");
const run = promisify(execFile);

let d, orders, payroll, key, value;
before(async () => {
	d = await Daemon.start({ ekm: {}, storage: { reserve_mib: 1 } });
	orders = await EkmTenant.make(d, "orders");
	payroll = await EkmTenant.make(d, "payroll");
	for (const t of [orders, payroll])
		await t.makeKey("k", { kty: "oct-HSM", key_size: 256 });
	key = await d.ok(orders.vault, orders.officer, "GET", "/keys/k");
	({ value } = await d.ok(orders.vault, orders.officer, "POST", "/keys/k/wrapkey", { alg: "A256KW", value: plain }));
});
after(() => d?.destroy());

const unwrap = () => d.call(orders.vault, orders.officer, "POST", "/keys/k/unwrapkey", { alg: "A256KW", value });
const lock = () => d.cli("vault", "lock", "orders", "--reason", "token seen elsewhere");
const askUnlock = () => d.admin("POST", "/admin/v1/vaults/orders/unlock", { reason: "secret replaced" });
const unlock = () => d.approved(orders.vault, askUnlock);

async function withPool(tenant, use) {
	const client = tenant.client();
	try {
		return await use(client);
	} finally {
		client.close();
	}
}
const poolUnwraps = (tenant) => withPool(tenant, (client) => client.unwrap("k", "A256KW", value));

test("a locked vault refuses everything but what takes access away, looks, or unlocks it", async () => {
	assert.equal((await lock()).locked, true);
	assert.equal((await d.cli("vault", "show", "orders")).locked, true);
	assertError(await unwrap(), 403, "Forbidden", "VaultLocked");
	for (const [method, path, body] of [["GET", "/keys"], ["GET", "/keys/k"], ["POST", "/keys/n/create", { kty: "oct-HSM" }], ["DELETE", "/keys/k"], ["POST", "/rng", { count: 8 }],
		["POST", "/keys/k/backup"], ["PATCH", "/keys/k", { attributes: { enabled: false } }]])
		assertError(await d.call(orders.vault, orders.officer, method, path, body), 403, "Forbidden", "VaultLocked");
	assertEkmError(await poolUnwraps(orders), 403, "Forbidden");

	const admin = (method, path, body) => d.admin(method, `/admin/v1/vaults/orders${path}`, body);
	for (const [path, body] of [["/principals", { name: "new" }], ["/roles/grant", { principal: orders.officer.client_id, role: "auditor" }],
		["/groups", { name: "g" }], ["/ekm/pools/azure/keys", { key: "k" }]])
		assertError(await admin("POST", path, body), 403, "Forbidden", "VaultLocked");
	assertError(await admin("PATCH", "", { quorum: 3 }), 403, "Forbidden", "VaultLocked");
	for (const path of ["", "/principals", "/groups", "/approvals", "/ekm/pools", "/shred-plan"])
		assert.equal((await admin("GET", path)).status, 200, path);
	assert.equal((await admin("POST", "/keys/k/revoke", { reason: "superseded" })).status, 200);

	// Others notice nothing.
	await d.ok(payroll.vault, payroll.officer, "POST", "/keys/k/wrapkey", { alg: "A256KW", value: plain });

	const waits = await askUnlock();
	assertError(waits, 403, "Forbidden", "ForbiddenByPolicy");
	assert.equal((await unwrap()).status, 403);
	assert.equal((await unlock()).json.locked, false);
	await d.adminOk("POST", "/admin/v1/vaults/orders/keys/k/reinstate", {});
	await d.ok(orders.vault, orders.officer, "PATCH", `/keys/k/${key.key.kid.split("/").pop()}`, { attributes: { enabled: true } });
	assert.equal((await unwrap()).json.value, plain);
	assert.equal((await poolUnwraps(orders)).json.value, plain);
	const acts = (await d.entries(0)).map(({ leaf }) => leaf).filter((leaf) => /^tenant\.(un)?lock$/.test(leaf.type) && leaf.result === "ok");
	assert.deepEqual(acts.map((leaf) => [leaf.type, leaf.tenant, leaf.det.reason, leaf.appr?.length]),
		[["tenant.lock", orders.vault.id, "token seen elsewhere", undefined], ["tenant.unlock", orders.vault.id, "secret replaced", 1]]);
});

test("who locks it and disables those who could unlock it has not locked it for ever: the server's own host enables them again", async () => {
	const one = await d.makePrincipal(orders.vault, "one", ["administrator"]);
	const target = `/admin/v1/vaults/orders/principals/${orders.officer.client_id}`;
	const asOne = async (path, body) => d.http.request("POST", path, { token: await d.token(one), body });
	assert.equal((await asOne("/admin/v1/vaults/orders/lock", { reason: "mine alone" })).status, 200);
	assert.equal((await asOne(`${target}/disable`)).status, 200);
	assertError(await asOne(`${target}/enable`), 403, "Forbidden", "VaultLocked");
	assert.equal((await d.admin("POST", `${target}/enable`)).status, 200);
	assert.equal((await unlock()).json.locked, false);
	await d.adminOk("POST", `/admin/v1/vaults/orders/principals/${one.client_id}/disable`);
});

test("what was approved before a lock does not end it", async () => {
	await lock();
	await d.agree(orders.vault, askUnlock);
	await lock(); // somebody has seen more meanwhile
	assertError(await askUnlock(), 403, "Forbidden", "ForbiddenByPolicy");
	const [request] = (await d.cli("approval", "list", "orders")).value;
	assert.match(await d.cliText("approval", "show", "orders", request.id), /^Unlock the vault orders: its keys serve everybody again who has a role for them\./);
	assert.equal((await d.cli("vault", "show", "orders")).locked, true);
	assert.equal((await unlock()).json.locked, false);
	assert.equal((await unwrap()).json.value, plain);
});

test("it is locked while the HSM is away and the log is late, and unlocking can be asked for", async (t) => {
	const away = `${d.tokenDir}.away`;
	t.after(() => fs.existsSync(away) && fs.renameSync(away, d.tokenDir));
	const token = await d.token(orders.officer);
	fs.renameSync(d.tokenDir, away);
	await until("the log is late", async () => /late/.test((await d.health()).text), BACK_MS);
	const res = await d.http.request("POST", "/admin/v1/vaults/orders/lock", { token, body: { reason: "by its administrator" } });
	assert.equal(res.status, 200, res.text);
	assert.equal(res.json.locked, true);
	fs.renameSync(away, d.tokenDir);
	await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
	assertError(await unwrap(), 403, "Forbidden", "VaultLocked");
	await unlock();
	assert.equal((await unwrap()).json.value, plain);
});

test("the plan of a shred says what would die, who used it, and what cannot be seen", async () => {
	await d.ok(orders.vault, orders.officer, "PUT", "/keys/soft", { key: { kty: "oct", k: plain } });
	await d.ok(orders.vault, orders.officer, "DELETE", "/keys/soft");
	const plan = await d.cli("vault", "shred", "orders", "--plan");
	assert.deepEqual(plan.counts, { keys: 2, deleted_keys: 1, versions: 2, resident: 1, listed: 2 });
	const used = plan.keys.find((k) => k.name === "k");
	assert.equal(used.type, "oct-HSM 256");
	assert.ok(Date.now() / 1000 - used.last_used < 120);
	assert.deepEqual(used.used_by.map((u) => u.name).sort(), ["azure", "officer"]);
	assert.deepEqual(plan.keys.find((k) => k.name === "soft").used_by, []);
	assert.deepEqual(plan.published.map((p) => [p.pool, p.external_id, p.key]), [["azure", "k", "k"]]);
	assert.equal(plan.looked.all, true);
	assert.ok(plan.unseen.length > 0);
	const { stdout } = await run(binaries.cli, ["--socket", d.socket, "vault", "shred", "orders", "--plan"], { env: d.env });
	assert.match(stdout, /would destroy 2 keys with 2 versions/);
	assert.match(stdout, /Nothing was changed/);
	assert.match(stdout, /oct-HSM 256 .*(officer|azure)/);
	assert.equal((await d.cli("vault", "show", "orders")).state, "active");
	// One of which several people use keys is for them alone.
	const res = await d.http.request("GET", "/admin/v1/vaults/orders/shred-plan", { token: await d.token(orders.officer) });
	assertError(res, 403, "Forbidden", "ForbiddenByRbac");
});
