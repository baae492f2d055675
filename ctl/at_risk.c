/* `pando at-risk`: what would be lost with the site that has it, message by message, and changes of
 * other kinds by mailbox. */

#include "core/map.h"
#include "ctl/filter.h"
#include "ctl/output.h"
#include "ctl/tails.h"
#include "ctl/unshipped.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct risks {
	const struct filter *filter;
	struct unshipped_names names;
	struct table table;
	/* Of the node that is looked at: volume and mailbox -> how many messages it lists. */
	struct map *listed;
	bool has_unread; /* nobody has looked through all that no other site is known to have */
};

struct listed_key {
	uint64_t volume_id, mailbox_id;
};

static struct str key_of(const struct listed_key *key)
{
	return str_of(key, sizeof(*key));
}

static uint64_t count_listed(const struct risks *risks, const struct listed_key *key)
{
	return (uintptr_t)map_get(risks->listed, key_of(key));
}

static void count_one(struct risks *risks, const struct listed_key *key)
{
	map_set(risks->listed, key_of(key), (void *)(uintptr_t)(count_listed(risks, key) + 1));
}

/* `entry` is of a message. Under mailbox 0 stand those of all. */
static void note_listed(struct risks *risks, const struct json *entry)
{
	uint64_t volume_id = json_u64(entry, "volume");
	count_one(risks, &(struct listed_key){ volume_id, json_u64(entry, "mailbox_id") });
	count_one(risks, &(struct listed_key){ volume_id, 0 });
}

/* `kind` NULL: a message by itself; else so many of it. */
static void add_row(struct risks *risks, const char *where, const char *volume,
	const struct json *entry, const struct unshipped_kind *kind, uint64_t count)
{
	struct buf name = { 0 };
	if (json_u64(entry, "mailbox_id") || json_text(entry, "made_for").length)
		unshipped_append_name(&risks->names, entry, &name);
	table_add(&risks->table, where);
	table_add(&risks->table, volume);
	table_add_str(&risks->table, buf_str(&name));
	table_add_str(&risks->table, json_text(entry, "uid"));
	table_add_str(&risks->table, json_text(entry, "delivery_id"));
	table_add_str(&risks->table, json_text(entry, "lsn"));
	table_add_str(&risks->table, json_text(entry, "since"));
	table_add(&risks->table, kind ? kind->one : "message");
	table_addf(&risks->table, "%llu", (unsigned long long)count);
	buf_deinit(&name);
}

/* The volume's name, or NULL where the filter leaves it out. */
static const char *wanted_volume(const struct risks *risks, const struct json *entry)
{
	const struct directory_volume *volume = directory_find_volume(
		risks->filter->cluster->directory, (uint32_t)json_u64(entry, "volume"));
	if (!volume)
		return "?";
	return filter_has_volume(risks->filter, volume) ? volume->name : NULL;
}

/* Messages that were accepted at risk have their own rows. Others wait for no site (`local`), or
 * are more than are listed. */
static void add_changes_of(struct risks *risks, const char *where, const char *volume,
	const struct json *mailbox, uint64_t listed)
{
	for (unsigned i = 0; i < UNSHIPPED_KINDS; i++) {
		bool is_listed = strcmp(unshipped_kinds[i].member, "messages") == 0;
		uint64_t count = json_u64(mailbox, unshipped_kinds[i].member);
		uint64_t known = is_listed ? listed : 0;
		if (count > known)
			add_row(risks, where, volume, mailbox, &unshipped_kinds[i], count - known);
	}
}

static void add_changes(
	struct risks *risks, const char *where, const char *volume, const struct json *changes)
{
	uint64_t claimed = 0;
	for (const struct json *mailbox = json_first(json_get(changes, "mailboxes")); mailbox;
		mailbox = mailbox->next) {
		struct listed_key key = { json_u64(changes, "volume"),
			json_u64(mailbox, "mailbox_id") };
		uint64_t listed = count_listed(risks, &key);
		/* Last, and under 0, come those that have no entry of their own. */
		if (key.mailbox_id == 0)
			listed -= claimed;
		claimed += listed;
		add_changes_of(risks, where, volume, mailbox, listed);
	}
	if (json_u64(changes, "unread_bytes") == 0)
		return;
	risks->has_unread = true;
	command_complain("volume %s has %llu bytes more that no other site is known to have, "
			 "which nobody has looked through: see `pando lag`",
		volume, (unsigned long long)json_u64(changes, "unread_bytes"));
}

static void add_of_node(struct risks *risks, const char *where, const struct json *answer)
{
	const char *volume;
	risks->listed = map_create();
	for (const struct json *message = json_first(json_get(answer, "messages")); message;
		message = message->next)
		if ((volume = wanted_volume(risks, message)) != NULL) {
			note_listed(risks, message);
			add_row(risks, where, volume, message, NULL, 1);
		}
	for (const struct json *changes = json_first(json_get(answer, "changes")); changes;
		changes = changes->next)
		if ((volume = wanted_volume(risks, changes)) != NULL)
			add_changes(risks, where, volume, changes);
	map_destroy(&risks->listed);
}

static void add_of_nodes(struct risks *risks, const struct question *nodes)
{
	size_t position = 0;
	const struct directory_node *node;
	for (; (node = directory_next_node(risks->filter->cluster->directory, &position)) != NULL;
		nodes++)
		if (filter_concerns_node(risks->filter, node))
			add_of_node(risks, node->name, nodes->answer);
}

/* What was cut off a log and has not come home: its disk may be the only one that has it. Which
 * messages those are, `pando salvage show` reads. */
static void add_tails(struct risks *risks, const struct question *nodes)
{
	static const struct unshipped_kind cut_off = { .one = "tail" };
	size_t position = 0;
	const struct directory_node *node;
	const char *volume;
	for (; (node = directory_next_node(risks->filter->cluster->directory, &position)) != NULL;
		nodes++) {
		if (!filter_concerns_node(risks->filter, node))
			continue;
		for (const struct json *tail = json_first(json_get(nodes->answer, "salvage")); tail;
			tail = tail->next)
			if (tail_is_open(tail) && (volume = wanted_volume(risks, tail)) != NULL)
				add_row(risks, node->name, volume, tail, &cut_off, 1);
	}
}

static void add_of_routers(struct risks *risks, const struct question *routers)
{
	size_t position = 0;
	const struct directory_router *router;
	for (; (router = directory_next_router(risks->filter->cluster->directory, &position)) !=
		NULL;
		routers++) {
		if (!filter_has_router(risks->filter, router))
			continue;
		for (const struct json *message = json_first(json_get(routers->answer, "messages"));
			message; message = message->next)
			add_row(risks, router->name, "queue", message, NULL, 1);
	}
}

/* Replicas at other sites than the primary's that follow, as the primary says. */
static unsigned followers_elsewhere(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct json *own = cluster_primary_of(cluster, nodes, volume);
	unsigned count = 0;
	for (unsigned i = 0; i < volume->replica_count && primary; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		const struct json *peer = node ? status_peer(own, node->name) : NULL;
		if (node && node->site_id != primary->site_id && !volume->replica_seeding[i] &&
			json_true(peer, "connected") && !json_true(peer, "stalled"))
			count++;
	}
	return count;
}

static bool is_any_seeding(const struct directory_volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replica_seeding[i])
			return true;
	return false;
}

/* Why all mail of a volume would be lost with one site; NULL: not all of it. */
static const char *why_all_at_risk(
	const struct cluster *cluster, const struct directory_volume *volume)
{
	if (volume->replica_count == 0)
		return "has no copy: all of its mail is at risk";
	if (cluster_has_copy_elsewhere(cluster, volume))
		return NULL;
	return is_any_seeding(volume)
		? "has no copy at another site yet: one is being filled, and all of its mail is at "
		  "risk until then, see `pando lag`"
		: "has copies at its own site only: all of its mail is at risk";
}

/* One whose messages no list tells of. */
static void add_volume(
	struct risks *risks, const struct directory_volume *volume, const struct json *own)
{
	static const struct unshipped_kind all_mail = { .one = "volume" };
	const struct directory_node *primary =
		directory_find_node(risks->filter->cluster->directory, volume->primary_node_id);
	add_row(risks, primary ? primary->name : "?", volume->name, NULL, &all_mail,
		json_u64(own, "messages"));
}

/* Names, on standard error, every volume of which all mail is at one site, or whose copies do not
 * follow, or may not. True when there is none. */
static bool tell_alone(struct risks *risks, const struct question *nodes)
{
	const struct cluster *cluster = risks->filter->cluster;
	size_t position = 0;
	const struct directory_volume *volume;
	bool good = true;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		if (!filter_has_volume(risks->filter, volume))
			continue;
		const struct json *own = cluster_primary_of(cluster, nodes, volume);
		const char *why = why_all_at_risk(cluster, volume);
		if (why)
			add_volume(risks, volume, own);
		else if (own == NULL)
			why = "is served by nobody who answers, so it is not known whether a copy "
			      "at another site follows: see `pando check`";
		else if (followers_elsewhere(cluster, nodes, volume) == 0)
			why = "has no copy at another site that follows: see `pando lag`";
		if (why)
			command_complain("volume %s %s", volume->name, why);
		good = good && !why;
	}
	return good;
}

int at_risk_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct filter filter;
	struct risks risks = { .filter = &filter,
		.table = { 9,
			{ "where", "volume", "mailbox", "#uid", "delivery_id", "#lsn", "since",
				"what", "#count" },
			{ 0 } } };
	unsigned count;
	int code = filter_open(command, &cluster, &filter);
	if (code != EXIT_DONE)
		return code;
	risks.names.writer = command->writer;
	struct question *nodes = cluster_ask_nodes(&cluster, "at-risk", ASK_MS, &count);
	struct question *routers = cluster_ask_routers(&cluster, "at-risk", ASK_MS, &count);
	struct question *states = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	struct question *tails = cluster_ask_nodes(&cluster, "salvage", ASK_MS, &count);
	add_of_nodes(&risks, nodes);
	add_of_routers(&risks, routers);
	add_tails(&risks, tails);
	bool all = filter_tell_silent_nodes(&filter, nodes);
	all = filter_tell_silent_routers(&filter, routers) && all;
	bool elsewhere = tell_alone(&risks, states);
	table_print(&risks.table, command_json(command),
		filter_empty_text(&filter,
			!all ? "nothing is at risk on the daemons that answer"
				: risks.has_unread
				? "no message is listed, but see above what nobody has looked "
				  "through"
				: elsewhere ? "nothing is at risk: every accepted message is on a "
					      "second site"
					    : "no message waits for a copy, but see above what has "
					      "none at another site"));
	table_deinit(&risks.table);
	unshipped_names_deinit(&risks.names);
	free(tails);
	free(states);
	free(nodes);
	free(routers);
	cluster_close(&cluster);
	return all && elsewhere && !risks.has_unread ? EXIT_DONE : EXIT_FAILED;
}
