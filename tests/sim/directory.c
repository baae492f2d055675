#include "sim/cluster_internal.h"
#include "sim/routers.h"

#include <stdio.h>

/* core/directory/directory.h as sessions ask it: what a machine knows of the cluster. */

struct directory {
	unsigned machine;
};

struct directory *directory_of(unsigned machine)
{
	static struct directory directories[MACHINES_MAX];
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
	/* A router that knows another one finds it again at once. */
	volume.primary_node_id = router_is(directory->machine)
		? cluster_primary(id) + 1
		: cluster_known(directory->machine, id - 1)->primary + 1;
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

/* ---- as routers ask it ---- */

uint64_t directory_revision(const struct directory *directory)
{
	(void)directory;
	return 1;
}

bool directory_is_loaded(const struct directory *directory)
{
	(void)directory;
	return true;
}

bool directory_is_fresh(const struct directory *directory)
{
	return !router_is_cut_off(directory->machine);
}

const struct directory_mailbox *directory_find_mailbox(
	const struct directory *directory, uint64_t id)
{
	char address[32];
	snprintf(address, sizeof(address), "m%llu@example.org", (unsigned long long)id);
	return directory_find_login(directory, str_from(address));
}

const struct directory_node *directory_find_node(const struct directory *directory, uint32_t id)
{
	static struct directory_node node;
	(void)directory;
	if (id == 0 || id > cluster_machines())
		return NULL;
	node = (struct directory_node){ .id = id };
	snprintf(node.name, sizeof(node.name), "node-%u", id - 1);
	snprintf(node.lmtp, sizeof(node.lmtp), "machine-%u:24", id - 1);
	return &node;
}

const struct directory_site *directory_find_site(const struct directory *directory, uint32_t id)
{
	static struct directory_site site;
	(void)directory;
	site.id = id;
	snprintf(site.name, sizeof(site.name), "site-%u", id - 1);
	return &site;
}

/* Each at a site of its own. */
const struct directory_router *directory_next_router(
	const struct directory *directory, size_t *position)
{
	static struct directory_router routers[CLUSTER_ROUTERS];
	(void)directory;
	if (*position == CLUSTER_ROUTERS)
		return NULL;
	unsigned number = (unsigned)(*position)++;
	struct directory_router *router = &routers[number];
	*router = (struct directory_router){ .id = number + 1, .site_id = number + 1 };
	snprintf(router->name, sizeof(router->name), "router-%u", number);
	snprintf(router->queue, sizeof(router->queue), "machine-%u:26",
		CLUSTER_ROUTER_FIRST + number);
	return router;
}

const struct directory_router *directory_find_router_by_name(
	const struct directory *directory, struct str name)
{
	const struct directory_router *router;
	size_t position = 0;
	while ((router = directory_next_router(directory, &position)) != NULL)
		if (str_equal(name, str_from(router->name)))
			return router;
	return NULL;
}
