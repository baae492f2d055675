#include "replicator/internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>

/* What the copies of a volume at other nodes are, by what they show of themselves: which disk each
 * is on, and whether its log is the leader's. */

struct member *member_of(struct copy *copy, uint32_t node_id)
{
	struct member *free = NULL;
	for (unsigned i = 0; i < REPLICATOR_MEMBERS_MAX; i++) {
		struct member *member = &copy->members[i];
		if (member->node_id == node_id)
			return member;
		if (member->node_id == 0 || !copy_has_member(copy, member->node_id))
			free = free ? free : member;
	}
	CHECK(free != NULL); /* only members are asked for, and there are no more */
	*free = (struct member){ .node_id = node_id };
	return free;
}

/* ---- whose disk ---- */

static bool has_same_disk(const struct member *member, const uint8_t copy_id[COPY_ID_LENGTH])
{
	return member->has_copy_id && memcmp(member->copy_id, copy_id, COPY_ID_LENGTH) == 0;
}

/* The other member, or this node, whose copy has the same id; 0: none. */
static uint32_t double_of(const struct copy *copy, const struct member *member)
{
	for (unsigned i = 0; i < REPLICATOR_MEMBERS_MAX && member->has_copy_id; i++)
		if (&copy->members[i] != member && copy->members[i].node_id != 0 &&
			has_same_disk(&copy->members[i], member->copy_id))
			return copy->members[i].node_id;
	return member->is_doubled_here ? copy->replicator->options.node_id : 0;
}

static bool is_own_copy(const struct copy *copy, const uint8_t copy_id[COPY_ID_LENGTH])
{
	struct copy_id mine;
	/* Whoever holds the log, the file does not change while it does. */
	return copy_id_read(copy->replicator->options.disk, copy->directory, &mine) == 0 &&
		memcmp(mine.bytes, copy_id, COPY_ID_LENGTH) == 0;
}

void member_shows_copy(struct copy *copy, uint32_t node_id, struct str copy_id)
{
	struct member *member = member_of(copy, node_id);
	if (copy_id.length != COPY_ID_LENGTH ||
		has_same_disk(member, (const uint8_t *)copy_id.bytes))
		return;
	if (member->has_copy_id)
		log_warn("copy_replaced",
			"volume=%u node=%u reason=\"its copy is on another disk than before\"",
			copy->id, node_id);
	member->has_copy_id = true;
	memcpy(member->copy_id, copy_id.bytes, COPY_ID_LENGTH);
	member->is_doubled_here = is_own_copy(copy, member->copy_id);
	uint32_t other = double_of(copy, member);
	if (other != 0)
		log_error("copy_doubled",
			"volume=%u node=%u other_node=%u reason=\"their copies have one id: a disk "
			"was copied\"",
			copy->id, node_id, other);
}

/* ---- whose log ---- */

void member_judge(struct copy *copy, uint32_t node_id, enum copy_verdict verdict, uint64_t lsn)
{
	struct member *member = member_of(copy, node_id);
	if (verdict == COPY_VERIFIED)
		member->verified_lsn = lsn;
	if (member->verdict == verdict)
		return;
	member->verdict = verdict;
	if (verdict == COPY_DIVERGED)
		log_error("copies_differ",
			"volume=%u node=%u below=%llu same_up_to=%llu effect=\"neither is shipped "
			"to the other, and that one counts for nothing\"",
			copy->id, node_id, (unsigned long long)lsn,
			(unsigned long long)member->verified_lsn);
	else
		log_info(verdict == COPY_VERIFIED ? "copy_verified" : "copy_unverified",
			"volume=%u node=%u lsn=%llu", copy->id, node_id, (unsigned long long)lsn);
}

/* The chain of the log here at `lsn`, without reading where its writer has said it. */
static int chain_at(const struct copy *copy, struct log_reader *reader, uint64_t lsn,
	uint64_t limit, uint64_t *chain_out)
{
	*chain_out = lsn == 0 ? 0 : copy->durable_chain;
	if (lsn == 0 || (copy->node == NODE_WRITES && lsn == copy->durable_lsn))
		return 0;
	if (copy->log != NULL && lsn == volume_log_end(copy->log)) {
		*chain_out = volume_log_chain(copy->log);
		return 0;
	}
	return log_reader_chain(reader, lsn, limit, chain_out);
}

enum copy_verdict copy_compare_chain(const struct copy *copy, struct log_reader *reader,
	uint64_t lsn, uint64_t limit, uint64_t chain)
{
	uint64_t mine;
	int result = chain_at(copy, reader, lsn, limit, &mine);
	if (result == -EINVAL || (result == 0 && mine != chain))
		return COPY_DIVERGED;
	return result == 0 ? COPY_VERIFIED : COPY_UNVERIFIED;
}

/* ---- for the node ---- */

void member_tell(struct copy *copy, uint32_t node_id, uint64_t lsn, bool connected)
{
	const struct member *member = member_of(copy, node_id);
	char remark[128] = "";
	uint32_t other = double_of(copy, member);
	if (other != 0)
		snprintf(remark, sizeof(remark), "its disk is a copy of the one of %s",
			other == copy->replicator->options.node_id
				? copy->replicator->node_name
				: replicator_node_name(copy->replicator, other));
	node_side_send(copy->replicator, &(struct cluster_message){ .kind = MESSAGE_ACKED,
						 .volume = copy->id,
						 .node = node_id,
						 .lsn = lsn,
						 .connected = connected,
						 .verdict = member->verdict,
						 .end = member->verified_lsn,
						 .text = str_from(remark) });
}
