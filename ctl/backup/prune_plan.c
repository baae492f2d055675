#include "ctl/backup/prune_plan.h"

#include "core/map.h"

/* A parent is kept by its name: one that is another than it was is for somebody to look at. */
static void keep_chain(
	const struct backup_sets *sets, const struct map *by_name, unsigned index, bool *kept)
{
	while (!kept[index]) {
		kept[index] = true;
		struct backup_set **parent = map_get(by_name, str_from(sets->sets[index]->parent));
		if (parent)
			index = (unsigned)(parent - sets->sets);
	}
}

/* A set's name begins with the moment at which it was begun. */
static void keep_before_unfinished(
	const struct backup_sets *sets, const struct map *by_name, bool *kept)
{
	for (unsigned i = 0; i < sets->broken_count; i++) {
		unsigned newest = sets->count;
		for (unsigned k = 0; k < sets->count; k++)
			if (strcmp(sets->sets[k]->name, sets->broken[i].name) < 0)
				newest = k;
		if (newest < sets->count)
			keep_chain(sets, by_name, newest, kept);
	}
}

static void keep_fuller(
	const struct backup_sets *sets, const struct map *by_name, unsigned newest, bool *kept)
{
	const struct backup_set *set = sets->sets[newest];
	for (unsigned i = 0; i < set->volume_count; i++) {
		struct backup_set *fuller = backup_sets_fuller(sets, set, &set->volumes[i]);
		struct backup_set **place =
			fuller ? map_get(by_name, str_from(fuller->name)) : NULL;
		if (place)
			keep_chain(sets, by_name, (unsigned)(place - sets->sets), kept);
	}
}

void prune_plan(const struct backup_sets *sets, const struct prune_wish *wish, bool *kept_out)
{
	struct map *by_name = map_create();
	for (unsigned i = 0; i < sets->count; i++) {
		map_set(by_name, str_from(sets->sets[i]->name), &sets->sets[i]);
		kept_out[i] = false;
	}
	unsigned counted = sets->count;
	while (counted > 0 && backup_set_is_ahead(sets->sets[counted - 1], wish->now_s))
		counted--;
	for (unsigned i = 0; i < sets->count; i++)
		if (i + 1 >= counted || counted - i <= wish->keep ||
			sets->sets[i]->moment_s >= wish->since_s)
			keep_chain(sets, by_name, i, kept_out);
	if (counted > 0)
		keep_fuller(sets, by_name, counted - 1, kept_out);
	keep_before_unfinished(sets, by_name, kept_out);
	map_destroy(&by_name);
}
