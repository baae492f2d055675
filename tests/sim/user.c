#include "sim/user.h"

#include "sim/client.h"
#include "sim/cluster_internal.h"
#include "sim/mail.h"
#include "sim/model.h"
#include "sim/on_way.h"
#include "sim/tally.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	USERS = CLUSTER_VOLUMES * CLUSTER_MAILBOXES,
	/* The newest messages of a folder, which a user looks at and changes. */
	LOOK_UIDS = 20,
	/* More different ones than a folder can have at a time. */
	KEYWORDS = 100,
	WORK_FOLDERS = 4,
	/* Between two commands, and before another login. */
	THINK_US = 60000,
	AWAY_US = 800000,
	TEXT_MAX = 160,
};

/* Above the number of every message that is delivered. */
enum { FIRST_DRAFT = 100000000 };

enum step { STEP_LOGIN, STEP_SELECT, STEP_LOOK, STEP_CHANGE, STEP_READ_ALL };

enum wish {
	CHANGE_NONE,
	CHANGE_APPEND,
	CHANGE_DRAFT, /* a message that nobody is promised, and that may be expunged altogether */
	CHANGE_CREATE,
	CHANGE_DELETE,
	CHANGE_RENAME,
	CHANGE_SUBSCRIBE,
	/* These need a message; */
	CHANGE_FLAGS,
	CHANGE_COPY,
	/* and these one that is not in INBOX. */
	CHANGE_MOVE,
	CHANGE_DELETED_FLAG, /* is followed by: */
	CHANGE_EXPUNGE,
};

struct user {
	uint64_t mailbox_id;
	unsigned machine;
	struct imap_client *client; /* NULL: away */
	enum step step;
	uint64_t epoch; /* of the reign that this session is of */
	bool reads_all, has_read_all;
	bool was_told_corrupt;   /* in that: some messages cannot be read */
	bool has_answer, was_ok; /* to the last command */
	bool is_alone;           /* nobody else changes the mailbox */

	/* The selected folder. */
	char folder[TEXT_MAX];
	struct model_folder model;
	uint32_t uidnext;
	uint64_t highest_modseq;
	uint32_t uids[2 * LOOK_UIDS];
	uint64_t marks[2 * LOOK_UIDS];
	unsigned count;

	/* The change that is on its way. */
	enum wish change;
	uint32_t uid;
	uint64_t mark;
	char flags[TEXT_MAX];
	bool thinks; /* an event will make it go on */

	/* INBOX as it was selected last. */
	uint32_t inbox_uidvalidity;
	uint64_t inbox_epoch, inbox_seen_us;
};

static struct user users[USERS];
static bool are_on;

static void go_on(void *arg);

static void think(struct user *user, uint64_t at_most_us)
{
	if (user->thinks)
		return;
	user->thinks = true;
	world_call_on(CLIENTS, 1000 + world_pick(at_most_us), go_on, user);
}

static bool is_inbox(const struct user *user)
{
	return strcmp(user->folder, "INBOX") == 0;
}

/* ---- what is shown ---- */

static bool number_after(struct str text, const char *label, uint64_t *number_out)
{
	ptrdiff_t at = str_find(text, str_from(label));
	size_t i = (size_t)at + strlen(label);
	*number_out = 0;
	if (at < 0)
		return false;
	for (; i < text.length && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++)
		*number_out = *number_out * 10 + (uint64_t)(text.bytes[i] - '0');
	return true;
}

static int compare_words(const void *a, const void *b)
{
	return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* The same flags in one order, without those that are no state of the message. */
static void sort_flags(struct str text, char out[TEXT_MAX])
{
	struct str words[64], word;
	unsigned count = 0;
	struct buf sorted = { 0 };
	while (text.length > 0 && count < array_length(words)) {
		str_next(&text, ' ', &word);
		if (word.length > 0 && !str_equal(word, STR("\\Recent")))
			words[count++] = word;
	}
	qsort(words, count, sizeof(*words), compare_words);
	for (unsigned i = 0; i < count; i++)
		buf_printf(&sorted, "%s" STR_FORMAT, i > 0 ? " " : "", STR_ARG(words[i]));
	snprintf(out, TEXT_MAX, STR_FORMAT, STR_ARG(buf_str(&sorted)));
	buf_deinit(&sorted);
}

static void note_found(struct user *user, uint64_t mark, struct str line)
{
	const struct history *history = cluster_history();
	if (mark == 0 || mark > history->count) {
		printf("mailbox %llu shows mail that nobody sent\n",
			(unsigned long long)user->mailbox_id);
		cluster_failed = true;
		return;
	}
	struct history_entry *entry = history_entry((size_t)mark - 1);
	entry->found++;
	tally_add(TALLY_CHECK, "a message is read byte for byte", 1);
	struct str body = line;
	ptrdiff_t begin = str_find(line, STR("\r\n")), end = str_find_last_byte(line, ')');
	if (begin >= 0 && end > begin)
		body = str_of(line.bytes + begin + 2, (size_t)(end - begin) - 2);
	if (entry->mailbox_id != user->mailbox_id || !mail_is(body, mark)) {
		printf("mailbox %llu shows mail %llu of mailbox %llu, or not as it was\n",
			(unsigned long long)user->mailbox_id, (unsigned long long)mark,
			(unsigned long long)entry->mailbox_id);
		cluster_failed = true;
	}
}

static void on_fetched(struct user *user, struct str line)
{
	uint64_t uid, mark = mail_mark(line);
	ptrdiff_t flags = str_find(line, STR("FLAGS ("));
	if (!number_after(line, "UID ", &uid) || mark == UINT64_MAX)
		return; /* of a STORE, or of somebody else's */
	model_shown(user->model, (uint32_t)uid, mark);
	if (user->step == STEP_READ_ALL) {
		note_found(user, mark, line);
		return;
	}
	if (flags >= 0 && user->is_alone) {
		char sorted[TEXT_MAX];
		struct str rest = str_from_index(line, (size_t)flags + 7);
		ptrdiff_t end = str_find_byte(rest, ')');
		sort_flags(str_first(rest, (size_t)(end < 0 ? 0 : end)), sorted);
		model_flags_shown(user->model, (uint32_t)uid, str_from(sorted), user->epoch);
	}
	if (user->count < array_length(user->uids)) {
		user->uids[user->count] = (uint32_t)uid;
		user->marks[user->count++] = mark;
	}
}

static void on_line(void *arg, struct str line)
{
	struct user *user = arg;
	uint64_t number;
	if (str_find(line, STR("FETCH (")) >= 0) {
		on_fetched(user, line);
	} else if (user->step == STEP_SELECT || user->step == STEP_READ_ALL) {
		if (number_after(line, "[UIDVALIDITY ", &number))
			user->model = (struct model_folder){ user->mailbox_id, (uint32_t)number };
		else if (number_after(line, "[UIDNEXT ", &number))
			user->uidnext = (uint32_t)number;
		else if (number_after(line, "[HIGHESTMODSEQ ", &number))
			user->highest_modseq = number;
	}
}

/* ---- what is asked ---- */

static void ask(struct user *user, enum step step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void ask(struct user *user, enum step step, const char *format, ...)
{
	struct buf command = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&command, format, arguments);
	va_end(arguments);
	user->step = step;
	imap_client_command(user->client, buf_str(&command));
	buf_deinit(&command);
}

static void choose_folder(struct user *user)
{
	switch (world_pick(5)) {
	case 0: snprintf(user->folder, TEXT_MAX, "Archive"); break;
	case 1:
		snprintf(user->folder, TEXT_MAX, "work/%u", (unsigned)world_pick(WORK_FOLDERS));
		break;
	default: snprintf(user->folder, TEXT_MAX, "INBOX"); break;
	}
}

static void choose_flags(struct user *user)
{
	static const char *const names[] = { "\\Seen", "\\Flagged", "\\Answered", "\\Draft" };
	struct buf text = { 0 };
	for (unsigned i = 0; i < array_length(names); i++)
		if (world_pick(3) == 0)
			buf_printf(&text, "%s ", names[i]);
	for (unsigned i = (unsigned)world_pick(3); i > 0; i--)
		buf_printf(&text, "$K%u%u ", i, (unsigned)world_pick(KEYWORDS / 2));
	sort_flags(buf_str(&text), user->flags);
	buf_deinit(&text);
}

/* The message that is appended or copied; its length, with what a mailbox counts of it. */
static void begin_way(struct user *user)
{
	on_way_begin(user->mailbox_id, mail_length(user->mark));
}

static void append(struct user *user)
{
	struct buf message = { 0 };
	struct cluster_mailbox mailbox = cluster_mailbox(user->mailbox_id);
	size_t index = history_add(
		(uint32_t)(user->mailbox_id / 100), user->mailbox_id, mailbox.durability);
	history_entry(index)->is_append = true;
	user->mark = index + 1;
	begin_way(user);
	mail_write(user->mark, &message);
	ask(user, STEP_CHANGE, "APPEND INBOX (%s) {%zu+}\r\n" STR_FORMAT, user->flags,
		buf_length(&message), STR_ARG(buf_str(&message)));
	buf_deinit(&message);
}

static void append_draft(struct user *user)
{
	static uint64_t drafts;
	struct buf message = { 0 };
	user->mark = FIRST_DRAFT + drafts++;
	begin_way(user);
	mail_write(user->mark, &message);
	ask(user, STEP_CHANGE, "APPEND Archive (%s) {%zu+}\r\n" STR_FORMAT, user->flags,
		buf_length(&message), STR_ARG(buf_str(&message)));
	buf_deinit(&message);
}

/* A change that needs a message, on one of those that were looked at. */
static void change_message(struct user *user)
{
	unsigned i = (unsigned)world_pick(user->count);
	user->uid = user->uids[i];
	user->mark = user->marks[i];
	unsigned uid = user->uid;
	switch (user->change) {
	case CHANGE_COPY:
		begin_way(user);
		ask(user, STEP_CHANGE, "UID COPY %u Archive", uid);
		break;
	case CHANGE_MOVE: ask(user, STEP_CHANGE, "UID MOVE %u Archive", uid); break;
	case CHANGE_DELETED_FLAG:
		model_flags_unknown(user->model, uid);
		ask(user, STEP_CHANGE, "UID STORE %u +FLAGS.SILENT (\\Deleted)", uid);
		break;
	default:
		model_flags_unknown(user->model, uid);
		ask(user, STEP_CHANGE, "UID STORE %u FLAGS (%s)", uid, user->flags);
		break;
	}
}

static void change(struct user *user)
{
	unsigned number = (unsigned)world_pick(WORK_FOLDERS);
	user->change = (enum wish)world_pick(CHANGE_EXPUNGE);
	choose_flags(user);
	bool needs_message = user->change >= CHANGE_FLAGS;
	bool is_allowed = !is_inbox(user) || user->change < CHANGE_MOVE;
	if (needs_message && user->count > 0 && is_allowed) {
		change_message(user);
		return;
	}
	if (needs_message)
		user->change = CHANGE_NONE;
	switch (user->change) {
	case CHANGE_APPEND: append(user); break;
	case CHANGE_DRAFT: append_draft(user); break;
	case CHANGE_CREATE: ask(user, STEP_CHANGE, "CREATE work/%u", number); break;
	case CHANGE_DELETE: ask(user, STEP_CHANGE, "DELETE work/%u", number); break;
	case CHANGE_RENAME:
		ask(user, STEP_CHANGE, "RENAME work/%u work/%u", number,
			(number + 1) % WORK_FOLDERS);
		break;
	case CHANGE_SUBSCRIBE: ask(user, STEP_CHANGE, "SUBSCRIBE work/%u", number); break;
	default: ask(user, STEP_CHANGE, "NOOP"); break;
	}
}

/* ---- what is answered ---- */

/* The message that has come to be in another folder, or in INBOX. */
static void note_new_uid(struct user *user, struct str reply, const char *label)
{
	uint64_t uidvalidity, uid;
	if (!number_after(reply, label, &uidvalidity))
		return;
	ptrdiff_t end = str_find_byte(reply, ']');
	struct str numbers = str_first(reply, (size_t)(end < 0 ? 0 : end));
	ptrdiff_t last = str_find_last_byte(numbers, ' ');
	if (last >= 0 && str_to_u64(str_from_index(numbers, (size_t)last + 1), UINT32_MAX, &uid))
		model_shown((struct model_folder){ user->mailbox_id, (uint32_t)uidvalidity },
			(uint32_t)uid, user->mark);
	if (user->change != CHANGE_APPEND)
		return;
	struct history_entry *entry = history_entry((size_t)user->mark - 1);
	history_answered(entry, user->machine, (uint32_t)uid);
	/* Keywords that have no place in the folder are dropped there without a word. */
	if (strchr(user->flags, '$') == NULL)
		model_flags_answered(
			(struct model_folder){ user->mailbox_id, (uint32_t)uidvalidity },
			(uint32_t)uid, str_from(user->flags), user->epoch, user->machine);
}

static void on_changed(struct user *user, struct str reply)
{
	/* With a code it was done in part: keywords that have no place. */
	if (user->change == CHANGE_APPEND || user->change == CHANGE_DRAFT ||
		user->change == CHANGE_COPY)
		on_way_end(user->mailbox_id, mail_length(user->mark));
	bool is_plain = str_starts_with(reply, STR("OK ")) && str_find_byte(reply, '[') < 0;
	switch (user->change) {
	case CHANGE_FLAGS:
		if (is_plain)
			model_flags_answered(user->model, user->uid, str_from(user->flags),
				user->epoch, user->machine);
		break;
	case CHANGE_APPEND: note_new_uid(user, reply, "[APPENDUID "); break;
	case CHANGE_EXPUNGE:
		if (str_starts_with(reply, STR("OK")))
			model_expunge_answered(user->model, user->uid, user->epoch, user->machine);
		break;
	case CHANGE_DRAFT:
		if (str_starts_with(reply, STR("OK")))
			note_new_uid(user, reply, "[APPENDUID ");
		break;
	case CHANGE_COPY:
		if (str_starts_with(reply, STR("OK")))
			note_new_uid(user, reply, "[COPYUID ");
		break;
	default: break;
	}
}

/* It is another INBOX only where the first one was lost with all that was in it. */
static void note_inbox(struct user *user)
{
	tally_add(TALLY_CHECK, "2 UIDVALIDITY of INBOX stays", user->inbox_uidvalidity != 0);
	if (user->inbox_uidvalidity != 0 && user->inbox_uidvalidity != user->model.uidvalidity &&
		history_has_safe(user->mailbox_id, user->inbox_seen_us, user->inbox_epoch)) {
		printf("mailbox %llu: UIDVALIDITY of INBOX was %u, is %u\n",
			(unsigned long long)user->mailbox_id, user->inbox_uidvalidity,
			user->model.uidvalidity);
		cluster_failed = true;
	}
	user->inbox_uidvalidity = user->model.uidvalidity;
	user->inbox_epoch = user->epoch;
	user->inbox_seen_us = world_now_us();
}

static void on_reply(void *arg, struct str reply)
{
	struct user *user = arg;
	bool is_ok = str_starts_with(reply, STR("OK"));
	const struct volume *volume = cluster_volume(
		user->machine, (uint32_t)(user->mailbox_id / 100));
	switch (user->step) {
	case STEP_LOGIN:
		user->epoch = is_ok && volume != NULL ? volume->desired.epoch : 0;
		break;
	case STEP_SELECT:
		if (is_ok)
			model_selected(user->model, user->uidnext, user->highest_modseq,
				user->epoch, cluster_directory_has_lied());
		if (is_ok && is_inbox(user))
			note_inbox(user);
		break;
	case STEP_CHANGE:
		on_changed(user, reply);
		break;
	case STEP_LOOK: break;
	case STEP_READ_ALL:
		user->was_told_corrupt = str_starts_with(reply, STR("NO [CORRUPTION]"));
		break;
	}
	tally_add(TALLY_CHECK, is_ok ? "IMAP commands answered OK" : "IMAP commands refused", 1);
	user->has_answer = true;
	user->was_ok = is_ok;
	think(user, user->reads_all ? 1000 : THINK_US);
}

static void on_close(void *arg)
{
	struct user *user = arg;
	user->client = NULL;
	think(user, AWAY_US);
}

/* ---- the conversation ---- */

static void come(struct user *user)
{
	static const struct imap_client_handler handler = { on_line, on_reply, on_close };
	user->machine = truths[user->mailbox_id / 100 - 1].primary;
	user->step = STEP_LOGIN;
	user->has_answer = false;
	user->client = imap_client_open(user->machine, user->mailbox_id, &handler, user);
}

static void leave(struct user *user)
{
	imap_client_abort(user->client);
	user->client = NULL;
	think(user, AWAY_US);
}

static void look(struct user *user)
{
	uint32_t first = user->uidnext > LOOK_UIDS ? user->uidnext - LOOK_UIDS : 1;
	user->count = 0;
	ask(user, STEP_LOOK,
		"UID FETCH %u:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (X-MARK)])", first);
}

static void read_all(struct user *user)
{
	if (user->step == STEP_SELECT && user->was_ok) {
		ask(user, STEP_READ_ALL, "UID FETCH 1:* (UID BODY.PEEK[])");
	} else if (user->step == STEP_READ_ALL) {
		user->has_read_all = user->was_ok || user->was_told_corrupt;
		imap_client_abort(user->client);
		user->client = NULL;
	} else {
		snprintf(user->folder, TEXT_MAX, "INBOX");
		ask(user, STEP_SELECT, "SELECT INBOX");
	}
}

static void go_on(void *arg)
{
	struct user *user = arg;
	user->thinks = false;
	if (user->client == NULL) {
		if (are_on || (user->reads_all && !user->has_read_all))
			come(user);
		return;
	}
	if (!user->has_answer)
		return;
	user->has_answer = false;
	if (user->reads_all) {
		read_all(user);
	} else if (!are_on || (!user->was_ok && user->step == STEP_LOGIN) || world_pick(20) == 0) {
		leave(user);
	} else if (user->step == STEP_SELECT && user->was_ok) {
		look(user);
	} else if (user->step == STEP_LOOK && world_pick(4) != 0) {
		change(user);
	} else if (user->step == STEP_CHANGE && user->change == CHANGE_DELETED_FLAG &&
		user->was_ok) {
		user->change = CHANGE_EXPUNGE;
		ask(user, STEP_CHANGE, "UID EXPUNGE %u", user->uid);
	} else if (user->step == STEP_CHANGE && world_pick(3) != 0) {
		look(user);
	} else {
		choose_folder(user);
		ask(user, STEP_SELECT, "SELECT %s", user->folder);
	}
}

void users_reset(void)
{
	memset(users, 0, sizeof(users));
	model_reset();
	for (unsigned i = 0; i < USERS; i++) {
		users[i].mailbox_id = 100 * (1 + i / CLUSTER_MAILBOXES) + 1 + i % CLUSTER_MAILBOXES;
		users[i].is_alone = i % CLUSTER_MAILBOXES >= CLUSTER_SHARED_MAILBOXES;
	}
	are_on = false;
}

void users_start(void)
{
	are_on = true;
	for (unsigned i = 0; i < USERS; i++)
		think(&users[i], AWAY_US);
}

void users_stop(void)
{
	are_on = false;
}

void users_read_all(void)
{
	for (unsigned i = 0; i < USERS; i++) {
		users[i].reads_all = true;
		if (users[i].client != NULL)
			imap_client_abort(users[i].client);
		users[i].client = NULL;
		think(&users[i], 1000);
	}
}

bool users_told_corrupt(uint64_t mailbox_id)
{
	unsigned i = 0;
	while (i < USERS && users[i].mailbox_id != mailbox_id)
		i++;
	return i < USERS && users[i].was_told_corrupt;
}

bool users_have_read_all(void)
{
	bool good = true;
	for (unsigned i = 0; i < USERS; i++) {
		if (users[i].has_read_all)
			continue;
		printf("mailbox %llu cannot be read\n", (unsigned long long)users[i].mailbox_id);
		good = false;
	}
	return good;
}
