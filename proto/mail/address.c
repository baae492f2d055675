#include "proto/mail/address.h"

#include "proto/mail/legible.h"

#include <arpa/inet.h>

static bool is_utf8_byte(char c)
{
	return (unsigned char)c >= 0x80;
}

/* atext of RFC 5322, and UTF-8 as RFC 6531 adds it. */
static bool is_atext(char c)
{
	if (is_utf8_byte(c))
		return true;
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || ascii_is_digit(c))
		return true;
	return c != 0 && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL;
}

/* The length of the local part at the start, or 0. */
static size_t scan_local(struct str text, bool *quoted_out)
{
	size_t i = 0;

	*quoted_out = text.length > 0 && text.bytes[0] == '"';
	if (*quoted_out) {
		for (i = 1; i < text.length; i++) {
			char c = text.bytes[i];
			if (c == '"')
				return i + 1;
			if (c == '\\' && ++i == text.length)
				return 0;
			c = text.bytes[i];
			if ((c >= 0 && c < 0x20) || c == 0x7f)
				return 0;
		}
		return 0;
	}
	while (i < text.length && (is_atext(text.bytes[i]) || text.bytes[i] == '.')) {
		/* Dots separate atoms: never first, never doubled. */
		if (text.bytes[i] == '.' && (i == 0 || text.bytes[i - 1] == '.'))
			return 0;
		i++;
	}
	return i > 0 && text.bytes[i - 1] != '.' ? i : 0;
}

static bool is_literal_good(struct str inside)
{
	char text[64];
	struct in6_addr address;

	if (inside.length == 0 || inside.length >= sizeof(text))
		return false;
	bool six = str_starts_with_ignore_case(inside, STR("IPv6:"));
	if (six)
		inside = str_from_index(inside, 5);
	memcpy(text, inside.bytes, inside.length);
	text[inside.length] = 0;
	return inet_pton(six ? AF_INET6 : AF_INET, text, &address) == 1;
}

/* The length of the domain at the start, or 0. */
static size_t scan_domain(struct str text, bool *literal_out)
{
	size_t i = 0, label = 0;

	*literal_out = text.length > 0 && text.bytes[0] == '[';
	if (*literal_out) {
		ptrdiff_t close = str_find_byte(text, ']');
		if (close < 2 || !is_literal_good(str_of(text.bytes + 1, (size_t)close - 1)))
			return 0;
		return (size_t)close + 1;
	}
	for (; i < text.length; i++) {
		char c = text.bytes[i];
		if (c == '.') {
			if (label == 0 || text.bytes[i - 1] == '-')
				return 0;
			label = 0;
			continue;
		}
		bool inside = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			ascii_is_digit(c) || c == '_' || is_utf8_byte(c);
		if (!inside && !(c == '-' && label > 0))
			break;
		/* 63 octets of ASCII; a U-label may be longer in UTF-8. */
		if (++label > 63 && !is_utf8_byte(c))
			return 0;
	}
	if (label == 0 || text.bytes[i - 1] == '-' || i > ADDRESS_DOMAIN_MAX)
		return 0;
	return i;
}

bool address_is_domain(struct str text)
{
	bool literal;
	return text.length > 0 && scan_domain(text, &literal) == text.length &&
		legible_find_control(text) == LEGIBLE;
}

/* local@domain at the start of `text`. */
static bool scan_mailbox(struct str text, struct address *address_out, struct str *rest_out)
{
	size_t local = scan_local(text, &address_out->is_quoted);
	if (local == 0 || local > ADDRESS_LOCAL_MAX)
		return false;
	address_out->local = str_first(text, local);
	struct str rest = str_from_index(text, local);
	if (rest.length > 0 && rest.bytes[0] == '@') {
		size_t domain = scan_domain(str_from_index(rest, 1), &address_out->is_literal);
		if (domain == 0)
			return false;
		address_out->domain = str_of(rest.bytes + 1, domain);
		rest = str_from_index(rest, domain + 1);
	}
	struct str whole = str_first(text, text.length - rest.length);
	for (size_t i = 0; i < whole.length; i++)
		address_out->has_utf8 |= is_utf8_byte(whole.bytes[i]);
	*rest_out = rest;
	return legible_find_control(whole) == LEGIBLE;
}

/* "@a,@b:" of RFC 5321 appendix C. */
static bool skip_route(struct str *text)
{
	bool literal;
	for (;;) {
		struct str domain = str_from_index(*text, 1);
		size_t length = scan_domain(domain, &literal);
		if (length == 0 || length == domain.length)
			return false;
		char after = domain.bytes[length];
		*text = str_from_index(domain, length + 1);
		if (after == ':')
			return true;
		if (after != ',' || text->length == 0 || text->bytes[0] != '@')
			return false;
	}
}

bool address_parse_path(struct str text, struct address *address_out, struct str *rest_out)
{
	memset(address_out, 0, sizeof(*address_out));
	address_out->local = address_out->domain = STR("");
	if (text.length < 2 || text.bytes[0] != '<')
		return false;
	text = str_from_index(text, 1);
	if (text.bytes[0] == '>') {
		address_out->is_null = true;
		*rest_out = str_from_index(text, 1);
		return true;
	}
	if (text.bytes[0] == '@') {
		address_out->has_route = true;
		if (!skip_route(&text))
			return false;
	}
	if (!scan_mailbox(text, address_out, &text) || text.length == 0 || text.bytes[0] != '>')
		return false;
	/* Only <postmaster> goes without a domain. */
	if (address_out->domain.length == 0 &&
		!str_equal_ignore_case(address_out->local, STR("postmaster")))
		return false;
	*rest_out = str_from_index(text, 1);
	return true;
}

bool address_parse(struct str text, struct address *address_out)
{
	struct str rest;
	memset(address_out, 0, sizeof(*address_out));
	address_out->local = address_out->domain = STR("");
	return scan_mailbox(text, address_out, &rest) && rest.length == 0 &&
		address_out->domain.length > 0;
}

/* The quoted local part says nothing that a dot-string could not say. */
static bool is_quoting_needless(struct str local)
{
	bool quoted;
	struct str inside = str_of(local.bytes + 1, local.length - 2);
	return inside.length > 0 && scan_local(inside, &quoted) == inside.length && !quoted;
}

void address_append(const struct address *address, struct buf *out)
{
	if (address->is_null)
		return;
	if (address->is_quoted && is_quoting_needless(address->local))
		buf_append(out, address->local.bytes + 1, address->local.length - 2);
	else
		buf_append_str(out, address->local);
	if (address->domain.length == 0)
		return;
	buf_append_byte(out, '@');
	for (size_t i = 0; i < address->domain.length; i++)
		buf_append_byte(out, ascii_lower(address->domain.bytes[i]));
}

bool address_is_relay_hack(const struct address *address)
{
	return str_find_byte(address->local, '%') >= 0 || str_find_byte(address->local, '!') >= 0 ||
		str_find_byte(address->local, '@') >= 0;
}
