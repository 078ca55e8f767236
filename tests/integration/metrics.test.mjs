// Metrics: what a Prometheus server would read, parsed strictly, against what was really done.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { DOMAIN, Daemon, freePort, until } from "../support/daemon.mjs";

const SAMPLES = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../docs/samples");
const TOKEN = "a-token-for-the-tests-only";
let d, port;

const get = (options) => new Promise((resolve, reject) => {
	const lib = options.ca ? https : http;
	const req = lib.request({ host: "127.0.0.1", port, path: "/metrics", agent: false, ...options }, (res) => {
		let body = "";
		res.setEncoding("utf8").on("data", (s) => { body += s; }).on("end", () => resolve({ status: res.statusCode, headers: res.headers, body }));
	});
	req.on("error", reject).end();
});

// Exposition format 0.0.4: each family described once and before its samples, which stand together; no sample twice; numbers; buckets that only grow.
function parse(text) {
	const families = new Map(), samples = new Map();
	let current = null;
	assert.ok(text.endsWith("\n"));
	for (const line of text.trimEnd().split("\n")) {
		const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
		if (/^# HELP holdfast_[a-z0-9_]+ \S.*$/.test(line))
			continue;
		if (type !== null) {
			assert.ok(!families.has(type[1]), `described twice: ${line}`);
			families.set(type[1], type[2]);
			current = type[1];
			continue;
		}
		const m = /^(holdfast_[a-z0-9_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+)$/.exec(line);
		assert.ok(m, `not a sample: ${line}`);
		assert.equal(families.get(current) === "histogram" ? m[1].replace(/_(bucket|sum|count)$/, "") : m[1], current, `outside its family: ${line}`);
		const key = `${m[1]}{${(m[2] ?? "").replace(/,$/, "")}}`;
		assert.ok(!samples.has(key), `twice: ${key}`);
		samples.set(key, Number(m[3]));
		assert.ok(Number.isFinite(Number(m[3])), line);
	}
	return { families, samples };
}

/** The sum of the samples of one name whose labels include all of these. */
const sum = ({ samples }, name, labels = {}) => [...samples].filter(([key]) => key.startsWith(`${name}{`) &&
	Object.entries(labels).every(([n, v]) => key.includes(`${n}="${v}"`))).reduce((total, [, value]) => total + value, 0);
const scrape = async () => {
	const res = await get({});
	assert.equal(res.status, 200);
	assert.match(res.headers["content-type"], /^text\/plain; version=0\.0\.4/);
	return parse(res.body);
};

before(async () => {
	port = await freePort();
	d = await Daemon.start({ metrics: { port, vaults: 2 } });
});
after(() => d?.destroy());

test("what was done is what is counted", async () => {
	const vault = await d.makeVault("counted");
	const app = await d.makePrincipal(vault, "app", ["crypto-officer"]), reader = await d.makePrincipal(vault, "reader", ["auditor"]);
	await d.call(vault, app, "POST", "/keys/k/create", { kty: "EC" });
	const before = await scrape();
	for (let i = 0; i < 5; i++)
		assert.equal((await d.call(vault, app, "GET", "/keys/k")).status, 200);
	assert.equal((await d.call(vault, app, "GET", "/keys/none")).status, 404);
	assert.equal((await d.call(vault, reader, "GET", "/keys/k")).status, 403);
	assert.equal((await d.call(vault, null, "GET", "/keys/k")).status, 401);
	const now = await scrape();
	const grew = (name, labels) => sum(now, name, labels) - sum(before, name, labels);
	assert.equal(grew("holdfast_http_requests_total", { dialect: "vault", route: "KeyGet", code: "200" }), 5);
	assert.equal(grew("holdfast_http_requests_total", { dialect: "vault", route: "KeyGet", code: "404" }), 1);
	assert.equal(grew("holdfast_http_requests_total", { dialect: "vault", route: "KeyGet", code: "403" }), 1);
	assert.equal(grew("holdfast_http_requests_total", { dialect: "vault", code: "401" }), 1);
	assert.equal(grew("holdfast_http_request_duration_seconds_count", { route: "KeyGet" }), grew("holdfast_http_requests_total", { route: "KeyGet" }));
	assert.equal(grew("holdfast_vault_requests_total", { vault: "counted", result: "ok" }), 5);
	assert.equal(grew("holdfast_vault_requests_total", { vault: "counted", result: "denied" }), 1);
	assert.equal(grew("holdfast_vault_requests_total", { vault: "counted", result: "refused" }), 1);
	assert.ok(grew("holdfast_log_size_leaves") >= 7);
	assert.ok(sum(now, "holdfast_hsm_call_seconds_count", { call: "C_GenerateKeyPair" }) >= 1);
	assert.equal(sum(now, "holdfast_hsm_available"), 1);
	assert.equal(sum(now, "holdfast_log_state", { state: "good" }), 1);
	assert.ok(Math.abs(Date.now() / 1000 - sum(now, "holdfast_checkpoint_timestamp_seconds")) < 120);
	assert.ok(sum(now, "holdfast_hsm_sessions_max") > sum(now, "holdfast_hsm_sessions_busy"));
});

test("vaults beyond the configured number are counted together", async () => {
	for (const name of ["second", "third", "fourth"]) {
		await d.makeVault(name);
		await d.adminOk("GET", `/admin/v1/vaults/${name}`);
	}
	const { samples } = await scrape();
	const vaults = new Set([...samples.keys()].flatMap((key) => /^holdfast_vault_requests_total\{vault="([^"]+)"/.exec(key)?.[1] ?? []));
	assert.deepEqual([...vaults].sort(), ["(others)", "counted", "second"]);
});

test("dashboard and alert rules name only metrics that exist", async () => {
	const { families } = await scrape();
	for (const file of ["grafana-dashboard.json", "prometheus-alerts.yaml"]) {
		const names = new Set(fs.readFileSync(path.join(SAMPLES, file), "utf8").match(/holdfast_[a-z_]+/g));
		assert.ok(names.size > 5);
		for (const name of names)
			assert.ok(families.has(name.replace(/_(bucket|sum|count)$/, "")) || name === "holdfast_witness_failing" || name === "holdfast_witness_size_leaves", `${file}: ${name}`);
	}
	JSON.parse(fs.readFileSync(path.join(SAMPLES, "grafana-dashboard.json"), "utf8"));
});

test("there is one path and one method, and a lost device does not keep it from answering", async () => {
	assert.equal((await get({ path: "/" })).status, 404);
	assert.equal((await get({ method: "POST" })).status, 405);
	fs.renameSync(d.tokenDir, `${d.tokenDir}.away`);
	await until("the loss is shown", async () => sum(await scrape(), "holdfast_hsm_available") === 0);
	fs.renameSync(`${d.tokenDir}.away`, d.tokenDir);
	await until("and its end", async () => sum(await scrape(), "holdfast_hsm_available") === 1, 20_000);
});

test("with a token who reads must have it, over TLS where it is configured", async () => {
	const file = path.join(d.dir, "metrics.token");
	fs.writeFileSync(file, `${TOKEN}\n`, { mode: 0o600 });
	await d.stop();
	d.config.metrics = { port, vaults: 2, token_file: file, certificate: d.cert, key: d.certKey };
	d.writeConfig();
	await d.restart();
	const tls = { ca: d.caPem, servername: DOMAIN };
	assert.equal((await get(tls)).status, 401);
	assert.equal((await get({ ...tls, headers: { authorization: `Bearer ${TOKEN}x` } })).status, 401);
	assert.equal((await get({ ...tls, headers: { authorization: `Bearer ${TOKEN}` } })).status, 200);
	await assert.rejects(get({ headers: { authorization: `Bearer ${TOKEN}` } }), "plain HTTP is not spoken");
});
