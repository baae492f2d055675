#ifndef PANDO_TESTS_SIM_CLIENT_H
#define PANDO_TESTS_SIM_CLIENT_H

/*
 * What routers and users send to the shipped sessions, over simulated lines. Both live on the
 * machine of clients, which never fails. Whoever is called back may start the next thing at once.
 */

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* One LMTP transaction with a machine. `code` is the reply to the message: 250, another; 0 when the
 * line went first, so that nobody knows. */
void lmtp_client_send(unsigned machine, const uint8_t *delivery_id, uint64_t mailbox_id,
	uint64_t mark, void (*done)(void *arg, unsigned code), void *arg);

/* One IMAP session of a mailbox. */
struct imap_client;

struct imap_client_handler {
	/* An untagged line, its literals within. */
	void (*on_line)(void *arg, struct str line);
	/* The tagged line without its tag: to the login, then to each command. */
	void (*on_reply)(void *arg, struct str reply);
	/* The session is over; the pointer is dead. */
	void (*on_close)(void *arg);
};

/* Connects and logs in. */
struct imap_client *imap_client_open(unsigned machine, uint64_t mailbox_id,
	const struct imap_client_handler *handler, void *arg);
/* One at a time. */
void imap_client_command(struct imap_client *client, struct str command);
/* Without a word; no callback comes any more. */
void imap_client_abort(struct imap_client *client);

#endif
