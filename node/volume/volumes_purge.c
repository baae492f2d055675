#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/directory/directory_write.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Removed mailboxes whose time is over. Now and then the directory is asked for those of the
 * volumes that are served here: asking marks them, so that nobody restores one meanwhile. Each is
 * taken out of its volume by a change like any other, and when another site has that too, its row
 * goes. Who dies in between finds the rows again, and a mailbox that is gone already is gone once
 * more.
 */

enum {
	/* Of one look: a change each, one after the other. */
	PURGES_MAX = 256,
	/* A node that has just started has better things to do. */
	FIRST_LOOK_MS = 10000,
};

struct volumes_purger {
	struct volumes *volumes;
	struct timer *timer;
	struct purge purges[PURGES_MAX];
	unsigned count, next;
	bool ends; /* the row of purges[next] goes; else a look */
	int result;
	struct error error;
	/* On the volume's worker. */
	struct volume_call call;
	struct task task;
	int status;
};

static void purge_next(struct volumes_purger *purger);

static void look_later(struct volumes_purger *purger)
{
	timer_start(purger->timer, purger->volumes->config->purge_every_s * 1000);
}

/* ---- the directory, on a pool thread ---- */

static void run_directory(void *arg)
{
	struct volumes_purger *purger = arg;
	struct directory_writer *writer = NULL;
	purger->result = directory_writer_open(purger->volumes->config, &writer, &purger->error);
	if (purger->result == 0)
		directory_writer_give_way(writer);
	if (purger->result == 0 && purger->ends)
		purger->result = directory_end_purge(
			writer, &purger->purges[purger->next], &purger->error);
	else if (purger->result == 0)
		purger->result = directory_begin_purges(writer, purger->volumes->node_id,
			purger->purges, PURGES_MAX, &purger->count, &purger->error);
	directory_writer_close(&writer);
}

static void on_directory(void *arg)
{
	struct volumes_purger *purger = arg;
	if (purger->result < 0) {
		/* It is away, or a standby is being promoted: there is no hurry. */
		log_debug("not_purged", "reason=%s", log_quote(str_from(purger->error.text)));
		look_later(purger);
		return;
	}
	if (purger->ends) {
		const struct purge *purge = &purger->purges[purger->next];
		log_info("mailbox_purged", "volume=%u mailbox=%llu address=%s", purge->volume_id,
			(unsigned long long)purge->mailbox_id,
			log_quote(str_from(purge->address)));
		purger->next++;
	} else {
		purger->next = 0;
	}
	purge_next(purger);
}

static void ask_directory(struct volumes_purger *purger, bool ends)
{
	purger->ends = ends;
	loop_work(purger->volumes->front, run_directory, on_directory, purger);
}

/* ---- the volume, on its worker ---- */

/* Back on the front thread. */
static void on_purged(void *arg)
{
	struct volumes_purger *purger = arg;
	if (purger->status == 0) {
		ask_directory(purger, true);
		return;
	}
	/* Not served here now, or at risk: its row stays, and the next look finds it. */
	purger->next++;
	purge_next(purger);
}

static void answer(struct volumes_purger *purger, int status)
{
	purger->status = status;
	purger->task = (struct task){ .run = on_purged, .arg = purger };
	loop_post(purger->volumes->front, &purger->task);
}

struct purge_change {
	struct pending_change pending;
	struct volumes_purger *purger;
};

static void on_change(struct pending_change *pending, int status, bool at_risk)
{
	struct purge_change *change = container_of(pending, struct purge_change, pending);
	struct volumes_purger *purger = change->purger;
	if (status == 0)
		pending->volume->purged_end = pending->append.end_lsn;
	free(change);
	answer(purger, status == 0 && at_risk ? -EAGAIN : status);
}

/* Where no copy is at another site, the row waits for none. */
static bool is_purged_elsewhere(const struct volume *volume)
{
	return !volume_has_replica(volume) || volume_shipped_end(volume) >= volume->purged_end;
}

static void run_purge(struct volume_call *call, struct volume *volume)
{
	struct volumes_purger *purger = container_of(call, struct volumes_purger, call);
	const struct purge *purge = &purger->purges[purger->next];
	if (volume->state != VOLUME_PRIMARY || volume->index.is_broken) {
		answer(purger, -EROFS);
		return;
	}
	const struct mailbox *mailbox = index_find_mailbox(&volume->index, purge->mailbox_id);
	if (mailbox == NULL || memcmp(mailbox->mark, purge->mark, sizeof(purge->mark)) != 0) {
		/* It never had mail, or is gone; in a copy that lacks the PURGE it is not. */
		answer(purger, is_purged_elsewhere(volume) ? 0 : -EAGAIN);
		return;
	}
	struct purge_change *change = mem_alloc(sizeof(*change));
	change->purger = purger;
	change->pending.pool = pool_create();
	change->pending.change.action_count = 1;
	change->pending.change.actions =
		pool_alloc(change->pending.pool, sizeof(struct action));
	change->pending.change.actions[0] = (struct action){ .kind = ACTION_PURGE,
		.mailbox_id = purge->mailbox_id,
		.mark = str_of(purge->mark, sizeof(purge->mark)) };
	change->pending.done = on_change;
	change->pending.durability = DURABILITY_REMOTE;
	change->pending.waits_for_replica = true;
	volume_submit(volume, &change->pending, STR(""), STR(""));
}

static void purge_next(struct volumes_purger *purger)
{
	for (; purger->next < purger->count; purger->next++) {
		purger->call = (struct volume_call){ .run = run_purge };
		if (volumes_call(purger->volumes, purger->purges[purger->next].volume_id,
			    &purger->call))
			return;
	}
	look_later(purger);
}

static void on_timer(void *arg)
{
	struct volumes_purger *purger = arg;
	purger->count = purger->next = 0;
	if (directory_is_fresh(purger->volumes->directory))
		ask_directory(purger, false);
	else
		look_later(purger);
}

void volumes_purge(struct volumes *volumes)
{
	struct volumes_purger *purger = mem_alloc(sizeof(*purger));
	purger->volumes = volumes;
	purger->timer = timer_new(volumes->front, on_timer, purger);
	uint64_t every_ms = volumes->config->purge_every_s * 1000;
	timer_start(purger->timer, every_ms < FIRST_LOOK_MS ? every_ms : FIRST_LOOK_MS);
}
