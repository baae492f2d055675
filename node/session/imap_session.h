#ifndef PANDO_NODE_IMAP_SESSION_H
#define PANDO_NODE_IMAP_SESSION_H

/*
 * One authenticated IMAP connection, on the worker thread of its mailbox. Commands run one after
 * the other; a command that must wait returns the reason, its input stays unread meanwhile, and
 * command->resume is called when what it waits for has come.
 *
 * Life: imap_session_start -> (authenticated <-> selected) -> closed. A session ends by LOGOUT, by
 * the peer, by 30 minutes of silence, or because its mailbox or selected folder goes (BYE). Its
 * memory stays until a change in flight has called back.
 *
 * Invariants:
 * 1. The view holds exactly the messages that the client was told of, in order: sequence number n
 *    is uids[n-1]. It changes in imap_view_sync and nowhere else.
 * 2. An idle session owns no buffers and no pool.
 */

#include "core/config.h"
#include "core/net.h"
#include "core/pool.h"
#include "core/timer.h"
#include "node/mailbox/mailbox.h"
#include "node/volume/volumes.h"
#include "proto/mail/imap_parser.h"
#include "proto/mail/imap_reader.h"

/* As told to the router and the client's ID; logged first. */
enum {
	IMAP_SESSION_ID_LENGTH = 16,
	/* For logs, which cut a longer one. RFC 3696 section 3: 64 + 1 + 255. */
	IMAP_ADDRESS_MAX = 320,
};

/* What the login phase found out; owned by imap_session_start. */
struct imap_login_result {
	const struct config *config;
	struct mailbox_identity who; /* address: the one below */
	uint64_t access; /* with which it was let in: directory_access */
	struct mailbox_policy policy;
	char session_id[IMAP_SESSION_ID_LENGTH + 1];
	char address[IMAP_ADDRESS_MAX];
	char tag[IMAP_TAG_LENGTH_MAX + 1];
	/* It is a node of the cluster that brings home what was cut off (node/salvage/), or `pando`
	 * that brings mail back: no quota, and APPEND with XPANDOID. */
	bool is_salvage;
};

/* On the volume's worker, with a detached stream. Answers the tagged
 * AUTHENTICATE. Frees `login`. */
void imap_session_start(struct volume *volume, struct stream *stream,
	struct imap_login_result *login);

enum imap_wait {
	IMAP_DONE,        /* the command's reply is set */
	IMAP_WAIT_CHANGE, /* session->change calls back */
	IMAP_WAIT_READ,   /* a message_read of the session calls back */
	IMAP_WAIT_DRAIN,  /* the client has taken what was sent */
	IMAP_WAIT_TURN,   /* the next turn of the loop: others have a right to it too */
	IMAP_WAIT_INPUT,  /* more bytes from the client (IDLE) */
};

enum imap_state { IMAP_AUTHENTICATED = 1 << 0, IMAP_SELECTED = 1 << 1 };

enum imap_sync { IMAP_SYNC_ALL, IMAP_SYNC_NO_EXPUNGE };

struct imap_session;
struct imap_command;

/* A row of the verb table: all that is decided by the verb alone. */
struct imap_verb {
	const char *name;
	unsigned states;     /* enum imap_state: where it is allowed */
	enum imap_sync sync; /* of the form without UID (RFC 3501 section 7.4.1) */
	bool has_uid_form;
	enum imap_wait (*start)(struct imap_session *session, struct imap_command *command);
};

struct imap_command {
	struct str tag;
	const struct imap_verb *verb;
	bool by_uid;
	struct imap_parser parser; /* stands behind the verb */
	struct pool *pool;         /* goes with the command */
	struct buf reply;          /* the tagged line without its tag */
	bool is_bad;
	enum imap_wait wait;
	enum imap_wait (*resume)(struct imap_session *session, struct imap_command *command);
	/* Releases what is not in the pool; NULL: nothing. Also called when the session dies. */
	void (*release)(struct imap_session *session, struct imap_command *command);
	void *state; /* the command's own, in the pool */
	uint64_t slice_start_us;
};

/* Uids from `first` on and below `behind`. */
struct imap_recent {
	uint32_t first, behind;
};

struct imap_view {
	uint32_t *uids;
	uint32_t count, capacity;
	/* What this session was the first to be told of, rising; at most one more with every time
	 * that another session was first in between. */
	struct imap_recent *recent;
	uint32_t recent_count, recent_capacity;
	uint64_t seen_modseq, seen_expunge, seen_flag, seen_append, seen_keyword;
	/* The newest change of this session, which its own STORE has answered: 0 for none. */
	uint64_t own_modseq;
};

struct imap_session {
	struct mailbox_session mailbox; /* first: callbacks come with it */
	bool is_attached;
	bool is_read_only;
	bool is_condstore;   /* MODSEQ is shown with every FLAGS (RFC 7162 section 3.1) */
	bool is_paused;      /* the stream is not read while a command waits, or while choked */
	bool is_choked;      /* between commands: too much output waits, or it is others' turn */
	bool is_logging_out;
	bool has_ended;      /* BYE is said or the stream is gone */
	const char *end_reason; /* why the session is to end at the end of this turn */
	enum imap_state state;
	struct loop *loop;
	struct stream *stream;
	struct volume *volume;
	struct imap_login_result *login;
	struct salvage_point salvage; /* of a login for salvage */
	struct imap_reader reader;
	struct buf *input;   /* while on_input runs */
	struct buf out;      /* not yet given to the stream */
	/* The message of an APPEND being received. */
	struct bytes *message;
	size_t message_filled;
	const char *message_refused; /* reply to the APPEND whose literal was passed over */
	struct imap_command *command; /* running, or NULL */
	struct imap_view view;
	struct mailbox_op change;
	bool change_in_flight;
	struct message_read body_read, summary_read;
	bool body_asked, body_in_flight, summary_asked, summary_in_flight;
	struct timer *autologout, *turn;
	struct task end_task, notify_task;
	unsigned bad_count;
	uint64_t command_count, started_us;
};

/* ---- for commands ---- */

/* Sets the tagged reply ("OK ...", "NO [CODE] ...") and returns IMAP_DONE. */
enum imap_wait imap_reply(struct imap_command *command, const char *format, ...) printf_like(2, 3);
/* BAD with the parser's sentence. */
enum imap_wait imap_bad(struct imap_command *command);
/* NO for a mailbox_op's status other than 0. */
enum imap_wait imap_no_status(struct imap_command *command, int status);
/* The change of the session, ready to be given to a mailbox_ call; then return IMAP_WAIT_CHANGE. */
struct mailbox_op *imap_change(struct imap_session *session);
/* Gives `out` to the stream. */
void imap_flush(struct imap_session *session);
/* To be called between messages: IMAP_DONE to go on, else the wait to return. */
enum imap_wait imap_pause(struct imap_session *session, struct imap_command *command);
/* Reads for commands, once per message: true when it is there (or has failed: no bytes), false when
 * IMAP_WAIT_READ is to be returned. Asking again for what was asked is allowed. */
bool imap_read_body(struct imap_session *session, const struct message *message);
bool imap_read_summary(struct imap_session *session, const struct message *message);
/* Drops the bytes of finished reads and forgets those in flight: the next message may be read. */
void imap_reads_release(struct imap_session *session);
/* Ends the session with BYE at the end of this turn. `reason` is static text. */
void imap_disconnect(struct imap_session *session, const char *reason);

/* Nothing but the end stands behind the verb. */
static inline bool imap_end_of(struct imap_command *command)
{
	return imap_end(&command->parser);
}
/* From now on MODSEQ is shown; tells the selected folder's highest when that is new. */
void imap_condstore_enable(struct imap_session *session);
/* The UIDs with \Deleted, rising, in the pool. */
uint32_t *imap_deleted_uids(const struct folder *folder, struct pool *pool, uint32_t *count_out);
/* Whether an APPEND can be taken: NULL, or the reply that refuses it. */
const char *imap_append_check(struct imap_session *session, const struct imap_append *append,
	uint64_t length);

extern const char imap_capabilities[]; /* after authentication */

enum imap_wait cmd_append(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_capability(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_check(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_close(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_copy(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_create(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_delete(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_enable(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_examine(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_expunge(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_fetch(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_id(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_idle(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_list(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_logout(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_lsub(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_move(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_namespace(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_noop(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_rename(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_search(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_select(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_status(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_store(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_subscribe(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_unselect(struct imap_session *session, struct imap_command *command);
enum imap_wait cmd_unsubscribe(struct imap_session *session, struct imap_command *command);

/* "* STATUS name (...)". */
void imap_write_status(struct imap_session *session, const struct folder *folder, unsigned items);
/* DONE of IDLE: called with new input while IDLE runs. */
enum imap_wait imap_idle_input(struct imap_session *session, struct imap_command *command);

#endif
