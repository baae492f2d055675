#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "proto/disk/record.h"
#include "spool/log_state.h"

#include <errno.h>

/* What the log says goes into the index: as it is received, and before a reign begins. A long way
 * is gone in steps, and the worker's other volumes have their turns between them. */

/* Read and applied in a step: 1 MiB, milliseconds. */
static size_t step_length(void)
{
	return (size_t)(segment_length / 64);
}

/* Everything this reign has written up to `lsn` is in the index. */
void volume_note_applied(struct volume *volume, uint64_t lsn)
{
	/* Not the desired reign: the directory may have named the next one already. */
	const struct epoch_entry *reign = epochs_last(volume_log_epochs(volume->log));
	volume->index.applied_lsn = lsn;
	volume->index.applied_epoch = reign->epoch;
	volume->index.applied_incarnation = reign->incarnation;
	memcpy(volume->index.applied_reign, reign->reign, EPOCH_REIGN_LENGTH);
}

/* An index that was saved before the log was cut and grew again is of another branch. */
static int check_branch(struct volume *volume, uint64_t end)
{
	struct log_state state;
	if (volume->branch_is_checked && volume->index.applied_lsn <= end)
		return 0;
	int result = log_state_read(volume->options.disk, volume->options.log_directory, &state);
	if (result == 0 &&
		(volume->index.applied_lsn > end ||
			!index_is_prefix_of(&volume->index, &state.epochs))) {
		log_warn("index_of_another_branch",
			"volume=%u applied=%llu end=%llu action=rebuild", volume->options.id,
			(unsigned long long)volume->index.applied_lsn, (unsigned long long)end);
		index_reset(&volume->index);
	}
	volume->branch_is_checked = result == 0;
	log_state_deinit(&state);
	/* Who writes the log writes it anew, as it mends what is damaged in the log. */
	return result == -EUCLEAN ? -EBADMSG : result;
}

int volume_apply_range(struct volume *volume, uint64_t end)
{
	int result = check_branch(volume, end);
	if (result == 0 && volume->reader == NULL)
		result = log_reader_open(volume->options.disk, volume->options.log_directory,
			volume->options.id, &volume->reader);
	if (result == 0 && volume->index.applied_lsn < end) {
		struct bytes *bytes;
		uint64_t lsn, next;
		/* Headers and changes: large bodies are passed over. */
		result = log_reader_skim(volume->reader, volume->index.applied_lsn, end,
			step_length(), &bytes, &lsn, &next);
		if (result < 0)
			return result;
		result = index_apply_groups(&volume->index, bytes_str(bytes), lsn);
		bytes_unref(&bytes);
	}
	return result == 0 && volume->index.applied_lsn < end ? 1 : result;
}

/* Of a replica: some of what it has received. */
static void apply_received(struct volume *volume)
{
	uint64_t end = volume->reader_end;
	int result = volume_apply_up_to(volume, end);
	uint64_t damaged = result == -EBADMSG ? 1 + volume->index.applied_lsn : 0;
	bool is_refused = result < 0 && damaged == 0;
	if (result > 0)
		timer_start(volume->apply_timer, APPLY_PAUSE_MS);
	else if (is_refused)
		timer_start(volume->apply_timer, APPLY_AGAIN_MS);
	if (damaged != 0 ? atomic_load(&volume->numbers.damaged) == 0
			 : is_refused && !volume->is_unread)
		log_error("replica_unreadable", "volume=%u applied=%llu end=%llu reason=%s",
			volume->options.id, (unsigned long long)volume->index.applied_lsn,
			(unsigned long long)end, log_quote(str_from(strerror(-result))));
	volume->is_unread = is_refused;
	if (atomic_exchange(&volume->numbers.damaged, damaged) != damaged)
		volume->options.events.changed(volume->options.events.arg, volume);
	volume_publish(volume);
}

void volume_on_apply_timer(void *arg)
{
	struct volume *volume = arg;
	if (volume->state == VOLUME_REPLICA)
		apply_received(volume);
	else if (volume->state == VOLUME_OPENING && volume->opening.is_applying)
		volume_apply_opening(volume);
}

void volume_received(struct volume *volume, uint64_t lsn, uint64_t whole_from, uint64_t leader_end,
	uint64_t time_us)
{
	if (volume->log == NULL) /* else the log here says it itself */
		atomic_store(&volume->numbers.whole_from, whole_from);
	atomic_store(&volume->numbers.leader_lsn, leader_end);
	atomic_store(&volume->numbers.leader_time_us, time_us);
	if (volume->state != VOLUME_REPLICA)
		return;
	if (lsn < volume->reader_end) {
		/* It was cut, or made anew, and the word of that was lost with who gave it. */
		volume_was_cut(volume, lsn);
		return;
	}
	volume->reader_end = lsn;
	apply_received(volume);
}

void volume_unheard(struct volume *volume)
{
	if (volume->state == VOLUME_REPLICA)
		volume_forget_read(volume);
}

void volume_forget_read(struct volume *volume)
{
	log_reader_close(&volume->reader);
	volume->branch_is_checked = false;
}

void volume_was_cut(struct volume *volume, uint64_t lsn)
{
	/* Held, and not here yet: it is looked at when it is taken. */
	if (volume->state == VOLUME_HELD && volume->log == NULL)
		volume->reader_end = lsn;
	if (volume->state != VOLUME_REPLICA)
		return;
	volume->reader_end = lsn;
	volume_forget_read(volume);
	volume->contradicts_log = false;
	volume_received(volume, lsn, atomic_load(&volume->numbers.whole_from), 0, 0);
}
