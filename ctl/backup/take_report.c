#include "ctl/backup/take.h"

#include "core/clock.h"
#include "core/encode.h"
#include "ctl/output.h"

#include <stdio.h>

enum { DRAW_MS = 200, PROBLEM_COLUMN = 5 };

void take_draw(struct taking *taking, const char *volume, bool always)
{
	struct filling *filling = &taking->filling;
	if (!filling->shows_bar ||
		(!always && clock_mono_us() - filling->last_us < DRAW_MS * 1000u))
		return;
	filling->what = volume;
	filling_note(filling, taking->done, taking->total);
	filling_draw(filling, NULL);
}

/* What it takes on the disk. */
static void list_volumes(const struct backup_set *set, struct table *table)
{
	for (unsigned i = 0; i < set->volume_count; i++) {
		const struct backup_volume *volume = &set->volumes[i];
		table_add(table, volume->name);
		table_addf(table, "%llu", (unsigned long long)volume->from);
		table_addf(table, "%llu", (unsigned long long)volume->to);
		table_addf(table, "%llu", (unsigned long long)backup_volume_bytes(volume));
		table_add(table, volume->source);
		if (table->column_count > PROBLEM_COLUMN)
			table_add(table, volume->problem);
	}
}

static void print_json(const struct taking *taking, struct table *table)
{
	const struct backup_set *set = &taking->set;
	struct buf out = { 0 };
	char key[BACKUP_KEY_TEXT_MAX];
	backup_public_format(&set->recipient, key);
	buf_append_literal(&out, "{\"set\": ");
	encode_json(&out, str_from(set->name));
	buf_append_literal(&out, ", \"folder\": ");
	encode_json(&out, str_from(set->folder));
	buf_append_literal(&out, ", \"parent\": ");
	encode_json(&out, str_from(set->parent));
	buf_append_literal(&out, ", \"moment\": \"");
	encode_time(&out, set->moment_s * 1000000);
	buf_printf(&out,
		"\", \"key\": \"%s\", \"directory_revision\": %llu, \"bytes\": %llu, "
		"\"seconds\": %.3f, \"volumes\": ",
		key, (unsigned long long)set->directory_revision,
		(unsigned long long)backup_set_bytes(set),
		(double)filling_ms(&taking->filling) / 1000);
	table_append_json(table, &out);
	printf(STR_FORMAT "}\n", STR_ARG(buf_str(&out)));
	buf_deinit(&out);
}

static void print_text(const struct taking *taking, struct table *table)
{
	const struct backup_set *set = &taking->set;
	struct buf moment = { 0 };
	encode_time(&moment, set->moment_s * 1000000);
	table_print(table, false, "there is no volume");
	printf("\n%s: %llu bytes in %.1f s, ", set->name, (unsigned long long)backup_set_bytes(set),
		(double)filling_ms(&taking->filling) / 1000);
	if (set->parent[0])
		printf("what came after %s", set->parent);
	else
		printf("a whole one");
	printf(", up to " STR_FORMAT "\n", STR_ARG(buf_str(&moment)));
	buf_deinit(&moment);
}

int take_report(const struct taking *taking)
{
	const struct backup_set *set = &taking->set;
	bool is_json = command_json(taking->command);
	/* To people what is wrong is said in sentences. */
	struct table table = { is_json ? PROBLEM_COLUMN + 1 : PROBLEM_COLUMN,
		{ "volume", "#from", "#to", "#bytes", "source", "problem" }, { 0 } };
	int code = EXIT_DONE;
	list_volumes(set, &table);
	if (is_json)
		print_json(taking, &table);
	else
		print_text(taking, &table);
	table_deinit(&table);
	for (unsigned i = 0; i < set->volume_count; i++) {
		if (!set->volumes[i].problem[0])
			continue;
		command_complain("volume %s: %s", set->volumes[i].name, set->volumes[i].problem);
		code = EXIT_FAILED;
	}
	return code;
}
