#include "proto/mail/mime.h"

#include <stdlib.h>

enum {
	/* RFC 2046 section 5.1.1 allows 70 bytes; only one that is folded or escaped is copied. */
	UNQUOTED_BOUNDARY_MAX = 128,
};

struct open_boundary {
	struct str boundary; /* in the message or in `unquoted` */
	uint16_t part;
	char unquoted[UNQUOTED_BOUNDARY_MAX];
};

struct parser {
	struct mime *mime;
	const char *bytes;
	size_t length;
	size_t at;
	uint32_t lines;   /* line ends before `at` */
	uint16_t current; /* the innermost open part */
	unsigned open_count;
	struct open_boundary open[MIME_DEPTH_MAX];
	/* The first bytes of each open boundary, and which of them count: nearly every line that
	 * begins with "--" is told from all of them without looking at one. */
	uint64_t open_start[MIME_DEPTH_MAX], open_mask[MIME_DEPTH_MAX];
	uint32_t first_line[MIME_DEPTH_MAX + 2]; /* of the body of the open part at a depth */
};

struct delimiter {
	size_t line, next; /* where its line begins; where the next line begins */
	unsigned level;    /* index of the boundary in `open` */
	bool is_close;
};

static const struct {
	const char *name;
	uint8_t length;
} field_names[MIME_FIELD_COUNT] = {
	[MIME_CONTENT_TYPE] = { "content-type", 12 },
	[MIME_CONTENT_ENCODING] = { "content-transfer-encoding", 25 },
	[MIME_CONTENT_ID] = { "content-id", 10 },
	[MIME_CONTENT_DESCRIPTION] = { "content-description", 19 },
	[MIME_CONTENT_DISPOSITION] = { "content-disposition", 19 },
	[MIME_CONTENT_LANGUAGE] = { "content-language", 16 },
	[MIME_CONTENT_LOCATION] = { "content-location", 16 },
	[MIME_CONTENT_MD5] = { "content-md5", 11 },
	[MIME_DATE] = { "date", 4 },
	[MIME_SUBJECT] = { "subject", 7 },
	[MIME_FROM] = { "from", 4 },
	[MIME_SENDER] = { "sender", 6 },
	[MIME_REPLY_TO] = { "reply-to", 8 },
	[MIME_TO] = { "to", 2 },
	[MIME_CC] = { "cc", 2 },
	[MIME_BCC] = { "bcc", 3 },
	[MIME_IN_REPLY_TO] = { "in-reply-to", 11 },
	[MIME_MESSAGE_ID] = { "message-id", 10 },
};

/* The index past the end of the line that begins at `at`. */
static size_t line_after(const char *bytes, size_t length, size_t at)
{
	const char *end = memchr(bytes + at, '\n', length - at);
	return end ? (size_t)(end - bytes) + 1 : length;
}

static bool is_empty_line(const char *bytes, size_t at, size_t next)
{
	return (next == at + 1 && bytes[at] == '\n') ||
		(next == at + 2 && bytes[at] == '\r' && bytes[at + 1] == '\n');
}

/* The length of a field name at the start of a line, or 0 when the line is no field. White space
 * before the colon is the obsolete form of RFC 5322 section 4.5. */
static size_t field_name_length(const char *line, size_t length, size_t *colon_out)
{
	size_t name = 0;
	while (name < length && (unsigned char)line[name] > ' ' && line[name] != ':' &&
		line[name] != 0x7f)
		name++;
	size_t colon = name;
	while (colon < length && (line[colon] == ' ' || line[colon] == '\t'))
		colon++;
	if (!name || colon >= length || line[colon] != ':')
		return 0;
	*colon_out = colon;
	return name;
}

static bool name_matches(const char *name, const char *lower, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (ascii_lower(name[i]) != lower[i])
			return false;
	return true;
}

static void note_field(
	struct mime_part *part, const struct parser *parser, size_t start, size_t end)
{
	const char *line = parser->bytes + start;
	size_t colon = 0;
	size_t name = field_name_length(line, end - start, &colon);

	if (!name || name > 25)
		return;
	for (unsigned id = 0; id < MIME_FIELD_COUNT; id++) {
		if (field_names[id].length != name ||
			ascii_lower(line[0]) != field_names[id].name[0] ||
			!name_matches(line, field_names[id].name, name))
			continue;
		struct str value = str_trim(str_of(line + colon + 1, end - start - colon - 1));
		if (part->fields[id].length && value.length)
			part->repeated_fields |= 1u << id;
		if (!mime_has_field(part, id) || (!part->fields[id].length && value.length)) {
			/* A name and a colon come before it: never 0. */
			size_t offset = value.length ? (size_t)(value.bytes - parser->bytes) :
				start + colon + 1;
			part->fields[id].offset = (uint32_t)offset;
			part->fields[id].length = (uint32_t)value.length;
		}
		return;
	}
}

static uint64_t start_of(struct str text)
{
	uint64_t start = 0;
	memcpy(&start, text.bytes, text.length < sizeof(start) ? text.length : sizeof(start));
	return start;
}

/* Of the open boundaries that the line at `at` begins with, the longest, then the innermost. */
static bool match_delimiter(const struct parser *parser, size_t at, size_t next,
	struct delimiter *found_out)
{
	const char *line = parser->bytes + at;
	size_t length = next - at;
	size_t best = 0;

	if (length < 3 || line[0] != '-' || line[1] != '-')
		return false;
	uint64_t start = start_of(str_of(line + 2, length - 2));
	for (unsigned i = parser->open_count; i-- > 0;) {
		if ((start ^ parser->open_start[i]) & parser->open_mask[i])
			continue;
		struct str boundary = parser->open[i].boundary;
		if (boundary.length <= best || boundary.length > length - 2 ||
			memcmp(line + 2, boundary.bytes, boundary.length) != 0)
			continue;
		best = boundary.length;
		const char *behind = line + 2 + best;
		found_out->line = at;
		found_out->next = next;
		found_out->level = i;
		found_out->is_close = length >= best + 4 && behind[0] == '-' && behind[1] == '-';
	}
	return best != 0;
}

static struct mime_part *part_add(struct parser *parser, uint16_t parent)
{
	struct mime *mime = parser->mime;
	if (mime->part_count == mime->part_capacity) {
		mime->part_capacity = mime->part_capacity ? mime->part_capacity * 4 : 4;
		mime->parts = mem_resize(mime->parts, mime->part_capacity * sizeof(*mime->parts));
	}
	parser->current = (uint16_t)mime->part_count++;
	struct mime_part *part = &mime->parts[parser->current];
	*part = (struct mime_part){ .parent = parent, .header_offset = (uint32_t)parser->at };
	if (parent != MIME_NONE) {
		part->depth = (uint8_t)(mime->parts[parent].depth + 1);
		mime->parts[parent].child_count++;
	}
	return part;
}

/* Reads the current part's header; true when it ended at a delimiter, which is then
 * to be handled. */
static bool read_header(struct parser *parser, struct delimiter *delimiter_out)
{
	struct mime_part *part = &parser->mime->parts[parser->current];
	size_t field = parser->at;
	bool at_delimiter = false;

	while (parser->at < parser->length) {
		size_t next = line_after(parser->bytes, parser->length, parser->at);
		char first = parser->bytes[parser->at];
		if (first != ' ' && first != '\t') {
			note_field(part, parser, field, parser->at);
			field = parser->at;
			at_delimiter = first == '-' && parser->open_count &&
				match_delimiter(parser, parser->at, next, delimiter_out);
			if (at_delimiter)
				break;
		}
		bool is_end = is_empty_line(parser->bytes, parser->at, next);
		parser->lines += parser->bytes[next - 1] == '\n';
		parser->at = next;
		if (is_end) {
			field = next;
			break;
		}
	}
	note_field(part, parser, field, parser->at);
	part->header_length = (uint32_t)parser->at - part->header_offset;
	part->body_offset = (uint32_t)parser->at;
	parser->first_line[part->depth] = parser->lines;
	return at_delimiter;
}

static enum mime_encoding encoding_of(struct str value)
{
	mime_skip_comments(&value);
	if (str_starts_with_ignore_case(value, STR("base64")))
		return MIME_BASE64;
	if (str_starts_with_ignore_case(value, STR("quoted-printable")))
		return MIME_QUOTED_PRINTABLE;
	return MIME_IDENTITY;
}

static bool find_boundary(struct parser *parser, struct str params, struct open_boundary *open_out)
{
	struct str name, value;
	struct buf scratch = { 0 };

	open_out->boundary = (struct str){ 0 };
	while (!open_out->boundary.length && mime_next_param(&params, &name, &value, &scratch)) {
		if (!str_equal_ignore_case(name, STR("boundary")))
			continue;
		value = str_trim(value);
		bool in_message = value.bytes >= parser->bytes &&
			value.bytes < parser->bytes + parser->length;
		if (!in_message && value.length > UNQUOTED_BOUNDARY_MAX)
			continue;
		if (!in_message) {
			memcpy(open_out->unquoted, value.bytes, value.length);
			value.bytes = open_out->unquoted;
		}
		open_out->boundary = value;
	}
	buf_deinit(&scratch);
	return open_out->boundary.length != 0;
}

/* The current part's boundary, found already, is open from here on. */
static void push_boundary(struct parser *parser)
{
	struct open_boundary *open = &parser->open[parser->open_count];
	uint64_t all = UINT64_MAX;
	struct str mask = str_of((const char *)&all, sizeof(all));

	open->part = parser->current;
	parser->open_start[parser->open_count] = start_of(open->boundary);
	parser->open_mask[parser->open_count] = start_of(str_first(mask, open->boundary.length));
	parser->open_count++;
}

/* Decides from its header what the current part is. */
static void classify(struct parser *parser)
{
	struct mime *mime = parser->mime;
	struct mime_part *part = &mime->parts[parser->current];
	struct str type, subtype, params = { 0 };
	bool in_digest = false;

	part->encoding = (uint8_t)encoding_of(mime_field(mime, part, MIME_CONTENT_ENCODING));
	if (part->parent != MIME_NONE) {
		struct mime_part *parent = &mime->parts[part->parent];
		in_digest = parent->kind == MIME_MULTIPART &&
			mime_split_type(mime_field(mime, parent, MIME_CONTENT_TYPE), &type,
				&subtype, &params) &&
			str_equal_ignore_case(subtype, STR("digest"));
	}
	if (!mime_split_type(mime_field(mime, part, MIME_CONTENT_TYPE), &type, &subtype, &params)) {
		part->description = in_digest ? MIME_AS_MESSAGE : MIME_AS_TEXT;
		part->is_text = !in_digest;
		type = in_digest ? STR("message") : STR("text");
		subtype = in_digest ? STR("rfc822") : STR("plain");
		params = str_of("", 0);
	}
	part->is_text = str_equal_ignore_case(type, STR("text"));
	bool too_deep = part->depth + 1 >= MIME_DEPTH_MAX || parser->open_count == MIME_DEPTH_MAX;
	if (str_equal_ignore_case(type, STR("multipart"))) {
		struct open_boundary *open = &parser->open[parser->open_count];
		if (too_deep) {
			part->description = MIME_AS_OCTETS;
		} else if (!find_boundary(parser, params, open)) {
			part->description = MIME_AS_TEXT;
			part->is_text = true;
		} else {
			part->kind = MIME_MULTIPART;
			push_boundary(parser);
		}
	} else if (str_equal_ignore_case(type, STR("message")) &&
		str_equal_ignore_case(subtype, STR("rfc822"))) {
		if (too_deep || part->encoding != MIME_IDENTITY ||
			mime->part_count >= MIME_PARTS_MAX)
			part->description = MIME_AS_OCTETS;
		else
			part->kind = MIME_MESSAGE;
	}
}

/* The next delimiter at or behind the parser's position, which moves to it (or to the end). */
static bool find_delimiter(struct parser *parser, struct delimiter *found_out)
{
	const char *bytes = parser->bytes;
	if (!parser->open_count) {
		uint32_t lines = 0;
		for (size_t i = parser->at; i < parser->length; i++)
			lines += bytes[i] == '\n';
		parser->lines += lines;
		parser->at = parser->length;
		return false;
	}
	while (parser->at < parser->length) {
		size_t next = line_after(bytes, parser->length, parser->at);
		if (bytes[parser->at] == '-' &&
			match_delimiter(parser, parser->at, next, found_out))
			return true;
		parser->lines += bytes[next - 1] == '\n';
		parser->at = next;
	}
	return false;
}

/* Ends the current part and those around it up to, not including, `ancestor`. */
static void close_parts(struct parser *parser, uint16_t ancestor, size_t end, uint32_t lines)
{
	struct mime *mime = parser->mime;
	while (parser->current != ancestor) {
		struct mime_part *part = &mime->parts[parser->current];
		/* A delimiter right behind the header leaves an empty body, not a negative one. */
		if (end > part->body_offset) {
			part->body_length = (uint32_t)end - part->body_offset;
			part->body_lines = lines - parser->first_line[part->depth];
		}
		if (part->kind == MIME_MULTIPART && !part->child_count) {
			part->kind = MIME_LEAF;
			part->description = MIME_AS_TEXT;
			part->is_text = true;
		}
		parser->current = part->parent;
	}
}

/* Ends what a delimiter ends; true when a new part begins behind it. */
static bool pass_delimiter(struct parser *parser, const struct delimiter *delimiter)
{
	uint16_t multipart = parser->open[delimiter->level].part;
	size_t end = delimiter->line;
	uint32_t lines = parser->lines;

	/* The line end before a delimiter belongs to it (RFC 2046 section 5.1.1), but an empty line
	 * that ends a header stays with that. */
	if (end > parser->mime->parts[parser->current].body_offset &&
		parser->bytes[end - 1] == '\n') {
		end -= end > 1 && parser->bytes[end - 2] == '\r' ? 2 : 1;
		lines--;
	}
	bool is_full = parser->mime->part_count >= MIME_PARTS_MAX;
	if (!is_full || delimiter->is_close)
		close_parts(parser, multipart, end, lines);
	parser->open_count = delimiter->level + !delimiter->is_close;
	parser->lines += delimiter->next > delimiter->line &&
		parser->bytes[delimiter->next - 1] == '\n';
	parser->at = delimiter->next;
	return !delimiter->is_close && !is_full;
}

void mime_parse(struct mime *mime, struct str message)
{
	*mime = (struct mime){ .message = str_first(message, UINT32_MAX - 1) };
	struct parser parser = {
		.mime = mime, .bytes = mime->message.bytes, .length = mime->message.length
	};
	struct delimiter delimiter;
	bool in_header = true;

	part_add(&parser, MIME_NONE);
	for (;;) {
		bool found;
		if (in_header) {
			found = read_header(&parser, &delimiter);
			classify(&parser);
			if (mime->parts[parser.current].kind == MIME_MESSAGE) {
				part_add(&parser, parser.current);
				if (!found)
					continue;
				/* A delimiter where the inner header should be:
				 * an empty message. */
				mime->parts[parser.current].body_offset = (uint32_t)parser.at;
				parser.first_line[mime->parts[parser.current].depth] = parser.lines;
				classify(&parser);
			}
			if (!found)
				found = find_delimiter(&parser, &delimiter);
		} else {
			found = find_delimiter(&parser, &delimiter);
		}
		if (!found)
			break;
		in_header = pass_delimiter(&parser, &delimiter);
		if (in_header)
			part_add(&parser, parser.open[delimiter.level].part);
	}
	close_parts(&parser, MIME_NONE, parser.length, parser.lines);
}

void mime_deinit(struct mime *mime)
{
	free(mime->parts);
	*mime = (struct mime){ 0 };
}

bool mime_next_field(struct str *header, struct mime_header_field *field_out)
{
	const char *bytes = header->bytes;
	size_t at = 0, length = header->length;

	while (at < length) {
		size_t start = at;
		size_t next = line_after(bytes, length, at);
		if (is_empty_line(bytes, at, next))
			break;
		do {
			at = next;
			if (at >= length || (bytes[at] != ' ' && bytes[at] != '\t'))
				break;
			next = line_after(bytes, length, at);
		} while (true);
		size_t colon = 0;
		size_t name = field_name_length(bytes + start, at - start, &colon);
		if (!name)
			continue;
		field_out->name = str_of(bytes + start, name);
		field_out->raw = str_of(bytes + start, at - start);
		field_out->value =
			str_trim(str_of(bytes + start + colon + 1, at - start - colon - 1));
		*header = str_from_index(*header, at);
		return true;
	}
	*header = str_of("", 0);
	return false;
}

struct str mime_header_of(struct str message)
{
	size_t at = 0;
	while (at < message.length) {
		size_t next = line_after(message.bytes, message.length, at);
		bool is_end = is_empty_line(message.bytes, at, next);
		at = next;
		if (is_end)
			break;
	}
	return str_first(message, at);
}
