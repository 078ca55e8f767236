// Destruction certificates of a real daemon: what the signed text says, who sees it, who signs it too, what an outsider can check with the public keys alone.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, createPrivateKey, sign, X509Certificate } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { makeSelfSigned } from "../support/certs.mjs";
import { Daemon, until } from "../support/daemon.mjs";
import { binaries } from "../support/paths.mjs";
import { certificateFile, certificatesOf } from "../support/verify.mjs";

const NOTHING = "00000000-0000-4000-8000-000000000000";
const BASE = "/audit/v1/certificates";
let d;

before(async () => {
	d = await Daemon.start({ log: { interval_ms: 200 } });
});
after(() => d?.destroy());

const asUser = async (who, method, target, body) => d.http.request(method, target, { token: await d.token(who), body });
const bodyOf = (note) => JSON.parse(note.split("\n")[1]);
const fingerprint = (certificate) => createHash("sha256").update(new X509Certificate(certificate).raw).digest("hex");
const copyTo = (name, text) => {
	const file = path.join(d.dir, name);
	fs.writeFileSync(file, text);
	return file;
};

function verify(...args) {
	return new Promise((resolve) => {
		execFile(binaries.verify, ["certificate", ...args], { encoding: "utf8", maxBuffer: 64 << 20 },
			(err, stdout, stderr) => resolve({ code: err ? err.code : 0, out: stdout + stderr }));
	});
}

const run = (program, ...args) => new Promise((resolve, reject) => {
	execFile(program, args, { encoding: "utf8", env: d.env }, (err, stdout, stderr) => (err ? reject(new Error(`${err.message} ${stderr}`)) : resolve(stdout)));
});

/** Keys as an outsider gets them, and the whole log. */
async function evidence() {
	const file = path.join(d.dir, `export-${Date.now()}.jsonl`);
	await d.cli("log", "export", "--output", file);
	const keys = await d.cli("log", "keys");
	return { attestation: keys.attestation[0].vkey, log: ["--key", keys.log.find((k) => k.current).vkey, "--checkpoint", `${file}.checkpoint`], file };
}

describe("a shred", () => {
	let vault, approver, file, note, body, id;

	before(async () => {
		vault = await d.makeVault("doomed");
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		for (const [name, kty] of [["wrapped", "RSA"], ["resident", "EC-HSM"], ["secret", "oct-HSM"]])
			await d.ok(vault, officer, "POST", `/keys/${name}/create`, { kty });
		approver = await d.makePrincipal(vault, "ann@example.com", ["approver"]);
		approver.made = makeSelfSigned(d.dir, "p256", 30, ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
		approver.rsa = makeSelfSigned(d.dir, "rsa");
		for (const { cert } of [approver.made, approver.rsa])
			await d.approved(vault, () => d.admin("POST", `/admin/v1/vaults/doomed/principals/${approver.client_id}/credentials/certificates`,
				{ certificate: fs.readFileSync(cert, "utf8") }));
		const ask = () => d.admin("POST", "/admin/v1/vaults/doomed/shred", { confirm: "doomed", reason: "the end", basis: "contract-end" });
		assert.equal(await d.agree(vault, ask), null);
		file = path.join(d.dir, "doomed.certificate");
		await d.cli("vault", "shred", "doomed", "--basis", "contract-end", "--reason", "the end", "--yes", "--certificate", file);
		note = fs.readFileSync(file, "utf8");
		body = bodyOf(note);
		({ id } = body);
	});

	test("the text names everything that died, canonical, by the kinds that its owner knows", () => {
		assert.equal(note.split("\n")[0], `${body.origin.split("/")[0]}/destruction-certificate/v1`);
		assert.equal(body.state, "complete");
		assert.deepEqual([body.scope, body.basis, body.method, body.tenant, body.v, body.type], ["tenant", "contract-end", "kek-destroy", vault.id, 1, "destruction"]);
		assert.deepEqual(body.keys.map((k) => [k.kind, k.name]).sort(),
			[["EC-HSM", "resident"], ["RSA", "wrapped"], ["oct-HSM", "secret"], ["pseudonyms", ""], ["root", ""]]);
		for (const key of body.keys) {
			assert.match(key.obj, /^[A-Za-z0-9_-]{22}$/);
			assert.equal(Number.isInteger(key.created), key.kind !== "root", `${key.kind} ${key.name}`); // which rotation a root is of nobody tells
			assert.equal(key.spki_sha256 !== undefined, ["EC-HSM", "RSA"].includes(key.kind));
		}
		assert.deepEqual(body.checks.map((c) => c.id), ["in-flight-drained", "fresh-look", "canary", "refused"]);
		assert.deepEqual(body.residual, ["token-directory-copies", "machine-snapshots"], "a software token can be copied");
		assert.ok(body.times.approved < body.times.destroyed && body.times.destroyed <= body.times.verified);
		assert.equal(body.until, undefined);
	});
	test("it is borne out by the log, and said in plain words", async () => {
		const { attestation, log, file: leaves } = await evidence();
		const alone = await verify("--key", attestation, file);
		assert.equal(alone.code, 0, alone.out);
		assert.match(alone.out, /COMPLETE[^]*all keys of the vault[^]*no log was given/);
		const whole = await verify("--key", attestation, ...log, file, leaves);
		assert.equal(whole.code, 0, whole.out);
		assert.doesNotMatch(whole.out, /no log was given/);
		assert.match(whole.out, /the log bears it out: [^]*approved by 1, as the log has it/);
		assert.match(whole.out, /destroyed: 1 root, 1 key of pseudonyms, 2 key versions in the HSM, 1 wrapped key version\n/);
		assert.equal((await verify("--key", attestation)).code, 1, "no certificate was named");
		assert.equal((await verify("--key", attestation, path.join(d.dir, "nothing"))).code, 1);
	});
	test("with one byte changed, anywhere, it is worth nothing", async () => {
		const { attestation } = await evidence();
		const bytes = fs.readFileSync(file);
		for (let at = 3; at < bytes.length - 1; at += Math.floor(bytes.length / 24)) {
			const changed = Buffer.from(bytes);
			changed[at] ^= 1;
			const { code, out } = await verify("--key", attestation, copyTo("changed", changed));
			assert.ok([2, 6].includes(code), `byte ${at}: exit ${code} ${out}`);
			assert.match(out, /Nothing is attested/);
		}
		const other = (await d.cli("log", "keys")).log[0].vkey;
		assert.equal((await verify("--key", other, file)).code, 2, "the log's key signs no certificates");
	});
	test("a page for people names who approved, and no script can run in it", async () => {
		const res = await d.admin("GET", `${BASE}/${id}?format=html`);
		assert.equal(res.status, 200, res.text);
		assert.match(res.headers["content-type"], /^text\/html/);
		assert.match(res.headers["content-security-policy"], /^default-src 'none';/);
		assert.ok(res.text.includes("ann@example.com"), "the approver's name");
		assert.match(res.text, /Reason given <sup>\*<\/sup><\/th><td>the end</, "what the log adds to the signed text is marked");
		assert.match(res.text, /unless somebody kept a copy of a kind/, "as residual has it");
		assert.ok(!/<script|javascript:|http:|https:/i.test(res.text), "it needs nothing from elsewhere");
		assert.ok(res.text.includes(note.split("\n").at(-2)), "the signed text is in it");
		const html = path.join(d.dir, "page.html");
		await d.cli("certificate", "show", id, "--html", "--output", html).catch((err) => assert.match(err.message, /--json/));
	});
	test("its own people see it, others do not", async () => {
		const other = await d.makeVault("other");
		const auditor = await d.makePrincipal(other, "auditor", ["auditor"]);
		const nobody = await d.makePrincipal(other, "nobody");
		assert.deepEqual((await certificatesOf(d)).map((c) => [c.id, c.vault, c.state]), [[id, "doomed", "complete"]]);
		assert.equal((await asUser(approver, "GET", `${BASE}/${id}`)).text, note);
		assert.deepEqual((await asUser(approver, "GET", BASE)).json.value.map((c) => c.id), [id]);
		assert.deepEqual((await asUser(auditor, "GET", BASE)).json.value, []);
		assert.equal((await asUser(auditor, "GET", `${BASE}/${id}`)).status, 404);
		assert.equal((await asUser(auditor, "GET", `${BASE}?vault=doomed`)).status, 404);
		assert.deepEqual((await asUser(nobody, "GET", `${BASE}?vault=${vault.id}`)).json.value, []);
		assert.equal((await d.admin("GET", `${BASE}/${NOTHING}`)).status, 404);
		assert.equal((await d.admin("GET", `${BASE}/${id}?format=pdf`)).status, 400);
	});
	test("who approved adds a line, once, with a key of the kinds that notes have", async () => {
		const pem = fs.readFileSync(approver.made.cert, "utf8"), key = createPrivateKey(fs.readFileSync(approver.made.key));
		const text = note.slice(0, note.indexOf("\n\n") + 1);
		const post = (who, certificate, signature) => asUser(who, "POST", `${BASE}/${id}/signatures`, { certificate, signature: signature.toString("base64url") });
		const rsa = createPrivateKey(fs.readFileSync(approver.rsa.key));
		assert.equal((await d.admin("POST", `${BASE}/${id}/signatures`, { certificate: fingerprint(pem), signature: "AAAA" })).status, 403, "the local socket approves nothing");
		assert.equal((await post(approver, fingerprint(pem), sign("sha256", Buffer.from(`${text}x`), key))).status, 400);
		assert.equal((await post(approver, fingerprint(fs.readFileSync(approver.rsa.cert)), sign("sha256", Buffer.from(text), rsa).subarray(0, 70))).status, 400);
		const token = copyTo("token", await d.token(approver));
		fs.chmodSync(token, 0o600);
		const added = JSON.parse(await run(binaries.cli, "--url", d.origin, "--ca", d.ca.cert, "--token-file", token, "--json", "certificate", "sign", id,
			"--signing-key", approver.made.key, "--certificate", approver.made.cert));
		assert.equal((await post(approver, fingerprint(pem), sign("sha256", Buffer.from(text), key))).status, 409);
		const { attestation } = await evidence();
		const signed = certificateFile(d, id);
		const both = await verify("--key", attestation, "--key", added.vkey, signed);
		assert.equal(both.code, 0, both.out);
		assert.match(both.out, /signed by the approver vault\.localhost\/approver\//);
		const one = await verify("--key", attestation, signed);
		assert.equal(one.code, 0, one.out);
		assert.match(one.out, /not checked, since its key was not given: vault\.localhost\/approver\//);
	});
});

test("a file that cannot be written is told before anything is destroyed", async () => {
	const vault = await d.makeVault("spared");
	await d.makePrincipal(vault, "approver", ["approver"]);
	const ask = () => d.admin("POST", "/admin/v1/vaults/spared/shred", { confirm: "spared", reason: "unspecified" });
	assert.equal(await d.agree(vault, ask), null);
	const shred = (file) => d.cli("vault", "shred", "spared", "--yes", "--certificate", file);
	await assert.rejects(shred(path.join(d.dir, "nowhere", "x")), /nothing was asked of the server/);
	assert.equal((await d.admin("GET", "/admin/v1/vaults/spared")).json.state, "active");
	await shred(path.join(d.dir, "spared.certificate"));
	await assert.rejects(shred(path.join(d.dir, "again.certificate")), /shredded already.*certificate show [0-9a-f-]{36}/);
});

test("one of many keys can be read and enforced like any other", async () => {
	const vault = await d.makeVault("many");
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	await Promise.all(Array.from({ length: 40 }, (_, i) => d.ok(vault, officer, "POST", `/keys/k${i}/create`, { kty: "oct" })));
	await d.shred(vault);
	const { id } = await until("the certificate is signed", async () => (await certificatesOf(d)).find((c) => c.vault === "many" && c.issued));
	const page = await d.admin("GET", `${BASE}/${id}?format=html`);
	assert.equal(page.status, 200, page.text);
	assert.deepEqual(await d.cli("certificate", "enforce", certificateFile(d, id)), { id, objects: 42, revived: 0 });
	const large = await d.admin("POST", "/admin/v1/certificates/enforce", { certificate: ["x".repeat(7 << 20)] });
	assert.match(large.text, /no signed note/, "a certificate may be large");
});

test("the page of a root that was replaced says that the keys live, and who approved the rotation", async () => {
	const vault = await d.makeVault("rotated");
	const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	await d.makePrincipal(vault, "ruth@example.com", ["approver"]);
	await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "EC" });
	await d.approved(vault, () => d.admin("POST", "/admin/v1/vaults/rotated/rotate-root", { reason: "yearly <b>" }));
	const { id } = await until("the certificate is signed", async () => (await certificatesOf(d)).find((c) => c.scope === "root" && c.issued));
	const { text } = await d.admin("GET", `${BASE}/${id}?format=html`);
	assert.match(text, /live on under the new one[^]*approved the rotation[^]*ruth@example.com/);
	assert.match(text, /yearly &lt;b&gt;/);
	assert.doesNotMatch(text, /died with it|took no approval/);
	const { attestation, log, file } = await evidence();
	const { code, out } = await verify("--key", attestation, ...log, certificateFile(d, id), file);
	assert.equal(code, 0, out);
	assert.match(out, /live on under that one[^]*the log bears it out[^]*what people approve is the rotation/);
});

describe("a purge", () => {
	test("is pending while a backup that holds the key lives, and says until when", async () => {
		const vault = await d.makeVault("kept");
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		await d.ok(vault, officer, "POST", "/keys/copied/create", { kty: "RSA" });
		await d.ok(vault, officer, "POST", "/keys/copied/backup");
		await d.ok(vault, officer, "DELETE", "/keys/copied");
		await d.call(vault, officer, "DELETE", "/deletedkeys/copied");
		const made = await until("the certificate is signed", async () => (await certificatesOf(d)).find((c) => c.key === "copied" && c.issued));
		assert.equal(made.state, "pending");
		const { attestation, log, file } = await evidence();
		const certificate = certificateFile(d, made.id), body = bodyOf(fs.readFileSync(certificate, "utf8"));
		assert.deepEqual([body.method, body.state, body.scope], ["blob-erase", "pending-backup-expiry", "key"]);
		assert.deepEqual(body.copies.map((c) => [c.kind, c.disposition, c.until]), [["key-backup", "expires-with-epoch", body.until]]);
		assert.equal(body.residual[0], "older-database-copies");
		const { code, out } = await verify("--key", attestation, ...log, certificate, file);
		assert.equal(code, 0, out);
		assert.match(out, /PENDING[^]*the last backup that does ends by/);
	});
	test("of a key that a restore brought back says so", async () => {
		const vault = await d.makeVault("back");
		const officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
		const purge = async () => {
			await d.ok(vault, officer, "DELETE", "/keys/k");
			await d.call(vault, officer, "DELETE", "/deletedkeys/k");
		};
		const signed = async () => (await certificatesOf(d)).filter((c) => c.vault === "back" && c.issued);
		await d.ok(vault, officer, "POST", "/keys/k/create", { kty: "EC" });
		const { value } = await d.ok(vault, officer, "POST", "/keys/k/backup");
		await purge();
		const [{ id }] = await until("the certificate is signed", async () => ((await signed()).length === 1 ? signed() : null));
		const asPage = async () => (await d.admin("GET", `${BASE}/${id}?format=html`)).text;
		assert.match(await asPage(), /Here the key is gone/);
		await d.ok(vault, officer, "POST", "/keys/restore", { value });
		assert.match(await asPage(), /the key is back\.[^]*restored from a backup at \d{4}-/);
		assert.doesNotMatch(await asPage(), /Here the key is gone|cannot be read any more/);
		const state = (await signed())[0];
		assert.ok(state.revived && state.restored >= state.created, JSON.stringify(state));
		const { attestation, log, file } = await evidence();
		const { code, out } = await verify("--key", attestation, ...log, certificateFile(d, id), file);
		assert.equal(code, 0, out);
		assert.match(out, /warning: revived: [^]*the key lives[^]*NOT attested:[^]*it is BACK/);
		await purge();
		await until("the second is signed", async () => (await signed()).length === 2);
		assert.ok((await signed()).every((c) => c.state === "pending" && !c.revived));
	});
});
