// Debian's Azure clients for Python and az: where they are, and the environment in which they trust the test's CA. `scripts/deps test` puts
// them into build/python unless they are installed.
import { spawnSync } from "node:child_process";
import path from "node:path";

const OPENED = path.resolve("build/python");
const COMPILED = path.resolve("build/pycache"); // not beside the sources
const WANTED = "import aiohttp, azure.cli, azure.identity.aio, azure.keyvault.keys.aio";

// Debian's own Python: another one on the PATH does not see Debian's packages.
export const pythonProgram = process.env.PYTHON ?? "/usr/bin/python3";

// What it compiles it keeps, whatever the user's environment says: az would take twice as long.
const base = { ...process.env, PYTHONPATH: OPENED, PYTHONPYCACHEPREFIX: COMPILED, PYTHONDONTWRITEBYTECODE: "", PYTHONUTF8: "1" };

/** The environment of a Python program that talks to the daemon `d`. */
export function pythonEnv(d, more = {}) {
	return { ...base, REQUESTS_CA_BUNDLE: d.ca.cert, SSL_CERT_FILE: d.ca.cert, ...more };
}

/** Why the tests of these clients cannot run; null when they can. Under CI that is a failure, as a missing token is (run.mjs). */
export function needsAzure() {
	const probe = spawnSync(pythonProgram, ["-c", WANTED], { env: base, encoding: "utf8" });
	if (probe.status === 0)
		return null;
	const why = probe.error?.message ?? probe.stderr.trim().split("\n").at(-1);
	const reason = `Debian's Azure clients are not here (scripts/deps test): ${why}`;
	if (process.env.CI)
		throw new Error(reason);
	return reason;
}
