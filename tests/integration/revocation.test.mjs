// Revocation is linearizable: once a disable, revoke, role removal, delete, rotation or shred has been answered, no use of the key that began
// later succeeds, and in the log no successful use stands behind the leaf of the act. Sixteen callers on sockets of their own keep the
// server busy meanwhile, half of them on a key inside the HSM, half on a wrapped key that the server holds loaded.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
import { Load, act, assertLinearizable, assertLogLinearizable } from "../support/load.mjs";
import { assertOrder, leafOf, openIntents, receipt } from "../support/log.mjs";

const CALLERS = 16;
const CYCLES = 6;
const ANSWERS = 3 * CALLERS; // between two acts: each caller has been through more than once
const KINDS = { "oct-HSM": "A256KW", "RSA": "RSA-OAEP-256" };

let d, first;
before(async () => {
	d = await Daemon.start({ limits: { queue: 256 } });
	first = await d.logSize();
});
after(() => d?.destroy());

/** A vault with an officer, a caller, and a key of each kind with something wrapped under it. */
async function scene(name) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	const caller = await d.makePrincipal(vault, "caller", ["crypto-service-encryption-user"]);
	const plain = randomBytes(32).toString("base64url");
	const targets = [];
	for (const [kty, alg] of Object.entries(KINDS)) {
		const bundle = await d.ok(vault, officer, "POST", `/keys/${kty}/create`, { kty });
		const { value } = await d.ok(vault, officer, "POST", `/keys/${kty}/wrapkey`, { alg, value: plain });
		targets.push({ name: kty, alg, value, version: bundle.key.kid.split("/").pop() });
	}
	const token = await d.token(caller);
	const unwrap = (client, i) => {
		const target = targets[i % targets.length];
		return d.call(vault, null, "POST", `/keys/${target.name}/${target.version}/unwrapkey`, { alg: target.alg, value: target.value },
			{ client, token });
	};
	const admin = (path, body) => () => d.adminOk("POST", `/admin/v1/vaults/${name}${path}`, body);
	const keyApi = (method, path, body) => async () => {
		const res = await d.call(vault, officer, method, path, body);
		assert.equal(res.status, 200, res.text);
		return res;
	};
	return { vault, officer, caller, plain, targets, unwrap, admin, keyApi };
}

const isUnwrapOf = (names) => (leaf) => leaf.type === "key.unwrap" && names.includes(leaf.key?.name);

/**
 * Toggle under load and judge. `off` and `on` are lists of acts, one for each target (or one for all); `on` absent: the act is final.
 * Each successful answer must also carry the right plaintext and a leaf of its own.
 */
async function judge(s, offActs, onActs, refusals) {
	const load = new Load(d, CALLERS, s.unwrap);
	const periods = [];
	try {
		await load.answers(ANSWERS);
		for (let cycle = 0; cycle < (onActs ? CYCLES : 1); cycle++) {
			const off = await act(() => Promise.all(offActs.map((a) => a())));
			await load.answers(ANSWERS);
			if (!onActs) {
				periods.push({ off });
				continue;
			}
			const on = await act(() => Promise.all(onActs.map((a) => a())));
			await load.answers(ANSWERS);
			periods.push({ off, on });
		}
	} finally {
		await load.stop();
	}
	assert.deepEqual(load.failures, []);
	assertLinearizable(load.samples, periods, refusals);
	for (const { res, status } of load.samples) {
		if (status === 200)
			assert.equal(res.json.value, s.plain);
	}

	const entries = await d.entries(first);
	assertOrder(entries, first);
	for (const { res, status } of load.samples) {
		const got = receipt(res);
		if (got === null) {
			assert.ok([401, 429, 503].includes(status), `an answer ${status} without a receipt`);
			continue;
		}
		const leaf = leafOf(entries, got, first);
		assert.equal(leaf.http, status);
		assert.equal(leaf.result === "ok", status === 200, `leaf ${leaf.seq} says ${leaf.result}, the answer was ${status}`);
	}
	// With one act for each target they are judged apart. A shred ends all use with its intent already.
	const names = s.targets.map((t) => t.name);
	const leafSeq = (res) => {
		const leaf = leafOf(entries, receipt(res), first);
		return leaf.type === "tenant.shred" ? leaf.ref : leaf.seq;
	};
	offActs.forEach((_, i) => {
		const seqs = periods.map(({ off, on }) => ({ off: leafSeq(off.res[i]), on: on ? leafSeq(on.res[i]) : undefined }));
		assertLogLinearizable(entries, seqs, isUnwrapOf(offActs.length === 1 ? names : [names[i]]));
	});
	assert.deepEqual(openIntents(entries), []);
}

const each = (s, make) => s.targets.map((t) => make(t));

test("disable and enable", async () => {
	const s = await scene("t-disable");
	const patch = (enabled) => each(s, (t) => s.keyApi("PATCH", `/keys/${t.name}/${t.version}`, { attributes: { enabled } }));
	await judge(s, patch(false), patch(true), [403]);
});

test("revoke and reinstate", async () => {
	const s = await scene("t-revoke");
	const revoke = each(s, (t) => s.admin(`/keys/${t.name}/revoke`, { reason: "superseded" }));
	const reinstate = each(s, (t) => async () => {
		const res = await s.admin(`/keys/${t.name}/reinstate`, {})();
		if ((await d.ok(s.vault, s.officer, "GET", `/keys/${t.name}`)).attributes.enabled)
			return res;
		return s.keyApi("PATCH", `/keys/${t.name}/${t.version}`, { attributes: { enabled: true } })();
	});
	await judge(s, revoke, reinstate, [403]);
});

test("removal and grant of the caller's role", async () => {
	const s = await scene("t-role");
	const body = { principal: s.caller.client_id, role: "crypto-service-encryption-user" };
	await judge(s, [s.admin("/roles/remove", body)], [s.admin("/roles/grant", body)], [403]);
});

test("disabling and enabling the caller", async () => {
	const s = await scene("t-principal");
	const path = `/principals/${s.caller.client_id}`;
	await judge(s, [s.admin(`${path}/disable`)], [s.admin(`${path}/enable`)], [401, 403]);
});

test("delete and recover", async () => {
	const s = await scene("t-delete");
	await judge(s, each(s, (t) => s.keyApi("DELETE", `/keys/${t.name}`)), each(s, (t) => s.keyApi("POST", `/deletedkeys/${t.name}/recover`)), [404]);
});

test("delete and purge", async () => {
	const s = await scene("t-purge");
	const purge = each(s, (t) => async () => {
		const deleted = await s.keyApi("DELETE", `/keys/${t.name}`)();
		const res = await d.call(s.vault, s.officer, "DELETE", `/deletedkeys/${t.name}`);
		assert.equal(res.status, 204, res.text);
		return deleted; // its leaf is the one after which nothing succeeds
	});
	await judge(s, purge, null, [404]);
});

test("revoke for compromise", async () => {
	const s = await scene("t-compromise");
	await judge(s, each(s, (t) => s.admin(`/keys/${t.name}/revoke`, { reason: "keyCompromise" })), null, [403]);
});

test("lock and unlock of the vault", async () => {
	const s = await scene("t-lock");
	const ask = (what) => () => d.admin("POST", `/admin/v1/vaults/${s.vault.name}/${what}`, { reason: "test" });
	await judge(s, [() => d.approved(s.vault, ask("lock"))], [() => d.approved(s.vault, ask("unlock"))], [403]);
});

test("shred of the vault", async () => {
	const s = await scene("t-shred");
	await judge(s, [await d.agreeToShred(s.vault, "linearizability")], null, [400, 401, 403, 404, 410]);
});

test("rotate: no use without a version that began after the rotation was answered works on an older version", async () => {
	const s = await scene("t-rotate");
	const token = await d.token(s.caller);
	const load = new Load(d, CALLERS, (client, i) => {
		const target = s.targets[i % s.targets.length];
		return d.call(s.vault, null, "POST", `/keys/${target.name}//wrapkey`, { alg: target.alg, value: s.plain }, { client, token });
	});
	const order = new Map(s.targets.map((t) => [t.name, [t.version]]));
	const rotations = [];
	try {
		await load.answers(ANSWERS);
		for (let cycle = 0; cycle < CYCLES; cycle++) {
			for (const target of s.targets) {
				const done = await act(s.keyApi("POST", `/keys/${target.name}/rotate`));
				const version = done.res.json.key.kid.split("/").pop();
				order.get(target.name).push(version);
				rotations.push({ name: target.name, acked: done.acked, index: order.get(target.name).length - 1, seq: receipt(done.res).seq });
			}
			await load.answers(ANSWERS);
		}
	} finally {
		await load.stop();
	}
	assert.deepEqual(load.failures, []);
	const used = load.samples.map(({ begin, status, res }) => {
		assert.equal(status, 200, res.text);
		const [name, version] = res.json.kid.split("/").slice(-2);
		return { begin, name, index: order.get(name).indexOf(version), seq: receipt(res).seq };
	});
	for (const { name, acked, index, seq } of rotations) {
		const stale = used.filter((u) => u.name === name && u.begin > acked && u.index < index);
		assert.equal(stale.length, 0, `${stale.length} wraps after rotation ${index} of ${name} used an older version`);
		const staleInLog = used.filter((u) => u.name === name && u.seq > seq && u.index < index);
		assert.equal(staleInLog.length, 0, `${staleInLog.length} leaves after that of rotation ${index} of ${name} show an older version`);
	}
	assert.ok(new Set(used.map((u) => `${u.name} ${u.index}`)).size > rotations.length / 2, "the new versions were used");
});

test("the log of all this has no intent without its outcome", async () => {
	assert.deepEqual(openIntents(await d.entries(0)), []);
});
