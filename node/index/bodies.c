#include "node/index/bodies.h"

#include "node/index/index.h"
#include "proto/disk/record.h"

#include <errno.h>
#include <stdlib.h>

void bodies_init(struct bodies *bodies)
{
	*bodies = (struct bodies){ .ranges = map_create() };
	list_init(&bodies->dirty);
}

static void free_range(struct body_range *range)
{
	list_remove(&range->dirty_link);
	kept_list_deinit(&range->kept);
	free(range->bodies);
	free(range);
}

void bodies_deinit(struct bodies *bodies)
{
	void *value;
	for (size_t i = 0; bodies->ranges && map_next(bodies->ranges, &i, NULL, &value);)
		free_range(value);
	map_destroy(&bodies->ranges);
	free(bodies->segments);
	*bodies = (struct bodies){ 0 };
}

uint32_t body_length(uint32_t message_length, uint32_t summary_length)
{
	return (uint32_t)(record_padded(message_length) +
		(summary_length > 0 ? record_padded(summary_length) : 0));
}

/* ---- ranges ---- */

static uint64_t range_length(void)
{
	return segment_length / BODY_RANGES_PER_SEGMENT;
}

struct body_range *bodies_make_range(struct bodies *bodies, uint64_t number)
{
	struct body_range *range = mem_alloc(sizeof(*range));
	range->number = number;
	list_init(&range->dirty_link);
	map_set(bodies->ranges, map_key_u64(&number), range);
	return range;
}

void body_range_push(struct body_range *range, const struct body *body)
{
	if (range->count == range->capacity) {
		range->capacity = range->capacity ? range->capacity * 2 : 16;
		range->bodies =
			mem_resize(range->bodies, range->capacity * sizeof(*range->bodies));
	}
	range->bodies[range->count++] = *body;
}

static int find_range(struct index *index, uint64_t lsn, struct body_range **range_out)
{
	uint64_t number = lsn / range_length();
	*range_out = map_get(index->bodies.ranges, map_key_u64(&number));
	return *range_out != NULL ? 0 : index_load_bodies(index, number, range_out);
}

static uint32_t offset_of(uint64_t lsn)
{
	return (uint32_t)(lsn % range_length() / RECORD_ALIGNMENT);
}

/* Of the first body at or behind an offset. */
static uint32_t rank_of(const struct body_range *range, uint32_t offset)
{
	uint32_t low = 0, high = range->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (range->bodies[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct body *body_range_find(const struct body_range *range, uint32_t offset)
{
	uint32_t rank = rank_of(range, offset);
	return rank < range->count && range->bodies[rank].offset == offset ? &range->bodies[rank]
									   : NULL;
}

uint64_t bodies_range_of(uint64_t lsn)
{
	return lsn / range_length();
}

uint64_t body_range_lsn(const struct body_range *range, uint32_t offset)
{
	return range->number * range_length() + (uint64_t)offset * RECORD_ALIGNMENT;
}

static struct body *find(struct body_range *range, uint64_t lsn)
{
	const struct body *body = body_range_find(range, offset_of(lsn));
	return body ? &range->bodies[body - range->bodies] : NULL;
}

static void mark_dirty(struct bodies *bodies, struct body_range *range)
{
	if (range->dirty)
		return;
	range->dirty = true;
	list_append(&bodies->dirty, &range->dirty_link);
}

/* ---- segments ---- */

static struct segment_use *segment_at(struct bodies *bodies, uint32_t segment)
{
	if (segment >= bodies->segment_capacity) {
		uint32_t capacity = bodies->segment_capacity ? bodies->segment_capacity * 2 : 16;
		capacity = capacity > segment ? capacity : segment + 1;
		bodies->segments =
			mem_resize(bodies->segments, capacity * sizeof(*bodies->segments));
		bodies->segment_capacity = capacity;
	}
	for (; bodies->segment_count <= segment; bodies->segment_count++)
		bodies->segments[bodies->segment_count] = (struct segment_use){ 0 };
	return &bodies->segments[segment];
}

void bodies_set_segment(struct bodies *bodies, uint32_t segment, struct segment_use use)
{
	*segment_at(bodies, segment) = use;
	bodies->live_bytes += use.live;
	bodies->dead_bytes += use.dead;
	bodies->kept_bytes += use.kept;
	bodies->free_bytes += use.free;
	for (unsigned k = 0; k < BODY_RANGES_PER_SEGMENT; k++)
		bodies->kept_range_count += use.kept_ranges >> k & 1;
}

bool bodies_has_range(const struct bodies *bodies, uint64_t number)
{
	uint64_t segment = number / BODY_RANGES_PER_SEGMENT;
	return segment < bodies->segment_count &&
		bodies->segments[segment].ranges >> number % BODY_RANGES_PER_SEGMENT & 1;
}

bool bodies_has_kept_range(const struct bodies *bodies, uint64_t number)
{
	uint64_t segment = number / BODY_RANGES_PER_SEGMENT;
	return segment < bodies->segment_count &&
		bodies->segments[segment].kept_ranges >> number % BODY_RANGES_PER_SEGMENT & 1;
}

/* ---- who counts a body ---- */

enum body_use { USE_NONE, USE_LIVE, USE_DEAD, USE_KEPT, USE_FREE };

static enum body_use use_of(const struct body_range *range, const struct body *body)
{
	uint32_t kept;
	if (body->references == BODY_FREE)
		return USE_FREE;
	if (body->references > 0)
		return USE_LIVE;
	return kept_list_of(&range->kept, body->offset, &kept) ? USE_KEPT : USE_DEAD;
}

static void add_bytes(
	struct bodies *bodies, struct segment_use *segment, enum body_use use, uint64_t bytes)
{
	switch (use) {
	case USE_LIVE: segment->live += bytes, bodies->live_bytes += bytes; break;
	case USE_DEAD: segment->dead += bytes, bodies->dead_bytes += bytes; break;
	case USE_KEPT: segment->kept += bytes, bodies->kept_bytes += bytes; break;
	case USE_FREE: segment->free += bytes, bodies->free_bytes += bytes; break;
	case USE_NONE: break;
	}
}

/* A range has changed, and in it a body from one use to another. */
static void note_change(struct bodies *bodies, struct body_range *range, uint32_t length,
	enum body_use from, enum body_use to)
{
	uint32_t number = (uint32_t)(range->number / BODY_RANGES_PER_SEGMENT);
	uint32_t bit = 1u << range->number % BODY_RANGES_PER_SEGMENT;
	struct segment_use *segment = segment_at(bodies, number);
	bool has_kept = (segment->kept_ranges & bit) != 0;
	segment->ranges |= bit;
	if (has_kept != (range->kept.count > 0)) {
		segment->kept_ranges ^= bit;
		bodies->kept_range_count += has_kept ? UINT32_MAX : 1;
	}
	add_bytes(bodies, segment, to, length);
	add_bytes(bodies, segment, from, 0 - (uint64_t)length);
	CHECK((int64_t)segment->live >= 0 && (int64_t)segment->dead >= 0 &&
		(int64_t)segment->kept >= 0 && (int64_t)segment->free >= 0);
	bool none = bodies->dirty_from == bodies->dirty_to;
	if (none || number < bodies->dirty_from)
		bodies->dirty_from = number;
	if (none || number >= bodies->dirty_to)
		bodies->dirty_to = number + 1;
	mark_dirty(bodies, range);
}

/* ---- what apply says ---- */

int bodies_store(struct index *index, uint64_t lsn, uint32_t length, uint64_t mailbox_id)
{
	struct body_range *range;
	struct body new = { offset_of(lsn), 1, length };
	int result = find_range(index, lsn, &range);
	if (result < 0)
		return result;
	struct body *body = find(range, lsn);
	if (body != NULL)
		return bodies_refer(index, lsn, mailbox_id); /* of one delivery to several */
	/* Addresses rise. */
	if (range->count > 0 && range->bodies[range->count - 1].offset > new.offset)
		return -EUCLEAN;
	body_range_push(range, &new);
	note_change(&index->bodies, range, length, USE_NONE, USE_LIVE);
	return 0;
}

int bodies_refer(struct index *index, uint64_t lsn, uint64_t mailbox_id)
{
	struct body_range *range;
	int result = find_range(index, lsn, &range);
	struct body *body = result == 0 ? find(range, lsn) : NULL;
	if (body == NULL || body->references == BODY_FREE)
		return result < 0 ? result : -ENOENT;
	if (body->references == BODY_FREE - 1)
		return -EUCLEAN;
	enum body_use before = use_of(range, body);
	index->bodies.revived += body->references++ == 0;
	kept_list_remove(&range->kept, body->offset, &mailbox_id);
	note_change(&index->bodies, range, body->length, before, USE_LIVE);
	return 0;
}

int bodies_has(struct index *index, uint64_t lsn)
{
	struct body_range *range;
	int result = find_range(index, lsn, &range);
	const struct body *body = result == 0 ? find(range, lsn) : NULL;
	if (result < 0)
		return result;
	return body != NULL && body->references != BODY_FREE ? 0 : -ENOENT;
}

int bodies_find_kept(struct index *index, uint64_t lsn, uint64_t mailbox_id, uint64_t mark,
	const struct kept_message **kept_out)
{
	struct body_range *range;
	uint32_t count = 0;
	int result = find_range(index, lsn, &range);
	const struct kept_message *kept =
		result == 0 ? kept_list_of(&range->kept, offset_of(lsn), &count) : NULL;
	for (uint32_t i = 0; i < count; i++)
		if (kept[i].mailbox_id == mailbox_id && kept[i].mark == mark) {
			*kept_out = &kept[i];
			return 0;
		}
	return result < 0 ? result : -ENOENT;
}

int bodies_release(struct index *index, uint64_t lsn, const struct kept_message *kept)
{
	struct body_range *range;
	int result = find_range(index, lsn, &range);
	struct body *body = result == 0 ? find(range, lsn) : NULL;
	if (body == NULL || body->references == 0 || body->references == BODY_FREE)
		return result < 0 ? result : -EUCLEAN;
	body->references--;
	if (kept != NULL) {
		struct kept_message here = *kept;
		here.offset = body->offset;
		kept_list_put(&range->kept, &here);
	}
	note_change(&index->bodies, range, body->length, USE_LIVE, use_of(range, body));
	return 0;
}

/* ---- room that comes back ---- */

int bodies_free(struct index *index, uint64_t lsn)
{
	struct body_range *range;
	int result = find_range(index, lsn, &range);
	struct body *body = result == 0 ? find(range, lsn) : NULL;
	if (body == NULL || body->references != 0)
		return result;
	enum body_use before = use_of(range, body);
	body->references = BODY_FREE;
	kept_list_remove(&range->kept, body->offset, NULL);
	note_change(&index->bodies, range, body->length, before, USE_FREE);
	return 0;
}

bool bodies_is_free(struct index *index, uint64_t lsn)
{
	return bodies_has(index, lsn) == -ENOENT;
}

void bodies_forget(struct index *index, uint64_t lsn)
{
	struct body_range *range;
	struct body *body = find_range(index, lsn, &range) == 0 ? find(range, lsn) : NULL;
	if (body == NULL || body->references != BODY_FREE)
		return;
	note_change(&index->bodies, range, body->length, USE_FREE, USE_NONE);
	uint32_t rank = (uint32_t)(body - range->bodies);
	memmove(body, body + 1, (range->count - rank - 1) * sizeof(*body));
	range->count--;
}

static size_t collect_range(
	const struct body_range *range, bool free, struct body_at *out, size_t max)
{
	enum body_use wanted = free ? USE_FREE : USE_DEAD;
	size_t found = 0;
	for (uint32_t i = 0; i < range->count && found < max; i++)
		if (use_of(range, &range->bodies[i]) == wanted)
			out[found++] = (struct body_at){
				body_range_lsn(range, range->bodies[i].offset),
				range->bodies[i].length
			};
	return found;
}

size_t bodies_collect(struct index *index, uint64_t below_segment, bool free, struct body_at *out,
	size_t max)
{
	const struct bodies *bodies = &index->bodies;
	size_t found = 0;
	for (uint32_t s = 0; s < bodies->segment_count && s < below_segment && found < max; s++) {
		if ((free ? bodies->segments[s].free : bodies->segments[s].dead) == 0)
			continue;
		for (unsigned k = 0; k < BODY_RANGES_PER_SEGMENT && found < max; k++) {
			uint64_t number = (uint64_t)s * BODY_RANGES_PER_SEGMENT + k;
			struct body_range *range;
			if (!bodies_has_range(bodies, number))
				continue;
			if (find_range(index, number * range_length(), &range) < 0)
				return 0;
			found += collect_range(range, free, out + found, max - found);
		}
	}
	return found;
}

int bodies_next_kept(struct index *index, uint64_t number, struct body_range **range_out)
{
	const struct bodies *bodies = &index->bodies;
	if (bodies->kept_range_count == 0)
		return 0;
	for (uint64_t s = number / BODY_RANGES_PER_SEGMENT; s < bodies->segment_count; s++) {
		uint32_t left = bodies->segments[s].kept_ranges;
		if (s == number / BODY_RANGES_PER_SEGMENT)
			left = left >> number % BODY_RANGES_PER_SEGMENT
				<< number % BODY_RANGES_PER_SEGMENT;
		for (unsigned k = 0; k < BODY_RANGES_PER_SEGMENT; k++) {
			if (!(left >> k & 1))
				continue;
			uint64_t lsn = (s * BODY_RANGES_PER_SEGMENT + k) * range_length();
			int result = find_range(index, lsn, range_out);
			return result < 0 ? result : 1;
		}
	}
	return 0;
}

void bodies_mark_clean(struct bodies *bodies)
{
	list_for_each_safe (entry, following, &bodies->dirty) {
		struct body_range *range = list_entry(entry, struct body_range, dirty_link);
		range->dirty = false;
		range->has_kept_row = range->kept.count > 0;
		list_remove(entry);
	}
	bodies->dirty_from = bodies->dirty_to = 0;
}

void bodies_trim(struct bodies *bodies)
{
	void *value;
	if (map_count(bodies->ranges) <= BODY_RANGES_KEPT)
		return;
	struct map *all = bodies->ranges;
	bodies->ranges = map_create();
	for (size_t i = 0; map_next(all, &i, NULL, &value);) {
		struct body_range *range = value;
		if (range->dirty)
			map_set(bodies->ranges, map_key_u64(&range->number), range);
		else
			free_range(range);
	}
	map_destroy(&all);
}

/* ---- comparing ---- */

/* Every message takes one of its body's references: none is left, none is missing. */
bool bodies_are_right(struct index *index)
{
	struct map *seen = map_create();
	uint64_t references = 0, live = 0;
	void *mailbox, *value;
	bool right = true;
	for (size_t i = 0; right && map_next(index->mailboxes, &i, NULL, &mailbox);) {
		struct folder *folder = NULL;
		while (right && (folder = mailbox_next_folder(mailbox, folder)) != NULL) {
			right = folder_load(folder) == 0;
			for (uint32_t k = 0; right && k < folder->message_count; k++) {
				uint64_t lsn = folder->messages[k].body_lsn;
				uintptr_t times = (uintptr_t)map_get(seen, map_key_u64(&lsn));
				/* The counts stand where pointers would. */
				map_set(seen, map_key_u64(&lsn), (void *)(times + 1));
				references++;
			}
		}
	}
	struct str key;
	for (size_t i = 0; right && map_next(seen, &i, &key, &value);) {
		struct body_range *range;
		uint64_t lsn;
		memcpy(&lsn, key.bytes, sizeof(lsn));
		struct body *body = find_range(index, lsn, &range) == 0 ? find(range, lsn) : NULL;
		right = body != NULL && body->references == (uintptr_t)value;
		if (right) {
			live += body->length;
			references -= body->references;
		}
	}
	map_destroy(&seen);
	return right && references == 0 && live == index->bodies.live_bytes;
}

int64_t bodies_length(struct index *index, uint64_t lsn)
{
	struct body_range *range;
	int result = find_range(index, lsn, &range);
	if (result < 0)
		return result;
	const struct body *body = find(range, lsn);
	return body != NULL && body->references > 0 && body->references != BODY_FREE
		? (int64_t)body->length
		: -ENOENT;
}

/* How often they are shown; or a negative errno. `fn` may be NULL. */
static int64_t each_shown(struct index *index, uint64_t from, uint64_t to,
	void (*fn)(void *arg, const struct body_at *body), void *arg)
{
	int64_t count = 0;
	for (uint64_t number = from / range_length(); number * range_length() < to; number++) {
		uint64_t first = number * range_length();
		struct body_range *range;
		if (!bodies_has_range(&index->bodies, number))
			continue;
		int result = find_range(index, first, &range);
		if (result < 0)
			return result;
		for (uint32_t i = 0; i < range->count; i++) {
			const struct body *body = &range->bodies[i];
			struct body_at at = { first + (uint64_t)body->offset * RECORD_ALIGNMENT,
				body->length };
			if (at.lsn < from || at.lsn >= to || body->references == 0 ||
				body->references == BODY_FREE)
				continue;
			count += body->references;
			if (fn != NULL)
				fn(arg, &at);
		}
	}
	return count;
}

int64_t bodies_count_shown(struct index *index, uint64_t from, uint64_t to)
{
	return each_shown(index, from, to, NULL, NULL);
}

int bodies_each_shown(struct index *index, uint64_t from, uint64_t to,
	void (*fn)(void *arg, const struct body_at *body), void *arg)
{
	int64_t count = each_shown(index, from, to, fn, arg);
	return count < 0 ? (int)count : 0;
}
