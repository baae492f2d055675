#include "router/proxy.h"

#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "core/timer.h"
#include "router/resolve.h"

#include <stdlib.h>

/* The sessions of one mailbox; there while there are some. */
struct proxied_mailbox {
	uint64_t id;
	struct list sessions;
};

struct proxies {
	struct router *router;
	struct list all;
	struct map *mailboxes; /* u64 id -> struct proxied_mailbox */
	unsigned count;
};

struct proxy {
	struct list link, mailbox_link;
	struct proxied_mailbox *mailbox;
	struct proxies *proxies;
	struct stream *client, *backend;
	uint64_t access;
	uint32_t node_id;
	bool said_bye; /* the home, in what it sent last */
	struct timer *answer_timer; /* the client has ended its side; NULL: it has not */
	size_t unread;              /* what the client was still to take when it was started */
};

enum {
	/* A BYE and the reply to LOGOUT behind it are shorter. */
	BYE_LENGTH_MAX = 512,
	/* Between two parts of what a client that has ended its side is still owed: it may be gone,
	 * and its home may hang. */
	ANSWER_MS_MAX = 60000,
};

static void join_mailbox(struct proxy *proxy, uint64_t id)
{
	struct map *mailboxes = proxy->proxies->mailboxes;
	struct proxied_mailbox *mailbox = map_get(mailboxes, map_key_u64(&id));

	if (!mailbox) {
		mailbox = mem_alloc(sizeof(*mailbox));
		mailbox->id = id;
		list_init(&mailbox->sessions);
		map_set(mailboxes, map_key_u64(&id), mailbox);
	}
	proxy->mailbox = mailbox;
	list_append(&mailbox->sessions, &proxy->mailbox_link);
}

static void leave_mailbox(struct proxy *proxy)
{
	struct proxied_mailbox *mailbox = proxy->mailbox;

	list_remove(&proxy->mailbox_link);
	if (!list_is_empty(&mailbox->sessions))
		return;
	map_remove(proxy->proxies->mailboxes, map_key_u64(&mailbox->id));
	free(mailbox);
}

static void proxy_free(struct proxy *proxy)
{
	struct proxies *proxies = proxy->proxies;
	struct router *router = proxies->router;

	list_remove(&proxy->link);
	leave_mailbox(proxy);
	timer_destroy(&proxy->answer_timer);
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

static void await_answer(struct proxy *proxy)
{
	proxy->unread = stream_untaken(proxy->client);
	timer_start(proxy->answer_timer, ANSWER_MS_MAX);
}

/* A slow reader keeps its home from sending more. */
static void on_unanswered(void *arg)
{
	struct proxy *proxy = arg;
	if (stream_untaken(proxy->client) < proxy->unread) {
		await_answer(proxy);
		return;
	}
	stream_abort(proxy->client);
	stream_abort(proxy->backend);
	proxy_free(proxy);
}

/* The home hears the same: it answers what it has been asked, and ends the session. */
static void client_on_end(void *arg)
{
	struct proxy *proxy = arg;
	if (proxy->answer_timer)
		return;
	proxy->answer_timer = timer_new(proxy->proxies->router->loop, on_unanswered, proxy);
	await_answer(proxy);
	stream_end(proxy->backend);
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
	if (proxy->answer_timer)
		await_answer(proxy);
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
	if (!proxy->said_bye && !proxy->answer_timer)
		stream_write_str(proxy->client,
			STR("* BYE [UNAVAILABLE] The mailbox's home is gone\r\n"));
	stream_close(proxy->client);
	proxy_free(proxy);
}

static const struct stream_handler client_handler = {
	.on_input = client_on_input,
	.on_drain = client_on_drain,
	.on_end = client_on_end,
	.on_close = client_on_close,
};

static const struct stream_handler backend_handler = {
	.on_input = backend_on_input,
	.on_drain = backend_on_drain,
	.on_close = backend_on_close,
};

/* Says why, unless the home has said it already. */
static void end_session(struct proxy *proxy, const char *why)
{
	if (!proxy->said_bye)
		stream_printf(proxy->client, "* BYE %s\r\n", why);
	stream_close(proxy->client);
	stream_abort(proxy->backend);
	proxy_free(proxy);
}

/* True when it had to end. */
static bool look_at(struct proxy *proxy)
{
	struct directory *directory = proxy->proxies->router->directory;
	uint64_t access = directory_access(directory, proxy->mailbox->id);

	if (access != proxy->access)
		end_session(proxy, directory_access_end(access));
	else if (resolve_home(directory, proxy->mailbox->id) != proxy->node_id)
		end_session(proxy, "[UNAVAILABLE] Mailbox has moved, connect again");
	else
		return false;
	return true;
}

void proxy_start(struct proxies *proxies, struct stream *client, struct stream *backend,
	const struct login_identity *identity, uint32_t node_id)
{
	struct proxy *proxy = mem_alloc(sizeof(*proxy));

	proxy->proxies = proxies;
	proxy->client = client;
	proxy->backend = backend;
	proxy->access = identity->access;
	proxy->node_id = node_id;
	list_append(&proxies->all, &proxy->link);
	join_mailbox(proxy, identity->mailbox_id);
	proxies->count++;
	stream_be_patient(client);
	stream_set_handler(client, &client_handler, proxy);
	stream_set_handler(backend, &backend_handler, proxy);
	/* Since the password was looked at, the directory may have changed. */
	if (look_at(proxy))
		return;
	/* Shows what is waiting already. */
	stream_pause(client);
	stream_resume(client);
	stream_pause(backend);
	stream_resume(backend);
}

static unsigned look_at_mailbox(struct proxies *proxies, uint64_t id)
{
	struct proxied_mailbox *mailbox = map_get(proxies->mailboxes, map_key_u64(&id));
	struct list *entry = mailbox ? mailbox->sessions.next : NULL;
	unsigned ended = 0;

	/* The last session takes the mailbox along. */
	for (bool is_last = !mailbox; !is_last;) {
		struct proxy *proxy = list_entry(entry, struct proxy, mailbox_link);
		entry = entry->next;
		is_last = entry == &mailbox->sessions;
		ended += look_at(proxy);
	}
	return ended;
}

void proxies_directory_changed(struct proxies *proxies, bool homes_changed)
{
	struct directory_news news = directory_news(proxies->router->directory);
	unsigned ended = 0;

	if (homes_changed || news.is_all)
		list_for_each_safe(entry, following, &proxies->all)
			ended += look_at(list_entry(entry, struct proxy, link));
	else
		for (size_t i = 0; i < news.count; i++)
			ended += look_at_mailbox(proxies, news.mailbox_ids[i]);
	if (ended > 0)
		log_info("proxies_ended", "sessions=%u", ended);
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
	proxies->mailboxes = map_create();
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
	map_destroy(&(*proxies)->mailboxes);
	free(*proxies);
	*proxies = NULL;
}
