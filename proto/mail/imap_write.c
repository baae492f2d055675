#include "proto/mail/imap_write.h"

#include "proto/mail/mime.h"
#include "proto/mail/utf7.h"

enum {
	/* RFC 7162 section 4 asks clients to take lines of 8,192 bytes; longer strings go as
	 * literals. */
	QUOTED_LENGTH_MAX = 1000,
};

static bool fits_quoted(struct str s)
{
	if (s.length > QUOTED_LENGTH_MAX)
		return false;
	for (size_t i = 0; i < s.length; i++) {
		unsigned char c = (unsigned char)s.bytes[i];
		if (c >= 0x80 || c == '\r' || c == '\n' || c == 0)
			return false;
	}
	return true;
}

static void write_quoted(struct buf *out, struct str s)
{
	char *start = buf_reserve(out, s.length * 2 + 2);
	char *at = start;
	*at++ = '"';
	for (size_t i = 0; i < s.length; i++) {
		char c = s.bytes[i];
		if (c == '"' || c == '\\')
			*at++ = '\\';
		*at++ = c;
	}
	*at++ = '"';
	buf_commit(out, (size_t)(at - start));
}

void imap_write_string(struct buf *out, struct str s)
{
	if (fits_quoted(s)) {
		write_quoted(out, s);
		return;
	}
	buf_append_byte(out, '{');
	imap_write_number(out, s.length);
	buf_append_literal(out, "}\r\n");
	buf_append_str(out, s);
}

void imap_write_text(struct buf *out, struct str s)
{
	if (fits_quoted(s)) {
		write_quoted(out, s);
		return;
	}
	struct buf plain = { 0 };
	char *at = buf_reserve(&plain, s.length + 1);
	size_t length = 0;
	bool in_fold = false;
	for (size_t i = 0; i < s.length; i++) {
		char c = s.bytes[i];
		bool is_white = c == ' ' || c == '\t';
		/* Folding is one space, whatever stands in it. */
		if (c == '\r' || c == '\n' || (in_fold && is_white)) {
			in_fold = true;
			continue;
		}
		if (in_fold && length && at[length - 1] != ' ')
			at[length++] = ' ';
		in_fold = false;
		if (c)
			at[length++] = c;
	}
	buf_commit(&plain, length);
	imap_write_string(out, buf_str(&plain));
	buf_deinit(&plain);
}

void imap_write_ntext(struct buf *out, struct str s)
{
	if (s.length)
		imap_write_text(out, s);
	else
		buf_append_literal(out, "NIL");
}

void imap_write_astring(struct buf *out, struct str s)
{
	bool is_atom = s.length != 0 && s.length <= QUOTED_LENGTH_MAX;
	for (size_t i = 0; is_atom && i < s.length; i++) {
		unsigned char c = (unsigned char)s.bytes[i];
		is_atom = c > ' ' && c < 0x7f && !strchr("(){%*\"\\", c);
	}
	if (is_atom && !str_equal_ignore_case(s, STR("NIL")))
		buf_append_str(out, s);
	else
		imap_write_string(out, s);
}

void imap_write_mailbox(struct buf *out, struct str name)
{
	struct buf encoded = { 0 };
	utf7_encode(name, &encoded);
	imap_write_astring(out, buf_str(&encoded));
	buf_deinit(&encoded);
}

void imap_write_number(struct buf *out, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	buf_append(out, digits + at, sizeof(digits) - at);
}

void imap_write_date_time(struct buf *out, int64_t utc_s)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	int64_t days = utc_s >= 0 ? utc_s / 86400 : -((86399 - utc_s) / 86400);
	int seconds = (int)(utc_s - days * 86400);
	int year, month, day;

	mime_date_from_days(days, &year, &month, &day);
	buf_printf(out, "\"%2d-%s-%04d %02d:%02d:%02d +0000\"", day, months[month - 1],
		year < 0              ? 0
			: year > 9999 ? 9999
				      : year,
		seconds / 3600, seconds / 60 % 60, seconds % 60);
}

static void write_run(struct imap_set_writer *writer)
{
	if (!writer->first)
		return;
	if (writer->began)
		buf_append_byte(writer->out, ',');
	imap_write_number(writer->out, writer->first);
	if (writer->last != writer->first) {
		buf_append_byte(writer->out, ':');
		imap_write_number(writer->out, writer->last);
	}
	writer->began = true;
}

void imap_write_set_add(struct imap_set_writer *writer, uint32_t number)
{
	if (writer->first && number == writer->last + 1) {
		writer->last = number;
		return;
	}
	write_run(writer);
	writer->first = writer->last = number;
}

void imap_write_set_end(struct imap_set_writer *writer)
{
	write_run(writer);
	writer->first = 0;
}
