#include "node/volume/volumes_internal.h"

#include <stdlib.h>

/* Which domains keep what is expunged, from the directory to the volumes: a short list that seldom
 * changes, so that neither an expunge nor a look for room asks anybody. */

struct keeping_news {
	size_t count;
	bool is_fresh;
	struct directory_keeping domains[];
};

static void run_tell(struct worker_call *call)
{
	struct keeping_news *news = call->arg;
	volume_set_keeping(call->slot->volume, news->domains, news->count, news->is_fresh);
	free(news);
}

static void tell(struct slot *slot)
{
	const struct volumes *volumes = slot->volumes;
	size_t bytes = volumes->keeping_count * sizeof(struct directory_keeping);
	struct keeping_news *news = mem_alloc(sizeof(*news) + bytes);
	struct worker_call *call = slot_call(slot, run_tell);
	news->count = volumes->keeping_count;
	news->is_fresh = volumes->keeping_is_fresh;
	if (bytes > 0)
		memcpy(news->domains, volumes->keepings, bytes);
	call->arg = news;
	slot_send(call);
	slot->told_keeping = volumes->keeping_number;
}

static bool is_same(const struct volumes *volumes, const struct directory_keeping *keepings,
	size_t count, bool is_fresh)
{
	bool same = volumes->keeping_number > 0 && volumes->keeping_count == count &&
		volumes->keeping_is_fresh == is_fresh;
	for (size_t i = 0; same && i < count; i++)
		same = volumes->keepings[i].domain_id == keepings[i].domain_id &&
			volumes->keepings[i].days == keepings[i].days;
	return same;
}

void volumes_tell_keeping(struct volumes *volumes)
{
	size_t count;
	void *value;
	bool is_fresh = directory_is_fresh(volumes->directory);
	struct directory_keeping *keepings = directory_keepings(volumes->directory, &count);
	if (is_same(volumes, keepings, count, is_fresh)) {
		free(keepings);
	} else {
		free(volumes->keepings);
		volumes->keepings = keepings;
		volumes->keeping_count = count;
		volumes->keeping_is_fresh = is_fresh;
		volumes->keeping_number++;
	}
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);)
		if (((struct slot *)value)->told_keeping != volumes->keeping_number)
			tell(value);
}
