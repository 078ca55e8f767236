// A real OpenID Connect provider (oidc-provider of npm) on the loopback address over TLS: clients with secrets get access tokens (JWT, RS256) for one audience.
//
//	const provider = await OidcProvider.start(d.ca, dir, { audience: d.origin, clients: ["app"] });
//	const { access_token } = await provider.token("app");
//	await provider.rotate(); await provider.stop();
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import Provider from "oidc-provider";
import { issueServerCert } from "../support/certs.mjs";

const HOST = "127.0.0.1";
const LIFE_S = 600;

function makeKey() {
	const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
	return { ...privateKey.export({ format: "jwk" }), kid: randomBytes(8).toString("hex"), use: "sig", alg: "RS256" };
}

/* What it would keep: nothing, since its tokens speak for themselves. */
class NoStore {}
for (const name of ["upsert", "find", "findByUid", "findByUserCode", "destroy", "consume", "revokeByGrantId"])
	NoStore.prototype[name] = async () => undefined;

export class OidcProvider {
	/** @param audience  the resource that tokens are for, unless token() names another @param clients  their names */
	static async start(ca, dir, { audience, clients }) {
		const p = new OidcProvider();
		const [cert, key] = ["provider.crt", "provider.key"].map((name) => path.join(dir, name));
		issueServerCert(ca, "provider.localhost", cert, key);
		p.ca = ca;
		p.audience = audience;
		p.secrets = new Map(clients.map((id) => [id, randomBytes(24).toString("hex")]));
		p.groups = new Map(); // client -> what its tokens say
		p.keys = [makeKey()];
		p.fetches = 0; // of the keys
		p.isAway = false;
		p.refused = 0; // connections, while away
		p.server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (req, res) => p.#serve(req, res));
		await new Promise((resolve) => p.server.listen(0, HOST, resolve));
		p.issuer = `https://${HOST}:${p.server.address().port}`;
		p.#make();
		return p;
	}

	#make() {
		const provider = new Provider(this.issuer, {
			clients: [...this.secrets].map(([id, secret]) => ({ client_id: id, client_secret: secret, grant_types: ["client_credentials"], redirect_uris: [],
				response_types: [], token_endpoint_auth_method: "client_secret_post" })),
			adapter: NoStore,
			jwks: { keys: this.keys },
			ttl: { ClientCredentials: LIFE_S },
			extraTokenClaims: (_, token) => ({ groups: this.groups.get(token.clientId) }),
			features: {
				devInteractions: { enabled: false },
				clientCredentials: { enabled: true },
				resourceIndicators: {
					enabled: true,
					defaultResource: () => this.audience,
					getResourceServerInfo: (_, audience) => ({ audience, scope: "", accessTokenTTL: LIFE_S, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } }),
				},
			},
		});
		this.handler = provider.callback();
	}

	#serve(req, res) {
		if (this.isAway) {
			this.refused++;
			return req.socket.destroy();
		}
		if (req.url === "/jwks")
			this.fetches++;
		return this.handler(req, res);
	}

	/** Its section of the daemon's configuration. */
	config(name, changes = {}) {
		return { name, issuer: [this.issuer], jwks_url: `${this.issuer}/jwks`, authority: this.issuer, ca: this.ca.cert, principal_claim: "sub", ...changes };
	}

	/** From now on tokens are signed with a new key. @param keepsOld  the one before is published still */
	rotate({ keepsOld = false } = {}) {
		this.keys = [makeKey(), ...(keepsOld ? this.keys : [])];
		this.#make();
	}

	/** A client's token, as the provider answers it. @param resource  another audience */
	async token(client, { resource = this.audience, groups } = {}) {
		this.groups.set(client, groups);
		const res = await fetch(`${this.issuer}/token`, { method: "POST",
			body: new URLSearchParams({ grant_type: "client_credentials", client_id: client, client_secret: this.secrets.get(client), resource }) });
		const text = await res.text();
		assert.equal(res.status, 200, `the provider refuses: ${text}`);
		return JSON.parse(text);
	}

	async stop() {
		this.server.closeAllConnections();
		await new Promise((resolve) => this.server.close(resolve));
	}
}
