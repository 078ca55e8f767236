// Rotation, near expiry and expiry by themselves, in a real daemon whose clock is moved: by days, by a year, backwards; with kill -9 and restarts in between.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sdk } from "../sdk/clients.mjs";
import { DAY_S, DaemonClock, noClock } from "../support/clock.mjs";
import { Daemon, tryStart, until } from "../support/daemon.mjs";
import { openIntents } from "../support/log.mjs";
import { verifyLog } from "../support/verify.mjs";

const SOON_MS = 12_000; // longer than from one look of the server to the next
const KILLS = 2;
const WEEKLY = { lifetimeActions: [{ trigger: { timeAfterCreate: "P7D" }, action: { type: "Rotate" } }], attributes: {} };

/** A daemon with a clock of its own, a vault, and somebody who may do everything with its keys. */
class Rig {
	static async start(name) {
		const rig = new Rig();
		rig.clock = new DaemonClock();
		rig.d = await Daemon.start({ daemonEnv: rig.clock.env });
		rig.vault = await rig.d.makeVault(name);
		rig.officer = await rig.d.makePrincipal(rig.vault, "officer", ["crypto-officer"]);
		rig.marks = 0;
		rig.known = [];
		return rig;
	}

	async end() {
		await this.d.destroy();
		this.clock.remove();
	}

	/** As the officer, with a token of the daemon's present time. */
	async ok(method, path, body) {
		return this.d.ok(this.vault, this.officer, method, path, body, { token: await this.d.token(this.officer, { fresh: true }) });
	}

	/** The officer's secret has ended as well. */
	async renew() {
		const res = await this.d.adminOk("POST", `/admin/v1/vaults/${this.vault.name}/principals/${this.officer.client_id}/credentials/secrets`, { kind: "secret", days: 300 });
		this.officer.secret = res.json.secret;
	}

	async versions(key) {
		return (await this.ok("GET", `/keys/${key}/versions`)).value.length;
	}

	/** The whole log; only what is new is read. */
	async log() {
		this.known.push(...await this.d.entries(this.known.length));
		return this.known;
	}

	/** [leaf] of one type about one key, without intents. */
	async leaves(type, key) {
		return (await this.log()).map(({ leaf }) => leaf).filter((l) => l.type === type && l.phase !== "intent" && (key === undefined || l.key?.name === key));
	}

	/** Returns when the scheduler has looked at everything that is due at this moment: a key whose end has passed says so, and it was the last to become due. */
	async looked() {
		const key = `mark-${this.marks++}`;
		await this.ok("POST", `/keys/${key}/create`, { kty: "EC", attributes: { exp: this.clock.now() - 1 } });
		this.clock.set(this.clock.offsetS + 5); // a clock that was set is a reason to look at once
		await until(`a look at ${key}`, async () => (await this.leaves("key.expire", key)).length === 1, SOON_MS);
	}
}

describe("the scheduler", { concurrency: true, skip: noClock }, () => {
	test("a clock that is moved while the server runs", async () => {
		const rig = await Rig.start("moving");
		const { d, clock } = rig;
		try {
			await rig.ok("POST", "/keys/weekly/create", { kty: "EC" });
			await rig.ok("PUT", "/keys/weekly/rotationpolicy", WEEKLY);
			await rig.ok("POST", "/keys/ending/create", { kty: "EC", attributes: { exp: clock.now() + 90 * DAY_S } });
			await rig.looked();
			assert.equal(await rig.versions("weekly"), 1);

			clock.set(8 * DAY_S);
			await until("a rotation after eight days", async () => await rig.versions("weekly") === 2, SOON_MS);
			const latest = await sdk(d, rig.vault, rig.officer).keys.getKey("weekly");
			assert.ok(Math.abs(latest.properties.createdOn.getTime() / 1000 - clock.now()) < 60, "the official client sees the new version");
			const [rotated, ...more] = await rig.leaves("key.rotate");
			assert.deepEqual(more, []);
			assert.deepEqual([rotated.result, rotated.actor, rotated.det.due, rotated.key.ver], ["ok", { kind: "system" }, 1, latest.properties.version]);

			clock.set(373 * DAY_S); // nobody was there for a year: each once
			await rig.renew();
			await until("another after a year", async () => await rig.versions("weekly") === 3, SOON_MS);
			await rig.looked();
			assert.equal(await rig.versions("weekly"), 3);
			assert.equal((await rig.leaves("key.near_expiry", "ending")).length, 1);
			assert.equal((await rig.leaves("key.expire", "ending")).length, 1);

			clock.set(8 * DAY_S); // and back
			await rig.looked();
			assert.equal(await rig.versions("weekly"), 3);
			clock.set(16 * DAY_S); // a week after that was noticed
			await until("a rotation that does not wait for a year", async () => await rig.versions("weekly") === 4, SOON_MS);
			await rig.looked();
			assert.equal(await rig.versions("weekly"), 4);
			assert.equal((await rig.leaves("key.rotate")).length, 3);
			assert.equal((await rig.leaves("key.near_expiry", "ending")).length, 1);
			assert.equal((await rig.leaves("key.expire", "ending")).length, 1);
			const verified = await verifyLog(d);
			assert.equal(verified.code, 0, verified.out);
		} finally {
			await rig.end();
		}
	});

	test("kill -9 in the middle, restarts, and a start with a clock that was set back", async () => {
		const rig = await Rig.start("killed");
		const { d, clock } = rig;
		const keys = Array.from({ length: 4 }, (_, i) => `k${i}`);
		try {
			for (const key of keys) {
				await rig.ok("POST", `/keys/${key}/create`, { kty: "EC-HSM" });
				await rig.ok("PUT", `/keys/${key}/rotationpolicy`, WEEKLY);
			}
			await rig.looked();

			const told = async () => (await rig.log()).filter(({ leaf }) => leaf.type === "key.rotate").length;
			const all = async () => (await rig.leaves("key.rotate")).filter((l) => l.result === "ok").length === keys.length;
			for (let kill = 0; kill < KILLS; kill++) {
				const before = await told();
				clock.set(8 * DAY_S + kill * 3600); // what was interrupted is tried again within the hour
				await until("a rotation", async () => await told() > before || all(), SOON_MS); // a quick machine may be through with them before the first kill
				await d.kill9();
				await d.restart();
			}
			clock.set(9 * DAY_S);
			await until("all are rotated", all, SOON_MS);
			const { offsetS } = clock;
			await d.stop();
			clock.set(0);
			const refused = await tryStart(d);
			assert.notEqual(refused.code, 0);
			assert.match(refused.output, /the clock stands/);
			clock.set(offsetS);
			await d.restart();
			await rig.looked();
			for (const key of keys) {
				assert.equal(await rig.versions(key), 2, `${key} has been rotated once`);
				assert.equal((await rig.leaves("key.rotate", key)).filter((l) => l.result === "ok").length, 1);
			}
			assert.deepEqual(openIntents(await rig.log()), []);
			const verified = await verifyLog(d);
			assert.equal(verified.code, 0, verified.out);
		} finally {
			await rig.end();
		}
	});
});
