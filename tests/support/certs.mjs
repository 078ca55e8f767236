// Certificates for tests, made with the openssl command: one CA for a run, server certificates under it.
import { execFileSync } from "node:child_process";
import path from "node:path";

const VALID_DAYS = "30";

function openssl(...args) {
	execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** A new CA in `dir`. @return {{cert: string, key: string}} file names */
export function makeCa(dir) {
	const ca = { cert: path.join(dir, "ca.crt"), key: path.join(dir, "ca.key") };
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", VALID_DAYS,
		"-subj", "/CN=Holdfast test CA", "-keyout", ca.key, "-out", ca.cert,
		"-addext", "keyUsage=critical,keyCertSign,cRLSign");
	return ca;
}

/** A server certificate for `domain` and every vault below it, written to cert and key (0600: openssl writes keys so). */
export function issueServerCert(ca, domain, cert, key) {
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", VALID_DAYS,
		"-CA", ca.cert, "-CAkey", ca.key, "-subj", `/CN=${domain}`, "-keyout", key, "-out", cert,
		"-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
		"-addext", "extendedKeyUsage=serverAuth", "-addext", `subjectAltName=DNS:${domain},DNS:*.${domain},IP:127.0.0.1`);
}

/** A client certificate whose common name is `name`, written to cert and key. */
export function issueClientCert(ca, name, cert, key) {
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", VALID_DAYS,
		"-CA", ca.cert, "-CAkey", ca.key, "-subj", `/CN=${name}`, "-keyout", key, "-out", cert,
		"-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
		"-addext", "extendedKeyUsage=clientAuth");
}
