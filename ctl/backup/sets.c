#include "ctl/backup/set.h"

#include "core/buf.h"
#include "core/encode.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

/* One an hour for seven years. */
enum { SETS_MAX = 65536 };

static int compare_sets(const void *a, const void *b)
{
	const struct backup_set *first = *(struct backup_set *const *)a;
	const struct backup_set *second = *(struct backup_set *const *)b;
	if (first->moment_s != second->moment_s)
		return first->moment_s < second->moment_s ? -1 : 1;
	return strcmp(first->name, second->name);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of the folders that are named as sets are, sorted. */
static int list_names(const char *dir, struct pool *pool, const char ***names_out,
	unsigned *count_out, struct error *error)
{
	struct buf found = { 0 };
	unsigned count = 0;
	DIR *folder = opendir(dir);
	if (!folder)
		return error_set(error, -errno, "%s cannot be read: %s", dir, strerror(errno));
	errno = 0;
	for (struct dirent *entry; count <= SETS_MAX && (entry = readdir(folder)); errno = 0) {
		struct str name = str_from(entry->d_name);
		if (!backup_set_name_is_valid(name))
			continue;
		const char *copy = pool_copy_terminated(pool, name);
		buf_append(&found, &copy, sizeof(copy));
		count++;
	}
	int code = errno ? error_set(error, -errno, "%s cannot be read: %s", dir, strerror(errno))
		: count > SETS_MAX ? error_set(error, -E2BIG,
					     "%s holds more than %d sets: prune it, or name "
					     "another one",
					     dir, SETS_MAX)
				   : 0;
	closedir(folder);
	if (code == 0) {
		*names_out = pool_alloc(pool, count * sizeof(**names_out));
		*count_out = count;
		if (count > 0) {
			memcpy(*names_out, buf_str(&found).bytes, count * sizeof(**names_out));
			qsort(*names_out, count, sizeof(**names_out), compare_names);
		}
	}
	buf_deinit(&found);
	return code;
}

static void read_one(const char *dir, const char *name, struct pool *pool, struct backup_sets *sets)
{
	struct error why = { 0 };
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", dir, name);
	int code = backup_set_read(buf_terminated(&path), pool, &sets->sets[sets->count], &why);
	buf_deinit(&path);
	if (code == 0) {
		sets->count++;
		return;
	}
	sets->broken[sets->broken_count++] = (struct backup_broken){ .name = name,
		.why = pool_copy_terminated(pool, str_from(why.text)),
		.is_unfinished = code == -ENOENT };
}

int backup_sets_read(
	const char *dir, struct pool *pool, struct backup_sets *sets_out, struct error *error)
{
	const char **names = NULL;
	unsigned count = 0;
	int code = list_names(dir, pool, &names, &count, error);
	if (code < 0)
		return code;
	*sets_out = (struct backup_sets){ .sets = pool_alloc(pool, count * sizeof(void *)),
		.broken = pool_alloc(pool, count * sizeof(struct backup_broken)) };
	for (unsigned i = 0; i < count; i++)
		read_one(dir, names[i], pool, sets_out);
	if (sets_out->count > 0)
		qsort(sets_out->sets, sets_out->count, sizeof(void *), compare_sets);
	return 0;
}

static struct backup_set *find_set(const struct backup_sets *sets, const char *name)
{
	for (unsigned i = 0; i < sets->count; i++)
		if (strcmp(sets->sets[i]->name, name) == 0)
			return sets->sets[i];
	return NULL;
}

/* Why a set that is wanted is not among those that count. */
static int no_set(
	const struct backup_sets *sets, const char *name, const char *child, struct error *error)
{
	const char *stands = child ? ", on which " : "", *on = child ? " stands," : "";
	for (unsigned i = 0; i < sets->broken_count; i++)
		if (strcmp(sets->broken[i].name, name) == 0)
			return error_set(error, sets->broken[i].is_unfinished ? -ENOENT : -EUCLEAN,
				"the set %s%s%s%s does not count: %s", name, stands,
				child ? child : "", on, sets->broken[i].why);
	return error_set(error, -ENOENT,
		"the set %s%s%s%s is not there: `pando backup list` names those that are", name,
		stands, child ? child : "", on);
}

int backup_sets_parent(const struct backup_sets *sets, const struct backup_set *set,
	struct backup_set **parent_out, struct error *error)
{
	struct backup_set *parent = find_set(sets, set->parent);
	if (!parent)
		return no_set(sets, set->parent, set->name, error);
	if (memcmp(parent->sums, set->parent_sums, SEAL_SHA256_LENGTH) != 0)
		return error_set(error, -EUCLEAN,
			"the set %s is another than it was when %s was made, which stands on it",
			parent->name, set->name);
	*parent_out = parent;
	return 0;
}

int backup_sets_chain(const struct backup_sets *sets, const char *name, struct pool *pool,
	struct backup_set ***chain_out, unsigned *count_out, struct error *error)
{
	if (sets->count == 0 && !name)
		return error_set(error, -ENOENT, "there is no finished set");
	struct backup_set *set = name ? find_set(sets, name) : sets->sets[sets->count - 1];
	if (!set)
		return no_set(sets, name, NULL, error);
	struct backup_set **chain = pool_alloc(pool, sets->count * sizeof(void *));
	unsigned at = sets->count;
	chain[--at] = set;
	while (set->parent[0]) {
		int code = backup_sets_parent(sets, set, &set, error);
		if (code < 0)
			return code;
		/* As many steps as there are sets, and one more: some set comes twice. */
		if (at == 0)
			return error_set(error, -EUCLEAN, "the set %s stands on itself", set->name);
		chain[--at] = set;
	}
	*chain_out = chain + at;
	*count_out = sets->count - at;
	return 0;
}

struct backup_set *backup_sets_fuller(const struct backup_sets *sets, const struct backup_set *set,
	const struct backup_volume *volume)
{
	struct backup_set *fullest = NULL;
	uint64_t most = volume->to;
	if (!volume->problem[0])
		return NULL;
	for (unsigned i = 0; i < sets->count && sets->sets[i] != set; i++) {
		const struct backup_volume *then = backup_set_volume(sets->sets[i], volume->id);
		if (strcmp(sets->sets[i]->cluster, set->cluster) != 0)
			continue;
		if (then && then->to >= most && then->to > volume->to) {
			fullest = sets->sets[i];
			most = then->to;
		}
	}
	return fullest;
}

bool backup_set_is_ahead(const struct backup_set *set, int64_t now_s)
{
	return set->moment_s > now_s && set->moment_s - now_s > BACKUP_AHEAD_S;
}

int backup_sets_check_newest(const struct backup_sets *sets, int64_t now_s, struct error *error)
{
	const struct backup_set *newest = sets->count ? sets->sets[sets->count - 1] : NULL;
	if (!newest || !backup_set_is_ahead(newest, now_s))
		return 0;
	struct buf moment = { 0 }, now = { 0 };
	encode_time(&moment, newest->moment_s * 1000000);
	encode_time(&now, now_s * 1000000);
	int code = error_set(error, -ERANGE,
		"the newest set, %s, is of %s, and here it is %s: this clock is wrong, or that "
		"of who made it, or somebody has forged it. Look at `pando backup list`, and say "
		"which one with --set NAME",
		newest->name, buf_terminated(&moment), buf_terminated(&now));
	buf_deinit(&moment);
	buf_deinit(&now);
	return code;
}
