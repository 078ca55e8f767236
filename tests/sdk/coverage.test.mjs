// Every public method of the official clients is tried against the real daemon: the table says where, and a method that a later release brings
// fails here until it has a place in it.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";

const here = path.dirname(fileURLToPath(import.meta.url));

const TESTED = {
	KeyClient: {
		createKey: "create", createEcKey: "create", createRsaKey: "create", createOctKey: "create", importKey: "import",
		getCryptographyClient: "asymmetric", beginDeleteKey: "lifecycle", updateKeyProperties: "lifecycle", getKey: "lifecycle",
		getKeyAttestation: "attestation", getDeletedKey: "lifecycle", purgeDeletedKey: "lifecycle", beginRecoverDeletedKey: "lifecycle",
		backupKey: "backup", restoreKeyBackup: "backup", getRandomBytes: "create", rotateKey: "rotation", releaseKey: "create",
		getKeyRotationPolicy: "rotation", updateKeyRotationPolicy: "rotation", listPropertiesOfKeyVersions: "paging",
		listPropertiesOfKeys: "paging", listDeletedKeys: "paging",
	},
	CryptographyClient: {
		keyID: "asymmetric", vaultUrl: "asymmetric", encrypt: "asymmetric", decrypt: "asymmetric", wrapKey: "symmetric", unwrapKey: "symmetric",
		sign: "asymmetric", verify: "asymmetric", signData: "asymmetric", verifyData: "asymmetric",
	},
};

/** Names that the typings call private: the language hides them, the prototype does not. */
function privateNames(file, className) {
	const text = fs.readFileSync(file, "utf8");
	const body = text.slice(text.indexOf(`export declare class ${className} `));
	return new Set([...body.slice(0, body.indexOf("\n}")).matchAll(/^ {4}private (?:readonly )?(\w+)/gm)].map((match) => match[1]));
}

for (const [client, file] of [[KeyClient, "index.d.ts"], [CryptographyClient, "cryptographyClient.d.ts"]]) {
	test(`every public method of ${client.name} is named with the file that tries it`, () => {
		const typings = path.join(path.dirname(createRequire(import.meta.url).resolve("@azure/keyvault-keys")), "..", "esm", file);
		const hidden = privateNames(typings, client.name);
		assert.ok(hidden.size > 0, "the typings are not read as they should be");
		const methods = Object.getOwnPropertyNames(client.prototype).filter((name) => name !== "constructor" && !hidden.has(name));
		assert.deepEqual(methods.sort(), Object.keys(TESTED[client.name]).sort());
	});
	for (const [method, name] of Object.entries(TESTED[client.name])) {
		test(`${client.name}.${method} is used in ${name}.test.mjs`, () => {
			const text = fs.readFileSync(path.join(here, `${name}.test.mjs`), "utf8");
			assert.match(text, new RegExp(`\\.${method}\\b`));
		});
	}
}
