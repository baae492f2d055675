#ifndef PANDO_CORE_LISTENERS_H
#define PANDO_CORE_LISTENERS_H

/* The listeners of a daemon: one for each address of each of its configuration values. */

#include "core/net.h"

enum {
	/* Some services on some addresses of a host; far above what a machine is given. */
	LISTENERS_MAX = 64,
};

/* Zeroed is empty. */
struct listeners {
	struct listener *all[LISTENERS_MAX];
	unsigned count;
};

/* Adds a listener (core/net.h) for each of the space-separated `addresses`; none at all is no
 * error. Those opened before a failure stay for listeners_close. -E2BIG when there are more than
 * LISTENERS_MAX. */
int listeners_open(struct listeners *listeners, struct loop *loop, const char *addresses,
	struct tls_context *tls, void (*on_accept)(void *arg, struct stream *stream), void *arg,
	struct error *error) must_check;
void listeners_close(struct listeners *listeners);

#endif
