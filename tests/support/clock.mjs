// The wall clock of one daemon, moved while it runs: libfaketime. Its other clocks (CLOCK_MONOTONIC, CLOCK_BOOTTIME) go on as they are, and so do the test's own.
//
//	const clock = new DaemonClock();
//	const d = await Daemon.start({ daemonEnv: clock.env });
//	clock.set(8 * DAY_S);                       // from now on it is eight days later, for the daemon
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { faketime } from "./paths.mjs";

export const DAY_S = 86400;
/** Why tests that need it are skipped, or false. */
export const noClock = faketime ? false : "libfaketime is not installed (scripts/deps test)";

export class DaemonClock {
	constructor() {
		this.dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-clock-"));
		this.file = path.join(this.dir, "offset");
		this.set(0);
		// Without the last one timed waits on CLOCK_MONOTONIC end at once, and threads spin.
		this.env = { LD_PRELOAD: faketime, FAKETIME_TIMESTAMP_FILE: this.file, FAKETIME_NO_CACHE: "1", NO_FAKE_STAT: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1",
			FAKETIME_FORCE_MONOTONIC_FIX: "0" };
	}

	/** Seconds that it is ahead of real time. The daemon sees either the old or the new offset, never half a file. */
	set(offsetS) {
		this.offsetS = offsetS;
		fs.writeFileSync(`${this.file}.new`, `${offsetS < 0 ? "" : "+"}${offsetS}\n`);
		fs.renameSync(`${this.file}.new`, this.file);
	}

	/** What the daemon's clock shows, in seconds since 1970. */
	now() {
		return Math.floor(Date.now() / 1000) + this.offsetS;
	}

	remove() {
		fs.rmSync(this.dir, { recursive: true, force: true });
	}
}
