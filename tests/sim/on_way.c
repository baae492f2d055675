#include "sim/on_way.h"

#include "sim/cluster.h"

static struct on_way {
	uint64_t now, most;
} mailboxes[CLUSTER_VOLUMES][CLUSTER_MAILBOXES];

static struct on_way *find(uint64_t mailbox_id)
{
	CHECK(mailbox_id / 100 - 1 < CLUSTER_VOLUMES && mailbox_id % 100 - 1 < CLUSTER_MAILBOXES);
	return &mailboxes[mailbox_id / 100 - 1][mailbox_id % 100 - 1];
}

void on_way_reset(void)
{
	memset(mailboxes, 0, sizeof(mailboxes));
}

void on_way_begin(uint64_t mailbox_id, uint64_t bytes)
{
	struct on_way *on_way = find(mailbox_id);
	on_way->now += bytes;
	if (on_way->most < on_way->now)
		on_way->most = on_way->now;
}

void on_way_end(uint64_t mailbox_id, uint64_t bytes)
{
	find(mailbox_id)->now -= bytes;
}

uint64_t on_way_most(uint64_t mailbox_id)
{
	return find(mailbox_id)->most;
}
