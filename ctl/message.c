/* Expunged messages that can be brought back: `pando message expunged` lists them, `pando message
 * recover` has the node that serves the mailbox do it. */

#include "core/clock.h"
#include "core/encode.h"
#include "ctl/cluster.h"
#include "ctl/output.h"
#include "proto/mail/mime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* The node's RECOVER_BACK_MAX. */
	BACK_MAX = 256,
	/* Of one mailbox' list: 100,000 messages of some hundred bytes each are as much as a person
	 * can do something with; --folder and --since say which. */
	LISTED_MAX = 100000,
	/* A volume of a terabyte is looked through in seconds, and durability may wait for another
	 * site. */
	RECOVER_MS = 60000,
	/* Of one command: what a person types, or a line of a shell takes. */
	UID_RANGES_MAX = 256,
	/* The node's own. */
	FOLDER_NAME_MAX = 1000,
};

struct expunged {
	uint64_t lsn;
	uint32_t uid;
	uint64_t size;
	int64_t received_s, expunged_s, until_s;
	bool folder_is_gone;
	struct str folder, from, subject;
};

struct uid_range {
	uint32_t first, last;
};

struct recovery {
	struct command *command;
	struct cluster cluster;
	const char *address;
	uint64_t mailbox_id;
	char mark[2 * MAILBOX_MARK_LENGTH + 1], domain[DIRECTORY_ADDRESS_MAX];
	const struct directory_node *node; /* that serves it */
	/* Which are meant. */
	const char *folder; /* NULL: any */
	int64_t since_s;    /* 0: any */
	struct uid_range uids[UID_RANGES_MAX];
	unsigned uid_count; /* 0: any */
	/* The last to be expunged first. */
	struct expunged *messages;
	size_t count, capacity;
	struct pool *pool;
};

/* ---- which are meant ---- */

static bool parse_ago(struct str text, int64_t *since_s_out)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	uint64_t count;
	if (text.length < 2 || !str_to_u64(str_first(text, text.length - 1), INT32_MAX, &count))
		return false;
	for (size_t i = 0; i < array_length(units); i++)
		if (text.bytes[text.length - 1] == units[i].unit) {
			*since_s_out =
				clock_wall_us() / 1000000 - (int64_t)count * units[i].seconds;
			return true;
		}
	return false;
}

/* "2026-01-31", "2026-01-31T12:00:00Z", or "12h": so long ago. */
static bool parse_time(const char *text, int64_t *since_s_out)
{
	int year, month, day, hour = 0, minute = 0, second = 0, length = 0, whole = 0;
	if (parse_ago(str_from(text), since_s_out))
		return true;
	if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &length) != 3 || length != 10)
		return false;
	if (text[length] != '\0' &&
		(sscanf(text + length, "T%2d:%2d:%2dZ%n", &hour, &minute, &second, &whole) != 3 ||
			whole == 0 || text[length + whole] != '\0'))
		return false;
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
		hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return false;
	*since_s_out = mime_days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 +
		second;
	return true;
}

/* "3,7:9". */
static bool parse_uids(struct recovery *recovery, const char *text)
{
	struct str rest = str_from(text), part, first;
	uint64_t from, to;
	while (str_next(&rest, ',', &part)) {
		if (!str_next(&part, ':', &first) || !str_to_u64(first, UINT32_MAX, &from))
			return false;
		to = from;
		if (part.length > 0 && !str_to_u64(part, UINT32_MAX, &to))
			return false;
		if (from == 0 || to < from || recovery->uid_count == UID_RANGES_MAX)
			return false;
		recovery->uids[recovery->uid_count++] =
			(struct uid_range){ (uint32_t)from, (uint32_t)to };
	}
	return recovery->uid_count > 0;
}

static bool is_meant(const struct recovery *recovery, const struct expunged *message)
{
	bool has_uid = recovery->uid_count == 0;
	for (unsigned i = 0; i < recovery->uid_count && !has_uid; i++)
		has_uid = recovery->uids[i].first <= message->uid &&
			message->uid <= recovery->uids[i].last;
	struct str folder = str_from(recovery->folder ? recovery->folder : "");
	bool is_inbox = str_equal_ignore_case(folder, STR("INBOX"));
	return has_uid && message->expunged_s >= recovery->since_s &&
		(recovery->folder == NULL ||
			(is_inbox ? str_equal_ignore_case(message->folder, folder)
				  : str_equal(message->folder, folder)));
}

/* What --folder, --since and --uid say; 0 or the exit code. */
static int read_filter(struct recovery *recovery)
{
	struct command *command = recovery->command;
	const char *since = command_option(command, "since");
	const char *uids = command_option(command, "uid");
	recovery->folder = command_option(command, "folder");
	if (since && !parse_time(since, &recovery->since_s))
		return command_usage(command,
			"--since wants a time, as 2026-01-31 or 2026-01-31T12:00:00Z, or how long "
			"ago, as 90m, 12h or 7d");
	if (uids && !recovery->folder)
		return command_usage(
			command, "a UID says something with its folder only: add --folder");
	if (uids && !parse_uids(recovery, uids))
		return command_usage(command,
			"--uid wants UIDs and ranges of them, as 3,7:9, %d at most",
			UID_RANGES_MAX);
	return EXIT_DONE;
}

/* ---- the mailbox and its node ---- */

static int find_mailbox(struct recovery *recovery, struct error *error)
{
	struct mailbox_place place = { 0 };
	int code = directory_find_place(
		recovery->command->writer, recovery->address, &place, error);
	if (code < 0)
		return code;
	recovery->mailbox_id = place.id;
	snprintf(recovery->mark, sizeof(recovery->mark), "%s", place.mark);
	snprintf(recovery->domain, sizeof(recovery->domain), "%s", place.domain);
	if (place.keep_expunged_days == 0)
		return error_set(error, -EINVAL,
			"the domain %s keeps nothing that is expunged: `pando domain set %s "
			"--keep-expunged-days N` has it keep what is expunged from then on",
			place.domain, place.domain);
	const struct directory_volume *volume =
		directory_find_volume(recovery->cluster.directory, place.volume_id);
	recovery->node = volume
		? directory_find_node(recovery->cluster.directory, volume->primary_node_id)
		: NULL;
	if (recovery->node == NULL)
		return error_set(error, -ENOENT,
			"nobody serves the volume of %s: see `pando status`",
			recovery->address);
	return 0;
}

static int open_recovery(struct command *command, struct recovery *recovery)
{
	struct error error = { 0 };
	int code = cluster_open(command, &recovery->cluster);
	if (code != EXIT_DONE)
		return code;
	recovery->pool = pool_create();
	if (find_mailbox(recovery, &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
}

/* Who reads JSON is given some, whatever was refused. */
static void close_recovery(struct recovery *recovery, bool is_answered)
{
	if (!is_answered && command_json(recovery->command))
		printf("[]\n");
	cluster_close(&recovery->cluster);
	pool_destroy(&recovery->pool);
	free(recovery->messages);
}

static struct question ask_one(
	const struct recovery *recovery, const char *request, unsigned timeout_ms)
{
	struct question question = { .request = request };
	snprintf(question.address, sizeof(question.address), "%s", recovery->node->control);
	ask_all(recovery->cluster.asker, &question, 1, timeout_ms);
	return question;
}

/* The answer is good until the next question. A node that does not even say how it is would be
 * waited for in vain. */
static const struct json *ask(struct recovery *recovery, const char *request, struct error *error)
{
	struct question question = ask_one(recovery, "status", ASK_MS);
	if (question.answer != NULL)
		question = ask_one(recovery, request, RECOVER_MS);
	if (question.answer == NULL && question.answered)
		*error = question.error;
	else if (question.answer == NULL)
		error_set(error, -EIO,
			"%s, which is to serve the volume of %s, does not answer (%s): see `pando "
			"status`; when it is lost, `pando failover` moves the volume",
			recovery->node->name, recovery->address, question.error.text);
	return question.answer;
}

/* ---- the list ---- */

static int compare(const void *a, const void *b)
{
	const struct expunged *left = a, *right = b;
	if (left->expunged_s != right->expunged_s)
		return left->expunged_s < right->expunged_s ? 1 : -1;
	return (left->lsn < right->lsn) - (left->lsn > right->lsn);
}

static void take(struct recovery *recovery, const struct json *one)
{
	struct expunged message = { .lsn = json_u64(one, "lsn"),
		.uid = (uint32_t)json_u64(one, "uid"),
		.size = json_u64(one, "size"),
		.received_s = (int64_t)json_u64(one, "received_s"),
		.expunged_s = (int64_t)json_u64(one, "expunged_s"),
		.until_s = (int64_t)json_u64(one, "until_s"),
		.folder_is_gone = json_true(one, "folder_is_gone"),
		.folder = json_text(one, "folder"),
		.from = json_text(one, "from"),
		.subject = json_text(one, "subject") };
	if (!is_meant(recovery, &message))
		return;
	message.folder = pool_copy(recovery->pool, message.folder);
	message.from = pool_copy(recovery->pool, message.from);
	message.subject = pool_copy(recovery->pool, message.subject);
	if (recovery->count == recovery->capacity) {
		recovery->capacity = recovery->capacity * 2 + 64;
		recovery->messages = mem_resize(
			recovery->messages, recovery->capacity * sizeof(*recovery->messages));
	}
	recovery->messages[recovery->count++] = message;
}

/* Page by page. */
static int list(struct recovery *recovery)
{
	char request[128];
	uint64_t from = 0;
	do {
		struct error error = { 0 };
		snprintf(request, sizeof(request), "expunged %llu %s %llu",
			(unsigned long long)recovery->mailbox_id, recovery->mark,
			(unsigned long long)from);
		const struct json *answer = ask(recovery, request, &error);
		if (answer == NULL)
			return command_fail(&error);
		for (const struct json *one = json_first(json_get(answer, "messages")); one;
			one = one->next)
			take(recovery, one);
		from = json_u64(answer, "next");
	} while (from != 0 && recovery->count < LISTED_MAX);
	if (recovery->count > 0)
		qsort(recovery->messages, recovery->count, sizeof(*recovery->messages), compare);
	if (from != 0)
		command_complain("there are more: these are the %zu that were stored first; say "
				 "which with --folder or --since",
			recovery->count);
	return EXIT_DONE;
}

static void add_time(struct table *table, int64_t seconds)
{
	struct buf text = { 0 };
	encode_time(&text, seconds * 1000000);
	table_add_str(table, buf_str(&text));
	buf_deinit(&text);
}

static void print_list(const struct recovery *recovery)
{
	struct table table = { 9,
		{ "folder", "#uid", "#size", "received", "expunged", "kept_until",
			"?folder_is_gone", "from", "subject" },
		{ 0 } };
	for (size_t i = 0; i < recovery->count; i++) {
		const struct expunged *message = &recovery->messages[i];
		table_add_str(&table, message->folder);
		table_addf(&table, "%u", message->uid);
		table_addf(&table, "%llu", (unsigned long long)message->size);
		add_time(&table, message->received_s);
		add_time(&table, message->expunged_s);
		add_time(&table, message->until_s);
		table_add_bool(&table, message->folder_is_gone);
		table_add_str(&table, message->from);
		table_add_str(&table, message->subject);
	}
	table_print(&table, command_json(recovery->command),
		"nothing that was expunged and is kept: what a mailbox shows in some folder is not "
		"listed");
	table_deinit(&table);
}

int message_expunged(struct command *command)
{
	struct recovery recovery = { .command = command, .address = command->positionals[0] };
	int code = read_filter(&recovery);
	if (code != EXIT_DONE)
		return code;
	code = open_recovery(command, &recovery);
	if (code == EXIT_DONE)
		code = list(&recovery);
	if (code == EXIT_DONE)
		print_list(&recovery);
	close_recovery(&recovery, code == EXIT_DONE);
	return code;
}

/* ---- bringing back ---- */

struct outcome {
	struct table table;
	size_t recovered;
	bool failed;
};

static const struct expunged *find(const struct recovery *recovery, uint64_t lsn)
{
	for (size_t i = 0; i < recovery->count; i++)
		if (recovery->messages[i].lsn == lsn)
			return &recovery->messages[i];
	return NULL;
}

static void note(struct recovery *recovery, const struct json *answer, struct outcome *outcome)
{
	for (const struct json *one = json_first(json_get(answer, "messages")); one;
		one = one->next) {
		const struct expunged *message = find(recovery, json_u64(one, "lsn"));
		bool is_back = str_equal(json_text(one, "result"), STR("recovered"));
		if (message == NULL)
			continue;
		table_add_str(&outcome->table, message->folder);
		table_addf(&outcome->table, "%u", message->uid);
		table_add_str(&outcome->table, is_back ? json_text(one, "folder") : STR(""));
		if (is_back)
			table_addf(&outcome->table, "%u", (unsigned)json_u64(one, "uid"));
		else
			table_add(&outcome->table, "");
		table_add_str(&outcome->table, json_text(one, "result"));
		table_add_str(&outcome->table, message->subject);
		outcome->recovered += is_back;
		outcome->failed |= !is_back;
	}
}

/* The oldest first: as they came, so that new UIDs rise as the old ones did. */
static int bring_back(struct recovery *recovery, const char *to, struct outcome *outcome)
{
	struct buf request = { 0 };
	int code = EXIT_DONE;
	for (size_t left = recovery->count; left > 0 && code == EXIT_DONE;) {
		struct error error = { 0 };
		size_t end = left > BACK_MAX ? left - BACK_MAX : 0;
		buf_clear(&request);
		buf_printf(&request, "recover %llu %s ", (unsigned long long)recovery->mailbox_id,
			recovery->mark);
		if (to != NULL)
			encode_hex(&request, to, strlen(to));
		else
			buf_append_byte(&request, '-');
		for (char before = ' '; left > end; before = ',')
			buf_printf(&request, "%c%llu", before,
				(unsigned long long)recovery->messages[--left].lsn);
		const struct json *answer = ask(recovery, buf_terminated(&request), &error);
		if (answer != NULL)
			note(recovery, answer, outcome);
		else
			code = command_fail(&error);
	}
	buf_deinit(&request);
	return code;
}

static int compare_as_stored(const void *a, const void *b)
{
	const struct expunged *left = a, *right = b;
	return (left->lsn < right->lsn) - (left->lsn > right->lsn);
}

/* `*is_answered_out`: there is something on standard output. */
static int recover(struct recovery *recovery, bool *is_answered_out)
{
	struct command *command = recovery->command;
	struct outcome outcome = { .table = { 6,
		{ "folder", "#uid", "back_in", "#new_uid", "result", "subject" }, { 0 } } };
	int code = open_recovery(command, recovery);
	if (code == EXIT_DONE)
		code = list(recovery);
	if (code != EXIT_DONE)
		return code;
	if (recovery->count > 0)
		qsort(recovery->messages, recovery->count, sizeof(*recovery->messages),
			compare_as_stored);
	code = bring_back(recovery, command_option(command, "to"), &outcome);
	*is_answered_out = code == EXIT_DONE || table_rows(&outcome.table) > 0;
	if (*is_answered_out)
		table_print(&outcome.table, command_json(command),
			"nothing is to be recovered: `pando message expunged` lists what can be");
	if (outcome.failed)
		command_complain(
			"%zu of %zu messages are back", outcome.recovered, recovery->count);
	table_deinit(&outcome.table);
	return outcome.failed ? EXIT_FAILED : code;
}

int message_recover(struct command *command)
{
	struct recovery recovery = { .command = command, .address = command->positionals[0] };
	const char *to = command_option(command, "to");
	bool is_answered = false;
	int code = read_filter(&recovery);
	if (code != EXIT_DONE)
		return code;
	if (to && strlen(to) > FOLDER_NAME_MAX)
		return command_usage(command,
			"--to names a folder: its name has %d bytes at most", FOLDER_NAME_MAX);
	if (!recovery.folder && recovery.since_s == 0 && !command_has(command, "all"))
		return command_usage(command,
			"say which messages: --all, --since TIME, or --folder F with or without "
			"--uid");
	code = recover(&recovery, &is_answered);
	close_recovery(&recovery, is_answered);
	return code;
}
