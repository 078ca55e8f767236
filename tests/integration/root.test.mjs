// Root rotation while the vault is used: callers with the official client wrap, unwrap and sign all the while, new keys are made, and not one request fails; what was wrapped
// before can be read afterwards. The old root dies with a leaf and an intent of its own, and the whole log is in order.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { sdk } from "../sdk/clients.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { openIntents } from "../support/log.mjs";
import { verifyLog } from "../support/verify.mjs";

const CALLERS = 4;
const WRAPPED = 32; // versions that are there to be rewrapped, besides those in use
const ROTATIONS = 2;
const WAITS_FOR_APPROVAL = 5; // exit code of the command line
const ROTATED_MS = 30_000;
let d;

before(async () => {
	d = await Daemon.start({ limits: { queue: 256 } });
});
after(() => d?.destroy());

const show = async (vault) => (await d.adminOk("GET", `/admin/v1/vaults/${vault.name}`)).json;
const rotate = (vault) => d.approved(vault, () => d.admin("POST", `/admin/v1/vaults/${vault.name}/rotate-root`, { reason: "yearly" }));
const rotated = (vault) => until("the root is rotated", async () => !("next_root" in await show(vault)), ROTATED_MS);

/** A vault with somebody who manages it, an approver, and keys of each type with something wrapped under them. */
async function scene(name) {
	const vault = await d.makeVault(name);
	const officer = await d.makePrincipal(vault, "officer", ["administrator"]);
	const client = sdk(d, vault, officer);
	const rsa = await client.keys.createRsaKey("rsa", { keySize: 2048 });
	const ec = await client.keys.createEcKey("ec", { curve: "P-256" });
	const oct = await client.keys.importKey("oct", { kty: "oct", k: randomBytes(32), keyOps: ["wrapKey", "unwrapKey"] }, { hardwareProtected: false });
	await Promise.all(Array.from({ length: WRAPPED }, (_, i) => d.ok(vault, officer, "POST", `/keys/idle-${i}/create`, { kty: "EC" })));
	return { vault, officer, client, rsa, ec, oct };
}

/** One caller, until it is told to stop: each answer must be right. @return the number of calls */
async function call({ client, rsa, ec, oct }, isOver) {
	const plain = randomBytes(32);
	const unwraps = [[client.remote(rsa), "RSA-OAEP-256"], [client.remote(oct), "A256KW"]];
	const digest = randomBytes(32);
	let calls = 0;
	while (!isOver()) {
		for (const [crypto, alg] of unwraps) {
			const { result } = await crypto.wrapKey(alg, plain);
			assert.deepEqual(Buffer.from((await crypto.unwrapKey(alg, result)).result), plain);
		}
		const signer = client.remote(ec);
		const { result } = await signer.sign("ES256", digest);
		assert.equal((await signer.verify("ES256", digest, result)).result, true);
		calls += 2 * unwraps.length + 2;
	}
	return calls;
}

describe("root rotation", () => {
	test("under load, again and again: no request fails, new keys are made meanwhile, and the log is in order", async () => {
		const s = await scene("rotating");
		const kept = await s.client.remote(s.rsa).wrapKey("RSA-OAEP-256", Buffer.from("kept for later"));
		const from = await d.logSize();
		let isOver = false, made = 0;
		const calls = Array.from({ length: CALLERS }, () => call(s, () => isOver));
		const maker = (async () => {
			for (; !isOver; made++)
				await d.ok(s.vault, s.officer, "POST", `/keys/new-${made}/create`, { kty: "EC" });
		})();
		const roots = [(await show(s.vault)).root];
		try {
			for (let i = 0; i < ROTATIONS; i++) {
				const res = await rotate(s.vault);
				assert.equal(res.status, 202, res.text);
				assert.equal(res.json.root, roots.at(-1));
				assert.notEqual(res.json.next_root, roots.at(-1));
				await rotated(s.vault);
				roots.push((await show(s.vault)).root);
				assert.equal(roots.at(-1), res.json.next_root);
			}
		} finally {
			isOver = true;
		}
		await maker;
		assert.ok((await Promise.all(calls)).reduce((a, b) => a + b) > 10 * CALLERS, "there was hardly any load");
		assert.ok(made > 0);
		assert.equal(Buffer.from((await s.client.remote(s.rsa).unwrapKey("RSA-OAEP-256", kept.result)).result).toString(), "kept for later");
		for (const name of ["idle-0", `idle-${WRAPPED - 1}`, "new-0", `new-${made - 1}`])
			assert.equal((await d.call(s.vault, s.officer, "POST", `/keys/${name}/sign`, { alg: "ES256", value: randomBytes(32).toString("base64url") })).status, 200);

		const entries = await d.entries(from);
		const leaves = entries.map((e) => e.leaf);
		const uses = leaves.filter((l) => ["key.wrap", "key.unwrap", "key.sign"].includes(l.type));
		assert.deepEqual(uses.filter((l) => l.result !== "ok"), []);
		const died = leaves.filter((l) => l.type === "key.destroy" && l.phase === "outcome" && l.result === "ok").map((l) => l.det.root);
		assert.deepEqual(died, roots.slice(0, -1));
		const ends = leaves.filter((l) => l.type === "tenant.rotate_root" && l.phase === "outcome");
		assert.deepEqual(ends.map((l) => l.result), Array(ROTATIONS).fill("ok"));
		assert.equal(leaves.filter((l) => l.type === "node.recovered").length, 0, "a rotation is no recovery");
		assert.deepEqual(openIntents(await d.entries(0)), []);
		await verifyLog(d);
	});

	test("by the command line: asked for, approved by another, waited for; backups from before have ended with the root", async () => {
		const { vault, officer } = await scene("by-hand");
		const approver = await d.makePrincipal(vault, "approver", ["approver"]);
		const backup = await d.ok(vault, officer, "POST", "/keys/idle-0/backup");
		const before_ = await show(vault);
		const ask = () => d.cli("vault", "rotate-root", vault.name, "--reason", "an operator has left");
		const asked = await ask().then(() => assert.fail("rotated by one"), (err) => err);
		assert.equal(asked.exitCode, WAITS_FOR_APPROVAL);
		const [request] = (await d.cli("approval", "list", vault.name)).value;
		assert.match(await d.cliText("approval", "show", vault.name, request.id), /^Replace the root key of the vault by-hand: .* the old root is destroyed, for ever\..* a new one is needed at once\./);
		const [id] = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(asked.stderr);
		assert.equal((await d.vote(vault, approver, id)).status, 200);
		const done = await ask();
		assert.notEqual(done.root, before_.root);
		assert.equal(done.next_root, undefined);
		await d.ok(vault, officer, "DELETE", "/keys/idle-0");
		await d.call(vault, officer, "DELETE", "/deletedkeys/idle-0");
		const res = await d.call(vault, officer, "POST", "/keys/restore", backup);
		assert.equal(res.status, 400, res.text);
		assert.match(res.json.error.message, /root key has been replaced/);
	});

	test("only who manages the vault may ask for it", async () => {
		const vault = await d.makeVault("not-yours");
		const user = await d.makePrincipal(vault, "user", ["crypto-officer"]);
		const res = await d.http.request("POST", `/admin/v1/vaults/${vault.name}/rotate-root`, { token: await d.token(user), body: { reason: "curious" } });
		assert.equal(res.status, 403, res.text);
	});
});
