// Debian's az: `az login` with the authority /adfs, then keys through `az rest`. Its own configuration directory, and no telemetry.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { after, before, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { needsAzure, pythonEnv, pythonProgram } from "../support/python.mjs";

const CLOUD = "holdfast";
let d, vault, officer;

before(async () => {
	if (needsAzure())
		return;
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
});
after(() => d?.destroy());

/** az ARGS -o json. @return {{code, json, stderr}} */
function az(...args) {
	const env = pythonEnv(d, { AZURE_CONFIG_DIR: path.join(d.dir, "azure"), AZURE_CORE_COLLECT_TELEMETRY: "no" });
	return new Promise((resolve) => {
		execFile(pythonProgram, ["-W", "ignore", "-m", "azure.cli", ...args, "-o", "json"], { env }, (err, stdout, stderr) => {
			resolve({ code: err ? err.code : 0, json: stdout.trim() === "" ? null : JSON.parse(stdout), stderr });
		});
	});
}
async function azOk(...args) {
	const { code, json, stderr } = await az(...args);
	assert.equal(code, 0, `az ${args[0]} ${args[1]}: ${stderr}`);
	return json;
}
const login = (secret) => az("login", "--service-principal", "-u", officer.client_id, "-p", secret, "--tenant", officer.tenant_id,
	"--allow-no-subscriptions");
const rest = (method, keyPath, ...more) => az("rest", "--method", method, "--url", `${vault.origin}${keyPath}?api-version=7.4`,
	"--resource", d.origin, ...more);
async function restOk(...args) {
	const { code, json, stderr } = await rest(...args);
	assert.equal(code, 0, stderr);
	return json;
}

test("az", async (t) => {
	const missing = needsAzure();
	if (missing)
		return t.skip(missing);

	await t.test("registers the cloud", async () => {
		await azOk("cloud", "register", "-n", CLOUD, "--endpoint-active-directory", `${d.origin}/adfs`,
			"--endpoint-active-directory-resource-id", d.origin, "--endpoint-active-directory-graph-resource-id", d.origin,
			"--endpoint-resource-manager", d.origin);
		await azOk("cloud", "set", "-n", CLOUD);
	});
	await t.test("does not log in with a wrong secret", async () => {
		const { code, stderr } = await login("wrong");
		assert.notEqual(code, 0);
		assert.match(stderr, /AADSTS7000215/);
		assert.notEqual((await rest("get", "/keys")).code, 0);
	});
	await t.test("logs in with the right one, into the principal's directory", async () => {
		const { code, json, stderr } = await login(officer.secret);
		assert.equal(code, 0, stderr);
		assert.equal(json.length, 1);
		assert.equal(json[0].tenantId, officer.tenant_id);
		assert.deepEqual(json[0].user, { name: officer.client_id, type: "servicePrincipal" });
	});
	await t.test("creates, reads, lists, changes and deletes a key", async () => {
		const made = await restOk("post", "/keys/k1/create", "--body", JSON.stringify({ kty: "RSA", key_size: 2048 }));
		assert.match(made.key.kid, new RegExp(`^${vault.origin}/keys/k1/[0-9a-f]{32}$`));
		assert.equal((await restOk("get", "/keys/k1")).key.n, made.key.n);
		const changed = await restOk("patch", "/keys/k1", "--body", JSON.stringify({ tags: { by: "az" } }));
		assert.deepEqual(changed.tags, { by: "az" });
		assert.deepEqual((await restOk("get", "/keys")).value.map((key) => key.kid), [`${vault.origin}/keys/k1`]);
		assert.equal((await restOk("delete", "/keys/k1")).recoveryId, `${vault.origin}/deletedkeys/k1`);
	});
	await t.test("shows the service's error", async () => {
		const { code, stderr } = await rest("get", "/keys/none");
		assert.notEqual(code, 0);
		assert.match(stderr, /KeyNotFound/);
	});
	await t.test("hands out a token for other programs", async () => {
		const { accessToken } = await azOk("account", "get-access-token", "--resource", d.origin);
		assert.equal((await d.call(vault, null, "GET", "/keys", undefined, { token: accessToken })).status, 200);
	});
	await t.test("forgets everything on logout", async () => {
		await azOk("logout");
		assert.notEqual((await rest("get", "/keys")).code, 0);
	});
});
