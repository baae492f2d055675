#include "replicator/internal.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "spool/copy_number.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Which copy the log here is. The directory numbers them; the file `number` beside the log says
 * which one it is (spool/copy_number.h). A node that was given a copy anew, because it had been
 * removed or thrown away, finds the log of the one before: that one is set aside beside the
 * volumes, and a new one begins. What was cut off it goes on to the new one, and so does what
 * it has itself and the new one lacks: it may be mail that no other copy has.
 *
 * Only a copy that the directory says is to be filled, under a later number than the log's: one
 * that was put back, or is older than the log, throws nothing away. When the new copy counts, what
 * was set aside is removed.
 */

size_t copy_member_index(const struct copy *copy, uint32_t node_id)
{
	for (unsigned i = 0; i < copy->desired.member_count; i++)
		if (copy->desired.members[i] == node_id)
			return i;
	return SIZE_MAX;
}

static struct disk *disk_of(const struct copy *copy)
{
	return copy->replicator->options.disk;
}

/* What the directory says of the copy here; false: it says nothing. */
static bool is_named(const struct copy *copy, uint64_t *number_out, bool *is_seeding_out)
{
	size_t at = copy_member_index(copy, copy->replicator->options.node_id);
	if (at == SIZE_MAX || copy->desired.copies[at] == 0)
		return false;
	*number_out = copy->desired.copies[at];
	*is_seeding_out = copy->desired.is_seeding[at];
	return true;
}

bool aside_is_wanted(struct copy *copy)
{
	uint64_t wanted;
	bool is_seeding;
	return copy->log != NULL && is_named(copy, &wanted, &is_seeding) && is_seeding &&
		wanted > copy->number;
}

/* ---- folders that were set aside ---- */

struct folder_list {
	const struct copy *copy;
	struct buf names; /* each ended by a zero byte */
};

static void on_folder(void *arg, const char *name)
{
	struct folder_list *list = arg;
	unsigned volume;
	unsigned long long number;
	int length = 0;
	if (sscanf(name, "removed-%u-%llu%n", &volume, &number, &length) == 2 && length > 0 &&
		name[length] == '\0' && volume == list->copy->id)
		buf_append(&list->names, name, strlen(name) + 1);
}

static void on_entry(void *arg, const char *name)
{
	struct folder_list *list = arg;
	buf_append(&list->names, name, strlen(name) + 1);
}

static bool is_salvage(const char *name)
{
	return str_starts_with(str_from(name), STR("salvage-"));
}

/* With each entry of a folder: moves what was cut off, or removes all but that. */
static int empty_folder(const struct copy *copy, const char *folder, bool removes)
{
	struct folder_list entries = { .copy = copy };
	struct buf from = { 0 }, to = { 0 };
	int result = disk_list_directory(folder, on_entry, &entries);
	struct str all = buf_str(&entries.names);
	for (size_t at = 0; result == 0 && at < all.length; at += strlen(all.bytes + at) + 1) {
		const char *name = all.bytes + at;
		buf_clear(&from);
		buf_clear(&to);
		buf_printf(&from, "%s/%s", folder, name);
		buf_printf(&to, "%s/%s", copy->directory, name);
		if (removes && !is_salvage(name))
			result = disk_remove_file(buf_terminated(&from));
		else if (is_salvage(name))
			result = disk_rename(buf_terminated(&from), buf_terminated(&to));
	}
	buf_deinit(&from);
	buf_deinit(&to);
	buf_deinit(&entries.names);
	return result;
}

/* All folders that were set aside of this volume. */
static int each_folder(const struct copy *copy, bool removes, uint64_t end)
{
	struct folder_list folders = { .copy = copy };
	char path[1024];
	int result =
		disk_list_directory(copy->replicator->volumes_directory, on_folder, &folders);
	struct str all = buf_str(&folders.names);
	for (size_t at = 0; result == 0 && at < all.length; at += strlen(all.bytes + at) + 1) {
		snprintf(path, sizeof(path), "%s/%s", copy->replicator->volumes_directory,
			all.bytes + at);
		if (removes)
			result = aside_save_tail(
				disk_of(copy), path, copy->directory, copy->id, end);
		if (result == 0)
			result = empty_folder(copy, path, removes);
		if (result == 0 && removes)
			result = disk_remove_directory(path);
		if (result == 0 && removes)
			log_info("aside_removed", "volume=%u folder=%s", copy->id, all.bytes + at);
	}
	buf_deinit(&folders.names);
	return result;
}

/* ---- setting aside ---- */

static int set_aside(const struct copy *copy, uint64_t number)
{
	struct buf path = { 0 };
	struct disk_lock *lock = NULL;
	buf_printf(&path, "%s/lock", copy->directory);
	int result = disk_lock_take(buf_terminated(&path), &lock);
	bool is_there = result != -ENOENT;
	if (result == 0)
		result = copy_number_set_aside(copy->directory,
			copy->replicator->volumes_directory, copy->id, number, &path);
	disk_lock_release(&lock);
	if (result == 0)
		log_warn("copy_set_aside", "volume=%u number=%llu folder=" STR_FORMAT, copy->id,
			(unsigned long long)number, STR_ARG(buf_str(&path)));
	buf_deinit(&path);
	return is_there ? result : 0;
}

/* Again after a crash at any point: it ends with the number. */
static int begin_copy(struct copy *copy, uint64_t number, bool is_new)
{
	uint64_t before = 0;
	int result = is_new ? copy_number_read(disk_of(copy), copy->directory, &before) : 0;
	if (result == 0 && is_new)
		result = set_aside(copy, before);
	if (result == 0)
		result = disk_make_directory(copy->directory);
	if (result == 0 && is_new)
		result = each_folder(copy, false, 0);
	if (result == 0)
		result = copy_number_write(disk_of(copy), copy->directory, number);
	if (result == 0 && is_new)
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_WAS_CUT, .volume = copy->id });
	return result;
}

bool aside_prepare(struct copy *copy)
{
	uint64_t wanted;
	bool is_seeding;
	if (!is_named(copy, &wanted, &is_seeding))
		return true;
	int result = copy->number == 0
		? copy_number_read(disk_of(copy), copy->directory, &copy->number)
		: 0;
	if (result == 0 && copy->number >= wanted)
		return true;
	/* What is set aside now is not to be among what is being removed. */
	if (result == 0)
		result = copy->is_dropping ? -EAGAIN : begin_copy(copy, wanted, is_seeding);
	if (result == 0) {
		copy->number = wanted;
		return true;
	}
	if (result != -EAGAIN)
		log_error("copy_not_begun", "volume=%u number=%llu reason=%s", copy->id,
			(unsigned long long)wanted, log_quote(str_from(strerror(-result))));
	timer_start(copy->open_timer, result == -EAGAIN ? LOCK_RETRY_MS : REFUSED_RETRY_MS);
	return false;
}

/* ---- removing what was set aside ---- */

struct drop {
	struct copy *copy;
	uint64_t end; /* of the log that took its place */
	int result;
};

/* On a pool thread: of a large copy there are many files. */
static void run_drop(void *arg)
{
	struct drop *drop = arg;
	drop->result = each_folder(drop->copy, true, drop->end);
}

static void on_dropped(void *arg)
{
	struct drop *drop = arg;
	drop->copy->is_dropping = false;
	if (drop->result < 0)
		log_warn("aside_not_removed", "volume=%u reason=%s", drop->copy->id,
			log_quote(str_from(strerror(-drop->result))));
	free(drop);
}

void aside_drop(struct copy *copy)
{
	uint64_t wanted;
	bool is_seeding;
	if (copy->is_dropping || !is_named(copy, &wanted, &is_seeding) || is_seeding)
		return;
	/* What the log here lacks is not known before somebody says where it ends. */
	if (copy->log == NULL && copy->node != NODE_WRITES)
		return;
	if (copy->number == 0 &&
		copy_number_read(disk_of(copy), copy->directory, &copy->number) < 0)
		return;
	if (copy->number != wanted)
		return;
	struct drop *drop = mem_alloc(sizeof(*drop));
	drop->copy = copy;
	drop->end = copy->log != NULL ? volume_log_end(copy->log) : copy->durable_lsn;
	copy->is_dropping = true;
	loop_work(copy->replicator->options.loop, run_drop, on_dropped, drop);
}
