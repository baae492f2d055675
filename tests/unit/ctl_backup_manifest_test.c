/* A manifest is somebody else's text: it is valid as manifest.h says, or it is refused. */

#include "ctl/backup/manifest.h"

#include "unit/test.h"

#include <errno.h>

#define FIRST "20261127T101400Z-00000001"
#define SECOND "20261127T101500Z-00000002"
#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEX16 "0000000000000000"
#define HEAD \
	"{\"format\": 1, \"name\": \"" SECOND "\", \"moment_s\": 5, \"cluster\": \"c\", " \
	"\"recipient\": \"pando-backup-public:" HEX64 "\", "
#define PARENT "\"parent\": {\"name\": \"" FIRST "\", \"sha256\": \"" HEX64 "\"}, "
#define FILE_OF(name, rest) \
	"{\"file\": \"" name "\", \"bytes\": 9, \"sha256\": \"" HEX64 "\", " rest "}"
#define DIRECTORY "\"directory\": " FILE_OF("directory.pbk", "\"revision\": 1") ", "
#define VOLUME(id, from, to, files) \
	"{\"id\": " id ", \"name\": \"v\", \"from\": " from ", \"to\": " to \
	", \"from_chain\": \"" HEX16 "\", \"to_chain\": \"" HEX16 "\", \"epoch\": 1, " \
	"\"reign\": \"00112233445566778899aabbccddeeff\", \"source\": \"n\", " \
	"\"problem\": \"\", \"files\": [" files "]}"
#define SPAN(from, to) "\"from\": " from ", \"to\": " to
#define SET(volumes) HEAD PARENT DIRECTORY "\"volumes\": [" volumes "]}"
#define ONE_FILE(name) SET(VOLUME("1", "0", "9", FILE_OF(name, SPAN("0", "9"))))

static const struct row {
	const char *name, *text;
	const char *why; /* NULL: it is good */
} rows[] = {
	{ "no volume", SET(""), NULL },
	{ "a volume of two files",
		SET(VOLUME("1", "0", "20",
			FILE_OF("a.pbk", SPAN("0", "10")) ", " FILE_OF("b.pbk", SPAN("10", "20")))),
		NULL },
	{ "a volume that goes on", SET(VOLUME("1", "7", "9", FILE_OF("a.pbk", SPAN("7", "9")))),
		NULL },
	{ "a volume without anything new", SET(VOLUME("1", "7", "7", "")), NULL },
	{ "members of a later version", HEAD "\"more\": [1], " PARENT DIRECTORY "\"volumes\": []}",
		NULL },
	{ "no parent", HEAD "\"parent\": null, " DIRECTORY "\"volumes\": []}", NULL },
	{ "nothing", "", "no JSON" },
	{ "no object", "[]", "no object" },
	{ "cut", HEAD PARENT DIRECTORY "\"volumes\": []", "no JSON" },
	{ "another format", "{\"format\": 2}", "another format" },
	{ "no format", "{}", "`format`" },
	{ "parent left out", HEAD DIRECTORY "\"volumes\": []}", "`parent`" },
	{ "directory left out", HEAD PARENT "\"volumes\": []}", "`directory`" },
	{ "volumes left out", HEAD PARENT DIRECTORY "\"x\": 1}", "`volumes`" },
	{ "directory that is no object", HEAD PARENT "\"directory\": 7, \"volumes\": []}",
		"no object" },
	{ "volumes that are no array", HEAD PARENT DIRECTORY "\"volumes\": {}}", "`volumes`" },
	{ "a volume that is no object", SET("7"), "no object" },
	{ "a file that is no object", SET(VOLUME("1", "0", "9", "7")), "no object" },
	{ "a member twice", HEAD "\"format\": 1, " PARENT DIRECTORY "\"volumes\": []}",
		"two members of one name" },
	{ "a set on itself",
		HEAD "\"parent\": {\"name\": \"" SECOND "\", \"sha256\": \"" HEX64 "\"}, " DIRECTORY
		     "\"volumes\": []}",
		"stands on itself" },
	{ "a parent's name that is a path",
		HEAD "\"parent\": {\"name\": \"../" FIRST "\", \"sha256\": \"" HEX64
		     "\"}, " DIRECTORY "\"volumes\": []}",
		"`name`" },
	{ "a short digest",
		HEAD "\"parent\": {\"name\": \"" FIRST "\", \"sha256\": \"00\"}, " DIRECTORY
		     "\"volumes\": []}",
		"`sha256`" },
	{ "a volume twice", SET(VOLUME("1", "7", "7", "") ", " VOLUME("1", "7", "7", "")),
		"a volume stands in it twice" },
	{ "a file twice in a volume",
		SET(VOLUME("1", "0", "20",
			FILE_OF("a.pbk", SPAN("0", "10")) ", " FILE_OF("a.pbk", SPAN("10", "20")))),
		"a file stands in it twice" },
	{ "a file of two volumes",
		SET(VOLUME("1", "0", "9", FILE_OF("a.pbk", SPAN("0", "9"))) ", " VOLUME(
			"2", "0", "9", FILE_OF("a.pbk", SPAN("0", "9")))),
		"a file stands in it twice" },
	{ "the directory's file as a volume's", ONE_FILE("directory.pbk"),
		"a file stands in it twice" },
	{ "a path", ONE_FILE("a/b.pbk"), "`file`" },
	{ "a path to the root", ONE_FILE("/a.pbk"), "`file`" },
	{ "a path upwards", ONE_FILE("../a.pbk"), "`file`" },
	{ "the folder above", ONE_FILE(".."), "`file`" },
	{ "a hidden name", ONE_FILE(".pbk"), "`file`" },
	{ "no name", ONE_FILE(""), "`file`" },
	{ "a name with a line's end", ONE_FILE("a\\nb.pbk"), "`file`" },
	{ "a name with a zero", ONE_FILE("a\\u0000.pbk"), "`file`" },
	{ "a name that is too long", ONE_FILE(HEX64 ".pbk"), "`file`" },
	{ "the manifest as a file", ONE_FILE("manifest.json"), "`file`" },
	{ "the sums as a file", ONE_FILE("SHA256SUMS"), "`file`" },
	{ "a gap",
		SET(VOLUME("1", "0", "20",
			FILE_OF("a.pbk", SPAN("0", "9")) ", " FILE_OF("b.pbk", SPAN("10", "20")))),
		"do not follow" },
	{ "a gap at the begin", SET(VOLUME("1", "0", "9", FILE_OF("a.pbk", SPAN("1", "9")))),
		"do not follow" },
	{ "a gap at the end", SET(VOLUME("1", "0", "10", FILE_OF("a.pbk", SPAN("0", "9")))),
		"do not end" },
	{ "a file with nothing", SET(VOLUME("1", "7", "7", FILE_OF("a.pbk", SPAN("7", "7")))),
		"do not follow" },
	{ "backwards", SET(VOLUME("1", "9", "7", FILE_OF("a.pbk", SPAN("9", "7")))),
		"do not follow" },
	{ "no file for what is there", SET(VOLUME("1", "0", "9", "")), "do not end" },
	{ "a volume that goes on from nothing",
		HEAD "\"parent\": null, " DIRECTORY "\"volumes\": [" VOLUME("1", "7", "7", "") "]}",
		"there is none" },
	{ "an address beyond all", SET(VOLUME("1", "18446744073709551615", "7", "")), "`from`" },
	{ "a number beyond 2^64", SET(VOLUME("1", "99999999999999999999", "7", "")), "`from`" },
	{ "a number that is negative", SET(VOLUME("1", "-1", "7", "")), "`from`" },
	{ "a number with a fraction", SET(VOLUME("1", "1.5", "7", "")), "`from`" },
	{ "a number that is a text", SET(VOLUME("\"1\"", "7", "7", "")), "`id`" },
	{ "a volume's id beyond 2^32", SET(VOLUME("4294967296", "7", "7", "")), "`id`" },
};

TEST(a_manifest_is_read_or_said_to_be_malformed)
{
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct pool *pool = pool_create();
		struct backup_set set;
		struct error error = { 0 };
		test_row(rows[i].name);
		int code = manifest_decode(str_from(rows[i].text), pool, &set, &error);
		EXPECT_INT(rows[i].why ? -EUCLEAN : 0, code);
		if (rows[i].why && !strstr(error.text, rows[i].why))
			test_fail(__FILE__, __LINE__, "`%s` does not say `%s`", error.text,
				rows[i].why);
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(a_mebibyte_of_nesting_is_refused)
{
	struct pool *pool = pool_create();
	struct backup_set set;
	struct error error = { 0 };
	enum { LENGTH = 1 << 20 };
	char *text = pool_alloc(pool, LENGTH);
	memset(text, '[', LENGTH);
	EXPECT_INT(-EUCLEAN, manifest_decode(str_of(text, LENGTH), pool, &set, &error));
	for (unsigned i = 0; i < LENGTH; i++)
		text[i] = "{\"a\":"[i % 5];
	EXPECT_INT(-EUCLEAN, manifest_decode(str_of(text, LENGTH), pool, &set, &error));
	pool_destroy(&pool);
}
