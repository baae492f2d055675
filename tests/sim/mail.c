#include "sim/mail.h"

enum {
	LINE = 72,
	/* One in so many is long: some groups are then as large as a segment of the simulation. */
	ONE_IS_LONG = 12,
	LONG_LINES = 800,
	TEXT_LINES = 2000,
	SHORT_LINES = 40,
};

/* Lines of letters, of which each message has its own stretch. */
static const char *letters(void)
{
	static char text[TEXT_LINES][LINE];
	static bool is_written;
	uint64_t random = 1;
	for (unsigned i = 0; i < TEXT_LINES && !is_written; i++) {
		memcpy(text[i] + LINE - 2, "\r\n", 2);
		for (unsigned k = 0; k < LINE - 2; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			text[i][k] = (char)('a' + (random >> 40) % 26);
		}
	}
	is_written = true;
	return text[0];
}

void mail_write(uint64_t mark, struct buf *out)
{
	uint64_t random = (mark + 1) * 0x9e3779b97f4a7c15u;
	unsigned most = (random >> 20) % ONE_IS_LONG == 0 ? LONG_LINES : SHORT_LINES;
	unsigned lines = 1 + (unsigned)((random >> 40) % most);
	buf_printf(out, "From: somebody@example.org\r\nX-Mark: %llu\r\nSubject: mail %llu\r\n\r\n",
		(unsigned long long)mark, (unsigned long long)mark);
	buf_append(out, letters() + mark % (TEXT_LINES - LONG_LINES) * LINE, (size_t)lines * LINE);
}

size_t mail_length(uint64_t mark)
{
	struct buf message = { 0 };
	mail_write(mark, &message);
	size_t length = buf_length(&message);
	buf_deinit(&message);
	return length;
}

uint64_t mail_mark(struct str text)
{
	uint64_t mark = 0;
	ptrdiff_t at = str_find(text, STR("X-Mark: "));
	if (at < 0)
		return UINT64_MAX;
	for (size_t i = (size_t)at + 8; i < text.length && text.bytes[i] >= '0' &&
		text.bytes[i] <= '9'; i++)
		mark = mark * 10 + (uint64_t)(text.bytes[i] - '0');
	return mark;
}

bool mail_is(struct str message, uint64_t mark)
{
	struct buf expected = { 0 };
	mail_write(mark, &expected);
	bool same = str_ends_with(message, buf_str(&expected));
	buf_deinit(&expected);
	return same;
}
