#include "replicator/internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

/* What a replica leaves on its disk for those that are written there: a node refuses mail before
 * (node/volume/volumes_room.c), so that people can delete on a full disk, and volumes are fenced,
 * opened and moved away; bytes that came from elsewhere would use up what it keeps for that. */

enum {
	/* Half of what mail leaves. Less than all of it: who still takes mail elsewhere has his
	 * copy for longer than this machine takes mail itself. So much is half a million records
	 * without bodies, and more than volumes prepare ahead of their ends (PREPARE_STEP of
	 * spool/volume_log.c) on a machine with a few of them. */
	ROOM_KEPT_BYTES = 32 << 20,
	/* Above that it goes on: not for each deleted message in turn. */
	ROOM_AGAIN_BYTES = ROOM_KEPT_BYTES + (8 << 20),
	/* What is received meanwhile is counted; what others write on a fast disk is less. */
	ROOM_LOOK_MS = 250,
};

struct room_look {
	struct replicator *replicator;
	char path[512];
	int64_t free_bytes;
};

/* On a pool thread: a disk that hangs holds nobody up. */
static void run_look(void *arg)
{
	struct room_look *look = arg;
	look->free_bytes = disk_space_free(look->path);
}

static void on_looked(void *arg)
{
	struct room_look *look = arg;
	struct room *room = &look->replicator->room;
	room->is_looking = false;
	/* What cannot be asked is tried. */
	room->left = look->free_bytes >= 0 ? look->free_bytes : INT64_MAX;
	if (room->is_short && room->left >= ROOM_AGAIN_BYTES) {
		room->is_short = false;
		log_info("room_again", "path=%s free=%lld", look->path,
			(long long)look->free_bytes);
	}
	free(look);
}

void room_look(struct replicator *replicator)
{
	struct room *room = &replicator->room;
	uint64_t now = clock_mono_us();
	bool is_first = room->looked_us == 0;
	if (room->is_looking || (!is_first && now - room->looked_us < ROOM_LOOK_MS * 1000u))
		return;
	if (is_first)
		room->left = INT64_MAX;
	room->looked_us = now;
	room->is_looking = true;
	struct room_look *look = mem_alloc(sizeof(*look));
	look->replicator = replicator;
	snprintf(look->path, sizeof(look->path), "%s", replicator->volumes_directory);
	loop_work(replicator->options.loop, run_look, on_looked, look);
}

bool room_take(struct replicator *replicator, size_t length)
{
	struct room *room = &replicator->room;
	room_look(replicator);
	if (!room->is_short && room->left < ROOM_KEPT_BYTES + (int64_t)length) {
		room->is_short = true;
		log_warn("short_of_room",
			"path=%s free=%lld effect=\"replicas here take nothing for now, what they "
			"lack is at risk where it is written\" hint=\"make room\"",
			replicator->volumes_directory, (long long)room->left);
	}
	if (!room->is_short)
		room->left -= (int64_t)length;
	return !room->is_short;
}
