#include "core/clock.h"
#include "node/scrub/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* The copies that are held here: they come and go, and one of them is read. */

/* By the operator's word first; then what is under way; then what was read longest ago. */
static bool is_before(const struct scrubbed *a, const struct scrubbed *b)
{
	if (b == NULL || a->state.is_now != b->state.is_now)
		return b == NULL || a->state.is_now;
	if ((a->state.began_s > 0) != (b->state.began_s > 0))
		return a->state.began_s > 0;
	return a->state.last_began_s != b->state.last_began_s
		? a->state.last_began_s < b->state.last_began_s
		: a->id < b->id;
}

struct scrubbed *copies_choose(struct scrub *scrub)
{
	struct scrubbed *chosen = NULL;
	int64_t now_s = scrub_now_s();
	void *value;
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);) {
		struct scrubbed *copy = value;
		if (copy->end > 0 && pace_is_due(scrub, copy, now_s) && is_before(copy, chosen))
			chosen = copy;
	}
	return chosen;
}

bool scrub_waits(uint64_t *short_us, bool is_short)
{
	uint64_t now_us = clock_mono_us();
	if (!is_short)
		*short_us = 0;
	else if (*short_us == 0)
		*short_us = now_us;
	return is_short && now_us - *short_us < SCRUB_SHORT_MS * 1000u;
}

void scrub_refresh(struct scrubbed *copy)
{
	struct volumes_copy found;
	bool is_held = volumes_find_copy(copy->scrub->volumes, copy->id, &found);
	copy->end = is_held ? found.end : 0;
	copy->is_primary = is_held && found.is_primary;
	if (is_held)
		snprintf(copy->name, sizeof(copy->name), "%s", found.name);
}

void copies_look(struct scrub *scrub)
{
	size_t count;
	uint32_t *ids = volumes_ids(scrub->volumes, &count);
	for (size_t i = 0; i < count; i++) {
		uint64_t id = ids[i];
		struct volumes_copy found;
		struct scrubbed *copy = map_get(scrub->copies, map_key_u64(&id));
		bool is_held = volumes_find_copy(scrub->volumes, ids[i], &found) && found.end > 0;
		if (copy == NULL && is_held) {
			copy = mem_alloc(sizeof(*copy));
			*copy = (struct scrubbed){ .scrub = scrub, .id = ids[i] };
			map_set(scrub->copies, map_key_u64(&id), copy);
		}
		if (copy != NULL)
			scrub_refresh(copy);
	}
	free(ids);
}
