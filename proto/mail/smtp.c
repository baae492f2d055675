#include "proto/mail/smtp.h"

#include "core/encode.h"
#include "proto/mail/utf7.h"

enum smtp_scan smtp_scan_line(
	struct str input, size_t maximum, struct str *line_out, size_t *length_out)
{
	const char *end = memchr(input.bytes, '\n', input.length);
	*length_out = 0;
	if (!end)
		return input.length > maximum ? SMTP_BAD : SMTP_MORE;
	size_t length = (size_t)(end - input.bytes);
	*length_out = length + 1;
	if (length == 0 || input.bytes[length - 1] != '\r' || length + 1 > maximum)
		return SMTP_BAD;
	*line_out = str_first(input, length - 1);
	/* What one server takes for one line must not be two for the next. */
	if (str_find_byte(*line_out, '\r') >= 0 || str_find_byte(*line_out, 0) >= 0)
		return SMTP_BAD;
	return SMTP_DONE;
}

struct str smtp_verb(struct str line, struct str *arguments_out)
{
	ptrdiff_t space = str_find_byte(line, ' ');
	if (space < 0) {
		*arguments_out = STR("");
		return line;
	}
	*arguments_out = str_trim(str_from_index(line, (size_t)space));
	return str_first(line, (size_t)space);
}

/* "FROM:" or "TO:", then the path; spaces between them are tolerated as everybody does. */
static bool parse_path(struct str arguments, struct str keyword, struct address *address_out,
	struct str *rest_out)
{
	if (!str_starts_with_ignore_case(arguments, keyword))
		return false;
	struct str path = str_trim(str_from_index(arguments, keyword.length));
	if (!address_parse_path(path, address_out, rest_out))
		return false;
	return rest_out->length == 0 || rest_out->bytes[0] == ' ';
}

/* Cuts "KEYWORD[=value]" off. */
static bool next_parameter(struct str *rest, struct str *keyword_out, struct str *value_out)
{
	*rest = str_trim(*rest);
	struct str part;
	if (rest->length == 0 || !str_next(rest, ' ', &part))
		return false;
	ptrdiff_t equals = str_find_byte(part, '=');
	*keyword_out = equals < 0 ? part : str_first(part, (size_t)equals);
	*value_out = equals < 0 ? STR("") : str_from_index(part, (size_t)equals + 1);
	return true;
}

/* RFC 3461 section 4: printable ASCII but "+" and "=", and +HH. */
static bool is_xtext(struct str s, size_t maximum)
{
	if (s.length == 0 || s.length > maximum)
		return false;
	for (size_t i = 0; i < s.length; i++) {
		char c = s.bytes[i];
		uint8_t byte;
		if (c == '+') {
			if (!decode_hex(str_first(str_from_index(s, i + 1), 2), &byte, 1))
				return false;
			i += 2;
		} else if (c < 0x21 || c > 0x7e || c == '=') {
			return false;
		}
	}
	return true;
}

static const char bad_parameter[] = "501 5.5.4 Malformed parameter";
static const char unknown_parameter[] = "555 5.5.4 Parameter not recognized";

static const char *parse_mail_parameter(struct str keyword, struct str value, bool inside,
	struct smtp_mail *mail)
{
	if (str_equal_ignore_case(keyword, STR("SIZE")))
		return str_to_u64(value, UINT64_MAX, &mail->size) ? NULL : bad_parameter;
	if (str_equal_ignore_case(keyword, STR("BODY"))) {
		if (str_equal_ignore_case(value, STR("8BITMIME")))
			mail->body = SMTP_BODY_8BITMIME;
		else if (!str_equal_ignore_case(value, STR("7BIT")))
			return bad_parameter;
		return NULL;
	}
	if (str_equal_ignore_case(keyword, STR("SMTPUTF8"))) {
		mail->smtputf8 = true;
		return value.length == 0 ? NULL : bad_parameter;
	}
	if (str_equal_ignore_case(keyword, STR("RET"))) {
		bool full = str_equal_ignore_case(value, STR("FULL"));
		if (mail->ret != SMTP_RET_NONE ||
			(!full && !str_equal_ignore_case(value, STR("HDRS"))))
			return bad_parameter;
		mail->ret = full ? SMTP_RET_FULL : SMTP_RET_HDRS;
		return NULL;
	}
	if (str_equal_ignore_case(keyword, STR("ENVID"))) {
		bool is_first = mail->envid.length == 0;
		mail->envid = value;
		return is_first && is_xtext(value, 100) ? NULL : bad_parameter;
	}
	if (str_equal_ignore_case(keyword, STR("AUTH"))) {
		mail->auth = value;
		return is_xtext(value, 500) ? NULL : bad_parameter;
	}
	if (inside && str_equal_ignore_case(keyword, STR("XPANDOID"))) {
		mail->has_delivery_id = value.length == 2 * SMTP_DELIVERY_ID_LENGTH &&
			decode_hex(value, mail->delivery_id, SMTP_DELIVERY_ID_LENGTH);
		return mail->has_delivery_id ? NULL : bad_parameter;
	}
	return unknown_parameter;
}

const char *smtp_parse_mail(struct str arguments, bool inside, struct smtp_mail *mail_out)
{
	struct str rest, keyword, value;

	memset(mail_out, 0, sizeof(*mail_out));
	mail_out->envid = mail_out->auth = STR("");
	if (!str_starts_with_ignore_case(arguments, STR("FROM:")))
		return "501 5.5.4 Syntax: MAIL FROM:<address>";
	if (!parse_path(arguments, STR("FROM:"), &mail_out->sender, &rest))
		return "501 5.1.7 Bad sender address syntax";
	while (next_parameter(&rest, &keyword, &value)) {
		const char *reply = parse_mail_parameter(keyword, value, inside, mail_out);
		if (reply)
			return reply;
	}
	if (mail_out->sender.has_utf8 && !mail_out->smtputf8)
		return "553 5.6.7 SMTPUTF8 is needed for this address";
	return NULL;
}

static bool parse_notify(struct str value, unsigned *notify_out)
{
	static const struct {
		struct str word;
		unsigned bit;
	} words[] = {
		{ { "NEVER", 5 }, SMTP_NOTIFY_NEVER },
		{ { "SUCCESS", 7 }, SMTP_NOTIFY_SUCCESS },
		{ { "FAILURE", 7 }, SMTP_NOTIFY_FAILURE },
		{ { "DELAY", 5 }, SMTP_NOTIFY_DELAY },
	};
	struct str word;
	unsigned notify = 0;

	while (str_next(&value, ',', &word)) {
		unsigned bit = 0;
		for (size_t i = 0; i < array_length(words); i++)
			if (str_equal_ignore_case(word, words[i].word))
				bit = words[i].bit;
		if (bit == 0)
			return false;
		notify |= bit;
	}
	*notify_out = notify;
	/* NEVER stands alone. */
	return notify != 0 && (!(notify & SMTP_NOTIFY_NEVER) || notify == SMTP_NOTIFY_NEVER);
}

/* addr-type ";" xtext; under SMTPUTF8 (RFC 6533) the address may hold UTF-8. */
static bool is_orcpt(struct str value, bool smtputf8)
{
	ptrdiff_t semicolon = str_find_byte(value, ';');
	if (semicolon <= 0 || value.length > 500)
		return false;
	struct str type = str_first(value, (size_t)semicolon);
	struct str address = str_from_index(value, (size_t)semicolon + 1);
	if (!is_xtext(type, 64))
		return false;
	if (smtputf8 && str_equal_ignore_case(type, STR("utf-8")))
		return utf8_is_valid(address) && address.length > 0;
	return is_xtext(address, 500);
}

static const char *parse_rcpt_parameter(
	struct str keyword, struct str value, bool inside, bool smtputf8, struct smtp_rcpt *rcpt)
{
	if (str_equal_ignore_case(keyword, STR("NOTIFY")))
		return rcpt->notify == 0 && parse_notify(value, &rcpt->notify) ? NULL
									       : bad_parameter;
	if (str_equal_ignore_case(keyword, STR("ORCPT"))) {
		bool is_first = rcpt->orcpt.length == 0;
		rcpt->orcpt = value;
		return is_first && is_orcpt(value, smtputf8) ? NULL : bad_parameter;
	}
	if (inside && str_equal_ignore_case(keyword, STR("XPANDOMARK"))) {
		rcpt->has_mark = value.length == 2 * SMTP_MARK_LENGTH &&
			decode_hex(value, rcpt->mark, SMTP_MARK_LENGTH);
		return rcpt->has_mark ? NULL : bad_parameter;
	}
	return unknown_parameter;
}

const char *smtp_parse_rcpt(
	struct str arguments, bool inside, bool smtputf8, struct smtp_rcpt *rcpt_out)
{
	struct str rest, keyword, value;

	memset(rcpt_out, 0, sizeof(*rcpt_out));
	rcpt_out->orcpt = STR("");
	if (!str_starts_with_ignore_case(arguments, STR("TO:")))
		return "501 5.5.4 Syntax: RCPT TO:<address>";
	if (!parse_path(arguments, STR("TO:"), &rcpt_out->recipient, &rest) ||
		rcpt_out->recipient.is_null)
		return "501 5.1.3 Bad recipient address syntax";
	while (next_parameter(&rest, &keyword, &value)) {
		const char *reply =
			parse_rcpt_parameter(keyword, value, inside, smtputf8, rcpt_out);
		if (reply)
			return reply;
	}
	if (rcpt_out->recipient.has_utf8 && !smtputf8)
		return "553 5.6.7 SMTPUTF8 is needed for this address";
	return NULL;
}

const char *smtp_parse_bdat(struct str arguments, uint64_t *length_out, bool *last_out)
{
	struct str length;

	*last_out = false;
	if (!str_next(&arguments, ' ', &length) || !str_to_u64(length, UINT64_MAX / 2, length_out))
		return "501 5.5.4 Syntax: BDAT <size> [LAST]";
	if (arguments.length > 0) {
		if (!str_equal_ignore_case(str_trim(arguments), STR("LAST")))
			return "501 5.5.4 Syntax: BDAT <size> [LAST]";
		*last_out = true;
	}
	return NULL;
}

enum { REPLY_LINES_MAX = 100 }; /* no server has more extensions than this */

enum smtp_scan smtp_scan_reply(struct str input, struct smtp_reply *reply_out, size_t *length_out)
{
	size_t at = 0;

	for (unsigned lines = 0; lines < REPLY_LINES_MAX; lines++) {
		struct str rest = str_from_index(input, at);
		const char *end = memchr(rest.bytes, '\n', rest.length);
		if (!end)
			return rest.length > SMTP_REPLY_LINE_MAX ? SMTP_BAD : SMTP_MORE;
		size_t length = (size_t)(end - rest.bytes) + 1;
		struct str line = str_trim(str_first(rest, length));
		if (length > SMTP_REPLY_LINE_MAX || line.length < 3 || line.bytes[0] < '2' ||
			line.bytes[0] > '5' || !ascii_is_digit(line.bytes[1]) ||
			!ascii_is_digit(line.bytes[2]))
			return SMTP_BAD;
		at += length;
		if (line.length > 3 && line.bytes[3] == '-')
			continue;
		if (line.length > 3 && line.bytes[3] != ' ')
			return SMTP_BAD;
		reply_out->code = (unsigned)((line.bytes[0] - '0') * 100 +
			(line.bytes[1] - '0') * 10 + (line.bytes[2] - '0'));
		reply_out->text = str_trim(str_from_index(line, 4));
		reply_out->all = str_first(input, at);
		*length_out = at;
		return SMTP_DONE;
	}
	return SMTP_BAD;
}

bool smtp_reply_offers(
	const struct smtp_reply *reply, struct str keyword, struct str *arguments_out)
{
	struct str rest = reply->all, line;

	while (str_next(&rest, '\n', &line)) {
		struct str arguments,
			word = smtp_verb(str_trim(str_from_index(line, 4)), &arguments);
		if (!str_equal_ignore_case(word, keyword))
			continue;
		if (arguments_out)
			*arguments_out = arguments;
		return true;
	}
	return false;
}

void smtp_enhanced_code(const struct smtp_reply *reply, char code_out[16])
{
	struct str arguments, word = smtp_verb(reply->text, &arguments);
	unsigned dots = 0;
	bool good = word.length >= 5 && word.length < 16;

	for (size_t i = 0; good && i < word.length; i++) {
		dots += word.bytes[i] == '.';
		good = word.bytes[i] == '.' || ascii_is_digit(word.bytes[i]);
	}
	if (good && dots == 2) {
		memcpy(code_out, word.bytes, word.length);
		code_out[word.length] = 0;
		return;
	}
	memcpy(code_out, "x.0.0", 6);
	code_out[0] = (char)('0' + reply->code / 100 % 10);
}
