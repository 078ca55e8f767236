/* server/cli/table.c - every command and every option of `holdfast`: parsing, help and completion read nothing else. */
#include "server/base/err.h"
#include "server/cli/command.h"

#define POLICY (BIT(OPT_RETENTION_DAYS) | BIT(OPT_PURGE_PROTECTION) | BIT(OPT_ALLOW_RSA1_5) | BIT(OPT_QUORUM) | BIT(OPT_PURGE_APPROVALS))
#define VOTE (BIT(OPT_REASON) | BIT(OPT_SIGNING_KEY) | BIT(OPT_CERTIFICATE))
#define CERTIFICATES (BIT(OPT_SUBJECT) | BIT(OPT_ROOTS))

const struct cli_option CLI_OPTIONS[] = {
	{ OPT_SOCKET, "socket", VALUE_FILE, "the path of the daemon's socket", false },
	{ OPT_URL, "url", VALUE_TEXT, "https://HOST[:PORT]", false },
	{ OPT_TOKEN_FILE, "token-file", VALUE_FILE, "a file with a token", false },
	{ OPT_CA, "ca", VALUE_FILE, "a PEM file of trusted roots", false },
	{ OPT_JSON, "json", VALUE_NONE, NULL, false },
	{ OPT_HELP, "help", VALUE_NONE, NULL, false },
	{ OPT_RETENTION_DAYS, "retention-days", VALUE_TEXT, "a number of days", false },
	{ OPT_PURGE_PROTECTION, "purge-protection", VALUE_NONE, NULL, false },
	{ OPT_NO_PURGE_PROTECTION, "no-purge-protection", VALUE_NONE, NULL, false },
	{ OPT_ALLOW_RSA1_5, "allow-rsa1-5", VALUE_NONE, NULL, false },
	{ OPT_NO_RSA1_5, "no-rsa1-5", VALUE_NONE, NULL, false },
	{ OPT_QUORUM, "quorum", VALUE_TEXT, "a number of approvers, 1 to 16", false },
	{ OPT_PURGE_APPROVALS, "purge-approvals", VALUE_TEXT, "a number of approvers, 0 to 16", false },
	{ OPT_NETWORKS, "networks", VALUE_TEXT, "address ranges as '10.0.0.0/8 2001:db8::/32', or '' for everybody", false },
	{ OPT_ISSUER, "issuer", VALUE_TEXT, "the name of an issuer in the configuration", false },
	{ OPT_REASON, "reason", VALUE_REASON, "a reason", false },
	{ OPT_YES, "yes", VALUE_NONE, NULL, false },
	{ OPT_SECRET_DAYS, "secret-days", VALUE_TEXT, "a number of days, 0 for no secret", false },
	{ OPT_DAYS, "days", VALUE_TEXT, "a number of days", false },
	{ OPT_LABEL, "label", VALUE_TEXT, "a text", false },
	{ OPT_INSTALLATION, "installation", VALUE_NONE, NULL, false },
	{ OPT_UNTIL, "until", VALUE_TEXT,
	  "a time as 2026-12-31 or 2026-12-31T18:00:00Z (UTC), seconds since 1970, or from now on as +30m, +8h, +7d", false },
	{ OPT_ACTION, "action", VALUE_TEXT, "a data action, as keys/wrap/action", true },
	{ OPT_PRINCIPAL, "principal", VALUE_TEXT, "the id or name of a principal", false },
	{ OPT_ALL, "all", VALUE_NONE, NULL, false },
	{ OPT_SIGNING_KEY, "signing-key", VALUE_FILE, "a PEM file with your private key", false },
	{ OPT_CERTIFICATE, "certificate", VALUE_FILE, "a PEM file with the certificate of that key", false },
	{ OPT_CLIENT_ID, "client-id", VALUE_TEXT, "a principal's client id", false },
	{ OPT_SECRET_FILE, "secret-file", VALUE_FILE, "a file with the client secret, or - for standard input", false },
	{ OPT_VERSION, "version", VALUE_TEXT, "a key version, 32 hexadecimal digits", false },
	{ OPT_FOLLOW, "follow", VALUE_NONE, NULL, false },
	{ OPT_SUBJECT, "subject", VALUE_TEXT, "a common name, or who it is at an issuer", true },
	{ OPT_ROOTS, "roots", VALUE_FILE, "a file of root certificates", false },
	{ OPT_PREFIX, "prefix", VALUE_TEXT, "a path prefix", false },
	{ OPT_ID, "id", VALUE_TEXT, "an external key id", false },
	{ OPT_CERT, "cert", VALUE_FILE, "a PEM file with a client certificate", false },
	{ OPT_KEY, "key", VALUE_FILE, "a key", false },
};
const size_t CLI_OPTION_COUNT = KMS_ARRAY_LEN(CLI_OPTIONS);

const struct command CLI_COMMANDS[] = {
	{ "vault create", "NAME [--retention-days N] [--purge-protection] [--allow-rsa1-5] [--quorum N] [--purge-approvals N]", 1, POLICY, 0,
	  vault_create },
	{ "vault list", "", 0, 0, 0, vault_list },
	{ "vault show", "VAULT", 1, 0, 0, vault_show },
	{ "vault set",
	  "VAULT [--retention-days N] [--[no-]purge-protection] [--allow-rsa1-5 | --no-rsa1-5] [--quorum N] [--purge-approvals N] "
	  "[--networks RANGES] [--issuer NAME] [--reason TEXT]",
	  1, POLICY | BIT(OPT_NO_PURGE_PROTECTION) | BIT(OPT_NO_RSA1_5) | BIT(OPT_NETWORKS) | BIT(OPT_ISSUER) | BIT(OPT_REASON), 0, vault_set },
	{ "vault shred", "VAULT [--reason TEXT] [--yes]", 1, BIT(OPT_REASON) | BIT(OPT_YES), 0, vault_shred },
	{ "principal create", "VAULT NAME [--secret-days N]", 2, BIT(OPT_SECRET_DAYS), 0, principal_create },
	{ "principal list", "VAULT", 1, 0, 0, principal_list },
	{ "principal show", "VAULT ID", 2, 0, 0, principal_show },
	{ "principal disable", "VAULT ID", 2, 0, 0, principal_disable },
	{ "principal enable", "VAULT ID", 2, 0, 0, principal_enable },
	{ "principal revoke-tokens", "VAULT ID", 2, 0, 0, principal_revoke_tokens },
	{ "credential list", "VAULT ID", 2, 0, 0, credential_list },
	{ "credential add-secret", "VAULT ID [--days N] [--label TEXT]", 2, BIT(OPT_DAYS) | BIT(OPT_LABEL), 0, credential_add_secret },
	{ "credential add-header", "VAULT ID [--days N] [--label TEXT]", 2, BIT(OPT_DAYS) | BIT(OPT_LABEL), 0, credential_add_header },
	{ "credential add-certificate", "VAULT ID FILE [--label TEXT]", 3, BIT(OPT_LABEL), 0, credential_add_certificate },
	{ "credential add-identity", "VAULT ID --issuer NAME --subject SUBJECT", 2, BIT(OPT_ISSUER) | BIT(OPT_SUBJECT),
	  BIT(OPT_ISSUER) | BIT(OPT_SUBJECT), credential_add_identity },
	{ "credential remove", "VAULT ID CREDENTIAL", 3, 0, 0, credential_remove },
	{ "group create", "VAULT NAME", 2, 0, 0, group_create },
	{ "group list", "VAULT", 1, 0, 0, group_list },
	{ "group members", "VAULT GROUP", 2, 0, 0, group_members },
	{ "group add", "VAULT GROUP ID", 3, 0, 0, group_add },
	{ "group remove", "VAULT GROUP ID", 3, 0, 0, group_remove },
	{ "role grant", "VAULT ID ROLE [--key KEY | --installation] [--until TIME] [--reason TEXT]", 3,
	  BIT(OPT_KEY) | BIT(OPT_INSTALLATION) | BIT(OPT_UNTIL) | BIT(OPT_REASON), 0, role_grant },
	{ "role remove", "VAULT ID ROLE [--key KEY | --installation]", 3, BIT(OPT_KEY) | BIT(OPT_INSTALLATION), 0, role_remove },
	{ "role list", "VAULT", 1, 0, 0, role_list },
	{ "role define", "VAULT NAME --action ACTION...", 2, BIT(OPT_ACTION), BIT(OPT_ACTION), role_define },
	{ "role drop", "VAULT ROLE", 2, 0, 0, role_drop },
	{ "access explain", "VAULT --principal ID --action ACTION [--key KEY]", 1, BIT(OPT_PRINCIPAL) | BIT(OPT_ACTION) | BIT(OPT_KEY),
	  BIT(OPT_PRINCIPAL) | BIT(OPT_ACTION), access_explain },
	{ "approval list", "VAULT [--all]", 1, BIT(OPT_ALL), 0, approval_list },
	{ "approval show", "VAULT REQUEST", 2, 0, 0, approval_show },
	{ "approval approve", "VAULT REQUEST [--reason TEXT] [--signing-key FILE --certificate FILE]", 2, VOTE, 0, approval_approve },
	{ "approval deny", "VAULT REQUEST [--reason TEXT] [--signing-key FILE --certificate FILE]", 2, VOTE, 0, approval_deny },
	{ "approval withdraw", "VAULT REQUEST", 2, 0, 0, approval_withdraw },
	{ "login", "--url URL --client-id ID [--secret-file FILE] --token-file FILE", 0, BIT(OPT_CLIENT_ID) | BIT(OPT_SECRET_FILE), BIT(OPT_CLIENT_ID),
	  login },
	{ "service add", "VAULT NAME --roots FILE --subject CN...", 2, CERTIFICATES, CERTIFICATES, service_add },
	{ "service list", "VAULT", 1, 0, 0, service_list },
	{ "service rotate", "VAULT SERVICE [--roots FILE] [--subject CN]...", 2, CERTIFICATES, 0, service_rotate },
	{ "key revoke", "VAULT KEY --reason REASON [--version V]", 2, BIT(OPT_REASON) | BIT(OPT_VERSION), BIT(OPT_REASON), key_revoke },
	{ "key reinstate", "VAULT KEY [--version V]", 2, BIT(OPT_VERSION), 0, key_reinstate },
	{ "log tail", "[-n N] [--follow]", 0, BIT(OPT_LINES) | BIT(OPT_FOLLOW), 0, log_tail },
	{ "log show", "SEQ", 1, 0, 0, log_show },
	{ "hsm info", "", 0, 0, 0, hsm_info },
	{ "status", "", 0, 0, 0, status },
	{ "ekm pool add", "VAULT NAME --roots FILE [--subject CN]... [--prefix P]", 2, CERTIFICATES | BIT(OPT_PREFIX), BIT(OPT_ROOTS), ekm_pool_add },
	{ "ekm pool list", "VAULT", 1, 0, 0, ekm_pool_list },
	{ "ekm pool rotate-roots", "VAULT POOL --roots FILE [--subject CN]...", 2, CERTIFICATES, BIT(OPT_ROOTS), ekm_pool_rotate_roots },
	{ "ekm key publish", "VAULT POOL KEY [--version V] [--id ID]", 3, BIT(OPT_VERSION) | BIT(OPT_ID), 0, ekm_key_publish },
	{ "ekm key retire", "VAULT POOL ID", 3, 0, 0, ekm_key_retire },
	{ "ekm key list", "VAULT POOL", 2, 0, 0, ekm_key_list },
	{ "ekm check", "URL --cert FILE --key FILE [--ca FILE]", 1, BIT(OPT_CERT) | BIT(OPT_KEY), BIT(OPT_CERT) | BIT(OPT_KEY), ekm_check },
	{ "completion bash", "", 0, 0, 0, completion_bash },
};
const size_t CLI_COMMAND_COUNT = KMS_ARRAY_LEN(CLI_COMMANDS);

const struct cli_option *cli_option(enum option_id id)
{
	for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
		if (CLI_OPTIONS[i].id == id)
			return &CLI_OPTIONS[i];
	return NULL;
}
