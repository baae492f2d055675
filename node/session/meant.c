#include "node/session/meant.h"

#include "core/encode.h"
#include "core/log.h"

/* Routers come again and again, for a login as for a message. */
static bool is_told(struct meant *meant, uint64_t revision, uint64_t number)
{
	if (meant->revision != revision)
		meant->told_count = 0;
	meant->revision = revision;
	for (unsigned i = 0; i < meant->told_count; i++)
		if (meant->told[i] == number)
			return true;
	if (meant->told_count == MEANT_TOLD_MAX)
		return true;
	meant->told[meant->told_count++] = number;
	return false;
}

static void tell(struct meant *meant, const struct directory *directory, struct str address,
	const uint8_t mark[MAILBOX_MARK_LENGTH], const struct directory_mailbox *own,
	const char *peer)
{
	uint64_t revision = directory_revision(directory);
	struct buf routers = { 0 }, ours = { 0 };

	if (is_told(meant, revision, get_le64(mark)))
		return;
	encode_hex(&routers, mark, MAILBOX_MARK_LENGTH);
	if (own)
		encode_hex(&ours, own->mark, MAILBOX_MARK_LENGTH);
	else
		buf_append_literal(&ours, "none");
	log_warn("mailbox_not_agreed",
		"peer=%s address=%s routers_mark=%s own_mark=%s own_mailbox=%llu revision=%llu "
		"effect=\"refused for now\" ends=\"when this node and that router know the same "
		"directory: see that both reach it\"",
		peer, log_quote(address), buf_terminated(&routers), buf_terminated(&ours),
		(unsigned long long)(own ? own->id : 0), (unsigned long long)revision);
	buf_deinit(&routers);
	buf_deinit(&ours);
}

const struct directory_mailbox *meant_find(struct meant *meant, const struct directory *directory,
	struct str address, const uint8_t mark[MAILBOX_MARK_LENGTH], const char *peer)
{
	const struct directory_mailbox *own = directory_find_login(directory, address);

	if (own && memcmp(own->mark, mark, MAILBOX_MARK_LENGTH) == 0)
		return own;
	tell(meant, directory, address, mark, own, peer);
	return NULL;
}
