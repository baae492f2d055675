/* What has rotted in the logs of all copies (node/scrub/): how far each has been read, what was
 * found and mended, and whose messages are damaged where no copy could mend them. */

#include "core/clock.h"
#include "core/encode.h"
#include "ctl/cluster.h"
#include "ctl/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	/* Between two looks at a pass: a person sees it move. */
	LOOK_MS = 300,
	/* A node that is restarted goes on with its pass; one that stays away does not. */
	SILENT_MS_MAX = 60 * 1000,
	/* After a pass whose damage could not be named: the index is being made anew, perhaps. */
	NAMES_MS_MAX = 15 * 1000,
	BAR_LENGTH = 30,
};

static const char *const columns[] = { "volume", "node", "role", "state", "#percent", "last_pass",
	"#found", "#mended", "#unmended" };
static const char *const report_columns[] = { "volume", "node", "#from_lsn", "#bytes", "fault",
	"mailbox", "folder", "#uid", "sender", "#messages" };

/* Which copies a command is about: NULL: any. */
struct subject {
	struct command *command;
	struct cluster cluster;
	const struct directory_volume *volume;
	const struct directory_node *node;
	struct question *nodes; /* their `scrub` */
	unsigned node_count;
	bool any_silent;
};

static void subject_close(struct subject *subject)
{
	free(subject->nodes);
	cluster_close(&subject->cluster);
}

static int subject_open(struct subject *subject, struct command *command)
{
	const char *what = command->positional_count > 0 ? command->positionals[0] : NULL;
	struct error error = { 0 };
	*subject = (struct subject){ .command = command };
	int code = cluster_open_to_look(command, &subject->cluster);
	if (code != EXIT_DONE || what == NULL)
		return code;
	subject->volume = cluster_find_volume(&subject->cluster, what);
	if (subject->volume == NULL)
		subject->node = directory_find_node_by_name(
			subject->cluster.directory, str_from(what));
	if (subject->volume != NULL || subject->node != NULL)
		return EXIT_DONE;
	cluster_close(&subject->cluster);
	error_set(&error, -ENOENT,
		"`%s` is neither a volume nor a node: see `pando volume list`, `pando node list`",
		what);
	return command_fail(&error);
}

static bool is_wanted(const struct subject *subject, const struct directory_node *node,
	const struct directory_volume *volume)
{
	return cluster_holds(volume, node->id) &&
		(subject->node == NULL || subject->node == node) &&
		(subject->volume == NULL || subject->volume == volume);
}

/* Some copy of what is asked for is there. */
static bool has_any(const struct subject *subject, const struct directory_node *node)
{
	const struct directory_volume *volume;
	size_t position = 0;
	while ((volume = directory_next_volume(subject->cluster.directory, &position)) != NULL)
		if (is_wanted(subject, node, volume))
			return true;
	return false;
}

/* ---- asking ---- */

/* 0 or an exit code with the sentence printed. Answers live in the asker: a pass may take hours, so
 * each look has its own. */
static int ask(struct subject *subject)
{
	struct error error = { 0 };
	free(subject->nodes);
	subject->nodes = NULL;
	asker_destroy(&subject->cluster.asker);
	if (asker_create(&subject->command->config, &subject->cluster.asker, &error) < 0)
		return command_fail(&error);
	subject->nodes =
		cluster_ask_nodes(&subject->cluster, "scrub", ASK_MS, &subject->node_count);
	return EXIT_DONE;
}

/* With what those say that are asked in vain. */
static void tell_silent(struct subject *subject)
{
	const struct directory_node *node;
	size_t position = 0;
	for (unsigned i = 0;
		(node = directory_next_node(subject->cluster.directory, &position)) != NULL; i++) {
		if (subject->nodes[i].answer != NULL || !has_any(subject, node))
			continue;
		command_fail(&subject->nodes[i].error);
		subject->any_silent = true;
	}
}

/* What the node says of its copy; NULL: nothing. */
static const struct json *find_copy(const struct question *question, uint32_t volume_id)
{
	const struct json *copy = json_first(json_get(question->answer, "scrub"));
	while (copy != NULL && json_u64(copy, "volume") != volume_id)
		copy = copy->next;
	return copy;
}

/* Calls fn for each copy that is asked for, in the order of volumes and nodes. */
static void each_copy(const struct subject *subject,
	void (*fn)(void *arg, const struct directory_volume *volume,
		const struct directory_node *node, const struct json *copy),
	void *arg)
{
	const struct directory *directory = subject->cluster.directory;
	const struct directory_volume *volume;
	const struct directory_node *node;
	size_t position = 0;
	while ((volume = directory_next_volume(directory, &position)) != NULL) {
		size_t at = 0;
		for (unsigned i = 0; (node = directory_next_node(directory, &at)) != NULL; i++)
			if (is_wanted(subject, node, volume))
				fn(arg, volume, node, find_copy(&subject->nodes[i], volume->id));
	}
}

/* ---- tables ---- */

struct listing {
	const struct subject *subject;
	struct table table;
	uint64_t unmended;
};

static void add_copy(void *arg, const struct directory_volume *volume,
	const struct directory_node *node, const struct json *copy)
{
	struct listing *listing = arg;
	struct table *table = &listing->table;
	struct buf time = { 0 };
	int64_t ended_s = (int64_t)json_u64(copy, "last_ended_s");
	if (copy == NULL)
		return;
	if (ended_s > 0)
		encode_time(&time, ended_s * 1000000);
	else if (!command_json(listing->subject->command))
		buf_append_literal(&time, "never");
	table_add(table, volume->name);
	table_add(table, node->name);
	table_add_str(table, json_text(copy, "role"));
	table_add_str(table, json_text(copy, "state"));
	table_addf(table, "%llu", (unsigned long long)json_u64(copy, "percent"));
	table_add_str(table, buf_str(&time));
	for (size_t i = 6; i < array_length(columns); i++)
		table_add_str(table, json_text(copy, table_column_name(columns[i])));
	listing->unmended += json_u64(copy, "unmended");
	buf_deinit(&time);
}

static void add_damage(struct table *table, const struct directory_volume *volume,
	const struct directory_node *node, const struct json *damage)
{
	uint64_t from = json_u64(damage, "from_lsn"), to = json_u64(damage, "to_lsn");
	table_add(table, volume->name);
	table_add(table, node->name);
	table_addf(table, "%llu", (unsigned long long)from);
	table_addf(table, "%llu", (unsigned long long)(to - from));
	table_add_str(table, json_text(damage, "fault"));
}

/* A row for each message; where there are more than are named, or none, one of the place itself. */
static void report_damage(struct table *table, const struct directory_volume *volume,
	const struct directory_node *node, const struct json *copy, const struct json *damage)
{
	uint64_t from = json_u64(damage, "from_lsn"), to = json_u64(damage, "to_lsn"), named = 0;
	for (const struct json *message = json_first(json_get(copy, "messages")); message;
		message = message->next) {
		if (json_u64(message, "lsn") < from || json_u64(message, "lsn") >= to)
			continue;
		named++;
		add_damage(table, volume, node, damage);
		table_add_str(table, json_text(message, "mailbox"));
		table_add_str(table, json_text(message, "folder"));
		table_add_str(table, json_text(message, "uid"));
		table_add_str(table, json_text(message, "sender"));
		table_add(table, "1");
	}
	if (named > 0 && named >= json_u64(damage, "messages"))
		return;
	add_damage(table, volume, node, damage);
	for (unsigned i = 0; i < 4; i++)
		table_add(table, "");
	table_addf(table, "%llu", (unsigned long long)(json_u64(damage, "messages") - named));
}

static void add_report(void *arg, const struct directory_volume *volume,
	const struct directory_node *node, const struct json *copy)
{
	struct listing *listing = arg;
	for (const struct json *damage = json_first(json_get(copy, "damages")); damage;
		damage = damage->next)
		report_damage(&listing->table, volume, node, copy, damage);
	if (json_u64(copy, "unlisted") > 0)
		command_complain("%s has %llu more damaged places in volume %s than it lists",
			node->name, (unsigned long long)json_u64(copy, "unlisted"), volume->name);
	listing->unmended += json_u64(copy, "unmended");
}

static int print_answer(struct subject *subject)
{
	bool reports = command_has(subject->command, "report");
	struct listing listing = { .subject = subject };
	struct table *table = &listing.table;
	table->column_count =
		reports ? (unsigned)array_length(report_columns) : (unsigned)array_length(columns);
	memcpy(table->columns, reports ? report_columns : columns,
		table->column_count * sizeof(columns[0]));
	tell_silent(subject);
	each_copy(subject, reports ? add_report : add_copy, &listing);
	table_print(table, command_json(subject->command),
		subject->any_silent ? "nothing is known of those that do not answer"
			: reports   ? "no damage that another copy could not mend"
				    : "no node holds a copy there");
	table_deinit(table);
	return listing.unmended > 0 || subject->any_silent ? EXIT_FAILED : EXIT_DONE;
}

/* ---- --now ---- */

static volatile sig_atomic_t was_interrupted;

static void scrub_on_interrupt(int number)
{
	(void)number;
	was_interrupted = 1;
}

/* Of the node's copies: `scrub-now ID,ID,...`. */
static void append_request(
	const struct subject *subject, const struct directory_node *node, struct buf *out)
{
	const struct directory_volume *volume;
	size_t position = 0;
	bool first = true;
	buf_append_literal(out, "scrub-now ");
	while ((volume = directory_next_volume(subject->cluster.directory, &position)) != NULL) {
		if (!is_wanted(subject, node, volume))
			continue;
		buf_printf(out, "%s%u", first ? "" : ",", volume->id);
		first = false;
	}
}

static int begin_at(struct subject *subject, const struct directory_node *node)
{
	struct question question = { 0 };
	struct buf request = { 0 };
	struct error error = { 0 };
	append_request(subject, node, &request);
	question.request = buf_terminated(&request);
	snprintf(question.address, sizeof(question.address), "%s", node->control);
	ask_all(subject->cluster.asker, &question, 1, ASK_MS);
	buf_deinit(&request);
	if (question.answer == NULL)
		return command_fail(&question.error);
	if (json_u64(question.answer, "begun") > 0)
		return EXIT_DONE;
	error_set(&error, -EAGAIN,
		"%s holds nothing of it that can be read now: its volumes are being opened or "
		"filled",
		node->name);
	return command_fail(&error);
}

/* 1 where some node has begun; else 0. */
static int begin_all(struct subject *subject)
{
	const struct directory_node *node;
	size_t position = 0;
	int any = 0;
	while ((node = directory_next_node(subject->cluster.directory, &position)) != NULL) {
		if (!has_any(subject, node))
			continue;
		if (begin_at(subject, node) == EXIT_DONE)
			any = 1;
		else
			subject->any_silent = true;
	}
	return any;
}

struct progress {
	uint64_t read, total;
	unsigned reading, unnamed, silent;
};

static void add_progress(void *arg, const struct directory_volume *volume,
	const struct directory_node *node, const struct json *copy)
{
	struct progress *progress = arg;
	(void)volume;
	(void)node;
	if (copy == NULL) {
		progress->silent++;
		return;
	}
	bool is_now = json_true(copy, "is_now");
	progress->reading += is_now;
	progress->total += json_u64(copy, "end_lsn");
	progress->read += is_now ? json_u64(copy, "lsn") : json_u64(copy, "end_lsn");
	for (const struct json *damage = json_first(json_get(copy, "damages")); damage;
		damage = damage->next)
		progress->unnamed += !json_true(damage, "is_named");
}

static void draw_bar(const struct progress *progress)
{
	char bar[BAR_LENGTH + 1];
	unsigned percent =
		progress->total ? (unsigned)(progress->read * 100 / progress->total) : 0;
	percent = percent > 100 ? 100 : percent;
	memset(bar, ' ', BAR_LENGTH);
	memset(bar, '#', percent * BAR_LENGTH / 100);
	bar[BAR_LENGTH] = '\0';
	fprintf(stderr, "\r[%s] %3u %%  %llu of %llu MiB, %u copies to be read   ", bar, percent,
		(unsigned long long)(progress->read >> 20),
		(unsigned long long)(progress->total >> 20), progress->reading);
	fflush(stderr);
}

/* Until all have been read, and what stands is named; true: it was. The last answers are kept. */
static bool wait_for_passes(struct subject *subject)
{
	bool shows_bar = !command_json(subject->command) && isatty(STDERR_FILENO);
	struct sigaction action = { .sa_handler = scrub_on_interrupt };
	uint64_t heard_us = clock_mono_us(), named_us = heard_us;
	struct progress progress;
	bool is_over = false, is_lost = false;
	sigaction(SIGINT, &action, NULL);
	while (!is_over && !is_lost && !was_interrupted) {
		clock_sleep_ms(LOOK_MS);
		progress = (struct progress){ 0 };
		if (ask(subject) != EXIT_DONE)
			return false;
		each_copy(subject, add_progress, &progress);
		uint64_t now_us = clock_mono_us();
		heard_us = progress.silent == 0 || subject->any_silent ? now_us : heard_us;
		named_us = progress.reading > 0 || progress.silent > 0 ? now_us : named_us;
		is_lost = now_us - heard_us > SILENT_MS_MAX * 1000u;
		is_over = progress.reading == 0 && (progress.silent == 0 || subject->any_silent) &&
			(progress.unnamed == 0 || now_us - named_us > NAMES_MS_MAX * 1000u);
		if (shows_bar)
			draw_bar(&progress);
	}
	if (shows_bar)
		fprintf(stderr, "\n");
	return is_over;
}

static int run_now(struct subject *subject)
{
	if (!begin_all(subject) && subject->any_silent)
		return EXIT_FAILED;
	bool is_over = wait_for_passes(subject);
	if (!is_over && was_interrupted)
		command_complain("it goes on being read: `pando scrub` shows how far it is");
	int code = subject->nodes ? print_answer(subject) : EXIT_FAILED;
	return is_over ? code : EXIT_FAILED;
}

int scrub_run(struct command *command)
{
	struct subject subject;
	int code = subject_open(&subject, command);
	if (code != EXIT_DONE)
		return code;
	if (command_has(command, "now")) {
		code = run_now(&subject);
	} else {
		code = ask(&subject);
		if (code == EXIT_DONE)
			code = print_answer(&subject);
	}
	subject_close(&subject);
	return code;
}
