#include "ctl/backup/manifest.h"

#include "core/encode.h"
#include "core/map.h"
#include "ctl/json.h"

#include <errno.h>

enum {
	/* Of an object: twice what there are, for a later version's. */
	MEMBERS_MAX = 32,
	FORMAT = 1,
};

/* 9999-12-31T23:59:59Z: what a moment's text can say. */
static const uint64_t moment_s_max = 253402300799;

struct decoder {
	struct pool *pool;
	struct backup_set *set;
	struct map *files, *volumes; /* names and ids that were seen */
	struct error *error;
	int code;
};

/* The first thing that is wrong is what is said. */
static void refuse(struct decoder *decoder, const char *what)
{
	if (decoder->code == 0)
		decoder->code = error_set(
			decoder->error, -EUCLEAN, MANIFEST_FILE " is malformed: %s", what);
}

static void refuse_member(struct decoder *decoder, const char *name)
{
	if (decoder->code == 0)
		decoder->code = error_set(decoder->error, -EUCLEAN,
			MANIFEST_FILE " is malformed: `%s` is missing, or what it cannot be", name);
}

/* Which of two members of one name counts would be the reader's choice. */
static void check_object(struct decoder *decoder, const struct json *object)
{
	unsigned count = 0;
	if (object->type != JSON_OBJECT) {
		refuse(decoder, "something is no object where one must be");
		return;
	}
	for (const struct json *member = object->first; member; member = member->next)
		if (++count > MEMBERS_MAX) {
			refuse(decoder, "an object has too many members");
			return;
		}
	for (const struct json *member = object->first; member; member = member->next)
		for (const struct json *other = member->next; other; other = other->next)
			if (str_equal(member->name, other->name))
				refuse(decoder, "an object has two members of one name");
}

static uint64_t number(
	struct decoder *decoder, const struct json *object, const char *name, uint64_t maximum)
{
	const struct json *member = json_get(object, name);
	uint64_t value = 0;
	if (!member || member->type != JSON_NUMBER || !str_to_u64(member->text, maximum, &value))
		refuse_member(decoder, name);
	return value;
}

static struct str text(
	struct decoder *decoder, const struct json *object, const char *name, size_t length_max)
{
	const struct json *member = json_get(object, name);
	if (member && member->type == JSON_TEXT && member->text.length <= length_max &&
		str_find_byte(member->text, '\0') < 0)
		return member->text;
	refuse_member(decoder, name);
	return STR("");
}

static const char *copied_text(
	struct decoder *decoder, const struct json *object, const char *name, size_t length_max)
{
	return pool_copy_terminated(decoder->pool, text(decoder, object, name, length_max));
}

static void hex(struct decoder *decoder, const struct json *object, const char *name,
	void *bytes_out, size_t length)
{
	if (!decode_hex(text(decoder, object, name, 2 * length), bytes_out, length))
		refuse_member(decoder, name);
}

static uint64_t chain(struct decoder *decoder, const struct json *object, const char *name)
{
	uint8_t bytes[8] = { 0 };
	hex(decoder, object, name, bytes, sizeof(bytes));
	return get_be(bytes, sizeof(bytes));
}

static void set_name(
	struct decoder *decoder, const struct json *object, char name_out[BACKUP_SET_NAME_MAX])
{
	struct str name = text(decoder, object, "name", BACKUP_SET_NAME_MAX - 1);
	if (!backup_set_name_is_valid(name)) {
		refuse_member(decoder, "name");
		return;
	}
	memcpy(name_out, name.bytes, name.length);
	name_out[name.length] = '\0';
}

/* Nothing that leads out of the folder, hides in it, or needs quoting in SHA256SUMS. */
static bool is_file_name(struct str name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	if (name.length == 0 || name.bytes[0] == '.')
		return false;
	for (size_t i = 0; i < name.length; i++)
		if (!memchr(allowed, name.bytes[i], sizeof(allowed) - 1))
			return false;
	return str_ends_with(name, STR(SEALED_SUFFIX));
}

static void decode_file(
	struct decoder *decoder, const struct json *object, struct backup_file *file_out)
{
	check_object(decoder, object);
	struct str name = text(decoder, object, "file", BACKUP_NAME_MAX - 1);
	if (!is_file_name(name))
		refuse_member(decoder, "file");
	else if (map_set(decoder->files, name, decoder))
		refuse(decoder, "a file stands in it twice");
	file_out->name = pool_copy_terminated(decoder->pool, name);
	file_out->sealed.bytes = number(decoder, object, "bytes", INT64_MAX);
	hex(decoder, object, "sha256", file_out->sealed.sha256, SEAL_SHA256_LENGTH);
}

/* Of an array that is a member; the first element, and how many there are. */
static const struct json *elements(
	struct decoder *decoder, const struct json *object, const char *name, unsigned *count_out)
{
	const struct json *array = json_get(object, name);
	*count_out = 0;
	if (!array || array->type != JSON_ARRAY)
		refuse_member(decoder, name);
	/* Each takes a byte of the manifest at least. */
	for (const struct json *one = json_first(array); one; one = one->next)
		++*count_out;
	return json_first(array);
}

static void decode_files(
	struct decoder *decoder, const struct json *object, struct backup_volume *volume)
{
	const struct json *one = elements(decoder, object, "files", &volume->file_count);
	uint64_t at = volume->from;
	volume->files = pool_alloc(decoder->pool, volume->file_count * sizeof(*volume->files));
	for (unsigned i = 0; one && decoder->code == 0; one = one->next, i++) {
		struct backup_file *file = &volume->files[i];
		decode_file(decoder, one, file);
		file->from = number(decoder, one, "from", INT64_MAX);
		file->to = number(decoder, one, "to", INT64_MAX);
		if (file->from != at || file->to <= file->from)
			refuse(decoder, "a volume's files do not follow one another");
		at = file->to;
	}
	if (at != volume->to)
		refuse(decoder, "a volume's files do not end where it does");
}

static void decode_volume(
	struct decoder *decoder, const struct json *object, struct backup_volume *volume_out)
{
	check_object(decoder, object);
	volume_out->id = (uint32_t)number(decoder, object, "id", UINT32_MAX);
	if (map_set(decoder->volumes, str_of(&volume_out->id, sizeof(volume_out->id)), decoder))
		refuse(decoder, "a volume stands in it twice");
	volume_out->name = copied_text(decoder, object, "name", BACKUP_NAME_MAX - 1);
	volume_out->from = number(decoder, object, "from", INT64_MAX);
	volume_out->to = number(decoder, object, "to", INT64_MAX);
	volume_out->from_chain = chain(decoder, object, "from_chain");
	volume_out->to_chain = chain(decoder, object, "to_chain");
	volume_out->epoch = number(decoder, object, "epoch", UINT64_MAX);
	hex(decoder, object, "reign", volume_out->reign, BACKUP_REIGN_LENGTH);
	volume_out->source = copied_text(decoder, object, "source", MANIFEST_TEXT_MAX);
	volume_out->problem = copied_text(decoder, object, "problem", MANIFEST_TEXT_MAX);
	if (volume_out->from == 0 && volume_out->from_chain != 0)
		refuse(decoder, "a volume has a chain where it begins");
	if (volume_out->from > 0 && !decoder->set->parent[0])
		refuse(decoder, "a volume goes on from a parent, and there is none");
	decode_files(decoder, object, volume_out);
}

static void decode_volumes(struct decoder *decoder, const struct json *object)
{
	struct backup_set *set = decoder->set;
	const struct json *one = elements(decoder, object, "volumes", &set->volume_count);
	set->volumes = pool_alloc(decoder->pool, set->volume_count * sizeof(*set->volumes));
	for (unsigned i = 0; one && decoder->code == 0; one = one->next, i++)
		decode_volume(decoder, one, &set->volumes[i]);
}

static void decode_parent(struct decoder *decoder, const struct json *object)
{
	const struct json *parent = json_get(object, "parent");
	struct backup_set *set = decoder->set;
	if (!parent) {
		refuse_member(decoder, "parent");
	} else if (parent->type != JSON_NULL) {
		check_object(decoder, parent);
		set_name(decoder, parent, set->parent);
		hex(decoder, parent, "sha256", set->parent_sums, SEAL_SHA256_LENGTH);
		if (strcmp(set->parent, set->name) == 0)
			refuse(decoder, "the set stands on itself");
	}
}

static void decode_set(struct decoder *decoder, const struct json *object)
{
	struct backup_set *set = decoder->set;
	struct error why;
	check_object(decoder, object);
	if (number(decoder, object, "format", UINT64_MAX) != FORMAT)
		refuse(decoder, "it is of another format, which this version does not read");
	set_name(decoder, object, set->name);
	set->moment_s = (int64_t)number(decoder, object, "moment_s", moment_s_max);
	set->cluster = copied_text(decoder, object, "cluster", MANIFEST_TEXT_MAX);
	decode_parent(decoder, object);
	if (backup_public_parse(text(decoder, object, "recipient", BACKUP_KEY_TEXT_MAX),
		    &set->recipient, &why) < 0)
		refuse_member(decoder, "recipient");
	const struct json *directory = json_get(object, "directory");
	if (directory) {
		decode_file(decoder, directory, &set->directory);
		set->directory_revision = number(decoder, directory, "revision", UINT64_MAX);
	} else {
		refuse_member(decoder, "directory");
	}
	decode_volumes(decoder, object);
}

int manifest_decode(
	struct str text, struct pool *pool, struct backup_set *set_out, struct error *error)
{
	/* The tree is many times what is kept of it, and there are many sets. */
	struct pool *tree = pool_create();
	struct decoder decoder = { .pool = pool,
		.set = set_out,
		.files = map_create(),
		.volumes = map_create(),
		.error = error };
	const struct json *json = NULL;
	*set_out = (struct backup_set){ 0 };
	if (text.length > MANIFEST_BYTES_MAX)
		refuse(&decoder, "it is longer than one can be");
	else
		json = json_parse(tree, text);
	if (json)
		decode_set(&decoder, json);
	else
		refuse(&decoder, "it is no JSON");
	map_destroy(&decoder.files);
	map_destroy(&decoder.volumes);
	pool_destroy(&tree);
	return decoder.code;
}
