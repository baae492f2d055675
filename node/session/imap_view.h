#ifndef PANDO_NODE_IMAP_VIEW_H
#define PANDO_NODE_IMAP_VIEW_H

/*
 * What the client of a session knows of its selected folder, and how it is told of changes
 * (RFC 3501 sections 5.2, 5.5 and 7.4.1).
 */

#include "node/session/imap_session.h"

/* Selects: afterwards the view is the folder as it stands now. */
/* The folder is prepared (mailbox_prepare). */
void imap_view_select(struct imap_session *session, struct folder *folder, bool read_only);
/* Nothing is selected afterwards. */
void imap_view_deselect(struct imap_session *session);
void imap_view_clear(struct imap_view *view);

/* Tells the client what has changed: EXPUNGE (only when allowed), FETCH of
 * flags, EXISTS, RECENT. */
void imap_view_sync(struct imap_session *session, bool expunge_allowed);
/* Whether a message is \Recent in this session, and how many of the view are. */
bool imap_view_is_recent(const struct imap_view *view, uint32_t uid);
uint32_t imap_view_recent(const struct imap_view *view);

/* The message of a sequence number, or NULL when it was expunged meanwhile. Sequence numbers close
 * to each other are found without a search. */
const struct message *imap_view_message(const struct imap_session *session, uint32_t sequence);
/* Makes ranges of sequence numbers out of a parsed set of sequence numbers or UIDs. False with the
 * parser's error set when a sequence number does not exist. */
bool imap_view_resolve(const struct imap_session *session, struct imap_command *command,
	struct imap_set *set);
/* The UIDs of a resolved set that still exist, rising, in the command's pool. */
uint32_t *imap_view_uids(const struct imap_session *session, struct imap_command *command,
	const struct imap_set *set, uint32_t *count_out);
/* The messages that a resolved set stands for. */
uint32_t imap_set_size(const struct imap_set *set);

/* "(\Seen $Junk)". */
void imap_write_flags(struct buf *out, const struct folder *folder, uint64_t flags, bool is_recent);
/* "* n FETCH (FLAGS (...))" with UID and MODSEQ where the session asks for them. */
void imap_write_flag_update(struct imap_session *session, uint32_t sequence,
	const struct message *message, bool with_uid, bool with_flags);
/* "* FLAGS (...)" and "* OK [PERMANENTFLAGS (...)]". */
void imap_write_folder_flags(struct imap_session *session, const struct folder *folder);

#endif
