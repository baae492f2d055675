#include "ctl/backup/take.h"

#include "core/clock.h"
#include "core/rand.h"
#include "ctl/backup/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STAMP_SIZE = sizeof("20261127T101500Z"), STAMP_LOOK_MS = 100 };

/* A second command would do no harm: its sets have names of their own. But of two whose parent is
 * one set, one is for nothing. And what is pruned meanwhile may be the parent. */
static int open_dir(struct taking *taking, const char *path)
{
	taking->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (taking->dir < 0 && errno == ENOENT) {
		command_complain("there is no folder %s, and none is made, lest a disk that is not "
				 "mounted be missed: make it, or mount what is to be there",
			path);
		return EXIT_FAILED;
	}
	if (taking->dir < 0) {
		command_complain("%s cannot be opened: %s", path, strerror(errno));
		return EXIT_FAILED;
	}
	if (!folder_try_lock(taking->dir)) {
		command_complain("another `pando backup` is writing into %s, or a `prune` "
				 "removes sets from it: try again when that has ended",
			path);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* `--key`, or the configuration's. Never what a set of the folder says: whoever can add one there
 * would choose who reads all mail. */
static int find_recipient(struct taking *taking)
{
	struct error error = { 0 };
	const char *option = command_option(taking->command, "key");
	const char *key = option ? option : taking->command->config.backup_key;
	if (!key[0]) {
		command_complain("to whom? `backup_key = PUBLIC` in the configuration, or --key, "
				 "says the public half of a pair that `pando backup key` makes");
		return EXIT_FAILED;
	}
	if (backup_public_parse(str_from(key), &taking->set.recipient, &error) == 0)
		return EXIT_DONE;
	command_complain("%s: %s", option ? "--key" : "backup_key", error.text);
	return EXIT_USAGE;
}

/* What is ahead is nobody's parent, and neither is what stands on it: a forged one would break the
 * chain of all that come. */
static bool is_any_ahead(struct backup_set *const *chain, unsigned count, int64_t now_s)
{
	bool is_ahead = false;
	for (unsigned i = 0; i < count; i++)
		is_ahead |= backup_set_is_ahead(chain[i], now_s);
	return is_ahead;
}

static bool is_parent(
	const struct taking *taking, const struct backup_sets *sets, unsigned at, int64_t now_s)
{
	const struct backup_set *set = sets->sets[at];
	struct backup_set **chain;
	unsigned count;
	return strcmp(set->cluster, taking->set.cluster) == 0 &&
		memcmp(&set->recipient, &taking->set.recipient, sizeof(set->recipient)) == 0 &&
		backup_sets_chain(sets, set->name, taking->pool, &chain, &count, NULL) == 0 &&
		!is_any_ahead(chain, count, now_s);
}

static void say_ahead(const struct backup_sets *sets, int64_t now_s)
{
	unsigned count = 0;
	for (unsigned i = 0; i < sets->count; i++)
		count += backup_set_is_ahead(sets->sets[i], now_s);
	if (count > 0)
		command_complain("%u set%s in the folder, the last of them %s, %s of a moment that "
				 "has not come yet: this clock is wrong, or that of who made them, "
				 "or somebody has forged them. This backup stands on none of them",
			count, count == 1 ? "" : "s", sets->sets[sets->count - 1]->name,
			count == 1 ? "is" : "are");
}

static int check_chain(
	const struct taking *taking, const struct backup_sets *sets, struct error *error)
{
	struct backup_set **chain;
	unsigned count;
	int code =
		backup_sets_chain(sets, taking->parent->name, taking->pool, &chain, &count, error);
	for (unsigned i = 0; code == 0 && i < count; i++)
		code = backup_set_check_files(chain[i], error);
	return code;
}

/* The newest that this one can stand on. Where that, or what it stands on, has lost a file, a set
 * that stood on it could not be restored either. */
static void find_parent(struct taking *taking, const struct backup_sets *sets)
{
	struct backup_set *set = &taking->set;
	int64_t now_s = clock_wall_us() / 1000000;
	say_ahead(sets, now_s);
	for (unsigned i = sets->count; i-- > 0 && !taking->parent;)
		if (is_parent(taking, sets, i, now_s))
			taking->parent = sets->sets[i];
	struct error why = { 0 };
	if (taking->parent && check_chain(taking, sets, &why) < 0) {
		command_complain("%s. This backup does not stand on it, and is a whole one: see "
				 "`pando backup verify`",
			why.text);
		taking->parent = NULL;
	}
	if (!taking->parent)
		return;
	snprintf(set->parent, sizeof(set->parent), "%s", taking->parent->name);
	memcpy(set->parent_sums, taking->parent->sums, sizeof(set->parent_sums));
}

static bool has_stamp(const struct backup_sets *sets, const char *stamp)
{
	for (unsigned i = 0; i < sets->count; i++)
		if (strncmp(stamp, sets->sets[i]->name, STAMP_SIZE - 1) == 0)
			return true;
	return false;
}

/* Sets are told apart by age by their names: of two that are begun in one second one waits. */
static void make_stamp(const struct backup_sets *sets, char stamp_out[STAMP_SIZE])
{
	for (unsigned waited_ms = 0;; waited_ms += STAMP_LOOK_MS) {
		time_t now = (time_t)(clock_wall_us() / 1000000);
		struct tm utc;
		gmtime_r(&now, &utc);
		strftime(stamp_out, STAMP_SIZE, "%Y%m%dT%H%M%SZ", &utc);
		if (waited_ms > 1000 || !has_stamp(sets, stamp_out))
			return;
		clock_sleep_ms(STAMP_LOOK_MS);
	}
}

/* Only whoever takes backups reads them, as far as this machine has a say in it. */
static int make_folder(struct taking *taking, const struct backup_sets *sets, const char *path)
{
	struct backup_set *set = &taking->set;
	char stamp[STAMP_SIZE];
	make_stamp(sets, stamp);
	snprintf(set->name, sizeof(set->name), "%s-%08x", stamp, (unsigned)rand_u64());
	set->folder = pool_copy_terminated(
		taking->pool, pool_printf(taking->pool, "%s/%s", path, set->name));
	if (mkdir(set->folder, 0700) == 0)
		return EXIT_DONE;
	command_complain("%s cannot be made: %s", set->folder, strerror(errno));
	return EXIT_FAILED;
}

int take_open_target(struct taking *taking)
{
	struct error error = { 0 };
	struct backup_sets sets = { 0 };
	const char *path = command_option(taking->command, "to");
	int code = find_recipient(taking);
	if (code == EXIT_DONE)
		code = open_dir(taking, path);
	if (code != EXIT_DONE)
		return code;
	if (backup_sets_read(path, taking->pool, &sets, &error) < 0)
		return command_fail(&error);
	if (!command_has(taking->command, "full"))
		find_parent(taking, &sets);
	return make_folder(taking, &sets, path);
}
