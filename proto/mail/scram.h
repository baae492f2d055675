#ifndef PANDO_PROTO_MAIL_SCRAM_H
#define PANDO_PROTO_MAIL_SCRAM_H

/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677): the keys that are stored in place of a password and the
 * messages of the server's side. Pure: no lookup, no socket. A password is only ever seen by
 * scram_derive.
 */

#include "core/buf.h"
#include "core/digest.h"

enum {
	/* RFC 7677 section 4 asks for at least 4096; more makes every PLAIN login slower without
	 * protecting keys that never leave the cluster. */
	SCRAM_ITERATIONS = 4096,
	SCRAM_SALT_LENGTH = 16, /* RFC 8018 section 4.1 asks for 8 at least */
	/* Longer passwords cost the server more than they protect anybody. */
	SCRAM_PASSWORD_MAX = 1024,
};

/* SASLprep (RFC 4013) of UTF-8 text, appended to `out`. False (out unchanged): not UTF-8, a
 * prohibited character, or longer than SCRAM_PASSWORD_MAX. */
bool scram_prepare(struct str text, struct buf *out) must_check;

/* The stored and the server key of a password. 0, or -EINVAL when the password cannot be prepared
 * or is empty. Takes milliseconds: call it inside loop_work. */
int scram_derive(struct str password, struct str salt, uint32_t iterations,
	uint8_t stored_key_out[SHA256_LENGTH], uint8_t server_key_out[SHA256_LENGTH]) must_check;

/* What a client's first message says; the parts point into the message but for user, which is
 * decoded
 * (=2C, =3D) into `user_out`. */
struct scram_first {
	struct str gs2_header; /* "n,," with its commas */
	struct str authzid;    /* "" when absent; still encoded */
	struct str bare;       /* from "n=" on */
	struct str nonce;
};

/* False when malformed or when it asks for channel binding ("p="), which this server does not
 * offer. */
bool scram_parse_first(
	struct str message, struct scram_first *first_out, struct buf *user_out) must_check;

struct scram_final {
	struct str channel_binding; /* base64 of the GS2 header */
	struct str nonce;
	struct str without_proof;
	uint8_t proof[SHA256_LENGTH];
};

bool scram_parse_final(struct str message, struct scram_final *final_out) must_check;

/* AuthMessage = client-first-bare "," server-first "," client-final-without-proof. True when the
 * proof belongs to stored_key; constant time. */
bool scram_verify(struct str auth_message, const uint8_t proof[SHA256_LENGTH],
	const uint8_t stored_key[SHA256_LENGTH]) must_check;
/* "v=..." of the server's final message. */
void scram_append_server_final(struct buf *out, struct str auth_message,
	const uint8_t server_key[SHA256_LENGTH]);

#endif
