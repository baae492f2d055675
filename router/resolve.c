#include "router/resolve.h"

struct collector {
	const struct directory *directory;
	void (*fn)(void *arg, const struct resolved *resolved);
	void *arg;
};

static void on_mailbox(void *arg, const struct directory_mailbox *mailbox)
{
	const struct collector *collector = arg;
	const struct directory_volume *volume =
		directory_find_volume(collector->directory, mailbox->volume_id);
	struct resolved resolved = {
		.mailbox_id = mailbox->id,
		.volume_id = mailbox->volume_id,
		.node_id = volume ? volume->primary_node_id : 0,
		.durability = mailbox->durability,
		.enabled = mailbox->enabled,
	};

	if (mailbox->address.length >= sizeof(resolved.address))
		return;
	memcpy(resolved.mark, mailbox->mark, sizeof(resolved.mark));
	memcpy(resolved.address, mailbox->address.bytes, mailbox->address.length);
	collector->fn(collector->arg, &resolved);
}

enum directory_found resolve_address(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct resolved *resolved), void *arg)
{
	struct collector collector = { .directory = directory, .fn = fn, .arg = arg };
	return directory_resolve(directory, address, fn ? on_mailbox : NULL, &collector);
}

const struct directory_mailbox *resolve_accepted(const struct directory *directory,
	struct str address, uint64_t mailbox_id, const uint8_t *mark)
{
	const struct directory_mailbox *mailbox = directory_find_login(directory, address);

	if (!mark || (mailbox && memcmp(mailbox->mark, mark, MAILBOX_MARK_LENGTH) == 0))
		return mailbox;
	/* Renamed: number and mark go together, and with the mailbox. */
	mailbox = directory_find_mailbox(directory, mailbox_id);
	return mailbox && memcmp(mailbox->mark, mark, MAILBOX_MARK_LENGTH) == 0 ? mailbox : NULL;
}

uint32_t resolve_home(const struct directory *directory, uint64_t mailbox_id)
{
	const struct directory_mailbox *mailbox = directory_find_mailbox(directory, mailbox_id);
	const struct directory_volume *volume =
		mailbox ? directory_find_volume(directory, mailbox->volume_id) : NULL;
	return volume ? volume->primary_node_id : 0;
}
