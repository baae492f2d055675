#ifndef PANDO_NODE_DELIVER_H
#define PANDO_NODE_DELIVER_H

/*
 * Deliveries: one accepted message to many mailboxes on several volumes. Front thread: a part goes
 * to the worker of each volume (deliver_part.h), and their answers are gathered here.
 */

#include "node/volume/volumes.h"

enum {
	/* The largest recipients_max that a router may have. With aliases a message may have more
	 * mailboxes: those beyond are refused for now, and come with the router's next attempt. */
	DELIVERY_TARGETS_MAX = 1000,
};

/* One recipient of one accepted message. */
struct delivery_target {
	uint64_t mailbox_id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	struct str address; /* the mailbox's; alive until done */
	uint32_t volume_id;
	enum durability durability;
	uint64_t quota_bytes; /* 0: none */
	/* 0 stored as the policy asks (also when this id was delivered there before); -EROFS not
	 * the home; -ENOSPC; -EDQUOT; -ENOBUFS (rate.h); -EIO; -EAGAIN `strict` and no replica in
	 * time; -EKEYREJECTED what is stored under the id is another mailbox. */
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

#endif
