/* Which of several PostgreSQL servers is the directory: the decision and its memory. The servers
 * themselves are met in tests/e2e. */

#include "core/directory/servers.h"
#include "unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { OLD = 7001, NEW = 7002 };

#define AWAY \
	{ \
		"x", .state = SERVER_AWAY, .reason = "x refuses" \
	}
#define SERVER(host, state, system, timeline) \
	{ \
		host, state, { system, timeline }, .started_us = (uint64_t)(host)[0] \
	}

struct row {
	const char *name;
	struct server_identity known;
	struct server list[3];
	unsigned count;
	int chosen;        /* index; -1: none */
	int code;          /* of servers_check_writable */
	const char *words; /* of its sentence */
};

static const struct row rows[] = {
	{ "one that is writable", { 0, 0 }, { SERVER("a", SERVER_WRITABLE, OLD, 1) }, 1, 0, 0, "" },
	{ "a primary before its standby", { OLD, 1 },
		{ SERVER("a", SERVER_STANDBY, OLD, 1), SERVER("b", SERVER_WRITABLE, OLD, 1) }, 2, 1,
		0, "" },
	{ "only a standby is read", { OLD, 2 }, { AWAY, SERVER("b", SERVER_STANDBY, OLD, 1) }, 2, 1,
		-EROFS, "only a standby" },
	{ "the promoted one is right, and nothing is written while the old one lives", { OLD, 1 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("b", SERVER_WRITABLE, OLD, 2) }, 2,
		1, -EROFS, "a (timeline 1, an old one), b (timeline 2)" },
	{ "an old one alone is not believed", { OLD, 2 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), AWAY }, 2, -1, -EROFS,
		"a is on timeline 1, and the directory has been on 2" },
	{ "a higher timeline is believed", { OLD, 2 }, { SERVER("a", SERVER_WRITABLE, OLD, 3) }, 1,
		0, 0, "" },
	{ "another identity is not believed", { OLD, 1 }, { SERVER("a", SERVER_WRITABLE, NEW, 5) },
		1, -1, -EROFS, "`pando directory adopt`" },
	{ "two identities and no memory decide nothing", { 0, 0 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("b", SERVER_WRITABLE, NEW, 1) }, 2,
		-1, -EROFS, "several PostgreSQL servers can be written" },
	{ "memory tells two identities apart", { OLD, 1 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("b", SERVER_WRITABLE, NEW, 1) }, 2,
		0, -EROFS, "b (timeline 1, a strange one)" },
	{ "a copied machine decides nothing", { OLD, 1 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("b", SERVER_WRITABLE, OLD, 1) }, 2,
		-1, -EROFS, "two directories" },
	{ "one server under two addresses is one", { OLD, 1 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("a", SERVER_WRITABLE, OLD, 1) }, 2,
		0, 0, "" },
	{ "a read-only primary is read", { OLD, 1 }, { SERVER("a", SERVER_READ_ONLY, OLD, 1) }, 1,
		0, -EROFS, "default_transaction_read_only" },
	{ "an old one is old beside a read-only primary", { OLD, 1 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 1), SERVER("b", SERVER_READ_ONLY, OLD, 2) }, 2,
		1, -EROFS, "a is on timeline 1" },
	{ "a standby of another identity is not read", { OLD, 1 },
		{ SERVER("a", SERVER_STANDBY, NEW, 1) }, 1, -1, -EHOSTUNREACH,
		"cannot be reached" },
	{ "none answers", { OLD, 1 }, { AWAY, AWAY }, 2, -1, -EHOSTUNREACH,
		"x refuses; x refuses" },
	{ "one that came after what was known", { OLD, 4 },
		{ { "b", SERVER_WRITABLE, { NEW, 1 }, 9, { NEW, 1 }, { OLD, 4 } } }, 1, 0, 0, "" },
	{ "one that came after something earlier", { OLD, 4 },
		{ { "b", SERVER_WRITABLE, { NEW, 1 }, 9, { NEW, 1 }, { OLD, 3 } } }, 1, -1, -EROFS,
		"another PostgreSQL" },
	{ "a dump of one that came after it", { OLD, 4 },
		{ { "c", SERVER_WRITABLE, { 7003, 1 }, 9, { NEW, 1 }, { OLD, 4 } } }, 1, -1, -EROFS,
		"another PostgreSQL" },
	{ "what it came after is old", { 0, 0 },
		{ SERVER("a", SERVER_WRITABLE, OLD, 4),
			{ "b", SERVER_WRITABLE, { NEW, 1 }, 9, { NEW, 1 }, { OLD, 4 } } },
		2, 1, -EROFS, "a (timeline 4, an old one)" },
};

TEST(the_right_server_is_chosen_and_a_doubtful_one_not_written)
{
	for (unsigned i = 0; i < array_length(rows); i++) {
		const struct row *row = &rows[i];
		struct servers servers = { .known = row->known, .count = row->count };
		struct error error = { 0 };
		memcpy(servers.list, row->list, sizeof(row->list));
		test_row(row->name);
		servers_choose(&servers);
		EXPECT_INT(row->chosen, servers.chosen);
		EXPECT_INT(row->code, servers_check_writable(&servers, &error));
		EXPECT(strstr(error.text, row->words) != NULL);
	}
	test_row(NULL);
}

static struct server_identity recall(const char *path)
{
	struct server_identity seen;
	EXPECT_INT(0, servers_recall(path, &seen));
	return seen;
}

TEST(what_cannot_be_read_just_now_is_not_nothing)
{
	struct server_identity seen;
	struct servers servers;
	struct error error;
	/* A folder can be opened, and not read. */
	EXPECT_INT(-EISDIR, servers_recall("/tmp", &seen));
	EXPECT_INT(-EISDIR, servers_ask("host=/nonexistent", "/tmp", &servers, &error));
	EXPECT(strstr(error.text, "which server was the directory before") != NULL);
	servers_release(&servers);
}

TEST(what_was_seen_is_remembered_whole_or_not_at_all)
{
	char folder[] = "/tmp/pando-servers-XXXXXX", path[64];
	EXPECT(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/memory", folder);
	EXPECT(recall(path).system == 0);
	EXPECT_INT(0, servers_remember(path, (struct server_identity){ 7441234567890123456u, 12 }));
	EXPECT_INT(0, servers_remember(path, (struct server_identity){ 18446744073709551615u, 3 }));
	EXPECT(recall(path).system == UINT64_MAX && recall(path).timeline == 3);
	/* Every byte counts. */
	FILE *file = fopen(path, "r+");
	for (int i = 0; file && i < 45; i++) {
		int was = (fseek(file, i, SEEK_SET), fgetc(file));
		fseek(file, i, SEEK_SET);
		fputc(was ^ 1, file);
		fflush(file);
		EXPECT(was == EOF || recall(path).system == 0);
		fseek(file, i, SEEK_SET);
		fputc(was, file);
		fflush(file);
	}
	if (file)
		fclose(file);
	EXPECT(recall(path).system == UINT64_MAX);
	unlink(path);
	rmdir(folder);
	EXPECT_INT(-ENOENT, servers_remember(path, (struct server_identity){ 1, 1 }));
}

TEST(a_succession_is_read_exactly)
{
	struct server_identity self, before;
	EXPECT(servers_parse_succession("7002 1 after 7001 4", &self, &before));
	EXPECT(self.system == 7002 && self.timeline == 1 && before.system == 7001 &&
		before.timeline == 4);
	EXPECT(!servers_parse_succession("7002 1 after 7001 4 x", &self, &before));
	EXPECT(!servers_parse_succession("7002 1 before 7001 4", &self, &before));
	EXPECT(!servers_parse_succession("", &self, &before));
	EXPECT(!servers_parse_succession(NULL, &self, &before));
}
