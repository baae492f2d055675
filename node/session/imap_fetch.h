#ifndef PANDO_NODE_IMAP_FETCH_H
#define PANDO_NODE_IMAP_FETCH_H

/* What a FETCH needs of each message, and the text of a body section. For cmd_fetch.c. */

#include "node/session/imap_view.h"
#include "proto/mail/summary.h"

struct fetch {
	struct imap_set set; /* of sequence numbers */
	struct imap_fetch attributes;
	uint64_t changed_since;
	bool needs_summary, needs_body, needs_header, sets_seen;
	unsigned range;    /* position in the set */
	uint32_t sequence;
	bool skipped;      /* some message was expunged meanwhile */
	bool failed;       /* some message could not be read */
};

struct fetch_source {
	struct bytes *body; /* NULL when only the header was needed and the summary has it */
	bool has_summary;
	struct summary summary;
};

/* Decides from the attributes what must be read. */
void fetch_plan(struct fetch *fetch);
/* The text of a section, before a partial range is cut; it stands in the message, in the summary or
 * in `scratch`. False when the message has no such part. */
bool fetch_section_text(const struct imap_section *section, const struct fetch_source *source,
	struct buf *scratch, struct str *text_out);

#endif
