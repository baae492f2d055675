#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

/* What a replica takes: groups as another has written them, if they follow. */

void log_write_received(struct volume_log *log)
{
	struct volume_receive *receive = log->receive;
	struct disk_file *file;
	uint64_t offset = receive->lsn % segment_length;
	if (!log_prepare(log, segment_of(receive->lsn), offset + receive->length))
		return;
	int result = log_file_to_write(log, segment_of(receive->lsn), &file);
	if (result < 0) {
		log_give_up(log, result);
		return;
	}
	receive->vector = (struct iovec){ receive->bytes->data + receive->offset, receive->length };
	log_begin_write(log, file);
	disk_write(file, &log->op, &receive->vector, 1, offset);
}

/* Whether the group is of the incarnation that the vector ends with. */
static bool is_of_last(const struct epochs *epochs, const struct group *group)
{
	const struct epoch_entry *last = epochs_last(epochs);
	return last != NULL && last->epoch == group->epoch &&
		last->incarnation == group->incarnation &&
		memcmp(last->reign, group->reign, GROUP_REIGN_LENGTH) == 0;
}

/* Takes over the vector of a group that begins an incarnation, when it goes on from ours. */
static int adopt_vector(struct volume_log *log, const struct group *group, struct str bytes)
{
	struct log_state state = log_state_numbers(log);
	struct epochs mine = { 0 };
	uint64_t common = 0;
	int result = -EINVAL;
	if (!log_vector_of(group, bytes, &state.epochs))
		return -EINVAL;
	/* What was announced here and never wrote says nothing. */
	epochs_copy(&mine, &log->state.epochs);
	epochs_truncate(&mine, log->end);
	const struct epoch_entry *last = epochs_last(&state.epochs);
	if (is_of_last(&state.epochs, group) && last->start_lsn >= log->end &&
		last->start_lsn <= group->lsn &&
		epochs_common_end(&mine, log->end, &state.epochs, group->lsn, &common) == 0 &&
		common == log->end)
		result = log_state_replace(log, &state);
	epochs_deinit(&mine);
	if (result < 0)
		log_state_deinit(&state);
	return result;
}

/* An incarnation that was announced here and never wrote: the log goes on without it. Its epoch
 * stays one that was seen. */
static int drop_announced(struct volume_log *log)
{
	struct log_state state = log_state_numbers(log);
	const struct epoch_entry *last = epochs_last(&log->state.epochs);
	if (last == NULL || last->start_lsn < log->end)
		return -EINVAL;
	epochs_copy(&state.epochs, &log->state.epochs);
	epochs_truncate(&state.epochs, log->end);
	int result = log_state_replace(log, &state);
	if (result < 0)
		log_state_deinit(&state);
	return result;
}

/* The first group of a segment says the vector again. */
static bool has_our_vector(
	const struct volume_log *log, const struct group *group, struct str bytes)
{
	struct epochs epochs = { 0 };
	bool is_ours = log_vector_of(group, bytes, &epochs) && is_of_last(&epochs, group) &&
		epochs_last(&epochs)->start_lsn == epochs_last(&log->state.epochs)->start_lsn;
	epochs_deinit(&epochs);
	return is_ours;
}

/* Where the groups that have been checked lead to. */
struct walk {
	uint64_t lsn, last_group, chain;
	bool is_first; /* of the log */
};

static int check_group(
	struct volume_log *log, const struct walk *walk, struct str bytes, struct group *group)
{
	if (!group_verify(bytes, walk->lsn, log->volume, group) ||
		group_padded(group->used) > bytes.length || !group_gaps_are_clear(bytes, group))
		return -EBADMSG;
	if (group->previous_lsn != (walk->is_first ? walk->lsn : walk->last_group))
		return -EINVAL;
	return group->chain == walk->chain ? 0 : -EXDEV;
}

/* The vector is changed (durably) before the first group of the write only: bytes of the
 * incarnation before must be durable when it is. */
static int check_vector(
	struct volume_log *log, const struct group *group, struct str bytes, bool is_first_of_write)
{
	int result = 0;
	if (is_first_of_write && group->flags & GROUP_FIRST_OF_INCARNATION)
		result = adopt_vector(log, group, bytes);
	else if (is_first_of_write && !is_of_last(&log->state.epochs, group))
		result = drop_announced(log);
	if (result < 0)
		return result;
	if (!is_of_last(&log->state.epochs, group))
		return -EINVAL;
	return group->lsn % segment_length != 0 || has_our_vector(log, group, bytes) ? 0 : -EINVAL;
}

static int check_received(struct volume_log *log, struct volume_receive *receive)
{
	struct str rest = str_of(receive->bytes->data + receive->offset, receive->length);
	struct walk walk = { receive->lsn, log->last_group, log->chain, log->is_empty };
	bool follows = receive->lsn == log->end ||
		(receive->lsn % segment_length == 0 &&
			segment_of(receive->lsn) == segment_of(log->end) + 1 &&
			log->end % segment_length != 0);
	if (!follows || rest.length == 0 || rest.length % GROUP_ALIGNMENT != 0)
		return -EINVAL;
	while (rest.length > 0) {
		struct group group;
		bool is_first = walk.lsn == receive->lsn;
		/* What does not fit into one torn-write window, and what begins an incarnation, is
		 * left for the next write. */
		if (!is_first && group_header_decode(rest, walk.lsn, log->volume, &group) &&
			(walk.lsn + group_padded(group.used) > receive->lsn + RECEIVE_BYTES_MAX ||
				group.flags & GROUP_FIRST_OF_INCARNATION)) {
			receive->length = (size_t)(walk.lsn - receive->lsn);
			break;
		}
		int result = check_group(log, &walk, rest, &group);
		if (result == 0 && group.epoch > receive->epoch_max)
			result = -EINVAL;
		if (result == 0)
			result = check_vector(log, &group, rest, is_first);
		if (result < 0)
			return result;
		walk.last_group = walk.lsn;
		walk.chain = group_chain_after(rest, &group);
		walk.is_first = false;
		walk.lsn += group_padded(group.used);
		rest = str_from_index(rest, group_padded(group.used));
	}
	receive->last_group = walk.last_group;
	receive->chain = walk.chain;
	return 0;
}

struct receive_refusal {
	struct task task;
	struct volume_receive *receive;
};

static void on_receive_refused(void *arg)
{
	struct receive_refusal *refusal = arg;
	refusal->receive->done(refusal->receive);
	free(refusal);
}

void volume_log_receive(struct volume_log *log, struct volume_receive *receive)
{
	CHECK(log->receive == NULL && !log->writing && !log->is_cutting);
	receive->status = log->fenced ? -EIO : check_received(log, receive);
	if (receive->status == 0)
		receive->status = log_replica_mark_set(log, true);
	log->may_append = false;
	if (receive->status < 0) {
		struct receive_refusal *refusal = mem_alloc(sizeof(*refusal));
		*refusal = (struct receive_refusal){ { .run = on_receive_refused, .arg = refusal },
			receive };
		loop_defer(log->loop, &refusal->task);
		return;
	}
	log->receive = receive;
	loop_defer(log->loop, &log->commit_task);
}
