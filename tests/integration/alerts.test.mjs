// Alerts of a real daemon (docs/alerts.md): what rules find in the log comes to people by mail, webhook and syslog, once, and nothing is lost while a receiver is away.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Daemon, freePort, until } from "../support/daemon.mjs";
import { verifyLog } from "../support/verify.mjs";

const LIMIT = 5;
const WAIT_MS = 20_000;
const secret = randomBytes(32);

/** As much of RFC 5321 as a client may want. @return what came: { from, to, text } */
class MailServer {
	constructor() {
		this.mails = [];
		this.server = net.createServer((socket) => this.#serve(socket));
	}

	#serve(socket) {
		let text = "", mail = { to: [] }, isData = false;
		socket.on("error", () => {});
		socket.write("220 mail.test ESMTP\r\n");
		socket.on("data", (chunk) => {
			text += chunk;
			for (;;) {
				const end = text.indexOf(isData ? "\r\n.\r\n" : "\r\n");
				if (end < 0)
					return;
				const part = text.slice(0, end);
				text = text.slice(end + (isData ? 5 : 2));
				if (isData) {
					this.mails.push({ ...mail, text: part.replace(/^\.\./gm, ".") });
					mail = { to: [] };
					isData = false;
					socket.write("250 taken\r\n");
				} else if (/^QUIT/i.test(part)) {
					socket.end("221 bye\r\n");
				} else if (/^DATA/i.test(part)) {
					isData = true;
					socket.write("354 go on\r\n");
				} else if (/^RCPT TO:<gone@/i.test(part)) {
					socket.write("550 no such mailbox\r\n");
				} else {
					if (/^MAIL FROM:/i.test(part))
						mail.from = part;
					if (/^RCPT TO:/i.test(part))
						mail.to.push(part);
					socket.write("250 fine\r\n");
				}
			}
		});
	}

	listen(port) {
		return new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
	}
}

/** Takes what is posted, when it is up. */
class Receiver {
	constructor(port) {
		this.port = port;
		this.got = [];
		this.refused = [];
		this.refuses = () => false; // of what came
	}

	up() {
		this.server = http.createServer((req, res) => {
			const chunks = [];
			req.on("data", (chunk) => chunks.push(chunk));
			req.on("end", () => {
				const came = { headers: req.headers, text: Buffer.concat(chunks).toString(), url: req.url };
				const isRefused = this.refuses(came);
				(isRefused ? this.refused : this.got).push(came);
				res.writeHead(isRefused ? 400 : 204).end();
			});
		});
		return new Promise((resolve) => this.server.listen(this.port, "127.0.0.1", resolve));
	}

	down() {
		this.server.closeAllConnections();
		return new Promise((resolve) => this.server.close(resolve));
	}

	/** Each once, as who keeps their ids sees them: after a kill the last ones may come again. */
	alerts() {
		return [...new Map(this.got.map(({ headers, text }) => [headers["webhook-id"], JSON.parse(text)])).values()];
	}
}

describe("alerts", () => {
	let d, dir, vault, app, mail, receiver, syslog, lines = "";

	before(async () => {
		const ports = { mail: await freePort(), hook: await freePort(), syslog: await freePort() };
		mail = new MailServer();
		await mail.listen(ports.mail);
		receiver = new Receiver(ports.hook);
		await receiver.up();
		syslog = net.createServer((socket) => socket.on("data", (chunk) => {
			lines += chunk;
		}).on("error", () => {}));
		await new Promise((resolve) => syslog.listen(ports.syslog, "127.0.0.1", resolve));
		const to = ["hook", "post", "siem"];
		dir = fs.mkdtempSync(path.join(os.tmpdir(), "alerts-"));
		fs.writeFileSync(path.join(dir, "secret"), `whsec_${secret.toString("base64")}\n`, { mode: 0o600 });
		d = await Daemon.start({ alerts: {
			rules: [
				{ name: "many-refusals", kind: "denials", limit: LIMIT, window_s: 3600, vault: "orders", to },
				{ name: "many-refusals-in-all", kind: "denials", limit: 3 * LIMIT, window_s: 3600, per: "total", to: ["hook"] },
				{ name: "elsewhere", kind: "denials", limit: 1, vault: "others", to: ["hook"] },
				{ name: "new-place", kind: "new_address", to: ["hook"] },
				{ name: "hsm", kind: "hsm_lost", to },
				{ name: "late", kind: "log_late", late_s: 2, to: ["hook"] },
			],
			channels: [
				{ name: "hook", kind: "webhook", address: `http://127.0.0.1:${ports.hook}/alerts`, secret_file: path.join(dir, "secret") },
				{ name: "post", kind: "mail", address: `smtp://127.0.0.1:${ports.mail}`, from: "holdfast@kms.example", to: ["ops@kms.example", "gone@kms.example", "night@kms.example"] },
				{ name: "siem", kind: "syslog", address: `syslog+tcp://127.0.0.1:${ports.syslog}` },
			],
		} });
		vault = await d.makeVault("orders");
		app = await d.makePrincipal(vault, "app", ["crypto-officer"]);
		await d.ok(vault, app, "POST", "/keys/k/create", { kty: "oct-HSM" });
	});
	after(async () => {
		await d?.destroy();
		fs.rmSync(dir, { recursive: true, force: true });
		mail?.server.close();
		syslog?.close();
		await receiver?.down().catch(() => {});
	});

	const named = (rule) => receiver.alerts().filter(({ data }) => data.rule === rule);

	async function refuse(times) {
		const stranger = await d.makePrincipal(vault, `stranger${randomBytes(4).toString("hex")}`);
		for (let i = 0; i < times; i++)
			assert.equal((await d.call(vault, stranger, "GET", "/keys/k")).status, 403);
		return stranger;
	}

	test("too many refusals are told once, by every channel, with a signature that holds", async () => {
		await refuse(LIMIT + 3);
		const [alert] = await until("the webhook comes", () => named("many-refusals").length > 0 && named("many-refusals"), WAIT_MS);
		assert.equal(alert.type, "node.alert");
		assert.equal(alert.node, "node1");
		assert.equal(alert.data.kind, "denials");
		assert.equal(alert.data.count, LIMIT);
		assert.match(alert.data.subject, /^[\w-]{22}$/, "as the log names it");
		assert.equal(alert.data.vault, vault.id);
		const cause = (await d.entries(alert.data.seq))[0];
		assert.equal(cause.leaf?.result ?? cause.result, "denied");

		const { headers, text } = receiver.got.find((g) => JSON.parse(g.text).id === alert.id);
		const signed = createHmac("sha256", secret).update(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${text}`).digest("base64");
		assert.equal(headers["webhook-signature"], `v1,${signed}`);
		assert.ok(Math.abs(Number(headers["webhook-timestamp"]) - Date.now() / 1000) < 60);

		const letter = await until("the mail comes", () => mail.mails.find((m) => m.text.includes("many-refusals")), WAIT_MS);
		assert.deepEqual(letter.to.map((line) => /<(.*)>/.exec(line)[1]), ["ops@kms.example", "night@kms.example"], "whoever is not taken keeps it from nobody else");
		await until("it is said who was not taken", () => /alert_mail_receivers_refused.*gone@kms\.example.*550/.test(d.logText()), WAIT_MS);
		assert.match(letter.from, /<holdfast@kms\.example>/);
		assert.match(letter.text, /^Subject: \[holdfast node1\] many-refusals: [\w-]{22}\r$/m);
		assert.match(letter.text, new RegExp(`^count:   ${LIMIT}\\r$`, "m"));
		await until("the line comes", () => /node\.alert \[kel@\d+ origin="[^"]+" seq="\d+" leaf="[^"]+"\] alert of rule many-refusals \(denials\)/.test(lines), WAIT_MS);
		assert.equal(named("many-refusals").length, 1, "once for the window");
		assert.equal(named("elsewhere").length, 0, "another vault's rule");
	});

	test("the first use from another network is told, and no other", async () => {
		const there = d.client(1, { tls: { localAddress: "127.0.9.9" } });
		const token = await d.token(app);
		await d.ok(vault, app, "GET", "/keys/k");
		for (let i = 0; i < 3; i++) {
			const res = await there.request("GET", "/keys/k?api-version=2025-07-01", { origin: vault.origin, token });
			assert.equal(res.status, 200, res.text);
		}
		there.close();
		const [alert] = await until("the alert comes", () => named("new-place").length > 0 && named("new-place"), WAIT_MS);
		assert.match(alert.data.subject, /^[\w-]{22} 127\.0\.9\.0\/24$/);
		assert.equal(named("new-place").length, 1, "neither the second time, nor whoever comes for the first time at all");
	});

	test("a receiver that is away gets all when it is back, each alert once and in order, over a kill of the server", async () => {
		await receiver.down();
		const before = receiver.got.length;
		const strangers = [await refuse(LIMIT), await refuse(LIMIT)];
		const raised = async () => (await d.entries(0)).map((e) => e.leaf ?? e).filter((e) => e.type === "node.alert" && e.det?.rule === "many-refusals");
		await until("both are in the log", async () => (await raised()).length === 1 + strangers.length, WAIT_MS);
		const last = (await raised()).at(-1).seq;
		receiver.refuses = ({ text }) => JSON.parse(text).seq === last;
		await d.kill9();
		await receiver.up();
		await d.restart();
		await refuse(1); /* the windows are made again without an alert */
		await until("the last one is refused", () => receiver.refused.length > 0, WAIT_MS);
		const line = async (name) => (await d.adminOk("GET", "/admin/v1/check")).json.value.find((l) => l.name === name);
		assert.match((await until("check says so", async () => (await line("alert:hook")).result === "warn" && line("alert:hook"), WAIT_MS)).text, /failing/);
		assert.equal((await line("alerts")).result, "good");
		receiver.refuses = () => false;
		await until("both came", () => named("many-refusals").length === 1 + strangers.length, WAIT_MS);
		assert.ok(receiver.got.length > before);
		assert.equal(new Set(receiver.got.slice(before).map(({ text }) => text)).size, receiver.got.length - before, "what it took does not come again because it refused the next");
		assert.match(d.logText(), new RegExp(`alert_waits_for_its_receiver.*${last}.*answered 400`));
		assert.equal((await raised()).length, 1 + strangers.length, "none was raised twice");
		const seqs = receiver.alerts().map(({ seq }) => seq);
		assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b));
		await until("what all did together", () => named("many-refusals-in-all").length === 1, WAIT_MS);
		assert.equal(named("many-refusals-in-all")[0].data.subject, "all callers");
	});

	test("a lost HSM is told while it is away, and that checkpoints do not come", async () => {
		const away = `${d.tokenDir}.away`;
		fs.renameSync(d.tokenDir, away);
		try {
			await until("the alert comes", () => named("hsm").length === 1, WAIT_MS);
			const late = await until("what waits is told too", () => named("late").length === 1 && named("late")[0], WAIT_MS);
			assert.ok(late.data.count >= 2, "seconds");
			await until("by mail too", () => mail.mails.some((m) => /^Subject: \[holdfast node1\] hsm: node1\r$/m.test(m.text)), WAIT_MS);
		} finally {
			fs.renameSync(away, d.tokenDir);
		}
		await until("ready again", async () => (await d.health()).status === 200, 60_000);
	});

	test("the log with its alerts verifies", async () => {
		const { code, out } = await verifyLog(d);
		assert.equal(code, 0, out);
	});
});
