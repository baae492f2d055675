#include "ctl/backup/pick.h"

#include "core/digest.h"
#include "core/encode.h"
#include "proto/mail/utf7.h"

static void digest_of(const char *purpose, const struct pick_message *message, struct str with,
	uint8_t digest_out[SHA256_LENGTH])
{
	struct buf name = { 0 };
	buf_printf(&name, "pando restore 1 %s", purpose);
	buf_append_byte(&name, '\0');
	buf_append(&name, message->mark, sizeof(message->mark));
	append_le32(&name, message->folder_id);
	append_le32(&name, message->uidvalidity);
	append_le32(&name, message->uid);
	buf_append_str(&name, with);
	sha256(buf_str(&name), digest_out);
	buf_deinit(&name);
}

void pick_id(const struct pick_message *message, struct str target,
	uint8_t id_out[CHANGE_DELIVERY_ID_LENGTH])
{
	uint8_t digest[SHA256_LENGTH];
	digest_of("id", message, target, digest);
	memcpy(id_out, digest, CHANGE_DELIVERY_ID_LENGTH);
}

bool pick_is_sampled(const struct pick_message *message, struct str seed, unsigned percent)
{
	uint8_t digest[SHA256_LENGTH];
	digest_of("sample", message, seed, digest);
	return get_le64(digest) % 100 < percent;
}

void pick_append_target(int64_t moment_s, struct buf *out)
{
	struct buf moment = { 0 };
	encode_time(&moment, moment_s * 1000000);
	buf_append_literal(out, "Restored ");
	buf_append_str(out, str_first(buf_str(&moment), strlen("2026-11-27")));
	buf_deinit(&moment);
}

bool pick_add_uids(struct pick_uids *uids, const char *text)
{
	struct str rest = str_from(text), part;
	uint64_t from, to;
	bool any = false;
	while (str_next(&rest, ',', &part)) {
		ptrdiff_t colon = str_find_byte(part, ':');
		struct str first = colon < 0 ? part : str_first(part, (size_t)colon);
		struct str last = colon < 0 ? part : str_from_index(part, (size_t)colon + 1);
		if (!str_to_u64(first, UINT32_MAX, &from) || !str_to_u64(last, UINT32_MAX, &to))
			return false;
		if (from == 0 || to < from || uids->count == PICK_RANGES_MAX)
			return false;
		uids->ranges[uids->count].first = (uint32_t)from;
		uids->ranges[uids->count++].last = (uint32_t)to;
		any = true;
	}
	return any;
}

bool pick_is_in_range(const struct pick_uids *uids, unsigned range, uint32_t uid)
{
	return uids->ranges[range].first <= uid && uid <= uids->ranges[range].last;
}

bool pick_has_uid(const struct pick_uids *uids, uint32_t uid)
{
	bool has = uids->count == 0;
	for (unsigned i = 0; i < uids->count && !has; i++)
		has = pick_is_in_range(uids, i, uid);
	return has;
}

const char *pick_check_folder(struct str name)
{
	struct str rest = name, level;
	if (name.length == 0)
		return "is empty";
	if (name.length > PICK_FOLDER_NAME_MAX)
		return "is longer than 1000 bytes";
	while (rest.length > 0) {
		int32_t c = utf8_next(&rest);
		if (c < 0)
			return "is not UTF-8";
		if (c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029)
			return "has a control character";
		if (c == '*' || c == '%')
			return "has a `*` or `%`, which no folder's name has";
	}
	if (str_ends_with(name, STR("/")))
		return "ends with `/`";
	for (rest = name; str_next(&rest, '/', &level);)
		if (level.length == 0)
			return "has an empty part";
	return NULL;
}

bool pick_is_folder(const char *given, struct str name)
{
	struct str wanted = str_from(given);
	return str_equal(name, STR("INBOX")) ? str_equal_ignore_case(wanted, name)
					     : str_equal(wanted, name);
}
