#include "ctl/json.h"
#include "unit/test.h"

struct row {
	const char *name, *text;
	bool good;
};

static const struct row rows[] = {
	{ "nested answer", "{\"a\": [{\"b\": 1}, {\"b\": -2.5e3}], \"c\": null}", true },
	{ "escapes and surrogates", "\"\\u00e9\\ud83d\\ude00\\n\\\\\"", true },
	{ "empty containers", "[{}, [], \"\"]", true },
	{ "nothing", "", false },
	{ "only space", "  \n", false },
	{ "cut object", "{\"a\": 1", false },
	{ "cut text", "\"abc", false },
	{ "cut escape", "\"\\", false },
	{ "cut unicode escape", "\"\\u12", false },
	{ "lone high surrogate", "\"\\ud83d\"", false },
	{ "unknown escape", "\"\\x41\"", false },
	{ "missing colon", "{\"a\" 1}", false },
	{ "missing comma", "[1 2]", false },
	{ "comma at the end", "[1,]", false },
	{ "two values", "1 2", false },
	{ "bare word", "nul", false },
	{ "unquoted name", "{a: 1}", false },
};

TEST(well_formed_answers_are_read_and_others_refused)
{
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct pool *pool = pool_create();
		test_row(rows[i].name);
		EXPECT_INT(rows[i].good, json_parse(pool, str_from(rows[i].text)) != NULL);
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(every_cut_of_an_answer_is_refused)
{
	static const char text[] =
		"{\"node\": \"a\\u00e9\", \"volumes\": [{\"id\": 1, \"up\": true}]}";
	for (size_t length = 0; length + 1 < sizeof(text); length++) {
		struct pool *pool = pool_create();
		EXPECT(json_parse(pool, str_of(text, length < sizeof(text) - 1 ? length : 0)) ==
			NULL);
		pool_destroy(&pool);
	}
}

TEST(depth_is_limited)
{
	char text[200];
	struct pool *pool = pool_create();
	memset(text, '[', 100);
	memset(text + 100, ']', 100);
	EXPECT(json_parse(pool, str_of(text, 200)) == NULL);
	EXPECT(json_parse(pool, str_of(text + 90, 20)) != NULL);
	pool_destroy(&pool);
}

TEST(members_are_found_and_missing_ones_are_empty)
{
	struct pool *pool = pool_create();
	struct json *json = json_parse(pool, STR("{\"n\": 18446744073709551615, \"t\": "
						 "\"\\u20ac\", \"y\": true, \"l\": [1, 2]}"));
	EXPECT(json_u64(json, "n") == UINT64_MAX);
	EXPECT_STR(STR("\xe2\x82\xac"), json_text(json, "t"));
	EXPECT(json_true(json, "y") && !json_true(json, "n"));
	EXPECT(json_first(json_get(json, "l"))->next != NULL);
	EXPECT_INT(0, json_u64(json, "missing"));
	EXPECT_STR(STR(""), json_text(NULL, "t"));
	EXPECT(json_first(json_get(json, "t")) == NULL);
	pool_destroy(&pool);
}
