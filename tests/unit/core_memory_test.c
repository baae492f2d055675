#include "core/buf.h"
#include "core/config.h"
#include "core/digest.h"
#include "core/encode.h"
#include "core/map.h"
#include "core/nearest.h"
#include "core/pool.h"
#include "unit/test.h"

#include <stdlib.h>
#include <unistd.h>

TEST(buffer_keeps_what_is_not_consumed_when_it_slides)
{
	struct buf buf = { 0 };
	for (int i = 0; i < 1000; i++) {
		buf_printf(&buf, "%06d", i);
		if (i % 3 == 2)
			buf_consume(&buf, 12);
	}
	EXPECT_INT(6000 - 333 * 12, buf_length(&buf));
	EXPECT_STR(STR("000666"), str_first(buf_str(&buf), 6));
	buf_deinit(&buf);
}

TEST(map_finds_everything_after_random_removals)
{
	struct map *map = map_create();
	for (uint64_t i = 1; i <= 5000; i++)
		map_set(map, map_key_u64(&i), (void *)(uintptr_t)i);
	for (uint64_t i = 1; i <= 5000; i += 3)
		EXPECT(map_remove(map, map_key_u64(&i)) == (void *)(uintptr_t)i);
	for (uint64_t i = 1; i <= 5000; i++)
		EXPECT(map_get(map, map_key_u64(&i)) ==
			(i % 3 == 1 ? NULL : (void *)(uintptr_t)i));
	EXPECT_INT(5000 - 1667, map_count(map));
	map_destroy(&map);
}

TEST(crc32c_agrees_with_rfc_3720_vectors)
{
	uint8_t zeroes[32] = { 0 }, rising[32];
	for (int i = 0; i < 32; i++)
		rising[i] = (uint8_t)i;
	EXPECT_INT(0x8a9136aa, crc32c(0, zeroes, 32));
	EXPECT_INT(0x46dd794e, crc32c(0, rising, 32));
	EXPECT_INT(crc32c(0, rising, 32), crc32c(crc32c(0, rising, 13), rising + 13, 19));
}

TEST(base64_round_trips_and_refuses_malformed_text)
{
	struct buf text = { 0 }, back = { 0 };
	char bytes[64];
	for (size_t length = 0; length < sizeof(bytes); length++) {
		for (size_t i = 0; i < length; i++)
			bytes[i] = (char)(i * 37 + length);
		buf_clear(&text);
		buf_clear(&back);
		encode_base64(&text, str_of(bytes, length));
		EXPECT(decode_base64(&back, buf_str(&text)));
		EXPECT_STR(str_of(bytes, length), buf_str(&back));
	}
	buf_clear(&back);
	static const char *const bad[] = { "a", "ab", "abc", "ab=c", "=abc",
		"a===", "ab cd=", "ab\n=" };
	for (size_t i = 0; i < array_length(bad); i++) {
		test_row(bad[i]);
		EXPECT(!decode_base64(&back, str_from(bad[i])));
		EXPECT_INT(0, buf_length(&back));
	}
	buf_deinit(&text);
	buf_deinit(&back);
}

TEST(json_strings_replace_what_is_not_utf8)
{
	struct buf out = { 0 };
	encode_json(&out, STR("a\"\\\n\xc3\xa9\xff\xed\xa0\x80"));
	encode_json(&out, STR("\xc2\x9b\xc2\xa0"));
	EXPECT_STR(
		STR("\"a\\\"\\\\\\u000a\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""
		    "\"\\u009b\xc2\xa0\""),
		buf_str(&out));
	buf_deinit(&out);
}

TEST(moments_are_written_in_utc_to_the_second)
{
	struct buf out = { 0 };
	encode_time(&out, 1709251199999999);
	EXPECT_STR(STR("2024-02-29T23:59:59Z"), buf_str(&out));
	buf_deinit(&out);
}

TEST(sortable_keys_keep_their_numbers)
{
	uint8_t low[4], high[4];
	put_be(low, 0x00ff, 4);
	put_be(high, 0x0100, 4);
	EXPECT(memcmp(low, high, sizeof(low)) < 0);
	EXPECT_INT(0x0100, get_be(high, 4));
}

TEST(numbers_are_read_whole_or_not_at_all)
{
	uint64_t value = 7;
	EXPECT(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &value) && value == UINT64_MAX);
	EXPECT(!str_to_u64(STR("18446744073709551616"), UINT64_MAX, &value));
	EXPECT(!str_to_u64(STR(""), 10, &value));
	EXPECT(!str_to_u64(STR("1x"), 10, &value));
	EXPECT(!str_to_u64(STR("11"), 10, &value));
}

TEST(numbers_in_names_compare_by_their_value)
{
	static const char *const sorted[] = { "", "01", "1", "2", "10", "a", "a-2", "a-10", "a1",
		"a1-2", "a1-10", "a2", "a10", "a18446744073709551616", "a18446744073709551617",
		"ab" };
	for (unsigned i = 0; i < array_length(sorted); i++)
		for (unsigned k = 0; k < array_length(sorted); k++) {
			int order = str_compare_natural(str_from(sorted[i]), str_from(sorted[k]));
			test_row(sorted[i]);
			EXPECT_INT((i > k) - (i < k), (order > 0) - (order < 0));
		}
}

TEST(the_nearest_name_is_offered_when_one_is_near)
{
	static const struct {
		const char *wanted, *found;
	} rows[] = { { "sit-a", "site-a" }, { "site-x", "site-a" }, { "node-b2", "node-b1" },
		{ "a1-11", "a1-1" }, { "nowhere", "" }, { "", "" }, { "x", "" } };
	static const char *const names[] = { "site-a", "site-b", "node-a1", "node-b1", "a1-1" };
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct nearest nearest = { .wanted = str_from(rows[i].wanted) };
		test_row(rows[i].wanted);
		for (unsigned k = 0; k < array_length(names); k++)
			nearest_offer(&nearest, str_from(names[k]));
		EXPECT_STR(str_from(rows[i].found), str_from(nearest.name));
	}
	test_row(NULL);
}

static int load_text(const char *text, struct config *config, struct error *error)
{
	char path[] = "/tmp/pando-config-XXXXXX";
	int fd = mkstemp(path);
	ssize_t written = write(fd, text, strlen(text));
	(void)written;
	close(fd);
	int result = config_load(config, path, error);
	unlink(path);
	return result;
}

TEST(a_configuration_that_cannot_be_read_says_why)
{
	static const struct {
		const char *path, *expected;
	} rows[] = {
		{ "/tmp", "/tmp cannot be read: Is a directory" },
		{ "/dev/zero", "/dev/zero is no configuration: it has " },
		{ "/nonexistent", "cannot open the configuration /nonexistent: No such file" },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct config config = { 0 };
		struct error error = { 0 };
		test_row(rows[i].path);
		EXPECT(config_load(&config, rows[i].path, &error) < 0);
		EXPECT(strstr(error.text, rows[i].expected) != NULL);
		config_deinit(&config);
	}
	test_row(NULL);
}

TEST(configuration_errors_name_line_key_and_nearest_key)
{
	static const struct {
		const char *text, *expected;
	} rows[] = {
		{ "site = a\nimap_listn = x\n",
			"line 2: there is no key `imap_listn`; did you mean `imap_listen`?" },
		{ "worker_threads = many", "line 1: `worker_threads` takes a whole number" },
		{ "smtp_listen = foo", "`smtp_listen` is addresses as 0.0.0.0:25" },
		{ "smtp_listen = 127.0.0.1:25 127.0.0.1:99999", "line 1: `smtp_listen` is addr" },
		{ "relay_host = a b", "line 1: `relay_host` is host:port, not `a b`" },
		{ "relay_host = mail.example.org", "line 1: `relay_host` is host:port" },
		{ "hostname = a b", "line 1: `hostname` is a word without spaces" },
		{ "data_dir = relative", "line 1: `data_dir` is an absolute path" },
		{ "io_backend = fast", "line 1: `io_backend` is one of auto|uring|posix" },
		{ "# comment\n\nsite = a\nsite = b\n", "line 4: `site` is set twice" },
		{ "nonsense", "line 1: expected `key = value`" },
		{ "site = a\n= b", "line 2: expected `key = value`" },
		{ "site = a\033[2Jb", "line 1: it holds a control character" },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct config config = { 0 };
		struct error error;
		test_row(rows[i].text);
		EXPECT(load_text(rows[i].text, &config, &error) < 0);
		EXPECT(strstr(error.text, rows[i].expected) != NULL);
		config_deinit(&config);
	}
}
