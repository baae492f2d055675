#include "proto/mail/summary_structure.h"

#include "proto/mail/imap_write.h"
#include "proto/mail/mime_address.h"

#include <stdio.h>

enum {
	/* Of an address list or Subject that ENVELOPE shows: a thousand recipients with names. */
	ENVELOPE_FIELD_LENGTH_MAX = 64 << 10,
	/* Of a header in which repeated recipients are looked for: the longest genuine ones. */
	JOINED_HEADER_LENGTH_MAX = 256 << 10,
	/* A date takes 40 bytes, its comments some more. */
	DATE_LENGTH_MAX = 256,
	/* Of a Content-* field or a message id: file names in RFC 2231 form take some
	 * hundred bytes. */
	CONTENT_FIELD_LENGTH_MAX = 4 << 10,
	/* From here on what is optional is left out: two thousand parts with names of a hundred
	 * bytes stay below. A message and its summary fit one segment of the log. */
	STRUCTURE_LENGTH_HIGH = 2 << 20,
	/* Of one Content-* field: a file name cut into lines of 60 bytes fills it. */
	PARAMS_MAX = 64,
};

static bool is_full(const struct buf *out)
{
	return buf_length(out) >= STRUCTURE_LENGTH_HIGH;
}

static void write_addresses(struct str value, struct buf *out)
{
	struct mime_addresses list = { .rest = str_first(value, ENVELOPE_FIELD_LENGTH_MAX) };
	struct mime_address address;
	bool any = false;

	while (mime_next_address(&list, &address)) {
		buf_append_str(out, any ? STR("(") : STR("(("));
		any = true;
		if (address.kind == MIME_GROUP_END) {
			buf_append_literal(out, "NIL NIL NIL NIL)");
			continue;
		}
		if (address.kind == MIME_GROUP_BEGIN) {
			buf_append_literal(out, "NIL NIL ");
			imap_write_text(out, address.name);
			buf_append_literal(out, " NIL)");
			continue;
		}
		imap_write_ntext(out, address.name);
		buf_append_byte(out, ' ');
		imap_write_ntext(out, address.route);
		buf_append_byte(out, ' ');
		/* NIL in one of these would mean group syntax. */
		if (address.mailbox.length)
			imap_write_text(out, address.mailbox);
		else
			buf_append_literal(out, "\"MISSING_MAILBOX\"");
		buf_append_byte(out, ' ');
		if (address.domain.length)
			imap_write_text(out, address.domain);
		else
			buf_append_literal(out, "\"MISSING_DOMAIN\"");
		buf_append_byte(out, ')');
	}
	if (any)
		buf_append_byte(out, ')');
	else
		buf_append_literal(out, "NIL");
	mime_addresses_deinit(&list);
}

/* Date, Subject and the ids: NIL when missing, "" when empty (RFC 3501 section 7.4.2). */
static void write_text_field(const struct mime *mime, const struct mime_part *part,
	enum mime_field_id id, size_t length_max, struct buf *out)
{
	if (mime_has_field(part, id) && !is_full(out))
		imap_write_text(out, str_first(mime_field(mime, part, id), length_max));
	else
		buf_append_literal(out, "NIL");
}

/* A list that was spread over several fields of one name is one list (RFC 5322 section 4.5.3). */
static void join_fields(const struct mime *mime, const struct mime_part *part, struct str name,
	struct buf *out)
{
	struct str header = str_first(str_of(mime->message.bytes + part->header_offset,
		part->header_length), JOINED_HEADER_LENGTH_MAX);
	struct mime_header_field field;

	while (buf_length(out) < ENVELOPE_FIELD_LENGTH_MAX && mime_next_field(&header, &field)) {
		if (!str_equal_ignore_case(field.name, name))
			continue;
		if (buf_length(out))
			buf_append_byte(out, ',');
		buf_append_str(out, str_trim(field.value));
	}
}

static void write_address_field(const struct mime *mime, const struct mime_part *part,
	enum mime_field_id id, struct buf *out)
{
	struct str value = mime_field(mime, part, id);
	struct buf joined = { 0 };

	if (is_full(out)) {
		buf_append_literal(out, "NIL");
		return;
	}
	/* Sender and Reply-To default to From. */
	if (!value.length && (id == MIME_SENDER || id == MIME_REPLY_TO))
		value = mime_field(mime, part, MIME_FROM);
	if (part->repeated_fields >> id & 1 && (id == MIME_TO || id == MIME_CC || id == MIME_BCC)) {
		join_fields(mime, part,
			id == MIME_TO ? STR("To") : id == MIME_CC ? STR("Cc") : STR("Bcc"),
			&joined);
		value = buf_str(&joined);
	}
	write_addresses(value, out);
	buf_deinit(&joined);
}

void structure_write_envelope(const struct mime *mime, unsigned message_part, struct buf *out)
{
	const struct mime_part *part = &mime->parts[message_part];
	static const enum mime_field_id addresses[] = {
		MIME_FROM, MIME_SENDER, MIME_REPLY_TO, MIME_TO, MIME_CC, MIME_BCC,
	};

	buf_append_byte(out, '(');
	write_text_field(mime, part, MIME_DATE, DATE_LENGTH_MAX, out);
	buf_append_byte(out, ' ');
	write_text_field(mime, part, MIME_SUBJECT, ENVELOPE_FIELD_LENGTH_MAX, out);
	for (size_t i = 0; i < array_length(addresses); i++) {
		buf_append_byte(out, ' ');
		write_address_field(mime, part, addresses[i], out);
	}
	buf_append_byte(out, ' ');
	write_text_field(mime, part, MIME_IN_REPLY_TO, CONTENT_FIELD_LENGTH_MAX, out);
	buf_append_byte(out, ' ');
	write_text_field(mime, part, MIME_MESSAGE_ID, CONTENT_FIELD_LENGTH_MAX, out);
	buf_append_byte(out, ')');
}

static struct str content_field(const struct mime *mime, const struct mime_part *part,
	enum mime_field_id id)
{
	return str_first(mime_field(mime, part, id), CONTENT_FIELD_LENGTH_MAX);
}

static void write_content_field(const struct mime *mime, const struct mime_part *part,
	enum mime_field_id id, struct buf *out)
{
	if (is_full(out))
		buf_append_literal(out, "NIL");
	else
		imap_write_ntext(out, content_field(mime, part, id));
}

struct param {
	struct str name;
	uint32_t value_offset, value_length; /* in params.values */
	bool is_encoded;    /* charset'language'percent-encoded: shown as "name*" */
	bool is_continued;  /* a piece that stands in another's value */
};

struct params {
	struct param list[PARAMS_MAX];
	unsigned count;
	struct buf values;
};

static void read_params(struct str text, struct params *params)
{
	struct buf scratch = { 0 };
	struct str name, value;

	while (params->count < PARAMS_MAX && mime_next_param(&text, &name, &value, &scratch)) {
		params->list[params->count++] = (struct param){ .name = name,
			.value_offset = (uint32_t)buf_length(&params->values),
			.value_length = (uint32_t)value.length };
		buf_append_str(&params->values, value);
	}
	buf_deinit(&scratch);
}

static struct str param_value(const struct params *params, const struct param *param)
{
	return str_first(str_from_index(buf_str(&params->values), param->value_offset),
		param->value_length);
}

/* "name*2" or, encoded, "name*2*": a piece of a value that was cut (RFC 2231 section 3). */
static struct param *find_piece(struct params *params, struct str name, unsigned number,
	bool *is_encoded_out)
{
	char behind[16];
	size_t length = (size_t)snprintf(behind, sizeof(behind), "*%u*", number);

	for (unsigned i = 0; i < params->count; i++) {
		struct param *param = &params->list[i];
		if (!str_starts_with_ignore_case(param->name, name))
			continue;
		struct str rest = str_from_index(param->name, name.length);
		*is_encoded_out = str_equal(rest, str_of(behind, length));
		if (*is_encoded_out || str_equal(rest, str_of(behind, length - 1)))
			return param;
	}
	return NULL;
}

static void append_percent_encoded(struct str value, struct buf *out)
{
	for (size_t i = 0; i < value.length; i++) {
		unsigned char c = (unsigned char)value.bytes[i];
		if (c > ' ' && c < 0x7f && c != '*' && c != '\'' && c != '%')
			buf_append_byte(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

/* The pieces of a value become one, "name" or, when one of them is encoded, "name*": RFC 2231
 * section 6 asks that of servers. `first` is "name*0" or "name*0*". */
static void join_pieces(struct params *params, struct param *first, struct str name)
{
	struct buf plain = { 0 }, encoded = { 0 };
	struct param *piece;
	bool is_encoded;

	for (unsigned n = 0; (piece = find_piece(params, name, n, &is_encoded)); n++) {
		struct str value = param_value(params, piece);
		piece->is_continued = piece != first;
		first->is_encoded |= is_encoded;
		/* An encoded value begins with charset'language' (section 4): none was said. */
		if (n == 0 && !is_encoded)
			buf_append_literal(&encoded, "''");
		buf_append_str(&plain, value);
		if (is_encoded)
			buf_append_str(&encoded, value);
		else
			append_percent_encoded(value, &encoded);
	}
	struct str joined = buf_str(first->is_encoded ? &encoded : &plain);
	first->name = name;
	first->value_offset = (uint32_t)buf_length(&params->values);
	first->value_length = (uint32_t)joined.length;
	buf_append_str(&params->values, joined);
	buf_deinit(&plain);
	buf_deinit(&encoded);
}

static void join_params(struct params *params)
{
	for (unsigned i = 0; i < params->count; i++) {
		struct param *param = &params->list[i];
		ptrdiff_t star = str_find_byte(param->name, '*');
		struct str behind = str_from_index(param->name, star > 0 ? (size_t)star : 0);
		if (star > 0 && (str_equal(behind, STR("*0")) || str_equal(behind, STR("*0*"))))
			join_pieces(params, param, str_first(param->name, (size_t)star));
	}
}

static void write_param(const struct params *params, const struct param *param, struct buf *out)
{
	struct buf name = { 0 };
	buf_append_str(&name, param->name);
	if (param->is_encoded)
		buf_append_byte(&name, '*');
	imap_write_text(out, buf_str(&name));
	buf_append_byte(out, ' ');
	imap_write_text(out, param_value(params, param));
	buf_deinit(&name);
}

/* With `is_text` a charset is shown also where none is declared (RFC 2045 section 5.2). */
static void write_params(struct str text, bool is_text, struct buf *out)
{
	struct params params = { .count = 0 };
	bool any = false;

	if (!is_full(out))
		read_params(text, &params);
	join_params(&params);
	for (unsigned i = 0; i < params.count; i++) {
		const struct param *param = &params.list[i];
		if (param->is_continued)
			continue;
		is_text &= !str_starts_with_ignore_case(param->name, STR("charset"));
		buf_append_byte(out, any ? ' ' : '(');
		write_param(&params, param, out);
		any = true;
	}
	if (is_text)
		buf_append_str(out, any ? STR(" \"charset\" \"us-ascii\"") :
			STR("(\"charset\" \"us-ascii\""));
	if (any || is_text)
		buf_append_byte(out, ')');
	else
		buf_append_literal(out, "NIL");
	buf_deinit(&params.values);
}

static void write_encoding(const struct mime *mime, const struct mime_part *part, struct buf *out)
{
	struct str value = content_field(mime, part, MIME_CONTENT_ENCODING);
	struct str token, rest;
	if (part->description == MIME_AS_DECLARED && !is_full(out) &&
		mime_split_value(value, &token, &rest))
		imap_write_text(out, token);
	else if (part->encoding == MIME_BASE64)
		buf_append_literal(out, "\"base64\"");
	else if (part->encoding == MIME_QUOTED_PRINTABLE)
		buf_append_literal(out, "\"quoted-printable\"");
	else
		buf_append_literal(out, "\"7bit\"");
}

static void write_disposition(
	const struct mime *mime, const struct mime_part *part, struct buf *out)
{
	struct str token, params;
	if (is_full(out) || !mime_split_value(
		    content_field(mime, part, MIME_CONTENT_DISPOSITION), &token, &params)) {
		buf_append_literal(out, "NIL");
		return;
	}
	buf_append_byte(out, '(');
	imap_write_text(out, token);
	buf_append_byte(out, ' ');
	write_params(params, false, out);
	buf_append_byte(out, ')');
}

static void write_language(const struct mime *mime, const struct mime_part *part, struct buf *out)
{
	struct str rest = content_field(mime, part, MIME_CONTENT_LANGUAGE);
	struct str tag;
	bool any = false;

	if (rest.length && !is_full(out))
		while (str_next(&rest, ',', &tag)) {
			mime_skip_comments(&tag);
			tag = str_trim(tag);
			if (!tag.length)
				continue;
			buf_append_byte(out, any ? ' ' : '(');
			imap_write_text(out, tag);
			any = true;
		}
	if (any)
		buf_append_byte(out, ')');
	else
		buf_append_literal(out, "NIL");
}

/* The extension data behind a part, from its leading space on. */
static void write_extension(const struct mime *mime, const struct mime_part *part, struct buf *out,
	struct buf *runs_out)
{
	size_t start = buf_length(out);
	if (part->kind == MIME_MULTIPART) {
		struct str type, subtype, params = { 0 };
		mime_split_type(
			content_field(mime, part, MIME_CONTENT_TYPE), &type, &subtype, &params);
		buf_append_byte(out, ' ');
		write_params(params, false, out);
	} else {
		buf_append_byte(out, ' ');
		write_content_field(mime, part, MIME_CONTENT_MD5, out);
	}
	buf_append_byte(out, ' ');
	write_disposition(mime, part, out);
	buf_append_byte(out, ' ');
	write_language(mime, part, out);
	buf_append_byte(out, ' ');
	write_content_field(mime, part, MIME_CONTENT_LOCATION, out);
	struct structure_run run = { (uint32_t)start, (uint32_t)(buf_length(out) - start) };
	buf_append(runs_out, &run, sizeof(run));
}

static void write_type(const struct mime *mime, const struct mime_part *part, struct buf *out)
{
	struct str type, subtype, params;
	enum mime_default description = part->description;
	if (is_full(out) && description == MIME_AS_DECLARED)
		description = part->kind == MIME_MESSAGE ? MIME_AS_MESSAGE :
			part->is_text ? MIME_AS_TEXT : MIME_AS_OCTETS;
	switch (description) {
	case MIME_AS_TEXT:
		buf_append_literal(out, "\"text\" \"plain\" (\"charset\" \"us-ascii\")");
		return;
	case MIME_AS_OCTETS:
		buf_append_literal(out, "\"application\" \"octet-stream\" NIL");
		return;
	case MIME_AS_MESSAGE:
		buf_append_literal(out, "\"message\" \"rfc822\" NIL");
		return;
	case MIME_AS_DECLARED:
		break;
	}
	if (!mime_split_type(
		    content_field(mime, part, MIME_CONTENT_TYPE), &type, &subtype, &params)) {
		buf_append_literal(out, "\"application\" \"octet-stream\" NIL");
		return;
	}
	imap_write_text(out, type);
	buf_append_byte(out, ' ');
	imap_write_text(out, subtype);
	buf_append_byte(out, ' ');
	write_params(params, part->is_text, out);
}

static void open_part(
	const struct mime *mime, unsigned index, struct buf *out, struct buf *runs_out)
{
	const struct mime_part *part = &mime->parts[index];

	buf_append_byte(out, '(');
	if (part->kind == MIME_MULTIPART)
		return;
	write_type(mime, part, out);
	buf_append_byte(out, ' ');
	write_content_field(mime, part, MIME_CONTENT_ID, out);
	buf_append_byte(out, ' ');
	write_content_field(mime, part, MIME_CONTENT_DESCRIPTION, out);
	buf_append_byte(out, ' ');
	write_encoding(mime, part, out);
	buf_append_byte(out, ' ');
	imap_write_number(out, part->body_length);
	if (part->kind == MIME_MESSAGE) {
		buf_append_byte(out, ' ');
		structure_write_envelope(mime, index + 1, out);
		buf_append_byte(out, ' ');
		return;
	}
	if (part->is_text) {
		buf_append_byte(out, ' ');
		imap_write_number(out, part->body_lines);
	}
	write_extension(mime, part, out, runs_out);
	buf_append_byte(out, ')');
}

static void close_part(
	const struct mime *mime, unsigned index, struct buf *out, struct buf *runs_out)
{
	const struct mime_part *part = &mime->parts[index];
	struct str type, subtype, params;

	buf_append_byte(out, ' ');
	if (part->kind == MIME_MESSAGE)
		imap_write_number(out, part->body_lines);
	else if (!is_full(out) && mime_split_type(content_field(mime, part, MIME_CONTENT_TYPE),
			&type, &subtype, &params))
		imap_write_text(out, subtype);
	else
		buf_append_literal(out, "\"mixed\"");
	write_extension(mime, part, out, runs_out);
	buf_append_byte(out, ')');
}

void structure_write(const struct mime *mime, struct buf *out, struct buf *runs_out)
{
	uint16_t open[MIME_DEPTH_MAX];
	unsigned open_count = 0;

	for (unsigned i = 0; i < mime->part_count; i++) {
		const struct mime_part *part = &mime->parts[i];
		while (open_count && open[open_count - 1] != part->parent)
			close_part(mime, open[--open_count], out, runs_out);
		open_part(mime, i, out, runs_out);
		if (part->kind != MIME_LEAF)
			open[open_count++] = (uint16_t)i;
	}
	while (open_count)
		close_part(mime, open[--open_count], out, runs_out);
}

struct str structure_charset(const struct mime *mime, unsigned index, struct buf *scratch)
{
	const struct mime_part *part = &mime->parts[index];
	struct str type, subtype, params, name, value;

	if (part->description != MIME_AS_DECLARED ||
		!mime_split_type(
			content_field(mime, part, MIME_CONTENT_TYPE), &type, &subtype, &params))
		return str_of("", 0);
	while (mime_next_param(&params, &name, &value, scratch))
		if (str_equal_ignore_case(name, STR("charset")))
			return str_first(value, 64);
	return str_of("", 0);
}
