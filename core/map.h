#ifndef PANDO_CORE_MAP_H
#define PANDO_CORE_MAP_H

/*
 * A hash map from a run of bytes to a pointer. Keys are copied, values are borrowed. Iteration
 * order is that of insertion until something is removed (then unspecified but the same for the same
 * history, so that a simulation replays exactly).
 */

#include "core/str.h"

struct map;

struct map *map_create(void);
/* Sets *map to NULL; NULL is accepted. Values are the caller's. */
void map_destroy(struct map **map);
size_t map_count(const struct map *map);

void *map_get(const struct map *map, struct str key);
/* Returns the value that was there before, or NULL. `value` must not be NULL. */
void *map_set(struct map *map, struct str key, void *value);
/* Returns the value removed, or NULL. */
void *map_remove(struct map *map, struct str key);

/* for (size_t i = 0; map_next(map, &i, &key, &value);) ... The map must not change meanwhile. */
bool map_next(const struct map *map, size_t *position, struct str *key_out, void **value_out);

/* A number as a key. */
#define map_key_u64(pointer_to_u64) str_of((pointer_to_u64), sizeof(uint64_t))

#endif
