// Limits of vaults and principals: beyond them 429 with the seconds to wait, and nobody else notices.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Daemon, until } from "../support/daemon.mjs";
import { makeIdentity } from "../support/ekm.mjs";
import { Issuer } from "../support/issuer.mjs";

const AES = { kty: "oct", key_size: 256 };
const WINDOW_S = 10;

/** Call until it is refused. @return how many were let in before, and the refusal */
async function exhaust(call, most = 200) {
	for (let n = 0; n < most; n++) {
		const res = await call(n);
		if (res.status === 429)
			return { n, res };
		assert.equal(res.status, 200, res.text);
	}
	return assert.fail(`not refused in ${most}`);
}

function assertThrottled(res, words) {
	assert.equal(res.status, 429, res.text);
	assert.equal(res.json.error.code, "Throttled");
	assert.match(res.json.error.message, words);
	const seconds = Number(res.headers["retry-after"]);
	assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= WINDOW_S, `Retry-After: ${res.headers["retry-after"]}`);
	return seconds;
}

describe("of a vault", () => {
	const REQUESTS = 40, CREATES = 4;
	let d, quiet, other;

	/** A vault whose allowance is untouched but for one key. */
	async function makeNoisy(name) {
		const vault = await d.makeVault(name);
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		const admin = await d.makePrincipal(vault, "admin", ["administrator"]);
		await d.token(officer);
		await d.token(admin);
		await d.ok(vault, officer, "POST", "/keys/k/create", AES);
		return { vault, officer, admin };
	}

	before(async () => {
		d = await Daemon.start({ listen: { client_certificates: true }, limits: { vault_requests: REQUESTS, vault_creates: CREATES } });
		quiet = await d.makeVault("quiet");
		other = await d.makePrincipal(quiet, "officer", ["crypto-officer"]);
		await d.token(other);
	});
	after(() => d?.destroy());

	test("create, import, rotate and restore share one allowance; a backup takes of the other", async () => {
		const { vault, officer, admin } = await makeNoisy("creates");
		await d.ok(vault, officer, "POST", "/keys/k/rotate");
		const k = randomBytes(32).toString("base64url");
		await d.ok(vault, officer, "PUT", "/keys/imported", { key: { kty: "oct", k, key_ops: ["wrapKey"] } });
		const { value } = await d.ok(vault, officer, "POST", "/keys/k/backup");
		const restored = await d.call(vault, admin, "POST", "/keys/restore", { value });
		assert.equal(restored.status, 409, restored.text); // it exists; it counts nevertheless
		const refused = await d.call(vault, officer, "POST", "/keys/k2/create", AES);
		const seconds = assertThrottled(refused, /limit of this vault.*4 new key versions/);
		assert.ok(seconds <= Math.ceil(WINDOW_S / CREATES));
		await d.ok(vault, officer, "GET", "/keys/k"); // all else goes on
		await sleep(seconds * 1000); // who waits as long as he was told is let in
		await d.ok(vault, officer, "POST", "/keys/k2/create", AES);
	});

	test("everybody in the vault takes of the same allowance, and no other vault notices", async () => {
		const { vault, officer, admin } = await makeNoisy("together");
		const identity = makeIdentity(d.dir, "service", { subject: "together.service.example" });
		await d.makeService(vault, "service", { subjects: [identity.subject], roots: [identity.ca.cert], roles: ["reader"] });
		const service = d.client(1, { identity });
		const token = await d.token(admin);
		const calls = [() => d.call(vault, officer, "GET", "/keys/k"), () => d.call(vault, admin, "GET", "/keys/k"),
			() => d.call(vault, null, "GET", "/keys/k", undefined, { client: service }),
			() => d.http.request("GET", "/admin/v1/vaults/together", { token })];
		const { n, res } = await exhaust((i) => calls[i % calls.length]());
		assert.ok(n >= REQUESTS && n < 2 * REQUESTS, `${n} of ${REQUESTS}`);
		assertThrottled(res, /limit of this vault.*40 requests in 10 seconds/);
		const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => calls[i % calls.length]()));
		assert.ok(answers.filter((x) => x.status === 429).length >= 30);
		for (let i = 0; i < REQUESTS; i++)
			assert.equal((await d.call(quiet, other, "GET", "/keys")).status, 200);
		service.close();
	});

	test("strangers take nothing from it: no token, another vault's, a token that is none", async () => {
		const { vault, officer } = await makeNoisy("visited");
		const theirs = await d.token(other);
		for (let i = 0; i < REQUESTS * 3; i++) {
			const token = [undefined, theirs, "a.b.c"][i % 3];
			assert.equal((await d.call(vault, null, "GET", "/keys", undefined, { token })).status, 401);
		}
		const { n } = await exhaust(() => d.call(vault, officer, "GET", "/keys/k"));
		assert.ok(n >= REQUESTS, `${n} of ${REQUESTS}`);
	});

	test("nor does a principal that was disabled", async () => {
		const { vault, officer, admin } = await makeNoisy("disabled");
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${admin.client_id}/disable`);
		for (let i = 0; i < REQUESTS * 2; i++)
			assert.equal((await d.call(vault, admin, "GET", "/keys/k")).status, 401);
		await d.ok(vault, officer, "GET", "/keys/k");
	});

	test("the local socket and the token endpoint are not counted", async () => {
		const { vault, officer } = await makeNoisy("managed");
		await exhaust(() => d.call(vault, officer, "GET", "/keys/k"));
		for (let i = 0; i < REQUESTS * 2; i++)
			await d.adminOk("GET", `/admin/v1/vaults/${vault.name}`);
		for (let i = 0; i < 5; i++)
			await d.token(officer, { fresh: true });
	});

	test("refusals are counted in the log, not written one by one", async () => {
		const { vault, officer } = await makeNoisy("flooded");
		const from = await d.logSize();
		const answers = await Promise.all(Array.from({ length: 300 }, () => d.call(vault, officer, "GET", "/keys/k")));
		const refused = answers.filter((res) => res.status === 429).length;
		assert.ok(refused > 100, `${refused} refused`);
		await until("the gap is written", async () => {
			const gaps = (await d.entries(from)).filter((e) => e.leaf.type === "log.gap");
			return gaps.length < 20 && gaps.reduce((sum, e) => sum + (e.leaf.count ?? 0), 0) >= refused;
		}, 5000);
	});
});

describe("of callers whom an external issuer vouches for", () => {
	const REQUESTS = 30, OWN = 90;
	let d, dir, vault, officer, issuer;

	before(async () => {
		dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-issuer-"));
		issuer = new Issuer("entra", dir);
		d = await Daemon.start({ issuers: [issuer.config()], limits: { vault_requests: REQUESTS, principal_requests: OWN } });
		vault = await d.makeVault("orders");
		officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		await d.addIdentity(vault, await d.makePrincipal(vault, "app", ["reader"]), "entra", "known");
		await d.token(officer);
	});
	after(async () => {
		await d?.destroy();
		fs.rmSync(dir, { recursive: true, force: true });
	});

	test("who is unknown in a vault uses up what is his own, and nothing of the vault's", async () => {
		const token = issuer.token({ oid: "nobody", aud: d.origin });
		let refused = 0;
		for (let i = 0; i < OWN + 20; i++) {
			const res = await d.call(vault, null, "GET", "/keys", undefined, { token });
			refused += res.status === 429;
			if (res.status === 429)
				assertThrottled(res, /limit of this caller/);
			else
				assert.equal(res.status, 401, res.text);
		}
		assert.ok(refused > 0);
		await d.ok(vault, officer, "GET", "/keys");
	});

	test("who is known takes of the vault's, as any other", async () => {
		const token = issuer.token({ oid: "known", aud: d.origin });
		const { n, res } = await exhaust(() => d.call(vault, null, "GET", "/keys", undefined, { token }));
		assert.ok(n >= REQUESTS - 5 && n < 2 * REQUESTS, `${n} of ${REQUESTS}`);
		assertThrottled(res, /limit of this vault/);
		assertThrottled(await d.call(vault, officer, "GET", "/keys"), /limit of this vault/);
	});
});

describe("of a principal", () => {
	test("it has its own, and the others of its vault do not notice", async () => {
		const d = await Daemon.start({ limits: { principal_requests: 20, principal_creates: 2 } });
		try {
			const vault = await d.makeVault("orders");
			const noisy = await d.makePrincipal(vault, "noisy", ["crypto-officer"]);
			const quiet = await d.makePrincipal(vault, "quiet", ["crypto-officer"]);
			await d.token(noisy);
			await d.token(quiet);
			const creates = await exhaust((i) => d.call(vault, noisy, "POST", `/keys/k${i}/create`, AES));
			assert.equal(creates.n, 2);
			assertThrottled(creates.res, /limit of this caller.*2 new key versions/);
			const requests = await exhaust(() => d.call(vault, noisy, "GET", "/keys/k0"));
			assert.ok(requests.n >= 20 && requests.n < 40, `${requests.n}`);
			assertThrottled(requests.res, /limit of this caller.*20 requests/);
			await d.ok(vault, quiet, "POST", "/keys/k9/create", AES);
			await d.ok(vault, quiet, "GET", "/keys/k0");
			// What lies in no vault counts too.
			const status = await d.http.request("GET", "/admin/v1/status", { token: await d.token(noisy) });
			assertThrottled(status, /limit of this caller/);
		} finally {
			await d.destroy();
		}
	});
});
