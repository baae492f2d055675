#ifndef PANDO_ROUTER_RELAY_H
#define PANDO_ROUTER_RELAY_H

/*
 * One message to the smart host (relay_host): an SMTP client with STARTTLS where it is offered. One
 * connection per message; the queue bounds how many at a time.
 */

#include "router/forward.h"
#include "router/queue_record.h"

/* Zero it, fill it, keep it until done, which comes once and never from inside relay_send. */
struct relay_job {
	struct router *router;
	const struct queue_record *record;   /* sender, envid, ret, flags */
	struct bytes *body;                  /* the caller's reference */
	struct forward_recipient *recipients; /* results; FORWARD_UNKNOWN: not reached */
	const struct queue_recipient **details; /* NOTIFY and ORCPT of the same recipients */
	unsigned recipient_count;
	bool carries_dsn; /* result: the host has taken over what NOTIFY asks for */
	void (*done)(struct relay_job *job);
	void *arg;
	struct relay_connection *connection; /* private */
};

void relay_send(struct relay_job *job);
/* done will not be called. */
void relay_cancel(struct relay_job *job);

#endif
