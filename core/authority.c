#include "core/authority.h"

#include "core/rand.h"
#include "core/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* RFC 5280 section 4.1.2.2 allows 20 octets, positive. */
enum { SERIAL_LENGTH = 16 };

static int openssl_error(struct error *error, const char *what)
{
	char reason[256] = "unknown reason";
	unsigned long code = ERR_get_error();
	if (code)
		ERR_error_string_n(code, reason, sizeof(reason));
	return error_set(error, -EIO, "%s: %s", what, reason);
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	if (!extension)
		return false;
	bool added = X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

static bool add_name(X509 *certificate, const char *name, const char *role)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	const unsigned char *cn = (const unsigned char *)name, *ou = (const unsigned char *)role;
	return (!role ||
		       X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_UTF8, ou, -1, -1, 0) ==
			       1) &&
		X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, cn, -1, -1, 0) == 1;
}

static X509 *new_certificate(EVP_PKEY *key, const char *name, const char *role, int days)
{
	X509 *certificate = X509_new();
	unsigned char serial[SERIAL_LENGTH];
	rand_bytes(serial, sizeof(serial));
	serial[0] &= 0x7f;
	BIGNUM *number = BN_bin2bn(serial, sizeof(serial), NULL);
	bool good = certificate && number &&
		BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) &&
		X509_set_version(certificate, 2) == 1 &&
		/* An hour back: machines' clocks differ. */
		X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
		X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, NULL) &&
		X509_set_pubkey(certificate, key) == 1 && add_name(certificate, name, role);
	BN_free(number);
	if (good)
		return certificate;
	X509_free(certificate);
	return NULL;
}

/* `mode` decides who may read; the file must not exist. */
static FILE *create_file(const char *path, mode_t mode, struct error *error, int *code_out)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	*code_out = 0;
	if (!file) {
		*code_out = -errno;
		error_set(error, *code_out,
			errno == EEXIST
				? "%s cannot be made: %s. It is never replaced: name another "
				  "file, or move it away"
				: "%s cannot be made: %s",
			path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return file;
}

static int write_pair(X509 *certificate, EVP_PKEY *key, const char *certificate_file,
	const char *key_file, struct error *error)
{
	int code;
	FILE *file = create_file(key_file, 0600, error, &code);
	if (!file)
		return code;
	bool good = PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
	good = fclose(file) == 0 && good;
	if (good) {
		file = create_file(certificate_file, 0644, error, &code);
		if (!file) {
			(void)unlink(key_file);
			return code;
		}
		good = PEM_write_X509(file, certificate) == 1;
		good = fclose(file) == 0 && good;
	}
	if (good)
		return 0;
	(void)unlink(key_file);
	(void)unlink(certificate_file);
	return error_set(error, -EIO, "%s and %s cannot be written", certificate_file, key_file);
}

int authority_create(const char *cluster_name, const char *certificate_file, const char *key_file,
	struct error *error)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = key ? new_certificate(key, cluster_name, NULL, AUTHORITY_DAYS) : NULL;
	int code;
	if (certificate &&
		X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
		add_extension(certificate, certificate, NID_basic_constraints,
			"critical,CA:TRUE,pathlen:0") &&
		add_extension(
			certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		add_extension(certificate, certificate, NID_subject_key_identifier, "hash") &&
		X509_sign(certificate, key, EVP_sha256()) > 0)
		code = write_pair(certificate, key, certificate_file, key_file, error);
	else
		code = openssl_error(error, "the authority cannot be made");
	X509_free(certificate);
	EVP_PKEY_free(key);
	return code;
}

static int load_authority(const char *certificate_file, const char *key_file,
	X509 **certificate_out, EVP_PKEY **key_out, struct error *error)
{
	FILE *file = fopen(certificate_file, "re");
	*certificate_out = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	if (file)
		fclose(file);
	if (!*certificate_out)
		return error_set(error, -ENOENT,
			"the cluster's authority %s cannot be read: run this where `pando init` "
			"was run",
			certificate_file);
	file = fopen(key_file, "re");
	*key_out = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
	if (file)
		fclose(file);
	if (!*key_out)
		return error_set(error, -ENOENT,
			"the key of the cluster's authority %s cannot be read: run this where "
			"`pando init` was run",
			key_file);
	if (X509_check_private_key(*certificate_out, *key_out) != 1) {
		ERR_clear_error();
		return error_set(error, -EINVAL,
			"%s is not the key of the authority %s: nobody would trust what it issues",
			key_file, certificate_file);
	}
	return 0;
}

/* The alternative names of a certificate for `name`. */
static bool add_usage(X509 *certificate, X509 *issuer, const char *name)
{
	char names[512];
	int length =
		snprintf(names, sizeof(names), "DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", name);
	return length > 0 && (size_t)length < sizeof(names) && !strpbrk(name, ",:; \n") &&
		add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
		add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
		add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
		add_extension(certificate, issuer, NID_subject_alt_name, names);
}

int authority_issue(const char *authority_certificate_file, const char *authority_key_file,
	const struct certificate_request *request, const char *certificate_file,
	const char *key_file, struct error *error)
{
	X509 *authority = NULL, *certificate = NULL;
	EVP_PKEY *authority_key = NULL, *key = NULL;
	int code = load_authority(
		authority_certificate_file, authority_key_file, &authority, &authority_key, error);
	if (code < 0)
		goto free_authority;
	key = EVP_EC_gen("P-256");
	certificate =
		key ? new_certificate(key, request->name, request->role, CERTIFICATE_DAYS) : NULL;
	if (certificate &&
		X509_set_issuer_name(certificate, X509_get_subject_name(authority)) == 1 &&
		add_usage(certificate, authority, request->name) &&
		add_extension(certificate, authority, NID_authority_key_identifier, "keyid") &&
		X509_sign(certificate, authority_key, EVP_sha256()) > 0)
		code = write_pair(certificate, key, certificate_file, key_file, error);
	else
		code = openssl_error(error, "the certificate cannot be issued");
	X509_free(certificate);
	EVP_PKEY_free(key);
free_authority:
	EVP_PKEY_free(authority_key);
	X509_free(authority);
	return code;
}

int authority_self_signed(const char *hostname, const char *certificate_file, const char *key_file,
	struct error *error)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = key ? new_certificate(key, hostname, NULL, CERTIFICATE_DAYS) : NULL;
	int code;
	if (certificate &&
		X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
		add_usage(certificate, certificate, hostname) &&
		X509_sign(certificate, key, EVP_sha256()) > 0)
		code = write_pair(certificate, key, certificate_file, key_file, error);
	else
		code = openssl_error(error, "the certificate cannot be made");
	X509_free(certificate);
	EVP_PKEY_free(key);
	return code;
}
