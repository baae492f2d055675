#include "node/volume/volume_internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The list of messages at risk, also made from the log: at an opening, and when other sites have
 * less than they had said. */

/* Read at a time; bodies are passed over. */
enum { LIST_BYTES = 1 << 20 };

/* A uid that was given there: to mail, or by a copy; the message may be gone since. */
struct given_uid {
	uint64_t mailbox_id, end_lsn;
	uint32_t folder_id, uid;
};

struct found {
	struct buf entries; /* struct at_risk each */
	struct buf uids;    /* struct given_uid each: of each change the lowest */
};

static void found_deinit(struct found *found)
{
	buf_deinit(&found->entries);
	buf_deinit(&found->uids);
}

static void note_uids(const struct action *action, uint64_t end, struct buf *uids)
{
	struct given_uid given = { action->mailbox_id, end, action->folder_id, UINT32_MAX };
	for (size_t i = 0; i < action->added_count; i++)
		if (action->added[i].uid < given.uid)
			given.uid = action->added[i].uid;
	buf_append(uids, &given, sizeof(given));
}

static void list_group(const struct group *group, struct str bytes, uint64_t end, struct pool *pool,
	struct found *out)
{
	struct record record;
	struct change change;
	size_t position = GROUP_HEADER_LENGTH;
	while (group_next_record(group, bytes, &position, &record)) {
		if (record.type != RECORD_CHANGE || !change_decode(record.body, pool, &change))
			continue;
		for (size_t i = 0; i < change.action_count; i++) {
			const struct action *action = &change.actions[i];
			if (action->kind != ACTION_ADD || action->added_count == 0)
				continue;
			note_uids(action, end, &out->uids);
			if (action->added[0].body_lsn != 0)
				continue;
			struct at_risk entry = { .lsn = end,
				.mailbox_id = action->mailbox_id,
				.uid = action->added[0].uid,
				.since_us = action->added[0].internal_date_s * 1000000 };
			if (action->delivery_id.length == DELIVERY_ID_LENGTH)
				memcpy(entry.delivery_id, action->delivery_id.bytes,
					DELIVERY_ID_LENGTH);
			buf_append(&out->entries, &entry, sizeof(entry));
		}
	}
}

static void list_groups(uint32_t volume_id, struct str groups, uint64_t lsn, struct found *out)
{
	struct pool *pool = pool_create();
	struct group group;
	while (groups.length > 0 && group_header_decode(groups, lsn, volume_id, &group)) {
		size_t length = group_padded(group.used);
		list_group(&group, groups, lsn + length, pool, out);
		pool_reset(pool);
		groups = str_from_index(groups, length);
		lsn += length;
	}
	pool_destroy(&pool);
}

/* struct at_risk of all messages in [from, end), bounded by AT_RISK_SCAN_MAX. Gives how far it
 * came: less than `end` where the log cannot be read further. */
static uint64_t list_range(struct disk *disk, const char *directory, uint32_t volume_id,
	uint64_t from, uint64_t end, struct found *out)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t lsn, next = from;
	int result = log_reader_open(disk, directory, volume_id, &reader);
	if (result < 0)
		return from;
	while (next < end && result == 0) {
		result = log_reader_skim(reader, next, end, LIST_BYTES, &bytes, &lsn, &next);
		if (result < 0)
			break;
		list_groups(volume_id, bytes_str(bytes), lsn, out);
		bytes_unref(&bytes);
	}
	log_reader_close(&reader);
	if (result < 0 && result != -ENODATA)
		log_warn("at_risk_unlisted", "volume=%u from=%llu to=%llu reason=%s", volume_id,
			(unsigned long long)next, (unsigned long long)end,
			log_quote(str_from(strerror(-result))));
	return result == -ENODATA ? end : next;
}

static bool is_too_long(const struct volume *volume, uint64_t from, uint64_t end)
{
	if (end - from > AT_RISK_SCAN_MAX)
		log_warn("at_risk_unlisted", "volume=%u from=%llu to=%llu reason=\"too long\"",
			volume->options.id, (unsigned long long)from, (unsigned long long)end);
	return end - from > AT_RISK_SCAN_MAX;
}

static void add(struct volume *volume, const struct at_risk *entry)
{
	volume->at_risk_total++;
	if (volume->at_risk_count >= AT_RISK_LISTED_MAX) {
		/* Counted until the last of those that are not listed is elsewhere. */
		if (volume->unlisted_end < entry->lsn)
			volume->unlisted_end = entry->lsn;
		volume_publish(volume);
		return;
	}
	if (volume->at_risk_first + volume->at_risk_count == volume->at_risk_capacity) {
		if (volume->at_risk_count > 0)
			memmove(volume->at_risk, volume->at_risk + volume->at_risk_first,
				volume->at_risk_count * sizeof(*volume->at_risk));
		volume->at_risk_first = 0;
		if (volume->at_risk_count * 2 >= volume->at_risk_capacity) {
			volume->at_risk_capacity =
				volume->at_risk_capacity ? volume->at_risk_capacity * 2 : 16;
			volume->at_risk = mem_resize(volume->at_risk,
				volume->at_risk_capacity * sizeof(*volume->at_risk));
		}
	}
	volume->at_risk[volume->at_risk_first + volume->at_risk_count++] = *entry;
	volume_publish(volume);
}

void volume_add_at_risk(struct volume *volume, const struct at_risk *entry)
{
	if (entry->lsn > volume->listed_end)
		add(volume, entry);
}

/* Those that another site has by now stay out. */
static void add_all(struct volume *volume, struct str entries)
{
	for (size_t i = 0; i < entries.length; i += sizeof(struct at_risk)) {
		struct at_risk entry;
		memcpy(&entry, entries.bytes + i, sizeof(entry));
		if (entry.lsn > volume->index.acked_lsn)
			add(volume, &entry);
	}
}

/* What stands below `end` could not be listed, and is counted as one. */
static void note_unlisted(struct volume *volume, uint64_t end)
{
	volume->at_risk_total += volume->unlisted_end == 0;
	if (volume->unlisted_end < end)
		volume->unlisted_end = end;
}

/* What was found, in what was read for it up to `end`, replaces what was listed as far as the log
 * could be read: what stands behind that is as true as it was. */
static void replace_list(struct volume *volume, struct str found, uint64_t reached, uint64_t end)
{
	struct buf kept = { 0 };
	for (size_t i = 0; i < volume->at_risk_count; i++) {
		const struct at_risk *entry = &volume->at_risk[volume->at_risk_first + i];
		if (entry->lsn > reached)
			buf_append(&kept, entry, sizeof(*entry));
	}
	uint64_t unlisted = volume->unlisted_end;
	volume->at_risk_first = volume->at_risk_count = volume->at_risk_total = 0;
	volume->unlisted_end = 0;
	add_all(volume, found);
	add_all(volume, buf_str(&kept));
	if (volume->listed_end < reached)
		volume->listed_end = reached;
	if (reached < end)
		note_unlisted(volume, end);
	if (reached < unlisted)
		note_unlisted(volume, unlisted);
	buf_deinit(&kept);
}

/* ---- at an opening ---- */

/* Whoever wrote an epoch has all of the log that came before it: where that was at another site, it
 * is there. A copy at this site, or this one itself, says nothing of others. */
uint64_t volume_written_elsewhere(const struct volume *volume)
{
	const struct epochs *epochs = volume_log_epochs(volume->log);
	uint64_t end = 0;
	for (uint32_t i = 0; i + 1 < epochs->count; i++)
		for (unsigned k = 0; k < volume->replica_count; k++)
			if (volume->replicas[k].counted &&
				volume->replicas[k].slot ==
					epochs->entries[i].epoch % EPOCH_CLASSES)
				end = epochs->entries[i + 1].start_lsn;
	return end;
}

/* What another copy may lack of each folder: an index shows neither that a copy of an old message
 * is new, nor what has been expunged since. */
static void note_opened_uids(struct volume *volume, struct str uids)
{
	/* What stood there before has been passed over since, or is at who may be promoted. */
	uint64_t start = epochs_opened(volume_log_epochs(volume->log))->start_lsn;
	for (size_t i = 0; i < uids.length; i += sizeof(struct given_uid)) {
		struct given_uid given;
		memcpy(&given, uids.bytes + i, sizeof(given));
		struct mailbox *mailbox = index_find_mailbox(&volume->index, given.mailbox_id);
		struct folder *folder =
			mailbox ? mailbox_folder_by_id(mailbox, given.folder_id) : NULL;
		struct folder_private *private = folder ? folder->private : NULL;
		if (!private || given.end_lsn <= start)
			continue;
		if (private->opened_end != volume->opened_end || given.uid < private->opened_uid)
			private->opened_uid = given.uid;
		private->opened_end = volume->opened_end;
	}
}

void volume_find_at_risk(struct volume *volume)
{
	const struct volume_options *options = &volume->options;
	uint64_t end = volume_log_end(volume->log), elsewhere = volume_written_elsewhere(volume);
	struct found found = { 0 };
	volume->opened_end = volume->purged_end = end;
	volume->listed_end = 0;
	if (volume->index.acked_lsn < elsewhere)
		volume->index.acked_lsn = elsewhere;
	if (!volume_has_replica(volume))
		volume->index.acked_lsn = 0;
	/* Without any other copy it is the volume that is at risk. */
	if (volume->replica_count == 0 || volume->index.acked_lsn >= end) {
		replace_list(volume, STR(""), end, end);
		return;
	}
	if (is_too_long(volume, volume->index.acked_lsn, end)) {
		note_unlisted(volume, end);
		return;
	}
	uint64_t reached = list_range(options->disk, options->log_directory, options->id,
		volume->index.acked_lsn, end, &found);
	/* A reign that goes on lists anew what it listed before. */
	replace_list(volume, buf_str(&found.entries), reached, end);
	note_opened_uids(volume, buf_str(&found.uids));
	found_deinit(&found);
}

/* ---- when a copy went back ---- */

/* On a pool thread, as the volume is served meanwhile. */
struct at_risk_listing {
	struct volume *volume; /* NULL: it is gone */
	struct disk *disk;
	char *directory;
	uint32_t volume_id;
	uint64_t epoch, from, end, reached;
	struct found found;
};

static void run_listing(void *arg)
{
	struct at_risk_listing *listing = arg;
	listing->reached = list_range(listing->disk, listing->directory, listing->volume_id,
		listing->from, listing->end, &listing->found);
}

static void on_listed(void *arg)
{
	struct at_risk_listing *listing = arg;
	struct volume *volume = listing->volume;
	if (volume != NULL) {
		volume->listing = NULL;
		if (volume->writes && volume->desired.epoch == listing->epoch)
			replace_list(volume, buf_str(&listing->found.entries), listing->reached,
				listing->end);
		volume_publish(volume);
		/* It went back further meanwhile. */
		if (volume->writes && volume->index.acked_lsn < listing->from)
			volume_list_anew(volume, volume->index.acked_lsn);
	}
	found_deinit(&listing->found);
	free(listing->directory);
	free(listing);
}

void volume_list_anew(struct volume *volume, uint64_t shipped)
{
	const struct volume_options *options = &volume->options;
	uint64_t end = volume_log_end(volume->log);
	volume->index.acked_lsn = shipped;
	if (volume->listing != NULL || shipped >= end)
		return;
	if (is_too_long(volume, shipped, end)) {
		note_unlisted(volume, end);
		return;
	}
	log_warn("copy_went_back", "volume=%u shipped=%llu end=%llu effect=\"at risk again\"",
		options->id, (unsigned long long)shipped, (unsigned long long)end);
	struct at_risk_listing *listing = mem_alloc(sizeof(*listing));
	*listing = (struct at_risk_listing){ .volume = volume,
		.disk = options->disk,
		.directory = str_to_heap(str_from(options->log_directory)),
		.volume_id = options->id,
		.epoch = volume->desired.epoch,
		.from = shipped,
		.end = end };
	volume->listing = listing;
	/* Until it has come back. */
	note_unlisted(volume, end);
	loop_work(options->loop, run_listing, on_listed, listing);
}

void volume_end_listing(struct volume *volume)
{
	if (volume->listing != NULL)
		volume->listing->volume = NULL;
	volume->listing = NULL;
}
