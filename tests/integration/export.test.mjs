// Exports with real receivers: rsyslog over TLS, an OTLP receiver, files. What arrives is compared with the log, record by record; receivers, daemon and disk fail in the middle.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { issueClientCert, issueServerCert, makeCa } from "../support/certs.mjs";
import { Chance, newSeed } from "../support/chance.mjs";
import { authority, Daemon, until } from "../support/daemon.mjs";
import { makeIdentity } from "../support/ekm.mjs";
import { leafHash } from "../support/log.mjs";
import { binaries } from "../support/paths.mjs";
import { attributes, OtlpReceiver, parseCef, Rsyslog, rsyslogd } from "../support/receivers.mjs";
import { Stepper } from "../support/stepper.mjs";

const SEED = Number(process.env.HOLDFAST_SEED ?? newSeed());
const BEARER = "Authorization: Bearer of-the-receiver";
/* What a pool says of its calls is logged, whatever it is; of headers and paths only what is well-formed, so these must not do harm. */
const HOSTILE = ["plain", "a|b=c]d\"e\\f", "] [evil@1 seq=\"1\"] CEF:0|x|y|z|a|b|10|act=none", "<13>1 - h a - - - forged", "x act=key.purge cn1=1", "ends in \\",
	"caf\u00e9 \u00ff\u00fe", "\u00c2\u0085next\u00e2\u0080\u00a8line", "\u00ed\u00a0\u0080", "%0a%00\\n", "${jndi:x}", "z".repeat(400),
	"one\ntwo\r\nthree", "tab\t\u0001\u001b[2J\u007f", "\u0085\u2028\u2029", "\"}],\"seq\":1}\n{", "|=]\\\"", "日本語 🔑"];

let dir;
let ca;
let server;
let client;
before(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-export-"));
	const file = (name) => path.join(dir, name);
	ca = authority(dir);
	server = { ca: ca.cert, cert: file("receiver.crt"), key: file("receiver.key") };
	client = { ca: ca.cert, certificate: file("client.crt"), key: file("client.key") };
	issueServerCert(ca, "localhost", server.cert, server.key);
	issueClientCert(ca, "exporter", client.certificate, client.key);
	fs.writeFileSync(file("headers"), `${BEARER}\n`, { mode: 0o600 });
});
const started = []; // whatever becomes of the test that started it
after(async () => {
	for (const one of started)
		await (one.destroy ?? one.kill).call(one);
	fs.rmSync(dir, { recursive: true, force: true });
});
async function start(kind, ...args) {
	const one = await kind.start(...args);
	started.push(one);
	return one;
}

const isShown = ({ leaf }) => leaf.phase !== "intent";

/* ---- what arrived ---- */

const linesOf = (file) => (fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n").filter((line) => line !== "") : []);
const seqOfSyslog = (message) => Number(message.sd["kel@32473"].seq);
const seqOfOtlp = (record) => attributes(record)["kms.audit.seq"];

/** Nothing is missing, nothing is out of order: what comes is the next one, or the beginning of a run that is sent again. @return how many runs were */
function assertRuns(what, seqs, expected) {
	const place = new Map(expected.map((seq, i) => [seq, i]));
	let furthest = -1;
	let again = 0;
	seqs.forEach((seq, i) => {
		const at = place.get(seq);
		assert.notEqual(at, undefined, `${what}: leaf ${seq} does not belong there`);
		const isNext = i === 0 ? at === 0 : at === place.get(seqs[i - 1]) + 1;
		again += !isNext;
		assert.ok(isNext || at <= furthest + 1, `${what}: leaf ${seq} came after ${seqs[i - 1]} (seed ${SEED})`);
		furthest = Math.max(furthest, at);
	});
	assert.equal(furthest, expected.length - 1, `${what}: ${expected.length - 1 - furthest} leaves never came (seed ${SEED})`);
	return again;
}

/** What each receiver has of the log up to `size`, as seqs; in the order of arrival. */
function arrivals(r, size) {
	const upTo = (seqs) => seqs.filter((seq) => seq < size);
	return {
		syslog: upTo(r.syslog.records().map(seqOfSyslog)), otlp: upTo(r.otlp.records.map(seqOfOtlp)),
		native: upTo(linesOf(r.native).map((line) => JSON.parse(line).seq)), azure: upTo(linesOf(r.azure).map((line) => JSON.parse(line).properties.auditSeq)),
	};
}

async function untilArrived(r, entries, limitMs = 15_000) {
	const size = entries.length;
	const shown = entries.filter(isShown);
	const last = shown.at(-1).leaf.seq;
	await until("everything has arrived", () => {
		const got = arrivals(r, size);
		return got.syslog.includes(last) && got.otlp.includes(last) && got.azure.includes(last) && got.native.includes(size - 1);
	}, limitMs).catch((err) => {
		throw new Error(`${err.message}\n${JSON.stringify(Object.fromEntries(Object.entries(arrivals(r, size)).map(([k, v]) => [k, v.at(-1)])))} of ${last}\n${r.d.logTail()}`);
	});
	return arrivals(r, size);
}

async function startAll(name, options = {}) {
	const own = path.join(dir, name);
	fs.mkdirSync(own);
	const r = { syslog: await start(Rsyslog, own, server), otlp: await start(OtlpReceiver, server), native: path.join(own, "native.jsonl"), azure: path.join(own, "azure.jsonl") };
	r.d = await start(Daemon, { ...options, exports: [
		{ name: "siem", format: "cef", to: `syslog+tls://127.0.0.1:${r.syslog.port}`, ...client },
		{ name: "otel", format: "otlp", to: r.otlp.url, ca: ca.cert, headers_file: path.join(dir, "headers") },
		{ name: "file", format: "native", to: `file:${r.native}` },
		{ name: "lake", format: "azure", to: `file:${r.azure}` },
	] });
	return r;
}

const exportsOf = async (d) => Object.fromEntries((await d.adminOk("GET", "/admin/v1/exports")).json.value.map((x) => [x.name, x]));

/* ---- every record is its leaf ---- */

const SEVERITY = { denied: 4, failed: 3, unknown: 3 };
/* Visible characters stay; the others are written out. */
const visible = (text) => text.replace(/[\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`)
	.replace(/[\u0080-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
const correlation = (leaf) => leaf.corr ?? leaf.corr_b64 ?? leaf.req;

function assertSyslog(message, { leaf, text }, origin) {
	const { header, extension } = parseCef(message.msg.trimStart());
	assert.deepEqual(message.sd, { "kel@32473": { origin, seq: String(leaf.seq), leaf: leafHash(text) } });
	assert.equal(message.hostname, leaf.node);
	assert.equal(message["app-name"], "holdfast");
	assert.equal(message.msgid, leaf.type);
	assert.equal(Math.floor(Number(message.pri) / 8), 13);
	if (leaf.result in SEVERITY)
		assert.equal(Number(message.pri) % 8, SEVERITY[leaf.result], text);
	assert.equal(Date.parse(message.time), Date.parse(leaf.ts));
	assert.equal(header[4], leaf.type);
	const expected = { act: leaf.type, outcome: leaf.result, reason: leaf.err, suser: leaf.actor?.pid, spriv: leaf.actor?.role, cs1: leaf.tenant, cs2: leaf.key?.name,
		cs3: leaf.key?.ver, cs4: leaf.net?.peer, cs5: leafHash(text), cs6: correlation(leaf), externalId: leaf.id, cn1: String(leaf.seq) };
	for (const [name, value] of Object.entries(expected))
		assert.equal(extension[name], value === undefined ? undefined : visible(value), `${name} of ${text}`);
}

function assertOtlp(record, { leaf, text }, origin) {
	const a = attributes(record);
	assert.equal(record.eventName, `kms.${leaf.type}`);
	assert.equal(record.timeUnixNano, String(BigInt(Date.parse(leaf.ts)) * 1_000_000n + BigInt(leaf.ts.slice(23, 26)) * 1000n));
	assert.deepEqual([a["kms.audit.seq"], a["kms.audit.leaf"], a["kms.audit.origin"]], [leaf.seq, leafHash(text), origin]);
	assert.deepEqual([a["kms.tenant"], a["kms.key.name"], a["kms.result"], a["error.type"], a["http.response.status_code"], a["enduser.pseudo.id"]],
		[leaf.tenant, leaf.key?.name, leaf.result, leaf.err, leaf.http, leaf.actor?.pid]);
}

function assertAzure(line, { leaf, text }, origin, d) {
	const o = JSON.parse(line);
	assert.equal(o.time, leaf.ts.replace("Z", "0Z"));
	assert.equal(o.category, "AuditEvent");
	assert.equal(o.resultType, leaf.result === "ok" ? "Success" : "Failure");
	assert.equal(o.resultDescription, leaf.err);
	assert.equal(o.correlationId, correlation(leaf));
	assert.deepEqual(o.properties.details, leaf.det);
	assert.deepEqual([o.properties.auditSeq, o.properties.auditLeaf, o.properties.auditOrigin], [leaf.seq, leafHash(text), origin]);
	const vault = d.vaultNames.get(leaf.tenant);
	assert.match(o.resourceId, vault ? new RegExp(`^/tenants/[0-9a-f-]{36}/vaults/${vault}$`) : /^\/tenants\/[0-9a-f-]{36}$/);
	if (leaf.key?.name && vault)
		assert.equal(o.properties.id, `https://${vault}.vault.localhost:${d.port}/keys/${leaf.key.name}${leaf.key.ver ? `/${leaf.key.ver}` : ""}`);
}

const inHeader = (text) => text.replace(/[^\t\x20-\x7e\x80-\xff]/g, "\xff"); // bytes; not one of those above 7f is UTF-8

async function hostileRun(d) {
	const vault = await d.makeVault("orders");
	const app = await d.makePrincipal(vault, "app", ["crypto-officer", "crypto-user"]);
	const identity = makeIdentity(d.dir, "pool");
	const pool = await d.makePool(vault, "azure", { subjects: [identity.subject], roots: [identity.ca.cert] });
	const ekm = d.ekmClient({ identity });
	d.vaultNames = new Map([[(await d.adminOk("GET", "/admin/v1/vaults/orders")).json.id, "orders"]]);
	await d.ok(vault, app, "POST", "/keys/k1/create", { kty: "oct-HSM" });
	await d.publish(vault, pool, "k1", { id: "Orders-1" });
	for (const text of HOSTILE) {
		const context = { request_context: { request_id: text, correlation_id: text, pool_name: text } };
		assert.equal((await ekm.call("/Orders-1/metadata", context)).status, 200);
		assert.equal((await ekm.call("/Orders-2/metadata", context)).status, 404);
		await d.ok(vault, app, "GET", "/keys/k1", undefined, { headers: { "x-ms-client-request-id": inHeader(text) } });
		await d.call(vault, app, "DELETE", "/keys/none", undefined, { headers: { "x-ms-client-request-id": inHeader(text) } });
		await d.call(vault, app, "GET", `/keys/${encodeURIComponent(text.slice(0, 60))}%ff%fe`);
	}
}

describe("exports", { skip: rsyslogd ? false : "rsyslog is not installed (scripts/deps)", concurrency: true }, () => {
	test("every record of a hostile run arrives at rsyslog, an OTLP receiver and in files, and says what its leaf says", async () => {
		const r = await startAll("hostile", { ekm: {} });
		try {
			await hostileRun(r.d);
			const entries = await r.d.entries();
			const got = await untilArrived(r, entries);
			const shown = entries.filter(isShown);
			const seqs = shown.map(({ leaf }) => leaf.seq);
			for (const text of HOSTILE)
				assert.ok(entries.some(({ leaf }) => leaf.corr?.startsWith(text.slice(0, 100)) && leaf.det?.pool_name), `not in the log: ${JSON.stringify(text)}`);
			assert.deepEqual(got, { syslog: seqs, otlp: seqs, azure: seqs, native: entries.map(({ leaf }) => leaf.seq) });
			const origin = (await r.d.adminOk("GET", "/admin/v1/status")).json.log_origin;
			const messages = r.syslog.records();
			const azure = linesOf(r.azure);
			shown.forEach((entry, i) => {
				assertSyslog(messages[i], entry, origin);
				assertOtlp(r.otlp.records[i], entry, origin);
				assertAzure(azure[i], entry, origin, r.d);
			});
			assert.deepEqual(linesOf(r.native).slice(0, entries.length), entries.map(({ text }) => text));
			assert.equal(r.otlp.requests[0].headers.authorization, BEARER.slice("Authorization: ".length));
			assert.equal(fs.statSync(r.native).mode & 0o777, 0o600);
			await pulledIsTheSame(r, azure);
		} finally {
			await r.d.destroy();
		}
	});

	/* What is pulled in Azure's shape is what the export has. */
	async function pulledIsTheSame({ d }, azure) {
		const pulled = await d.admin("GET", `/audit/v1/entries?format=azure&start=0&count=40`);
		assert.deepEqual(pulled.text.split("\n").filter((line) => line !== ""), azure.filter((line) => JSON.parse(line).properties.auditSeq < 40));
		assert.equal((await d.admin("GET", "/audit/v1/entries?format=xml")).status, 400);
		const file = path.join(dir, "pulled.jsonl");
		const run = (...args) => execFileSync(binaries.cli, ["--socket", d.socket, "--json", ...args], { encoding: "utf8" });
		assert.equal(JSON.parse(run("log", "export", "--format", "azure", "--output", file)).format, "azure");
		assert.deepEqual(linesOf(file).slice(0, 20), azure.slice(0, 20));
		const table = execFileSync(binaries.cli, ["--socket", d.socket, "log", "exports"], { encoding: "utf8" });
		assert.match(table, /^NAME .* SETTLED +SIZE +REJECTED +BEHIND +FAILING +STOPS SERVICE +FAILURE\nsiem +cef +\S+ +\d+ +\d+ +\d+ +[\d.]+ s +no +no +-\n/);
		assert.deepEqual(JSON.parse(run("log", "exports")).value.map((x) => [x.name, x.failing]), [["siem", false], ["otel", false], ["file", false], ["lake", false]]);
	}

	test("receivers, daemon and disk fail in the middle: nothing is lost or out of order, and only runs are sent again", async () => {
		const stepper = new Stepper();
		const r = await startAll("killed", { daemonEnv: stepper.env });
		const chance = new Chance(SEED);
		let isOver = false;
		try {
			const vault = await r.d.makeVault("orders");
			const app = await r.d.makePrincipal(vault, "app", ["crypto-officer"]);
			await r.d.ok(vault, app, "POST", "/keys/k1/create", { kty: "oct-HSM" });
			const work = (async () => {
				while (!isOver)
					if (!await r.d.call(vault, app, "GET", "/keys/k1").then((res) => res.status === 200, () => false))
						await sleep(20);
			})();
			const disasters = [
				async () => { await r.syslog.kill(); await sleep(chance.below(300)); await r.syslog.start(); },
				async () => { await r.otlp.kill(); await sleep(chance.below(300)); await r.otlp.start(); },
				async () => { await r.d.kill9(); await r.d.restart(); },
				async () => { stepper.begin("full", 1); await sleep(300 + chance.below(300)); stepper.end(); },
				async () => { fs.renameSync(r.native, `${r.native}.1`); },
			];
			for (const what of [0, 1, 2, 3, 4, 2, 0, 1].map((i) => [chance.unit(), i]).sort(([a], [b]) => a - b).map(([, i]) => disasters[i])) {
				await sleep(100 + chance.below(300));
				await what().catch((err) => { throw new Error(`seed ${SEED}: ${err.stack}`); });
			}
			isOver = true;
			await work;
			const rotated = `${r.native}.1`;
			const entries = await r.d.entries();
			const shown = entries.filter(isShown).map(({ leaf }) => leaf.seq);
			const got = await untilArrived(r, entries);
			got.native.unshift(...linesOf(rotated).map((line) => JSON.parse(line).seq));
			assert.ok(entries.length > 100, `${entries.length} leaves are too few to tell anything`);
			for (const what of ["syslog", "otlp", "azure"])
				assert.ok(assertRuns(what, got[what], shown) <= 12, `${what}: too many runs came again`);
			assert.ok(assertRuns("native", got.native, entries.map(({ leaf }) => leaf.seq)) <= 6);
			const text = new Map(entries.map((e) => [e.leaf.seq, e.text]));
			for (const line of [...linesOf(rotated), ...linesOf(r.native)].filter((l) => JSON.parse(l).seq < entries.length))
				assert.equal(line, text.get(JSON.parse(line).seq));
		} finally {
			isOver = true;
			stepper.end();
			await r.d.destroy();
		}
	});

	test("a receiver with another certificate is refused, that is shown, and service goes on", async () => {
		const own = path.join(dir, "stranger");
		fs.mkdirSync(own);
		const strangers = makeCa(own);
		const stranger = { ca: strangers.cert, cert: path.join(own, "r.crt"), key: path.join(own, "r.key") };
		issueServerCert(strangers, "localhost", stranger.cert, stranger.key);
		const syslog = await start(Rsyslog, own, stranger);
		const otlp = await start(OtlpReceiver, stranger);
		const d = await start(Daemon, { exports: [{ name: "siem", format: "cef", to: `syslog+tls://127.0.0.1:${syslog.port}`, ca: ca.cert },
			{ name: "otel", format: "otlp", to: otlp.url, ca: ca.cert }] });
		try {
			const state = await until("both are failing", async () => {
				const now = await exportsOf(d);
				return now.siem.failing && now.otel.failing && now;
			});
			assert.match(state.siem.failure, /certificate/i);
			assert.match(state.otel.failure, /certificate/i);
			assert.deepEqual([state.siem.settled, state.otel.settled], [0, 0]);
			assert.equal((await d.makeVault("orders")).name, "orders");
			assert.deepEqual([syslog.records(), otlp.records], [[], []]);
		} finally {
			await d.destroy();
		}
	});

	test("a required export that falls behind stops service until it has caught up; what a receiver rejects is counted and not sent again", async () => {
		const otlp = await start(OtlpReceiver, server);
		otlp.answer = () => ({ status: 503, headers: { "Retry-After": "1" } });
		const d = await start(Daemon, { exports: [{ name: "otel", format: "otlp", to: otlp.url, ca: ca.cert, required: true, max_lag_s: 5 }] });
		try {
			const refused = await until("service stops", async () => {
				const res = await d.admin("POST", "/admin/v1/vaults", { name: `v${Math.floor(performance.now())}` });
				return res.status === 503 && res;
			});
			assert.match(refused.text, /audit_unavailable/);
			assert.match(refused.text, /holdfast log exports/);
			const state = await exportsOf(d);
			assert.ok(state.otel.stops_service && state.otel.failing && state.otel.behind_ms > 5000, JSON.stringify(state));
			otlp.answer = () => ({ status: 200, body: JSON.stringify({ partialSuccess: { rejectedLogRecords: "1", errorMessage: "too old" } }) });
			await until("service is back", async () => (await d.admin("POST", "/admin/v1/vaults", { name: "orders" })).status === 200, 15_000);
			const now = await exportsOf(d);
			assert.ok(now.otel.rejected >= 1 && !now.otel.stops_service, JSON.stringify(now));
			const received = otlp.records.map(seqOfOtlp); // more may come while the log is read
			assertRuns("otlp", received, (await d.entries()).filter(isShown).map(({ leaf }) => leaf.seq).filter((seq) => seq <= received.at(-1)));
		} finally {
			await d.destroy();
		}
	});
});
