#ifndef PANDO_ROUTER_CLIENTS_H
#define PANDO_ROUTER_CLIENTS_H

/*
 * How many sessions each client address has that nobody has logged in on: one client must not take
 * all the room that there is for everybody. An IPv6 /64 is one client, being what one customer is
 * given; loopback is nobody in particular (a web mailer, a tunnel) and is not counted.
 */

#include "core/check.h"
#include "core/str.h"

struct clients;

/* One session's place among those of its address; zeroed: none. */
struct client_place {
	struct client *client;
};

struct clients *clients_create(void);
/* Every place has been left. Sets *clients to NULL; NULL is accepted. */
void clients_destroy(struct clients **clients);

/* `peer` is "address:port". False, and no place, when the address has `maximum` sessions. */
bool clients_enter(struct clients *clients, const char *peer, uint64_t maximum,
	struct client_place *place_out) must_check;
/* The session is over, or somebody has logged in. A place that was left may be left again. */
void clients_leave(struct clients *clients, struct client_place *place);

/* "127.0.0.1:..." or "[::1]:...". */
bool client_is_loopback(const char *peer) must_check;

#endif
