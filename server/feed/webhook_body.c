/* server/feed/webhook_body.c - what receivers are sent: Event Grid's and CloudEvents' shapes of an event (keyvault-keys.md section 17), and the signature. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/secret.h"
#include "server/feed/webhook_parts.h"

#define SECRET_PREFIX "whsec_"
#define SECRET_LEN 32
#define MAC_LEN 32
#define TOPIC_MAX (sizeof("/tenants//vaults/") + GUID_TEXT_LEN + STORE_VAULT_NAME_MAX)
#define VERSION_TEXT (2 * STORE_ID_LEN)
#define KEY_URL_MAX (KMS_URL_MAX + STORE_KEY_NAME_MAX + VERSION_TEXT + 16)
#define VALIDATION_TYPE "Microsoft.EventGrid.SubscriptionValidationEvent"

static const struct {
	uint32_t event;
	const char *type;
} TYPES[WEBHOOK_EVENTS] = {
	{ WEBHOOK_KEY_NEW_VERSION, "Microsoft.KeyVault.KeyNewVersionCreated" },
	{ WEBHOOK_KEY_NEAR_EXPIRY, "Microsoft.KeyVault.KeyNearExpiry" },
	{ WEBHOOK_KEY_EXPIRED, "Microsoft.KeyVault.KeyExpired" },
	{ WEBHOOK_ACCESS_CHANGED, "Microsoft.KeyVault.VaultAccessPolicyChanged" },
};

const char *webhook_event_type(uint32_t event)
{
	for (size_t i = 0; i < WEBHOOK_EVENTS; i++)
		if (TYPES[i].event == event)
			return TYPES[i].type;
	return "";
}

uint32_t webhook_event_parse(const char *text)
{
	for (size_t i = 0; i < WEBHOOK_EVENTS; i++)
		if (strcmp(TYPES[i].type, text) == 0 || strcmp(strrchr(TYPES[i].type, '.') + 1, text) == 0)
			return TYPES[i].event;
	return 0;
}

void webhook_host(const char *url, char ret_host[WEBHOOK_HOST_MAX])
{
	if (!post_url_host(url, ret_host, WEBHOOK_HOST_MAX))
		ret_host[0] = '\0';
}

void webhook_message_clear(struct webhook_message *m)
{
	free(m->body);
	m->body = NULL;
	m->len = m->header_count = 0;
}

static void add_header(struct webhook_message *m, const char *name, const char *value)
{
	assert(m->header_count < WEBHOOK_HEADERS_MAX);
	(void)snprintf(m->header[m->header_count++], WEBHOOK_HEADER_LEN, "%s: %s", name, value);
}

/* ---- bodies ---- */

static json_t *time_or_null(int64_t time_s) { return time_s == STORE_NO_TIME ? json_null() : json_integer(time_s); }

static bool has_version(const struct store_delivery *d)
{
	static const uint8_t NONE[STORE_ID_LEN];
	return memcmp(d->version_id, NONE, STORE_ID_LEN) != 0; /* allowed: ids are public */
}

static json_t *data_of(const struct webhook_event *e)
{
	const struct store_delivery *d = e->delivery;
	bool is_key = d->key_name[0] != '\0';
	char url[KMS_URL_MAX], id[KEY_URL_MAX], version[VERSION_TEXT + 1] = "";

	kms_url(e->kms, e->vault->name, url);
	if (has_version(d))
		hex_encode(d->version_id, STORE_ID_LEN, version);
	(void)snprintf(id, sizeof(id), "%s%s%s%s%s", url, is_key ? "/keys/" : "", d->key_name, version[0] != '\0' ? "/" : "", version);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "Id", id, "VaultName", e->vault->name, "ObjectType", is_key ? "Key" : "", "ObjectName", d->key_name,
	                 "Version", version, "NBF", time_or_null(e->nbf_s), "EXP", time_or_null(e->exp_s));
}

static void topic_of(const struct store_vault *vault, char ret[TOPIC_MAX])
{
	char id[GUID_TEXT_LEN + 1];

	guid_format(vault->directory, id);
	(void)snprintf(ret, TOPIC_MAX, "/tenants/%s/vaults/%s", id, vault->name);
}

static json_t *event_grid(const char *id, const char *topic, const char *subject, const char *type, const char *time, json_t *data)
{
	return json_pack("[{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s}]", "id", id, "topic", topic, "subject", subject, "eventType", type, "eventTime", time, "data", data,
	                 "dataVersion", "1", "metadataVersion", "1");
}

static json_t *cloud_event(const char *id, const char *topic, const char *subject, const char *type, const char *time, json_t *data)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "specversion", "1.0", "id", id, "source", topic, "type", type, "subject", subject, "time", time,
	                 "datacontenttype", "application/json", "data", data);
}

/* @param json  taken; NULL without memory */
static kms_status write_body(json_t *json, struct webhook_message *m, struct kms_err *err)
{
	size_t len = json != NULL ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;

	m->body = len > 0 ? malloc(len + 1) : NULL;
	if (m->body != NULL) {
		m->len = json_dumpb(json, m->body, len, JSON_COMPACT);
		m->body[len] = '\0';
	}
	json_decref(json);
	return m->body != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "body of a webhook");
}

static void add_event_grid_headers(const struct store_webhook *h, const char *kind, uint32_t attempts, struct webhook_message *m)
{
	char count[16];

	(void)snprintf(count, sizeof(count), "%u", attempts);
	add_header(m, "Content-Type", "application/json; charset=utf-8");
	add_header(m, "aeg-event-type", kind);
	add_header(m, "aeg-subscription-name", h->name);
	add_header(m, "aeg-delivery-count", count);
	add_header(m, "aeg-data-version", "1");
	add_header(m, "aeg-metadata-version", "1");
}

kms_status webhook_message_event(const struct store_webhook *h, const struct webhook_event *e, struct webhook_message *ret, struct kms_err *err)
{
	const struct store_delivery *d = e->delivery;
	const char *subject = d->key_name[0] != '\0' ? d->key_name : e->vault->name, *type = webhook_event_type(d->event);
	char id[GUID_TEXT_LEN + 1], topic[TOPIC_MAX], time[TIMESTAMP_LEN + 1];

	guid_format(d->event_id, id);
	topic_of(e->vault, topic);
	timestamp_format(d->event_us, time);
	if (h->shape == STORE_WEBHOOK_CLOUD_EVENTS) {
		add_header(ret, "Content-Type", "application/cloudevents+json; charset=utf-8");
		return write_body(cloud_event(id, topic, subject, type, time, data_of(e)), ret, err);
	}
	add_event_grid_headers(h, "Notification", d->attempts, ret);
	return write_body(event_grid(id, topic, subject, type, time, data_of(e)), ret, err);
}

kms_status webhook_message_validation(const struct store_webhook *h, const struct webhook_event *e, const char *code, struct webhook_message *ret,
                                      struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1], topic[TOPIC_MAX], time[TIMESTAMP_LEN + 1];

	guid_format(e->delivery->event_id, id);
	topic_of(e->vault, topic);
	timestamp_format(e->delivery->event_us, time);
	add_event_grid_headers(h, "SubscriptionValidation", h->attempts, ret);
	return write_body(event_grid(id, topic, "", VALIDATION_TYPE, time, json_pack("{s:s}", "validationCode", code)), ret, err);
}

bool webhook_is_validated(const struct post_answer *a, const char *code)
{
	json_t *answer = a->body != NULL ? json_loadb(a->body, a->body_len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *said = json_string_value(json_object_get(answer, "validationResponse"));
	bool is_validated = said != NULL && strcmp(said, code) == 0; /* allowed: used once, and whoever answers was sent it */

	json_decref(answer);
	return is_validated;
}

/* ---- secrets and signatures ---- */

static kms_status derive(const struct installation *inst, const uint8_t id[STORE_ID_LEN], uint32_t generation, uint8_t ret[SECRET_LEN], struct kms_err *err)
{
	const struct secret *key = inst->webhook_key;
	uint8_t input[STORE_ID_LEN + sizeof(generation)];
	unsigned len = 0;

	memcpy(input, id, STORE_ID_LEN);
	for (size_t i = 0; i < sizeof(generation); i++)
		input[STORE_ID_LEN + i] = (uint8_t)(generation >> (8 * (sizeof(generation) - 1 - i)));
	if (key == NULL || HMAC(EVP_sha256(), secret_data(key), (int)secret_len(key), input, sizeof(input), ret, &len) == NULL || len != SECRET_LEN)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "secret of a webhook");
	return KMS_OK;
}

kms_status webhook_secret(const struct installation *inst, const uint8_t id[STORE_ID_LEN], uint32_t generation, struct secret **ret, struct kms_err *err)
{
	ERASE_AUTO(uint8_t, bytes, SECRET_LEN);
	ERASE_AUTO(char, text, WEBHOOK_SECRET_TEXT + 1);

	KMS_TRY(derive(inst, id, generation, bytes, err));
	memcpy(text, SECRET_PREFIX, strlen(SECRET_PREFIX));
	b64_encode(bytes, SECRET_LEN, text + strlen(SECRET_PREFIX));
	*ret = secret_from(text, WEBHOOK_SECRET_TEXT);
	return *ret != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secret of a webhook");
}

bool webhook_signature(const void *key, size_t key_len, const char *message_id, int64_t timestamp, const char *body, size_t len,
                       char ret[WEBHOOK_SIGNATURE_LEN + 1])
{
	char head[GUID_TEXT_LEN + 64];
	uint8_t mac[MAC_LEN];
	size_t mac_len = 0;
	int head_len = snprintf(head, sizeof(head), "%s.%lld.", message_id, (long long)timestamp);
	EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, key, key_len);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool done = pkey != NULL && ctx != NULL && head_len > 0 && (size_t)head_len < sizeof(head) && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
	            EVP_DigestSignUpdate(ctx, head, (size_t)head_len) == 1 && EVP_DigestSignUpdate(ctx, body, len) == 1;

	mac_len = sizeof(mac);
	done = done && EVP_DigestSignFinal(ctx, mac, &mac_len) == 1 && mac_len == MAC_LEN;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	if (done) {
		memcpy(ret, "v1,", 3);
		b64_encode(mac, MAC_LEN, ret + 3);
	}
	return done;
}

kms_status webhook_sign(const struct installation *inst, const struct store_webhook *h, const char *message_id, int64_t now_s, struct webhook_message *m,
                        struct kms_err *err)
{
	char timestamp[24], signatures[2 * (WEBHOOK_SIGNATURE_LEN + 1)] = "";
	size_t at = 0;

	(void)snprintf(timestamp, sizeof(timestamp), "%lld", (long long)now_s);
	for (uint32_t generation = h->generation; generation > 0 && generation + 2 > h->generation; generation--) {
		ERASE_AUTO(uint8_t, key, SECRET_LEN);
		KMS_TRY(derive(inst, h->id, generation, key, err));
		if (at > 0)
			signatures[at++] = ' ';
		if (!webhook_signature(key, SECRET_LEN, message_id, now_s, m->body, m->len, signatures + at))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "signature of a webhook");
		at += WEBHOOK_SIGNATURE_LEN;
	}
	add_header(m, "webhook-id", message_id);
	add_header(m, "webhook-timestamp", timestamp);
	add_header(m, "webhook-signature", signatures);
	return KMS_OK;
}
