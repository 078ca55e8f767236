// `holdfast` as people use it: who may do what, two people for what cannot be undone, tokens, completion. Every command at least once, against a daemon.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, createPublicKey, verify, X509Certificate } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { issueClientCert, makeCa } from "../support/certs.mjs";
import { Daemon } from "../support/daemon.mjs";
import { Issuer } from "../support/issuer.mjs";
import { binaries } from "../support/paths.mjs";

const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const APPROVAL_NEEDED = 5;
let d, vault, issuer, keys;

before(async () => {
	keys = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-cli-"));
	issuer = new Issuer("partner", keys);
	d = await Daemon.start({ issuers: [issuer.config({ group_claim: "groups", role_claim: "roles" })] });
	vault = JSON.parse(run(["--json", "vault", "create", "orders"]).out);
});
after(async () => {
	await d?.destroy();
	fs.rmSync(keys, { recursive: true, force: true });
});

/** holdfast ARGS, on the local socket unless they say otherwise. @return {{code, out, err}} */
function run(args, { input = "", env = {} } = {}) {
	const where = args.includes("--url") || args[0] === "completion" ? [] : ["--socket", d.socket];
	const res = spawnSync(binaries.cli, [...where, ...args], { input, encoding: "utf8", env: { PATH: process.env.PATH, ...env } });
	return { code: res.status, out: res.stdout, err: res.stderr };
}

/** The same, which must succeed. @return what was printed */
function ok(...args) {
	const { code, out, err } = run(args);
	assert.equal(code, 0, `holdfast ${args.join(" ")}: ${err}`);
	return out;
}

/** The same with --json. @return the parsed answer */
const json = (...args) => JSON.parse(ok("--json", ...args));

function refusedWith(code, ...args) {
	const res = run(args);
	assert.equal(res.code, code, `holdfast ${args.join(" ")}: ${res.code} ${res.out}${res.err}`);
	return res.err;
}

/** An approver's machine: a token file, made by `holdfast login`. @return the arguments that stand before the command */
function loginAs(who) {
	const tokenFile = path.join(d.dir, `token-${who.name}`);
	const remote = ["--url", d.origin, "--ca", d.ca.cert, "--token-file", tokenFile];
	const { code, out, err } = run([...remote, "login", "--client-id", who.client_id, "--secret-file", "-"], { input: `${who.secret}\n` });
	assert.equal(code, 0, err);
	assert.match(out, /valid_s/);
	return remote;
}

const roleNames = (principal) => principal.roles.map((r) => r.role);

describe("options", () => {
	test("it says which version it is", () => {
		assert.match(spawnSync(binaries.cli, ["--version"], { encoding: "utf8" }).stdout, /^holdfast \d+\.\d+\.\d+\n$/);
	});

	test("what is wrong is told with what was expected", () => {
		const cases = [
			[["vault", "create", "x1y", "--retention-days", "many"], /--retention-days many: expected a number of days/],
			[["vault", "create", "x1y", "--quorum"], /--quorum: expected a number of approvers/],
			[["vault", "set", "orders"], /nothing to change; expected one option/],
			[["vault", "set", "orders", "--purge-protection", "--no-purge-protection"], /exclude each other/],
			[["role", "grant", "orders", "a", "reader", "--until", "tomorrow"], /no principal or group of this name in orders/],
			[["role", "grant", "orders", "00000000-0000-4000-8000-000000000000", "reader", "--until", "tomorrow"], /--until tomorrow: expected a time as/],
			[["role", "grant", "orders", "00000000-0000-4000-8000-000000000000", "reader", "--until", "2026-06-31"], /expected a time as/],
			[["role", "grant", "orders"], /something is missing; expected: holdfast role grant VAULT ID ROLE/],
			[["role", "grant", "orders", "a", "b", "--prefix", "x"], /--prefix is not for this command; expected: holdfast role grant/],
			[["role", "define", "orders", "R"], /--action is missing; expected: holdfast role define/],
			[["vault", "list", "--nonsense"], /unknown option --nonsense/],
			[["vault", "list", "--json=1"], /--json takes no value/],
			[["vault", "destroy"], /unknown command/],
			[["report"], /something is missing behind report; see holdfast report --help/],
			[["report", "rotations", "--from", "yesterday"], /--from yesterday: expected a time as 2026-12-31/],
			[["log", "archive", "a.jsonl", "--before", "yesterday"], /--before yesterday: expected a time as 2026-12-31/],
			[["log", "archive", "/nonexistent/a.jsonl"], /nonexistent.*nothing was asked/],
			[["log", "query", "-n", "1", "--limit", "1"], /are the same/],
			[["webhook", "retry", "orders", "w", "--id", "nope"], /--id nope: expected the id of an event/],
			[["key", "revoke", "orders", "k", "--reason", "superseded", "--reason", "other"], /--reason: expected only once/],
			[["approval", "approve", "orders", "x", "--signing-key", "f"], /--signing-key and --certificate: expected both or neither/],
			[["credential", "add-certificate", "orders", "a", "/nonexistent"], /nonexistent: No such file/],
			[["log", "show", "first"], /first: expected a sequence number or an event's id/],
			[["log", "tail", "-n", "x"], /-n x: expected a number of lines/],
			[["login", "--client-id", "x"], /login needs --url|--token-file|where is the server/],
		];
		for (const [args, message] of cases)
			assert.match(refusedWith(1, ...args), message, args.join(" "));
	});

	test("help shows what begins with the words that stand before it", () => {
		const all = ok("--help"), some = ok("credential", "--help");
		assert.match(all, /vault create NAME/);
		assert.match(some, /credential add-secret VAULT ID/);
		assert.doesNotMatch(some, /vault create/);
	});
});

describe("principals, credentials, groups", () => {
	test("a principal is made, shown, switched off and on; its secret is printed once and nowhere else", () => {
		const made = json("principal", "create", "orders", "app1", "--secret-days", "30");
		assert.match(made.client_id, GUID);
		assert.equal(made.secret.length, 43);
		assert.ok(Math.abs(made.secret_expires - Date.now() / 1000 - 30 * 86400) < 60);
		const shown = json("principal", "show", "orders", "app1"); // by its name, since no other has it
		assert.equal(shown.id, made.id);
		assert.equal(shown.kind, "caller");
		assert.match(shown.pseudonym, /^[\w-]{22}$/);
		assert.deepEqual(shown.groups, []);
		assert.deepEqual(shown.credentials.map((c) => c.kind), ["secret"]);
		const hash = createHash("sha256").update(made.secret).digest();
		for (const text of [ok("principal", "show", "orders", made.id), ok("--json", "principal", "show", "orders", made.id), ok("principal", "list", "orders"),
			ok("credential", "list", "orders", made.id)])
			for (const secret of [made.secret, hash.toString("hex"), hash.toString("base64url"), hash.toString("base64")])
				assert.ok(!text.includes(secret));
		assert.equal(json("principal", "disable", "orders", "app1").enabled, false);
		assert.match(ok("principal", "list", "orders"), /app1 .* no /);
		assert.equal(json("principal", "enable", "orders", "app1").enabled, true);
		assert.equal(json("principal", "create", "orders", "nosecret", "--secret-days", "0").secret, undefined);
	});

	test("two secrets overlap, a third is refused, and the one that is removed stops working", async () => {
		const made = json("principal", "create", "orders", "rotating");
		const second = json("credential", "add-secret", "orders", "rotating", "--days", "10", "--label", "from June on");
		const tokenOf = (secret) => d.tokenRequest(made.tenant_id, { grant_type: "client_credentials", client_id: made.client_id, client_secret: secret,
			scope: `${d.origin}/.default` });
		for (const secret of [made.secret, second.secret])
			assert.equal((await tokenOf(secret)).status, 200);
		assert.match(refusedWith(2, "credential", "add-secret", "orders", "rotating"), /Conflict/);
		const [old, young] = json("credential", "list", "orders", "rotating").value;
		assert.equal(young.label, "from June on");
		assert.equal(run(["credential", "remove", "orders", "rotating", old.id]).code, 0);
		assert.equal((await tokenOf(made.secret)).status, 401);
		assert.equal((await tokenOf(second.secret)).status, 200);
		assert.match(refusedWith(2, "credential", "remove", "orders", "rotating", old.id), /NotFound|There is no/);
	});

	test("headers, certificates and identities are credentials too", () => {
		json("principal", "create", "orders", "known");
		assert.equal(json("credential", "add-header", "orders", "known").kind, "header");
		const ca = makeCa(d.dir, "signers", "Signers"), cert = path.join(d.dir, "known.crt");
		issueClientCert(ca, "known", cert, path.join(d.dir, "known.key"));
		const added = json("credential", "add-certificate", "orders", "known", cert, "--label", "laptop");
		const x509 = new X509Certificate(fs.readFileSync(cert));
		assert.equal(added.sha256, x509.fingerprint256.replaceAll(":", "").toLowerCase());
		assert.equal(added.expires, Math.floor(new Date(x509.validTo).getTime() / 1000));
		assert.match(added.subject, /known/);
		assert.match(refusedWith(2, "credential", "add-certificate", "orders", "known", d.configFile), /certificate: must be one certificate in PEM/);
		assert.deepEqual(json("principal", "show", "orders", "known").credentials.map((c) => c.kind).sort(), ["certificate", "header", "secret"]);
	});

	test("all tokens of a principal are revoked at once", async () => {
		const made = json("principal", "create", "orders", "leaked");
		json("role", "grant", "orders", "leaked", "reader");
		const token = await d.token(made, { fresh: true });
		assert.equal((await d.call(at(vault), made, "GET", "/keys", undefined, { token })).status, 200);
		assert.ok(json("principal", "revoke-tokens", "orders", "leaked").tokens_from > 0);
		const res = await d.call(at(vault), made, "GET", "/keys", undefined, { token });
		assert.equal(res.status, 401);
		assert.match(res.headers["www-authenticate"], /error="insufficient_claims", claims="/);
		assert.equal((await d.call(at(vault), made, "GET", "/keys", undefined, { token: await d.token(made, { fresh: true }) })).status, 200);
	});

	test("what a group may do its members may do, and no longer than they are members", () => {
		const group = json("group", "create", "orders", "readers");
		assert.equal(group.kind, "group");
		json("principal", "create", "orders", "reader1");
		json("role", "grant", "orders", "readers", "reader");
		json("group", "add", "orders", "readers", "reader1");
		assert.deepEqual(json("group", "members", "orders", "readers").value.map((m) => m.name), ["reader1"]);
		assert.deepEqual(json("group", "list", "orders").value.map((g) => [g.name, roleNames(g)]), [["readers", ["reader"]]]);
		assert.ok(!json("principal", "list", "orders").value.some((p) => p.name === "readers"));
		const explained = json("access", "explain", "orders", "--principal", "reader1", "--action", "keys/read");
		assert.equal(explained.allowed, true);
		assert.equal(explained.grants[0].group.name, "readers");
		assert.equal(run(["group", "remove", "orders", "readers", "reader1"]).code, 0);
		assert.equal(json("access", "explain", "orders", "--principal", "reader1", "--action", "keys/read").allowed, false);
		assert.match(refusedWith(2, "group", "members", "orders", json("principal", "show", "orders", "reader1").id), /no such group/);
		assert.match(ok("group", "list", "orders"), /readers/);
		assert.match(ok("group", "members", "orders", "readers"), /NAME/);
	});

	test("who an external issuer vouches for is a principal here, by himself or by what groups and roles his token names", async () => {
		const partner = json("vault", "create", "partners");
		const call = (claims) => d.call(at(partner), null, "GET", "/keys", undefined, { token: issuer.token({ aud: d.origin, ...claims }) });
		assert.equal((await call({ oid: "app-1" })).status, 401); // nobody, yet
		json("principal", "create", "partners", "app", "--secret-days", "0");
		const added = json("credential", "add-identity", "partners", "app", "--issuer", "partner", "--subject", "app-1");
		assert.equal(added.kind, "identity");
		assert.match(added.label, /app-1/);
		assert.equal((await call({ oid: "app-1" })).status, 403); // somebody, without a role
		json("group", "create", "partners", "readers");
		json("role", "grant", "partners", "readers", "reader");
		for (const [subject, claims] of [["group:b1", { groups: ["a1", "b1"] }], ["role:Keys.Read", { roles: ["Keys.Read"] }]]) {
			const { id } = json("credential", "add-identity", "partners", "readers", "--issuer", "partner", "--subject", subject);
			assert.equal((await call({ oid: "app-1", ...claims })).status, 200, subject);
			ok("credential", "remove", "partners", "readers", id);
			assert.equal((await call({ oid: "app-1", ...claims })).status, 403, subject);
		}
		assert.match(refusedWith(2, "credential", "add-identity", "partners", "app", "--issuer", "entra", "--subject", "x"),
			/configuration has no issuer named 'entra'/);
		assert.equal(json("vault", "set", "partners", "--issuer", "partner").issuer, "partner");
		assert.equal(json("vault", "set", "partners", "--issuer", "").issuer, "");
		assert.match(refusedWith(2, "vault", "set", "partners", "--issuer", "nobody"), /configuration has no issuer named 'nobody'/);
		ok("credential", "remove", "partners", "app", added.id);
		assert.equal((await call({ oid: "app-1" })).status, 401);
	});

	test("a name that two have is refused, never guessed", () => {
		json("principal", "create", "orders", "twin");
		json("principal", "create", "orders", "twin");
		assert.match(refusedWith(1, "role", "grant", "orders", "twin", "reader"), /several principals or groups of orders have this name; give the id/);
	});
});

/** With the origin that the key API is called at. */
const at = (v) => ({ ...v, origin: `https://${v.name}.vault.localhost:${d.port}` });

describe("roles", () => {
	let app;
	before(() => {
		app = json("principal", "create", "orders", "wrapper");
	});

	test("a role of one's own holds exactly its actions", async () => {
		const role = json("role", "define", "orders", "Wrap only", "--action", "Microsoft.KeyVault/vaults/keys/wrap/action", "--action",
			"Microsoft.KeyVault/vaults/keys/read");
		assert.match(role.id, GUID);
		assert.equal(role.custom, true);
		assert.match(refusedWith(2, "role", "define", "orders", "Too much", "--action", "Holdfast/vaults/administrators/write"), /administrators\/write/);
		const listed = json("role", "list", "orders").value;
		assert.equal(listed.length, 12);
		assert.ok(listed.find((r) => r.name === "administrator").actions.includes("Holdfast/vaults/administrators/write"));
		json("role", "grant", "orders", "wrapper", "Wrap only");
		assert.match(refusedWith(2, "role", "drop", "orders", "Wrap only"), /Conflict/);
		assert.equal((await d.call(at(vault), app, "GET", "/keys")).status, 200);
		assert.equal((await d.call(at(vault), app, "POST", "/keys/k9/create", { kty: "oct" })).status, 403);
		json("role", "remove", "orders", "wrapper", "Wrap only");
		ok("role", "drop", "orders", "Wrap only");
		assert.equal(json("role", "list", "orders").value.length, 11);
	});

	test("what is refused for one key: what manages, and what is not of keys", () => {
		for (const role of ["administrator", "auditor"])
			assert.match(refusedWith(2, "role", "grant", "orders", "wrapper", role, "--key", "mine"), /cannot be granted for one key/);
		assert.match(refusedWith(2, "role", "grant", "orders", "wrapper", "auditor", "--key", "mine", "--installation"), /key:/);
		assert.match(refusedWith(2, "role", "grant", "orders", "wrapper", "sorcerer"), /there is no role 'sorcerer'/);
	});

	test("a role for one key opens that key and no other", async () => {
		const officer = json("principal", "create", "orders", "officer");
		json("role", "grant", "orders", "officer", "crypto-officer");
		for (const key of ["mine", "other"])
			await d.ok(at(vault), officer, "POST", `/keys/${key}/create`, { kty: "oct" });
		const granted = json("role", "grant", "orders", "wrapper", "crypto-user", "--key", "mine");
		assert.deepEqual([granted.scope, granted.key], ["key", "mine"]);
		assert.equal((await d.call(at(vault), app, "GET", "/keys/mine")).status, 200);
		const refused = await d.call(at(vault), app, "GET", "/keys/other");
		assert.equal(refused.status, 403);
		assert.match(refused.json.error.message, /Microsoft\.KeyVault\/vaults\/keys\/read/);
		assert.equal(json("access", "explain", "orders", "--principal", "wrapper", "--action", "keys/read", "--key", "mine").allowed, true);
		const why = json("access", "explain", "orders", "--principal", "wrapper", "--action", "keys/read", "--key", "other");
		assert.equal(why.allowed, false);
		assert.ok(why.would_allow.some((r) => r.role === "reader"));
		assert.match(ok("access", "explain", "orders", "--principal", "wrapper", "--action", "keys/read", "--key", "mine"),
			/^allowed: crypto-user at the key mine allows it\./);
		assert.match(ok("principal", "show", "orders", "wrapper"), /crypto-user \(key mine\)/);
		assert.match(refusedWith(2, "access", "explain", "orders", "--principal", "wrapper", "--action", "keys/juggle"), /no data action 'keys\/juggle'/);
		json("role", "remove", "orders", "wrapper", "crypto-user", "--key", "mine");
		assert.equal((await d.call(at(vault), app, "GET", "/keys/mine")).status, 403);
	});

	test("a role for a time ends by itself", async () => {
		const until = Math.floor(Date.now() / 1000) + 2;
		assert.equal(json("role", "grant", "orders", "wrapper", "reader", "--until", String(until)).until, until);
		assert.equal((await d.call(at(vault), app, "GET", "/keys")).status, 200);
		await new Promise((resolve) => setTimeout(resolve, until * 1000 - Date.now() + 50));
		assert.equal((await d.call(at(vault), app, "GET", "/keys")).status, 403);
		const [ended] = json("principal", "show", "orders", "wrapper").roles;
		assert.equal(ended.ended, true);
		assert.match(ok("principal", "show", "orders", "wrapper"), /reader \(ended /);
		assert.equal(json("access", "explain", "orders", "--principal", "wrapper", "--action", "keys/read").grants[0].ended, true);
		assert.match(refusedWith(2, "role", "grant", "orders", "wrapper", "crypto-user", "--until", "2020-01-01"), /BadParameter/);
		json("role", "remove", "orders", "wrapper", "reader");
		const soon = json("role", "grant", "orders", "wrapper", "reader", "--until", "+8h").until;
		assert.ok(Math.abs(soon - Date.now() / 1000 - 8 * 3600) < 60);
	});

	test("duties that exclude one another are refused, with both named", () => {
		json("principal", "create", "orders", "both");
		json("role", "grant", "orders", "both", "auditor");
		assert.match(refusedWith(2, "role", "grant", "orders", "both", "crypto-user"), /Conflict.*reading the event log, and acting on what it records/);
	});
});

describe("services with client certificates", () => {
	test("one is made, shown and given new roots", () => {
		const ca = makeCa(d.dir, "services", "Services"), next = makeCa(d.dir, "services2", "Services 2");
		const made = json("service", "add", "orders", "billing", "--roots", ca.cert, "--subject", "billing.example");
		assert.deepEqual(made.subjects, ["billing.example"]);
		assert.equal(json("principal", "show", "orders", "billing").kind, "service");
		assert.deepEqual(json("principal", "show", "orders", "billing").roles, []);
		assert.match(ok("service", "list", "orders"), /billing .*billing\.example .*Services/);
		assert.match(json("service", "rotate", "orders", "billing", "--roots", next.cert).roots[0].subject, /Services 2/);
		assert.deepEqual(json("service", "rotate", "orders", made.id, "--subject", "b.example").subjects, ["b.example"]);
		assert.match(refusedWith(1, "service", "rotate", "orders", "billing"), /nothing to replace/);
		assert.match(refusedWith(2, "ekm", "key", "list", "orders", "billing"), /no such pool/);
		assert.deepEqual(json("ekm", "pool", "list", "orders").value, []);
	});
});

describe("approvals", () => {
	let alice, bob, admin, secrets;
	before(() => {
		secrets = json("vault", "create", "secrets", "--quorum", "2");
		[alice, bob, admin] = ["alice", "bob", "admin"].map((name) => json("principal", "create", "secrets", name));
	});

	test("before there are enough approvers nothing can be approved, and the server says what to do", () => {
		assert.match(refusedWith(2, "vault", "shred", "secrets", "--yes"), /needs the approval of 2 other people, and only 0 may approve/);
		for (const who of [alice, bob])
			json("role", "grant", "secrets", who.id, "approver");
		assert.equal(json("vault", "show", "secrets").founded, true);
	});

	test("raising protection needs nobody else", () => {
		assert.equal(json("vault", "set", "secrets", "--purge-protection").purge_protection, true);
	});

	test("an administrator is made by three people: one who asks, two who agree", () => {
		const text = refusedWith(APPROVAL_NEEDED, "role", "grant", "secrets", "admin", "administrator", "--reason", "starts on Monday");
		const [request] = json("approval", "list", "secrets").value.filter((r) => r.act === "role.grant_administrator");
		for (const part of [`approval needed: ${request.id}`, `holdfast approval show secrets ${request.id}`,
			`holdfast --url URL --token-file FILE approval approve secrets ${request.id}`, "then repeat this command"])
			assert.ok(text.includes(part), text);
		const asAlice = loginAs(alice);
		assert.equal(fs.statSync(asAlice[5]).mode & 0o777, 0o600);
		const shown = ok(...asAlice, "approval", "show", "secrets", request.id);
		assert.match(shown, new RegExp(`^Give admin \\(${admin.id}\\) the role administrator for the vault secrets\\.`));
		assert.match(shown, /starts on Monday/);
		assert.match(shown, /asked by +uid:\d+/);
		assert.match(shown, /open: 0 of 2 approvals/);
		assert.match(refusedWith(2, "approval", "approve", "secrets", request.id), /Forbidden/); // the local socket never approves
		assert.equal(json(...asAlice, "approval", "approve", "secrets", request.id, "--reason", "known to me").approvals, 1);
		assert.match(refusedWith(2, ...asAlice, "approval", "approve", "secrets", request.id), /Conflict/);
		refusedWith(APPROVAL_NEEDED, "role", "grant", "secrets", "admin", "administrator", "--reason", "starts on Monday");
		const approved = ok(...loginAs(bob), "approval", "approve", "secrets", request.id);
		assert.match(approved, /approved: 2 of 2 approvals/);
		assert.match(approved, /It has its approvals: whoever asked repeats the command/);
		json("role", "grant", "secrets", "admin", "administrator", "--reason", "starts on Monday");
		assert.equal(json("approval", "show", "secrets", request.id).state, "used");
		assert.deepEqual(json("approval", "list", "secrets").value, []);
		const [used] = json("approval", "list", "secrets", "--all").value;
		assert.deepEqual(used.votes.map((v) => v.name).sort(), ["alice", "bob"]);
	});

	test("an administrator of the vault manages it with a token, and lowering its protection needs others", () => {
		const asAdmin = loginAs(admin);
		const text = refusedWith(APPROVAL_NEEDED, ...asAdmin, "vault", "set", "secrets", "--no-purge-protection", "--retention-days", "7", "--reason", "test");
		const id = /approval needed: (\S+)/.exec(text)[1];
		assert.ok(text.includes(`holdfast --url ${d.origin} --token-file FILE approval approve secrets ${id}`), text);
		const shown = ok(...asAdmin, "approval", "show", "secrets", id);
		assert.match(shown, /^Lower the protection of the vault secrets: purge protection is switched off; days that deleted keys are kept: only 7\./);
		assert.match(shown, new RegExp(`asked by +admin \\(${admin.id}\\)`));
		assert.match(refusedWith(2, ...asAdmin, "approval", "approve", "secrets", id), /Forbidden/); // nobody approves his own
		assert.equal(json(...loginAs(alice), "approval", "deny", "secrets", id, "--reason", "no").state, "denied");
		assert.match(refusedWith(2, ...loginAs(bob), "approval", "approve", "secrets", id), /Conflict/);
		const again = refusedWith(APPROVAL_NEEDED, ...asAdmin, "vault", "set", "secrets", "--no-purge-protection", "--retention-days", "7");
		assert.equal(json(...asAdmin, "approval", "withdraw", "secrets", /approval needed: (\S+)/.exec(again)[1]).state, "withdrawn");
	});

	test("with --json a refusal is one JSON object that names the request", () => {
		const res = run(["--json", "vault", "set", "secrets", "--quorum", "1"]);
		assert.equal(res.code, APPROVAL_NEEDED);
		const { innererror } = JSON.parse(res.err).error;
		assert.deepEqual([innererror.code, innererror.vault], ["ForbiddenByPolicy", "secrets"]);
		assert.equal(json("approval", "show", "secrets", innererror.approval).act, "vault.lower_protection");
	});

	test("an approver's signature is over the text that the documentation names, by a certificate of the approver", () => {
		const text = refusedWith(APPROVAL_NEEDED, "vault", "shred", "secrets", "--yes", "--reason", "contract ended");
		const id = /approval needed: (\S+)/.exec(text)[1];
		const ca = makeCa(d.dir, "approvers", "Approvers"), cert = path.join(d.dir, "alice.crt"), key = path.join(d.dir, "alice.key");
		issueClientCert(ca, "alice", cert, key);
		const asAlice = loginAs(alice);
		assert.match(refusedWith(2, ...asAlice, "approval", "approve", "secrets", id, "--signing-key", key, "--certificate", cert), /BadParameter/);
		const added = run(["credential", "add-certificate", "secrets", "alice", cert]);
		if (added.code === APPROVAL_NEEDED) { // one more way to be an approver is the others' affair too
			const wanted = /approval needed: (\S+)/.exec(added.err)[1];
			assert.match(ok("approval", "show", "secrets", wanted), /^Give alice .* one more way to be known: certificate with the SHA-256 [^ .]{43,64}\./);
			for (const who of [bob, admin])
				json(...loginAs(who), "approval", "approve", "secrets", wanted);
			ok("credential", "add-certificate", "secrets", "alice", cert);
		} else {
			assert.equal(added.code, 0, added.err);
		}
		assert.match(refusedWith(1, ...asAlice, "approval", "approve", "secrets", id, "--signing-key", key, "--certificate", d.ca.cert),
			/expected the certificate of the key of --signing-key/);
		const signed = json(...loginAs(alice), "approval", "approve", "secrets", id, "--signing-key", key, "--certificate", cert);
		const x509 = new X509Certificate(fs.readFileSync(cert));
		const [vote] = signed.votes;
		assert.equal(vote.certificate, x509.fingerprint256.replaceAll(":", "").toLowerCase());
		const digest = createHash("sha256").update(signed.request).digest("hex");
		assert.equal(signed.sha256, digest);
		assert.ok(verify("sha256", Buffer.from(`holdfast-approval/v1\n${id}\n${digest}\napprove\n`), createPublicKey(x509.publicKey.export({ type: "spki", format: "pem" })),
			Buffer.from(vote.signature, "base64url")));
		assert.match(ok("approval", "show", "secrets", id), /SIGNED WITH/);
	});

	test("a purge waits for others where the vault says so, and Key Vault's refusal names the request", async () => {
		const v = json("vault", "create", "purging", "--purge-approvals", "1");
		const [officer, other] = ["officer", "other"].map((name) => json("principal", "create", "purging", name));
		json("role", "grant", "purging", "officer", "crypto-officer");
		json("role", "grant", "purging", "other", "approver");
		await d.ok(at(v), officer, "POST", "/keys/gone/create", { kty: "oct" });
		await d.ok(at(v), officer, "DELETE", "/keys/gone");
		const res = await d.call(at(v), officer, "DELETE", "/deletedkeys/gone");
		assert.deepEqual([res.status, res.json.error.innererror], [403, { code: "ForbiddenByPolicy" }]);
		const [, id] = /holdfast approval approve purging (\S+)'/.exec(res.json.error.message);
		assert.match(ok("approval", "show", "purging", id), /^Destroy the deleted key gone of the vault purging, for ever\./);
		json(...loginAs(other), "approval", "approve", "purging", id);
		assert.equal((await d.call(at(v), officer, "DELETE", "/deletedkeys/gone")).status, 204);
	});

	test("who may be a service that manages is what others agree to", () => {
		const roots = makeCa(d.dir, "managers", "Managers"), next = makeCa(d.dir, "managers2", "Managers 2");
		const agree = (text) => json(...loginAs(approver), "approval", "approve", "managed", /approval needed: (\S+)/.exec(text)[1]);
		json("vault", "create", "managed");
		const approver = json("principal", "create", "managed", "approver");
		json("role", "grant", "managed", "approver", "approver");
		json("service", "add", "managed", "deployer", "--roots", roots.cert, "--subject", "deployer.example");
		agree(refusedWith(APPROVAL_NEEDED, "role", "grant", "managed", "deployer", "administrator"));
		json("role", "grant", "managed", "deployer", "administrator");
		const text = refusedWith(APPROVAL_NEEDED, "service", "rotate", "managed", "deployer", "--roots", next.cert);
		assert.match(ok("approval", "show", "managed", /approval needed: (\S+)/.exec(text)[1]),
			/^Accept other client certificates as deployer .* of the common name deployer\.example, under roots with the SHA-256 /);
		agree(text);
		assert.match(json("service", "rotate", "managed", "deployer", "--roots", next.cert).roots[0].subject, /Managers 2/);
	});

	test("a vault is shredded by three people, and only then", () => {
		const [request] = json("approval", "list", "secrets").value.filter((r) => r.act === "vault.shred");
		assert.match(ok("approval", "show", "secrets", request.id), /^Destroy the vault secrets: its root key and every key in it, for ever\./);
		refusedWith(APPROVAL_NEEDED, "vault", "shred", "secrets", "--yes", "--reason", "contract ended");
		assert.equal(json(...loginAs(bob), "approval", "approve", "secrets", request.id).state, "approved");
		assert.match(refusedWith(1, "vault", "shred", "secrets"), /not confirmed; nothing was changed \(--yes /);
		const done = json("vault", "shred", "secrets", "--yes", "--reason", "contract ended");
		assert.deepEqual([done.state, done.verified], ["shredded", true]);
		assert.equal(json("vault", "show", "secrets").state, "shredded");
		assert.equal(secrets.quorum, 2);
	});
});

describe("the installation", () => {
	test("has principals and roles of its own, under @installation", () => {
		const ops = json("principal", "create", "@installation", "ops");
		assert.equal(json("role", "grant", "@installation", "ops", "operator").scope, "installation");
		assert.deepEqual(json("principal", "show", "@installation", "ops").roles.map((r) => [r.role, r.scope]), [["operator", "installation"]]);
		assert.match(ok("principal", "list", "@installation"), /ops .*operator \(installation\)/);
		assert.ok(Array.isArray(json("approval", "list", "@installation").value));
		const asOps = loginAs(ops);
		assert.ok(json(...asOps, "vault", "list").value.some((v) => v.name === "orders"));
		assert.equal(json(...asOps, "status").ready, true);
		assert.match(refusedWith(2, ...asOps, "principal", "create", "orders", "x"), /Holdfast\/vaults\/principals\/write/);
		assert.equal(json("credential", "add-secret", "@installation", "ops").kind, "secret");
		assert.equal(json("role", "remove", "@installation", "ops", "operator").granted, false);
	});

	test("once it has an approver, nobody gets a role in all of it without others", () => {
		const board = json("principal", "create", "@installation", "board"), auditor = json("principal", "create", "orders", "revisor");
		json("role", "grant", "@installation", "board", "approver");
		const text = refusedWith(APPROVAL_NEEDED, "role", "grant", "orders", "revisor", "auditor", "--installation");
		const id = /approval needed: (\S+)/.exec(text)[1];
		assert.ok(text.includes(`approval approve @installation ${id}`), text);
		const asBoard = loginAs(board);
		assert.match(ok(...asBoard, "approval", "show", "@installation", id),
			new RegExp(`^Give revisor \\(${auditor.id}\\) the role auditor for the whole installation\\.`));
		assert.equal(json(...asBoard, "approval", "approve", "@installation", id).state, "approved");
		json("role", "grant", "orders", "revisor", "auditor", "--installation");
		assert.deepEqual(json("principal", "show", "orders", "revisor").roles.map((r) => [r.role, r.scope]), [["auditor", "installation"]]);
		// who approves in the installation approves in every vault
		json("vault", "create", "other", "--purge-protection");
		const lowering = refusedWith(APPROVAL_NEEDED, "vault", "set", "other", "--no-purge-protection");
		json(...asBoard, "approval", "approve", "other", /approval needed: (\S+)/.exec(lowering)[1]);
		assert.equal(json("vault", "set", "other", "--no-purge-protection").purge_protection, false);
	});
});

describe("vaults", () => {
	test("only the addresses that a vault names may call it", async () => {
		json("vault", "create", "fenced");
		const app = json("principal", "create", "fenced", "app");
		json("role", "grant", "fenced", "app", "reader");
		assert.equal((await d.call(at({ name: "fenced" }), app, "GET", "/keys")).status, 200);
		assert.equal(json("vault", "set", "fenced", "--networks", "10.0.0.0/8, 2001:db8::/32").networks, "10.0.0.0/8 2001:db8::/32");
		const res = await d.call(at({ name: "fenced" }), app, "GET", "/keys");
		assert.equal(res.status, 403);
		assert.equal(res.json.error.innererror.code, "ForbiddenByFirewall");
		assert.match(refusedWith(2, "vault", "set", "fenced", "--networks", "10.0.0.1/8"), /10\.0\.0\.1\/8/);
		json("vault", "set", "fenced", "--networks", "127.0.0.1 ::1");
		assert.equal((await d.call(at({ name: "fenced" }), app, "GET", "/keys")).status, 200);
		assert.equal(json("vault", "set", "fenced", "--networks", "").networks, "");
	});

	test("the rest of the commands answer people and programs", () => {
		assert.match(ok("vault", "list"), /^NAME +STATE/);
		assert.match(ok("vault", "show", "orders"), /^name +orders/);
		assert.match(ok("status"), /ready +yes/);
		assert.match(ok("hsm", "info"), /available +yes/);
		assert.match(ok("log", "tail", "-n", "3"), /audit\.read/);
		assert.equal(JSON.parse(ok("--json", "log", "show", "0")).type, "log.init");
		assert.match(refusedWith(2, "key", "revoke", "orders", "nokey", "--reason", "superseded"), /KeyNotFound/);
		assert.equal(json("key", "revoke", "orders", "other", "--reason", "superseded").state, "revoked");
		assert.equal(json("key", "reinstate", "orders", "other").state, "reinstated");
	});
});

describe("login", () => {
	test("the secret comes from a closed file, standard input or the environment, and a wrong one leaves the old token", () => {
		const who = json("principal", "create", "orders", "remote");
		json("role", "grant", "orders", "remote", "reader");
		const token = path.join(d.dir, "remote.token"), secret = path.join(d.dir, "remote.secret");
		const login = ["--url", d.origin, "--ca", d.ca.cert, "--token-file", token, "login", "--client-id", who.client_id];
		fs.writeFileSync(secret, who.secret, { mode: 0o644 });
		assert.match(run([...login, "--secret-file", secret]).err, /must be closed to group and others/);
		fs.chmodSync(secret, 0o600);
		assert.equal(run([...login, "--secret-file", secret]).code, 0);
		const first = fs.readFileSync(token, "utf8");
		assert.match(first, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
		assert.equal(run(login, { env: { HOLDFAST_CLIENT_SECRET: who.secret } }).code, 0);
		const second = fs.readFileSync(token, "utf8");
		const wrong = run([...login, "--secret-file", "-"], { input: "wrong\n" });
		assert.equal(wrong.code, 2);
		assert.match(wrong.err, /invalid_client/);
		assert.equal(fs.readFileSync(token, "utf8"), second);
		assert.match(run(login).err, /where is the client secret\?/);
		assert.equal(run(["--url", d.origin, "--ca", d.ca.cert, "--token-file", token, "--json", "vault", "show", "orders"]).code, 0);
		assert.deepEqual(fs.readdirSync(d.dir).filter((f) => f.startsWith("remote.token.")), []);
	});
});

describe("completion", () => {
	let script;
	before(() => {
		script = path.join(d.dir, "completion.bash");
		fs.writeFileSync(script, ok("completion", "bash"));
	});

	/** What bash offers for a line whose last word is under the cursor. */
	function complete(...words) {
		const line = `. "${script}"; COMP_WORDS=(holdfast ${words.map((w) => `'${w}'`).join(" ")}); COMP_CWORD=${words.length}; _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`;
		const res = spawnSync("bash", ["--norc", "-euo", "pipefail", "-c", line], { encoding: "utf8", cwd: d.dir });
		assert.equal(res.status, 0, res.stderr);
		return res.stdout.trim().split("\n");
	}

	test("bash accepts it", () => {
		assert.equal(spawnSync("bash", ["-n", script]).status, 0);
	});

	test("words, options, roles, reasons and files are offered where they belong", () => {
		assert.deepEqual(complete("va"), ["vault"]);
		assert.deepEqual(complete("vault", "s"), ["set", "show", "shred"]);
		assert.deepEqual(complete("ekm", "pool", ""), ["add", "list", "rotate-roots"]);
		assert.deepEqual(complete("--socket", "/x", "approval", "wi"), ["withdraw"]);
		assert.deepEqual(complete("vault", "set", "orders", "--q"), ["--quorum"]);
		assert.deepEqual(complete("vault", "list", "--quo"), [""]);
		assert.deepEqual(complete("role", "grant", "orders", "app1", "crypto-u"), ["crypto-user"]);
		assert.deepEqual(complete("key", "revoke", "orders", "k", "--reason", "key"), ["keyCompromise"]);
		assert.deepEqual(complete("credential", "add-certificate", "orders", "app1", "holdfast.y"), ["holdfast.yaml"]);
		assert.deepEqual(complete("--token-file", "holdfast.y"), ["holdfast.yaml"]);
		assert.deepEqual(complete("log", "export", "--output", "holdfast.y"), ["holdfast.yaml"]);
		assert.deepEqual(complete("log", "r"), ["rotate-key"]);
		assert.deepEqual(complete("log", "tail", "--v"), ["--vault"]);
		for (const word of ["vault", "principal", "credential", "group", "role", "access", "service", "approval", "login", "completion", "log", "key", "ekm", "hsm", "status",
			"check", "witness"])
			assert.ok(complete("").includes(word), word);
	});
});
