#include "replicator/internal.h"

#include "core/log.h"

#include <errno.h>

/* What the copies of a volume at other nodes are, by what they show of themselves: which disk each
 * is on, and whether its log is the leader's. */

struct member *member_of(struct copy *copy, uint32_t node_id)
{
	struct member *spare = NULL;
	for (unsigned i = 0; i < REPLICATOR_MEMBERS_MAX; i++) {
		struct member *member = &copy->members[i];
		if (member->node_id == node_id)
			return member;
		if (member->node_id == 0 || !copy_has_member(copy, member->node_id))
			spare = spare ? spare : member;
	}
	CHECK(spare != NULL); /* only members are asked for, and there are no more */
	*spare = (struct member){ .node_id = node_id };
	return spare;
}

/* ---- whose disk ---- */

void member_shows_copy(struct copy *copy, uint32_t node_id, struct str copy_id)
{
	struct member *member = member_of(copy, node_id);
	struct str known = str_of(member->copy_id, COPY_ID_LENGTH);
	if (copy_id.length != COPY_ID_LENGTH ||
		(member->has_copy_id && str_equal(copy_id, known)))
		return;
	if (member->has_copy_id)
		log_warn("copy_replaced",
			"volume=%u node=%u reason=\"its copy is on another disk than before\"",
			copy->id, node_id);
	member->has_copy_id = true;
	memcpy(member->copy_id, copy_id.bytes, COPY_ID_LENGTH);
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

/* Without reading where its writer has said it. */
int copy_chain_at(const struct copy *copy, struct log_reader *reader, uint64_t lsn, uint64_t limit,
	uint64_t *chain_out)
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
	int result = copy_chain_at(copy, reader, lsn, limit, &mine);
	if (result == -EINVAL || (result == 0 && mine != chain))
		return COPY_DIVERGED;
	return result == 0 ? COPY_VERIFIED : COPY_UNVERIFIED;
}

/* ---- for the node ---- */

void member_tell(struct copy *copy, uint32_t node_id, uint64_t copy_number, uint64_t lsn,
	bool connected)
{
	const struct member *member = member_of(copy, node_id);
	node_side_send(copy->replicator, &(struct cluster_message){ .kind = MESSAGE_ACKED,
						 .volume = copy->id,
						 .node = node_id,
						 .copy = copy_number,
						 .lsn = lsn,
						 .connected = connected,
						 .verdict = member->verdict,
						 .end = member->verified_lsn });
}
