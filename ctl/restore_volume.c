/*
 * `pando restore --volume`: a volume's log as a backup has it becomes the copy of this machine's
 * node, where no copy of it can be served any more.
 *
 * The log is unpacked beside the volumes first, which may take hours, without a session in the
 * directory: its server would end one that says nothing. Then the volume is taken, all is looked at
 * once more, and what stood there is set aside, as a copy that was replaced is: what it had more
 * comes home as a tail. Then the directory gets a new epoch, far enough above all that are known
 * that no UID is given again which was given after the backup, and the opening that the restored
 * log ends with. Then the log comes into its place. Whoever is killed in between runs it again: a
 * volume that was served waits where it finds no log.
 */

#include "ctl/restore.h"

#include "core/clock.h"
#include "core/rand.h"
#include "ctl/backup/place.h"
#include "ctl/backup/unpack.h"
#include "ctl/backup/volume_file.h"
#include "ctl/filling.h"
#include "ctl/interrupt.h"
#include "ctl/output.h"
#include "ctl/position.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* A server that is restarted is back by then, or another one has taken its place. */
	ANSWER_MS = 15000,
	ANSWER_LOOK_MS = 500,
};

struct restoring {
	struct restore restore;
	const struct directory_volume *volume;
	const struct directory_node *node; /* of this machine */
	const struct backup_volume *backup;
	struct place place;
	struct epoch_entry last; /* of the unpacked log */
	/* Of the row when it was looked at. */
	uint64_t epoch_seen;
	uint8_t reign_seen[REIGN_LENGTH];
	struct filling filling;
	struct error error;
};

/* ---- looking ---- */

static int find_backup(struct restoring *restoring)
{
	const struct backup_set *set = restoring->restore.set;
	restoring->backup = backup_set_volume(set, restoring->volume->id);
	if (restoring->backup == NULL) {
		command_complain("the set %s has nothing of volume %s: `pando backup list` shows "
				 "which set has what",
			set->name, restoring->volume->name);
		return EXIT_FAILED;
	}
	if (restoring->backup->to == 0 && restoring->backup->problem[0]) {
		command_complain("the set %s has nothing of volume %s, as it could not be read "
				 "then: %s. `pando backup list` shows which set has more",
			set->name, restoring->volume->name, restoring->backup->problem);
		return EXIT_FAILED;
	}
	if (restore_say_short(&restoring->restore, restoring->backup) &&
		!command_has(restoring->restore.command, "set")) {
		command_complain("nothing was changed: say with --set which of the two");
		return EXIT_FAILED;
	}
	if (restoring->backup->to == 0) {
		command_complain("volume %s was empty at the moment of the set %s: there is "
				 "nothing to restore",
			restoring->volume->name, set->name);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* The key opens it, and what it says is there. */
static int try_set(struct restoring *restoring)
{
	const struct restore *restore = &restoring->restore;
	struct volume_source *source = NULL;
	struct bytes *bytes = NULL;
	struct error error = { 0 };
	uint64_t lsn;
	int result = volume_source_open(restore->chain, restore->chain_count,
		restoring->volume->id, &restore->secret, &source, &error);
	if (result == 0)
		result = volume_source_next(source, &bytes, &lsn, &error);
	bytes_unref(&bytes);
	volume_source_close(&source);
	return command_report(result, &error);
}

static int find_node(struct restoring *restoring)
{
	const char *name = restoring->restore.command->config.node;
	restoring->node = directory_find_node_by_name(
		restoring->restore.cluster.directory, str_from(name));
	if (restoring->node != NULL)
		return EXIT_DONE;
	command_complain("`node` of the configuration is %s, and the directory has no such node: "
			 "a volume is restored on the machine of the node that is to serve it",
		name[0] ? name : "empty");
	return EXIT_FAILED;
}

/* Else no failover chooses it without --accept-loss. */
static bool reaches_freed(const struct directory_volume *volume, const struct json *copy)
{
	struct position position = { .epoch = json_u64(copy, "epoch"),
		.end_lsn = json_u64(copy, "durable_lsn") };
	return position_reaches(&position, volume->freed_epoch, volume->freed_lsn);
}

/* Whoever could serve it has more than any backup; `why_out` stays empty where nobody can. */
static void look_at_copies(
	struct restoring *restoring, const struct question *nodes, struct buf *why_out)
{
	struct cluster *cluster = &restoring->restore.cluster;
	const struct directory_volume *volume = restoring->volume;
	const struct directory_node *node;
	size_t position = 0;
	while ((node = directory_next_node(cluster->directory, &position)) != NULL) {
		const struct json *answer = cluster_answer_of(cluster, nodes, node->id);
		const struct json *copy = status_volume(answer, volume->id);
		uint64_t end = json_u64(copy, "durable_lsn");
		if (node == restoring->node || !cluster_holds(volume, node->id))
			continue;
		buf_clear(why_out);
		if (answer == NULL)
			buf_printf(why_out,
				"%s could not be asked and may have more of volume %s: start it "
				"first, or pass it over with --accept-loss",
				node->name, volume->name);
		else if (end > 0 && json_true(copy, "is_whole") && !json_true(copy, "is_damaged"))
			buf_printf(why_out,
				"%s has a copy of volume %s, up to address %llu: `pando failover "
				"%s%s` serves it (--accept-loss restores all the same)",
				node->name, volume->name, (unsigned long long)end, volume->name,
				reaches_freed(volume, copy) ? "" : " --accept-loss");
		if (buf_length(why_out) > 0)
			return;
	}
}

/* Nothing of it is served, and nobody here is writing what is about to be replaced. */
static int look_at_daemons(struct restoring *restoring)
{
	unsigned count;
	size_t position = 0;
	struct buf why = { 0 };
	struct cluster *cluster = &restoring->restore.cluster;
	const struct directory_volume *volume = restoring->volume;
	const struct directory_node *node, *served_by = NULL;
	struct question *nodes = cluster_ask_nodes(cluster, "status", ASK_MS, &count);
	while ((node = directory_next_node(cluster->directory, &position)) != NULL) {
		const struct json *entry = status_volume(
			cluster_answer_of(cluster, nodes, node->id), volume->id);
		if (str_equal(json_text(entry, "role"), STR("primary")))
			served_by = node;
	}
	if (served_by != NULL)
		buf_printf(&why,
			"%s serves volume %s. Messages, folders and mailboxes come back with "
			"`pando restore --mailbox`",
			served_by->name, volume->name);
	else if (cluster_answer_of(cluster, nodes, restoring->node->id) != NULL)
		buf_printf(&why,
			"pando-node runs here. Stop it and pando-replicator first, and start them "
			"when the volume is restored");
	else if (!command_has(restoring->restore.command, "accept-loss"))
		look_at_copies(restoring, nodes, &why);
	free(nodes);
	bool is_fit = buf_length(&why) == 0;
	if (!is_fit)
		command_complain("nothing was changed: %s", buf_terminated(&why));
	buf_deinit(&why);
	return is_fit ? EXIT_DONE : EXIT_FAILED;
}

/* The lock says what no question can: a replicator alone may have the log open. */
static int open_place(struct restoring *restoring)
{
	struct error error = { 0 };
	/* From here on something stands on the disk that is to go when the command does. */
	interrupt_begin();
	if (place_open(&restoring->place, &restoring->restore.command->config,
		    restoring->volume->id, &error) == 0)
		return EXIT_DONE;
	command_complain("volume %s stays as it is: %s", restoring->volume->name, error.text);
	return EXIT_FAILED;
}

/* What stands here may be all that is needed. */
static int judge_place(struct restoring *restoring)
{
	uint64_t end;
	struct error error = { 0 };
	const char *name = restoring->volume->name;
	if (command_has(restoring->restore.command, "accept-loss"))
		return EXIT_DONE;
	int result = place_judge(&restoring->place, restoring->backup->to,
		restoring->backup->to_chain, &end, &error);
	if (result == -ENODATA)
		return EXIT_DONE;
	if (result < 0)
		command_complain("volume %s stays as it is: %s", name, error.text);
	else
		command_complain(
			"nothing was changed: the log of volume %s that stands here goes "
			"on from the backup and has a sound end, at address %llu (what "
			"lies before was not read): start pando-replicator and pando-node, "
			"and `pando check` says what it waits for (--accept-loss restores "
			"all the same)",
			name, (unsigned long long)end);
	return EXIT_FAILED;
}

/* ---- unpacking ---- */

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct restoring *restoring = arg;
	filling_note(&restoring->filling, done, total);
	filling_draw(&restoring->filling, NULL);
	return !interrupt_is_noted();
}

static int check_interrupt(struct restoring *restoring)
{
	return interrupt_is_noted()
		? error_set(&restoring->error, -EINTR,
			  "nothing was changed: the restore of volume %s was interrupted",
			  restoring->volume->name)
		: 0;
}

/* The log, and what it says of itself. */
static int unpack(struct restoring *restoring)
{
	const struct restore *restore = &restoring->restore;
	struct error *error = &restoring->error;
	int result = place_clear(&restoring->place, error);
	if (result < 0)
		return result;
	filling_start(&restoring->filling, command_json(restore->command));
	result = unpack_volume(restore->chain, restore->chain_count, restoring->volume->id,
		&restore->secret, buf_terminated(&restoring->place.unpacked), on_progress,
		restoring, error);
	filling_end(&restoring->filling);
	if (check_interrupt(restoring) < 0)
		return -EINTR;
	return result == 0 ? place_read_last(&restoring->place, &restoring->last, error) : result;
}

/* ---- the directory ---- */

static uint64_t higher(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static unsigned slot_of(const struct directory_volume *volume, uint32_t node_id)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replica_node_ids[i] == node_id)
			return volume->replica_slots[i];
	return volume->primary_slot;
}

/* What was begun, as far as log, backup and directory know, is counted from. */
static int choose_epoch(struct restoring *restoring, unsigned slot, uint64_t *epoch_out)
{
	const struct directory_volume *volume = restoring->volume;
	uint64_t begun = higher(higher(restoring->last.epoch, restoring->backup->epoch),
		incarnation_epoch(volume->incarnation));
	uint64_t above = higher(
		begun + epochs_restored(clock_wall_us() / 1000000), volume->epoch);
	*epoch_out = epochs_next(above, slot);
	if (*epoch_out <= EPOCH_MAX)
		return 0;
	return error_set(&restoring->error, -ERANGE,
		"volume %s was in epoch %llu, and a restored one passes over hundreds, of %d: its "
		"mail can be brought into another volume's mailboxes, by `pando restore --mailbox`",
		volume->name, (unsigned long long)higher(begun, volume->epoch), EPOCH_MAX);
}

static void add_other(
	struct restoring *restoring, uint32_t node_id, struct restoration *restoration)
{
	const struct directory_node *node =
		directory_find_node(restoring->restore.cluster.directory, node_id);
	if (node != NULL && node_id != restoring->node->id)
		restoration->others[restoration->other_count++] = node->name;
}

/* But for the epoch. */
static void describe(struct restoring *restoring, struct restoration *restoration)
{
	const struct directory_volume *volume = restoring->volume;
	*restoration = (struct restoration){ .volume = volume->name,
		.incarnation = restoring->last.incarnation,
		.promotion = { .volume_id = volume->id,
			.expected_epoch = restoring->epoch_seen,
			.primary_node_id = restoring->node->id,
			.epoch_start_lsn = restoring->backup->to,
			.from_epoch = PROMOTE_STALE } };
	memcpy(restoration->promotion.expected_reign, restoring->reign_seen, REIGN_LENGTH);
	rand_bytes(restoration->promotion.reign, REIGN_LENGTH);
	add_other(restoring, volume->primary_node_id, restoration);
	for (unsigned i = 0; i < volume->replica_count; i++)
		add_other(restoring, volume->replica_node_ids[i], restoration);
}

/* The copy of the node, which it may not have yet, has a number, and so a class of epochs. */
static int write_rows(struct restoring *restoring, struct restoration *restoration)
{
	unsigned slot;
	struct error *error = &restoring->error;
	struct directory_writer *writer = restoring->restore.command->writer;
	struct copy_change change = { .volume = restoring->volume->name,
		.node = restoring->node->name };
	int result = 0;
	if (!cluster_holds(restoring->volume, restoring->node->id))
		result = directory_add_copy(writer, &change, error);
	if (result == 0)
		result = directory_read_slot(writer, &change, &slot, error);
	if (result == 0)
		result = choose_epoch(restoring, slot, &restoration->promotion.epoch);
	if (result == 0)
		result = directory_restore_volume(writer, restoration, error);
	return result;
}

/* All of it or nothing. `*is_sent_out`: whatever the error, it may be there. */
static int write_directory(
	struct restoring *restoring, struct restoration *restoration, bool *is_sent_out)
{
	struct directory_writer *writer = restoring->restore.command->writer;
	*is_sent_out = false;
	int result = directory_begin(writer, &restoring->error);
	if (result < 0)
		return result;
	result = write_rows(restoring, restoration);
	if (result < 0) {
		directory_rollback(writer);
		return result;
	}
	*is_sent_out = true;
	return directory_commit(writer, &restoring->error);
}

/* On another connection: the answer to a commit is lost with its own. */
static int find_written(struct restoring *restoring, const struct restoration *restoration,
	bool *is_there_out, struct error *error)
{
	struct command *command = restoring->restore.command;
	uint64_t end_us = clock_mono_us() + ANSWER_MS * 1000u;
	int result;
	for (;;) {
		directory_writer_close(&command->writer);
		result = directory_writer_open(&command->config, &command->writer, error);
		if (result == 0)
			result = directory_find_restored(
				command->writer, restoration, is_there_out, error);
		if (result == 0 || clock_mono_us() > end_us)
			return result;
		clock_sleep_ms(ANSWER_LOOK_MS);
	}
}

/* The directory has named no epoch: what stood there may be served. */
static int put_back(struct restoring *restoring, const struct error *why)
{
	struct error error = { 0 };
	(void)command_fail(why);
	return place_put_back(&restoring->place, &error) < 0 ? command_fail(&error) : EXIT_FAILED;
}

/* What failed may have been written all the same. */
static int settle(struct restoring *restoring, const struct restoration *restoration, bool is_sent)
{
	bool is_there = false;
	struct error error = { 0 };
	if (is_sent && find_written(restoring, restoration, &is_there, &error) < 0) {
		bool is_aside = buf_length(&restoring->place.aside) > 0;
		command_complain("%s. Whether the directory has the restored volume %s is not "
				 "known (%s)%s%s: run the command again when the directory answers",
			restoring->error.text, restoring->volume->name, error.text,
			is_aside ? ", and what stood here is in " : "",
			is_aside ? buf_terminated(&restoring->place.aside) : "");
		return EXIT_FAILED;
	}
	return is_there ? EXIT_DONE : put_back(restoring, &restoring->error);
}

static int take_place(struct restoring *restoring)
{
	struct error why = { 0 };
	int result = place_take(&restoring->place, restoring->volume->primary_copy, &why);
	if (result == 0)
		return 0;
	return error_set(&restoring->error, result,
		"the directory has the restored volume %s, and its log is not in its place yet "
		"(%s): run the command again",
		restoring->volume->name, why.text);
}

static int read_again(struct restoring *restoring)
{
	char name[sizeof(restoring->volume->name)];
	memcpy(name, restoring->volume->name, sizeof(name));
	cluster_close(&restoring->restore.cluster);
	int code = cluster_open(restoring->restore.command, &restoring->restore.cluster);
	if (code != EXIT_DONE)
		return code;
	restoring->volume = cluster_find_volume(&restoring->restore.cluster, name);
	code = restoring->volume == NULL
		? cluster_no_such(&restoring->restore.cluster, "volume", name)
		: find_node(restoring);
	return code;
}

/* ---- the command ---- */

static void print_result(const struct restoring *restoring)
{
	struct table table = { 7,
		{ "volume", "node", "set", "#to", "#epoch", "set_aside", "#took_ms" }, { 0 } };
	table_add(&table, restoring->volume->name);
	table_add(&table, restoring->node->name);
	table_add(&table, restoring->restore.set->name);
	table_addf(&table, "%llu", (unsigned long long)restoring->backup->to);
	table_addf(&table, "%llu", (unsigned long long)restoring->volume->epoch);
	table_add_str(&table, buf_str(&restoring->place.aside));
	table_addf(&table, "%llu", (unsigned long long)filling_ms(&restoring->filling));
	table_print(&table, true, "");
	table_deinit(&table);
}

static void say_result(const struct restoring *restoring)
{
	if (command_json(restoring->restore.command)) {
		print_result(restoring);
		return;
	}
	printf("volume %s is restored at %s, as it was at the moment of the set %s\n",
		restoring->volume->name, restoring->node->name, restoring->restore.set->name);
	if (restoring->backup->problem[0])
		printf("that set is not of all mail of this volume: %s\n",
			restoring->backup->problem);
	if (buf_length(&restoring->place.aside) > 0)
		printf("what stood here is in " STR_FORMAT
		       ": what can be read of it and the backup lacks comes home by itself, then "
		       "it goes; what is too damaged for that stays, and `pando check` names it\n",
			STR_ARG(buf_str(&restoring->place.aside)));
	printf("start pando-replicator and pando-node: it is served within a minute%s\n",
		restoring->volume->replica_count > 0 ? ", and its other copies are filled" : "");
}

static void print_plan(const struct restoring *restoring)
{
	struct table table = { 5, { "volume", "node", "set", "#to", "?sets_aside" }, { 0 } };
	table_add(&table, restoring->volume->name);
	table_add(&table, restoring->node->name);
	table_add(&table, restoring->restore.set->name);
	table_addf(&table, "%llu", (unsigned long long)restoring->backup->to);
	table_add(&table, restoring->place.was_there ? "yes" : "no");
	table_print(&table, true, "");
	table_deinit(&table);
}

static int say_plan(const struct restoring *restoring)
{
	if (command_json(restoring->restore.command)) {
		print_plan(restoring);
		return EXIT_DONE;
	}
	printf("volume %s would be restored at %s from the set %s: %llu bytes of log, %s\n",
		restoring->volume->name, restoring->node->name, restoring->restore.set->name,
		(unsigned long long)restoring->backup->to,
		restoring->place.was_there ? "and what stands here would be set aside"
				     : "and nothing stands here");
	return EXIT_DONE;
}

/* Unpacking may have taken hours. */
static int look_again(struct restoring *restoring)
{
	uint64_t epoch;
	int code = read_again(restoring);
	const struct directory_volume *volume = restoring->volume;
	if (code == EXIT_DONE &&
		(volume->epoch != restoring->epoch_seen ||
			memcmp(volume->reign, restoring->reign_seen, REIGN_LENGTH) != 0)) {
		command_complain("nothing was changed: volume %s was moved or opened meanwhile: "
				 "see `pando status`",
			volume->name);
		return EXIT_FAILED;
	}
	if (code == EXIT_DONE)
		code = look_at_daemons(restoring);
	if (code == EXIT_DONE &&
		(choose_epoch(restoring, slot_of(volume, restoring->node->id), &epoch) < 0 ||
			check_interrupt(restoring) < 0))
		code = command_fail(&restoring->error);
	return code;
}

/* From here on nothing serves it, until its log has come into its place. */
static int replace(struct restoring *restoring)
{
	bool is_sent;
	int code = EXIT_DONE;
	struct restoration restoration;
	if (place_set_aside(&restoring->place, &restoring->error) < 0)
		return command_fail(&restoring->error);
	describe(restoring, &restoration);
	if (write_directory(restoring, &restoration, &is_sent) < 0)
		code = settle(restoring, &restoration, is_sent);
	if (code == EXIT_DONE)
		code = read_again(restoring);
	if (code == EXIT_DONE && take_place(restoring) < 0)
		code = command_fail(&restoring->error);
	return code;
}

/* As it was seen first: -ESTALE when it has been moved since. */
static int take_volume(struct restoring *restoring)
{
	char doing[192];
	struct command *command = restoring->restore.command;
	snprintf(doing, sizeof(doing), "restore %s", restoring->volume->name);
	int code = command_open_directory(command);
	return code == EXIT_DONE ? cluster_take_volume(command, restoring->volume, doing) : code;
}

static int restore(struct restoring *restoring)
{
	/* The server ends a session that has the volume, and may end any, while it says nothing. */
	directory_writer_close(&restoring->restore.command->writer);
	int code = unpack(restoring) < 0 ? command_fail(&restoring->error) : EXIT_DONE;
	if (code == EXIT_DONE)
		code = take_volume(restoring);
	if (code == EXIT_DONE)
		code = look_again(restoring);
	if (code == EXIT_DONE)
		code = replace(restoring);
	if (code == EXIT_DONE)
		say_result(restoring);
	return code;
}

static int look(struct restoring *restoring)
{
	const char *name = command_option(restoring->restore.command, "volume");
	restoring->volume = cluster_find_volume(&restoring->restore.cluster, name);
	if (restoring->volume == NULL)
		return cluster_no_such(&restoring->restore.cluster, "volume", name);
	restoring->epoch_seen = restoring->volume->epoch;
	memcpy(restoring->reign_seen, restoring->volume->reign, REIGN_LENGTH);
	int code = find_backup(restoring);
	if (code == EXIT_DONE)
		code = restore_check_cluster(&restoring->restore);
	if (code == EXIT_DONE)
		code = find_node(restoring);
	if (code == EXIT_DONE)
		code = look_at_daemons(restoring);
	if (code == EXIT_DONE)
		code = try_set(restoring);
	if (code == EXIT_DONE)
		code = open_place(restoring);
	return code == EXIT_DONE ? judge_place(restoring) : code;
}

static int run(struct restoring *restoring)
{
	int code = look(restoring);
	if (code != EXIT_DONE)
		return code;
	return command_has(restoring->restore.command, "dry-run") ? say_plan(restoring)
								  : restore(restoring);
}

int restore_lost_volume(struct command *command)
{
	struct restoring restoring = { 0 };
	int code = restore_open(command, &restoring.restore);
	if (code == EXIT_DONE)
		code = restore_open_cluster(&restoring.restore);
	if (code == EXIT_DONE)
		code = run(&restoring);
	place_close(&restoring.place);
	restore_close(&restoring.restore);
	/* What came too late to stop it is no reason to say that it failed. */
	if (code != EXIT_DONE)
		interrupt_obey();
	return code;
}
