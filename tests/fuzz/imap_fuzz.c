/* A client that says anything, to an IMAP session with mail in it: the reader, the grammar and
 * every command, down to the mailbox. */

#include "replay/engine.h"
#include "replay/world_mailbox.h"

#include "core/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static bool is_set_up;
	const struct replay_engine *engine = replay_engines[0];
	struct str input = str_of(bytes, length);

	if (!is_set_up)
		log_setup("fuzz", LOG_LEVEL_ERROR);
	is_set_up = true;
	engine->start(STR(""));
	engine->command(STR("fill INBOX 3"));
	world_mailbox_deliver(STR("INBOX"),
		STR("Subject: =?utf-8?q?x?=\r\nContent-Type: multipart/mixed; "
		    "boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: "
		    "message/rfc822\r\n\r\n"
		    "From: a@b\r\n\r\ninner\r\n--b--\r\n"));
	struct stream *stream = engine->connect(STR(""));
	if (length % 4 != 0)
		world_send(stream, STR("s SELECT INBOX\r\n"));
	/* In pieces, so that a boundary may fall anywhere. */
	while (input.length) {
		size_t piece = 1 + (size_t)(uint8_t)input.bytes[0] % 40;
		world_send(stream, str_first(input, piece));
		input = str_from_index(input, piece);
		world_settle();
	}
	if (!world_is_closed(stream))
		world_close(stream);
	world_settle();
	world_forget(stream);
	engine->stop();
	return 0;
}
