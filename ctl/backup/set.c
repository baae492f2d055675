#include "ctl/backup/set.h"

#include "core/digest.h"
#include "ctl/backup/file.h"
#include "ctl/backup/manifest.h"

#include <errno.h>
#include <unistd.h>

bool backup_set_name_is_valid(struct str name)
{
	/* d: a digit, x: a hexadecimal one; all others stand for themselves. */
	struct str pattern = STR("ddddddddTddddddZ-xxxxxxxx");
	if (name.length != pattern.length)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.bytes[i], wanted = pattern.bytes[i];
		bool is_digit = ascii_is_digit(c);
		if (wanted == 'd' && !is_digit)
			return false;
		if (wanted == 'x' && !is_digit && !(c >= 'a' && c <= 'f'))
			return false;
		if (wanted != 'd' && wanted != 'x' && c != wanted)
			return false;
	}
	return true;
}

static struct str base_of(const char *path)
{
	struct str whole = str_from(path);
	while (whole.length > 1 && whole.bytes[whole.length - 1] == '/')
		whole.length--;
	return str_from_index(whole, (size_t)(str_find_last_byte(whole, '/') + 1));
}

/* What is written must be read again, by this version at least. */
static int check_readable(const struct backup_set *set, struct str manifest, struct error *error)
{
	struct pool *pool = pool_create();
	struct backup_set read;
	struct error why = { 0 };
	int code = 0;
	if (manifest_decode(manifest, pool, &read, &why) < 0)
		code = error_set(error, -EINVAL, "%s: %s", set->folder, why.text);
	else if (!str_equal(base_of(set->folder), str_from(set->name)))
		code = error_set(
			error, -EINVAL, "%s is no folder for the set %s", set->folder, set->name);
	pool_destroy(&pool);
	return code;
}

static int write_in(
	const struct backup_set *set, const char *name, struct str bytes, struct error *error)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", set->folder, name);
	int code = file_write(buf_terminated(&path), bytes, error);
	buf_deinit(&path);
	return code;
}

/* The folder itself was made before what is in it; its name must be durable before it counts. */
static int sync_parent(const struct backup_set *set, struct error *error)
{
	struct buf parent = { 0 };
	folder_of(set->folder, &parent);
	int code = folder_sync(buf_terminated(&parent), error);
	buf_deinit(&parent);
	return code;
}

int backup_set_write(struct backup_set *set, struct error *error)
{
	struct buf manifest = { 0 }, sums = { 0 };
	uint8_t digest[SEAL_SHA256_LENGTH];
	manifest_encode(set, &manifest);
	sha256(buf_str(&manifest), digest);
	sums_encode(set, digest, &sums);
	int code = check_readable(set, buf_str(&manifest), error);
	if (code == 0)
		code = write_in(set, MANIFEST_FILE, buf_str(&manifest), error);
	if (code == 0)
		code = sync_parent(set, error);
	if (code == 0)
		code = write_in(set, SUMS_FILE, buf_str(&sums), error);
	if (code == 0)
		sha256(buf_str(&sums), set->sums);
	buf_deinit(&manifest);
	buf_deinit(&sums);
	return code;
}

/* -ENOENT keeps its meaning only where SHA256SUMS is not there. */
static int read_in(const char *folder, const char *name, size_t bytes_max, struct pool *pool,
	struct str *bytes_out, struct error *error)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", folder, name);
	int code = file_read_whole(buf_terminated(&path), bytes_max, pool, bytes_out, error);
	buf_deinit(&path);
	return code;
}

static int check_sums(
	const struct backup_set *set, struct str manifest, struct str sums, struct error *error)
{
	struct buf wanted = { 0 };
	uint8_t digest[SEAL_SHA256_LENGTH];
	sha256(manifest, digest);
	sums_encode(set, digest, &wanted);
	bool is_same = str_equal(buf_str(&wanted), sums);
	/* Who wrote it was killed meanwhile, or had no room left. */
	bool is_part = !is_same && str_starts_with(buf_str(&wanted), sums);
	buf_deinit(&wanted);
	if (is_same)
		return 0;
	if (is_part)
		return error_set(error, -ENOENT,
			"%s was never finished: its " SUMS_FILE " was not written to its end",
			set->folder);
	return error_set(error, -EUCLEAN,
		"%s: " MANIFEST_FILE " and " SUMS_FILE " contradict each other", set->folder);
}

static int read_set(const char *folder, struct pool *scratch, struct pool *pool,
	struct backup_set *set, struct error *error)
{
	struct str sums, manifest;
	struct error why = { 0 };
	int code = read_in(folder, SUMS_FILE, SUMS_BYTES_MAX, scratch, &sums, error);
	if (code == -ENOENT)
		return error_set(
			error, code, "%s was never finished: it has no " SUMS_FILE, folder);
	if (code < 0)
		return code;
	code = read_in(folder, MANIFEST_FILE, MANIFEST_BYTES_MAX, scratch, &manifest, error);
	if (code < 0)
		return code == -ENOENT ? -EUCLEAN : code;
	code = manifest_decode(manifest, pool, set, &why);
	if (code < 0)
		return error_set(error, code, "%s: %s", folder, why.text);
	if (!str_equal(base_of(folder), str_from(set->name)))
		return error_set(error, -EUCLEAN, "%s is the set %s: a set's folder has its name",
			folder, set->name);
	set->folder = pool_copy_terminated(pool, str_from(folder));
	sha256(sums, set->sums);
	return check_sums(set, manifest, sums, error);
}

int backup_set_read(
	const char *folder, struct pool *pool, struct backup_set **set_out, struct error *error)
{
	struct pool *scratch = pool_create();
	struct backup_set *set = pool_alloc(pool, sizeof(*set));
	int code = read_set(folder, scratch, pool, set, error);
	pool_destroy(&scratch);
	if (code == 0)
		*set_out = set;
	return code;
}

static int check_file(
	const struct backup_set *set, const struct backup_file *file, struct error *error)
{
	struct buf path = { 0 };
	int descriptor;
	uint64_t bytes;
	buf_printf(&path, "%s/%s", set->folder, file->name);
	int code = file_open(buf_terminated(&path), &descriptor, &bytes, error);
	if (code == 0)
		close(descriptor);
	if (code == 0 && bytes != file->sealed.bytes)
		code = error_set(error, -EUCLEAN, "%s has %llu bytes, and had %llu",
			buf_terminated(&path), (unsigned long long)bytes,
			(unsigned long long)file->sealed.bytes);
	buf_deinit(&path);
	return code;
}

int backup_set_check_files(const struct backup_set *set, struct error *error)
{
	int code = check_file(set, &set->directory, error);
	for (unsigned i = 0; i < set->volume_count; i++)
		for (unsigned k = 0; code == 0 && k < set->volumes[i].file_count; k++)
			code = check_file(set, &set->volumes[i].files[k], error);
	return code;
}

const struct backup_volume *backup_set_volume(const struct backup_set *set, uint32_t id)
{
	for (unsigned i = 0; i < set->volume_count; i++)
		if (set->volumes[i].id == id)
			return &set->volumes[i];
	return NULL;
}

uint64_t backup_volume_bytes(const struct backup_volume *volume)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < volume->file_count; i++)
		bytes += volume->files[i].sealed.bytes;
	return bytes;
}

uint64_t backup_set_bytes(const struct backup_set *set)
{
	uint64_t bytes = set->directory.sealed.bytes;
	for (unsigned i = 0; i < set->volume_count; i++)
		bytes += backup_volume_bytes(&set->volumes[i]);
	return bytes;
}
