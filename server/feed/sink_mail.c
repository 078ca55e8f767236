/*
 * server/feed/sink_mail.c - records as mail, handed to the mail server of this machine (SMTP on a loopback address): what is sent further, and how it is
 * protected on its way, is that server's business. Guards: no text of a record becomes a header, or the end of the message.
 */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/base/log.h"
#include "server/feed/alert_parts.h"

#define TIMEOUT_MS 20000L
#define TITLE_MAX 160
#define ID_BYTES 16
#define URL_LEN 128
#define ADDRESS_MAX 256
#define RCPT "RCPT TO:"
#define SMTP_REFUSED 400

struct mail_sink {
	struct sink base;
	const struct alert_channel *channel;
	struct alert_sink_facts facts;
	const atomic_bool *is_stopping; /* while it sends */

	/* Of the message under way. */
	char receiver[ADDRESS_MAX]; /* named last; "" = none yet, or all were */
	size_t refused;
	char refused_receiver[ADDRESS_MAX]; /* the last one */
	long refused_answer;
};

struct reading {
	const char *text;
	size_t len, at;
};

static struct mail_sink *of(struct sink *s) { return (struct mail_sink *)(void *)s; }

/* ---- the message ---- */

static void put_date(FILE *out, int64_t now_s)
{
	static const char DAYS[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char MONTHS[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)now_s;
	struct tm tm = { 0 };

	(void)gmtime_r(&t, &tm);
	(void)fprintf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000\r\n", DAYS[tm.tm_wday], tm.tm_mday, MONTHS[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
	              tm.tm_min, tm.tm_sec);
}

/* One line, visible ASCII, whatever the text holds. */
static void put_title(FILE *out, const struct record *first, size_t count, const char *node)
{
	size_t len = 0;

	(void)fprintf(out, "Subject: [holdfast %s] ", node);
	if (count > 1)
		(void)fprintf(out, "%zu alerts, the first: ", count);
	for (; len < first->len && len < TITLE_MAX && first->bytes[len] != '\n'; len++)
		(void)fputc(first->bytes[len] >= ' ' && first->bytes[len] <= '~' ? first->bytes[len] : '?', out);
	(void)fputs("\r\n", out);
}

/* The same for the same alerts, so that one that was sent twice is known again. */
static void put_id(FILE *out, const struct record *records, size_t count, const char *node)
{
	char text[2 * ID_BYTES + 1];
	unsigned char hash[SHA256_DIGEST_LENGTH], both[2 * SHA256_DIGEST_LENGTH] = { 0 };

	for (size_t i = 0; i < count; i++) {
		(void)SHA256((const unsigned char *)records[i].bytes, records[i].len, both + sizeof(hash));
		(void)SHA256(both, sizeof(both), hash);
		memcpy(both, hash, sizeof(hash));
	}
	hex_encode(both, ID_BYTES, text);
	(void)fprintf(out, "Message-ID: <%s@%s>\r\n", text, node);
}

static void put_body(FILE *out, const struct record *r)
{
	for (size_t i = 0; i < r->len; i++) {
		if (r->bytes[i] == '\n')
			(void)fputs("\r\n", out);
		else
			(void)fputc(r->bytes[i] >= ' ' && r->bytes[i] <= '~' ? r->bytes[i] : '?', out);
	}
	(void)fputs("\r\n", out);
}

char *mail_message(const struct alert_channel *c, const struct alert_sink_facts *facts, int64_t now_s, const struct record *records, size_t count,
                   size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);
	bool is_whole;

	if (out == NULL)
		return NULL;
	put_date(out, now_s);
	(void)fprintf(out, "From: <%s>\r\nTo: ", c->from);
	for (size_t i = 0; i < c->to_count; i++)
		(void)fprintf(out, "%s<%s>", i > 0 ? ",\r\n " : "", c->to[i]);
	(void)fputs("\r\n", out);
	put_title(out, &records[0], count, facts->node);
	put_id(out, records, count, facts->node);
	(void)fputs("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n", out);
	for (size_t i = 0; i < count; i++)
		put_body(out, &records[i]);
	is_whole = ferror(out) == 0;
	if (fclose(out) != 0 || !is_whole) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- sending ---- */

static size_t give(char *room, size_t size, size_t count, void *arg)
{
	struct reading *r = arg;
	size_t left = r->len - r->at, len = size * count < left ? size * count : left;

	memcpy(room, r->text + r->at, len);
	r->at += len;
	return len;
}

static int watch(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
	const struct mail_sink *s = arg;

	(void)down_all;
	(void)down;
	(void)up_all;
	(void)up;
	return s->is_stopping != NULL && atomic_load(s->is_stopping) ? 1 : 0;
}

static bool add_receivers(const struct alert_channel *c, struct curl_slist **list)
{
	for (size_t i = 0; i < c->to_count; i++) {
		char address[ADDRESS_MAX];
		struct curl_slist *longer;
		(void)snprintf(address, sizeof(address), "<%s>", c->to[i]);
		longer = curl_slist_append(*list, address);
		if (longer == NULL)
			return false;
		*list = longer;
	}
	return true;
}

/* libcurl says whether the message was taken; which receivers were not is in the dialogue alone. Text is not ended by a NUL. */
static int listen_in(CURL *curl, curl_infotype type, char *text, size_t len, void *arg)
{
	struct mail_sink *s = arg;
	char line[ADDRESS_MAX + sizeof(RCPT)] = "";

	(void)curl;
	memcpy(line, text, len < sizeof(line) ? len : sizeof(line) - 1);
	line[strcspn(line, "\r\n")] = '\0';
	if (type == CURLINFO_HEADER_OUT) {
		bool is_receiver = strncmp(line, RCPT, strlen(RCPT)) == 0;
		(void)snprintf(s->receiver, sizeof(s->receiver), "%.*s", (int)sizeof(s->receiver) - 1, is_receiver ? line + strlen(RCPT) : "");
	} else if (type == CURLINFO_HEADER_IN && s->receiver[0] != '\0' && strtol(line, NULL, 10) >= SMTP_REFUSED) {
		s->refused++;
		s->refused_answer = strtol(line, NULL, 10);
		memcpy(s->refused_receiver, s->receiver, sizeof(s->receiver));
		s->receiver[0] = '\0'; /* an answer may have several lines */
	}
	return 0;
}

/* One address that is not taken must not keep the alert from the others. */
static CURLcode set_receivers(CURL *curl, struct mail_sink *s, struct curl_slist *receivers)
{
	CURLcode rc = curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, receivers);

	s->receiver[0] = '\0';
	s->refused = 0;
#if LIBCURL_VERSION_NUM >= 0x080200
	rc = rc == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_MAIL_RCPT_ALLOWFAILS, 1L) : rc;
#else
	rc = rc == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_MAIL_RCPT_ALLLOWFAILS, 1L) : rc;
#endif
	rc = rc == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, listen_in) : rc;
	rc = rc == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_DEBUGDATA, s) : rc;
	return rc == CURLE_OK ? curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L) : rc; /* calls listen_in() */
}

static CURLcode set_up(CURL *curl, struct mail_sink *s, struct reading *body, struct curl_slist *receivers)
{
	char url[URL_LEN], from[256];
	CURLcode rc = set_receivers(curl, s, receivers);

	(void)snprintf(url, sizeof(url), "smtp://%s/%s", s->channel->address, s->facts.node);
	(void)snprintf(from, sizeof(from), "<%s>", s->channel->from);
#define SET(option, value) rc = rc == CURLE_OK ? curl_easy_setopt(curl, option, value) : rc
	SET(CURLOPT_PROTOCOLS_STR, "smtp");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_USE_SSL, (long)CURLUSESSL_NONE); /* it does not leave this machine */
	SET(CURLOPT_MAIL_FROM, from);
	SET(CURLOPT_UPLOAD, 1L);
	SET(CURLOPT_READFUNCTION, give);
	SET(CURLOPT_READDATA, body);
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L); /* as for syslog */
#endif
	SET(CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	SET(CURLOPT_XFERINFOFUNCTION, watch);
	SET(CURLOPT_XFERINFODATA, s);
	SET(CURLOPT_NOPROGRESS, 0L);
#undef SET
	return rc;
}

static kms_status send_message(struct mail_sink *s, const char *text, size_t len, struct kms_err *err)
{
	struct reading body = { .text = text, .len = len };
	struct curl_slist *receivers = NULL;
	CURL *curl = curl_easy_init();
	CURLcode rc = CURLE_OUT_OF_MEMORY;
	long answer = 0;

	if (curl != NULL && add_receivers(s->channel, &receivers))
		rc = set_up(curl, s, &body, receivers);
	if (rc == CURLE_OK)
		rc = curl_easy_perform(curl);
	if (curl != NULL)
		(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer);
	curl_easy_cleanup(curl);
	curl_slist_free_all(receivers);
	if (rc == CURLE_ABORTED_BY_CALLBACK)
		return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "stopping");
	if (rc != CURLE_OK)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)answer, "channel %s: mail server %s: %s (last answer %ld)", s->channel->name,
		                s->channel->address, curl_easy_strerror(rc), answer);
	if (s->refused > 0)
		log_event(LOG_WARN, "alert_mail_receivers_refused", LOG_S("channel", s->channel->name), LOG_I("receivers", s->refused),
		          LOG_S("last", s->refused_receiver), LOG_I("answer", s->refused_answer));
	return KMS_OK;
}

/* All of them in one message: when many things happen at once, nobody reads many. */
static kms_status send_records(struct sink *base, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err)
{
	struct mail_sink *s = of(base);
	size_t len = 0;
	char *text = mail_message(s->channel, &s->facts, clock_wall_s(s->facts.clock), records, count, &len);
	kms_status status;

	if (text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "mail of channel %s", s->channel->name);
	s->is_stopping = is_stopping;
	status = send_message(s, text, len, err);
	s->is_stopping = NULL;
	free(text);
	return status;
}

static uint64_t settled(struct sink *base)
{
	(void)base;
	return SINK_ALL_SETTLED;
}

static kms_status tick(struct sink *base, struct kms_err *err)
{
	(void)base;
	(void)err;
	return KMS_OK;
}

static void rewind_nothing(struct sink *base) { (void)base; }

static void close_mail(struct sink *base)
{
	free(of(base));
	curl_global_cleanup();
}

static const struct sink_ops MAIL_OPS = { .name = "mail", .send = send_records, .settled = settled, .tick = tick, .rewind = rewind_nothing, .close = close_mail };

kms_status sink_mail_new(const struct alert_channel *c, const struct alert_sink_facts *facts, struct sink **ret, struct kms_err *err)
{
	struct mail_sink *s = calloc(1, sizeof(*s));

	if (s == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(s);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "mail of alerts");
	}
	*s = (struct mail_sink){ .base = { .ops = &MAIL_OPS }, .channel = c, .facts = *facts };
	*ret = &s->base;
	return KMS_OK;
}
