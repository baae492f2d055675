#ifndef PANDO_CORE_CONFIG_H
#define PANDO_CORE_CONFIG_H

/*
 * The one configuration file of a machine, `key = value` lines with `#` comments. All daemons and
 * `pando` read the whole of it; config_rows (config_rows.c) has one row per key with its type,
 * default, limits and help, and the sample file (`pando config sample`) is printed from the rows.
 */

#include "core/disk.h"
#include "core/error.h"
#include "core/str.h"

#include <stdio.h>

enum config_type {
	CONFIG_TEXT,
	CONFIG_WORD,   /* text without white space */
	CONFIG_FOLDER, /* an absolute path */
	CONFIG_LISTEN, /* addresses, separated by spaces */
	CONFIG_HOST,   /* host:port */
	CONFIG_NUMBER,
	CONFIG_CHOICE,
};

struct config_row {
	const char *key;
	enum config_type type;
	size_t field_offset;      /* in struct config: char * or uint64_t */
	const char *default_text; /* NULL: must be given by who needs it */
	uint64_t minimum, maximum;
	const char *choices;      /* "auto|uring|posix": the value is the index */
	const char *help;
};

/* Text fields are never NULL; "" is "not set". Listen addresses are space-separated lists. */
struct config {
	char *site, *node;                    /* names in the directory */
	char *data_dir, *run_dir;             /* /var/lib/pando, /run/pando */
	char *user;                           /* to become after binding ports; "" stays */
	char *directory;                      /* libpq connection string, or "standalone" */
	char *hostname;                       /* in greetings and Received */
	char *cluster_ca, *node_certificate, *node_key, *router_certificate, *router_key;
	char *replicator_certificate, *replicator_key, *ctl_certificate, *ctl_key;
	char *backup_key;                      /* public; what `pando backup` seals to */
	char *public_certificate, *public_key; /* what mail clients see */
	char *smtp_listen, *submission_listen, *submissions_listen, *imap_listen, *imaps_listen;
	char *pop3s_listen, *managesieve_listen;
	char *node_lmtp_listen, *node_imap_listen, *node_control_listen; /* routers and ctl, mTLS */
	char *router_control_listen;
	char *router_queue_listen;            /* routers of other sites, mTLS */
	char *replicator_listen;              /* replicators, mTLS */
	char *router_http_listen, *node_http_listen, *replicator_http_listen;
	char *relay_host;                     /* "host:port" of the smart host; "": no relaying */
	uint64_t io_backend;                  /* enum io_backend */
	uint64_t log_level;                   /* enum log_level */
	uint64_t worker_threads;              /* of a node; 0: one per core */
	uint64_t message_bytes_max;
	uint64_t recipients_max;              /* per transaction */
	uint64_t smtp_sessions_max, imap_sessions_max;
	uint64_t client_sessions_max;         /* of one address, not logged in */
	uint64_t plaintext_login;             /* choice no|loopback */
	uint64_t purge_every_s;               /* how often removed mailboxes are looked for */
	uint64_t write_quotas_per_day;        /* how much may come to a mailbox that has one */
	uint64_t free_after_s;                /* how long a dead body keeps its room */
	uint64_t retained_mib_max;            /* of dead bodies, for copies that are away */
	uint64_t stale_after_s;               /* and for how long it waits for them at least */
	uint64_t alone_after_s;               /* how long an opening waits for silent copies */
	uint64_t scrub_days;                  /* 0: by the operator's word alone */
	uint64_t scrub_mib_s_max;
	uint64_t fill_mib_s_max;              /* to copies that are far behind; 0: as it goes */
	uint64_t remote_wait_ms_max;          /* how long `remote` waits for the replica */
	uint64_t forward_timeout_ms;          /* until a message goes to the queue */
	uint64_t queue_retry_ms_min, queue_retry_ms_max, queue_lifetime_s;
	uint64_t queue_delay_notice_s;        /* 0: none */
};

extern const struct config_row config_rows[];
extern const size_t config_row_count;

/* Reads `path` into a zeroed `config`. Errors name file, line, key and, for an unknown key, the
 * nearest right one; the caller prints the sentence and exits with 2. */
int config_load(struct config *config, const char *path, struct error *error) must_check;
void config_deinit(struct config *config);
/* The path given with --config, else $PANDO_CONF, else /etc/pando/pando.conf. */
const char *config_path(const char *given);
/* The commented sample file with every key at its default. */
void config_print_sample(FILE *out);

#endif
