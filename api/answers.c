/* api/answers.c - what answers look like, for the API's description: in the same tables that describe requests. The SDK tests hold real answers
 * against it, so that it cannot drift from the handlers. */
#include "api/answers.h"

#include "api/keyvault.h"

/* Offsets mean nothing here, and a maximum of 0 is none. */

#define TEXT(text) { .name = text, .kind = J_STRING, .required = true }
#define TEXT_MAYBE(text) { .name = text, .kind = J_STRING }
#define FLAG(text) { .name = text, .kind = J_BOOL, .required = true }
#define FLAG_MAYBE(text) { .name = text, .kind = J_BOOL }
#define NUMBER(text) { .name = text, .kind = J_INT, .required = true, .min = INT64_MIN, .max = INT64_MAX }
#define NUMBER_MAYBE(text) { .name = text, .kind = J_INT, .min = INT64_MIN, .max = INT64_MAX }
#define DATA(text) { .name = text, .kind = J_BYTES, .required = true }
#define DATA_MAYBE(text) { .name = text, .kind = J_BYTES }
#define OBJECT(text, members) { .name = text, .kind = J_OBJECT, .required = true, .fields = members }
#define LIST(text, members) { .name = text, .kind = J_LIST, .required = true, .max = INT64_MAX, .fields = members }
#define NAMES(text) { .name = text, .kind = J_SET, .required = true }
#define NAMES_MAYBE(text) { .name = text, .kind = J_SET }
#define TAGS_MAYBE { .name = "tags", .kind = J_TAGS }
#define NEXT_LINK { .name = "nextLink", .kind = J_STRING, .required = true, .is_nullable = true }
#define END { .name = NULL }

static const struct json_field JWK[] = {
	TEXT("kid"),
	{ .name = "kty", .kind = J_ENUM, .required = true, .name_at = kv_type_name_at },
	{ .name = "key_ops", .kind = J_SET, .required = true, .name_at = kv_op_name_at },
	DATA_MAYBE("n"), DATA_MAYBE("e"),
	{ .name = "crv", .kind = J_ENUM, .name_at = kv_curve_name_at },
	DATA_MAYBE("x"), DATA_MAYBE("y"), END,
};
#define ATTRIBUTE_MEMBERS                                                                                                                    \
	FLAG("enabled"), NUMBER_MAYBE("nbf"), NUMBER_MAYBE("exp"), NUMBER("created"), NUMBER("updated"), TEXT("recoveryLevel"),              \
	NUMBER_MAYBE("recoverableDays"), { .name = "exportable", .kind = J_BOOL }, TEXT_MAYBE("hsmPlatform"), NUMBER_MAYBE("key_size")
static const struct json_field ATTRIBUTES[] = { ATTRIBUTE_MEMBERS, END };
static const struct json_field STATEMENTS[] = { DATA("certificatePemFile"), DATA("privateKeyAttestation"), DATA("publicKeyAttestation"),
	                                        TEXT("version"), END };
static const struct json_field ATTESTED_ATTRIBUTES[] = { ATTRIBUTE_MEMBERS, OBJECT("attestation", STATEMENTS), END };
#define DELETION_MEMBERS TEXT("recoveryId"), NUMBER("deletedDate"), NUMBER("scheduledPurgeDate")

static const struct json_field KEY[] = { OBJECT("key", JWK), OBJECT("attributes", ATTRIBUTES), TAGS_MAYBE, END };
static const struct json_field ATTESTED_KEY[] = { OBJECT("key", JWK), OBJECT("attributes", ATTESTED_ATTRIBUTES), TAGS_MAYBE, END };
static const struct json_field DELETED_KEY[] = { OBJECT("key", JWK), OBJECT("attributes", ATTRIBUTES), TAGS_MAYBE, DELETION_MEMBERS, END };
static const struct json_field ITEM[] = { TEXT("kid"), OBJECT("attributes", ATTRIBUTES), TAGS_MAYBE, END };
static const struct json_field DELETED_ITEM[] = { TEXT("kid"), OBJECT("attributes", ATTRIBUTES), TAGS_MAYBE, DELETION_MEMBERS, END };
static const struct json_field KEY_LIST[] = { LIST("value", ITEM), NEXT_LINK, END };
static const struct json_field DELETED_KEY_LIST[] = { LIST("value", DELETED_ITEM), NEXT_LINK, END };
static const struct json_field CRYPTO[] = { TEXT("kid"), DATA("value"), DATA_MAYBE("iv"), DATA_MAYBE("tag"), DATA_MAYBE("aad"), END };
static const struct json_field VERIFY[] = { FLAG("value"), END };
static const struct json_field VALUE[] = { DATA("value"), END };
static const struct json_field TRIGGER[] = { TEXT_MAYBE("timeAfterCreate"), TEXT_MAYBE("timeBeforeExpiry"), END };
static const struct json_field ACTION_TYPE[] = { TEXT("type"), END };
static const struct json_field ACTION[] = { OBJECT("trigger", TRIGGER), OBJECT("action", ACTION_TYPE), END };
static const struct json_field POLICY_ATTRIBUTES[] = { TEXT_MAYBE("expiryTime"), NUMBER_MAYBE("created"), NUMBER_MAYBE("updated"), END };
static const struct json_field ROTATION_POLICY[] = { TEXT("id"), LIST("lifetimeActions", ACTION), OBJECT("attributes", POLICY_ATTRIBUTES), END };

static const struct json_field VAULT[] = { TEXT("name"), TEXT("id"), TEXT("tenant_id"), TEXT("url"), TEXT("state"), FLAG("locked"), NUMBER("retention_days"),
	                                   FLAG("purge_protection"), FLAG("allow_rsa1_5"), NUMBER("quorum"), NUMBER("purge_approvals"),
	                                   FLAG("founded"), FLAG("installation_approves"), TEXT("networks"), TEXT("issuer"), NUMBER("person_days"), TEXT("person_basis"), NUMBER("created"), TEXT("root"),
	                                   TEXT_MAYBE("next_root"), NUMBER_MAYBE("versions_left"), END };
static const struct json_field VAULT_LIST[] = { LIST("value", VAULT), TEXT_MAYBE("next"), END };
static const struct json_field SHRED[] = { TEXT("vault"), TEXT("state"), NUMBER("objects"), NUMBER("versions"), FLAG("verified"), TEXT_MAYBE("certificate"), END };
static const struct json_field PLAN_USER[] = { TEXT_MAYBE("name"), TEXT("pseudonym"), NUMBER("last_used"), END };
static const struct json_field PLAN_KEY[] = { TEXT("name"), TEXT("type"), NUMBER("versions"), NUMBER("resident"), FLAG("deleted"), NUMBER("created"), NUMBER_MAYBE("last_used"),
	                                      LIST("used_by", PLAN_USER), FLAG("more_users"), END };
static const struct json_field PLAN_COUNTS[] = { NUMBER("keys"), NUMBER("deleted_keys"), NUMBER("versions"), NUMBER("resident"), NUMBER("listed"), END };
static const struct json_field PLAN_LOOKED[] = { NUMBER("leaves"), NUMBER("from"), FLAG("all"), END };
static const struct json_field PLAN_PUBLISHED[] = { TEXT("pool"), TEXT("external_id"), TEXT("key"), NUMBER("uses"), NUMBER_MAYBE("last_used"), END };
static const struct json_field PLAN_COPY[] = { TEXT("kind"), NUMBER("epoch"), NUMBER("made"), NUMBER("until"), TEXT_MAYBE("key"), TEXT_MAYBE("place"), END };
static const struct json_field SHRED_PLAN[] = { TEXT("vault"), TEXT("id"), FLAG("locked"), NUMBER("needed"), OBJECT("counts", PLAN_COUNTS), LIST("keys", PLAN_KEY),
	                                        OBJECT("looked", PLAN_LOOKED), LIST("published", PLAN_PUBLISHED), LIST("copies", PLAN_COPY), NUMBER("copies_total"),
	                                        NUMBER_MAYBE("copies_until"), TEXT("copies_after"), NAMES("unseen"), END };
#define SCOPE_MEMBERS TEXT("role"), TEXT("role_id"), TEXT("scope"), TEXT_MAYBE("key"), NUMBER_MAYBE("until")
static const struct json_field ROLE_AT[] = { SCOPE_MEMBERS, FLAG_MAYBE("ended"), END };
#define PRINCIPAL_MEMBERS                                                                                                                    \
	TEXT("name"), TEXT("id"), TEXT_MAYBE("client_id"), TEXT("tenant_id"), TEXT("vault"), TEXT("kind"), FLAG("enabled"), NUMBER("created"), \
	TEXT_MAYBE("pseudonym"), NUMBER_MAYBE("tokens_from"), NUMBER_MAYBE("secret_expires"), LIST("roles", ROLE_AT)
static const struct json_field PRINCIPAL[] = { PRINCIPAL_MEMBERS, END };
static const struct json_field NEW_PRINCIPAL[] = { PRINCIPAL_MEMBERS, TEXT_MAYBE("secret"), END };
static const struct json_field PRINCIPAL_LIST[] = { LIST("value", PRINCIPAL), TEXT_MAYBE("next"), END };
static const struct json_field ROLE[] = { TEXT("vault"), TEXT("principal"), SCOPE_MEMBERS, FLAG("granted"), END };
#define CREDENTIAL_MEMBERS \
	TEXT("id"), TEXT("kind"), TEXT("label"), NUMBER("created"), NUMBER_MAYBE("expires"), TEXT_MAYBE("sha256"), TEXT_MAYBE("subject")
static const struct json_field CREDENTIAL[] = { CREDENTIAL_MEMBERS, END };
static const struct json_field NEW_SECRET[] = { CREDENTIAL_MEMBERS, TEXT("secret"), END };
static const struct json_field CREDENTIAL_LIST[] = { LIST("value", CREDENTIAL), END };
static const struct json_field NAMED[] = { TEXT("name"), TEXT("id"), END };
static const struct json_field PRINCIPAL_DETAIL[] = { PRINCIPAL_MEMBERS, LIST("groups", NAMED), LIST("credentials", CREDENTIAL),
	                                              NAMES_MAYBE("subjects"), END };
static const struct json_field MEMBER[] = { TEXT("group"), TEXT("member"), END };
static const struct json_field MEMBER_ROW[] = { TEXT("name"), TEXT("id"), TEXT("kind"), FLAG("enabled"), END };
static const struct json_field MEMBER_LIST[] = { LIST("value", MEMBER_ROW), TEXT_MAYBE("next"), END };
static const struct json_field ROLE_DEFINITION[] = { TEXT("name"), TEXT("display_name"), TEXT("id"), FLAG("custom"), NAMES("actions"),
	                                             NAMES_MAYBE("installation_actions"), NUMBER_MAYBE("created"), END };
static const struct json_field ROLE_DEFINITION_LIST[] = { LIST("value", ROLE_DEFINITION), END };
static const struct json_field GRANT[] = { TEXT("role"), TEXT("scope"), TEXT_MAYBE("key"), { .name = "group", .kind = J_OBJECT, .fields = NAMED },
	                                   NUMBER_MAYBE("until"), FLAG("ended"), FLAG("allows"), END };
static const struct json_field WOULD_ALLOW[] = { TEXT("role"), TEXT("scope"), END };
static const struct json_field EXPLANATION[] = { OBJECT("principal", MEMBER_ROW), TEXT("action"), TEXT_MAYBE("key"), FLAG("allowed"), TEXT("reason"),
	                                         LIST("grants", GRANT), LIST("would_allow", WOULD_ALLOW), END };
static const struct json_field VOTE[] = { TEXT("approver"), TEXT_MAYBE("name"), FLAG("approves"), TEXT("reason"), NUMBER("created"),
	                                  TEXT_MAYBE("certificate"), DATA_MAYBE("signature"), END };
static const struct json_field APPROVAL[] = { TEXT("id"), TEXT("vault"), TEXT("act"), TEXT("state"), NUMBER("approvals"), NUMBER("needed"),
	                                      TEXT("requester"), TEXT_MAYBE("requester_name"), TEXT("reason"), NUMBER("created"),
	                                      NUMBER("expires"), NUMBER_MAYBE("settled"), TEXT("request"), TEXT("sha256"), LIST("votes", VOTE), END };
static const struct json_field APPROVAL_LIST[] = { LIST("value", APPROVAL), TEXT_MAYBE("next"), END };
static const struct json_field REVOCATION[] = { TEXT("name"), TEXT("version"), TEXT("state"), TEXT("reason"), END };
static const struct json_field AUDIT[] = { TEXT("state"), NUMBER("signed_size"), NUMBER_MAYBE("signed"), NUMBER("pinned_size"), NUMBER_MAYBE("pinned"),
	                                   NUMBER("late_ms"), NUMBER_MAYBE("known_size"), TEXT_MAYBE("why"), TEXT_MAYBE("failure"), END };
static const struct json_field STATUS[] = { FLAG("ready"), TEXT("hsm"), TEXT("storage"), TEXT("log"), TEXT("log_origin"), NUMBER("log_size"),
	                                    TEXT("log_root"), NUMBER("refused"), OBJECT("audit", AUDIT), END };
static const struct json_field CHECK_LINE[] = { TEXT("name"), TEXT("result"), TEXT("text"), END };
static const struct json_field CHECK[] = { LIST("value", CHECK_LINE), END };
static const struct json_field EXPORT[] = { TEXT("name"), TEXT("format"), TEXT("to"), FLAG("required"), NUMBER("settled"), NUMBER("size"), NUMBER("behind_ms"),
	                                    NUMBER("rejected"), NUMBER("failures"), FLAG("failing"), FLAG("stops_service"), TEXT_MAYBE("failure"), END };
static const struct json_field EXPORT_LIST[] = { LIST("value", EXPORT), END };
static const struct json_field LOG_ROTATION[] = { TEXT("old_key"), TEXT("new_key"), END };
static const struct json_field LOG_ACCEPTANCE[] = { TEXT("next_origin"), TEXT("next_step"), END };
static const struct json_field HSM[] = { FLAG("available"), TEXT("manufacturer"), TEXT("model"), TEXT("serial"), TEXT("token"), TEXT("library"),
	                                 TEXT("firmware"), NUMBER("reinitialised"), NUMBER("sessions"), NUMBER("cached_keys"), NAMES("can"),
	                                 NAMES("cannot"), END };
static const struct json_field LOG_KEY[] = { TEXT("vkey"), NUMBER("generation"), TEXT("origin"), NUMBER("from_size"), NUMBER("created"), FLAG("current"), END };
static const struct json_field VERIFIER_KEY[] = { TEXT("vkey"), END };
static const struct json_field WITNESS[] = { TEXT("vkey"), NUMBER("size"), NUMBER_MAYBE("cosigned"), END };
static const struct json_field CLOSED_LOG[] = { TEXT("origin"), NUMBER("restored_size"), NUMBER("known_size"), TEXT("known_root"), NUMBER("closed"),
	                                        END };
static const struct json_field LOG_KEYS[] = { TEXT("origin"), LIST("log", LOG_KEY), LIST("attestation", VERIFIER_KEY), LIST("witnesses", WITNESS),
	                                      LIST("closed", CLOSED_LOG), END };
static const struct json_field INCLUSION[] = { NUMBER("seq"), NUMBER("size"), TEXT("leaf"), NAMES("hashes"), END };
static const struct json_field CONSISTENCY[] = { NUMBER("from"), NUMBER("to"), NAMES("hashes"), END };
static const struct json_field CERTIFICATE[] = { TEXT("id"), TEXT("tenant"), TEXT_MAYBE("vault"), TEXT_MAYBE("key"), TEXT("scope"), TEXT("basis"), TEXT("state"),
	                                         TEXT("origin"), NUMBER("created"), NUMBER_MAYBE("issued"), NUMBER_MAYBE("until"), FLAG_MAYBE("revived"), NUMBER_MAYBE("restored"),
	                                         NUMBER_MAYBE("size"),
	                                         NAMES("signers"), END };
static const struct json_field CERTIFICATE_LIST[] = { LIST("value", CERTIFICATE), TEXT_MAYBE("next"), END };
static const struct json_field CERTIFICATE_SIGNED[] = { TEXT("id"), TEXT("vkey"), END };
static const struct json_field CERTIFICATE_ENFORCED[] = { TEXT("id"), NUMBER("objects"), NUMBER("revived"), END };
static const struct json_field TOKEN[] = { TEXT("token_type"), NUMBER("expires_in"), NUMBER("ext_expires_in"), TEXT("access_token"), END };
static const struct json_field DISCOVERY[] = { TEXT("issuer"), TEXT("authorization_endpoint"), TEXT("token_endpoint"), TEXT("jwks_uri"),
	                                       NAMES("token_endpoint_auth_methods_supported"),
	                                       NAMES("token_endpoint_auth_signing_alg_values_supported"), NAMES("response_types_supported"),
	                                       NAMES("subject_types_supported"), NAMES("id_token_signing_alg_values_supported"), END };
static const struct json_field PUBLIC_JWK[] = { TEXT("kty"), TEXT("crv"), DATA("x"), DATA("y"), TEXT("kid"), TEXT("use"), TEXT("alg"), END };
static const struct json_field JWKS[] = { LIST("keys", PUBLIC_JWK), END };
static const struct json_field SUBSCRIPTIONS[] = { LIST("value", KV_NOTHING), END };
static const struct json_field LIVE[] = { TEXT("status"), END };
static const struct json_field READY[] = { TEXT("status"), TEXT("hsm"), TEXT("storage"), TEXT("log"), TEXT("audit"), END };
static const struct json_field DOCUMENT[] = { TEXT("openapi"), OBJECT("info", KV_NOTHING), LIST("servers", KV_NOTHING), OBJECT("paths", KV_NOTHING),
	                                      OBJECT("components", KV_NOTHING), END };

static const struct json_field EKM_ROOT[] = { TEXT("subject"), TEXT("sha256"), NUMBER("expires"), END };
static const struct json_field EKM_POOL[] = { TEXT("name"), TEXT("id"), TEXT("vault"), TEXT("prefix"), FLAG("enabled"), NAMES("subjects"),
	                                      LIST("roots", EKM_ROOT), NUMBER("created"), NUMBER("updated"), END };
static const struct json_field EKM_POOL_LIST[] = { LIST("value", EKM_POOL), TEXT_MAYBE("next"), END };
static const struct json_field SERVICE[] = { TEXT("name"), TEXT("id"), TEXT("vault"), FLAG("enabled"), NAMES("subjects"), LIST("roots", EKM_ROOT),
	                                     NUMBER("created"), NUMBER("updated"), END };
static const struct json_field SERVICE_LIST[] = { LIST("value", SERVICE), TEXT_MAYBE("next"), END };
#define WEBHOOK_MEMBERS                                                                                                                                  \
	TEXT("name"), TEXT("id"), TEXT("vault"), TEXT("url"), TEXT("shape"), NAMES("events"), TEXT("state"), NUMBER("secret_generation"), NUMBER("waiting"), \
	NUMBER("dead_letters"), NUMBER("created"), TEXT_MAYBE("failure")
static const struct json_field WEBHOOK[] = { WEBHOOK_MEMBERS, END };
static const struct json_field NEW_WEBHOOK[] = { WEBHOOK_MEMBERS, TEXT("secret"), END };
static const struct json_field WEBHOOK_LIST[] = { LIST("value", WEBHOOK), END };
static const struct json_field DEAD_LETTER[] = { TEXT("event"), TEXT("type"), TEXT_MAYBE("key"), TEXT("time"), NUMBER("seq"), NUMBER("attempts"), NUMBER_MAYBE("http"),
	                                         TEXT("failure"), END };
static const struct json_field DEAD_LETTER_LIST[] = { LIST("value", DEAD_LETTER), TEXT_MAYBE("next"), END };
static const struct json_field DEAD_LETTERS_RETRIED[] = { NUMBER("retried"), NUMBER("left"), END };
static const struct json_field DEAD_LETTERS_DROPPED[] = { NUMBER("dropped"), NUMBER("left"), END };
static const struct json_field EKM_KEY[] = { TEXT("external_id"), TEXT("pool"), TEXT("key"), TEXT("version"), TEXT("state"), NUMBER("created"),
	                                     NUMBER_MAYBE("retired"), NUMBER_MAYBE("last_used"), NUMBER("uses"), END };
static const struct json_field EKM_KEY_LIST[] = { LIST("value", EKM_KEY), TEXT_MAYBE("next"), END };
static const struct json_field EKM_INFO[] = { TEXT("api_version"), TEXT("proxy_vendor"), TEXT("proxy_name"), TEXT("ekm_vendor"),
	                                      TEXT("ekm_product"), END };
static const struct json_field EKM_METADATA[] = { TEXT("key_type"), NUMBER("key_size"), NAMES("key_ops"), DATA_MAYBE("n"), DATA_MAYBE("e"), END };

static const struct json_field LOAD_REPORT[] = { NUMBER("vaults"), NUMBER("shredded"), NUMBER("keys"), NUMBER("versions"), NUMBER("loaded"), NUMBER("resident"),
	                                         NUMBER("destroyed"), NUMBER("failed"), TEXT_MAYBE("first"), END };
static const struct json_field BACKUP_TASK[] = { TEXT("id"), TEXT("act"), TEXT("state"), NUMBER("done"), NUMBER("total"), TEXT_MAYBE("failure"),
	                                         { .name = "report", .kind = J_OBJECT, .fields = LOAD_REPORT }, END };
static const struct json_field BACKUP[] = { TEXT("id"), TEXT("state"), NUMBER("made"), NUMBER("until"), NUMBER("epoch"), NUMBER("size"), NUMBER("bytes"),
	                                    TEXT_MAYBE("file"), END };
static const struct json_field BACKUP_LIST[] = { LIST("value", BACKUP), TEXT_MAYBE("next"), { .name = "task", .kind = J_OBJECT, .fields = BACKUP_TASK }, END };
static const struct json_field PERSON_RECORD[] = { TEXT_MAYBE("addr"), TEXT_MAYBE("agent"), TEXT_MAYBE("agent_b64"), TEXT("id"), TEXT_MAYBE("iss"), TEXT_MAYBE("name"),
	                                           TEXT_MAYBE("name_b64"), TEXT("salt"), TEXT_MAYBE("sub"), TEXT_MAYBE("sub_b64"), NUMBER("v"), END };
static const struct json_field PERSON[] = { NUMBER("ref"), DATA("principal"), NUMBER("created"), DATA("commitment"), OBJECT("record", PERSON_RECORD), TEXT("text"),
	                                    FLAG_MAYBE("leaf_matches"), END };
static const struct json_field PERSON_ITEM[] = { NUMBER("ref"), DATA("principal"), NUMBER("created"), END };
static const struct json_field PERSON_LIST[] = { LIST("value", PERSON_ITEM), TEXT_MAYBE("next"), END };
static const struct json_field PERSON_ERASED[] = { NUMBER("erased"), TEXT("basis"), NAMES("not_erased"), END };
static const struct json_field LOG_RETENTION[] = { NUMBER("keep_days"), NUMBER("pruned"), FLAG("under_way"), FLAG("has_time"), NUMBER_MAYBE("size"), TEXT_MAYBE("root"), END };
static const struct json_field LOG_PRUNING[] = { NUMBER("size"), FLAG("under_way"), END };
static const struct json_field EPOCH[] = { NUMBER("number"), TEXT("state"), NUMBER("created"), NUMBER_MAYBE("closed"), NUMBER_MAYBE("ended"), NUMBER("until"),
	                                   TEXT("key"), END };
static const struct json_field EPOCH_LIST[] = { LIST("value", EPOCH), TEXT_MAYBE("next"), END };

static const struct json_field ROTATIONS_ROW[] = { TEXT("vault"), TEXT("key"), TEXT("quarter"), NUMBER("rotations"), NUMBER("automatic"), NUMBER("creations"), END };
static const struct json_field OVERDUE_ROW[] = { TEXT("vault"), TEXT("key"), NUMBER("created"), NUMBER("rotated"), TEXT("basis"), NUMBER("due"), NUMBER("late_days"),
	                                         TEXT("state"), END };
static const struct json_field DENIALS_ROW[] = { TEXT_MAYBE("vault"), TEXT_MAYBE("principal"), TEXT_MAYBE("name"), TEXT("reason"), NUMBER("count"), NUMBER("first"),
	                                         NUMBER("last"), END };
static const struct json_field REVOCATIONS_ROW[] = { NUMBER("seq"), NUMBER("at"), TEXT("act"), TEXT_MAYBE("vault"), TEXT_MAYBE("key"), NUMBER_MAYBE("took_us"), END };
static const struct json_field UNUSED_ROW[] = { TEXT("vault"), TEXT("key"), NUMBER("created"), NUMBER_MAYBE("last_used"), NUMBER("unused_days"), END };
static const struct json_field PROTECTION_ROW[] = { TEXT("vault"), FLAG("purge_protection"), FLAG("locked"), NUMBER("retention_days"), NUMBER("keys"), NUMBER("rotating"),
	                                            END };
static const struct json_field NAMED_KEY[] = { TEXT("key"), TEXT("state"), TEXT_MAYBE("vault"), TEXT_MAYBE("name"), TEXT_MAYBE("version"), TEXT_MAYBE("kty"),
	                                       NUMBER_MAYBE("bits"), FLAG_MAYBE("wraps"), FLAG_MAYBE("purge_protection"), END };
static const struct json_field LEAF[] = { NUMBER("seq"), END };
static const struct json_field EVENTS[] = { LIST("value", LEAF), TEXT_MAYBE("next"), NUMBER("scanned"), NUMBER("indexed"), END };
static const struct json_field REPORT_ROTATIONS[] = { LIST("value", ROTATIONS_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_OVERDUE[] = { LIST("value", OVERDUE_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_DENIALS[] = { LIST("value", DENIALS_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_REVOCATIONS[] = { LIST("value", REVOCATIONS_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_UNUSED[] = { LIST("value", UNUSED_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_PROTECTION[] = { LIST("value", PROTECTION_ROW), TEXT_MAYBE("next"), END };
static const struct json_field REPORT_KEYS[] = { LIST("value", NAMED_KEY), END };

const struct answer_info ANSWERS[ANSWER_COUNT] = {
	[ANSWER_NOTHING] = { 0 },
	[ANSWER_REFUSED] = { 0 },
	[ANSWER_KEY] = { "KeyBundle", KEY, NULL },
	[ANSWER_KEY_LIST] = { "KeyList", KEY_LIST, NULL },
	[ANSWER_DELETED_KEY] = { "DeletedKeyBundle", DELETED_KEY, NULL },
	[ANSWER_DELETED_KEY_LIST] = { "DeletedKeyList", DELETED_KEY_LIST, NULL },
	[ANSWER_ATTESTED_KEY] = { "AttestedKeyBundle", ATTESTED_KEY, NULL },
	[ANSWER_CRYPTO] = { "KeyOperationResult", CRYPTO, NULL },
	[ANSWER_VERIFY] = { "KeyVerifyResult", VERIFY, NULL },
	[ANSWER_VALUE] = { "Value", VALUE, NULL },
	[ANSWER_ROTATION_POLICY] = { "KeyRotationPolicy", ROTATION_POLICY, NULL },
	[ANSWER_VAULT] = { "Vault", VAULT, NULL },
	[ANSWER_ROOT_ROTATION] = { "VaultRootRotation", VAULT, NULL },
	[ANSWER_VAULT_LIST] = { "VaultList", VAULT_LIST, NULL },
	[ANSWER_SHRED_PLAN] = { "VaultShredPlan", SHRED_PLAN, NULL },
	[ANSWER_SHRED] = { "VaultShredded", SHRED, NULL },
	[ANSWER_PRINCIPAL] = { "Principal", PRINCIPAL, NULL },
	[ANSWER_NEW_PRINCIPAL] = { "NewPrincipal", NEW_PRINCIPAL, NULL },
	[ANSWER_PRINCIPAL_LIST] = { "PrincipalList", PRINCIPAL_LIST, NULL },
	[ANSWER_ROLE] = { "RoleAssignment", ROLE, NULL },
	[ANSWER_REVOCATION] = { "Revocation", REVOCATION, NULL },
	[ANSWER_STATUS] = { "Status", STATUS, NULL },
	[ANSWER_HSM] = { "HsmInfo", HSM, NULL },
	[ANSWER_ENTRIES] = { "LogEntries", NULL, "application/x-ndjson" },
	[ANSWER_EVENTS] = { "LogEvents", EVENTS, NULL },
	[ANSWER_ENTRY] = { "LogEntry", KV_NOTHING, NULL },
	[ANSWER_CHECKPOINT] = { "SignedCheckpoint", NULL, "text/plain" },
	[ANSWER_LOG_KEYS] = { "LogKeys", LOG_KEYS, NULL },
	[ANSWER_INCLUSION] = { "InclusionProof", INCLUSION, NULL },
	[ANSWER_CONSISTENCY] = { "ConsistencyProof", CONSISTENCY, NULL },
	[ANSWER_BUNDLE] = { "ProofBundle", NULL, "text/plain" },
	[ANSWER_TILE] = { "LogTile", NULL, "application/octet-stream" },
	[ANSWER_TOKEN] = { "AccessToken", TOKEN, NULL },
	[ANSWER_DISCOVERY] = { "OpenIdConfiguration", DISCOVERY, NULL },
	[ANSWER_JWKS] = { "JsonWebKeySet", JWKS, NULL },
	[ANSWER_SUBSCRIPTIONS] = { "SubscriptionList", SUBSCRIPTIONS, NULL },
	[ANSWER_LIVE] = { "Live", LIVE, NULL },
	[ANSWER_READY] = { "Ready", READY, NULL },
	[ANSWER_OPENAPI] = { "OpenApiDocument", DOCUMENT, NULL },
	[ANSWER_EKM_POOL] = { "EkmPool", EKM_POOL, NULL },
	[ANSWER_EKM_POOL_LIST] = { "EkmPoolList", EKM_POOL_LIST, NULL },
	[ANSWER_EKM_KEY] = { "EkmKey", EKM_KEY, NULL },
	[ANSWER_EKM_KEY_LIST] = { "EkmKeyList", EKM_KEY_LIST, NULL },
	[ANSWER_EKM_INFO] = { "EkmInfo", EKM_INFO, NULL },
	[ANSWER_EKM_METADATA] = { "EkmMetadata", EKM_METADATA, NULL },
	[ANSWER_EKM_VALUE] = { "EkmValue", VALUE, NULL },
	[ANSWER_PRINCIPAL_DETAIL] = { "PrincipalDetail", PRINCIPAL_DETAIL, NULL },
	[ANSWER_CREDENTIAL] = { "Credential", CREDENTIAL, NULL },
	[ANSWER_NEW_SECRET] = { "NewSecret", NEW_SECRET, NULL },
	[ANSWER_CREDENTIAL_LIST] = { "CredentialList", CREDENTIAL_LIST, NULL },
	[ANSWER_GROUP_LIST] = { "GroupList", PRINCIPAL_LIST, NULL },
	[ANSWER_MEMBER] = { "Member", MEMBER, NULL },
	[ANSWER_MEMBER_LIST] = { "MemberList", MEMBER_LIST, NULL },
	[ANSWER_ROLE_DEFINITION] = { "RoleDefinition", ROLE_DEFINITION, NULL },
	[ANSWER_ROLE_DEFINITION_LIST] = { "RoleDefinitionList", ROLE_DEFINITION_LIST, NULL },
	[ANSWER_EXPLANATION] = { "AccessExplanation", EXPLANATION, NULL },
	[ANSWER_SERVICE] = { "Service", SERVICE, NULL },
	[ANSWER_SERVICE_LIST] = { "ServiceList", SERVICE_LIST, NULL },
	[ANSWER_CHECK] = { "SelfCheck", CHECK, NULL },
	[ANSWER_EXPORT_LIST] = { "ExportList", EXPORT_LIST, NULL },
	[ANSWER_LOG_ROTATION] = { "LogKeyRotated", LOG_ROTATION, NULL },
	[ANSWER_LOG_ACCEPTANCE] = { "LogAccepted", LOG_ACCEPTANCE, NULL },
	[ANSWER_CERTIFICATE_LIST] = { "DestructionCertificateList", CERTIFICATE_LIST, NULL },
	[ANSWER_CERTIFICATE] = { "DestructionCertificate", NULL, "text/plain" },
	[ANSWER_CERTIFICATE_SIGNED] = { "DestructionCertificateSigned", CERTIFICATE_SIGNED, NULL },
	[ANSWER_CERTIFICATE_ENFORCED] = { "DestructionCertificateEnforced", CERTIFICATE_ENFORCED, NULL },
	[ANSWER_BACKUP_TASK] = { "BackupTask", BACKUP_TASK, NULL },
	[ANSWER_WEBHOOK] = { "Webhook", WEBHOOK, NULL },
	[ANSWER_NEW_WEBHOOK] = { "NewWebhook", NEW_WEBHOOK, NULL },
	[ANSWER_WEBHOOK_LIST] = { "WebhookList", WEBHOOK_LIST, NULL },
	[ANSWER_DEAD_LETTER_LIST] = { "DeadLetterList", DEAD_LETTER_LIST, NULL },
	[ANSWER_DEAD_LETTERS_RETRIED] = { "DeadLettersRetried", DEAD_LETTERS_RETRIED, NULL },
	[ANSWER_DEAD_LETTERS_DROPPED] = { "DeadLettersDropped", DEAD_LETTERS_DROPPED, NULL },
	[ANSWER_BACKUP_LIST] = { "BackupList", BACKUP_LIST, NULL },
	[ANSWER_PERSON] = { "Person", PERSON, NULL },
	[ANSWER_PERSON_LIST] = { "PersonList", PERSON_LIST, NULL },
	[ANSWER_PERSON_ERASED] = { "PersonsErased", PERSON_ERASED, NULL },
	[ANSWER_LOG_RETENTION] = { "LogRetention", LOG_RETENTION, NULL },
	[ANSWER_LOG_PRUNING] = { "LogPruning", LOG_PRUNING, NULL },
	[ANSWER_EPOCH] = { "BackupEpoch", EPOCH, NULL },
	[ANSWER_EPOCH_LIST] = { "BackupEpochList", EPOCH_LIST, NULL },
	[ANSWER_APPROVAL] = { "Approval", APPROVAL, NULL },
	[ANSWER_REPORT_ROTATIONS] = { "ReportRotations", REPORT_ROTATIONS, NULL },
	[ANSWER_REPORT_OVERDUE] = { "ReportOverdue", REPORT_OVERDUE, NULL },
	[ANSWER_REPORT_DENIALS] = { "ReportDenials", REPORT_DENIALS, NULL },
	[ANSWER_REPORT_REVOCATIONS] = { "ReportRevocations", REPORT_REVOCATIONS, NULL },
	[ANSWER_REPORT_UNUSED] = { "ReportUnused", REPORT_UNUSED, NULL },
	[ANSWER_REPORT_PROTECTION] = { "ReportProtection", REPORT_PROTECTION, NULL },
	[ANSWER_REPORT_KEYS] = { "ReportKeys", REPORT_KEYS, NULL },
	[ANSWER_APPROVAL_LIST] = { "ApprovalList", APPROVAL_LIST, NULL },
};

/* The token endpoint's form (RFC 6749 section 4.4.2): with a secret, or with an assertion (RFC 7523 section 2.2). */
const struct json_field ANSWER_TOKEN_FORM[] = { TEXT("grant_type"), TEXT("client_id"), TEXT("scope"), TEXT_MAYBE("client_secret"),
	                                        TEXT_MAYBE("client_assertion_type"), TEXT_MAYBE("client_assertion"), END };

/* RFC 6749 section 5.2. */
const struct json_field ANSWER_OAUTH_ERROR[] = { TEXT("error"), TEXT("error_description"), TEXT("trace_id"), END };

/* ekm-proxy.md 7.1. */
const struct json_field ANSWER_EKM_ERROR[] = { TEXT("code"), TEXT("message"), END };
