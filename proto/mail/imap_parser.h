#ifndef PANDO_PROTO_MAIL_IMAP_PARSER_H
#define PANDO_PROTO_MAIL_IMAP_PARSER_H

/*
 * The command grammar of IMAP4rev1 (RFC 3501 section 9) with the extensions that the session
 * offers. A parser stands in the text of one complete command (imap_reader.h) and moves on with
 * every successful call; strings it returns stand in that text or in the pool. A call that returns
 * false leaves `error` with what was expected, and the command is to be answered with BAD.
 */

#include "core/pool.h"
#include "core/str.h"

enum {
	/* Clients count upwards behind a letter or two. */
	IMAP_TAG_LENGTH_MAX = 128,
	/* Nested parentheses, NOT and OR of a SEARCH: clients build long OR chains by nesting. */
	IMAP_SEARCH_DEPTH_MAX = 1000,
	/* The rules that clients build have tens of them. */
	IMAP_SEARCH_KEYS_MAX = 2000,
	/* Body sections of one FETCH: the parts of a message, or some headers. */
	IMAP_SECTIONS_MAX = 100,
	/* Numbers of one section: above the depth to which messages are parsed. */
	IMAP_SECTION_DEPTH_MAX = 100,
	/* Clients' keywords have one word or two. */
	IMAP_KEYWORD_LENGTH_MAX = 255,
	/* Of one command: above what a folder can hold (FOLDER_KEYWORDS_MAX). */
	IMAP_KEYWORDS_MAX = 100,
	/* Of one LIST (RFC 5258): clients ask with one or two. */
	IMAP_PATTERNS_MAX = 100,
	/* Twice as long as a folder's name may be. */
	IMAP_PATTERN_LENGTH_MAX = 2000,
};

struct imap_parser {
	struct str text;
	size_t at;
	struct pool *pool;
	const char *error; /* static text */
};

void imap_parser_init(struct imap_parser *parser, struct str text, struct pool *pool);
bool imap_at_end(const struct imap_parser *parser);
bool imap_end(struct imap_parser *parser);
bool imap_space(struct imap_parser *parser);
/* Takes `byte` when it is next; leaves no error otherwise. */
bool imap_try_byte(struct imap_parser *parser, char byte);
/* Takes `word` in any case when it is next and ends there. */
bool imap_try_word(struct imap_parser *parser, struct str word);
bool imap_tag(struct imap_parser *parser, struct str *tag_out);
bool imap_atom(struct imap_parser *parser, struct str *atom_out);
bool imap_string(struct imap_parser *parser, struct str *string_out);
bool imap_astring(struct imap_parser *parser, struct str *string_out);
/* A folder's name in UTF-8, "INBOX" in capitals. `*is_valid_out` false: it is no correct modified
 * UTF-7. */
bool imap_mailbox(struct imap_parser *parser, struct str *name_out, bool *is_valid_out);
bool imap_number(struct imap_parser *parser, uint64_t maximum, uint64_t *number_out);

/* 0 stands for "*". */
struct imap_range {
	uint32_t first, last;
};

struct imap_set {
	struct imap_range *ranges;
	unsigned count;
};

bool imap_sequence_set(struct imap_parser *parser, struct imap_set *set_out);
/* Puts `largest` for "*" and makes the ranges rising and disjoint. */
void imap_set_resolve(struct imap_set *set, uint32_t largest);
/* Of a resolved set. */
bool imap_set_contains(const struct imap_set *set, uint32_t number);

/* The bits of node/index's system flags. */
enum {
	IMAP_FLAG_SEEN = 1 << 0,
	IMAP_FLAG_ANSWERED = 1 << 1,
	IMAP_FLAG_FLAGGED = 1 << 2,
	IMAP_FLAG_DELETED = 1 << 3,
	IMAP_FLAG_DRAFT = 1 << 4,
};

struct imap_flags {
	uint64_t system;
	struct str *keywords;
	unsigned keyword_count;
};

/* A list in parentheses or, with `bare`, flags without them up to the end. \Recent
 * is passed over. */
bool imap_flag_list(struct imap_parser *parser, bool bare, struct imap_flags *flags_out);
/* "17-Jul-1996", quoted or not: days since 1970. */
bool imap_date(struct imap_parser *parser, int64_t *days_out);
/* "17-Jul-1996 02:44:25 -0700" in quotes: seconds since 1970 UTC. */
bool imap_date_time(struct imap_parser *parser, int64_t *utc_s_out);

enum imap_fetch_item {
	IMAP_FETCH_UID = 1 << 0,
	IMAP_FETCH_FLAGS = 1 << 1,
	IMAP_FETCH_INTERNALDATE = 1 << 2,
	IMAP_FETCH_SIZE = 1 << 3,
	IMAP_FETCH_MODSEQ = 1 << 4,
	IMAP_FETCH_ENVELOPE = 1 << 5,
	IMAP_FETCH_BODY = 1 << 6,
	IMAP_FETCH_BODYSTRUCTURE = 1 << 7,
};

enum imap_section_kind {
	IMAP_SECTION_WHOLE, IMAP_SECTION_HEADER, IMAP_SECTION_FIELDS, IMAP_SECTION_FIELDS_NOT,
	IMAP_SECTION_TEXT, IMAP_SECTION_MIME,
};

struct imap_section {
	enum imap_section_kind kind;
	uint32_t *numbers;
	unsigned number_count;
	struct str *fields;
	unsigned field_count;
	bool is_partial;
	uint64_t partial_offset, partial_length;
	bool sets_seen;
	struct str label; /* as the response names it: "BODY[1.TEXT]<0>" */
};

struct imap_fetch {
	unsigned items; /* enum imap_fetch_item */
	struct imap_section *sections;
	unsigned section_count;
};

bool imap_fetch_attributes(struct imap_parser *parser, struct imap_fetch *fetch_out);

enum imap_search_op {
	/* of the results before it */
	IMAP_SEARCH_AND,
	IMAP_SEARCH_OR,
	IMAP_SEARCH_NOT,
	/* of the index */
	IMAP_SEARCH_ALL,
	IMAP_SEARCH_FLAG,
	IMAP_SEARCH_KEYWORD,
	IMAP_SEARCH_RECENT,
	IMAP_SEARCH_NEW,
	IMAP_SEARCH_BEFORE,
	IMAP_SEARCH_ON,
	IMAP_SEARCH_SINCE,
	IMAP_SEARCH_LARGER,
	IMAP_SEARCH_SMALLER,
	IMAP_SEARCH_OLDER,
	IMAP_SEARCH_YOUNGER,
	IMAP_SEARCH_UID,
	IMAP_SEARCH_SEQUENCE,
	IMAP_SEARCH_MODSEQ,
	/* of the header */
	IMAP_SEARCH_SENTBEFORE,
	IMAP_SEARCH_SENTON,
	IMAP_SEARCH_SENTSINCE,
	IMAP_SEARCH_HEADER,
	/* of the body */
	IMAP_SEARCH_BODY,
	IMAP_SEARCH_TEXT,
};

struct imap_search_key {
	enum imap_search_op op;
	uint64_t number;  /* flag bit, size, seconds, modseq */
	int64_t days;
	struct str field; /* of HEADER */
	struct str text;  /* as sent, in the search's charset */
	struct imap_set set;
};

enum {
	IMAP_RETURN_MIN = 1 << 0,
	IMAP_RETURN_MAX = 1 << 1,
	IMAP_RETURN_ALL = 1 << 2,
	IMAP_RETURN_COUNT = 1 << 3,
};

/* The keys in postfix order: operands before AND, OR and NOT. */
struct imap_search {
	bool is_extended;     /* a RETURN was given: answer with ESEARCH (RFC 4731) */
	unsigned returns;
	struct str charset;   /* empty: US-ASCII, taken as UTF-8 */
	struct imap_search_key *keys;
	unsigned key_count;
	bool uses_modseq;
};

bool imap_search_program(struct imap_parser *parser, struct imap_search *search_out);

enum {
	IMAP_STATUS_MESSAGES = 1 << 0,
	IMAP_STATUS_RECENT = 1 << 1,
	IMAP_STATUS_UIDNEXT = 1 << 2,
	IMAP_STATUS_UIDVALIDITY = 1 << 3,
	IMAP_STATUS_UNSEEN = 1 << 4,
	IMAP_STATUS_HIGHESTMODSEQ = 1 << 5,
	IMAP_STATUS_SIZE = 1 << 6,
	IMAP_STATUS_APPENDLIMIT = 1 << 7,
};

bool imap_status_items(struct imap_parser *parser, unsigned *items_out);

enum {
	IMAP_LIST_SUBSCRIBED = 1 << 0,
	IMAP_LIST_REMOTE = 1 << 1,
	IMAP_LIST_RECURSIVEMATCH = 1 << 2,
	IMAP_LIST_SPECIAL_USE = 1 << 3,
	IMAP_LIST_CHILDREN = 1 << 4, /* a return option only */
	IMAP_LIST_STATUS = 1 << 5,   /* a return option only */
};

struct imap_list {
	bool is_extended;
	unsigned select, returns, status_items;
	struct str reference;
	struct str *patterns; /* as sent, in modified UTF-7 */
	unsigned pattern_count;
};

bool imap_list_arguments(struct imap_parser *parser, struct imap_list *list_out);
/* Whether `name` matches a LIST pattern in which "*" takes anything and "%" anything but "/"; the
 * letters of a leading INBOX in any case. */
bool imap_pattern_matches(struct str pattern, struct str name);

/* What stands between APPEND and its message. True: all of it is there, and the text goes on with
 * the message's literal. */
struct imap_append {
	struct str name;
	bool name_is_valid;
	struct imap_flags flags;
	bool has_date;
	int64_t date_s;
	/* XPANDOID, of salvage alone (node/salvage/): what is stored under this id is not stored
	 * again. */
	bool has_id;
	uint8_t id[16];
};

bool imap_append_arguments(struct imap_parser *parser, struct imap_append *append_out);

#endif
