#include "replicator/internal.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/*
 * A volume's log for an operator, who keeps a backup of it: of what was durable here when it was
 * asked for, and of nothing else. Nothing of the volume waits for it: a turn of the loop sends one
 * small chunk, after the followers have got what there was for them.
 */

enum {
	/* `pando backup` reads one volume after the other: this is a few of them, and as many
	 * buffers (STREAM_BACKLOG_HIGH and a group each). */
	EXPORTS_MAX = 8,
	/* For so long a follower's chunk or an acknowledgement may wait, and no longer: a read of
	 * this, checked and encrypted, is about a millisecond of a disk that is not in memory. */
	EXPORT_BYTES_TARGET = 256 << 10,
	/* Who takes nothing for so long is dropped: what he writes to may need a minute for a sync,
	 * a share on the network longer for a reconnection. */
	EXPORT_STILL_MS_MAX = 120000,
	EXPORT_LOOK_MS = 1000,
};

struct export
{
	struct list link; /* of replicator.exports */
	struct copy *copy;
	struct stream *stream;
	struct log_reader *reader;
	uint64_t next_lsn, end, end_chain;
	bool is_of_replica; /* the log here is a replica's, and open here */
	bool is_told;       /* all has been sent, POSITION too */
	struct timer *look_timer;
	/* When something moved last, and what stood then. */
	uint64_t moved_us, seen_lsn;
	size_t seen_backlog;
};

static void send_to(
	struct replicator *replicator, struct stream *stream, const struct cluster_message *message)
{
	buf_clear(&replicator->out);
	message_encode(message, &replicator->out);
	stream_write_str(stream, buf_str(&replicator->out));
}

/* The stream goes to whoever calls. */
static struct stream *forget(struct export *export)
{
	struct stream *stream = export->stream;
	list_remove(&export->link);
	export->copy->replicator->export_count--;
	timer_destroy(&export->look_timer);
	log_reader_close(&export->reader);
	free(export);
	return stream;
}

static void refuse(
	struct replicator *replicator, struct stream *stream, const struct cluster_message *why)
{
	struct cluster_message message = *why;
	message.kind = MESSAGE_REFUSE;
	log_info("export_refused", "peer=%s volume=%u reason=%s", stream_peer_address(stream),
		why->volume, log_quote(why->text));
	send_to(replicator, stream, &message);
	stream_close(stream);
}

static void refuse_running(struct export *export, const char *why)
{
	struct replicator *replicator = export->copy->replicator;
	uint32_t volume = export->copy->id;
	refuse(replicator, forget(export),
		&(struct cluster_message){ .volume = volume, .text = str_from(why) });
}

void export_retire(struct copy *copy, bool replicas_only, const char *why)
{
	list_for_each_safe (entry, following, &copy->replicator->exports) {
		struct export *export = list_entry(entry, struct export, link);
		if (export->copy == copy && (export->is_of_replica || !replicas_only))
			refuse_running(export, why);
	}
}

/* ---- sending ---- */

static bool may_send(const struct export *export)
{
	return !export->is_told && stream_backlog(export->stream) < STREAM_BACKLOG_HIGH;
}

static void send_end(struct export *export)
{
	send_to(export->copy->replicator, export->stream,
		&(struct cluster_message){ .kind = MESSAGE_POSITION,
			.volume = export->copy->id,
			.lsn = export->end,
			.end = export->end,
			.chain = export->end_chain });
	export->is_told = true;
	log_info("exported", "volume=%u peer=%s end=%llu", export->copy->id,
		stream_peer_address(export->stream), (unsigned long long)export->end);
}

/* Checked whole: rot of this disk stays here. A body that is given back between the reading of its
 * header and of itself looks like it, once. */
static int read_chunk(
	struct export *export, struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out)
{
	int result = -EBADMSG;
	for (int i = 0; i < 2 && result == -EBADMSG; i++)
		result = log_reader_next(export->reader, export->next_lsn, export->end,
			EXPORT_BYTES_TARGET, true, bytes_out, lsn_out, next_out);
	return result;
}

static void send_chunk(struct export *export)
{
	struct copy *copy = export->copy;
	struct bytes *bytes;
	uint64_t lsn, next;
	uint8_t head[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH];
	int result = read_chunk(export, &bytes, &lsn, &next);
	if (result < 0) {
		ship_note_unreadable(copy, export->next_lsn, result);
		refuse_running(export, "the log is not readable here");
		return;
	}
	struct chunk chunk = { .volume = copy->id,
		.epoch = copy->highest_epoch,
		.lsn = lsn,
		.leader_end = export->end,
		.time_us = (uint64_t)clock_wall_us() };
	chunk_encode(&chunk, bytes_str(bytes), head);
	stream_write(export->stream, head, sizeof(head));
	stream_write_bytes(export->stream, bytes, 0, bytes->length);
	bytes_unref(&bytes);
	export->next_lsn = next;
}

void export_on_timer(void *arg)
{
	struct replicator *replicator = arg;
	struct export *next = NULL;
	list_for_each (entry, &replicator->exports) {
		next = list_entry(entry, struct export, link);
		if (may_send(next))
			break;
		next = NULL;
	}
	if (next == NULL)
		return;
	list_remove(&next->link);
	list_append(&replicator->exports, &next->link);
	if (next->next_lsn < next->end)
		send_chunk(next);
	else
		send_end(next);
	timer_start(replicator->export_timer, 0);
}

/* ---- the operator ---- */

static void on_input(void *arg, struct buf *input)
{
	(void)arg;
	buf_consume(input, buf_length(input));
}

static void on_drain(void *arg)
{
	struct export *export = arg;
	timer_start(export->copy->replicator->export_timer, 0);
}

static void on_close(void *arg, int reason)
{
	struct export *export = arg;
	if (!export->is_told)
		log_info("export_ended", "volume=%u lsn=%llu end=%llu reason=%d", export->copy->id,
			(unsigned long long)export->next_lsn, (unsigned long long)export->end,
			reason);
	(void)forget(export);
}

static const struct stream_handler handler = {
	.on_input = on_input,
	.on_drain = on_drain,
	.on_close = on_close,
};

static void on_look_timer(void *arg)
{
	struct export *export = arg;
	uint64_t now = clock_mono_us();
	size_t backlog = stream_backlog(export->stream);
	if (export->is_told && backlog == 0) {
		stream_close(forget(export));
		return;
	}
	if (backlog != export->seen_backlog || export->next_lsn != export->seen_lsn)
		export->moved_us = now;
	export->seen_backlog = backlog;
	export->seen_lsn = export->next_lsn;
	if (now - export->moved_us > EXPORT_STILL_MS_MAX * 1000u) {
		log_warn("export_dropped", "volume=%u peer=%s lsn=%llu reason=\"it takes nothing\"",
			export->copy->id, stream_peer_address(export->stream),
			(unsigned long long)export->next_lsn);
		stream_abort(forget(export));
		return;
	}
	timer_start(export->look_timer, EXPORT_LOOK_MS);
}

/* ---- the request ---- */

struct request {
	uint32_t volume;
	uint64_t from, chain, to;
};

static bool parse_chain(struct str text, uint64_t *chain_out)
{
	enum { CHAIN_DIGITS = 16 };
	char digits[CHAIN_DIGITS];
	uint8_t bytes[CHAIN_DIGITS / 2];
	if (text.length == 0 || text.length > CHAIN_DIGITS)
		return false;
	memset(digits, '0', CHAIN_DIGITS);
	memcpy(digits + CHAIN_DIGITS - text.length, text.bytes, text.length);
	if (!decode_hex(str_of(digits, CHAIN_DIGITS), bytes, sizeof(bytes)))
		return false;
	*chain_out = get_be(bytes, sizeof(bytes));
	return true;
}

static bool parse(const struct str *arguments, size_t count, struct request *request_out)
{
	uint64_t volume;
	if (count != 4 || !str_to_u64(arguments[0], UINT32_MAX, &volume) ||
		!str_to_u64(arguments[1], UINT64_MAX, &request_out->from) ||
		!parse_chain(arguments[2], &request_out->chain) ||
		!str_to_u64(arguments[3], UINT64_MAX, &request_out->to))
		return false;
	request_out->volume = (uint32_t)volume;
	return request_out->from <= request_out->to;
}

/* Up to where the log here may go out; 0: it may not, and why. */
static uint64_t limit_of(const struct copy *copy, const char **why_out)
{
	if (copy->node == NODE_WRITES) {
		if (copy->node_epoch == copy->highest_epoch)
			return copy->durable_lsn;
		*why_out = "the log was written here in an epoch that is over";
	} else if (copy->node != NODE_NONE) {
		*why_out = "the log is changing hands here";
	} else if (copy->log == NULL) {
		*why_out = "the log is not open here";
	} else if (copy->is_writing && copy->current == NULL) {
		*why_out = "the log is being cut here";
	} else if (copy->verdict == COPY_DIVERGED) {
		*why_out = "the log here differs from its leader's";
	} else {
		return volume_log_end(copy->log);
	}
	return 0;
}

/* Whether the log here is the one that was begun with, and where it has a boundary at its end. */
static bool compare(struct export *export, const struct request *request, uint64_t limit,
	struct cluster_message *why_out)
{
	enum copy_verdict verdict = copy_compare_chain(
		export->copy, export->reader, request->from, limit, request->chain);
	why_out->verdict = verdict;
	if (verdict == COPY_DIVERGED)
		why_out->text = STR("the log here is another one below that address");
	else if (verdict != COPY_VERIFIED)
		why_out->text = STR("the log is not readable here at that address");
	else if (copy_chain_at(
			 export->copy, export->reader, request->to, limit, &export->end_chain) < 0)
		why_out->text = STR("the log has no readable end at that address here");
	return why_out->text.length == 0;
}

static void begin(struct export *export, const struct request *request)
{
	struct replicator *replicator = export->copy->replicator;
	export->next_lsn = export->seen_lsn = request->from;
	export->end = request->to;
	export->moved_us = clock_mono_us();
	export->look_timer = timer_new(replicator->options.loop, on_look_timer, export);
	timer_start(export->look_timer, EXPORT_LOOK_MS);
	stream_set_handler(export->stream, &handler, export);
	list_append(&replicator->exports, &export->link);
	replicator->export_count++;
	log_info("exports", "volume=%u peer=%s from=%llu to=%llu", export->copy->id,
		stream_peer_address(export->stream), (unsigned long long)request->from,
		(unsigned long long)request->to);
	send_to(replicator, export->stream,
		&(struct cluster_message){ .kind = MESSAGE_FOLLOWING,
			.volume = export->copy->id,
			.epoch = export->copy->highest_epoch,
			.lsn = request->from,
			.end = request->to,
			.time_us = (uint64_t)clock_wall_us() });
	timer_start(replicator->export_timer, 0);
}

/* False: *why_out has the sentence. */
static bool try_begin(struct copy *copy, struct stream *stream, const struct request *request,
	struct cluster_message *why_out)
{
	const char *why = "the log is shorter than that here";
	why_out->end = limit_of(copy, &why);
	if (why_out->end < request->to) {
		why_out->text = str_from(why);
		return false;
	}
	struct export *export = mem_alloc(sizeof(*export));
	export->copy = copy;
	export->stream = stream;
	export->is_of_replica = copy->node != NODE_WRITES;
	CHECK(log_reader_open(copy->replicator->options.disk, copy->directory, copy->id,
		      &export->reader) == 0);
	if (!compare(export, request, why_out->end, why_out)) {
		log_reader_close(&export->reader);
		free(export);
		return false;
	}
	begin(export, request);
	return true;
}

void replicator_export(struct replicator *replicator, struct stream *stream,
	const struct str *arguments, size_t argument_count)
{
	struct request request = { 0 };
	struct cluster_message why = { 0 };
	struct copy *copy = NULL;
	if (!parse(arguments, argument_count, &request))
		why.text = STR("this is no `export VOLUME FROM CHAIN TO`");
	else if (replicator->export_count == EXPORTS_MAX)
		why.text = STR("too many are reading here already");
	else if ((copy = replicator_find_copy(replicator, request.volume)) == NULL)
		why.text = STR("this node holds no copy of the volume");
	why.volume = request.volume;
	if (copy == NULL || !try_begin(copy, stream, &request, &why))
		refuse(replicator, stream, &why);
}
