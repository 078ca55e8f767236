// A receiver of webhooks (docs/webhooks.md): agrees, checks signatures, and prints each event once.
// node webhook-receiver.mjs PORT CERTIFICATE KEY FILE-WITH-THE-SECRET     (the file may be written after `holdfast webhook create` has told the secret)
import { createHmac, timingSafeEqual } from "node:crypto";
import fs from "node:fs";
import https from "node:https";

const [port, cert, key, secretFile] = process.argv.slice(2);
const BODY_MAX = 1 << 20;
const seen = new Set(); // keep it on disk where that matters

function isGenuine(headers, body) {
	const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signatures = "" } = headers;
	const secret = Buffer.from(fs.readFileSync(secretFile, "utf8").trim().slice("whsec_".length), "base64");
	const mac = createHmac("sha256", secret).update(`${id}.${at}.`).update(body).digest();
	const equal = (text) => text.startsWith("v1,") && Buffer.from(text.slice(3), "base64").length === mac.length && timingSafeEqual(Buffer.from(text.slice(3), "base64"), mac);
	return Math.abs(Date.now() / 1000 - Number(at)) < 300 && signatures.split(" ").some(equal);
}

/** @return [status, headers, body] */
function answer(req, body) {
	if (req.method === "OPTIONS") // cloud-events asks so
		return [200, { "WebHook-Allowed-Origin": req.headers["webhook-request-origin"] ?? "" }, ""];
	if (req.headers["aeg-event-type"] === "SubscriptionValidation") // event-grid so; this comes before the secret is known
		return [200, { "Content-Type": "application/json" }, JSON.stringify({ validationResponse: JSON.parse(body)[0].data.validationCode })];
	if (!isGenuine(req.headers, body))
		return [401, {}, ""];
	for (const event of [JSON.parse(body)].flat())
		if (!seen.has(event.id)) {
			console.log(event.eventType ?? event.type, event.subject, event.id);
			seen.add(event.id);
		}
	return [204, {}, ""]; // once it is kept, not before
}

https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, (req, res) => {
	const chunks = [];
	let size = 0;
	req.on("data", (chunk) => {
		size += chunk.length;
		if (size > BODY_MAX)
			req.destroy();
		else
			chunks.push(chunk);
	});
	req.on("end", () => {
		let [status, headers, text] = [500, {}, ""]; // tried again
		try {
			[status, headers, text] = answer(req, Buffer.concat(chunks));
		} catch (error) {
			console.error(error.message);
		}
		res.writeHead(status, headers).end(text);
	});
}).listen(Number(port), () => console.log(`listening at ${port}`));
