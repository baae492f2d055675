/* `pando backup`: the directory at one revision, then every volume's log up to where it ended at
 * one moment after that, or later. So what a volume holds is of a mailbox that the directory has,
 * or of one that was added since: never the other way round. */

#include "ctl/backup/take.h"

#include "ctl/backup/whose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int seal_directory(struct taking *taking, struct str bytes, struct error *error)
{
	struct backup_set *set = &taking->set;
	struct seal_writer *writer = NULL;
	struct str path = pool_printf(taking->pool, "%s/%s", set->folder, set->directory.name);
	int code = seal_create(
		pool_copy_terminated(taking->pool, path), &set->recipient, &writer, error);
	if (code == 0)
		code = seal_write(writer, bytes, error);
	if (code == 0)
		code = seal_finish(&writer, &set->directory.sealed, error);
	seal_abandon(&writer);
	return code;
}

static int take_directory(struct taking *taking, struct error *error)
{
	struct bytes *file = NULL;
	taking->set.directory.name = "directory.pbk";
	int code = directory_export(
		taking->command->writer, &file, &taking->set.directory_revision, error);
	if (code == 0)
		code = seal_directory(taking, bytes_str(file), error);
	bytes_unref(&file);
	return code;
}

static int take_volumes(struct taking *taking, struct error *error)
{
	struct backup_set *set = &taking->set;
	int code = 0;
	filling_start(&taking->filling, command_json(taking->command));
	for (unsigned i = 0; i < set->volume_count; i++) {
		const struct wanted *wanted = &taking->wanted[i];
		uint64_t from = wanted->before ? wanted->before->to : 0;
		taking->total += wanted->end > from ? wanted->end - from : 0;
	}
	for (unsigned i = 0; code == 0 && i < set->volume_count; i++) {
		take_renew_ends(taking, i);
		code = take_volume(taking, &taking->wanted[i], &set->volumes[i], error);
	}
	if (code == 0)
		take_draw(taking, "all volumes", true);
	filling_end(&taking->filling);
	return code;
}

/* The set's folder is there. Without its last file, which backup_set_write writes, it counts for
 * nothing. */
static int fill_set(struct taking *taking)
{
	struct error error = { 0 };
	if (take_directory(taking, &error) < 0)
		return command_fail(&error);
	int code = take_find_ends(taking);
	if (code != EXIT_DONE)
		return code;
	/* Reading may take hours: nobody's session is held for it. */
	directory_writer_close(&taking->command->writer);
	if (take_volumes(taking, &error) < 0 || backup_set_write(&taking->set, &error) < 0)
		return command_fail(&error);
	return take_report(taking);
}

static int open_all(struct taking *taking)
{
	struct error error = { 0 };
	if (backup_name_cluster(&taking->command->config, taking->pool, &taking->set.cluster,
		    &error) < 0 ||
		fetcher_create(&taking->command->config, &taking->fetcher, &error) < 0)
		return command_fail(&error);
	int code = command_open_directory(taking->command);
	return code == EXIT_DONE ? take_open_target(taking) : code;
}

int backup_take(struct command *command)
{
	struct taking taking = { .command = command, .dir = -1 };
	if (!command_option(command, "to"))
		return command_usage(command, "--to says in which folder the backup is to be");
	taking.pool = pool_create();
	int code = open_all(&taking);
	if (code == EXIT_DONE)
		code = fill_set(&taking);
	cluster_close(&taking.cluster);
	fetcher_destroy(&taking.fetcher);
	if (taking.dir >= 0)
		close(taking.dir);
	pool_destroy(&taking.pool);
	return code;
}
