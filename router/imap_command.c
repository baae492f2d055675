#include "router/imap_command.h"

#include "proto/mail/imap_reader.h"

void imap_collector_deinit(struct imap_collector *collector)
{
	if (collector->text.memory)
		explicit_bzero(collector->text.memory, collector->text.capacity);
	buf_deinit(&collector->text);
}

void imap_collector_reset(struct imap_collector *collector)
{
	imap_collector_deinit(
		collector); /* it may hold a password, and idle sessions hold nothing */
	collector->literal_left = 0;
}

enum imap_scan imap_collect(struct imap_collector *collector, struct buf *input)
{
	for (;;) {
		struct str bytes = buf_str(input);
		if (collector->literal_left > 0) {
			size_t taken = bytes.length < collector->literal_left ? bytes.length :
				collector->literal_left;
			buf_append(&collector->text, bytes.bytes, taken);
			buf_consume(input, taken);
			collector->literal_left -= taken;
			if (collector->literal_left > 0)
				return IMAP_MORE;
			continue;
		}
		const char *end = memchr(bytes.bytes, '\n', bytes.length);
		size_t length = end ? (size_t)(end - bytes.bytes) + 1 : bytes.length;
		if (buf_length(&collector->text) + length > IMAP_COMMAND_MAX)
			return IMAP_TOO_LONG;
		if (!end)
			return IMAP_MORE;
		struct str line = str_first(bytes, length - 1);
		if (line.length > 0 && line.bytes[line.length - 1] == '\r')
			line.length--;
		uint64_t literal;
		bool waits;
		if (!imap_ends_in_literal(line, &literal, &waits)) {
			buf_append_str(&collector->text, line);
			buf_consume(input, length);
			return IMAP_COMMAND;
		}
		if (literal > IMAP_LITERAL_MAX)
			return IMAP_TOO_LONG;
		buf_append_str(&collector->text, line);
		buf_append_literal(&collector->text, "\r\n");
		buf_consume(input, length);
		collector->literal_left = literal;
		if (waits)
			return IMAP_CONTINUE;
	}
}

static bool is_atom_char(char c)
{
	return (unsigned char)c > ' ' && (unsigned char)c < 0x7f && !strchr("(){\"\\%*", c);
}

static bool take_quoted(struct str *rest, struct buf *scratch, struct str *value_out)
{
	size_t start = scratch->end;

	for (size_t i = 1; i < rest->length; i++) {
		char c = rest->bytes[i];
		if (c == '"') {
			*rest = str_from_index(*rest, i + 1);
			/* The scratch buffer was reserved whole, so it does not move. */
			*value_out = str_of(scratch->memory + start, scratch->end - start);
			return true;
		}
		if (c == '\\' && ++i < rest->length)
			c = rest->bytes[i];
		if (c == 0 || c == '\r' || c == '\n')
			return false;
		buf_append_byte(scratch, c);
	}
	return false;
}

static bool take_literal(struct str *rest, struct str *value_out)
{
	uint64_t length;
	bool waits;
	ptrdiff_t end = str_find(*rest, STR("\r\n"));

	if (end < 0 || !imap_ends_in_literal(str_first(*rest, (size_t)end), &length, &waits))
		return false;
	struct str after = str_from_index(*rest, (size_t)end + 2);
	if (after.length < length)
		return false;
	*value_out = str_first(after, (size_t)length);
	*rest = str_from_index(after, (size_t)length);
	return str_find_byte(*value_out, 0) < 0;
}

/* Passwords in atoms may hold what RFC 3501 keeps for itself; clients send "=" and more. */
static bool take_atom(struct str *rest, struct str *value_out)
{
	size_t length = 0;
	while (length < rest->length && is_atom_char(rest->bytes[length]))
		length++;
	*value_out = str_first(*rest, length);
	*rest = str_from_index(*rest, length);
	return length > 0;
}

bool imap_parse_command(struct str text, struct buf *scratch, struct imap_command *command_out)
{
	struct str rest = text;

	memset(command_out, 0, sizeof(*command_out));
	command_out->tag = STR("*");
	buf_reserve(scratch, text.length + 1);
	ptrdiff_t space = str_find_byte(rest, ' ');
	struct str tag = space < 0 ? rest : str_first(rest, (size_t)space);
	for (size_t i = 0; i < tag.length; i++)
		if (!is_atom_char(tag.bytes[i]) || tag.bytes[i] == '+')
			return false;
	if (tag.length == 0 || tag.length > 256)
		return false;
	command_out->tag = tag;
	if (space < 0)
		return false;
	rest = str_from_index(rest, (size_t)space + 1);
	if (!take_atom(&rest, &command_out->name))
		return false;
	while (rest.length > 0) {
		if (rest.bytes[0] != ' ' || rest.length == 1 ||
			command_out->argument_count == IMAP_ARGUMENTS_MAX)
			return false;
		rest = str_from_index(rest, 1);
		if (rest.bytes[0] == '(')
			return true;
		struct str *value = &command_out->arguments[command_out->argument_count++];
		bool good = rest.bytes[0] == '"' ? take_quoted(&rest, scratch, value) :
			rest.bytes[0] == '{' ? take_literal(&rest, value) :
					       take_atom(&rest, value);
		if (!good)
			return false;
	}
	return true;
}
