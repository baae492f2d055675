#include "core/map.h"

#include "core/check.h"

#include <stdlib.h>

/*
 * Entries stand densely in insertion order; `slots` is an open-addressing table of entry indices
 * plus one (0: free). Removal moves the last entry into the gap and closes the probe chain behind
 * the slot.
 */
struct entry {
	uint64_t hash;
	char *key;
	size_t key_length;
	void *value;
};

struct map {
	struct entry *entries;
	size_t count, capacity;
	uint32_t *slots;
	size_t slot_count; /* a power of two, at least twice the count */
};

struct map *map_create(void)
{
	return mem_alloc(sizeof(struct map));
}

void map_destroy(struct map **map)
{
	if (*map == NULL)
		return;
	for (size_t i = 0; i < (*map)->count; i++)
		free((*map)->entries[i].key);
	free((*map)->entries);
	free((*map)->slots);
	free(*map);
	*map = NULL;
}

size_t map_count(const struct map *map)
{
	return map->count;
}

/* The slot that holds the key, or the free slot where it belongs. */
static size_t find_slot(const struct map *map, struct str key, uint64_t hash)
{
	size_t mask = map->slot_count - 1;
	for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
		uint32_t index = map->slots[slot];
		if (index == 0)
			return slot;
		const struct entry *entry = &map->entries[index - 1];
		if (entry->hash == hash && str_equal(str_of(entry->key, entry->key_length), key))
			return slot;
	}
}

static size_t find_slot_of_index(const struct map *map, size_t index)
{
	size_t mask = map->slot_count - 1;
	size_t slot = map->entries[index].hash & mask;
	while (map->slots[slot] != index + 1)
		slot = (slot + 1) & mask;
	return slot;
}

static void grow(struct map *map)
{
	size_t slot_count = map->slot_count ? map->slot_count * 2 : 16;
	free(map->slots);
	map->slots = mem_alloc(slot_count * sizeof(*map->slots));
	map->slot_count = slot_count;
	for (size_t i = 0; i < map->count; i++) {
		size_t slot = map->entries[i].hash & (slot_count - 1);
		while (map->slots[slot] != 0)
			slot = (slot + 1) & (slot_count - 1);
		map->slots[slot] = (uint32_t)(i + 1);
	}
}

void *map_get(const struct map *map, struct str key)
{
	if (map->count == 0)
		return NULL;
	uint32_t index = map->slots[find_slot(map, key, str_hash(key))];
	return index ? map->entries[index - 1].value : NULL;
}

void *map_set(struct map *map, struct str key, void *value)
{
	CHECK(value != NULL);
	if ((map->count + 1) * 2 > map->slot_count)
		grow(map);
	uint64_t hash = str_hash(key);
	size_t slot = find_slot(map, key, hash);
	if (map->slots[slot] != 0) {
		struct entry *entry = &map->entries[map->slots[slot] - 1];
		void *before = entry->value;
		entry->value = value;
		return before;
	}
	if (map->count == map->capacity) {
		map->capacity = map->capacity ? map->capacity * 2 : 8;
		CHECK(map->capacity < UINT32_MAX);
		map->entries = mem_resize(map->entries, map->capacity * sizeof(*map->entries));
	}
	map->entries[map->count++] =
		(struct entry){ hash, mem_copy(key.bytes, key.length), key.length, value };
	map->slots[slot] = (uint32_t)map->count;
	return NULL;
}

static void close_gap(struct map *map, size_t gap)
{
	size_t mask = map->slot_count - 1;
	map->slots[gap] = 0;
	for (size_t slot = (gap + 1) & mask; map->slots[slot] != 0; slot = (slot + 1) & mask) {
		size_t wanted = map->entries[map->slots[slot] - 1].hash & mask;
		/* Move it back when its home does not lie between the gap and itself. */
		if (((slot - wanted) & mask) >= ((slot - gap) & mask)) {
			map->slots[gap] = map->slots[slot];
			map->slots[slot] = 0;
			gap = slot;
		}
	}
}

void *map_remove(struct map *map, struct str key)
{
	if (map->count == 0)
		return NULL;
	size_t slot = find_slot(map, key, str_hash(key));
	if (map->slots[slot] == 0)
		return NULL;
	size_t index = map->slots[slot] - 1;
	void *value = map->entries[index].value;
	free(map->entries[index].key);
	close_gap(map, slot);
	size_t last = map->count - 1;
	if (index != last) {
		size_t last_slot = find_slot_of_index(map, last);
		map->entries[index] = map->entries[last];
		map->slots[last_slot] = (uint32_t)(index + 1);
	}
	map->count--;
	return value;
}

bool map_next(const struct map *map, size_t *position, struct str *key_out, void **value_out)
{
	if (*position >= map->count)
		return false;
	const struct entry *entry = &map->entries[(*position)++];
	if (key_out)
		*key_out = str_of(entry->key, entry->key_length);
	if (value_out)
		*value_out = entry->value;
	return true;
}
