// What a caller may do ends when the removal is answered, however it was given: directly, for one key, through groups in groups, by a role of the vault's own, by an address. A
// hundred requests of the holder are in flight meanwhile. And what is given is what was meant: for one key, until a time, from a network; `access explain` says the same as the
// server does.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { collect, refused, sdk } from "../sdk/clients.mjs";
import { assertError } from "../support/asserts.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { nowS } from "../support/issuer.mjs";
import { Load, act, assertLinearizable, assertLogLinearizable } from "../support/load.mjs";
import { leafOf, openIntents, receipt } from "../support/log.mjs";

const IN_FLIGHT = 100;
const CYCLES = 3;
const ANSWERS = 2 * IN_FLIGHT; // between two acts: each caller has been through more than once
const SERVICE = "crypto-service-encryption-user";
const MANY = 1_000_000;
let d, count = 0;

before(async () => {
	d = await Daemon.start({ limits: { queue: 512, vault_requests: MANY, principal_requests: MANY } });
});
after(() => d?.destroy());

const base = (vault) => `/admin/v1/vaults/${vault.name}`;

/** A vault with a key, something wrapped under it, and a caller that may nothing yet. */
async function scene() {
	const vault = await d.makeVault(`access-${++count}`);
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	const caller = await d.makePrincipal(vault, "caller");
	const plain = randomBytes(32).toString("base64url");
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "oct" });
	const { value } = await d.ok(vault, officer, "POST", "/keys/k/wrapkey", { alg: "A256KW", value: plain });
	const token = await d.token(caller);
	const unwrap = (client) => d.call(vault, null, "POST", "/keys/k/unwrapkey", { alg: "A256KW", value }, { client, token });
	return { vault, officer, caller, plain, unwrap };
}

/** `off` and `on` in turns under load; every answer is judged by the order in which things were asked and answered, and by that of the log. */
async function judge(s, off, on, { refusals = [403], inner = "ForbiddenByRbac" } = {}) {
	const first = await d.logSize();
	const load = new Load(d, IN_FLIGHT, s.unwrap);
	const periods = [];
	try {
		await load.answers(ANSWERS);
		for (let cycle = 0; cycle < CYCLES; cycle++) {
			const offAct = await act(off);
			await load.answers(ANSWERS);
			const onAct = await act(on);
			await load.answers(ANSWERS);
			periods.push({ off: offAct, on: onAct });
		}
		periods.push({ off: await act(off) });
		await load.answers(ANSWERS);
	} finally {
		await load.stop();
	}
	assert.deepEqual(load.failures, []);
	assertLinearizable(load.samples, periods, refusals);
	const entries = await d.entries(first);
	const isUse = (leaf) => leaf.type === "key.unwrap" && leaf.tenant === s.vault.id;
	const seqOf = (res) => leafOf(entries, receipt(res), first).seq;
	assertLogLinearizable(entries, periods.map((p) => ({ off: seqOf(p.off.res), on: p.on && seqOf(p.on.res) })), isUse);
	for (const { res, status } of load.samples) {
		if (status === 200)
			assert.equal(res.json.value, s.plain);
		else if (status === 403)
			assert.equal(res.json.error.innererror.code, inner, res.text);
		assert.equal(leafOf(entries, receipt(res), first).result === "ok", status === 200);
	}
	assert.deepEqual(openIntents(entries), []);
}

describe(`taken away with ${IN_FLIGHT} requests in flight`, () => {
	test("a role of one's own", async () => {
		const s = await scene();
		await d.grant(s.vault, s.caller, SERVICE);
		await judge(s, () => d.remove(s.vault, s.caller, SERVICE), () => d.grant(s.vault, s.caller, SERVICE));
	});
	test("a role for the one key", async () => {
		const s = await scene();
		await d.grant(s.vault, s.caller, SERVICE, { key: "k" });
		await judge(s, () => d.remove(s.vault, s.caller, SERVICE, { key: "k" }), () => d.grant(s.vault, s.caller, SERVICE, { key: "k" }));
	});
	test("membership of a group", async () => {
		const s = await scene();
		const group = await d.makeGroup(s.vault, "services");
		await d.grant(s.vault, group, SERVICE);
		await d.addMember(s.vault, group, s.caller);
		await judge(s, () => d.removeMember(s.vault, group, s.caller), () => d.addMember(s.vault, group, s.caller));
	});
	test("membership of the group that one's group is in; a role for the key", async () => {
		const s = await scene();
		const [outer, inner] = [await d.makeGroup(s.vault, "outer"), await d.makeGroup(s.vault, "inner")];
		await d.addMember(s.vault, inner, s.caller);
		await d.addMember(s.vault, outer, inner);
		await d.grant(s.vault, outer, SERVICE, { key: "k" });
		await judge(s, () => d.removeMember(s.vault, outer, inner), () => d.addMember(s.vault, outer, inner));
	});
	test("the role of the group", async () => {
		const s = await scene();
		const group = await d.makeGroup(s.vault, "services");
		await d.grant(s.vault, group, SERVICE);
		await d.addMember(s.vault, group, s.caller);
		await judge(s, () => d.remove(s.vault, group, SERVICE), () => d.grant(s.vault, group, SERVICE));
	});
	test("the group itself, switched off", async () => {
		const s = await scene();
		const group = await d.makeGroup(s.vault, "services");
		await d.grant(s.vault, group, SERVICE);
		await d.addMember(s.vault, group, s.caller);
		const turn = (how) => () => d.adminOk("POST", `${base(s.vault)}/principals/${group.id}/${how}`);
		await judge(s, turn("disable"), turn("enable"));
	});
	test("a role of the vault's own, which cannot be dropped as long as somebody holds it", async () => {
		const s = await scene();
		const actions = ["Microsoft.KeyVault/vaults/keys/unwrap/action"];
		let role = (await d.adminOk("POST", `${base(s.vault)}/roledefinitions`, { name: "unwrapper", actions })).json;
		await d.grant(s.vault, s.caller, "unwrapper");
		const drop = () => d.admin("DELETE", `${base(s.vault)}/roledefinitions/${role.id}`);
		assert.equal((await drop()).status, 409);
		await judge(s, async () => {
			const res = await d.remove(s.vault, s.caller, "unwrapper");
			assert.equal((await drop()).status, 204);
			return res;
		}, async () => {
			// What has the name of a role that is gone is another role.
			role = (await d.adminOk("POST", `${base(s.vault)}/roledefinitions`, { name: "unwrapper", actions })).json;
			return d.grant(s.vault, s.caller, "unwrapper");
		});
	});
	test("all tokens", async () => {
		const s = await scene();
		await d.grant(s.vault, s.caller, SERVICE);
		const first = await d.logSize();
		const load = new Load(d, IN_FLIGHT, s.unwrap);
		await load.answers(ANSWERS);
		const off = await act(() => d.adminOk("POST", `${base(s.vault)}/principals/${s.caller.client_id}/revoke-tokens`));
		await load.answers(ANSWERS);
		assertLinearizable(await load.stop(), [{ off }], [401]);
		const entries = await d.entries(first);
		assertLogLinearizable(entries, [{ off: leafOf(entries, receipt(off.res), first).seq }], (leaf) => leaf.type === "key.unwrap" && leaf.tenant === s.vault.id);
	});
	test("the network that one calls from", async () => {
		const s = await scene();
		await d.grant(s.vault, s.caller, SERVICE);
		const set = (networks) => () => d.adminOk("PATCH", base(s.vault), { networks });
		await judge(s, set("10.0.0.0/8 2001:db8::/32"), set("127.0.0.0/8"), { inner: "ForbiddenByFirewall" });
	});
});

describe("until a time", () => {
	const LIFE_S = 3;
	for (const [what, through] of [["of one's own", false], ["through a group", true]])
		test(`a role ${what} ends by itself`, async () => {
			const s = await scene();
			const holder = through ? await d.makeGroup(s.vault, "interns") : s.caller;
			if (through)
				await d.addMember(s.vault, holder, s.caller);
			const end = nowS() + LIFE_S;
			await d.grant(s.vault, holder, SERVICE, { until: end });
			const samples = [];
			const load = new Load(d, 20, async (client) => {
				const began = Date.now();
				const res = await s.unwrap(client);
				samples.push({ began, status: res.status });
				return res;
			});
			await until("it has ended", () => Date.now() > end * 1000 + 500, (LIFE_S + 5) * 1000);
			await load.stop();
			assert.ok(samples.some((x) => x.status === 200 && x.began > (end - LIFE_S) * 1000));
			const late = samples.filter((x) => x.began >= end * 1000);
			assert.ok(late.length > 20);
			assert.ok(late.every((x) => x.status === 403));
			const again = await d.grant(s.vault, holder, SERVICE, { until: nowS() + 60 }); // what has ended is not in the way
			assert.equal(again.status, 200);
			assert.equal((await s.unwrap(d.http)).status, 200);
			const past = await d.admin("POST", `${base(s.vault)}/roles/grant`, { principal: s.caller.client_id, role: "reader", until: nowS() - 1 });
			assert.equal(past.status, 400, past.text);
		});
});

describe("for one key, through the official client", () => {
	let s;
	before(async () => {
		s = await scene();
		for (const name of ["mine", "mine-too", "yours"])
			await d.ok(s.vault, s.officer, "POST", `/keys/${name}/create`, { kty: "RSA" });
	});

	test("a user of one key uses that one, and sees no other", async () => {
		const who = await d.makePrincipal(s.vault, "one-key");
		await d.grant(s.vault, who, "crypto-user", { key: "mine" });
		const { keys, crypto } = sdk(d, s.vault, who);
		const mine = crypto((await keys.getKey("mine")).id);
		const data = randomBytes(16);
		const { result } = await mine.wrapKey("RSA-OAEP-256", data);
		assert.deepEqual(Buffer.from((await mine.unwrapKey("RSA-OAEP-256", result)).result), data);
		await keys.updateKeyProperties("mine", { tags: { a: "b" } });
		for (const name of ["yours", "mine-too", "min", "nothing"]) {
			await assert.rejects(keys.getKey(name), refused(403, "Forbidden", "ForbiddenByRbac"));
			await assert.rejects(crypto(`${s.vault.origin}/keys/${name}/${"0".repeat(32)}`).unwrapKey("RSA-OAEP-256", result), refused(403, "Forbidden"));
		}
		await assert.rejects(collect(keys.listPropertiesOfKeys()), refused(403, "Forbidden"));
		await assert.rejects(collect(keys.listDeletedKeys()), refused(403, "Forbidden"));
		await assert.rejects(keys.createRsaKey("mine"), refused(403, "Forbidden"));
		assert.equal((await collect(keys.listPropertiesOfKeyVersions("mine"))).length, 1);
	});
	test("an officer of one key makes, rotates, deletes and purges that one alone, whatever case its name is written in", async () => {
		const who = await d.makePrincipal(s.vault, "one-officer");
		await d.grant(s.vault, who, "crypto-officer", { key: "future" });
		const { keys } = sdk(d, s.vault, who);
		await keys.createRsaKey("Future");
		await keys.rotateKey("future");
		const copy = await keys.backupKey("future");
		await assert.rejects(keys.createRsaKey("future2"), refused(403, "Forbidden"));
		await (await keys.beginDeleteKey("FUTURE")).pollUntilDone();
		await assert.rejects(keys.restoreKeyBackup(copy), refused(403, "Forbidden"), "a backup may hold any name");
		await keys.purgeDeletedKey("future");
		await assert.rejects(keys.purgeDeletedKey("yours"), refused(403, "Forbidden"));
		assert.equal((await d.call(s.vault, s.officer, "GET", "/keys/yours")).status, 200);
	});
});

describe("networks", () => {
	let s, other;
	const set = (networks) => d.admin("PATCH", base(s.vault), { networks });
	before(async () => {
		s = await scene();
		await d.grant(s.vault, s.caller, SERVICE);
		other = await scene();
		await d.grant(other.vault, other.caller, SERVICE);
	});
	after(() => set(""));

	test("an address that is not let in is refused everywhere in the vault, and told which it is; the host's own socket is not", async () => {
		assert.equal((await set("192.0.2.0/24")).status, 200);
		const res = await s.unwrap(d.http);
		assertError(res, 403, "Forbidden", "ForbiddenByFirewall");
		assert.match(res.json.error.message, /Client address: 127\.0\.0\.1/);
		assert.match(res.json.error.message, new RegExp(s.caller.client_id));
		await assert.rejects(sdk(d, s.vault, s.officer).keys.getKey("k"), refused(403, "Forbidden", "ForbiddenByFirewall"));
		const managed = await d.http.request("GET", base(s.vault), { token: await d.token(s.officer) });
		assert.equal(managed.json.error.innererror.code, "ForbiddenByFirewall");
		assert.equal((await other.unwrap(d.http)).status, 200);
		assert.equal((await d.admin("GET", base(s.vault))).status, 200);
	});
	test("who is nobody is told so first, from wherever he calls", async () => {
		assertError(await d.call(s.vault, null, "GET", "/keys"), 401, "Unauthorized");
		assertError(await d.call(s.vault, other.caller, "GET", "/keys"), 401, "Unauthorized");
	});
	for (const networks of ["127.0.0.1", "127.0.0.1/32", "10.0.0.0/8 127.0.0.0/8", "0.0.0.0/0", ""])
		test(`let in: "${networks}"`, async () => {
			assert.equal((await set(networks)).status, 200);
			assert.equal((await s.unwrap(d.http)).status, 200);
		});
	for (const networks of ["127.0.0.2", "127.0.0.1/33", "127.1", "0177.0.0.1", "localhost", "::1", "1.2.3.4/24x", "127.0.0.1/0x20"])
		test(`not let in, or no network at all: "${networks}"`, async () => {
			await set("192.0.2.0/24");
			const res = await set(networks);
			assert.ok([200, 400].includes(res.status), res.text);
			assert.equal((await s.unwrap(d.http)).status, 403);
		});
});

test("`access explain` says what the server does, for every way to hold something", async () => {
	const s = await scene();
	const { vault } = s;
	const [outer, inner, off] = [await d.makeGroup(vault, "outer"), await d.makeGroup(vault, "inner"), await d.makeGroup(vault, "off")];
	await d.adminOk("POST", `${base(vault)}/roledefinitions`, { name: "readers-only", actions: ["Microsoft.KeyVault/vaults/keys/read"] });
	const make = (name, ...roles) => d.makePrincipal(vault, name, roles);
	const people = {
		nothing: await make("nothing"), user: await make("user", "crypto-user"), custom: await make("custom", "readers-only"), key: await make("key"),
		ended: await make("ended"), nested: await make("nested"), offGroup: await make("off-group"), disabled: await make("disabled", "crypto-officer"),
		auditor: await make("auditor", "auditor"),
	};
	await d.grant(vault, people.key, "crypto-user", { key: "k" });
	await d.grant(vault, people.ended, "crypto-user", { until: nowS() + 1 });
	await d.addMember(vault, outer, inner);
	await d.addMember(vault, inner, people.nested);
	await d.grant(vault, outer, "crypto-officer");
	await d.addMember(vault, off, people.offGroup);
	await d.grant(vault, off, "crypto-officer");
	await d.adminOk("POST", `${base(vault)}/principals/${off.id}/disable`);
	for (const who of Object.values(people))
		await d.token(who);
	await d.adminOk("POST", `${base(vault)}/principals/${people.disabled.client_id}/disable`);
	await until("the role has ended", async () => (await d.call(vault, people.ended, "GET", "/keys/k")).status === 403, 5000);

	const asks = [["keys/read", "GET", "/keys/{key}"], ["keys/unwrap/action", "POST", "/keys/{key}/unwrapkey"], ["keys/delete", "DELETE", "/keys/{key}"],
		["keyrotationpolicies/read", "GET", "/keys/{key}/rotationpolicy"]];
	let allowed = 0;
	for (const [name, who] of Object.entries(people))
		for (const [short, method, target] of asks)
			for (const key of ["k", "nothing"]) {
				const action = `Microsoft.KeyVault/vaults/${short}`;
				if (method === "DELETE" && key === "k")
					continue;
				const why = (await d.adminOk("GET", `${base(vault)}/access/explain?principal=${who.client_id}&action=${encodeURIComponent(action)}&key=${key}`)).json;
				const res = await d.call(vault, who, method, target.replace("{key}", key), method === "POST" ? {} : undefined);
				const what = `${name} ${action} ${key}: ${JSON.stringify(why)} and ${res.status}`;
				assert.equal(why.allowed, ![401, 403].includes(res.status), what);
				assert.equal(why.grants.some((grant) => grant.allows), why.allowed || name === "disabled", what);
				assert.equal(why.would_allow.length > 0, !why.allowed && name !== "disabled", what);
				allowed += why.allowed;
			}
	assert.ok(allowed >= 8, `${allowed} were allowed`);
});
