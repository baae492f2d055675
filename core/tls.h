#ifndef PANDO_CORE_TLS_H
#define PANDO_CORE_TLS_H

/*
 * TLS 1.2 and 1.3 settings shared by many streams (OpenSSL inside). A context is immutable after
 * creation and may be used from any thread.
 *
 * Cluster certificates name their holder: the subject's CN is the machine's node or site name, its
 * OU is the role (router, node, replicator, ctl). Peers inside the cluster demand a certificate of
 * the cluster's CA and then check the role.
 */

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_context;

struct tls_options {
	const char *certificate_file; /* PEM chain; NULL for a client without a certificate */
	const char *key_file;         /* PEM */
	const char *ca_file;          /* PEM; NULL: peers are not verified */
	bool is_server;
	bool require_peer;            /* server: refuse clients without a valid certificate */
	bool cluster;                 /* TLS 1.3 only */
};

struct tls_peer {
	char name[128]; /* subject CN; empty when the peer showed no certificate */
	char role[32];  /* subject OU */
};

/* 0 or a negative errno with a sentence that names the file. */
int tls_context_create(const struct tls_options *options, struct tls_context **context_out,
	struct error *error) must_check;
void tls_context_destroy(struct tls_context **context);

/* What a certificate says. Times are seconds since 1970. */
struct tls_certificate {
	char name[128], role[32]; /* subject CN and OU; empty when it has none */
	int64_t not_before_s, not_after_s;
	/* The file holds another certificate by now, which a restart would use. False when the file
	 * cannot be read. */
	bool is_replaced;
};

/* The certificate that the context shows to others. False when it has none. */
bool tls_context_certificate(
	const struct tls_context *context, struct tls_certificate *certificate_out) must_check;
/* Of the authorities it believes, the one that ends first. False when it believes none. */
bool tls_context_authority(
	const struct tls_context *context, struct tls_certificate *certificate_out) must_check;
/* Whether clients that look for `host_name` take the context's certificate for it (RFC 6125). */
bool tls_context_is_for(const struct tls_context *context, const char *host_name) must_check;

#endif
