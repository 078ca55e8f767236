// An EKM proxy (API 0.1-preview) on node:crypto and node:https, written from the specification alone: the conformance tester is tried against
// it. With a fault's name it has that one fault, on purpose; what each fault is good for is said beside it.
import crypto from "node:crypto";
import fs from "node:fs";
import https from "node:https";

/** Name -> what is wrong with it. */
export const FAULTS = {
	"old-tls": "TLS 1.2 is spoken too",
	"one-suite": "TLS_AES_128_GCM_SHA256 is missing",
	"no-client-cert": "a client without a certificate is served",
	"any-issuer": "the client's name is believed, whoever vouches for it",
	"no-keep-alive": "each answer to info ends its connection",
	"no-resumption": "no session tickets",
	"nested-errors": "errors are wrapped in a member `error`, as in Key Vault",
	"wrong-type": "answers are text/plain",
	"standard-base64": "answers hold padded standard base64",
	"lenient-base64": "padding and the standard alphabet are accepted",
	"key-ops-case": "key_ops is written wrapkey, unwrapkey",
	"more-key-ops": "key_ops has encrypt and decrypt as well",
	"n-leading-zero": "n has the zero byte of ASN.1 in front",
	"oaep-hash": "RSA-OAEP-256 is done with SHA-1",
	"kwp-length": "A256KWP forgets the length when it is not a multiple of 8",
	"kwp-bytes": "A256KWP fills up with bytes other than zero, and does not look at them again",
	"disabled-usable": "a disabled key wraps and unwraps",
	"slow": "each twelfth unwrap of the RSA key takes 300 ms",
	"any-case": "identifiers in any letter case",
	"any-version": "any api-version",
	"foreign-pool": "every pool reaches every key",
	"oracle": "what does not unwrap is refused with the reason",
	"crash": "a ciphertext of the wrong length is answered with 500",
	"any-prefix": "the prefix is not looked at",
};

const API_VERSION = "0.1-preview";
const BODY_MAX = 16384;
const SLOW_MS = 300;
const SLOW_EACH = 12;
const ID = /^[A-Za-z0-9-]{1,64}$/;
const MIN_CIPHERTEXT = { A256KW: 24, A256KWP: 16 };
const OAEP_OVERHEAD = { "RSA-OAEP": 42, "RSA-OAEP-256": 66 };
const KW_IV = Buffer.alloc(8, 0xa6);
const KWP_IV = Buffer.from("a65959a6", "hex");

class Refusal extends Error {
	constructor(status, code, message) {
		super(message);
		this.status = status;
		this.code = code;
	}
}
const bad = (message) => new Refusal(400, "BadRequest", message);

function base64url(text, fault) {
	if (typeof text !== "string")
		throw bad("value must be a string.");
	const bytes = Buffer.from(text, "base64url");
	const isLenient = /^[A-Za-z0-9+/_-]*=*$/.test(text) && text.replace(/=+$/, "").length % 4 !== 1;
	if (fault === "lenient-base64" ? !isLenient : bytes.toString("base64url") !== text)
		throw bad("value must be base64url without padding.");
	return bytes;
}

function cipher(make, name, key, iv, bytes) {
	const c = make(name, key, iv);
	return Buffer.concat([c.update(bytes), c.final()]);
}

function encrypt(key, name, iv, bytes) {
	return cipher(crypto.createCipheriv, name, key, iv, bytes);
}

function decrypt(key, name, iv, bytes) {
	return cipher(crypto.createDecipheriv, name, key, iv, bytes);
}

// RFC 3394's key wrap over whole blocks with any initial value: what the faulty padding needs, which OpenSSL would not make.
function wrapBlocks(key, iv, bytes) {
	const r = [];
	for (let i = 0; i < bytes.length; i += 8)
		r.push(bytes.subarray(i, i + 8));
	let a = iv;
	const aes = (block) => encrypt(key, "aes-256-ecb", null, block).subarray(0, 16);
	if (r.length === 1)
		return aes(Buffer.concat([a, r[0]]));
	for (let j = 0; j < 6; j++)
		for (let i = 0; i < r.length; i++) {
			const b = aes(Buffer.concat([a, r[i]]));
			a = Buffer.from(b.subarray(0, 8));
			a.writeUInt32BE((a.readUInt32BE(4) ^ (j * r.length + i + 1)) >>> 0, 4);
			r[i] = b.subarray(8);
		}
	return Buffer.concat([a, ...r]);
}

const PADDED = { A256KW: "aes256-wrap", A256KWP: "id-aes256-wrap-pad" };

function wrapOct(key, alg, bytes, fault) {
	if (alg === "A256KW") {
		if (bytes.length < 16 || bytes.length % 8 !== 0)
			throw bad("A256KW wraps multiples of 8 bytes, at least 16.");
		return encrypt(key.secret, PADDED[alg], KW_IV, bytes);
	}
	if (bytes.length === 0)
		throw bad("A256KWP wraps at least one byte.");
	const whole = Math.ceil(bytes.length / 8) * 8;
	if (fault === "kwp-length")
		return encrypt(key.secret, PADDED[alg], KWP_IV, Buffer.concat([bytes, Buffer.alloc(whole - bytes.length)]));
	if (fault === "kwp-bytes" && whole !== bytes.length) {
		const length = Buffer.alloc(4);
		length.writeUInt32BE(bytes.length);
		const filled = Buffer.concat([bytes, Buffer.alloc(whole - bytes.length, 0xff)]);
		const wrapped = wrapBlocks(key.secret, Buffer.concat([KWP_IV, length]), filled);
		key.careless.set(wrapped.toString("hex"), bytes);
		return wrapped;
	}
	return encrypt(key.secret, PADDED[alg], KWP_IV, bytes);
}

function unwrapOct(key, alg, bytes, fault) {
	if (bytes.length < MIN_CIPHERTEXT[alg] || bytes.length % 8 !== 0)
		throw fault === "crash" ? new Error("length") : bad("The ciphertext's length is wrong.");
	const careless = fault === "kwp-bytes" && key.careless.get(bytes.toString("hex"));
	return careless || decrypt(key.secret, PADDED[alg], alg === "A256KW" ? KW_IV : KWP_IV, bytes);
}

function oaep(key, alg, fault) {
	const sha1 = alg === "RSA-OAEP" || fault === "oaep-hash";
	return { key, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: sha1 ? "sha1" : "sha256" };
}

function wrapRsa(key, alg, bytes, fault) {
	if (bytes.length > key.bits / 8 - OAEP_OVERHEAD[alg])
		throw bad("Too long for this key and algorithm.");
	return crypto.publicEncrypt(oaep(key.publicKey, alg, fault), bytes);
}

function unwrapRsa(key, alg, bytes, fault) {
	if (bytes.length !== key.bits / 8)
		throw fault === "crash" ? new Error("length") : bad("The ciphertext must be as long as the modulus.");
	return crypto.privateDecrypt(oaep(key.privateKey, alg, fault), bytes);
}

const KINDS = {
	oct: { algs: ["A256KW", "A256KWP"], wrap: wrapOct, unwrap: unwrapOct },
	RSA: { algs: ["RSA-OAEP", "RSA-OAEP-256"], wrap: wrapRsa, unwrap: unwrapRsa },
};

/** A key for the table of a pool. */
export function makeKey(type, { enabled = true, bits = 2048 } = {}) {
	if (type === "oct")
		return { type, enabled, bits: 256, secret: crypto.randomBytes(32), careless: new Map() };
	return { type, enabled, bits, ...crypto.generateKeyPairSync("rsa", { modulusLength: bits }) };
}

/**
 * @param tls    {ca, cert, key}: file names; the CA vouches for both sides
 * @param pools  {commonName: {externalKeyId: makeKey(…)}}
 * @param prefix "/a/b" or ""
 * @param strict whether a client without an accepted certificate is refused in the handshake already
 * @param fault  one of FAULTS, or none
 */
export async function startEkmProxy({ tls, pools, prefix = "", strict = false, fault = null }) {
	if (fault !== null && !(fault in FAULTS))
		throw new Error(`no such fault: ${fault}`);
	let unwraps = 0;

	function answer(res, status, body) {
		const text = JSON.stringify(body);
		const headers = {
			"Content-Type": fault === "wrong-type" ? "text/plain" : "application/json",
			"Content-Length": Buffer.byteLength(text),
			"Cache-Control": "no-store",
		};
		if (status === 405)
			headers.Allow = "POST";
		if (status === 413 || (fault === "no-keep-alive" && res.req.url.includes("/info?")))
			headers.Connection = "close";
		res.writeHead(status, headers);
		res.end(text);
	}

	function refuse(res, error) {
		const known = error instanceof Refusal ? error : new Refusal(500, "InternalServerError", "An unexpected fault.");
		const body = { code: known.code, message: known.message };
		answer(res, known.status, fault === "nested-errors" ? { error: body } : body);
	}

	function poolOf(socket) {
		const name = socket.getPeerCertificate().subject?.CN;
		if (socket.authorized || (fault === "any-issuer" && name))
			return Object.hasOwn(pools, name) ? name : null;
		return fault === "no-client-cert" && !name ? Object.keys(pools)[0] : null;
	}

	function findKey(pool, id) {
		const reachable = fault === "foreign-pool" ? Object.assign({}, ...Object.values(pools)) : pools[pool];
		const found = fault === "any-case" ? Object.keys(reachable).find((name) => name.toLowerCase() === id.toLowerCase()) : id;
		if (!ID.test(id) || found === undefined || !Object.hasOwn(reachable, found))
			throw new Refusal(404, "KeyNotFound", "No key with this identifier is available.");
		return reachable[found];
	}

	function requireEnabled(key) {
		if (!key.enabled)
			throw new Refusal(403, "KeyDisabled", "The operation is not allowed on a disabled key.");
	}

	function info() {
		return {
			api_version: API_VERSION, proxy_vendor: "Holdfast tests", proxy_name: "Reference proxy",
			ekm_vendor: "Holdfast tests", ekm_product: "Reference keys",
		};
	}

	function metadata(key) {
		requireEnabled(key);
		let ops = ["wrapKey", "unwrapKey"];
		if (fault === "key-ops-case")
			ops = ["wrapkey", "unwrapkey"];
		if (fault === "more-key-ops")
			ops = [...ops, "encrypt", "decrypt"];
		const body = { key_type: key.type, key_size: key.bits, key_ops: ops };
		if (key.type === "RSA") {
			const { n, e } = key.publicKey.export({ format: "jwk" });
			const zeros = fault === "n-leading-zero" ? 1 : 0;
			body.n = Buffer.concat([Buffer.alloc(zeros), Buffer.from(n, "base64url")]).toString("base64url");
			body.e = e;
		}
		return body;
	}

	async function crypt(key, body, op) {
		if (fault !== "disabled-usable")
			requireEnabled(key);
		const kind = KINDS[key.type];
		if (typeof body.alg !== "string" || !kind.algs.includes(body.alg))
			throw bad("alg is missing or does not fit the key.");
		const value = base64url(body.value, fault);
		if (op === "unwrap" && key.type === "RSA" && fault === "slow" && ++unwraps % SLOW_EACH === 0)
			await new Promise((done) => setTimeout(done, SLOW_MS));
		let out;
		try {
			out = kind[op](key, body.alg, value, fault);
		} catch (error) {
			if (op === "wrap" || error instanceof Refusal || error.message === "length")
				throw error;
			throw bad(fault === "oracle" ? `${error.message} (${value[0]})` : "The value does not unwrap.");
		}
		return { value: out.toString(fault === "standard-base64" ? "base64" : "base64url") };
	}

	function route(pool, path) {
		let rest = path;
		if (prefix !== "" && fault === "any-prefix")
			rest = rest.replace(/^\/.*(?=\/info$)|^.*(?=\/[^/]+\/(metadata|wrapkey|unwrapkey)$)/, "");
		else if (!rest.startsWith(`${prefix}/`))
			throw new Refusal(404, "NotFound", "No such path.");
		else
			rest = rest.slice(prefix.length);
		const parts = rest.slice(1).split("/");
		if (parts.length === 1 && parts[0] === "info")
			return () => info();
		if (parts.length !== 2 || !["metadata", "wrapkey", "unwrapkey"].includes(parts[1]))
			throw new Refusal(404, "NotFound", "No such operation.");
		return (body) => {
			const key = findKey(pool, parts[0]);
			return parts[1] === "metadata" ? metadata(key) : crypt(key, body, parts[1].replace("key", ""));
		};
	}

	function parse(text) {
		let body;
		try {
			body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
		} catch {
			throw bad("The body is not JSON.");
		}
		const context = body?.request_context;
		if (typeof context?.correlation_id !== "string" || typeof context.pool_name !== "string")
			throw bad("request_context, correlation_id or pool_name is missing.");
		return body;
	}

	async function serve(req, res, text) {
		const pool = poolOf(req.socket);
		if (pool === null)
			throw new Refusal(401, "Unauthorized", "A client certificate of a known pool is needed.");
		const [path, query = ""] = req.url.split("?", 2);
		const handle = route(pool, path);
		if (req.method !== "POST")
			throw new Refusal(405, "MethodNotAllowed", "Use POST.");
		const version = new URLSearchParams(query).get("api-version");
		if (version !== API_VERSION && fault !== "any-version")
			throw bad(`api-version must be ${API_VERSION}.`);
		if (!/^application\/json\s*(;|$)/i.test(req.headers["content-type"] ?? ""))
			throw new Refusal(415, "UnsupportedMediaType", "Use application/json.");
		if (text === null)
			throw new Refusal(413, "PayloadTooLarge", "At most 16 KiB.");
		answer(res, 200, await handle(parse(text)));
	}

	const server = https.createServer({
		ca: fs.readFileSync(tls.ca), cert: fs.readFileSync(tls.cert), key: fs.readFileSync(tls.key),
		requestCert: true, rejectUnauthorized: strict,
		minVersion: fault === "old-tls" ? "TLSv1.2" : "TLSv1.3", maxVersion: "TLSv1.3",
		...(fault === "one-suite" ? { ciphers: "TLS_AES_256_GCM_SHA384" } : {}),
		secureOptions: fault === "no-resumption" ? crypto.constants.SSL_OP_NO_TICKET : 0,
		ALPNProtocols: ["http/1.1"],
	}, (req, res) => {
		const parts = [];
		let size = 0;
		req.on("data", (part) => {
			size += part.length;
			if (size <= BODY_MAX)
				parts.push(part);
		});
		req.on("end", () => {
			serve(req, res, size > BODY_MAX ? null : Buffer.concat(parts)).catch((error) => refuse(res, error));
		});
	});
	// What a handshake without a future leaves behind is not this program's concern.
	server.on("tlsClientError", () => {});
	await new Promise((done) => server.listen(0, "127.0.0.1", done));
	return {
		port: server.address().port,
		stop: () => new Promise((done) => {
			server.close(done);
			server.closeAllConnections();
		}),
	};
}
