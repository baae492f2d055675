#include "ctl/cluster.h"

#include "core/encode.h"
#include "core/nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void copy_path(const struct command *command, struct buf *out)
{
	buf_printf(out, "%s/pando-places.db", command->config.data_dir);
	(void)buf_terminated(out);
}

static int open_asker(struct command *command, struct cluster *cluster)
{
	struct error error = { 0 };
	if (asker_create(&command->config, &cluster->asker, &error) == 0)
		return EXIT_DONE;
	cluster_close(cluster);
	return command_fail(&error);
}

/* As they are now; and kept for who looks when the directory is away. */
static int read_places(
	const struct command *command, struct directory **directory_out, struct error *error)
{
	struct buf path = { 0 };
	copy_path(command, &path);
	int code =
		directory_read_places(command->writer, buf_terminated(&path), directory_out, error);
	buf_deinit(&path);
	return code;
}

int cluster_open(struct command *command, struct cluster *cluster)
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return read_places(command, &cluster->directory, &error) < 0 ? command_fail(&error)
								     : open_asker(command, cluster);
}

/* It was not asked, or says so itself: a volume may have been moved since. */
static void believe_who_serves(struct cluster *cluster)
{
	unsigned count;
	size_t volumes = 0;
	const struct directory_volume *volume;
	struct question *nodes = cluster_ask_nodes(cluster, "status", ASK_LOOK_MS, &count);
	while ((volume = directory_next_volume(cluster->directory, &volumes)) != NULL) {
		const struct directory_node *node;
		size_t position = 0;
		for (unsigned i = 0; i < count &&
			(node = directory_next_node(cluster->directory, &position)) != NULL;
			i++) {
			const struct json *own = status_volume(nodes[i].answer, volume->id);
			if (str_equal(json_text(own, "role"), STR("primary")))
				directory_note_served(cluster->directory, volume->id, node->id,
					json_u64(own, "epoch"));
		}
	}
	free(nodes);
}

static void say_how_old(const char *path)
{
	struct stat about;
	struct buf when = { 0 };
	if (stat(path, &about) == 0)
		encode_time(&when, about.st_mtim.tv_sec * 1000000ll);
	command_complain("going on with the places that were known before%s%s, and what the nodes "
			 "say of themselves",
		buf_length(&when) ? ", of " : "", buf_length(&when) ? buf_terminated(&when) : "");
	buf_deinit(&when);
}

int cluster_open_to_look(struct command *command, struct cluster *cluster)
{
	struct error error = { 0 };
	struct buf path = { 0 };
	if (directory_writer_open(&command->config, &command->writer, &error) == 0)
		return cluster_open(command, cluster);
	copy_path(command, &path);
	int code = directory_load_places(buf_terminated(&path), &cluster->directory, NULL);
	if (code < 0) {
		buf_deinit(&path);
		return command_fail(&error);
	}
	command_fail(&error);
	say_how_old(buf_terminated(&path));
	buf_deinit(&path);
	code = open_asker(command, cluster);
	if (code == EXIT_DONE)
		believe_who_serves(cluster);
	return code;
}

void cluster_keep_places(struct command *command)
{
	struct directory *directory = NULL;
	(void)!read_places(command, &directory, NULL);
	directory_free_places(&directory);
}

int cluster_forget_answers(const struct command *command, struct cluster *cluster)
{
	struct asker *asker = NULL;
	int code = asker_create(&command->config, &asker, NULL);
	if (code < 0)
		return code;
	asker_destroy(&cluster->asker);
	cluster->asker = asker;
	return 0;
}

void cluster_close(struct cluster *cluster)
{
	asker_destroy(&cluster->asker);
	directory_free_places(&cluster->directory);
}

const char *cluster_site_name(const struct cluster *cluster, uint32_t site_id)
{
	const struct directory_site *site = directory_find_site(cluster->directory, site_id);
	return site ? site->name : "?";
}

const struct directory_site *cluster_find_site(const struct cluster *cluster, const char *name)
{
	size_t position = 0;
	const struct directory_site *site;
	while ((site = directory_next_site(cluster->directory, &position)) != NULL)
		if (strcmp(site->name, name) == 0)
			return site;
	return NULL;
}

const struct directory_volume *cluster_find_volume(const struct cluster *cluster, const char *name)
{
	size_t position = 0;
	const struct directory_volume *volume;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL)
		if (strcmp(volume->name, name) == 0)
			return volume;
	return NULL;
}

int cluster_no_such(const struct cluster *cluster, const char *what, const char *name)
{
	struct nearest nearest = { .wanted = str_from(name) };
	struct error error = { 0 };
	size_t position = 0;
	const struct directory_site *site;
	const struct directory_node *node;
	const struct directory_volume *volume;
	if (strcmp(what, "site") == 0)
		while ((site = directory_next_site(cluster->directory, &position)) != NULL)
			nearest_offer(&nearest, str_from(site->name));
	else if (strcmp(what, "node") == 0)
		while ((node = directory_next_node(cluster->directory, &position)) != NULL)
			nearest_offer(&nearest, str_from(node->name));
	else
		while ((volume = directory_next_volume(cluster->directory, &position)) != NULL)
			nearest_offer(&nearest, str_from(volume->name));
	(void)nearest_refuse(&nearest, what, &error);
	return command_fail(&error);
}

/* Of a volume by its name. */
static bool lacks_copy_elsewhere(struct command *command, const char *name)
{
	struct cluster cluster = { 0 };
	const struct directory_volume *volume = NULL;
	if (read_places(command, &cluster.directory, NULL) == 0)
		volume = cluster_find_volume(&cluster, name);
	bool lacks = volume && !cluster_has_copy_elsewhere(&cluster, volume);
	cluster_close(&cluster);
	return lacks;
}

void cluster_warn_alone(struct command *command, const char *name, const char *durability)
{
	if (strcmp(durability, "local") != 0 && lacks_copy_elsewhere(command, name))
		command_complain(
			"volume %s has no replica at another site: until it has one, all of its "
			"mail is lost with its site, and `pando at-risk` and `pando check` say so; "
			"`pando copy add %s NODE` gives it one",
			name, name);
}

int cluster_take_volume(
	struct command *command, const struct directory_volume *volume, const char *doing)
{
	struct error error = { 0 };
	struct volume_seen seen = { volume->id, volume->epoch };
	return command_report(
		directory_begin_moves(command->writer, doing, &seen, 1, &error), &error);
}

static void add_question(struct buf *questions, const char *address, const char *request)
{
	struct question question = { .request = request };
	snprintf(question.address, sizeof(question.address), "%s", address);
	buf_append(questions, &question, sizeof(question));
}

static struct question *ask(
	struct cluster *cluster, struct buf *questions, unsigned timeout_ms, unsigned *count_out)
{
	*count_out = (unsigned)(buf_length(questions) / sizeof(struct question));
	struct question *all = mem_copy(buf_str(questions).bytes, buf_length(questions));
	buf_deinit(questions);
	ask_all(cluster->asker, all, *count_out, timeout_ms);
	return all;
}

struct question *cluster_ask_nodes(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out)
{
	struct buf questions = { 0 };
	size_t position = 0;
	const struct directory_node *node;
	while ((node = directory_next_node(cluster->directory, &position)) != NULL)
		add_question(&questions, node->control, request);
	return ask(cluster, &questions, timeout_ms, count_out);
}

struct question *cluster_ask_routers(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out)
{
	struct buf questions = { 0 };
	size_t position = 0;
	const struct directory_router *router;
	while ((router = directory_next_router(cluster->directory, &position)) != NULL)
		add_question(&questions, router->control, request);
	return ask(cluster, &questions, timeout_ms, count_out);
}

bool cluster_holds(const struct directory_volume *volume, uint32_t node_id)
{
	bool found = volume->primary_node_id == node_id;
	for (unsigned i = 0; i < volume->replica_count; i++)
		found = found || volume->replica_node_ids[i] == node_id;
	return found;
}

bool cluster_has_copy_elsewhere(
	const struct cluster *cluster, const struct directory_volume *volume)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	for (unsigned i = 0; i < volume->replica_count && primary; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		if (node && node->site_id != primary->site_id && !volume->replica_seeding[i])
			return true;
	}
	return false;
}

bool cluster_replicates(const struct cluster *cluster, const struct directory_node *node)
{
	size_t position = 0;
	const struct directory_volume *volume;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL)
		if (volume->replica_count > 0 && cluster_holds(volume, node->id))
			return true;
	return false;
}

struct question *cluster_ask_replicators(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out)
{
	struct buf questions = { 0 };
	size_t position = 0;
	const struct directory_node *node;
	while ((node = directory_next_node(cluster->directory, &position)) != NULL)
		add_question(&questions, cluster_replicates(cluster, node) ? node->replicator : "",
			request);
	return ask(cluster, &questions, timeout_ms, count_out);
}

const struct json *cluster_answer_of(
	const struct cluster *cluster, const struct question *nodes, uint32_t node_id)
{
	size_t position = 0;
	const struct directory_node *node;
	for (unsigned i = 0; (node = directory_next_node(cluster->directory, &position)) != NULL;
		i++)
		if (node->id == node_id)
			return nodes[i].answer;
	return NULL;
}

const struct json *cluster_primary_of(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume)
{
	const struct json *own = status_volume(
		cluster_answer_of(cluster, nodes, volume->primary_node_id), volume->id);
	return str_equal(json_text(own, "role"), STR("primary")) ? own : NULL;
}

const struct json *status_peer(const struct json *primary, const char *node)
{
	for (const struct json *peer = json_first(json_get(primary, "peers")); peer;
		peer = peer->next)
		if (str_equal(json_text(peer, "node"), str_from(node)))
			return peer;
	return NULL;
}

bool status_is_filled(const struct json *volume)
{
	return json_get(volume, "is_whole") != NULL && !json_true(volume, "is_whole");
}

const struct json *status_volume(const struct json *status, uint32_t volume_id)
{
	for (const struct json *volume = json_first(json_get(status, "volumes")); volume;
		volume = volume->next)
		if (json_u64(volume, "id") == volume_id)
			return volume;
	return NULL;
}

uint64_t status_highest_mailbox_id(
	const struct question *nodes, unsigned count, uint32_t *volume_id_out)
{
	uint64_t highest = 0;
	for (unsigned i = 0; i < count; i++)
		for (const struct json *volume = json_first(json_get(nodes[i].answer, "volumes"));
			volume; volume = volume->next) {
			uint64_t id = json_u64(volume, "highest_mailbox_id");
			if (id <= highest)
				continue;
			highest = id;
			*volume_id_out = (uint32_t)json_u64(volume, "id");
		}
	return highest;
}

uint64_t cluster_highest_mailbox_id(struct command *command)
{
	struct cluster cluster = { 0 };
	uint64_t highest = 0;
	uint32_t volume_id;
	unsigned count = 0;
	if (read_places(command, &cluster.directory, NULL) == 0 &&
		asker_create(&command->config, &cluster.asker, NULL) == 0) {
		struct question *nodes =
			cluster_ask_nodes(&cluster, "status", ASK_LOOK_MS, &count);
		highest = status_highest_mailbox_id(nodes, count, &volume_id);
		free(nodes);
	}
	cluster_close(&cluster);
	return highest;
}
