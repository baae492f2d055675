#include "replicator/internal.h"

#include "core/log.h"
#include "spool/log_files.h"
#include "spool/log_mend.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What another copy has of a damaged range: for the replica here, and for the log that the node
 * writes. One member after the other is asked, a chunk at a time, until the range is whole; whether
 * it is right is seen where it is written (spool/log_mend.h), and then the next member is asked.
 * One range of a volume at a time.
 */

enum {
	/* A chunk over a long line; a member that answers later is passed over. */
	MEND_ANSWER_MS = 2000,
	/* Over and over from segment to segment, where each is damaged: then it is cut. */
	MEND_RANGES_MAX = 16,
	/* Room, the end of a punching or a line comes within a moment or not soon. */
	MEND_LATER_MS = 200,
	MEND_LATER_MS_MAX = 10000,
};

/*
 *   LOCATING   the pool looks where the damage is (of the replica here)
 *   ASKING     `asked` has been asked for what follows `got`
 *   WRITING    the pool writes it (of the replica here)
 *   LATER      the log cannot be read or written for now, or a member cannot be asked: that says
 *              nothing of what another copy has, nor of the log, and it is located again
 */
enum mend_state { MEND_LOCATING, MEND_ASKING, MEND_WRITING, MEND_LATER };

struct mend {
	struct copy *copy;
	enum mend_state state;
	bool is_for_node;
	enum mend_cause cause; /* of the replica here */
	bool is_unheard; /* a member could not be asked, or did not answer */
	bool waits;      /* LATER for that */
	bool has_said_so, was_located;
	bool leader_differs; /* what it has does not fit here: it ships it, behind a cut */
	uint64_t later_ms;
	bool is_void; /* the log is being cut: nothing more is done when the pool has answered */
	uint64_t damaged;  /* as it was said first */
	/* Another place that was named meanwhile: 1 + where; 0: none. They take turns where neither
	 * can be mended yet. */
	uint64_t met;
	enum mend_cause met_cause;
	uint64_t lsn, end; /* the range */
	unsigned member, passed_over, ranges;
	struct connection *asked;
	struct buf got;
	struct log_locate locate;
	struct timer *timer;
	const char *why; /* nothing has come of it */
};

static void ask_next(struct mend *mend);
static void locate(struct mend *mend, uint64_t lsn);

void mend_end(struct copy *copy)
{
	struct mend *mend = copy->mend;
	if (mend == NULL)
		return;
	copy->mend = NULL;
	timer_destroy(&mend->timer);
	buf_deinit(&mend->got);
	/* What the pool is at refers to it, until the log has been closed. */
	CHECK(mend->state != MEND_LOCATING || copy->log == NULL);
	free(mend);
}

void mend_end_for_node(struct copy *copy)
{
	if (copy->mend != NULL && copy->mend->is_for_node)
		mend_end(copy);
}

void mend_on_cut(struct copy *copy)
{
	struct mend *mend = copy->mend;
	if (mend == NULL)
		return;
	mend->is_void = true;
	if (mend->state == MEND_ASKING || mend->state == MEND_LATER)
		mend_end(copy);
}

/* Of the replica here: whoever could not read it reads again. */
static void finish(struct copy *copy)
{
	uint64_t met = copy->mend->met;
	enum mend_cause cause = copy->mend->met_cause;
	mend_end(copy);
	receive_report(copy);
	if (met > 0)
		mend_replica(copy, met - 1, cause);
}

static void try_later(struct mend *mend)
{
	mend->later_ms =
		timer_next_wait_ms(mend->later_ms, MEND_LATER_MS, MEND_LATER_MS_MAX);
	mend->state = MEND_LATER;
	timer_start(mend->timer, mend->later_ms);
}

/* Just now nobody is in reach who has it: that may be what is here alone, and is not cut for it. */
static void wait_for_members(struct mend *mend)
{
	if (!mend->has_said_so)
		log_warn("mends_later",
			"volume=%u lsn=%llu reason=\"another copy could not be asked\" "
			"next=\"it is asked again\"",
			mend->copy->id, (unsigned long long)mend->damaged);
	mend->has_said_so = mend->waits = true;
	mend->is_unheard = false;
	mend->ranges = 1;
	try_later(mend);
}

static void give_up(struct mend *mend)
{
	struct copy *copy = mend->copy;
	uint64_t damaged = mend->damaged;
	bool is_for_node = mend->is_for_node, is_kept = mend->cause == MEND_SCRUBBED;
	const char *why = mend->why ? mend->why : "no copy that has it is in reach";
	if (mend->is_unheard && !mend->leader_differs && !is_for_node && !is_kept) {
		wait_for_members(mend);
		return;
	}
	log_warn("not_mended", "volume=%u lsn=%llu reason=%s", copy->id,
		(unsigned long long)damaged, log_quote(str_from(why)));
	if (is_for_node)
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_NOT_MENDED,
				.volume = copy->id,
				.lsn = mend->lsn,
				.text = str_from(why) });
	if (is_kept) {
		finish(copy);
		return;
	}
	mend_end(copy);
	if (!is_for_node)
		receive_cut_damaged(copy, damaged);
}

/* ---- asking ---- */

static void ask(struct mend *mend)
{
	connection_send(mend->asked,
		&(struct cluster_message){ .kind = MESSAGE_MEND,
			.volume = mend->copy->id,
			.lsn = mend->lsn + buf_length(&mend->got),
			.end = mend->end });
	timer_start(mend->timer, MEND_ANSWER_MS);
}

static void ask_next(struct mend *mend)
{
	const struct replicator *replicator = mend->copy->replicator;
	const struct replicator_volume *desired = &mend->copy->desired;
	buf_clear(&mend->got);
	mend->state = MEND_ASKING;
	mend->asked = NULL;
	while (mend->asked == NULL && mend->member < desired->member_count) {
		uint32_t member = desired->members[mend->member++];
		mend->asked = replicator_find_connection(replicator, member);
		mend->is_unheard |= mend->asked == NULL && member != replicator->options.node_id;
	}
	if (mend->asked == NULL)
		give_up(mend);
	else
		ask(mend);
}

/* The other place, which may be one that somebody in reach has. */
static void take_turn(struct mend *mend)
{
	uint64_t damaged = mend->damaged;
	/* Once damage was seen there it is judged by that, and no more by what the opening said. */
	bool is_seen = mend->cause == MEND_OPENED && mend->was_located;
	enum mend_cause cause = is_seen ? MEND_READ : mend->cause;
	mend->damaged = mend->met - 1;
	mend->cause = mend->met_cause;
	mend->met = 1 + damaged;
	mend->met_cause = cause;
	mend->member = mend->ranges = 0;
	mend->waits = mend->was_located = mend->leader_differs = false;
	locate(mend, mend->damaged);
}

static void on_timer(void *arg)
{
	struct mend *mend = arg;
	if (mend->state == MEND_LATER && mend->waits && mend->met > 0) {
		take_turn(mend);
		return;
	}
	if (mend->state == MEND_LATER) {
		mend->member = 0;
		mend->ranges--;
		mend->waits = false;
		locate(mend, mend->damaged);
	}
	if (mend->state != MEND_ASKING)
		return;
	mend->why = "a copy does not answer";
	mend->is_unheard = true;
	ask_next(mend);
}

static struct mend *begin(struct copy *copy, uint64_t lsn, bool is_for_node)
{
	struct mend *mend = mem_alloc(sizeof(*mend));
	mend->copy = copy;
	mend->is_for_node = is_for_node;
	mend->damaged = lsn;
	mend->timer = timer_new(copy->replicator->options.loop, on_timer, mend);
	copy->mend = mend;
	return mend;
}

/* ---- the replica here ---- */

static bool is_for_now(int status)
{
	return status == -EAGAIN || log_is_refusal(status);
}

/* Its first group names what it follows. */
static void mend_next_segment(struct mend *mend)
{
	uint64_t lsn = (segment_of(mend->lsn) + 1) * segment_length;
	mend->member = 0;
	if (mend->ranges < MEND_RANGES_MAX && lsn < volume_log_end(mend->copy->log)) {
		locate(mend, lsn);
		return;
	}
	mend->why = "too much of it is damaged";
	give_up(mend);
}

static void on_mended(void *arg, int status)
{
	struct copy *copy = arg;
	struct mend *mend = copy->mend;
	if (mend == NULL || mend->state != MEND_WRITING)
		return;
	if (mend->is_void) {
		mend_end(copy);
		return;
	}
	if (is_for_now(status)) {
		try_later(mend);
		return;
	}
	if (status == -ENOLINK) {
		mend_next_segment(mend);
		return;
	}
	if (status < 0) {
		mend->why = strerror(-status);
		mend->leader_differs |= mend->asked != NULL && mend->asked == copy->source;
		ask_next(mend);
		return;
	}
	log_warn("mended", "volume=%u lsn=%llu end=%llu", copy->id, (unsigned long long)mend->lsn,
		(unsigned long long)mend->end);
	mend->member = 0;
	if (mend->ranges < MEND_RANGES_MAX) {
		locate(mend, mend->damaged); /* until what was said first is sound */
		return;
	}
	finish(copy);
}

static void on_located(struct log_locate *locate, int status)
{
	struct mend *mend = locate->arg;
	struct copy *copy = mend->copy;
	mend->state = MEND_ASKING;
	if (mend->is_void) {
		mend_end(copy);
		return;
	}
	/* What the opening did not take for this log is not right because nothing is wrong with it
	 * by itself. */
	if (status == -ENOENT && mend->cause == MEND_OPENED && !mend->was_located) {
		mend->why = "it is not what was told of";
		give_up(mend);
		return;
	}
	/* Mended, or what the node has met is gone since: it reads again. */
	if (status == -ENOENT) {
		finish(copy);
		return;
	}
	if (is_for_now(status)) {
		try_later(mend);
		return;
	}
	if (status < 0) {
		mend->why = strerror(-status);
		give_up(mend);
		return;
	}
	mend->was_located = true;
	mend->lsn = locate->damage.from;
	mend->end = locate->damage.to;
	ask_next(mend);
}

static void locate(struct mend *mend, uint64_t lsn)
{
	mend->ranges++;
	mend->state = MEND_LOCATING;
	mend->locate = (struct log_locate){ .done = on_located, .arg = mend };
	volume_log_locate(mend->copy->log, lsn, &mend->locate);
}

/* What the node could not read may be what stands beside the segments. */
static void write_state(struct copy *copy)
{
	if (copy->log == NULL || copy->node != NODE_NONE || volume_log_is_mending(copy->log))
		return;
	if (volume_log_save_state(copy->log) < 0)
		log_warn("epochs_not_written", "volume=%u", copy->id);
	else
		receive_report(copy);
}

void mend_replica(struct copy *copy, uint64_t lsn, enum mend_cause cause)
{
	if (cause == MEND_READ)
		write_state(copy);
	struct mend *other = copy->mend;
	bool waits = other != NULL && other->state == MEND_LATER && other->waits;
	if (other != NULL && other->damaged != lsn && (waits || cause != MEND_SCRUBBED)) {
		other->met = 1 + lsn;
		other->met_cause = cause;
	}
	if (waits && other->met > 0)
		take_turn(other);
	if (copy->mend != NULL || copy->log == NULL || copy->node != NODE_NONE ||
		lsn >= volume_log_end(copy->log) || volume_log_is_mending(copy->log))
		return;
	log_warn("mends", "volume=%u lsn=%llu", copy->id, (unsigned long long)lsn);
	struct mend *mend = begin(copy, lsn, false);
	mend->cause = cause;
	locate(mend, lsn);
}

/* ---- the log that the node writes ---- */

void mend_for_node(struct copy *copy, const struct cluster_message *message)
{
	if (copy->log != NULL) {
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_NOT_MENDED,
				.volume = copy->id,
				.lsn = message->lsn,
				.text = STR("it is a replica here") });
		return;
	}
	mend_end(copy); /* an earlier question of the node, which waits for it no more */
	struct mend *mend = begin(copy, message->lsn, true);
	mend->lsn = message->lsn;
	mend->end = message->end;
	for (; mend->passed_over < message->opening && mend->member < copy->desired.member_count;
		mend->member++)
		if (replicator_find_connection(
			    copy->replicator, copy->desired.members[mend->member]))
			mend->passed_over++;
	ask_next(mend);
}

/* ---- answers ---- */

static void on_whole(struct mend *mend)
{
	struct copy *copy = mend->copy;
	timer_stop(mend->timer);
	/* Nothing: the segment ends there at the others, and its successor does not say so here. */
	if (!mend->is_for_node && buf_length(&mend->got) == 0) {
		mend_next_segment(mend);
		return;
	}
	if (mend->is_for_node) {
		node_side_send_groups(copy, mend->lsn, buf_str(&mend->got));
		mend_end(copy);
		return;
	}
	mend->state = MEND_WRITING;
	volume_log_mend(
		copy->log, mend->lsn, bytes_create_copy(buf_str(&mend->got)), on_mended, copy);
}

void mend_on_groups(struct connection *connection, struct bytes *payload)
{
	struct chunk chunk;
	if (!chunk_decode(bytes_str(payload), &chunk))
		return;
	struct copy *copy = replicator_find_copy(connection->replicator, chunk.volume);
	struct mend *mend = copy ? copy->mend : NULL;
	if (mend == NULL || mend->state != MEND_ASKING || mend->asked != connection ||
		chunk.lsn != mend->lsn + buf_length(&mend->got))
		return; /* of an earlier question */
	bool is_too_much = buf_length(&mend->got) + chunk.length > segment_length;
	if (is_too_much) {
		mend->why = "a copy has nothing that fits";
		ask_next(mend);
		return;
	}
	buf_append(&mend->got, payload->data + CHUNK_HEADER_LENGTH, chunk.length);
	if (chunk.length == 0 || mend->lsn + buf_length(&mend->got) >= mend->end)
		on_whole(mend);
	else
		ask(mend);
}

void mend_on_refusal(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	struct mend *mend = copy ? copy->mend : NULL;
	if (mend == NULL || mend->state != MEND_ASKING || mend->asked != connection)
		return;
	mend->why = "no other copy has it whole";
	mend->is_unheard |= message->status == -EAGAIN;
	ask_next(mend);
}

void mend_forget_connection(struct copy *copy, const struct connection *connection)
{
	struct mend *mend = copy->mend;
	if (mend == NULL || mend->state != MEND_ASKING || mend->asked != connection)
		return;
	mend->why = "the connection with a copy has ended";
	/* From the loop: whoever forgets a connection is in the middle of something. */
	mend->asked = NULL;
	timer_start(mend->timer, 0);
}

/* ---- a member asks ---- */

static void answer(struct connection *connection, const struct copy *copy, uint64_t lsn,
	const struct bytes *bytes)
{
	uint8_t head[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH];
	struct chunk chunk = { .volume = copy->id, .lsn = lsn, .mends = true };
	struct str groups = bytes ? bytes_str(bytes) : STR("");
	chunk_encode(&chunk, groups, head);
	stream_write(connection->stream, head, sizeof(head));
	stream_write_str(connection->stream, groups);
}

/* -ESPIPE: nothing more in that segment. */
static int read_groups(const struct copy *copy, const struct cluster_message *message,
	uint64_t limit, struct bytes **bytes_out)
{
	struct log_reader *reader;
	uint64_t at, next, wanted = message->end - message->lsn;
	int result =
		log_reader_open(copy->replicator->options.disk, copy->directory, copy->id, &reader);
	if (result < 0)
		return result;
	result = log_reader_next(reader, message->lsn, limit,
		wanted < CHUNK_BYTES_TARGET ? (size_t)wanted : CHUNK_BYTES_TARGET, true, bytes_out,
		&at, &next);
	log_reader_close(&reader);
	if (result == 0 && at != message->lsn) {
		bytes_unref(bytes_out);
		result = -ESPIPE;
	}
	return result;
}

void mend_on_ask(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	struct bytes *bytes = NULL;
	uint64_t limit = 0;
	if (copy != NULL && copy_has_member(copy, connection->node_id))
		limit = copy->log                   ? volume_log_end(copy->log)
			: copy->node == NODE_WRITES ? copy->durable_lsn
						    : 0;
	/* Whose log is not open yet does not know what it has. */
	bool is_for_later =
		limit == 0 || stream_backlog(connection->stream) >= STREAM_BACKLOG_HIGH;
	int result = is_for_later ? -EAGAIN : -ENOENT;
	if (message->lsn < message->end && message->lsn < limit &&
		message->lsn % GROUP_ALIGNMENT == 0 && !is_for_later)
		result = read_groups(copy, message, limit, &bytes);
	if (result == 0 || result == -ESPIPE)
		answer(connection, copy, message->lsn, bytes);
	else
		connection_send(connection,
			&(struct cluster_message){ .kind = MESSAGE_NOT_MENDED,
				.volume = message->volume,
				.lsn = message->lsn,
				.status = is_for_now(result) ? -EAGAIN : result,
				.text = STR("not readable here") });
	bytes_unref(&bytes);
}
