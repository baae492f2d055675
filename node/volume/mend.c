#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Damage in the log that this node writes. Whoever meets it waits (a session that reads a message,
 * a replay), or does not (shipping, which is asked for again): the pool says where it is, the
 * replicator fetches what another copy has, and the log takes it if it is proven to be right
 * (spool/log_mend.h). One range at a time. Who has waited for too long goes on without it.
 */

enum {
	/* From segment to segment, where the first group of each is damaged; and, over three
	 * copies, each range again. */
	MEND_RANGES_MAX = 64,
};

static void locate(struct volume *volume, uint64_t lsn);

static struct mend_wait *find_wait(const struct volume *volume, uint64_t from, uint64_t to)
{
	list_for_each (entry, &volume->mend.waits) {
		struct mend_wait *wait = list_entry(entry, struct mend_wait, link);
		if (wait->lsn >= from && wait->lsn < to)
			return wait;
	}
	return NULL;
}

/* Tells those who wait for something below `to` and from `from` on. */
static void tell(struct volume *volume, uint64_t from, uint64_t to, int status)
{
	struct mend_wait *wait;
	/* From the first again: who is told may close the log, which tells the others. */
	while ((wait = find_wait(volume, from, to)) != NULL) {
		list_remove(&wait->link);
		wait->done(wait, status);
	}
}

/* The next who waits. */
static void go_on(struct volume *volume);

/* What only a scrub has met says nothing to who waits for another place. */
static void give_up(struct volume *volume, const char *why)
{
	struct volume_mend *mend = &volume->mend;
	log_error("not_mended",
		"volume=%u lsn=%llu reason=%s next=\"tried again when it is read again\" "
		"hint=\"pando check\"",
		volume->options.id, (unsigned long long)mend->lsn, log_quote(str_from(why)));
	atomic_store(&volume->numbers.not_mended, 1);
	if (mend->is_for_scrub) {
		tell(volume, mend->lsn, mend->lsn + 1, -EBADMSG);
		go_on(volume);
		return;
	}
	mend->state = MEND_IDLE;
	mend->again_us = clock_mono_us() + MEND_AGAIN_MS * 1000u;
	tell(volume, 0, UINT64_MAX, -EBADMSG);
}

static void go_on(struct volume *volume)
{
	struct volume_mend *mend = &volume->mend;
	mend->state = MEND_IDLE;
	if (volume->log == NULL || list_is_empty(&mend->waits))
		return;
	struct mend_wait *wait = list_entry(mend->waits.next, struct mend_wait, link);
	mend->lsn = wait->lsn;
	mend->is_for_scrub = wait->is_scrub;
	mend->ranges = 0;
	locate(volume, wait->lsn);
}

static void fetch(struct volume *volume)
{
	struct volume_mend *mend = &volume->mend;
	mend->state = MEND_FETCHING;
	timer_start(mend->timer, MEND_WAIT_MS_MAX);
	volume->options.events.mend(
		volume->options.events.arg, volume, &mend->locate.damage, mend->passed_over);
}

static void on_located(struct log_locate *locate, int status)
{
	struct volume *volume = locate->arg;
	struct volume_mend *mend = &volume->mend;
	if (status == -ENOENT) {
		/* Sound, by now: all of its group is read again. */
		tell(volume, mend->lsn, mend->lsn + 1, 0);
		go_on(volume);
	} else if (status < 0) {
		give_up(volume, strerror(-status));
	} else {
		mend->passed_over = 0;
		fetch(volume);
	}
}

static void locate(struct volume *volume, uint64_t lsn)
{
	struct volume_mend *mend = &volume->mend;
	if (mend->ranges++ == MEND_RANGES_MAX || lsn >= volume_log_end(volume->log)) {
		give_up(volume, "too much of it is damaged");
		return;
	}
	mend->state = MEND_LOCATING;
	mend->locate = (struct log_locate){ .done = on_located, .arg = volume };
	volume_log_locate(volume->log, lsn, &mend->locate);
}

static void on_written(void *arg, int status)
{
	struct volume *volume = arg;
	struct volume_mend *mend = &volume->mend;
	const struct log_damage *damage = &mend->locate.damage;
	if (status == -ENOLINK) {
		/* The first group of the next segment names what it follows. */
		locate(volume, (segment_of(damage->from) + 1) * segment_length);
		return;
	}
	if (status == -EXDEV || status == -EBADMSG || status == -EINVAL) {
		mend->passed_over++;
		fetch(volume);
		return;
	}
	if (status < 0) {
		give_up(volume, strerror(-status));
		return;
	}
	atomic_fetch_add(&volume->numbers.mended, 1);
	atomic_store(&volume->numbers.not_mended, 0);
	log_warn("mended", "volume=%u lsn=%llu end=%llu", volume->options.id,
		(unsigned long long)damage->from, (unsigned long long)damage->to);
	/* Until what was read is sound. */
	locate(volume, mend->lsn);
}

void volume_mend_with(struct volume *volume, uint64_t lsn, struct bytes *groups)
{
	struct volume_mend *mend = &volume->mend;
	if (mend->state != MEND_FETCHING || lsn != mend->locate.damage.from) {
		bytes_unref(&groups); /* of a question that is void */
		return;
	}
	timer_stop(mend->timer);
	if (groups == NULL) {
		give_up(volume, "no other copy that is in reach has it whole");
		return;
	}
	if (groups->length == 0) {
		/* The segment ends there at the others: its successor does not say so here. */
		bytes_unref(&groups);
		locate(volume, (segment_of(lsn) + 1) * segment_length);
		return;
	}
	mend->state = MEND_WRITING;
	volume_log_mend(volume->log, lsn, groups, on_written, volume);
}

static void on_timer(void *arg)
{
	struct volume *volume = arg;
	if (volume->mend.state == MEND_FETCHING)
		give_up(volume, "the replicator does not answer");
}

void volume_mend(struct volume *volume, uint64_t lsn, struct mend_wait *wait)
{
	struct volume_mend *mend = &volume->mend;
	bool may = volume->log != NULL && volume->replica_count > 0 &&
		lsn < volume_log_end(volume->log) &&
		((wait != NULL && wait->is_scrub) || clock_mono_us() >= mend->again_us) &&
		(mend->state != MEND_IDLE || !volume_log_is_mending(volume->log));
	if (!may) {
		if (wait != NULL)
			wait->done(wait, -EBADMSG);
		return;
	}
	if (wait != NULL) {
		wait->lsn = lsn;
		list_append(&mend->waits, &wait->link);
	}
	if (mend->state != MEND_IDLE)
		return;
	mend->lsn = lsn;
	mend->is_for_scrub = wait != NULL && wait->is_scrub;
	mend->ranges = 0;
	locate(volume, lsn);
}

void volume_begin_mending(struct volume *volume)
{
	list_init(&volume->mend.waits);
	volume->mend.timer = timer_new(volume->options.loop, on_timer, volume);
}

void volume_close_log(struct volume *volume)
{
	volume_log_close(&volume->log);
	volume->mend.state = MEND_IDLE;
	timer_stop(volume->mend.timer);
	tell(volume, 0, UINT64_MAX, -EROFS);
}

void volume_end_mending(struct volume *volume)
{
	timer_destroy(&volume->mend.timer);
}
