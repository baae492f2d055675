/*
 * LIST and LSUB: RFC 3501 sections 6.3.8 and 6.3.9, RFC 5258 (LIST-EXTENDED), RFC 5819
 * (LIST-STATUS), RFC 6154 (SPECIAL-USE), RFC 3348 (CHILDREN).
 *
 * The names that may be listed are gathered first: folders, their missing parents, and subscribed
 * names.
 */

#include "node/session/imap_view.h"
#include "proto/mail/imap_write.h"
#include "proto/mail/utf7.h"

#include "core/map.h"

#include <stdlib.h>

struct entry {
	struct str name;
	const struct folder *folder; /* NULL: a level without a folder, or only subscribed */
	bool is_subscribed;
	bool has_children;
	bool has_subscribed_below;
	bool is_level; /* exists at least as the parent of a folder */
};

struct listing {
	struct imap_session *session;
	struct pool *pool;
	struct map *by_name;
	struct entry **entries;
	unsigned count, capacity;
	struct imap_list arguments;
	struct str *patterns; /* UTF-8, reference included */
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

static void gather(struct listing *listing)
{
	struct mailbox *mailbox = listing->session->mailbox.mailbox;
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
		for (struct str at = name; parent_of(at, &parent); at = parent)
			entry_of(listing, parent)->has_subscribed_below = true;
	}
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
	bool x_inbox = str_equal(x->name, STR("INBOX")), y_inbox = str_equal(y->name, STR("INBOX"));
	if (x_inbox != y_inbox)
		return x_inbox ? -1 : 1;
	return str_compare(x->name, y->name);
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

static bool matches_any(const struct listing *listing, struct str name)
{
	for (unsigned i = 0; i < listing->arguments.pattern_count; i++) {
		struct str pattern = listing->patterns[i];
		if (imap_pattern_matches(pattern, name))
			return true;
		/* INBOX in any case, as the whole name. */
		if (str_equal(name, STR("INBOX")) && str_equal_ignore_case(pattern, STR("INBOX")))
			return true;
	}
	return false;
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
	if (!entry->folder) {
		write_attribute(out, &any, STR("\\NonExistent"));
		write_attribute(out, &any, STR("\\Noselect"));
	}
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
		child_info = (select & IMAP_LIST_RECURSIVEMATCH) && entry->has_subscribed_below;
	} else {
		is_selected = entry->is_level;
	}
	if ((select & IMAP_LIST_SPECIAL_USE) && !special_use_name(entry->folder).length)
		is_selected = false;
	if (is_selected || child_info)
		write_entry(listing, entry, child_info);
}

/* The pattern with the reference before it, in UTF-8; false when it is no modified UTF-7. */
static bool prepare_pattern(struct listing *listing, unsigned index)
{
	struct buf whole = { 0 }, decoded = { 0 };
	const struct imap_list *arguments = &listing->arguments;

	buf_append_str(&whole, arguments->reference);
	buf_append_str(&whole, arguments->patterns[index]);
	bool is_valid = utf7_decode(buf_str(&whole), &decoded);
	struct str pattern = pool_copy(listing->pool, buf_str(&decoded));
	if (str_starts_with_ignore_case(pattern, STR("INBOX/")))
		memcpy((char *)pattern.bytes, "INBOX", 5);
	listing->patterns[index] = pattern;
	buf_deinit(&whole);
	buf_deinit(&decoded);
	return is_valid && pattern.length <= IMAP_PATTERN_LENGTH_MAX;
}

static void listing_begin(struct listing *listing, struct imap_session *session,
	struct imap_command *command)
{
	listing->session = session;
	listing->pool = command->pool;
	listing->by_name = map_create();
	listing->patterns = pool_alloc(command->pool,
		(listing->arguments.pattern_count + 1) * sizeof(struct str));
	for (unsigned i = 0; i < listing->arguments.pattern_count; i++)
		if (!prepare_pattern(listing, i))
			listing->patterns[i] = str_of("", 0); /* matches nothing */
	gather(listing);
	qsort(listing->entries, listing->count, sizeof(*listing->entries), compare_entries);
}

static void listing_end(struct listing *listing)
{
	map_destroy(&listing->by_name);
	free(listing->entries);
}

enum imap_wait cmd_list(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct listing listing = { 0 };

	if (!imap_space(parser) || !imap_list_arguments(parser, &listing.arguments) ||
		!imap_end(parser))
		return imap_bad(command);
	if (!listing.arguments.is_extended && listing.arguments.pattern_count == 1 &&
		!listing.arguments.patterns[0].length) {
		buf_append_literal(&session->out, "* LIST (\\Noselect) \"/\" \"\"\r\n");
		return imap_reply(command, "OK Done");
	}
	if (listing.arguments.status_items & IMAP_STATUS_HIGHESTMODSEQ)
		imap_condstore_enable(session);
	listing_begin(&listing, session, command);
	for (unsigned i = 0; i < listing.count; i++)
		list_entry_if(&listing, listing.entries[i]);
	listing_end(&listing);
	return imap_reply(command, "OK Done");
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

enum imap_wait cmd_lsub(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct listing listing = { 0 };

	if (!imap_space(parser) || !imap_list_arguments(parser, &listing.arguments) ||
		!imap_end(parser) || listing.arguments.is_extended)
		return imap_bad(command);
	listing_begin(&listing, session, command);
	for (unsigned i = 0; i < listing.count; i++) {
		const struct entry *entry = listing.entries[i];
		bool shows_level = !entry->is_subscribed && entry->has_subscribed_below &&
			matches_level(&listing, entry->name);
		if (!shows_level && !(entry->is_subscribed && matches_any(&listing, entry->name)))
			continue;
		buf_append_str(&session->out,
			shows_level ? STR("* LSUB (\\Noselect) \"/\" ") : STR("* LSUB () \"/\" "));
		imap_write_mailbox(&session->out, entry->name);
		buf_append_literal(&session->out, "\r\n");
	}
	listing_end(&listing);
	return imap_reply(command, "OK Done");
}
