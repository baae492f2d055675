/* Opening a volume without the copies that are silent. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include "core/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* The claim, the replay behind the last checkpoint, the first records on disk. */
	SERVE_MS = 15000,
	POLL_MS = 50,
};

static const struct json *ask_volume(struct cluster *cluster, const struct directory_node *node,
	uint32_t volume_id, struct question *question)
{
	*question = (struct question){ .request = "status" };
	snprintf(question->address, sizeof(question->address), "%s", node->control);
	ask_all(cluster->asker, question, 1, ASK_MS);
	return status_volume(question->answer, volume_id);
}

static bool wait_served(
	struct cluster *cluster, const struct directory_node *node, uint32_t volume_id)
{
	for (unsigned waited_ms = 0; waited_ms < SERVE_MS; waited_ms += POLL_MS) {
		struct question question;
		const struct json *volume = ask_volume(cluster, node, volume_id, &question);
		if (str_equal(json_text(volume, "role"), STR("primary")))
			return true;
		clock_sleep_ms(POLL_MS);
	}
	return false;
}

static int open_alone(struct cluster *cluster, const struct directory_volume *volume,
	const struct directory_node *node)
{
	char request[64];
	struct error error = { 0 };
	struct question question = { .request = request };
	snprintf(request, sizeof(request), "open-alone %u", volume->id);
	snprintf(question.address, sizeof(question.address), "%s", node->control);
	ask_all(cluster->asker, &question, 1, ASK_MS);
	if (question.answer == NULL) {
		error_set(&error, -EIO, "%s stays as it is: %s: %s", volume->name, node->name,
			question.error.text);
		return command_fail(&error);
	}
	if (!wait_served(cluster, node, volume->id)) {
		error_set(&error, -ETIMEDOUT,
			"%s has been told to open %s and does not serve it yet: see `pando status`",
			node->name, volume->name);
		return command_fail(&error);
	}
	printf("%s serves %s\n", node->name, volume->name);
	return EXIT_DONE;
}

int open_run(struct command *command)
{
	struct cluster cluster = { 0 };
	const char *name = command->positionals[0];
	if (!command_has(command, "alone"))
		return command_usage(command,
			"--alone is missing: it says that what the silent copies have more may "
			"have to be delivered again later");
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	const struct directory_volume *volume = cluster_find_volume(&cluster, name);
	const struct directory_node *node = volume
		? directory_find_node(cluster.directory, volume->primary_node_id)
		: NULL;
	code = node ? open_alone(&cluster, volume, node)
		    : cluster_no_such(&cluster, "volume", name);
	cluster_close(&cluster);
	return code;
}
