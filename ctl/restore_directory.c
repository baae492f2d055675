/*
 * `pando restore --directory`: the directory as a backup has it becomes that of the configuration,
 * which has nothing yet. Every volume passes over epochs there (directory_raise_restored):
 * whichever way its log comes back, by `pando restore --volume` or as files that somebody copies,
 * it begins anew above all that may have been given since the backup.
 */

#include "ctl/restore.h"

#include "ctl/backup/file.h"
#include "ctl/backup/unpack.h"

#include "core/clock.h"

#include "proto/disk/epochs.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct restoring {
	struct restore restore;
	struct buf file, folder; /* of a standalone cluster */
	const char *unpacked;
	bool is_file;
	size_t rows;
	struct error error;
};

/* A journal of a file that is gone would be taken for one of the file that comes in its place. */
static int look_for_files(struct restoring *restoring)
{
	static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
	struct stat found;
	struct buf path = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < array_length(suffixes); i++) {
		buf_clear(&path);
		buf_printf(&path, STR_FORMAT "%s", STR_ARG(buf_str(&restoring->file)), suffixes[i]);
		if (lstat(buf_terminated(&path), &found) == 0)
			code = error_set(&restoring->error, -EEXIST,
				"nothing was changed: %s is there already. Stop the daemons, move "
				"it away, with what stands beside it under its name, and run this "
				"again",
				buf_terminated(&path));
	}
	buf_deinit(&path);
	return code;
}

/* What is there already may be the only one that knows what came since the backup. */
static int look(struct restoring *restoring)
{
	const struct config *config = &restoring->restore.command->config;
	struct buf memory = { 0 };
	if (restoring->is_file)
		return look_for_files(restoring);
	directory_server_memory(config, &memory);
	int code = directory_check_unused(
		config->directory, buf_terminated(&memory), &restoring->error);
	buf_deinit(&memory);
	return code;
}

static void name_files(struct restoring *restoring)
{
	const struct config *config = &restoring->restore.command->config;
	restoring->is_file = strcmp(config->directory, "standalone") == 0;
	directory_file_path(config, &restoring->file);
	ptrdiff_t slash = str_find_last_byte(buf_str(&restoring->file), '/');
	buf_append_str(&restoring->folder,
		str_first(buf_str(&restoring->file), slash > 0 ? (size_t)slash : 0));
}

/* As `pando init` makes them, which nobody has to run for this. */
static int make_folders(struct restoring *restoring)
{
	const char *const folders[] = { restoring->restore.command->config.data_dir,
		buf_terminated(&restoring->folder) };
	for (size_t i = 0; i < array_length(folders); i++)
		if (mkdir(folders[i], i == 0 ? 0755 : 0750) < 0 && errno != EEXIST)
			return error_set(&restoring->error, -errno, "%s cannot be made: %s",
				folders[i], strerror(errno));
	return 0;
}

/* On the disk where it gets its name; else wherever there is room. */
static int open_scratch(struct restoring *restoring)
{
	struct restore *restore = &restoring->restore;
	if (!restoring->is_file)
		return restore_open_scratch(restore, restore->set->directory.sealed.bytes);
	if (make_folders(restoring) < 0)
		return command_fail(&restoring->error);
	return restore_open_scratch_in(restore, buf_terminated(&restoring->folder));
}

/* Into the place of a standalone cluster's, which its daemons' account may write. */
static int put_file(struct restoring *restoring)
{
	const char *from = restoring->unpacked;
	const char *to = buf_terminated(&restoring->file);
	struct stat owner;
	int result = stat(buf_terminated(&restoring->folder), &owner) < 0 ? -errno : 0;
	if (result == 0 && geteuid() == 0 && chown(from, owner.st_uid, owner.st_gid) < 0)
		result = -errno;
	if (result == 0 && chmod(from, 0660) < 0)
		result = -errno;
	/* The name is taken by whoever comes first, and never replaced. */
	if (result == 0 && link(from, to) < 0)
		result = -errno;
	if (result == 0)
		return folder_sync(buf_terminated(&restoring->folder), &restoring->error);
	return error_set(&restoring->error, result, "%s: %s", to, strerror(-result));
}

static int put(struct restoring *restoring)
{
	struct error *error = &restoring->error;
	const char *path = restoring->unpacked;
	const char *conninfo = restoring->restore.command->config.directory;
	struct buf memory = { 0 };
	unsigned applied;
	/* A backup of an older version is brought up to date first. */
	int code = directory_init_file(path, &applied, error);
	uint64_t epochs = epochs_restored(clock_wall_us() / 1000000);
	if (code == 0)
		code = directory_raise_restored(path, (unsigned)epochs, EPOCH_MAX, error);
	if (code < 0 || restoring->is_file)
		return code < 0 ? code : put_file(restoring);
	directory_server_memory(&restoring->restore.command->config, &memory);
	code = directory_init_postgres(conninfo, buf_terminated(&memory), &applied, error);
	buf_deinit(&memory);
	if (code == 0)
		code = directory_move_to_postgres(path, conninfo, &restoring->rows, error);
	return code;
}

static void say_result(const struct restoring *restoring)
{
	printf("the directory is restored from the set %s: %u volumes\n",
		restoring->restore.set->name, restoring->restore.set->volume_count);
	printf("their logs come next: on the machine of each node, with its daemons stopped, "
	       "`pando restore --volume NAME` with the same set. A volume whose log is not brought "
	       "back waits, and `pando check` names it\n");
}

/* Its key opens the set. */
static int say_plan(struct restoring *restoring)
{
	const struct restore *restore = &restoring->restore;
	struct seal_reader *reader = NULL;
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", restore->set->folder, restore->set->directory.name);
	int result = seal_open(
		buf_terminated(&path), &restore->secret, &reader, &restoring->error);
	seal_close(&reader);
	buf_deinit(&path);
	if (result == 0)
		printf("the directory of the set %s would become that of the configuration\n",
			restore->set->name);
	return command_report(result, &restoring->error);
}

static bool is_file(const char *path)
{
	return path[0] && access(path, F_OK) == 0;
}

/* A machine that has no certificates yet is of no cluster. */
static int check_cluster(struct restore *restore)
{
	const struct config *config = &restore->command->config;
	bool is_known = is_file(config->cluster_ca) && is_file(config->ctl_certificate) &&
		is_file(config->ctl_key);
	return is_known ? restore_check_cluster(restore) : EXIT_DONE;
}

static int run(struct restoring *restoring)
{
	struct restore *restore = &restoring->restore;
	name_files(restoring);
	if (look(restoring) < 0)
		return command_fail(&restoring->error);
	int code = check_cluster(restore);
	if (code != EXIT_DONE)
		return code;
	if (command_has(restore->command, "dry-run"))
		return say_plan(restoring);
	code = open_scratch(restoring);
	if (code != EXIT_DONE)
		return code;
	restoring->unpacked = restore_path(restore, "directory.sqlite");
	int result = unpack_directory(
		restore->set, &restore->secret, restoring->unpacked, &restoring->error);
	if (result == 0)
		result = put(restoring);
	if (result == 0)
		say_result(restoring);
	return command_report(result, &restoring->error);
}

int restore_directory(struct command *command)
{
	struct restoring restoring = { 0 };
	/* The process that keeps the scratch folder is to have no key. */
	int code = command_has(command, "dry-run") ? restore_open(command, &restoring.restore)
						   : restore_open_sets(command, &restoring.restore);
	if (code == EXIT_DONE)
		code = run(&restoring);
	buf_deinit(&restoring.file);
	buf_deinit(&restoring.folder);
	restore_close(&restoring.restore);
	return code;
}
