/*
 * A client and homes that say anything, to the router's SMTP front: the reader, every command,
 * transactions, logins and forwarding, over the world of tests/replay.
 *
 * The first byte chooses the service. The rest is what the client sends, but for the byte 0xff,
 * which never stands in UTF-8 and begins something else:
 *   0xff h  what follows is said by the home that was connected last
 *   0xff c  what follows is said by the client again
 *   0xff a  that home takes everything that it was sent so far
 *   0xff x  that home breaks the connection
 *   0xff t  a quarter of the time after which a home is given up passes
 *   0xff q  the queue fails from now on, 0xff w  it works
 *   0xff m  volume 1 moves to node 2
 */

#include "replay/engine.h"

#include "core/log.h"
#include "proto/mail/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

extern const struct replay_engine engine_smtp;

enum {
	/* Connections to homes in one input; more are left without an answer. */
	HOMES_MAX = 64,
	/* Longer than any timeout between the last byte of a message and its reply. */
	REST_MS = 60 * 1000,
};

struct play {
	struct stream *client, *homes[HOMES_MAX];
	unsigned home_count;
	bool home_speaks;
};

static void look_for_homes(struct play *play)
{
	struct stream *stream;

	world_settle();
	while (play->home_count < HOMES_MAX && (stream = world_next_connection()) != NULL)
		play->homes[play->home_count++] = stream;
}

static struct stream *speaker(struct play *play)
{
	if (!play->home_speaks)
		return play->client;
	return play->home_count > 0 ? play->homes[play->home_count - 1] : NULL;
}

/* A good answer to each line, body lines included: too many are a fault that a home may have. */
static void accept_all(struct play *play)
{
	struct stream *home = play->home_count > 0 ? play->homes[play->home_count - 1] : NULL;
	struct str output, line;

	if (!home || world_is_closed(home))
		return;
	world_send(home, STR("220 home\r\n"));
	world_settle();
	output = buf_str(world_output(home));
	while (str_next(&output, '\n', &line)) {
		struct str arguments, verb = smtp_verb(line, &arguments);
		if (str_equal(verb, STR("LHLO")) || str_equal(verb, STR("MAIL")) ||
			str_equal(verb, STR("RCPT")) || str_equal(verb, STR("BDAT")))
			world_send(home, STR("250 2.0.0 Ok\r\n"));
	}
	buf_clear(world_output(home));
}

static void act(struct play *play, char what)
{
	switch (what) {
	case 'h': play->home_speaks = true; break;
	case 'c': play->home_speaks = false; break;
	case 'a': accept_all(play); break;
	case 'x':
		if (play->home_count > 0)
			world_close(play->homes[play->home_count - 1]);
		break;
	case 't': world_advance_ms(2500); break;
	case 'q': engine_smtp.command(STR("queue fails")); break;
	case 'w': engine_smtp.command(STR("queue works")); break;
	case 'm': engine_smtp.command(STR("move 1 2")); break;
	default: break;
	}
}

/* In pieces, so that a boundary may fall anywhere. */
static void run(struct play *play, struct str input)
{
	while (input.length > 0) {
		if ((uint8_t)input.bytes[0] == 0xff) {
			act(play, input.length > 1 ? input.bytes[1] : 0);
			input = str_from_index(input, 2);
			look_for_homes(play);
			continue;
		}
		size_t piece = 1 + (size_t)(uint8_t)input.bytes[0] % 60;
		ptrdiff_t action = str_find_byte(str_first(input, piece), (char)0xff);
		if (action >= 0)
			piece = (size_t)action;
		struct stream *stream = speaker(play);
		if (stream && !world_is_closed(stream))
			world_send(stream, str_first(input, piece));
		input = str_from_index(input, piece);
		look_for_homes(play);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const services[] = { "mx", "submission", "submissions" };
	static bool is_set_up;
	struct play play = { 0 };
	struct stream *stream;

	if (length < 1)
		return 0;
	if (!is_set_up)
		log_setup("fuzz", LOG_LEVEL_ERROR);
	is_set_up = true;
	engine_smtp.start(STR(""));
	engine_smtp.command(STR("queue works"));
	play.client = engine_smtp.connect(str_from(services[bytes[0] % 3]));
	look_for_homes(&play);
	run(&play, str_of(bytes + 1, length - 1));
	if (length % 2 == 0 && !world_is_closed(play.client))
		world_close(play.client);
	world_advance_ms(REST_MS);
	if (!world_is_closed(play.client))
		world_close(play.client);
	/* What was pipelined behind them may have begun only now. */
	world_advance_ms(REST_MS);
	engine_smtp.stop();
	while ((stream = world_next_connection()) != NULL)
		world_forget(stream);
	while (play.home_count > 0)
		world_forget(play.homes[--play.home_count]);
	world_forget(play.client);
	return 0;
}
