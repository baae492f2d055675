#include "spool/volume_log_internal.h"

#include "core/digest.h"
#include "core/encode.h"
#include "core/log.h"
#include "spool/log_mend.h"

#include <errno.h>
#include <stdlib.h>

/* Opening a log: where does it end, is its tail torn or its middle rotten. */

enum {
	/* Read at a time when a tail is searched. */
	SCAN_BYTES = 1 << 20,
};

/* ---- the files beside the segments ---- */

int log_state_load(struct volume_log *log, struct error *error)
{
	int result = log_state_read(log->disk, log->files.directory, &log->state);
	if (result == -EUCLEAN)
		log_warn("epochs_unreadable",
			"volume=%u directory=%s action=\"rebuild it from the log\"", log->volume,
			log->files.directory);
	/* Also a new volume; else log_find_end reads the vector of the last segment. */
	log->must_save_state = result == -EUCLEAN || log->state.epochs.count == 0;
	/* Whether a replica was being filled is known no more: until it follows somebody it counts
	 * as if it were. */
	if (log->must_save_state && log->was_replica)
		log->state.whole_from = UINT64_MAX;
	if (result == -EUCLEAN)
		result = 0;
	if (result == -EPROTONOSUPPORT)
		return error_set(error, result,
			"%s is of log format 1, which this version does not read",
			log->files.directory);
	if (result < 0)
		error_set(error, result, "cannot read %s/epochs: %s", log->files.directory,
			strerror(-result));
	return result;
}

int log_state_replace(struct volume_log *log, struct log_state *state)
{
	int result = log_is_in_place(log) ? log_state_save(log->disk, log->files.directory, state)
					  : -EIO;
	if (result < 0)
		return result;
	log_state_deinit(&log->state);
	log->state = *state;
	return 0;
}

int log_copy_id_load(struct volume_log *log, uint32_t owner, struct error *error)
{
	uint32_t moved_from;
	int result = copy_id_take(
		log->disk, log->files.directory, owner, &log->copy_id, &moved_from);
	if (result < 0)
		return error_set(error, result, "cannot read %s/copy: %s", log->files.directory,
			strerror(-result));
	if (moved_from != 0)
		log_warn("copy_moved",
			"volume=%u directory=%s made_for_node=%u node=%u "
			"action=\"it is another copy now\" "
			"hint=\"was a disk swapped, or a machine copied?\"",
			log->volume, log->files.directory, moved_from, owner);
	return 0;
}

/* ---- the mark of a replica ---- */

int log_replica_mark_load(struct volume_log *log, struct error *error)
{
	struct disk_file *file;
	char *path = log_files_path(&log->files, "replica");
	int result = disk_file_open(log->disk, path, false, &file);
	log->was_replica = result == 0;
	if (result == 0)
		disk_file_close(&file);
	/* Whether it is there decides what is torn: not known is not no. */
	if (result == -ENOENT)
		result = 0;
	else if (result < 0)
		error_set(error, result, "cannot open %s: %s", path, strerror(-result));
	free(path);
	return result;
}

int log_replica_mark_set(struct volume_log *log, bool is_replica)
{
	struct disk_file *file;
	int result = 0;
	if (log->was_replica == is_replica)
		return 0;
	char *path = log_files_path(&log->files, "replica");
	if (is_replica) {
		result = disk_file_open(log->disk, path, true, &file);
		if (result == 0)
			disk_file_close(&file);
	} else {
		result = disk_remove_file(path);
	}
	free(path);
	if (result == 0)
		log->was_replica = is_replica;
	return result;
}

/* ---- finding the end ---- */

bool log_vector_of(const struct group *group, struct str bytes, struct epochs *epochs_out)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	return group_next_record(group, bytes, &position, &record) &&
		record.state == RECORD_PRESENT &&
		(record.type == RECORD_BARRIER || record.type == RECORD_SEGMENT) &&
		epochs_decode(record.body, epochs_out);
}

static bool is_known(const struct volume_log *log, const struct group *group)
{
	for (uint32_t i = 0; i < log->state.epochs.count; i++) {
		const struct epoch_entry *entry = &log->state.epochs.entries[i];
		if (entry->epoch == group->epoch && entry->incarnation == group->incarnation &&
			memcmp(entry->reign, group->reign, GROUP_REIGN_LENGTH) == 0)
			return true;
	}
	return false;
}

/* What stands behind the last valid group. */
struct tail {
	uint64_t bytes_begin; /* of the first block that is not zero */
	uint64_t bytes_end;   /* behind the last block that is not zero; 0: there is none */
	uint64_t later_group; /* address of the first valid group of ours, 0 when there is none */
	uint64_t later_end;   /* end of the last one */
	unsigned segments;    /* that hold bytes: one write lies in one */
};

static void scan_block(
	struct volume_log *log, struct str block, uint64_t at, bool may_begin, struct tail *tail)
{
	struct group group;
	if (block.bytes[0] == 0 && memcmp(block.bytes, block.bytes + 1, block.length - 1) == 0)
		return;
	if (tail->bytes_end == 0)
		tail->bytes_begin = at;
	tail->bytes_end = at + block.length;
	if (!may_begin || !group_header_decode(block, at, log->volume, &group) ||
		!is_known(log, &group))
		return;
	if (tail->later_group == 0)
		tail->later_group = at;
	tail->later_end = at + group_padded(group.used);
}

/* Whether a write that was on its way may have begun here: at the end of the log or, when nothing
 * stands there, at the start of the next segment. */
static bool may_be_torn(const struct volume_log *log, uint64_t lsn, const struct tail *tail)
{
	return lsn == log->end ||
		(tail->bytes_end == 0 && lsn == (segment_of(log->end) + 1) * segment_length);
}

/* Adds what stands in the segment of `lsn` from there on. */
static int scan_segment(struct volume_log *log, uint64_t lsn, struct tail *tail)
{
	struct disk_file *file;
	int result = log_files_get(&log->files, segment_of(lsn), false, &file);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	char *bytes = mem_alloc(SCAN_BYTES);
	for (uint64_t offset = lsn % segment_length; result == 0 && offset < (uint64_t)size;
		offset += SCAN_BYTES) {
		uint64_t left = (uint64_t)size - offset;
		size_t length = left < SCAN_BYTES ? (size_t)left : SCAN_BYTES;
		result = disk_read_now(file, bytes, length, offset);
		for (size_t i = 0; result == 0 && i < length; i += GROUP_ALIGNMENT) {
			uint64_t at = lsn - lsn % segment_length + offset + i;
			size_t part = length - i < GROUP_ALIGNMENT ? length - i : GROUP_ALIGNMENT;
			scan_block(log, str_of(bytes + i, part), at, !may_be_torn(log, at, tail),
				tail);
		}
	}
	free(bytes);
	return result;
}

static int refuse_format(struct volume_log *log, struct error *error)
{
	return error_set(error, -EPROTONOSUPPORT,
		"%s is of log format 1, which this version does not read", log->files.directory);
}

static int cannot_read(struct volume_log *log, uint64_t segment, int result, struct error *error)
{
	return error_set(error, result, "cannot read segment %llu of %s: %s",
		(unsigned long long)segment, log->files.directory, strerror(-result));
}

/* Takes over a later vector than the file `epochs` has: the file was lost, or is older. */
static void learn_vector(struct volume_log *log, const struct group *group, struct str bytes)
{
	struct epochs found = { 0 };
	if (!log_vector_of(group, bytes, &found))
		return;
	const struct epoch_entry *known = epochs_last(&log->state.epochs);
	const struct epoch_entry *last = epochs_last(&found);
	bool is_news = last != NULL &&
		(known == NULL || last->epoch > known->epoch ||
			(last->epoch == known->epoch && last->start_lsn > known->start_lsn));
	if (is_news) {
		epochs_copy(&log->state.epochs, &found);
		log->must_save_state = true;
	}
	epochs_deinit(&found);
}

/* The last segment whose first group is wholly valid, -1, or a negative errno below -1. */
static int64_t last_used_segment(struct volume_log *log, int64_t highest, struct error *error)
{
	for (int64_t segment = highest; segment >= 0; segment--) {
		struct bytes *bytes;
		struct group group;
		int result = log_files_read_group(&log->files, log->volume,
			(uint64_t)segment * segment_length, &bytes, &group);
		if (result == 0) {
			bytes_unref(&bytes);
			return segment;
		}
		if (result == -EPROTONOSUPPORT)
			return refuse_format(log, error);
		if (result != -ENODATA && result != -EBADMSG)
			return cannot_read(log, (uint64_t)segment, result, error);
	}
	return -1;
}

/* A group begins an incarnation that the vector does not know yet, because the file was lost or is
 * older: it brings its own, which goes on from what is known here. Where the known one begins at
 * the same place, and wrote nothing or was written over, only the epoch says which is later. */
static bool is_news(const struct volume_log *log, const struct group *group, struct str bytes)
{
	const struct epoch_entry *known = epochs_last(&log->state.epochs);
	struct epochs found = { 0 };
	if (known == NULL)
		return true;
	if (!log_vector_of(group, bytes, &found))
		return false;
	const struct epoch_entry *last = epochs_last(&found);
	bool goes_on = last != NULL && log_is_of_branch(&found, group) &&
		(known->start_lsn < group->lsn ? epochs_have(&found, known)
					       : last->epoch > known->epoch);
	epochs_deinit(&found);
	return goes_on;
}

/* The first of another branch follows what both have. */
static bool is_of_another(const struct volume_log *log, const struct group *group, struct str bytes)
{
	return !log_is_of_branch(&log->state.epochs, group) && !is_news(log, group, bytes);
}

/* 0; -EXDEV: it does not follow what the log ends with; or why that cannot be known for now. */
static int check_group(struct volume_log *log, const struct group *group, struct str bytes)
{
	int result = log->is_empty
		? log_files_check_before(&log->files, log->volume, &log->state.epochs, group)
		: group->previous_lsn == log->last_group && group->chain == log->chain ? 0
										       : -EXDEV;
	return result == 0 && is_of_another(log, group, bytes) ? -EXDEV : result;
}

/* Walks the groups of one segment from `lsn` on; sets end, last group and chain. A group
 * that is not the one that was told of here ends the log, as an invalid one does. */
static int walk_from(struct volume_log *log, uint64_t lsn, struct error *error)
{
	uint64_t segment = segment_of(lsn), limit = (segment + 1) * segment_length;
	int result = 0;
	while (lsn < limit) {
		struct bytes *bytes;
		struct group group;
		result = log_files_read_group(&log->files, log->volume, lsn, &bytes, &group);
		if (result < 0)
			break;
		result = check_group(log, &group, bytes_str(bytes));
		uint64_t chain = group_chain_after(bytes_str(bytes), &group);
		if (result == 0)
			learn_vector(log, &group, bytes_str(bytes));
		bytes_unref(&bytes);
		if (result < 0)
			break;
		uint64_t end = lsn + group_padded(group.used);
		if (end == log->told.told.lsn && chain != log->told.told.chain)
			break;
		log->is_empty = false;
		log->last_group = lsn;
		log->chain = chain;
		log->end = lsn = end;
	}
	if (result == -EPROTONOSUPPORT)
		return refuse_format(log, error);
	bool is_end = result == -ENODATA || result == -EBADMSG || result == -EXDEV;
	return result < 0 && !is_end ? cannot_read(log, segment, result, error) : 0;
}

static bool is_zero(const char *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* Its last byte was written, so all of it was, in the order of its addresses. A byte that is to be
 * 0 says nothing. */
static bool has_its_end(struct str bytes, const struct group *group)
{
	struct record record = { 0 };
	size_t position = GROUP_HEADER_LENGTH, end = 0;
	while (position + RECORD_HEADER_LENGTH <= bytes.length &&
		record_header_decode(
			(const uint8_t *)bytes.bytes + position, group->lsn + position, &record)) {
		end = position + RECORD_HEADER_LENGTH + record.body.length;
		position += record_padded(record.body.length);
	}
	return position == bytes.length && end > 0 && end <= bytes.length &&
		bytes.bytes[end - 1] != 0;
}

/* A write that was on its way when the power failed has left each sector as it was to be, or zero,
 * as the file is filled before; one whose process was killed in it has left a beginning, and
 * zeroes. What has its end and no zero sector, and is no sound group, was written, and has changed
 * since. */
static bool is_surely_rot(struct volume_log *log, uint64_t lsn)
{
	enum { SECTOR = 512 };
	char sector[SECTOR];
	struct disk_file *file;
	struct group group;
	if (log_files_get(&log->files, segment_of(lsn), false, &file) < 0 ||
		disk_read_now(file, sector, sizeof(sector), lsn % segment_length) < 0)
		return false;
	if (!group_header_decode(str_of(sector, sizeof(sector)), lsn, log->volume, &group))
		return !is_zero(sector, GROUP_HEADER_LENGTH) &&
			!is_zero(sector + GROUP_HEADER_LENGTH, RECORD_HEADER_LENGTH);
	struct bytes *bytes = bytes_create(group.used);
	bool is_rot = disk_read_now(file, bytes->data, group.used, lsn % segment_length) == 0 &&
		!group_verify(bytes_str(bytes), lsn, log->volume, &group) &&
		has_its_end(bytes_str(bytes), &group);
	for (size_t at = 0; is_rot && at < bytes->length; at += SECTOR) {
		size_t left = bytes->length - at;
		is_rot = !is_zero(bytes->data + at, left < SECTOR ? left : SECTOR);
	}
	bytes_unref(&bytes);
	return is_rot;
}

/* Where the group stands, or should, that begins what is behind the end. */
static uint64_t first_behind(const struct volume_log *log, const struct tail *tail)
{
	uint64_t segment = segment_of(tail->bytes_begin);
	return segment == segment_of(log->end) ? log->end : segment * segment_length;
}

/* Whether groups behind an invalid one are what a replica's last write left of itself: such a write
 * holds many groups, a primary's holds one, and all lie in one segment. What else is not zero,
 * where no group of ours stands, has rotted where nothing was yet, and is no sign that the write
 * had been whole. The leader ships the range again. */
static bool is_torn_receive(struct volume_log *log, const struct tail *tail)
{
	uint64_t from = first_behind(log, tail), segment = segment_of(from);
	bool is_one_write = tail->later_end == 0 ||
		(segment_of(tail->later_end - 1) == segment &&
			tail->later_end <= from + RECEIVE_BYTES_MAX);
	return log->was_replica && is_one_write;
}

/* Cuts off what stands behind the end, after it was saved if it may be worth something. */
static int drop_tail(struct volume_log *log, const struct tail *tail, bool save)
{
	const struct epoch_entry *last = epochs_last(&log->state.epochs);
	int result = 0;
	if (tail->bytes_end == 0)
		return 0;
	if (save)
		result = log_save_range(&log->files, log->volume, last ? last->epoch : 0, log->end,
			tail->bytes_end);
	else
		log_info("torn_tail", "volume=%u lsn=%llu", log->volume,
			(unsigned long long)log->end);
	return result == 0 ? log_cut_files(&log->files, log->end) : result;
}

/* What is told of this log, by itself and by who opens it. */
static uint64_t known_of(const struct volume_log *log, const struct log_told *told)
{
	return log->told.told.lsn > told->lsn ? log->told.told.lsn : told->lsn;
}

static int scan_behind(
	struct volume_log *log, int64_t highest, struct tail *tail, struct error *error)
{
	for (int64_t segment = (int64_t)segment_of(log->end); segment <= highest; segment++) {
		uint64_t lsn = (uint64_t)segment * segment_length;
		uint64_t before = tail->bytes_end;
		int result = scan_segment(log, lsn < log->end ? log->end : lsn, tail);
		if (result < 0)
			return cannot_read(log, (uint64_t)segment, result, error);
		tail->segments += tail->bytes_end != before;
		if (tail->segments > 1 && tail->later_group == 0)
			tail->later_group = lsn;
	}
	return 0;
}

static bool is_torn_tail(struct volume_log *log, const struct tail *tail, uint64_t known)
{
	bool is_one_group = tail->segments <= 1 && tail->later_group == 0;
	if (log->end < known || !(is_one_group || is_torn_receive(log, tail)))
		return false;
	return tail->bytes_end == 0 || !is_surely_rot(log, first_behind(log, tail));
}

/* Everything behind the end must be nothing, or a torn write that may be cut off; nothing of it may
 * have been told to anybody. */
static int check_behind_end(struct volume_log *log, int64_t highest, const struct log_told *told,
	bool repair, uint64_t *rotten_lsn_out, struct error *error)
{
	struct tail tail = { 0 };
	uint64_t known = known_of(log, told);
	int result = scan_behind(log, highest, &tail, error);
	if (result < 0)
		return result;
	bool was_told = log->end < known;
	bool is_torn = is_torn_tail(log, &tail, known);
	if (!is_torn && !repair) {
		*rotten_lsn_out = log->end;
		if (was_told)
			return error_set(error, -EUCLEAN,
				"%s is corrupt at address %llu (segment %016llx.log): all below "
				"%llu "
				"was confirmed once; copy this volume from a replica",
				log->files.directory, (unsigned long long)log->end,
				(unsigned long long)segment_of(log->end),
				(unsigned long long)known);
		return error_set(error, -EUCLEAN,
			"%s is corrupt at address %llu (segment %016llx.log): valid data follows "
			"at "
			"%llu; copy this volume from a replica",
			log->files.directory, (unsigned long long)log->end,
			(unsigned long long)segment_of(log->end),
			(unsigned long long)tail.later_group);
	}
	if (!is_torn) {
		uint64_t had = tail.bytes_end > known ? tail.bytes_end : known;
		if (had > log->state.whole_from)
			result = volume_log_note_whole_from(log, had);
	}
	/* A later opening must not take for rot what this one cuts off. */
	if (result == 0 && was_told)
		result = log_told_write(
			&log->told, &(struct told){ log->end, log->chain, false }, true);
	if (result == 0)
		result = drop_tail(log, &tail, !is_torn || tail.later_group != 0);
	if (result < 0)
		return error_set(error, result, "cannot cut %s at %llu: %s", log->files.directory,
			(unsigned long long)log->end, strerror(-result));
	return 0;
}

/* ---- damage that the log goes on behind ---- */

/* What stood there before, and came back, may be of an incarnation that is known elsewhere. */
static bool is_ours(const struct volume_log *log, const struct group *group)
{
	return is_known(log, group) && log_is_of_branch(&log->state.epochs, group);
}

/* The next sound group of ours from `lsn` on, into what the log then ends with; -ENODATA: none. */
static int find_sound(struct volume_log *log, uint64_t lsn, int64_t highest, uint64_t *lsn_out)
{
	uint64_t limit = ((uint64_t)highest + 1) * segment_length;
	for (; lsn < limit; lsn += GROUP_ALIGNMENT) {
		struct bytes *bytes;
		struct group group;
		int result = log_files_read_header(&log->files, log->volume, lsn, &group);
		if (result == 0 && is_ours(log, &group) && group.previous_lsn >= log->last_group)
			result = log_files_read_group(
				&log->files, log->volume, lsn, &bytes, &group);
		else if (result == 0)
			result = -ENODATA;
		if (result == 0) {
			bytes_unref(&bytes);
			log->is_empty = false;
			log->last_group = group.previous_lsn;
			log->chain = group.chain;
			*lsn_out = lsn;
			return 0;
		}
		if (!log_files_is_damage(result))
			return result;
	}
	return -ENODATA;
}

/* From the next group behind `*lsn` that there is something to go on with. -ENODATA: none. */
static int go_on_behind(struct volume_log *log, int64_t highest, uint64_t *lsn, struct error *error)
{
	uint64_t from = log->end, last_group = log->last_group, chain = log->chain;
	bool was_empty = log->is_empty;
	int result = 0;
	/* One that is sound, and not what was told of, is passed over as well. */
	while (result == 0 && log->end == from) {
		log->last_group = last_group;
		log->chain = chain;
		log->is_empty = was_empty;
		result = find_sound(log, *lsn + GROUP_ALIGNMENT, highest, lsn);
		if (result < 0 && result != -ENODATA)
			return cannot_read(log, segment_of(from), result, error);
		if (result == 0)
			result = walk_from(log, *lsn, error);
	}
	return result;
}

/* As long as what stands behind the end is neither torn nor nothing. */
static int pass_over_damage(struct volume_log *log, int64_t highest, const struct log_told *told,
	struct error *error)
{
	uint64_t known = known_of(log, told);
	while (true) {
		struct tail tail = { 0 };
		uint64_t from = log->end;
		int result = scan_behind(log, highest, &tail, error);
		if (result < 0 || is_torn_tail(log, &tail, known) || tail.bytes_end == 0)
			return result;
		uint64_t lsn = from;
		result = go_on_behind(log, highest, &lsn, error);
		if (result < 0)
			return result == -ENODATA ? 0 : result; /* nothing to go on with */
		log_error("damage_passed_over",
			"volume=%u from=%llu to=%llu "
			"effect=\"what stood there is not readable until it is mended\" "
			"next=\"the other copies are asked for it\"",
			log->volume, (unsigned long long)from, (unsigned long long)lsn);
		if (log->passed_over == UINT64_MAX)
			log->passed_over = from;
		/* And on, as long as a segment follows what stands before. */
		for (uint64_t segment = segment_of(lsn) + 1;
			result == 0 && segment <= (uint64_t)highest; segment++)
			result = walk_from(log, segment * segment_length, error);
		if (result < 0)
			return result;
	}
}

/* After a write that the disk has failed, memory may hold what no disk does. */
static int forget_cached(struct volume_log *log, int64_t highest, struct error *error)
{
	if (!log->told.told.failed)
		return 0;
	int64_t lowest = log_files_lowest(&log->files);
	int result = 0;
	/* What was being written stands in the last segment that has bytes, or is about to. */
	for (int64_t segment = highest > lowest + 2 ? highest - 2 : lowest;
		result == 0 && segment >= 0 && segment <= highest; segment++) {
		struct disk_file *file;
		result = log_files_get(&log->files, (uint64_t)segment, false, &file);
		if (result == 0)
			result = disk_file_drop_cache(file);
		else if (result == -ENOENT)
			result = 0;
	}
	if (result < 0)
		return error_set(error, result, "cannot read %s again from the disk: %s",
			log->files.directory, strerror(-result));
	log_warn("tail_read_again", "volume=%u hint=\"the disk has failed a write before\"",
		log->volume);
	return 0;
}

/* A process that was killed inside a write leaves in memory what the disk may not have yet; all
 * that an opening finds counts as durable from here on. The write lies in one segment. */
static int make_durable(struct volume_log *log, struct error *error)
{
	struct disk_file *file;
	if (log->is_empty)
		return 0;
	uint64_t segment = segment_of(log->last_group);
	int result = log_files_get(&log->files, segment, false, &file);
	if (result == 0)
		result = disk_sync_now(file);
	return result < 0 ? cannot_read(log, segment, result, error) : 0;
}

static int save_state(struct volume_log *log, struct error *error)
{
	/* An epoch that was announced and then cut off again stays one that was seen. */
	log->state.seen = volume_log_seen(log);
	uint32_t count = log->state.epochs.count;
	epochs_truncate(&log->state.epochs, log->end + 1);
	/* What begins behind the end must be gone from the disk before other bytes come to stand
	 * there. */
	bool is_shorter = log->state.epochs.count < count;
	if (!is_shorter && (!log->must_save_state || count == 0))
		return 0;
	int result = log_state_save(log->disk, log->files.directory, &log->state);
	if (result < 0)
		return error_set(error, result, "cannot write the epochs of %s: %s",
			log->files.directory, strerror(-result));
	log->must_save_state = false;
	return 0;
}

int log_find_end(struct volume_log *log, const struct log_told *told, bool repair,
	uint64_t *rotten_lsn_out, struct error *error)
{
	int64_t highest = log_files_highest(&log->files);
	log->end = log->last_group = log->chain = 0;
	log->is_empty = true;
	log->passed_over = UINT64_MAX;
	log_prepared_reset(log);
	if (highest < -1)
		return error_set(error, (int)highest, "cannot list %s: %s", log->files.directory,
			strerror((int)-highest));
	int result = forget_cached(log, highest, error);
	int64_t last = result == 0 ? last_used_segment(log, highest, error) : -1;
	if (last < -1)
		return (int)last;
	/* When not even the first group is what was told of, the log ends in the segment before. */
	for (; result == 0 && last >= 0 && log->is_empty; last--)
		result = walk_from(log, (uint64_t)last * segment_length, error);
	if (result == 0 && told->passes_over)
		result = pass_over_damage(log, highest, told, error);
	if (result == 0)
		result = check_behind_end(log, highest, told, repair, rotten_lsn_out, error);
	if (result == 0)
		result = make_durable(log, error);
	if (result == 0)
		result = save_state(log, error);
	if (result == 0 && (log->told.told.failed || log->told.told.lsn < log->end))
		/* A hint that cannot be written is written with a later group. */
		(void)!log_told_write(
			&log->told, &(struct told){ log->end, log->chain, false }, true);
	return result;
}

/* ---- fences ---- */

static bool is_fence(struct volume_log *log, uint64_t lsn, struct group *group_out)
{
	struct bytes *bytes;
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	bool fence = false;
	*group_out = (struct group){ .lsn = UINT64_MAX };
	if (log_files_read_group(&log->files, log->volume, lsn, &bytes, group_out) < 0)
		return false;
	while (group_next_record(group_out, bytes_str(bytes), &position, &record))
		fence = record.type == RECORD_FENCE;
	bytes_unref(&bytes);
	return fence;
}

bool volume_log_ends_fenced(struct volume_log *log)
{
	struct group group;
	return !log->is_empty && is_fence(log, log->last_group, &group);
}

/* The first opening of the newest reign. */
static const struct epoch_entry *reign_begin(const struct epochs *epochs)
{
	const struct epoch_entry *entry = epochs_last(epochs);
	while (entry != NULL && entry > epochs->entries && entry[-1].epoch == entry->epoch)
		entry--;
	return entry;
}

bool volume_log_began_clean(struct volume_log *log, uint64_t clean_after)
{
	const struct epoch_entry *reign = reign_begin(&log->state.epochs);
	struct group group;
	if (reign == NULL || reign->epoch == 1)
		return true;
	if (clean_after == 0 || reign == log->state.epochs.entries ||
		reign[-1].epoch != clean_after)
		return false;
	if (reign->start_lsn >= log->end)
		return volume_log_ends_fenced(log);
	(void)is_fence(log, reign->start_lsn, &group);
	return group.lsn == reign->start_lsn && is_fence(log, group.previous_lsn, &group);
}
