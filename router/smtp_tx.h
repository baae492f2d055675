#ifndef PANDO_ROUTER_SMTP_TX_H
#define PANDO_ROUTER_SMTP_TX_H

/*
 * One SMTP transaction: MAIL to the final reply. It collects recipients and the message, forwards
 * to the homes, queues what could not be forwarded, and ends with exactly one reply.
 *
 * Invariants:
 * 1. The reply is positive only when every recipient's copy is stored as its policy asks (the home
 *    has said so), is durable in the queue, or has failed for good and a bounce for it is durable
 *    in the queue.
 * 2. Recipients with durability `strict` are never queued: their transaction holds only recipients
 *    of one volume, and no more than a node takes at once, so that 451 never follows a partial
 *    delivery.
 * 3. A client that leaves before the reply gets nothing queued: it will send the message again.
 */

#include "proto/mail/smtp.h"
#include "proto/mail/smtp_data.h"
#include "router/router.h"

struct smtp_tx;

/* Where the message comes from; the session's, outlives the transaction's collecting phase. */
struct smtp_origin {
	const char *helo, *peer, *tls;
	const char *login; /* canonical address of the authenticated user, "" */
	bool extended;
	bool submission;
};

/* Below the 512 of RFC 5321 section 4.5.3.1.5. */
enum { SMTP_TX_REPLY_MAX = 400 };

struct smtp_tx *smtp_tx_create(struct router *router, const struct smtp_mail *mail,
	const struct smtp_origin *origin);
/* The reply. */
const char *smtp_tx_add_recipient(struct smtp_tx *tx, const struct smtp_rcpt *rcpt) must_check;
unsigned smtp_tx_recipient_count(const struct smtp_tx *tx);
/* MAIL asked for SMTPUTF8. */
bool smtp_tx_is_utf8(const struct smtp_tx *tx);
/* The message's bytes go here. The first call puts the Received header in front. */
struct smtp_data *smtp_tx_data(struct smtp_tx *tx, const struct smtp_origin *origin);
/* After bytes have been taken: counts them against what all messages together may hold. Over it
 * this one gets 452 4.3.1 at its end. */
void smtp_tx_count(struct smtp_tx *tx);
/* The message is whole. done(arg, reply) comes once, never from inside the call; the transaction is
 * gone then. */
void smtp_tx_finish(struct smtp_tx *tx, const struct smtp_origin *origin,
	void (*done)(void *arg, const char *reply), void *arg);
/* RSET, or the client has left. done is not called. Sets *tx to NULL; NULL is accepted. */
void smtp_tx_abandon(struct smtp_tx **tx);

#endif
