// The log of a real daemon that has lived, fetched through the API, under the eyes of holdfast-verify: no finding, no warning. What the API
// signs and proves is checked three times: by holdfast-verify, and by a checker of another hand (tests/external), which must agree.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { Daemon, until } from "../support/daemon.mjs";
import { receipt } from "../support/log.mjs";
import { binaries } from "../support/paths.mjs";

const CHECKER = path.resolve("tests/external/check-proof.mjs");
const AES = { kty: "oct-HSM" };

let d, vault, officer, keys, wrapped;

function run(program, ...args) {
	return new Promise((resolve) => execFile(program, args, { maxBuffer: 1 << 24 }, (err, stdout, stderr) =>
		resolve({ code: err === null ? 0 : err.code, out: stdout, err: stderr })));
}

/** @return {{code, report}} what holdfast-verify says as JSON */
async function verify(...args) {
	const { code, out, err } = await run(binaries.verify, "--json", ...args);
	assert.ok(out !== "", `holdfast-verify: ${code} ${err}`);
	return { code, report: JSON.parse(out) };
}

function save(name, text) {
	const file = path.join(d.dir, name);
	fs.writeFileSync(file, text);
	return file;
}

async function audit(what) {
	const res = await d.adminOk("GET", `/audit/v1/${what}`);
	return res;
}

const sizeOf = (checkpoint) => Number(checkpoint.split("\n")[1]);

/** A checkpoint that covers all leaves there are now, and these leaves. */
async function exportLog() {
	const size = await d.logSize();
	const checkpoint = await until(`a checkpoint of size ${size} or more`, async () => {
		const { text } = await audit("checkpoint");
		return sizeOf(text) >= size ? text : null;
	});
	const entries = (await d.entries(0)).slice(0, sizeOf(checkpoint));
	return { checkpoint, entries, size: sizeOf(checkpoint), log: save("log.jsonl", entries.map(({ text }) => `${text}\n`).join("")), note: save("checkpoint", checkpoint) };
}

/** The arguments that trust this log, and nothing else. */
const trust = () => keys.log.flatMap(({ vkey }) => ["--key", vkey]);

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("orders");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
});
after(() => d?.destroy());

test("a varied life: keys made, used, rotated, revoked, disabled, deleted, recovered, purged, a vault shredded by two, refusals, restarts", async () => {
	const auditor = await d.makePrincipal(vault, "auditor", ["auditor"]);
	const value = randomBytes(32).toString("base64url");
	await d.ok(vault, officer, "POST", "/keys/a/create", AES);
	await d.ok(vault, officer, "POST", "/keys/r/create", { kty: "EC" });
	wrapped = await d.ok(vault, officer, "POST", "/keys/a/wrapkey", { alg: "A256KW", value });
	await d.ok(vault, officer, "POST", "/keys/a/unwrapkey", { alg: "A256KW", value: wrapped.value });
	const signature = await d.ok(vault, officer, "POST", "/keys/r/sign", { alg: "ES256", value });
	await d.ok(vault, officer, "POST", "/keys/r/verify", { alg: "ES256", digest: value, value: signature.value });
	await d.ok(vault, officer, "POST", "/keys/a/rotate");
	const version = wrapped.kid.split("/").at(-1);
	await d.ok(vault, officer, "POST", `/keys/a/${version}/unwrapkey`, { alg: "A256KW", value: wrapped.value });
	await d.cli("key", "revoke", vault.name, "r", "--reason", "superseded");
	assert.equal((await d.call(vault, officer, "POST", "/keys/r/sign", { alg: "ES256", value })).status, 403);
	await d.cli("key", "reinstate", vault.name, "r");
	await d.ok(vault, officer, "POST", "/keys/r/sign", { alg: "ES256", value });
	await d.ok(vault, officer, "PATCH", `/keys/a/${version}`, { attributes: { enabled: false } });
	assert.equal((await d.call(vault, officer, "POST", `/keys/a/${version}/unwrapkey`, { alg: "A256KW", value: wrapped.value })).status, 403);
	await d.ok(vault, officer, "PATCH", `/keys/a/${version}`, { attributes: { enabled: true } });
	const backup = await d.ok(vault, officer, "POST", "/keys/r/backup");
	for (const name of ["a", "r"])
		await d.ok(vault, officer, "DELETE", `/keys/${name}`);
	await d.ok(vault, officer, "POST", "/deletedkeys/a/recover");
	await d.ok(vault, officer, "POST", `/keys/a/${version}/unwrapkey`, { alg: "A256KW", value: wrapped.value });
	assert.equal((await d.call(vault, officer, "DELETE", "/deletedkeys/r")).status, 204);
	assert.equal((await d.call(vault, officer, "POST", "/keys/r/sign", { alg: "ES256", value })).status, 404);
	await d.ok(vault, officer, "POST", "/keys/restore", { value: backup.value });
	await d.ok(vault, officer, "POST", "/keys/r/sign", { alg: "ES256", value });
	for (const res of [await d.call(vault, auditor, "GET", "/keys/a"), await d.call(vault, auditor, "POST", "/keys/x/create", AES)])
		assert.equal(res.status, 403);
	assert.equal((await d.call(vault, null, "GET", "/keys/a")).status, 401);
	await d.stop();
	await d.restart();
	const doomed = await d.makeVault("doomed");
	const other = await d.makePrincipal(doomed, "other", ["crypto-officer"]);
	await d.ok(doomed, other, "POST", "/keys/a/create", AES);
	await d.shred(doomed);
	assert.notEqual((await d.call(doomed, other, "GET", "/keys/a")).status, 200);
	await d.kill9();
	await d.restart();
	await d.ok(vault, officer, "POST", "/keys/a/rotate");
});

test("holdfast-verify finds nothing to complain of in it", async () => {
	keys = (await audit("keys")).json;
	const { log, note, size } = await exportLog();
	const { code, report } = await verify(...trust(), "--complete", "--checkpoint", note, "--max-age", "60", log);
	assert.deepEqual(report.findings, []);
	assert.deepEqual(report.warnings, []);
	assert.equal(code, 0);
	assert.equal(report.log.leaves, size);
	assert.equal(report.log.open_intents, 0);
	assert.ok(report.checkpoints.every((c) => c.signed && c.root_fits));
	for (const type of ["key.create", "key.rotate", "key.purge", "key.restore", "key.revoke", "tenant.shred", "node.start", "authz.denied"])
		assert.ok(report.log.types[type] > 0, `no leaf of ${type}`);
	const { out } = await run(binaries.verify, ...trust(), "--checkpoint", note, log);
	assert.match(out, /VERIFIED: 0 findings, 0 warnings/);
});

test("a copy that was tampered with is told by its exit code", async () => {
	const { log, note, entries } = await exportLog();
	const lines = entries.map(({ text }) => text);
	const attempt = async (changed, ...more) => {
		const { code } = await verify(...trust(), "--checkpoint", note, ...more, save("tampered.jsonl", changed.map((line) => `${line}\n`).join("")));
		return code;
	};
	const stranger = "kms.example.com/audit/log1+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z";
	const at = lines.length >> 1;
	assert.equal((await verify("--key", stranger, "--checkpoint", note, log)).code, 2);
	assert.equal(await attempt(lines.toSpliced(at, 1)), 5, "a leaf deleted");
	assert.equal(await attempt(lines.toSpliced(at, 0, lines[at])), 5, "a leaf twice");
	assert.equal(await attempt(lines.toSpliced(at, 2, lines[at + 1], lines[at])), 5, "two leaves swapped");
	assert.equal(await attempt(lines.slice(0, -1)), 5, "the tail cut");
	assert.equal(await attempt(lines.with(at, lines[at].replace(/"node":"[^"]*"/, '"node":"x"'))), 3, "a leaf changed");
	assert.equal(await attempt(lines.with(at, lines[at].replace('"v":1', '"v":1,"x":1'))), 6, "a member added");
	assert.equal(await attempt(lines, "--max-age", "0", "--trusted", save("other", "no note\n")), 2, "a trusted checkpoint that is none");
});

test("proofs of the API: a bundle of a receipt, consistency of two checkpoints, and the hashes of what an auditor may not read", async () => {
	const first = await exportLog();
	const res = await d.call(vault, officer, "POST", "/keys/a/wrapkey", { alg: "A256KW", value: randomBytes(32).toString("base64url") });
	const { seq } = receipt(res);
	const second = await exportLog();
	assert.ok(second.size > first.size);
	const bundle = save("bundle", (await audit(`proof/bundle?seq=${seq}`)).text);
	const proof = save("proof.json", (await audit(`proof/consistency?from=${first.size}&to=${second.size}`)).text);
	const older = save("older", first.checkpoint);

	const proven = await verify(...trust(), "--bundle", bundle, "--checkpoint", second.note, "--trusted", older, "--proof", proof);
	assert.deepEqual(proven.report.findings, []);
	const { event, root_fits } = proven.report.checkpoints.find(({ kind }) => kind === "bundle");
	assert.deepEqual([event.seq, event.type, event.result, event.key, root_fits], [seq, "key.wrap", "ok", "a", true]);
	assert.match((await run(binaries.verify, ...trust(), "--bundle", bundle)).out, new RegExp(`event: seq ${seq}, \\S+Z, key.wrap, ok, key a\n`));
	assert.equal((await verify(...trust(), "--checkpoint", second.note, "--trusted", older)).code, 4, "nothing binds the two");
	const whole = await verify(...trust(), "--bundle", bundle, "--trusted", older, "--checkpoint", second.note, second.log);
	assert.deepEqual(whole.report.findings, []);

	const vkey = keys.log.at(-1).vkey;
	const external = await run(process.execPath, CHECKER, vkey, bundle);
	assert.equal(external.code, 0, external.err);
	assert.match(external.out, new RegExp(`leaf ${seq} `));
	const text = fs.readFileSync(bundle, "utf8");
	const flipped = save("flipped", text.replace(/^extra (.)/m, (_, c) => `extra ${c === "e" ? "f" : "e"}`));
	assert.notEqual((await run(process.execPath, CHECKER, vkey, flipped)).code, 0);
	const refused = await verify(...trust(), "--bundle", flipped);
	assert.notEqual(refused.code, 0);
	assert.equal(refused.report.checkpoints[0].event, undefined);
	const part = save("part.jsonl", second.entries.slice(second.size >> 1).map(({ text: line }) => `${line}\n`).join(""));
	const partial = await verify(...trust(), "--partial", "--checkpoint", second.note, part);
	assert.equal(partial.report.log.origin, vkey.split("+")[0]);

	const auditor = await d.makePrincipal(vault, "reader", ["auditor"]);
	const token = await d.token(auditor);
	const seen = await d.http.request("GET", `/audit/v1/entries?start=0&count=${Math.min(second.size, 1000)}`, { token });
	assert.match(seen.text, /^\{"hash":/m);
	const filtered = await verify(...trust(), "--checkpoint", second.note, save("filtered.jsonl", seen.text));
	assert.deepEqual(filtered.report.findings, []);
	assert.ok(filtered.report.log.hidden > 0);
	assert.deepEqual(filtered.report.warnings.map(({ code }) => code), ["hidden"]);
	const incomplete = await verify(...trust(), "--complete", "--checkpoint", second.note, path.join(d.dir, "filtered.jsonl"));
	assert.deepEqual(incomplete.report.findings.map(({ code }) => code), ["missing_body"]);
	assert.equal(incomplete.code, 8);
	for (const args of [["--complete", "--partial", part], ["--complete", "--checkpoint", second.note]])
		assert.equal((await run(binaries.verify, ...trust(), ...args)).code, 1, args.join(" "));
});
