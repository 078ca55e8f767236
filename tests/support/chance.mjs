// Random choices that a seed repeats, and the ways in which a request can be made wrong.
import { randomInt } from "node:crypto";

const SEED_MAX = 2 ** 32;
export const newSeed = () => randomInt(SEED_MAX);

/** mulberry32: small, good enough to choose with. */
export class Chance {
	#state;
	constructor(seed) {
		this.#state = seed >>> 0;
	}
	unit() {
		this.#state = (this.#state + 0x6d2b79f5) >>> 0;
		let t = this.#state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / SEED_MAX;
	}
	below(n) {
		return Math.floor(this.unit() * n);
	}
	pick(list) {
		return list[this.below(list.length)];
	}
	is(probability) {
		return this.unit() < probability;
	}
	bytes(length) {
		return Buffer.from(Array.from({ length }, () => this.below(256)));
	}
	text(length, alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-") {
		return Array.from({ length }, () => alphabet[this.below(alphabet.length)]).join("");
	}
}

const TEXTS = ["", " ", "x", "null", "true", "-1", "0x10", "A".repeat(300), "A".repeat(5000), "ä", "日本語", "\u0000", "\u202e", "😀", "a\nb", "%00",
	"../..", "{}", "' OR 1=1 --", "=", "====", "AA==", "A", "A+/=", "e30", "P1Y", "https://example.com/keys/x"];
const NUMBERS = [0, -1, 1, 0.5, 2147483648, -2147483649, 9007199254740993, 1e308, -1e308, 65537, 128, 2048];

/** A value of no particular sort. */
export function anything(chance, depth = 0) {
	const kind = chance.below(depth > 3 ? 4 : 6);
	switch (kind) {
	case 0: return chance.pick(TEXTS);
	case 1: return chance.pick(NUMBERS);
	case 2: return chance.is(0.5);
	case 3: return null;
	case 4: return Array.from({ length: chance.below(4) }, () => anything(chance, depth + 1));
	default: return Object.fromEntries(Array.from({ length: chance.below(4) }, () => [chance.pick(TEXTS), anything(chance, depth + 1)]));
	}
}

/** Every place of a JSON value: [holder, name]. */
function places(value, found = []) {
	if (typeof value !== "object" || value === null)
		return found;
	for (const name of Object.keys(value)) {
		found.push([value, name]);
		places(value[name], found);
	}
	return found;
}

const nested = (depth) => `${"[".repeat(depth)}${"]".repeat(depth)}`;

function changeText(chance, text) {
	const at = chance.below(text.length + 1);
	switch (chance.below(7)) {
	case 0: return text.slice(0, at);
	case 1: return text.slice(0, at) + chance.pick(["=", " ", "/", "+", "é", "\u0000", "!"]) + text.slice(at);
	case 2: return text + text;
	case 3: return text.toUpperCase();
	case 4: return `${text}A`;
	case 5: return text.slice(0, at) + text.slice(at + 1);
	default: return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
	}
}

/** A body made wrong in one way or two: a value, or raw text for what JSON.stringify cannot say. It may turn out right all the same. */
export function spoiledBody(chance, body) {
	const copy = structuredClone(body ?? {});
	for (let times = 1 + chance.below(2); times > 0; times--) {
		const all = places(copy);
		const [holder, name] = all.length > 0 ? chance.pick(all) : [copy, "x"];
		const value = holder[name];
		switch (chance.below(8)) {
		case 0: Array.isArray(holder) ? holder.splice(Number(name), 1) : delete holder[name]; break;
		case 1: holder[name] = anything(chance); break;
		case 2: holder[chance.pick(TEXTS)] = anything(chance); break;
		case 3: holder[name] = typeof value === "string" ? changeText(chance, value) : anything(chance); break;
		case 4: holder[name] = typeof value === "number" ? value + chance.pick([-1, 1, 0.5, 1e12, -1e12]) : [value]; break;
		case 5: holder[name] = null; break;
		case 6: holder[name] = typeof value === "string" ? value.repeat(1 + chance.below(200)).slice(0, 50_000) : { value }; break;
		default: holder[name] = chance.pick(TEXTS);
		}
	}
	if (!chance.is(0.2))
		return copy;
	const text = JSON.stringify(copy);
	const at = chance.below(text.length + 1);
	const stray = chance.pick(["\u0000", "}", "\"", ",", "é", "\\u0000", "\\ud800"]);
	return chance.pick([
		text.slice(0, at), text.slice(0, at) + stray + text.slice(at), `[${text}]`, `${text}${text}`, text.replaceAll("\"", "'"), "", "null", nested(5000),
		text.replace(/^\{/, `{"x":${nested(10 + chance.below(30))},`), text.replace(/^\{("[^"]+":)/, "{$1null,$1"),
	]);
}

const SEGMENTS = ["", ".", "..", "%2e%2e", "%00", "%2f", "a%20b", "a_b", "x".repeat(128), "create", "versions", "restore", "backup", "0".repeat(32),
	"G".repeat(32), "0".repeat(31), "keys", "deletedkeys", "%c3%a4", "%", "%zz", "a;b=c", "*", "~", "KEYS", "admin", "v1", "nothing"];

/** A path with a segment more, less, or another one. */
export function spoiledPath(chance, path) {
	const parts = path.split("/").slice(1);
	const at = chance.below(parts.length);
	switch (chance.below(4)) {
	case 0: parts.splice(at, 1); break;
	case 1: parts.splice(at, 0, chance.pick(SEGMENTS)); break;
	case 2: parts[at] = chance.pick(SEGMENTS); break;
	default: parts[at] = chance.is(0.5) ? parts[at].toUpperCase() : parts[at] + chance.pick(["%41", "/", "x", "%"]);
	}
	return `/${parts.join("/")}`;
}

export function spoiledQuery(chance, query) {
	switch (chance.below(8)) {
	case 0: return "";
	case 1: return query.replace(/=[^&]*/, `=${chance.pick(["", "1.0", "7.6x", "%00", "9999-01-01", "7.6"])}`);
	case 2: return `${query}&${query}`;
	case 3: return `${query}&maxresults=${chance.pick(["0", "1", "25", "26", "-1", "x", "", "9999999999999999999"])}`;
	case 4: return `${query}&$skiptoken=${chance.pick(["", "A", "AAAA", "e30", "%00", "x".repeat(1000)])}`;
	case 5: return `${query}&${chance.text(5)}=${chance.text(5)}`;
	case 6: return Array.from({ length: 30 }, (_, i) => `a${i}=1`).join("&");
	default: return `${query}&${chance.pick(["=", "&&", "%zz", "a=%", "%00=1", "after=%00", "start=-1", "count=99999999999"])}`;
	}
}
