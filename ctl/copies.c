/* The copies of a volume that is there: adding, removing, filling anew, comparing. */

#include "ctl/copies.h"

#include "core/clock.h"
#include "ctl/filling.h"
#include "ctl/leave.h"
#include "ctl/tails.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Within this a living node has heard of a change, and a replica in step has confirmed what
	 * its primary had when it was asked. */
	SETTLE_MS = 5000,
	SETTLE_LOOK_MS = 50,
	/* What a filling leaves free on a disk (ROOM_KEPT_BYTES of replicator/room.c), and as much
	 * again for the index. */
	SPARE_MIB = 64,
};

/* What a command is about. */
struct subject {
	struct command *command;
	struct cluster cluster;
	const struct directory_volume *volume;
	const struct directory_node *node; /* NULL: of all copies */
	struct question *nodes;            /* their `status` */
	const struct json *primary;        /* what the primary says; NULL: it does not serve */
};

static void subject_deinit(struct subject *subject)
{
	free(subject->nodes);
	cluster_close(&subject->cluster);
}

static void ask_nodes(struct subject *subject)
{
	unsigned count;
	free(subject->nodes);
	subject->nodes = cluster_ask_nodes(&subject->cluster, "status", ASK_MS, &count);
	subject->primary =
		cluster_primary_of(&subject->cluster, subject->nodes, subject->volume);
}

/* The cluster as it is now; `node` may be NULL. 0 or an exit code with the sentence printed: the
 * subject is to be deinitialised then too. */
static int subject_open(
	struct subject *subject, struct command *command, const char *volume, const char *node)
{
	*subject = (struct subject){ .command = command };
	int code = cluster_open(command, &subject->cluster);
	if (code != EXIT_DONE)
		return code;
	subject->volume = cluster_find_volume(&subject->cluster, volume);
	if (!subject->volume)
		return cluster_no_such(&subject->cluster, "volume", volume);
	if (node)
		subject->node = directory_find_node_by_name(
			subject->cluster.directory, str_from(node));
	if (node && !subject->node)
		return cluster_no_such(&subject->cluster, "node", node);
	ask_nodes(subject);
	return EXIT_DONE;
}

static int subject_read_again(struct subject *subject)
{
	char volume[64], node[64] = "";
	snprintf(volume, sizeof(volume), "%s", subject->volume->name);
	if (subject->node)
		snprintf(node, sizeof(node), "%s", subject->node->name);
	struct command *command = subject->command;
	subject_deinit(subject);
	return subject_open(subject, command, volume, node[0] ? node : NULL);
}

/* Runs one of the commands below on what its words name. */
static int run(struct command *command, int (*act)(struct subject *subject))
{
	struct subject subject;
	int code = subject_open(&subject, command, command->positionals[0],
		command->positional_count > 1 ? command->positionals[1] : NULL);
	if (code == EXIT_DONE)
		code = act(&subject);
	subject_deinit(&subject);
	return code;
}

static int replica_index(const struct directory_volume *volume, uint32_t node_id)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replica_node_ids[i] == node_id)
			return (int)i;
	return -1;
}

static bool is_seeding(const struct subject *subject)
{
	int at = replica_index(subject->volume, subject->node->id);
	return at >= 0 && subject->volume->replica_seeding[at];
}

static int take_volume(struct subject *subject, const char *verb)
{
	char doing[192];
	snprintf(doing, sizeof(doing), "%s %s %s", verb, subject->volume->name,
		subject->node ? subject->node->name : "");
	return cluster_take_volume(subject->command, subject->volume, doing);
}

static struct copy_change change_of(const struct subject *subject)
{
	return (struct copy_change){ .volume = subject->volume->name,
		.node = subject->node->name,
		.uid_slacks = json_u64(subject->primary, "uid_slacks_wanted") };
}

/* ---- how far it is ---- */

unsigned copy_percent(const struct json *primary, const struct json *peer)
{
	return filling_percent(json_u64(peer, "acked_lsn"), json_u64(primary, "durable_lsn"));
}

bool copy_is_known(const struct json *peer)
{
	return json_u64(peer, "acked_lsn") > 0 &&
		!str_equal(json_text(peer, "chain"), STR("diverged"));
}

bool copy_is_stale(const struct directory_volume *volume, const struct json *peer)
{
	uint64_t acked = json_u64(peer, "acked_lsn");
	/* What it has of a later epoch goes on behind that place. */
	bool is_past = volume->freed_epoch < volume->epoch && acked > volume->epoch_start_lsn;
	return copy_is_known(peer) && !json_true(peer, "seeding") && !is_past &&
		acked < volume->freed_lsn;
}

static void look_at_filling(const struct subject *subject, struct filling *filling)
{
	const struct json *peer = status_peer(subject->primary, subject->node->name);
	filling_note(filling, json_u64(peer, "acked_lsn"),
		json_u64(subject->primary, "durable_lsn"));
	filling_draw(filling, json_true(peer, "connected") ? NULL : subject->node->name);
}

static void print_state(const struct subject *subject, const char *state, uint64_t took_ms)
{
	struct table table = { 7,
		{ "volume", "node", "state", "#percent", "#bytes", "#of_bytes", "#took_ms" },
		{ 0 } };
	const struct json *peer = status_peer(subject->primary, subject->node->name);
	table_add(&table, subject->volume->name);
	table_add(&table, subject->node->name);
	table_add(&table, state);
	table_addf(&table, "%u", subject->primary ? copy_percent(subject->primary, peer) : 0);
	table_addf(&table, "%llu", (unsigned long long)json_u64(peer, "acked_lsn"));
	table_addf(&table, "%llu",
		(unsigned long long)json_u64(subject->primary, "durable_lsn"));
	table_addf(&table, "%llu", (unsigned long long)took_ms);
	table_print(&table, true, "");
	table_deinit(&table);
}

/* Until the copy counts, or it is interrupted: the filling goes on all the same. */
static int wait_filled(struct subject *subject)
{
	struct filling filling;
	filling_begin(&filling, command_json(subject->command));
	/* With the connection the volume is let go of: filling may take hours, and a failover is
	 * not to wait for it. */
	directory_writer_close(&subject->command->writer);
	int code = EXIT_DONE;
	while (code == EXIT_DONE && is_seeding(subject) && !filling_is_interrupted()) {
		look_at_filling(subject, &filling);
		clock_sleep_ms(FILL_LOOK_MS);
		if (!filling_is_interrupted())
			code = subject_read_again(subject);
	}
	filling_end(&filling);
	if (code != EXIT_DONE)
		return code;
	if (filling_is_interrupted() && is_seeding(subject)) {
		command_complain("the copy at %s goes on being filled: `pando copy add %s %s "
				 "--wait` shows how far it is, `pando copy remove %s %s` ends it",
			subject->node->name, subject->volume->name, subject->node->name,
			subject->volume->name, subject->node->name);
		return EXIT_FAILED;
	}
	if (replica_index(subject->volume, subject->node->id) < 0 &&
		subject->volume->primary_node_id != subject->node->id) {
		command_complain("%s holds no copy of volume %s any more: it was removed meanwhile",
			subject->node->name, subject->volume->name);
		return EXIT_FAILED;
	}
	if (command_json(subject->command))
		print_state(subject, "copy", filling_ms(&filling));
	else
		printf("%s is in step, and counts as a copy of volume %s\n", subject->node->name,
			subject->volume->name);
	return EXIT_DONE;
}

/* What was begun: goes on by itself. */
static int report_begun(struct subject *subject)
{
	int code = subject_read_again(subject);
	if (code != EXIT_DONE)
		return code;
	if (!cluster_answer_of(&subject->cluster, subject->nodes, subject->node->id))
		command_complain("%s does not answer: its copy is filled when pando-node and "
				 "pando-replicator run there",
			subject->node->name);
	if (command_has(subject->command, "wait"))
		return wait_filled(subject);
	if (command_json(subject->command))
		print_state(subject, is_seeding(subject) ? "seeding" : "copy", 0);
	else
		printf("%s is being filled with volume %s, and counts as a copy when it is in "
		       "step: `pando copy add %s %s --wait` shows how far it is\n",
			subject->node->name, subject->volume->name, subject->volume->name,
			subject->node->name);
	return EXIT_DONE;
}

/* ---- adding ---- */

static int refuse_unserved(const struct subject *subject)
{
	command_complain("volume %s is not served now, and a copy is filled by who serves it: see "
			 "`pando status`, and `pando check`",
		subject->volume->name);
	return EXIT_FAILED;
}

/* The disk there that has the volumes; NULL: it does not say. */
static const struct json *disk_of(const struct subject *subject)
{
	const struct json *answer =
		cluster_answer_of(&subject->cluster, subject->nodes, subject->node->id);
	const struct json *disk = json_first(json_get(answer, "disks"));
	while (disk && !str_equal(json_text(disk, "use"), STR("volumes")))
		disk = disk->next;
	return disk;
}

/* All that is shipped: also what no mailbox shows any more, and is kept, or not freed yet. */
static uint64_t filling_mib(const struct subject *subject)
{
	const struct json *home = subject->primary;
	uint64_t bytes = json_u64(home, "live_bytes") + json_u64(home, "kept_bytes") +
		json_u64(home, "dead_bytes");
	return (bytes >> 20) + SPARE_MIB;
}

/* A copy that cannot come to its end would be asked for for ever. `hint`: what to do about it. */
static int check_room(const struct subject *subject, const char *hint)
{
	const struct json *disk = disk_of(subject), *free_bytes = json_get(disk, "free_bytes");
	uint64_t free_mib = json_u64(disk, "free_bytes") >> 20, needed_mib = filling_mib(subject);
	if (!free_bytes)
		return EXIT_DONE; /* it does not say */
	if (json_true(disk, "read_only")) {
		command_complain("the disk of the volumes of %s is read-only: mend that first, %s",
			subject->node->name, hint);
		return EXIT_FAILED;
	}
	if (free_mib >= needed_mib)
		return EXIT_DONE;
	command_complain("%s has %llu MiB free on the disk of its volumes, and volume %s needs "
			 "%llu MiB there: make room first, %s",
		subject->node->name, (unsigned long long)free_mib, subject->volume->name,
		(unsigned long long)needed_mib, hint);
	return EXIT_FAILED;
}

static int add(struct subject *subject)
{
	struct error error = { 0 };
	if (cluster_holds(subject->volume, subject->node->id)) {
		if (is_seeding(subject))
			return report_begun(subject);
		if (command_json(subject->command))
			print_state(subject, "copy", 0);
		else
			printf("%s holds a copy of volume %s already: nothing was changed\n",
				subject->node->name, subject->volume->name);
		return EXIT_DONE;
	}
	if (!subject->primary)
		return refuse_unserved(subject);
	int code = check_room(subject, "or name another node");
	if (code == EXIT_DONE)
		code = take_volume(subject, "copy add");
	if (code != EXIT_DONE)
		return code;
	struct copy_change change = change_of(subject);
	int result = directory_add_copy(subject->command->writer, &change, &error);
	if (result < 0 && result != -EALREADY)
		return command_fail(&error);
	return report_begun(subject);
}

int copy_add(struct command *command)
{
	return run(command, add);
}

/* ---- removing ---- */

bool copy_is_in_step(const struct json *primary, const char *node)
{
	const struct json *peer = status_peer(primary, node);
	return json_true(peer, "connected") && !json_true(peer, "stalled") &&
		str_equal(json_text(peer, "chain"), STR("verified")) &&
		json_u64(peer, "lag_bytes") <= COPY_LAG_BYTES_MAX;
}

static int refuse_leaving(const struct buf *why)
{
	command_complain("nothing was changed: " STR_FORMAT, STR_ARG(buf_str(why)));
	return EXIT_FAILED;
}

/* Mail would still be at two sites without this copy; a copy that is in step may confirm what its
 * primary has in a moment. */
static bool may_leave(struct subject *subject, struct buf *why_out)
{
	uint64_t end = json_u64(subject->primary, "durable_lsn");
	uint64_t begun_us = clock_mono_us();
	/* Another log than the primary's counts for nothing as it is. */
	const struct json *peer = status_peer(subject->primary, subject->node->name);
	if (is_seeding(subject) || command_has(subject->command, "accept-one-copy") ||
		str_equal(json_text(peer, "chain"), STR("diverged")))
		return true;
	for (;;) {
		buf_clear(why_out);
		enum leave leave = leave_look(&subject->cluster, subject->nodes, subject->volume,
			subject->node, end, why_out);
		if (leave == LEAVE_MAY)
			return true;
		if (leave == LEAVE_NOT || clock_mono_us() - begun_us > LEAVE_MS_MAX * 1000u)
			break;
		clock_sleep_ms(LEAVE_LOOK_MS);
		ask_nodes(subject);
	}
	buf_append_literal(why_out, " (--accept-one-copy does it all the same)");
	return false;
}

/* What was cut off there comes home through the copy. */
static bool has_no_tails(struct subject *subject, struct buf *why_out)
{
	const char *volume = subject->volume->name, *node = subject->node->name;
	struct tails tails;
	tails_ask(subject->cluster.asker, subject->node->control, subject->volume->id, TAILS_MS_MAX,
		&tails);
	bool is_given_up = command_has(subject->command, "accept-one-copy");
	if (tails.found == TAILS_OPEN)
		buf_printf(why_out,
			"what was cut off volume %s at %s has not come home, and could not without "
			"the copy there: wait until `pando salvage list --node %s --volume %s` "
			"shows nothing open (`pando salvage show TAIL` says why it waits), or give "
			"it up with `pando salvage discard TAIL`",
			volume, node, node, volume);
	else if (tails.found == TAILS_NOT_TOLD)
		buf_printf(why_out,
			"%s lives and does not say whether something that was cut off volume %s "
			"there is still to come home (%s): run it again",
			node, volume, tails.error.text);
	else if (tails.found == TAILS_SILENT && !is_given_up)
		buf_printf(why_out,
			"%s does not answer: whether something that was cut off volume %s there is "
			"still to come home is not known (--accept-one-copy does it all the same)",
			node, volume);
	else
		return true;
	return false;
}

/* Once nobody else can change it: the volume is looked at anew. */
static int check_leaving(struct subject *subject)
{
	struct buf one_site = { 0 }, tails = { 0 };
	int code = subject_read_again(subject);
	if (code != EXIT_DONE)
		return code;
	bool may = may_leave(subject, &one_site);
	/* At last, and said first: nothing passes over it. */
	if (!has_no_tails(subject, &tails))
		code = refuse_leaving(&tails);
	else if (!may)
		code = refuse_leaving(&one_site);
	buf_deinit(&one_site);
	buf_deinit(&tails);
	return code;
}

static int refuse_primary(const struct subject *subject)
{
	command_complain("%s serves volume %s: move it first with `pando failover %s`",
		subject->node->name, subject->volume->name, subject->volume->name);
	return EXIT_FAILED;
}

/* So that a script that goes on finds it done. A node that is away lets go when it is back. */
static void wait_let_go(struct subject *subject)
{
	for (unsigned waited_ms = 0; waited_ms < SETTLE_MS; waited_ms += SETTLE_LOOK_MS) {
		ask_nodes(subject);
		const struct json *answer =
			cluster_answer_of(&subject->cluster, subject->nodes, subject->node->id);
		if (!status_volume(answer, subject->volume->id) &&
			!status_peer(subject->primary, subject->node->name))
			return;
		clock_sleep_ms(SETTLE_LOOK_MS);
	}
	command_complain("%s, or the primary, has not heard of it yet: see `pando status`",
		subject->node->name);
}

static int take_away(struct subject *subject)
{
	struct error error = { 0 };
	if (subject->volume->primary_node_id == subject->node->id)
		return refuse_primary(subject);
	if (!cluster_holds(subject->volume, subject->node->id)) {
		if (command_json(subject->command))
			print_state(subject, "none", 0);
		else
			printf("%s holds no copy of volume %s: nothing was changed\n",
				subject->node->name, subject->volume->name);
		return EXIT_DONE;
	}
	int code = take_volume(subject, "copy remove");
	if (code == EXIT_DONE)
		code = check_leaving(subject);
	if (code != EXIT_DONE)
		return code;
	struct copy_change change = change_of(subject);
	int result = directory_remove_copy(subject->command->writer, &change, &error);
	if (result < 0 && result != -ENOENT)
		return command_fail(&error);
	wait_let_go(subject);
	if (command_json(subject->command))
		print_state(subject, "none", 0);
	else
		printf("%s holds no copy of volume %s any more; its files stay there, in "
		       "volumes/%u of its data_dir, until they are deleted by hand or it gets "
		       "a copy anew\n",
			subject->node->name, subject->volume->name, subject->volume->id);
	return EXIT_DONE;
}

int copy_remove(struct command *command)
{
	return run(command, take_away);
}

/* ---- filling anew ---- */

/* What the primary has damaged, and no copy could mend, ends every filling. */
static int check_primary_whole(struct subject *subject)
{
	unsigned count;
	uint64_t unmended = 0;
	struct question *nodes = cluster_ask_nodes(&subject->cluster, "scrub", ASK_MS, &count);
	const struct json *answer =
		cluster_answer_of(&subject->cluster, nodes, subject->volume->primary_node_id);
	for (const struct json *copy = json_first(json_get(answer, "scrub")); copy;
		copy = copy->next)
		if (json_u64(copy, "volume") == subject->volume->id)
			unmended += json_u64(copy, "unmended");
	free(nodes);
	if (unmended == 0)
		return EXIT_DONE;
	command_complain(
		"the log of volume %s is damaged at its primary, and no copy had what stood "
		"there: a copy that is filled anew could not come past that, and the one "
		"at %s may have it. `pando scrub %s --report` names the messages",
		subject->volume->name, subject->node->name, subject->volume->name);
	return EXIT_FAILED;
}

static int reseed(struct subject *subject)
{
	struct error error = { 0 };
	if (subject->volume->primary_node_id == subject->node->id)
		return refuse_primary(subject);
	if (!cluster_holds(subject->volume, subject->node->id)) {
		command_complain(
			"%s holds no copy of volume %s: `pando copy add %s %s` gives it one",
			subject->node->name, subject->volume->name, subject->volume->name,
			subject->node->name);
		return EXIT_FAILED;
	}
	if (is_seeding(subject))
		return report_begun(subject);
	if (!subject->primary)
		return refuse_unserved(subject);
	int code = check_primary_whole(subject);
	/* What is there stays beside the new one until that counts. */
	if (code == EXIT_DONE)
		code = check_room(subject,
			"or let go of what is there (`pando copy remove`), delete its files, and "
			"add it again");
	if (code == EXIT_DONE)
		code = take_volume(subject, "copy reseed");
	if (code == EXIT_DONE)
		code = check_leaving(subject);
	if (code != EXIT_DONE)
		return code;
	struct copy_change change = change_of(subject);
	if (directory_reseed_copy(subject->command->writer, &change, &error) < 0)
		return command_fail(&error);
	return report_begun(subject);
}

int copy_reseed(struct command *command)
{
	return run(command, reseed);
}

/* ---- comparing ---- */

struct verdict_row {
	const char *result;
	bool is_good, is_final;
};

/* Of one copy, against where its primary ended when it was asked first. */
static struct verdict_row judge(const struct subject *subject, unsigned at, uint64_t end)
{
	const struct directory_node *node = directory_find_node(
		subject->cluster.directory, subject->volume->replica_node_ids[at]);
	const struct json *peer = node ? status_peer(subject->primary, node->name) : NULL;
	if (str_equal(json_text(peer, "chain"), STR("diverged")))
		return (struct verdict_row){ "differs", false, true };
	if (!json_true(peer, "connected"))
		return (struct verdict_row){ "not connected", false, false };
	if (str_equal(json_text(peer, "chain"), STR("verified")) &&
		json_u64(peer, "verified_lsn") >= end)
		return (struct verdict_row){ "equal", true, true };
	const char *words = subject->volume->replica_seeding[at] ? "being filled" : "behind";
	return (struct verdict_row){ words, false, false };
}

static bool is_asked(const struct subject *subject, unsigned at)
{
	return !subject->node || subject->volume->replica_node_ids[at] == subject->node->id;
}

static bool all_are_judged(const struct subject *subject, uint64_t end)
{
	bool all = true;
	for (unsigned i = 0; i < subject->volume->replica_count; i++)
		all = all && (!is_asked(subject, i) || judge(subject, i, end).is_final);
	return all;
}

static int print_verdicts(const struct subject *subject, uint64_t end)
{
	struct table table = { 5, { "volume", "node", "result", "#equal_up_to", "#primary_end" },
		{ 0 } };
	bool good = true;
	for (unsigned i = 0; i < subject->volume->replica_count; i++) {
		const struct directory_node *node = directory_find_node(
			subject->cluster.directory, subject->volume->replica_node_ids[i]);
		if (!node || !is_asked(subject, i))
			continue;
		struct verdict_row verdict = judge(subject, i, end);
		good = good && verdict.is_good;
		table_add(&table, subject->volume->name);
		table_add(&table, node->name);
		table_add(&table, verdict.result);
		table_add_str(&table,
			json_text(status_peer(subject->primary, node->name), "verified_lsn"));
		table_addf(&table, "%llu", (unsigned long long)end);
	}
	table_print(&table, command_json(subject->command), "the volume has one copy");
	if (!command_json(subject->command) && table_rows(&table) > 0)
		printf("\ncompared: the digests over the headers of all groups of the log, as "
		       "each copy has them; not the bytes of messages on its disk\n");
	table_deinit(&table);
	return good ? EXIT_DONE : EXIT_FAILED;
}

static int refuse_comparing(const struct subject *subject)
{
	command_complain("volume %s is not served now, and its copies are compared with who serves "
			 "it: see `pando status`, and `pando check`",
		subject->volume->name);
	return EXIT_FAILED;
}

static int verify(struct subject *subject)
{
	if (!subject->primary)
		return refuse_comparing(subject);
	if (subject->node && subject->volume->primary_node_id == subject->node->id) {
		command_complain("%s serves volume %s, and the others are compared with it: leave "
				 "it out",
			subject->node->name, subject->volume->name);
		return EXIT_FAILED;
	}
	if (subject->node && !cluster_holds(subject->volume, subject->node->id)) {
		command_complain("%s holds no copy of volume %s: see `pando lag --volume %s`",
			subject->node->name, subject->volume->name, subject->volume->name);
		return EXIT_FAILED;
	}
	/* Every acknowledgement up to there is compared as it comes. */
	uint64_t end = json_u64(subject->primary, "durable_lsn");
	for (unsigned waited_ms = 0; waited_ms < SETTLE_MS && !all_are_judged(subject, end);
		waited_ms += SETTLE_LOOK_MS) {
		clock_sleep_ms(SETTLE_LOOK_MS);
		ask_nodes(subject);
	}
	if (!subject->primary)
		return refuse_comparing(subject);
	return print_verdicts(subject, end);
}

int copy_verify(struct command *command)
{
	return run(command, verify);
}
