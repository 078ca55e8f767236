// A plain HTTPS client for tests: keep-alive, bytes as they are, no retry and no redirect, so that a test sees what the server does.
import http from "node:http";
import https from "node:https";
import tls from "node:tls";
import { lookup } from "./preload.mjs";

/**
 * A client with its own sockets.
 * @param {{ca?: Buffer|string, socketPath?: string, sockets?: number, tls?: object}} options  socketPath: plain HTTP over a UNIX socket, as to an http: origin; tls: more
 *        options of node:tls (cert, key, maxVersion)
 */
export class HttpClient {
	constructor({ ca, socketPath, sockets = 1, origin, tls: more = {} }) {
		this.socketPath = socketPath;
		this.origin = origin;
		const common = { keepAlive: true, maxSockets: sockets, scheduling: "fifo" };
		this.isPlain = socketPath !== undefined || origin?.startsWith("http://") === true;
		this.agent = this.isPlain ? new http.Agent(common) : new https.Agent({ ...common, ...more, ca, lookup });
	}

	/**
	 * One request. `path` is sent as it is. A body that is not text or bytes goes out as JSON.
	 * @return {Promise<{status: number, headers: object, body: Buffer, text: string, json: any, bytesIn: number}>}
	 */
	request(method, path, { origin = this.origin, token, headers = {}, body, host, timeoutMs = 60_000 } = {}) {
		const isRaw = body === undefined || typeof body === "string" || Buffer.isBuffer(body);
		const payload = isRaw ? body : JSON.stringify(body);
		const all = { ...headers };
		if (host !== undefined)
			all.host = host;
		if (token !== undefined)
			all.authorization = `Bearer ${token}`;
		if (payload !== undefined) {
			if (!Object.keys(all).some((name) => name.toLowerCase() === "content-type"))
				all["content-type"] = "application/json";
			all["content-length"] = Buffer.byteLength(payload);
		} else if (method !== "GET" && method !== "HEAD") {
			all["content-length"] = 0;
		}
		const where = this.socketPath
			? { socketPath: this.socketPath }
			: { hostname: new URL(origin).hostname, port: new URL(origin).port || 443, servername: new URL(origin).hostname };
		const lib = this.isPlain ? http : https;
		for (const name of Object.keys(all)) {
			if (all[name] === null) // "do not send this one"
				delete all[name];
		}
		return new Promise((resolve, reject) => {
			const req = lib.request({ ...where, method, path, headers: all, agent: this.agent }, (res) => {
				const chunks = [];
				res.on("data", (chunk) => chunks.push(chunk));
				res.on("error", reject);
				res.on("end", () => resolve(response(res, Buffer.concat(chunks))));
			});
			req.setTimeout(timeoutMs, () => req.destroy(new Error(`no answer in ${timeoutMs} ms: ${method} ${path}`)));
			req.on("error", reject);
			req.end(payload);
		});
	}

	close() {
		this.agent.destroy();
	}
}

function response(res, body) {
	const text = body.toString("utf8");
	let json;
	try {
		json = JSON.parse(text);
	} catch {
		json = undefined;
	}
	return { status: res.statusCode, headers: res.headers, rawHeaders: res.rawHeaders, body, text, json };
}

/** Bytes as they are over one TLS connection; resolves with all that came until the server closed (or waitMs passed in silence). */
export function rawExchange({ ca, origin, bytes, waitMs = 5000 }) {
	const url = new URL(origin);
	return new Promise((resolve, reject) => {
		const chunks = [];
		const socket = tls.connect({ host: "127.0.0.1", port: Number(url.port), servername: url.hostname, ca }, () => socket.write(bytes));
		const done = (closed) => {
			socket.destroy();
			resolve({ text: Buffer.concat(chunks).toString("latin1"), closed });
		};
		socket.setTimeout(waitMs, () => done(false));
		socket.on("data", (chunk) => chunks.push(chunk));
		socket.on("end", () => done(true));
		socket.on("close", () => done(true));
		socket.on("error", (err) => (chunks.length > 0 ? done(true) : reject(err)));
	});
}
