// A small file system of its own, and how to fill it up.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** @return {{dir, remove()}}, or {{reason}} where mounting is not allowed */
export function tmpfs(sizeMib) {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-disk-"));
	try {
		execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMib}m,mode=0700`, "tmpfs", dir], { stdio: "pipe" });
	} catch (err) {
		fs.rmdirSync(dir);
		return { reason: `no right to mount a small file system: ${String(err.stderr ?? err.message).trim()}` };
	}
	return {
		dir,
		remove() {
			execFileSync("umount", [dir], { stdio: "pipe" });
			fs.rmdirSync(dir);
		},
	};
}

/** Write until nothing fits, smaller and smaller. */
export function fillUp(file) {
	const fd = fs.openSync(file, "a");
	for (let size = 1 << 20; size >= 512; size >>= 1) {
		const block = Buffer.alloc(size);
		try {
			for (;;)
				fs.writeSync(fd, block);
		} catch (err) {
			if (err.code !== "ENOSPC")
				throw err;
		}
	}
	fs.closeSync(fd);
}
