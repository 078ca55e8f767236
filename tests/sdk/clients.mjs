// The official clients, set up as a user's program would: authority and vault are this server's, nothing is switched off but what the
// documentation of the server says (instance discovery). Retries are off, so that a test sees the first answer.
import { ClientSecretCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const NO_RETRY = { retryOptions: { maxRetries: 0 } };

export function credentialOf(daemon, principal) {
	return new ClientSecretCredential(principal.tenant_id, principal.client_id, principal.secret,
		{ authorityHost: daemon.origin, disableInstanceDiscovery: true, ...NO_RETRY });
}

/** @return {{keys: KeyClient, crypto: (keyOrId) => CryptographyClient}} */
export function sdk(daemon, vault, principal) {
	const credential = credentialOf(daemon, principal);
	return {
		credential,
		keys: new KeyClient(vault.origin, credential, NO_RETRY),
		crypto: (key) => new CryptographyClient(key, credential, NO_RETRY),
	};
}

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
