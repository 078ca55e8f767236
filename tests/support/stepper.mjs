// Interrupts a daemon at a step of what it does (tests/support/stepper.c, preloaded): how many durable steps an act takes, then the same again, ended, bereft of its token, or
// with a full disk at each of them.
//
//	const stepper = new Stepper();
//	const d = await Daemon.start({ daemonEnv: stepper.env });
//	const steps = await stepper.count(() => d.shred(vault));
//	stepper.begin("kill", 7);                                        // whatever it does from now on: at the 7th step it is gone
//	… stepper.end();                                                 // false when the act had fewer steps
//	for (const step of stepsOf(steps, 5)) …
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { binaries } from "./paths.mjs";

const LIBRARY = path.join(path.dirname(binaries.daemon), "tests/support/stepper.so");
const FIELDS = 3; // counting, steps, done: uint32 each, of this machine's byte order
const DAY_MS = 86_400_000;
const IS_THOROUGH = process.env.HOLDFAST_FAULTS === "all";

export class Stepper {
	/** @param options  helper: the process that looks into the token for the daemon counts too */
	constructor({ helper = false } = {}) {
		assert.ok(fs.existsSync(LIBRARY), `${LIBRARY} is needed: make programs`);
		this.dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-stepper-"));
		this.go = path.join(this.dir, "go");
		this.counter = path.join(this.dir, "count");
		this.trace = path.join(this.dir, "trace");
		fs.writeFileSync(this.counter, Buffer.alloc(FIELDS * 4));
		this.env = { LD_PRELOAD: LIBRARY, HOLDFAST_STEPPER: this.dir, ...(helper && { HOLDFAST_STEPPER_HELPER: "1" }) };
		process.on("exit", () => this.remove());
	}

	remove() {
		fs.rmSync(this.dir, { recursive: true, force: true });
	}

	#read() {
		const bytes = fs.readFileSync(this.counter);
		const [, steps, done] = new Uint32Array(bytes.buffer, bytes.byteOffset, FIELDS);
		return { steps, isDone: done === 1 };
	}

	/** From now on: "kill", "away" (with the token's directory) or "full" at this step; "count" only counts. */
	begin(what, step = 0, directory = "") {
		fs.writeFileSync(this.counter, Buffer.alloc(FIELDS * 4), { flag: "r+" }); // in place: it is mapped
		fs.writeFileSync(this.trace, "");
		fs.writeFileSync(`${this.go}.new`, `${what} ${step} ${directory}\n`);
		fs.renameSync(`${this.go}.new`, this.go);
	}

	/** Did it come to that step? */
	get isDone() {
		return this.#read().isDone;
	}

	get steps() {
		return this.#read().steps;
	}

	/** The calls that were steps, in their order. */
	get names() {
		return fs.readFileSync(this.trace, "utf8").trim().split("\n");
	}

	/** No more. @return whether it came to that step */
	end() {
		fs.rmSync(this.go, { force: true });
		return this.isDone;
	}

	/** @return the number of steps of an act; those that the daemon takes by itself meanwhile are among them */
	async count(act) {
		this.begin("count");
		await act();
		const { steps } = this;
		this.end();
		assert.ok(steps > 0, "nothing was counted");
		return steps;
	}

	/** Do an act in which the daemon is killed. Its answer, if one came, and whether it was killed; then it is not running any more, and there is nothing to interrupt. */
	async kill(d, step, act) {
		this.begin("kill", step);
		const answer = await act().catch((err) => err);
		/* The act may have had fewer steps this time. */
		if (this.isDone)
			await d.exited;
		const wasKilled = this.end();
		if (wasKilled) {
			assert.equal((await d.exited).signal, "SIGKILL");
			d.child = null;
		} else if (answer instanceof Error) {
			throw answer; // nobody interrupted it
		}
		return { answer, wasKilled };
	}
}

/** Every `each`-th of the steps 1…count, beginning with another one each day; all of them with HOLDFAST_FAULTS=all. */
export function stepsOf(count, each) {
	const every = IS_THOROUGH ? 1 : Math.max(each, 1);
	const first = Math.floor(Date.now() / DAY_MS) % every;
	return Array.from({ length: count }, (_, i) => i + 1).filter((n) => (n - 1) % every === first);
}
