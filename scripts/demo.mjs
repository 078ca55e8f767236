// The proof of `make run`: the life of one key through the official Azure SDK for JavaScript, step by step; the end of a vault, for which it takes two people, and its
// certificate; a backup; then what a Managed HSM pool gets (demo-ekm.mjs). Any step that does not go as it must ends the program with a failure. Its environment is demo.env (see scripts/run-demo).
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { proveEkm } from "./demo-ekm.mjs";

const require = createRequire(new URL("../tests/sdk/package.json", import.meta.url));
const { ClientSecretCredential } = require("@azure/identity");
const { CryptographyClient, KeyClient } = require("@azure/keyvault-keys");

const env = process.env;
const ALGORITHM = "RSA-OAEP-256";
const NEEDS_APPROVAL = 5; // exit code of holdfast
const WITNESS_MS = 10_000; // on the first run the witness is told of the log only when that has its key
const EXPORT_MS = 15_000;
const POLL_MS = 100;
const NO_RETRY = { retryOptions: { maxRetries: 0 } }; // a refusal is an answer, not an accident

let steps = 0;
async function step(what, action) {
	steps += 1;
	process.stdout.write(`  ${steps}. ${what} … `);
	const begin = performance.now();
	const said = await action();
	console.log(`${said} (${Math.round(performance.now() - begin)} ms)`);
}

function holdfast(...words) {
	return JSON.parse(execFileSync(env.HOLDFAST_BIN, ["--json", ...words], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }));
}

/** A vault of its own is made, and shredded by two people: the machine's administrator, who asks, and an approver, who has a token of his own. */
async function proveApproval() {
	const name = `scratch-${randomBytes(4).toString("hex")}`;
	const remote = ["--url", env.AZURE_AUTHORITY_HOST, "--ca", env.NODE_EXTRA_CA_CERTS, "--token-file", path.join(env.HOLDFAST_RUN_DIR, "approver.token")];
	let request;
	await step(`shred a vault (${name}) alone, which must be refused`, async () => {
		holdfast("vault", "create", name);
		const asked = spawnSync(env.HOLDFAST_BIN, ["--json", "vault", "shred", name, "--reason", "demonstration", "--yes"], { encoding: "utf8" });
		assert.equal(asked.status, NEEDS_APPROVAL, asked.stderr);
		const waiting = holdfast("approval", "list", name).value;
		assert.equal(waiting.length, 1);
		request = waiting[0].id;
		return `it needs ${waiting[0].needed} other`;
	});
	await step("approve it as that other (holdfast login, approval approve)", async () => {
		execFileSync(env.HOLDFAST_BIN, [...remote, "login", "--client-id", env.HOLDFAST_APPROVER_CLIENT_ID],
			{ env: { ...env, HOLDFAST_CLIENT_SECRET: env.HOLDFAST_APPROVER_CLIENT_SECRET }, stdio: ["ignore", "ignore", "inherit"] });
		const { state } = holdfast(...remote, "approval", "approve", name, request, "--reason", "seen");
		assert.equal(state, "approved");
		return state;
	});
	await step("shred it", async () => {
		const { state, verified, objects } = holdfast("vault", "shred", name, "--reason", "demonstration", "--yes", "--certificate", certificateFile());
		assert.deepEqual([state, verified], ["shredded", true]);
		return `${objects} objects are gone from the device, looked for again`;
	});
}

const certificateFile = () => path.join(env.HOLDFAST_RUN_DIR, "shred.certificate");

/** A backup of the whole server while it runs: made, opened, and every version in it loaded. */
async function proveBackup() {
	let id;
	await step("back the server up (holdfast backup create --wait)", async () => {
		({ id } = holdfast("backup", "create", "--wait"));
		return id;
	});
	await step("open that backup and load every key version in it (holdfast backup verify)", async () => {
		const { loaded, resident, failed } = holdfast("backup", "verify", id).report;
		assert.equal(failed, 0);
		return `${loaded + resident} versions`;
	});
}

/** The same events for people and machines: a question to the log, the file that a SIEM would read, a report, and what Prometheus reads. */
async function proveFeeds(vaultName, key) {
	await step("ask the log what happened to that key (holdfast log query)", async () => {
		const types = holdfast("log", "query", "--vault", vaultName, "--key", key, "--order", "oldest").value.map((leaf) => leaf.type);
		assert.ok(["key.create", "key.wrap", "key.unwrap", "key.rotate", "key.revoke"].every((type) => types.includes(type)), types.join(" "));
		return `${types.length} events, from ${types[0]} to ${types.at(-1)}`;
	});
	await step("find its revocation in the export for a SIEM (Azure's AuditEvent, JSON Lines)", async () => {
		for (const end = Date.now() + EXPORT_MS; ;) {
			const records = fs.existsSync(env.HOLDFAST_EXPORT_FILE) ? fs.readFileSync(env.HOLDFAST_EXPORT_FILE, "utf8").split("\n").filter(Boolean) : [];
			const found = records.map((line) => JSON.parse(line)).find((r) => r.operationName === "KmsKeyRevoke" && r.properties.id?.includes(`/keys/${key}`));
			if (found)
				return `${found.operationName} ${found.resultType}, record ${records.length}`;
			assert.ok(Date.now() < end, `not in ${env.HOLDFAST_EXPORT_FILE} within ${EXPORT_MS} ms`);
			await sleep(POLL_MS);
		}
	});
	await step("report on rotations, denials, revocations … (holdfast report all --html)", async () => {
		const page = path.join(env.HOLDFAST_RUN_DIR, "reports.html");
		execFileSync(env.HOLDFAST_BIN, ["report", "all", "--html", "--output", page], { stdio: ["ignore", "ignore", "inherit"] });
		assert.match(fs.readFileSync(page, "utf8"), /<svg/);
		return `${fs.statSync(page).size} bytes`;
	});
	await step("read the metrics", async () => {
		const text = await (await fetch(env.HOLDFAST_METRICS_URL)).text();
		const unwraps = /^holdfast_http_requests_total\{dialect="vault",route="KeyUnwrap",code="403"\} (\d+)$/m.exec(text);
		assert.ok(Number(unwraps?.[1]) >= 2, "the refused unwraps are not counted");
		return `${text.split("\n").length} lines; ${unwraps[1]} unwraps refused`;
	});
}

/** What anybody can check who has the log's public key: the whole log, one event of it, and that a forged one is refused. The verifier asks no server. */
async function proveLog() {
	const log = env.HOLDFAST_LOG_FILE, proof = path.join(env.HOLDFAST_RUN_DIR, "event.proof");
	const policy = path.join(env.HOLDFAST_RUN_DIR, "policy");
	const verify = (...args) => spawnSync(env.HOLDFAST_VERIFY, args, { encoding: "utf8" });
	let size;
	await step("export the log (holdfast log export)", async () => {
		fs.writeFileSync(policy, `log ${env.HOLDFAST_LOG_KEY}\nwitness demo ${env.HOLDFAST_WITNESS_KEY}\nquorum demo\n`);
		for (const end = Date.now() + WITNESS_MS; ;) { // a witness cosigns soon after the log's own signature, not with it
			({ size } = holdfast("log", "export", "--output", log));
			if (verify("--policy", policy, "--checkpoint", `${log}.checkpoint`).status === 0 || Date.now() > end)
				return `${size} events`;
			await sleep(POLL_MS);
		}
	});
	await step("verify it without the server (holdfast-verify), its witness included", async () => {
		const res = verify("--policy", policy, "--complete", "--checkpoint", `${log}.checkpoint`, log);
		assert.equal(res.status, 0, res.stdout + res.stderr);
		return "nothing was changed, removed or moved";
	});
	await step("check the certificate of the shred against it (holdfast-verify certificate)", async () => {
		const res = verify("certificate", "--key", env.HOLDFAST_ATTESTATION_KEY, "--policy", policy, "--checkpoint", `${log}.checkpoint`, certificateFile(), log);
		assert.equal(res.status, 0, res.stdout + res.stderr);
		return "signed by the device, and the log bears it out";
	});
	await step("prove one event of it (holdfast log prove)", async () => {
		const { seq } = holdfast("log", "prove", String(size - 1), "--output", proof);
		const res = verify("--key", env.HOLDFAST_LOG_KEY, "--bundle", proof);
		assert.equal(res.status, 0, res.stdout + res.stderr);
		return `event ${seq}, ${fs.statSync(proof).size} bytes`;
	});
	await step("change one byte of the export, which must be refused", async () => {
		const forged = fs.readFileSync(log);
		const at = forged.indexOf('"salt":"', forged.length >> 1) + 8;
		forged[at] = forged[at] === 0x41 ? 0x42 : 0x41; // A, else B: still a good line, so that only the root tells
		fs.writeFileSync(`${log}.forged`, forged);
		const { status } = verify("--policy", policy, "--checkpoint", `${log}.checkpoint`, `${log}.forged`);
		fs.rmSync(`${log}.forged`);
		assert.equal(status, 3, `exit ${status}`);
		return `refused with exit code ${status}`;
	});
}

async function main() {
	const major = Number(process.versions.node.split(".")[0]);
	assert.equal(major, 22, `Node 22 is needed, this is ${process.version}`);
	const vaultName = new URL(env.HOLDFAST_VAULT_URL).hostname.split(".")[0];
	const credential = new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET,
		{ authorityHost: env.AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true });
	const keys = new KeyClient(env.HOLDFAST_VAULT_URL, credential, NO_RETRY);
	const cryptoOf = (key) => new CryptographyClient(key.id, credential, NO_RETRY);
	const name = `demo-${new Date().toISOString().replace(/[^0-9]/g, "").slice(0, 14)}-${randomBytes(2).toString("hex")}`;
	const dataKey = randomBytes(32);
	let first, second, wrapped;

	const unwrapsTo = async (key) => {
		const { result } = await cryptoOf(key).unwrapKey(ALGORITHM, wrapped);
		assert.ok(dataKey.equals(Buffer.from(result)), "the unwrapped key differs from the one that was wrapped");
		return "the same 32 bytes came back";
	};

	console.log(`\nProof with @azure/keyvault-keys against ${env.HOLDFAST_VAULT_URL}:`);
	await step(`create the RSA key ${name}`, async () => {
		first = await keys.createRsaKey(name, { keySize: 2048 });
		assert.equal(first.name, name);
		return `version ${first.properties.version}`;
	});
	await step(`wrap a fresh AES-256 data key (${ALGORITHM})`, async () => {
		wrapped = (await cryptoOf(first).wrapKey(ALGORITHM, dataKey)).result;
		assert.equal(wrapped.length, 256);
		assert.ok(!Buffer.from(wrapped).includes(dataKey));
		return `${wrapped.length} bytes`;
	});
	await step("unwrap it", () => unwrapsTo(first));
	await step("rotate the key", async () => {
		second = await keys.rotateKey(name);
		assert.notEqual(second.properties.version, first.properties.version);
		assert.equal((await keys.getKey(name)).properties.version, second.properties.version);
		return `version ${second.properties.version} is current`;
	});
	await step("unwrap with the version before", () => unwrapsTo(first));
	await step("revoke the key (holdfast key revoke)", async () => {
		const revoked = holdfast("key", "revoke", vaultName, name, "--reason", "superseded");
		assert.equal(revoked.name, name);
		return "every version of it";
	});
	await step("unwrap again, which must be refused", async () => {
		const refusals = [];
		for (const version of [first, second]) {
			const refusal = await cryptoOf(version).unwrapKey(ALGORITHM, wrapped).then(() => null, (err) => err);
			assert.ok(refusal, "a revoked key still unwraps");
			assert.equal(refusal.statusCode, 403, refusal.stack);
			refusals.push(`${refusal.statusCode} ${refusal.code}`);
		}
		return `both versions refused: ${refusals.join(", ")}`;
	});
	console.log("\nProof that nobody destroys a vault alone:");
	await proveApproval();
	console.log(`\nProof as a Managed HSM pool against ${env.HOLDFAST_EKM_URL}:`);
	await proveEkm({ step, keys, holdfast, vaultName });
	console.log("\nProof that people and machines can read the log:");
	await proveFeeds(vaultName, name);
	console.log("\nProof that backups open:");
	await proveBackup();
	console.log("\nProof that the log cannot be changed:");
	await proveLog();
	console.log(`All ${steps} steps went as they must.`);
}

main().catch((err) => {
	console.log("FAILED");
	console.error(err);
	process.exit(1);
});
