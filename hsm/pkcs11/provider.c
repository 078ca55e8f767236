/* hsm/pkcs11/provider.c - the PKCS#11 provider's life: open, watch, bring back after a loss, close. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsm/pkcs11/provider.h"
#include "server/base/clock.h"

#define PROBE_FRESH_MS 2000 /* a good probe is believed so long, unless a call looked suspect since */
#define SESSIONS_MAX 64
#define CACHE_MAX 100000

/* The configuration shows read-only views of what is owned here. */
static void free_owned(const void *owned)
{
	union {
		const void *in;
		void *out;
	} p = { .in = owned };

	free(p.out);
}

static void config_clear(struct p11_config *c)
{
	free_owned(c->module);
	free_owned(c->uri);
	free_owned(c->pin_file);
	free_owned(c->token_dir);
	for (size_t i = 0; c->look_argv != NULL && c->look_argv[i] != NULL; i++)
		free_owned(c->look_argv[i]);
	free_owned(c->look_argv);
}

static bool text_copy(const char *text, const char **ret)
{
	*ret = text != NULL ? strdup(text) : NULL;
	return text == NULL || *ret != NULL;
}

static bool config_copy(const struct p11_config *from, struct p11_config *to)
{
	const char **argv;
	size_t args = 0;

	*to = *from;
	to->module = to->uri = to->pin_file = to->token_dir = NULL;
	to->look_argv = NULL;
	if (!text_copy(from->module, &to->module) || !text_copy(from->uri, &to->uri) || !text_copy(from->pin_file, &to->pin_file) ||
	    !text_copy(from->token_dir, &to->token_dir))
		return false;
	if (from->look_argv == NULL)
		return true;
	while (from->look_argv[args] != NULL)
		args++;
	argv = calloc(args + 1, sizeof(*argv));
	to->look_argv = argv;
	if (argv == NULL)
		return false;
	for (size_t i = 0; i < args; i++)
		if (!text_copy(from->look_argv[i], &argv[i]))
			return false;
	return true;
}

kms_status p11_enter(struct p11_hsm *p, struct kms_err *err)
{
	if (atomic_load(&p->is_available)) {
		(void)pthread_rwlock_rdlock(&p->world);
		if (atomic_load(&p->is_available))
			return KMS_OK;
		(void)pthread_rwlock_unlock(&p->world);
	}
	return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the key device is lost; it is being looked for");
}

void p11_leave(struct p11_hsm **p)
{
	(void)pthread_rwlock_unlock(&(*p)->world);
}

/* PKCS#11 texts are padded with blanks and have no NUL. */
static void text_trim(char *ret, const unsigned char *padded, size_t len)
{
	while (len > 0 && (padded[len - 1] == ' ' || padded[len - 1] == '\0'))
		len--;
	memcpy(ret, padded, len);
	ret[len] = '\0';
}

static struct hsm_info info_of(const struct p11_token *token)
{
	const CK_TOKEN_INFO *t = &token->token_info;
	struct hsm_info info = { 0 };

	text_trim(info.manufacturer, t->manufacturerID, sizeof(t->manufacturerID));
	text_trim(info.model, t->model, sizeof(t->model));
	text_trim(info.serial, t->serialNumber, sizeof(t->serialNumber));
	text_trim(info.label, t->label, sizeof(t->label));
	text_trim(info.library, token->library_info.libraryDescription, sizeof(token->library_info.libraryDescription));
	(void)snprintf(info.firmware, sizeof(info.firmware), "%u.%u", (unsigned)t->firmwareVersion.major, (unsigned)t->firmwareVersion.minor);
	return info;
}

kms_status p11_identify(const struct p11_config *cfg, struct hsm_info *ret_info, struct kms_err *err)
{
	struct p11_token t = { 0 };
	kms_status status = p11_token_load(&t, cfg, err);

	if (status == KMS_OK)
		status = p11_token_find_slot(&t, err);
	if (status == KMS_OK) {
		*ret_info = info_of(&t);
		if (!p11_token_stop(&t))
			status = kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "C_Finalize");
	}
	p11_token_unload(&t);
	return status;
}

/* Called with the world to itself: what the device says about itself, and the next epoch. */
static void note_start(struct p11_hsm *p)
{
	struct hsm_info info = info_of(&p->token);

	info.epoch = ++p->epoch;
	(void)pthread_mutex_lock(&p->state_lock);
	p->info = info;
	(void)pthread_mutex_unlock(&p->state_lock);
}

/* Stop the world, re-initialise, find the slot again by URI, log in, drop every cached handle (row 1f). */
static kms_status bring_back(struct p11_hsm *p, struct kms_err *err)
{
	kms_status status = KMS_OK;

	(void)pthread_rwlock_wrlock(&p->world);
	if (!p11_token_stop(&p->token))
		status = kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the PKCS#11 module cannot be finalised");
	if (status == KMS_OK) {
		p11_pool_forget(p->pool);
		p11_cache_forget_all(p->cache);
		atomic_store(&p->token.gate.is_suspect, false);
		status = p11_token_start(&p->token, err);
	}
	if (status == KMS_OK) {
		note_start(p);
		status = p11_probe_alive(p, err);
	}
	if (status == KMS_OK)
		atomic_store(&p->is_available, true);
	(void)pthread_rwlock_unlock(&p->world);
	if (status == KMS_E_INVALID) { /* a PIN refused or unreadable: the device stays away, the message says why */
		status = KMS_E_DEVICE;
		if (err != NULL)
			err->status = status;
	}
	return status;
}

static int64_t now_ms(void)
{
	return clock_mono_us(&CLOCK_SYSTEM) / 1000;
}

static kms_status check_locked(struct p11_hsm *p, struct kms_err *err)
{
	struct kms_err why = { 0 };
	kms_status status;

	if (atomic_load(&p->is_available)) {
		if (!atomic_load(&p->token.gate.is_suspect) && p->probed_ms + PROBE_FRESH_MS > now_ms())
			return KMS_OK;
		atomic_store(&p->token.gate.is_suspect, false);
		(void)pthread_rwlock_rdlock(&p->world);
		status = p11_probe_alive(p, &why);
		p11_cache_bury(p->cache);
		(void)pthread_rwlock_unlock(&p->world);
		if (status == KMS_OK) {
			p->probed_ms = now_ms();
			return KMS_OK;
		}
		if (status == KMS_E_NOMEM || status == KMS_E_BUSY) {
			/* Says nothing about the device; ask again the next time. */
			atomic_store(&p->token.gate.is_suspect, true);
			if (err != NULL)
				*err = why;
			return status;
		}
		atomic_store(&p->is_available, false); /* from here every verb refuses, cached keys or not */
	}
	status = bring_back(p, err);
	if (status == KMS_OK)
		p->probed_ms = now_ms();
	return status;
}

static kms_status p11_check(struct hsm *h, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;

	P11_LOCK_AUTO(&p->check_lock);
	status = check_locked(p, err);
	atomic_store(&p->answered_ms, now_ms());
	return status;
}

static const struct histogram *p11_call_times(struct hsm *h, size_t i, const char **ret_call)
{
	struct p11_hsm *p = p11_of(h);

	if (i >= P11_CALL_COUNT)
		return NULL;
	*ret_call = p11_call_name((enum p11_call)i);
	return &p->token.gate.times[i];
}

static void p11_info(struct hsm *h, struct hsm_info *ret_info)
{
	struct p11_hsm *p = p11_of(h);

	(void)pthread_mutex_lock(&p->state_lock);
	*ret_info = p->info;
	(void)pthread_mutex_unlock(&p->state_lock);
	ret_info->features = h->features;
	ret_info->is_available = atomic_load(&p->is_available);
	ret_info->silent_ms = now_ms() - atomic_load(&p->answered_ms);
	ret_info->cached_keys = p11_cache_loaded_count(p->cache);
	p11_pool_usage(p->pool, &ret_info->sessions_open, &ret_info->sessions_busy, &ret_info->sessions_max);
}

static kms_status p11_random(struct hsm *h, struct secret *fill, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	CK_RV rv;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	rv = P11_CALL(&p->token.gate, C_GenerateRandom, session.handle, secret_bytes(fill), secret_len(fill));
	return rv == CKR_OK ? KMS_OK : p11_fail(err, rv, "C_GenerateRandom");
}

/* Works while the device is away too: a revoke must (design.md section 5). */
static kms_status p11_key_evict(struct hsm *h, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	kms_status status;

	if (drain_ms == 0)
		return p11_cache_evict(p->cache, id, 0, err);
	(void)pthread_rwlock_rdlock(&p->world);
	status = p11_cache_evict(p->cache, id, drain_ms, err);
	(void)pthread_rwlock_unlock(&p->world);
	return status;
}

static void p11_close(struct hsm *h)
{
	struct p11_hsm *p = p11_of(h);

	p11_pool_free(p->pool);
	(void)p11_token_stop(&p->token); /* nothing can be done about a refusal; the process is about to end */
	p11_cache_free(p->cache);
	p11_token_unload(&p->token);
	(void)pthread_rwlock_destroy(&p->world);
	(void)pthread_mutex_destroy(&p->objects);
	(void)pthread_mutex_destroy(&p->home_lock);
	(void)pthread_mutex_destroy(&p->pins);
	(void)pthread_mutex_destroy(&p->check_lock);
	(void)pthread_mutex_destroy(&p->state_lock);
	config_clear(&p->cfg);
	free(p);
}

static void p11_set_log_key(struct hsm *h, const uint8_t id[HSM_ID_LEN])
{
	struct p11_hsm *p = p11_of(h);

	(void)pthread_mutex_lock(&p->state_lock);
	memcpy(p->log_key_id, id, HSM_ID_LEN);
	(void)pthread_mutex_unlock(&p->state_lock);
}

static const struct hsm_ops P11_OPS = {
	.name = "pkcs11",
	.close = p11_close,
	.check = p11_check,
	.set_log_key = p11_set_log_key,
	.info = p11_info,
	.call_times = p11_call_times,
	.random = p11_random,
	.key_generate = p11_key_generate,
	.key_generate_wrapped = p11_key_generate_wrapped,
	.key_public = p11_key_public,
	.key_destroy = p11_key_destroy,
	.key_evict = p11_key_evict,
	.keys_gone = p11_keys_gone,
	.keys_list = p11_keys_list,
	.pins = p11_pins,
	.pin = p11_pin,
	.key_import = p11_key_import,
	.key_transfer = p11_key_transfer,
	.key_rewrap = p11_key_rewrap,
	.key_attributes = p11_key_attributes,
	.sign = p11_sign,
	.encrypt = p11_encrypt,
	.decrypt = p11_decrypt,
	.rsa_decrypt = p11_rsa_decrypt,
	.aes_wrap = p11_aes_wrap,
	.aes_unwrap = p11_aes_unwrap,
};

static void locks_init(struct p11_hsm *p)
{
	pthread_rwlockattr_t attr;

	/* Writers first: a re-initialisation must not starve under load. No verb takes the lock twice. */
	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&p->world, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	(void)pthread_mutex_init(&p->objects, NULL);
	(void)pthread_mutex_init(&p->home_lock, NULL);
	(void)pthread_mutex_init(&p->pins, NULL);
	(void)pthread_mutex_init(&p->check_lock, NULL);
	(void)pthread_mutex_init(&p->state_lock, NULL);
}

static kms_status start(struct p11_hsm *p, const struct p11_config *cfg, struct kms_err *err)
{
	if (!config_copy(cfg, &p->cfg))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "configuration");
	memcpy(p->log_key_id, cfg->log_key_id, HSM_ID_LEN);
	KMS_TRY(p11_token_load(&p->token, &p->cfg, err));
	KMS_TRY(p11_pool_new(&p->token, cfg->sessions, cfg->wait_ms, &p->pool, err));
	KMS_TRY(p11_cache_new(cfg->cache_keys, p11_loaded_destroy, p, &p->cache, err));
	KMS_TRY(p11_token_start(&p->token, err));
	note_start(p);
	KMS_TRY(p11_probe_features(p, &p->base.features, err));
	KMS_TRY(p11_probe_alive(p, err));
	p->probed_ms = now_ms();
	atomic_store(&p->answered_ms, p->probed_ms);
	atomic_store(&p->is_available, true);
	return KMS_OK;
}

kms_status hsm_open_pkcs11(const struct p11_config *cfg, struct hsm **ret_hsm, struct kms_err *err)
{
	struct p11_hsm *p;
	kms_status status;

	if (cfg->module == NULL || cfg->uri == NULL || cfg->sessions == 0 || cfg->sessions > SESSIONS_MAX || cfg->cache_keys == 0 ||
	    cfg->cache_keys > CACHE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The key device needs a module, a token, 1 to %d sessions and 1 to %d cached keys.",
		                  SESSIONS_MAX, CACHE_MAX);
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "key device");
	p->base.ops = &P11_OPS;
	locks_init(p);
	status = start(p, cfg, err);
	if (status != KMS_OK) {
		p11_close(&p->base);
		return status;
	}
	*ret_hsm = &p->base;
	return KMS_OK;
}
