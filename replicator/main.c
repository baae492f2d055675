/*
 * pando-replicator: tells the replicator (replicator.h) what the directory says, and nothing else.
 */

#include "core/control.h"
#include "core/directory/directory.h"
#include "core/http.h"
#include "core/log.h"
#include "core/process.h"
#include "core/timer.h"
#include "core/vitals.h"
#include "replicator/replicator.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
	/* How old an answer to a health check may be: people do not see it. */
	HEALTH_MS = 200,
	/* And `/directory.db`. */
	SNAPSHOT_PATH_MAX = PROCESS_FOLDER_MAX + 16,
};

struct program {
	struct config config;
	struct loop *loop;
	struct disk *disk;
	struct directory *directory;
	struct replicator *replicator;
	struct tls_context *tls_client, *tls_server;
	struct http_server *http;
	struct control_server *control;
	struct vitals *vitals;
	struct timer *health_timer;
	atomic_bool healthy; /* read by the HTTP thread */
};

static void fill_volume(const struct directory_volume *entry, uint32_t me,
	struct replicator_volume *volume_out)
{
	bool member = entry->primary_node_id == me;
	*volume_out = (struct replicator_volume){ .id = entry->id,
		.epoch = entry->epoch,
		.leader_node_id = entry->primary_node_id };
	volume_out->copies[0] = entry->primary_copy;
	volume_out->members[volume_out->member_count++] = entry->primary_node_id;
	for (unsigned i = 0; i < entry->replica_count; i++) {
		unsigned at = volume_out->member_count;
		if (at < REPLICATOR_MEMBERS_MAX &&
			entry->replica_node_ids[i] != entry->primary_node_id) {
			volume_out->members[at] = entry->replica_node_ids[i];
			volume_out->copies[at] = entry->replica_copies[i];
			volume_out->is_seeding[at] = entry->replica_seeding[i];
			volume_out->member_count++;
		}
		member |= entry->replica_node_ids[i] == me;
	}
	volume_out->role = !member			 ? REPLICATOR_NONE
		: entry->primary_node_id == me ? REPLICATOR_LEAD
						       : REPLICATOR_FOLLOW;
}

static bool has_volume(void *arg, uint32_t volume_id)
{
	const struct program *program = arg;
	return directory_find_volume(program->directory, volume_id) != NULL;
}

static bool has_node(void *arg, uint32_t node_id)
{
	const struct program *program = arg;
	return directory_find_node(program->directory, node_id) != NULL;
}

static void on_directory_change(void *arg)
{
	struct program *program = arg;
	const struct directory_node *node;
	const struct directory_volume *entry;
	size_t position = 0;
	if (!directory_is_loaded(program->directory))
		return;
	const struct directory_node *me = directory_find_node_by_name(
		program->directory, str_from(program->config.node));
	if (me == NULL)
		return;
	replicator_set_node_id(program->replicator, me->id);
	replicator_forget_peers(program->replicator, has_node, program);
	while ((node = directory_next_node(program->directory, &position)) != NULL)
		replicator_set_peer(program->replicator, node->id, node->name, node->replicator);
	position = 0;
	while ((entry = directory_next_volume(program->directory, &position)) != NULL) {
		struct replicator_volume volume;
		fill_volume(entry, me->id, &volume);
		replicator_set_volume(program->replicator, &volume);
	}
	replicator_forget_volumes(program->replicator, has_volume, program);
}

static bool is_healthy(void *arg, struct buf *out)
{
	struct program *program = arg;
	bool healthy = atomic_load(&program->healthy);
	if (!healthy)
		buf_append_literal(out, "replication: the node or a leader is not connected\n");
	return healthy;
}

static void on_health_timer(void *arg)
{
	struct program *program = arg;
	atomic_store(&program->healthy, replicator_is_settled(program->replicator));
	timer_start(program->health_timer, HEALTH_MS);
}

static int open_contexts(struct program *program, struct error *error)
{
	struct tls_options options = { .certificate_file = program->config.replicator_certificate,
		.key_file = program->config.replicator_key,
		.ca_file = program->config.cluster_ca,
		.cluster = true };
	int result = tls_context_create(&options, &program->tls_client, error);
	options.is_server = options.require_peer = true;
	return result < 0 ? result : tls_context_create(&options, &program->tls_server, error);
}

static int make_directories(struct program *program, char snapshot[SNAPSHOT_PATH_MAX],
	char volumes[PROCESS_FOLDER_MAX], struct error *error)
{
	int result = process_make_folder(&program->config, "replicator", volumes, error);
	snprintf(snapshot, SNAPSHOT_PATH_MAX, "%s/directory.db", volumes);
	/* The node's too: whoever comes first makes it. */
	return result == 0 ? process_make_folder(&program->config, "volumes", volumes, error)
			   : result;
}

static void on_control(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count)
{
	struct program *program = arg;
	struct buf json = { 0 };
	if (str_equal(verb, STR("export"))) {
		struct stream *stream = control_take_stream(request);
		if (stream != NULL)
			replicator_export(program->replicator, stream, arguments, argument_count);
		return;
	}
	if (!str_equal(verb, STR("status"))) {
		control_reply_error(request, "the replicator knows no verb %s", log_quote(verb));
		return;
	}
	buf_append_byte(&json, '{');
	vitals_report(program->vitals, &json);
	buf_printf(&json, ", \"settled\": %s, ",
		replicator_is_settled(program->replicator) ? "true" : "false");
	replicator_report(program->replicator, &json);
	buf_append_byte(&json, '}');
	control_reply(request, buf_str(&json));
	buf_deinit(&json);
}

static void on_operator(void *arg, struct stream *stream)
{
	struct program *program = arg;
	control_serve(program->control, stream);
}

static void watch_vitals(struct program *program, const char *volumes)
{
	program->control = control_server_create(on_control, program);
	program->vitals = vitals_create(program->loop, "pando-replicator");
	vitals_watch_certificate(
		program->vitals, "cluster", "replicator_certificate", program->tls_server, NULL);
	vitals_watch_disk(program->vitals, "volumes", volumes);
	vitals_watch_directory(program->vitals, program->directory);
}

static int open_all(struct program *program, struct error *error)
{
	struct config *config = &program->config;
	char volumes[PROCESS_FOLDER_MAX], socket[512], snapshot[SNAPSHOT_PATH_MAX];
	int result = open_contexts(program, error);
	if (result == 0 && config->replicator_http_listen[0])
		result = http_server_open(
			config->replicator_http_listen, is_healthy, program, &program->http, error);
	if (result == 0)
		result = process_drop_privileges(config->user, error);
	if (result == 0)
		result = make_directories(program, snapshot, volumes, error);
	if (result == 0)
		result = disk_create(
			program->loop, (enum io_backend)config->io_backend, &program->disk, error);
	if (result < 0)
		return result;
	snprintf(socket, sizeof(socket), "unix:%s/replicator.sock", config->run_dir);
	result = replicator_create(&(struct replicator_options){ .loop = program->loop,
					   .disk = program->disk,
					   .volumes_directory = volumes,
					   .node_name = config->node,
					   .tls_client = program->tls_client,
					   .tls_server = program->tls_server,
					   .listen = config->replicator_listen,
					   .node_socket = socket,
					   .fill_bytes_s = config->fill_mib_s_max << 20,
					   .on_operator = on_operator,
					   .arg = program },
		&program->replicator, error);
	if (result == 0)
		program->directory = directory_open(
			program->loop, config, snapshot, on_directory_change, program);
	if (result == 0)
		watch_vitals(program, volumes);
	return result;
}

static void on_stop(void *arg)
{
	struct program *program = arg;
	loop_stop(program->loop);
}

int main(int argument_count, char **arguments)
{
	static struct program program;
	struct error error;
	process_load_config("pando-replicator", argument_count, arguments, &program.config);
	process_raise_file_limit();
	program.loop = loop_create();
	loop_on_signal(program.loop, SIGTERM, on_stop, &program);
	loop_on_signal(program.loop, SIGINT, on_stop, &program);
	if (open_all(&program, &error) < 0) {
		log_error("start_failed", "reason=%s", log_quote(str_from(error.text)));
		return EXIT_FAILURE;
	}
	program.health_timer = timer_new(program.loop, on_health_timer, &program);
	timer_start(program.health_timer, HEALTH_MS);
	on_directory_change(&program);
	log_info("ready", "node=%s io_backend=%s", program.config.node,
		disk_backend_name(program.disk));
	process_say_ready();
	loop_run(program.loop);
	http_server_close(&program.http);
	log_info("stopped", "node=%s", program.config.node);
	return EXIT_SUCCESS;
}
