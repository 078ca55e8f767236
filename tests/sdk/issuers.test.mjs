// External issuers: tokens are checked with keys that are fetched from one configured HTTPS URL, or read from a file; what happens when keys are rotated, and when the
// issuer answers nonsense, something else, late, or not at all.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KeyClient } from "@azure/keyvault-keys";
import { assertError } from "../support/asserts.mjs";
import { issueServerCert, makeCa } from "../support/certs.mjs";
import { Daemon, freePort, tryStart, until } from "../support/daemon.mjs";

const STALE_S = 12;
const NAMES = ["entra", "rotated", "guessed", "spoilt", "moved", "slow", "stranger", "plain", "gone"];

/** An OpenID issuer: one RSA key at a time, whose JWK Set the server below publishes. */
class Issuer {
	constructor(name, origin) {
		this.name = name;
		this.iss = `https://${name}.test/v2.0`;
		this.url = `${origin}/${name}`;
		this.rotate("k1");
	}
	rotate(kid) {
		this.kid = kid;
		this.pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
	}
	get jwks() {
		return JSON.stringify({ keys: [{ ...this.pair.publicKey.export({ format: "jwk" }), kid: this.kid, use: "sig", alg: "RS256" }] });
	}
	token(claims = {}, header = {}) {
		const now = Math.floor(Date.now() / 1000);
		const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
		const text = `${part({ typ: "JWT", alg: "RS256", kid: this.kid, ...header })}.${part({ iss: this.iss, aud: audience, oid: `${this.name}-user`,
			tid: "t1", iat: now, nbf: now, exp: now + 3600, ver: "2.0", ...claims })}`;
		return `${text}.${sign("sha256", Buffer.from(text), this.pair.privateKey).toString("base64url")}`;
	}
}

let d, vault, audience, server, jwksPort, dir;
const issuers = {}, requests = {}, behaviour = {};

function answer(req, res) {
	const name = req.url.slice(1);
	requests[name] = (requests[name] ?? 0) + 1;
	if (behaviour[name])
		return behaviour[name](res);
	return issuers[name] ? res.end(issuers[name].jwks) : res.writeHead(404).end();
}

async function listen(port = 0) {
	server = https.createServer({ cert: fs.readFileSync(path.join(dir, "jwks.crt")), key: fs.readFileSync(path.join(dir, "jwks.key")) }, answer);
	server.listen(port, "127.0.0.1");
	await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
	return server.address().port;
}

async function closeServer() {
	server.closeAllConnections();
	await new Promise((resolve) => server.close(resolve));
}

const get = (token) => d.call(vault, null, "GET", "/keys", undefined, { token });
const events = (event, what) => d.logText().split("\n").filter((line) => line.includes(`"event":"${event}"`) && line.includes(what));
/** As the official clients do: once more after a 503. */
async function patient(token) {
	return until("not busy", async () => {
		const res = await get(token);
		if (res.status === 503)
			assert.match(res.headers["retry-after"], /^\d+$/);
		return res.status !== 503 && res;
	});
}
const identity = (principal, issuer, subject) =>
	d.adminOk("POST", `/admin/v1/vaults/${vault.name}/principals/${principal}/credentials/identities`, { issuer, subject });

before(async () => {
	dir = fs.mkdtempSync("/tmp/holdfast-jwks-");
	const ca = makeCa(dir, "jwks-ca"), otherCa = makeCa(dir, "other-ca", "another CA");
	issueServerCert(ca, "localhost", path.join(dir, "jwks.crt"), path.join(dir, "jwks.key"));
	jwksPort = await freePort();
	const origin = `https://localhost:${jwksPort}`;
	for (const name of NAMES)
		issuers[name] = new Issuer(name, origin);
	fs.writeFileSync(path.join(dir, "plain.json"), issuers.plain.jwks);
	assert.equal(await listen(jwksPort), jwksPort);
	d = await Daemon.start({
		issuers: NAMES.map((name) => ({
			name, issuer: [issuers[name].iss], tenant: "t1", refresh_s: name === "gone" ? 10 : 3600, stale_s: name === "gone" ? STALE_S : 86400,
			...(name === "plain" ? { jwks_file: path.join(dir, "plain.json") }
				: { jwks_url: issuers[name].url, ca: name === "stranger" ? otherCa.cert : ca.cert }),
			...(name === "entra" ? { authority: "https://login.test/tenant-of-entra" } : {}),
		})),
	});
	audience = d.origin;
	vault = await d.makeVault("orders");
	const user = await d.makePrincipal(vault, "user", ["crypto-officer"]);
	// One principal may have four identities.
	const others = await Promise.all(["user2", "user3"].map((name) => d.makePrincipal(vault, name, ["crypto-officer"])));
	for (const [i, name] of NAMES.entries())
		await identity([user, ...others][Math.floor(i / 4)].client_id, name, `${name}-user`);
});
after(async () => {
	await d?.destroy();
	await closeServer().catch(() => {});
	fs.rmSync(dir, { recursive: true, force: true });
});

describe("a token of an external issuer", () => {
	test("lets its principal in, with the official client too", async () => {
		assert.equal((await patient(issuers.entra.token())).status, 200);
		const keys = new KeyClient(vault.origin, { getToken: async () => ({ token: issuers.entra.token(), expiresOnTimestamp: Date.now() + 3_600_000 }) });
		const key = await keys.createKey("external", "RSA");
		assert.equal(key.name, "external");
		const leaf = (await d.entries()).map((e) => e.leaf).findLast((l) => l.type === "key.create");
		assert.equal(leaf?.result, "ok");
	});
	test("whom the vault does not know is refused, with a challenge", async () => {
		const res = await get(issuers.entra.token({ oid: "somebody" }));
		assertError(res, 401, "Unauthorized");
		assert.ok(res.headers["www-authenticate"]);
	});
	test("the same subject of another issuer is somebody else", async () => {
		assertError(await patient(issuers.rotated.token({ oid: "entra-user" })), 401, "Unauthorized");
	});
	for (const [what, claims, message] of [
		["for somebody else", { aud: "https://vault.azure.net" }, /^AKV10022/], ["of another tenant", { tid: "t2" }, /^AKV10032/],
		["that has ended", { exp: Math.floor(Date.now() / 1000) - 61 }, /^AKV10001/], ["of an unknown issuer", { iss: "https://evil.test" }, /^AKV10032/],
	]) {
		test(`${what} is refused and says why`, async () => {
			const res = await get(issuers.entra.token(claims));
			assertError(res, 401, "Unauthorized");
			assert.match(res.json.error.message, message);
		});
	}
	test("groups and roles of the token count where the vault has groups for them", async () => {
		const created = await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/groups`, { name: "readers" });
		const group = created.json.id;
		const member = await d.makePrincipal(vault, "member");
		await identity(member.client_id, "entra", "member-user");
		await identity(group, "entra", "group:ops");
		await d.adminOk("POST", `/admin/v1/vaults/${vault.name}/roles/grant`, { principal: group, role: "reader" });
		assertError(await get(issuers.entra.token({ oid: "member-user" })), 403, "Forbidden", "ForbiddenByRbac");
		assert.equal((await get(issuers.entra.token({ oid: "member-user", groups: ["ops"] }))).status, 200);
		assertError(await get(issuers.entra.token({ oid: "member-user", roles: ["ops"] })), 403, "Forbidden", "ForbiddenByRbac");
	});
});

describe("the keys", () => {
	test("a rotated key is fetched when a token names it, and the official client does not notice", async () => {
		assert.equal((await patient(issuers.rotated.token())).status, 200);
		const old = issuers.rotated.token();
		issuers.rotated.rotate("k2");
		const keys = new KeyClient(vault.origin, { getToken: async () => ({ token: issuers.rotated.token(), expiresOnTimestamp: Date.now() + 3_600_000 }) });
		assert.equal((await keys.getKey("external")).name, "external");
		assert.equal(requests.rotated, 2);
		assertError(await get(old), 401, "Unauthorized"); // remembered a moment ago, but its key was withdrawn
	});
	test("made-up kids do not have them fetched again and again", async () => {
		assert.equal((await patient(issuers.guessed.token())).status, 200);
		let made = 0;
		const guess = () => issuers.guessed.token({}, { kid: `../${made++}' OR 1=1` });
		await until("read once for them", async () => (await get(guess())).status === 401, 5000);
		for (let i = 0; i < 50; i++)
			assertError(await get(guess()), 401, "Unauthorized");
		assert.ok(requests.guessed <= 2, `${requests.guessed} requests`);
		assert.equal((await get(issuers.guessed.token())).status, 200);
	});
	test("answers that are no JWK Set, too large, or an error leave the last good ones, and the log says so once", async () => {
		const reread = async () => {
			const before = requests.spoilt;
			d.signal("SIGHUP");
			await until("read again", () => requests.spoilt > before);
			await sleep(100);
		};
		const token = issuers.spoilt.token();
		assert.equal((await patient(token)).status, 200);
		for (const bad of [(res) => res.end("<html>"), (res) => res.writeHead(500).end(issuers.spoilt.jwks), (res) => res.end(`${issuers.spoilt.jwks}${" ".repeat(70_000)}`),
			(res) => res.destroy()]) {
			behaviour.spoilt = bad;
			await reread();
			assert.equal((await get(token)).status, 200);
		}
		assert.equal(events("issuer_keys_not_read", "").filter((line) => /html|JWK Set|answered 500|spoilt/.test(line)).length, 1);
		/* An issuer that gives its private key away, or takes all keys back, is not believed until it has others. */
		for (const keys of [[issuers.spoilt.pair.privateKey.export({ format: "jwk" })], []]) {
			behaviour.spoilt = (res) => res.end(JSON.stringify({ keys }));
			await reread();
			assert.notEqual((await get(token)).status, 200);
		}
		delete behaviour.spoilt;
		await reread();
		assert.equal(events("issuer_keys_read_again", "spoilt").length, 1);
	});
	test("a redirect is not followed", async () => {
		behaviour.moved = (res) => res.writeHead(302, { location: issuers.entra.url }).end(issuers.moved.jwks);
		const before = requests.entra;
		d.signal("SIGHUP");
		await until("asked", () => requests.moved > 1);
		await until("said", () => events("issuer_keys_not_read", "redirects are not followed").length === 1);
		assert.ok(requests.entra <= before + 1, "only its own reading");
	});
	test("an issuer that never ends its answer is left after two seconds, and keeps nobody waiting", async () => {
		assert.equal((await patient(issuers.slow.token())).status, 200);
		const open = [];
		behaviour.slow = (res) => {
			res.write("{");
			open.push(res);
		};
		const start = Date.now();
		d.signal("SIGHUP");
		await until("asked", () => open.length === 1);
		assert.equal((await get(issuers.slow.token())).status, 200);
		assert.equal((await get(issuers.entra.token())).status, 200);
		assert.ok(Date.now() - start < 1500);
		await until("given up", () => events("issuer_keys_not_read", "slow").length === 1);
		assert.ok(Date.now() - start < 6000);
		delete behaviour.slow;
	});
	test("a server that the configured CA does not vouch for is not believed", async () => {
		const res = await patient(issuers.stranger.token());
		assertError(res, 401, "Unauthorized");
		assert.equal(requests.stranger, undefined); // the handshake failed
		assert.equal(events("issuer_keys_not_read", "stranger").length, 1);
	});
	test("a file is read again when it changes", async () => {
		assert.equal((await patient(issuers.plain.token())).status, 200);
		issuers.plain.rotate("k2");
		fs.writeFileSync(path.join(dir, "plain.json"), issuers.plain.jwks);
		assert.equal((await patient(issuers.plain.token())).status, 200);
	});
});

describe("the challenge", () => {
	const challenge = async () => (await d.call(vault, null, "GET", "/keys")).headers["www-authenticate"];
	test("names the authority of the vault's issuer at once, and this server again when there is none", async () => {
		const own = await challenge();
		await d.adminOk("PATCH", `/admin/v1/vaults/${vault.name}`, { issuer: "entra" });
		assert.equal(await challenge(), `Bearer authorization="https://login.test/tenant-of-entra", resource="${d.origin}"`);
		await d.adminOk("PATCH", `/admin/v1/vaults/${vault.name}`, { issuer: "" });
		assert.equal(await challenge(), own);
		const unknown = await d.admin("PATCH", `/admin/v1/vaults/${vault.name}`, { issuer: "nobody" });
		assertError(unknown, 400, "BadParameter");
	});
});

describe("without the issuer", () => {
	test("its keys count for as long as configured, then nothing is believed, until it is back", async () => {
		const token = issuers.gone.token();
		assert.equal((await patient(token)).status, 200);
		const start = Date.now();
		await closeServer();
		await sleep(1000);
		assert.equal((await get(token)).status, 200); // stale, but not for long
		const refused = await until("stale", async () => {
			const res = await get(token);
			return res.status !== 200 && res;
		}, 2 * STALE_S * 1000);
		assert.ok(Date.now() - start < (STALE_S + 11) * 1000);
		assert.ok([401, 503].includes(refused.status));
		assert.match(refused.json.error.message, /keys of the issuer 'gone'/);
		assertError(await patient(token), 401, "Unauthorized");
		assert.equal((await get(issuers.entra.token())).status, 200); // the others are not concerned
		await listen(jwksPort);
		await until("back", async () => (await get(token)).status === 200, 15_000);
	});
});

describe("the configuration", () => {
	test("an issuer that says it is this server stops the start", async () => {
		const { code, output } = await tryStart(d, (config) => {
			config.issuers[0].issuer = ["https://vault.localhost:1/x/v2.0"];
			config.listen.port = 1;
			config.storage.database = path.join(d.dir, "other.db");
			config.admin.socket = path.join(d.dir, "other.sock");
		});
		assert.notEqual(code, 0);
		assert.match(output, /begins with this server's own URL/);
	});
});
