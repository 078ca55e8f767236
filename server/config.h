/* server/config.h - the configuration file: YAML -> one validated struct that never changes afterwards. */
#ifndef HOLDFAST_SERVER_CONFIG_H
#define HOLDFAST_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

/* An external issuer of access tokens (docs/access.md). What is not given and has no default is NULL or 0. */
struct config_issuer {
	char *name; /* [a-z0-9-]{1,32} */
	char **issuer; /* exact values of iss */
	unsigned issuer_count;
	char **audience; /* default: this server's resource URL, with or without a slash at its end */
	unsigned audience_count;
	char *tenant;    /* value of tid */
	char *authority; /* what the challenge of a vault with this issuer names */
	char *jwks_url, *jwks_file; /* one of them */
	char *ca;        /* instead of the system's, for jwks_url */
	char **algorithms; /* of RS256, PS256, ES256, EdDSA; default RS256 alone */
	unsigned algorithms_count;
	char *principal_claim; /* oid | sub | appid | azp; default oid */
	char *group_claim, *role_claim; /* default groups, roles */
	unsigned refresh_s, stale_s; /* default 600, 86400 */
};

/* A witness of the event log (docs/audit-log.md). */
struct config_witness {
	char *key; /* C2SP verifier key: name+hash+base64 */
	char *url; /* https; "/add-checkpoint" is appended */
	char *ca;  /* PEM file instead of the system's, or NULL */
};

/* An export of the event log (docs/export.md). What is not given is NULL. */
struct config_export {
	char *name;   /* [a-z0-9-]{1,32} */
	char *format; /* native | azure | cef | otlp */
	char *to;     /* file:PATH, syslog+tls://HOST:PORT, https://... */
	char *ca, *certificate, *key; /* PEM files */
	char *headers_file; /* of HTTP; closed to others */
	bool required;      /* service stops when it is behind by more than max_lag_s */
	unsigned max_lag_s;  /* 5..86400, of syslog from 15 on; default 60 */
	unsigned enterprise; /* IANA enterprise number in syslog's structured data; default 32473 */
};

/* Of alerts (docs/alerts.md). What is not given is NULL, or the kind's default. */
struct config_alert_rule {
	char *name;  /* [a-z0-9-]{1,32} */
	char *kind;
	char *vault; /* NULL = all */
	char *per;   /* denials: principal (default) | total */
	unsigned limit, factor, at_least, window_s, late_s; /* factor 0 = not this way; limit 0 = not this way, for volume with a factor */
	char **to;   /* names of channels */
	unsigned to_count;
};
struct config_alert_channel {
	char *name;    /* [a-z0-9-]{1,32} */
	char *kind;    /* webhook | syslog | mail */
	char *address; /* https://..., syslog+tls://HOST:PORT, smtp://127.0.0.1:PORT */
	char *ca, *certificate, *key; /* PEM files; the last two of this client, for syslog+tls */
	char *secret_file; /* webhook; closed to others */
	char *from;        /* mail */
	char **to;
	unsigned to_count;
};

/* Strings are owned by the config and never NULL unless said so. Relative paths are resolved against the file's directory at load. */
struct config {
	char *node;        /* node name in the log, [A-Za-z0-9.-]{1,64} */
	char *site;        /* shown as x-ms-keyvault-region; default "local" */
	char *domain;      /* vaults live at {vault}.{domain}; lower case DNS name */
	uint16_t public_port; /* the port in URLs that we hand out; default: listen.port */
	struct {
		char *address; /* numeric; default 127.0.0.1 */
		uint16_t port; /* default 8443 */
		unsigned threads;     /* default: one a core */
		unsigned connections; /* default 4096 */
		unsigned per_ip;      /* default 1024 */
		bool client_certificates; /* ask for the certificates of services (mutual TLS); default no */
	} listen;
	struct {
		char *certificate, *key; /* PEM files; the key not readable by others */
	} tls;
	struct {
		char *socket;       /* UNIX socket of the management API */
		uint32_t *uids;     /* besides root and the daemon's own user */
		unsigned uids_count;
	} admin;
	/* The listener of Managed HSM pools (docs/ekm.md). */
	struct {
		bool is_on;              /* the section is there */
		char *address;           /* numeric IPv4 or IPv6; default 127.0.0.1 */
		uint16_t port;           /* default 443, the only one that Azure calls */
		char *certificate, *key; /* PEM files; the key not readable by others; NULL when the section is not there */
		unsigned connections;    /* default 1024 */
		char *api_version;       /* what `info` says; NULL = the one that is spoken */
	} ekm;
	/* Managed identities of this machine's services: plain HTTP, so loopback only. */
	struct {
		bool is_on;    /* the section is there */
		char *address; /* 127.0.0.0/8 or ::1; default 127.0.0.1 */
		uint16_t port; /* default 40342 */
	} identity;
	struct {
		char *database;
		unsigned reserve_mib; /* ballast that keeps room for the log's last words; default 256 */
	} storage;
	struct {
		char *module;    /* path of the PKCS#11 library */
		char *token;     /* RFC 7512 URI */
		char *pin;       /* file, or credential:NAME */
		char *token_dir; /* directory of a file-backed token, or NULL */
		unsigned workers;    /* crypto worker threads, of which one vault has all but one; 2..60, default: one a core and one more */
		unsigned cache_keys; /* wrapped versions kept loaded; default 2000 */
	} hsm;
	struct {
		char *level;  /* debug | info | warn | error; default info */
		char *format; /* auto | text | json; default auto */
		char *origin; /* origin of the first event log; default "{domain}/audit/log1" */
		unsigned interval_ms; /* to the checkpoint that covers a leaf, at most: 100..60000, default 1000 */
		unsigned pin_s;       /* from one pin in the device to the next: 1..3600, default 60 */
		unsigned heartbeat_s; /* of silence: 10..120 (the verifier misses one after three minutes), default 60 */
		unsigned late_ms;     /* a leaf without a checkpoint, until service stops: 1000..60000 and more than interval_ms, default 5000 */
		bool is_strict;       /* every answer waits for its checkpoint; default no */
		struct config_witness *witnesses;
		unsigned witnesses_count;
		unsigned quorum;         /* so many witnesses make a checkpoint witnessed: 0..their number; default 0 */
		bool witnesses_required; /* critical answers wait for the quorum; default no */
		unsigned keep_days;      /* how long bodies of leaves are kept: 90..36500, 0 = for ever; default 400 */
	} log;
	struct {
		unsigned queue;       /* requests waiting in each lane; default 1024 */
		unsigned token_life_s; /* life of access tokens: 300..86400, default 3600 */
		/* In 10 seconds, of one vault and of one principal: 1..1000000; creates (create, import, rotate, restore) default 1000, all others 20000. */
		unsigned vault_requests, vault_creates, principal_requests, principal_creates;
	} limits;
	/* Backups of the server (docs/backup.md), and the epochs of all backups. */
	struct {
		char *directory;       /* closed to group and others; NULL = the server makes no backups of itself */
		unsigned every_hours;  /* 0..8760, 0 = only when asked; default 24 */
		unsigned keep;         /* files, 0..10000, 0 = all; default 14 */
		unsigned epoch_days;   /* 1..365, default 30 */
		unsigned keep_days;    /* 1..365, default 30 */
	} backup;
	/* The listener of metrics (docs/metrics.md). */
	struct {
		bool is_on;    /* the section is there */
		char *address; /* numeric; default 127.0.0.1; any other than a loopback address needs what follows */
		uint16_t port; /* default 9464 */
		char *certificate, *key; /* PEM files; the key not readable by others; NULL = plain HTTP */
		char *token_file; /* holds the bearer token of who reads; not readable by others; NULL = none is asked for */
		unsigned vaults;  /* counted one by one: 0..1000, default 100 */
	} metrics;
	/* Whom events of vaults may be sent to (docs/webhooks.md). */
	struct {
		bool is_on;   /* the section is there */
		char **hosts; /* host[:port], lower case */
		unsigned hosts_count;
		char *ca;     /* PEM file instead of the system's roots, or NULL */
		char *certificate, *key; /* of this client, PEM files; NULL = none */
	} webhooks;
	struct config_export *exports;
	unsigned exports_count;
	struct {
		struct config_alert_rule *rules;
		unsigned rules_count;
		struct config_alert_channel *channels;
		unsigned channels_count;
	} alerts;
	struct config_issuer *issuers;
	unsigned issuers_count;
	char *text; /* the file without its comments, for backups: it names secrets by their paths, and holds none */
};

/**
 * Load and check. Unknown keys, wrong types, values out of range, a missing file or a world-readable private file are errors.
 * @return KMS_OK (*ret_config owned by the caller) | KMS_E_INVALID: message = "FILE:LINE: KEY: what was expected"
 */
KMS_MUST_CHECK kms_status config_load(const char *path, struct config **ret_config, struct kms_err *err);
void config_free(struct config *c);

#endif
