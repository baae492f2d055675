/*
 * A router that says anything, to the node's LMTP session over the world of tests/replay. The byte
 * 0xff begins something else than its words:
 *   0xff h  deliveries wait from now on, 0xff r  until they are released, the newest first
 *   0xff s  and a byte: what deliveries end with
 *   0xff t  five minutes pass
 */

#include "replay/engine.h"

#include "core/log.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

extern const struct replay_engine engine_lmtp;

static void fail_with(uint8_t number)
{
	char text[32];
	snprintf(text, sizeof(text), "status %u", number % 200u);
	engine_lmtp.command(str_from(text));
}

/* Does what stands at the start; how many bytes that took. */
static size_t act(struct str input)
{
	switch (input.length > 1 ? input.bytes[1] : 0) {
	case 'h': engine_lmtp.command(STR("hold")); break;
	case 'r': engine_lmtp.command(STR("release")); break;
	case 's': fail_with(input.length > 2 ? (uint8_t)input.bytes[2] : 0); return 3;
	case 't': world_advance_ms(300 * 1000); break;
	default: break;
	}
	return 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static bool is_set_up;
	struct str input = str_of(bytes, length);

	if (!is_set_up)
		log_setup("fuzz", LOG_LEVEL_ERROR);
	is_set_up = true;
	engine_lmtp.start(STR(""));
	engine_lmtp.command(STR("status 0"));
	struct stream *stream = engine_lmtp.connect(STR(""));
	world_settle();
	while (input.length > 0) {
		if ((uint8_t)input.bytes[0] == 0xff) {
			input = str_from_index(input, act(input));
			world_settle();
			continue;
		}
		/* In pieces, so that a boundary may fall anywhere. */
		size_t piece = 1 + (size_t)(uint8_t)input.bytes[0] % 60;
		ptrdiff_t action = str_find_byte(str_first(input, piece), (char)0xff);
		if (action >= 0)
			piece = (size_t)action;
		if (!world_is_closed(stream))
			world_send(stream, str_first(input, piece));
		input = str_from_index(input, piece);
		world_settle();
	}
	if (!world_is_closed(stream))
		world_close(stream);
	world_settle();
	engine_lmtp.stop();
	world_forget(stream);
	return 0;
}
