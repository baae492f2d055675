/* What a TLS context says of the certificates in it. */

#include "core/authority.h"
#include "core/tls.h"
#include "unit/test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct files {
	char folder[64];
	char ca[96], ca_key[96], node[96], node_key[96], public[96], public_key[96];
};

static void make_files(struct files *files)
{
	struct error error = { 0 };
	char *const paths[] = { files->ca, files->ca_key, files->node, files->node_key,
		files->public, files->public_key };
	snprintf(files->folder, sizeof(files->folder), "/tmp/pando-tls-XXXXXX");
	EXPECT(mkdtemp(files->folder) != NULL);
	for (unsigned i = 0; i < array_length(paths); i++)
		snprintf(paths[i], sizeof(files->ca), "%s/%u", files->folder, i);
	EXPECT_INT(0, authority_create("grove", files->ca, files->ca_key, &error));
	EXPECT_INT(0,
		authority_issue(files->ca, files->ca_key,
			&(struct certificate_request){ .name = "node-a1", .role = "node" },
			files->node, files->node_key, &error));
	EXPECT_INT(0,
		authority_self_signed(
			"mail.example.org", files->public, files->public_key, &error));
	EXPECT_STR(STR(""), str_from(error.text));
}

static void remove_files(const struct files *files)
{
	const char *const paths[] = { files->ca, files->ca_key, files->node, files->node_key,
		files->public, files->public_key };
	for (unsigned i = 0; i < array_length(paths); i++)
		unlink(paths[i]);
	rmdir(files->folder);
}

TEST(a_context_tells_whose_certificate_it_uses_and_when_it_ends)
{
	struct files files;
	struct tls_context *cluster = NULL, *plain = NULL;
	struct tls_certificate found = { 0 };
	struct error error = { 0 };
	make_files(&files);
	int64_t now = time(NULL), day = 86400;
	EXPECT_INT(0,
		tls_context_create(&(struct tls_options){ .certificate_file = files.node,
					   .key_file = files.node_key,
					   .ca_file = files.ca,
					   .is_server = true,
					   .cluster = true },
			&cluster, &error));
	EXPECT(tls_context_certificate(cluster, &found));
	EXPECT_STR(STR("node-a1"), str_from(found.name));
	EXPECT_STR(STR("node"), str_from(found.role));
	EXPECT(found.not_before_s <= now &&
		found.not_after_s > now + (CERTIFICATE_DAYS - 1) * day &&
		found.not_after_s <= now + CERTIFICATE_DAYS * day);
	EXPECT(!found.is_replaced);
	EXPECT(tls_context_authority(cluster, &found));
	EXPECT(found.not_after_s > now + (AUTHORITY_DAYS - 1) * day && !found.is_replaced);
	EXPECT_INT(0, tls_context_create(&(struct tls_options){ 0 }, &plain, &error));
	EXPECT(!tls_context_certificate(plain, &found) && !tls_context_authority(plain, &found));
	EXPECT(!tls_context_is_for(plain, "node-a1"));
	tls_context_destroy(&cluster);
	tls_context_destroy(&plain);
	remove_files(&files);
}

TEST(a_file_that_was_replaced_after_it_was_read_is_noticed)
{
	struct files files;
	struct tls_context *cluster = NULL;
	struct tls_certificate found = { 0 };
	struct error error = { 0 };
	make_files(&files);
	EXPECT_INT(0,
		tls_context_create(&(struct tls_options){ .certificate_file = files.node,
					   .key_file = files.node_key,
					   .ca_file = files.ca,
					   .cluster = true },
			&cluster, &error));
	EXPECT_INT(0, rename(files.public, files.node));
	EXPECT(tls_context_certificate(cluster, &found) && found.is_replaced);
	EXPECT_STR(STR("node-a1"), str_from(found.name));
	EXPECT_INT(0, rename(files.node, files.ca));
	EXPECT(tls_context_authority(cluster, &found) && found.is_replaced);
	/* What cannot be read says nothing. */
	EXPECT(tls_context_certificate(cluster, &found) && !found.is_replaced);
	unlink(files.ca);
	EXPECT(tls_context_authority(cluster, &found) && !found.is_replaced);
	tls_context_destroy(&cluster);
	remove_files(&files);
}

TEST(a_public_certificate_is_for_its_names_only)
{
	struct files files;
	struct tls_context *public = NULL;
	struct error error = { 0 };
	make_files(&files);
	EXPECT_INT(0,
		tls_context_create(&(struct tls_options){ .certificate_file = files.public,
					   .key_file = files.public_key,
					   .is_server = true },
			&public, &error));
	EXPECT(tls_context_is_for(public, "mail.example.org"));
	EXPECT(tls_context_is_for(public, "MAIL.example.org"));
	EXPECT(!tls_context_is_for(public, "mail.example.com"));
	EXPECT(!tls_context_is_for(public, "a.mail.example.org"));
	tls_context_destroy(&public);
	remove_files(&files);
}
