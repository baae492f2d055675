#ifndef PANDO_ROUTER_FORWARD_H
#define PANDO_ROUTER_FORWARD_H

/*
 * Messages to their home nodes over a few LMTP connections per node (mutual TLS), many transactions
 * in flight on each: MAIL, RCPT..., BDAT and the body leave in one write, the replies are read in
 * order.
 *
 * Invariants:
 * 1. A job ends with done, once, with a code for every recipient; never from inside forward_send.
 * 2. A job whose connection breaks is sent again on another one under the same delivery id: the
 *    node stores it once.
 * 3. A node that has said nothing while a job waited its whole time is taken for away.
 * 4. A job that has no answer after forward_timeout_ms ends with FORWARD_UNKNOWN for the recipients
 *    that were not answered; the node may have stored it all the same, so that a later attempt must
 *    use the same delivery id.
 */

#include "core/bytes.h"
#include "core/list.h"
#include "router/router.h"

enum {
	FORWARD_REPLY_MAX = 200, /* what is kept of a reply's text, for logs and bounces */
	FORWARD_UNKNOWN = 0,
};

struct forward_recipient {
	const char *address;             /* of the mailbox; the caller's */
	const uint8_t *mark;             /* of SMTP_MARK_LENGTH, also; NULL: none is known */
	unsigned code;                   /* 250, 4xx, 5xx or FORWARD_UNKNOWN */
	char reply[FORWARD_REPLY_MAX];   /* "4.3.0 text" */
};

/* One message to one node. Zero it, fill it, keep it until done. */
struct forward_job {
	uint32_t node_id;
	uint8_t delivery_id[16];
	const char *sender;              /* "" for the null sender; the caller's */
	bool eight_bit, utf8;
	struct bytes *body;              /* the caller's reference */
	struct forward_recipient *recipients;
	unsigned recipient_count;
	void (*done)(struct forward_job *job);
	void *arg;
	/* private */
	struct list link, timing;
	struct forward_slot *slot;
	uint64_t deadline_us;
	unsigned attempts;
	bool ended;
	struct task task;
};

struct forward *forward_create(struct router *router);
/* Every job is cancelled without done. */
void forward_destroy(struct forward **forward);
void forward_send(struct forward *forward, struct forward_job *job);
/* Homes or addresses may have changed: waiting jobs of nodes that are gone end, others try again
 * now. */
void forward_directory_changed(struct forward *forward);

#endif
