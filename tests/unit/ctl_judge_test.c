/* What `pando check` says of a certificate and of a disk. */

#include "ctl/judge.h"
#include "unit/test.h"

enum { NOW = 1800000000, DAY = 86400 };

struct certificate_row {
	const char *name, *use, *holder, *more;
	int days_left, days_begun;
	const char *words; /* NULL: all is well */
};

static const struct certificate_row certificates[] = {
	{ "of ten years", "cluster", "node-a1", "", 3650, 1, NULL },
	{ "with 21 days left", "cluster", "node-a1", "", 21, 1, NULL },
	{ "with 20 days left", "cluster", "node-a1", "", 20, 1, "ends in 20 days" },
	{ "expired", "cluster", "node-a1", "", -3, 1, "has expired 3 days ago" },
	{ "not begun", "cluster", "node-a1", "", 90, -2, "begins in 2 days only" },
	{ "of another holder", "cluster", "node-b1", "", 90, 1, "and not for `node-a1`" },
	{ "of an authority that ends", "authority", "pando", "", 3, 1, "issue them anew" },
	{ "of an authority with any name", "authority", "pando", "", 90, 1, NULL },
	{ "for the host", "public", "x", ", \"host_name\": \"h\", \"is_for_host\": true", 90, 1,
		NULL },
	{ "for another host", "public", "x", ", \"host_name\": \"h\", \"is_for_host\": false", 90,
		1, "is for `x` and not for `h`" },
	{ "replaced on the disk", "public", "x",
		", \"host_name\": \"h\", \"is_for_host\": true, \"is_replaced\": true", 90, 1,
		"restart pando-node" },
};

TEST(a_certificate_fails_when_it_ends_soon_or_is_of_another_name)
{
	struct judge_certificate wanted = { "pando-node", "node-a1", "node", NOW };
	for (unsigned i = 0; i < array_length(certificates); i++) {
		const struct certificate_row *row = &certificates[i];
		struct pool *pool = pool_create();
		struct buf said = { 0 };
		struct str text = pool_printf(pool,
			"{\"use\": \"%s\", \"file\": \"node_certificate\", \"name\": \"%s\", "
			"\"role\": \"node\", \"not_before\": %d, \"not_after\": %d%s}",
			row->use, row->holder, NOW - row->days_begun * DAY,
			NOW + row->days_left * DAY, row->more);
		test_row(row->name);
		bool good = judge_certificate(json_parse(pool, text), &wanted, &said);
		EXPECT_INT(row->words == NULL, good);
		EXPECT(row->words == NULL || strstr(buf_terminated(&said), row->words) != NULL);
		buf_deinit(&said);
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(a_disk_has_room_for_what_comes_to_it_or_the_sentence_says_how_much)
{
	struct pool *pool = pool_create();
	struct buf said = { 0 };
	const struct json *disk = json_parse(
		pool, STR("{\"use\": \"volumes\", \"path\": \"/v\", \"free_bytes\": 134217728}"));
	EXPECT(judge_room(disk, 128, &said) && buf_length(&said) == 0);
	EXPECT(!judge_room(disk, 129, &said));
	EXPECT(strstr(buf_terminated(&said), "/v has 128 MiB free, and 129 MiB") != NULL);
	buf_deinit(&said);
	pool_destroy(&pool);
}

TEST(a_disk_that_refuses_what_is_written_to_it_has_no_room_for_anything)
{
	struct pool *pool = pool_create();
	struct buf said = { 0 };
	const struct json *disk = json_parse(pool,
		STR("{\"path\": \"/v\", \"free_bytes\": 134217728000, \"size_bytes\": "
		    "134217728000, "
		    "\"read_only\": false, \"failure\": \"Input/output error\"}"));
	EXPECT(!judge_room(disk, 128, &said) && !judge_disk(disk, &said));
	EXPECT(strstr(buf_terminated(&said), "/v does not take what is written to it: Input") !=
		NULL);
	buf_deinit(&said);
	pool_destroy(&pool);
}

struct disk_row {
	const char *name;
	unsigned long long free_mib, size_mib;
	bool good;
};

static const struct disk_row disks[] = {
	{ "half full", 50 << 10, 100 << 10, true },
	{ "at the percentage", 5 << 10, 100 << 10, true },
	{ "below the percentage", (5 << 10) - 1, 100 << 10, false },
	{ "small, above the bytes", 1024, 2048, true },
	{ "small, below the bytes", 1023, 2048, false },
	{ "without a byte left", 0, 100 << 10, false },
	{ "of no size", 0, 0, false },
};

TEST(a_disk_that_takes_no_writes_has_no_room_however_much_is_free)
{
	struct pool *pool = pool_create();
	struct buf room = { 0 }, disk = { 0 };
	const struct json *entry = json_parse(pool,
		STR("{\"path\": \"/v\", \"free_bytes\": 134217728000, "
		    "\"size_bytes\": 134217728000, \"read_only\": true}"));
	EXPECT(!judge_room(entry, 1, &room));
	EXPECT(strstr(buf_terminated(&room), "/v is on a file system that is read-only") != NULL);
	EXPECT(!judge_disk(entry, &disk));
	EXPECT(str_equal(buf_str(&room), buf_str(&disk)));
	buf_deinit(&room);
	buf_deinit(&disk);
	pool_destroy(&pool);
}

TEST(a_disk_that_cannot_be_looked_at_is_not_well)
{
	struct pool *pool = pool_create();
	struct buf said = { 0 };
	const struct json *entry =
		json_parse(pool, STR("{\"path\": \"/v\", \"error\": \"Input/output error\"}"));
	EXPECT(!judge_disk(entry, &said));
	EXPECT_STR(STR("/v cannot be looked at: Input/output error"), buf_str(&said));
	buf_deinit(&said);
	pool_destroy(&pool);
}

TEST(a_disk_is_nearly_full_by_percent_or_by_bytes)
{
	for (unsigned i = 0; i < array_length(disks); i++) {
		struct pool *pool = pool_create();
		struct buf said = { 0 };
		struct str text = pool_printf(pool,
			"{\"path\": \"/d\", \"free_bytes\": %llu, \"size_bytes\": %llu}",
			disks[i].free_mib << 20, disks[i].size_mib << 20);
		test_row(disks[i].name);
		EXPECT_INT(disks[i].good, judge_disk(json_parse(pool, text), &said));
		EXPECT_INT(!disks[i].good, buf_length(&said) > 0);
		buf_deinit(&said);
		pool_destroy(&pool);
	}
	test_row(NULL);
}
