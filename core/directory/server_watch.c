#include "core/directory/server_watch.h"

#include "core/log.h"
#include "core/str.h"

#include <errno.h>
#include <stdlib.h>

/* What the pool thread works on; outlives the watch when that is destroyed meanwhile. */
struct look {
	struct server_watch *owner; /* NULL: nobody waits any more */
	char *conninfo, *memory_path;
	struct servers servers;
	struct error error;
	int code;
};

struct server_watch {
	struct loop *loop;
	struct server_watch_handler handler;
	void *arg;
	char *conninfo, *memory_path;
	struct look *look; /* under way */
	/* What was told of: it is told again when it has changed. */
	bool told_split;
	enum server_verdict told[SERVERS_MAX];
};

struct server_watch *server_watch_create(struct loop *loop, const char *conninfo,
	const char *memory_path, const struct server_watch_handler *handler, void *arg)
{
	struct server_watch *watch = mem_alloc(sizeof(*watch));
	watch->loop = loop;
	watch->handler = *handler;
	watch->arg = arg;
	watch->conninfo = str_to_heap(str_from(conninfo));
	watch->memory_path = str_to_heap(str_from(memory_path));
	return watch;
}

void server_watch_destroy(struct server_watch **watch)
{
	if (!*watch)
		return;
	if ((*watch)->look)
		(*watch)->look->owner = NULL;
	free((*watch)->conninfo);
	free((*watch)->memory_path);
	free(*watch);
	*watch = NULL;
}

static void tell_verdicts(struct server_watch *watch, const struct servers *servers)
{
	for (unsigned i = 0; i < servers->count; i++) {
		const struct server *server = &servers->list[i];
		if (server->state == SERVER_AWAY || server->verdict == watch->told[i])
			continue;
		watch->told[i] = server->verdict;
		if (server->verdict != SERVER_GOOD)
			log_error("directory_server_refused",
				"host=%s system=%llu timeline=%u known_system=%llu "
				"known_timeline=%u effect=\"it is not believed\" hint=\"pando "
				"check\"",
				server->host, (unsigned long long)server->identity.system,
				server->identity.timeline,
				(unsigned long long)servers->known.system, servers->known.timeline);
	}
}

static void tell(struct server_watch *watch, const struct servers *servers)
{
	tell_verdicts(watch, servers);
	if (servers->is_split && !watch->told_split)
		log_error("directory_is_split", "chosen=%s effect=\"%s\" hint=\"pando check\"",
			servers->chosen < 0 ? "none" : servers->list[servers->chosen].host,
			servers->chosen < 0 ? "the last copy is served"
					    : "the one on the highest timeline is believed");
	watch->told_split = servers->is_split;
}

/* Pool thread. */
static void look_work(void *arg)
{
	struct look *look = arg;
	look->code = servers_ask(look->conninfo, look->memory_path, &look->servers, &look->error);
	servers_release(&look->servers);
}

static void free_look(struct look *look)
{
	free(look->conninfo);
	free(look->memory_path);
	free(look);
}

static void look_done(void *arg)
{
	struct look *look = arg;
	struct server_watch *watch = look->owner;
	const struct servers *servers = &look->servers;
	if (!watch) {
		free_look(look);
		return;
	}
	watch->look = NULL;
	tell(watch, servers);
	if (look->code == 0 && servers->chosen >= 0) {
		const struct server *chosen = &servers->list[servers->chosen];
		struct buf one = { 0 };
		servers_name_one(look->conninfo, (unsigned)servers->chosen, &one);
		watch->handler.on_chosen(watch->arg, chosen, buf_terminated(&one));
		buf_deinit(&one);
	} else {
		if (look->code == 0)
			look->code = servers_check_writable(servers, &look->error);
		watch->handler.on_none(watch->arg, look->error.text);
	}
	free_look(look);
}

void server_watch_ask(struct server_watch *watch)
{
	if (watch->look)
		return;
	struct look *look = mem_alloc(sizeof(*look));
	look->owner = watch;
	look->conninfo = str_to_heap(str_from(watch->conninfo));
	look->memory_path = str_to_heap(str_from(watch->memory_path));
	watch->look = look;
	loop_work(watch->loop, look_work, look_done, look);
}
