// A simulated Managed HSM pool with external keys (ekm-proxy.md 1, 9, 10): it authenticates its callers by a bearer secret of its own, keeps
// key references with what `metadata` said when they were made, answers reads from that, and delegates wrapkey and unwrapkey to Holdfast:
// nothing else, with 250 ms for each call and no second try. The proxy's status and message reach the caller unchanged.
import assert from "node:assert/strict";
import { randomBytes, timingSafeEqual } from "node:crypto";
import http from "node:http";
import { POOL_LIMIT_MS } from "./ekm.mjs";

const VERSIONS_MAX = 100;
const EXTERNAL_ID = /^[A-Za-z0-9-]{1,64}$/;
/** The data plane's names -> the proxy's; those that are missing are the same. */
const PROXY_ALG = { CKM_AES_KEY_WRAP_PAD: "A256KWP" };

class Refusal extends Error {
	constructor(status, code, message) {
		super(message);
		this.status = status;
		this.code = code;
	}
}
const notFound = (what) => new Refusal(404, "KeyNotFound", `No such ${what}.`);

export class SimulatedPool {
	/** @param client  an EkmClient with the pool's certificate; it is closed with the pool */
	static async start({ name = "orders-hsm", client }) {
		const pool = new SimulatedPool();
		pool.name = name;
		pool.client = client;
		pool.secret = randomBytes(24).toString("hex");
		pool.keys = new Map(); // name -> {versions: [reference], isDeleted}
		pool.calls = []; // what went to the proxy: {operation, id, status, ms}
		pool.server = http.createServer((req, res) => pool.#serve(req, res));
		await new Promise((done) => pool.server.listen(0, "127.0.0.1", done));
		pool.origin = `http://127.0.0.1:${pool.server.address().port}`;
		return pool;
	}

	async stop() {
		this.client.close();
		this.server.closeAllConnections();
		await new Promise((done) => this.server.close(done));
	}

	/** A call of somebody who knows the secret (or `secret` instead). @return {{status, json}} */
	async as(method, target, body, secret = this.secret) {
		const res = await fetch(this.origin + target, { method, body: body === undefined ? undefined : JSON.stringify(body),
			headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" } });
		return { status: res.status, json: await res.json() };
	}

	/* ---- the proxy ---- */

	async #delegate(operation, id, body) {
		const entry = { operation, id, status: null, ms: null };
		this.calls.push(entry);
		const target = id === null ? `/${operation}` : `/${id}/${operation}`;
		let res;
		try {
			res = await this.client.call(target, body, { limitMs: POOL_LIMIT_MS });
		} catch (err) {
			throw err.code === "ELIMIT" ? new Refusal(504, "EkmProxyTimeout", `No answer in ${POOL_LIMIT_MS} ms.`)
				: new Refusal(502, "EkmProxyUnreachable", "The proxy cannot be reached.");
		}
		Object.assign(entry, { status: res.status, ms: res.ms });
		if (res.status !== 200)
			throw new Refusal(res.status, res.json?.code ?? "", res.json?.message ?? res.text);
		return res.json;
	}

	/* ---- key references ---- */

	#key(name, isDeleted = false) {
		const key = this.keys.get(name);
		if (!key || key.isDeleted !== isDeleted)
			throw notFound("key");
		return key;
	}

	#reference(name, version) {
		const { versions } = this.#key(name);
		const found = version ? versions.find((ref) => ref.version === version) : versions.at(-1);
		if (!found)
			throw notFound("key version");
		return found;
	}

	#kid(name, { version }) {
		return `https://${this.name}.managedhsm.azure.net/keys/${name}/${version}`;
	}

	#bundle(name, ref) {
		return {
			key: { kid: this.#kid(name, ref), kty: ref.kty, key_ops: ref.keyOps, n: ref.n, e: ref.e },
			attributes: { enabled: true, created: ref.created, external_key: { id: ref.id } },
		};
	}

	async #create(name, body) {
		const id = body?.attributes?.external_key?.id;
		if (typeof id !== "string" || !EXTERNAL_ID.test(id))
			throw new Refusal(400, "BadParameter", "external_key.id is missing or malformed.");
		const isUsed = () => [...this.keys.values()].some((key) => key.versions.some((ref) => ref.id === id));
		const key = this.keys.get(name) ?? { versions: [], isDeleted: false };
		if (key.isDeleted || isUsed())
			throw new Refusal(409, "Conflict", "The name is that of a deleted key, or the external identifier is in use.");
		if (key.versions.length >= VERSIONS_MAX)
			throw new Refusal(400, "BadParameter", `A key has at most ${VERSIONS_MAX} versions.`);
		const said = await this.#delegate("metadata", id, {});
		assert.deepEqual(said.key_ops, ["wrapKey", "unwrapKey"], "key_ops of the proxy");
		if (isUsed())
			throw new Refusal(409, "Conflict", "The external identifier is in use.");
		const ref = { id, version: randomBytes(16).toString("hex"), kty: `${said.key_type}-HSM`, keyOps: said.key_ops, n: said.n, e: said.e,
			created: Math.floor(Date.now() / 1000) };
		key.versions.push(ref);
		this.keys.set(name, key);
		return this.#bundle(name, ref);
	}

	async #crypt(name, version, operation, { alg, value }) {
		const ref = this.#reference(name, version);
		const said = await this.#delegate(operation, ref.id, { alg: PROXY_ALG[alg] ?? alg, value });
		assert.deepEqual(Object.keys(said), ["value"], "members of the proxy's answer");
		return { kid: this.#kid(name, ref), value: said.value };
	}

	#setDeleted(name, isDeleted) {
		const key = this.#key(name, !isDeleted);
		key.isDeleted = isDeleted;
		return this.#bundle(name, key.versions.at(-1));
	}

	#purge(name) {
		this.#key(name, true);
		this.keys.delete(name);
		return {};
	}

	async #route(method, parts, body) {
		const [collection, name, a, b] = parts;
		const what = `${method} ${collection} ${parts.length}`;
		if (method === "POST" && parts.join("/") === "ekm/check")
			return this.#delegate("info", null, {});
		if (what === "POST keys 3" && a === "create")
			return this.#create(name, body);
		if (what === "GET keys 2" || what === "GET keys 3")
			return this.#bundle(name, this.#reference(name, a));
		if (what === "POST keys 4" && (b === "wrapkey" || b === "unwrapkey"))
			return this.#crypt(name, a, b, body);
		if (what === "DELETE keys 2")
			return this.#setDeleted(name, true);
		if (what === "POST deletedkeys 3" && a === "recover")
			return this.#setDeleted(name, false);
		if (what === "DELETE deletedkeys 2")
			return this.#purge(name);
		throw notFound("operation");
	}

	#authenticate(req) {
		const got = Buffer.from(req.headers.authorization ?? "");
		const wanted = Buffer.from(`Bearer ${this.secret}`);
		if (got.length !== wanted.length || !timingSafeEqual(got, wanted))
			throw new Refusal(401, "Unauthorized", "A bearer secret of this pool is needed.");
	}

	async #serve(req, res) {
		const answer = (status, body) => {
			res.writeHead(status, { "content-type": "application/json" });
			res.end(JSON.stringify(body));
		};
		try {
			this.#authenticate(req);
			const chunks = [];
			for await (const chunk of req)
				chunks.push(chunk);
			const text = Buffer.concat(chunks).toString("utf8");
			const parts = new URL(req.url, this.origin).pathname.slice(1).split("/");
			answer(200, await this.#route(req.method, parts, text === "" ? {} : JSON.parse(text)));
		} catch (err) {
			const known = err instanceof Refusal ? err : new Refusal(500, "InternalError", err.message);
			answer(known.status, { error: { code: known.code, message: known.message } });
		}
	}
}
