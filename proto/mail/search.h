#ifndef PANDO_PROTO_MAIL_SEARCH_H
#define PANDO_PROTO_MAIL_SEARCH_H

/*
 * Decides for one message after the other whether it meets a SEARCH. Three-valued: what the index,
 * then the header, then the body does not decide is left open, so that a message's header and body
 * are read only when they matter. Evaluation walks the keys in postfix order; nothing recurses.
 */

#include "proto/mail/imap_parser.h"
#include "proto/mail/summary.h"

struct search;

enum search_verdict { SEARCH_NO, SEARCH_YES, SEARCH_NEEDS_HEADER, SEARCH_NEEDS_BODY };

/* What the index knows of a message. */
struct search_facts {
	uint32_t sequence, uid, size;
	uint64_t flags; /* system flags and keyword bits */
	uint64_t modseq;
	int64_t internal_date_s;
	bool is_recent;
};

/* The program's sets must be resolved: sequence sets to sequence numbers, UID sets to UIDs. The
 * number of a KEYWORD key must be the bit of the keyword (0: no message has it). NULL: the charset
 * is unknown. */
struct search *search_create(struct pool *pool, const struct imap_search *program, int64_t now_s);

/* Each may be called only after the one before it has left the verdict open. */
enum search_verdict search_index(struct search *search, const struct search_facts *facts);
enum search_verdict search_header(struct search *search, struct str header);
/* Gives SEARCH_YES or SEARCH_NO. */
enum search_verdict search_body(
	struct search *search, const struct summary *summary, struct str message);

#endif
