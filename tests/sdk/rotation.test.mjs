// Rotation policies and rotation (keyvault-keys.md section 11) through the official client.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertError } from "../support/asserts.mjs";
import { Daemon } from "../support/daemon.mjs";
import { refused, sdk } from "./clients.mjs";

const DAY_S = 86400;
const DEFAULT_NOTIFY = { action: "Notify", timeAfterCreate: undefined, timeBeforeExpiry: "P30D" };
let d, vault, officer, keys;

before(async () => {
	d = await Daemon.start();
	vault = await d.makeVault("rotation");
	officer = await d.makePrincipal(vault, "officer", ["crypto-officer"]);
	({ keys } = sdk(d, vault, officer));
});
after(() => d?.destroy());

const get = (keyPath) => d.call(vault, officer, "GET", keyPath);
const putPolicy = (name, body) => d.call(vault, officer, "PUT", `/keys/${name}/rotationpolicy`, body);
const rotate = (trigger) => ({ action: { type: "Rotate" }, trigger });
const notify = (trigger) => ({ action: { type: "Notify" }, trigger });

describe("rotation policy (keyvault-keys.md 11.2)", () => {
	before(() => keys.createEcKey("policy", { curve: "P-256" }));

	test("a new key has the default: notify 30 days before expiry", async () => {
		await keys.createEcKey("fresh", { curve: "P-256" });
		const policy = await keys.getKeyRotationPolicy("fresh");
		assert.deepEqual(policy.lifetimeActions, [DEFAULT_NOTIFY]);
		assert.equal(policy.expiresIn, undefined);
		const raw = await d.ok(vault, officer, "GET", "/keys/fresh/rotationpolicy");
		assert.deepEqual(raw.lifetimeActions, [notify({ timeBeforeExpiry: "P30D" })], "absent triggers are left out");
	});
	test("what is set comes back, with id and dates, and stays", async () => {
		const wanted = { expiresIn: "P2Y", lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P18M" },
			{ action: "Notify", timeBeforeExpiry: "P30D" }] };
		const set = await keys.updateKeyRotationPolicy("policy", wanted);
		assert.equal(set.id, `${vault.origin}/keys/policy/rotationpolicy`);
		assert.equal(set.expiresIn, "P2Y");
		assert.deepEqual([...set.lifetimeActions].sort((a, b) => b.action.localeCompare(a.action)),
			[{ action: "Rotate", timeAfterCreate: "P18M", timeBeforeExpiry: undefined }, DEFAULT_NOTIFY]);
		assert.ok(Math.abs(set.createdOn - Date.now()) < 60_000);
		assert.ok(set.updatedOn >= set.createdOn);
		assert.deepEqual(await keys.getKeyRotationPolicy("policy"), set);
		const other = await keys.updateKeyRotationPolicy("policy", { expiresIn: "P90D",
			lifetimeActions: [{ action: "Rotate", timeBeforeExpiry: "P10D" }] });
		assert.deepEqual(other.createdOn, set.createdOn);
		assert.deepEqual((await keys.getKeyRotationPolicy("POLICY")).lifetimeActions, other.lifetimeActions);
	});
	test("a policy that only rotates gets the default notification too; an empty one is the default again", async () => {
		const set = await keys.updateKeyRotationPolicy("policy", { expiresIn: "P1Y",
			lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P60D" }] });
		assert.ok(set.lifetimeActions.some((a) => a.action === "Notify" && a.timeBeforeExpiry === "P30D"), JSON.stringify(set));
		assert.ok(set.lifetimeActions.some((a) => a.action === "Rotate" && a.timeAfterCreate === "P60D"));
		for (const body of [{ lifetimeActions: [], attributes: {} }, {}, { lifetimeActions: null, attributes: null }]) {
			await keys.updateKeyRotationPolicy("policy", { expiresIn: "P1Y", lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P60D" }] });
			const res = await putPolicy("policy", body);
			assert.equal(res.status, 200, res.text);
			assert.deepEqual(res.json.lifetimeActions, [notify({ timeBeforeExpiry: "P30D" })]);
			assert.equal(res.json.attributes.expiryTime ?? null, null);
		}
	});
	test("action types are read in any case, null triggers are absent, read-only members ignored", async () => {
		for (const type of ["rotate", "ROTATE", "Rotate"]) {
			const res = await putPolicy("policy", {
				id: "https://example.com/x", lifetimeActions: [{ action: { type }, trigger: { timeAfterCreate: "P30D", timeBeforeExpiry: null } }],
				attributes: { expiryTime: "P1Y", created: 5, updated: 6 }, later: true,
			});
			assert.equal(res.status, 200, res.text);
			assert.notEqual(res.json.attributes.created, 5);
			assert.equal(res.json.id, `${vault.origin}/keys/policy/rotationpolicy`);
		}
	});
	test("durations of every form at their bounds", async () => {
		for (const body of [
			{ attributes: { expiryTime: "P28D" } }, { attributes: { expiryTime: "P4W" } }, { attributes: { expiryTime: "PT672H" } },
			{ attributes: { expiryTime: "P1Y10D" } },
			{ attributes: { expiryTime: "P3M" } }, { lifetimeActions: [rotate({ timeAfterCreate: "P7D" })] },
			{ lifetimeActions: [rotate({ timeAfterCreate: "PT168H" })] },
			{ attributes: { expiryTime: "P28D" }, lifetimeActions: [rotate({ timeBeforeExpiry: "P7D" })] },
			{ attributes: { expiryTime: "P28D" }, lifetimeActions: [rotate({ timeBeforeExpiry: "P21D" })] },
			{ attributes: { expiryTime: "P2Y" }, lifetimeActions: [notify({ timeBeforeExpiry: "P60D" })] },
		]) {
			const res = await putPolicy("policy", body);
			assert.equal(res.status, 200, `${JSON.stringify(body)}: ${res.text}`);
			if (body.attributes)
				assert.equal(res.json.attributes.expiryTime, body.attributes.expiryTime);
		}
	});
	const expiring = { expiryTime: "P1Y" };
	for (const [what, body] of [
		["an expiry below 28 days", { attributes: { expiryTime: "P27D" } }], ["an expiry of 671 hours", { attributes: { expiryTime: "PT671H" } }],
		["an expiry that is no duration", { attributes: { expiryTime: "two years" } }], ["an empty expiry", { attributes: { expiryTime: "" } }],
		["an expiry without a number", { attributes: { expiryTime: "PY" } }], ["an expiry of P alone", { attributes: { expiryTime: "P" } }],
		["a T without time", { attributes: { expiryTime: "P1YT" } }], ["a negative expiry", { attributes: { expiryTime: "-P1Y" } }],
		["a negative number", { attributes: { expiryTime: "P-1Y" } }], ["a fraction", { attributes: { expiryTime: "P1.5Y" } }],
		["designators out of order", { attributes: { expiryTime: "P10D1Y" } }], ["a designator twice", { attributes: { expiryTime: "P1Y1Y" } }],
		["lower case", { attributes: { expiryTime: "p1y" } }], ["text behind", { attributes: { expiryTime: "P1Y " } }],
		["a number without end", { attributes: { expiryTime: `P${"9".repeat(40)}D` } }],
		["a thousand years", { attributes: { expiryTime: "P1000Y" } }],
		["an expiry that is a number", { attributes: { expiryTime: 90 } }], ["attributes a list", { attributes: [] }],
		["rotation below 7 days after creation", { lifetimeActions: [rotate({ timeAfterCreate: "P6D" })] }],
		["rotation before expiry without an expiry", { lifetimeActions: [rotate({ timeBeforeExpiry: "P30D" })] }],
		["rotation below 7 days before expiry", { attributes: expiring, lifetimeActions: [rotate({ timeBeforeExpiry: "P6D" })] }],
		["rotation below 7 days after creation, counted from expiry",
			{ attributes: { expiryTime: "P28D" }, lifetimeActions: [rotate({ timeBeforeExpiry: "P22D" })] }],
		["rotation before expiry, longer than the life", { attributes: expiring, lifetimeActions: [rotate({ timeBeforeExpiry: "P2Y" })] }],
		["a notification after creation", { attributes: expiring, lifetimeActions: [notify({ timeAfterCreate: "P30D" })] }],
		["both triggers", { attributes: expiring, lifetimeActions: [rotate({ timeAfterCreate: "P30D", timeBeforeExpiry: "P30D" })] }],
		["no trigger", { attributes: expiring, lifetimeActions: [rotate({})] }],
		["trigger absent", { attributes: expiring, lifetimeActions: [{ action: { type: "Rotate" } }] }],
		["no action", { attributes: expiring, lifetimeActions: [{ trigger: { timeAfterCreate: "P30D" } }] }],
		["an unknown action", { attributes: expiring, lifetimeActions: [{ action: { type: "Destroy" }, trigger: { timeAfterCreate: "P30D" } }] }],
		["an action that is a text", { attributes: expiring, lifetimeActions: [{ action: "Rotate", trigger: { timeAfterCreate: "P30D" } }] }],
		["rotate twice", { attributes: expiring, lifetimeActions: [rotate({ timeAfterCreate: "P30D" }), rotate({ timeAfterCreate: "P60D" })] }],
		["notify twice", { attributes: expiring, lifetimeActions: [notify({ timeBeforeExpiry: "P30D" }), notify({ timeBeforeExpiry: "P60D" })] }],
		["three actions", { attributes: expiring, lifetimeActions: [rotate({ timeAfterCreate: "P30D" }), notify({ timeBeforeExpiry: "P30D" }),
			notify({ timeBeforeExpiry: "P9D" })] }],
		["actions that are an object", { lifetimeActions: {} }], ["an action that is a list", { lifetimeActions: [[]] }],
		["an action that is null", { lifetimeActions: [null] }],
		["a trigger that is no duration", { lifetimeActions: [rotate({ timeAfterCreate: "soon" })] }],
		["a trigger that is a number", { lifetimeActions: [rotate({ timeAfterCreate: 30 })] }], ["no body", ""], ["a list", "[]"],
	]) {
		test(`${what} is 400 and changes nothing`, async () => {
			const known = (await get("/keys/policy/rotationpolicy")).text;
			assertError(await putPolicy("policy", body), 400, "BadParameter");
			assert.equal((await get("/keys/policy/rotationpolicy")).text, known);
		});
	}
	test("the client refuses nothing of that itself: its error is the server's", async () => {
		await assert.rejects(keys.updateKeyRotationPolicy("policy", { expiresIn: "P1D", lifetimeActions: [] }), refused(400, "BadParameter"));
	});
	test("of a key that is not there, or deleted: 404", async () => {
		await assert.rejects(keys.getKeyRotationPolicy("nothing"), refused(404, "KeyNotFound"));
		await assert.rejects(keys.updateKeyRotationPolicy("nothing", { lifetimeActions: [] }), refused(404, "KeyNotFound"));
		await keys.createEcKey("gone", { curve: "P-256" });
		await d.ok(vault, officer, "DELETE", "/keys/gone");
		await assert.rejects(keys.getKeyRotationPolicy("gone"), refused(404, "KeyNotFound"));
		await d.ok(vault, officer, "POST", "/deletedkeys/gone/recover");
		await keys.getKeyRotationPolicy("gone");
	});
	test("it outlives delete and recover, and a restart; a new version keeps it", async () => {
		const set = await keys.updateKeyRotationPolicy("gone", { expiresIn: "P1Y",
			lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P60D" }] });
		await d.ok(vault, officer, "DELETE", "/keys/gone");
		await d.ok(vault, officer, "POST", "/deletedkeys/gone/recover");
		await keys.createEcKey("gone", { curve: "P-384" });
		await d.stop();
		await d.restart();
		assert.deepEqual(await keys.getKeyRotationPolicy("gone"), set);
	});
});

describe("rotateKey", () => {
	test("keeps type, curve, size, tags and operations, and expires as the policy says; the old version stays", async () => {
		for (const [name, kty, options] of [["r-rsa", "RSA", { keySize: 3072 }], ["r-ec", "EC", { curve: "P-521" }],
			["r-ech", "EC-HSM", { curve: "P-256K" }],
			["r-oct", "oct", { keySize: 192 }], ["r-mac", "oct-HSM", { keySize: 384, keyOps: ["sign", "verify"] }],
			["r-kek", "RSA-HSM", { keyOps: ["import"] }]]) {
			const first = await keys.createKey(name, kty, { ...options, tags: { t: "1" } });
			await keys.updateKeyRotationPolicy(name, { expiresIn: "P90D", lifetimeActions: [] });
			const second = await keys.rotateKey(name);
			assert.notEqual(second.id, first.id);
			assert.equal(second.keyType, kty);
			assert.equal(second.key.crv, first.key.crv);
			assert.equal(second.key.n?.length, first.key.n?.length);
			assert.notDeepEqual([second.key.n, second.key.x, second.id], [first.key.n, first.key.x, first.id]);
			if (first.key.x)
				assert.notDeepEqual(second.key.x, first.key.x);
			assert.deepEqual(second.properties.tags, { t: "1" });
			assert.deepEqual([...second.keyOperations].sort(), [...first.keyOperations].sort());
			assert.equal((second.properties.expiresOn - second.properties.createdOn) / 1000, 90 * DAY_S);
			assert.equal(first.properties.expiresOn, undefined);
			assert.equal((await keys.getKey(name, { version: first.properties.version })).properties.expiresOn, undefined,
				"existing versions do not change");
		}
	});
	test("years and months are of the calendar", async () => {
		await keys.createEcKey("calendar", { curve: "P-256" });
		for (const [expiresIn, months] of [["P3M", 3], ["P2Y", 24], ["P1Y6M", 18]]) {
			await keys.updateKeyRotationPolicy("calendar", { expiresIn, lifetimeActions: [] });
			const { createdOn, expiresOn } = (await keys.rotateKey("calendar")).properties;
			const expected = new Date(createdOn);
			const day = expected.getUTCDate();
			expected.setUTCDate(1);
			expected.setUTCMonth(expected.getUTCMonth() + months);
			const last = new Date(Date.UTC(expected.getUTCFullYear(), expected.getUTCMonth() + 1, 0)).getUTCDate();
			expected.setUTCDate(Math.min(day, last));
			assert.deepEqual(expiresOn, expected, expiresIn);
		}
	});
	test("without a policy there is no expiry, and a creation takes none from it", async () => {
		await keys.createEcKey("no-expiry", { curve: "P-256" });
		assert.equal((await keys.rotateKey("no-expiry")).properties.expiresOn, undefined);
		const made = await keys.createEcKey("calendar", { curve: "P-256" });
		assert.equal(made.properties.expiresOn, undefined, "nothing is inherited by create");
	});
	test("disabled and expired keys rotate, with a usable new version", async () => {
		await keys.createEcKey("dead", { curve: "P-256", enabled: false, expiresOn: new Date(1600000000000) });
		const next = await keys.rotateKey("dead");
		assert.equal(next.properties.enabled, true);
		assert.ok(!next.properties.expiresOn || next.properties.expiresOn > new Date());
	});
});
