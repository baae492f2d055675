#include "core/tls.h"

#include "core/str.h"
#include "core/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tls_context {
	SSL_CTX *ssl;
	bool verifies_name;
	char *certificate_file, *ca_file; /* NULL: none */
};

static const char *last_reason(void)
{
	unsigned long code = ERR_get_error();
	const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
						    : ERR_reason_error_string(code);
	ERR_clear_error();
	return reason ? reason : "unknown reason";
}

/* What to do about a file that is none. Only the cluster's own are made by `pando`. */
static const char *advice(const struct tls_options *options)
{
	return options->cluster
		? ". It is to be a PEM file that this account may read: `pando cert "
		  "issue` makes certificate and key (`--role ctl` those that "
		  "ctl_certificate and ctl_key name)"
		: ". It is to be a PEM file that this account may read";
}

static int load_identity(SSL_CTX *ssl, const struct tls_options *options, struct error *error)
{
	if (options->certificate_file == NULL)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ssl, options->certificate_file) != 1)
		return error_set(error, -EINVAL, "cannot use the certificate %s: %s%s",
			options->certificate_file, last_reason(), advice(options));
	if (SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) != 1)
		return error_set(error, -EINVAL, "cannot use the key %s: %s%s", options->key_file,
			last_reason(), advice(options));
	return 0;
}

static int load_authority(SSL_CTX *ssl, const struct tls_options *options, struct error *error)
{
	if (options->ca_file == NULL)
		return 0;
	if (SSL_CTX_load_verify_locations(ssl, options->ca_file, NULL) != 1)
		return error_set(error, -EINVAL, "cannot use the authority %s: %s",
			options->ca_file, last_reason());
	int mode = SSL_VERIFY_PEER;
	if (options->is_server && options->require_peer)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(ssl, mode, NULL);
	return 0;
}

int tls_context_create(
	const struct tls_options *options, struct tls_context **context_out, struct error *error)
{
	SSL_CTX *ssl = SSL_CTX_new(options->is_server ? TLS_server_method() : TLS_client_method());
	CHECK(ssl != NULL);
	SSL_CTX_set_min_proto_version(ssl, options->cluster ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_options(ssl,
		SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
			SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* Idle connections give their record buffers back; output may move between attempts. */
	SSL_CTX_set_mode(ssl,
		SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
			SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"pando", 5);
	if (options->cluster)
		SSL_CTX_set_num_tickets(ssl, 0);
	int result = load_identity(ssl, options, error);
	if (result == 0)
		result = load_authority(ssl, options, error);
	if (result < 0) {
		SSL_CTX_free(ssl);
		return result;
	}
	*context_out = mem_alloc(sizeof(**context_out));
	(*context_out)->ssl = ssl;
	(*context_out)->verifies_name = options->ca_file != NULL && !options->cluster;
	if (options->certificate_file != NULL)
		(*context_out)->certificate_file = str_to_heap(str_from(options->certificate_file));
	if (options->ca_file != NULL)
		(*context_out)->ca_file = str_to_heap(str_from(options->ca_file));
	return 0;
}

void tls_context_destroy(struct tls_context **context)
{
	if (*context == NULL)
		return;
	SSL_CTX_free((*context)->ssl);
	free((*context)->certificate_file);
	free((*context)->ca_file);
	free(*context);
	*context = NULL;
}

/* ---- what certificates say ---- */

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm parts;
	return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

static void read_subject(const X509 *certificate, int part, char *out, size_t capacity)
{
	out[0] = '\0';
	X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), part, out, (int)capacity);
}

static void describe(const X509 *certificate, struct tls_certificate *out)
{
	*out = (struct tls_certificate){ .not_before_s =
						 seconds_of(X509_get0_notBefore(certificate)),
		.not_after_s = seconds_of(X509_get0_notAfter(certificate)) };
	read_subject(certificate, NID_commonName, out->name, sizeof(out->name));
	read_subject(certificate, NID_organizationalUnitName, out->role, sizeof(out->role));
}

/* The first of a PEM file; NULL when it cannot be read. */
static X509 *read_certificate(const char *path)
{
	FILE *file = fopen(path, "re");
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	if (file)
		fclose(file);
	ERR_clear_error();
	return certificate;
}

bool tls_context_certificate(
	const struct tls_context *context, struct tls_certificate *certificate_out)
{
	const X509 *used = SSL_CTX_get0_certificate(context->ssl);
	if (used == NULL)
		return false;
	describe(used, certificate_out);
	X509 *on_disk = read_certificate(context->certificate_file);
	certificate_out->is_replaced = on_disk != NULL && X509_cmp(on_disk, used) != 0;
	X509_free(on_disk);
	return true;
}

bool tls_context_authority(
	const struct tls_context *context, struct tls_certificate *certificate_out)
{
	if (context->ca_file == NULL)
		return false;
	STACK_OF(X509) *all = X509_STORE_get1_all_certs(SSL_CTX_get_cert_store(context->ssl));
	X509 *on_disk = read_certificate(context->ca_file);
	bool found = false, is_known = on_disk == NULL;
	for (int i = 0; i < sk_X509_num(all); i++) {
		const X509 *authority = sk_X509_value(all, i);
		struct tls_certificate one;
		describe(authority, &one);
		if (!found || one.not_after_s < certificate_out->not_after_s)
			*certificate_out = one;
		found = true;
		is_known = is_known || X509_cmp(on_disk, authority) == 0;
	}
	certificate_out->is_replaced = !is_known;
	X509_free(on_disk);
	sk_X509_pop_free(all, X509_free);
	return found;
}

bool tls_context_is_for(const struct tls_context *context, const char *host_name)
{
	X509 *used = SSL_CTX_get0_certificate(context->ssl);
	return used != NULL && X509_check_host(used, host_name, 0, 0, NULL) == 1;
}

struct ssl_st *tls_connection_create(
	struct tls_context *context, int fd, bool is_server, const char *server_name)
{
	SSL *connection = SSL_new(context->ssl);
	CHECK(connection != NULL);
	CHECK(SSL_set_fd(connection, fd) == 1);
	if (is_server) {
		SSL_set_accept_state(connection);
	} else {
		SSL_set_connect_state(connection);
		if (server_name != NULL) {
			SSL_set_tlsext_host_name(connection, server_name);
			if (context->verifies_name)
				SSL_set1_host(connection, server_name);
		}
	}
	return connection;
}

void tls_connection_peer(struct ssl_st *connection, struct tls_peer *peer_out)
{
	*peer_out = (struct tls_peer){ 0 };
	X509 *certificate = SSL_get1_peer_certificate(connection);
	if (certificate == NULL)
		return;
	if (SSL_get_verify_mode(connection) != SSL_VERIFY_NONE &&
		SSL_get_verify_result(connection) == X509_V_OK) {
		read_subject(certificate, NID_commonName, peer_out->name, sizeof(peer_out->name));
		read_subject(certificate, NID_organizationalUnitName, peer_out->role,
			sizeof(peer_out->role));
	}
	X509_free(certificate);
}
