// What a Managed HSM pool is to Holdfast: an identity (root and client certificate), and a client of the EKM listener that keeps its
// connections (TLS 1.3) and measures as a pool does, from the start of a request on an established connection to the last byte of the answer.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { issueClientCert, makeCa } from "./certs.mjs";
import { lookup } from "./preload.mjs";

export const EKM_VERSION = "0.1-preview";
export const POOL_LIMIT_MS = 250;
export const EKM_ALGORITHMS = { oct: ["A256KW", "A256KWP"], RSA: ["RSA-OAEP", "RSA-OAEP-256"] };
const PATIENCE_MS = 30_000; // of a client that is not a pool
const RETRIES = 3;

/**
 * A client certificate under a root: a new root unless one is given.
 * @param options  subject: common name; distinguished: the whole subject; ca; and those of issueClientCert
 */
export function makeIdentity(dir, name, { subject = `${name}.managedhsmclient.azure.net`, ca, distinguished, ...options } = {}) {
	const identity = { subject, cert: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) };
	identity.ca = ca ?? makeCa(dir, `${name}-root`, `${name} root`);
	issueClientCert(identity.ca, subject, identity.cert, identity.key, { subject: distinguished, ...options });
	return identity;
}

export class EkmClient {
	/**
	 * @param origin    https://host:port of the listener
	 * @param ca        roots of the server's certificate, PEM
	 * @param identity  {cert, key} file names, or null for a client without a certificate
	 * @param limitMs   longest call; it then fails with err.code "ELIMIT"
	 */
	constructor({ origin, ca, identity, prefix = "", sockets = 1, limitMs = PATIENCE_MS, poolName = "orders-hsm" }) {
		const own = identity ? { cert: fs.readFileSync(identity.cert), key: fs.readFileSync(identity.key) } : {};
		this.url = new URL(origin);
		this.prefix = prefix.replace(/^\/*|\/*$/g, "").replace(/^(?=.)/, "/");
		this.limitMs = limitMs;
		this.poolName = poolName;
		this.agent = new https.Agent({ ...own, ca, lookup, keepAlive: true, maxSockets: sockets, scheduling: "fifo", minVersion: "TLSv1.3" });
	}

	context() {
		return { request_id: randomUUID(), correlation_id: randomUUID(), pool_name: this.poolName };
	}

	/**
	 * One request. `target` is the path behind the prefix, sent as it is; `body` without a request_context gets one.
	 * @return {Promise<{status, headers, json, text, ms, context, resumed, socket}>}
	 */
	call(target, body = {}, { version = EKM_VERSION, prefix = this.prefix, method = "POST", limitMs = this.limitMs, headers = {} } = {}) {
		const context = body?.request_context ?? this.context();
		const payload = typeof body === "string" ? body : JSON.stringify({ request_context: context, ...body });
		const all = { "content-type": "application/json", "content-length": Buffer.byteLength(payload), ...headers };
		const where = `${prefix}${target}${version === null ? "" : `?api-version=${version}`}`;
		return new Promise((resolve, reject) => {
			const req = https.request({ hostname: this.url.hostname, port: this.url.port, servername: this.url.hostname, path: where, method,
				headers: all, agent: this.agent });
			let begin, timer, used;
			const start = () => {
				begin = performance.now();
				timer = setTimeout(() => req.destroy(Object.assign(new Error(`no answer in ${limitMs} ms: ${target}`), { code: "ELIMIT" })), limitMs);
			};
			req.on("socket", (socket) => {
				used = socket;
				if (socket.secureConnecting)
					socket.once("secureConnect", start);
				else
					start();
			});
			req.on("response", (res) => {
				const chunks = [];
				res.on("data", (chunk) => chunks.push(chunk));
				res.on("error", reject);
				res.on("end", () => {
					const ms = performance.now() - begin;
					clearTimeout(timer);
					const text = Buffer.concat(chunks).toString("utf8");
					let json;
					try {
						json = JSON.parse(text);
					} catch {
						json = undefined;
					}
					resolve({ status: res.statusCode, headers: res.headers, text, json, ms, context, resumed: used.isSessionReused(), socket: used });
				});
			});
			req.on("error", (err) => {
				clearTimeout(timer);
				reject(err);
			});
			req.end(payload);
		});
	}

	info(options) {
		return this.call("/info", {}, options);
	}

	metadata(id, options) {
		return this.call(`/${id}/metadata`, {}, options);
	}

	wrap(id, alg, value, options) {
		return this.call(`/${id}/wrapkey`, { alg, value }, options);
	}

	unwrap(id, alg, value, options) {
		return this.call(`/${id}/unwrapkey`, { alg, value }, options);
	}

	/** Open every connection now, so that no handshake falls into what is measured. */
	async warm(calls = this.agent.maxSockets) {
		const answers = await Promise.all(Array.from({ length: calls }, () => this.info()));
		for (const res of answers)
			assert.equal(res.status, 200, res.text);
	}

	close() {
		this.agent.destroy();
	}
}

/** A service tries again, some times, what was late; its pool never does. @param call  () => promise of an answer */
export async function patiently(call) {
	for (let i = 0; ; i++) {
		const res = await call();
		if (![408, 504].includes(res.status) || i === RETRIES)
			return res;
	}
}

/** The flat error of the interface (ekm-proxy.md 7.1), and nothing else in the body. */
export function assertEkmError(res, status, code) {
	assert.equal(res.status, status, res.text);
	assert.deepEqual(Object.keys(res.json ?? {}).sort(), ["code", "message"], res.text);
	if (code !== undefined)
		assert.equal(res.json.code, code, res.text);
	assert.match(res.headers["content-type"] ?? "", /^application\/json/);
	if (status === 429 || status === 503)
		assert.match(res.headers["retry-after"] ?? "", /^[1-9]\d*$/, "Retry-After");
}

/** A vault with an officer, and a pool of it with an identity of its own. */
export class EkmTenant {
	/** @param options  prefix; identity (default: a new one); pool: its name */
	static async make(d, vaultName, { prefix = "", pool = "azure", identity } = {}) {
		const t = new EkmTenant();
		t.d = d;
		t.prefix = prefix;
		t.vault = await d.makeVault(vaultName);
		t.officer = await d.makePrincipal(t.vault, "officer", ["administrator"]);
		t.identity = identity ?? makeIdentity(d.dir, vaultName);
		t.pool = await d.makePool(t.vault, pool, { prefix, subjects: [t.identity.subject], roots: [t.identity.ca.cert] });
		return t;
	}

	/** A client of the listener as this pool; another identity or prefix on request. */
	client(options = {}) {
		return this.d.ekmClient({ identity: this.identity, prefix: this.prefix, ...options });
	}

	/** Create a key (a new version when there is one) and publish it as `id`. @return {{name, id, version, kty}} */
	async makeKey(name, body, id = name) {
		const bundle = await this.d.ok(this.vault, this.officer, "POST", `/keys/${name}/create`, body);
		const version = bundle.key.kid.split("/").pop();
		await this.d.publish(this.vault, this.pool, name, { version, id });
		return { name, id, version, kty: bundle.key.kty.replace("-HSM", ""), n: bundle.key.n, e: bundle.key.e };
	}

	setEnabled({ name, version }, enabled) {
		return this.keyApi("PATCH", `/keys/${name}/${version}`, { attributes: { enabled } });
	}

	/** One call of the key API as the officer, which must succeed; the answer with its headers. */
	async keyApi(method, keyPath, body) {
		const res = await this.d.call(this.vault, this.officer, method, keyPath, body);
		assert.equal(res.status, 200, `${method} ${keyPath}: ${res.status} ${res.text}`);
		return res;
	}

	/** One call of the management API below this vault, which must succeed. */
	admin(adminPath, body) {
		return this.d.adminOk("POST", `/admin/v1/vaults/${this.vault.name}${adminPath}`, body);
	}
}
