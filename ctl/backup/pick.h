#ifndef PANDO_CTL_BACKUP_PICK_H
#define PANDO_CTL_BACKUP_PICK_H

/* Which messages of a backup are meant, where they go, and under which id. Pure. */

#include "core/buf.h"
#include "proto/disk/change.h"

enum {
	/* Of one command: what a person types, or a line of a shell takes. */
	PICK_RANGES_MAX = 256,
	/* Of a folder's name: the node's own (node/index/folder.h). */
	PICK_FOLDER_NAME_MAX = 1000,
};

/* A message of a backup, by what names it for ever. */
struct pick_message {
	uint8_t mark[CHANGE_MARK_LENGTH];
	uint32_t folder_id, uidvalidity, uid;
};

/* The id under which it is brought to a place, which is the name of the target folder, or "" where
 * it goes back to its own: the same however often it is brought there. */
void pick_id(const struct pick_message *message, struct str target,
	uint8_t id_out[CHANGE_DELIVERY_ID_LENGTH]);

/* Whether it is among so many percent (1 to 100) of all; `seed` chooses other ones. */
bool pick_is_sampled(const struct pick_message *message, struct str seed, unsigned percent);

/* Appends the folder below which everything goes if nothing else was said: "Restored 2026-11-27",
 * by the moment of the set (UTC, seconds). */
void pick_append_target(int64_t moment_s, struct buf *out);

struct pick_uids {
	struct {
		uint32_t first, last;
	} ranges[PICK_RANGES_MAX];
	unsigned count; /* 0: all */
};
/* Adds what one --uid says: "7", "3,7:9". False: it is no such thing, or there are too many. */
bool pick_add_uids(struct pick_uids *uids, const char *text) must_check;
/* `range` is below count. */
bool pick_is_in_range(const struct pick_uids *uids, unsigned range, uint32_t uid);
bool pick_has_uid(const struct pick_uids *uids, uint32_t uid);

/* What keeps a folder from having this name, as a node judges it: "has an empty part"; NULL:
 * nothing does. */
const char *pick_check_folder(struct str name);

/* The name as a person gives it means this folder: INBOX in any case. */
bool pick_is_folder(const char *given, struct str name);

#endif
