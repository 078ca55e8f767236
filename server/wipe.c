/*
 * server/wipe.c - freed memory is overwritten, whoever frees it: this program, SQLite, OpenSSL, GnuTLS, libmicrohttpd, the key device's module. What was decrypted, parsed or
 * read once must not be found in the process after it was destroyed. glibc lets a program put functions of its own in place of its allocator's (The GNU C Library, "Replacing
 * malloc"); these stand before two of them and leave all the rest to it. mallopt(M_PERTURB) is no substitute: it passes over each thread's cache of small blocks, which is
 * where most of what is freed goes.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own, under the names that are left when a program defines the usual ones. */
extern void __libc_free(void *p);
extern void *__libc_malloc(size_t size);
extern void *__libc_realloc(void *p, size_t size);

void free(void *p)
{
	int saved = errno; /* callers rely on it (POSIX.1-2024) */

	if (p == NULL)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	__libc_free(p);
	errno = saved;
}

/* Never left to the allocator when the block must move: what it leaves behind it would not overwrite. */
void *realloc(void *p, size_t size)
{
	size_t usable = p != NULL ? malloc_usable_size(p) : 0;
	void *moved = NULL;

	if (p == NULL)
		return __libc_malloc(size);
	if (size == 0) {
		free(p);
		return NULL;
	}
	if (size <= usable && size >= usable / 2) {
		explicit_bzero((char *)p + size, usable - size);
		return p;
	}
	moved = __libc_malloc(size);
	if (moved == NULL)
		return NULL;
	memcpy(moved, p, size < usable ? size : usable);
	free(p);
	return moved;
}
