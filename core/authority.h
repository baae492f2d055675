#ifndef PANDO_CORE_AUTHORITY_H
#define PANDO_CORE_AUTHORITY_H

/*
 * The cluster's own certificate authority, as `pando init` makes it and `pando cert issue` uses it
 * (OpenSSL inside): P-256 keys, certificates with CN = holder's name and OU = role, as core/tls.h
 * expects them. Keys are written with mode 0600. Files are written whole or not at all, and an
 * existing file is never replaced (-EEXIST).
 */

#include "core/error.h"

enum {
	/* Twenty years: the authority outlives the machines. */
	AUTHORITY_DAYS = 7300,
	/* Ten years: longer than a machine is kept, and certificates are issued anew with it. */
	CERTIFICATE_DAYS = 3650,
};

int authority_create(const char *cluster_name, const char *certificate_file, const char *key_file,
	struct error *error) must_check;

struct certificate_request {
	const char *name; /* CN and a DNS alternative name */
	const char *role; /* OU: router, node, replicator or ctl */
};
/* localhost, 127.0.0.1 and ::1 are always among the alternative names. */
int authority_issue(const char *authority_certificate_file, const char *authority_key_file,
	const struct certificate_request *request, const char *certificate_file,
	const char *key_file, struct error *error) must_check;

/* A self-signed server certificate for `hostname`, for trying things out. */
int authority_self_signed(const char *hostname, const char *certificate_file, const char *key_file,
	struct error *error) must_check;

#endif
