// The official clients, set up as a user's program would: authority and vault are this server's, nothing is switched off but what the
// documentation of the server says (instance discovery). Retries are off, so that a test sees the first answer.
import { ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

/* New ones for each client: clients add to the options they are given (the user agent of 4.10.2 grows with every client that shares them). */
const noRetry = () => ({ retryOptions: { maxRetries: 0 } });

export function credentialOf(daemon, principal) {
	return new ClientSecretCredential(principal.tenant_id, principal.client_id, principal.secret,
		{ authorityHost: daemon.origin, disableInstanceDiscovery: true, ...noRetry() });
}

/**
 * `remote` has the server do everything: given the public half of an RSA key, the client encrypts and verifies with that by itself.
 * @return {{keys: KeyClient, crypto: (keyOrId) => CryptographyClient, remote: (key) => CryptographyClient}}
 */
export function clientsOf(vault, credential) {
	return {
		credential,
		keys: new KeyClient(vault.origin, credential, noRetry()),
		crypto: (key) => new CryptographyClient(key, credential, noRetry()),
		remote: (key) => new CryptographyClient({ ...key, key: undefined }, credential, noRetry()),
	};
}

export const sdk = (daemon, vault, principal) => clientsOf(vault, credentialOf(daemon, principal));

/** A client whose credential is that of the environment (IDENTITY_ENDPOINT, IDENTITY_HEADER), as a service's is that its service manager starts. */
export const managedSdk = (vault, options = {}) => clientsOf(vault, new ManagedIdentityCredential(options));

/** A client known by a certificate: PEM text of certificate and key. Instance discovery is switched off as for secrets. */
export const certificateSdk = (daemon, vault, principal, certificate) => clientsOf(vault, new ClientCertificateCredential(principal.tenant_id, principal.client_id,
	{ certificate }, { authorityHost: daemon.origin, disableInstanceDiscovery: true, ...noRetry() }));

/** For assert.rejects: the service's error with this status, code and inner code. */
export function refused(statusCode, code, inner) {
	return (err) => {
		const body = err.details?.error ?? err.response?.parsedBody?.error ?? {};
		const found = `${err.statusCode} ${err.code ?? body.code} ${body.innererror?.code ?? body.innerError?.code}: ${err.message}`;
		if (err.statusCode !== statusCode)
			throw new Error(`expected ${statusCode}, found ${found}`);
		if (code !== undefined && (err.code ?? body.code) !== code)
			throw new Error(`expected ${code}, found ${found}`);
		if (inner !== undefined && (body.innererror?.code ?? body.innerError?.code) !== inner)
			throw new Error(`expected ${inner}, found ${found}`);
		return true;
	};
}

export async function collect(pages) {
	const all = [];
	for await (const item of pages)
		all.push(item);
	return all;
}
