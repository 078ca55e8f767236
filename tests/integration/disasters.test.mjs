// Destroyed, and then a copy comes back: the older database, the older token, both, everything. No key that was destroyed unwraps anything again; each time it is noticed, written
// down, explained in plain words, and there is a way out after which the dead are dead (spec/audit-log.md 11.4). Where nothing can notice it, `holdfast check` says so beforehand.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { clientsOf } from "../sdk/clients.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { KINDS, SETTLED_MS, Victim, plain } from "../support/destruction.mjs";
import { binaries } from "../support/paths.mjs";
import { both, tokenKeys } from "../support/token.mjs";
import { certificateFile, signedCertificates, verifyLog } from "../support/verify.mjs";
import { logVkey, makeWitness } from "../support/witness.mjs";

const HOUR_MS = 3_600_000;
const WITNESSED_MS = 15_000;
const PURGED = "oct"; // wrapped: its blob is all there is of it
const PURGED_RESIDENT = "oct-hsm";

class Disaster {
	/** A server with two vaults and its copy: afterwards one vault is shredded, and of the other two keys are purged. @param options  isWitnessed; isLive: copied in the midst of work */
	static async start(t, { isWitnessed = false, isLive = false } = {}) {
		const s = new Disaster();
		const d = await Daemon.start({ log: { interval_ms: 100, pin_s: 1 } });
		t.after(() => d.destroy());
		s.d = d;
		s.approver = (await d.adminOk("POST", "/admin/v1/principals", { name: "second" })).json;
		await d.adminOk("POST", "/admin/v1/roles/grant", { principal: s.approver.client_id, role: "approver" });
		if (isWitnessed)
			await s.#addWitness(t);
		s.dead = await Victim.make(d, "ended", { kinds: ["oct", "oct-hsm"] });
		s.alive = await Victim.make(d, "goes-on", { kinds: [PURGED, PURGED_RESIDENT, "rsa"] });
		await s.#copy(isLive);
		await s.#destroy();
		return s;
	}

	async #addWitness(t) {
		const { d } = this;
		this.witness = await makeWitness(d, "w1", [await logVkey(d)]);
		t.after(() => this.witness.stop());
		await d.stop();
		d.config.log.witnesses = [{ key: this.witness.vkey, url: this.witness.url, ca: d.ca.cert }];
		d.writeConfig();
		await d.restart();
	}

	#copyName(dir) {
		return path.join(this.d.dir, `copy-${path.basename(dir)}`);
	}

	/** As a snapshot of the machine has it; a live one in the midst of its work. */
	async #copy(isLive) {
		const { d } = this;
		if (isLive)
			await d.kill9();
		else
			await d.stop();
		for (const dir of [d.stateDir, d.tokenDir])
			fs.cpSync(dir, this.#copyName(dir), { recursive: true });
		await d.restart();
	}

	async #destroy() {
		const { d, alive, dead } = this;
		await d.shred(dead.vault);
		for (const key of [PURGED, PURGED_RESIDENT]) {
			await d.ok(alive.vault, alive.officer, "DELETE", `/keys/${key}`);
			const res = await d.call(alive.vault, alive.officer, "DELETE", `/deletedkeys/${key}`);
			assert.equal(res.status, 204, res.text);
		}
		this.certificates = (await signedCertificates(d, 1 + 2, SETTLED_MS)).map((id) => certificateFile(d, id));
		await this.assertDead();
		const size = await d.logSize();
		if (this.witness)
			await until("the witness knows all of it", async () => Object.values(await this.witness.remembered()).some((l) => Number(l.size) >= size), WITNESSED_MS);
		await d.stop();
	}

	/** @param what  "database" and "token" */
	putBack(...what) {
		const { d } = this;
		if (what.includes("database")) {
			for (const name of fs.readdirSync(d.stateDir).filter((n) => n.startsWith("holdfast.db")))
				fs.rmSync(path.join(d.stateDir, name));
			for (const name of fs.readdirSync(this.#copyName(d.stateDir)).filter((n) => n.startsWith("holdfast.db")))
				fs.copyFileSync(path.join(this.#copyName(d.stateDir), name), path.join(d.stateDir, name));
		}
		if (what.includes("token"))
			this.#putBackDir(d.tokenDir);
	}

	putBackAll() {
		this.#putBackDir(this.d.stateDir);
		this.#putBackDir(this.d.tokenDir);
	}

	#putBackDir(dir) {
		fs.rmSync(dir, { recursive: true });
		fs.cpSync(this.#copyName(dir), dir, { recursive: true });
	}

	/** holdfast ARGS. @return {{code, text}} */
	say(...args) {
		const res = spawnSync(binaries.cli, ["--socket", this.d.socket, ...args], { encoding: "utf8", env: this.d.env });
		return { code: res.status, text: res.stdout + res.stderr };
	}

	/** With the official client, and a token that was issued while the key lived: no destroyed key unwraps anything. @param statuses  what is answered */
	async assertDead(statuses = [401, 403, 404]) {
		const { d, dead, alive } = this;
		for (const [victim, kinds] of [[dead, Object.keys(KINDS)], [alive, [PURGED, PURGED_RESIDENT]]]) {
			const token = await d.token(victim.officer);
			const client = clientsOf(victim.vault, { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + HOUR_MS }) });
			for (const { kind, version, alg, value } of victim.wrapped.filter((w) => kinds.includes(w.kind)))
				await assert.rejects(client.crypto(`${victim.vault.origin}/keys/${kind}/${version}`).unwrapKey(alg, Buffer.from(value, "base64url")),
					(err) => statuses.includes(err.statusCode) || assert.fail(`${victim.vault.name}/${kind}: ${err.statusCode} ${err.name} ${err.message}`));
		}
	}

	/** Noticed, refused, and explained. @param why  what the server says of itself */
	async assertNoticed(why) {
		const { d } = this;
		assert.equal((await d.health()).status, 503);
		const { audit } = (await d.adminOk("GET", "/admin/v1/status")).json;
		assert.equal(audit.state, "rolled_back");
		assert.match(audit.why, why);
		await this.assertDead([401, 403, 404, 503]);
		for (const wrapped of this.alive.wrapped) {
			const res = await this.alive.unwrap(wrapped);
			assert.equal(res.status, 503, `nothing is served: ${res.text}`);
			assert.match(res.text, /accept-rollback/);
		}
		const status = this.say("status");
		assert.match(status.text, why, "holdfast status says why");
		const check = this.say("check");
		assert.equal(check.code, 1, check.text);
		assert.match(check.text, /^bad/m);
		assert.match(check.text, /certificate enforce|accept-rollback/, "and what to do");
		const types = (await d.entries(0)).map(({ leaf }) => leaf.type);
		assert.ok(types.includes("log.integrity_failed"), "it is written down");
	}

	/** holdfast certificate enforce: what was destroyed is destroyed again. @return how much of it was back */
	async enforce() {
		let revived = 0;
		for (const file of this.certificates)
			revived += (await this.d.cli("certificate", "enforce", file)).revived;
		return revived;
	}

	/** The installation's people accept what is lost; the next log begins. */
	async accept() {
		const { d } = this;
		const ask = () => d.admin("POST", "/admin/v1/log/accept", { reason: "a copy was put back" });
		const asked = await ask();
		assert.equal(asked.status, 403, asked.text);
		const vote = await d.http.request("POST", `/admin/v1/approvals/${asked.json.error.innererror.approval}/approve`,
			{ token: await d.token(this.approver, { fresh: true }), body: {} });
		assert.equal(vote.status, 200, vote.text);
		const res = await ask();
		assert.equal(res.status, 200, res.text);
		await d.stop();
		await d.restart();
		assert.equal((await d.adminOk("GET", "/admin/v1/status")).json.audit.state, "good");
	}

	/** The dead are dead, the living live, and the log that says so is sound; after another start too. */
	async assertWayOut() {
		const { d, dead, alive } = this;
		await this.assertDead();
		assert.equal(await dead.state(), "shredded");
		assert.deepEqual([...dead.left()], [], "objects of the shredded vault");
		for (const key of [PURGED, PURGED_RESIDENT])
			for (const where of ["keys", "deletedkeys"])
				assert.equal((await d.call(alive.vault, alive.officer, "GET", `/${where}/${key}`)).status, 404, `${where}/${key}`);
		const rsa = alive.wrapped.find((w) => w.kind === "rsa");
		const res = await alive.unwrap(rsa);
		assert.equal(res.json?.value, plain, res.text);
		await until("a checkpoint", async () => (await d.admin("GET", "/audit/v1/checkpoint")).status === 200);
		const { code, out } = await verifyLog(d);
		assert.equal(code, 0, out);
		/* And once more: nothing is left that the next start would have to complain of. */
		await d.stop();
		await d.restart();
		await this.assertDead();
	}

	async count(type) {
		return (await this.d.entries(0)).filter(({ leaf }) => leaf.type === type).length;
	}
}

describe("after a shred and two purges", { concurrency: 3 }, () => {
	test("an older database: noticed, and what it revives dies again by the certificates", async (t) => {
		const s = await Disaster.start(t);
		s.putBack("database");
		await s.d.restart({ ready: false });
		await s.assertNoticed(/older/);
		assert.ok(await s.enforce() > 0, "the rows were back");
		await s.assertDead([401, 403, 404, 503]);
		assert.equal(await s.enforce(), 0, "once is enough");
		await s.accept();
		await s.assertWayOut();
	});

	test("an older token: noticed, and what it revives dies again before anything is served", async (t) => {
		const s = await Disaster.start(t);
		s.putBack("token");
		assert.ok(s.dead.left().size > 0, "the objects are back");
		await s.d.restart({ ready: false });
		assert.deepEqual([...s.dead.left()], [], "and gone again");
		assert.ok(await s.count("tenant.resurrected") >= s.dead.files.size, "each is written down");
		await s.assertNoticed(/token|device|pin/);
		await s.accept();
		await s.assertWayOut();
	});

	test("both, with a witness, and a copy of everything, as of a machine that was running: noticed, and what is back dies by the certificates", async (t) => {
		const s = await Disaster.start(t, { isWitnessed: true, isLive: true });
		s.putBack("database", "token");
		await s.d.restart({ ready: false });
		await s.assertNoticed(/witness/);
		assert.ok(s.dead.left().size > 0, "nobody here knows that they are dead");
		await s.d.stop();
		s.putBackAll();
		await s.d.restart({ ready: false });
		await s.assertNoticed(/witness/);
		assert.ok(await s.enforce() > 0);
		assert.deepEqual([...s.dead.left()], [], "now they are");
		await s.accept();
		await s.assertWayOut();
	});

	test("both without a witness: not noticed, as `holdfast check` has said; the certificates bring death back even so", async (t) => {
		const s = await Disaster.start(t);
		await s.d.restart();
		assert.match(s.say("check").text, /warn +witness .*cannot be noticed/);
		await s.d.stop();
		s.putBack("database", "token");
		await s.d.restart();
		for (const wrapped of s.dead.wrapped)
			assert.equal((await s.dead.unwrap(wrapped)).json?.value, plain, "this is what a witness is for");
		assert.ok(await s.enforce() > 0);
		assert.ok(await s.count("tenant.resurrected") > 0);
		assert.deepEqual([...both(tokenKeys(s.d.tokenDir), s.dead.files)], []);
		await s.assertWayOut();
	});
});
