#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/rand.h"
#include "spool/log_state.h"

#include <errno.h>
#include <string.h>

/*
 * Whether the log here is whole, before anything is written to it. Being named by the directory
 * says who may write; a disk may be new, put back, or have lost its last writes. One of these
 * proves it:
 *
 *   1. This boot wrote it: the machine's memory knows how far the log must reach, and it does. A
 *      kill, an upgrade, a crash of the process: nobody is asked.
 *   2. All other copies have been heard and what they had more has been fetched: the same epoch
 *      goes on, half a slack of uids further, and serves when all of them have its first records.
 *   3. Not all answer: the directory gives this copy an epoch of its own (a claim), which begins
 *      unclean. By itself only where nothing is known to be missing; else at the operator's word.
 *   4. It stood still, under the token that the directory names, when this epoch was given to it.
 *
 * A log whose end is a FENCE is not proven by the first: somebody may have been promoted.
 */

static bool has_chain(struct volume *volume, uint64_t lsn, uint64_t chain)
{
	struct log_reader *reader;
	uint64_t end = volume_log_end(volume->log), here;
	if (lsn == end)
		return volume_log_chain(volume->log) == chain;
	if (lsn > end ||
		log_reader_open(volume->options.disk, volume->options.log_directory,
			volume->options.id, &reader) < 0)
		return false;
	int result = log_reader_chain(reader, lsn, end, &here);
	log_reader_close(&reader);
	return result == 0 && here == chain;
}

void volume_remember(struct volume *volume)
{
	struct witness witness = { .token = volume->token };
	/* An opening that is not complete is no proof for the next process: it may lack its slack,
	 * or the word of the other copies. */
	if (volume->log == NULL || volume->is_behind || (!volume->was_served && volume->token == 0))
		return;
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	/* Nobody goes on by memory from where somebody else decides. */
	if (volume->writes && last != NULL && volume->token == 0)
		witness.incarnation = last->incarnation;
	witness.end = volume_log_end(volume->log);
	witness.chain = volume_log_chain(volume->log);
	witness_write(volume->witness, &witness);
}

void volume_forget_proof(struct volume *volume)
{
	struct witness witness;
	if (!witness_read(volume->witness, &witness) || witness.incarnation == 0)
		return;
	witness.incarnation = witness.token = 0;
	witness_write(volume->witness, &witness);
}

void volume_know_end(struct volume *volume, uint64_t end)
{
	if (end > volume->known_end)
		volume->known_end = end;
}

/* Of a log that is empty now: it had something in this boot. */
static bool remembers_any(struct volume *volume)
{
	struct witness witness;
	return witness_read(volume->witness, &witness) && witness.end > 0;
}

/* What this machine remembers and the log here does not bear out raises known_end. */
static bool remembers(struct volume *volume, struct witness *witness_out)
{
	if (!witness_read(volume->witness, witness_out))
		return false;
	if (has_chain(volume, witness_out->end, witness_out->chain))
		return true;
	volume_know_end(volume, witness_out->end);
	return false;
}

static bool is_of_this_boot(struct volume *volume, const struct epoch_entry *last)
{
	struct witness witness;
	return !volume->is_behind && remembers(volume, &witness) && witness.incarnation != 0 &&
		witness.incarnation == last->incarnation && !volume_log_ends_fenced(volume->log);
}

static bool has_token(struct volume *volume)
{
	struct witness witness;
	uint64_t token = volume->token;
	/* It is a word for what stood here then: the log may have been opened anew since. */
	if (token != 0 && volume_log_end(volume->log) < volume->token_end)
		return false;
	/* Of a process before this one: only if nothing was received since. */
	if (token == 0 && remembers(volume, &witness) && witness.end == volume_log_end(volume->log))
		token = witness.token;
	return token != 0 && token == volume->desired.token;
}

uint64_t volume_written_epoch(const struct volume *volume)
{
	return epochs_epoch_below(volume_log_epochs(volume->log), volume_log_end(volume->log));
}

void volume_recall(struct volume *volume)
{
	struct witness witness;
	if (witness_read(volume->witness, &witness))
		volume_know_end(volume, witness.end);
}

/* Whether a log that ends there has the opening that the directory was told of last, or a later
 * epoch that passed it over. */
static bool includes_opening(const struct epochs *epochs, uint64_t end, uint64_t incarnation)
{
	bool found = incarnation == 0 ||
		incarnation_epoch(incarnation) < epochs_epoch_below(epochs, end);
	/* What stands behind the end has been cut off. */
	for (uint32_t i = 0; i < epochs->count; i++)
		found |= epochs->entries[i].incarnation == incarnation &&
			epochs->entries[i].start_lsn < end;
	return found;
}

/* Whether a log that ends there has all that the directory was told of, but for an opening that was
 * a mistake of this machine's own. One that ends before what was given back without it would show
 * messages that have no bodies any more. */
static bool has_what_row_knows(
	const struct volume *volume, const struct epochs *epochs, uint64_t end)
{
	const struct volume_desired *row = &volume->desired;
	uint64_t epoch = epochs_epoch_below(epochs, end);
	bool reaches_freed =
		epoch > row->freed_epoch || (epoch == row->freed_epoch && end >= row->freed_lsn);
	bool is_abandoned =
		row->incarnation != 0 && row->incarnation == volume->abandoned_incarnation;
	return reaches_freed && (is_abandoned || includes_opening(epochs, end, row->incarnation));
}

bool volume_is_proven(struct volume *volume)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	uint64_t end = volume_log_end(volume->log);
	/* The first opening ever, as far as the directory was told and this machine remembers. */
	if (end == 0 && volume->desired.incarnation == 0 && !remembers_any(volume))
		return true;
	/* What was fetched after a claim had been decided is not thrown away for it. */
	if (volume_written_epoch(volume) < volume->desired.epoch)
		return has_token(volume) &&
			(volume->desired.epoch != volume->claim.epoch ||
				end == volume->claim.end_lsn);
	/* All copies may have gone back: then this epoch's openings, and their uids, would be given
	 * again. */
	if (volume->opening.is_proven)
		return end == volume->opening.end && end > 0 &&
			volume_log_chain(volume->log) == volume->opening.chain &&
			has_what_row_knows(volume, volume_log_epochs(volume->log), end);
	return is_of_this_boot(volume, last);
}

/* An empty log is nobody's proof; nor is one that ends below what is known to be confirmed or what
 * it once had itself, or lacks what the directory knows of. When all have been heard,
 * nobody has the rest of what it had. */
static bool has_what_is_known(const struct volume *volume)
{
	const struct volume_opening *opening = &volume->opening;
	return opening->ready_end > 0 && opening->ready_end >= volume->known_end &&
		(opening->is_heard || opening->ready_end >= volume->whole_from) &&
		opening->has_what_row_knows;
}

static void take_vector(struct volume *volume, const struct epochs *epochs, uint64_t whole_from)
{
	struct volume_opening *opening = &volume->opening;
	opening->has_what_row_knows = has_what_row_knows(volume, epochs, opening->ready_end);
	volume->whole_from = whole_from;
	opening->ready_epoch = epochs_epoch_below(epochs, opening->ready_end);
	opening->least_unclean = epochs_least_unclean(epochs, opening->ready_end);
}

/* Of a log that the replicator may be writing to: its vector grows with what is fetched. A refusal
 * says nothing of the log, and is asked again (volume_poll_opening). */
static void read_vector(struct volume *volume)
{
	struct volume_opening *opening = &volume->opening;
	struct log_state state;
	if (volume->log != NULL) {
		opening->is_unread = false;
		take_vector(
			volume, volume_log_epochs(volume->log), volume_log_whole_from(volume->log));
		return;
	}
	int result = log_state_read(volume->options.disk, volume->options.log_directory, &state);
	if (result < 0 && !opening->is_unread)
		log_warn("vector_unread", "volume=%u reason=%s next=\"it is tried again\"",
			volume->options.id, log_quote(str_from(strerror(-result))));
	opening->is_unread = result < 0;
	opening->has_what_row_knows = false;
	if (result < 0)
		return;
	take_vector(volume, &state.epochs, state.whole_from);
	log_state_deinit(&state);
}

/* An empty log of a volume that was served has lost all; that is known until a reign begins in it,
 * or it follows somebody, whatever is fetched meanwhile and however often this is tried. */
static void note_loss(struct volume *volume)
{
	if (volume->log == NULL || volume_log_end(volume->log) > 0 ||
		volume->desired.incarnation == 0)
		return;
	if (volume_log_note_whole_from(volume->log, UINT64_MAX) < 0)
		log_warn(
			"not_noted", "volume=%u what=\"that its log is lost\"", volume->options.id);
}

/* Nobody else has a copy: there is nobody to ask. */
static void prove_alone(struct volume *volume)
{
	struct volume_opening *opening = &volume->opening;
	if (volume->log == NULL)
		return;
	opening->end = volume_log_end(volume->log);
	opening->chain = volume_log_chain(volume->log);
	opening->number = epochs_opening(volume_log_epochs(volume->log), opening->end,
				  volume->desired.epoch) +
		1;
	opening->is_ready = true;
	opening->ready_end = opening->end;
	read_vector(volume);
	opening->is_proven = has_what_is_known(volume);
}

void volume_ask_for_proof(struct volume *volume)
{
	struct volume_opening *opening = &volume->opening;
	uint64_t since_us = opening->since_us ? opening->since_us : clock_mono_us();
	/* The log that they are in is closed, and may be another one when it opens. */
	volume_fail_waits(volume);
	if (opening->is_proven) {
		opening->is_proven = false;
		opening->is_heard = true;
		read_vector(volume);
		volume_close_log(volume);
		timer_start(volume->retry_timer, LOCK_RETRY_MS);
		volume_publish(volume);
		return;
	}
	note_loss(volume);
	*opening = (struct volume_opening){ .is_proving = true, .since_us = since_us };
	if (volume->replica_count == 0)
		prove_alone(volume);
	volume_close_log(volume);
	volume_forget_read(volume);
	if (!opening->is_proven && volume->replica_count > 0)
		volume_ask_release(volume, volume->desired.epoch);
	timer_start(volume->retry_timer, opening->is_proven ? LOCK_RETRY_MS : PROVE_LOOK_MS);
	volume_publish(volume);
}

static bool has_waited(const struct volume *volume)
{
	return clock_mono_us() - volume->opening.since_us > volume->options.alone_after_ms * 1000;
}

/* An epoch that was given to this copy and is not begun by who was held for it is begun by nobody:
 * another one is asked for. When all have been heard there is nothing to wait for. */
static bool may_go_alone(const struct volume *volume)
{
	const struct volume_opening *opening = &volume->opening;
	return opening->is_ready && has_what_is_known(volume) &&
		(opening->is_heard || (has_waited(volume) && !volume->passes_over));
}

void volume_proving(struct volume *volume, bool is_ready, uint64_t end, uint64_t known_end)
{
	if (known_end > end)
		volume_know_end(volume, known_end);
	bool is_news = is_ready || end != volume->opening.ready_end;
	volume->opening.is_ready = is_ready;
	volume->opening.ready_end = end;
	if (is_news)
		read_vector(volume);
	volume_publish(volume);
}

enum volume_wait volume_waits_for(const struct volume *volume)
{
	const struct volume_opening *opening = &volume->opening;
	if (volume->state != VOLUME_PRIMARY && volume_is_unexplained(volume))
		return WAIT_EXPLAINED;
	if (volume->state != VOLUME_OPENING)
		return WAIT_NONE;
	if (opening->ack_lsn > 0)
		return WAIT_ACKS;
	if (!opening->is_proving)
		return WAIT_NONE;
	if (opening->is_ready && !opening->is_unread && !has_what_is_known(volume))
		return WAIT_LOST;
	if (!may_go_alone(volume))
		return WAIT_COPIES;
	return volume->has_no_epoch ? WAIT_EPOCH : WAIT_CLAIM;
}

/* ---- without the others ---- */

/* An epoch above all that are known, and high enough for the log here, and `passed_over` more. One
 * epoch has one reign, however often it is asked for. False when there is no later epoch. */
static bool make_claim(struct volume *volume, uint64_t passed_over)
{
	struct volume_claim *claim = &volume->claim;
	uint64_t above = volume->highest_epoch > volume->desired.epoch ? volume->highest_epoch
								       : volume->desired.epoch;
	uint64_t least = volume->opening.least_unclean, end = volume->opening.ready_end;
	/* An opening that was written and not confirmed. */
	if (volume->log != NULL) {
		end = volume_log_end(volume->log);
		least = epochs_least_unclean(volume_log_epochs(volume->log), end);
	}
	uint64_t epoch = epochs_next_from(
		above + passed_over, least + passed_over, volume->desired.slot);
	if (epoch > EPOCH_MAX && !volume->has_no_epoch)
		log_error("no_epoch_left", "volume=%u above=%llu last=%d", volume->options.id,
			(unsigned long long)above, EPOCH_MAX);
	volume->has_no_epoch = epoch > EPOCH_MAX;
	if (volume->has_no_epoch)
		return false;
	if (epoch != claim->epoch)
		rand_bytes(claim->reign, GROUP_REIGN_LENGTH);
	claim->epoch = epoch;
	claim->expected_epoch = volume->row_epoch;
	memcpy(claim->expected_reign, volume->row_reign, GROUP_REIGN_LENGTH);
	claim->end_lsn = end;
	claim->is_heard = volume->opening.is_heard;
	/* This process has stood still since it was started: what it finds named is its own. */
	if (volume->token == 0)
		volume->token = rand_u64() | 1;
	volume->token_end = end;
	claim->token = volume->token;
	return true;
}

/* 0, or -ERANGE. */
static int claim(struct volume *volume, uint64_t passed_over)
{
	if (!make_claim(volume, passed_over))
		return -ERANGE;
	volume->options.events.claim(volume->options.events.arg, volume, &volume->claim);
	return 0;
}

void volume_poll_opening(struct volume *volume)
{
	const struct volume_opening *opening = &volume->opening;
	if (opening->is_unread)
		read_vector(volume);
	if (opening->has_failed) {
		if (!volume_log_is_idle(volume->log)) {
			timer_start(volume->retry_timer, LOCK_RETRY_MS);
			return;
		}
		volume->writes = false;
		volume_close_log(volume);
		volume_retry_later(volume);
		return;
	}
	if (opening->ack_lsn > 0) {
		/* A copy that has answered takes nothing: its disk is full, or it is far behind.
		 * All have been heard: an epoch of its own needs nobody. */
		if (has_waited(volume))
			claim(volume, 0);
	} else if (!volume->is_releasing && volume->log == NULL && !opening->is_heard &&
		(opening->is_proven || !opening->is_proving)) {
		volume_try_open(volume);
		return;
	} else if (opening->is_proving && may_go_alone(volume)) {
		claim(volume, 0);
	}
	timer_start(volume->retry_timer, PROVE_LOOK_MS);
}

int volume_open_alone(struct volume *volume, bool by_itself)
{
	if (volume->state == VOLUME_PRIMARY)
		return -EALREADY;
	if (volume->state != VOLUME_OPENING || !volume_may_be_primary(volume))
		return -ESTALE;
	/* Nor while it is not known what the log here lacks: that decides how much is passed over.
	 */
	if (volume_waits_for(volume) == WAIT_NONE || volume->opening.is_unread)
		return -EAGAIN;
	/* A log that lacks what is known to have been there may be of any age: one that somebody
	 * has copied back. */
	uint64_t passed_over = volume_waits_for(volume) == WAIT_LOST ? RESTORED_EPOCHS : 0;
	log_warn("opens_alone", "volume=%u epoch=%llu end=%llu", volume->options.id,
		(unsigned long long)volume->desired.epoch,
		(unsigned long long)volume->opening.ready_end);
	if (!by_itself)
		return claim(volume, passed_over);
	/* The directory is away: it hears of it when it is back (claims.c). */
	struct volume_desired desired = volume->desired;
	if (!make_claim(volume, passed_over))
		return -ERANGE;
	desired.epoch = volume->claim.epoch;
	desired.token = volume->claim.token;
	desired.clean_after = 0;
	memcpy(desired.reign, volume->claim.reign, GROUP_REIGN_LENGTH);
	volume_take_desired(volume, &desired);
	return 0;
}

bool volume_adopt_own_claim(struct volume *volume)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	if (!volume->desired.primary || last->epoch % EPOCH_CLASSES != volume->desired.slot ||
		volume->highest_epoch > last->epoch)
		return false;
	volume->desired.epoch = volume->highest_epoch = last->epoch;
	volume->desired.token = volume->desired.clean_after = 0;
	volume->reign_epoch = last->epoch;
	memcpy(volume->desired.reign, last->reign, EPOCH_REIGN_LENGTH);
	log_warn("own_epoch", "volume=%u epoch=%llu reason=\"the directory is behind\"",
		volume->options.id, (unsigned long long)last->epoch);
	return true;
}
