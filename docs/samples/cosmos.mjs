// Cosmos DB with client-side encryption ("Always Encrypted") and the key in Holdfast. Copy it; tests/cosmos runs it as it stands.
//
//	npm install @azure/cosmos @azure/identity @azure/keyvault-keys
//	node cosmos.mjs setup     once:  the database, the key, its client encryption key, the container; again after an interruption
//	node cosmos.mjs run       write a document, read it, find it by an encrypted value
//	node cosmos.mjs rotate    a new version of the key; the client encryption key is wrapped again under it
//
// Environment: COSMOS_ENDPOINT, COSMOS_KEY; HOLDFAST_VAULT_URL, AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_CLIENT_ID,
// AZURE_CLIENT_SECRET; NODE_EXTRA_CA_CERTS when the server's certificate is of a CA of your own. `setup` and `rotate` need the role
// crypto-officer, `run` only crypto-service-encryption-user.
import {
	AzureKeyVaultEncryptionKeyResolver, CosmosClient, EncryptionAlgorithm, EncryptionKeyResolverName, EncryptionQueryBuilder,
	EncryptionType, KeyEncryptionAlgorithm,
} from "@azure/cosmos";
import { ClientSecretCredential } from "@azure/identity";
import { KeyClient } from "@azure/keyvault-keys";
import { pathToFileURL } from "node:url";

const KEY = "cosmos"; // in the vault
const DATA_KEY = "customers-key"; // in the database: random, stored only wrapped under KEY. A second one needs a KEY of its own
const DATABASE = "shop";
const CONTAINER = "customers";

// Deterministic values can be found by equality, and show who shares one. Randomized values show nothing but type and length.
const ENCRYPTED = { "/iban": EncryptionType.DETERMINISTIC, "/note": EncryptionType.RANDOMIZED, "/address": EncryptionType.RANDOMIZED };

/** How long the client may go on with the data key after Holdfast has taken the key away: at least 60, or 0, which asks for every value. */
const CACHE_SECONDS = 300;

const ENVIRONMENT = ["COSMOS_ENDPOINT", "COSMOS_KEY", "HOLDFAST_VAULT_URL", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
	"AZURE_CLIENT_SECRET"];

export function connect(env = process.env, cacheSeconds = CACHE_SECONDS) {
	const unset = ENVIRONMENT.filter((name) => !env[name]);
	if (unset.length > 0)
		throw new Error(`not set in the environment: ${unset.join(", ")}`);
	const credential = new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET,
		{ authorityHost: env.AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true });
	const cosmos = new CosmosClient({
		endpoint: env.COSMOS_ENDPOINT,
		key: env.COSMOS_KEY,
		clientEncryptionOptions: {
			keyEncryptionKeyResolver: new AzureKeyVaultEncryptionKeyResolver(credential),
			encryptionKeyTimeToLiveInSeconds: cacheSeconds,
		},
	});
	const database = cosmos.database(DATABASE);
	return { cosmos, database, container: database.container(CONTAINER), keys: new KeyClient(env.HOLDFAST_VAULT_URL, credential) };
}

/** What Cosmos DB keeps beside the wrapped data key. The client insists on a key id with its version. */
const wrappedUnder = (key) => ({
	type: EncryptionKeyResolverName.AzureKeyVault,
	name: key.name,
	value: key.id,
	algorithm: KeyEncryptionAlgorithm.RSA_OAEP,
});

const encryptionAlgorithm = EncryptionAlgorithm.AEAD_AES_256_CBC_HMAC_SHA256;

/** @return the version of KEY that the data key is wrapped under; undefined when there is no data key yet */
async function wrappingKey({ database, keys }) {
	const dataKey = await database.readClientEncryptionKey(DATA_KEY).catch((err) => {
		if (err.code !== 404)
			throw err;
	});
	const id = dataKey?.clientEncryptionKeyProperties.encryptionKeyWrapMetadata.value;
	return id && keys.getKey(KEY, { version: id.split("/").pop() });
}

/** What costs nothing to make comes first, so that a Cosmos DB out of reach leaves no key behind; what is there already is kept. */
export async function setUp({ cosmos, database, keys }, keySize = 3072) {
	await cosmos.databases.createIfNotExists({ id: DATABASE });
	let key = await wrappingKey({ database, keys });
	if (!key) {
		key = await keys.createRsaKey(KEY, { keySize, keyOps: ["wrapKey", "unwrapKey"] });
		await database.createClientEncryptionKey(DATA_KEY, encryptionAlgorithm, wrappedUnder(key));
	}
	await database.containers.createIfNotExists({
		id: CONTAINER,
		partitionKey: { paths: ["/id"] },
		clientEncryptionPolicy: {
			policyFormatVersion: 2,
			includedPaths: Object.entries(ENCRYPTED).map(([path, encryptionType]) => ({
				path, encryptionType, clientEncryptionKeyId: DATA_KEY, encryptionAlgorithm,
			})),
		},
	});
	return key;
}

/** The client encrypts inside the object that it is given, so it gets a copy. */
export async function write({ container }, customer) {
	await container.items.upsert(structuredClone(customer));
}

/** @return the customer, or undefined */
export async function read({ container }, id) {
	const { resource } = await container.item(id, id).read();
	return resource;
}

export async function findByIban({ container }, iban) {
	const query = new EncryptionQueryBuilder("SELECT * FROM c WHERE c.iban = @iban");
	query.addParameter("@iban", iban, "/iban");
	const found = await container.items.getEncryptionQueryIterator(query);
	return (await found.fetchAll()).resources;
}

/**
 * The documents stay as they are: only the data key is wrapped again. The version before must stay enabled until every client that was
 * running has been restarted, or has called container.initializeEncryption(): clients never look for the new wrapping by themselves.
 */
export async function rotate({ database, keys }) {
	// Wrapping again needs the version before: better to find out while there is no new one.
	const before = await wrappingKey({ database, keys });
	if (!before)
		throw new Error(`there is no client encryption key ${DATA_KEY}: \`setup\` first`);
	if (!before.properties.enabled)
		throw new Error(`the version in use is disabled, nothing was rotated: enable or reinstate ${before.id} first`);
	const key = await keys.rotateKey(KEY);
	await database.rewrapClientEncryptionKey(DATA_KEY, wrappedUnder(key));
	return key;
}

async function use(sample) {
	const address = { city: "Bonn", zip: "53111" };
	const customer = { id: "c-1", name: "Ada", iban: "DE02120300000000202051", note: "prefers letters", address };
	await write(sample, customer);
	console.log("read: ", await read(sample, customer.id));
	console.log("found:", (await findByIban(sample, customer.iban)).map(({ id }) => id));
}

const COMMANDS = {
	setup: async (sample) => console.log(`ready; the key is ${(await setUp(sample)).id}`),
	run: use,
	rotate: async (sample) => console.log(`rotated; the key is now ${(await rotate(sample)).id}`),
};

async function main(name) {
	const command = Object.hasOwn(COMMANDS, name ?? "") && COMMANDS[name];
	if (!command)
		throw new Error("usage: node cosmos.mjs setup | run | rotate");
	const sample = connect();
	try {
		await command(sample);
	} finally {
		sample.cosmos.dispose();
	}
}

/** Statuses that need more words than the service has for them. */
const HINTS = {
	403: "the key may be disabled or revoked, or this principal lacks the role (the head of this file names it)",
	404: "what `setup` makes is not there",
	409: "something of this name is there already; a deleted key counts until it is purged",
};

function explain(err) {
	const code = err.code ?? err.statusCode ?? err.cause?.code;
	console.error(`failed${code === undefined ? "" : ` (${code})`}: ${err.message}`);
	// Node's error of a connection that several addresses refused has no words of its own.
	const hint = HINTS[err.statusCode ?? err.code] ?? (/(: *|^)$/.test(err.message)
		&& "no connection? Look at HOLDFAST_VAULT_URL, AZURE_AUTHORITY_HOST and COSMOS_ENDPOINT, and whether the servers run");
	if (hint)
		console.error(`hint: ${hint}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
	await main(process.argv[2]).catch((err) => {
		explain(err);
		process.exitCode = 1;
	});
}
