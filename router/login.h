#ifndef PANDO_ROUTER_LOGIN_H
#define PANDO_ROUTER_LOGIN_H

/*
 * Who is this? One attempt is one SASL exchange or one user name with a password, checked against
 * the directory's SCRAM keys on a pool thread.
 *
 * Invariants:
 * 1. A refusal takes 1 to 2 seconds and the same work whether or not the user exists.
 * 2. An address that fails often is slowed down, never locked out: others may share it.
 * 3. done is called once and never from inside a call of this header; challenge may be. Before it
 *    calls done the attempt is gone: the pointer is dead.
 */

#include "proto/mail/sasl.h"
#include "router/router.h"

enum login_result { LOGIN_GOOD, LOGIN_REFUSED, LOGIN_MALFORMED, LOGIN_UNAVAILABLE };

struct login_identity {
	uint64_t mailbox_id;
	uint8_t mark[MAILBOX_MARK_LENGTH]; /* the password was of this one */
	uint64_t access; /* with which it was let in: directory_access */
	char address[512]; /* canonical */
};

struct login_handler {
	/* To be sent in base64; show the client's answer to login_message. */
	void (*challenge)(void *arg, struct str challenge);
	/* `identity` is set for LOGIN_GOOD and valid during the call. */
	void (*done)(void *arg, enum login_result result, const struct login_identity *identity);
};

struct login_attempt;

struct login *login_create(struct router *router);
void login_destroy(struct login **login);
/* The process ends: keys that are to be derived are not any more, nobody would learn of them. */
void login_stop(struct login *login);

/* `peer` is the client's "address:port"; `handler` outlives the attempt.
 * Follow with login_message. */
struct login_attempt *login_start(struct login *login, enum sasl_mechanism mechanism,
	const char *peer, const struct login_handler *handler, void *arg);
/* A decoded message of the client; has_message false: it sent no initial response. */
void login_message(struct login_attempt *attempt, bool has_message, struct str message);
/* No exchange: the client has said both already. */
struct login_attempt *login_password(struct login *login, struct str user, struct str password,
	const char *peer, const struct login_handler *handler, void *arg);
/* The session has gone: done will not be called. Sets *attempt to NULL; NULL is accepted. */
void login_abort(struct login_attempt **attempt);

#endif
