// holdfast-witness as a process of its own, and a log in a few lines (RFC 6962, C2SP signed-note and tlog-cosignature, from the specifications alone) that can be made
// to lie: what a test needs on both sides of the witness protocol.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { issueServerCert } from "./certs.mjs";
import { HttpClient } from "./http.mjs";
import { binaries } from "./paths.mjs";

const run = promisify(execFile);
const READY_MS = 10_000;
const ED25519_SPKI = Buffer.from("302a300506032b6570032100", "hex");
export const TYPE_ED25519 = 1;
export const TYPE_P256 = 2;
export const TYPE_COSIGNATURE = 4;

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const node = (left, right) => sha256(Buffer.from([1]), left, right);

/* ---- notes ---- */

function keyId(name, type, pub) {
	return type === TYPE_P256 ? sha256(pub).subarray(0, 4) : sha256(Buffer.from(`${name}\n`), Buffer.from([type]), pub).subarray(0, 4);
}

export function makeVkey(name, type, pub) {
	return `${name}+${keyId(name, type, pub).toString("hex")}+${Buffer.concat([Buffer.from([type]), pub]).toString("base64")}`;
}

export function parseVkey(vkey) {
	const [name, id, ...rest] = vkey.split("+");
	const blob = Buffer.from(rest.join("+"), "base64");
	const key = { name, type: blob[0], pub: blob.subarray(1), id: keyId(name, blob[0], blob.subarray(1)) };
	assert.equal(key.id.toString("hex"), id, "the key id is not the key's own");
	return key;
}

/** The text, and the signature lines as {name, id, signature}. */
export function parseNote(note) {
	const at = note.lastIndexOf("\n\n");
	const text = note.slice(0, at + 1);
	const lines = note.slice(at + 2).split("\n").filter((line) => line !== "").map((line) => {
		const [dash, name, encoded] = line.split(" ");
		assert.equal(dash, "\u2014");
		const blob = Buffer.from(encoded, "base64");
		return { line, name, id: blob.subarray(0, 4), signature: blob.subarray(4) };
	});
	const [origin, size, root] = text.split("\n");
	return { text, lines, origin, size: Number(size), root };
}

/** The time of a witness's cosignature in a note or an answer of lines, checked; null when it has none. */
export function cosigned(text, lines, vkey) {
	const key = parseVkey(vkey);
	const found = parseNote(`${text}\n${lines}`).lines.find((l) => l.name === key.name && l.id.equals(key.id));
	if (found === undefined)
		return null;
	const time = Number(found.signature.readBigUInt64BE(0));
	const pub = createPublicKey({ key: Buffer.concat([ED25519_SPKI, key.pub]), format: "der", type: "spki" });
	assert.ok(verify(null, Buffer.from(`cosignature/v1\ntime ${time}\n${text}`), pub, found.signature.subarray(8)), `the cosignature of ${key.name} is wrong`);
	return time;
}

/* ---- a log ---- */

export class TestLog {
	constructor(origin, { type = TYPE_ED25519 } = {}) {
		this.origin = origin;
		this.type = type;
		this.leaves = [];
		this.newKey();
	}

	newKey() {
		const { privateKey, publicKey } = this.type === TYPE_P256 ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
		const der = publicKey.export({ format: "der", type: "spki" });
		this.key = privateKey;
		this.pub = this.type === TYPE_P256 ? der : der.subarray(-32);
		this.vkey = makeVkey(this.origin, this.type, this.pub);
	}

	add(count, word = "leaf") {
		for (let i = 0; i < count; i++)
			this.leaves.push(sha256(Buffer.from([0]), Buffer.from(`${word} ${this.leaves.length}`)));
		return this;
	}

	/** A log with the same key that goes another way behind `size`. */
	fork(size) {
		return Object.assign(Object.create(TestLog.prototype), this, { leaves: this.leaves.slice(0, size) });
	}

	root(from = 0, to = this.leaves.length) {
		if (to === from)
			return sha256();
		if (to - from === 1)
			return this.leaves[from];
		const k = 2 ** Math.floor(Math.log2(to - from - 1 || 1));
		return node(this.root(from, from + k), this.root(from + k, to));
	}

	/** RFC 6962 section 2.1.2, recursively. */
	subproof(m, from, to, whole) {
		const n = to - from;
		if (m === n)
			return whole ? [] : [this.root(from, to)];
		const k = 2 ** Math.floor(Math.log2(n - 1 || 1));
		return m <= k ? [...this.subproof(m, from, from + k, whole), this.root(from + k, to)]
			: [...this.subproof(m - k, from + k, to, false), this.root(from, from + k)];
	}

	proof(from, to = this.leaves.length) {
		return from === 0 || from === to ? [] : this.subproof(from, 0, to, true);
	}

	text(size = this.leaves.length, { root = this.root(0, size), extra = "" } = {}) {
		return `${this.origin}\n${size}\n${root.toString("base64")}\n${extra}`;
	}

	line(text) {
		const signature = sign(this.type === TYPE_P256 ? "sha256" : null, Buffer.from(text), this.key);
		return `\u2014 ${this.origin} ${Buffer.concat([keyId(this.origin, this.type, this.pub), signature]).toString("base64")}\n`;
	}

	note(size, options) {
		const text = this.text(size, options);
		return `${text}\n${this.line(text)}`;
	}

	/** The body of add-checkpoint. */
	body(old, size = this.leaves.length, { proof = this.proof(Math.min(old, size), size), note = this.note(size) } = {}) {
		return `old ${old}\n${proof.map((h) => `${h.toString("base64")}\n`).join("")}\n${note}`;
	}
}

/* ---- the program ---- */

export const witnessCommand = (...args) => run(binaries.witness, args);

/** A witness of a daemon, with a certificate of the run's CA. @param logs  verifier keys that it knows */
export function makeWitness(d, name, logs) {
	const dir = path.join(d.dir, name);
	fs.mkdirSync(dir);
	const tls = { ca: d.ca.cert, cert: path.join(dir, "tls.crt"), key: path.join(dir, "tls.key") };
	issueServerCert(d.ca, `${name}.localhost`, tls.cert, tls.key);
	return Witness.start(dir, { name: `witness.example.net/${name}`, logs, tls });
}

/** The verifier key of a daemon's first log. */
export async function logVkey(d) {
	return (await d.entries(0)).find(({ leaf }) => leaf.type === "log.init").leaf.det.vkey;
}

export class Witness {
	/** @param dir  its own; made when there is none @param options  logs: verifier keys; tls: {ca, cert, key} file names; name; listen */
	static async start(dir, options) {
		const w = new Witness();
		fs.mkdirSync(dir, { recursive: true });
		Object.assign(w, { name: "witness.example.net/w1", listen: "127.0.0.1:0", ...options, dir });
		w.key = path.join(dir, "key.pem");
		w.state = path.join(dir, "state");
		w.logFile = path.join(dir, "witness.log");
		const made = fs.existsSync(w.key) ? await witnessCommand("vkey", "--name", w.name, "--key", w.key)
			: await witnessCommand("keygen", "--name", w.name, "--key", w.key);
		w.vkey = made.stdout.trim();
		if (w.logs.length > 0)
			await w.restart();
		return w;
	}

	get args() {
		return ["run", "--name", this.name, "--key", this.key, "--state", this.state, "--listen", this.listen, ...this.logs.flatMap((vkey) => ["--log", vkey]),
			...(this.tls ? ["--tls-cert", this.tls.cert, "--tls-key", this.tls.key] : [])];
	}

	/** Start (again), on the same port. */
	async restart() {
		assert.ok(!this.child, "it is running");
		const from = fs.existsSync(this.logFile) ? fs.statSync(this.logFile).size : 0;
		const log = fs.openSync(this.logFile, "a");
		this.child = spawn(binaries.witness, this.args, { stdio: ["ignore", log, log] });
		fs.closeSync(log);
		let gone = false;
		this.exited = new Promise((resolve) => {
			this.child.once("exit", (code, signal) => {
				gone = true;
				resolve({ code, signal });
			});
		});
		for (const end = Date.now() + READY_MS;;) {
			const ready = /ready (\S+)/.exec(fs.readFileSync(this.logFile, "utf8").slice(from));
			if (ready) {
				this.url = ready[1];
				break;
			}
			if (gone || Date.now() > end) {
				this.child = null;
				throw new Error(`holdfast-witness did not start:\n${this.logText()}`);
			}
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
		this.listen = `127.0.0.1:${new URL(this.url).port}`;
		this.http?.close();
		this.http = new HttpClient({ origin: this.url, ca: this.tls ? fs.readFileSync(this.tls.ca) : undefined, sockets: 8 });
	}

	async stop(signal = "SIGTERM") {
		if (!this.child)
			return null;
		this.child.kill(signal);
		const how = await this.exited;
		this.child = null;
		this.http.close();
		return how;
	}

	logText() {
		return fs.existsSync(this.logFile) ? fs.readFileSync(this.logFile, "utf8") : "";
	}

	post(body, options = {}) {
		return this.http.request("POST", "/add-checkpoint", { body, headers: { "content-type": "text/plain" }, timeoutMs: 10_000, ...options });
	}

	/** What it remembers, as its own command shows it: {origin: {size, root, cosigned}}. */
	async remembered() {
		const { stdout } = await witnessCommand("show", "--state", this.state);
		return Object.fromEntries(stdout.trim().split("\n").filter((line) => line !== "").map((line) => {
			const [origin, ...fields] = line.split(" ");
			return [origin, Object.fromEntries(fields.map((f) => [f.slice(0, f.indexOf("=")), f.slice(f.indexOf("=") + 1)]))];
		}));
	}
}
