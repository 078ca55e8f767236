// A real holdfastd on a fresh SoftHSM2 token in a directory of its own, with TLS, and the helpers that tests need to use it.
//
//	const d = await Daemon.start({ limits: { queue: 2 } });          // options: sections of the configuration file
//	const vault = await d.makeVault("orders", { allowRsa15: true });
//	const app = await d.makePrincipal(vault, "app", ["crypto-user"]); // { client_id, secret, tenant_id, … }
//	const res = await d.call(vault, app, "POST", "/keys/k1/create", { kty: "oct-HSM" });
//	await d.shred(vault);                                            // what two people do, with its approver
//	await d.kill9(); await d.restart(); await d.destroy();
// With { issuers: [issuer.config()] } tokens of external issuers count (issuer.mjs): d.addIdentity().
// With { listen: { client_certificates: true } } services may come with client certificates: d.makeService(), d.client(1, { identity }); with
// { identity: {} } it serves managed identities on d.identityPort: d.addHeaderSecret(). With { ekm: {} } it has an EKM listener too:
//	const pool = await d.makePool(vault, "azure", { prefix: "prod", subjects: [commonName], roots: [file] });
//	await d.publish(vault, pool, "k1", { id: "Orders-1" });
//	const client = d.ekmClient({ identity: { cert, key }, prefix: "prod" });
//
// CA: that of the run (tests/support/run.mjs: HOLDFAST_TEST_CA), so that the official clients trust it through NODE_EXTRA_CA_CERTS; programs
// that use only our own client may run without the runner and get a CA of their own.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { issueServerCert, makeCa } from "./certs.mjs";
import { EkmClient } from "./ekm.mjs";
import { HttpClient } from "./http.mjs";
import { binaries, softhsm } from "./paths.mjs";

export const DOMAIN = "vault.localhost";
export const EKM_HOST = `ekm.${DOMAIN}`;
export const API_VERSION = "2025-07-01";
const START_MS = 20_000;
const STOP_MS = 40_000; // longer than the daemon's own drain
const POLL_MS = 20;
const ENTRIES_PAGE = 1000;
const TOKEN_LABEL = "holdfast";
/** For what measures how much can be done: allowances that nothing here uses up. */
export const UNLIMITED = { vault_requests: 1_000_000, vault_creates: 1_000_000, principal_requests: 1_000_000, principal_creates: 1_000_000 };
const APPROVING_ROLES = new Set(["administrator", "approver"]);

const alive = new Set();
process.on("exit", () => alive.forEach((d) => d.abandon()));

/** Wait for a condition; the value it gave when it became true. Fails with `what` after limitMs. */
export async function until(what, condition, limitMs = 10_000) {
	const end = Date.now() + limitMs;
	for (;;) {
		const value = await condition();
		if (value)
			return value;
		assert.ok(Date.now() < end, `not within ${limitMs} ms: ${what}`);
		await sleep(POLL_MS);
	}
}

/** A TCP port on the loopback address that nobody uses now. */
export async function freePort() {
	const server = net.createServer().listen(0, "127.0.0.1");
	await new Promise((resolve) => server.once("listening", resolve));
	const { port } = server.address();
	await new Promise((resolve) => server.close(resolve));
	return port;
}

/** The run's CA, which the official clients trust; without a runner one of its own in `dir`. */
export function authority(dir) {
	const runDir = process.env.HOLDFAST_TEST_CA;
	return runDir ? { cert: path.join(runDir, "ca.crt"), key: path.join(runDir, "ca.key") } : makeCa(dir);
}

/** Nested sections -> block YAML; every text quoted. */
function toYaml(value, indent = "") {
	return Object.entries(value).filter(([, v]) => v !== undefined).map(([name, v]) => {
		if (Array.isArray(v))
			return `${indent}${name}: [${v.map((x) => JSON.stringify(x)).join(", ")}]\n`;
		if (typeof v === "object")
			return `${indent}${name}:\n${toYaml(v, `${indent}  `)}`;
		return `${indent}${name}: ${JSON.stringify(v)}\n`;
	}).join("");
}

export class Daemon {
	/** @param options  sections laid over the default configuration; `stateDir`: where database and socket are (default: in its own directory); `daemonEnv`: more of the
	 *  environment, of the daemon alone */
	static async start(options = {}) {
		const d = new Daemon();
		alive.add(d);
		try {
			await d.#prepare(options);
			await d.restart();
		} catch (err) {
			await d.destroy();
			throw err;
		}
		return d;
	}

	async #prepare({ stateDir, daemonEnv, ...sections }) {
		this.daemonEnv = daemonEnv;
		this.dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-"));
		this.stateDir = stateDir ?? path.join(this.dir, "state");
		this.tokenDir = path.join(this.dir, "tokens");
		this.logFile = path.join(this.dir, "daemon.log");
		this.pinFile = path.join(this.dir, "pin");
		this.configFile = path.join(this.dir, "holdfast.yaml");
		this.cert = path.join(this.dir, "server.crt");
		this.certKey = path.join(this.dir, "server.key");
		this.database = path.join(this.stateDir, "holdfast.db");
		this.socket = path.join(this.stateDir, "admin.sock");
		fs.mkdirSync(this.stateDir, { recursive: true, mode: 0o700 });
		fs.mkdirSync(this.tokenDir, { mode: 0o700 });

		this.ca = authority(this.dir);
		this.caPem = fs.readFileSync(this.ca.cert);
		issueServerCert(this.ca, DOMAIN, this.cert, this.certKey);

		this.pin = randomBytes(12).toString("hex");
		fs.writeFileSync(this.pinFile, this.pin, { mode: 0o600 });
		const conf = path.join(this.dir, "softhsm2.conf");
		fs.writeFileSync(conf, `directories.tokendir = ${this.tokenDir}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`);
		this.env = { ...process.env, SOFTHSM2_CONF: conf };
		execFileSync(softhsm.util, ["--init-token", "--free", "--label", TOKEN_LABEL, "--so-pin", randomBytes(12).toString("hex"),
			"--pin", this.pin], { env: this.env, stdio: ["ignore", "ignore", "pipe"] });

		this.port = await freePort();
		this.config = { node: "node1", site: "testsite", domain: DOMAIN };
		const defaults = {
			listen: { address: "127.0.0.1", port: this.port },
			tls: { certificate: this.cert, key: this.certKey },
			admin: { socket: this.socket },
			storage: { database: this.database, reserve_mib: 1 },
			hsm: { module: softhsm.module, token: `pkcs11:token=${TOKEN_LABEL}`, pin: this.pinFile, token_dir: this.tokenDir },
			log: { level: "info", format: "json" },
			limits: { token_life_s: 3600 },
		};
		for (const [name, section] of Object.entries(defaults))
			this.config[name] = { ...section, ...sections[name] };
		this.config.issuers = sections.issuers; // a list; undefined = none
		this.config.exports = sections.exports; // the same
		for (const name of ["backup", "metrics", "exports", "alerts", "webhooks"])
			this.config[name] = sections[name]; // undefined = there is none
		if (sections.ekm)
			await this.#prepareEkm(sections.ekm);
		if (sections.identity) {
			this.identityPort = await freePort();
			this.config.identity = { address: "127.0.0.1", port: this.identityPort, ...sections.identity };
		}
		this.writeConfig();
		this.origin = `https://${DOMAIN}:${this.port}`;
		this.http = new HttpClient({ ca: this.caPem, sockets: 64, origin: this.origin });
		this.local = new HttpClient({ socketPath: this.socket, sockets: 4 });
		this.tokens = new Map();
		this.approvers = new Map(); // vault name -> principals that may approve there
	}

	async #prepareEkm(section) {
		this.ekmPort = await freePort();
		this.ekmOrigin = `https://${EKM_HOST}:${this.ekmPort}`;
		this.ekmCert = path.join(this.dir, "ekm.crt");
		this.ekmCertKey = path.join(this.dir, "ekm.key");
		issueServerCert(this.ca, EKM_HOST, this.ekmCert, this.ekmCertKey);
		this.config.ekm = { address: "127.0.0.1", port: this.ekmPort, certificate: this.ekmCert, key: this.ekmCertKey, ...section };
	}

	writeConfig() {
		fs.writeFileSync(this.configFile, toYaml(this.config), { mode: 0o600 });
	}

	/** A client with sockets of its own, for load. @param options  identity: {cert, key} file names of a client certificate; tls: see HttpClient */
	client(sockets = 1, { identity, tls } = {}) {
		const own = identity ? { cert: fs.readFileSync(identity.cert), key: fs.readFileSync(identity.key) } : {};
		return new HttpClient({ ca: this.caPem, sockets, origin: this.origin, tls: { ...own, ...tls } });
	}

	/* ---- the process ---- */

	/** Start the program without waiting; its exit is in `this.exited` ({code, signal}). */
	spawn(configFile = this.configFile, logFile = this.logFile) {
		const log = fs.openSync(logFile, "a", 0o600);
		const child = spawn(binaries.daemon, ["--config", configFile], { env: { ...this.env, ...this.daemonEnv }, stdio: ["ignore", log, log] });
		fs.closeSync(log);
		const exited = new Promise((resolve) => {
			child.once("exit", (code, signal) => resolve({ code, signal }));
			child.once("error", (err) => resolve({ code: null, signal: null, err }));
		});
		return { child, exited };
	}

	/** Start (again) and wait until it is ready. */
	async restart({ ready = true } = {}) {
		assert.ok(!this.child, "it is running");
		const { child, exited } = this.spawn();
		this.child = child;
		this.exited = exited;
		let gone = null;
		exited.then((how) => {
			gone = how;
		});
		await until(`holdfastd is ${ready ? "ready" : "listening"}`, async () => {
			if (gone) {
				this.child = null;
				throw new Error(`holdfastd ended (${JSON.stringify(gone)}):\n${this.logTail()}`);
			}
			try {
				const res = await this.health();
				return ready ? res.status === 200 : true;
			} catch {
				return false;
			}
		}, START_MS).catch((err) => {
			throw new Error(`${err.message}\n${this.logTail()}`);
		});
	}

	health(which = "ready") {
		return this.http.request("GET", `/health/${which}`, { timeoutMs: 5000 });
	}

	signal(name) {
		this.child.kill(name);
	}

	/** kill -9, and wait until it is gone. */
	async kill9() {
		this.child.kill("SIGKILL");
		await this.exited;
		this.child = null;
	}

	/** SIGTERM. @return {{code, signal}} how it ended */
	async stop() {
		if (!this.child)
			return null;
		this.child.kill("SIGTERM");
		const late = setTimeout(() => this.child?.kill("SIGKILL"), STOP_MS);
		const how = await this.exited;
		clearTimeout(late);
		this.child = null;
		return how;
	}

	/** Stop for good and remove everything. */
	async destroy() {
		try {
			if (this.child)
				await this.stop();
		} finally {
			this.http?.close();
			this.local?.close();
			this.abandon();
		}
	}

	/** The same without waiting (the test process is ending). HOLDFAST_KEEP=1 leaves the directory for a look. */
	abandon() {
		this.child?.kill("SIGKILL");
		this.child = null;
		if (this.dir && !process.env.HOLDFAST_KEEP)
			fs.rmSync(this.dir, { recursive: true, force: true });
		alive.delete(this);
	}

	logText() {
		return fs.existsSync(this.logFile) ? fs.readFileSync(this.logFile, "utf8") : "";
	}

	logTail(lines = 25) {
		return this.logText().split("\n").slice(-lines).join("\n");
	}

	/** Resident memory in KiB. */
	rssKib() {
		return Number(/^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${this.child.pid}/status`, "utf8"))[1]);
	}

	/* ---- administration ---- */

	/** holdfast --socket … --json ARGS. @return the parsed answer; fails with .exitCode and .stderr when refused */
	async cli(...args) {
		const stdout = await this.cliText("--json", ...args);
		return stdout.trim() === "" ? null : JSON.parse(stdout);
	}

	/** The same, as people see it. */
	cliText(...args) {
		return new Promise((resolve, reject) => {
			execFile(binaries.cli, ["--socket", this.socket, ...args], { env: this.env, maxBuffer: 64 << 20 }, (err, stdout, stderr) => {
				if (err) {
					const failure = new Error(`holdfast ${args.join(" ")}: exit ${err.code}: ${stderr.trim()}`);
					return reject(Object.assign(failure, { exitCode: err.code, stderr, stdout }));
				}
				return resolve(stdout);
			});
		});
	}

	/** One call of the management API over the local socket; the answer as it is, with its receipt headers. */
	admin(method, adminPath, body) {
		return this.local.request(method, adminPath, { body, host: DOMAIN });
	}

	/** The same, which must succeed. */
	async adminOk(method, adminPath, body) {
		const res = await this.admin(method, adminPath, body);
		assert.ok(res.status >= 200 && res.status < 300, `${method} ${adminPath}: ${res.status} ${res.text}`);
		return res;
	}

	async makeVault(name, { allowRsa15, purgeProtection, retentionDays } = {}) {
		const flags = [];
		if (retentionDays !== undefined)
			flags.push("--retention-days", String(retentionDays));
		if (purgeProtection)
			flags.push("--purge-protection");
		if (allowRsa15)
			flags.push("--allow-rsa1-5");
		const vault = await this.cli("vault", "create", name, ...flags);
		assert.equal(vault.name, name);
		return { ...vault, origin: `https://${name}.${DOMAIN}:${this.port}` };
	}

	async makePrincipal(vault, name, roles = []) {
		const principal = await this.cli("principal", "create", vault.name, name);
		for (const role of roles)
			await this.grant(vault, principal, role);
		return principal;
	}

	/** Grant a role to a principal, service or group; with the approval of others where it needs one. @param scope  key, until, scope */
	async grant(vault, principal, role, scope = {}) {
		const who = principal.client_id ?? principal.id;
		const res = await this.approved(vault, () => this.admin("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { principal: who, role, ...scope }));
		if (principal.secret !== undefined && scope.key === undefined && APPROVING_ROLES.has(role))
			this.#approversOf(vault).push(principal);
		return res;
	}

	remove(vault, principal, role, scope = {}) {
		return this.adminOk("POST", `/admin/v1/vaults/${vault.name}/roles/remove`, { principal: principal.client_id ?? principal.id, role, ...scope });
	}

	makeGroup(vault, name) {
		return this.adminOk("POST", `/admin/v1/vaults/${vault.name}/groups`, { name }).then((res) => res.json);
	}

	addMember(vault, group, member) {
		return this.adminOk("POST", `/admin/v1/vaults/${vault.name}/groups/${group.id}/members`, { member: member.client_id ?? member.id });
	}

	removeMember(vault, group, member) {
		return this.adminOk("DELETE", `/admin/v1/vaults/${vault.name}/groups/${group.id}/members/${member.client_id ?? member.id}`);
	}

	/* ---- what needs several people ---- */

	#approversOf(vault) {
		if (!this.approvers.has(vault.name))
			this.approvers.set(vault.name, []);
		return this.approvers.get(vault.name);
	}

	/** One vote. @param who  a principal; with a token of this moment, unless options say which */
	async vote(vault, who, id, verdict = "approve", { token, ...body } = {}) {
		return this.http.request("POST", `/admin/v1/vaults/${vault.name}/approvals/${id}/${verdict}`,
			{ token: token ?? await this.token(who, { fresh: true }), body });
	}

	/** Ask for what needs approval, and have the vault's approvers (administrators too) agree one after the other. @return ask's own answer, when it needs none */
	async agree(vault, ask) {
		const res = await ask();
		const id = res.json?.error?.innererror?.approval;
		if (id === undefined)
			return res;
		for (const who of this.#approversOf(vault)) {
			const vote = await this.vote(vault, who, id);
			assert.equal(vote.status, 200, `approval by ${who.client_id}: ${vote.text}`);
			if (vote.json.state === "approved")
				return null;
		}
		return assert.fail(`${vault.name} has too few approvers: ${res.text}`);
	}

	/** Do what may need approval. @param ask  () => answer, of the management API @return the answer of the act */
	async approved(vault, ask) {
		const res = await this.agree(vault, ask) ?? await ask();
		assert.ok(res.status >= 200 && res.status < 300, `${res.status} ${res.text}`);
		return res;
	}

	/** Two people agree to shred a vault; an approver is made unless it has one. @return the act itself: () => answer */
	async agreeToShred(vault, reason = "test") {
		if (this.#approversOf(vault).length === 0)
			await this.makePrincipal(vault, "approver", ["approver"]);
		const shred = () => this.adminOk("POST", `/admin/v1/vaults/${vault.name}/shred`, { confirm: vault.name, reason });
		assert.equal(await this.agree(vault, () => this.admin("POST", `/admin/v1/vaults/${vault.name}/shred`, { confirm: vault.name, reason })), null);
		return shred;
	}

	async shred(vault, reason) {
		return (await (await this.agreeToShred(vault, reason))()).json;
	}

	/** A new header secret of a principal, for the managed-identity endpoint. */
	async addHeaderSecret(vault, principal, days = 1) {
		const res = await this.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${principal.client_id}/credentials/secrets`, { kind: "header", days });
		return { id: res.json.id, secret: res.json.secret };
	}

	/** Who a principal is at an external issuer; of a group, "group:" or "role:" and the claim's value. */
	async addIdentity(vault, principal, issuer, subject) {
		const at = `/admin/v1/vaults/${vault.name}/principals/${principal.client_id ?? principal.id}/credentials/identities`;
		return (await this.approved(vault, () => this.admin("POST", at, { issuer, subject }))).json;
	}

	/* ---- services that come with a client certificate ---- */

	/** @param options  subjects: common names; roots: PEM files; roles: of the vault. @return the service, with its principal's id as client_id */
	async makeService(vault, name, { subjects, roots, roles = [] }) {
		const res = await this.adminOk("POST", `/admin/v1/vaults/${vault.name}/services`, { name, subjects, roots: this.#texts(roots) });
		for (const role of roles)
			await this.cli("role", "grant", vault.name, res.json.id, role);
		return { ...res.json, client_id: res.json.id };
	}

	setServiceCertificates(vault, service, { subjects, roots }) {
		return this.adminOk("POST", `/admin/v1/vaults/${vault.name}/services/${service.id}/certificates`, { subjects, roots: this.#texts(roots) });
	}

	#texts(files) {
		return files.map((file) => fs.readFileSync(file, "utf8"));
	}

	/* ---- pools of Managed HSM ---- */

	/** One file with these certificates (PEM files), as the command wants them. */
	#bundle(files) {
		const bundle = path.join(this.dir, `roots-${randomBytes(6).toString("hex")}.pem`);
		fs.writeFileSync(bundle, files.map((file) => fs.readFileSync(file, "utf8")).join(""));
		return bundle;
	}

	/** @param options  subjects: common names; roots: PEM files; prefix: of the path. @return the pool */
	makePool(vault, name, { prefix = "", subjects, roots }) {
		return this.cli("ekm", "pool", "add", vault.name, name, ...subjects.flatMap((s) => ["--subject", s]), "--roots", this.#bundle(roots),
			...(prefix === "" ? [] : ["--prefix", prefix]));
	}

	/** Replace a pool's common names and roots. */
	setPoolCertificates(vault, pool, { subjects, roots }) {
		return this.cli("ekm", "pool", "rotate-roots", vault.name, pool.name, ...subjects.flatMap((s) => ["--subject", s]),
			"--roots", this.#bundle(roots));
	}

	/** Bind an external key id to a version (default: an id that is made, the latest version). @return the published key */
	publish(vault, pool, key, { version, id } = {}) {
		return this.cli("ekm", "key", "publish", vault.name, pool.name, key, ...(version === undefined ? [] : ["--version", version]),
			...(id === undefined ? [] : ["--id", id]));
	}

	retire(vault, pool, id) {
		return this.cli("ekm", "key", "retire", vault.name, pool.name, id);
	}

	/** A client of the EKM listener. @param options  identity, prefix, sockets, limitMs, poolName */
	ekmClient(options) {
		return new EkmClient({ origin: this.ekmOrigin, ca: this.caPem, ...options });
	}

	/* ---- the outside ---- */

	/** The token endpoint, as it answers. */
	tokenRequest(tenant, form, options = {}) {
		return this.http.request("POST", `/${tenant}/oauth2/v2.0/token`, {
			body: new URLSearchParams(form).toString(),
			...options,
			headers: { "content-type": "application/x-www-form-urlencoded", ...options.headers },
		});
	}

	/** An access token of this principal; one is made and kept. */
	async token(principal, { fresh = false } = {}) {
		if (!fresh && this.tokens.has(principal.client_id))
			return this.tokens.get(principal.client_id);
		const res = await this.tokenRequest(principal.tenant_id, {
			grant_type: "client_credentials",
			client_id: principal.client_id,
			client_secret: principal.secret,
			scope: `${this.origin}/.default`,
		});
		assert.equal(res.status, 200, `token: ${res.status} ${res.text}`);
		this.tokens.set(principal.client_id, res.json.access_token);
		return res.json.access_token;
	}

	/**
	 * One request of the key API.
	 * @param who      principal, or null for none
	 * @param options  apiVersion (null: none), client (own sockets), headers, token (instead of the principal's), host
	 */
	async call(vault, who, method, keyPath, body, { apiVersion = API_VERSION, client = this.http, token, ...rest } = {}) {
		const query = apiVersion === null ? "" : `${keyPath.includes("?") ? "&" : "?"}api-version=${apiVersion}`;
		const bearer = token ?? (who ? await this.token(who) : undefined);
		return client.request(method, keyPath + query, { origin: vault.origin, token: bearer, body, ...rest });
	}

	/** The same, which must be answered with 200. @return the parsed body */
	async ok(vault, who, method, keyPath, body, options) {
		const res = await this.call(vault, who, method, keyPath, body, options);
		assert.equal(res.status, 200, `${method} ${keyPath}: ${res.status} ${res.text}`);
		return res.json;
	}

	/* ---- the log ---- */

	/** All leaves from `start` to the end: [{text, leaf}]. Each page read writes an audit.read leaf of its own. */
	async entries(start = 0) {
		const all = [];
		for (;;) {
			const res = await this.admin("GET", `/audit/v1/entries?start=${start + all.length}&count=${ENTRIES_PAGE}`);
			assert.equal(res.status, 200, `entries: ${res.status} ${res.text}`);
			const lines = res.text.split("\n").filter((line) => line !== "");
			for (const text of lines)
				all.push({ text, leaf: JSON.parse(text) });
			if (lines.length < ENTRIES_PAGE)
				return all;
		}
	}

	async logSize() {
		return (await this.adminOk("GET", "/admin/v1/status")).json.log_size;
	}
}

/** A second program on the configuration of `d`, with changes: for starts that must be refused. @return {{code, signal, output}} */
export async function tryStart(d, change = () => {}) {
	const config = structuredClone(d.config);
	change(config);
	const file = path.join(d.dir, `other-${randomBytes(4).toString("hex")}.yaml`);
	fs.writeFileSync(file, toYaml(config), { mode: 0o600 });
	const log = `${file}.log`;
	const { child, exited } = d.spawn(file, log);
	const late = setTimeout(() => child.kill("SIGKILL"), START_MS);
	const how = await exited;
	clearTimeout(late);
	return { ...how, output: fs.readFileSync(log, "utf8") };
}
