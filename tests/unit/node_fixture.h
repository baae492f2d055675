#ifndef PANDO_TESTS_UNIT_NODE_FIXTURE_H
#define PANDO_TESTS_UNIT_NODE_FIXTURE_H

/*
 * One volume that is primary, on a real loop and a real disk, with one mailbox that matters. Every
 * call runs the loop until what it began has ended.
 */

#include "node/index/ahead.h"
#include "node/mailbox/deliver_part.h"
#include "node/mailbox/mailbox.h"

enum {
	MAILBOX = 1,
	/* Deliveries whose ids are from here on go to another mailbox. */
	OTHERS_ID = 5000,
	/* Longer than a segment of the log: refused alone, while others around it are taken. */
	TOO_LONG = (256 << 10) + 1,
};

struct fixture {
	struct loop *loop;
	struct disk *disk;
	struct volume *volume;
	char directory[64], log_directory[80], index_path[80], witness_path[80];
	struct mailbox_identity who; /* that deliveries bring along */
	struct task release;
	enum volume_state awaited;
	bool waiting;
	bool is_small; /* a tmpfs is mounted at log_directory */
	unsigned claims; /* epochs that the volume gave itself */
};

struct one_delivery {
	struct fixture *f;
	struct delivery delivery;
	struct delivery_target target;
	struct delivery_part part;
	unsigned index;
	unsigned *left;
	struct one_delivery *then; /* begins when this one is answered */
};

extern const struct mailbox_policy unlimited;

/* A volume that is not told yet to be primary; its log is in this folder of the fixture's. */
void fixture_setup_at(struct fixture *f, const char *log_directory);
/* It is primary. */
void fixture_setup(struct fixture *f);
/* The same on a disk of this size (of tmpfs, "size=12m"); false where only root can make one, and
 * nothing else can be asked of it than to be torn down. */
bool fixture_setup_small(struct fixture *f, const char *size);
void fixture_open(struct fixture *f);
/* In the first epoch. */
void fixture_name_primary(struct fixture *f);
/* Whether the volume comes to this state in time. */
bool fixture_await(struct fixture *f, enum volume_state state);
/* Checkpoints and closes it. */
void fixture_stop(struct fixture *f);
void fixture_restart(struct fixture *f);
void fixture_teardown(struct fixture *f);

struct mailbox *fixture_mailbox(struct fixture *f);
/* NULL: none. */
struct folder *fixture_folder(struct fixture *f, const char *name);

/* `left` counts those that are on their way; the loop stops at 0. */
void fixture_begin_delivery(
	struct fixture *f, struct one_delivery *one, unsigned id, size_t length, unsigned *left);
/* The status of one to INBOX. */
int fixture_deliver(struct fixture *f, unsigned id, size_t length);

struct mailbox_op fixture_op(struct fixture *f);
/* A message that is \Flagged and has this keyword (NULL: none). */
int fixture_append(struct fixture *f, struct folder *folder, const char *keyword, uint64_t quota,
	struct mailbox_op *op);
int fixture_store(struct fixture *f, struct folder *folder, uint32_t uid, uint64_t system_flags,
	const char *keyword);
int fixture_copy(struct fixture *f, struct folder *from, uint32_t uid, struct folder *to);
int fixture_expunge(struct fixture *f, struct folder *folder, uint32_t uid);

#endif
