/* `pando check`: what is wrong on this machine and in the cluster, and what to do about it. */

#include "ctl/checks.h"
#include "ctl/judge.h"

#include "core/clock.h"
#include "core/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void checks_note(
	struct checks *checks, enum verdict verdict, const char *what, const char *format, ...)
{
	static const char *const words[] = { "ok", "warn", "FAILED" };
	struct buf sentence = { 0 };
	va_list arguments;
	checks->good += verdict == VERDICT_GOOD;
	checks->failed += verdict == VERDICT_BAD;
	checks->warned += verdict == VERDICT_WARN;
	if (verdict == VERDICT_GOOD && !checks->all)
		return;
	va_start(arguments, format);
	buf_vprintf(&sentence, format, arguments);
	va_end(arguments);
	table_add(&checks->table, what);
	table_add(&checks->table, words[verdict]);
	table_add_str(&checks->table, buf_str(&sentence));
	buf_deinit(&sentence);
}

static void check_pair(struct checks *checks, const char *what, const char *certificate,
	const char *key, const char *ca)
{
	struct error error = { 0 };
	struct tls_context *tls = NULL;
	struct tls_options options = { certificate, key, ca, false, false, ca != NULL };
	if (!certificate[0] && !key[0])
		return;
	struct tls_certificate found = { 0 };
	struct buf sentence = { 0 };
	if (tls_context_create(&options, &tls, &error) < 0)
		checks_note(checks, VERDICT_BAD, what, "%s", error.text);
	else if (!tls_context_certificate(tls, &found) ||
		!judge_time(found.not_before_s, found.not_after_s, clock_wall_us() / 1000000,
			&sentence))
		checks_note(checks, VERDICT_BAD, what, "%s%s is to be replaced",
			buf_terminated(&sentence), certificate);
	else
		checks_note(checks, VERDICT_GOOD, what, "%s", certificate);
	buf_deinit(&sentence);
	tls_context_destroy(&tls);
}

static void check_machine(struct checks *checks, const struct config *config)
{
	const char *ca = config->cluster_ca[0] ? config->cluster_ca : NULL;
	checks_note(
		checks, VERDICT_GOOD, "configuration", "every key is known and within its limits");
	if (!ca)
		checks_note(checks, VERDICT_BAD, "cluster_ca",
			"set it to the authority that `pando init` made: nobody can be trusted "
			"without");
	check_pair(checks, "ctl certificate", config->ctl_certificate, config->ctl_key, ca);
	check_pair(checks, "node certificate", config->node_certificate, config->node_key, ca);
	check_pair(
		checks, "router certificate", config->router_certificate, config->router_key, ca);
	check_pair(checks, "replicator certificate", config->replicator_certificate,
		config->replicator_key, ca);
	check_pair(
		checks, "public certificate", config->public_certificate, config->public_key, NULL);
	if (access(config->data_dir, W_OK) == 0)
		checks_note(checks, VERDICT_GOOD, "data_dir", "%s", config->data_dir);
	else
		checks_note(checks, VERDICT_WARN, "data_dir",
			"cannot be written from here: right for an operator's machine, else make "
			"it");
}

static void check_directory(struct command *command, struct checks *checks)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	if (directory_writer_open(&command->config, &command->writer, &error) < 0) {
		checks_note(checks, VERDICT_BAD, "directory", "%s", error.text);
		check_servers(checks, command);
		return;
	}
	if (directory_check_writable(command->writer, &error) < 0)
		checks_note(checks, VERDICT_BAD, "directory", "%s", error.text);
	else
		checks_note(checks, VERDICT_GOOD, "directory", "reachable and writable");
	check_servers(checks, command);
	if (directory_list(command->writer, LIST_DOMAINS, NULL, &result, &error) == 0 &&
		sql_rows(result) == 0)
		checks_note(checks, VERDICT_WARN, "domains",
			"none is served: `pando domain add DOMAIN`");
	sql_result_free(&result);
}

/* 0 when the cluster could be asked; the caller closes it and frees the answers. */
static int ask_cluster(struct command *command, struct checks *checks, struct cluster *cluster)
{
	unsigned count;
	/* With the directory away, as it was when it was last read. */
	int code = cluster_open_to_look(command, cluster);
	if (code != EXIT_DONE)
		return code;
	checks->cluster = cluster;
	code = filter_read(command, cluster, &checks->filter);
	if (code != EXIT_DONE)
		return code;
	checks->nodes = cluster_ask_nodes(cluster, "status", ASK_MS, &count);
	checks->kept = cluster_ask_nodes(cluster, "kept", ASK_MS, &count);
	checks->routers = cluster_ask_routers(cluster, "status", ASK_MS, &count);
	checks->replicators = cluster_ask_replicators(cluster, "status", ASK_MS, &count);
	return EXIT_DONE;
}

/* An exit code: whether it could be looked at all. */
static int look(struct command *command, struct checks *checks, struct cluster *cluster)
{
	bool is_partial = command_option(command, "site") || command_option(command, "node") ||
		command_option(command, "volume");
	if (!is_partial) {
		check_machine(checks, &command->config);
		check_directory(command, checks);
	}
	int code = ask_cluster(command, checks, cluster);
	if (code != EXIT_DONE && !is_partial) {
		checks_note(checks, VERDICT_BAD, "daemons",
			"they could not be asked, for the reason said on stderr");
		code = EXIT_DONE;
	} else if (code == EXIT_DONE) {
		check_daemons(checks);
		check_volumes(checks);
		if (!is_partial && command->writer)
			check_mailboxes(checks, command, cluster);
	}
	return code;
}

int check_run(struct command *command)
{
	bool json = command_json(command);
	struct cluster cluster = { 0 };
	struct checks checks = { .table = { 3, { "what", "result", "detail" }, { 0 } },
		.all = json || command_has(command, "all") };
	int code = look(command, &checks, &cluster);
	if (code == EXIT_DONE && (json || table_rows(&checks.table)))
		table_print(&checks.table, json, "");
	if (code == EXIT_DONE && checks.filter.site && checks.filter.is_vacant && !json)
		printf("%s\n", filter_empty_text(&checks.filter, ""));
	else if (code == EXIT_DONE && !checks.all && checks.failed + checks.warned > 0)
		printf("%u of %u checks failed, %u warn; the rest found nothing wrong: "
		       "`pando check --all` shows them\n",
			checks.failed, checks.good + checks.failed + checks.warned, checks.warned);
	else if (code == EXIT_DONE && !checks.all)
		printf("%u checks found nothing wrong: `pando check --all` shows them\n",
			checks.good);
	table_deinit(&checks.table);
	free((void *)(uintptr_t)checks.nodes);
	free((void *)(uintptr_t)checks.kept);
	free((void *)(uintptr_t)checks.routers);
	free((void *)(uintptr_t)checks.replicators);
	cluster_close(&cluster);
	return code != EXIT_DONE ? code : checks.failed ? EXIT_FAILED : EXIT_DONE;
}
