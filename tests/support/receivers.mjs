// What exports go to: a real rsyslog (Debian's, its own configuration and directory, no root) that receives over TLS, and a receiver of OTLP/HTTP. Both are killed and come
// back on the same port, and remember every record in the order in which it came.
//
//	const syslog = await Rsyslog.start(dir, { ca, cert, key });
//	await syslog.kill(); await syslog.start(); syslog.records();
//	const otlp = await OtlpReceiver.start({ cert, key });
//	await otlp.kill(); await otlp.start(); otlp.records;
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./daemon.mjs";

const START_MS = 30_000;
const alive = new Set();
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")));
export const rsyslogd = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd"].find((file) => fs.existsSync(file)) ?? null;

async function isListening(port) {
	return new Promise((resolve) => {
		const socket = net.connect(port, "127.0.0.1", () => socket.end(() => resolve(true)));
		socket.on("error", () => resolve(false));
	});
}

/* ---- rsyslog ---- */

// What rsyslog itself found in a message, as JSON; structured data by its own parser.
const PROPERTIES = ["pri", "hostname", "app-name", "procid", "msgid", "msg", "structured-data", "protocol-version"];
const template = () => `template(name="all" type="list" option.jsonf="on") {
${PROPERTIES.map((name) => `	property(outname="${name}" name="${name}" format="jsonf")\n`).join("")}	property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
	property(outname="sd" name="$!rfc5424-sd" format="jsonf")
}`;

function readMessage(line) {
	const message = JSON.parse(line);
	return { ...message, sd: JSON.parse(message.sd) }; // a variable's value is text
}

export class Rsyslog {
	#runs = 0;
	static async start(dir, tls) {
		const r = new Rsyslog();
		r.dir = path.join(dir, "rsyslog");
		r.tls = tls;
		r.port = await freePort();
		fs.mkdirSync(r.dir, { mode: 0o700 });
		await r.start();
		return r;
	}

	/** A new run writes a new file: the last line of one that was killed may be torn. */
	async start() {
		const conf = path.join(this.dir, "rsyslog.conf");
		this.#runs++;
		fs.writeFileSync(conf, `global(workDirectory="${this.dir}" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="${this.tls.ca}"
	defaultNetstreamDriverCertFile="${this.tls.cert}" defaultNetstreamDriverKeyFile="${this.tls.key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
module(load="mmpstrucdata")
input(type="imtcp" port="${this.port}" address="127.0.0.1" ruleset="in")
${template()}
ruleset(name="in") {
	action(type="mmpstrucdata")
	action(type="omfile" file="${this.#file(this.#runs)}" template="all")
}
`);
		const log = fs.openSync(path.join(this.dir, "log"), "a");
		this.child = spawn(rsyslogd, ["-n", "-f", conf, "-i", path.join(this.dir, `pid-${this.#runs}`)], { stdio: ["ignore", log, log] });
		fs.closeSync(log);
		const { child } = this;
		alive.add(child);
		this.exited = new Promise((resolve) => child.once("exit", () => resolve(alive.delete(child))));
		for (const end = Date.now() + START_MS; !await isListening(this.port); await sleep(20)) {
			if (Date.now() < end && child.exitCode === null && child.signalCode === null)
				continue;
			await this.kill();
			assert.fail(`rsyslogd does not listen: ${fs.readFileSync(path.join(this.dir, "log"), "utf8")}`);
		}
	}

	#file(run) {
		return path.join(this.dir, `out-${run}.json`);
	}

	async kill() {
		this.child?.kill("SIGKILL");
		await this.exited;
		this.child = null;
	}

	/** All messages of all runs. */
	records() {
		const all = [];
		for (let run = 1; run <= this.#runs; run++) {
			const text = fs.existsSync(this.#file(run)) ? fs.readFileSync(this.#file(run), "utf8") : "";
			for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n"))
				if (line !== "")
					all.push(readMessage(line));
		}
		return all;
	}
}

/* ---- CEF, as its specification says; apart from the server's writer ---- */

const unescapeCef = (text) => text.replace(/\\(.)/gs, (_, c) => ({ n: "\n", r: "\r" })[c] ?? c);

/** @return {{header: string[], extension: object}} */
export function parseCef(text) {
	const parts = /^CEF:((?:[^\\|]|\\[\\|])*)\|((?:[^\\|]|\\[\\|])*)\|((?:[^\\|]|\\[\\|])*)\|((?:[^\\|]|\\[\\|])*)\|((?:[^\\|]|\\[\\|])*)\|((?:[^\\|]|\\[\\|])*)\|(\d+)\|(.*)$/s.exec(text);
	assert.ok(parts, `no CEF: ${text}`);
	const extension = {};
	let rest = parts[8];
	while (rest !== "") {
		const field = /^([A-Za-z0-9]+)=((?:[^\\=]|\\[\\=nr])*?)(?:$| (?=[A-Za-z0-9]+=))/s.exec(rest);
		assert.ok(field, `no extension: ${rest}`);
		assert.ok(!(field[1] in extension), `${field[1]} twice: ${text}`);
		extension[field[1]] = unescapeCef(field[2]);
		rest = rest.slice(field[0].length);
	}
	return { header: parts.slice(1, 8).map(unescapeCef), extension };
}

/* ---- OTLP/HTTP ---- */

export class OtlpReceiver {
	records = []; // log records, in the order in which they were accepted
	requests = [];
	/** What to answer: {status, headers, body}; a function of the parsed request. */
	answer = () => ({ status: 200, body: "{}" });
	#sockets = new Set();

	static async start(tls) {
		const r = new OtlpReceiver();
		r.tls = { cert: fs.readFileSync(tls.cert), key: fs.readFileSync(tls.key) };
		r.port = await freePort();
		await r.start();
		return r;
	}

	get url() {
		return `https://127.0.0.1:${this.port}/v1/logs`;
	}

	async start() {
		this.server = https.createServer(this.tls, (req, res) => this.#serve(req, res));
		this.server.on("connection", (socket) => {
			this.#sockets.add(socket);
			socket.on("close", () => this.#sockets.delete(socket));
		});
		this.server.listen(this.port, "127.0.0.1");
		await new Promise((resolve) => this.server.once("listening", resolve));
	}

	/** In the middle of whatever it does. */
	async kill() {
		if (!this.server)
			return;
		const closed = new Promise((resolve) => this.server.close(resolve));
		this.#sockets.forEach((socket) => socket.destroy());
		await closed;
		this.server = null;
	}

	async #serve(req, res) {
		const chunks = [];
		try {
			for await (const chunk of req)
				chunks.push(chunk);
		} catch {
			return; // killed
		}
		const body = JSON.parse(Buffer.concat(chunks).toString("utf8"));
		const { status, headers = {}, body: text = "" } = this.answer(body);
		this.requests.push({ headers: req.headers, status });
		if (status === 200)
			this.records.push(...body.resourceLogs.flatMap((r) => r.scopeLogs).flatMap((s) => s.logRecords));
		res.writeHead(status, { "Content-Type": "application/json", ...headers }).end(text);
	}
}

export const attributes = (record) => Object.fromEntries(record.attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]));
