// What webhooks send, read by the official client library of Event Grid.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { EventGridDeserializer, isSystemEvent } from "@azure/eventgrid";
import { issueServerCert } from "../support/certs.mjs";
import { Daemon, authority, freePort, until } from "../support/daemon.mjs";
import { Receiver } from "../support/webhook_receiver.mjs";

const TYPES = ["Microsoft.KeyVault.KeyNewVersionCreated", "Microsoft.KeyVault.VaultAccessPolicyChanged"];

let d, dir, receiver;

before(async () => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-webhook-"));
	const ca = authority(dir), [cert, key] = [path.join(dir, "receiver.crt"), path.join(dir, "receiver.key")];
	issueServerCert(ca, "receiver.localhost", cert, key);
	receiver = new Receiver(await freePort(), cert, key, path.join(dir, "received"));
	await receiver.start();
	d = await Daemon.start({ webhooks: { hosts: [`127.0.0.1:${receiver.port}`], ca: ca.cert } });
});
after(async () => {
	await receiver?.kill9();
	await d?.destroy();
	if (dir)
		fs.rmSync(dir, { recursive: true, force: true });
});

test("its deserializer takes both shapes for the Key Vault's own events, and the handshake for a validation", async () => {
	const vault = await d.makeVault("orders"), app = await d.makePrincipal(vault, "app");
	for (const shape of ["event-grid", "cloud-events"])
		await d.adminOk("POST", "/admin/v1/vaults/orders/webhooks", { name: shape, shape, url: receiver.url(`ok-${shape}`) });
	await d.grant(vault, app, "crypto-officer");
	const made = await d.ok(vault, app, "POST", "/keys/cmk/create", { kty: "EC", crv: "P-256", attributes: { exp: 4000000000 } });
	const reader = new EventGridDeserializer();
	for (const [shape, read] of [["event-grid", "deserializeEventGridEvents"], ["cloud-events", "deserializeCloudEvents"]]) {
		const sent = await until(`${shape} has both`, () => receiver.events(`ok-${shape}`).length === 2 && receiver.events(`ok-${shape}`));
		for (const [i, type] of [TYPES[1], TYPES[0]].entries()) {
			const [event, ...more] = await reader[read](sent[i].request.body);
			assert.equal(more.length, 0);
			assert.ok(isSystemEvent(type, event), `${shape}: ${sent[i].request.body}`);
			assert.equal((event.eventTime ?? event.time).getTime(), Math.floor(Date.parse(sent[i].eventTime ?? sent[i].time)));
			if (type === TYPES[0])
				assert.deepEqual([event.data.Id ?? event.data.id, event.data.EXP ?? event.data.exp], [made.key.kid, 4000000000]);
		}
	}
	const [question] = receiver.requests("ok-event-grid");
	const [validation] = await reader.deserializeEventGridEvents(question.body);
	assert.ok(isSystemEvent("Microsoft.EventGrid.SubscriptionValidationEvent", validation));
	assert.match(validation.data.validationCode, /^[0-9a-f-]{36}$/);
});
