#include "core/store.h"
#include "sim/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * The stores of simulated machines: each file one sorted list of pairs. A power cut may undo the
 * newest commit, a kill does not.
 */

struct pair {
	struct buf key, value;
};

struct pairs {
	struct pair *list;
	size_t count;
};

struct store_file {
	struct store_file *next;
	unsigned machine;
	char path[256];
	struct pairs now, before;
};

struct store {
	struct store_file *file;
	struct pairs working;
};

static struct store_file *store_files;

static void pairs_free(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		buf_deinit(&pairs->list[i].key);
		buf_deinit(&pairs->list[i].value);
	}
	free(pairs->list);
	*pairs = (struct pairs){ 0 };
}

static void pairs_copy(struct pairs *to, const struct pairs *from)
{
	pairs_free(to);
	to->list = mem_alloc((from->count + 1) * sizeof(*to->list));
	for (; to->count < from->count; to->count++) {
		buf_append_str(&to->list[to->count].key, buf_str(&from->list[to->count].key));
		buf_append_str(&to->list[to->count].value, buf_str(&from->list[to->count].value));
	}
}

void stores_machine_crashed(unsigned machine)
{
	for (struct store_file *file = store_files; file != NULL; file = file->next)
		if (file->machine == machine && world_pick(2) == 0)
			pairs_copy(&file->now, &file->before);
}

void stores_empty(unsigned machine)
{
	for (struct store_file *file = store_files; file != NULL; file = file->next)
		if (file->machine == machine) {
			pairs_free(&file->now);
			pairs_free(&file->before);
		}
}

static struct store_file *find_file(unsigned machine, const char *path)
{
	struct store_file *file = store_files;
	while (file != NULL && (file->machine != machine || strcmp(file->path, path) != 0))
		file = file->next;
	return file;
}

static struct store_file *make_file(unsigned machine, const char *path)
{
	struct store_file *file = find_file(machine, path);
	if (file != NULL)
		return file;
	file = mem_alloc(sizeof(*file));
	file->machine = machine;
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->next = store_files;
	store_files = file;
	return file;
}

int store_open(const char *path, struct store **store_out, struct error *error)
{
	struct fate fate = disk_begin(current_machine(), DISK_STORE_OPEN);
	int result = disk_end(&fate, 0);
	if (result < 0)
		return error_set(error, result, "cannot open %s: %s", path, strerror(-result));
	struct store_file *file = make_file(current_machine(), path);
	*store_out = mem_alloc(sizeof(**store_out));
	(*store_out)->file = file;
	return 0;
}

void store_close(struct store **store)
{
	if (*store != NULL)
		pairs_free(&(*store)->working);
	free(*store);
	*store = NULL;
}

int store_begin(struct store *store)
{
	pairs_copy(&store->working, &store->file->now);
	return 0;
}

int store_commit(struct store *store)
{
	struct fate fate = disk_begin(store->file->machine, DISK_STORE_COMMIT);
	/* It is atomic, and where it failed it has not happened. */
	if (fate.result == 0 && fate_is_done(&fate)) {
		pairs_free(&store->file->before);
		store->file->before = store->file->now;
		store->file->now = store->working;
		store->working = (struct pairs){ 0 };
	}
	return disk_end(&fate, 0);
}

void store_rollback(struct store *store)
{
	pairs_free(&store->working);
}

/* Index of the first pair whose key is not less. */
static size_t find_pair(const struct pairs *pairs, struct str key)
{
	size_t low = 0, high = pairs->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (str_compare(buf_str(&pairs->list[middle].key), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool has_pair(const struct pairs *pairs, size_t at, struct str key)
{
	return at < pairs->count && str_equal(buf_str(&pairs->list[at].key), key);
}

int store_put(struct store *store, struct str key, struct str value)
{
	struct pairs *pairs = &store->working;
	size_t at = find_pair(pairs, key);
	if (!has_pair(pairs, at, key)) {
		pairs->list = mem_resize(pairs->list, (pairs->count + 1) * sizeof(*pairs->list));
		memmove(&pairs->list[at + 1], &pairs->list[at],
			(pairs->count - at) * sizeof(*pairs->list));
		pairs->list[at] = (struct pair){ 0 };
		pairs->count++;
		buf_append_str(&pairs->list[at].key, key);
	}
	buf_clear(&pairs->list[at].value);
	buf_append_str(&pairs->list[at].value, value);
	return 0;
}

int store_remove(struct store *store, struct str key)
{
	struct pairs *pairs = &store->working;
	size_t at = find_pair(pairs, key);
	if (!has_pair(pairs, at, key))
		return 0;
	buf_deinit(&pairs->list[at].key);
	buf_deinit(&pairs->list[at].value);
	memmove(&pairs->list[at], &pairs->list[at + 1],
		(pairs->count - at - 1) * sizeof(*pairs->list));
	pairs->count--;
	return 0;
}

int store_get(struct store *store, struct str key, struct buf *out)
{
	const struct pairs *pairs = &store->file->now;
	size_t at = find_pair(pairs, key);
	if (!has_pair(pairs, at, key))
		return -ENOENT;
	buf_append_str(out, buf_str(&pairs->list[at].value));
	return 0;
}

int store_each(struct store *store, struct str prefix,
	int (*fn)(void *arg, struct str key, struct str value), void *arg)
{
	/* Inside a transaction its own changes are seen. */
	const struct pairs *pairs = store->working.list ? &store->working : &store->file->now;
	int result = 0;
	for (size_t at = find_pair(pairs, prefix); result == 0 && at < pairs->count; at++) {
		if (!str_starts_with(buf_str(&pairs->list[at].key), prefix))
			break;
		result = fn(arg, buf_str(&pairs->list[at].key), buf_str(&pairs->list[at].value));
	}
	return result;
}

void store_world_reset(void)
{
	while (store_files != NULL) {
		struct store_file *next = store_files->next;
		pairs_free(&store_files->now);
		pairs_free(&store_files->before);
		free(store_files);
		store_files = next;
	}
}

bool world_rot_store(unsigned machine, const char *path)
{
	const struct store_file *file = find_file(machine, path);
	if (file == NULL || file->now.count == 0)
		return false;
	struct buf *value = &file->now.list[world_pick(file->now.count)].value;
	if (world_pick(4) == 0) {
		struct str other = buf_str(&file->now.list[world_pick(file->now.count)].value);
		struct buf copy = { 0 };
		buf_append_str(&copy, other);
		buf_clear(value);
		buf_append_str(value, buf_str(&copy));
		buf_deinit(&copy);
	} else if (buf_length(value) > 0) {
		((char *)(uintptr_t)buf_str(value).bytes)[world_pick(buf_length(value))] ^=
			(char)(1u << world_pick(8));
	}
	return true;
}

void world_copy_store(unsigned machine, const char *from, unsigned to_machine, const char *to)
{
	const struct store_file *source = from ? find_file(machine, from) : NULL;
	struct store_file *target = make_file(to_machine, to);
	pairs_free(&target->now);
	pairs_free(&target->before);
	if (source != NULL)
		pairs_copy(&target->now, &source->now);
}
