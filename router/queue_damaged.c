#include "router/queue_damaged.h"

#include "core/buf.h"
#include "core/log.h"
#include "proto/disk/record.h"
#include "proto/mail/smtp.h"
#include "router/queue_record.h"
#include "spool/log_files.h"
#include "spool/log_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAMAGED_PREFIX "damaged-"
#define KEPT_PREFIX "kept-"

struct queue_damaged {
	struct list link;
	struct log_reader *reader; /* NULL: settled */
	unsigned held;
	bool is_found; /* all that can be read of it has been told, and all of the log behind it */
	char queue[512];
	char number[24];
};

struct names {
	struct list *all;
	const char *queue;
	struct disk *disk;
	unsigned highest; /* of any that has been set aside */
};

void queue_groups_walk(struct str bytes, uint64_t lsn, struct queue_damaged *damaged,
	queue_found_fn *fn, void *arg)
{
	while (bytes.length >= GROUP_HEADER_LENGTH) {
		struct group group;
		struct record record, following;
		size_t position = GROUP_HEADER_LENGTH;
		if (!group_header_decode(bytes, lsn, 0, &group) || group.used > bytes.length)
			return;
		bool more = group_next_record(&group, bytes, &position, &record);
		while (more) {
			more = group_next_record(&group, bytes, &position, &following);
			struct queue_found found = {
				.record = record.body,
				.lsn = record.lsn,
				.group_lsn = lsn,
				.damaged = damaged,
			};
			if (more && following.type == RECORD_MESSAGE) {
				found.body = following.body;
				found.body_lsn = following.lsn;
			}
			if (record.type == RECORD_QUEUE)
				fn(arg, &found);
			record = following;
		}
		size_t whole = group_padded(group.used);
		lsn += whole;
		bytes = str_from_index(bytes, whole < bytes.length ? whole : bytes.length);
	}
}

static void on_name(void *arg, const char *name)
{
	struct names *names = arg;
	size_t damaged = strlen(DAMAGED_PREFIX), kept = strlen(KEPT_PREFIX);
	bool is_damaged = strncmp(name, DAMAGED_PREFIX, damaged) == 0;

	if (!is_damaged && strncmp(name, KEPT_PREFIX, kept) != 0)
		return;
	const char *digits = name + (is_damaged ? damaged : kept);
	unsigned number = (unsigned)strtoul(digits, NULL, 10);
	if (number > names->highest)
		names->highest = number;
	if (!is_damaged || !names->all)
		return;
	struct queue_damaged *found = mem_alloc(sizeof(*found));
	snprintf(found->queue, sizeof(found->queue), "%s", names->queue);
	snprintf(found->number, sizeof(found->number), "%s", digits);
	list_append(names->all, &found->link);
}

struct move {
	const char *queue, *to;
	int status;
};

/* The queue keeps its lock and its identity, and what was set aside before. */
static void on_move(void *arg, const char *name)
{
	struct move *move = arg;
	struct buf from = { 0 }, to = { 0 };

	if (strcmp(name, "lock") == 0 || strcmp(name, "identity") == 0 ||
		strcmp(name, "lost+found") == 0 ||
		strncmp(name, DAMAGED_PREFIX, strlen(DAMAGED_PREFIX)) == 0 ||
		strncmp(name, KEPT_PREFIX, strlen(KEPT_PREFIX)) == 0)
		return;
	buf_printf(&from, "%s/%s", move->queue, name);
	buf_printf(&to, "%s/%s", move->to, name);
	if (move->status == 0)
		move->status = disk_rename(buf_terminated(&from), buf_terminated(&to));
	buf_deinit(&from);
	buf_deinit(&to);
}

int queue_damaged_set_aside(const char *queue)
{
	struct names names = { .queue = queue };
	struct buf to = { 0 };
	int rc = disk_list_directory(queue, on_name, &names);

	buf_printf(&to, "%s/" DAMAGED_PREFIX "%u", queue, names.highest + 1);
	struct move move = { .queue = queue, .to = buf_terminated(&to) };
	if (rc >= 0)
		rc = disk_make_directory(move.to);
	if (rc >= 0)
		rc = disk_list_directory(queue, on_move, &move);
	if (rc >= 0)
		rc = move.status;
	if (rc >= 0)
		log_error("queue_damaged",
			"kept_in=%s effect=\"what can be read of it is served; the rest is "
			"delivered by the routers that hold copies\" action=\"look at the disk, "
			"and at `pando queue list`\"",
			move.to);
	buf_deinit(&to);
	return rc < 0 ? rc : 0;
}

static void directory_of(const struct queue_damaged *damaged, const char *prefix, struct buf *out)
{
	buf_printf(out, "%s/%s%s", damaged->queue, prefix, damaged->number);
}

static void tell_range(const struct queue_damaged *damaged, uint64_t from, uint64_t to)
{
	log_error("queue_range_unreadable", "directory=%s/" DAMAGED_PREFIX "%s from=%llu to=%llu",
		damaged->queue, damaged->number, (unsigned long long)from, (unsigned long long)to);
}

/* What the bytes are to blame for, or a sector that is lost. All else (no descriptor, no right to
 * read the file) says nothing of what stands there. */
static bool is_unreadable(int rc)
{
	return rc == -EBADMSG || rc == -ENODATA || rc == -EPROTONOSUPPORT || rc == -EIO;
}

/* Every group of one segment that is whole. What lies between two of them is told: groups follow
 * each other without a gap. Zeroes behind the last may be space that was never written. */
static int search_segment(
	struct queue_damaged *damaged, uint64_t segment, queue_found_fn *fn, void *arg)
{
	uint64_t lsn = segment * segment_length, limit = lsn + segment_length, good = lsn;

	while (lsn < limit) {
		struct bytes *bytes;
		uint64_t at, next;
		int rc = log_reader_next(damaged->reader, lsn, limit, 0, true, &bytes, &at, &next);
		/* A disk may read at the second try what it could not at the first. */
		if (rc == -EIO)
			rc = log_reader_next(
				damaged->reader, lsn, limit, 0, true, &bytes, &at, &next);
		if (rc < 0 && !is_unreadable(rc))
			return rc;
		if (rc < 0) {
			lsn += GROUP_ALIGNMENT;
			continue;
		}
		if (at > good)
			tell_range(damaged, good, at);
		queue_groups_walk(bytes_str(bytes), at, damaged, fn, arg);
		bytes_unref(&bytes);
		good = lsn = next;
	}
	return 0;
}

struct segments {
	struct queue_damaged *damaged;
	queue_found_fn *fn;
	void *arg;
	int status;
};

static void on_segment(void *arg, const char *name)
{
	struct segments *segments = arg;
	char *end;
	uint64_t number = strtoull(name, &end, 16);

	if (segments->status == 0 && end == name + 16 && strcmp(end, ".log") == 0)
		segments->status =
			search_segment(segments->damaged, number, segments->fn, segments->arg);
}

int queue_damaged_find(
	struct disk *disk, const char *queue, struct list *all, queue_found_fn *fn, void *arg)
{
	struct names names = { .all = all, .queue = queue };
	int rc = disk_list_directory(queue, on_name, &names);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	list_for_each(entry, all) {
		struct queue_damaged *damaged = list_entry(entry, struct queue_damaged, link);
		struct segments segments = { damaged, fn, arg, 0 };
		struct buf path = { 0 };
		directory_of(damaged, DAMAGED_PREFIX, &path);
		rc = log_reader_open(disk, buf_terminated(&path), 0, &damaged->reader);
		if (rc == 0)
			rc = disk_list_directory(buf_terminated(&path), on_segment, &segments);
		buf_deinit(&path);
		if (rc < 0 || segments.status < 0)
			return rc < 0 ? rc : segments.status;
	}
	return 0;
}

struct wanted {
	const uint8_t *delivery_id;
	struct bytes *body;
};

static void on_wanted(void *arg, const struct queue_found *found)
{
	struct wanted *wanted = arg;
	struct pool *pool = queue_record_pool(found->record.length);
	struct queue_record record;

	if (found->body_lsn != 0 && !wanted->body &&
		queue_record_decode(found->record, pool, &record) && !record.is_change &&
		memcmp(record.delivery_id, wanted->delivery_id, sizeof(record.delivery_id)) == 0)
		wanted->body = bytes_create_copy(found->body);
	pool_destroy(&pool);
}

int queue_damaged_read(struct queue_damaged *damaged, uint64_t group_lsn,
	const uint8_t *delivery_id, struct bytes **body_out)
{
	struct wanted wanted = { .delivery_id = delivery_id };
	uint64_t limit = (segment_of(group_lsn) + 1) * segment_length, at, next;
	struct bytes *bytes;
	int rc = damaged->reader
		? log_reader_next(damaged->reader, group_lsn, limit, 0, true, &bytes, &at, &next)
		: -EBADMSG;

	if (rc < 0)
		return rc;
	if (at == group_lsn)
		queue_groups_walk(bytes_str(bytes), at, damaged, on_wanted, &wanted);
	bytes_unref(&bytes);
	*body_out = wanted.body;
	return wanted.body ? 0 : -EBADMSG;
}

/* Nothing in it is needed any more. */
static void settle(struct queue_damaged *damaged)
{
	struct buf from = { 0 }, to = { 0 };

	if (!damaged->reader)
		return;
	log_reader_close(&damaged->reader);
	directory_of(damaged, DAMAGED_PREFIX, &from);
	directory_of(damaged, KEPT_PREFIX, &to);
	int rc = disk_rename(buf_terminated(&from), buf_terminated(&to));
	log_info("queue_damaged_served",
		"directory=%s status=%d action=\"remove it when nobody wants to look at it\"",
		buf_terminated(&to), rc);
	buf_deinit(&from);
	buf_deinit(&to);
}

void queue_damaged_hold(struct queue_damaged *damaged)
{
	damaged->held++;
}

void queue_damaged_release(struct queue_damaged *damaged)
{
	CHECK(damaged->held > 0);
	if (--damaged->held == 0 && damaged->is_found)
		settle(damaged);
}

void queue_damaged_settle(struct list *all)
{
	list_for_each(entry, all) {
		struct queue_damaged *damaged = list_entry(entry, struct queue_damaged, link);
		damaged->is_found = true;
		if (damaged->held == 0)
			settle(damaged);
	}
}

void queue_damaged_close(struct list *all)
{
	while (!list_is_empty(all)) {
		struct queue_damaged *damaged =
			list_entry(all->next, struct queue_damaged, link);
		list_remove(&damaged->link);
		log_reader_close(&damaged->reader);
		free(damaged);
	}
}
