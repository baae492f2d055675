/* `pando check`: what is wrong on this machine and in the cluster, and what to do about it. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include "core/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct checks {
	struct table table;
	bool all; /* what is in order has its own lines too */
	unsigned good, failed;
};

enum verdict { VERDICT_GOOD, VERDICT_WARN, VERDICT_BAD };

static void note(struct checks *checks, const char *what, enum verdict verdict, const char *advice)
{
	static const char *const words[] = { "ok", "warn", "FAILED" };
	checks->good += verdict == VERDICT_GOOD;
	if (verdict == VERDICT_GOOD && !checks->all)
		return;
	table_add(&checks->table, what);
	table_add(&checks->table, words[verdict]);
	table_add(&checks->table, advice);
	checks->failed += verdict == VERDICT_BAD;
}

static void check_pair(struct checks *checks, const char *what, const char *certificate,
	const char *key, const char *ca)
{
	struct error error = { 0 };
	struct tls_context *tls = NULL;
	struct tls_options options = { certificate, key, ca, false, false, ca != NULL };
	if (!certificate[0] && !key[0])
		return;
	if (tls_context_create(&options, &tls, &error) < 0)
		note(checks, what, VERDICT_BAD, error.text);
	else
		note(checks, what, VERDICT_GOOD, certificate);
	tls_context_destroy(&tls);
}

static void check_machine(struct checks *checks, const struct config *config)
{
	const char *ca = config->cluster_ca[0] ? config->cluster_ca : NULL;
	note(checks, "configuration", VERDICT_GOOD, "every key is known and within its limits");
	if (!ca)
		note(checks, "cluster_ca", VERDICT_BAD,
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
		note(checks, "data_dir", VERDICT_GOOD, config->data_dir);
	else
		note(checks, "data_dir", VERDICT_WARN,
			"cannot be written from here: right for an operator's machine, else make "
			"it");
}

static void check_contents(struct command *command, struct checks *checks)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	if (directory_writer_open(&command->config, &command->writer, &error) < 0) {
		note(checks, "directory", VERDICT_BAD, error.text);
		return;
	}
	if (directory_check_writable(command->writer, &error) < 0)
		note(checks, "directory", VERDICT_BAD, error.text);
	else
		note(checks, "directory", VERDICT_GOOD, "reachable and writable");
	if (directory_list(command->writer, LIST_DOMAINS, NULL, &result, &error) == 0 &&
		sql_rows(result) == 0)
		note(checks, "domains", VERDICT_WARN, "none is served: `pando domain add DOMAIN`");
	sql_result_free(&result);
}

static bool has_copy_elsewhere(const struct cluster *cluster, const struct directory_volume *volume)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	for (unsigned i = 0; i < volume->replica_count && primary; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		if (node && node->site_id != primary->site_id)
			return true;
	}
	return false;
}

static void check_volumes(struct checks *checks, const struct cluster *cluster,
	const struct question *nodes, unsigned node_count)
{
	size_t position = 0;
	const struct directory_volume *volume;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		const struct json *primary = NULL;
		char what[96];
		snprintf(what, sizeof(what), "volume %s", volume->name);
		for (unsigned i = 0; i < node_count && !primary; i++) {
			const struct json *entry = status_volume(nodes[i].answer, volume->id);
			if (str_equal(json_text(entry, "role"), STR("primary")))
				primary = entry;
		}
		bool connected = true;
		unsigned peers = 0;
		uint64_t highest = 0;
		for (const struct json *peer = json_first(json_get(primary, "peers")); peer;
			peer = peer->next, peers++)
			connected = connected && json_true(peer, "connected");
		for (unsigned i = 0; i < node_count; i++) {
			uint64_t epoch =
				json_u64(status_volume(nodes[i].answer, volume->id), "epoch");
			highest = epoch > highest ? epoch : highest;
		}
		if (highest > volume->epoch)
			note(checks, what, VERDICT_BAD,
				"a copy has seen a later epoch than the directory, which is "
				"behind: "
				"see `pando volume list` and `pando failover VOLUME --dry-run`");
		else if (!primary)
			note(checks, what, VERDICT_BAD,
				"no node serves it: start its node, or `pando failover` to a "
				"replica");
		else if (volume->durability != DURABILITY_LOCAL &&
			!has_copy_elsewhere(cluster, volume))
			note(checks, what, VERDICT_BAD,
				"has no copy at another site, so all of its mail is at risk: see "
				"`pando volume show`");
		else if (!connected || peers < volume->replica_count)
			note(checks, what, VERDICT_BAD,
				"a replica is not connected: start its site's replicator, see "
				"`pando lag`");
		else
			note(checks, what, VERDICT_GOOD, "served and in contact with its replicas");
	}
}

/* A directory that is older than its volumes, as after a restore. */
static void check_ids(struct command *command, const struct cluster *cluster,
	struct checks *checks, const struct question *nodes, unsigned count)
{
	uint64_t last = 0;
	uint32_t volume_id = 0;
	uint64_t highest = status_highest_mailbox_id(nodes, count, &volume_id);
	struct error error = { 0 };
	struct buf advice = { 0 };
	if (directory_last_mailbox_id(command->writer, &last, &error) < 0) {
		note(checks, "mailbox numbers", VERDICT_BAD, error.text);
		return;
	}
	if (highest <= last) {
		note(checks, "mailbox numbers", VERDICT_GOOD,
			"the directory's next one is above all that volumes have seen");
		return;
	}
	const struct directory_volume *volume =
		directory_find_volume(cluster->directory, volume_id);
	buf_printf(&advice,
		"the directory's next one is %llu, and volume %s has seen %llu: the directory was "
		"restored, and what was added since is missing, see `pando audit`; `pando mailbox "
		"add` goes on above",
		(unsigned long long)last + 1, volume ? volume->name : "?",
		(unsigned long long)highest);
	note(checks, "mailbox numbers", VERDICT_WARN, buf_terminated(&advice));
	buf_deinit(&advice);
}

static void check_other(
	const struct cluster *cluster, struct checks *checks, const struct json *other)
{
	const struct directory_volume *volume =
		directory_find_volume(cluster->directory, (uint32_t)json_u64(other, "volume"));
	struct str address = json_text(other, "address"), made_for = json_text(other, "made_for");
	struct buf what = { 0 }, advice = { 0 };
	buf_printf(&what, "mailbox " STR_FORMAT, STR_ARG(address));
	buf_printf(&advice,
		"volume %s holds another mailbox under its number %llu, made for " STR_FORMAT
		" (messages: %llu), nobody is served: ",
		volume ? volume->name : "?", (unsigned long long)json_u64(other, "mailbox_id"),
		STR_ARG(made_for), (unsigned long long)json_u64(other, "messages"));
	if (str_equal_ignore_case(address, made_for))
		buf_printf(&advice, "`pando mailbox adopt " STR_FORMAT "`", STR_ARG(address));
	else
		buf_printf(&advice, "`pando mailbox remove " STR_FORMAT "`, then add it again",
			STR_ARG(address));
	note(checks, buf_terminated(&what), VERDICT_BAD, buf_terminated(&advice));
	buf_deinit(&what);
	buf_deinit(&advice);
}

static void check_marks(struct cluster *cluster, struct checks *checks)
{
	unsigned count = 0, others = 0;
	struct question *nodes = cluster_ask_nodes(cluster, "others", ASK_MS, &count);
	for (unsigned i = 0; i < count; i++)
		for (const struct json *other = json_first(json_get(nodes[i].answer, "mailboxes"));
			other; other = other->next, others++)
			check_other(cluster, checks, other);
	if (count > 0 && others == 0)
		note(checks, "mailboxes", VERDICT_GOOD,
			"each is the one that its volume holds under its number");
	free(nodes);
}

static void check_daemons(struct command *command, struct checks *checks)
{
	struct cluster cluster = { 0 };
	unsigned node_count = 0, router_count = 0, index = 0;
	size_t position = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	char what[96];
	if (cluster_open(command, &cluster) != EXIT_DONE) {
		note(checks, "daemons", VERDICT_BAD, "they could not be asked");
		return;
	}
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &node_count);
	struct question *routers = cluster_ask_routers(&cluster, "status", ASK_MS, &router_count);
	while ((node = directory_next_node(cluster.directory, &position)) != NULL) {
		const struct question *question = &nodes[index++];
		snprintf(what, sizeof(what), "node %s", node->name);
		note(checks, what, question->answer ? VERDICT_GOOD : VERDICT_BAD,
			question->answer ? node->control : question->error.text);
	}
	position = index = 0;
	while ((router = directory_next_router(cluster.directory, &position)) != NULL) {
		const struct question *question = &routers[index++];
		snprintf(what, sizeof(what), "router %s", router->name);
		note(checks, what, question->answer ? VERDICT_GOOD : VERDICT_BAD,
			question->answer ? router->control : question->error.text);
	}
	check_volumes(checks, &cluster, nodes, node_count);
	check_ids(command, &cluster, checks, nodes, node_count);
	check_marks(&cluster, checks);
	free(nodes);
	free(routers);
	cluster_close(&cluster);
}

int check_run(struct command *command)
{
	bool json = command_json(command);
	struct checks checks = { .table = { 3, { "what", "result", "detail" }, { 0 } },
		.all = json || command_has(command, "all") };
	check_machine(&checks, &command->config);
	check_contents(command, &checks);
	if (command->writer)
		check_daemons(command, &checks);
	if (json || table_rows(&checks.table))
		table_print(&checks.table, json, "");
	if (!checks.all)
		printf("%u checks found nothing wrong: `pando check --all` shows them\n",
			checks.good);
	table_deinit(&checks.table);
	return checks.failed ? EXIT_FAILED : EXIT_DONE;
}
