#ifndef PANDO_NODE_RECOVER_INTERNAL_H
#define PANDO_NODE_RECOVER_INTERNAL_H

/* Between ask.c (the threads), list.c and back.c (on the volume's worker). */

#include "core/pool.h"
#include "node/mailbox/mailbox.h"
#include "node/recover/recover.h"
#include "node/volume/volume.h"

/* A message that is kept, and what the list says of it. */
struct listed {
	uint64_t lsn;
	struct kept_message kept; /* texts: of the pool */
	int64_t until_s;
	bool is_shown; /* by the mailbox itself */
	struct str from, subject;
};

struct recover {
	struct volumes *volumes;
	struct volume_call call;
	struct task task;
	void (*begin)(struct recover *recover); /* on the worker */
	void (*done)(void *arg, struct str json);
	void *arg;
	/* Who is meant, as the directory has it. */
	uint64_t mailbox_id, domain_id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	char address[DIRECTORY_ADDRESS_MAX + 1];
	struct mailbox_policy policy;

	/* ---- on the worker ---- */

	struct volume *volume;
	struct pool *pool;
	struct buf json;

	/* list.c: the page, where it goes on, and what of it is looked at. */
	struct listed *listed;
	uint32_t listed_count;
	uint64_t from, next, range;
	struct map *by_lsn; /* of those whose bodies somebody shows */
	uint32_t folder, message;
	struct message_read read;

	/* back.c: all that are asked for, and the part of them that goes to one folder now. */
	struct recovered *wanted, *part;
	struct str *folders; /* of the wanted ones: where they went */
	uint32_t *part_of;   /* which of the wanted ones the part is */
	uint32_t wanted_count, part_count;
	struct str to;       /* empty: where they were */
	struct str part_to;  /* the folder of the part */
	struct mailbox_op op;
};

/* Its mailbox, if the volume is served here and it is the one that is meant. NULL: the answer has
 * been given, and `recover` is gone. In every turn anew. */
struct mailbox *recover_mailbox(struct recover *recover);
/* In another turn of the worker's loop, so that others have theirs. */
void recover_later(struct recover *recover, void (*run)(void *recover));
/* The answer is recover->json; or a sentence. `recover` is gone then. */
void recover_end(struct recover *recover);
void recover_refuse(struct recover *recover, const char *format, ...) printf_like(2, 3);

/* ---- list.c, back.c ---- */

void recover_begin_list(struct recover *recover);
void recover_begin_back(struct recover *recover);
/* The folder that it was in, by its present name; NULL: it is gone. */
struct folder *recover_folder_of(struct mailbox *mailbox, const struct kept_message *kept);

#endif
