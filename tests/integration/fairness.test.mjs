// Nobody in front of anybody: one tenant's flood delays neither another tenant nor the administrators; the local socket admits whom it should.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Daemon } from "../support/daemon.mjs";
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
		await d.cli("vault", "shred", other.name, "--reason", "test", "--yes");
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
