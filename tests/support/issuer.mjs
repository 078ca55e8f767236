// An OpenID Connect issuer that signs whatever a test wants, good or bad. Its keys reach the daemon by a file.
//
//	const issuer = new Issuer("entra", dir);
//	const d = await Daemon.start({ issuers: [issuer.config()] });
//	const token = issuer.token({ oid: "app-1", aud: d.origin });
import { createHmac, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const LIFE_S = 3600;
const HASHES = { RS256: "sha256", RS384: "sha384", ES256: "sha256" };

export const nowS = () => Math.floor(Date.now() / 1000);
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
export const decodePart = (text) => JSON.parse(Buffer.from(text, "base64url"));

/** A token as its parts say, signed by `sign(text) => Buffer`. */
export function assemble(header, claims, signer) {
	const text = `${part(header)}.${part(claims)}`;
	return `${text}.${signer(text).toString("base64url")}`;
}

/** Signed with a shared secret, which a server with public keys must never accept. */
export const hmacSigner = (secret) => (text) => createHmac("sha256", secret).update(text).digest();
export const noSigner = () => Buffer.alloc(0);

export class Issuer {
	/** @param dir  where the file of its keys is kept */
	constructor(name, dir, { alg = "RS256" } = {}) {
		this.name = name;
		this.alg = alg;
		this.iss = `https://${name}.issuer.example/`;
		this.file = path.join(dir, `${name}.jwks.json`);
		this.rotate();
		this.publish();
	}

	/** A new key to sign with; the daemon does not know it before publish(). */
	rotate() {
		this.pair = this.alg === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("rsa", { modulusLength: 2048 });
		this.kid = randomUUID();
	}

	publish() {
		const jwk = { ...this.pair.publicKey.export({ format: "jwk" }), kid: this.kid, use: "sig", alg: this.alg };
		fs.writeFileSync(this.file, JSON.stringify({ keys: [jwk] }));
	}

	/** The section of the daemon's configuration. */
	config(changes = {}) {
		return { name: this.name, issuer: [this.iss], jwks_file: this.file, algorithms: [this.alg], principal_claim: "oid", ...changes };
	}

	sign(text, alg = this.alg) {
		return sign(HASHES[alg], Buffer.from(text), { key: this.pair.privateKey, dsaEncoding: "ieee-p1363" });
	}

	/** A good token but for the changes; a claim or header that is undefined is left out. */
	token(claims, header = {}) {
		const all = { iss: this.iss, iat: nowS(), nbf: nowS(), exp: nowS() + LIFE_S, ...claims };
		return assemble({ typ: "JWT", alg: this.alg, kid: this.kid, ...header }, all, (text) => this.sign(text));
	}
}
