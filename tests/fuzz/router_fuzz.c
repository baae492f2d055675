/* What the router parses itself: IMAP before the login, and its queue's records. */

#include "router/imap_command.h"
#include "router/queue_record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void collect(struct str input)
{
	struct imap_collector collector = { 0 };
	struct buf buf = { 0 };
	size_t shown = 0;

	while (shown < input.length) {
		struct str piece = str_first(str_from_index(input, shown), 7);
		buf_append_str(&buf, piece);
		shown += piece.length;
		enum imap_scan scan;
		while ((scan = imap_collect(&collector, &buf)) == IMAP_COMMAND ||
			scan == IMAP_CONTINUE) {
			struct buf scratch = { 0 };
			struct imap_command command;
			if (scan == IMAP_COMMAND) {
				(void)!imap_parse_command(
					buf_str(&collector.text), &scratch, &command);
				imap_collector_reset(&collector);
			}
			buf_deinit(&scratch);
		}
		if (scan == IMAP_TOO_LONG)
			break;
	}
	imap_collector_deinit(&collector);
	buf_deinit(&buf);
}

/* What was decoded encodes to the same bytes. */
static void decode(struct str input)
{
	struct pool *pool = pool_create();
	struct queue_record record;
	struct buf out = { 0 };

	if (queue_record_decode(input, pool, &record)) {
		queue_record_encode(&record, &out);
		struct queue_record again;
		if (!queue_record_decode(buf_str(&out), pool, &again) ||
			again.recipient_count != record.recipient_count ||
			again.change_count != record.change_count)
			abort();
	}
	buf_deinit(&out);
	pool_destroy(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	collect(str_of(bytes, length));
	decode(str_of(bytes, length));
	return 0;
}
