#include "node/volume/volumes_internal.h"

#include "core/log.h"
#include "core/timer.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * What is left on the disk when mail is refused already: so people can delete on a disk that is
 * full, what is deleted gives its room back, and volumes are fenced, opened and moved away. All of
 * that is records without bodies.
 */

enum {
	/* A segment, as the router keeps for its queue: the next one can be begun. */
	RESERVE_BYTES = 64 << 20,
	/* Above that mail is taken again: not for each deleted message in turn. */
	TAKES_AGAIN_BYTES = RESERVE_BYTES + (16 << 20),
	/* In which a fast disk takes less than the reserve. */
	ROOM_LOOK_MS = 250,
};

struct room_look {
	struct volumes *volumes;
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
	struct volumes *volumes = look->volumes;
	bool was_short = atomic_load(&volumes->is_short_of_room);
	/* What cannot be asked is tried. */
	bool is_short = look->free_bytes >= 0 &&
		look->free_bytes < (was_short ? TAKES_AGAIN_BYTES : RESERVE_BYTES);
	atomic_store(&volumes->is_short_of_room, is_short);
	if (is_short && !was_short)
		log_warn("short_of_room",
			"path=%s free=%lld effect=\"mail is refused for now, and waits at the "
			"routers; what is there can be read and deleted\" hint=\"make room, or "
			"pando failover\"",
			look->path, (long long)look->free_bytes);
	else if (was_short && !is_short)
		log_info("room_again", "path=%s free=%lld", look->path,
			(long long)look->free_bytes);
	timer_start(volumes->room_timer, ROOM_LOOK_MS);
	free(look);
}

static void on_timer(void *arg)
{
	struct volumes *volumes = arg;
	struct room_look *look = mem_alloc(sizeof(*look));
	look->volumes = volumes;
	snprintf(look->path, sizeof(look->path), "%s/volumes", volumes->config->data_dir);
	loop_work(volumes->front, run_look, on_looked, look);
}

void volumes_watch_room(struct volumes *volumes)
{
	volumes->room_timer = timer_new(volumes->front, on_timer, volumes);
	timer_start(volumes->room_timer, 0);
}
