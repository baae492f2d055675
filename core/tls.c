#include "core/tls.h"

#include "core/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct tls_context {
	SSL_CTX *ssl;
	bool verifies_name;
};

static const char *last_reason(void)
{
	unsigned long code = ERR_get_error();
	const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
						    : ERR_reason_error_string(code);
	ERR_clear_error();
	return reason ? reason : "unknown reason";
}

static int load_identity(SSL_CTX *ssl, const struct tls_options *options, struct error *error)
{
	if (options->certificate_file == NULL)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ssl, options->certificate_file) != 1)
		return error_set(error, -EINVAL, "cannot use the certificate %s: %s",
			options->certificate_file, last_reason());
	if (SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) != 1)
		return error_set(error, -EINVAL, "cannot use the key %s: %s", options->key_file,
			last_reason());
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
	return 0;
}

void tls_context_destroy(struct tls_context **context)
{
	if (*context == NULL)
		return;
	SSL_CTX_free((*context)->ssl);
	free(*context);
	*context = NULL;
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
		X509_NAME *subject = X509_get_subject_name(certificate);
		X509_NAME_get_text_by_NID(
			subject, NID_commonName, peer_out->name, sizeof(peer_out->name));
		X509_NAME_get_text_by_NID(subject, NID_organizationalUnitName, peer_out->role,
			sizeof(peer_out->role));
	}
	X509_free(certificate);
}
