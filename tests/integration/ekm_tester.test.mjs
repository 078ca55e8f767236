// The conformance tester for EKM proxies: it passes a correct proxy in every row, and finds each fault that is planted in one — in the rows
// that are about it and in no other.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { issueClientCert, issueServerCert, makeCa } from "../support/certs.mjs";
import { FAULTS, makeKey, startEkmProxy } from "../support/ekm_proxy.mjs";
import { binaries } from "../support/paths.mjs";

const HOST = "proxy.localhost";
const PREFIX = "/holdfast/test-1";
const OWN = "orders.managedhsmclient.azure.net";
const OTHER = "payroll.managedhsmclient.azure.net";
const EXIT = { passed: 0, usage: 1, failed: 2, unreachable: 3 };

/** Fault -> the rows that must fail, and no others. */
const FOUND_BY = {
	"old-tls": ["tls.old-refused"],
	"one-suite": ["tls.suites"],
	"no-client-cert": ["client-cert.none"],
	"any-issuer": ["client-cert.untrusted"],
	"no-keep-alive": ["http.keep-alive"],
	"no-resumption": ["tls.resumption"],
	"nested-errors": ["error.shape"],
	"wrong-type": ["http.content-type"],
	"standard-base64": ["answer.base64url"],
	"lenient-base64": ["bad.base64-padded", "bad.base64-standard"],
	"key-ops-case": ["metadata.key-ops"],
	"more-key-ops": ["metadata.key-ops"],
	"n-leading-zero": ["metadata.rsa"],
	"oaep-hash": ["openssl.RSA-OAEP-256", "bad.ciphertext.RSA-OAEP", "bad.ciphertext.RSA-OAEP-256", "uniform.RSA-OAEP",
		"uniform.RSA-OAEP-256"],
	"kwp-length": ["wrap.A256KWP", "openssl.A256KWP"],
	"kwp-bytes": ["openssl.A256KWP"],
	"disabled-usable": ["state.disabled"],
	"slow": ["time.load", "time.slowest"],
	"any-case": ["id.case"],
	"any-version": ["version.missing", "version.unknown"],
	"foreign-pool": ["client-cert.foreign", "client-cert.no-probing"],
	"oracle": ["uniform.A256KW", "uniform.A256KWP", "uniform.RSA-OAEP", "uniform.RSA-OAEP-256"],
	"crash": ["bad.unwrap-length.A256KW", "bad.unwrap-length.A256KWP", "bad.unwrap-length.RSA-OAEP", "bad.unwrap-length.RSA-OAEP-256",
		"error.500"],
	"any-prefix": ["route.prefix", "route.paths"],
};
/** What no program can see from outside, or what this run gives no occasion for. */
const ALWAYS_SKIPPED = ["tls.port", "client-cert.validity", "client-cert.renewal", "info.unavailable", "state.expired", "state.rebound",
	"error.408", "error.502", "error.504", "error.429", "error.503", "audit.records"];

let dir, ca, tlsFiles, pools;
const file = (name) => path.join(dir, name);

before(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-ekm-test-"));
	ca = makeCa(dir);
	issueServerCert(ca, HOST, file("server.crt"), file("server.key"));
	tlsFiles = { ca: ca.cert, cert: file("server.crt"), key: file("server.key") };
	for (const [name, subject] of [["own", OWN], ["other", OTHER], ["stranger", "stranger.example"]])
		issueClientCert(ca, subject, file(`${name}.crt`), file(`${name}.key`));
	const aes = makeKey("oct");
	fs.writeFileSync(file("aes.bin"), aes.secret);
	pools = {
		[OWN]: { "Orders-aes-1": aes, "Orders-rsa-1": makeKey("RSA"), "Orders-off-1": makeKey("oct", { enabled: false }) },
		[OTHER]: { "Payroll-aes-1": makeKey("oct") },
	};
});
after(() => fs.rmSync(dir, { recursive: true, force: true }));

function exec(args) {
	return new Promise((done) => {
		execFile(binaries.ekmTest, args, { maxBuffer: 1 << 22 }, (error, stdout, stderr) => {
			done({ status: error === null ? 0 : error.code, stdout, stderr });
		});
	});
}

function connection(port, { prefix = PREFIX, host = HOST, own = "own", roots = ca.cert } = {}) {
	return ["--url", `https://${host}:${port}${prefix}`, "--resolve", `${host}:${port}:127.0.0.1`, "--ca", roots,
		"--cert", file(`${own}.crt`), "--key", file(`${own}.key`)];
}

function everyKey(foreign = "other") {
	return ["--aes-key", "Orders-aes-1", "--rsa-key", "Orders-rsa-1", "--disabled-key", "Orders-off-1",
		"--aes-key-bytes", file("aes.bin"), "--foreign-cert", file(`${foreign}.crt`), "--foreign-key", file(`${foreign}.key`)];
}

async function withProxy(options, use) {
	const proxy = await startEkmProxy({ tls: tlsFiles, pools, prefix: PREFIX, ...options });
	try {
		return await use(proxy.port);
	} finally {
		await proxy.stop();
	}
}

/** The report of a run with --json. */
async function report(args) {
	const run = await exec([...args, "--json"]);
	assert.ok([EXIT.passed, EXIT.failed].includes(run.status), `exit ${run.status}: ${run.stderr}`);
	const result = { ...JSON.parse(run.stdout), status: run.status };
	result.ids = (wanted) => result.checks.filter((row) => row.result === wanted).map((row) => row.id);
	return result;
}

function assertClean(result, skipped = ALWAYS_SKIPPED) {
	assert.deepEqual(result.checks.filter((row) => row.result === "fail"), []);
	assert.deepEqual(result.ids("skip").sort(), [...skipped].sort());
	assert.equal(result.status, EXIT.passed);
}

test("a correct proxy passes every row that can be tested from outside, under load too", async () => {
	await withProxy({}, async (port) => {
		const result = await report([...connection(port), ...everyKey(), "--rate", "40", "--seconds", "1"]);
		assertClean(result);
		assert.equal(result.summary.passed, result.checks.length - ALWAYS_SKIPPED.length);
		assert.equal(result.latency.all.requests, 40);
		assert.equal(result.latency.above_limit, 0);
		assert.equal(result.latency.not_200, 0);
		assert.equal(result.latency.operations.length, 4);
		for (const { p50_ms, p90_ms, p99_ms, max_ms } of result.latency.operations)
			assert.ok(p50_ms > 0 && p50_ms <= p90_ms && p90_ms <= p99_ms && p99_ms <= max_ms);
		assert.equal(result.checklist.length, 13);
		assert.equal(result.errors.find((e) => e.status === 400).result, "pass");
	});
});

test("a proxy that refuses in the handshake, without a prefix, passes as well", async () => {
	await withProxy({ strict: true, prefix: "" }, async (port) => {
		const result = await report([...connection(port, { prefix: "" }), ...everyKey(), "--rate", "0"]);
		assertClean(result, [...ALWAYS_SKIPPED, "route.prefix", "time.load"]);
	});
});

test("a foreign certificate that the proxy does not know is as good as one of another pool", async () => {
	await withProxy({}, async (port) => {
		const result = await report([...connection(port), ...everyKey("stranger"), "--rate", "0"]);
		assertClean(result, [...ALWAYS_SKIPPED, "time.load"]);
	});
});

test("with one key only, what needs the other is skipped and says so", async () => {
	await withProxy({}, async (port) => {
		const cases = [["--aes-key", "Orders-aes-1", "--rsa-key", /RSA/], ["--rsa-key", "Orders-rsa-1", "--aes-key", /A256KW|AES/]];
		for (const [option, id, missing, lacks] of cases) {
			const result = await report([...connection(port), option, id, "--rate", "0"]);
			assert.deepEqual(result.ids("fail"), []);
			assert.equal(result.status, EXIT.passed);
			const skipped = result.checks.filter((row) => row.detail === `needs ${missing}`);
			assert.ok(skipped.length >= 8 && skipped.every((row) => lacks.test(row.title)));
		}
	});
});

test("every planted fault has an expectation", () => {
	assert.deepEqual(Object.keys(FOUND_BY).sort(), Object.keys(FAULTS).sort());
});

describe("a planted fault is found by the rows that are about it and by no other", { concurrency: 2 }, () => {
	for (const [fault, rows] of Object.entries(FOUND_BY))
		test(`${fault}: ${FAULTS[fault]}`, async () => {
			await withProxy({ fault }, async (port) => {
				const load = fault === "slow" ? ["--rate", "50", "--seconds", "1"] : ["--rate", "0"];
				const result = await report([...connection(port), ...everyKey(), ...load]);
				assert.deepEqual(result.ids("fail").sort(), [...rows].sort());
				assert.equal(result.status, EXIT.failed);
				for (const row of result.checks.filter((r) => r.result === "fail"))
					assert.ok(row.detail.length > 0 && row.failures > 0, `${row.id} says why`);
			});
		});
});

test("what is only recommended can be left out", async () => {
	await withProxy({ fault: "oracle" }, async (port) => {
		const result = await report([...connection(port), ...everyKey(), "--rate", "0", "--documented-only"]);
		assert.deepEqual(result.ids("fail"), []);
		assert.ok(result.checks.every((row) => !row.recommended || row.result === "skip"));
	});
});

test("the proxy's certificate is judged: wrong roots, wrong host", async () => {
	await withProxy({}, async (port) => {
		const stranger = makeCa(fs.mkdtempSync(path.join(dir, "roots-")));
		const roots = await report([...connection(port, { roots: stranger.cert }), ...everyKey(), "--rate", "0"]);
		assert.deepEqual(roots.ids("fail"), ["server-cert.chain"]);
		const host = await report([...connection(port, { host: "elsewhere.example" }), ...everyKey(), "--rate", "0"]);
		assert.deepEqual(host.ids("fail"), ["server-cert.san", "server-cert.cn"]);
	});
});

test("people read a table with the reasons, and the sum in its last line", async () => {
	await withProxy({ fault: "any-case" }, async (port) => {
		const run = await exec([...connection(port), ...everyKey(), "--rate", "20", "--seconds", "1"]);
		assert.equal(run.status, EXIT.failed);
		assert.match(run.stdout, /^FAIL {2}id\.case .*\n {6}oRDERS-AES-1: expected 404, got 200\n {6}and 1 more/m);
		assert.match(run.stdout, /^ {2} 5 {2}Case-sensitive identifiers.* FAIL /m);
		assert.match(run.stdout, /^ {2}unwrapkey RSA-OAEP-256 +5 /m);
		assert.match(run.stdout.trimEnd().split("\n").at(-1), /^\d+ passed, 1 failed, \d+ skipped$/);
	});
});

test("a server that does not speak HTTP fails, and steers neither the tester nor the terminal", async () => {
	const options = { cert: fs.readFileSync(tlsFiles.cert), key: fs.readFileSync(tlsFiles.key), minVersion: "TLSv1.3" };
	const server = tls.createServer(options, (socket) => {
		socket.on("error", () => {});
		socket.on("data", () => socket.end("HTTP/1.1 200 \x1b[31m\r\nContent-Length: 99999999999999999999\r\n\r\n\x1b]0;title\x07"));
	}).on("tlsClientError", () => {});
	await new Promise((done) => server.listen(0, "127.0.0.1", done));
	try {
		const run = await exec([...connection(server.address().port), ...everyKey(), "--rate", "20", "--seconds", "1"]);
		assert.equal(run.status, EXIT.failed);
		// eslint-disable-next-line no-control-regex
		assert.doesNotMatch(run.stdout + run.stderr, /[\x00-\x09\x0b-\x1f]/);
		assert.match(run.stdout, /^FAIL {2}tls\.1\.3 /m);
	} finally {
		await new Promise((done) => server.close(done));
	}
});

test("what is wrong with the set-up itself is said once, before the rows that follow from it", async () => {
	await withProxy({}, async (port) => {
		const keys = ["--aes-key", "Orders-aes-1", "--rsa-key", "Orders-rsa-1"];
		const cases = [[{}, keys, /^$/],
			[{ own: "stranger" }, keys, /^[^\n]*does not accept this client certificate \(401 \w+\): register its root[^\n]*\n$/],
			[{}, ["--aes-key", "Orders-rsa-1"], /Orders-rsa-1 is an RSA key: use --rsa-key/],
			[{}, ["--rsa-key", "No-such-1"], /does not know the key No-such-1 \(404/],
			[{ prefix: "/no/such" }, keys, /knows nothing at this path/]];
		for (const [how, options, said] of cases)
			assert.match((await exec([...connection(port, how), ...options, "--rate", "0"])).stderr, said);
	});
});

test("usage errors end with 1 before anything is sent, an unreachable proxy with 3", async () => {
	const good = [...connection(1), ...everyKey(), "--rate", "0"];
	const replaced = (option, value) => good.map((arg, i) => (good[i - 1] === option ? value : arg));
	const wrong = [[], ["--nonsense"], connection(1), [...good, "extra"], [...good, "--rate", "1x"], [...good, "--seconds", "-1"],
		replaced("--url", "http://proxy.localhost/"), replaced("--url", "https://proxy.localhost:99999/"),
		replaced("--url", `https://proxy.localhost/${"x".repeat(65)}`),
		replaced("--url", "https://proxy.localhost/a_b"), replaced("--resolve", "other.localhost:1:127.0.0.1"),
		replaced("--aes-key", "a_b"), replaced("--rsa-key", "x".repeat(65)), replaced("--cert", "/does/not/exist"),
		replaced("--key", file("other.key")),
		replaced("--ca", file("aes.bin")), replaced("--aes-key-bytes", file("own.key")),
		[...connection(1), "--aes-key", "a", "--foreign-cert", file("other.crt")]];
	for (const args of wrong) {
		const run = await exec(args);
		assert.equal(run.status, EXIT.usage, `${args.join(" ")}: ${run.stderr}`);
		assert.notEqual(run.stderr, "");
		assert.equal(run.stdout, "");
	}
	assert.match((await exec(["--url", "https://proxy.localhost"])).stderr, /--cert is missing\n.*--key is missing\n.*--aes-key or --rsa-key is missing/);
	assert.match((await exec(replaced("--ca", "nope"))).stderr, /--ca nope: No such file/);
	const unreachable = await exec(good);
	assert.equal(unreachable.status, EXIT.unreachable);
	assert.match(unreachable.stderr, /cannot connect/);
	const help = await exec(["--help"]);
	assert.equal(help.status, EXIT.passed);
	assert.match(help.stdout, /--documented-only/);
});
