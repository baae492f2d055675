#ifndef PANDO_ROUTER_SMTP_SESSION_H
#define PANDO_ROUTER_SMTP_SESSION_H

/*
 * One client of the SMTP front: as a mail exchanger (port 25) and for submission (587, 465). The
 * session reads lines and message bytes and says replies; the commands are in smtp_commands.c, one
 * row per verb; what becomes of a message is smtp_tx.
 *
 * Invariants:
 * 1. session_set_state is the only writer of `state`.
 * 2. While a transaction or a login is decided (SMTP_WAITING) no input is taken: pipelined commands
 *    wait.
 * 3. Nothing that was sent in clear survives STARTTLS: input, greeting and transaction are
 *    forgotten.
 */

#include "core/net.h"
#include "core/timer.h"
#include "router/clients.h"
#include "router/login.h"
#include "router/router.h"
#include "router/smtp_tx.h"

enum smtp_service { SMTP_SERVICE_MX, SMTP_SERVICE_SUBMISSION, SMTP_SERVICE_SUBMISSIONS };

enum smtp_state {
	SMTP_COMMANDS,
	SMTP_DATA,       /* lines up to the dot */
	SMTP_CHUNK,      /* counted bytes of a BDAT */
	SMTP_AUTH,       /* the next line answers a SASL challenge */
	SMTP_WAITING,    /* a transaction or a login is being decided */
	SMTP_HANDSHAKE,  /* TLS begins */
	SMTP_CLOSING,
};

struct smtp_session {
	struct list link; /* in router->smtp_sessions */
	struct router *router;
	struct stream *stream;
	enum smtp_service service;
	enum smtp_state state;
	struct timer *idle;
	struct smtp_tx *tx; /* collecting, or waiting for its reply */
	struct login_attempt *attempt;
	uint64_t chunk_left;
	bool chunk_last, chunk_refused, chunking, skipping, input_waits, extended;
	unsigned errors, commands; /* since the last message that was taken */
	struct client_place place;
	uint64_t id;
	uint64_t messages, recipients, refused;
	char helo[256];
	char peer[64];
	char tls[64];
	char login[512]; /* canonical address once authenticated */
	uint64_t login_mailbox_id, login_access; /* and by what it may go on: directory_access */
};

/* The router stops: sessions between two messages end with 421 now (RFC 5321 section 3.8), others
 * with their reply. */
void smtp_sessions_stop(struct router *router);
/* Takes a stream fresh from its listener; ends by itself. */
void smtp_session_start(struct router *router, enum smtp_service service, struct stream *stream);

/* For the commands. */
void session_say(struct smtp_session *session, const char *format, ...) printf_like(2, 3);
void session_set_state(struct smtp_session *session, enum smtp_state state);
/* The message is whole: its reply comes later. */
void session_submit(struct smtp_session *session);
void session_forget_tx(struct smtp_session *session);
bool session_may_login(const struct smtp_session *session);
struct smtp_origin session_origin(const struct smtp_session *session);
extern const struct login_handler smtp_login_handler;

/* smtp_commands.c: runs one command line. */
void smtp_run_command(struct smtp_session *session, struct str line);

#endif
