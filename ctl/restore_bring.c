#include "ctl/restore_bring.h"

#include "core/clock.h"
#include "core/digest.h"
#include "core/encode.h"
#include "core/map.h"
#include "ctl/restore_wait.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Connections that are lost without anything being stored in between. */
	TRIES_MAX = 15,
	TRY_AGAIN_MS = 1000,
};

/* ---- what stands in the target folder ---- */

/* One that may be one of ours. */
struct standing {
	struct standing *next; /* of the same size and date */
	uint32_t uid;
	bool may_be, is_known, is_taken; /* one of ours; with its digest; and which one */
	uint8_t sha256[SHA256_LENGTH];
};

struct look {
	struct map *places; /* size and date -> struct standing */
	struct map *by_uid;
	struct map *taken; /* UIDs that this command knows already as those of ours */
	struct pool *pool;
};

enum { PLACE_LENGTH = 16 };

static struct str place_of(uint64_t size, int64_t date_s, uint8_t out[PLACE_LENGTH])
{
	put_le64(out, size);
	put_le64(out + 8, (uint64_t)date_s);
	return str_of(out, PLACE_LENGTH);
}

static struct standing *find_place(const struct look *look, const struct view_message *message)
{
	uint8_t place[PLACE_LENGTH];
	return map_get(look->places, place_of(message->size, message->internal_date_s, place));
}

static struct bring_message *find_uid(const struct bring_folder *folder, uint32_t uid)
{
	uint32_t low = 0, high = folder->message_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (folder->messages[middle].message.uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < folder->message_count && folder->messages[low].message.uid == uid
		? &folder->messages[low]
		: NULL;
}

/* Under the UID of one of ours in our own folder it is that one; else it may be a copy. */
static void note_standing(struct look *look, struct bring_folder *folder, bool is_own,
	const struct living_message *living)
{
	struct bring_message *same = is_own ? find_uid(folder, living->uid) : NULL;
	uint8_t place[PLACE_LENGTH];
	uint64_t uid = living->uid;
	if (map_get(look->taken, map_key_u64(&uid)))
		return;
	if (same) {
		same->state = same->state == BRING_WANTED ? BRING_STANDS : same->state;
		return;
	}
	struct standing *standing = pool_alloc(look->pool, sizeof(*standing));
	struct str key = place_of(living->size, living->internal_date_s, place);
	*standing = (struct standing){ .next = map_get(look->places, key), .uid = living->uid };
	map_set(look->places, key, standing);
	map_set(look->by_uid, map_key_u64(&uid), standing);
}

static void on_standing_body(void *arg, uint32_t uid, struct str body)
{
	struct look *look = arg;
	uint64_t key = uid;
	struct standing *standing = map_get(look->by_uid, map_key_u64(&key));
	if (standing) {
		standing->is_known = true;
		sha256(body, standing->sha256);
	}
}

/* What this command has stored, or found, before it had to log in again: another one of the same
 * bytes must not take its copy. */
static void note_taken(struct look *look, const struct bring_folder *folder)
{
	for (uint32_t i = 0; i < folder->message_count; i++) {
		uint64_t uid = folder->messages[i].there_uid;
		if (uid != 0)
			map_set(look->taken, map_key_u64(&uid), look);
	}
}

/* The bodies of those that have the size and the date of one that is wanted. */
static int read_standing(struct bring *bring, struct look *look, const struct bring_folder *folder,
	struct error *error)
{
	uint32_t uids[LIVING_FETCH_MAX];
	unsigned count = 0;
	bool is_damaged;
	int result = 0;
	for (uint32_t i = 0; i < folder->message_count; i++) {
		const struct bring_message *message = &folder->messages[i];
		struct standing *standing =
			message->state == BRING_WANTED ? find_place(look, &message->message) : NULL;
		for (; standing && result == 0; standing = standing->next) {
			if (standing->may_be)
				continue;
			standing->may_be = true;
			uids[count++] = standing->uid;
			if (count < LIVING_FETCH_MAX)
				continue;
			result = living_bodies(bring->living, uids, count, on_standing_body, look,
				&is_damaged, error);
			count = 0;
		}
	}
	/* What the cluster cannot read is no copy of ours. */
	if (result == 0 && count > 0)
		result = living_bodies(
			bring->living, uids, count, on_standing_body, look, &is_damaged, error);
	return result;
}

/* ---- our own ---- */

/* The body; else its state says why there is none. */
static struct bytes *read_body(struct bring *bring, struct bring_message *message)
{
	struct bytes *body;
	int result = view_body(bring->view, &message->message, &body);
	if (result < 0)
		message->state = result == -ENODATA ? BRING_FREED : BRING_DAMAGED;
	return body;
}

static void find_copy(struct bring *bring, struct look *look, struct bring_message *message)
{
	struct standing *standing = find_place(look, &message->message);
	struct bytes *body = standing ? read_body(bring, message) : NULL;
	uint8_t digest[SHA256_LENGTH];
	if (!body)
		return;
	sha256(bytes_str(body), digest);
	bytes_unref(&body);
	while (standing &&
		(!standing->is_known || standing->is_taken ||
			memcmp(standing->sha256, digest, sizeof(digest)) != 0))
		standing = standing->next;
	if (standing) {
		standing->is_taken = true;
		message->state = BRING_THERE;
		message->there_uid = standing->uid;
	}
}

/* The folder of the living mailbox that is the one of the backup, by its UIDVALIDITY; or NULL. */
static const struct living_folder *find_own(
	const struct bring *bring, const struct bring_folder *folder)
{
	for (unsigned i = 0; bring->is_same && i < bring->folder_count; i++)
		if (bring->folders[i].uidvalidity == folder->folder.uidvalidity)
			return &bring->folders[i];
	return NULL;
}

static int look_at_target(struct bring *bring, struct bring_folder *folder, struct error *error)
{
	struct look look = { map_create(), map_create(), map_create(), pool_create() };
	const struct living_folder *own = bring->to_own ? find_own(bring, folder) : NULL;
	struct living_message *living = NULL;
	size_t count = 0;
	if (bring->to_own)
		folder->target = own ? own->name : folder->folder.name;
	int result = living_examine(bring->living, folder->target, error);
	bool is_there = result == 0;
	if (result == -ENOENT)
		result = 0;
	if (result == 0 && is_there)
		result = living_messages(bring->living, &living, &count, error);
	note_taken(&look, folder);
	for (size_t i = 0; i < count; i++)
		note_standing(&look, folder, own != NULL, &living[i]);
	free(living);
	if (result == 0)
		result = read_standing(bring, &look, folder, error);
	for (uint32_t i = 0; result == 0 && i < folder->message_count; i++)
		if (folder->messages[i].state == BRING_WANTED)
			find_copy(bring, &look, &folder->messages[i]);
	map_destroy(&look.places);
	map_destroy(&look.by_uid);
	map_destroy(&look.taken);
	pool_destroy(&look.pool);
	return result;
}

/* ---- one message after the other ---- */

static int make_target(struct bring *bring, const struct bring_folder *folder, struct error *error)
{
	int result = living_create_folder(bring->living, folder->target, error);
	return result == 0 ? living_subscribe(bring->living, folder->target, error) : result;
}

static int store(struct bring *bring, const struct bring_folder *folder,
	struct bring_message *message, struct bytes *body, struct error *error)
{
	struct buf flags = { 0 };
	struct pick_message name = { .folder_id = folder->folder.id,
		.uidvalidity = folder->folder.uidvalidity,
		.uid = message->message.uid };
	uint8_t id[CHANGE_DELIVERY_ID_LENGTH];
	enum living_stored stored;
	memcpy(name.mark, bring->from_mark, sizeof(name.mark));
	pick_id(&name, bring->to_own ? STR("") : folder->target, id);
	view_append_flags(&folder->folder, &message->message, &flags);
	struct living_append append = { .folder = folder->target,
		.flags = buf_str(&flags),
		.internal_date_s = message->message.internal_date_s,
		.id = id,
		.body = body };
	int result = living_append(bring->living, &append, &stored, &message->there_uid, error);
	if (result == -ENOENT) {
		result = make_target(bring, folder, error);
		if (result == 0)
			result = living_append(
				bring->living, &append, &stored, &message->there_uid, error);
	}
	buf_deinit(&flags);
	if (result == -EINVAL)
		stored = LIVING_REFUSED;
	else if (result < 0)
		return result;
	message->state = stored == LIVING_STORED ? BRING_STORED
		: stored == LIVING_STORED_BEFORE ? BRING_BEFORE
						 : BRING_REFUSED;
	if (stored == LIVING_REFUSED)
		message->why = pool_copy_terminated(bring->pool, str_from(error->text));
	return 0;
}

static int store_all(
	struct bring *bring, struct bring_folder *folder, unsigned *tries, struct error *error)
{
	int result = 0;
	for (uint32_t i = 0; result == 0 && i < folder->message_count; i++) {
		struct bring_message *message = &folder->messages[i];
		if (message->state != BRING_WANTED)
			continue;
		struct bytes *body = read_body(bring, message);
		if (!body)
			continue;
		if (bring->is_dry_run)
			message->state = BRING_STORED;
		else
			result = store(bring, folder, message, body, error);
		bytes_unref(&body);
		*tries = result == 0 ? 0 : *tries;
		restore_show(bring->restore, "messages looked at", i + 1, folder->message_count);
	}
	return result;
}

static int log_in(struct bring *bring, struct error *error)
{
	if (bring->living)
		return 0;
	int result = restore_wait_open(bring->restore, bring->way, RESTORE_PATIENCE_MS,
		bring->to_mark, bring->to_address, &bring->living, error);
	return result < 0 ? result
			  : living_folders(bring->living, bring->pool, &bring->folders,
				    &bring->folder_count, error);
}

int bring_folder(struct bring *bring, struct bring_folder *folder, struct error *error)
{
	int result = -ECONNRESET;
	unsigned tries = 0;
	while ((result == -ECONNRESET || result == -ESTALE) && tries < TRIES_MAX) {
		if (tries++ > 0)
			clock_sleep_ms(TRY_AGAIN_MS);
		result = log_in(bring, error);
		if (result == 0)
			result = look_at_target(bring, folder, error);
		if (result == 0)
			result = store_all(bring, folder, &tries, error);
		if (result < 0)
			living_close(&bring->living);
	}
	for (uint32_t i = 0; i < folder->message_count; i++)
		folder->counts[folder->messages[i].state]++;
	return result;
}
