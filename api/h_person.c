/* api/h_person.c - the management API: records of persons are listed, shown and erased (docs/personal-data.md). */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "api/view.h"
#include "server/core/person.h"

#define OFFSET(member) offsetof(union request_body, member)
#define PID_LEN 16

/* ---- schemas: our own dialect refuses unknown members ---- */

/* One more than core's enum: 0 is what the schema takes for unknown. */
static int parse_basis(const char *text)
{
	enum certificate_basis basis = certificate_basis_parse(text);
	return basis < BASIS_COUNT ? (int)basis + 1 : 0;
}
static const char *basis_name_at(unsigned i) { return i < BASIS_COUNT ? certificate_basis_name((enum certificate_basis)i) : NULL; }

static const struct json_field SHOW_FIELDS[] = {
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(person_show.reason), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_REASON_MAX },
	{ .name = "leaf", .kind = J_INT, .offset = OFFSET(person_show.leaf), .flag = OFFSET(person_show.has_leaf), .min = 0, .max = (int64_t)STORE_SEQ_MAX },
	{ .name = NULL },
};
const struct json_schema PERSON_SHOW_SCHEMA = { .name = "PersonShowRequest", .fields = SHOW_FIELDS, .size = sizeof(union request_body), .is_strict = true };

static const struct json_field ERASE_FIELDS[] = {
	{ .name = "principal", .kind = J_STRING, .offset = OFFSET(person_erase.principal), .flag = J_NO_FLAG, .min = 1, .max = GUID_TEXT_LEN },
	{ .name = "ref", .kind = J_INT, .offset = OFFSET(person_erase.ref), .flag = J_NO_FLAG, .min = 1, .max = (int64_t)PERSON_REF_MAX },
	{ .name = "basis", .kind = J_ENUM, .offset = OFFSET(person_erase.basis), .flag = J_NO_FLAG, .required = true, .parse = parse_basis, .name_at = basis_name_at },
	{ .name = NULL },
};
const struct json_schema PERSON_ERASE_SCHEMA = { .name = "PersonEraseRequest", .fields = ERASE_FIELDS, .size = sizeof(union request_body), .is_strict = true };

/* ---- whose ---- */

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* The pseudonym as leaves show it, or the id of a principal that it is of: one of the vault or of the installation. */
static kms_status read_pid(struct request *r, const char *text, uint8_t ret_pid[PID_LEN], struct kms_err *err)
{
	static const uint8_t INSTALLATION[STORE_ID_LEN];
	struct store_principal p = { 0 };
	uint8_t id[STORE_ID_LEN];
	size_t len = 0;
	kms_status status = KMS_OK;

	if (strlen(text) == B64URL_LEN(PID_LEN) && b64url_decode(text, strlen(text), ret_pid, PID_LEN, &len) && len == PID_LEN)
		return KMS_OK;
	if (!guid_parse(text, strlen(text), id))
		return kms_refuse(err, KMS_E_INVALID, "The principal must be its id (a GUID), or its pseudonym as actor.pid of leaves: 22 characters of base64url.");
	status = store_principal(r->op.store, id, &p, NULL);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal");
	if (status == KMS_E_NOTFOUND || (!same_id(p.vault_id, r->op.vault.id) && !same_id(p.vault_id, INSTALLATION)))
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no principal with this id; pseudonyms have 22 characters, as actor.pid of leaves.");
	memcpy(ret_pid, p.pid, PID_LEN);
	return KMS_OK;
}

static void put_base64url(json_t **o, const char *name, const uint8_t *bytes, size_t len)
{
	json_put(o, name, json_base64url(bytes, len));
}

/* ---- listed ---- */

static kms_status read_after(const struct request *r, uint64_t *ret, struct kms_err *err)
{
	const char *text = query_get(r, "after");
	char *end = NULL;

	*ret = text != NULL ? strtoull(text, &end, 10) : 0;
	if (text == NULL || (*text >= '0' && *text <= '9' && *end == '\0' && *ret <= PERSON_REF_MAX))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "after: must be the number of a record.");
}

static void free_rows(struct store_person **rows) { free(*rows); }

/* That there are records, and when they were made; not what is in them. */
kms_status api_person_list(struct request *r, struct kms_err *err)
{
	__attribute__((cleanup(free_rows))) struct store_person *rows = calloc(PERSON_PAGE, sizeof(*rows));
	const char *whose = query_get(r, "principal");
	JSON_AUTO *value = json_array();
	uint8_t pid[PID_LEN];
	uint64_t after = 0;
	size_t count = 0;
	char next[24] = "";

	op_det_text(&r->op, "what", "persons");
	if (rows == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "a page of records");
	KMS_TRY(read_after(r, &after, err));
	if (whose != NULL)
		KMS_TRY(read_pid(r, whose, pid, err));
	KMS_TRY(store_persons(r->op.store, r->op.vault.id, whose != NULL ? pid : NULL, STORE_NO_TIME, after, rows, PERSON_PAGE, &count, err));
	for (size_t i = 0; i < count; i++) {
		json_t *o = json_object();
		json_put(&o, "ref", json_integer((json_int_t)rows[i].ref));
		put_base64url(&o, "principal", rows[i].pid, PID_LEN);
		json_put(&o, "created", json_integer(rows[i].created_s));
		json_add(&value, o);
	}
	if (count == PERSON_PAGE)
		(void)snprintf(next, sizeof(next), "%llu", (unsigned long long)rows[count - 1].ref);
	return reply_page(r, KMS_TAKE(value), next[0] != '\0' ? next : NULL, err);
}

/* ---- shown ---- */

static kms_status reply_record(struct request *r, const struct person_shown *p, struct kms_err *err)
{
	json_t *record = json_parse_object((const uint8_t *)p->text, strlen(p->text)), *o = NULL;

	if (record == NULL)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "a record of a person does not parse");
	o = json_object();
	json_put(&o, "ref", json_integer((json_int_t)p->row.ref));
	put_base64url(&o, "principal", p->row.pid, PID_LEN);
	json_put(&o, "created", json_integer(p->row.created_s));
	put_base64url(&o, "commitment", p->commitment, sizeof(p->commitment));
	json_put(&o, "record", record);
	view_put_text(&o, "text", p->text);
	if (p->has_leaf)
		json_put(&o, "leaf_matches", json_boolean(p->leaf_matches));
	return reply_json(r, 200, o, err);
}

kms_status api_person_show(struct request *r, struct kms_err *err)
{
	struct person_shown shown = { 0 };
	uint64_t ref = 0, seq = (uint64_t)r->body.person_show.leaf;
	char *end = NULL;
	kms_status status = KMS_OK;

	ref = strtoull(r->item, &end, 10);
	if (r->item[0] < '1' || r->item[0] > '9' || *end != '\0' || ref > PERSON_REF_MAX)
		return kms_refuse(err, KMS_E_INVALID, "A record of a person is named by its number, pii.ref of the leaf.");
	status = person_show(&r->op, ref, r->body.person_show.reason, r->body.person_show.has_leaf ? &seq : NULL, &shown, err);
	if (status == KMS_OK)
		status = reply_record(r, &shown, err);
	OPENSSL_cleanse(&shown, sizeof(shown));
	return status;
}

/* ---- erased ---- */

kms_status api_person_erase(struct request *r, struct kms_err *err)
{
	struct person_erasure what = { .ref = (uint64_t)r->body.person_erase.ref, .basis = (enum certificate_basis)(r->body.person_erase.basis - 1) };
	bool by_principal = r->body.person_erase.principal[0] != '\0';
	size_t count = 0;

	if (by_principal == (what.ref != 0))
		return kms_refuse(err, KMS_E_INVALID, "Whose records? Give either principal or ref.");
	if (by_principal)
		KMS_TRY(read_pid(r, r->body.person_erase.principal, what.pid, err));
	KMS_TRY(person_erase(&r->op, &what, &count, err));
	/* What else may say who it was is for others to change: whoever erases is told each time. */
	return reply_json(r, 200,
	                  json_pack("{s:I,s:s,s:[s,s,s]}", "erased", (json_int_t)count, "basis", certificate_basis_name(what.basis), "not_erased",
	                            "the display name of the principal", "the labels of its credentials", "backups, until their epochs end"),
	                  err);
}
