#include "unit/layout_world.h"

#include "unit/test.h"

struct layout_world world;

static const char *const sites[] = { "site-a", "site-b", "site-c" };
static const char *const volume_names[] = { "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8",
	"v9" };

static unsigned node_named(struct str name)
{
	for (unsigned i = 0; i < world.layout.node_count; i++)
		if (str_equal(str_from(world.nodes[i].name), name))
			return i;
	EXPECT(false);
	return 0;
}

void world_begin(const char *const *names, unsigned count)
{
	world = (struct layout_world){ .layout = { world.nodes, count, world.volumes, 0 } };
	for (unsigned i = 0; i < count; i++)
		world.nodes[i] = (struct layout_node){ .id = i + 1,
			.site_id = (uint32_t)names[i][0],
			.name = names[i],
			.site = sites[names[i][0] - 'a'],
			.free_bytes = 1ull << 50 };
}

struct layout_volume *world_add(const char *copies)
{
	unsigned index = world.layout.volume_count++;
	struct layout_volume *volume = &world.volumes[index];
	struct str rest = str_from(copies), word;
	*volume = (struct layout_volume){ .id = index + 1,
		.name = index < array_length(volume_names) ? volume_names[index] : "v",
		.bytes = 1 << 30,
		.is_served = true };
	while (str_next(&rest, ' ', &word)) {
		char mark = word.bytes[word.length - 1];
		bool marked = mark == '+' || mark == '?';
		unsigned node = node_named(str_first(word, word.length - marked));
		volume->copies[volume->copy_count++] = (struct layout_copy){ node,
			mark == '+'           ? COPY_SEEDING
				: mark == '?' ? COPY_BEHIND
					      : COPY_IN_STEP };
		world.nodes[node].copies++;
		world.nodes[node].bytes += volume->bytes;
	}
	world.nodes[volume->copies[0].node].primaries++;
	return volume;
}

void world_use_numbers(struct layout_volume *volume, unsigned left)
{
	volume->number_count = 0;
	for (unsigned i = 0; i < volume->copy_count; i++)
		volume->number_node_ids[volume->number_count++] =
			world.nodes[volume->copies[i].node].id;
	while (volume->number_count < VOLUME_COPIES_MAX - left) {
		volume->number_node_ids[volume->number_count] = 1000 + volume->number_count;
		volume->number_count++;
	}
}
