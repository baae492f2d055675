/* Headers of any message, and the bounce that is made from them. */

#include "proto/mail/dsn.h"
#include "proto/mail/trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str message = str_of(bytes, length), header = trace_header(message);
	struct buf text = { 0 }, out = { 0 };

	if (header.length > length)
		abort();
	if (trace_count_hops(message) != trace_count_hops(header))
		abort();
	(void)trace_has_field(message, STR("Date"));
	buf_append_str(&text, str_first(message, 500));
	const char *hostile = buf_terminated(&text);
	const struct dsn_recipient recipient = { DSN_FAILED, hostile, hostile, hostile, hostile };
	const struct dsn dsn = {
		.hostname = "mx",
		.sender = hostile,
		.envid = hostile,
		.id = "i",
		.recipients = &recipient,
		.recipient_count = 1,
		.original = header,
	};
	dsn_compose(&dsn, &out);
	buf_deinit(&text);
	buf_deinit(&out);
	return 0;
}
