// Destruction, interrupted: kill -9, the token taken away, the disk full, at each durable step (tests/support/stepper.c counts them). Afterwards all of it is at an end, nothing
// that was destroyed is there, the log says each thing once, and no certificate speaks of what did not happen.
// Every so many steps, others each day; HOLDFAST_FAULTS=all: each one (make endurance).
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { SETTLED_MS, Victim, assertEachDied, objectsInLog, plain } from "../support/destruction.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { openIntents } from "../support/log.mjs";
import { Stepper, stepsOf } from "../support/stepper.mjs";
import { both, minus, tokenKeys } from "../support/token.mjs";
import { certificatesOf, signedCertificates, verifyWithCertificates } from "../support/verify.mjs";

const COUNTED = 2; // uninterrupted, to count their steps
const SHRED_KILLS = 4;
const OTHER_KILLS = 1;
const ROTATION_KILLS = 2;
const BACKUP_KILLS = 2;
const AWAYS = 1;
const FULLS = 1;

/** A daemon that is stepped, and what runs an act to a step of it. */
async function stepped(t, options = {}) {
	const stepper = new Stepper();
	const d = await Daemon.start({ ...options, log: { interval_ms: 500, late_ms: 1000, ...options.log }, daemonEnv: stepper.env });
	t.after(async () => {
		stepper.end();
		await d.destroy();
		stepper.remove();
	});
	return { d, stepper };
}

/** About `wanted` of the steps. */
const some = (count, wanted) => stepsOf(count, Math.ceil(count / wanted));

/** The steps of an act that is done more than once: what the server does by itself meanwhile comes on top, now more, now less. */
async function countSteps(stepper, acts) {
	const counts = [];
	for (const act of acts)
		counts.push(await stepper.count(act));
	return Math.min(...counts);
}

/** Ready, and not for a moment only: a checkpoint that failed is tried again so much later that the log may be late meanwhile, and then nearly all is refused. */
const ready = (d) => until("ready, and its log is signed", async () => {
	const { audit } = (await d.admin("GET", "/admin/v1/status")).json ?? {};
	return audit?.state === "good" && audit.failure === undefined && (await d.health()).status === 200;
}, SETTLED_MS);

const settledIntents = (d) => until("every intent has its outcome", async () => openIntents(await d.entries(0)).length === 0, SETTLED_MS);

/** The whole log, and every certificate against it. */
async function assertTruth(d, wanted) {
	const ids = await signedCertificates(d, wanted, SETTLED_MS);
	const { code, out } = await verifyWithCertificates(d, ids);
	assert.equal(code, 0, out);
}

/** Was it said to be done before the process that did it was killed? Then it was. */
function assertNotTooEarly(entries, isOutcome, left) {
	const killed = entries.findLastIndex(({ leaf }) => leaf.type === "node.start");
	if (entries.slice(0, killed).some(({ leaf }) => isOutcome(leaf)))
		assert.deepEqual([...left], [], "an outcome was written while the token still had an object");
}

/** The token is away, and the shred's answer was an error. */
async function assertNotDone(v) {
	const { d } = v;
	const mine = (await v.entries()).map(({ leaf }) => leaf).filter((leaf) => leaf.tenant === v.tenant);
	if (mine.some(isShred))
		return assert.deepEqual([...both(tokenKeys(`${d.tokenDir}.away`), v.files)], [], "an outcome, and an object is left"); // only its signature could not be made
	if (!mine.some((leaf) => leaf.type === "tenant.shred" && leaf.phase === "intent"))
		return undefined; // it was not begun
	assert.ok(mine.some((leaf) => leaf.type === "tenant.shred_incomplete"), "it says that it is not done");
	assert.ok(["shredding", undefined].includes(await v.state()));
	assert.ok((await certificatesOf(d)).filter((c) => c.vault === v.vault.name).every((c) => c.state === "begun"), "a certificate of what did not happen");
	for (const wrapped of v.wrapped) {
		const res = await v.unwrap(wrapped);
		assert.ok([401, 403, 503].includes(res.status), `it is refused from the first moment on: ${res.status} ${res.text}`);
	}
	return undefined;
}

/** The steps of a shred. */
async function countShred(d, stepper) {
	const counted = [];
	for (let i = 0; i < COUNTED; i++)
		counted.push(await Victim.make(d, `counted-${i}`));
	const count = await countSteps(stepper, await Promise.all(counted.map((v) => d.agreeToShred(v.vault))));
	for (const v of counted)
		await v.assertDestroyed();
	return count;
}

const isShred = (leaf) => leaf.type === "tenant.shred" && leaf.phase === "outcome" && leaf.result === "ok";

/** Has the shred of this very vault begun? Others' are in the log too, and who waits for the end of one that was refused waits for ever. */
async function hasBegun(v) {
	return (await v.entries()).some(({ leaf }) => leaf.tenant === v.tenant && leaf.type === "tenant.shred" && leaf.phase === "intent");
}

describe("interrupted", { concurrency: 3 }, () => {
	test("kill -9 at each step of a shred: it is finished after the restart", async (t) => {
		const { d, stepper } = await stepped(t);
		const count = await countShred(d, stepper);
		const steps = some(count, SHRED_KILLS);
		let kills = 0;
		for (const step of steps) {
			await t.test(`step ${step} of ${count}`, async () => {
				const v = await Victim.make(d, `step-${step}`);
				const shred = await d.agreeToShred(v.vault);
				const { wasKilled } = await stepper.kill(d, step, shred);
				const left = v.left();
				if (wasKilled) {
					kills++;
					await d.restart();
				}
				const entries = await v.entries();
				assertNotTooEarly(entries, (leaf) => isShred(leaf) && leaf.tenant === v.tenant, left);
				if (await hasBegun(v))
					await v.settled();
				else
					await shred(); // it was not even begun, and its approval was not used
				await v.assertDestroyed();
			});
		}
		assert.ok(kills > 0, "nothing was interrupted");
		await settledIntents(d);
		await assertTruth(d, steps.length + COUNTED);
	});

	test("kill -9 at each step of a purge: it is finished after the restart", async (t) => {
		const { d, stepper } = await stepped(t);
		const v = await Victim.make(d, "orders", { kinds: ["oct"] });
		const objectsBefore = objectsInLog(await v.entries(), v.tenant);
		let purged = 0;
		const make = async (name, kty) => {
			const before = tokenKeys(d.tokenDir);
			await d.ok(v.vault, v.officer, "POST", `/keys/${name}/create`, { kty });
			await d.ok(v.vault, v.officer, "POST", `/keys/${name}/rotate`);
			await d.ok(v.vault, v.officer, "DELETE", `/keys/${name}`);
			return minus(tokenKeys(d.tokenDir), before);
		};
		const purge = (name) => d.call(v.vault, v.officer, "DELETE", `/deletedkeys/${name}`);
		for (const kty of ["oct", "oct-HSM"]) {
			const counted = Array.from({ length: COUNTED }, (_, i) => `counted-${kty.toLowerCase()}-${i}`);
			for (const name of counted)
				await make(name, kty);
			const count = await countSteps(stepper, counted.map((name) => () => purge(name)));
			purged += COUNTED;
			for (const step of some(count, OTHER_KILLS)) {
				await t.test(`${kty}: step ${step} of ${count}`, async () => {
					const name = `step-${kty.toLowerCase()}-${step}`;
					const files = await make(name, kty);
					const { wasKilled } = await stepper.kill(d, step, () => purge(name));
					const left = both(tokenKeys(d.tokenDir), files);
					if (wasKilled)
						await d.restart();
					const isMine = (leaf) => leaf.type === "key.purge" && leaf.key?.name === name;
					const isEnd = (leaf) => isMine(leaf) && leaf.phase === "outcome" && leaf.result === "ok";
					assertNotTooEarly(await v.entries(), isEnd, left);
					await settledIntents(d);
					if (!(await v.entries()).some(({ leaf }) => isMine(leaf) && leaf.phase === "intent"))
						assert.equal((await purge(name)).status, 204);
					purged++;
					assert.equal((await d.call(v.vault, v.officer, "GET", `/deletedkeys/${name}`)).status, 404);
					assert.deepEqual([...both(tokenKeys(d.tokenDir), files)], []);
					const leaves = (await v.entries()).map(({ leaf }) => leaf);
					const ends = leaves.filter(isEnd);
					assert.equal(ends.length, 1, "one outcome");
					const made = new Set(leaves.filter((l) => ["key.create", "key.rotate"].includes(l.type) && l.phase === "outcome" && l.key?.name === name).map((l) => l.key.obj));
					assert.equal(made.size, 2);
					assertEachDied(leaves, { intent: ends[0].ref, outcome: ends[0].seq, objects: made });
				});
			}
		}
		assert.ok([...objectsBefore].length > 0);
		assert.equal((await v.unwrap(v.wrapped[0])).json?.value, plain, "the others' keys are unharmed");
		await assertTruth(d, purged);
	});

	test("kill -9 at each step of a root rotation: it goes on after the restart, and nothing that was wrapped is lost", async (t) => {
		const { d, stepper } = await stepped(t);
		const begin = async (name) => {
			const v = await Victim.make(d, name, { kinds: ["oct", "ec", "oct-hsm"] });
			const ask = () => d.admin("POST", `/admin/v1/vaults/${name}/rotate-root`, { reason: "yearly" });
			assert.equal(await d.agree(v.vault, ask), null);
			const rotate = async () => {
				const res = await ask();
				assert.equal(res.status, 202, res.text);
				await isRotated(v);
			};
			return { v, before: tokenKeys(d.tokenDir), rotate };
		};
		const isRotated = (v) => until(`the root of ${v.vault.name} is rotated`, async () => (await v.shown()).next_root === undefined, SETTLED_MS);
		const counted = await Promise.all(Array.from({ length: COUNTED }, (_, i) => begin(`counted-${i}`)));
		const count = await countSteps(stepper, counted.map(({ rotate }) => rotate));
		const steps = some(count, ROTATION_KILLS);
		for (const step of steps) {
			await t.test(`step ${step} of ${count}`, async () => {
				const { v, before, rotate } = await begin(`step-${step}`);
				const { wasKilled } = await stepper.kill(d, step, rotate);
				if (wasKilled)
					await d.restart();
				await isRotated(v);
				const isMine = (leaf) => leaf.tenant === v.tenant && leaf.type === "tenant.rotate_root";
				if (!(await v.entries()).some(({ leaf }) => isMine(leaf) && leaf.phase === "intent"))
					await rotate();
				for (const wrapped of v.wrapped)
					assert.equal((await v.unwrap(wrapped)).json?.value, plain, wrapped.kind);
				const after = tokenKeys(d.tokenDir);
				assert.equal(minus(before, after).size, 1, "one object is gone: the old root");
				assert.equal(minus(after, before).size, 1, "one has come: the new root");
				const leaves = (await v.entries()).map(({ leaf }) => leaf).filter((leaf) => leaf.tenant === v.tenant);
				assert.deepEqual(leaves.filter((l) => isMine(l) && l.phase === "outcome").map((l) => l.result), ["ok"]);
				assert.deepEqual(leaves.filter((l) => l.type === "key.destroy" && l.phase === "outcome").map((l) => l.result), ["ok"], "the old root's own evidence");
			});
		}
		await assertTruth(d, steps.length + COUNTED);
	});

	test("kill -9 at each step of a backup: it is there and whole, or not there, and the log says which", async (t) => {
		const directory = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-backups-"));
		t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
		const { d, stepper } = await stepped(t, { backup: { directory, every_hours: 0, keep: 0 } });
		await Victim.make(d, "orders", { kinds: ["oct", "oct-hsm"] });
		const create = () => d.cli("backup", "create", "--wait");
		const listed = async () => (await d.cli("backup", "list")).value.filter((b) => b.state === "there");
		const count = await countSteps(stepper, [create]);
		const outcomes = async () => (await d.entries(0)).map(({ leaf }) => leaf).filter((leaf) => leaf.type === "node.backup" && leaf.phase === "outcome");
		const steps = some(count, BACKUP_KILLS);
		for (const step of steps) {
			await t.test(`step ${step} of ${count}`, async () => {
				const before = (await outcomes()).length;
				const { wasKilled } = await stepper.kill(d, step, create);
				if (wasKilled)
					await d.restart();
				await settledIntents(d);
				const backups = await listed();
				assert.deepEqual(fs.readdirSync(directory).sort(), backups.map((b) => b.file).sort(), "nothing half done is left");
				const ended = await outcomes();
				assert.equal(ended.filter((leaf) => leaf.result === "ok").length, backups.length, "one outcome ok for each");
				assert.ok(ended.length <= before + 1);
			});
		}
		await create();
		for (const { id } of await listed())
			assert.equal((await d.cli("backup", "verify", id)).report.failed, 0);
		await assertTruth(d, 0);
	});

	test("the token away from each step of a shred on: no certificate and no outcome before it is back, and then by itself", async (t) => {
		const { d, stepper } = await stepped(t);
		const count = await countShred(d, stepper);
		let interrupted = 0;
		const away = `${d.tokenDir}.away`;
		const probe = await Victim.make(d, "probe", { kinds: ["oct-hsm"] });
		const usable = async () => {
			await until("keys can be made again", async () => (await d.health()).status === 200 && (await probe.unwrap(probe.wrapped[0])).status === 200 &&
				(await d.call(probe.vault, probe.officer, "POST", "/keys/oct-hsm/rotate")).status === 200, SETTLED_MS);
			await ready(d);
		};
		/* SoftHSM forgets an object whose file it could not remove: always that one too. */
		const steps = [...new Set([stepper.names.indexOf("remove") + 1, ...some(count, AWAYS)])];
		/* All of them beforehand: a server whose device comes and goes refuses to make vaults now and then. */
		const victims = [];
		for (const step of steps)
			victims.push(await Victim.make(d, `away-${step}`));
		const shreds = await Promise.all(victims.map((v) => d.agreeToShred(v.vault)));
		for (const [i, step] of steps.entries()) {
			await t.test(`step ${step} of ${count}`, async () => {
				const [v, shred] = [victims[i], shreds[i]];
				stepper.begin("away", step, d.tokenDir);
				const answer = await shred().catch((err) => err);
				const isDone = !(answer instanceof Error);
				const wasAway = stepper.end();
				assert.ok(isDone || wasAway, `nobody interrupted it: ${answer}`);
				try {
					/* Said to be done while the token was away: then everything had gone before that. */
					if (wasAway && isDone)
						assert.deepEqual([...both(tokenKeys(away), v.files)], [], "done, and an object is left");
					if (wasAway && !isDone) {
						interrupted++;
						await assertNotDone(v);
					}
				} finally {
					if (wasAway)
						fs.renameSync(away, d.tokenDir);
				}
				await usable();
				if (await hasBegun(v))
					await v.settled();
				else
					await shred();
				await usable();
				await v.assertDestroyed();
			});
		}
		assert.ok(interrupted > 0, "nothing was interrupted");
		await settledIntents(d);
		await assertTruth(d, steps.length + COUNTED);
	});

	test("a disk that is full from each step of a shred on: it is finished when there is room", async (t) => {
		const { d, stepper } = await stepped(t);
		const count = await countShred(d, stepper);
		const steps = some(count, FULLS);
		for (const step of steps) {
			await t.test(`step ${step} of ${count}`, async () => {
				const v = await Victim.make(d, `full-${step}`);
				const shred = await d.agreeToShred(v.vault);
				stepper.begin("full", step);
				const answer = await shred().catch((err) => err);
				const wasFull = stepper.end();
				if (!(answer instanceof Error))
					assert.deepEqual([...v.left()], [], "done, and an object is left");
				else
					assert.ok(wasFull, `${answer}`);
				await ready(d);
				if (await hasBegun(v))
					await v.settled();
				else
					await shred();
				await v.assertDestroyed();
			});
		}
		await settledIntents(d);
		await assertTruth(d, steps.length + COUNTED);
	});
});
