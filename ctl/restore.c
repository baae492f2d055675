/* `pando restore`: mail back out of a backup. What is to be restored decides which file goes on. */

#include "ctl/restore.h"

#include "core/clock.h"
#include "core/encode.h"
#include "ctl/backup/unpack.h"
#include "ctl/backup/whose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what to restore ---- */

static const struct subject {
	const char *option;
	const char *others; /* that go with it, beside those of the backup */
	int (*run)(struct command *command);
} subjects[] = {
	{ "mailbox", "folder,uid,into,missing,other-mailbox,work,dry-run,json", restore_mailbox },
	{ "drill", "sample,report,work,json", restore_drill },
	{ "volume", "accept-loss,other-cluster,dry-run,json", restore_lost_volume },
	{ "directory", "other-cluster,dry-run", restore_directory },
};

static bool is_listed(const char *list, const char *option)
{
	struct str rest = str_from(list), name;
	while (rest.length > 0 && str_next(&rest, ',', &name))
		if (str_equal(name, str_from(option)))
			return true;
	return false;
}

/* What would be ignored was meant to say something: it is refused. */
static int check_options(const struct command *command, const struct subject *subject)
{
	for (unsigned i = 0; i < command->option_count; i++) {
		const char *option = command->options[i].name;
		if (strcmp(option, subject->option) != 0 && !is_listed("from,key,set", option) &&
			!is_listed(subject->others, option))
			return command_usage(
				command, "--%s says nothing with --%s", option, subject->option);
	}
	return EXIT_DONE;
}

int restore_run(struct command *command)
{
	const struct subject *subject = NULL;
	for (size_t i = 0; i < array_length(subjects); i++) {
		if (!command_has(command, subjects[i].option))
			continue;
		if (subject)
			return command_usage(command, "--%s and --%s are two commands",
				subject->option, subjects[i].option);
		subject = &subjects[i];
	}
	if (!subject)
		return command_usage(command,
			"say what: --mailbox ADDRESS, --volume NAME, --directory, or "
			"--drill to try it out");
	int code = check_options(command, subject);
	return code == EXIT_DONE ? subject->run(command) : code;
}

/* ---- the backup ---- */

/* One that was never finished is what a backup leaves that was killed: nobody waits for it. One
 * that cannot be read would be missed. */
static int check_newest_counts(const struct backup_sets *sets, struct error *error)
{
	const char *newest = sets->count ? sets->sets[sets->count - 1]->name : "";
	for (unsigned i = 0; i < sets->broken_count; i++)
		if (!sets->broken[i].is_unfinished && strcmp(sets->broken[i].name, newest) > 0)
			return error_set(error, -EUCLEAN,
				"a later set than %s cannot be used: %s. `pando backup list` shows "
				"all: say which one with --set NAME",
				newest[0] ? newest : "any other", sets->broken[i].why);
	return 0;
}

/* A set that was asked for and never finished is worth its own sentence. */
static int find_chain(struct restore *restore, const char *name, struct error *error)
{
	for (unsigned i = 0; name && i < restore->sets.broken_count; i++)
		if (strcmp(restore->sets.broken[i].name, name) == 0)
			return error_set(error, -ENOENT, "the set %s cannot be used: %s", name,
				restore->sets.broken[i].why);
	int64_t now_s = clock_wall_us() / 1000000;
	if (!name && (check_newest_counts(&restore->sets, error) < 0 ||
			     backup_sets_check_newest(&restore->sets, now_s, error) < 0))
		return -ERANGE;
	return backup_sets_chain(
		&restore->sets, name, restore->pool, &restore->chain, &restore->chain_count, error);
}

int restore_open_sets(struct command *command, struct restore *restore)
{
	struct error error = { 0 };
	const char *from = command_option(command, "from");
	*restore = (struct restore){ .command = command };
	if (!from || !command_has(command, "key"))
		return command_usage(
			command, "--from DIR says where the backup is, --key FILE what opens it");
	restore->pool = pool_create();
	restore->shows_progress = !command_json(command) && isatty(STDERR_FILENO);
	int code = backup_sets_read(from, restore->pool, &restore->sets, &error);
	if (code == 0)
		code = find_chain(restore, command_option(command, "set"), &error);
	if (code < 0)
		return command_fail(&error);
	restore->set = restore->chain[restore->chain_count - 1];
	return EXIT_DONE;
}

static int read_key(struct restore *restore)
{
	struct error error = { 0 };
	const char *path = command_option(restore->command, "key");
	return command_report(backup_secret_read(path, &restore->secret, &error), &error);
}

int restore_open(struct command *command, struct restore *restore)
{
	int code = restore_open_sets(command, restore);
	return code == EXIT_DONE ? read_key(restore) : code;
}

void restore_close(struct restore *restore)
{
	restore_wipe(restore);
	cluster_close(&restore->cluster);
	scratch_destroy(&restore->scratch);
	pool_destroy(&restore->pool);
	explicit_bzero(&restore->secret, sizeof(restore->secret));
}

/* Neither a number of a volume nor an address says whose it is. */
int restore_check_cluster(struct restore *restore)
{
	const char *mine;
	struct error error = { 0 };
	if (command_has(restore->command, "other-cluster"))
		return EXIT_DONE;
	if (backup_name_cluster(&restore->command->config, restore->pool, &mine, &error) < 0)
		return command_fail(&error);
	if (strcmp(mine, restore->set->cluster) == 0)
		return EXIT_DONE;
	command_complain("nothing was changed: the set %s is of the cluster %s, and this one is "
			 "%s. Where its authority was made anew since, --other-cluster says so",
		restore->set->name, restore->set->cluster, mine);
	return EXIT_FAILED;
}

bool restore_say_short(const struct restore *restore, const struct backup_volume *volume)
{
	const struct backup_set *fuller =
		backup_sets_fuller(&restore->sets, restore->set, volume);
	if (!volume->problem[0])
		return false;
	command_complain("the backup of volume %s is not of all mail: %s%s%s", volume->name,
		volume->problem, fuller ? ". More of it has --set " : "",
		fuller ? fuller->name : "");
	return fuller != NULL;
}

const char *restore_moment(const struct restore *restore)
{
	struct buf text = { 0 };
	encode_time(&text, restore->set->moment_s * 1000000);
	const char *moment = pool_copy_terminated(restore->pool, buf_str(&text));
	buf_deinit(&text);
	return moment;
}

/* ---- the scratch folder ---- */

uint64_t restore_room(const struct restore *restore)
{
	uint64_t longest = 0;
	for (unsigned i = 0; i < restore->set->volume_count; i++)
		if (restore->set->volumes[i].to > longest)
			longest = restore->set->volumes[i].to;
	return unpack_room(longest);
}

/* The first with enough room, or the one with most: what unpacks says what it lacks. */
static const char *choose_work(const struct restore *restore, uint64_t room)
{
	struct str data = str_from(restore->command->config.data_dir);
	ptrdiff_t slash = str_find_last_byte(data, '/');
	const char *beside = slash > 0
		? pool_copy_terminated(restore->pool, str_first(data, (size_t)slash))
		: NULL;
	/* The disk of living mail comes last: whatever is written there is missing to it. */
	const char *const places[] = { getenv("TMPDIR"), "/var/tmp", beside };
	const char *best = "/var/tmp";
	int64_t most = -1;
	for (size_t i = 0; i < array_length(places); i++) {
		bool is_usable = places[i] && access(places[i], W_OK | X_OK) == 0;
		int64_t space = is_usable ? disk_space_free(places[i]) : -1;
		if (space > most) {
			most = space;
			best = places[i];
		}
		if (space >= 0 && (uint64_t)space >= room)
			return places[i];
	}
	return best;
}

int restore_open_scratch_in(struct restore *restore, const char *dir)
{
	struct error error = { 0 };
	/* The process that keeps the folder has nothing of it. */
	explicit_bzero(&restore->secret, sizeof(restore->secret));
	int code = command_report(scratch_create(dir, &restore->scratch, &error), &error);
	return code == EXIT_DONE ? read_key(restore) : code;
}

int restore_open_scratch(struct restore *restore, uint64_t room)
{
	const char *work = command_option(restore->command, "work");
	return restore_open_scratch_in(restore, work ? work : choose_work(restore, room));
}

const char *restore_path(const struct restore *restore, const char *name)
{
	struct str path = pool_printf(restore->pool, "%s/%s", scratch_path(restore->scratch), name);
	return pool_copy_terminated(restore->pool, path);
}

int restore_open_cluster(struct restore *restore)
{
	return cluster_open(restore->command, &restore->cluster);
}

/* ---- progress ---- */

void restore_show(struct restore *restore, const char *what, uint64_t done, uint64_t total)
{
	enum { SHOW_EVERY_US = 250 * 1000 };
	uint64_t now = clock_mono_us();
	if (!restore->shows_progress || now - restore->shown_us < SHOW_EVERY_US)
		return;
	restore->shown_us = now;
	restore->is_shown = true;
	fprintf(stderr, "\r\033[K%s: %llu of %llu", what, (unsigned long long)done,
		(unsigned long long)total);
	fflush(stderr);
}

void restore_wipe(struct restore *restore)
{
	if (restore->is_shown)
		fprintf(stderr, "\r\033[K");
	restore->is_shown = false;
}
