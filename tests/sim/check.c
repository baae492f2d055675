#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/model.h"
#include "sim/punched.h"
#include "sim/rot.h"
#include "sim/tally.h"
#include "sim/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	ANEW_US = 10000000,
	/* As the simulation is linked. */
	SEGMENT_BYTES = 256 << 10,
};

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
		unsigned count = history_count_in_index(cluster_primary(entry->volume_id), entry);
		tally_add(TALLY_CHECK, "1 accepted mail is there", 1);
		if (count != 1)
			good = complain(
				"mail %zu (volume %u, mailbox %llu, uid %u) was safe and is there "
				"%u times: answered by machine %u at %llu us in epoch %llu",
				i + 1, entry->volume_id, (unsigned long long)entry->mailbox_id,
				entry->uid, count, entry->answered_by,
				(unsigned long long)entry->answered_us,
				(unsigned long long)entry->answered_epoch);
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
	tally_add(TALLY_CHECK, "2 no UID was answered for two messages", count);
	for (size_t i = 1; i < count; i++)
		if (compare_entries(&sorted[i - 1], &sorted[i]) == 0)
			good = complain("mailbox %llu: uid %u was answered for two deliveries",
				(unsigned long long)sorted[i]->mailbox_id, sorted[i]->uid);
	free(sorted);
	return good;
}

/* ---- what is lost and named ---- */

/* Where a copy's log cannot be read any more, from there on and below `to`; `to`: nowhere. */
static uint64_t unreadable_at(unsigned machine, uint32_t volume_id, uint64_t from, uint64_t to)
{
	const struct volume *volume = cluster_volume(machine, volume_id);
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t at, next = from;
	int result = log_reader_open(
		volume->options.disk, volume->options.log_directory, volume->options.id, &reader);
	if (result < 0)
		return from;
	while ((result = log_reader_next(reader, next, to, 1 << 20, true, &bytes, &at, &next)) == 0)
		bytes_unref(&bytes);
	log_reader_close(&reader);
	return result == -ENODATA || at >= to ? to : at;
}

/* Only then bytes may be missing, and then reads and logs name them. */
static bool may_be_damaged(void)
{
	return history_has_losses() || rot_has_been();
}

static bool is_damaged(unsigned machine, uint32_t volume_id, uint64_t end)
{
	return may_be_damaged() && unreadable_at(machine, volume_id, 0, end) < end;
}

/* Another copy that can be read to `end`: it mends what is damaged. */
static bool has_sound_copy(unsigned damaged, uint32_t volume_id, uint64_t end)
{
	for (unsigned m = 0; m < cluster_machines(); m++)
		if (m != damaged && cluster_volume(m, volume_id)->reader_end >= end &&
			unreadable_at(m, volume_id, 0, end) == end)
			return true;
	return false;
}

/* ---- copies ---- */

/* A copy that is behind, because who leads cannot read what comes next any more. */
static bool waits_for_lost_bytes(uint32_t volume_id, unsigned other, uint64_t end)
{
	uint64_t from = cluster_volume(other, volume_id)->reader_end;
	bool waits = may_be_damaged() && from < end &&
		unreadable_at(cluster_primary(volume_id), volume_id, from, end) < end &&
		!has_sound_copy(cluster_primary(volume_id), volume_id, end);
	tally_add(
		TALLY_CHECK, "a copy waits for bytes that its leader has lost, as is said", waits);
	return waits;
}

/* Bytes that were changed on a disk are not equal; each is of one copy, whose group is then not
 * valid, or beside what the checksums are of. */
static bool is_rotten(uint32_t volume_id, unsigned machine, uint64_t from, uint64_t to)
{
	return rot_is_in(machine, volume_id, from, to) ||
		(history_has_losses() && is_damaged(machine, volume_id, to));
}

static bool check_copy(uint32_t volume_id, unsigned other)
{
	unsigned primary = cluster_primary(volume_id);
	struct volume *leader = cluster_volume(primary, volume_id);
	struct volume *follower = cluster_volume(other, volume_id);
	uint64_t end = leader->log ? volume_log_end(leader->log) : 0;
	tally_add(TALLY_CHECK, "no volume stays closed that has a good copy", 1);
	if (leader->state != VOLUME_PRIMARY)
		return complain("volume %u: its primary is in state %d", volume_id, leader->state);
	if (follower->state == VOLUME_REPLICA && waits_for_lost_bytes(volume_id, other, end))
		end = follower->reader_end;
	if (follower->state != VOLUME_REPLICA || follower->reader_end != end)
		return complain(
			"volume %u: the replica (state %d) ends at %llu, the primary at %llu",
			volume_id, follower->state, (unsigned long long)follower->reader_end,
			(unsigned long long)end);
	tally_add(TALLY_CHECK, "5 copies in step are equal to the last byte", 1);
	for (uint64_t lsn = 0; lsn < end; lsn += segment_length) {
		static char a[SEGMENT_BYTES], b[SEGMENT_BYTES];
		char path[64];
		CHECK(segment_length == sizeof(a));
		size_t length = end - lsn < sizeof(a) ? (size_t)(end - lsn) : sizeof(a);
		snprintf(path, sizeof(path), "/volumes/%u/%016llx.log", volume_id,
			(unsigned long long)segment_of(lsn));
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		world_read_file(primary, path, 0, a, length);
		world_read_file(other, path, 0, b, length);
		punched_mask(volume_id, lsn, a, b, length);
		if (memcmp(a, b, length) != 0 &&
			!is_rotten(volume_id, primary, lsn, lsn + length) &&
			!is_rotten(volume_id, other, lsn, lsn + length))
			return complain("volume %u: the copies differ near %llu", volume_id,
				(unsigned long long)lsn);
	}
	return true;
}

/* Applies to the end of the primary's log what an index that was opened lacks. */
static int replay(struct index *index, const struct volume *leader)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t lsn, next, end = volume_log_end(leader->log);
	int result = log_reader_open(
		leader->options.disk, leader->options.log_directory, leader->options.id, &reader);
	while (result == 0 && index->applied_lsn < end) {
		result = log_reader_next(
			reader, index->applied_lsn, end, 1 << 20, true, &bytes, &lsn, &next);
		if (result == 0) {
			result = index_apply_groups(index, bytes_str(bytes), lsn);
			bytes_unref(&bytes);
		}
	}
	if (result == 0 || index->applied_lsn < end)
		log_reader_close(&reader);
	return result;
}

/* Opens a store, replays, and says what comes of it; `expected` where a row of it has rotted, which
 * is noticed, and the log replayed. 0: it cannot be. */
static uint64_t digest_of(
	const char *store, const struct volume *leader, bool saves, uint64_t expected)
{
	struct index index;
	struct error error;
	uint64_t digest = 0;
	index_init(&index, NULL, leader->options.id, store);
	if (index_open(&index, &error) == 0 &&
		index_is_prefix_of(&index, volume_log_epochs(leader->log)) &&
		replay(&index, leader) == 0 && (!saves || index_checkpoint(&index) == 0))
		digest = index_digest(&index);
	if (index.is_broken && rot_of_index_has_been())
		digest = expected;
	store_close(&index.store);
	index_deinit(&index);
	return digest;
}

/* The index of the primary, of the replica, and those made from the log alone and from the last
 * checkpoint, twice. */
static bool check_indexes(uint32_t volume_id, unsigned other)
{
	unsigned primary = cluster_primary(volume_id);
	struct volume *leader = cluster_volume(primary, volume_id);
	struct volume *follower = cluster_volume(other, volume_id);
	uint64_t expected = index_digest(&leader->index);
	uint64_t followed = index_digest(&follower->index);
	uint64_t end = volume_log_end(leader->log);
	/* Rows that rotted are noticed when they are read, as now; a replica makes its index anew
	 * when it applies next. */
	if (rot_of_index_has_been() && (leader->index.is_broken || follower->index.is_broken))
		return true;
	bool good = expected != 0 ||
		complain("volume %u: the table of bodies is not what the folders say", volume_id);
	/* One that cannot be made from its log is not served. */
	bool says_so = follower->numbers.damaged != 0 || follower->reader_end < end;
	if (followed != expected && !(says_so && may_be_damaged()))
		good = complain("volume %u: the indexes of the copies differ", volume_id);
	if (is_damaged(primary, volume_id, end))
		return good;
	world_copy_store(primary, NULL, world_machine(), "/rebuilt");
	world_copy_store(primary, leader->options.index_path, world_machine(), "/replayed");
	for (unsigned i = 0; i < 2; i++) {
		tally_add(TALLY_CHECK, "7 a replay from the start gives the same index", 1);
		if (digest_of("/rebuilt", leader, false, expected) != expected)
			good = complain("volume %u: a replay gives another index", volume_id);
		/* The first leaves a checkpoint for the second. */
		tally_add(TALLY_CHECK, "7 a replay from a checkpoint gives the same index", 1);
		if (digest_of("/replayed", leader, i == 0, expected) != expected)
			good = complain("volume %u: a replay from a checkpoint gives another index",
				volume_id);
	}
	return good;
}

void check_read_indexes(void)
{
	bool broken = false;
	if (!rot_of_index_has_been())
		return;
	for (unsigned m = 0; m < cluster_machines(); m++)
		for (uint32_t id = 1; id <= CLUSTER_VOLUMES; id++) {
			struct index *index = &cluster_volume(m, id)->index;
			(void)index_digest(index);
			broken |= index->is_broken;
		}
	tally_add(TALLY_CHECK, "an index whose rows have rotted is made anew", broken);
	if (!broken)
		return;
	world_run_until_us(world_now_us() + ANEW_US);
	/* One whose log cannot be read either is moved. */
	faults_open_closed();
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

/* What one machine has answered in the reign that lasts, it has, whatever else it was not told to
 * be: it was killed, and lost its power, since. */
static bool is_of_this_reign(const struct history_entry *entry)
{
	unsigned primary = cluster_primary(entry->volume_id);
	return entry->answered_ok && entry->answered_by == primary && !may_be_damaged() &&
		entry->answered_epoch == cluster_volume(primary, entry->volume_id)->desired.epoch;
}

/* Its bytes are lost on the disk that serves it, and its owner was told that some are. */
static bool is_unreadable(const struct history_entry *entry)
{
	unsigned primary = cluster_primary(entry->volume_id);
	const struct volume *leader = cluster_volume(primary, entry->volume_id);
	bool is_named = may_be_damaged() && users_told_corrupt(entry->mailbox_id) &&
		leader->log != NULL &&
		is_damaged(primary, entry->volume_id, volume_log_end(leader->log)) &&
		!has_sound_copy(primary, entry->volume_id, volume_log_end(leader->log));
	tally_add(TALLY_CHECK, "a message that is lost on its disk is named, not shown wrong",
		is_named);
	return is_named;
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
		if (is_of_this_reign(entry)) {
			tally_add(TALLY_CHECK, "6 what its machine answered is there", 1);
			if (entry->found == 0 && !is_unreadable(entry))
				good = complain("mail %zu of mailbox %llu was answered in this "
						"reign and cannot be read",
					i + 1, (unsigned long long)entry->mailbox_id);
		}
		if (entry->safe && !entry->excused && entry->found == 0 && !is_unreadable(entry))
			good = complain("mail %zu of mailbox %llu was safe and cannot be read",
				i + 1, (unsigned long long)entry->mailbox_id);
	}
	return good && !cluster_failed;
}
