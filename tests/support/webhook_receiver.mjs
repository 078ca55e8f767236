// A receiver of webhooks over TLS, as a process of its own so that it can be killed: `node webhook_receiver.mjs PORT CERT KEY FILE`. What it gets it appends to FILE, a
// JSON line each, before it answers. How it answers is said by the path:
//	/ok…        agrees, and takes everything          /gone…     410 to events          /slow…      takes 3 seconds over each event
//	/wrong…     answers the handshake with another code, or another origin              /redirect…  302 to /ok-redirected
//	/toggle…    503 to events while FILE.down exists                                   /hang…      never answers
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SLOW_MS = 3000;

function serve(port, cert, key, file) {
	const options = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
	https.createServer(options, (req, res) => {
		const chunks = [];
		req.on("data", (chunk) => chunks.push(chunk));
		req.on("end", () => {
			const body = Buffer.concat(chunks).toString();
			const kind = new URL(req.url, "https://x").pathname.split("-")[0];
			fs.appendFileSync(file, `${JSON.stringify({ at: Date.now(), method: req.method, url: req.url, headers: req.headers, body })}\n`);
			answer(req, res, kind, body, file);
		});
	}).listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));
}

function answer(req, res, kind, body, file) {
	const end = (status, headers = {}, text = "") => res.writeHead(status, headers).end(text);
	if (kind === "/hang")
		return undefined;
	if (req.method === "OPTIONS")
		return end(200, { "webhook-allowed-origin": kind === "/wrong" ? "other.example.com" : req.headers["webhook-request-origin"] });
	if (req.headers["aeg-event-type"] === "SubscriptionValidation") {
		const code = JSON.parse(body)[0].data.validationCode;
		return end(200, { "content-type": "application/json" }, JSON.stringify({ validationResponse: kind === "/wrong" ? "no" : code }));
	}
	if (kind === "/gone")
		return end(410);
	if (kind === "/redirect")
		return end(302, { location: "/ok-redirected" });
	if (kind === "/toggle" && fs.existsSync(`${file}.down`))
		return end(503);
	if (kind === "/slow")
		return setTimeout(() => end(200), SLOW_MS);
	return end(204);
}

/** Does one of the signatures belong to this secret? As docs/webhooks.md says. */
export function isSigned(request, secret) {
	const key = Buffer.from(secret.slice("whsec_".length), "base64");
	const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = request.headers;
	const expected = `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${request.body}`).digest("base64")}`;
	return Math.abs(Date.now() / 1000 - Number(timestamp)) < 300 && signatures.split(" ").includes(expected);
}

export class Receiver {
	constructor(port, cert, key, file) {
		Object.assign(this, { port, cert, key, file });
		fs.writeFileSync(file, "");
	}

	/** Until it listens. */
	async start() {
		this.child = spawn(process.execPath, [fileURLToPath(import.meta.url), String(this.port), this.cert, this.key, this.file], { stdio: ["ignore", "pipe", "inherit"] });
		this.exited = new Promise((resolve) => this.child.once("exit", resolve));
		await Promise.race([this.exited, new Promise((resolve) => this.child.stdout.once("data", resolve))]);
	}

	async kill9() {
		this.child.kill("SIGKILL");
		await this.exited;
	}

	url(name) {
		return `https://127.0.0.1:${this.port}/${name}`;
	}

	setDown(isDown) {
		if (isDown)
			fs.writeFileSync(`${this.file}.down`, "");
		else
			fs.rmSync(`${this.file}.down`, { force: true });
	}

	/** What came to /name so far. A line that is half written comes with the next look. */
	requests(name) {
		const lines = fs.readFileSync(this.file, "utf8").split("\n").slice(0, -1);
		return lines.map((line) => JSON.parse(line)).filter((r) => new URL(r.url, "https://x").pathname === `/${name}`);
	}

	/** The events among them: [{ id, type, subject, … of the body, request }]. */
	events(name) {
		return this.requests(name).filter((r) => r.method === "POST" && r.headers["aeg-event-type"] !== "SubscriptionValidation").map((request) => {
			const body = JSON.parse(request.body);
			return { ...(Array.isArray(body) ? body[0] : body), request };
		});
	}
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url))
	serve(...process.argv.slice(2));
