#ifndef PANDO_ROUTER_LISTEN_H
#define PANDO_ROUTER_LISTEN_H

/* The router's doors: every address of every service. */

#include "core/error.h"
#include "router/router.h"

struct doors;

/* Opens all of them, or none. Ports below 1024 need the privileges that main drops afterwards. */
int doors_open(struct router *router, struct doors **doors_out, struct error *error) must_check;
void doors_close(struct doors **doors);

#endif
