#include "node/scrub/sender.h"

#include <stdio.h>

/* Of an ENVELOPE that summary_encode wrote, or of bytes that have rotted: it is only looked at. */

/* A string, literal or NIL (empty). False where there is none. */
static bool take_string(struct str *rest, struct str *text_out)
{
	uint64_t length;
	*text_out = STR("");
	if (str_starts_with(*rest, STR("NIL"))) {
		*rest = str_from_index(*rest, 3);
		return true;
	}
	if (str_starts_with(*rest, STR("{"))) {
		ptrdiff_t end = str_find(*rest, STR("}\r\n"));
		struct str digits = str_of(rest->bytes + 1, end > 0 ? (size_t)end - 1 : 0);
		if (!str_to_u64(digits, rest->length, &length))
			return false;
		struct str text = str_from_index(*rest, (size_t)end + 3);
		*text_out = str_first(text, (size_t)length);
		*rest = str_from_index(text, (size_t)length);
		return true;
	}
	if (!str_starts_with(*rest, STR("\"")))
		return false;
	size_t i = 1;
	while (i < rest->length && rest->bytes[i] != '"')
		i += rest->bytes[i] == '\\' ? 2 : 1;
	if (i >= rest->length)
		return false;
	*text_out = str_of(rest->bytes + 1, i - 1);
	*rest = str_from_index(*rest, i + 1);
	return true;
}

static bool take(struct str *rest, struct str word)
{
	if (!str_starts_with(*rest, word))
		return false;
	*rest = str_from_index(*rest, word.length);
	return true;
}

void sender_of_envelope(struct str envelope, char *out, size_t size)
{
	struct str date, subject, name, route, local, host;
	out[0] = '\0';
	if (take(&envelope, STR("(")) && take_string(&envelope, &date) &&
		take(&envelope, STR(" ")) && take_string(&envelope, &subject) &&
		take(&envelope, STR(" ((")) && take_string(&envelope, &name) &&
		take(&envelope, STR(" ")) && take_string(&envelope, &route) &&
		take(&envelope, STR(" ")) && take_string(&envelope, &local) &&
		take(&envelope, STR(" ")) && take_string(&envelope, &host) && local.length > 0)
		snprintf(out, size, STR_FORMAT "%s" STR_FORMAT, STR_ARG(local),
			host.length > 0 ? "@" : "", STR_ARG(host));
}
