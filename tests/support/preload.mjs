// Loaded before every test program (node --import): names under .localhost always mean this machine (RFC 6761, section 6.3), also where the
// system's resolver does not know them. The official clients resolve with dns.lookup and offer no hook of their own.
import dns from "node:dns";

const systemLookup = dns.lookup;

/** dns.lookup, but for .localhost, which is answered here. Also handed to our own agents. */
export function lookup(hostname, options, callback) {
	const done = typeof options === "function" ? options : callback;
	const wanted = typeof options === "object" && options !== null ? options : {};
	if (!/(^|\.)localhost$/i.test(hostname))
		return systemLookup(hostname, options, callback);
	if (wanted.all)
		return process.nextTick(done, null, [{ address: "127.0.0.1", family: 4 }]);
	return process.nextTick(done, null, "127.0.0.1", 4);
}

dns.lookup = lookup;
