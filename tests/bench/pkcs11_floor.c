/*
 * tests/bench/pkcs11_floor.c - what the PKCS#11 module itself can do: the calls that the daemon makes for one unwrap, and nothing else.
 *
 *	pkcs11_floor MODULE TOKEN-LABEL PIN-FILE SECONDS MAX-THREADS
 *
 * One line of JSON for each operation and number of threads: {"name":…,"threads":n,"rps":n}.
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/now.h"

#define RSA_BITS 2048
#define RSA_BYTES (RSA_BITS / 8)
#define AES_BYTES 32
#define WRAPPED_BYTES (AES_BYTES + 8)
#define LABEL_LEN 32 /* blank-padded in CK_TOKEN_INFO */
#define THREADS_MAX 64

struct bench {
	CK_FUNCTION_LIST *p11;
	CK_SLOT_ID slot;
	CK_OBJECT_HANDLE rsa, aes;
	CK_BYTE cipher[RSA_BYTES];      /* below n: opens to something, which is all that raw RSA asks */
	CK_BYTE wrapped[WRAPPED_BYTES]; /* a key under aes */
	atomic_bool is_over;
};

typedef void (*op_fn)(const struct bench *b, CK_SESSION_HANDLE session);

struct runner {
	struct bench *b;
	op_fn op;
	pthread_t thread;
	unsigned long count;
};

static void check(CK_RV rv, const char *what)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "%s: 0x%lx\n", what, rv);
		exit(EXIT_FAILURE);
	}
}

static CK_SESSION_HANDLE session_open(const struct bench *b)
{
	CK_SESSION_HANDLE session = 0;

	check(b->p11->C_OpenSession(b->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), "C_OpenSession");
	return session;
}

static void op_rsa(const struct bench *b, CK_SESSION_HANDLE session)
{
	CK_MECHANISM raw = { CKM_RSA_X_509, NULL, 0 };
	CK_BYTE cipher[RSA_BYTES], out[RSA_BYTES];
	CK_ULONG out_len = sizeof(out);

	memcpy(cipher, b->cipher, sizeof(cipher));
	check(b->p11->C_DecryptInit(session, &raw, b->rsa), "C_DecryptInit");
	check(b->p11->C_Decrypt(session, cipher, sizeof(cipher), out, &out_len), "C_Decrypt");
}

static void op_aes(const struct bench *b, CK_SESSION_HANDLE session)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &class, sizeof(class) }, { CKA_KEY_TYPE, &type, sizeof(type) }, { CKA_TOKEN, &no, sizeof(no) },
		{ CKA_SENSITIVE, &no, sizeof(no) },   { CKA_EXTRACTABLE, &yes, sizeof(yes) },
	};
	CK_MECHANISM kw = { CKM_AES_KEY_WRAP, NULL, 0 };
	CK_OBJECT_HANDLE key = 0;
	CK_BYTE wrapped[WRAPPED_BYTES], value[AES_BYTES];
	CK_ATTRIBUTE get = { CKA_VALUE, value, sizeof(value) };

	memcpy(wrapped, b->wrapped, sizeof(wrapped));
	check(b->p11->C_UnwrapKey(session, &kw, b->aes, wrapped, sizeof(wrapped), template, sizeof(template) / sizeof(template[0]), &key),
	      "C_UnwrapKey");
	check(b->p11->C_GetAttributeValue(session, key, &get, 1), "C_GetAttributeValue");
	check(b->p11->C_DestroyObject(session, key), "C_DestroyObject");
}

static void *run(void *arg)
{
	struct runner *r = arg;
	CK_SESSION_HANDLE session = session_open(r->b);

	while (!atomic_load_explicit(&r->b->is_over, memory_order_relaxed)) {
		r->op(r->b, session);
		r->count++;
	}
	check(r->b->p11->C_CloseSession(session), "C_CloseSession");
	return NULL;
}

static void measure(struct bench *b, const char *name, op_fn op, unsigned threads, double seconds)
{
	struct runner runners[THREADS_MAX] = { 0 };
	struct timespec pause = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
	int64_t begun_us;
	unsigned long count = 0;

	atomic_store(&b->is_over, false);
	begun_us = now_us();
	for (unsigned i = 0; i < threads; i++) {
		runners[i] = (struct runner){ .b = b, .op = op };
		if (pthread_create(&runners[i].thread, NULL, run, &runners[i]) != 0)
			exit(EXIT_FAILURE);
	}
	(void)nanosleep(&pause, NULL); /* the duration of the measurement, not a wait for something */
	atomic_store(&b->is_over, true);
	for (unsigned i = 0; i < threads; i++) {
		(void)pthread_join(runners[i].thread, NULL);
		count += runners[i].count;
	}
	printf("{\"name\":\"%s\",\"threads\":%u,\"rps\":%.0f}\n", name, threads, (double)count * US_PER_S / (double)(now_us() - begun_us));
	fflush(stdout);
}

static CK_SLOT_ID slot_find(CK_FUNCTION_LIST *p11, const char *label)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = sizeof(slots) / sizeof(slots[0]);

	check(p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;
		check(p11->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
		if (memcmp(info.label, label, strlen(label)) == 0 && (strlen(label) == LABEL_LEN || info.label[strlen(label)] == ' '))
			return slots[i];
	}
	fprintf(stderr, "no token %s\n", label);
	exit(EXIT_FAILURE);
}

/* The keys as the daemon has them: a loaded wrapped RSA key is a session object, an oct-HSM key is a token object. */
static void keys_make(struct bench *b, CK_SESSION_HANDLE session)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG bits = RSA_BITS, aes_len = AES_BYTES;
	CK_BYTE exponent[] = { 1, 0, 1 };
	CK_MECHANISM rsa_gen = { CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0 }, aes_gen = { CKM_AES_KEY_GEN, NULL, 0 };
	CK_MECHANISM kw = { CKM_AES_KEY_WRAP, NULL, 0 };
	CK_ATTRIBUTE pub[] = { { CKA_TOKEN, &no, sizeof(no) },
		               { CKA_MODULUS_BITS, &bits, sizeof(bits) },
		               { CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent) } };
	CK_ATTRIBUTE priv[] = { { CKA_TOKEN, &no, sizeof(no) }, { CKA_PRIVATE, &yes, sizeof(yes) }, { CKA_DECRYPT, &yes, sizeof(yes) } };
	CK_ATTRIBUTE aes[] = { { CKA_TOKEN, &yes, sizeof(yes) },   { CKA_PRIVATE, &yes, sizeof(yes) }, { CKA_SENSITIVE, &yes, sizeof(yes) },
		               { CKA_WRAP, &yes, sizeof(yes) },    { CKA_UNWRAP, &yes, sizeof(yes) },  { CKA_VALUE_LEN, &aes_len, sizeof(aes_len) } };
	CK_ATTRIBUTE inner[] = { { CKA_TOKEN, &no, sizeof(no) }, { CKA_EXTRACTABLE, &yes, sizeof(yes) }, { CKA_VALUE_LEN, &aes_len, sizeof(aes_len) } };
	CK_OBJECT_HANDLE public_key = 0, payload = 0;
	CK_ULONG wrapped_len = sizeof(b->wrapped);

	check(b->p11->C_GenerateKeyPair(session, &rsa_gen, pub, 3, priv, 3, &public_key, &b->rsa), "C_GenerateKeyPair");
	memset(b->cipher, 0x5a, sizeof(b->cipher)); /* the modulus begins with a one bit */
	check(b->p11->C_GenerateKey(session, &aes_gen, aes, 6, &b->aes), "C_GenerateKey");
	check(b->p11->C_GenerateKey(session, &aes_gen, inner, 3, &payload), "C_GenerateKey");
	check(b->p11->C_WrapKey(session, &kw, b->aes, payload, b->wrapped, &wrapped_len), "C_WrapKey");
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
	char pin[128] = "";
	CK_C_GetFunctionList get_list;
	CK_SESSION_HANDLE session;
	unsigned long threads_max;

	if (argc != 6) {
		fprintf(stderr, "usage: pkcs11_floor MODULE TOKEN-LABEL PIN-FILE SECONDS MAX-THREADS\n");
		return EXIT_FAILURE;
	}
	void *module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (module == NULL) {
		fprintf(stderr, "%s: %s\n", argv[1], dlerror());
		return EXIT_FAILURE;
	}
	FILE *pin_file = fopen(argv[3], "re");
	if (pin_file == NULL || fgets(pin, sizeof(pin), pin_file) == NULL) {
		fprintf(stderr, "%s: no PIN\n", argv[3]);
		return EXIT_FAILURE;
	}
	(void)fclose(pin_file);
	pin[strcspn(pin, "\n")] = '\0';
	*(void **)&get_list = dlsym(module, "C_GetFunctionList");
	if (get_list == NULL)
		return EXIT_FAILURE;
	check(get_list(&b.p11), "C_GetFunctionList");
	check(b.p11->C_Initialize(&args), "C_Initialize");
	b.slot = slot_find(b.p11, argv[2]);
	session = session_open(&b);
	check(b.p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)), "C_Login");
	keys_make(&b, session);
	threads_max = strtoul(argv[5], NULL, 10);
	for (unsigned threads = 1; threads <= threads_max && threads <= THREADS_MAX; threads++) {
		measure(&b, "unwrap-rsa-2048", op_rsa, threads, strtod(argv[4], NULL));
		measure(&b, "unwrap-a256kw", op_aes, threads, strtod(argv[4], NULL));
	}
	check(b.p11->C_DestroyObject(session, b.aes), "C_DestroyObject");
	check(b.p11->C_Finalize(NULL), "C_Finalize");
	return EXIT_SUCCESS;
}
