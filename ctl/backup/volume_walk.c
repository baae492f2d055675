#include "ctl/backup/volume_walk.h"

#include <errno.h>

bool volume_walk_reaches(const struct volume_walk *walk, uint64_t lsn)
{
	return lsn == walk->end ||
		(walk->end % segment_length != 0 && lsn % segment_length == 0 &&
			segment_of(lsn) == segment_of(walk->end) + 1);
}

static int broken(
	const struct volume_walk *walk, uint64_t lsn, const char *what, struct error *error)
{
	return error_set(error, -EUCLEAN, "the log of volume %lu is broken at %llu: %s",
		(unsigned long)walk->volume, (unsigned long long)lsn, what);
}

/* NULL: it goes on from what came before. */
static const char *contradiction(const struct volume_walk *walk, const struct group *group)
{
	bool is_first = walk->groups == 0;
	/* Whoever began in the middle knows the chain alone. */
	if (is_first && walk->end > 0)
		return group->chain != walk->chain ? "another log goes on there" : NULL;
	if (group->previous_lsn != (is_first ? group->lsn : walk->last_lsn))
		return "it names another group as the one before";
	if (group->chain != walk->chain)
		return "another log goes on there";
	if (is_first)
		return NULL;
	if (group->epoch < walk->epoch)
		return "its epoch is lower than the one before";
	if (group->epoch == walk->epoch &&
		memcmp(group->reign, walk->reign, GROUP_REIGN_LENGTH) != 0)
		return "an epoch has two reigns";
	return NULL;
}

static void count_messages(struct volume_walk *walk, const struct group *group, struct str bytes)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	while (group_next_record(group, bytes, &position, &record))
		walk->messages += record.type == RECORD_MESSAGE && record.state == RECORD_PRESENT;
}

static int walk_group(struct volume_walk *walk, uint64_t lsn, char *bytes, size_t length,
	struct group *group_out, struct error *error)
{
	if (!group_verify(str_of(bytes, length), lsn, walk->volume, group_out) ||
		group_padded(group_out->used) > length)
		return broken(walk, lsn, "there is no valid group", error);
	const char *why = contradiction(walk, group_out);
	if (why)
		return broken(walk, lsn, why, error);
	group_clear_gaps(bytes, group_out);
	struct str whole = str_of(bytes, group_out->used);
	walk->chain = group_chain_after(whole, group_out);
	walk->end = lsn + group_padded(group_out->used);
	walk->last_lsn = lsn;
	walk->epoch = group_out->epoch;
	memcpy(walk->reign, group_out->reign, GROUP_REIGN_LENGTH);
	walk->groups++;
	count_messages(walk, group_out, whole);
	return 0;
}

int volume_walk_groups(
	struct volume_walk *walk, uint64_t lsn, char *bytes, size_t length, struct error *error)
{
	struct group group;
	if (!volume_walk_reaches(walk, lsn))
		return error_set(error, -EUCLEAN,
			"the log of volume %lu ends at %llu and goes on at %llu",
			(unsigned long)walk->volume, (unsigned long long)walk->end,
			(unsigned long long)lsn);
	if (length == 0)
		return broken(walk, lsn, "there is nothing", error);
	while (length > 0) {
		int code = walk_group(walk, lsn, bytes, length, &group, error);
		if (code < 0)
			return code;
		lsn += group_padded(group.used);
		bytes += group_padded(group.used);
		length -= group_padded(group.used);
	}
	return 0;
}
