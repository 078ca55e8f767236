// Certificates for tests, made with the openssl command: one CA for a run, server certificates under it, and clients' with CAs of their own.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const VALID_DAYS = "30";
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const LEAF = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"];

function openssl(...args) {
	execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
}

const extensions = (list) => list.flatMap((text) => ["-addext", text]);

/** A new root CA in `dir`. @return {{cert: string, key: string}} file names */
export function makeCa(dir, name = "ca", commonName = "Holdfast test CA") {
	const ca = { cert: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) };
	openssl("req", "-x509", ...NEW_KEY, "-days", VALID_DAYS, "-subj", `/CN=${commonName}`, "-keyout", ca.key, "-out", ca.cert,
		...extensions(["keyUsage=critical,keyCertSign,cRLSign"]));
	return ca;
}

/** A CA under another one; `isCa: false` makes a certificate that may not sign others, with a key that does so nevertheless. */
export function makeIntermediate(ca, dir, name, { isCa = true } = {}) {
	const made = { cert: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) };
	openssl("req", "-x509", ...NEW_KEY, "-days", VALID_DAYS, "-CA", ca.cert, "-CAkey", ca.key, "-subj", `/CN=${name}`, "-keyout", made.key,
		"-out", made.cert, ...extensions(isCa ? ["keyUsage=critical,keyCertSign,cRLSign"] : LEAF));
	return made;
}

/** A server certificate for `domain` and every vault below it, written to cert and key (0600: openssl writes keys so). */
export function issueServerCert(ca, domain, cert, key) {
	openssl("req", "-x509", ...NEW_KEY, "-days", VALID_DAYS, "-CA", ca.cert, "-CAkey", ca.key, "-subj", `/CN=${domain}`, "-keyout", key,
		"-out", cert, ...extensions([...LEAF, "extendedKeyUsage=serverAuth", `subjectAltName=DNS:${domain},DNS:*.${domain},IP:127.0.0.1`]));
}

/**
 * A client certificate whose common name is `name`, written to cert and key.
 * @param options  subject: the whole subject, instead of the common name alone; usage: extended key usage, null for none;
 *                 from, to: validity, YYYYMMDDHHMMSSZ, both or neither; chain: certificates (files) that are put behind it
 */
export function issueClientCert(ca, name, cert, key, { subject = `/CN=${name}`, usage = "clientAuth", from, to, chain = [] } = {}) {
	const wanted = usage === null ? LEAF : [...LEAF, `extendedKeyUsage=${usage}`];
	if (from === undefined)
		openssl("req", "-x509", ...NEW_KEY, "-days", VALID_DAYS, "-CA", ca.cert, "-CAkey", ca.key, "-subj", subject, "-keyout", key, "-out", cert,
			...extensions(wanted));
	else
		issueDated(ca, subject, cert, key, wanted, from, to);
	for (const file of chain)
		fs.appendFileSync(cert, fs.readFileSync(file));
}

// Only `openssl ca` sets both dates, and it wants a configuration and a database.
function issueDated(ca, subject, cert, key, wanted, from, to) {
	const base = `${cert}.ca`;
	fs.mkdirSync(base);
	const file = (name) => path.join(base, name);
	fs.writeFileSync(file("index"), "");
	fs.writeFileSync(file("conf"), `[ca]\ndefault_ca=own\n[own]\ndatabase=${file("index")}\nnew_certs_dir=${base}\ndefault_md=sha256\n`
		+ `rand_serial=yes\npolicy=any\nx509_extensions=leaf\n[any]\ncommonName=supplied\n[leaf]\n${wanted.join("\n")}\n`);
	openssl("req", "-new", ...NEW_KEY, "-subj", subject, "-keyout", key, "-out", file("csr"));
	openssl("ca", "-batch", "-notext", "-config", file("conf"), "-cert", ca.cert, "-keyfile", ca.key, "-in", file("csr"), "-out", cert,
		"-startdate", from, "-enddate", to);
	fs.rmSync(base, { recursive: true });
}

/** A certificate that nobody vouches for, as a client registers it for its assertions. @param newKey  arguments of openssl req @return {{cert: string, key: string, pem: string}} file names; text of both */
export function makeSelfSigned(dir, name, days = VALID_DAYS, newKey = ["-newkey", "rsa:2048"]) {
	const made = { cert: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) };
	openssl("req", "-x509", ...newKey, "-nodes", "-days", String(days), "-subj", `/CN=${name}`, "-keyout", made.key, "-out", made.cert);
	return { ...made, pem: fs.readFileSync(made.cert, "utf8") + fs.readFileSync(made.key, "utf8") };
}
