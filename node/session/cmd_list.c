/*
 * LIST and LSUB: RFC 3501 sections 6.3.8 and 6.3.9, RFC 5258 (LIST-EXTENDED), RFC 5819
 * (LIST-STATUS), RFC 6154 (SPECIAL-USE), RFC 3348 (CHILDREN).
 *
 * The names that may be listed are gathered first: folders, their missing parents, and subscribed
 * names. A command that has used up its turn gathers them anew in the next one, since folders may
 * have come and gone, and goes on behind the last name.
 */

#include "node/session/imap_session.h"
#include "proto/mail/imap_write.h"
#include "proto/mail/utf7.h"

#include "core/clock.h"
#include "core/map.h"

#include <stdlib.h>

struct entry {
	struct str name;
	const struct folder *folder; /* NULL: a level without a folder, or only subscribed */
	bool is_subscribed;
	bool has_children;
	bool has_subscribed_below;
	bool has_hidden_below; /* subscribed, and not to be listed itself */
	bool is_level; /* exists at least as the parent of a folder */
};

struct listing {
	struct imap_session *session;
	bool is_lsub;
	struct imap_list arguments;
	struct str *patterns; /* UTF-8, reference included */
	struct str last;      /* the name that was looked at last; empty: none */
	/* of one turn */
	struct pool *pool;
	struct map *by_name;
	struct entry **entries;
	unsigned count, capacity;
};

enum {
	/* Names between two looks at the clock: long patterns cost microseconds for each. */
	NAMES_PER_SLICE = 16,
};

static struct entry *entry_of(struct listing *listing, struct str name)
{
	struct entry *entry = map_get(listing->by_name, name);
	if (entry)
		return entry;
	entry = pool_alloc(listing->pool, sizeof(*entry));
	entry->name = name;
	map_set(listing->by_name, name, entry);
	if (listing->count == listing->capacity) {
		listing->capacity = listing->capacity ? listing->capacity * 2 : 32;
		listing->entries =
			mem_resize(listing->entries, listing->capacity * sizeof(*listing->entries));
	}
	listing->entries[listing->count++] = entry;
	return entry;
}

static bool parent_of(struct str name, struct str *parent_out)
{
	ptrdiff_t slash = str_find_last_byte(name, '/');
	if (slash <= 0)
		return false;
	*parent_out = str_first(name, (size_t)slash);
	return true;
}

static bool matches_any(const struct listing *listing, struct str name)
{
	for (unsigned i = 0; i < listing->arguments.pattern_count; i++)
		if (imap_pattern_matches(listing->patterns[i], name))
			return true;
	return false;
}

static void gather(struct listing *listing)
{
	struct mailbox *mailbox = listing->session->mailbox.mailbox;
	bool is_recursive = listing->arguments.select & IMAP_LIST_RECURSIVEMATCH;
	struct str parent, name;
	size_t position = 0;

	for (struct folder *folder = NULL; (folder = mailbox_next_folder(mailbox, folder));) {
		struct entry *entry = entry_of(listing, folder->name);
		entry->folder = folder;
		entry->is_level = true;
		for (struct str at = folder->name; parent_of(at, &parent); at = parent) {
			struct entry *above = entry_of(listing, parent);
			above->has_children = above->is_level = true;
		}
	}
	while (mailbox_next_subscription(mailbox, &position, &name)) {
		entry_of(listing, name)->is_subscribed = true;
		bool is_hidden = is_recursive && !matches_any(listing, name);
		for (struct str at = name; parent_of(at, &parent); at = parent) {
			struct entry *above = entry_of(listing, parent);
			above->has_subscribed_below = true;
			above->has_hidden_below |= is_hidden;
		}
	}
}

static int compare_names(struct str x, struct str y)
{
	bool x_inbox = str_equal(x, STR("INBOX")), y_inbox = str_equal(y, STR("INBOX"));
	if (x_inbox != y_inbox)
		return x_inbox ? -1 : 1;
	return str_compare(x, y);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
	return compare_names(x->name, y->name);
}

static struct str special_use_name(const struct folder *folder)
{
	switch (folder ? folder->special_use : SPECIAL_NONE) {
	case SPECIAL_ARCHIVE: return STR("\\Archive");
	case SPECIAL_DRAFTS: return STR("\\Drafts");
	case SPECIAL_JUNK: return STR("\\Junk");
	case SPECIAL_SENT: return STR("\\Sent");
	case SPECIAL_TRASH: return STR("\\Trash");
	case SPECIAL_NONE: break;
	}
	return str_of("", 0);
}

static void write_attribute(struct buf *out, bool *any, struct str name)
{
	if (*any)
		buf_append_byte(out, ' ');
	buf_append_str(out, name);
	*any = true;
}

static void write_entry(struct listing *listing, const struct entry *entry, bool child_info)
{
	struct buf *out = &listing->session->out;
	const struct imap_list *arguments = &listing->arguments;
	bool any = false;

	buf_append_literal(out, "* LIST (");
	if (!entry->folder)
		write_attribute(out, &any, STR("\\NonExistent"));
	/* It implies \Noselect (RFC 5258 section 3), for clients that know it. */
	if (!entry->folder && !arguments->is_extended)
		write_attribute(out, &any, STR("\\Noselect"));
	if (entry->is_subscribed &&
		((arguments->select | arguments->returns) & IMAP_LIST_SUBSCRIBED))
		write_attribute(out, &any, STR("\\Subscribed"));
	write_attribute(out, &any,
		entry->has_children ? STR("\\HasChildren") : STR("\\HasNoChildren"));
	struct str use = special_use_name(entry->folder);
	if (use.length)
		write_attribute(out, &any, use);
	buf_append_literal(out, ") \"/\" ");
	imap_write_mailbox(out, entry->name);
	if (child_info)
		buf_append_literal(out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
	buf_append_literal(out, "\r\n");
	if ((arguments->returns & IMAP_LIST_STATUS) && entry->folder)
		imap_write_status(listing->session, entry->folder, arguments->status_items);
}

static void list_entry_if(struct listing *listing, const struct entry *entry)
{
	unsigned select = listing->arguments.select;
	bool is_selected = true, child_info = false;

	if (!matches_any(listing, entry->name))
		return;
	if (select & IMAP_LIST_SUBSCRIBED) {
		is_selected = entry->is_subscribed;
		/* No hint at children that are listed themselves (RFC 5258 section 3). */
		child_info = entry->has_hidden_below;
	} else {
		is_selected = entry->is_level;
	}
	if ((select & IMAP_LIST_SPECIAL_USE) && !special_use_name(entry->folder).length)
		is_selected = false;
	if (is_selected || child_info)
		write_entry(listing, entry, child_info);
}

/* Whether some pattern ends in "%" and matches `name`, below which something is subscribed. */
static bool matches_level(const struct listing *listing, struct str name)
{
	for (unsigned i = 0; i < listing->arguments.pattern_count; i++)
		if (str_ends_with(listing->patterns[i], STR("%")) &&
			imap_pattern_matches(listing->patterns[i], name))
			return true;
	return false;
}

static void lsub_entry_if(struct listing *listing, const struct entry *entry)
{
	struct buf *out = &listing->session->out;
	bool shows_level = !entry->is_subscribed && entry->has_subscribed_below &&
		matches_level(listing, entry->name);

	if (!shows_level && !(entry->is_subscribed && matches_any(listing, entry->name)))
		return;
	buf_append_str(out,
		shows_level ? STR("* LSUB (\\Noselect) \"/\" ") : STR("* LSUB () \"/\" "));
	imap_write_mailbox(out, entry->name);
	buf_append_literal(out, "\r\n");
}

/* The pattern with the reference before it, in UTF-8; one that is no modified UTF-7 matches
 * nothing. */
static struct str prepare_pattern(const struct imap_list *arguments, unsigned index,
	struct pool *pool)
{
	struct buf whole = { 0 }, decoded = { 0 };

	buf_append_str(&whole, arguments->reference);
	buf_append_str(&whole, arguments->patterns[index]);
	bool is_valid = utf7_decode(buf_str(&whole), &decoded) &&
		buf_length(&decoded) <= IMAP_PATTERN_LENGTH_MAX;
	struct str pattern = is_valid ? pool_copy(pool, buf_str(&decoded)) : str_of("", 0);
	buf_deinit(&whole);
	buf_deinit(&decoded);
	return pattern;
}

static void listing_begin(struct listing *listing)
{
	listing->pool = pool_create();
	listing->by_name = map_create();
	listing->count = 0;
	gather(listing);
	if (listing->count)
		qsort(listing->entries, listing->count, sizeof(*listing->entries), compare_entries);
}

static void listing_end(struct listing *listing)
{
	map_destroy(&listing->by_name);
	pool_destroy(&listing->pool);
	free(listing->entries);
	listing->entries = NULL;
	listing->capacity = 0;
}

static enum imap_wait list_on(struct imap_session *session, struct imap_command *command)
{
	struct listing *listing = command->state;
	enum imap_wait wait = IMAP_DONE;
	unsigned i = 0;

	listing_begin(listing);
	/* What gathering took is not the names' time: each turn gets on. */
	command->slice_start_us = clock_mono_us();
	while (listing->last.length && i < listing->count &&
		compare_names(listing->entries[i]->name, listing->last) <= 0)
		i++;
	for (unsigned looked = 1; i < listing->count && wait == IMAP_DONE; i++, looked++) {
		if (listing->is_lsub)
			lsub_entry_if(listing, listing->entries[i]);
		else
			list_entry_if(listing, listing->entries[i]);
		if (looked % NAMES_PER_SLICE == 0)
			wait = imap_pause(session, command);
		if (wait != IMAP_DONE)
			listing->last = pool_copy(command->pool, listing->entries[i]->name);
	}
	listing_end(listing);
	return wait == IMAP_DONE ? imap_reply(command, "OK Done") : wait;
}

static enum imap_wait start(struct imap_session *session, struct imap_command *command,
	bool is_lsub)
{
	struct imap_parser *parser = &command->parser;
	struct listing *listing = pool_alloc(command->pool, sizeof(*listing));
	const struct imap_list *arguments = &listing->arguments;

	if (!imap_space(parser) || !imap_list_arguments(parser, &listing->arguments) ||
		!imap_end(parser))
		return imap_bad(command);
	if (is_lsub && arguments->is_extended) {
		parser->error = "LSUB takes a reference and one pattern";
		return imap_bad(command);
	}
	if (!is_lsub && !arguments->is_extended && !arguments->patterns[0].length) {
		buf_append_literal(&session->out, "* LIST (\\Noselect) \"/\" \"\"\r\n");
		return imap_reply(command, "OK Done");
	}
	if (arguments->status_items & IMAP_STATUS_HIGHESTMODSEQ)
		imap_condstore_enable(session);
	listing->session = session;
	listing->is_lsub = is_lsub;
	listing->patterns =
		pool_alloc(command->pool, arguments->pattern_count * sizeof(struct str));
	for (unsigned i = 0; i < arguments->pattern_count; i++)
		listing->patterns[i] = prepare_pattern(arguments, i, command->pool);
	command->state = listing;
	command->resume = list_on;
	return list_on(session, command);
}

enum imap_wait cmd_list(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, false);
}

enum imap_wait cmd_lsub(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, true);
}
