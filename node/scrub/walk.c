#include "node/scrub/walk.h"

#include "core/digest.h"
#include "spool/log_files.h"
#include "spool/log_mend.h"
#include "spool/log_state.h"

#include <errno.h>
#include <stdlib.h>

/* One step: the files it has open and what it has read last. */
struct step {
	struct walk *walk;
	struct log_files files;
	uint64_t end; /* of the log */
	char *window;
	uint64_t window_lsn;
	size_t window_length;
	struct log_state state; /* read when damage is met first */
	bool has_state;
};

/* A group that is being looked at. */
struct look {
	struct group group;
	uint64_t chain;        /* behind what has been read of it */
	uint64_t message_from; /* of the MESSAGE record before; 0: none */
};

const char *walk_fault_name(unsigned fault)
{
	static const char *const names[] = { "header", "body", "missing", "chain" };
	return fault < array_length(names) ? names[fault] : "";
}

/* What the disk gives is wrong, or it gives nothing: not want of descriptors or memory. */
static bool is_damage(int result)
{
	return result == -EBADMSG || result == -ENOENT || result == -EIO;
}

static void note(struct step *step, enum walk_fault fault, uint64_t from, uint64_t to,
	uint64_t group)
{
	struct walk *walk = step->walk;
	CHECK(walk->damage_count < WALK_DAMAGES_MAX && from < to);
	walk->damages[walk->damage_count++] =
		(struct walk_damage){ .from = from, .to = to, .group = group, .fault = fault };
}

static uint64_t segment_end(uint64_t lsn)
{
	return (segment_of(lsn) + 1) * segment_length;
}

/* ---- reading ---- */

/* Behind the end of the file stand zeroes: the padding of the last group may. */
static int read_file(struct step *step, struct disk_file *file, uint64_t lsn, size_t length)
{
	int64_t size = disk_file_size(file);
	uint64_t offset = lsn % segment_length;
	if (size < 0)
		return (int)size;
	uint64_t there = (uint64_t)size > offset ? (uint64_t)size - offset : 0;
	if (there > length)
		there = length;
	step->walk->bytes += there;
	int result = there ? disk_read_stored(file, step->window, (size_t)there, offset) : 0;
	memset(step->window + there, 0, length - (size_t)there);
	step->window_lsn = lsn;
	step->window_length = result == 0 ? length : 0;
	return result == -ENODATA ? -EBADMSG : result;
}

/* `length` bytes at `lsn`, of one segment, good until the next call; all that the window holds from
 * there on when it is 0. */
static int read_at(struct step *step, uint64_t lsn, size_t *length, const char **bytes_out)
{
	uint64_t first = lsn / GROUP_ALIGNMENT * GROUP_ALIGNMENT;
	size_t wanted = *length ? *length : 1, offset = (size_t)(lsn - first);
	bool is_there = lsn >= step->window_lsn &&
		lsn + wanted <= step->window_lsn + step->window_length;
	if (!is_there) {
		struct disk_file *file;
		uint64_t limit = segment_end(lsn) - first;
		size_t window = limit < WALK_WINDOW_BYTES ? (size_t)limit : WALK_WINDOW_BYTES;
		int result = log_files_get(&step->files, segment_of(lsn), false, &file);
		if (result == 0)
			result = read_file(step, file, first, window);
		/* A sector that is lost further on is not what is asked for. */
		if (result == -EIO)
			result = read_file(step, file, first,
				(size_t)group_padded(offset + wanted));
		if (result < 0)
			return result;
	}
	*bytes_out = step->window + (lsn - step->window_lsn);
	if (*length == 0)
		*length = (size_t)(step->window_lsn + step->window_length - lsn);
	return 0;
}

/* -EBADMSG: there is none. */
static int read_header(struct step *step, uint64_t lsn, struct group *group_out)
{
	const char *bytes;
	size_t length = GROUP_HEADER_LENGTH;
	int result = read_at(step, lsn, &length, &bytes);
	if (result < 0)
		return result;
	return group_header_decode(str_of(bytes, length), lsn, step->walk->volume, group_out)
		? 0
		: -EBADMSG;
}

static int check_body(struct step *step, uint64_t lsn, const struct record *record)
{
	uint32_t crc = 0;
	for (uint64_t done = 0; done < record->body.length;) {
		const char *bytes;
		size_t length = 0;
		if (step->walk->stop && atomic_load(step->walk->stop))
			return -ECANCELED;
		int result = read_at(step, lsn + done, &length, &bytes);
		if (result < 0)
			return result;
		if (length > record->body.length - done)
			length = (size_t)(record->body.length - done);
		crc = crc32c(crc, bytes, length);
		done += length;
	}
	return crc == record->body_crc ? 0 : -EBADMSG;
}

/* ---- one group ---- */

static void note_message(struct walk *walk, const struct record *record, bool follows_message)
{
	uint32_t length = (uint32_t)record_padded(record->body.length);
	if (walk->messages == NULL)
		return;
	if (record->type == RECORD_MESSAGE && walk->message_count < WALK_MESSAGES_MAX)
		walk->messages[walk->message_count++] =
			(struct walk_message){ record->lsn, length };
	else if (record->type == RECORD_SUMMARY && follows_message && walk->message_count > 0)
		walk->messages[walk->message_count - 1].length += length;
}

/* The record at `at` of the group. -EBADMSG: its header is damaged. */
static int look_at_record(struct step *step, struct look *look, uint64_t at, uint64_t *length_out)
{
	const char *bytes;
	struct record record;
	uint8_t header[RECORD_HEADER_LENGTH];
	size_t length = sizeof(header);
	uint64_t lsn = look->group.lsn + at;
	if (at + sizeof(header) > look->group.used)
		return -EBADMSG;
	int result = read_at(step, lsn, &length, &bytes);
	if (result < 0)
		return result;
	memcpy(header, bytes, sizeof(header));
	if (!record_header_decode(header, lsn, &record) || record.epoch != look->group.epoch ||
		at + record_padded(record.body.length) > look->group.used)
		return -EBADMSG;
	*length_out = record_padded(record.body.length);
	look->chain = group_chain_record(look->chain, header);
	note_message(step->walk, &record, look->message_from != 0);
	uint64_t from = record.type == RECORD_SUMMARY && look->message_from ? look->message_from
									    : lsn;
	look->message_from = record.type == RECORD_MESSAGE ? lsn : 0;
	if (record.state != RECORD_PRESENT)
		return 0;
	result = check_body(step, lsn + RECORD_HEADER_LENGTH, &record);
	if (!is_damage(result))
		return result;
	note(step, FAULT_BODY, from, lsn + *length_out, look->group.lsn);
	return 0;
}

/* All records of a group whose header is sound. -EBADMSG: some header is damaged. */
static int look_at_records(struct step *step, struct look *look)
{
	const char *bytes;
	size_t length = GROUP_HEADER_LENGTH;
	uint64_t at = GROUP_HEADER_LENGTH;
	uint32_t count = 0;
	int result = read_at(step, look->group.lsn, &length, &bytes);
	if (result < 0)
		return result;
	look->chain = group_chain_start(look->group.chain, (const uint8_t *)bytes);
	while (at < look->group.used) {
		uint64_t record = 0;
		if (step->walk->damage_count == WALK_DAMAGES_MAX - 1)
			break; /* the rest of it is found when these are mended */
		result = look_at_record(step, look, at, &record);
		if (result < 0)
			return result;
		at += record;
		count++;
	}
	bool is_whole = at == look->group.used && count == look->group.record_count;
	return is_whole || step->walk->damage_count == WALK_DAMAGES_MAX - 1 ? 0 : -EBADMSG;
}

/* ---- from group to group ---- */

/* Behind the last group of a segment stands nothing, and the next segment says so. */
static bool is_end_of_segment(struct step *step, uint64_t lsn)
{
	struct group next, last;
	uint64_t next_segment = segment_end(lsn);
	return lsn % segment_length != 0 && next_segment < step->end &&
		read_header(step, next_segment, &next) == 0 && next.previous_lsn < lsn &&
		read_header(step, next.previous_lsn, &last) == 0 &&
		last.lsn + group_padded(last.used) == lsn;
}

static bool is_of_log(struct step *step, const struct group *group)
{
	struct walk *walk = step->walk;
	if (!step->has_state)
		step->has_state =
			log_state_read(walk->disk, walk->directory, &step->state) == 0;
	return !step->has_state || log_is_of_branch(&step->state.epochs, group);
}

/* The next group whose header is sound, in this segment: a message may hold what looks like one,
 * but not of an incarnation that is the log's. */
static uint64_t next_sound(struct step *step, uint64_t lsn, uint64_t limit)
{
	struct group group;
	while (lsn < limit &&
		(read_header(step, lsn, &group) < 0 || !is_of_log(step, &group)))
		lsn += GROUP_ALIGNMENT;
	return lsn;
}

/* No group begins at walk->lsn. */
static int pass_damage(struct step *step, int result)
{
	struct walk *walk = step->walk;
	uint64_t limit = segment_end(walk->lsn);
	if (!is_damage(result))
		return result;
	if (is_end_of_segment(step, walk->lsn)) {
		walk->lsn = limit;
		return 0;
	}
	if (limit > step->end)
		limit = step->end;
	bool is_missing = result == -ENOENT;
	uint64_t next = is_missing ? limit : next_sound(step, walk->lsn + GROUP_ALIGNMENT, limit);
	note(step, is_missing ? FAULT_MISSING : FAULT_HEADER, walk->lsn, next, walk->lsn);
	walk->lsn = next;
	walk->follows = false;
	return 0;
}

/* Whether the group is one of the log's: one that came back with an old disk is whole as well. What
 * stands behind one that is not says nothing of itself. */
static bool check_chain(struct step *step, const struct group *group)
{
	const struct walk *walk = step->walk;
	bool is_next = group->previous_lsn == walk->last && group->chain == walk->chain;
	bool is_ours = is_of_log(step, group);
	if (!is_ours || (walk->follows && !is_next))
		note(step, FAULT_CHAIN, group->lsn, group->lsn + group_padded(group->used),
			walk->last);
	return is_ours;
}

static int look_at_next(struct step *step)
{
	struct walk *walk = step->walk;
	struct look look = { 0 };
	unsigned before = walk->damage_count;
	int result = read_header(step, walk->lsn, &look.group);
	uint64_t to = walk->lsn + group_padded(look.group.used);
	/* The log ends between two groups: one that goes beyond is none of its. */
	if (result == 0 && to > step->end)
		result = -EBADMSG;
	if (result < 0)
		return pass_damage(step, result);
	bool is_ours = check_chain(step, &look.group);
	result = look_at_records(step, &look);
	if (result < 0 && !is_damage(result)) {
		walk->damage_count = before;
		return result;
	}
	/* Where it was left early, the chain behind it is not known. */
	walk->follows = result == 0 && is_ours && walk->damage_count < WALK_DAMAGES_MAX - 1;
	if (result < 0) {
		walk->damage_count = before;
		note(step, FAULT_HEADER, walk->lsn, to, walk->lsn);
	}
	walk->last = walk->lsn;
	walk->chain = look.chain;
	walk->lsn = to;
	return 0;
}

void walk_rewind(struct walk *walk)
{
	walk->lsn = walk->last = walk->chain = 0;
	/* The first group of a log names itself, and chain 0. */
	walk->follows = true;
}

int walk_step(struct walk *walk, uint64_t target, uint64_t end)
{
	struct step step = { .walk = walk, .end = end };
	int result = 0;
	walk->damage_count = 0;
	walk->message_count = 0;
	walk->bytes = 0;
	log_files_init(&step.files, walk->disk, walk->directory);
	step.window = mem_alloc_aligned(DISK_BLOCK_BYTES, WALK_WINDOW_BYTES);
	/* Room for one damaged group, and that it is not the one that should be there. */
	while (result == 0 && walk->lsn < target && walk->lsn < end &&
		walk->damage_count < WALK_DAMAGES_MAX - 2 &&
		walk->message_count < WALK_MESSAGES_MAX / 2)
		result = walk->stop && atomic_load(walk->stop) ? -ECANCELED : look_at_next(&step);
	free(step.window);
	log_files_deinit(&step.files);
	if (step.has_state)
		log_state_deinit(&step.state);
	return result;
}

int walk_look_again(struct walk *walk, const struct walk_damage *damage, uint64_t end)
{
	int result = 0;
	walk_rewind(walk);
	walk->lsn = damage->group;
	walk->follows = damage->group == 0;
	while (result == 0 && walk->lsn < damage->to && damage->to <= end) {
		result = walk_step(walk, damage->to, end);
		for (unsigned i = 0; result >= 0 && i < walk->damage_count; i++) {
			const struct walk_damage *found = &walk->damages[i];
			if (found->from < damage->to && found->to > damage->from)
				result = 1;
		}
	}
	return result;
}
