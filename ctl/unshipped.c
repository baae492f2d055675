#include "ctl/unshipped.h"

const struct unshipped_kind unshipped_kinds[UNSHIPPED_KINDS] = {
	{ "messages", "message" },
	{ "copies", "copy" },
	{ "flags", "flags" },
	{ "expunges", "expunge" },
	{ "folders", "folder" },
	{ "subscriptions", "subscription" },
};

void unshipped_names_deinit(struct unshipped_names *names)
{
	buf_deinit(&names->address);
	*names = (struct unshipped_names){ 0 };
}

static struct str address_of(struct unshipped_names *names, uint64_t id)
{
	if (id == names->id)
		return buf_str(&names->address);
	names->id = id;
	buf_clear(&names->address);
	if (names->writer &&
		directory_mailbox_address(names->writer, id, &names->address, NULL) < 0)
		buf_clear(&names->address);
	return buf_str(&names->address);
}

void unshipped_append_name(struct unshipped_names *names, const struct json *entry, struct buf *out)
{
	uint64_t id = json_u64(entry, "mailbox_id");
	struct str made_for = json_text(entry, "made_for");
	struct str address = id ? address_of(names, id) : STR("");
	if (made_for.length == 0 && address.length == 0)
		buf_printf(out, "mailbox %llu", (unsigned long long)id);
	else
		buf_append_str(out, made_for.length ? made_for : address);
	if (made_for.length && address.length && !str_equal_ignore_case(made_for, address))
		buf_printf(out, " (in the directory: " STR_FORMAT ")", STR_ARG(address));
}
