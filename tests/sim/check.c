#include "sim/cluster.h"
#include "sim/model.h"
#include "sim/tally.h"
#include "sim/user.h"

#include <stdio.h>
#include <stdlib.h>

/* The promises, checked on a cluster that is whole and quiet again. */

static bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool complain(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
	return false;
}

static bool check_acknowledged(void)
{
	const struct history *history = cluster_history();
	bool good = true;
	for (size_t i = 0; i < history->count; i++) {
		const struct history_entry *entry = &history->entries[i];
		if (!entry->safe || entry->excused)
			continue;
		unsigned count =
			history_count_in_index(cluster_primary(entry->volume_id), entry);
		tally_add(TALLY_CHECK, "1 accepted mail is there", 1);
		if (count != 1)
			good = complain(
				"delivery %zu (volume %u, mailbox %llu, uid %u, epoch %llu) was "
				"safe and is there %u times",
				i, entry->volume_id, (unsigned long long)entry->mailbox_id,
				entry->uid, (unsigned long long)entry->answered_epoch, count);
	}
	return good;
}

static int compare_entries(const void *a, const void *b)
{
	const struct history_entry *left = *(const struct history_entry *const *)a;
	const struct history_entry *right = *(const struct history_entry *const *)b;
	if (left->mailbox_id != right->mailbox_id)
		return left->mailbox_id < right->mailbox_id ? -1 : 1;
	return (left->uid > right->uid) - (left->uid < right->uid);
}

/* No uid was ever answered for two deliveries, lost ones included. */
static bool check_uids(void)
{
	const struct history *history = cluster_history();
	const struct history_entry **sorted = mem_alloc((history->count + 1) * sizeof(*sorted));
	size_t count = 0;
	bool good = true;
	for (size_t i = 0; i < history->count; i++)
		if (history->entries[i].answered_ok && history->entries[i].uid != 0)
			sorted[count++] = &history->entries[i];
	qsort(sorted, count, sizeof(*sorted), compare_entries);
	for (size_t i = 1; i < count; i++)
		if (compare_entries(&sorted[i - 1], &sorted[i]) == 0)
			good = complain("mailbox %llu: uid %u was answered for two deliveries",
				(unsigned long long)sorted[i]->mailbox_id, sorted[i]->uid);
	free(sorted);
	return good;
}

static bool check_copy(uint32_t volume_id, unsigned other)
{
	unsigned primary = cluster_primary(volume_id);
	struct volume *leader = cluster_volume(primary, volume_id);
	struct volume *follower = cluster_volume(other, volume_id);
	uint64_t end = leader->log ? volume_log_end(leader->log) : 0;
	if (leader->state != VOLUME_PRIMARY)
		return complain("volume %u: its primary is in state %d", volume_id, leader->state);
	if (follower->state != VOLUME_REPLICA || follower->reader_end != end)
		return complain(
			"volume %u: the replica (state %d) ends at %llu, the primary at %llu",
			volume_id, follower->state, (unsigned long long)follower->reader_end,
			(unsigned long long)end);
	for (uint64_t lsn = 0; lsn < end; lsn += 65536) {
		static char a[65536], b[65536];
		char path[64];
		size_t length = end - lsn < sizeof(a) ? (size_t)(end - lsn) : sizeof(a);
		snprintf(path, sizeof(path), "/volumes/%u/%016llx.log", volume_id,
			(unsigned long long)segment_of(lsn));
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		world_read_file(primary, path, lsn % segment_length, a, length);
		world_read_file(other, path, lsn % segment_length, b, length);
		if (memcmp(a, b, length) != 0)
			return complain("volume %u: the copies differ near %llu", volume_id,
				(unsigned long long)lsn);
	}
	return true;
}

/* The index of the primary, of the replica, and one made from the log alone. */
static bool check_indexes(uint32_t volume_id, unsigned other)
{
	unsigned primary = cluster_primary(volume_id);
	struct volume *leader = cluster_volume(primary, volume_id);
	struct volume *follower = cluster_volume(other, volume_id);
	struct index rebuilt;
	struct error error;
	struct log_reader *reader;
	uint64_t lsn, next = 0;
	struct bytes *bytes;
	int result = 0;
	index_init(&rebuilt, NULL, volume_id, "/rebuilt");
	if (store_open("/rebuilt", &rebuilt.store, &error) < 0 ||
		log_reader_open(leader->options.disk, leader->options.log_directory, volume_id,
			&reader) < 0)
		return complain("volume %u: cannot be read", volume_id);
	while (result == 0 && next < volume_log_end(leader->log)) {
		result = log_reader_next(reader, next, volume_log_end(leader->log), 1 << 20, true,
			&bytes, &lsn, &next);
		if (result == 0) {
			result = index_apply_groups(&rebuilt, bytes_str(bytes), lsn);
			bytes_unref(&bytes);
		}
	}
	log_reader_close(&reader);
	uint64_t first = index_digest(&leader->index), second = index_digest(&follower->index);
	uint64_t third = index_digest(&rebuilt);
	index_deinit(&rebuilt);
	if (result < 0)
		return complain("volume %u: replay fails with %d", volume_id, result);
	if (first != second || first != third)
		return complain(
			"volume %u: indexes differ: primary %llx, replica %llx, rebuilt %llx",
			volume_id, (unsigned long long)first, (unsigned long long)second,
			(unsigned long long)third);
	return true;
}

bool check_all(void)
{
	bool good = !cluster_failed;
	for (uint32_t volume_id = 1; volume_id <= CLUSTER_VOLUMES; volume_id++) {
		for (unsigned other = 0; other < cluster_machines(); other++) {
			if (other == cluster_primary(volume_id))
				continue;
			bool same = check_copy(volume_id, other);
			good &= same;
			if (same)
				good &= check_indexes(volume_id, other);
		}
	}
	good &= check_acknowledged();
	good &= check_uids();
	return good;
}

bool check_read(void)
{
	const struct history *history = cluster_history();
	bool good = users_have_read_all() && !model_failed();
	for (size_t i = 0; i < history->count && good; i++) {
		const struct history_entry *entry = &history->entries[i];
		tally_add(TALLY_CHECK, "8 a delivery is there once at most", 1);
		if (entry->found > 1)
			good = complain("mail %zu is in mailbox %llu %u times", i + 1,
				(unsigned long long)entry->mailbox_id, entry->found);
		if (entry->safe && !entry->excused && entry->found == 0)
			good = complain("mail %zu of mailbox %llu was safe and cannot be read",
				i + 1, (unsigned long long)entry->mailbox_id);
	}
	return good && !cluster_failed;
}
