/*
 * The directory's two sides together: the operator's writer and a daemon's follower. On a
 * standalone file always; on PostgreSQL too when PANDO_TEST_POSTGRES names a database that may be
 * wiped.
 */

#include "core/directory/domain.h"
#include "unit/directory_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool knows_anna(struct world *world)
{
	return directory_resolve(world->directory, STR("anna@example.org"), NULL, NULL) ==
		DIRECTORY_FOUND;
}

static bool does_not_know_anna(struct world *world)
{
	return !knows_anna(world);
}

static void count_found(void *arg, const struct directory_mailbox *mailbox)
{
	(void)mailbox;
	++*(unsigned *)arg;
}

static unsigned found(struct world *world, const char *address)
{
	unsigned count = 0;
	directory_resolve(world->directory, str_from(address), count_found, &count);
	return count;
}

static void check_lookups(struct world *world)
{
	struct directory_credential credential;
	const struct directory_volume *volume = directory_find_volume(world->directory, 1);
	const struct directory_node *node =
		directory_find_node_by_name(world->directory, STR("node-b1"));
	const struct directory_mailbox *anna =
		directory_find_login(world->directory, STR("ANNA@example.ORG"));
	EXPECT(volume && volume->replica_count == 1 && node);
	EXPECT(volume && node && volume->replica_node_ids[0] == node->id);
	EXPECT(volume && volume->epoch == 1 && volume->durability == DURABILITY_REMOTE);
	EXPECT(directory_find_router_by_name(world->directory, STR("router-a")) != NULL);
	EXPECT(anna && anna->volume_id == 1 && anna->enabled);
	/* Random bytes, no two alike. */
	EXPECT(anna && memcmp(anna->mark, (uint8_t[MAILBOX_MARK_LENGTH]){ 0 }, 8) != 0);
	EXPECT(anna && memcmp(anna->mark, anna->mark + 8, 8) != 0);
	EXPECT(anna && directory_find_credential(world->directory, anna->id, &credential));
	EXPECT_INT(4096, credential.iterations);
	EXPECT_INT(1, found(world, "anna+lists@example.org"));
	EXPECT_INT(1, found(world, "postmaster@EXAMPLE.org"));
	EXPECT_INT(1, found(world, "Postmaster"));
	EXPECT_INT(0, found(world, "bert@example.org"));
	EXPECT_INT(DIRECTORY_NO_DOMAIN,
		directory_resolve(world->directory, STR("anna@example.net"), NULL, NULL));
	EXPECT_INT(
		DIRECTORY_NO_DOMAIN, directory_resolve(world->directory, STR("anna"), NULL, NULL));
	EXPECT_INT(DIRECTORY_NO_USER,
		directory_resolve(world->directory, STR("bert@example.org"), NULL, NULL));
}

static bool has_sales(struct world *world)
{
	return found(world, "sales@example.org") == 2;
}

static void check_aliases(struct world *world)
{
	struct error error = { 0 };
	struct mailbox_description bert = { .address = "bert@example.org" };
	expect_done(directory_add_mailbox(world->writer, &bert, &error), &error);
	expect_done(
		directory_add_alias(world->writer, "team@example.org", "anna@example.org", &error),
		&error);
	expect_done(
		directory_add_alias(world->writer, "sales@example.org", "team@example.org", &error),
		&error);
	/* Anna is reached twice and counted once; a loop ends. */
	expect_done(
		directory_add_alias(world->writer, "sales@example.org", "anna@example.org", &error),
		&error);
	expect_done(
		directory_add_alias(world->writer, "sales@example.org", "bert@example.org", &error),
		&error);
	/* `pando` refuses it; what came from elsewhere may hold one. */
	EXPECT_INT(-ELOOP,
		directory_add_alias(
			world->writer, "TEAM@example.org", "sales@example.org", &error));
	EXPECT_INT(-ELOOP,
		directory_add_alias(world->writer, "team@example.org", "team@example.org", &error));
	expect_done(sql_script(directory_writer_sql(world->writer),
			    "insert into alias (id, address, target) "
			    "values (1000, 'team@example.org', 'sales@example.org')",
			    &error),
		&error);
	struct mailbox_description team = { .address = "team@example.org" };
	EXPECT_INT(-EEXIST, directory_add_mailbox(world->writer, &team, &error));
	EXPECT(wait_until(world, has_sales));
	EXPECT(directory_find_login(world->directory, STR("sales@example.org")) == NULL);
	EXPECT_INT(-ENOENT,
		directory_add_alias(world->writer, "x@example.org", "nobody@example.org", &error));
	EXPECT_INT(-EEXIST, directory_add_mailbox(world->writer, &bert, &error));
	expect_done(
		directory_remove_alias(world->writer, "sales@example.org", NULL, &error), &error);
}

static bool is_promoted(struct world *world)
{
	const struct directory_volume *volume = directory_find_volume(world->directory, 1);
	return volume->epoch == 5;
}

static bool has_second(struct world *world)
{
	return directory_find_volume(world->directory, 2) != NULL;
}

static bool is_second_promoted(struct world *world)
{
	return directory_find_volume(world->directory, 2)->epoch == 5;
}

static void check_promotion(struct world *world)
{
	struct error error = { 0 };
	const struct directory_volume *volume = directory_find_volume(world->directory, 1);
	struct promotion promotion = { .volume_id = 1,
		.expected_epoch = 1,
		.epoch = 5,
		.reign = { 1, 2, 3 },
		.primary_node_id = 2,
		.token = UINT64_MAX,
		.epoch_start_lsn = 4096 };
	memcpy(promotion.expected_reign, volume->reign, REIGN_LENGTH);
	/* Decided on what held until then: too late, and nothing is written. */
	EXPECT_INT(-ETIMEDOUT, directory_promote(world->writer, &promotion, 1, 1, &error));
	expect_done(directory_promote(world->writer, &promotion, 1, 0, &error), &error);
	EXPECT(wait_until(world, is_promoted));
	volume = directory_find_volume(world->directory, 1);
	EXPECT_INT(2, volume->primary_node_id);
	EXPECT(volume->replica_count == 1 && volume->replica_node_ids[0] == 1);
	EXPECT(volume->unclean && volume->epoch_start_lsn == 4096 && volume->reign[2] == 3);
	EXPECT(volume->token == UINT64_MAX && volume->clean_after == 0);
	EXPECT(!promotion.is_stale);
	/* The second one of two operators loses, and changes nothing of it; what else he moves
	 * moves. */
	struct volume_description second = { .name = "v2", .primary_node = "node-a1" };
	expect_done(directory_add_volume(world->writer, &second, &error), &error);
	EXPECT(wait_until(world, has_second));
	struct promotion both[2] = { promotion, promotion };
	both[0].epoch = 6;
	both[1].volume_id = 2;
	both[1].primary_node_id = directory_find_volume(world->directory, 2)->primary_node_id;
	memcpy(both[1].expected_reign, directory_find_volume(world->directory, 2)->reign,
		REIGN_LENGTH);
	expect_done(directory_promote(world->writer, both, 2, 0, &error), &error);
	EXPECT(both[0].is_stale && !both[1].is_stale);
	EXPECT(wait_until(world, is_second_promoted));
	EXPECT_INT(5, directory_find_volume(world->directory, 1)->epoch);
}

static void expect_setting(struct directory_writer *writer, const char *show, const char *value)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	expect_done(
		sql_query(directory_writer_sql(writer), show, NULL, 0, &result, &error), &error);
	EXPECT(strcmp(value, sql_value(result, 0, 0)) == 0);
	sql_result_free(&result);
}

static void end_session(struct directory_writer *other, struct directory_writer *writer)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	expect_done(sql_query(directory_writer_sql(writer), "select pg_backend_pid()", NULL, 0,
			    &result, &error),
		&error);
	/* Ended when it is out of the list. */
	expect_done(sql_query(directory_writer_sql(other), "select pg_terminate_backend($1, 5000)",
			    SQL_VALUES(sql_value(result, 0, 0)), NULL, &error),
		&error);
	sql_result_free(&result);
}

static void expect_no_change(struct directory_writer *writer, int code)
{
	struct error error = { 0 };
	EXPECT_INT(code, directory_add_site(writer, "behind-the-lock", &error));
}

/* A connection that is lost comes back with the volumes that it had, or changes nothing. */
static void check_lost_session(struct world *world)
{
	static const struct volume_seen first[] = { { 1, 5 } }, old[] = { { 1, 1 } };
	struct directory_writer *other = NULL, *third = NULL;
	struct error error = { 0 };
	expect_done(directory_writer_open(&world->config, &world->writer, &error), &error);
	expect_done(directory_writer_open(&world->config, &other, &error), &error);
	expect_done(directory_writer_open(&world->config, &third, &error), &error);
	EXPECT_INT(-ESTALE, directory_begin_moves(other, "pando failover v1", old, 1, &error));
	directory_writer_close(&other);
	expect_done(directory_writer_open(&world->config, &other, &error), &error);
	expect_done(directory_begin_moves(world->writer, "pando failover v1", first, 1, &error),
		&error);
	end_session(other, world->writer);
	expect_done(directory_begin(world->writer, &error), &error);
	directory_rollback(world->writer);
	EXPECT_INT(-EBUSY, directory_begin_moves(third, "pando copy add v1", first, 1, &error));
	end_session(other, world->writer);
	expect_done(directory_begin_moves(other, "pando copy add v1", first, 1, &error), &error);
	expect_no_change(world->writer, -EBUSY);
	expect_no_change(world->writer, -EBUSY);
	directory_writer_close(&other);
	expect_done(directory_begin(world->writer, &error), &error);
	directory_rollback(world->writer);
	directory_writer_close(&third);
	directory_writer_close(&world->writer);
	expect_done(directory_writer_open(&world->config, &world->writer, &error), &error);
}

/* One command at a time moves a volume; others are told who does, and for how long at most. */
static void check_moves(struct world *world)
{
	static const struct volume_seen first[] = { { 1, 5 } }, second[] = { { 2, 5 } },
					both[] = { { 2, 5 }, { 1, 5 } };
	struct directory_writer *other = NULL;
	struct error error = { 0 };
	expect_done(directory_writer_open(&world->config, &other, &error), &error);
	expect_done(directory_begin_moves(world->writer, "pando failover v1", first, 1, &error),
		&error);
	if (world->is_postgres) {
		EXPECT_INT(
			-EBUSY, directory_begin_moves(other, "pando failover v2", both, 2, &error));
		EXPECT(strstr(error.text, "volume v1 is being moved by another command") != NULL);
		EXPECT(strstr(error.text, ": pando failover v1`") != NULL);
		/* Where its machine dies, and where it hangs. */
		expect_setting(world->writer, "show idle_session_timeout", "1min");
		expect_setting(other, "show client_connection_check_interval", "500ms");
	}
	/* The refused one has kept nothing, and others are nobody's concern. */
	struct directory_writer *third = NULL;
	expect_done(directory_writer_open(&world->config, &third, &error), &error);
	expect_done(directory_begin_moves(third, "pando failover v2", second, 1, &error), &error);
	directory_writer_close(&third);
	directory_writer_close(&world->writer);
	expect_done(directory_begin_moves(other, "pando failover v1", both, 2, &error), &error);
	directory_writer_close(&other);
	if (world->is_postgres)
		check_lost_session(world);
	else
		expect_done(directory_writer_open(&world->config, &world->writer, &error), &error);
}

/* A node that hangs while it has the lock that everybody's writing needs refuses no failover. */
static void check_hanging_daemon(struct world *world)
{
	struct directory_writer *daemon = NULL;
	struct error error = { 0 };
	expect_done(directory_writer_open(&world->config, &daemon, &error), &error);
	directory_writer_give_way(daemon);
	expect_done(directory_begin(daemon, &error), &error);
	expect_done(directory_begin(world->writer, &error), &error);
	directory_rollback(world->writer);
	directory_writer_close(&daemon);
}

static bool is_served(struct world *world)
{
	const struct directory_volume *volume = directory_find_volume(world->directory, 1);
	return volume->uid_slacks == 7 && volume->incarnation == 22;
}

/* What was decided before a place was freed that the chosen copy does not reach is not written. */
static void check_freed(struct world *world)
{
	struct error error = { 0 };
	const struct directory_volume *volume = directory_find_volume(world->directory, 1);
	struct promotion promotion = { .volume_id = 1,
		.expected_epoch = 5,
		.epoch = 6,
		.primary_node_id = 1,
		.epoch_start_lsn = 8191,
		.from_epoch = 5 };
	EXPECT(volume->freed_epoch == 5 && volume->freed_lsn == 8192);
	memcpy(promotion.expected_reign, volume->reign, REIGN_LENGTH);
	expect_done(directory_begin(world->writer, &error), &error);
	for (unsigned i = 0; i < 4; i++) {
		promotion.epoch_start_lsn = i == 1 ? 8192 : 8191;
		promotion.from_epoch = i == 3 ? PROMOTE_STALE : i == 2 ? 4 : 5;
		promotion.epoch++;
		expect_done(directory_promote(world->writer, &promotion, 1, 0, &error), &error);
		EXPECT_INT(i == 0 || i == 2, promotion.is_stale);
		if (!promotion.is_stale)
			promotion.expected_epoch = promotion.epoch;
		memset(promotion.expected_reign, 0,
			promotion.is_stale ? 0 : sizeof(promotion.expected_reign));
	}
	directory_rollback(world->writer);
}

/* Of the epoch that the row names, never fewer slacks, and no place before the last. */
static void check_service(struct world *world)
{
	static const struct volume_service said[] = { { 1, 4, 11, 9, { 0 }, 9000 },
		{ 1, 5, 21, 7, { 0 }, 5, 8192 }, { 1, 5, 22, 3, { 0 }, 5, 4096 } };
	struct error error = { 0 };
	for (size_t i = 0; i < array_length(said); i++)
		expect_done(directory_note_service(world->writer, &said[i], &error), &error);
	EXPECT(wait_until(world, is_served));
	check_freed(world);
}

static bool has_quota(struct world *world)
{
	return directory_find_mailbox(world->directory, 1)->quota_bytes == 5000;
}

static bool has_other_access(struct world *world)
{
	return directory_access(world->directory, 1) != world->access;
}

static void expect_news_of_anna(struct world *world)
{
	EXPECT(!world->is_news_all && world->news_count == 1 && world->news[0] == 1);
}

/* What lets the owner in, and which mailboxes a change was about. */
static void check_access(struct world *world)
{
	struct error error = { 0 };
	uint64_t quota = 5000, no = 0, yes = 1, first = directory_access(world->directory, 1);
	const char *other = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$"
			    "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE=:"
			    "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA=";
	EXPECT(first > ACCESS_DISABLED);
	EXPECT_INT(ACCESS_NONE, directory_access(world->directory, 99));
	expect_done(directory_set_mailbox(world->writer, "anna@example.org",
			    &(struct mailbox_settings){ .quota_bytes = &quota }, &error),
		&error);
	EXPECT(wait_until(world, has_quota));
	EXPECT(first == directory_access(world->directory, 1));
	expect_news_of_anna(world);
	world->access = first;
	expect_done(directory_set_credential(world->writer, "anna@example.org", other, &error),
		&error);
	EXPECT(wait_until(world, has_other_access));
	expect_news_of_anna(world);
	world->access = directory_access(world->directory, 1);
	expect_done(directory_set_mailbox(world->writer, "anna@example.org",
			    &(struct mailbox_settings){ .enabled = &no }, &error),
		&error);
	EXPECT(wait_until(world, has_other_access));
	expect_news_of_anna(world);
	EXPECT_INT(ACCESS_DISABLED, directory_access(world->directory, 1));
	uint64_t second = world->access;
	world->access = ACCESS_DISABLED;
	expect_done(directory_set_mailbox(world->writer, "anna@example.org",
			    &(struct mailbox_settings){ .enabled = &yes }, &error),
		&error);
	EXPECT(wait_until(world, has_other_access));
	EXPECT(directory_access(world->directory, 1) == second);
}

static void check_all(struct world *world)
{
	struct error error = { 0 };
	fill(world->writer);
	open_directory(world);
	EXPECT(wait_until(world, knows_anna));
	EXPECT(directory_is_loaded(world->directory) && world->changes >= 1);
	EXPECT(world->is_news_all);
	check_lookups(world);
	check_aliases(world);
	check_access(world);
	check_promotion(world);
	check_moves(world);
	if (world->is_postgres)
		check_hanging_daemon(world);
	check_service(world);
	expect_done(
		directory_remove_mailbox(world->writer, "ANNA@example.org", 60, &error), &error);
	EXPECT(wait_until(world, does_not_know_anna));
	struct mailbox_description anna = { .address = "anna@example.org" };
	expect_done(directory_add_mailbox(world->writer, &anna, &error), &error);
	EXPECT(wait_until(world, knows_anna));
	/* A number that named mail once never names other mail. */
	EXPECT(directory_find_login(world->directory, STR("anna@example.org"))->id > 2);
}

TEST(standalone_follower_sees_every_change)
{
	struct world world;
	open_world(&world, NULL);
	check_all(&world);
	close_world(&world);
}

TEST(mailbox_ids_go_on_above_what_volumes_have_seen)
{
	struct world world;
	struct error error = { 0 };
	char address[40];
	uint64_t last;
	open_world(&world, NULL);
	fill(world.writer);
	/* As an import does: with one lower number, with a gap, with numbers taken ahead. */
	expect_done(directory_begin(world.writer, &error), &error);
	for (unsigned i = 0; i < 12; i++) {
		struct mailbox_description mailbox = { .address = address,
			.id_above = i < 6 ? 0 : i < 9 ? 2 : 100 };
		snprintf(address, sizeof(address), "m%u@example.org", i);
		expect_done(directory_add_mailbox(world.writer, &mailbox, &error), &error);
	}
	expect_done(directory_commit(world.writer, &error), &error);
	expect_done(directory_last_mailbox_id(world.writer, &last, &error), &error);
	EXPECT(last >= 103);
	open_directory(&world);
	EXPECT(wait_until(&world, knows_anna));
	uint64_t before = 0;
	for (unsigned i = 0; i < 12; i++) {
		snprintf(address, sizeof(address), "m%u@example.org", i);
		const struct directory_mailbox *mailbox =
			directory_find_login(world.directory, str_from(address));
		EXPECT(mailbox && mailbox->id > before && (mailbox->id > 100) == (i >= 9));
		before = mailbox ? mailbox->id : before;
	}
	close_world(&world);
}

#define BUECHER "B\xc3\xbc" "cher.example"
#define BUECHER_ASCII "xn--bcher-kva.example"

TEST(a_domain_has_one_form_however_it_is_written)
{
	static const struct {
		const char *written, *canonical;
	} rows[] = {
		{ "Example.ORG", "example.org" },
		{ "under_score.example", "under_score.example" },
		{ BUECHER, BUECHER_ASCII },
		{ "XN--BCHER-KVA.Example", BUECHER_ASCII },
		/* Decomposed, and with a full stop of another script. */
		{ "bu\xcc\x88" "cher\xe3\x80\x82" "example", BUECHER_ASCII },
		{ "fa\xc3\x9f.de", "xn--fa-hia.de" }, /* not fass.de */
		{ "xn--\xc3\xbc.example", "" },
		{ "xn--a.example", "" },           /* decodes to nothing valid */
		{ "a_\xc3\xbc.example", "" },
		{ "-\xc3\xbc.example", "" },
		{ "\xff.example", "" },
	};
	char space[DOMAIN_LENGTH_MAX], wide[DOMAIN_LENGTH_MAX];
	for (size_t i = 0; i < array_length(rows); i++) {
		struct str canonical = domain_canonical(str_from(rows[i].written), space);
		if (!str_equal(canonical, str_from(rows[i].canonical)))
			test_fail(__FILE__, __LINE__, "%s gives " STR_FORMAT, rows[i].written,
				STR_ARG(canonical));
	}
	/* Longer in ASCII than there is room for. */
	for (size_t i = 0; i < sizeof(wide); i++)
		wide[i] = i % 5 == 4 ? '.' : i % 2 ? '\xbc' : '\xc3';
	EXPECT_INT(0, domain_canonical(str_of(wide, sizeof(wide)), space).length);
}

static bool knows_all_forms(struct world *world)
{
	return found(world, "anna@" BUECHER) == 1 && found(world, "anna@" BUECHER_ASCII) == 1 &&
		found(world, "info@" BUECHER) == 1 && found(world, "Info@" BUECHER_ASCII) == 1 &&
		found(world, "postmaster@b\xc3\x9c" "cher.example") == 1;
}

static bool knows_no_form(struct world *world)
{
	return found(world, "info@" BUECHER) == 0 && found(world, "anna@" BUECHER) == 0;
}

TEST(an_internationalised_domain_is_one_in_both_forms)
{
	struct world world;
	struct error error = { 0 };
	struct mailbox_description mailbox = { .address = "anna@" BUECHER_ASCII, .scram = SCRAM };
	uint64_t no = 0;
	open_world(&world, NULL);
	fill(world.writer);
	expect_done(directory_add_domain(world.writer, BUECHER, &error), &error);
	EXPECT_INT(-EEXIST, directory_add_domain(world.writer, BUECHER_ASCII, &error));
	EXPECT_INT(-EINVAL, directory_add_domain(world.writer, "xn--a.example", &error));
	EXPECT(strstr(error.text, "internationalised") != NULL);
	expect_done(directory_add_mailbox(world.writer, &mailbox, &error), &error);
	mailbox.address = "Anna@" BUECHER;
	EXPECT_INT(-EEXIST, directory_add_mailbox(world.writer, &mailbox, &error));
	expect_done(directory_add_alias(world.writer, "info@" BUECHER, "anna@" BUECHER, &error),
		&error);
	EXPECT_INT(-ELOOP, directory_add_alias(world.writer, "info@" BUECHER_ASCII,
				   "info@" BUECHER, &error));
	open_directory(&world);
	EXPECT(wait_until(&world, knows_all_forms));
	EXPECT(directory_find_login(world.directory, STR("ANNA@" BUECHER)) != NULL);
	EXPECT_INT(DIRECTORY_NO_USER,
		directory_resolve(world.directory, STR("bert@" BUECHER), NULL, NULL));
	expect_done(directory_set_mailbox(world.writer, "anna@" BUECHER,
			    &(struct mailbox_settings){ .enabled = &no }, &error),
		&error);
	expect_done(
		directory_set_credential(world.writer, "anna@" BUECHER, SCRAM, &error), &error);
	expect_done(directory_remove_alias(world.writer, "info@" BUECHER_ASCII, "anna@" BUECHER,
			    &error),
		&error);
	expect_done(directory_remove_mailbox(world.writer, "anna@" BUECHER, 60, &error), &error);
	EXPECT(wait_until(&world, knows_no_form));
	close_world(&world);
}

static bool has_number_7(struct world *world)
{
	const struct directory_mailbox *anna =
		directory_find_login(world->directory, STR("anna@example.org"));
	return anna && anna->id == 7;
}

TEST(an_adopted_mailbox_has_another_number_and_mark_and_all_else_as_before)
{
	struct world world;
	struct error error = { 0 };
	struct directory_credential credential;
	struct mailbox_description bert = { .address = "bert@example.org" };
	uint64_t quota = 5000, last = 0;
	struct mailbox_adoption adoption = { .expected_id = 1,
		.id = 7,
		.volume_id = 1,
		.mark = "00112233445566778899aabbccddeeff" };
	open_world(&world, NULL);
	fill(world.writer);
	expect_done(directory_add_mailbox(world.writer, &bert, &error), &error);
	expect_done(directory_set_mailbox(world.writer, "anna@example.org",
			    &(struct mailbox_settings){ .quota_bytes = &quota }, &error),
		&error);
	adoption.id = 2; /* Bert's */
	EXPECT_INT(-EEXIST,
		directory_adopt_mailbox(world.writer, "anna@example.org", &adoption, &error));
	adoption.id = 7;
	open_directory(&world);
	EXPECT(wait_until(&world, knows_anna));
	expect_done(directory_adopt_mailbox(world.writer, "anna@example.org", &adoption, &error),
		&error);
	EXPECT_INT(-ESTALE,
		directory_adopt_mailbox(world.writer, "anna@example.org", &adoption, &error));
	EXPECT(wait_until(&world, has_number_7));
	const struct directory_mailbox *anna = directory_find_mailbox(world.directory, 7);
	EXPECT(anna && anna->mark[1] == 0x11 && anna->mark[15] == 0xff);
	EXPECT(anna && anna->quota_bytes == 5000 && anna->enabled);
	EXPECT(directory_find_credential(world.directory, 7, &credential));
	EXPECT(directory_find_mailbox(world.directory, 1) == NULL);
	expect_done(directory_last_mailbox_id(world.writer, &last, &error), &error);
	EXPECT_INT(7, last);
	close_world(&world);
}

static bool knows_bert(struct world *world)
{
	return found(world, "bert@example.org") == 1;
}

TEST(mailboxes_that_are_older_than_marks_get_random_ones)
{
	struct world world;
	struct error error = { 0 };
	struct mailbox_description bert = { .address = "bert@example.org" };
	char path[128];
	unsigned applied = 0;
	open_world(&world, NULL);
	fill(world.writer);
	expect_done(directory_add_mailbox(world.writer, &bert, &error), &error);
	expect_done(sql_script(directory_writer_sql(world.writer),
			    "alter table mailbox drop column mark; "
			    "alter table volume drop column uid_slacks; "
			    "alter table volume drop column freed_epoch; "
			    "alter table volume drop column freed_lsn; "
			    "drop table removed_mailbox; "
			    "alter table volume_copy drop column seeding; "
			    "alter table domain drop column keep_expunged_days; "
			    "drop table volume_slot; "
			    "delete from migration where number >= 4",
			    &error),
		&error);
	snprintf(path, sizeof(path), "%s/directory/directory.sqlite", world.folder);
	expect_done(directory_init_file(path, &applied, &error), &error);
	EXPECT_INT(6, applied);
	open_directory(&world);
	EXPECT(wait_until(&world, knows_bert));
	const struct directory_mailbox *anna =
					       directory_find_mailbox(world.directory, 1),
				       *second =
					       directory_find_mailbox(world.directory, 2);
	EXPECT(anna && second && memcmp(anna->mark, second->mark, MAILBOX_MARK_LENGTH) != 0);
	EXPECT(anna && memcmp(anna->mark, (uint8_t[MAILBOX_MARK_LENGTH]){ 0 }, 8) != 0);
	close_world(&world);
}

TEST(malformed_names_are_refused_with_a_sentence)
{
	struct world world;
	struct error error = { 0 };
	struct mailbox_description mailbox = { 0 };
	open_world(&world, NULL);
	fill(world.writer);
	EXPECT_INT(-EINVAL, directory_add_site(world.writer, "Site A", &error));
	EXPECT_INT(-EINVAL, directory_add_domain(world.writer, "a b", &error));
	static const char *const addresses[] = { "", "@example.org", "a@", "a b@example.org",
		"a@b@c@", "x,y@example.org" };
	for (unsigned i = 0; i < array_length(addresses); i++) {
		test_row(addresses[i]);
		mailbox.address = addresses[i];
		EXPECT_INT(-EINVAL, directory_add_mailbox(world.writer, &mailbox, &error));
	}
	test_row(NULL);
	mailbox.address = "anna@elsewhere.example";
	EXPECT_INT(-ENOENT, directory_add_mailbox(world.writer, &mailbox, &error));
	close_world(&world);
}

static void expect_order(const char *wanted, struct buf *names)
{
	EXPECT_STR(str_from(wanted), buf_str(names));
	buf_clear(names);
}

TEST(places_are_iterated_by_site_and_name)
{
	struct world world;
	struct error error = { 0 };
	struct directory *places = NULL;
	struct buf names = { 0 };
	size_t position = 0;
	char path[128];
	open_world(&world, NULL);
	fill(world.writer);
	static const char *const late[][2] = { { "c", "site-a" }, { "node-a10", "site-a" },
		{ "node-a2", "site-a" }, { "a", "site-b" } };
	static const char *const volumes[] = { "v10", "v2" };
	for (unsigned i = 0; i < array_length(late); i++) {
		char addresses[4][24];
		for (unsigned k = 0; k < 4; k++)
			snprintf(
				addresses[k], sizeof(addresses[k]), "127.0.0.1:%u", 10 + 4 * i + k);
		struct node_description node = { late[i][0], late[i][1], addresses[0], addresses[1],
			addresses[2], addresses[3] };
		expect_done(directory_add_node(world.writer, &node, &error), &error);
	}
	for (unsigned i = 0; i < array_length(volumes); i++) {
		struct volume_description volume = { .name = volumes[i],
			.primary_node = "node-a2",
			.replica_nodes = { "node-b1", "node-a10", "c" },
			.replica_count = 3 };
		expect_done(directory_add_volume(world.writer, &volume, &error), &error);
	}
	snprintf(path, sizeof(path), "%s/places.db", world.folder);
	expect_done(directory_read_places(world.writer, path, &places, &error), &error);
	const struct directory_node *node;
	while ((node = directory_next_node(places, &position)) != NULL)
		buf_printf(&names, "%s ", node->name);
	expect_order("c node-a1 node-a2 node-a10 a node-b1 ", &names);
	const struct directory_volume *volume;
	position = 0;
	while ((volume = directory_next_volume(places, &position)) != NULL) {
		buf_printf(&names, "%s:", volume->name);
		for (unsigned i = 0; i < volume->replica_count; i++)
			buf_printf(&names, " %s",
				directory_find_node(places, volume->replica_node_ids[i])->name);
		buf_append_byte(&names, '\n');
	}
	expect_order("v1: node-b1\nv2: c node-a10 node-b1\nv10: c node-a10 node-b1\n", &names);
	buf_deinit(&names);
	directory_free_places(&places);
	close_world(&world);
}

/* A database that fails over to a standby which lacks the last commits gives revisions a second
 * time. */
TEST(lost_history_is_noticed_and_everything_loaded_anew)
{
	struct world world;
	struct error error = { 0 };
	struct sql *sql = NULL;
	char path[128];
	open_world(&world, NULL);
	fill(world.writer);
	open_directory(&world);
	EXPECT(wait_until(&world, knows_anna));
	snprintf(path, sizeof(path), "%s/directory/directory.sqlite", world.folder);
	expect_done(sql_open_file(path, false, &sql, &error), &error);
	/* Anna goes without a line in the feed; only the newest revision's mark tells. */
	expect_done(sql_script(sql,
			    "begin; drop trigger mailbox_delete; delete from mailbox; "
			    "update change set mark = 'another' "
			    "where revision = (select max(revision) from change); commit",
			    &error),
		&error);
	sql_close(&sql);
	EXPECT(wait_until(&world, does_not_know_anna));
	close_world(&world);
}

TEST(unusable_snapshot_is_set_aside)
{
	struct world world;
	char path[128], aside[160];
	open_world(&world, NULL);
	free(world.config.directory);
	world.config.directory = str_to_heap(STR("host=127.0.0.1 port=1 dbname=pando"));
	snprintf(path, sizeof(path), "%s/snapshot.sqlite", world.folder);
	snprintf(aside, sizeof(aside), "%s.unusable", path);
	FILE *file = fopen(path, "w");
	for (int i = 0; i < 1000; i++)
		fprintf(file, "this is no database ");
	fclose(file);
	open_directory(&world);
	EXPECT(!directory_is_loaded(world.directory));
	EXPECT(access(aside, F_OK) == 0);
	EXPECT(found(&world, "anna@example.org") == 0);
	close_world(&world);
}

static bool is_fresh(struct world *world)
{
	return directory_is_fresh(world->directory);
}

static bool has_settled(struct world *world)
{
	return world->polls > 300;
}

TEST(postgres_follower_sees_every_change_and_its_snapshot_survives)
{
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	struct world world;
	if (!postgres)
		return;
	open_world(&world, postgres);
	check_all(&world);
	EXPECT(wait_until(&world, is_fresh));
	wait_until(&world, has_settled); /* the snapshot's writer */
	directory_close(&world.directory);
	wait_until(&world, has_settled);
	/* A restart while the database is away. */
	free(world.config.directory);
	world.config.directory = str_to_heap(STR("host=127.0.0.1 port=1 dbname=pando"));
	open_directory(&world);
	EXPECT(directory_is_loaded(world.directory) && !directory_is_fresh(world.directory));
	EXPECT(knows_anna(&world));
	EXPECT(is_promoted(&world));
	close_world(&world);
}

static struct error open_refused(const char *data, int code)
{
	char standalone[] = "standalone", folder[64];
	struct config config = { .directory = standalone, .data_dir = folder };
	struct directory_writer *writer;
	struct error error = { 0 };
	snprintf(folder, sizeof(folder), "%s", data);
	EXPECT_INT(code, directory_writer_open(&config, &writer, &error));
	EXPECT(writer == NULL);
	return error;
}

TEST(only_a_directory_without_tables_is_said_to_be_not_initialised)
{
	char data[] = "/tmp/pando-writer-XXXXXX", folder[64], path[96];
	EXPECT(mkdtemp(data) != NULL);
	snprintf(folder, sizeof(folder), "%s/directory", data);
	snprintf(path, sizeof(path), "%s/directory.sqlite", folder);
	EXPECT_INT(0, mkdir(folder, 0700));
	EXPECT(strstr(open_refused(data, -ENOENT).text, "there is no directory file") != NULL);
	FILE *file = fopen(path, "w");
	EXPECT(file != NULL && fclose(file) == 0);
	EXPECT(strstr(open_refused(data, -ENOENT).text, "has not been initialised") != NULL);
	file = fopen(path, "w");
	EXPECT(file != NULL && fprintf(file, "%04096d", 0) > 0 && fclose(file) == 0);
	EXPECT(strstr(open_refused(data, -EUCLEAN).text, "initialised") == NULL);
	unlink(path);
	rmdir(folder);
	rmdir(data);
}
