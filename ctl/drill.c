/* `pando restore --drill`: restores all of a set into a scratch folder, reads every message of it,
 * and compares it with what the living cluster gives. */

#include "ctl/drill.h"

#include "core/clock.h"
#include "ctl/backup/unpack.h"
#include "ctl/backup/view.h"

/* ---- one volume after the other ---- */

static bool on_unpacked(void *arg, uint64_t done, uint64_t total)
{
	restore_show(arg, "MiB unpacked", done >> 20, total >> 20);
	return true;
}

static bool on_replayed(void *arg, uint64_t done, uint64_t total)
{
	restore_show(arg, "MiB replayed", done >> 20, total >> 20);
	return true;
}

static void count_messages(struct drill_volume *volume, const struct view *view)
{
	struct view_mailbox mailbox;
	struct view_folder folder;
	for (size_t position = 0; view_next_mailbox(view, &position, &mailbox);) {
		volume->mailboxes++;
		for (uint32_t at = 0; view_next_folder(&mailbox, &at, &folder);)
			volume->messages += folder.message_count;
	}
}

static int restore_volume(struct drill *drill, struct drill_volume *volume, const char *folder,
	struct view **view_out, struct error *error)
{
	struct restore *restore = &drill->restore;
	uint64_t begun_us = clock_mono_us();
	int result = unpack_volume(restore->chain, restore->chain_count, volume->volume->id,
		&restore->secret, folder, on_unpacked, restore, error);
	uint64_t unpacked_us = clock_mono_us();
	volume->unpack_us = unpacked_us - begun_us;
	if (result == 0)
		result = view_open(folder, volume->volume->id, volume->volume->to, on_replayed,
			restore, view_out, error);
	volume->replay_us = clock_mono_us() - unpacked_us;
	return result;
}

static void drill_volume(struct drill *drill, struct drill_volume *volume)
{
	struct restore *restore = &drill->restore;
	struct view *view = NULL;
	struct error error = { 0 };
	int result = restore_volume(drill, volume, restore_path(restore, "volume"), &view, &error);
	uint64_t begun_us = clock_mono_us();
	if (result == 0) {
		count_messages(volume, view);
		drill_walk(drill, volume, view);
	}
	volume->read_us = clock_mono_us() - begun_us;
	view_close(&view);
	if (result < 0)
		volume->failure = pool_copy_terminated(restore->pool, str_from(error.text));
	if (scratch_remove(restore->scratch, "volume", &error) < 0)
		(void)command_fail(&error);
}

static void drill_directory(struct drill *drill)
{
	struct restore *restore = &drill->restore;
	const char *path = restore_path(restore, "directory.sqlite");
	struct sql_result *rows = NULL;
	struct sql *sql = NULL;
	struct error error = { 0 };
	int result = unpack_directory(restore->set, &restore->secret, path, &error);
	if (result == 0)
		result = sql_open_file(path, false, &sql, &error);
	if (result == 0)
		result = sql_query(sql, "select count(*) from mailbox", NULL, 0, &rows, &error);
	if (result == 0)
		drill->known_mailboxes = sql_value_u64(rows, 0, 0);
	else
		drill->directory_failure =
			pool_copy_terminated(restore->pool, str_from(error.text));
	sql_result_free(&rows);
	sql_close(&sql);
}

/* ---- the command ---- */

static int read_options(struct drill *drill, struct command *command)
{
	const char *sample = command_option(command, "sample");
	uint64_t percent = 100;
	if (sample && (!str_to_u64(str_from(sample), 100, &percent) || percent == 0))
		return command_usage(command, "--sample wants a percentage, 1 to 100");
	drill->percent = (unsigned)percent;
	return EXIT_DONE;
}

static int open_all(struct drill *drill, struct command *command)
{
	struct restore *restore = &drill->restore;
	struct error error = { 0 };
	int code = restore_open_sets(command, restore);
	if (code == EXIT_DONE)
		code = restore_open_scratch(restore, restore_room(restore));
	if (code == EXIT_DONE)
		code = command_report(drill_report_open(drill, &error), &error);
	if (code == EXIT_DONE)
		code = restore_open_cluster(restore);
	if (code == EXIT_DONE)
		code = command_report(living_way_open(&command->config, restore->cluster.directory,
					      &drill->way, &error),
			&error);
	return code;
}

int restore_drill(struct command *command)
{
	struct drill drill = { 0 };
	drill.restore.command = command;
	int code = read_options(&drill, command);
	if (code == EXIT_DONE)
		code = open_all(&drill, command);
	if (code == EXIT_DONE) {
		const struct backup_set *set = drill.restore.set;
		drill.volumes = pool_alloc(
			drill.restore.pool, (set->volume_count + 1) * sizeof(*drill.volumes));
		drill_directory(&drill);
		for (unsigned i = 0; i < set->volume_count; i++) {
			drill.volumes[i] = (struct drill_volume){ .volume = &set->volumes[i] };
			drill_volume(&drill, &drill.volumes[i]);
		}
		restore_wipe(&drill.restore);
		code = drill_report(&drill);
	}
	drill_report_drop(&drill);
	buf_deinit(&drill.problems);
	buf_deinit(&drill.problems_json);
	living_way_close(&drill.way);
	restore_close(&drill.restore);
	return code;
}
