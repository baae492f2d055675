#ifndef PANDO_PROTO_MAIL_SASL_H
#define PANDO_PROTO_MAIL_SASL_H

/*
 * The server's side of a SASL exchange (RFC 4422): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC
 * 5802, 7677). Decoded messages in, decoded challenges out; base64 and framing are the protocol's.
 * The engine looks nothing up and derives no keys: it says what it needs and the caller, who knows
 * the directory and a thread for the slow part, goes on when it has it.
 *
 * Who is not known must cost the same as who is: the caller gives such users the salt of
 * sasl_invented_salt and keys that nothing matches.
 */

#include "core/buf.h"
#include "core/digest.h"

struct sasl;

enum sasl_mechanism { SASL_PLAIN, SASL_LOGIN, SASL_SCRAM_SHA_256, SASL_MECHANISMS };

enum sasl_step {
	SASL_CHALLENGE,       /* send challenge_out, then show the answer to sasl_input */
	SASL_NEED_CREDENTIAL, /* sasl_user is known: look it up and call sasl_give_credential */
	SASL_CHECK_PASSWORD,  /* sasl_user and sasl_password are known: the caller decides */
	SASL_VERIFIED,        /* the proof was right; nothing is left to send */
	SASL_REFUSED,         /* the proof was wrong */
	SASL_MALFORMED,
};

/* By name in any case; false when it is not offered. */
bool sasl_find_mechanism(struct str name, enum sasl_mechanism *mechanism_out) must_check;

struct sasl *sasl_create(enum sasl_mechanism mechanism);
/* Wipes what it held. Sets *sasl to NULL; NULL is accepted. */
void sasl_destroy(struct sasl **sasl);

/* The first call shows the initial response, or `has_message` false when the client sent none. The
 * challenge is appended. */
enum sasl_step sasl_input(
	struct sasl *sasl, bool has_message, struct str message, struct buf *challenge_out);
enum sasl_step sasl_give_credential(struct sasl *sasl, struct str salt, uint32_t iterations,
	const uint8_t stored_key[SHA256_LENGTH], const uint8_t server_key[SHA256_LENGTH],
	struct str server_nonce, struct buf *challenge_out);

/* Valid until sasl_destroy. An authorization identity other than the user itself is refused as
 * malformed: nobody here speaks for others. */
struct str sasl_user(const struct sasl *sasl);
struct str sasl_password(const struct sasl *sasl);

/* The salt shown for a user who does not exist or has no password: the same one every time. */
void sasl_invented_salt(struct str secret, struct str user, uint8_t salt_out[16]);

#endif
