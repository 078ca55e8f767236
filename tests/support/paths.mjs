// Where the programs under test and the software token are.
import fs from "node:fs";
import path from "node:path";

const bin = path.resolve(process.env.HOLDFAST_BIN ?? "build/release");

export const binaries = {
	daemon: path.join(bin, "holdfastd"),
	cli: path.join(bin, "holdfast"),
	ekmTest: path.join(bin, "holdfast-ekm-test"),
	verify: path.join(bin, "holdfast-verify"),
	witness: path.join(bin, "holdfast-witness"),
};

function firstExisting(candidates) {
	return candidates.find((file) => file && fs.existsSync(file)) ?? null;
}

export const softhsm = {
	util: firstExisting((process.env.PATH ?? "").split(":").map((dir) => path.join(dir, "softhsm2-util"))),
	module: firstExisting([
		process.env.SOFTHSM2_MODULE,
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
		"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	]),
};

/** What moves the clock of a program; null = it is not installed. */
export const faketime = firstExisting([
	process.env.LIBFAKETIME,
	"/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
	"/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
]);
