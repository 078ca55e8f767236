// Bad days: the HSM goes away, the disk is full, certificates change, files are too open, queues are full, it is told to stop.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { assertError } from "../support/asserts.mjs";
import { issueServerCert } from "../support/certs.mjs";
import { DOMAIN, Daemon, freePort, tryStart, until } from "../support/daemon.mjs";
import { fillUp, tmpfs } from "../support/disk.mjs";
import { Load } from "../support/load.mjs";
import { assertOrder, openIntents, receipt } from "../support/log.mjs";

const plain = randomBytes(32).toString("base64url");
const BACK_MS = 15_000; // the HSM is noticed again, and the disk, within this

/** A vault with a key of each kind and something wrapped under each. */
async function populate(d) {
	const vault = await d.makeVault("orders");
	const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	const keys = [];
	for (const [name, kty, alg] of [["oct", "oct-HSM", "A256KW"], ["rsa", "RSA", "RSA-OAEP-256"], ["rsahsm", "RSA-HSM", "RSA-OAEP-256"]]) {
		await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty });
		keys.push({ name, alg, value: (await d.ok(vault, officer, "POST", `/keys/${name}/wrapkey`, { alg, value: plain })).value });
	}
	const unwrap = (key, options) => d.call(vault, officer, "POST", `/keys/${key.name}/unwrapkey`, { alg: key.alg, value: key.value }, options);
	return { vault, officer, keys, unwrap };
}

function unavailable(res, inner) {
	assertError(res, 503, "ServiceUnavailable", inner);
	return res;
}

describe("the HSM goes away", () => {
	let d, s, away;
	before(async () => {
		d = await Daemon.start();
		away = `${d.tokenDir}.away`;
		s = await populate(d);
	});
	after(() => d?.destroy());
	afterEach(async () => {
		if (fs.existsSync(away))
			fs.renameSync(away, d.tokenDir);
		await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
	});

	test("uses are 503 with Retry-After, readiness says why, nothing crashes, and it comes back by itself", async () => {
		for (let cycle = 0; cycle < 2; cycle++) {
			const pid = d.child.pid;
			fs.renameSync(d.tokenDir, away);
			await until("the loss is noticed", async () => (await d.health()).status === 503, BACK_MS);
			const health = await d.health();
			assert.match(health.text, /hsm/i);
			assert.equal((await d.health("live")).status, 200, "the process itself is alive");
			for (const key of s.keys)
				unavailable(await s.unwrap(key), "hsm_unavailable");
			const made = await d.call(s.vault, s.officer, "POST", `/keys/new${cycle}/create`, { kty: "oct-HSM" });
			assert.equal(made.status, 503, made.text);
			fs.renameSync(away, d.tokenDir);
			await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
			for (const key of s.keys)
				assert.equal((await s.unwrap(key)).json?.value, plain, key.name);
			assert.equal((await d.call(s.vault, s.officer, "GET", `/keys/new${cycle}`)).status, 404, "what was refused was not made");
			assert.equal(d.child.pid, pid);
		}
		const types = (await d.entries(0)).map(({ leaf }) => leaf.type);
		assert.ok(types.includes("node.hsm_lost") && types.includes("node.hsm_back"));
		/* What could not be taken back while the device was away is settled once it is there. */
		await until("every intent has its outcome", async () => openIntents(await d.entries(0)).length === 0, BACK_MS);
	});

	test("between the loss and its discovery no use is answered wrongly: 200 with the right plaintext, or 503", async () => {
		const load = new Load(d, 8, (client, i) => s.unwrap(s.keys[i % s.keys.length], { client }));
		await load.answers(50);
		fs.renameSync(d.tokenDir, away);
		await until("the loss is noticed", async () => (await d.health()).status === 503, BACK_MS);
		await load.answers(20);
		fs.renameSync(away, d.tokenDir);
		await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
		const mark = load.samples.length;
		await load.answers(50);
		const samples = await load.stop();
		assert.deepEqual(load.failures, []);
		for (const { status, res } of samples) {
			if (status === 200)
				assert.equal(res.json.value, plain);
			else
				assert.equal(status, 503, res.text);
		}
		assert.ok(samples.slice(mark).some((x) => x.status === 200));
	});

	test("what signs, encrypts, brings keys in and out or attests is 503 too and leaves nothing; verify needs the public half only", async () => {
		const call = (method, where, body) => d.call(s.vault, s.officer, method, where, body);
		const ok = (method, where, body) => d.ok(s.vault, s.officer, method, where, body);
		const [digest, iv] = [randomBytes(32), randomBytes(16)].map((bytes) => bytes.toString("base64url"));
		for (const [name, kty] of [["ec", "EC"], ["aes", "oct"], ["kept", "oct"]])
			await ok("POST", `/keys/${name}/create`, { kty });
		const signature = (await ok("POST", "/keys/ec/sign", { alg: "ES256", value: digest })).value;
		const sealed = await ok("POST", "/keys/aes/encrypt", { alg: "A256GCM", value: plain });
		const blob = (await ok("POST", "/keys/kept/backup")).value;
		await ok("DELETE", "/keys/kept");
		await d.call(s.vault, s.officer, "DELETE", "/deletedkeys/kept");
		const unavailables = [
			["POST", "/keys/ec/sign", { alg: "ES256", value: digest }],
			["POST", "/keys/aes/encrypt", { alg: "A256GCM", value: plain }],
			["POST", "/keys/aes/decrypt", { alg: "A256GCM", value: sealed.value, iv: sealed.iv, tag: sealed.tag }],
			["POST", "/keys/aes/encrypt", { alg: "A256CBC", value: plain, iv }],
			["PUT", "/keys/brought", { key: { kty: "oct", k: digest } }],
			["PUT", "/keys/brought", { Hsm: true, key: { kty: "oct", k: digest } }],
			["POST", "/keys/aes/backup"],
			["POST", "/keys/restore", { value: blob }],
			["GET", "/keys/ec/attestation"],
			["POST", "/rng", { count: 16 }],
		];
		fs.renameSync(d.tokenDir, away);
		await until("the loss is noticed", async () => (await d.health()).status === 503, BACK_MS);
		for (const [method, where, body] of unavailables)
			unavailable(await call(method, where, body), "hsm_unavailable");
		assert.deepEqual(await ok("POST", "/keys/ec/verify", { alg: "ES256", digest, value: signature }), { value: true });
		fs.renameSync(away, d.tokenDir);
		await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
		for (const name of ["brought", "kept"])
			assert.equal((await call("GET", `/keys/${name}`)).status, 404, `${name}: what was refused was not made`);
		for (const [method, where, body] of unavailables)
			await ok(method, where, body);
		await until("every intent has its outcome", async () => openIntents(await d.entries(0)).length === 0, BACK_MS);
	});

	test("revoke, disable, role removal and delete work while it is away, and hold when it is back", async () => {
		const visitor = await d.makePrincipal(s.vault, "visitor", ["crypto-user"]);
		const token = await d.token(visitor);
		await d.ok(s.vault, s.officer, "POST", "/keys/gone/create", { kty: "oct-HSM" });
		await d.token(s.officer);
		fs.renameSync(d.tokenDir, away);
		await until("the loss is noticed", async () => (await d.health()).status === 503, BACK_MS);
		await d.ok(s.vault, s.officer, "PATCH", "/keys/rsahsm", { attributes: { enabled: false } });
		await d.cli("key", "revoke", s.vault.name, "oct", "--reason", "keyCompromise");
		await d.cli("role", "remove", s.vault.name, visitor.client_id, "crypto-user");
		await d.ok(s.vault, s.officer, "DELETE", "/keys/gone");
		fs.renameSync(away, d.tokenDir);
		await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
		assert.equal((await s.unwrap(s.keys[2])).status, 403);
		assert.equal((await s.unwrap(s.keys[0])).status, 403);
		assert.equal((await s.unwrap(s.keys[1])).status, 200);
		assert.equal((await d.call(s.vault, null, "GET", "/keys/rsa", undefined, { token })).status, 403);
		assert.equal((await d.call(s.vault, s.officer, "GET", "/keys/gone")).status, 404);
	});
});

describe("signals and starts", () => {
	let d, s;
	before(async () => {
		d = await Daemon.start();
		s = await populate(d);
	});
	after(() => d?.destroy());

	function peerFingerprint() {
		return new Promise((resolve, reject) => {
			const socket = tls.connect({ host: "127.0.0.1", port: d.port, servername: DOMAIN, ca: d.caPem }, () => {
				resolve(socket.getPeerCertificate().fingerprint256);
				socket.destroy();
			});
			socket.on("error", reject);
		});
	}

	test("SIGHUP takes a new certificate for new connections and cuts no old one", async () => {
		const old = await peerFingerprint();
		const client = d.client(1);
		assert.equal((await s.unwrap(s.keys[0], { client })).status, 200);
		issueServerCert(d.ca, DOMAIN, d.cert, d.certKey);
		d.signal("SIGHUP");
		await until("the new certificate is served", async () => (await peerFingerprint()) !== old);
		assert.equal((await s.unwrap(s.keys[0], { client })).status, 200);
		assert.equal(Object.values(client.agent.freeSockets).flat().length, 1, "on the old connection");
		client.close();
	});

	test("SIGHUP with a broken certificate keeps the old one, and says so", async () => {
		const old = await peerFingerprint();
		const saved = fs.readFileSync(d.cert);
		const lines = d.logText().length;
		fs.writeFileSync(d.cert, "not a certificate");
		d.signal("SIGHUP");
		await until("the failure is logged", () => /certificate|server\.crt/i.test(d.logText().slice(lines)));
		assert.equal(await peerFingerprint(), old);
		assert.equal((await s.unwrap(s.keys[0])).status, 200);
		fs.writeFileSync(d.cert, saved);
	});

	test("a second daemon on the same state is refused", async () => {
		const port = await freePort();
		const locked = await tryStart(d, (c) => {
			c.listen.port = port;
			c.admin.socket = path.join(d.dir, "other.sock");
		});
		assert.ok(locked.code > 0, `${JSON.stringify(locked)}`);
		assert.match(locked.output, /lock|in use|already/i);
		for (const key of s.keys)
			assert.equal((await s.unwrap(key)).status, 200, "the first one is unharmed");
	});

	test("SIGTERM answers what is under way, refuses new connections, ends with 0, and the log says stop", async () => {
		const slow = Array.from({ length: 2 }, (_, i) =>
			d.call(s.vault, s.officer, "POST", `/keys/slow${i}/create`, { kty: "RSA", key_size: 3072 }, { client: d.client(1) }));
		await sleep(150);
		const how = await d.stop();
		for (const res of await Promise.all(slow))
			assert.ok(res.status === 200 || res.status === 503, `${res.status} ${res.text}`);
		assert.deepEqual({ code: how.code, signal: how.signal }, { code: 0, signal: null });
		await d.restart();
		const entries = await d.entries(0);
		assertOrder(entries, 0);
		assert.deepEqual(openIntents(entries), []);
		const last = entries.findLastIndex(({ leaf }) => leaf.type === "node.stop");
		assert.equal(entries[last + 1].leaf.type, "node.start");
		for (const [i, res] of (await Promise.all(slow)).entries())
			assert.equal((await d.call(s.vault, s.officer, "GET", `/keys/slow${i}`)).status, res.status === 200 ? 200 : 404);
	});
});

describe("starts that are refused", () => {
	let d;
	before(async () => {
		d = await Daemon.start();
		await d.stop();
	});
	after(() => d?.destroy());

	const cases = [
		["a PIN file that others may read", (c) => fs.chmodSync(c.hsm.pin, 0o644), (c) => fs.chmodSync(c.hsm.pin, 0o600), /pin/i],
		["a TLS key that others may read", (c) => fs.chmodSync(c.tls.key, 0o644), (c) => fs.chmodSync(c.tls.key, 0o600), /server\.key|tls/i],
		["a wrong PIN", (c) => {
			c.hsm.pin = path.join(path.dirname(c.hsm.pin), "wrong-pin");
			fs.writeFileSync(c.hsm.pin, "0000000000", { mode: 0o600 });
		}, null, /pin/i],
		["no such token", (c) => {
			c.hsm.token = "pkcs11:token=nobody";
		}, null, /token/i],
		["no such module", (c) => {
			c.hsm.module = "/nonexistent.so";
		}, null, /module|nonexistent/i],
		["an unknown setting", (c) => {
			c.limits.quue = 5;
		}, null, /quue/],
		["a setting of the wrong type", (c) => {
			c.limits.queue = "many";
		}, null, /queue/],
		["a setting out of range", (c) => {
			c.limits.token_life_s = 5;
		}, null, /token_life_s/],
	];
	for (const [what, change, undo, message] of cases) {
		test(`${what}: refused, with a message that says so`, async () => {
			const how = await tryStart(d, change);
			undo?.(d.config);
			assert.ok(how.code > 0, JSON.stringify(how));
			assert.match(how.output, message);
			assert.ok(!how.output.includes(d.pin), "the PIN is not in the message");
		});
	}
	test("and the same state starts well afterwards", async () => {
		await d.restart();
	});
});

describe("the queue is full", () => {
	let d, s;
	before(async () => {
		d = await Daemon.start({ limits: { queue: 2 } });
		s = await populate(d);
	});
	after(() => d?.destroy());

	test("whoever has his answer may ask again at once, by whatever connection", async () => {
		const clients = [d.client(1), d.client(1)];
		for (let i = 0; i < 2000; i++) {
			const res = await d.call(s.vault, s.officer, "GET", "/keys", undefined, { client: clients[i % 2] });
			assert.equal(res.status, 200, `request ${i}: ${res.text}`);
		}
		clients.forEach((client) => client.close());
	});

	test("creates beyond the queue are 429 with Retry-After at once, and do not delay an unwrap", async () => {
		const clients = Array.from({ length: 16 }, () => d.client(1));
		const begun = Date.now();
		let firstRefusalMs;
		const creates = clients.map(async (client, i) => {
			const res = await d.call(s.vault, s.officer, "POST", `/keys/big${i}/create`, { kty: "RSA", key_size: 4096 }, { client });
			if (res.status === 429)
				firstRefusalMs ??= Date.now() - begun;
			return res;
		});
		await sleep(100);
		const times = [];
		for (let i = 0; i < 10; i++) {
			const t0 = Date.now();
			const res = await s.unwrap(s.keys[0], { client: d.client(1) });
			assert.equal(res.status, 200, res.text);
			times.push(Date.now() - t0);
		}
		const answers = await Promise.all(creates);
		clients.forEach((client) => client.close());
		const made = answers.filter((r) => r.status === 200);
		const throttled = answers.filter((r) => r.status === 429);
		assert.equal(made.length + throttled.length, answers.length, answers.map((r) => r.status).join(" "));
		assert.ok(made.length >= 1 && throttled.length >= 1, answers.map((r) => r.status).join(" "));
		for (const res of throttled) {
			assertError(res, 429, "Throttled");
			assert.equal(receipt(res), null);
		}
		assert.ok(firstRefusalMs < 1000, `the first refusal took ${firstRefusalMs} ms`);
		assert.ok(times.sort((a, b) => a - b)[5] < 500, `unwrap beside key generation: ${times.join(" ")} ms`);
		await until("the refusals are counted in the log", async () => {
			const counts = (await d.entries(0)).filter(({ leaf }) => ["log.gap", "authz.denied"].includes(leaf.type)).map(({ leaf }) => leaf.count ?? 0);
			return counts.reduce((sum, n) => sum + n, 0) >= throttled.length;
		}, 5000);
	});
});

describe("the disk is full", () => {
	test("fails closed, says so, and goes on by itself when there is room", async (t) => {
		const disk = tmpfs(24);
		if (!disk.dir)
			return t.skip(disk.reason);
		let d;
		try {
			d = await Daemon.start({ stateDir: path.join(disk.dir, "state") });
			const s = await populate(d);
			const filler = path.join(disk.dir, "filler");
			fillUp(filler);
			const refusal = await until("it refuses", async () => {
				const res = await s.unwrap(s.keys[0]);
				return res.status === 200 ? (fillUp(filler), null) : res;
			}, 30_000);
			assert.equal(refusal.status, 503, refusal.text);
			assert.match(refusal.headers["retry-after"] ?? "", /^[1-9]/);
			for (const key of s.keys)
				assert.equal(receipt(unavailable(await s.unwrap(key), "audit_unavailable")), null, "a receipt without a leaf");
			const health = await d.health();
			assert.equal(health.status, 503);
			assert.match(health.text, /audit/i);
			fs.rmSync(filler);
			await until("ready again", async () => (await d.health()).status === 200, BACK_MS);
			for (const key of s.keys)
				assert.equal((await s.unwrap(key)).json?.value, plain);
			const entries = await d.entries(0);
			assertOrder(entries, 0);
			assert.deepEqual(openIntents(entries), []);
			const gap = entries.find(({ leaf }) => leaf.type === "log.gap");
			assert.ok(gap?.leaf.count >= s.keys.length, `log.gap: ${gap?.text}`);
		} finally {
			await d?.destroy();
			disk.remove();
		}
		return undefined;
	});
});
