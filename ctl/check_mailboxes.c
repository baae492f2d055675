/* Who is who: what a directory that was restored knows of mailboxes, and what the volumes hold. */

#include "ctl/checks.h"

#include <stdlib.h>

/* A directory that is older than its volumes, as after a restore. */
static void check_ids(struct checks *checks, struct command *command, unsigned count)
{
	uint64_t last = 0;
	uint32_t volume_id = 0;
	uint64_t highest = status_highest_mailbox_id(checks->nodes, count, &volume_id);
	struct error error = { 0 };
	if (directory_last_mailbox_id(command->writer, &last, &error) < 0) {
		checks_note(checks, VERDICT_BAD, "mailbox numbers", "%s", error.text);
		return;
	}
	if (highest <= last) {
		checks_note(checks, VERDICT_GOOD, "mailbox numbers",
			"the directory's next one is above all that volumes have seen");
		return;
	}
	const struct directory_volume *volume =
		directory_find_volume(checks->cluster->directory, volume_id);
	checks_note(checks, VERDICT_WARN, "mailbox numbers",
		"the directory's next one is %llu, and volume %s has seen %llu: the directory was "
		"restored, and what was added since is missing, see `pando audit`; `pando mailbox "
		"add` goes on above",
		(unsigned long long)last + 1, volume ? volume->name : "?",
		(unsigned long long)highest);
}

static void note_other(struct checks *checks, const struct json *other)
{
	const struct directory_volume *volume = directory_find_volume(
		checks->cluster->directory, (uint32_t)json_u64(other, "volume"));
	struct str address = json_text(other, "address"), made_for = json_text(other, "made_for");
	struct buf what = { 0 }, advice = { 0 };
	buf_printf(&what, "mailbox " STR_FORMAT, STR_ARG(address));
	if (str_equal_ignore_case(address, made_for))
		buf_printf(&advice, "`pando mailbox adopt " STR_FORMAT "`", STR_ARG(address));
	else
		buf_printf(&advice, "`pando mailbox remove " STR_FORMAT "`, then add it again",
			STR_ARG(address));
	checks_note(checks, VERDICT_BAD, buf_terminated(&what),
		"volume %s holds another mailbox under its number %llu, made for " STR_FORMAT
		" (messages: %llu), nobody is served: %s",
		volume ? volume->name : "?", (unsigned long long)json_u64(other, "mailbox_id"),
		STR_ARG(made_for), (unsigned long long)json_u64(other, "messages"),
		buf_terminated(&advice));
	buf_deinit(&what);
	buf_deinit(&advice);
}

/* A node that serves none of them knows nothing of others. */
static void check_marks(struct checks *checks, struct cluster *cluster)
{
	unsigned count = 0, others = 0;
	struct question *nodes = cluster_ask_nodes(cluster, "others", ASK_MS, &count);
	for (unsigned i = 0; i < count; i++)
		for (const struct json *other = json_first(json_get(nodes[i].answer, "mailboxes"));
			other; other = other->next, others++)
			note_other(checks, other);
	if (count > 0 && others == 0)
		checks_note(checks, VERDICT_GOOD, "mailboxes",
			"each is the one that its volume holds under its number");
	free(nodes);
}

void check_mailboxes(struct checks *checks, struct command *command, struct cluster *cluster)
{
	unsigned count = 0;
	size_t position = 0;
	while (directory_next_node(cluster->directory, &position) != NULL)
		count++;
	check_ids(checks, command, count);
	check_marks(checks, cluster);
}
