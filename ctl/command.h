#ifndef PANDO_CTL_COMMAND_H
#define PANDO_CTL_COMMAND_H

/*
 * One invocation of `pando`: a row per verb (main.c) says which options it takes; its function
 * finds them here, with the configuration loaded and the directory opened on first use.
 *
 * Functions return the exit code: 0 done, 1 refused or failed (a sentence on standard error), 2
 * wrong usage or configuration.
 */

#include "core/config.h"
#include "core/directory/directory_write.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Far above what any verb takes. */
enum { OPTIONS_MAX = 32, POSITIONALS_MAX = 16 };

struct command;

struct verb {
	const char *name;  /* "site add" */
	const char *usage; /* what follows the name */
	/* "site=,json,replica=*": names with = take a value, those with =* any number of times;
	 * --config and --help are known everywhere. */
	const char *options;
	unsigned positionals_min, positionals_max;
	bool needs_config;
	int (*run)(struct command *command);
	const char *help;
};

struct option {
	const char *name, *value; /* value NULL: given without one */
};

struct command {
	const struct verb *verb;
	struct option options[OPTIONS_MAX];
	unsigned option_count;
	const char *positionals[POSITIONALS_MAX];
	unsigned positional_count;
	bool wants_help; /* it was asked for; nothing else is read then */
	const char *config_file;
	struct config config;
	struct directory_writer *writer;
};

bool command_has(const struct command *command, const char *option);
/* NULL when not given. */
const char *command_option(const struct command *command, const char *option);
bool command_json(const struct command *command);

/* Prints "pando: sentence" on standard error. What arguments and daemons say stands in sentences:
 * control characters, those that turn text round and bytes that are not UTF-8 are shown as \xNN or
 * \uNNNN (a line's end stays one): none reaches a terminal. */
void command_complain(const char *format, ...) printf_like(1, 2);
/* The same with the error's sentence; returns EXIT_FAILED. */
int command_fail(const struct error *error);
/* The same where `code` is negative, else EXIT_DONE: what a change of the directory came to. */
int command_report(int code, const struct error *error);
int command_usage(const struct command *command, const char *format, ...) printf_like(2, 3);
/* What the front door would refuse must not get into the directory: -EINVAL with a sentence. */
int mailbox_check_address(const char *text, struct error *error) must_check;
/* The directory for reading and writing; 0 or an exit code with the sentence printed. */
int command_open_directory(struct command *command) must_check;

int init_run(struct command *command);
int cert_issue(struct command *command);
int cert_self_signed(struct command *command);
int config_sample(struct command *command);
int site_add(struct command *command);
int site_list(struct command *command);
int site_remove(struct command *command);
int node_add(struct command *command);
int node_list(struct command *command);
int node_set(struct command *command);
int node_drain(struct command *command);
int node_remove(struct command *command);
int router_add(struct command *command);
int router_list(struct command *command);
int router_remove(struct command *command);
int volume_add(struct command *command);
int volume_list(struct command *command);
int volume_show(struct command *command);
int volume_set(struct command *command);
int volume_rename(struct command *command);
int volume_remove(struct command *command);
int volume_balance(struct command *command);
int copy_add(struct command *command);
int copy_remove(struct command *command);
int copy_reseed(struct command *command);
int copy_verify(struct command *command);
int domain_add(struct command *command);
int domain_list(struct command *command);
int domain_set(struct command *command);
int domain_remove(struct command *command);
int mailbox_add(struct command *command);
int mailbox_import(struct command *command);
int mailbox_set(struct command *command);
int mailbox_list(struct command *command);
int mailbox_show(struct command *command);
int mailbox_passwd(struct command *command);
int mailbox_adopt(struct command *command);
int mailbox_remove(struct command *command);
int mailbox_restore(struct command *command);
int mailbox_rename(struct command *command);
int message_expunged(struct command *command);
int message_recover(struct command *command);
int alias_add(struct command *command);
int alias_list(struct command *command);
int alias_remove(struct command *command);
int audit_list(struct command *command);
int status_run(struct command *command);
int lag_run(struct command *command);
int at_risk_run(struct command *command);
int directory_list_servers(struct command *command);
int directory_adopt(struct command *command);
int failover_run(struct command *command);
int failback_run(struct command *command);
int open_run(struct command *command);
int salvage_list(struct command *command);
int salvage_show(struct command *command);
int salvage_retry(struct command *command);
int salvage_discard(struct command *command);
int scrub_run(struct command *command);
int restore_run(struct command *command);
int queue_list(struct command *command);
int queue_show(struct command *command);
int queue_flush(struct command *command);
int queue_drop(struct command *command);
int check_run(struct command *command);
int restore_run(struct command *command);
int backup_key(struct command *command);
int backup_list(struct command *command);
int backup_verify(struct command *command);
int backup_prune(struct command *command);
int backup_take(struct command *command);

#endif
