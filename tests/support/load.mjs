// Concurrent callers with a logical clock. Every request notes the tick at which it began and the one at which its answer was complete; acts
// (disable, revoke, …) note theirs on the same clock, so "started after the act was answered" is a comparison of numbers.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "./daemon.mjs";

let clock = 0;
export const tick = () => ++clock;

export class Load {
	/**
	 * @param daemon   whose clients to make: one socket for each caller
	 * @param callers  how many
	 * @param request  (client, i) => promise of an answer
	 */
	constructor(daemon, callers, request) {
		this.samples = [];
		this.failures = [];
		this.isStopping = false;
		this.clients = Array.from({ length: callers }, () => daemon.client(1));
		this.done = Promise.all(this.clients.map((client, i) => this.#run(client, i, request)));
	}

	async #run(client, i, request) {
		while (!this.isStopping) {
			const begin = tick();
			try {
				const res = await request(client, i);
				this.samples.push({ begin, end: tick(), status: res.status, res });
				if (res.status === 429 || res.status === 503)
					await sleep(20);
			} catch (err) {
				if (err.code === "ERR_ASSERTION")
					this.broken ??= err;
				this.failures.push(err);
				await sleep(5);
			}
		}
	}

	/** Wait for this many more answers; the callers are all at work. */
	async answers(count) {
		const wanted = this.samples.length + count;
		await until(`${count} more answers (${this.failures[0]?.message ?? "no failure"})`, () => this.samples.length >= wanted, 20_000);
	}

	/** @return the samples; throws the first assertion that failed inside a request */
	async stop() {
		this.isStopping = true;
		await this.done;
		this.clients.forEach((client) => client.close());
		if (this.broken)
			throw this.broken;
		return this.samples;
	}
}

/** Do an act and note when its answer was there. @return {sent, acked, res} */
export async function act(doIt) {
	const sent = tick();
	const res = await doIt();
	return { sent, acked: tick(), res };
}

/**
 * No request that began after `off` was answered, and ended before `on` was sent (never, when absent), may have succeeded.
 * Also: successes were seen before, and refusals with one of the allowed statuses after, so that the test could have failed.
 */
export function assertLinearizable(samples, periods, refusals) {
	assert.ok(samples.some((s) => s.status === 200 && s.end < periods[0].off.sent), "nothing succeeded before the first act");
	for (const [i, { off, on }] of periods.entries()) {
		const until_ = on?.sent ?? Infinity;
		const inside = samples.filter((s) => s.begin > off.acked && s.end < until_);
		const late = inside.filter((s) => s.status === 200);
		assert.equal(late.length, 0, `period ${i}: ${late.length} of ${inside.length} requests begun after the act was answered succeeded`);
		assert.ok(inside.length > 0, `period ${i}: no request fell into it`);
		for (const s of inside)
			assert.ok(refusals.includes(s.status), `period ${i}: unexpected ${s.status} ${s.res.text}`);
		if (on && periods[i + 1]) {
			assert.ok(samples.some((s) => s.status === 200 && s.begin > on.sent && s.end < periods[i + 1].off.acked),
				`period ${i}: nothing succeeded after the reversal`);
		}
	}
}

/** In the log: no successful use between the leaf of each `off` and the leaf of its `on` (the end, when absent). */
export function assertLogLinearizable(entries, seqPeriods, isUse) {
	for (const [i, { off, on }] of seqPeriods.entries()) {
		assert.ok(Number.isInteger(off) && (on === undefined || on > off), `period ${i}: no leaf of the act (${off}..${on})`);
		const bad = entries.filter(({ leaf }) => leaf.seq > off && leaf.seq < (on ?? Infinity) && leaf.result === "ok" && isUse(leaf));
		assert.equal(bad.length, 0, `period ${i}: successful use after leaf ${off}: ${bad[0]?.text}`);
	}
	assert.ok(entries.some(({ leaf }) => leaf.seq < seqPeriods[0].off && leaf.result === "ok" && isUse(leaf)), "no use before the first act");
}
