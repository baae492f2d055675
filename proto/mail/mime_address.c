#include "proto/mail/mime_address.h"

/* Passes over white space; the last comment met replaces `comment` (when not NULL). */
static void skip_space(struct str *rest, struct buf *comment)
{
	size_t at = 0;
	unsigned depth = 0;

	while (at < rest->length) {
		char c = rest->bytes[at];
		if (c == '(') {
			if (depth++ == 0 && comment)
				buf_clear(comment);
			else if (comment)
				buf_append_byte(comment, c);
		} else if (depth && c == ')') {
			if (--depth && comment)
				buf_append_byte(comment, c);
		} else if (depth) {
			if (c == '\\' && at + 1 < rest->length)
				c = rest->bytes[++at];
			if (comment && c != '\r' && c != '\n')
				buf_append_byte(comment, c);
		} else if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
			break;
		}
		at++;
	}
	*rest = str_from_index(*rest, at < rest->length ? at : rest->length);
}

static void take_quoted(struct str *rest, struct buf *out)
{
	size_t at = 1;
	while (at < rest->length && rest->bytes[at] != '"') {
		if (rest->bytes[at] == '\\' && at + 1 < rest->length)
			at++;
		if (rest->bytes[at] != '\r' && rest->bytes[at] != '\n')
			buf_append_byte(out, rest->bytes[at]);
		at++;
	}
	*rest = str_from_index(*rest, at + 1 < rest->length ? at + 1 : rest->length);
}

/* Appends words up to one of the bytes of `stops` (or the end). With `spaced`, one space stands
 * where there was white space. */
static void take_words(struct str *rest, const char *stops, bool spaced, struct buf *out,
	struct buf *comment)
{
	for (;;) {
		const char *before = rest->bytes;
		skip_space(rest, comment);
		if (!rest->length || (rest->bytes[0] && strchr(stops, rest->bytes[0])))
			return;
		if (spaced && buf_length(out) && rest->bytes != before)
			buf_append_byte(out, ' ');
		if (rest->bytes[0] == '"') {
			take_quoted(rest, out);
			continue;
		}
		size_t length = 0;
		bool in_literal = false;
		while (length < rest->length) {
			char c = rest->bytes[length];
			if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
				break;
			/* A domain literal holds colons. */
			if (c == '[' || c == ']')
				in_literal = c == '[';
			if (!in_literal && (c == '"' || c == '(' || (c && strchr(stops, c))))
				break;
			length++;
		}
		buf_append_str(out, str_first(*rest, length));
		*rest = str_from_index(*rest, length);
	}
}

static bool at_byte(const struct str *rest, char byte)
{
	return rest->length && rest->bytes[0] == byte;
}

static void take_angle(struct mime_addresses *list)
{
	struct str *rest = &list->rest;
	*rest = str_from_index(*rest, 1);
	skip_space(rest, NULL);
	if (at_byte(rest, '@')) {
		take_words(rest, ":>", false, &list->route, NULL);
		if (at_byte(rest, ':'))
			*rest = str_from_index(*rest, 1);
	}
	take_words(rest, "@>", false, &list->mailbox, NULL);
	if (at_byte(rest, '@')) {
		*rest = str_from_index(*rest, 1);
		take_words(rest, ">", false, &list->domain, NULL);
	}
	if (at_byte(rest, '>'))
		*rest = str_from_index(*rest, 1);
	/* Nothing but comments belongs between here and the separator. */
	while (rest->length && !strchr(",;", rest->bytes[0] ? rest->bytes[0] : ' ')) {
		skip_space(rest, buf_length(&list->name) ? NULL : &list->name);
		if (rest->length && rest->bytes[0] != ',' && rest->bytes[0] != ';')
			*rest = str_from_index(*rest, 1);
	}
}

/* What was taken for a name is the local part of a bare address and a comment its name; several
 * words without a domain are a name indeed. */
static void take_bare(struct mime_addresses *list, struct buf *comment)
{
	struct str *rest = &list->rest;
	if (!at_byte(rest, '@') && str_find_byte(buf_str(&list->name), ' ') >= 0)
		return;
	buf_append_str(&list->mailbox, buf_str(&list->name));
	if (at_byte(rest, '@')) {
		*rest = str_from_index(*rest, 1);
		take_words(rest, ",;<", false, &list->domain, comment);
	}
	buf_clear(&list->name);
	buf_append_str(&list->name, buf_str(comment));
}

static struct mime_address address_now(struct mime_addresses *list, enum mime_address_kind kind)
{
	return (struct mime_address){ kind, buf_str(&list->name), buf_str(&list->route),
		buf_str(&list->mailbox), buf_str(&list->domain) };
}

bool mime_next_address(struct mime_addresses *list, struct mime_address *address_out)
{
	struct str *rest = &list->rest;
	struct buf comment = { 0 };

	buf_clear(&list->name);
	buf_clear(&list->route);
	buf_clear(&list->mailbox);
	buf_clear(&list->domain);
	for (;;) {
		skip_space(rest, NULL);
		if (!rest->length || list->count >= MIME_ADDRESSES_MAX) {
			bool closes = list->in_group;
			list->in_group = false;
			*address_out = address_now(list, MIME_GROUP_END);
			return closes;
		}
		if (at_byte(rest, ';') && list->in_group) {
			*rest = str_from_index(*rest, 1);
			list->in_group = false;
			*address_out = address_now(list, MIME_GROUP_END);
			return true;
		}
		if (!at_byte(rest, ',') && !at_byte(rest, ';') && !at_byte(rest, '>') &&
			!at_byte(rest, ':'))
			break;
		*rest = str_from_index(*rest, 1);
	}
	list->count++;
	take_words(rest, list->in_group ? "<@,;" : "<@,;:", true, &list->name, &comment);
	if (at_byte(rest, ':')) {
		*rest = str_from_index(*rest, 1);
		list->in_group = true;
		buf_deinit(&comment);
		*address_out = address_now(list, MIME_GROUP_BEGIN);
		return true;
	}
	if (at_byte(rest, '<')) {
		take_angle(list);
	} else {
		take_bare(list, &comment);
	}
	buf_deinit(&comment);
	*address_out = address_now(list, MIME_MAILBOX);
	return true;
}

void mime_addresses_deinit(struct mime_addresses *list)
{
	buf_deinit(&list->name);
	buf_deinit(&list->route);
	buf_deinit(&list->mailbox);
	buf_deinit(&list->domain);
}
