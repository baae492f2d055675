#include "router/proxy.h"

#include "core/list.h"
#include "core/log.h"
#include "router/resolve.h"

#include <stdlib.h>

struct proxies {
	struct router *router;
	struct list all;
	unsigned count;
};

struct proxy {
	struct list link;
	struct proxies *proxies;
	struct stream *client, *backend;
	uint64_t mailbox_id;
	uint32_t node_id;
	bool said_bye; /* the home, in what it sent last */
};

/* A BYE and the reply to LOGOUT behind it are shorter. */
enum { BYE_LENGTH_MAX = 512 };

static void proxy_free(struct proxy *proxy)
{
	struct proxies *proxies = proxy->proxies;
	struct router *router = proxies->router;

	list_remove(&proxy->link);
	proxies->count--;
	router->imap_session_count--;
	metric_set(router->metrics.imap_sessions, router->imap_session_count);
	free(proxy);
}

/* Back-pressure: a reader that is slower than the writer stops the writer. */
static void pass(struct stream *from, struct stream *to, struct buf *input)
{
	stream_write_str(to, buf_str(input));
	buf_consume(input, buf_length(input));
	if (stream_backlog(to) >= STREAM_BACKLOG_HIGH)
		stream_pause(from);
}

static void client_on_input(void *arg, struct buf *input)
{
	struct proxy *proxy = arg;
	pass(proxy->client, proxy->backend, input);
}

static void client_on_drain(void *arg)
{
	struct proxy *proxy = arg;
	stream_resume(proxy->backend);
}

static void client_on_close(void *arg, int reason)
{
	struct proxy *proxy = arg;
	(void)reason;
	stream_close(proxy->backend);
	proxy_free(proxy);
}

static void backend_on_input(void *arg, struct buf *input)
{
	struct proxy *proxy = arg;
	struct str last = buf_str(input);
	if (last.length > BYE_LENGTH_MAX)
		last = str_from_index(last, last.length - BYE_LENGTH_MAX);
	proxy->said_bye = str_find(last, STR("* BYE ")) >= 0;
	pass(proxy->backend, proxy->client, input);
}

static void backend_on_drain(void *arg)
{
	struct proxy *proxy = arg;
	stream_resume(proxy->client);
}

static void backend_on_close(void *arg, int reason)
{
	struct proxy *proxy = arg;
	(void)reason;
	/* A home that ends a session says why itself; one that breaks off cannot. */
	if (!proxy->said_bye)
		stream_write_str(proxy->client,
			STR("* BYE [UNAVAILABLE] The mailbox's home is gone\r\n"));
	stream_close(proxy->client);
	proxy_free(proxy);
}

static const struct stream_handler client_handler = {
	.on_input = client_on_input,
	.on_drain = client_on_drain,
	.on_close = client_on_close,
};

static const struct stream_handler backend_handler = {
	.on_input = backend_on_input,
	.on_drain = backend_on_drain,
	.on_close = backend_on_close,
};

void proxy_start(struct proxies *proxies, struct stream *client, struct stream *backend,
	uint64_t mailbox_id, uint32_t node_id)
{
	struct proxy *proxy = mem_alloc(sizeof(*proxy));

	proxy->proxies = proxies;
	proxy->client = client;
	proxy->backend = backend;
	proxy->mailbox_id = mailbox_id;
	proxy->node_id = node_id;
	list_append(&proxies->all, &proxy->link);
	proxies->count++;
	stream_set_handler(client, &client_handler, proxy);
	stream_set_handler(backend, &backend_handler, proxy);
	/* Shows what is waiting already. */
	stream_pause(client);
	stream_resume(client);
	stream_pause(backend);
	stream_resume(backend);
}

void proxies_directory_changed(struct proxies *proxies)
{
	unsigned ended = 0;

	list_for_each_safe(entry, following, &proxies->all) {
		struct proxy *proxy = list_entry(entry, struct proxy, link);
		if (resolve_home(proxies->router->directory, proxy->mailbox_id) == proxy->node_id)
			continue;
		stream_write_str(proxy->client,
			STR("* BYE [UNAVAILABLE] Mailbox has moved, connect again\r\n"));
		stream_close(proxy->client);
		stream_abort(proxy->backend);
		proxy_free(proxy);
		ended++;
	}
	if (ended > 0)
		log_info("proxies_moved", "sessions=%u", ended);
}

unsigned proxies_count(const struct proxies *proxies)
{
	return proxies->count;
}

struct proxies *proxies_create(struct router *router)
{
	struct proxies *proxies = mem_alloc(sizeof(*proxies));
	proxies->router = router;
	list_init(&proxies->all);
	return proxies;
}

void proxies_stop(struct proxies *proxies)
{
	list_for_each_safe(entry, following, &proxies->all) {
		struct proxy *proxy = list_entry(entry, struct proxy, link);
		stream_write_str(proxy->client, STR("* BYE Server shuts down\r\n"));
		stream_close(proxy->client);
		stream_abort(proxy->backend);
		proxy_free(proxy);
	}
}

void proxies_destroy(struct proxies **proxies)
{
	if (!*proxies)
		return;
	proxies_stop(*proxies);
	free(*proxies);
	*proxies = NULL;
}
