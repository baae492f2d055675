#include "ctl/backup/prune_plan.h"

#include "core/buf.h"
#include "core/map.h"

#include <errno.h>
#include <stdlib.h>

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

/* What cannot be read may stand on any set. */
int prune_check(const struct backup_sets *sets, struct error *error)
{
	for (unsigned i = 0; i < sets->broken_count; i++) {
		const struct backup_broken *broken = &sets->broken[i];
		if (!broken->is_unfinished)
			return error_set(error, -EUCLEAN,
				"nothing is removed while it is not known what this set stands "
				"on; mend it, or move it away: %s",
				broken->why);
		for (unsigned k = 0; k < sets->count; k++)
			if (strcmp(sets->sets[k]->parent, broken->name) == 0)
				return error_set(error, -EUCLEAN,
					"nothing is removed while a set on which %s stands does "
					"not count; mend it, or move both away, %s with all that "
					"stands on it: %s",
					sets->sets[k]->name, broken->name, broken->why);
	}
	return 0;
}

/* Of those that are not ahead, from the newest on: each cluster's are counted by themselves, as two
 * may share a folder, and after a change of the key the old one's are all that it opens. */
static void keep_newest(const struct backup_sets *sets, unsigned counted,
	const struct prune_wish *wish, const struct map *by_name, bool *kept)
{
	struct map *clusters = map_create(), *recipients = map_create();
	unsigned *counts = mem_alloc((counted + 1) * sizeof(*counts)), *count;
	struct buf key = { 0 };
	for (unsigned i = counted; i-- > 0;) {
		const struct backup_set *set = sets->sets[i];
		counts[i] = 0;
		buf_clear(&key);
		buf_append_str(&key, str_from(set->cluster));
		if (!(count = map_get(clusters, buf_str(&key))))
			map_set(clusters, buf_str(&key), count = &counts[i]);
		bool is_wanted = (*count)++ < wish->keep || set->moment_s >= wish->since_s;
		buf_append(&key, &set->recipient, sizeof(set->recipient));
		if (!map_set(recipients, buf_str(&key), &counts[i])) {
			keep_fuller(sets, by_name, i, kept);
			is_wanted = true;
		}
		if (is_wanted)
			keep_chain(sets, by_name, i, kept);
	}
	buf_deinit(&key);
	free(counts);
	map_destroy(&clusters);
	map_destroy(&recipients);
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
	for (unsigned i = counted; i < sets->count; i++)
		keep_chain(sets, by_name, i, kept_out);
	keep_newest(sets, counted, wish, by_name, kept_out);
	keep_before_unfinished(sets, by_name, kept_out);
	map_destroy(&by_name);
}
