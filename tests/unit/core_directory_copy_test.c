/* A directory as the file of a standalone one: what `pando backup` takes of it. */

#include "unit/directory_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What becomes of a directory: everything that only its tables know. */
static void fill_more(struct directory_writer *writer)
{
	struct error error = { 0 };
	struct mailbox_description bert = { .address = "bert@example.org", .quota_bytes = 7 };
	uint64_t no = 0;
	fill(writer);
	expect_done(directory_add_mailbox(writer, &bert, &error), &error);
	expect_done(directory_add_alias(writer, "info@example.org", "anna@example.org", &error),
		&error);
	expect_done(directory_set_mailbox(writer, "anna@example.org",
			    &(struct mailbox_settings){ .enabled = &no }, &error),
		&error);
	expect_done(directory_remove_mailbox(writer, "bert@example.org", 86400, &error), &error);
}

/* The file as a directory of its own. */
static void open_copy(struct world *copy, const struct bytes *file)
{
	char path[256];
	struct error error = { 0 };
	open_world(copy, NULL);
	directory_writer_close(&copy->writer);
	snprintf(path, sizeof(path), "%s/directory/directory.sqlite", copy->folder);
	EXPECT_INT(0, unlink(path));
	int to = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	EXPECT_INT((long long)file->length, write(to, file->data, file->length));
	close(to);
	expect_done(directory_writer_open(&copy->config, &copy->writer, &error), &error);
}

static void expect_same(struct directory_writer *one, struct directory_writer *other,
	enum directory_listing listing)
{
	struct sql_result *ours = NULL, *theirs = NULL;
	struct error error = { 0 };
	expect_done(directory_list(one, listing, NULL, &ours, &error), &error);
	expect_done(directory_list(other, listing, NULL, &theirs, &error), &error);
	EXPECT(sql_rows(ours) > 0);
	EXPECT_INT(sql_rows(ours), sql_rows(theirs));
	for (unsigned row = 0; row < sql_rows(ours); row++)
		/* A moment is written as each database writes it. */
		for (unsigned i = listing == LIST_AUDIT; i < sql_columns(ours); i++) {
			const char *a = sql_value(ours, row, i), *b = sql_value(theirs, row, i);
			if (strcmp(a ? a : "", b ? b : "") != 0)
				test_fail(__FILE__, __LINE__, "listing %d, %s: %s and %s", listing,
					sql_column_name(ours, i), a, b);
		}
	sql_result_free(&ours);
	sql_result_free(&theirs);
}

static void check_export(struct world *world)
{
	static const enum directory_listing listings[] = { LIST_SITES, LIST_NODES, LIST_ROUTERS,
		LIST_VOLUMES, LIST_NUMBERS, LIST_DOMAINS, LIST_MAILBOXES, LIST_REMOVED_MAILBOXES,
		LIST_ALIASES, LIST_AUDIT };
	struct world copy;
	struct bytes *file = NULL;
	struct error error = { 0 };
	uint64_t revision = 0, last[2];
	fill_more(world->writer);
	expect_done(directory_export(world->writer, &file, &revision, &error), &error);
	EXPECT(revision > 0);
	open_copy(&copy, file);
	for (unsigned i = 0; i < array_length(listings); i++)
		expect_same(world->writer, copy.writer, listings[i]);
	expect_done(directory_last_mailbox_id(world->writer, &last[0], &error), &error);
	expect_done(directory_last_mailbox_id(copy.writer, &last[1], &error), &error);
	EXPECT_INT(last[0], last[1]);
	/* It can be gone on with: what was removed comes back, a new number is a new one. */
	expect_done(
		directory_restore_mailbox(copy.writer, "bert@example.org", 0, NULL, NULL, &error),
		&error);
	expect_same(copy.writer, copy.writer, LIST_MAILBOXES);
	/* And the other one has been left as it was. */
	expect_done(directory_add_domain(world->writer, "example.com", &error), &error);
	bytes_unref(&file);
	close_world(&copy);
}

TEST(a_directory_is_exported_as_a_standalone_file)
{
	struct world world;
	open_world(&world, NULL);
	check_export(&world);
	close_world(&world);
}

TEST(the_same_of_postgres)
{
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	struct world world;
	if (postgres == NULL || !postgres[0])
		return;
	open_world(&world, postgres);
	check_export(&world);
	close_world(&world);
}
