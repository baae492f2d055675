#include "core/clock.h"
#include "ctl/backup/file.h"
#include "ctl/backup/prune_plan.h"
#include "ctl/backup/remove.h"
#include "ctl/command.h"
#include "ctl/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	DAY_S = 24 * 60 * 60,
	/* A hundred years; and more sets than a folder may hold. */
	DAYS_MAX = 36525,
	KEEP_MAX = 1000000,
	/* A backup that runs writes something at least as often. */
	UNFINISHED_S = DAY_S,
};

struct prune {
	struct command *command;
	const char *from;
	int target; /* the same, open */
	struct pool *pool;
	struct backup_sets sets;
	struct prune_wish wish;
	struct table table; /* what goes */
	unsigned gone;      /* or would be */
	int code;
};

/* Says what goes, or would, or why it stays. */
static void remove_one(struct prune *prune, const char *name, const char *kind)
{
	bool is_dry = command_has(prune->command, "dry-run"), is_removed = false;
	struct removable removable = { 0 };
	struct error error;
	int code = backup_folder_look(prune->target, name, &removable, &error);
	if (code == 0 && !is_dry) {
		code = backup_folder_remove(prune->target, name, &error);
		is_removed = code == 0;
	}
	if (code < 0)
		prune->code = command_fail(&error);
	prune->gone += code == 0;
	table_add(&prune->table, name);
	table_add(&prune->table, kind);
	table_addf(&prune->table, "%llu", (unsigned long long)removable.bytes);
	table_add_bool(&prune->table, is_removed);
}

/* What is not finished and may still grow moves to the front of `broken`; the others' number. */
static unsigned part_unfinished(struct prune *prune)
{
	struct backup_sets *sets = &prune->sets;
	int64_t now_s = clock_wall_us() / 1000000;
	unsigned staying = 0;
	for (unsigned i = 0; i < sets->broken_count; i++) {
		struct removable removable;
		struct error error;
		struct backup_broken broken = sets->broken[i];
		bool is_old =
			backup_folder_look(prune->target, broken.name, &removable, &error) == 0 &&
			now_s - removable.written_s > UNFINISHED_S;
		if (is_old)
			continue;
		sets->broken[i] = sets->broken[staying];
		sets->broken[staying++] = broken;
	}
	unsigned old = sets->broken_count - staying;
	sets->broken_count = staying;
	return old;
}

static void say_end(const struct prune *prune, unsigned kept)
{
	bool is_dry = command_has(prune->command, "dry-run");
	if (!command_json(prune->command) && table_rows(&prune->table) > 0)
		printf("%u %s, %u set%s kept\n", prune->gone,
			is_dry ? "would be removed" : "removed", kept, kept == 1 ? "" : "s");
}

static void prune_all(struct prune *prune)
{
	struct backup_sets *sets = &prune->sets;
	bool *kept = pool_alloc(prune->pool, sets->count * sizeof(*kept));
	unsigned old = part_unfinished(prune), kept_count = 0;
	prune_plan(sets, &prune->wish, kept);
	for (unsigned i = 0; i < old; i++)
		remove_one(prune, sets->broken[sets->broken_count + i].name, "unfinished");
	/* The newest first: none ever stands on what is not there. */
	for (unsigned i = sets->count; i-- > 0;) {
		kept_count += kept[i];
		if (!kept[i] && prune->code == EXIT_DONE)
			remove_one(prune, sets->sets[i]->name, "set");
	}
	table_print(&prune->table, command_json(prune->command), "nothing to remove");
	say_end(prune, kept_count);
}

/* Opened once: that and no other is what sets go from. A backup that runs there goes on from a set
 * that it has chosen already. */
static int open_target(struct prune *prune, struct error *error)
{
	prune->target = open(prune->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (prune->target < 0)
		return error_set(
			error, -errno, "%s cannot be opened: %s", prune->from, strerror(errno));
	if (command_has(prune->command, "dry-run") || folder_try_lock(prune->target))
		return 0;
	return error_set(error, -EBUSY,
		"a `pando backup`, or another `prune`, is at work in %s: prune when it has ended",
		prune->from);
}

static int take_wish(struct command *command, struct prune_wish *wish_out)
{
	const char *keep = command_option(command, "keep");
	const char *days = command_option(command, "keep-days");
	uint64_t value;
	if (!keep == !days)
		return command_usage(command, "say one of --keep and --keep-days");
	if (!str_to_u64(str_from(keep ? keep : days), keep ? KEEP_MAX : DAYS_MAX, &value) ||
		value == 0)
		return command_usage(command, "--%s wants a number, 1 to %d",
			keep ? "keep" : "keep-days", keep ? KEEP_MAX : DAYS_MAX);
	int64_t now_s = clock_wall_us() / 1000000;
	*wish_out = (struct prune_wish){ .keep = keep ? (unsigned)value : 0,
		.since_s = keep ? INT64_MAX : now_s - (int64_t)value * DAY_S,
		.now_s = now_s };
	return EXIT_DONE;
}

int backup_prune(struct command *command)
{
	struct prune prune = { .command = command,
		.from = command_option(command, "from"),
		.target = -1,
		.table = {
			.column_count = 4, .columns = { "set", "kind", "#bytes", "?removed" } } };
	struct error error = { 0 };
	if (!prune.from)
		return command_usage(command, "--from names the folder that holds the backups");
	int code = take_wish(command, &prune.wish);
	if (code != EXIT_DONE)
		return code;
	prune.pool = pool_create();
	if (open_target(&prune, &error) < 0 ||
		backup_sets_read(prune.from, prune.pool, &prune.sets, &error) < 0 ||
		prune_check(&prune.sets, &error) < 0)
		prune.code = command_fail(&error);
	else
		prune_all(&prune);
	if (prune.target >= 0)
		close(prune.target);
	table_deinit(&prune.table);
	pool_destroy(&prune.pool);
	return prune.code;
}
