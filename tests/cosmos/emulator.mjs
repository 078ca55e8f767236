// Cosmos DB for tests: @vercel/cosmosdb-server, with what it lacks for client-side encryption in front of it. That is
//   * the resource /dbs/{db}/clientencryptionkeys: create, read, list, replace (If-Match), in memory;
//   * its own address in the account's description, so that a certificate for a name will do.
// Everything else goes to the emulator as it came. It keeps a container's clientEncryptionPolicy but does not look at it (the service would
// refuse a bad one), ignores the client's encryption headers, and lets every caller in, whatever the account key.
//
//	const cosmos = await Emulator.start({ cert, key, host: "cosmos.vault.localhost" });     // cosmos.endpoint, cosmos.seen
//	node tests/cosmos/emulator.mjs CERTIFICATE KEY HOST PORT
import { createHttpsServer } from "@vercel/cosmosdb-server";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const RESOURCE = /^\/*dbs\/([^/]+)\/clientencryptionkeys(?:\/([^/]+))?\/?$/;

async function bodyOf(req) {
	const chunks = [];
	for await (const chunk of req)
		chunks.push(chunk);
	return JSON.parse(Buffer.concat(chunks));
}

export class Emulator {
	/** What has come in: head and body of every request, as text. */
	seen = [];
	#keys = new Map(); // "database/id" -> resource
	#server;

	static async start({ cert, key, host, port = 0 }) {
		const emulator = new Emulator();
		const server = createHttpsServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), minVersion: "TLSv1.2" });
		const [forward] = server.listeners("request");
		server.removeAllListeners("request");
		server.on("request", (req, res) => emulator.#serve(req, res, forward));
		await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
		emulator.#server = server;
		emulator.endpoint = `https://${host}:${server.address().port}/`;
		return emulator;
	}

	async stop() {
		this.#server.closeAllConnections();
		await new Promise((resolve) => this.#server.close(resolve));
	}

	#serve(req, res, forward) {
		const at = this.seen.push(`${req.method} ${req.url}\n${JSON.stringify(req.headers)}\n`) - 1;
		req.on("data", (chunk) => {
			this.seen[at] += chunk;
		});
		const { pathname } = new URL(req.url, this.endpoint);
		const [isKeys, database, id] = RESOURCE.exec(pathname) ?? [];
		if (isKeys)
			return this.#serveKeys(req, res, decodeURIComponent(database), id && decodeURIComponent(id)).catch((err) => res.destroy(err));
		if (pathname === "/")
			this.#nameItself(res);
		return forward.call(this.#server, req, res);
	}

	/** The account's description tells clients where to go. */
	#nameItself(res) {
		const { end } = res;
		res.end = (text) => end.call(res, text.replaceAll(/https:\/\/127\.0\.0\.1:\d+\//g, this.endpoint));
	}

	async #serveKeys(req, res, database, id) {
		const name = `${database}/${id}`;
		const found = this.#keys.get(name);
		const answer = (status, body) => {
			res.writeHead(status, { "content-type": "application/json", "x-ms-activity-id": randomUUID() });
			res.end(body === undefined ? undefined : JSON.stringify(body));
		};
		const store = (status, key, wanted) => {
			const now = { ...wanted, _rid: key, _etag: `"${randomUUID()}"`, _ts: Math.floor(Date.now() / 1000) };
			this.#keys.set(key, now);
			return answer(status, now);
		};
		if (req.method === "POST" && id === undefined) {
			const wanted = await bodyOf(req);
			const key = `${database}/${wanted.id}`;
			return this.#keys.has(key) ? answer(409, { code: "Conflict", message: "it exists" }) : store(201, key, wanted);
		}
		if (req.method === "GET" && id === undefined)
			return answer(200, { ClientEncryptionKeys: [...this.#keys.values()].filter(({ _rid }) => _rid.startsWith(`${database}/`)) });
		if (!found)
			return answer(404, { code: "NotFound", message: "there is no such client encryption key" });
		if (req.method === "GET")
			return found._etag === req.headers["if-none-match"] ? answer(304) : answer(200, found);
		if (req.method !== "PUT")
			return answer(405, { code: "MethodNotAllowed", message: "create, read, list, replace" });
		if (req.headers["if-match"] && req.headers["if-match"] !== found._etag)
			return answer(412, { code: "PreconditionFailed", message: "it has been replaced meanwhile" });
		return store(200, name, await bodyOf(req));
	}
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
	const [cert, key, host, port] = process.argv.slice(2);
	try {
		if (!(Number(port) > 0 && Number(port) <= 65535))
			throw new Error("usage: node tests/cosmos/emulator.mjs CERTIFICATE KEY HOST PORT");
		console.log((await Emulator.start({ cert, key, host, port: Number(port) })).endpoint);
	} catch (err) {
		console.error(`emulator: ${err.code === "EADDRINUSE" ? `port ${port} is taken: choose another` : err.message}`);
		process.exit(1);
	}
}
