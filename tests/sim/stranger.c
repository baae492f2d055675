#include "sim/stranger.h"

#include "core/timer.h"
#include "sim/cluster_internal.h"
#include "sim/tally.h"

#include <stdio.h>
#include <stdlib.h>

/* Somebody without a certificate of the cluster, who has found a door. */

enum { STAY_MS = 1500, NOISE_MAX = 3000 };

struct stranger {
	struct stream *stream;
	struct timer *timer;
	struct buf heard;
};

static void stranger_end(struct stranger *stranger)
{
	struct str heard = buf_str(&stranger->heard);
	tally_add(TALLY_CHECK, "10 a stranger got nothing", 1);
	if (str_find(heard, STR("stored")) >= 0 || str_find(heard, STR("UIDVALIDITY")) >= 0 ||
		str_find(heard, STR("a OK")) >= 0) {
		printf("a stranger was served: " STR_FORMAT "\n", STR_ARG(heard));
		cluster_failed = true;
	}
	timer_destroy(&stranger->timer);
	buf_deinit(&stranger->heard);
	free(stranger);
}

static void stranger_on_input(void *arg, struct buf *input)
{
	struct stranger *stranger = arg;
	buf_append_str(&stranger->heard, buf_str(input));
	buf_consume(input, buf_length(input));
}

static void stranger_on_close(void *arg, int reason)
{
	(void)reason;
	stranger_end(arg);
}

static void stranger_on_timeout(void *arg)
{
	struct stranger *stranger = arg;
	stream_abort(stranger->stream);
	stranger_end(stranger);
}

static void say_something(struct stream *stream)
{
	static const char *const dialogues[] = {
		"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<m101@example.org>\r\nBDAT 3 LAST\r\na\r\n",
		/* m101@example.org */
		"a AUTHENTICATE EXTERNAL bTEwMUBleGFtcGxlLm9yZw==\r\na SELECT INBOX\r\n",
	};
	unsigned choice = (unsigned)world_pick(array_length(dialogues) + 1);
	if (choice < array_length(dialogues)) {
		stream_write_str(stream, str_from(dialogues[choice]));
		return;
	}
	for (uint64_t i = world_pick(NOISE_MAX); i > 0; i--) {
		char byte = (char)world_pick(256);
		stream_write(stream, &byte, 1);
	}
}

static void stranger_on_open(void *arg)
{
	struct stranger *stranger = arg;
	say_something(stranger->stream);
}

void stranger_come(unsigned machine)
{
	static const struct stream_handler handler = { .on_open = stranger_on_open,
		.on_input = stranger_on_input, .on_close = stranger_on_close };
	static const unsigned doors[] = { 1, 24, 143 };
	struct stranger *stranger = mem_alloc(sizeof(*stranger));
	char address[32];
	snprintf(address, sizeof(address), "machine-%u:%u", machine,
		doors[world_pick(array_length(doors))]);
	stranger->timer = timer_new(cluster_client_loop(), stranger_on_timeout, stranger);
	timer_start(stranger->timer, STAY_MS);
	stranger->stream = stream_connect(cluster_client_loop(), address, NULL, WORLD_STRANGER,
		STAY_MS, &handler, stranger);
}
