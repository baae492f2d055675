#include "core/check.h"
#include "spool/volume_log_internal.h"

/* What a copy knows beside its groups, changed one by one: each change replaces the file `epochs`.
 */

uint64_t volume_log_seen(const struct volume_log *log)
{
	const struct epoch_entry *last = epochs_last(&log->state.epochs);
	return last != NULL && last->epoch > log->state.seen ? last->epoch : log->state.seen;
}

struct log_state log_state_numbers(const struct volume_log *log)
{
	return (struct log_state){ .seen = volume_log_seen(log),
		.held = log->state.held,
		.whole_from = log->state.whole_from };
}

static int replace_numbers(struct volume_log *log, struct log_state state)
{
	CHECK(!log->is_cutting && log->holding == NULL);
	epochs_copy(&state.epochs, &log->state.epochs);
	int result = log_state_replace(log, &state);
	if (result < 0)
		log_state_deinit(&state);
	return result;
}

int volume_log_note_seen(struct volume_log *log, uint64_t epoch)
{
	struct log_state state = log_state_numbers(log);
	if (epoch <= state.seen)
		return 0;
	state.seen = epoch;
	return replace_numbers(log, state);
}

uint64_t volume_log_held(const struct volume_log *log)
{
	return log->state.held;
}

int volume_log_unhold(struct volume_log *log)
{
	struct log_state state = log_state_numbers(log);
	if (state.held == 0)
		return 0;
	state.held = 0;
	return replace_numbers(log, state);
}

uint64_t volume_log_whole_from(const struct volume_log *log)
{
	return log->state.whole_from;
}

int volume_log_note_whole_from(struct volume_log *log, uint64_t lsn)
{
	struct log_state state = log_state_numbers(log);
	if (lsn == state.whole_from)
		return 0;
	state.whole_from = lsn;
	return replace_numbers(log, state);
}

int volume_log_save_state(struct volume_log *log)
{
	return replace_numbers(log, log_state_numbers(log));
}
