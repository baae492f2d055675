#include "proto/mail/trace.h"

#include <time.h>

void trace_append_date(struct buf *out, int64_t wall_us)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
		"Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	buf_printf(out, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday,
		months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* The address without its port, as a literal. */
static void append_peer(struct buf *out, struct str peer)
{
	ptrdiff_t colon = str_find_last_byte(peer, ':');
	if (colon >= 0)
		peer = str_first(peer, (size_t)colon);
	if (peer.length > 2 && peer.bytes[0] == '[')
		buf_printf(out, "[IPv6:" STR_FORMAT "]", (int)peer.length - 2, peer.bytes + 1);
	else
		buf_printf(out, "[" STR_FORMAT "]", STR_ARG(peer));
}

void trace_append_received(struct buf *out, const struct trace *trace)
{
	buf_printf(out, "Received: from " STR_FORMAT " (",
		STR_ARG(trace->helo.length > 0 ? trace->helo : STR("unknown")));
	append_peer(out, trace->peer);
	/* RFC 3848, RFC 6531 section 4.3 */
	buf_printf(out, ")\r\n\tby " STR_FORMAT " (Pando) with %s%s%s", STR_ARG(trace->hostname),
		trace->utf8 ? "UTF8SMTP" : trace->extended ? "ESMTP" : "SMTP",
		trace->extended && trace->tls.length > 0 ? "S" : "",
		trace->extended && trace->authenticated ? "A" : "");
	if (trace->tls.length > 0)
		buf_printf(out, "\r\n\t(" STR_FORMAT ")", STR_ARG(trace->tls));
	buf_printf(out, "\r\n\tid " STR_FORMAT, STR_ARG(trace->id));
	if (trace->recipient.length > 0)
		buf_printf(out, "\r\n\tfor <" STR_FORMAT ">", STR_ARG(trace->recipient));
	buf_append_literal(out, "; ");
	trace_append_date(out, trace->wall_us);
	buf_append_literal(out, "\r\n");
}

/* Cuts the next line of the header off; false at its end. */
static bool next_line(struct str *rest, struct str *line_out)
{
	if (rest->length == 0)
		return false;
	const char *end = memchr(rest->bytes, '\n', rest->length);
	size_t length = end ? (size_t)(end - rest->bytes) + 1 : rest->length;
	*line_out = str_first(*rest, length);
	*rest = str_from_index(*rest, length);
	return !(length == 2 && line_out->bytes[0] == '\r') && !(length == 1 && end);
}

static bool is_field(struct str line, struct str name)
{
	return str_starts_with_ignore_case(line, name) && line.length > name.length &&
		str_trim(str_from_index(line, name.length)).length > 0 &&
		str_trim(str_from_index(line, name.length)).bytes[0] == ':';
}

bool trace_begins_with_header(struct str message)
{
	size_t name = 0;

	if (message.length == 0 || str_starts_with(message, STR("\r\n")))
		return true;
	/* What mail folders put above a header, left on by mistake. */
	if (str_starts_with(message, STR("From ")) || str_starts_with(message, STR(">From ")))
		return true;
	while (name < message.length && message.bytes[name] > ' ' &&
		message.bytes[name] != 0x7f && message.bytes[name] != ':')
		name++;
	/* RFC 5322 section 4.5.8: white space in front of the colon was allowed once. */
	struct str rest = str_from_index(message, name);
	while (rest.length > 0 && (rest.bytes[0] == ' ' || rest.bytes[0] == '\t'))
		rest = str_from_index(rest, 1);
	return name > 0 && rest.length > 0 && rest.bytes[0] == ':';
}

unsigned trace_count_hops(struct str message)
{
	struct str line;
	unsigned hops = 0;

	while (next_line(&message, &line))
		hops += is_field(line, STR("Received"));
	return hops;
}

bool trace_has_field(struct str message, struct str name)
{
	struct str line;

	while (next_line(&message, &line))
		if (is_field(line, name))
			return true;
	return false;
}

struct str trace_header(struct str message)
{
	struct str rest = message, line;

	while (next_line(&rest, &line))
		;
	return str_first(message, message.length - rest.length);
}
