#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>

/* An index that contradicts its log, or whose store is damaged, is thrown away and made again by a
 * replay. A log that contradicts itself makes the volume unusable, and says where. */

enum {
	/* What a replay takes of the loop at a time, as long as a disk that syncs takes. */
	APPLY_TURN_US = 5000,
	/* The same where no clock moves. */
	APPLY_STEPS_MAX = 16,
};

static void on_broken_task(void *arg)
{
	struct volume *volume = arg;
	volume->broken_is_posted = false;
	if (volume->index.is_broken)
		volume_rebuild(volume);
}

/* Found in the middle of something: what follows from it comes from the loop. */
void volume_on_index_broken(void *owner)
{
	struct volume *volume = owner;
	if (volume->broken_is_posted)
		return;
	volume->broken_is_posted = true;
	volume->broken_task = (struct task){ .run = on_broken_task, .arg = volume };
	loop_defer(volume->options.loop, &volume->broken_task);
}

void volume_rebuild(struct volume *volume)
{
	/* Sessions go, what is on its way ends, and then it is opened anew (fence.c). A replica's
	 * is made anew when it applies next. */
	if (volume->state != VOLUME_PRIMARY && volume->state != VOLUME_OPENING)
		return;
	volume->is_reopening = true;
	volume_fence(volume, false, NULL);
}

/* How far a copy elsewhere had it is not in the log, and stays true. */
static int begin_anew(struct volume *volume)
{
	struct error error;
	uint64_t acked_lsn = volume->index.acked_lsn;
	int result = index_renew(&volume->index, &error);
	volume->index.acked_lsn = acked_lsn;
	if (result < 0)
		log_error("index_unusable", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(error.text)));
	return result;
}

int volume_open_index(struct volume *volume)
{
	struct error error;
	if (volume->index.store != NULL)
		return 0;
	/* What was applied without a store goes: the store may have more, and of a branch that was
	 * cut off meanwhile. */
	index_reset(&volume->index);
	volume->branch_is_checked = false;
	int result = index_open(&volume->index, &error);
	if (result < 0)
		log_error("index_unusable", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(error.text)));
	return result;
}

static int apply_step(struct volume *volume, uint64_t end)
{
	struct index *index = &volume->index;
	if (volume->contradicts_log && volume->state != VOLUME_OPENING)
		return -EUCLEAN;
	int result = index->is_broken ? begin_anew(volume) : 0;
	if (result == 0)
		result = volume_apply_range(volume, end);
	if (result < 0 && index->is_broken && !index->is_from_log) {
		log_warn("index_contradicts_log", "volume=%u lsn=%llu action=replay",
			volume->options.id, (unsigned long long)index->applied_lsn);
		result = begin_anew(volume);
		if (result == 0)
			return 1;
	}
	volume->contradicts_log = result < 0 && index->is_broken;
	if (volume->contradicts_log)
		log_error("log_contradicts_itself",
			"volume=%u lsn=%llu hint=\"copy the volume from a replica\"",
			volume->options.id, (unsigned long long)index->applied_lsn);
	return result;
}

int volume_apply_up_to(struct volume *volume, uint64_t end)
{
	uint64_t start_us = clock_mono_us();
	int result = 1;
	for (unsigned i = 0;
		i < APPLY_STEPS_MAX && result > 0 && clock_mono_us() - start_us < APPLY_TURN_US;
		i++)
		result = apply_step(volume, end);
	return result;
}

void volume_mend_state(struct volume *volume)
{
	if (volume->state != VOLUME_PRIMARY)
		return; /* an opening writes it anyway */
	int result = volume_log_save_state(volume->log);
	if (result < 0)
		log_error("epochs_damaged", "volume=%u reason=%s effect=\"no copy can follow\"",
			volume->options.id, log_quote(str_from(strerror(-result))));
	else
		log_warn("epochs_mended", "volume=%u", volume->options.id);
}
