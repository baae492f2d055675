#include "sim/cluster_internal.h"

#include <stdio.h>

/* core/directory/directory.h as sessions ask it: what a machine knows of the cluster. */

struct directory {
	unsigned machine;
};

struct directory *directory_of(unsigned machine)
{
	static struct directory directories[CLUSTER_MACHINES_MAX];
	directories[machine].machine = machine;
	return &directories[machine];
}

/* Mailboxes are m101@example.org and so on; what they are like follows from their number. */
struct cluster_mailbox cluster_mailbox(uint64_t id)
{
	static const enum durability durabilities[] = { DURABILITY_REMOTE, DURABILITY_STRICT,
		DURABILITY_LOCAL, DURABILITY_REMOTE };
	unsigned number = (unsigned)(id % 100) - 1;
	return (struct cluster_mailbox){ .durability = durabilities[number % 4],
		.quota_bytes = number == CLUSTER_MAILBOXES - 1 ? CLUSTER_QUOTA_BYTES : 0 };
}

static bool find(struct str address, struct directory_mailbox *mailbox_out)
{
	static char text[32];
	uint64_t id;
	ptrdiff_t at = str_find_byte(address, '@');
	if (at < 2 || address.bytes[0] != 'm' ||
		!str_to_u64(str_of(address.bytes + 1, (size_t)at - 1), 1000, &id))
		return false;
	snprintf(text, sizeof(text), "m%llu@example.org", (unsigned long long)id);
	struct cluster_mailbox mailbox = cluster_mailbox(id);
	*mailbox_out = (struct directory_mailbox){ .id = id,
		.address = str_from(text),
		.volume_id = (uint32_t)(id / 100),
		.durability = mailbox.durability,
		.quota_bytes = mailbox.quota_bytes,
		.enabled = true };
	return true;
}

enum directory_found directory_resolve(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct directory_mailbox *mailbox), void *arg)
{
	struct directory_mailbox mailbox;
	(void)directory;
	if (!find(address, &mailbox))
		return DIRECTORY_NO_USER;
	if (fn != NULL)
		fn(arg, &mailbox);
	return DIRECTORY_FOUND;
}

const struct directory_mailbox *directory_find_login(
	const struct directory *directory, struct str login)
{
	static struct directory_mailbox mailbox;
	(void)directory;
	return find(login, &mailbox) ? &mailbox : NULL;
}

const struct directory_volume *directory_find_volume(
	const struct directory *directory, uint32_t id)
{
	static struct directory_volume volume;
	if (id == 0 || id > CLUSTER_VOLUMES)
		return NULL;
	volume.id = id;
	volume.primary_node_id = cluster_known(directory->machine, id - 1)->primary + 1;
	return &volume;
}

const struct directory_node *directory_find_node_by_name(
	const struct directory *directory, struct str name)
{
	static struct directory_node node;
	(void)name; /* it asks for itself */
	node.id = directory->machine + 1;
	return &node;
}

/* Nobody's access changes here. */
uint64_t directory_access(const struct directory *directory, uint64_t mailbox_id)
{
	(void)directory;
	return mailbox_id;
}
