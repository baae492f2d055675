#include "core/clock.h"
#include "core/encode.h"
#include "ctl/backup/set.h"
#include "ctl/command.h"
#include "ctl/output.h"

/* "alpha: its node was silent; beta: ...", or nothing. */
static void append_problems(const struct backup_set *set, struct buf *out)
{
	if (backup_set_is_ahead(set, clock_wall_us() / 1000000))
		buf_append_literal(
			out, "its moment has not come yet: a wrong clock, or somebody's forgery");
	for (unsigned i = 0; i < set->volume_count; i++) {
		const struct backup_volume *volume = &set->volumes[i];
		if (volume->problem[0])
			buf_printf(out, "%s%s: %s", buf_length(out) ? "; " : "", volume->name,
				volume->problem);
	}
}

static void add_row(struct table *table, const struct backup_set *set, bool is_json)
{
	struct buf moment = { 0 }, problems = { 0 };
	encode_time(&moment, set->moment_s * 1000000);
	append_problems(set, &problems);
	table_add(table, set->name);
	table_add_str(table, buf_str(&moment));
	table_add(table, set->parent[0] || is_json ? set->parent : "whole");
	table_addf(table, "%u", set->volume_count);
	table_addf(table, "%llu", (unsigned long long)backup_set_bytes(set));
	table_add_str(table, buf_str(&problems));
	buf_deinit(&moment);
	buf_deinit(&problems);
}

int backup_list(struct command *command)
{
	const char *from = command_option(command, "from");
	struct table table = { .column_count = 6,
		.columns = { "set", "moment", "parent", "#volumes", "#bytes", "problems" } };
	struct backup_sets sets;
	struct error error = { 0 };
	bool any_is_bad = false;
	if (!from)
		return command_usage(command, "--from names the folder that holds the backups");
	struct pool *pool = pool_create();
	int code = backup_sets_read(from, pool, &sets, &error);
	if (code == 0) {
		for (unsigned i = 0; i < sets.count; i++)
			add_row(&table, sets.sets[i], command_json(command));
		table_print(&table, command_json(command), "no set");
		for (unsigned i = 0; i < sets.broken_count; i++) {
			command_complain("%s", sets.broken[i].why);
			/* One that is being written, or was killed, is not bad: it counts for
			 * nothing. */
			any_is_bad |= !sets.broken[i].is_unfinished;
		}
	}
	table_deinit(&table);
	pool_destroy(&pool);
	code = command_report(code, &error);
	return code == EXIT_DONE && any_is_bad ? EXIT_FAILED : code;
}
