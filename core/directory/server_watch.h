#ifndef PANDO_CORE_DIRECTORY_SERVER_WATCH_H
#define PANDO_CORE_DIRECTORY_SERVER_WATCH_H

/*
 * A follower's side of servers.h, private to core/directory: asks on a pool thread which server is
 * the right one, and says in the log, once each, when several can be written or one came back from
 * the past. Lives on one loop.
 */

#include "core/directory/servers.h"
#include "core/loop.h"

struct server_watch;

struct server_watch_handler {
	/* The right server, and a connection string for it alone; both are valid during the call.
	 */
	void (*on_chosen)(void *arg, const struct server *server, const char *conninfo);
	/* There is none, or nobody can tell which. */
	void (*on_none)(void *arg, const char *reason);
};

/* `conninfo` and `memory_path` as in servers.h; copied. */
struct server_watch *server_watch_create(struct loop *loop, const char *conninfo,
	const char *memory_path, const struct server_watch_handler *handler, void *arg);
/* Sets *watch to NULL; NULL is accepted. No callback comes afterwards. */
void server_watch_destroy(struct server_watch **watch);
/* Answered by one of the callbacks, never from inside; while a question is under way another one
 * changes nothing. */
void server_watch_ask(struct server_watch *watch);

#endif
