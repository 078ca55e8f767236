/* server/config_schema.h - the schema of the configuration file, for config.c alone. */
#ifndef HOLDFAST_SERVER_CONFIG_SCHEMA_H
#define HOLDFAST_SERVER_CONFIG_SCHEMA_H

#include <cyaml/cyaml.h>

#include "server/config.h"

#define CONFIG_UIDS_MAX 64

/** A pointer to struct config; release what it fills with cyaml_free(). */
extern const cyaml_schema_value_t CONFIG_SCHEMA;

#endif
