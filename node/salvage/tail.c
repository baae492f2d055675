#include "node/salvage/tail_internal.h"

#include "core/map.h"
#include "spool/log_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool tail_parse_name(const char *file, struct tail_name *name_out)
{
	unsigned long long epoch, from, to;
	int length = 0;
	if (sscanf(file, "salvage-%llu-%16llx-%16llx.log%n", &epoch, &from, &to, &length) != 3 ||
		length == 0 || file[length] != '\0' || from >= to)
		return false;
	*name_out = (struct tail_name){ epoch, from, to };
	return true;
}

char *tail_path(const char *directory, const struct tail_name *name, const char *suffix)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/", directory);
	tail_append_name(&path, name, suffix);
	char *kept = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return kept;
}

void tail_append_name(struct buf *out, const struct tail_name *name, const char *suffix)
{
	buf_printf(out, "salvage-%llu-%016llx-%016llx.%s", (unsigned long long)name->epoch,
		(unsigned long long)name->from, (unsigned long long)name->to, suffix);
}

/* ---- the file ---- */

/* -ENODATA: no sound group is there. */
static int load_group(const struct tail *tail, struct disk_file *file, uint64_t lsn,
	struct bytes **bytes_out, struct group *group_out)
{
	uint8_t header[GROUP_HEADER_LENGTH];
	uint64_t room = tail->name.to - lsn;
	*bytes_out = NULL;
	if (room < sizeof(header))
		return -ENODATA;
	int result = disk_read_now(file, header, sizeof(header), lsn - tail->name.from);
	if (result == 0 &&
		!group_header_decode(str_of((const char *)header, sizeof(header)), lsn,
			tail->volume_id, group_out))
		result = -ENODATA;
	if (result == 0 && group_padded(group_out->used) > room)
		result = -ENODATA;
	if (result < 0)
		return result;
	*bytes_out = bytes_create(group_out->used);
	result = disk_read_now(
		file, (*bytes_out)->data, (*bytes_out)->length, lsn - tail->name.from);
	if (result == 0 && !group_verify(bytes_str(*bytes_out), lsn, tail->volume_id, group_out))
		result = -ENODATA;
	if (result < 0)
		bytes_unref(bytes_out);
	return result;
}

/* The first sound group at or above `*lsn`, where nothing else may follow but at the start of a
 * segment. -ENODATA: there is none. */
static int next_group(const struct tail *tail, struct disk_file *file, uint64_t *lsn,
	struct bytes **bytes_out, struct group *group_out)
{
	int result = -ENODATA;
	*bytes_out = NULL;
	while (result == -ENODATA && *lsn < tail->name.to) {
		result = load_group(tail, file, *lsn, bytes_out, group_out);
		if (result == -ENODATA)
			*lsn = (segment_of(*lsn) + 1) * segment_length;
	}
	return result;
}

/* Whether the present log has this group too, so all below. */
static bool is_shared(struct tail *tail, struct log_files *files, uint64_t present_end,
	const struct group *group, struct str bytes)
{
	struct group present;
	struct bytes *present_bytes;
	if (group->lsn + group_padded(group->used) > present_end ||
		log_files_read_header(files, tail->volume_id, group->lsn, &present) < 0 ||
		present.chain != group->chain || present.incarnation != group->incarnation ||
		log_files_read_group(files, tail->volume_id, group->lsn, &present_bytes, &present) <
			0)
		return false;
	bool shared = group_chain_after(bytes_str(present_bytes), &present) ==
		group_chain_after(bytes, group);
	bytes_unref(&present_bytes);
	return shared;
}

/* Damage in the file: where a sound group behind it is in the present log too, so is all below, by
 * its chain. -ENODATA: nothing sound that it lacks stands there; 0: something does. */
static int part_behind_damage(
	struct tail *tail, struct disk_file *file, struct log_files *files, uint64_t present_end)
{
	int result = 0;
	uint64_t lsn = tail->parts_at;
	while (result == 0 && lsn < tail->name.to) {
		struct group group;
		struct bytes *bytes;
		result = load_group(tail, file, lsn, &bytes, &group);
		if (result == -ENODATA) {
			lsn += GROUP_ALIGNMENT;
			result = tail_stopped(tail);
			continue;
		}
		if (result < 0)
			return result;
		bool shared = is_shared(tail, files, present_end, &group, bytes_str(bytes));
		bytes_unref(&bytes);
		lsn += group_padded(group.used);
		if (!shared)
			return 0;
		tail->parts_at = lsn;
	}
	return result < 0 ? result : -ENODATA;
}

/* Whether the present log has at all addresses of the rest what one process wrote that had begun
 * below: it wrote each of them once, so the tail, of its epoch, had the same. */
static bool is_of_one_writer(const struct tail *tail, uint64_t present_end)
{
	struct log_state state;
	if (tail->name.to > present_end ||
		log_state_read(tail->disk, tail->directory, &state) < 0)
		return false;
	bool found = false;
	for (uint32_t i = 0; i < state.epochs.count; i++) {
		const struct epoch_entry *entry = &state.epochs.entries[i];
		uint64_t end = i + 1 < state.epochs.count ? entry[1].start_lsn : present_end;
		found |= entry->epoch == tail->name.epoch && entry->start_lsn < tail->parts_at &&
			end >= tail->name.to;
	}
	log_state_deinit(&state);
	return found;
}

/* A copy that was cut at damage, and filled again by its leader, has a tail that parts from nothing
 * at first, or nowhere; and begins with the damage. That may be whole: a group that came back with
 * an old disk. What the present log has behind it says by its chain that it has all below too. */
int tail_find_parting(struct tail *tail, struct disk_file *file, uint64_t present_end)
{
	struct log_files files;
	int result = 0;
	tail->parts_at = tail->name.from;
	log_files_init(&files, tail->disk, tail->directory);
	for (uint64_t lsn = tail->name.from; result == 0;) {
		struct group group;
		struct bytes *bytes;
		result = next_group(tail, file, &lsn, &bytes, &group);
		if (result < 0)
			break;
		bool shared = is_shared(tail, &files, present_end, &group, bytes_str(bytes));
		bytes_unref(&bytes);
		lsn += group_padded(group.used);
		if (shared)
			tail->parts_at = lsn;
		result = tail_stopped(tail);
	}
	if (result == -ENODATA && tail->parts_at < tail->name.to)
		result = part_behind_damage(tail, file, &files, present_end);
	if (result == -ENODATA && tail->parts_at < tail->name.to &&
		is_of_one_writer(tail, present_end))
		tail->parts_at = tail->name.to;
	log_files_deinit(&files);
	return result == -ENODATA ? 0 : result;
}

/* The groups one after the other, as far as nothing is missing between them; `chain`: of the log
 * below. */
static int read_file(
	struct reading *reading, struct disk_file *file, uint64_t chain, struct error *error)
{
	struct tail *tail = reading->tail;
	uint64_t end = tail->parts_at, lsn = end, last = UINT64_MAX;
	while (end < tail->name.to) {
		struct group group;
		struct bytes *bytes;
		int result = next_group(tail, file, &lsn, &bytes, &group);
		bool follows = result == 0 &&
			(last == UINT64_MAX ? group.chain == chain : group.previous_lsn == last);
		if (result == 0 && follows)
			result = tail_read_group(reading, &group, bytes_str(bytes));
		if (result == 0 && follows)
			result = tail_stopped(tail);
		bytes_unref(&bytes);
		if (last == UINT64_MAX && !follows && (result == 0 || result == -ENODATA))
			return error_set(error, -EUCLEAN,
				"%s does not follow what the volume's log here has below it",
				tail->path);
		if (result < 0 && result != -ENODATA)
			return error_set(error, result, "%s: at address %llu: %s", tail->path,
				(unsigned long long)lsn, strerror(-result));
		if (!follows) {
			tail->damaged_at = end;
			return 0;
		}
		last = lsn;
		end = lsn += group_padded(group.used);
	}
	return 0;
}

/* ---- the log below ---- */

/* Of the last of the groups in `groups`, which begin at `lsn`. */
static uint64_t last_address(struct str groups, uint64_t lsn, uint32_t volume_id)
{
	struct group group;
	uint64_t last = lsn;
	while (groups.length > 0 && group_header_decode(groups, lsn, volume_id, &group)) {
		last = lsn;
		lsn += group_padded(group.used);
		groups = str_from_index(groups, group_padded(group.used));
	}
	return last;
}

int tail_read_chain(const struct tail *tail, uint64_t last, uint64_t *chain_out)
{
	struct log_files files;
	struct group group;
	struct bytes *bytes;
	log_files_init(&files, tail->disk, tail->directory);
	int result = log_files_read_group(&files, tail->volume_id, last, &bytes, &group);
	if (result == 0) {
		*chain_out = group_chain_after(bytes_str(bytes), &group);
		bytes_unref(&bytes);
	}
	log_files_deinit(&files);
	return result;
}

static int replay_to(
	struct reading *reading, struct log_reader *reader, uint64_t *next, uint64_t *last_out)
{
	uint64_t end = reading->tail->parts_at;
	int result = 0;
	while (result == 0 && *next < end) {
		struct bytes *bytes;
		uint64_t lsn;
		result = log_reader_skim(reader, *next, end, TAIL_READ_BYTES, &bytes, &lsn, next);
		if (result < 0)
			break;
		*last_out = last_address(bytes_str(bytes), lsn, reading->tail->volume_id);
		result = index_apply_groups(&reading->index, bytes_str(bytes), lsn);
		bytes_unref(&bytes);
		if (result == 0)
			result = tail_stopped(reading->tail);
	}
	return result == -ENODATA ? 0 : result;
}

static int replay_below(struct reading *reading, uint64_t *chain_out, struct error *error)
{
	struct tail *tail = reading->tail;
	struct log_reader *reader;
	uint64_t next = 0, last = UINT64_MAX;
	*chain_out = 0;
	int result = log_reader_open(tail->disk, tail->directory, tail->volume_id, &reader);
	if (result < 0)
		return error_set(error, result, "%s: %s", tail->directory, strerror(-result));
	result = replay_to(reading, reader, &next, &last);
	log_reader_close(&reader);
	if (result == 0 && last != UINT64_MAX)
		result = tail_read_chain(tail, last, chain_out);
	if (result == 0)
		return 0;
	return error_set(error, result, "the log below the tail cannot be read at address %llu: %s",
		(unsigned long long)next, strerror(-result));
}

static int read_all(struct reading *reading, uint64_t present_end, struct error *error)
{
	struct tail *tail = reading->tail;
	struct disk_file *file = NULL;
	uint64_t chain = 0;
	if (present_end < tail->name.from)
		return error_set(
			error, -EUCLEAN, "the log of this volume here ends below %s", tail->path);
	int result = disk_file_open(tail->disk, tail->path, false, &file);
	if (result < 0)
		return error_set(error, result, "%s: %s", tail->path, strerror(-result));
	result = tail_find_parting(tail, file, present_end);
	if (result < 0)
		error_set(error, result, "%s: %s", tail->path, strerror(-result));
	else
		result = replay_below(reading, &chain, error);
	if (result == 0)
		result = read_file(reading, file, chain, error);
	tail->chain = chain;
	disk_file_close(&file);
	if (result == 0)
		tail_take_end(reading);
	tail_forget_reading(tail);
	return result;
}

int tail_read(struct disk *disk, const char *directory, uint32_t volume_id,
	const struct tail_name *name, uint64_t present_end, const atomic_bool *stop,
	struct tail **tail_out, struct error *error)
{
	struct tail *tail = mem_alloc(sizeof(*tail));
	struct reading reading = {
		.tail = tail, .scratch = pool_create(), .mailboxes = map_create()
	};
	*tail = (struct tail){ .name = *name,
		.volume_id = volume_id,
		.disk = disk,
		.stop = stop,
		.pool = pool_create(),
		.directory = str_to_heap(str_from(directory)),
		.path = tail_path(directory, name, "log") };
	index_init(&reading.index, NULL, volume_id, "");
	int result = read_all(&reading, present_end, error);
	index_deinit(&reading.index);
	map_destroy(&reading.mailboxes);
	pool_destroy(&reading.scratch);
	if (result < 0)
		tail_destroy(&tail);
	*tail_out = tail;
	return result;
}

void tail_destroy(struct tail **tail)
{
	if (*tail == NULL)
		return;
	map_destroy(&(*tail)->present);
	map_destroy(&(*tail)->wanted);
	for (size_t i = 0; i < (*tail)->mailbox_count; i++)
		free((*tail)->mailboxes[i]->subscriptions);
	free((*tail)->mailboxes);
	free((*tail)->directory);
	free((*tail)->path);
	pool_destroy(&(*tail)->pool);
	free(*tail);
	*tail = NULL;
}
