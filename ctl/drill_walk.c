/* What of a restored volume the living cluster has too, mailbox by mailbox. */

#include "core/clock.h"
#include "core/digest.h"
#include "core/encode.h"
#include "core/map.h"
#include "ctl/backup/pick.h"
#include "ctl/backup/view.h"
#include "ctl/drill.h"
#include "ctl/restore_wait.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Connections that are lost one after the other. */
	TRIES_MAX = 8,
	/* Once a home was waited for in vain. */
	LITTLE_PATIENCE_MS = 3000,
	/* After so many mailboxes in turn the rest of a volume is not asked. */
	AWAYS_MAX = 3,
	TRY_AGAIN_MS = 1000,
};

/* ---- the walk through one mailbox ---- */

/* One that is to be compared: the backup's copy has been read. */
struct compared {
	uint32_t uid;
	bool is_answered, is_equal, is_rotten;
	uint8_t sha256[SHA256_LENGTH];
};

struct walk {
	struct drill *drill;
	struct drill_volume *volume;
	struct view *view;
	struct view_mailbox mailbox;
	const char *address; /* now; NULL: the cluster has no such mailbox any more */
	struct living *living;
	const char *unreached; /* why the cluster could not be asked; NULL: it can */
	unsigned aways; /* mailboxes of this volume, one after the other, whose home did not answer
			 */
	uint64_t unreached_count; /* messages of the mailbox */
	struct living_folder *folders;
	unsigned folder_count;
	/* Of the folder. */
	struct view_folder folder;
	struct map *standing; /* UIDs of the living folder */
	struct compared batch[LIVING_FETCH_MAX];
	unsigned batch_count;
	struct pool *pool; /* of the mailbox */
	uint64_t looked_at;
};

static void count(struct walk *walk, enum drill_outcome outcome, uint32_t uid, const char *why)
{
	walk->volume->counts[outcome]++;
	if (outcome == DRILL_UNREACHED) {
		walk->unreached_count++;
		return;
	}
	struct drill_problem problem = { .outcome = outcome,
		.volume = walk->volume->volume->name,
		.why = why,
		.mailbox = walk->address ? str_from(walk->address) : walk->mailbox.made_for,
		.folder = walk->folder.name,
		.uid = uid };
	drill_note_problem(walk->drill, &problem);
}

/* ---- what the living cluster has ---- */

static int log_in(struct walk *walk, struct error *error)
{
	struct drill *drill = walk->drill;
	unsigned patience_ms = drill->has_waited ? LITTLE_PATIENCE_MS : RESTORE_PATIENCE_MS;
	if (walk->aways >= AWAYS_MAX)
		return error_set(error, -ETIMEDOUT,
			"not asked, as the homes of %d mailboxes before it did not answer",
			AWAYS_MAX);
	int result = restore_wait_open(&drill->restore, drill->way, patience_ms, walk->mailbox.mark,
		walk->address, &walk->living, error);
	walk->aways = result == -ETIMEDOUT ? walk->aways + 1 : 0;
	drill->has_waited |= result == -ETIMEDOUT;
	return result;
}

/* Runs a step, and opens the mailbox anew where the connection went. 0, or nothing more can be
 * asked of this mailbox: `unreached` says why. -ENOENT is an answer. */
static int ask(struct walk *walk, int (*step)(struct walk *walk, struct error *error))
{
	struct error error = { 0 };
	int result = -ECONNRESET;
	for (unsigned tries = 0; result == -ECONNRESET && tries < TRIES_MAX; tries++) {
		if (tries > 0)
			clock_sleep_ms(TRY_AGAIN_MS);
		result = walk->living ? 0 : log_in(walk, &error);
		if (result == 0)
			result = step(walk, &error);
		if (result == -ECONNRESET)
			living_close(&walk->living);
	}
	if (result < 0 && result != -ENOENT)
		walk->unreached = pool_copy_terminated(walk->pool, str_from(error.text));
	return result;
}

static int list_folders(struct walk *walk, struct error *error)
{
	return living_folders(walk->living, walk->pool, &walk->folders, &walk->folder_count, error);
}

/* By its UIDVALIDITY: it may have another name by now. */
static const struct living_folder *find_folder(const struct walk *walk)
{
	for (unsigned i = 0; i < walk->folder_count; i++)
		if (walk->folders[i].uidvalidity == walk->folder.uidvalidity)
			return &walk->folders[i];
	return NULL;
}

static int list_standing(struct walk *walk, struct error *error)
{
	const struct living_folder *folder = find_folder(walk);
	struct living_message *messages = NULL;
	size_t message_count = 0;
	int result = folder ? living_examine(walk->living, folder->name, error) : -ENOENT;
	if (result == 0)
		result = living_messages(walk->living, &messages, &message_count, error);
	map_destroy(&walk->standing);
	walk->standing = map_create();
	for (size_t i = 0; i < message_count; i++) {
		uint64_t uid = messages[i].uid;
		map_set(walk->standing, map_key_u64(&uid), walk);
	}
	free(messages);
	return result;
}

static void on_body(void *arg, uint32_t uid, struct str body)
{
	struct walk *walk = arg;
	uint8_t digest[SHA256_LENGTH];
	for (unsigned i = 0; i < walk->batch_count; i++) {
		struct compared *compared = &walk->batch[i];
		if (compared->uid != uid)
			continue;
		sha256(body, digest);
		compared->is_answered = true;
		compared->is_equal = memcmp(digest, compared->sha256, sizeof(digest)) == 0;
	}
}

/* After a connection that went, the folder has to be chosen again. */
static int fetch(struct walk *walk, const uint32_t *uids, unsigned uid_count, bool *damaged_out,
	struct error *error)
{
	int result = -ENOENT;
	*damaged_out = false;
	/* It may have been renamed meanwhile. */
	for (int look = 0; result == -ENOENT && look < 2; look++) {
		const struct living_folder *folder = find_folder(walk);
		result = folder ? living_examine(walk->living, folder->name, error) : -ENOENT;
		if (result == -ENOENT && look == 0 && list_folders(walk, error) < 0)
			return -ECONNRESET;
	}
	return result < 0
		? result
		: living_bodies(walk->living, uids, uid_count, on_body, walk, damaged_out, error);
}

static int fetch_batch(struct walk *walk, struct error *error)
{
	uint32_t uids[LIVING_FETCH_MAX];
	bool is_damaged;
	for (unsigned i = 0; i < walk->batch_count; i++)
		uids[i] = walk->batch[i].uid;
	int result = fetch(walk, uids, walk->batch_count, &is_damaged, error);
	/* Which one the cluster could not read, it says of one alone. */
	for (unsigned i = 0; result == 0 && is_damaged && i < walk->batch_count; i++) {
		struct compared *compared = &walk->batch[i];
		bool is_one = false;
		if (!compared->is_answered)
			result = fetch(walk, &compared->uid, 1, &is_one, error);
		compared->is_rotten = is_one;
	}
	return result;
}

static void compare_batch(struct walk *walk)
{
	if (walk->batch_count == 0)
		return;
	int result = walk->unreached ? -EIO : ask(walk, fetch_batch);
	for (unsigned i = 0; i < walk->batch_count; i++) {
		const struct compared *compared = &walk->batch[i];
		if (result < 0 && result != -ENOENT)
			count(walk, DRILL_UNREACHED, compared->uid, walk->unreached);
		else if (compared->is_answered && compared->is_equal)
			count(walk, DRILL_EQUAL, compared->uid, NULL);
		else if (compared->is_answered)
			count(walk, DRILL_DIFFERS, compared->uid, "the cluster has other bytes");
		else if (compared->is_rotten)
			count(walk, DRILL_DIFFERS, compared->uid, "the cluster cannot read it");
		else
			count(walk, DRILL_GONE, compared->uid, NULL);
	}
	walk->batch_count = 0;
}

/* ---- what the backup has ---- */

static bool is_of_sample(const struct walk *walk, uint32_t uid)
{
	const struct drill *drill = walk->drill;
	struct pick_message name = {
		.folder_id = walk->folder.id, .uidvalidity = walk->folder.uidvalidity, .uid = uid
	};
	memcpy(name.mark, walk->mailbox.mark, sizeof(name.mark));
	/* Another set's drill takes other ones. */
	return pick_is_sampled(&name, str_from(drill->restore.set->name), drill->percent);
}

/* The log up to the set's moment shows it, so that it was let go after that, and its room given
 * back before its volume was read. That is as it should be, but where it still stands: then the
 * node was wrong. */
static void count_bodiless(struct walk *walk, uint32_t uid, bool stands)
{
	if (walk->unreached)
		count(walk, DRILL_FREED, uid,
			"the backup has no body of it, and the cluster could not be asked whether "
			"it was expunged while the backup ran");
	else if (stands)
		count(walk, DRILL_FREED, uid,
			"the backup has no body of it, and it stands in the cluster: take a backup "
			"that has it, by `pando backup`");
	else
		count(walk, DRILL_LATE, uid, NULL);
}

static void look_at_message(struct walk *walk, const struct view_message *message)
{
	struct bytes *body;
	uint64_t uid = message->uid;
	int result = view_body(walk->view, message, &body);
	restore_show(
		&walk->drill->restore, "messages read", ++walk->looked_at, walk->volume->messages);
	bool stands = walk->address && map_get(walk->standing, map_key_u64(&uid));
	if (result == -ENODATA) {
		count_bodiless(walk, message->uid, stands);
		return;
	}
	if (result < 0) {
		count(walk, DRILL_DAMAGED, message->uid, "it is damaged in the backup");
		return;
	}
	if (!walk->unreached && !stands) {
		count(walk, walk->address ? DRILL_GONE : DRILL_REMOVED, message->uid, NULL);
	} else if (!is_of_sample(walk, message->uid)) {
		count(walk, DRILL_LEFT_OUT, message->uid, NULL);
	} else if (walk->unreached) {
		count(walk, DRILL_UNREACHED, message->uid, walk->unreached);
	} else {
		struct compared *compared = &walk->batch[walk->batch_count++];
		*compared = (struct compared){ .uid = message->uid };
		sha256(bytes_str(body), compared->sha256);
	}
	bytes_unref(&body);
	if (walk->batch_count == LIVING_FETCH_MAX)
		compare_batch(walk);
}

static void walk_folder(struct walk *walk)
{
	walk->standing = map_create();
	if (walk->address && !walk->unreached)
		(void)!ask(walk, list_standing);
	for (uint32_t i = 0; i < walk->folder.message_count; i++) {
		struct view_message message = view_message(&walk->folder, i);
		look_at_message(walk, &message);
	}
	compare_batch(walk);
	map_destroy(&walk->standing);
}

/* The address that the same mailbox has now; NULL: there is none any more. */
static const char *find_address(struct walk *walk, struct error *error)
{
	struct directory_writer *writer = walk->drill->restore.command->writer;
	struct mailbox_place place;
	struct buf now = { 0 };
	uint8_t mark[MAILBOX_MARK_LENGTH];
	const char *address = NULL;
	int result = directory_mailbox_address(writer, walk->mailbox.id, &now, error);
	if (result == 0)
		result = directory_find_place(writer, buf_terminated(&now), &place, error);
	if (result == 0 && decode_hex(str_from(place.mark), mark, sizeof(mark)) &&
		memcmp(mark, walk->mailbox.mark, sizeof(mark)) == 0)
		address = pool_copy_terminated(walk->pool, buf_str(&now));
	buf_deinit(&now);
	if (result < 0 && result != -ENOENT)
		walk->unreached = pool_copy_terminated(walk->pool, str_from(error->text));
	return address;
}

/* One line for all of a mailbox. */
static void note_unreached(struct walk *walk)
{
	struct drill_problem problem = { .outcome = DRILL_UNREACHED,
		.volume = walk->volume->volume->name,
		.why = walk->unreached,
		.mailbox = walk->address ? str_from(walk->address) : walk->mailbox.made_for,
		.messages = walk->unreached_count };
	if (walk->unreached_count > 0)
		drill_note_problem(walk->drill, &problem);
	walk->unreached_count = 0;
}

static void walk_mailbox(struct walk *walk)
{
	struct error error = { 0 };
	walk->pool = pool_create();
	walk->unreached = NULL;
	walk->folder_count = 0;
	walk->address = find_address(walk, &error);
	if (walk->address)
		(void)!ask(walk, list_folders);
	for (uint32_t at = 0; view_next_folder(&walk->mailbox, &at, &walk->folder);)
		walk_folder(walk);
	note_unreached(walk);
	living_close(&walk->living);
	pool_destroy(&walk->pool);
}

void drill_walk(struct drill *drill, struct drill_volume *volume, struct view *view)
{
	struct walk walk = { .drill = drill, .volume = volume, .view = view };
	for (size_t position = 0; view_next_mailbox(view, &position, &walk.mailbox);)
		walk_mailbox(&walk);
}
