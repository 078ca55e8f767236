// The second half of the proof: the demo pool's keys, made and published on the first run, then used as a Managed HSM pool does, with its client
// certificate at the EKM listener.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { EkmClient, patiently } from "../tests/support/ekm.mjs";

const env = process.env;
const createOct = (keys, name, enabled) => keys.createOctKey(name, { keySize: 256, hsm: true, enabled });
const createRsa = (keys, name, enabled) => keys.createRsaKey(name, { keySize: 3072, enabled });
const AES = { name: "ekm-aes", id: env.HOLDFAST_EKM_AES_KEY, alg: "A256KW", create: createOct, enabled: true };
const RSA = { name: "ekm-rsa", id: env.HOLDFAST_EKM_RSA_KEY, alg: "RSA-OAEP-256", create: createRsa, enabled: true };
const OFF = { name: "ekm-off", id: env.HOLDFAST_EKM_DISABLED_KEY, alg: "A256KW", create: createOct, enabled: false };

const getOrCreate = ({ name, create, enabled }, keys) =>
	keys.getKey(name).catch((err) => {
		if (err.statusCode !== 404)
			throw err;
		return create(keys, name, enabled);
	});

/** Make and publish what is not published yet. @return the ids that are new */
async function setUp({ keys, holdfast, vaultName }) {
	const published = holdfast("ekm", "key", "list", vaultName, env.HOLDFAST_POOL).value.map((row) => row.external_id);
	const missing = [AES, RSA, OFF].filter(({ id }) => !published.includes(id));
	for (const wanted of missing) {
		const { version } = (await getOrCreate(wanted, keys)).properties;
		holdfast("ekm", "key", "publish", vaultName, env.HOLDFAST_POOL, wanted.name, "--version", version, "--id", wanted.id);
	}
	return missing.map(({ id }) => id);
}

/** Wrap a data key and unwrap it. A key that was published by an earlier run may have been switched off since: that is no failure. */
async function roundTrip(client, { id, alg }, isNew) {
	const dataKey = randomBytes(32).toString("base64url");
	const wrapped = await patiently(() => client.wrap(id, alg, dataKey));
	if (!isNew && [403, 404].includes(wrapped.status))
		return `refused since an earlier run: ${wrapped.status} ${wrapped.json.code}`;
	assert.equal(wrapped.status, 200, wrapped.text);
	const unwrapped = await patiently(() => client.unwrap(id, alg, wrapped.json.value));
	assert.equal(unwrapped.json?.value, dataKey, unwrapped.text);
	return "the same 32 bytes came back";
}

export async function proveEkm({ step, ...deps }) {
	const { origin, pathname } = new URL(env.HOLDFAST_EKM_URL);
	const client = new EkmClient({ origin, prefix: pathname, ca: fs.readFileSync(env.SSL_CERT_FILE), poolName: "demo-pool",
		identity: { cert: env.HOLDFAST_EKM_CLIENT_CERT, key: env.HOLDFAST_EKM_CLIENT_KEY } });
	let fresh;
	await step("publish keys to the pool (holdfast ekm key publish)", async () => {
		fresh = await setUp(deps);
		return fresh.length > 0 ? fresh.join(", ") : "all there since an earlier run";
	});
	await step("the connection check (info)", async () => {
		const res = await patiently(() => client.info());
		assert.equal(res.status, 200, res.text);
		return `${res.json.proxy_name}, API ${res.json.api_version}`;
	});
	for (const key of [AES, RSA])
		await step(`wrap and unwrap a data key with ${key.id} (${key.alg})`, () => roundTrip(client, key, fresh.includes(key.id)));
	await step(`wrap with the disabled key ${OFF.id}, which must be refused`, async () => {
		const res = await patiently(() => client.wrap(OFF.id, OFF.alg, randomBytes(32).toString("base64url")));
		if (fresh.includes(OFF.id))
			assert.deepEqual([res.status, res.json.code], [403, "KeyDisabled"], res.text);
		return `${res.status} ${res.json.code ?? ""}`.trim();
	});
	client.close();
}
