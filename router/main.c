/*
 * pando-router: the front door of a site. Opens the directory, the queue and the listeners, gives
 * up its privileges, and serves until it is told to stop.
 */

#include "core/control.h"
#include "core/encode.h"
#include "core/http.h"
#include "core/log.h"
#include "core/net.h"
#include "core/process.h"
#include "core/timer.h"
#include "router/clients.h"
#include "router/forward.h"
#include "router/imap_login.h"
#include "router/listen.h"
#include "router/login.h"
#include "router/proxy.h"
#include "router/queue.h"
#include "router/queue_peer.h"
#include "router/router.h"
#include "router/smtp_session.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program {
	struct config config;
	struct router router;
	struct doors *doors;
	struct control_server *control;
	struct http_server *http;
	struct tls_context *server_tls; /* for ctl and for routers of other sites */
	atomic_bool is_healthy; /* read by the HTTP thread */
	uint64_t homes;         /* digest of who serves what */
	struct timer *stop_timer;
	unsigned stop_ticks;
};

/* How long messages that are whole may take to get their reply when the router is told to stop, in
 * all 3 seconds, a little above remote_wait_ms_max: their clients would send them again, and could
 * not know that they had arrived. */
enum { STOP_TICK_MS = 20, STOP_TICKS_MAX = 150 };

/* As little as a change of homes: epochs, primaries and addresses. */
static uint64_t digest_homes(const struct directory *directory)
{
	const struct directory_volume *volume;
	const struct directory_node *node;
	uint64_t digest = 0;
	size_t position = 0;
	char text[256];

	while ((volume = directory_next_volume(directory, &position)) != NULL) {
		snprintf(text, sizeof(text), "%u %u %llu", volume->id, volume->primary_node_id,
			(unsigned long long)volume->epoch);
		digest = digest * 31 + str_hash(str_from(text));
	}
	position = 0;
	while ((node = directory_next_node(directory, &position)) != NULL) {
		snprintf(text, sizeof(text), "%u %s %s", node->id, node->lmtp, node->imap);
		digest = digest * 31 + str_hash(str_from(text));
	}
	return digest;
}

static void on_directory_change(void *arg)
{
	struct program *program = arg;
	struct router *router = &program->router;

	atomic_store(&program->is_healthy, directory_is_loaded(router->directory));
	uint64_t homes = digest_homes(router->directory);
	if (router->proxies)
		proxies_directory_changed(router->proxies, homes != program->homes);
	if (homes == program->homes)
		return;
	program->homes = homes;
	if (router->forward)
		forward_directory_changed(router->forward);
	if (router->queue)
		queue_retry_homes(router->queue);
}

static bool is_healthy(void *arg, struct buf *out)
{
	struct program *program = arg;
	bool healthy = atomic_load(&program->is_healthy);
	if (!healthy)
		buf_append_literal(out, "directory: nothing is loaded yet\n");
	return healthy;
}

static void answer_status(struct program *program, struct buf *out)
{
	const struct router *router = &program->router;
	buf_append_literal(out, "{\"daemon\": \"router\", ");
	vitals_report(router->vitals, out);
	buf_printf(out, ", \"directory_loaded\": %s",
		directory_is_loaded(router->directory) ? "true" : "false");
	buf_printf(out,
		", \"smtp_sessions\": %u, \"imap_sessions\": %u, \"proxied\": %u, \"queue\": %u",
		router->smtp_session_count, router->imap_session_count,
		proxies_count(router->proxies), queue_count(router->queue));
	int refusal = queue_refusal(router->queue);
	buf_append_literal(out, ", \"queue_refuses\": ");
	encode_json(out, str_from(refusal < 0 ? strerror(-refusal) : ""));
	buf_printf(out, ", \"accepted\": %lld, \"refused\": %lld, \"queued\": %lld}",
		(long long)metric_value(router->metrics.accepted),
		(long long)metric_value(router->metrics.refused),
		(long long)metric_value(router->metrics.queued));
}

static void on_control(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count)
{
	struct program *program = arg;
	struct queue *queue = program->router.queue;
	struct str id = argument_count > 0 ? arguments[0] : STR("");
	struct buf out = { 0 };
	bool found = true;

	if (str_equal(verb, STR("status")))
		answer_status(program, &out);
	else if (str_equal(verb, STR("queue-list")))
		queue_list(queue, &out);
	else if (str_equal(verb, STR("queue-show")))
		found = queue_show(queue, id, &out);
	else if (str_equal(verb, STR("queue-flush")) && argument_count > 0) {
		found = queue_flush_one(queue, id);
		buf_append_literal(&out, "{\"flushed\": 1}");
	} else if (str_equal(verb, STR("queue-flush")))
		buf_printf(&out, "{\"flushed\": %u}", queue_flush(queue));
	else if (str_equal(verb, STR("queue-drop"))) {
		found = queue_drop(queue, id);
		buf_append_literal(&out, "{\"dropped\": true}");
	} else if (str_equal(verb, STR("at-risk")))
		queue_at_risk(queue, &out);
	else {
		control_reply_error(
			request, "the router does not know the verb %s", log_quote(verb));
		buf_deinit(&out);
		return;
	}
	if (found)
		control_reply(request, buf_str(&out));
	else
		control_reply_error(
			request, "no message %s in this router's queue", log_quote(id));
	buf_deinit(&out);
}

static void register_metrics(struct router_metrics *metrics)
{
	metrics->smtp_sessions = metric_gauge("pando_smtp_sessions", "", "Open SMTP sessions");
	metrics->imap_sessions = metric_gauge("pando_imap_sessions", "", "Open IMAP sessions");
	metrics->accepted = metric_counter("pando_smtp_messages_total", "result=\"accepted\"",
		"Messages that got their final reply");
	metrics->refused = metric_counter("pando_smtp_messages_total", "result=\"refused\"",
		"Messages that got their final reply");
	metrics->queued = metric_counter("pando_queued_total", "", "Messages taken into the queue");
	metrics->smtp_turned_away = metric_counter("pando_turned_away_total", "service=\"smtp\"",
		"Connections over the limit of sessions");
	metrics->imap_turned_away = metric_counter("pando_turned_away_total", "service=\"imap\"",
		"Connections over the limit of sessions");
	metrics->logins = metric_counter("pando_logins_total", "result=\"good\"", "Logins");
	metrics->logins_refused =
		metric_counter("pando_logins_total", "result=\"refused\"", "Logins");
	metrics->salvage_logins =
		metric_counter("pando_logins_total", "result=\"salvage\"", "Logins");
	metrics->accept_seconds = metric_histogram("pando_smtp_accept_seconds", "",
		"From the end of a message to its reply");
}

static int open_contexts(struct program *program, struct error *error)
{
	const struct config *config = &program->config;
	struct router *router = &program->router;
	int rc = 0;

	if (config->public_certificate[0])
		rc = tls_context_create(
			&(struct tls_options){ .certificate_file = config->public_certificate,
				.key_file = config->public_key,
				.is_server = true },
			&router->public_tls, error);
	if (rc == 0)
		rc = tls_context_create(
			&(struct tls_options){ .certificate_file = config->router_certificate,
				.key_file = config->router_key,
				.ca_file = config->cluster_ca,
				.cluster = true },
			&router->cluster_tls, error);
	if (rc == 0)
		rc = tls_context_create(
			&(struct tls_options){ .certificate_file = config->router_certificate,
				.key_file = config->router_key,
				.ca_file = config->cluster_ca,
				.is_server = true,
				.require_peer = true,
				.cluster = true },
			&program->server_tls, error);
	/* Opportunistic: better than clear text, no promise about who answers. */
	if (rc == 0)
		rc = tls_context_create(
			&(struct tls_options){ .is_server = false }, &router->relay_tls, error);
	return rc;
}

static void watch_vitals(struct program *program, const char *path)
{
	struct router *router = &program->router;

	router->vitals = vitals_create(router->loop, "pando-router");
	vitals_watch_certificate(
		router->vitals, "cluster", "router_certificate", program->server_tls, NULL);
	if (router->public_tls)
		vitals_watch_certificate(router->vitals, "public", "public_certificate",
			router->public_tls, program->config.hostname);
	vitals_watch_disk(router->vitals, "queue", path);
	vitals_watch_directory(router->vitals, router->directory);
}

static int open_all(struct program *program, struct error *error)
{
	struct config *config = &program->config;
	struct router *router = &program->router;
	char path[PROCESS_FOLDER_MAX], snapshot[PROCESS_FOLDER_MAX + 16];

	int rc = open_contexts(program, error);
	/* Listeners first: low ports need the privileges. Nothing is accepted before
	 * the loop runs. */
	if (rc == 0)
		rc = doors_open(router, &program->doors, error);
	if (rc == 0 && config->router_control_listen[0])
		rc = control_server_open(router->loop, config->router_control_listen,
			program->server_tls, on_control, program, &program->control, error);
	if (rc == 0 && config->router_http_listen[0])
		rc = http_server_open(
			config->router_http_listen, is_healthy, program, &program->http, error);
	if (rc == 0)
		rc = process_drop_privileges(config->user, error);
	if (rc == 0)
		rc = process_make_folder(config, "router", path, error);
	if (rc == 0)
		rc = dns_create(router->loop, &router->dns, error);
	if (rc == 0) {
		router->login = login_create(router);
		router->clients = clients_create();
		router->forward = forward_create(router);
		router->proxies = proxies_create(router);
		snprintf(snapshot, sizeof(snapshot), "%s/directory.db", path);
		router->directory = directory_open(
			router->loop, config, snapshot, on_directory_change, program);
	}
	if (rc == 0)
		watch_vitals(program, path);
	if (rc == 0)
		rc = queue_open(router, &router->queue, error);
	if (rc == 0)
		rc = queue_peers_open(router, program->server_tls, &router->queue_peers, error);
	return rc;
}

static void close_all(struct program *program)
{

	doors_close(&program->doors);
	control_server_close(&program->control);
	http_server_close(&program->http);
}

static void on_stop_tick(void *arg)
{
	struct program *program = arg;
	/* One more turn after the last reply lets it leave. */
	bool finished = program->router.finishing_count == 0 && program->stop_ticks > 1;

	if (finished || ++program->stop_ticks > STOP_TICKS_MAX)
		loop_stop(program->router.loop);
	else
		timer_start(program->stop_timer, STOP_TICK_MS);
}

static void on_stop(void *arg)
{
	struct program *program = arg;

	if (program->router.is_stopping) {
		loop_stop(program->router.loop);
		return;
	}
	log_info("stopping", "smtp_sessions=%u imap_sessions=%u messages=%u",
		program->router.smtp_session_count, program->router.imap_session_count,
		program->router.finishing_count);
	program->router.is_stopping = true;
	smtp_sessions_stop(&program->router);
	proxies_stop(program->router.proxies);
	doors_close(&program->doors);
	program->stop_timer = timer_new(program->router.loop, on_stop_tick, program);
	timer_start(program->stop_timer, STOP_TICK_MS);
}

int main(int argument_count, char **arguments)
{
	static struct program program;
	struct error error;
	struct router *router = &program.router;

	process_load_config("pando-router", argument_count, arguments, &program.config);
	process_raise_file_limit();
	register_metrics(&router->metrics);
	router->loop = loop_create();
	router->config = &program.config;
	router->on_salvage = imap_login_start_salvage;
	list_init(&router->smtp_sessions);
	if (open_all(&program, &error) < 0) {
		log_error("start_failed", "reason=%s", log_quote(str_from(error.text)));
		return EXIT_FAILURE;
	}
	on_directory_change(&program);
	loop_on_signal(router->loop, SIGTERM, on_stop, &program);
	loop_on_signal(router->loop, SIGINT, on_stop, &program);
	log_info("ready", "hostname=%s queue=%u", program.config.hostname,
		queue_count(router->queue));
	process_say_ready();
	loop_run(router->loop);
	/* What is in flight has not been confirmed to anybody; the log holds the rest. The process
	 * ends when its pool threads have nothing left to do. */
	login_stop(router->login);
	close_all(&program);
	log_info("stopped", "hostname=%s", program.config.hostname);
	return EXIT_SUCCESS;
}
