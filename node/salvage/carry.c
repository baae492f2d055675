#include "node/salvage/carry.h"

#include "proto/mail/imap_write.h"

#include <stdlib.h>

/* Which command the home is to answer. */
enum step {
	STEP_NEW_FOLDER, /* CREATE */
	STEP_OLD_NAME,   /* STATUS */
	STEP_NEW_NAME,
	STEP_RENAME,
	STEP_SUBSCRIBE,
	STEP_SELECT,
	STEP_FETCH,
	STEP_FLAGS, /* STORE */
	STEP_MOVE,
	STEP_MAKE_TARGET, /* CREATE, of the folder that is to be moved to */
	STEP_DELETE,      /* STORE \Deleted, of what is to be expunged */
	STEP_EXPUNGE,
};

/* As the home has a message of a group. */
enum there {
	THERE_NOT,
	THERE_AS_BEFORE, /* with the flags that it had before the tail */
	THERE_AS_AT_END, /* with those that it is to get */
	THERE_TOUCHED,
};

struct carry {
	struct home *home;
	const struct tail_mailbox *mailbox;
	enum carry_part part;
	bool may_expunge;
	const struct carry_handler *handler;
	void *arg;
	uint64_t carried, left;
	enum step step;
	/* What comes next. */
	uint32_t folder, subscription, older;
	/* Older messages of one folder to which the same is done; how they stand at the home; and
	 * as a set the UIDs of those to which it is being done. */
	uint32_t group_begin, group_end;
	enum there there[CARRY_UIDS_MAX];
	struct buf uids;
	uint64_t modseq; /* the highest that was told of them */
	unsigned looks;
	/* The folder that is selected, or was looked for in vain; 0: none. */
	uint32_t selected_id, missing_id;
	uint64_t uidvalidity; /* as the home said last */
	bool is_second_name, has_made_target;
};

uint64_t carry_count(const struct tail_mailbox *mailbox)
{
	return (uint64_t)mailbox->older_count + mailbox->folder_count +
		mailbox->subscription_count;
}

struct carry *carry_create(struct home *home, const struct tail_mailbox *mailbox,
	enum carry_part part, bool may_expunge, const struct carry_handler *handler, void *arg)
{
	struct carry *carry = mem_alloc(sizeof(*carry));
	*carry = (struct carry){ .home = home,
		.mailbox = mailbox,
		.part = part,
		.may_expunge = may_expunge,
		.handler = handler,
		.arg = arg };
	return carry;
}

void carry_destroy(struct carry **carry)
{
	if (*carry == NULL)
		return;
	buf_deinit(&(*carry)->uids);
	free(*carry);
	*carry = NULL;
}

/* ---- folders and subscriptions ---- */

static const struct tail_folder *current_folder(const struct carry *carry)
{
	return &carry->mailbox->folders[carry->folder];
}

/* False: nothing is to be asked for it. */
static bool begin_folder(struct carry *carry)
{
	const struct tail_folder *folder = current_folder(carry);
	carry->uidvalidity = 0;
	if (folder->end.length == 0) {
		carry->left++;
		return false;
	}
	if (folder->before.length > 0) {
		carry->step = STEP_OLD_NAME;
		home_ask_uidvalidity(carry->home, folder->before);
		return true;
	}
	if (str_equal(folder->end, STR("INBOX"))) {
		carry->carried++;
		return false;
	}
	carry->step = STEP_NEW_FOLDER;
	home_create_folder(carry->home, folder->end);
	return true;
}

static void begin_subscription(struct carry *carry)
{
	const struct tail_subscription *subscription =
		&carry->mailbox->subscriptions[carry->subscription];
	carry->step = STEP_SUBSCRIBE;
	home_subscribe(carry->home, subscription->name, subscription->end);
}

/* ---- older messages ---- */

static bool are_alike(const struct tail_older *a, const struct tail_older *b)
{
	if (a->folder_id != b->folder_id || a->is_expunged != b->is_expunged)
		return false;
	if (a->is_expunged)
		return a->may_go == b->may_go;
	return tail_flags_equal(&a->before, &b->before) && tail_flags_equal(&a->end, &b->end) &&
		str_equal(a->moved_to, b->moved_to);
}

static const struct tail_older *current_older(const struct carry *carry)
{
	return carry->mailbox->older[carry->older];
}

/* Of the group: those that are as before, or all that are there, or all. */
static void write_uids(struct carry *carry, bool all_there, bool all)
{
	struct imap_set_writer writer = { .out = &carry->uids };
	buf_clear(&carry->uids);
	for (uint32_t i = carry->group_begin; i < carry->group_end; i++) {
		enum there there = carry->there[i - carry->group_begin];
		if (all || there == THERE_AS_BEFORE || (all_there && there != THERE_NOT))
			imap_write_set_add(&writer, carry->mailbox->older[i]->uid);
	}
	imap_write_set_end(&writer);
}

static void fetch(struct carry *carry)
{
	carry->step = STEP_FETCH;
	carry->looks++;
	carry->modseq = 0;
	memset(carry->there, 0, sizeof(carry->there));
	write_uids(carry, false, true);
	home_fetch_flags(carry->home, buf_str(&carry->uids));
}

static void select_folder(struct carry *carry, bool by_second_name)
{
	const struct tail_older *older = current_older(carry);
	carry->step = STEP_SELECT;
	carry->is_second_name = by_second_name || older->folder_at_end.length == 0;
	carry->selected_id = 0;
	carry->uidvalidity = 0;
	home_select(carry->home, carry->is_second_name ? older->folder : older->folder_at_end);
}

static void leave_group(struct carry *carry)
{
	carry->left += carry->group_end - carry->older;
	carry->older = carry->group_end;
}

/* False: nothing is to be asked for it. */
static bool begin_group(struct carry *carry)
{
	const struct tail_older *first = current_older(carry);
	carry->group_begin = carry->older;
	carry->group_end = carry->older + 1;
	while (carry->group_end < carry->mailbox->older_count &&
		carry->group_end - carry->older < CARRY_UIDS_MAX &&
		are_alike(first, carry->mailbox->older[carry->group_end]))
		carry->group_end++;
	carry->looks = 0;
	carry->has_made_target = false;
	bool stays = first->is_expunged && (!first->may_go || !carry->may_expunge);
	if (stays || carry->missing_id == first->folder_id) {
		leave_group(carry);
		return false;
	}
	if (carry->selected_id == first->folder_id)
		fetch(carry);
	else
		select_folder(carry, false);
	return true;
}

void carry_run(struct carry *carry)
{
	const struct tail_mailbox *mailbox = carry->mailbox;
	for (; carry->part == CARRY_FOLDERS && carry->folder < mailbox->folder_count;
		carry->folder++)
		if (begin_folder(carry))
			return;
	if (carry->part == CARRY_REST && carry->subscription < mailbox->subscription_count) {
		begin_subscription(carry);
		return;
	}
	while (carry->part == CARRY_REST && carry->older < mailbox->older_count)
		if (begin_group(carry))
			return;
	carry->handler->on_done(carry->arg, carry->carried, carry->left);
}

/* ---- what the home says ---- */

/* Behind the first `word` of the text. */
static bool read_number(struct str text, struct str word, uint64_t maximum, uint64_t *value_out)
{
	ptrdiff_t at = str_find(text, word);
	size_t length = 0;
	if (at < 0)
		return false;
	text = str_from_index(text, (size_t)at + word.length);
	while (length < text.length && ascii_is_digit(text.bytes[length]))
		length++;
	return str_to_u64(str_first(text, length), maximum, value_out);
}

static void read_uidvalidity(struct carry *carry, struct str text)
{
	struct str word = STR("UIDVALIDITY ");
	uint64_t value;
	if (str_starts_with(text, word) && read_number(text, word, UINT32_MAX, &value))
		carry->uidvalidity = value;
}

/* Whether "a b c" are these flags. */
static bool are_flags(struct str list, const struct tail_flags *wanted, uint64_t or_system)
{
	uint64_t system = 0;
	unsigned keywords = 0;
	struct str name;
	while (str_next(&list, ' ', &name)) {
		if (name.length == 0 || str_equal_ignore_case(name, STR("\\Recent")))
			continue;
		if (name.bytes[0] == '\\')
			system |= home_system_flag(name);
		else if (tail_flags_have(wanted, name))
			keywords++;
		else
			return false;
	}
	return keywords == wanted->keyword_count &&
		(system == wanted->system || system == (wanted->system | or_system));
}

static enum there there_of(const struct tail_older *older, struct str flags)
{
	/* A try before may have come so far, or its owner wants it gone. */
	if (older->is_expunged)
		return are_flags(flags, &older->before, MESSAGE_DELETED) ? THERE_AS_BEFORE
									 : THERE_TOUCHED;
	if (are_flags(flags, &older->end, 0))
		return THERE_AS_AT_END;
	return are_flags(flags, &older->before, 0) ? THERE_AS_BEFORE : THERE_TOUCHED;
}

static int compare_uid(const void *key, const void *element)
{
	uint32_t uid = *(const uint32_t *)key, its = (*(struct tail_older *const *)element)->uid;
	return uid < its ? -1 : uid > its;
}

static void read_fetched(struct carry *carry, struct str line)
{
	struct str word = STR("FLAGS (");
	ptrdiff_t at = str_find(line, word);
	uint64_t uid, modseq;
	if (at < 0 || !read_number(line, STR("UID "), UINT32_MAX, &uid))
		return;
	struct str list = str_from_index(line, (size_t)at + word.length);
	ptrdiff_t end = str_find_byte(list, ')');
	uint32_t wanted = (uint32_t)uid, count = carry->group_end - carry->group_begin;
	struct tail_older **first = carry->mailbox->older + carry->group_begin;
	struct tail_older **found = bsearch(&wanted, first, count, sizeof(*first), compare_uid);
	if (end < 0 || found == NULL)
		return;
	if (read_number(line, STR("MODSEQ ("), INT64_MAX, &modseq) && modseq > carry->modseq)
		carry->modseq = modseq;
	/* The last word counts, where one is told twice. */
	carry->there[found - first] = there_of(*found, str_first(list, (size_t)end));
}

void carry_on_untagged(struct carry *carry, struct str line)
{
	ptrdiff_t paren = str_find_last_byte(line, '(');
	if (carry->step == STEP_FETCH && str_find(line, STR(" FETCH (")) > 0)
		read_fetched(carry, line);
	else if (str_starts_with(line, STR("OK [UIDVALIDITY ")))
		read_uidvalidity(carry, str_from_index(line, strlen("OK [")));
	else if (str_starts_with(line, STR("STATUS ")) && paren >= 0)
		read_uidvalidity(carry, str_from_index(line, (size_t)paren + 1));
}

/* Others come and go: the home is moving, its disk is full. */
static bool is_final(enum home_answer answer, struct str text)
{
	static const char *const codes[] = { "[NONEXISTENT]", "[TRYCREATE]", "[ALREADYEXISTS]",
		"[CANNOT]", "[LIMIT]", "[READ-ONLY]", "[EXPUNGEISSUED]", "[USEATTR]" };
	if (answer != HOME_NO)
		return true;
	for (size_t i = 0; i < array_length(codes); i++)
		if (str_starts_with(text, str_from(codes[i])))
			return true;
	return false;
}

static void end_folder(struct carry *carry, bool is_carried)
{
	carry->carried += is_carried;
	carry->left += !is_carried;
	carry->folder++;
	carry_run(carry);
}

/* Whether what the tail did to it is so at the home; `is_done`: what was asked for was. */
static bool is_carried(const struct tail_older *older, enum there there, bool is_done)
{
	bool is_there = there != THERE_NOT;
	if (older->is_expunged)
		/* It has been expunged there too. */
		return !is_there || (there == THERE_AS_BEFORE && is_done);
	if (older->moved_to.length > 0)
		return is_there && is_done;
	return there == THERE_AS_AT_END || (there == THERE_AS_BEFORE && is_done);
}

static void end_group(struct carry *carry, bool is_done)
{
	for (; carry->older < carry->group_end; carry->older++) {
		uint32_t i = carry->older - carry->group_begin;
		bool so = is_carried(current_older(carry), carry->there[i], is_done);
		carry->carried += so;
		carry->left += !so;
	}
	carry_run(carry);
}

static void on_folder_answer(struct carry *carry, bool is_ok, struct str text)
{
	const struct tail_folder *folder = current_folder(carry);
	bool is_it = is_ok && carry->uidvalidity == folder->uidvalidity;
	if (carry->step == STEP_OLD_NAME && is_it) {
		carry->step = STEP_RENAME;
		home_rename_folder(carry->home, folder->before, folder->end);
	} else if (carry->step == STEP_OLD_NAME) {
		carry->step = STEP_NEW_NAME;
		carry->uidvalidity = 0;
		home_ask_uidvalidity(carry->home, folder->end);
	} else if (carry->step == STEP_NEW_NAME) {
		end_folder(carry, is_it);
	} else if (carry->step == STEP_NEW_FOLDER) {
		end_folder(carry, is_ok || str_starts_with(text, STR("[ALREADYEXISTS]")));
	} else {
		end_folder(carry, is_ok);
	}
}

static void on_selected(struct carry *carry, bool is_ok)
{
	const struct tail_older *older = current_older(carry);
	if (is_ok && carry->uidvalidity == older->uidvalidity) {
		carry->selected_id = older->folder_id;
		fetch(carry);
	} else if (!carry->is_second_name && !str_equal(older->folder, older->folder_at_end)) {
		select_folder(carry, true);
	} else {
		carry->missing_id = older->folder_id;
		leave_group(carry);
		carry_run(carry);
	}
}

/* Also of those that somebody has touched: he has not moved them. */
static void move_or_end(struct carry *carry)
{
	const struct tail_older *older = current_older(carry);
	write_uids(carry, true, false);
	if (older->moved_to.length == 0 || buf_length(&carry->uids) == 0) {
		end_group(carry, true);
		return;
	}
	carry->step = STEP_MOVE;
	home_move(carry->home, buf_str(&carry->uids), older->moved_to);
}

static void on_fetched(struct carry *carry)
{
	static const struct tail_flags deleted = { .system = MESSAGE_DELETED };
	const struct tail_older *older = current_older(carry);
	write_uids(carry, false, false);
	struct str uids = buf_str(&carry->uids);
	if (uids.length > 0 && older->is_expunged) {
		carry->step = STEP_DELETE;
		home_store_flags(carry->home, uids, carry->modseq, true, &deleted);
	} else if (uids.length > 0 && !tail_flags_equal(&older->before, &older->end)) {
		carry->step = STEP_FLAGS;
		home_store_flags(carry->home, uids, carry->modseq, false, &older->end);
	} else {
		move_or_end(carry);
	}
}

static void on_group_answer(struct carry *carry, bool is_ok, struct str text)
{
	const struct tail_older *older = current_older(carry);
	bool was_changed = is_ok && str_starts_with(text, STR("[MODIFIED"));
	bool lacks_target = !is_ok && carry->step == STEP_MOVE && !carry->has_made_target &&
		str_starts_with(text, STR("[TRYCREATE]"));
	if (lacks_target) {
		carry->step = STEP_MAKE_TARGET;
		carry->has_made_target = true;
		home_create_folder(carry->home, older->moved_to);
	} else if (carry->step == STEP_MAKE_TARGET) {
		carry->step = STEP_MOVE;
		home_move(carry->home, buf_str(&carry->uids), older->moved_to);
	} else if (!is_ok && carry->step == STEP_FETCH) {
		leave_group(carry);
		carry_run(carry);
	} else if (was_changed && carry->looks < CARRY_LOOKS_MAX) {
		fetch(carry); /* somebody was quicker */
	} else if (!is_ok || was_changed) {
		end_group(carry, false);
	} else if (carry->step == STEP_FETCH) {
		on_fetched(carry);
	} else if (carry->step == STEP_DELETE) {
		carry->step = STEP_EXPUNGE;
		home_expunge(carry->home, buf_str(&carry->uids));
	} else if (carry->step == STEP_FLAGS) {
		move_or_end(carry);
	} else {
		end_group(carry, true);
	}
}

void carry_on_answer(struct carry *carry, enum home_answer answer, struct str text)
{
	bool is_ok = answer == HOME_OK;
	if (!is_ok && !is_final(answer, text)) {
		carry->handler->on_refused(carry->arg, text);
	} else if (carry->step <= STEP_RENAME) {
		on_folder_answer(carry, is_ok, text);
	} else if (carry->step == STEP_SUBSCRIBE) {
		carry->carried += is_ok;
		carry->left += !is_ok;
		carry->subscription++;
		carry_run(carry);
	} else if (carry->step == STEP_SELECT) {
		on_selected(carry, is_ok);
	} else {
		on_group_answer(carry, is_ok, text);
	}
}
