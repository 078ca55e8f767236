// Who may do what: roles, revocation, isolation of vaults, shredding.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertError, assertReceipt } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { refused, sdk } from "./clients.mjs";

const ROLES = ["administrator", "crypto-officer", "crypto-user", "crypto-service-encryption-user", "crypto-service-release-user", "reader",
	"data-access-administrator", "approver", "auditor"];
let d, vault, officer, plain, wrapped, sealed, version;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "owner", ["crypto-officer"]);
	version = (await d.ok(vault, officer, "POST", "/keys/k1/create", { kty: "oct-HSM" })).key.kid.split("/").pop();
	await d.ok(vault, officer, "POST", "/keys/rsa/create", { kty: "RSA" });
	plain = randomBytes(32).toString("base64url");
	wrapped = (await d.ok(vault, officer, "POST", "/keys/k1/wrapkey", { alg: "A256KW", value: plain })).value;
	sealed = (await d.ok(vault, officer, "POST", "/keys/rsa/encrypt", { alg: "RSA-OAEP", value: plain })).value;
});
after(() => d?.destroy());

describe("roles (keyvault-keys.md 15)", () => {
	// {n} is a key that belongs to the test of one role; the officer brings it into the state that an operation needs.
	const operations = [
		["create", "POST", "/keys/{n}/create", () => ({ kty: "oct" })],
		["read", "GET", "/keys/k1"],
		["read", "GET", "/keys"],
		["read", "GET", "/keys/k1/versions"],
		["read", "GET", "/keys/k1/{v}/attestation"],
		["read", "GET", "/deletedkeys"],
		["read", "GET", "/deletedkeys/gone"],
		["wrap", "POST", "/keys/k1/wrapkey", () => ({ alg: "A256KW", value: plain })],
		["unwrap", "POST", "/keys/k1/unwrapkey", () => ({ alg: "A256KW", value: wrapped })],
		["encrypt", "POST", "/keys/rsa/encrypt", () => ({ alg: "RSA-OAEP", value: plain })],
		["decrypt", "POST", "/keys/rsa/decrypt", () => ({ alg: "RSA-OAEP", value: sealed })],
		["sign", "POST", "/keys/rsa/sign", () => ({ alg: "RS256", value: plain })],
		["verify", "POST", "/keys/rsa/verify", () => ({ alg: "RS256", digest: plain, value: plain })],
		["rng", "POST", "/rng", () => ({ count: 8 })],
		["policy-read", "GET", "/keys/k1/rotationpolicy"],
		["policy-write", "PUT", "/keys/{n}/rotationpolicy", () => ({ lifetimeActions: [] })],
		["release", "POST", "/keys/k1/release", () => ({ target: "x" })], // refused to everybody, but told only to those who may ask
		["wrap-securely", "POST", "/keys/k1//securewrapkey", () => ({ alg: "A256KW" })],
		["unwrap-securely", "POST", "/keys/k1//secureunwrapkey", () => ({ alg: "A256KW", value: wrapped, target: "x" })],
		["update", "PATCH", "/keys/{n}", () => ({ tags: { a: "1" } })],
		["rotate", "POST", "/keys/{n}/rotate"],
		["import", "PUT", "/keys/{n}", () => ({ key: { kty: "oct", k: plain } })],
		["backup", "POST", "/keys/{n}/backup"],
		["delete", "DELETE", "/keys/{n}"],
		["recover", "POST", "/deletedkeys/{n}/recover"],
		["delete", "DELETE", "/keys/{n}"],
		["purge", "DELETE", "/deletedkeys/{n}"],
		["restore", "POST", "/keys/restore", (state) => ({ value: state.blob })],
	];
	const everything = new Set(operations.map(([action]) => action));
	const never = new Set(["release", "wrap-securely", "unwrap-securely"]); // 400 for those who may ask
	const allowed = {
		"administrator": everything,
		"crypto-officer": everything,
		"crypto-user": new Set(["read", "update", "backup", "encrypt", "decrypt", "wrap", "unwrap", "sign", "verify", "wrap-securely",
			"unwrap-securely"]),
		"crypto-service-encryption-user": new Set(["read", "wrap", "unwrap", "wrap-securely", "unwrap-securely"]),
		"crypto-service-release-user": new Set(["release"]),
		"reader": new Set(["read", "policy-read"]),
		"data-access-administrator": new Set(),
		"approver": new Set(),
		"auditor": new Set(),
	};
	before(async () => {
		await d.ok(vault, officer, "POST", "/keys/gone/create", { kty: "oct-HSM" });
		await d.ok(vault, officer, "DELETE", "/keys/gone");
	});
	for (const role of ROLES) {
		test(`${role} may do exactly what its role says`, async () => {
			const caller = await d.makePrincipal(vault, `is-${role}`, [role]);
			const mine = allowed[role];
			const name = `by-${role}`;
			const now = { state: "absent", blob: null };
			const bring = async (wanted) => {
				if (now.state === "absent" && wanted !== "absent")
					await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty: "oct" });
				if (now.state !== "deleted" && wanted !== "live")
					await d.ok(vault, officer, "DELETE", `/keys/${name}`);
				if (now.state === "deleted" && wanted === "live")
					await d.ok(vault, officer, "POST", `/deletedkeys/${name}/recover`);
				if (wanted === "absent")
					assert.equal((await d.call(vault, officer, "DELETE", `/deletedkeys/${name}`)).status, 204);
				now.state = wanted;
			};
			for (const [action, method, keyPath, body] of operations) {
				const needs = { create: "absent", recover: "deleted", purge: "deleted", restore: "absent" }[action] ?? "live";
				if (action === "restore") {
					await bring("live");
					now.blob = (await d.ok(vault, officer, "POST", `/keys/${name}/backup`)).value;
				}
				if (now.state !== needs)
					await bring(needs);
				const res = await d.call(vault, caller, method, keyPath.replace("{n}", name).replace("{v}", version), body?.(now));
				if (!mine.has(action)) {
					assertError(res, 403, "Forbidden", "ForbiddenByRbac");
				} else if (never.has(action)) {
					assertError(res, 400, "BadParameter");
				} else {
					assert.ok([200, 204].includes(res.status), `${role} ${action}: ${res.status} ${res.text}`);
					now.state = { create: "live", delete: "deleted", recover: "live", purge: "absent", restore: "live" }[action] ?? now.state;
				}
				assertReceipt(res);
			}
		});
	}
	test("a principal without any role may do nothing, and learns nothing about which keys exist", async () => {
		const nobody = await d.makePrincipal(vault, "nobody");
		for (const [action, method, keyPath, body] of operations) {
			const answers = [];
			for (const name of ["k1", "does-not-exist"]) {
				const target = keyPath.replace(/\{n\}|k1|rsa|gone/, name).replace("{v}", version);
				const res = await d.call(vault, nobody, method, target, body?.({ blob: plain }));
				assertError(res, 403, "Forbidden", "ForbiddenByRbac");
				answers.push(res.text.replaceAll(name, "NAME"));
			}
			assert.equal(answers[0], answers[1], action);
		}
	});
	test("a role takes effect when granted and ends when removed, for tokens already issued", async () => {
		const late = await d.makePrincipal(vault, "late");
		const unwrap = () => d.call(vault, late, "POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped });
		assertError(await unwrap(), 403, "Forbidden", "ForbiddenByRbac");
		await d.cli("role", "grant", vault.name, late.client_id, "crypto-service-encryption-user");
		assert.equal((await unwrap()).status, 200);
		await d.cli("role", "remove", vault.name, late.client_id, "crypto-service-encryption-user");
		assertError(await unwrap(), 403, "Forbidden", "ForbiddenByRbac");
	});
	test("Azure's display names and role ids name the same roles", async () => {
		for (const name of ["Key Vault Crypto Service Encryption User", "e147488a-f6f5-4113-8e2d-b22465e65bf6"]) {
			const who = await d.makePrincipal(vault, `azure-${name.length}`);
			await d.cli("role", "grant", vault.name, who.client_id, name);
			assert.equal((await d.call(vault, who, "POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped })).status, 200, name);
			assert.equal((await d.call(vault, who, "POST", "/keys/nope/create", { kty: "oct-HSM" })).status, 403, name);
		}
	});
	test("a disabled principal is out at once, also with a token that it has", async () => {
		const gone = await d.makePrincipal(vault, "leaver", ["crypto-user"]);
		const token = await d.token(gone);
		assert.equal((await d.call(vault, null, "GET", "/keys/k1", undefined, { token })).status, 200);
		await d.cli("principal", "disable", vault.name, gone.client_id);
		const res = await d.call(vault, null, "GET", "/keys/k1", undefined, { token });
		assert.ok([401, 403].includes(res.status), res.text);
		const again = await d.tokenRequest(gone.tenant_id, {
			grant_type: "client_credentials", client_id: gone.client_id, client_secret: gone.secret, scope: `${d.origin}/.default`,
		});
		assert.equal(again.status, 401);
		await d.cli("principal", "enable", vault.name, gone.client_id);
		assert.equal((await d.call(vault, null, "GET", "/keys/k1", undefined, { token })).status, 200);
	});
	test("the service user of the official client cannot create, and the reader cannot unwrap", async () => {
		const service = sdk(d, vault, await d.makePrincipal(vault, "service2", ["crypto-service-encryption-user"]));
		await assert.rejects(service.keys.createOctKey("nope", { hsm: true }), refused(403, "Forbidden"));
		assert.equal((await service.keys.getKey("k1")).name, "k1");
		const reader = sdk(d, vault, await d.makePrincipal(vault, "reader2", ["reader"]));
		const id = (await reader.keys.getKey("k1")).id;
		await assert.rejects(reader.crypto(id).unwrapKey("A256KW", Buffer.from(wrapped, "base64url")), refused(403, "Forbidden"));
	});
});

describe("revocation", () => {
	for (const [kty, alg] of [["oct-HSM", "A256KW"], ["RSA", "RSA-OAEP-256"], ["RSA-HSM", "RSA-OAEP-256"]]) {
		test(`a revoked ${kty} key is unusable, cannot be enabled by its users, and comes back only by reinstate`, async () => {
			const name = `revoke-${kty}`;
			await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty });
			const { value } = await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain });
			const unwrap = () => d.call(vault, officer, "POST", `/keys/${name}/unwrapkey`, { alg, value });
			assert.equal((await unwrap()).status, 200);

			const revoked = await d.cli("key", "revoke", vault.name, name, "--reason", "superseded");
			assert.equal(revoked.name, name);
			assert.equal(revoked.reason, "superseded");
			assert.equal(revoked.version, "all");
			const use = await unwrap();
			assert.equal(use.status, 403, use.text);
			assert.ok(["KeyDisabled", "KeyRevoked"].includes(use.json.error.innererror.code));
			assert.equal((await d.ok(vault, officer, "GET", `/keys/${name}`)).attributes.enabled, false);
			assertError(await d.call(vault, officer, "PATCH", `/keys/${name}`, { attributes: { enabled: true } }), 403, "Forbidden", "KeyRevoked");
			await assert.rejects(sdk(d, vault, officer).keys.updateKeyProperties(name, { enabled: true }), refused(403, "Forbidden"));
			assert.equal((await unwrap()).status, 403);
			assert.equal((await d.ok(vault, officer, "PATCH", `/keys/${name}`, { tags: { still: "mine" } })).attributes.enabled, false);

			await d.cli("key", "reinstate", vault.name, name);
			const back = await d.call(vault, officer, "PATCH", `/keys/${name}`, { attributes: { enabled: true } });
			assert.equal(back.status, 200, back.text);
			assert.equal((await unwrap()).json?.value, plain);
		});
	}
	test("a key revoked for compromise is never reinstated", async () => {
		await d.ok(vault, officer, "POST", "/keys/compromised/create", { kty: "oct-HSM" });
		await d.cli("key", "revoke", vault.name, "compromised", "--reason", "keyCompromise");
		await assert.rejects(d.cli("key", "reinstate", vault.name, "compromised"), (err) => err.exitCode === 2);
		assert.equal((await d.ok(vault, officer, "GET", "/keys/compromised")).attributes.enabled, false);
	});
	test("revocation outlives delete and recover, and a restart", async () => {
		await d.ok(vault, officer, "POST", "/keys/stays/create", { kty: "oct-HSM" });
		const { value } = await d.ok(vault, officer, "POST", "/keys/stays/wrapkey", { alg: "A256KW", value: plain });
		await d.cli("key", "revoke", vault.name, "stays", "--reason", "unspecified");
		await d.ok(vault, officer, "DELETE", "/keys/stays");
		await d.ok(vault, officer, "POST", "/deletedkeys/stays/recover");
		assert.equal((await d.call(vault, officer, "POST", "/keys/stays/unwrapkey", { alg: "A256KW", value })).status, 403);
		await d.stop();
		await d.restart();
		assert.equal((await d.call(vault, officer, "POST", "/keys/stays/unwrapkey", { alg: "A256KW", value })).status, 403);
		assertError(await d.call(vault, officer, "PATCH", "/keys/stays", { attributes: { enabled: true } }), 403, "Forbidden", "KeyRevoked");
	});
	test("one version can be revoked alone", async () => {
		const first = await d.ok(vault, officer, "POST", "/keys/two/create", { kty: "oct-HSM" });
		await d.ok(vault, officer, "POST", "/keys/two/create", { kty: "oct-HSM" });
		const version = first.key.kid.split("/").pop();
		await d.cli("key", "revoke", vault.name, "two", "--reason", "superseded", "--version", version);
		assert.equal((await d.call(vault, officer, "POST", `/keys/two/${version}/wrapkey`, { alg: "A256KW", value: plain })).status, 403);
		assert.equal((await d.call(vault, officer, "POST", "/keys/two/wrapkey", { alg: "A256KW", value: plain })).status, 200);
	});
});

describe("vaults are apart", () => {
	let other, stranger;
	before(async () => {
		other = await d.makeVault("payroll");
		stranger = await d.makePrincipal(other, "stranger", ["administrator"]);
	});
	test("a token of one vault is 401 at the other, for every operation", async () => {
		for (const [method, keyPath, body] of [
			["GET", "/keys"], ["GET", "/keys/k1"], ["POST", "/keys/x/create", { kty: "oct-HSM" }],
			["POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped }], ["DELETE", "/keys/k1"], ["GET", "/nonsense"],
			["PUT", "/keys/x", { key: { kty: "oct", k: plain } }], ["POST", "/keys/rsa/sign", { alg: "RS256", value: plain }],
			["POST", "/keys/rsa/backup"],
			["POST", "/keys/restore", { value: plain }], ["POST", "/keys/rsa/decrypt", { alg: "RSA-OAEP", value: sealed }],
			["POST", "/rng", { count: 8 }],
			["GET", "/keys/k1/rotationpolicy"], ["PUT", "/keys/k1/rotationpolicy", {}], ["GET", `/keys/k1/${version}/attestation`],
		]) {
			const res = await d.call(vault, stranger, method, keyPath, body);
			assertError(res, 401, "Unauthorized");
			assert.ok(res.headers["www-authenticate"]);
		}
		assert.equal((await d.call(other, stranger, "GET", "/keys")).status, 200);
		assert.equal((await d.call(vault, officer, "GET", "/keys/k1")).status, 200);
	});
	test("a client secret of one vault gives no token in the other's directory", async () => {
		const res = await d.tokenRequest(vault.tenant_id, {
			grant_type: "client_credentials", client_id: stranger.client_id, client_secret: stranger.secret, scope: `${d.origin}/.default`,
		});
		assert.equal(res.status, 401);
		assert.equal(res.json.error, "invalid_client");
	});
	test("the same name is another key there", async () => {
		await d.ok(other, stranger, "POST", "/keys/k1/create", { kty: "oct-HSM" });
		const res = await d.call(other, stranger, "POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped });
		assertError(res, 400, "BadParameter");
		assert.equal((await d.ok(other, stranger, "GET", "/keys")).value.length, 1);
	});
	test("the management API is closed to the key users of a vault, and to nobody's token", async () => {
		const user = await d.makePrincipal(vault, "curious", ["crypto-user"]);
		for (const adminPath of ["/admin/v1/vaults", "/admin/v1/status", `/admin/v1/vaults/${other.name}`, "/admin/v1/hsm"]) {
			const none = await d.http.request("GET", adminPath);
			assert.equal(none.status, 401, `${adminPath}: ${none.text}`);
			const some = await d.http.request("GET", adminPath, { token: await d.token(user) });
			assert.ok([401, 403].includes(some.status), `${adminPath}: ${some.status} ${some.text}`);
		}
		const audit = await d.http.request("GET", "/audit/v1/entries?start=0&count=5", { token: await d.token(user) });
		assert.ok([401, 403].includes(audit.status), `audit: ${audit.status}`);
	});
});

describe("shredding a vault", () => {
	test("needs its name repeated; then everything in it is refused, for ever, and the others live", async () => {
		const doomed = await d.makeVault("doomed");
		const owner = await d.makePrincipal(doomed, "owner", ["administrator"]);
		const kept = {};
		for (const [name, kty, alg] of [["oct", "oct-HSM", "A256KW"], ["rsa", "RSA", "RSA-OAEP-256"], ["rsahsm", "RSA-HSM", "RSA-OAEP-256"]]) {
			await d.ok(doomed, owner, "POST", `/keys/${name}/create`, { kty });
			kept[name] = { alg, value: (await d.ok(doomed, owner, "POST", `/keys/${name}/wrapkey`, { alg, value: plain })).value };
		}
		const wrong = await d.admin("POST", "/admin/v1/vaults/doomed/shred", { confirm: "other", reason: "test" });
		assert.equal(wrong.status, 400, wrong.text);
		assert.equal((await d.call(doomed, owner, "POST", "/keys/rsa/unwrapkey", kept.rsa)).status, 200);

		const done = await d.shred(doomed, "end of contract");
		assert.equal(done.state, "shredded");
		assert.equal(done.verified, true);
		assert.ok(done.objects >= 3, `objects: ${done.objects}`);
		const everythingRefused = async () => {
			const token = await d.token(owner);
			for (const [method, keyPath, body] of [
				["GET", "/keys"], ["GET", "/keys/rsa"], ["POST", "/keys/new/create", { kty: "oct-HSM" }],
				...Object.entries(kept).map(([name, value]) => ["POST", `/keys/${name}/unwrapkey`, value]),
			]) {
				const res = await d.call(doomed, null, method, keyPath, body, { token });
				assert.ok(res.status >= 400 && res.status < 500, `${method} ${keyPath}: ${res.status} ${res.text}`);
			}
			const fresh = await d.tokenRequest(owner.tenant_id, {
				grant_type: "client_credentials", client_id: owner.client_id, client_secret: owner.secret, scope: `${d.origin}/.default`,
			});
			assert.ok(fresh.status >= 400 && fresh.status < 500, `token: ${fresh.status}`);
		};
		await everythingRefused();
		assert.equal((await d.cli("vault", "show", "doomed")).state, "shredded");
		await assert.rejects(d.cli("vault", "create", "doomed"), (err) => err.exitCode === 2, "its name is not given again");
		await d.kill9();
		await d.restart();
		await everythingRefused();
		assert.equal((await d.call(vault, officer, "POST", "/keys/k1/unwrapkey", { alg: "A256KW", value: wrapped })).json?.value, plain);
	});
});
