// A search for bytes that must not be there any more: in files, and in all of a process's memory that can be read.
import fs from "node:fs";
import path from "node:path";

const CHUNK = 8 << 20;
const PIECE = 64 << 10;
const ZEROS = Buffer.alloc(PIECE);
const WINDOW = 16; // bytes: long enough that chance does not find it, short enough that a half overwritten copy is still found

/** Cut out of the front, the middle and the end: what is left of a copy whose edges were overwritten counts too. */
function windows(bytes) {
	const starts = bytes.length <= 2 * WINDOW ? [(bytes.length - WINDOW) >> 1] : [WINDOW, (bytes.length - WINDOW) >> 1, bytes.length - 2 * WINDOW];
	return [...new Set(starts)].map((at) => bytes.subarray(at, at + WINDOW));
}

export class Needles {
	constructor() {
		this.list = []; // { name, bytes }
		this.longest = 0;
	}

	/** Those of several. */
	static of(...parts) {
		const all = new Needles();
		parts.forEach((part) => part.list.forEach(({ name, bytes }) => all.#add(name, bytes)));
		return all;
	}

	#add(name, bytes) {
		this.list.push({ name, bytes });
		this.longest = Math.max(this.longest, bytes.length);
	}

	/** Bytes as they are. */
	raw(name, bytes) {
		windows(Buffer.from(bytes)).forEach((w, i) => this.#add(`${name} [${i}]`, w));
		return this;
	}

	/** Text in base64url, as requests and answers have it. */
	text(name, bytes) {
		return this.raw(`${name} as base64url`, Buffer.from(Buffer.from(bytes).toString("base64url")));
	}

	/** A secret number: big-endian, as little-endian words (OpenSSL's BIGNUM on this machine), and as text. */
	number(name, bytes) {
		return this.raw(name, bytes).raw(`${name} as words`, Buffer.from(bytes).reverse()).text(name, bytes);
	}

	/** Which of them are in these bytes, each once. */
	in(bytes) {
		return this.list.filter((n) => bytes.includes(n.bytes)).map((n) => n.name);
	}

	/** The same; most memory was never written to, and is passed over. */
	inSparse(bytes) {
		const found = new Set();
		let from = 0;
		const look = (to) => {
			if (to > from)
				this.in(bytes.subarray(Math.max(0, from - this.longest), Math.min(bytes.length, to + this.longest))).forEach((name) => found.add(name));
		};
		for (let at = 0; at < bytes.length; at += PIECE) {
			const piece = bytes.subarray(at, at + PIECE);
			if (piece.length === PIECE && piece.equals(ZEROS)) {
				look(at);
				from = at + PIECE;
			}
		}
		look(bytes.length);
		return found;
	}
}

function inDescriptor(fd, start, end, needles, found) {
	const buffer = Buffer.alloc(Math.min(CHUNK, end - start) + needles.longest);
	let kept = 0;

	for (let at = start; at < end;) {
		const want = Math.min(CHUNK, end - at);
		const got = fs.readSync(fd, buffer, kept, want, at);
		if (got === 0)
			return;
		const seen = buffer.subarray(0, kept + got);
		for (const name of needles.inSparse(seen))
			found.add(name);
		kept = Math.min(needles.longest, seen.length);
		seen.copy(buffer, 0, seen.length - kept);
		at += got;
	}
}

/** Every file below these paths. @return [{ where, name }] */
export function searchFiles(paths, needles) {
	const hits = [];
	const one = (file) => {
		const found = new Set();
		const fd = fs.openSync(file, "r");
		inDescriptor(fd, 0, fs.fstatSync(fd).size, needles, found);
		fs.closeSync(fd);
		for (const name of found)
			hits.push({ where: file, name });
	};
	for (const top of paths.filter((p) => fs.existsSync(p))) {
		const stat = fs.statSync(top);
		const files = stat.isDirectory() ? fs.readdirSync(top, { recursive: true }).map((name) => path.join(top, name)) : [top];
		files.filter((file) => fs.statSync(file).isFile()).forEach(one);
	}
	return hits;
}

/** Why a process's memory is not to be searched; null: it can be. Root may read it, unless its capabilities were taken; sanitizers keep on purpose what was freed. */
export function whyNotSearched(pid) {
	try {
		fs.closeSync(fs.openSync(`/proc/${pid}/mem`, "r"));
		return /lib[at]san/.test(fs.readFileSync(`/proc/${pid}/maps`, "utf8")) ? "it runs under a sanitizer" : null;
	} catch (err) {
		return `this user may not read /proc/PID/mem (${err.code})`;
	}
}

/** All readable memory of a process: code, data, heaps, stacks. @return [{ where, name }] */
export function searchMemory(pid, needles) {
	const fd = fs.openSync(`/proc/${pid}/mem`, "r");
	const hits = [];

	try {
		for (const line of fs.readFileSync(`/proc/${pid}/maps`, "utf8").trim().split("\n")) {
			const [, from, to, rights, what] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line);
			if (!rights.startsWith("r") || what.startsWith("[vvar") || what === "[vsyscall]")
				continue;
			const found = new Set();
			try {
				inDescriptor(fd, parseInt(from, 16), parseInt(to, 16), needles, found);
			} catch (err) {
				if (!["EIO", "EFAULT", "ENOMEM"].includes(err.code)) // a page that is gone by now, or that has no memory behind it
					throw err;
			}
			for (const name of found)
				hits.push({ where: `${what || "anonymous"} ${from}`, name });
		}
	} finally {
		fs.closeSync(fd);
	}
	return hits;
}
