/*
 * pando-node: the mailbox server. Opens its listeners, gives up its privileges, follows the
 * directory, and serves the volumes that the directory gives it.
 */

#include "core/control.h"
#include "core/http.h"
#include "core/listeners.h"
#include "core/log.h"
#include "core/process.h"
#include "core/timer.h"
#include "node/control.h"
#include "node/session/imap_login.h"
#include "node/session/lmtp_session.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* How old an answer to a health check may be, and how late `ready` is said: people do not
	 * see it. */
	HEALTH_MS = 200,
	/* How long systemd is kept waiting for the volumes: a node that waits for its directory, or
	 * has no volume yet, runs all the same. */
	START_MS_MAX = 5000,
};

struct node {
	struct config config;
	struct loop *loop;
	struct directory *directory;
	struct volumes *volumes;
	struct tls_context *tls;
	struct control_server *control;
	struct vitals *vitals;
	struct salvage *salvage;
	struct scrub *scrub;
	struct node_control operators; /* what `pando` asks */
	struct http_server *http;
	struct listeners listeners;
	struct meant meant;
	struct lmtp_front lmtp;
	struct imap_front imap;
	struct timer *health_timer;
	atomic_bool healthy; /* read by the HTTP thread */
	bool announced, told;
	unsigned waited_ms;
};

static void on_directory_change(void *arg)
{
	struct node *node = arg;
	if (node->volumes == NULL)
		return;
	volumes_access_changed(node->volumes);
	volumes_reconcile(node->volumes);
}

static bool is_healthy(void *arg, struct buf *out)
{
	struct node *node = arg;
	bool healthy = atomic_load(&node->healthy);
	if (!healthy)
		buf_append_literal(out, "volumes: not all are open yet\n");
	return healthy;
}

static void on_health_timer(void *arg)
{
	struct node *node = arg;
	bool settled = volumes_are_settled(node->volumes);
	atomic_store(&node->healthy, settled);
	if (settled && !node->announced) {
		log_info("ready", "node=%s", node->config.node);
		node->announced = true;
	}
	if (!node->told && (settled || (node->waited_ms += HEALTH_MS) > START_MS_MAX)) {
		process_say_ready();
		node->told = true;
	}
	timer_start(node->health_timer, HEALTH_MS);
}

static void on_lmtp(void *arg, struct stream *stream)
{
	lmtp_session_start(arg, stream);
}

static void on_imap(void *arg, struct stream *stream)
{
	imap_login_start(arg, stream);
}

static int open_doors(struct node *node, struct error *error)
{
	struct config *config = &node->config;
	int result = tls_context_create(
		&(struct tls_options){ .certificate_file = config->node_certificate,
			.key_file = config->node_key,
			.ca_file = config->cluster_ca,
			.is_server = true,
			.require_peer = true,
			.cluster = true },
		&node->tls, error);
	if (result == 0)
		result = listeners_open(&node->listeners, node->loop, config->node_lmtp_listen,
			node->tls, on_lmtp, &node->lmtp, error);
	if (result == 0)
		result = listeners_open(&node->listeners, node->loop, config->node_imap_listen,
			node->tls, on_imap, &node->imap, error);
	if (result == 0 && config->node_http_listen[0])
		result = http_server_open(
			config->node_http_listen, is_healthy, node, &node->http, error);
	return result;
}

static void watch_vitals(struct node *node)
{
	static const char *const folders[] = { "volumes", "index" };
	char path[PROCESS_FOLDER_MAX + 16];
	node->vitals = vitals_create(node->loop, "pando-node");
	vitals_watch_certificate(node->vitals, "cluster", "node_certificate", node->tls, NULL);
	for (unsigned i = 0; i < array_length(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", node->config.data_dir, folders[i]);
		vitals_watch_disk(node->vitals, folders[i], path);
	}
	vitals_watch_directory(node->vitals, node->directory);
	volumes_measure(node->volumes);
	volumes_purge(node->volumes);
	node->operators = (struct node_control){ node->volumes, node->vitals, node->salvage,
		node->directory, node->scrub };
}

static int open_all(struct node *node, struct error *error)
{
	struct config *config = &node->config;
	char path[PROCESS_FOLDER_MAX], snapshot[PROCESS_FOLDER_MAX + 16];
	/* Listeners first: low ports need the privileges. Nothing is accepted before
	 * the loop runs. */
	int result = open_doors(node, error);
	if (result == 0)
		result = process_drop_privileges(config->user, error);
	if (result == 0)
		result = process_make_folder(config, "node", path, error);
	if (result == 0) {
		snprintf(snapshot, sizeof(snapshot), "%s/directory.db", path);
		node->directory =
			directory_open(node->loop, config, snapshot, on_directory_change, node);
	}
	if (result == 0)
		result = volumes_create(node->loop, config, node->directory, &node->volumes, error);
	if (result == 0)
		result = salvage_create(node->loop, config, node->directory, node->volumes,
			&node->salvage, error);
	if (result == 0)
		result = scrub_create(node->loop, config, node->directory, node->volumes,
			&node->scrub, error);
	if (result == 0)
		watch_vitals(node);
	if (result == 0 && config->node_control_listen[0])
		result = control_server_open(node->loop, config->node_control_listen, node->tls,
			node_control, &node->operators, &node->control, error);
	if (result < 0)
		return result;
	node->lmtp = (struct lmtp_front){ node->loop, node->directory, node->volumes, config,
		&node->meant };
	node->imap = (struct imap_front){ node->loop, node->directory, node->volumes, config,
		&node->meant };
	node->health_timer = timer_new(node->loop, on_health_timer, node);
	timer_start(node->health_timer, 0);
	return 0;
}

static void on_stop(void *arg)
{
	struct node *node = arg;
	log_info("stopping", "node=%s", node->config.node);
	loop_stop(node->loop);
}

int main(int argument_count, char **arguments)
{
	static struct node node;
	struct error error;
	process_load_config("pando-node", argument_count, arguments, &node.config);
	process_raise_file_limit();
	node.loop = loop_create();
	loop_on_signal(node.loop, SIGTERM, on_stop, &node);
	loop_on_signal(node.loop, SIGINT, on_stop, &node);
	if (open_all(&node, &error) < 0) {
		log_error("start_failed", "reason=%s", log_quote(str_from(error.text)));
		return EXIT_FAILURE;
	}
	volumes_reconcile(node.volumes);
	loop_run(node.loop);
	salvage_stop(node.salvage);
	scrub_stop(node.scrub);
	volumes_destroy(&node.volumes);
	http_server_close(&node.http);
	log_info("stopped", "node=%s", node.config.node);
	return EXIT_SUCCESS;
}
