// Two people for what cannot be undone, as they are: with tokens of their own, over REST, through the official client and the command line. And all the ways in which one
// person has passed for two.
import assert from "node:assert/strict";
import { createHash, createPrivateKey, sign, X509Certificate } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { refused, sdk } from "../sdk/clients.mjs";
import { assertError } from "../support/asserts.mjs";
import { makeSelfSigned } from "../support/certs.mjs";
import { Daemon } from "../support/daemon.mjs";
import { makeIdentity } from "../support/ekm.mjs";
import { Issuer, nowS } from "../support/issuer.mjs";
import { leafOf, openIntents, receipt } from "../support/log.mjs";

const FRESH_S = 600; // of an external issuer's token; of ours half of it
const WAITS_FOR_APPROVAL = 5; // exit code of the command line
const NOTHING = "00000000-0000-4000-8000-000000000000";
let d, dir, issuer;
let count = 0;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-approvals-"));
	issuer = new Issuer("alpha", dir);
	d = await Daemon.start({ issuers: [issuer.config()], listen: { client_certificates: true } });
});
after(async () => {
	await d?.destroy();
	if (dir)
		fs.rmSync(dir, { recursive: true, force: true });
});

const base = (vault) => `/admin/v1/vaults/${vault.name}`;
const asUser = async (who, method, target, body) => d.http.request(method, target, { token: await d.token(who), body });
const patch = (vault, who, changes) => asUser(who, "PATCH", base(vault), changes);
const shred = (vault) => d.admin("POST", `${base(vault)}/shred`, { confirm: vault.name, reason: "end of contract" });
const show = async (vault, id) => (await d.adminOk("GET", `${base(vault)}/approvals/${id}`)).json;
const grantBy = (vault, who, whom, role, more = {}) => asUser(who, "POST", `${base(vault)}/roles/grant`, { principal: whom.client_id ?? whom.id, role, ...more });

/** The id of the request that was opened, or named again. */
function waits(res) {
	assert.equal(res.status, 403, res.text);
	assert.equal(res.json.error.innererror.code, "ForbiddenByPolicy");
	const [id] = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(res.json.error.message) ?? [];
	assert.ok(id, `no request is named: ${res.text}`);
	return id;
}

async function votes(vault, who, id, verdict, options) {
	const res = await d.vote(vault, who, id, verdict, options);
	assert.equal(res.status, 200, res.text);
	return res.json;
}

/** A vault with an administrator, two who approve, and one who may do nothing yet. */
async function scene({ approvers = 2, policy = {} } = {}) {
	const name = `vault-${++count}`;
	const made = (await d.adminOk("POST", "/admin/v1/vaults", { name, ...policy })).json;
	const vault = { ...made, origin: d.origin.replace("://", `://${name}.`) };
	const admin = await d.makePrincipal(vault, "admin", ["administrator"]);
	const all = [];
	for (let i = 0; i < approvers; i++)
		all.push(await d.makePrincipal(vault, `approver-${i}`, ["approver"]));
	return { vault, admin, first: all[0], second: all[1], nobody: await d.makePrincipal(vault, "nobody") };
}

describe("founding", () => {
	test("a vault in which nobody else could agree is not shredded, and says whom it lacks", async () => {
		const vault = await d.makeVault("unfounded");
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		const res = await shred(vault);
		assert.equal(res.status, 403, res.text);
		assert.match(res.json.error.message, /only 0 may approve here.*approver/);
		assert.equal(res.json.error.innererror.approval, undefined, "nobody is asked for what nobody could give");
		assert.equal((await d.call(vault, officer, "GET", "/keys")).status, 200);
	});
	test("the server's own host makes the first; from then on it has to ask like everybody", async () => {
		const { vault, admin, nobody } = await scene({ approvers: 0 });
		const res = await d.admin("POST", `${base(vault)}/roles/grant`, { principal: nobody.client_id, role: "approver" });
		await votes(vault, admin, waits(res), "approve");
		assert.equal((await d.admin("POST", `${base(vault)}/roles/grant`, { principal: nobody.client_id, role: "approver" })).status, 200);
	});
	test("it is not taken back by taking the people away: nobody can make himself the first again", async () => {
		const { vault, admin, nobody } = await scene({ approvers: 0 });
		await d.remove(vault, admin, "administrator");
		waits(await d.admin("POST", `${base(vault)}/roles/grant`, { principal: nobody.client_id, role: "administrator" }));
		waits(await shred(vault));
	});
	test("zero is no quorum", async () => {
		const { vault } = await scene();
		for (const quorum of [0, -1, 17])
			assert.equal((await d.admin("PATCH", base(vault), { quorum })).status, 400);
		assert.equal((await d.admin("POST", "/admin/v1/vaults", { name: "no-quorum", quorum: 0 })).status, 400);
	});
});

describe("shred", () => {
	test("by the command line: it is asked for, another approves it, it is done; all of it is in the log", async () => {
		const { vault, first } = await scene();
		const from = await d.logSize();
		const ask = (basis = "contract-end") => d.cli("vault", "shred", vault.name, "--basis", basis, "--reason", "end of contract", "--yes");
		const asked = await ask().then(() => assert.fail("shredded by one"), (err) => err);
		assert.equal(asked.exitCode, WAITS_FOR_APPROVAL);
		const [id] = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(asked.stderr);
		const request = await show(vault, id);
		assert.deepEqual([request.act, request.state, request.approvals, request.needed, request.reason], ["vault.shred", "open", 0, 1, "end of contract"]);
		assert.equal(request.sha256, createHash("sha256").update(request.request).digest("hex"));
		assert.deepEqual(JSON.parse(request.request), { act: "vault.shred", parameters: { basis: "contract-end" }, requester: request.requester, target: vault.id, vault: vault.id });
		await assert.rejects(ask(), (err) => err.exitCode === WAITS_FOR_APPROVAL && err.stderr.includes(id), "asking again is the same request");
		await assert.rejects(d.cli("approval", "approve", vault.name, id), (err) => err.exitCode === 2, "the host may ask, never approve");
		await assert.rejects(ask("whim"), (err) => err.exitCode !== 0 && err.stderr.includes("basis: "));

		assert.equal((await votes(vault, first, id, "approve", { reason: "seen the contract" })).state, "approved");
		await assert.rejects(ask("gdpr-art17"), (err) => err.exitCode === WAITS_FOR_APPROVAL && !err.stderr.includes(id), "another basis is another request");
		const done = await ask();
		assert.deepEqual([done.state, done.verified, done.objects, done.versions], ["shredded", true, 2, 0]);
		assert.equal((await show(vault, id)).state, "used");
		const leaves = (await d.entries(from)).map((e) => e.leaf);
		const steps = leaves.filter((l) => l.type === "authz.approval" && l.det.approval === id).map((l) => [l.det.step, l.result]);
		assert.deepEqual(steps, [["request", "ok"], ["approve", "denied"], ["approve", "ok"]]);
		const outcome = leaves.find((l) => l.type === "tenant.shred" && l.phase === "outcome" && l.result === "ok");
		assert.equal(outcome.det.approval, id);
		assert.equal(outcome.det.approvers, 1);
		assert.equal(outcome.det.certificate, done.certificate);
		assert.equal(outcome.det.basis, "contract-end");
		assert.deepEqual(openIntents(await d.entries(0)), []);
	});
	test("an act that was approved is done by nobody but who asked for it", async () => {
		const { vault, admin, first } = await scene();
		await votes(vault, first, waits(await shred(vault)), "approve");
		const res = await asUser(admin, "POST", `${base(vault)}/shred`, { confirm: vault.name, reason: "mine" });
		assert.equal(res.status, 403, res.text);
		assert.equal((await shred(vault)).status, 200);
	});
});

describe("purge", () => {
	const AES = { kty: "oct-HSM" };
	let s, officer, keys;
	const bring = async (name) => {
		await d.ok(s.vault, officer, "POST", `/keys/${name}/create`, AES);
		await d.ok(s.vault, officer, "DELETE", `/keys/${name}`);
	};
	const purge = (name) => d.call(s.vault, officer, "DELETE", `/deletedkeys/${name}`);

	before(async () => {
		s = await scene({ policy: { purge_approvals: 1 } });
		officer = await d.makePrincipal(s.vault, "officer", ["crypto-officer"]);
		({ keys } = sdk(d, s.vault, officer));
	});

	test("needs one where the vault's policy says so, told to the official client as an error of the service", async () => {
		await bring("a");
		await assert.rejects(keys.purgeDeletedKey("a"), refused(403, "Forbidden", "ForbiddenByPolicy"));
		const res = await purge("a");
		assertError(res, 403, "Forbidden", "ForbiddenByPolicy");
		await votes(s.vault, s.first, waits(res), "approve");
		await keys.purgeDeletedKey("a");
		assert.equal((await d.call(s.vault, officer, "GET", "/deletedkeys/a")).status, 404);
	});
	test("is good for that key alone, and for one purge: not for another, nor for the next one of that name", async () => {
		await bring("b");
		await bring("c");
		const id = waits(await purge("b"));
		await votes(s.vault, s.first, id, "approve");
		assert.notEqual(waits(await purge("c")), id);
		assert.equal((await purge("b")).status, 204);
		await bring("b");
		assert.notEqual(waits(await purge("b")), id);
		assert.equal((await d.vote(s.vault, s.second, id)).status, 409, "it was used");
	});
	test("of one request that was approved, asked for by many at once: one", async () => {
		await bring("race");
		await votes(s.vault, s.first, waits(await purge("race")), "approve");
		const answers = await Promise.all(Array.from({ length: 12 }, () => purge("race")));
		assert.equal(answers.filter((res) => res.status === 204).length, 1);
		for (const res of answers)
			assert.ok([204, 403, 404, 409].includes(res.status), res.text);
	});
	test("needs none where the policy does not ask", async () => {
		const plain = await scene();
		const own = await d.makePrincipal(plain.vault, "officer", ["crypto-officer"]);
		await d.ok(plain.vault, own, "POST", "/keys/a/create", AES);
		await d.ok(plain.vault, own, "DELETE", "/keys/a");
		const gone = await d.call(plain.vault, own, "DELETE", "/deletedkeys/a");
		assert.equal(gone.status, 204);
		const { leaf } = (await d.entries(0)).findLast((e) => e.leaf.type === "key.purge");
		assert.equal(gone.headers["x-holdfast-certificate"], leaf.det.certificate);
	});
});

describe("granting administrator or approver", () => {
	test("by an administrator: not by himself, by any way", async () => {
		const { vault, admin, first, nobody } = await scene();
		const id = waits(await grantBy(vault, admin, nobody, "administrator", { reason: "on leave" }));
		const own = await d.vote(vault, admin, id);
		assert.equal(own.status, 403, own.text);
		assert.match(own.json.error.message, /request of his own/);
		// A second self: a principal that he makes may not approve, and to let it he has to ask; nor may he become one who does.
		const second = (await asUser(admin, "POST", `${base(vault)}/principals`, { name: "second-self" })).json;
		assert.equal((await d.vote(vault, { ...second }, id)).status, 403);
		assert.notEqual(waits(await grantBy(vault, admin, second, "approver")), id);
		const ofFirst = `${base(vault)}/principals/${first.client_id}/credentials`;
		waits(await asUser(admin, "POST", `${ofFirst}/secrets`, { kind: "secret", days: 1 }));
		waits(await asUser(admin, "POST", `${ofFirst}/identities`, { issuer: "alpha", subject: "admin-himself" }));
		waits(await asUser(admin, "POST", `${ofFirst}/certificates`, { certificate: fs.readFileSync(makeSelfSigned(d.dir, "second-self").cert, "utf8") }));
		assert.equal((await show(vault, id)).approvals, 0);
		assert.equal((await grantBy(vault, admin, nobody, "administrator")).status, 403);
		await votes(vault, first, id, "approve");
		assert.equal((await grantBy(vault, admin, nobody, "administrator", { reason: "on leave" })).status, 200);
	});
	test("by membership: of a group that manages, of one inside it, and by granting to a group that has members", async () => {
		const { vault, admin, first, nobody } = await scene();
		const outer = await d.makeGroup(vault, "admins");
		const inner = await d.makeGroup(vault, "team");
		await d.grant(vault, outer, "administrator");
		const add = (group, member) => asUser(admin, "POST", `${base(vault)}/groups/${group.id}/members`, { member: member.client_id ?? member.id });
		waits(await add(outer, nobody));
		assert.equal((await add(inner, nobody)).status, 200, "a group that holds nothing");
		const id = waits(await add(outer, inner));
		assert.equal((await patch(vault, nobody, { purge_protection: true })).status, 403);
		await votes(vault, first, id, "approve");
		assert.equal((await add(outer, inner)).status, 200);
		assert.equal((await patch(vault, nobody, { purge_protection: true })).status, 200);
		const other = await d.makeGroup(vault, "others");
		assert.equal((await add(other, await d.makePrincipal(vault, "member"))).status, 200);
		waits(await grantBy(vault, admin, other, "approver"));
	});
	test("is single use, and exactly what was approved", async () => {
		const { vault, admin, first, second, nobody } = await scene();
		const until = nowS() + 3600;
		const id = waits(await grantBy(vault, admin, nobody, "administrator", { until }));
		await votes(vault, first, id, "approve");
		assert.notEqual(waits(await grantBy(vault, admin, nobody, "administrator")), id, "for ever is not for an hour");
		assert.notEqual(waits(await grantBy(vault, admin, nobody, "administrator", { until: until + 1 })), id);
		assert.notEqual(waits(await grantBy(vault, admin, second, "administrator", { until })), id, "nor somebody else");
		assert.equal((await grantBy(vault, admin, nobody, "administrator", { until })).status, 200);
		await d.remove(vault, nobody, "administrator");
		assert.notEqual(waits(await grantBy(vault, admin, nobody, "administrator", { until })), id, "the approval was used");
	});
	test("of one approval, claimed by many at once: one", async () => {
		const { vault, admin, first, nobody } = await scene();
		await votes(vault, first, waits(await grantBy(vault, admin, nobody, "approver")), "approve");
		const answers = await Promise.all(Array.from({ length: 12 }, () => grantBy(vault, admin, nobody, "approver")));
		assert.equal(answers.filter((res) => res.status === 200).length, 1, answers.map((res) => res.status).join());
	});
	test("a Data Access Administrator grants the other roles, and neither these nor its own", async () => {
		const { vault, nobody } = await scene();
		const delegate = await d.makePrincipal(vault, "delegate", ["data-access-administrator"]);
		assert.equal((await grantBy(vault, delegate, nobody, "crypto-user")).status, 200);
		for (const role of ["administrator", "approver", "data-access-administrator"])
			assertAction(await grantBy(vault, delegate, nobody, role), "Holdfast/vaults/administrators/write");
		assertAction(await grantBy(vault, delegate, delegate, "administrator"), "Holdfast/vaults/administrators/write");
	});
	function assertAction(res, action) {
		assert.equal(res.status, 403, res.text);
		assert.equal(res.json.error.innererror.code, "ForbiddenByRbac");
		assert.ok(res.json.error.message.includes(action), res.text);
	}
});

describe("lowering protection", () => {
	const HIGH = { retention_days: 60, purge_protection: true, allow_rsa1_5: false, quorum: 2, purge_approvals: 2 };
	const lower = { retention_days: 30, purge_protection: false, allow_rsa1_5: true, quorum: 1, purge_approvals: 1 };
	for (const [name, value] of Object.entries(lower))
		test(`${name}: ${HIGH[name]} to ${value}; raising it again needs nobody`, async () => {
			const { vault, admin, first, second } = await scene({ policy: HIGH });
			const ask = () => patch(vault, admin, { [name]: value });
			const id = waits(await ask());
			assert.equal((await votes(vault, first, id, "approve")).state, "open");
			waits(await ask());
			assert.equal((await votes(vault, second, id, "approve")).state, "approved");
			const done = await ask();
			assert.equal(done.status, 200, done.text);
			assert.equal(done.json[name], value);
			assert.equal((await patch(vault, admin, { [name]: HIGH[name] })).status, 200);
			assert.notEqual(waits(await ask()), id);
		});
	test("what was approved is these values, not others, and not more at once", async () => {
		const { vault, admin, first } = await scene({ policy: { retention_days: 80, purge_protection: true } });
		const id = waits(await patch(vault, admin, { retention_days: 60 }));
		await votes(vault, first, id, "approve");
		for (const changes of [{ retention_days: 7 }, { retention_days: 59 }, { retention_days: 60, purge_protection: false }])
			assert.notEqual(waits(await patch(vault, admin, changes)), id);
		assert.equal((await patch(vault, admin, { retention_days: 60 })).status, 200);
	});
	test("a quorum that nobody could reach is refused", async () => {
		const { vault, admin } = await scene();
		const res = await patch(vault, admin, { quorum: 4 });
		assert.equal(res.status, 400, res.text);
		assert.equal((await patch(vault, admin, { quorum: 3 })).status, 200);
	});
});

describe("who counts", () => {
	test("a quorum of two is two others: not the requester, not one of them twice", async () => {
		const { vault, admin, first, second, nobody } = await scene();
		assert.equal((await patch(vault, admin, { quorum: 2 })).status, 200);
		const ask = () => grantBy(vault, admin, nobody, "approver");
		const id = waits(await ask());
		await votes(vault, first, id, "approve");
		assert.equal((await d.vote(vault, first, id)).status, 409, "again");
		assert.equal((await d.vote(vault, admin, id)).status, 403, "the requester");
		assert.equal(waits(await ask()), id);
		await votes(vault, second, id, "approve");
		assert.equal((await ask()).status, 200);
	});
	test("one who is a member by many ways counts once", async () => {
		const { vault, admin, nobody } = await scene();
		const [outer, inner, beside] = [await d.makeGroup(vault, "outer"), await d.makeGroup(vault, "inner"), await d.makeGroup(vault, "beside")];
		await d.addMember(vault, outer, inner);
		await d.addMember(vault, inner, nobody);
		await d.addMember(vault, beside, nobody);
		for (const group of [outer, inner, beside])
			await d.grant(vault, group, "approver");
		assert.equal((await patch(vault, admin, { quorum: 2 })).status, 200);
		const id = waits(await shred(vault));
		assert.equal((await votes(vault, nobody, id, "approve")).approvals, 1);
		assert.equal((await d.vote(vault, nobody, id)).status, 409);
		waits(await shred(vault));
	});
	test("a group of the same name in another vault never does, nor anybody of that vault", async () => {
		const { vault, nobody } = await scene();
		const other = await scene();
		const [here, there] = [await d.makeGroup(vault, "approvers"), await d.makeGroup(other.vault, "approvers")];
		await d.addMember(vault, here, nobody);
		await d.grant(other.vault, there, "approver");
		await d.addMember(other.vault, there, other.nobody).catch(() => undefined); // manages: needs approval itself
		const id = waits(await shred(vault));
		assert.equal((await d.vote(vault, nobody, id)).status, 403, "its group here holds nothing");
		for (const who of [other.first, other.admin]) {
			assert.equal((await d.vote(vault, who, id)).status, 401, "nobody of another vault's directory");
			assert.equal((await d.vote(other.vault, who, id)).status, 404, "nor is the request known there");
		}
		const foreign = await d.admin("POST", `${base(vault)}/groups/${here.id}/members`, { member: other.first.client_id });
		assert.equal(foreign.status, 404, foreign.text);
		assert.equal((await show(vault, id)).approvals, 0);
	});
	test("only one who may still approve when the act is done, with tokens that are still good", async () => {
		const { vault, first, second, admin } = await scene();
		const at = `${base(vault)}/principals/${first.client_id}`;
		const ways = [
			[() => d.remove(vault, first, "approver"), () => d.grant(vault, first, "approver")],
			[() => d.adminOk("POST", `${at}/disable`), () => d.adminOk("POST", `${at}/enable`)],
			[() => d.adminOk("POST", `${at}/revoke-tokens`), null],
		];
		const id = waits(await shred(vault));
		await votes(vault, first, id, "approve");
		for (const [off, on] of ways) {
			await off();
			assert.equal((await show(vault, id)).approvals, 0);
			waits(await shred(vault));
			await on?.();
		}
		await votes(vault, second, id, "approve");
		assert.equal((await shred(vault)).status, 200);
		assert.ok(admin);
	});
	test("one of the installation approves in every vault, but not in those that had founded themselves before there was any", async () => {
		const earlier = await scene({ approvers: 0 });
		const unfounded = await d.makeVault("unfounded-too");
		const who = (await d.adminOk("POST", "/admin/v1/principals", { name: "installation-approver" })).json;
		assert.equal((await d.admin("POST", "/admin/v1/roles/grant", { principal: who.client_id, role: "approver" })).status, 200);
		const later = await scene({ approvers: 0 });
		for (const vault of [unfounded, later.vault]) {
			await votes(vault, who, waits(await shred(vault)), "approve");
			assert.equal((await shred(vault)).status, 200);
		}
		// Whoever has the host could make himself one of the installation: those who watch over a vault by themselves are not outvoted so.
		assert.equal((await d.vote(earlier.vault, who, waits(await shred(earlier.vault)))).status, 403);
		waits(await shred(earlier.vault));
		// Now that there is one, the installation's roles need one too.
		const next = (await d.adminOk("POST", "/admin/v1/principals", { name: "operator" })).json;
		const asked = await d.admin("POST", "/admin/v1/roles/grant", { principal: next.client_id, role: "operator" });
		const vote = await d.http.request("POST", `/admin/v1/approvals/${waits(asked)}/approve`, { token: await d.token(who, { fresh: true }), body: {} });
		assert.equal(vote.status, 200, vote.text);
		assert.equal((await d.admin("POST", "/admin/v1/roles/grant", { principal: next.client_id, role: "operator" })).status, 200);
	});
});

describe("how one votes", () => {
	let s;
	before(async () => {
		s = await scene();
	});

	test("with a token that was issued just now: an hour's token is not enough", async () => {
		const who = await d.makePrincipal(s.vault, "external");
		await d.addIdentity(s.vault, who, "alpha", "approver");
		await d.grant(s.vault, who, "approver");
		const id = waits(await shred(s.vault));
		const token = (iat) => issuer.token({ aud: d.origin, oid: "approver", iat, nbf: iat });
		for (const age of [FRESH_S, FRESH_S + 1, 3500]) {
			const res = await d.vote(s.vault, who, id, "approve", { token: token(nowS() - age) });
			assert.equal(res.status, 403, res.text);
			assert.match(res.json.error.message, /issued less than 600 seconds ago/);
			assert.equal((await d.http.request("GET", `${base(s.vault)}/approvals/${id}`, { token: token(nowS() - age) })).status, 200, "for reading it is good enough");
		}
		assert.equal((await d.vote(s.vault, who, id, "approve", { token: token(nowS() - FRESH_S + 30) })).status, 200);
		await d.adminOk("POST", `${base(s.vault)}/approvals/${id}/withdraw`);
	});
	test("never with a client certificate", async () => {
		const identity = makeIdentity(d.dir, "robot", { subject: "robot.example" });
		const robot = await d.makeService(s.vault, "robot", { subjects: [identity.subject], roots: [identity.ca.cert] });
		const refused = await d.admin("POST", `${base(s.vault)}/roles/grant`, { principal: robot.id, role: "approver" });
		assert.equal(refused.status, 400, refused.text); // it could do nothing with it
		await d.grant(s.vault, robot, "administrator");
		const client = d.client(1, { identity });
		const id = waits(await shred(s.vault));
		try {
			assert.equal((await client.request("GET", `${base(s.vault)}/approvals/${id}`, {})).status, 200);
			const res = await client.request("POST", `${base(s.vault)}/approvals/${id}/approve`, { body: {} });
			assert.equal(res.status, 403, res.text);
			assert.equal((await show(s.vault, id)).approvals, 0);
		} finally {
			client.close();
		}
		await d.adminOk("POST", `${base(s.vault)}/approvals/${id}/withdraw`);
	});
	test("a denial ends it; asked for again it is a new request", async () => {
		const id = waits(await shred(s.vault));
		assert.equal((await votes(s.vault, s.first, id, "deny", { reason: "not ours" })).state, "denied");
		assert.equal((await d.vote(s.vault, s.second, id)).status, 409);
		const next = waits(await shred(s.vault));
		assert.notEqual(next, id);
		assert.equal((await d.vote(s.vault, s.second, NOTHING)).status, 404);
		await d.adminOk("POST", `${base(s.vault)}/approvals/${next}/withdraw`);
	});
	test("the requester takes it back, nobody else", async () => {
		const ask = () => grantBy(s.vault, s.admin, s.nobody, "administrator");
		const id = waits(await ask());
		const withdraw = (who) => asUser(who, "POST", `${base(s.vault)}/approvals/${id}/withdraw`);
		assert.equal((await withdraw(s.first)).status, 403);
		assert.equal((await d.admin("POST", `${base(s.vault)}/approvals/${id}/withdraw`)).status, 403);
		assert.equal((await withdraw(s.admin)).json.state, "withdrawn");
		assert.equal((await d.vote(s.vault, s.first, id)).status, 409);
		assert.notEqual(waits(await ask()), id);
	});
	test("signed with the approver's own key, and the signature stays with the request", async () => {
		const made = makeSelfSigned(d.dir, "signing");
		const certificate = fs.readFileSync(made.cert, "utf8");
		// One's own certificate one adds by oneself only as far as one manages principals: an approver has it added, which others agree to.
		await d.approved(s.vault, () => d.admin("POST", `${base(s.vault)}/principals/${s.first.client_id}/credentials/certificates`, { certificate }));
		const id = waits(await shred(s.vault));
		const { sha256 } = await show(s.vault, id);
		const hash = createHash("sha256").update(new X509Certificate(certificate).raw).digest("hex");
		const key = createPrivateKey(fs.readFileSync(made.key));
		const over = (text) => sign("sha256", Buffer.from(text), key).toString("base64url");
		const good = over(`holdfast-approval/v1\n${id}\n${sha256}\napprove\n`);
		const wrong = [{ signature: over(`holdfast-approval/v1\n${id}\n${sha256}\ndeny\n`), certificate: hash }, { signature: good },
			{ signature: over(`holdfast-approval/v1\n${NOTHING}\n${sha256}\napprove\n`), certificate: hash }, { signature: good, certificate: "0".repeat(64) }];
		for (const body of wrong)
			assert.equal((await d.vote(s.vault, s.first, id, "approve", body)).status, 400);
		assert.equal((await d.vote(s.vault, s.second, id, "approve", { signature: good, certificate: hash })).status, 400, "another's certificate");
		const view = await votes(s.vault, s.first, id, "approve", { signature: good, certificate: hash });
		assert.deepEqual(view.votes.map((v) => [v.approver, v.certificate, v.signature]), [[s.first.client_id, hash, good]]);
		const done = await shred(s.vault);
		assert.equal(done.status, 200, done.text);
		assert.equal(leafOf(await d.entries(0), receipt(done)).det.approval, id);
	});
});
