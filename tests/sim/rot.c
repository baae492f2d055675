#include "sim/rot.h"

#include "proto/disk/record.h"
#include "sim/cluster_internal.h"

#include <stdio.h>

enum {
	ROTS_MAX = 256,
	/* Of a group's first block: its header, and the first record's. */
	HEADERS = 160,
	KEPT = 100,
};

static struct rot {
	char path[WORLD_PATH_MAX];
	uint64_t offset;
	uint8_t value;
} rots[ROTS_MAX];
static unsigned count, victim;
static bool index_has_rotted;
static bool has_kept[CLUSTER_MACHINES_MAX][CLUSTER_VOLUMES];

void rot_reset(void)
{
	count = 0;
	index_has_rotted = false;
	victim = (unsigned)world_pick(machine_count);
	memset(has_kept, 0, sizeof(has_kept));
}

unsigned rot_machine(void)
{
	return victim;
}

bool rot_has_been(void)
{
	return count > 0;
}

bool rot_of_index_has_been(void)
{
	return index_has_rotted;
}

static bool is_rotten_at(const char *path, uint64_t offset)
{
	for (unsigned i = 0; i < count; i++)
		if (rots[i].offset == offset && strcmp(rots[i].path, path) == 0)
			return true;
	return false;
}

static void rot_at(const char *path, uint64_t offset)
{
	if (count == ROTS_MAX || is_rotten_at(path, offset))
		return;
	struct rot *rot = &rots[count++];
	snprintf(rot->path, sizeof(rot->path), "%s", path);
	rot->offset = offset;
	rot->value = world_rot(victim, path, offset);
}

/* A file of a random volume: of its segments, or of the others. */
static bool pick(bool segment, char path[WORLD_PATH_MAX], uint64_t *size_out)
{
	char prefix[32];
	int length = snprintf(
		prefix, sizeof(prefix), "/volumes/%u/", 1 + (unsigned)world_pick(CLUSTER_VOLUMES));
	for (unsigned tries = 0; tries < 8; tries++) {
		if (!world_pick_file(victim, prefix, path, size_out))
			return false;
		/* Segments are named by a number. */
		if ((path[length] == '0') == segment)
			return true;
	}
	return false;
}

void rot_log(unsigned machine)
{
	char path[WORLD_PATH_MAX];
	uint64_t size, offset;
	(void)machine;
	if (!pick(true, path, &size))
		return;
	offset = world_pick(size);
	if (world_pick(2) == 0)
		offset = offset / GROUP_ALIGNMENT * GROUP_ALIGNMENT + world_pick(HEADERS);
	if (offset < size)
		rot_at(path, offset);
}

void rot_beside_log(unsigned machine)
{
	char path[WORLD_PATH_MAX];
	uint64_t size;
	(void)machine;
	if (pick(false, path, &size))
		rot_at(path, world_pick(size));
}

static void index_path(unsigned v, char path[32])
{
	snprintf(path, 32, "/index/%u", v + 1);
}

void rot_index(unsigned machine)
{
	char path[32];
	(void)machine;
	index_path((unsigned)world_pick(CLUSTER_VOLUMES), path);
	index_has_rotted |= world_rot_store(victim, path);
}

static bool is_still_there(const struct rot *rot)
{
	char value;
	return world_read_file(victim, rot->path, rot->offset, &value, 1) == 1 &&
		(uint8_t)value == rot->value;
}

/* The file of a segment; its volume and its address. */
static bool is_segment(const struct rot *rot, unsigned *volume_out, unsigned long long *at_out)
{
	return sscanf(rot->path, "/volumes/%u/%16llx.log", volume_out, at_out) == 2;
}

bool rot_was_in(uint32_t volume_id)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned volume;
		unsigned long long segment;
		if (is_segment(&rots[i], &volume, &segment) && volume == volume_id)
			return true;
	}
	return false;
}

bool rot_is_in(unsigned machine, uint32_t volume_id, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < count && machine == victim; i++) {
		unsigned volume;
		unsigned long long segment;
		if (!is_segment(&rots[i], &volume, &segment) || volume != volume_id)
			continue;
		uint64_t lsn = segment * segment_length + rots[i].offset;
		if (lsn >= from && lsn < to && is_still_there(&rots[i]))
			return true;
	}
	return false;
}

/* ---- indexes ---- */

/* Restored from a backup, or by a mistake: its node does not run. */
static void stop(unsigned machine)
{
	if (world_is_running(machine))
		world_kill_process(machine, NODE_PROCESS);
}

void index_keep(unsigned machine)
{
	unsigned v = (unsigned)world_pick(CLUSTER_VOLUMES);
	char path[32];
	index_path(v, path);
	world_copy_store(machine, path, KEPT + machine, path);
	has_kept[machine][v] = true;
}

void index_put_back(unsigned machine)
{
	unsigned v = (unsigned)world_pick(CLUSTER_VOLUMES);
	char path[32];
	if (!has_kept[machine][v])
		return;
	stop(machine);
	index_path(v, path);
	world_copy_store(KEPT + machine, path, machine, path);
}

void index_swap(unsigned machine)
{
	unsigned other = (unsigned)world_pick(machine_count);
	char from[32], to[32];
	stop(machine);
	index_path((unsigned)world_pick(CLUSTER_VOLUMES), to);
	index_path((unsigned)world_pick(CLUSTER_VOLUMES), from);
	world_copy_store(other, from, machine, to);
}
