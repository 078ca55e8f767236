// Nobody in front of anybody: one tenant's flood delays neither another tenant nor the administrators; the local socket admits whom it should.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { API_VERSION, Daemon } from "../support/daemon.mjs";
import { binaries } from "../support/paths.mjs";

const NOBODY = 65534;
const STRANGER = 65533;

describe("one tenant floods the key generation", () => {
	let d, greedy, flooder, victim, officer;

	before(async () => {
		d = await Daemon.start({ limits: { queue: 6, token_life_s: 3600 } });
		greedy = await d.makeVault("greedy");
		flooder = await d.makePrincipal(greedy, "flooder", ["crypto-officer"]);
		victim = await d.makeVault("victim");
		officer = await d.makePrincipal(victim, "officer", ["crypto-officer"]);
		await d.token(flooder);
		await d.token(officer);
	});
	after(() => d?.destroy());

	test("it gets 429 for what exceeds its share; others still create, and a vault is shredded meanwhile", async () => {
		const flood = Array.from({ length: 12 }, (_, i) => d.call(greedy, flooder, "POST", `/keys/big${i}/create`, { kty: "RSA", key_size: 4096 }));
		const created = d.call(victim, officer, "POST", "/keys/small/create", { kty: "oct-HSM" });
		const began = process.hrtime.bigint();
		const other = await d.makeVault("doomed");
		await d.shred(other);
		const shredMs = Number((process.hrtime.bigint() - began) / 1_000_000n);
		const answers = await Promise.all(flood);
		const throttled = answers.filter((x) => x.status === 429);
		assert.ok(throttled.length >= 12 - 4, `${throttled.length} of 12 were throttled`);
		for (const x of throttled)
			assert.match(x.headers["retry-after"], /^[1-9][0-9]*$/);
		assert.ok(answers.some((x) => x.status === 200));
		assert.equal((await created).status, 200, "the other tenant was let in");
		const floodMs = Number((process.hrtime.bigint() - began) / 1_000_000n);
		assert.ok(shredMs < floodMs, `the shred took ${shredMs} ms, the flood ${floodMs} ms: it did not wait for it`);
	});
});

describe("one tenant keeps the lanes busy", () => {
	const OTHERS = 60;
	const SIGNS = 300;
	const SOCKETS = 20; // connected at a time: a handshake must not wait until it is cut
	let d, greedy, flooder, victim, officer;

	before(async () => {
		d = await Daemon.start();
		greedy = await d.makeVault("greedy");
		flooder = await d.makePrincipal(greedy, "flooder", ["crypto-officer", "crypto-user"]);
		victim = await d.makeVault("victim");
		officer = await d.makePrincipal(victim, "officer", ["crypto-officer", "crypto-user"]);
		await d.ok(greedy, flooder, "POST", "/keys/k/create", { kty: "RSA", key_size: 4096 });
		await d.ok(victim, officer, "POST", "/keys/k/create", { kty: "EC" });
	});
	after(async () => {
		await d?.kill9(); // what is queued would be worked off first
		await d?.destroy();
	});

	/** Start calls that will take long; `answered` counts. */
	function flood(count, one) {
		const state = { answered: 0 };
		state.first = Promise.any(Array.from({ length: count }, (_, i) => one(i).then((res) => {
			assert.equal(res.status, 200, res.text);
			state.answered++;
		})));
		return state;
	}

	const digest = Buffer.alloc(32, 1).toString("base64url");

	test("signatures: another's are made meanwhile, and whoever wants to can log in", async () => {
		const clients = Array.from({ length: SIGNS / SOCKETS }, () => d.client(SOCKETS));
		for (const client of clients)
			await Promise.all(Array.from({ length: SOCKETS }, () => d.ok(greedy, flooder, "GET", "/keys/k", undefined, { client })));
		const all = flood(SIGNS, (i) => d.call(greedy, flooder, "POST", "/keys/k/sign", { alg: "RS256", value: digest },
			{ client: clients[i % clients.length] }));
		await all.first;
		await Promise.all([
			d.token(officer, { fresh: true }),
			d.ok(victim, officer, "POST", "/keys/k/sign", { alg: "ES256", value: digest }),
		]);
		assert.ok(all.answered < SIGNS / 2, `answered after ${all.answered} of ${SIGNS} of the flood`);
		for (const client of clients)
			client.close();
	});

	test("large keys: another's key waits for about two of them, not for all", async () => {
		const client = d.client(OTHERS);
		const all = flood(OTHERS, (i) => d.call(greedy, flooder, "POST", `/keys/big${i}/create`, { kty: "RSA", key_size: 3072 }, { client }));
		await all.first;
		const answered = all.answered;
		await Promise.all([
			d.token(officer, { fresh: true }),
			d.ok(victim, officer, "POST", "/keys/small/create", { kty: "EC" }),
		]);
		// The one under way, the one whose turn it was, and one that was answered at the same moment.
		assert.ok(all.answered - answered <= 3, `${all.answered - answered} of the others came first`);
	});
});

describe("one tenant sends large bodies and does not finish them", () => {
	const LARGE = 2 << 20;
	const STALLED = 40;
	const KEPT = 4; // 8 MiB of one directory
	const CREATES = 40;
	let d, greedy, reader, victim, officer;

	before(async () => {
		d = await Daemon.start({ limits: { vault_creates: CREATES } });
		greedy = await d.makeVault("greedy");
		reader = await d.makePrincipal(greedy, "reader", ["reader"]);
		victim = await d.makeVault("victim");
		officer = await d.makePrincipal(victim, "officer", ["crypto-officer"]);
		await d.token(officer);
	});
	after(() => d?.destroy());

	const peakKib = () => Number(/^VmHWM:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${d.child.pid}/status`, "utf8"))[1]);

	/** A restore that stops before its last byte, which finish() sends. Resolves when the server has admitted it. */
	function stall(vault, token) {
		return new Promise((resolve, reject) => {
			const { hostname } = new URL(vault.origin);
			const socket = tls.connect({ host: "127.0.0.1", port: d.port, servername: hostname, ca: d.caPem });
			let text = "";
			const status = new Promise((answered) => {
				socket.on("data", (chunk) => {
					text += chunk.toString("latin1");
					if (text.startsWith("HTTP/1.1 100 Continue\r\n\r\n")) {
						text = text.slice("HTTP/1.1 100 Continue\r\n\r\n".length);
						socket.write(Buffer.alloc(LARGE - 1, "A"), () => resolve({ status, finish: () => socket.write("A") }));
					}
					const line = /^HTTP\/1.1 ([2-5]\d\d)/.exec(text);
					if (line) {
						answered(Number(line[1]));
						socket.destroy();
					}
				});
			});
			socket.on("error", reject);
			socket.write(`POST /keys/restore?api-version=${API_VERSION} HTTP/1.1\r\nHost: ${hostname}:${d.port}\r\nAuthorization: Bearer ${token}\r\n` +
				`Content-Type: application/json\r\nContent-Length: ${LARGE}\r\nExpect: 100-continue\r\n\r\n`);
		});
	}

	const body = { value: "A".repeat(1 << 20) };

	test("few are kept, the others get 429, and memory stays as it is; other tenants are served", async () => {
		const token = await d.token(reader);
		const startKib = peakKib();
		const stalled = await Promise.all(Array.from({ length: STALLED }, () => stall(greedy, token)));
		const other = await d.call(victim, officer, "POST", "/keys/restore", body);
		assert.equal(other.status, 400, other.text); // no backup, but read
		for (const s of stalled)
			s.finish();
		const statuses = await Promise.all(stalled.map((s) => s.status));
		assert.equal(statuses.filter((s) => s === 403).length, KEPT, `${statuses}`);
		assert.equal(statuses.filter((s) => s === 429).length, STALLED - KEPT, `${statuses}`);
		const grownMib = (peakKib() - startKib) / 1024;
		assert.ok(grownMib < 40, `the daemon grew by ${grownMib} MiB`);
	});

	test("the room that a body took is given back with its answer", async () => {
		for (let i = 0; i < 2 * KEPT * (LARGE / body.value.length); i++)
			assert.equal((await d.call(greedy, reader, "POST", "/keys/restore", body)).status, 403);
	});

	test("what was not even read takes nothing of the vault's allowance", async () => {
		const vault = await d.makeVault("counted");
		const sender = await d.makePrincipal(vault, "sender", ["reader"]);
		const maker = await d.makePrincipal(vault, "maker", ["crypto-officer"]);
		const token = await d.token(sender);
		await d.token(maker);
		const stalled = await Promise.all(Array.from({ length: KEPT }, () => stall(vault, token)));
		for (let i = 0; i < 3 * CREATES; i++) {
			const res = await d.call(vault, sender, "POST", "/keys/restore", body);
			assert.equal(res.status, 429);
			assert.doesNotMatch(res.text, /limit of this/);
		}
		await d.ok(vault, maker, "POST", "/keys/k/create", { kty: "oct-HSM" });
		for (const s of stalled)
			s.finish();
		assert.deepEqual(await Promise.all(stalled.map((s) => s.status)), stalled.map(() => 403));
	});
});

describe("the local socket", { skip: process.getuid() !== 0 && "needs root, to act as other users" }, () => {
	let d, cli;
	before(async () => {
		d = await Daemon.start({ admin: { uids: [NOBODY] } });
		cli = path.join(d.dir, "holdfast"); // the checkout may lie where other users cannot look
		fs.copyFileSync(binaries.cli, cli);
		fs.chmodSync(cli, 0o755);
		execFileSync("chmod", ["711", d.dir, path.dirname(d.socket)]);
	});
	after(() => d?.destroy());

	const as = (uid) => spawnSync(cli, ["--socket", d.socket, "--json", "vault", "list"], { uid, gid: uid, encoding: "utf8" });

	test("serves the users that the configuration lists, and no others", () => {
		const listed = as(NOBODY);
		assert.equal(listed.status, 0, listed.stderr);
		const other = as(STRANGER);
		assert.equal(other.status, 2, other.stdout + other.stderr);
		assert.match(other.stderr, /admin\.uids/);
	});
});
