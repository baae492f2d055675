/* What `pando check` says of nodes, routers and replicators: do they answer, are their certificates
 * good, is there room on their disks, do they hear the directory. */

#include "ctl/checks.h"
#include "ctl/judge.h"

#include "core/clock.h"

#include <stdio.h>

/* Above the followers' own ten seconds between two looks. */
enum { DIRECTORY_AGE_MS_MAX = 60000 };

struct daemon {
	const char *kind, *name, *address;
	const struct directory_node *node; /* NULL: a router */
	const struct question *question;
};

static void check_certificates(struct checks *checks, const struct daemon *daemon)
{
	char program[32], what[160];
	snprintf(program, sizeof(program), "pando-%s", daemon->kind);
	struct judge_certificate wanted = { program, daemon->name, daemon->kind,
		clock_wall_us() / 1000000 };
	for (const struct json *entry =
			json_first(json_get(daemon->question->answer, "certificates"));
		entry; entry = entry->next) {
		struct buf sentence = { 0 };
		struct str use = json_text(entry, "use");
		snprintf(what, sizeof(what), "%s %s " STR_FORMAT "%s", daemon->kind, daemon->name,
			STR_ARG(use), str_equal(use, STR("authority")) ? "" : " certificate");
		if (judge_certificate(entry, &wanted, &sentence))
			checks_note(checks, VERDICT_GOOD, what, "for `" STR_FORMAT "`",
				STR_ARG(json_text(entry, "name")));
		else
			checks_note(checks, VERDICT_BAD, what, "%s", buf_terminated(&sentence));
		buf_deinit(&sentence);
	}
}

static void name_volumes(
	const struct checks *checks, const struct directory_node *node, struct buf *out)
{
	/* More names make no sentence. */
	enum { NAMED_MAX = 8 };
	size_t position = 0;
	unsigned count = 0;
	const struct directory_volume *volume;
	while ((volume = directory_next_volume(checks->cluster->directory, &position)) != NULL)
		if (cluster_holds(volume, node->id) && count++ < NAMED_MAX)
			buf_printf(out, "%s%s", count > 1 ? ", " : "", volume->name);
	if (count > NAMED_MAX)
		buf_printf(out, " and %u more", count - NAMED_MAX);
}

static void check_disks(struct checks *checks, const struct daemon *daemon)
{
	char what[160];
	for (const struct json *entry = json_first(json_get(daemon->question->answer, "disks"));
		entry; entry = entry->next) {
		struct buf sentence = { 0 };
		snprintf(what, sizeof(what), "%s %s disk (" STR_FORMAT ")", daemon->kind,
			daemon->name, STR_ARG(json_text(entry, "use")));
		if (judge_disk(entry, &sentence)) {
			checks_note(checks, VERDICT_GOOD, what, STR_FORMAT,
				STR_ARG(json_text(entry, "path")));
		} else if (daemon->node) {
			buf_append_literal(&sentence, "; on it are the volumes ");
			name_volumes(checks, daemon->node, &sentence);
			checks_note(checks, VERDICT_BAD, what,
				"%s: give it room, or move what it serves with `pando failover "
				"%s`",
				buf_terminated(&sentence), daemon->name);
		} else {
			checks_note(checks, VERDICT_BAD, what,
				"%s: give it room, or bring the mail on its way with `pando "
				"queue flush`",
				buf_terminated(&sentence));
		}
		buf_deinit(&sentence);
	}
}

/* A daemon and `pando` that take different servers for the directory: one of them sees an old one
 * only. False with a note. */
static bool check_directory_of(struct checks *checks, const struct json *answer, const char *what)
{
	const struct server_identity *ours = &checks->directory;
	uint64_t system = json_u64(answer, "directory_system");
	uint64_t timeline = json_u64(answer, "directory_timeline");
	if (ours->system == 0 || system == 0 ||
		(system == ours->system && timeline == ours->timeline))
		return true;
	if (system == ours->system && timeline > ours->timeline)
		checks_note(checks, VERDICT_BAD, what,
			"has the directory from timeline %llu, and this machine reaches timeline "
			"%u "
			"only, which is an old server: write nothing from here, see `pando "
			"directory list`",
			(unsigned long long)timeline, ours->timeline);
	else
		checks_note(checks, VERDICT_BAD, what,
			"has the directory from %s, timeline %llu, and this machine from timeline "
			"%u: can it reach the servers that `pando directory list` names?",
			system == ours->system ? "an old server" : "another PostgreSQL",
			(unsigned long long)timeline, ours->timeline);
	return false;
}

/* Of a replicator: two processes under one name, as both sides see them. */
static void check_twins(struct checks *checks, const struct json *answer, const char *what)
{
	for (const struct json *twin = json_first(json_get(answer, "twins")); twin;
		twin = twin->next)
		checks_note(checks, VERDICT_BAD, what,
			"two processes say that they are " STR_FORMAT ": " STR_FORMAT
			" is linked, " STR_FORMAT
			" is refused; stop the wrong one, see docs/operating.md, A copied machine",
			STR_ARG(json_text(twin, "name")), STR_ARG(json_text(twin, "linked")),
			STR_ARG(json_text(twin, "refused")));
	for (const struct json *by = json_first(json_get(answer, "refused_by")); by;
		by = by->next)
		checks_note(checks, VERDICT_BAD, what,
			"is refused: " STR_FORMAT
			"; stop the wrong one, see docs/operating.md, A copied machine",
			STR_ARG(by->text));
}

/* Of a node: what was cut off its logs comes home by itself, within seconds where all is well. */
static void check_salvage(struct checks *checks, const struct json *answer, const char *what)
{
	enum { WAITS_S_MAX = 600 };
	const struct json *salvage = json_get(answer, "salvage");
	if (json_u64(salvage, "open") == 0 || json_u64(salvage, "waits_s") < WAITS_S_MAX)
		return;
	checks_note(checks, VERDICT_BAD, what,
		"%llu tails that were cut off logs there have not come home, the oldest for %llu "
		"minutes: `pando salvage list` names them, `pando salvage show TAIL` says why",
		(unsigned long long)json_u64(salvage, "open"),
		(unsigned long long)json_u64(salvage, "waits_s") / 60);
}

/* Of a node: what has rotted and no copy could mend; and whether anybody still looks. */
static void check_scrub(struct checks *checks, const struct json *answer, const char *what,
	const char *node_name)
{
	const struct json *scrub = json_get(answer, "scrub");
	if (json_u64(scrub, "unmended") > 0)
		checks_note(checks, VERDICT_BAD, what,
			"%llu damaged places of logs there could not be mended by another copy: "
			"`pando scrub --report` names the messages, docs/operating.md, Scrub, says "
			"what to do",
			(unsigned long long)json_u64(scrub, "unmended"));
	if (json_u64(scrub, "disagreeing") > 0)
		checks_note(checks, VERDICT_BAD, what,
			"%llu rows of indexes there did not agree with their logs: they are made "
			"anew, see `index_disagrees` in its log, and `pando scrub %s --now` looks "
			"again",
			(unsigned long long)json_u64(scrub, "disagreeing"), node_name);
	if (json_u64(scrub, "overdue") > 0)
		checks_note(checks, VERDICT_WARN, what,
			"%llu volumes there have not been read for damage within twice scrub_days, "
			"the one that waits longest for %llu days: `pando scrub` shows them, "
			"`pando scrub VOLUME --now` reads one",
			(unsigned long long)json_u64(scrub, "overdue"),
			(unsigned long long)json_u64(scrub, "oldest_s") / 86400);
}

static void check_daemon(struct checks *checks, const struct daemon *daemon)
{
	char what[128];
	const struct json *answer = daemon->question->answer;
	snprintf(what, sizeof(what), "%s %s", daemon->kind, daemon->name);
	if (!answer) {
		checks_note(checks, VERDICT_BAD, what, "%s", daemon->question->error.text);
		return;
	}
	if (!json_true(answer, "directory_fresh") ||
		json_u64(answer, "directory_age_ms") > DIRECTORY_AGE_MS_MAX)
		checks_note(checks, VERDICT_WARN, what,
			"has heard nothing of the directory for %llu s and works from its copy: "
			"can it reach PostgreSQL?",
			(unsigned long long)(json_u64(answer, "directory_age_ms") / 1000));
	else if (check_directory_of(checks, answer, what))
		checks_note(checks, VERDICT_GOOD, what, "%s", daemon->address);
	check_certificates(checks, daemon);
	check_salvage(checks, answer, what);
	check_scrub(checks, answer, what, daemon->name);
	if (json_text(answer, "queue_refuses").length > 0)
		checks_note(checks, VERDICT_BAD, what,
			"its queue takes nothing (" STR_FORMAT
			"): mail for homes that are away and for other servers is refused for now; "
			"see `queue_` in the log of pando-router there",
			STR_ARG(json_text(answer, "queue_refuses")));
	/* A replicator's disk is its node's. */
	if (strcmp(daemon->kind, "replicator") != 0)
		check_disks(checks, daemon);
	else
		check_twins(checks, answer, what);
}

void check_daemons(struct checks *checks)
{
	size_t position = 0;
	unsigned index = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	while ((node = directory_next_node(checks->cluster->directory, &position)) != NULL) {
		const struct question *own = &checks->nodes[index];
		const struct question *replicator = &checks->replicators[index++];
		if (!filter_has_node(&checks->filter, node))
			continue;
		check_daemon(
			checks, &(struct daemon){ "node", node->name, node->control, node, own });
		if (replicator->address[0])
			check_daemon(checks,
				&(struct daemon){ "replicator", node->name, node->replicator, node,
					replicator });
	}
	position = index = 0;
	while ((router = directory_next_router(checks->cluster->directory, &position)) != NULL) {
		const struct question *own = &checks->routers[index++];
		if (filter_has_router(&checks->filter, router))
			check_daemon(checks,
				&(struct daemon){
					"router", router->name, router->control, NULL, own });
	}
}
