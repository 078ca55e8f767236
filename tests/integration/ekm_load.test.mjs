// External key management under load: certificates are replaced with no failed request, revocation and shredding are linearizable for pools
// too, a crowded HSM is answered in time, and so is one that is away.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { issueServerCert } from "../support/certs.mjs";
import { Daemon, EKM_HOST, until } from "../support/daemon.mjs";
import { EkmTenant, POOL_LIMIT_MS, assertEkmError, makeIdentity } from "../support/ekm.mjs";
import { Load, act, assertLinearizable, assertLogLinearizable } from "../support/load.mjs";
import { assertOrder, openIntents, receipt } from "../support/log.mjs";

const CALLERS = 8;
const CYCLES = 4;
const ANSWERS = 3 * CALLERS; // between two acts: each caller has been through more than once
const CROWD = 64; // unwraps at once with RSA-4096: a quarter of a second of work for two cores; doubled for faster machines
const CROWD_MAX = 512;
const ROUNDS = 5;
const SAMPLE_MS = 100;
const OTHERS_MAX = 0.2; // of the processors: with more of them in other programs' hands, time is not judged
const BACK_MS = 15_000;
const plain = randomBytes(32).toString("base64url");
const NS_PER_MS = 1e6;

let d, first;
before(async () => {
	d = await Daemon.start({ ekm: { connections: 1024 } });
	first = await d.logSize();
});
after(() => d?.destroy());

/** A tenant with a key inside the HSM and one that is loaded into it, and something wrapped under each. */
async function scene(name) {
	const t = await EkmTenant.make(d, name, { prefix: `/${name}` });
	t.targets = [];
	const client = t.client();
	for (const [kty, alg] of [["oct-HSM", "A256KW"], ["RSA", "RSA-OAEP-256"]]) {
		const key = await t.makeKey(`${name}-${kty}`, { kty });
		let res = await client.wrap(key.id, alg, plain);
		for (let tries = 0; res.status === 408 && tries < 20; tries++) // a busy machine; the first use also loads the key
			res = await client.wrap(key.id, alg, plain);
		assert.equal(res.status, 200, res.text);
		t.targets.push({ ...key, alg, value: res.json.value });
	}
	client.close();
	t.unwrap = (own, i) => {
		const { id, alg, value } = t.targets[i % t.targets.length];
		return own.unwrap(id, alg, value);
	};
	return t;
}

/** Load by clients of the EKM listener. */
const ekmLoad = (t, request = t.unwrap) => new Load({ client: () => t.client() }, CALLERS, request);

/** No request failed. A machine that is too busy says 408: that is no failure of what is tested, as long as it is rare. */
function assertAllServed(load) {
	assert.deepEqual(load.failures, []);
	const late = load.samples.filter(({ status }) => status === 408);
	assert.ok(late.length <= load.samples.length / 5, `${late.length} of ${load.samples.length} were late`);
	for (const { status, res } of load.samples) {
		assert.ok(status === 200 || status === 408, `${status} ${res.text}`);
		assert.ok(status === 408 || res.json.value === plain, res.text);
	}
}

test("a pool's certificate and its root are replaced with no failed request; the old ones are worth nothing afterwards", async () => {
	const t = await scene("renewal");
	const old = t.identity;
	const renewed = makeIdentity(d.dir, "renewal-next", { subject: old.subject });
	const subjects = [old.subject];
	const fresh = [];
	const keeper = t.client();
	const load = ekmLoad(t, (client, i) => t.unwrap(fresh[i] ?? client, i));
	assert.equal((await t.unwrap(keeper, 0)).status, 200);
	try {
		await load.answers(ANSWERS);
		await d.setPoolCertificates(t.vault, t.pool, { subjects, roots: [old.ca.cert, renewed.ca.cert] });
		await load.answers(ANSWERS);
		for (let i = 0; i < CALLERS; i++) {
			fresh[i] = t.client({ identity: renewed });
			await load.answers(2);
		}
		await load.answers(2 * CALLERS); // nobody is under way with the old one
		await d.setPoolCertificates(t.vault, t.pool, { subjects, roots: [renewed.ca.cert] });
		await load.answers(ANSWERS);
	} finally {
		await load.stop();
		fresh.forEach((client) => client.close());
	}
	assertAllServed(load);

	const onOldConnection = await t.unwrap(keeper, 0);
	assertEkmError(onOldConnection, 401, "Unauthorized");
	onOldConnection.socket.destroy();
	const resumed = await t.unwrap(keeper, 0);
	assertEkmError(resumed, 401, "Unauthorized");
	assert.ok(resumed.resumed, "the session was resumed, and checked again all the same");
	keeper.close();
});

const POOLS = 16; // as many as a vault may have: each makes the reading of all take longer
const REMOVALS = 10;

test("a root that was removed serves nobody any more, from the leaf that says so on", async () => {
	const t = await scene("removal");
	const next = makeIdentity(d.dir, "removal-next", { subject: t.identity.subject });
	const crowd = await d.makeVault("removal-crowd");
	const subjects = [t.identity.subject];
	for (let i = 0; i < POOLS; i++)
		await d.makePool(crowd, `p${i}`, { subjects: [`p${i}.removal.example`], roots: [next.ca.cert] });
	let served = 0;
	for (let i = 0; i < REMOVALS; i++) {
		await d.setPoolCertificates(t.vault, t.pool, { subjects, roots: [t.identity.ca.cert, next.ca.cert] });
		const load = ekmLoad(t, (client, k) => t.unwrap(client, k));
		let removal;
		try {
			await load.answers(ANSWERS);
			removal = await d.adminOk("POST", `/admin/v1/vaults/${t.vault.name}/ekm/pools/${t.pool.name}/certificates`, { roots: [fs.readFileSync(next.ca.cert, "utf8")] });
			await load.answers(ANSWERS);
		} finally {
			await load.stop();
		}
		const seq = receipt(removal).seq;
		const answered = load.samples.filter(({ status }) => status === 200);
		served += answered.length;
		assert.deepEqual(answered.filter(({ res }) => receipt(res).seq > seq).map(({ res }) => receipt(res).seq), [], `after ${seq}`);
	}
	assert.ok(served >= REMOVALS * CALLERS);
});

function servedFingerprint() {
	return new Promise((resolve, reject) => {
		const socket = tls.connect({ host: "127.0.0.1", port: d.ekmPort, servername: EKM_HOST, ca: d.caPem }, () => {
			resolve(socket.getPeerCertificate().fingerprint256);
			socket.destroy();
		});
		socket.on("error", reject);
	});
}

test("SIGHUP takes a new server certificate under load: no request fails, no connection is cut", async () => {
	const t = await scene("reload");
	const sockets = Array.from({ length: CALLERS }, () => new Set());
	const load = ekmLoad(t, async (client, i) => {
		// Half of the callers connect anew for each request.
		const own = i % 2 === 0 ? client : t.client();
		try {
			const res = await t.unwrap(own, i);
			sockets[i].add(res.socket);
			return res;
		} finally {
			if (own !== client)
				own.close();
		}
	});
	try {
		await load.answers(ANSWERS);
		for (let i = 0; i < 2; i++) {
			const old = await servedFingerprint();
			issueServerCert(d.ca, EKM_HOST, d.ekmCert, d.ekmCertKey);
			d.signal("SIGHUP");
			await until("the new certificate is served", async () => (await servedFingerprint()) !== old);
			await load.answers(ANSWERS);
		}
	} finally {
		await load.stop();
	}
	assertAllServed(load);
	sockets.forEach((used, i) => assert.ok(i % 2 === 0 ? used.size === 1 : used.size > 1, `caller ${i} used ${used.size} connections`));
});

/** Acts under load, judged by what the callers saw and by the log (as in revocation.test.mjs). `on` absent: the act is final. */
async function judge(t, off, on, refusals) {
	const load = ekmLoad(t);
	const periods = [];
	try {
		await load.answers(ANSWERS);
		for (let cycle = 0; cycle < (on ? CYCLES : 1); cycle++) {
			const offDone = await act(() => Promise.all(off.map((a) => a())));
			await load.answers(ANSWERS);
			const onDone = on ? await act(() => Promise.all(on.map((a) => a()))) : undefined;
			periods.push({ off: offDone, on: onDone });
			if (on)
				await load.answers(ANSWERS);
		}
	} finally {
		await load.stop();
	}
	assert.deepEqual(load.failures, []);
	assertLinearizable(load.samples, periods, [...refusals, 408]); // late is no success either
	for (const { status, res } of load.samples)
		assert.ok(status !== 200 || res.json.value === plain, res.text);

	const entries = await d.entries(first);
	assertOrder(entries, first);
	const leafSeq = (res) => {
		const { leaf } = entries[receipt(res).seq - first];
		return leaf.type === "tenant.shred" ? leaf.ref : leaf.seq;
	};
	const ids = t.targets.map((target) => target.id);
	off.forEach((_, i) => {
		const seqs = periods.map((period) => ({ off: leafSeq(period.off.res[i]), on: period.on ? leafSeq(period.on.res[i]) : undefined }));
		const judged = off.length === 1 ? ids : [ids[i]];
		assertLogLinearizable(entries, seqs, (leaf) => leaf.type === "key.unwrap" && judged.includes(leaf.det?.external_id));
	});
	assert.deepEqual(openIntents(entries), []);
}

test("disable and enable are linearizable", async () => {
	const t = await scene("off");
	const each = (enabled) => t.targets.map((target) => () => t.setEnabled(target, enabled));
	await judge(t, each(false), each(true), [403]);
});

test("so is switching a whole pool off and on", async () => {
	const t = await scene("disconnect");
	const principal = (verb) => [() => t.admin(`/principals/${t.pool.id}/${verb}`)];
	await judge(t, principal("disable"), principal("enable"), [401, 403]);
});

test("so is retiring an id, and publishing it again for the same version", async () => {
	const t = await scene("retire");
	const keys = `/ekm/pools/${t.pool.id}/keys`;
	const retire = t.targets.map(({ id }) => () => t.admin(`${keys}/retire`, { external_id: id }));
	const publish = t.targets.map(({ id, name, version }) => () => t.admin(keys, { key: name, version, external_id: id }));
	await judge(t, retire, publish, [404]);
});

test("so is a revocation for compromise", async () => {
	const t = await scene("compromise");
	await judge(t, t.targets.map(({ name }) => () => t.admin(`/keys/${name}/revoke`, { reason: "keyCompromise" })), null, [403]);
});

test("so is the shredding of the vault in the middle of traffic, and another vault's pool notices nothing", async () => {
	const t = await scene("shred");
	const other = await scene("beside");
	const beside = ekmLoad(other);
	try {
		await judge(t, [await d.agreeToShred(t.vault, "end of contract")], null, [401, 403, 404]);
		await beside.answers(ANSWERS);
	} finally {
		await beside.stop();
	}
	assertAllServed(beside);
});

/** The part of the processors that other programs use just now, 0 to 1. */
async function othersShare() {
	const add = (a, b) => a + b;
	const spent = () => {
		const times = os.cpus().map((cpu) => cpu.times);
		return { idle: times.map((t) => t.idle).reduce(add), all: times.flatMap((t) => Object.values(t)).reduce(add) };
	};
	const from = spent();
	await sleep(SAMPLE_MS);
	const to = spent();
	return 1 - (to.idle - from.idle) / (to.all - from.all);
}

test("a crowd that the HSM cannot serve in time: 408 for the rest, nobody waits longer than 250 ms, and then all is well", async (t) => {
	const tenant = await EkmTenant.make(d, "crowd");
	const key = await tenant.makeKey("big", { kty: "RSA", key_size: 4096 });
	const client = tenant.client({ sockets: CROWD_MAX });
	const unwrap = (value) => client.unwrap(key.id, "RSA-OAEP-256", value);
	try {
		const { json } = await client.wrap(key.id, "RSA-OAEP-256", plain);
		const slowest = [];
		let isMet = false;
		let wasLate = false;
		for (let crowd = CROWD, round = 0; !isMet && round < ROUNDS; round++) {
			await client.warm(crowd);
			const others = await othersShare();
			const stalls = monitorEventLoopDelay({ resolution: 1 });
			stalls.enable();
			const answers = await Promise.all(Array.from({ length: crowd }, () => unwrap(json.value)));
			stalls.disable();
			for (const res of answers) {
				if (res.status === 200)
					assert.equal(res.json.value, plain);
				else
					assertEkmError(res, 408, "RequestTimeout");
			}
			const late = answers.filter((res) => res.status === 408).length;
			wasLate ||= late > 0;
			if (late === 0)
				crowd = Math.min(2 * crowd, CROWD_MAX);
			if (late === 0 || Math.max(others, await othersShare()) > OTHERS_MAX)
				continue;
			// What this program itself was late is not the server's.
			slowest.push(Math.round(Math.max(...answers.map((res) => res.ms)) - stalls.max / NS_PER_MS));
			isMet = slowest.at(-1) <= POOL_LIMIT_MS;
		}
		assert.ok(wasLate, "nobody was told that it is late");
		if (slowest.length === 0)
			t.diagnostic("the time was not judged: other programs keep this machine busy");
		assert.ok(isMet || slowest.length === 0, `each round had an answer after more than ${POOL_LIMIT_MS} ms: ${slowest}`);
		await until("served again", async () => (await unwrap(json.value)).status === 200, 2000);
	} finally {
		client.close();
	}
});

function assertRefused(res) {
	assert.ok([408, 502, 503].includes(res.status), `${res.status} ${res.text}`);
	assertEkmError(res, res.status);
}

test("the HSM goes away: 502 or 503 in time, info says it as well; it comes back by itself", async () => {
	const t = await scene("away");
	const away = `${d.tokenDir}.away`;
	const client = t.client({ limitMs: POOL_LIMIT_MS });
	const load = new Load({ client: () => t.client({ limitMs: POOL_LIMIT_MS }) }, CALLERS / 2, t.unwrap);
	let mark;
	try {
		await client.warm();
		await load.answers(ANSWERS);
		fs.renameSync(d.tokenDir, away);
		await until("info is 503", async () => {
			const res = await client.info();
			if (res.status !== 200)
				assertRefused(res);
			return res.status === 503;
		}, BACK_MS);
		await load.answers(CALLERS);
		for (const { id, alg, value } of t.targets)
			for (const res of [await client.unwrap(id, alg, value), await client.wrap(id, alg, plain)])
				assertRefused(res);
		fs.renameSync(away, d.tokenDir);
		await until("info is 200", async () => (await client.info()).status === 200, BACK_MS);
		await until("a key is served", async () => (await t.unwrap(client, 0)).status === 200, BACK_MS);
		mark = load.samples.length;
		await load.answers(ANSWERS);
	} finally {
		if (fs.existsSync(away))
			fs.renameSync(away, d.tokenDir);
		client.close();
		await load.stop();
	}
	assert.deepEqual(load.failures, [], "no call took longer than 250 ms");
	for (const { status, res } of load.samples) {
		if (status === 200)
			assert.equal(res.json.value, plain);
		else
			assertRefused(res);
	}
	assert.ok(load.samples.slice(mark).some(({ status }) => status === 200));
});
