#ifndef PANDO_NODE_VOLUMES_H
#define PANDO_NODE_VOLUMES_H

/*
 * All volumes of a node and their worker threads, as the front thread (listeners, LMTP, IMAP login,
 * directory) sees them. A session of one mailbox moves to the worker of its volume.
 */

#include "core/bytes.h"
#include "core/directory/directory.h"
#include "core/net.h"

struct config;

struct volumes;
struct volume;

enum {
	/* Random: no two messages of all routers have the same. */
	DELIVERY_ID_LENGTH = 16,
	/* The largest recipients_max that a router may have. With aliases a message may have more
	 * mailboxes: those beyond are refused for now, and come with the router's next attempt. */
	DELIVERY_TARGETS_MAX = 1000,
};

/* One recipient of one accepted message. */
struct delivery_target {
	uint64_t mailbox_id;
	uint32_t volume_id;
	enum durability durability;
	uint64_t quota_bytes; /* 0: none */
	/* 0 stored as the policy asks (also when this id was delivered there before); -EROFS not
	 * the home; -ENOSPC; -EDQUOT; -EIO; -EAGAIN `strict` and no replica in time. */
	int status;
	uint32_t uid; /* for logs; 0 for a duplicate */
};

struct delivery {
	uint8_t id[DELIVERY_ID_LENGTH];
	struct bytes *body; /* whole message as it will be stored, Return-Path first; the delivery's
			       reference */
	struct buf summary; /* encoded proto/mail/summary.h of body */
	struct delivery_target *targets;
	unsigned target_count;
	/* On the front loop, exactly once, when every target has its status. */
	void (*done)(struct delivery *delivery);
	void *arg;
	/* private */
	unsigned waiting;
	void *parts;
};

/* Front thread. The delivery is the caller's again when done is called; it cannot be cancelled. */
void volumes_deliver(struct volumes *volumes, struct delivery *delivery);

/* Moves a detached stream to the volume's worker and calls start(volume, stream, arg) there; start
 * is called with volume NULL (on the front thread, stream attached nowhere) when this node does not
 * serve the volume now. */
void volumes_hand_over(struct volumes *volumes, uint32_t volume_id, struct stream *stream,
	void (*start)(struct volume *volume, struct stream *stream, void *arg), void *arg);

/* ---- for node/main.c and control.c ---- */

/* Starts the workers and the link to the replicator (run_dir/replicator.sock). Volumes appear with
 * the first volumes_reconcile. */
int volumes_create(struct loop *front, const struct config *config, struct directory *directory,
	struct volumes **volumes_out, struct error *error) must_check;
/* Fences and checkpoints everything, stops the workers. */
void volumes_destroy(struct volumes **volumes);
/* After every change of the directory. Until the directory is fresh, or a few seconds have passed
 * without it, a copy on disk is not acted upon: it may name a primary that
 * was replaced meanwhile. */
void volumes_reconcile(struct volumes *volumes);
/* All volumes that want to be primary are. */
bool volumes_are_settled(const struct volumes *volumes);

/* JSON for `pando status` and `pando at-risk`. Called back on the front thread, once. */
void volumes_status(struct volumes *volumes, struct buf *json_out);
void volumes_at_risk(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg);
/* How a volume is made to stand still: a primary is fenced, a replica held (see volume.h). */
enum volumes_end { VOLUMES_FENCE, VOLUMES_HOLD };
/* For many volumes at once, `list` being ID:EPOCH,ID:EPOCH,...; of each the answer has the durable
 * end or an error. A volume that takes longer than a few seconds does not hold up the answer.
 * -EINVAL for a malformed list. */
int volumes_end(struct volumes *volumes, enum volumes_end how, struct str list,
	void (*done)(void *arg, struct str json), void *arg) must_check;

/* Worker side. */
struct loop *volume_loop(const struct volume *volume);
uint32_t volume_id(const struct volume *volume);

#endif
