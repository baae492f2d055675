#ifndef PANDO_CORE_DNS_H
#define PANDO_CORE_DNS_H

/* Name to addresses through c-ares, on a loop. */

#include "core/error.h"
#include "core/loop.h"

struct dns;

enum { DNS_ADDRESSES_MAX = 16 }; /* more than any mail host publishes for a reason */

struct dns_answer {
	int status;  /* 0, -ENOENT (no such name), -EAGAIN (try later) */
	unsigned count;
	char addresses[DNS_ADDRESSES_MAX][64]; /* "192.0.2.1:25", "[2001:db8::1]:25" */
};

int dns_create(struct loop *loop, struct dns **dns_out, struct error *error) must_check;
void dns_destroy(struct dns **dns);
/* `host_port` is "name:port" or a literal address (answered without asking). A and AAAA. */
void dns_resolve(struct dns *dns, const char *host_port,
	void (*done)(void *arg, const struct dns_answer *answer), void *arg);

#endif
