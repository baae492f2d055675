/*
 * The router's SMTP and IMAP front: sessions, transactions, logins, forwarding and the proxy as
 * they are shipped. The queue is played here, so that scripts can make it fail.
 *
 * connect mx|submission|submissions|imap|imaps
 * do move VOLUME NODE, do passwords (all change), do queue fails, do queue full, do queue works,
 * do stop
 */

#include "core/pool.h"
#include "replay/engine.h"
#include "replay/mail_directory.h"
#include "router/bounce.h"
#include "router/clients.h"
#include "router/forward.h"
#include "router/imap_login.h"
#include "router/login.h"
#include "router/proxy.h"
#include "router/queue.h"
#include "router/smtp_session.h"

#include <errno.h>
#include <stdlib.h>

static struct config config;
static struct router router;
static int queue_status;

struct played_add {
	struct task task;
	void (*done)(void *arg, int status);
	void *arg;
};

static void run_added(void *arg)
{
	struct played_add add = *(struct played_add *)arg;
	free(arg);
	add.done(add.arg, queue_status);
}

void queue_add(struct queue *queue, const struct queue_entry *entry,
	void (*done)(void *arg, int status), void *arg)
{
	struct played_add *add = mem_alloc(sizeof(*add));
	(void)queue;
	CHECK(entry->body && entry->recipient_count > 0);
	add->done = done;
	add->arg = arg;
	add->task.run = run_added;
	add->task.arg = add;
	loop_defer(router.loop, &add->task);
}

/* Notifications are the queue's affair. */
bool bounce_make(struct router *shared, const struct queue_record *record,
	const enum bounce_news *news, struct str message, struct pool *pool,
	struct queue_entry *entry_out)
{
	(void)shared, (void)record, (void)news, (void)message, (void)pool, (void)entry_out;
	return false;
}

void queue_retry_homes(struct queue *queue)
{
	(void)queue;
}

static void start(struct str arguments)
{
	static char some_tls;
	struct router_metrics *metrics = &router.metrics;
	struct metric *counter = metric_counter("pando_replay", "", "Counted for nobody");

	(void)arguments;
	mail_directory_start();
	config.hostname = (char *)"mx.example.org";
	config.cluster_ca = config.relay_host = (char *)"";
	config.message_bytes_max = 100000;
	config.recipients_max = 3;
	config.smtp_sessions_max = config.imap_sessions_max = 7;
	config.client_sessions_max = 6;
	config.forward_timeout_ms = 10000;
	router.loop = world_loop();
	router.is_stopping = false;
	list_init(&router.smtp_sessions);
	router.config = &config;
	router.directory = mail_directory();
	router.public_tls = router.cluster_tls = (struct tls_context *)(void *)&some_tls;
	metrics->smtp_sessions = metrics->imap_sessions =
		metric_gauge("pando_replay_gauge", "", "");
	metrics->accepted = metrics->refused = metrics->queued = metrics->logins = counter;
	metrics->smtp_turned_away = metrics->imap_turned_away = metrics->logins_refused = counter;
	metrics->salvage_logins = counter;
	metrics->accept_seconds = metric_histogram("pando_replay_seconds", "", "");
	router.login = login_create(&router);
	router.clients = clients_create();
	router.forward = forward_create(&router);
	router.proxies = proxies_create(&router);
}

static struct stream *open_session(struct str arguments)
{
	bool tls = str_equal(arguments, STR("submissions")) || str_equal(arguments, STR("imaps"));
	struct stream *stream = world_accept(tls ? "client" : "");

	if (str_equal(arguments, STR("salvage")))
		imap_login_start_salvage(&router, stream);
	else if (str_starts_with(arguments, STR("imap")))
		imap_login_start(&router, tls, stream);
	else
		smtp_session_start(&router,
			str_equal(arguments, STR("mx")) ? SMTP_SERVICE_MX :
			tls				 ? SMTP_SERVICE_SUBMISSIONS :
							   SMTP_SERVICE_SUBMISSION,
			stream);
	return stream;
}

static bool command(struct str text)
{
	struct str word;
	uint64_t volume, node;

	if (str_starts_with(text, STR("queue "))) {
		queue_status = str_equal(text, STR("queue fails")) ? -EIO :
			str_equal(text, STR("queue full"))	   ? -ENOSPC :
								     0;
		return true;
	}
	if (str_equal(text, STR("stop"))) {
		router.is_stopping = true;
		smtp_sessions_stop(&router);
		return true;
	}
	if (str_equal(text, STR("passwords"))) {
		mail_directory_change_passwords();
		proxies_directory_changed(router.proxies, false);
		return true;
	}
	if (!str_next(&text, ' ', &word) || !str_equal(word, STR("move")))
		return false;
	if (!str_next(&text, ' ', &word) || !str_to_u64(word, 2, &volume) ||
		!str_to_u64(text, 2, &node))
		return false;
	mail_directory_move((uint32_t)volume, (uint32_t)node);
	forward_directory_changed(router.forward);
	proxies_directory_changed(router.proxies, true);
	return true;
}

static void stop(void)
{
	CHECK(router.smtp_session_count == 0);
	proxies_destroy(&router.proxies);
	CHECK(router.imap_session_count == 0);
	forward_destroy(&router.forward);
	login_destroy(&router.login);
	clients_destroy(&router.clients);
}

const struct replay_engine engine_smtp = { "smtp", start, open_session, command, stop };
