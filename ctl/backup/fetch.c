#include "ctl/backup/fetch.h"

#include "core/net.h"
#include "core/pool.h"
#include "core/timer.h"
#include "ctl/ask.h"
#include "proto/cluster/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* As replicators do among each other. */
	CONNECT_MS_MAX = 3000,
	/* A replicator that lives has read and sent a chunk long before, however busy its disk. */
	SILENT_S_MAX = 60,
	TICK_MS = 1000,
};

struct fetcher {
	struct loop *loop;
	struct tls_context *tls;
	struct pool *pool;
	struct timer *timer;
	/* Of the fetch that runs: */
	struct fetch *fetch;
	const char *address;
	struct error *error;
	struct stream *stream; /* NULL: it has ended */
	struct frame_reader reader;
	bool was_open;
	int result;
	/* Ticks, not a clock: while on_groups waits for a disk nobody listens. */
	unsigned silent_s;
};

/* `code` is from error_set, with the fetcher's error. */
static void finish(struct fetcher *fetcher, int code)
{
	if (fetcher->stream == NULL)
		return;
	fetcher->result = code;
	stream_abort(fetcher->stream);
	fetcher->stream = NULL;
	loop_stop(fetcher->loop);
}

static void on_tick(void *arg)
{
	struct fetcher *fetcher = arg;
	if (++fetcher->silent_s > SILENT_S_MAX) {
		finish(fetcher,
			error_set(fetcher->error, -ETIMEDOUT, "%s has sent nothing for %d seconds",
				fetcher->address, SILENT_S_MAX));
		return;
	}
	timer_start(fetcher->timer, TICK_MS);
}

/* ---- what comes ---- */

/* One group at `at` of the chunk, which is the next of the log. Its padded length; 0: it is not. */
static size_t take_group(struct fetch *fetch, struct str rest, uint64_t lsn)
{
	struct group group;
	if (!group_verify(rest, lsn, fetch->volume, &group) || group.chain != fetch->chain ||
		group_padded(group.used) > rest.length ||
		lsn + group_padded(group.used) > fetch->end)
		return 0;
	fetch->chain = group_chain_after(rest, &group);
	fetch->epoch = group.epoch;
	memcpy(fetch->reign, group.reign, GROUP_REIGN_LENGTH);
	return group_padded(group.used);
}

/* It begins where the log goes on: there, or at the start of the next segment. */
static bool follows(const struct fetch *fetch, uint64_t lsn)
{
	return lsn == fetch->lsn ||
		(lsn == (segment_of(fetch->lsn) + 1) * segment_length &&
			fetch->lsn % segment_length != 0);
}

/* What is verified of a chunk that is damaged further behind is not kept: `lsn` and `chain` move
 * together, when all of it is. */
static int take_chunk(struct fetcher *fetcher, struct str payload)
{
	struct fetch *fetch = fetcher->fetch, before = *fetch;
	struct chunk chunk;
	struct str groups;
	size_t at = 0, length = 1;
	if (!chunk_decode(payload, &chunk) || chunk.volume != fetch->volume || chunk.length == 0 ||
		!follows(fetch, chunk.lsn))
		return error_set(fetcher->error, -EUCLEAN,
			"%s sends what does not follow address %llu", fetcher->address,
			(unsigned long long)fetch->lsn);
	groups = str_from_index(payload, CHUNK_HEADER_LENGTH);
	for (; at < groups.length && length > 0; at += length)
		length = take_group(fetch, str_from_index(groups, at), chunk.lsn + at);
	if (length == 0) {
		*fetch = before;
		return error_set(fetcher->error, -EUCLEAN,
			"what %s sends is damaged, or of another log, at address %llu",
			fetcher->address, (unsigned long long)(chunk.lsn + at));
	}
	int code = fetch->on_groups(
		fetch->arg, chunk.lsn, groups, chunk.lsn + groups.length, fetcher->error);
	if (code < 0)
		fetch->is_refused_here = true;
	fetch->lsn = chunk.lsn + groups.length;
	return code;
}

static int take_refusal(struct fetcher *fetcher, const struct cluster_message *message)
{
	fetcher->fetch->offered = message->end;
	return error_set(fetcher->error, message->verdict == COPY_DIVERGED ? -ESTALE : -EAGAIN,
		"%s: " STR_FORMAT, fetcher->address, STR_ARG(message->text));
}

/* 1: that was all. */
static int take_position(struct fetcher *fetcher, const struct cluster_message *message)
{
	const struct fetch *fetch = fetcher->fetch;
	if (message->lsn == fetch->end && fetch->lsn == fetch->end &&
		message->chain == fetch->chain)
		return 1;
	return error_set(fetcher->error, -EUCLEAN, "%s ends at %llu, and not as it should at %llu",
		fetcher->address, (unsigned long long)fetch->lsn, (unsigned long long)fetch->end);
}

static int take_message(struct fetcher *fetcher, struct str payload)
{
	struct cluster_message message;
	pool_reset(fetcher->pool);
	if (!message_decode(payload, fetcher->pool, &message))
		return error_set(fetcher->error, -EPROTO, "%s sends no messages", fetcher->address);
	if (message.kind == MESSAGE_REFUSE)
		return take_refusal(fetcher, &message);
	if (message.kind == MESSAGE_POSITION)
		return take_position(fetcher, &message);
	return 0; /* FOLLOWING, and what later versions say */
}

static void on_input(void *arg, struct buf *input)
{
	struct fetcher *fetcher = arg;
	enum frame_type type;
	struct bytes *payload;
	enum frame_result result;
	int code = 0;
	while (code == 0 &&
		(result = frame_read(&fetcher->reader, input, FRAME_PAYLOAD_MAX, &type,
			 &payload)) == FRAME_DONE) {
		code = type == FRAME_CHUNK ? take_chunk(fetcher, bytes_str(payload))
					   : take_message(fetcher, bytes_str(payload));
		bytes_unref(&payload);
		fetcher->silent_s = 0;
	}
	if (code == 0 && result == FRAME_BAD)
		code = error_set(fetcher->error, -EPROTO,
			"%s answers in no frames: is it a replicator of this version?",
			fetcher->address);
	if (code != 0)
		finish(fetcher, code < 0 ? code : 0);
}

static void on_open(void *arg)
{
	struct fetcher *fetcher = arg;
	const struct fetch *fetch = fetcher->fetch;
	const char *role = stream_peer(fetcher->stream)->role;
	fetcher->was_open = true;
	if (strcmp(role, "replicator") != 0) {
		finish(fetcher,
			error_set(fetcher->error, -EPROTO,
				"%s is no replicator of this cluster: its certificate says `%s`",
				fetcher->address, role));
		return;
	}
	stream_printf(fetcher->stream, "export %u %llu %llx %llu\n", fetch->volume,
		(unsigned long long)fetch->lsn, (unsigned long long)fetch->chain,
		(unsigned long long)fetch->end);
}

static void on_close(void *arg, int reason)
{
	struct fetcher *fetcher = arg;
	fetcher->stream = NULL;
	fetcher->result = error_set(fetcher->error, reason ? reason : -ECONNRESET,
		"the replicator at %s %s: %s", fetcher->address,
		fetcher->was_open ? "has gone" : "cannot be reached",
		reason == -EPROTO ? "it refuses our certificate, or shows none of this cluster"
			: reason  ? strerror(-reason)
				  : "it hung up");
	loop_stop(fetcher->loop);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

/* ---- */

int fetcher_create(const struct config *config, struct fetcher **fetcher_out, struct error *error)
{
	struct tls_context *tls = NULL;
	int code = ask_tls(config, &tls, error);
	if (code < 0)
		return code;
	struct fetcher *fetcher = mem_alloc(sizeof(*fetcher));
	fetcher->loop = loop_create();
	fetcher->tls = tls;
	fetcher->pool = pool_create();
	fetcher->timer = timer_new(fetcher->loop, on_tick, fetcher);
	*fetcher_out = fetcher;
	return 0;
}

void fetcher_destroy(struct fetcher **fetcher)
{
	if (*fetcher == NULL)
		return;
	timer_destroy(&(*fetcher)->timer);
	pool_destroy(&(*fetcher)->pool);
	loop_destroy(&(*fetcher)->loop);
	tls_context_destroy(&(*fetcher)->tls);
	free(*fetcher);
	*fetcher = NULL;
}

int fetch_run(
	struct fetcher *fetcher, const char *address, struct fetch *fetch, struct error *error)
{
	fetcher->fetch = fetch;
	fetcher->address = address;
	fetcher->error = error;
	fetcher->silent_s = 0;
	fetcher->was_open = false;
	fetch->offered = 0;
	fetch->is_refused_here = false;
	timer_start(fetcher->timer, TICK_MS);
	fetcher->stream = stream_connect(
		fetcher->loop, address, fetcher->tls, NULL, CONNECT_MS_MAX, &handler, fetcher);
	loop_run(fetcher->loop);
	timer_stop(fetcher->timer);
	frame_reader_deinit(&fetcher->reader);
	return fetcher->result;
}
