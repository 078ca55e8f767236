// Who may call what, all of it: every route of the server's own description by every built-in role, at every scope, in the own vault and in another, by roles that hold one
// data action alone, and with every kind of token that is none. What is expected is written here, apart from the server's tables. Requests are harmless: they name nothing that
// exists and have no body that can be read, so that those who may ask are told so, and nothing happens.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { API_VERSION, Daemon, until } from "../support/daemon.mjs";
import { makeIdentity } from "../support/ekm.mjs";
import { Issuer, assemble, decodePart, hmacSigner, noSigner, nowS } from "../support/issuer.mjs";
import { Description } from "../support/openapi.mjs";

const CALLERS = 16; // requests at a time
const NOTHING = "00000000-0000-4000-8000-000000000000";
const KEY = "nothing"; // exists in no vault
const BROKEN = "{";
const TIME_MS = 60_000;

/* ---- what is expected: keyvault-keys.md 15.2, and the roles of our own ---- */

const K = (...names) => names.map((name) => `Microsoft.KeyVault/vaults/keys/${name}`);
const H = (...names) => names.map((name) => `Holdfast/${name}`);
const POLICY = ["Microsoft.KeyVault/vaults/keyrotationpolicies/read", "Microsoft.KeyVault/vaults/keyrotationpolicies/write"];
const SERVICE = K("read", "wrap/action", "unwrap/action");
const USER = [...SERVICE, ...K("update/action", "backup/action", "encrypt/action", "decrypt/action", "sign/action", "verify/action")];
const KEYS = [...USER, ...POLICY, ...K("create/action", "import/action", "delete", "recover/action", "purge/action", "rotate/action", "restore/action",
	"release/action", "rng/action")];
const APPROVER = H("vaults/approvals/read", "vaults/approvals/write", "vaults/read");
const VAULT_ROLES = {
	"administrator": [...KEYS, ...APPROVER, ...H("vaults/keys/revoke/action", "vaults/write", "vaults/principals/read", "vaults/principals/write",
		"vaults/roleAssignments/write", "vaults/administrators/write", "vaults/ekm/read", "vaults/ekm/write", "vaults/lock/action", "vaults/rotateRoot/action")],
	"crypto-officer": KEYS,
	"crypto-user": USER,
	"crypto-service-encryption-user": SERVICE,
	"crypto-service-release-user": K("release/action"),
	"reader": [...K("read"), POLICY[0], ...H("vaults/read")],
	"data-access-administrator": H("vaults/roleAssignments/write", "vaults/principals/read", "vaults/read"),
	"approver": APPROVER,
	"auditor": H("vaults/audit/read", "vaults/read"),
	"privacy-officer": H("vaults/persons/read", "vaults/persons/erase/action", "vaults/audit/read", "vaults/read"),
};
const INSTALLATION_ROLES = {
	"operator": H("read", "write", "vaults/list", "vaults/read", "vaults/approvals/read"),
	"auditor": H("vaults/audit/read", "audit/read", "vaults/read", "vaults/list"),
	"approver": [...APPROVER, ...H("vaults/list")],
};
/* What may be asked for one key, and the roles that can be had for one. */
const OF_A_KEY = new Set(KEYS.filter((action) => !K("restore/action", "rng/action").includes(action)));
const KEY_ROLES = ["crypto-officer", "crypto-user", "crypto-service-encryption-user", "crypto-service-release-user", "reader"];
/* What a role of a vault's own may hold. */
const CUSTOM = [...KEYS, ...H("vaults/keys/revoke/action", "vaults/read", "vaults/principals/read", "vaults/approvals/read", "vaults/audit/read",
	"vaults/ekm/read", "vaults/ekm/write")];
/* Needs an identity, and no role. */
const ANYBODY = "-";
/* What each operation needs; a new one has to be entered here. */
const NEEDS = new Map(Object.entries({
	[K("read")]: "KeyGet KeyList KeyListVersions KeyGetDeleted KeyListDeleted KeyAttestation EkmInfo EkmMetadata",
	[K("create/action")]: "KeyCreate", [K("import/action")]: "KeyImport", [K("update/action")]: "KeyUpdate", [K("rotate/action")]: "KeyRotate",
	[K("delete")]: "KeyDelete", [K("recover/action")]: "KeyRecover", [K("purge/action")]: "KeyPurge", [K("backup/action")]: "KeyBackup",
	[K("restore/action")]: "KeyRestore", [K("wrap/action")]: "KeyWrap KeySecureWrap EkmWrap", [K("unwrap/action")]: "KeyUnwrap KeySecureUnwrap EkmUnwrap",
	[K("encrypt/action")]: "KeyEncrypt", [K("decrypt/action")]: "KeyDecrypt", [K("sign/action")]: "KeySign", [K("verify/action")]: "KeyVerify",
	[K("release/action")]: "KeyRelease", [K("rng/action")]: "Random", [POLICY[0]]: "KeyRotationPolicyGet", [POLICY[1]]: "KeyRotationPolicySet",
	[H("read")]: "Status HsmInfo Check ExportList BackupList BackupEpochList", [H("write")]: "LogPrune BackupCreate BackupVerify BackupEpochBegin BackupEpochEnd", [H("roleAssignments/write")]: "LogRotateKey LogAccept CertificateEnforce", [H("vaults/list")]: "VaultList", [H("vaults/create/action")]: "VaultPut", [H("vaults/shred/action")]: "VaultShred VaultShredPlan",
	[H("vaults/lock/action")]: "VaultLock VaultUnlock", [H("vaults/rotateRoot/action")]: "VaultRotateRoot",
	[H("vaults/read")]: "VaultGet WebhookList WebhookGet DeadLetterList RoleDefinitionList", [H("vaults/write")]: "WebhookCreate WebhookDelete WebhookNewSecret WebhookValidate DeadLetterRetry DeadLetterDrop VaultUpdate",
	[H("vaults/principals/read")]: "PrincipalList PrincipalGet CredentialList GroupList MemberList ServiceList AccessExplain",
	[H("vaults/principals/write")]: "PrincipalCreate PrincipalDisable PrincipalEnable PrincipalRevokeTokens CredentialAddSecret CredentialAddCertificate "
		+ "CredentialAddIdentity CredentialRemove GroupCreate ServiceAdd ServiceCertificates",
	[H("vaults/roleAssignments/write")]: "RoleGrant RoleRemove MemberAdd MemberRemove RoleDefinitionCreate RoleDefinitionDelete",
	[H("vaults/approvals/read")]: "ApprovalList ApprovalGet ApprovalWithdraw", [H("vaults/approvals/write")]: "ApprovalApprove ApprovalDeny CertificateSign",
	[H("vaults/keys/revoke/action")]: "KeyRevoke KeyReinstate", [H("vaults/ekm/read")]: "EkmPoolList EkmKeyList",
	[H("vaults/ekm/write")]: "EkmPoolAdd EkmPoolCertificates EkmKeyPublish EkmKeyRetire", [H("vaults/audit/read")]: "ReportRotations ReportOverdue ReportDenials ReportRevocations ReportUnused ReportProtection ReportKeys AuditEvents AuditEntries AuditEntry AuditBundle", [H("audit/read")]: "AuditEntryTile",
	[H("vaults/persons/read")]: "PersonList PersonShow", [H("vaults/persons/erase/action")]: "PersonErase",
	[ANYBODY]: "AuditRetention AuditCheckpoint AuditCheckpointOf AuditKeys AuditInclusion AuditConsistency AuditTile CertificateList CertificateGet",
}).flatMap(([action, names]) => names.split(" ").map((name) => [name, action])));
const INSTALLATION_NEEDS = new Map([["RoleGrant", "Holdfast/roleAssignments/write"], ["RoleRemove", "Holdfast/roleAssignments/write"]]);

function needed({ id, path: target }) {
	const name = id.replace(/(Version)?\d*$/, "");
	const action = (target.startsWith("/admin/v1/roles/") ? INSTALLATION_NEEDS : NEEDS).get(name);
	assert.ok(action, `${id} (${target}): what does it need? Enter it in this test.`);
	return action;
}

let d, vault, other, admin, alpha, beta, dir, operations, ekmOperations, pool, ekmClients = [];
let client;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-matrix-"));
	alpha = new Issuer("alpha", dir);
	beta = new Issuer("beta", dir);
	d = await Daemon.start({ issuers: [alpha.config(), beta.config()], ekm: {}, listen: { client_certificates: true } });
	client = d.client(CALLERS);
	vault = await d.makeVault("orders");
	other = await d.makeVault("payroll");
	const description = new Description((await d.http.request("GET", "/openapi.json")).json);
	const secured = description.operations().filter((o) => !o.isPublic).map((o) => ({ ...o, permission: needed(o) }));
	for (const o of secured)
		assert.equal(description.document.paths[o.path][o.method.toLowerCase()]["x-permission"] ?? ANYBODY, o.permission, `${o.method} ${o.path}`);
	ekmOperations = secured.filter((o) => o.id.startsWith("Ekm") && !o.path.startsWith("/admin/"));
	operations = secured.filter((o) => !ekmOperations.includes(o));
	admin = await d.makePrincipal(vault, "external-admin", ["administrator"]);
	await d.addIdentity(vault, admin, "alpha", "external-admin");
});
after(async () => {
	client?.close();
	ekmClients.forEach((c) => c.close());
	await d?.destroy();
	if (dir)
		fs.rmSync(dir, { recursive: true, force: true });
});

/* ---- asking ---- */

/** The request of an operation. @param at  the vault that it is about; key: the one key */
function requestOf(o, at, key = KEY) {
	const values = { vault: at.name, key, version: "0".repeat(32), id: NOTHING, credential: NOTHING, member: NOTHING, service: NOTHING, pool: "nothing", size: "1", level: "0", tile: "000" };
	const target = o.path.replace(/\{(\w+)\}/g, (_, name) => {
		assert.ok(name in values, `${o.path}: what is ${name}?`);
		return values[name];
	});
	return { path: o.isVault ? `${target}?api-version=${API_VERSION}` : target, origin: o.isVault ? at.origin : d.origin };
}

/** A caller has 50 proofs a second: here one plays many roles in that time, and asks again. */
async function ask(o, at, token, { key, headers, via = client } = {}) {
	const { path: target, origin } = requestOf(o, at, key);
	for (let tries = 1; ; tries++) {
		const res = await via.request(o.method, target, { origin, token, body: o.body ? BROKEN : undefined, headers: { "content-type": "application/json", ...headers } });
		if (res.status !== 429 || !o.path.startsWith("/audit/") || tries === 5)
			return res;
		await sleep(1000 * Number(res.headers["retry-after"]));
	}
}

/** Ask all of it, CALLERS at a time. @param judge  (operation, answer) => void */
async function forAll(list, request, judge) {
	const left = [...list];
	const worker = async () => {
		for (let o = left.shift(); o; o = left.shift())
			judge(o, await request(o));
	};
	await Promise.all(Array.from({ length: CALLERS }, worker));
}

function assertAllowed(o, res, who) {
	assert.ok(res.status !== 401 && res.status !== 403 && res.status < 500 && res.status !== 429, `${who} may ${o.id} (${o.permission}): ${res.status} ${res.text}`);
}

function assertForbidden(o, res, who) {
	assert.equal(res.status, 403, `${who} may not ${o.id} (${o.permission}): ${res.status} ${res.text}`);
	assert.equal(res.json.error.innererror.code, "ForbiddenByRbac");
	assert.ok(res.json.error.message.includes(o.permission), `${o.id} does not name ${o.permission}: ${res.text}`);
}

function assertStranger(o, res, who) {
	assert.equal(res.status, 401, `${who} is nobody for ${o.id}: ${res.status} ${res.text}`);
	assert.match(res.headers["www-authenticate"], /^Bearer /);
	assert.equal(res.headers["x-audit-seq"], undefined, "noise is not written one by one");
}

/** A caller that holds exactly these actions: all routes are asked. @return how many were allowed because of them */
async function judge(who, at, token, actions, options = {}) {
	const held = new Set([...actions, ANYBODY]);
	let allowed = 0;
	await forAll(options.list ?? operations, (o) => ask(o, at, token, options), (o, res) => {
		if (!held.has(o.permission))
			return assertForbidden(o, res, who);
		allowed += o.permission === ANYBODY ? 0 : 1;
		return assertAllowed(o, res, who);
	});
	return allowed;
}

const inVault = () => operations.filter((o) => o.isVault || o.path.includes("{vault}"));

/* ---- the routes themselves ---- */

describe("no route escapes", { timeout: TIME_MS }, () => {
	test("those of the program are those of its description, but for the managed-identity endpoint", () => {
		const source = fs.readFileSync(new URL("../../api/routes.c", import.meta.url), "utf8");
		const rows = [...source.matchAll(/^\s*\{ HTTP_(\w+),\s*DIALECT_(\w+),\s*"([^"]+)",\s*(PERM_\w+),/gm)];
		assert.equal(rows.length, source.match(/\{ HTTP_/g).length, "a row that this test cannot read");
		const described = new Set([...operations, ...ekmOperations].map((o) => `${o.method} ${o.path}`));
		const secured = rows.filter(([, , , , permission]) => permission !== "PERM_PUBLIC");
		for (const [, method, dialect, target] of secured)
			assert.ok(described.has(`${method} ${target}`), `${method} ${target} (${dialect}) is not described`);
		assert.equal(secured.length, described.size);
		assert.ok(described.size >= 100, `${described.size} routes`);
	});
	test("the roles of the program are those of this test", async () => {
		const res = await d.adminOk("GET", `/admin/v1/vaults/${vault.name}/roledefinitions`);
		const sorted = (list) => [...list].sort();
		const found = Object.fromEntries(res.json.value.map((role) => [role.name, role]));
		assert.deepEqual(sorted(Object.keys(found)), sorted([...new Set([...Object.keys(VAULT_ROLES), ...Object.keys(INSTALLATION_ROLES)])]));
		for (const [name, role] of Object.entries(found)) {
			assert.deepEqual(sorted(role.actions), sorted(VAULT_ROLES[name] ?? []), name);
			assert.deepEqual(sorted(role.installation_actions ?? []), sorted(INSTALLATION_ROLES[name] ?? []), `${name} in the installation`);
		}
	});
});

/* ---- roles ---- */

describe("every route by every role", { timeout: TIME_MS }, () => {
	const token = (who) => d.token(who);

	test("none", async () => {
		const who = await d.makePrincipal(vault, "nobody");
		assert.equal(await judge("nobody", vault, await token(who), []), 0);
	});
	for (const [role, actions] of Object.entries(VAULT_ROLES))
		test(`${role} of a vault`, async () => {
			const who = await d.makePrincipal(vault, `vault-${role}`, [role]);
			const allowed = await judge(role, vault, await token(who), actions);
			assert.ok(allowed >= (role === "crypto-service-release-user" ? 2 : 3), `${allowed} routes`);
			// The other vault does not know it.
			await forAll(inVault(), (o) => ask(o, other, d.tokens.get(who.client_id)), (o, res) => assertStranger(o, res, `${role} of the other vault`));
		});
	for (const role of KEY_ROLES)
		test(`${role} of one key`, async () => {
			const who = await d.makePrincipal(vault, `key-${role}`);
			await d.grant(vault, who, role, { key: KEY });
			const ofKeys = operations.filter((o) => o.path.includes("{key}"));
			const actions = VAULT_ROLES[role].filter((action) => OF_A_KEY.has(action));
			assert.ok(await judge(`${role} of ${KEY}`, vault, await token(who), actions, { list: ofKeys }) > 0);
			for (const key of ["other-key", `${KEY}-2`, "noth"])
				assert.equal(await judge(`${role} of ${KEY}, not of ${key}`, vault, await token(who), [], { list: ofKeys, key }), 0);
			assert.ok(await judge(`${role} of NOTHING, by another case`, vault, await token(who), actions, { list: ofKeys, key: KEY.toUpperCase() }) > 0);
			// What is not about this key: not even lists of keys.
			assert.equal(await judge(`${role} of ${KEY}`, vault, await token(who), [], { list: operations.filter((o) => !o.path.includes("{key}")) }), 0);
		});
	test("no other role can be had for one key", async () => {
		const who = await d.makePrincipal(vault, "key-none");
		for (const role of [...Object.keys(VAULT_ROLES), ...Object.keys(INSTALLATION_ROLES)].filter((name) => !KEY_ROLES.includes(name))) {
			const res = await d.admin("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { principal: who.client_id, role, key: KEY });
			assert.equal(res.status, 400, `${role}: ${res.text}`);
		}
	});
	for (const [role, actions] of Object.entries(INSTALLATION_ROLES))
		test(`${role} of the installation`, async () => {
			const who = (await d.adminOk("POST", "/admin/v1/principals", { name: `installation-${role}` })).json;
			const granted = await d.admin("POST", "/admin/v1/roles/grant", { principal: who.client_id, role });
			assert.equal(granted.status, 200, granted.text);
			const mine = await token(who);
			for (const at of [vault, other])
				assert.ok(await judge(`${role} of the installation`, at, mine, actions, { list: operations.filter((o) => !o.isVault) }) > 3);
			// On a vault's own host it is not known at all.
			await forAll(operations.filter((o) => o.isVault), (o) => ask(o, vault, mine), (o, res) => assertStranger(o, res, `${role} of the installation`));
		});
	test("roles of a vault's own, each with one data action", async () => {
		const first = await d.makePrincipal(vault, "custom");
		for (const [i, action] of CUSTOM.entries()) {
			const name = `only-${i}`;
			const role = (await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/roledefinitions`, { name, actions: [action] })).json;
			await d.grant(vault, first, name);
			const allowed = await judge(`who holds only ${action}`, vault, await token(first), [action]);
			assert.ok(allowed > 0 || !operations.some((o) => o.permission === action), action);
			await d.remove(vault, first, name);
			await d.adminOk("DELETE", `/admin/v1/vaults/${vault.name}/roledefinitions/${role.id}`);
		}
		assert.equal(await judge("who holds nothing any more", vault, await token(first), []), 0);
	});
	test("no role of a vault's own holds what manages it", async () => {
		const guarded = [...VAULT_ROLES.administrator, ...INSTALLATION_ROLES.operator, ...H("audit/read", "vaults/create/action", "vaults/shred/action", "roleAssignments/write")]
			.filter((action) => !CUSTOM.includes(action));
		assert.ok(guarded.length >= 10);
		for (const action of guarded) {
			const res = await d.admin("POST", `/admin/v1/vaults/${vault.name}/roledefinitions`, { name: "guarded", actions: [action] });
			assert.equal(res.status, 400, `${action}: ${res.text}`);
		}
	});
});

/* ---- tokens that are none ---- */

describe("every route with", { timeout: TIME_MS }, () => {
	const claims = () => ({ aud: d.origin, oid: "external-admin" });
	let own, jwk;

	const whole = async (name, token, headers) => {
		// A kid that is not known has the issuer's keys read again, which is told as a reason to wait; nobody is let in meanwhile.
		await until("the issuer's keys are read", async () => {
			const res = await ask(operations[0], vault, token, { headers });
			assert.ok(res.status === 401 || (res.status === 503 && res.json.error.innererror.code === "busy" && Number(res.headers["retry-after"]) >= 1), res.text);
			return res.status === 401;
		});
		await forAll(operations, (o) => ask(o, vault, token, { headers }), (o, res) => assertStranger(o, res, name));
	};

	before(async () => {
		own = await d.token(admin);
		jwk = (await d.http.request("GET", `/${vault.tenant_id}/discovery/v2.0/keys`)).json.keys[0];
	});

	test("a good token of an external issuer: all that its principal may (so that what follows can fail)", async () => {
		assert.ok(await judge("external administrator", vault, alpha.token(claims()), VAULT_ROLES.administrator, { list: inVault() }) > 60);
		await forAll(operations.filter((o) => !inVault().includes(o)), (o) => ask(o, vault, alpha.token(claims())),
			(o, res) => assertStranger(o, res, "external administrator, whom the installation does not know"));
		await forAll(inVault(), (o) => ask(o, other, alpha.token(claims())), (o, res) => assertStranger(o, res, "external administrator of the other vault"));
	});

	test("no token", () => whole("no token"));
	test("another scheme", () => whole("basic", undefined, { authorization: `Basic ${Buffer.from(`${admin.client_id}:${admin.secret}`).toString("base64")}` }));
	test("a token that has expired", () => whole("expired", alpha.token({ ...claims(), iat: nowS() - 4000, nbf: nowS() - 4000, exp: nowS() - 61 })));
	test("one that is not yet valid", () => whole("early", alpha.token({ ...claims(), nbf: nowS() + 90 })));
	test("one without an end", () => whole("endless", alpha.token({ ...claims(), exp: undefined })));
	test("one for another audience", () => whole("audience", alpha.token({ ...claims(), aud: "https://vault.azure.net" })));
	test("one whose audience only begins like ours", () => whole("audience", alpha.token({ ...claims(), aud: `${d.origin}.example` })));
	test("one without an audience", () => whole("audience", alpha.token({ ...claims(), aud: undefined })));
	test("a swapped issuer: signed by one, of another", () => whole("swapped", alpha.token({ ...claims(), iss: beta.iss })));
	test("the same with the other's kid", () => whole("swapped", alpha.token({ ...claims(), iss: beta.iss }, { kid: beta.kid })));
	test("a stranger's issuer", () => whole("stranger", alpha.token({ ...claims(), iss: "https://alpha.issuer.example" })));
	test("the same name at another issuer", () => whole("other issuer", beta.token(claims())));
	test("our own issuer, signed by an external one", () => {
		const [, body] = own.split(".");
		return whole("ours by alpha", assemble({ typ: "JWT", alg: "RS256", kid: alpha.kid }, decodePart(body), (text) => alpha.sign(text)));
	});
	test("the other vault's directory in place of its own", () => {
		const [head, body, signature] = own.split(".");
		const moved = { ...decodePart(body), tid: other.tenant_id, iss: decodePart(body).iss.replace(vault.tenant_id, other.tenant_id) };
		return whole("moved", `${head}.${Buffer.from(JSON.stringify(moved)).toString("base64url")}.${signature}`);
	});
	for (const alg of ["none", "None", "NONE", ""])
		test(`alg "${alg}"`, async () => {
			await whole(alg, assemble({ typ: "JWT", alg, kid: jwk.kid }, decodePart(own.split(".")[1]), noSigner));
			await whole(alg, assemble({ typ: "JWT", alg, kid: alpha.kid }, { ...decodePart(alpha.token(claims()).split(".")[1]) }, noSigner));
		});
	test("HS256 with a public key as the secret", async () => {
		const { publicKey } = alpha.pair;
		for (const secret of [publicKey.export({ format: "pem", type: "spki" }), publicKey.export({ format: "der", type: "spki" }), fs.readFileSync(alpha.file)])
			await whole("HS256", assemble({ typ: "JWT", alg: "HS256", kid: alpha.kid }, decodePart(alpha.token(claims()).split(".")[1]), hmacSigner(secret)));
		await whole("HS256", assemble({ typ: "JWT", alg: "HS256", kid: jwk.kid }, decodePart(own.split(".")[1]), hmacSigner(JSON.stringify(jwk))));
	});
	test("a kid that is a path, a query, a URL, or nothing; a header with a key or its address", async () => {
		const headers = [{ kid: "../../../../dev/null" }, { kid: "' OR '1'='1" }, { kid: "https://evil.example/key" }, { kid: `${alpha.kid}\u0000` }, { kid: undefined },
			{ kid: "" }, { kid: beta.kid }, { kid: jwk.kid }, { kid: "x".repeat(500) }, { kid: 1 }];
		for (const header of headers)
			await whole(`kid ${header.kid}`, alpha.token(claims(), header));
		const thief = new Issuer("thief", dir);
		const key = { ...thief.pair.publicKey.export({ format: "jwk" }), kid: "thief", alg: "RS256" };
		for (const header of [{ jwk: key }, { jku: "https://evil.example/jwks.json" }, { x5u: "https://evil.example/cert.pem" }, { jwk: key, kid: "thief" }])
			await whole("a thief's key", assemble({ typ: "JWT", alg: "RS256", kid: alpha.kid, ...header }, { ...decodePart(alpha.token(claims()).split(".")[1]) },
				(text) => thief.sign(text)));
	});
	test("a good token whose signature, body or end was changed", async () => {
		for (const good of [own, alpha.token(claims())]) {
			const [head, body, signature] = good.split(".");
			const flipped = Buffer.from(signature, "base64url");
			flipped[10] ^= 1;
			const later = Buffer.from(JSON.stringify({ ...decodePart(body), exp: nowS() + 80_000 })).toString("base64url");
			for (const token of [`${head}.${body}.${flipped.toString("base64url")}`, `${head}.${later}.${signature}`, `${head}.${body}.`, `${head}.${body}`, `${good}.${signature}`])
				await whole("changed", token);
		}
	});
	test("an ID token, a token that is bound to a key, a token without a subject", async () => {
		await whole("ID token", alpha.token({ ...claims(), typ: "ID" }));
		await whole("bound", alpha.token({ ...claims(), cnf: { jkt: "x" } }));
		await whole("nobody", alpha.token({ ...claims(), oid: undefined }));
		await whole("unknown", alpha.token({ ...claims(), oid: "somebody-else" }));
	});
	test("the token of a principal that was disabled, of either issuer", async () => {
		const leaver = await d.makePrincipal(vault, "leaver", ["administrator"]);
		await d.addIdentity(vault, leaver, "alpha", "leaver");
		const tokens = [await d.token(leaver), alpha.token({ ...claims(), oid: "leaver" })];
		for (const token of tokens)
			assert.equal((await d.http.request("GET", "/keys?api-version=7.4", { origin: vault.origin, token })).status, 200);
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${leaver.client_id}/disable`);
		for (const token of tokens)
			await whole("disabled", token);
	});
	test("a token of whoever holds what nobody may hold together: refused everywhere, by name", async () => {
		// The group claim of a token can bring together what no grant would.
		const watcher = await d.makePrincipal(vault, "watcher", ["auditor"]);
		await d.addIdentity(vault, watcher, "alpha", "watcher");
		const users = await d.makeGroup(vault, "users");
		await d.grant(vault, users, "crypto-user");
		await d.addIdentity(vault, users, "alpha", "group:users");
		assert.ok(await judge("watcher", vault, alpha.token({ ...claims(), oid: "watcher" }), VAULT_ROLES.auditor, { list: inVault() }) > 0);
		await forAll(inVault(), (o) => ask(o, vault, alpha.token({ ...claims(), oid: "watcher", groups: ["users"] })), (o, res) => {
			assert.equal(res.status, 403, `${o.id}: ${res.text}`);
			assert.match(res.json.error.message, /nobody may hold together/);
		});
	});
});

/* ---- the listener of pools ---- */

describe("every route of the EKM listener", { timeout: TIME_MS }, () => {
	const ROLES = { "crypto-service-encryption-user": SERVICE, ...VAULT_ROLES };
	let identity;

	const clientOf = (who) => {
		const made = d.ekmClient({ identity: who, prefix: "p" });
		ekmClients.push(made);
		return made;
	};
	const callAll = async (via, judgeOne, headers) => {
		for (const o of ekmOperations)
			judgeOne(o, await via.call(o.path.replace("{external}", "Nothing-1"), {}, { headers }));
	};

	before(async () => {
		assert.equal(ekmOperations.length, 4);
		identity = makeIdentity(d.dir, "pool");
		pool = await d.makePool(vault, "azure", { prefix: "p", subjects: [identity.subject], roots: [identity.ca.cert] });
	});

	test("by a pool with each role, no other, and none", async () => {
		const own = clientOf(identity);
		await d.remove(vault, pool, "crypto-service-encryption-user");
		for (const role of [null, ...Object.keys(ROLES).filter((name) => name !== "approver")]) { // which is refused to it
			const before_ = role && await d.approved(vault, () => d.admin("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { principal: pool.id, role }));
			const held = new Set(role ? ROLES[role] : []);
			assert.ok(role === null || before_.status === 200);
			await callAll(own, (o, res) => {
				if (held.has(o.permission))
					assert.ok(res.status === 200 || res.status === 404 || res.status === 400, `${role} ${o.id}: ${res.status} ${res.text}`);
				else
					assert.equal(res.status, 403, `${role} ${o.id}: ${res.status} ${res.text}`);
			});
			if (role)
				await d.remove(vault, pool, role);
		}
	});
	test("without a certificate, with a stranger's, and with any token", async () => {
		const stranger = makeIdentity(d.dir, "stranger");
		for (const who of [null, stranger])
			for (const headers of [{}, { authorization: `Bearer ${await d.token(admin)}` }])
				await callAll(clientOf(who), (o, res) => assert.equal(res.status, 401, `${o.id}: ${res.status} ${res.text}`), headers);
	});
});
