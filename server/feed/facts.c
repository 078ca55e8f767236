/* server/feed/facts.c - what a record says that its leaf does not: names of vaults, this server's own. See export.h. */
#include <string.h>

#include "server/feed/export.h"

/* The name of a vault never changes, and a shredded one keeps it. NULL = there is no such vault in this database. */
static kms_status vault_name(struct facts_cache *c, struct store *store, const uint8_t id[STORE_ID_LEN], const char **ret, struct kms_err *err)
{
	struct store_vault vault = { 0 };
	kms_status status;

	for (size_t i = 0; i < FACTS_VAULTS; i++) {
		if (c->vaults[i].is_there && memcmp(c->vaults[i].id, id, STORE_ID_LEN) == 0) { /* allowed: ids are public */
			*ret = c->vaults[i].name;
			return KMS_OK;
		}
	}
	status = store_vault_by_id(store, id, &vault, NULL);
	if (status == KMS_E_NOTFOUND) {
		*ret = NULL;
		return KMS_OK;
	}
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the name of a vault");
	memcpy(c->vaults[c->next].id, id, STORE_ID_LEN);
	memcpy(c->vaults[c->next].name, vault.name, sizeof(vault.name));
	c->vaults[c->next].is_there = true;
	*ret = c->vaults[c->next].name;
	c->next = (c->next + 1) % FACTS_VAULTS;
	return KMS_OK;
}

kms_status facts_of(struct facts_cache *c, const struct kms *kms, struct store *store, const struct leaf *l, struct format_facts *ret, struct kms_err *err)
{
	struct format_facts facts = { .origin = kms->origin, .node = kms->node, .directory = c->directory, .enterprise = FORMAT_ENTERPRISE,
		                      .observed_us = clock_wall_us(kms->clock) };

	if (c->directory[0] == '\0')
		guid_format(kms->inst.directory, c->directory);
	if (l->has_tenant)
		KMS_TRY(vault_name(c, store, l->tenant, &facts.vault, err));
	if (facts.vault != NULL) {
		kms_url(kms, facts.vault, c->url);
		facts.vault_url = c->url;
	}
	*ret = facts;
	return KMS_OK;
}
