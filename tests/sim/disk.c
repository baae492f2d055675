#include "core/disk.h"
#include "core/store.h"
#include "sim/internal.h"

#include "core/list.h"
#include "core/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Disks of simulated machines. A file has pages as they are now and as they would survive a power
 * cut; the difference is kept by sector (512 bytes), and a cut keeps a random part of it. A durable
 * write that is in flight when the power goes is torn the same way.
 */

enum { PAGE = 4096, SECTOR = 512, SECTORS = PAGE / SECTOR };

struct page {
	char now[PAGE], durable[PAGE];
	uint8_t dirty; /* a bit per sector */
};

struct inode {
	struct list link;
	unsigned machine;
	char path[256];
	uint64_t size, durable_size;
	struct page **pages;
	size_t page_count;
	void *lock_holder;
};

struct disk {
	struct loop *loop;
};

struct disk_file {
	struct disk *disk;
	struct inode *inode;
};

struct disk_lock {
	struct inode *inode;
};

static struct list inodes, writes;
static bool fails_next[MACHINES_MAX];

void world_fail_next_write(unsigned machine, bool fails)
{
	fails_next[machine] = fails;
}

/* A write on its way to the disk. */
struct write {
	struct list link;
	struct disk_op *op;
	struct inode *inode;
	unsigned machine;
	uint64_t offset;
	struct buf bytes;
};

void disk_world_reset(void)
{
	if (inodes.next != NULL) {
		list_for_each_safe (entry, following, &inodes) {
			struct inode *inode = list_entry(entry, struct inode, link);
			for (size_t i = 0; i < inode->page_count; i++)
				free(inode->pages[i]);
			free(inode->pages);
			free(inode);
		}
	}
	list_init(&inodes);
	list_init(&writes);
	memset(fails_next, 0, sizeof(fails_next));
}

static struct inode *find_inode(unsigned machine, const char *path)
{
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == machine && strcmp(inode->path, path) == 0)
			return inode;
	}
	return NULL;
}

static struct page *page_of(struct inode *inode, uint64_t offset, bool make)
{
	size_t index = offset / PAGE;
	if (index >= inode->page_count) {
		if (!make)
			return NULL;
		inode->pages = mem_resize(inode->pages, (index + 1) * sizeof(*inode->pages));
		while (inode->page_count <= index)
			inode->pages[inode->page_count++] = NULL;
	}
	if (inode->pages[index] == NULL && make)
		inode->pages[index] = mem_alloc(sizeof(struct page));
	return inode->pages[index];
}

static void read_bytes(struct inode *inode, char *to, size_t length, uint64_t offset)
{
	while (length > 0) {
		size_t at = offset % PAGE, part = PAGE - at < length ? PAGE - at : length;
		struct page *page = page_of(inode, offset, false);
		if (page != NULL)
			memcpy(to, page->now + at, part);
		else
			memset(to, 0, part);
		to += part;
		offset += part;
		length -= part;
	}
}

static void write_bytes(struct inode *inode, const char *from, size_t length, uint64_t offset)
{
	if (inode->size < offset + length)
		inode->size = offset + length;
	while (length > 0) {
		size_t at = offset % PAGE, part = PAGE - at < length ? PAGE - at : length;
		struct page *page = page_of(inode, offset, true);
		memcpy(page->now + at, from, part);
		for (size_t sector = at / SECTOR; sector <= (at + part - 1) / SECTOR; sector++)
			page->dirty |= (uint8_t)(1u << sector);
		from += part;
		offset += part;
		length -= part;
	}
}

static void sync_range(struct inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	if (inode->durable_size < inode->size)
		inode->durable_size = inode->size;
	for (uint64_t at = offset / PAGE * PAGE; at < end && at / PAGE < inode->page_count;
		at += PAGE) {
		struct page *page = page_of(inode, at, false);
		if (page == NULL || page->dirty == 0)
			continue;
		memcpy(page->durable, page->now, PAGE);
		page->dirty = 0;
	}
}

/* ---- power cut ---- */

static void tear_page(struct page *page)
{
	for (unsigned sector = 0; sector < SECTORS; sector++)
		if ((page->dirty >> sector & 1) && world_pick(2) == 0)
			memcpy(page->durable + sector * SECTOR, page->now + sector * SECTOR,
				SECTOR);
	memcpy(page->now, page->durable, PAGE);
	page->dirty = 0;
}

static void stores_crashed(unsigned machine);
static void stores_emptied(unsigned machine);

void disk_machine_crashed(unsigned machine)
{
	list_for_each_safe (entry, following, &writes) {
		struct write *write = list_entry(entry, struct write, link);
		if (write->machine != machine)
			continue;
		write_bytes(write->inode, buf_str(&write->bytes).bytes, buf_length(&write->bytes),
			write->offset);
		list_remove(&write->link);
		buf_deinit(&write->bytes);
		free(write);
	}
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine != machine)
			continue;
		for (size_t i = 0; i < inode->page_count; i++)
			if (inode->pages[i] != NULL && inode->pages[i]->dirty)
				tear_page(inode->pages[i]);
		/* A torn write may or may not have lengthened the file. */
		if (inode->size > inode->durable_size && world_pick(2) == 0)
			inode->size = inode->durable_size;
		inode->durable_size = inode->size;
		inode->lock_holder = NULL;
	}
	stores_crashed(machine);
}

/* ---- other disks ---- */

static void free_inode(struct inode *inode)
{
	list_remove(&inode->link);
	for (size_t i = 0; i < inode->page_count; i++)
		free(inode->pages[i]);
	free(inode->pages);
	free(inode);
}

static void free_inodes_of(unsigned machine)
{
	list_for_each_safe (entry, following, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == machine)
			free_inode(inode);
	}
}

/* A kept disk is the files of a machine that never runs. */
enum { KEPT = 1000 };

static void copy_inodes(unsigned from, unsigned to)
{
	list_for_each_safe (entry, following, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine != from)
			continue;
		struct inode *copy = mem_alloc(sizeof(*copy));
		*copy = *inode;
		copy->machine = to;
		copy->lock_holder = NULL;
		copy->pages = mem_alloc((inode->page_count + 1) * sizeof(*copy->pages));
		for (size_t i = 0; i < inode->page_count; i++)
			copy->pages[i] = inode->pages[i]
				? mem_copy(inode->pages[i], sizeof(struct page))
				: NULL;
		list_append(&inodes, &copy->link);
	}
}

void world_empty_disk(unsigned machine)
{
	CHECK(!world_is_running(machine));
	free_inodes_of(machine);
	stores_emptied(machine);
}

void world_keep_disk(unsigned machine)
{
	free_inodes_of(KEPT + machine);
	copy_inodes(machine, KEPT + machine);
}

void world_rot(unsigned machine, const char *path, uint64_t offset)
{
	struct inode *inode = find_inode(machine, path);
	CHECK(inode != NULL && offset < inode->size);
	struct page *page = page_of(inode, offset, true);
	page->now[offset % PAGE] ^= 1;
	page->durable[offset % PAGE] ^= 1;
}

/* Its indexes are gone: they are made again from what the logs have. */
void world_put_back_disk(unsigned machine)
{
	world_empty_disk(machine);
	copy_inodes(KEPT + machine, machine);
}

/* ---- core/disk.h ---- */

int disk_create(
	struct loop *loop, enum io_backend backend, struct disk **disk_out, struct error *error)
{
	(void)backend;
	(void)error;
	*disk_out = mem_alloc(sizeof(**disk_out));
	(*disk_out)->loop = loop;
	return 0;
}

void disk_destroy(struct disk **disk)
{
	free(*disk);
	*disk = NULL;
}

const char *disk_backend_name(const struct disk *disk)
{
	(void)disk;
	return "simulated";
}

int disk_file_open(struct disk *disk, const char *path, bool create, struct disk_file **file_out)
{
	unsigned machine = disk->loop->machine;
	struct inode *inode = find_inode(machine, path);
	if (inode == NULL && !create)
		return -ENOENT;
	if (inode == NULL) {
		inode = mem_alloc(sizeof(*inode));
		inode->machine = machine;
		snprintf(inode->path, sizeof(inode->path), "%s", path);
		list_append(&inodes, &inode->link);
	}
	*file_out = mem_alloc(sizeof(**file_out));
	(*file_out)->disk = disk;
	(*file_out)->inode = inode;
	return 0;
}

void disk_file_close(struct disk_file **file)
{
	free(*file);
	*file = NULL;
}

static void on_write_done(void *arg)
{
	struct write *write = arg;
	struct disk_op *op = write->op;
	size_t length = buf_length(&write->bytes);
	op->result = (int64_t)length;
	if (fails_next[write->machine]) {
		fails_next[write->machine] = false;
		op->result = -EIO;
		length = world_pick(length);
	}
	write_bytes(write->inode, buf_str(&write->bytes).bytes, length, write->offset);
	sync_range(write->inode, write->offset, length);
	list_remove(&write->link);
	buf_deinit(&write->bytes);
	free(write);
	op->done(op);
}

void disk_write(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset)
{
	struct write *write = mem_alloc(sizeof(*write));
	write->op = op;
	write->inode = file->inode;
	write->machine = file->inode->machine;
	write->offset = offset;
	for (unsigned i = 0; i < vector_count; i++)
		buf_append(&write->bytes, vectors[i].iov_base, vectors[i].iov_len);
	list_append(&writes, &write->link);
	event_add(file->disk->loop, 50 + world_pick(world_pick(20) == 0 ? 50000 : 1000),
		on_write_done, write);
}

static void on_read_done(void *arg)
{
	struct disk_op *op = arg;
	op->done(op);
}

void disk_read_vectors(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset)
{
	op->result = 0;
	for (unsigned i = 0; i < vector_count; i++) {
		int result = disk_read_now(file, vectors[i].iov_base, vectors[i].iov_len,
			offset + (uint64_t)op->result);
		op->result = result < 0 ? result : op->result + (int64_t)vectors[i].iov_len;
		if (result < 0)
			break;
	}
	event_add(file->disk->loop, 50 + world_pick(2000), on_read_done, op);
}

void disk_read(
	struct disk_file *file, struct disk_op *op, void *bytes, size_t length, uint64_t offset)
{
	op->vector = (struct iovec){ bytes, length };
	disk_read_vectors(file, op, &op->vector, 1, offset);
}

int disk_read_now(struct disk_file *file, void *bytes, size_t length, uint64_t offset)
{
	if (offset + length > file->inode->size)
		return -ENODATA;
	read_bytes(file->inode, bytes, length, offset);
	return 0;
}

int disk_read_cached(
	struct disk_file *file, const struct iovec *vectors, unsigned vector_count, uint64_t offset)
{
	if (world_pick(4) == 0)
		return -EAGAIN;
	for (unsigned i = 0; i < vector_count; i++) {
		if (disk_read_now(file, vectors[i].iov_base, vectors[i].iov_len, offset) < 0)
			return -EAGAIN;
		offset += vectors[i].iov_len;
	}
	return 0;
}

int disk_write_now(struct disk_file *file, const void *bytes, size_t length, uint64_t offset)
{
	write_bytes(file->inode, bytes, length, offset);
	return 0;
}

int disk_sync_now(struct disk_file *file)
{
	sync_range(file->inode, 0, file->inode->size);
	return 0;
}

int64_t disk_file_size(struct disk_file *file)
{
	return (int64_t)file->inode->size;
}

int disk_file_allocate(struct disk_file *file, uint64_t length)
{
	/* Pages that were never written are zeroes. */
	if (file->inode->size < length)
		file->inode->size = file->inode->durable_size = length;
	return 0;
}

int disk_file_truncate(struct disk_file *file, uint64_t length)
{
	struct inode *inode = file->inode;
	uint64_t size = inode->size;
	inode->size = inode->durable_size = length;
	if (length >= size)
		return 0;
	for (size_t i = length / PAGE; i < inode->page_count; i++) {
		struct page *page = inode->pages[i];
		size_t keep = i == length / PAGE ? length % PAGE : 0;
		if (page == NULL)
			continue;
		memset(page->now + keep, 0, PAGE - keep);
		memset(page->durable + keep, 0, PAGE - keep);
		if (keep == 0)
			page->dirty = 0;
	}
	return 0;
}

int disk_file_drop_cache(struct disk_file *file)
{
	(void)file;
	return 0;
}

int disk_file_zero(struct disk_file *file, uint64_t offset, uint64_t length)
{
	static const char zeroes[PAGE];
	for (uint64_t at = offset; at < offset + length; at += PAGE - at % PAGE) {
		uint64_t part = PAGE - at % PAGE;
		if (part > offset + length - at)
			part = offset + length - at;
		if (page_of(file->inode, at, false) != NULL)
			write_bytes(file->inode, zeroes, part, at);
	}
	sync_range(file->inode, offset, length);
	return 0;
}

int disk_make_directory(const char *path)
{
	(void)path;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int disk_list_directory(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
	const char *names[256];
	size_t count = 0, length = strlen(path);
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == current_machine() &&
			strncmp(inode->path, path, length) == 0 && inode->path[length] == '/' &&
			count < array_length(names))
			names[count++] = inode->path + length + 1;
	}
	qsort(names, count, sizeof(*names), compare_names);
	for (size_t i = 0; i < count; i++)
		fn(arg, names[i]);
	return 0;
}

static void remove_inode(struct inode *inode)
{
	/* Kept in memory: a write on its way may still name it. */
	list_remove(&inode->link);
	inode->path[0] = '\0';
}

int disk_remove_file(const char *path)
{
	struct inode *inode = find_inode(current_machine(), path);
	if (inode == NULL)
		return -ENOENT;
	remove_inode(inode);
	return 0;
}

int disk_rename(const char *from, const char *to)
{
	struct inode *inode = find_inode(current_machine(), from);
	struct inode *target = find_inode(current_machine(), to);
	if (inode == NULL)
		return -ENOENT;
	if (target != NULL)
		remove_inode(target);
	snprintf(inode->path, sizeof(inode->path), "%s", to);
	return 0;
}

int disk_lock_take(const char *path, struct disk_lock **lock_out)
{
	struct inode *inode = find_inode(current_machine(), path);
	if (inode == NULL) {
		inode = mem_alloc(sizeof(*inode));
		inode->machine = current_machine();
		snprintf(inode->path, sizeof(inode->path), "%s", path);
		list_append(&inodes, &inode->link);
	}
	if (inode->lock_holder != NULL)
		return -EAGAIN;
	*lock_out = mem_alloc(sizeof(**lock_out));
	(*lock_out)->inode = inode;
	inode->lock_holder = *lock_out;
	return 0;
}

void disk_lock_release(struct disk_lock **lock)
{
	if (*lock == NULL)
		return;
	if ((*lock)->inode->lock_holder == *lock)
		(*lock)->inode->lock_holder = NULL;
	free(*lock);
	*lock = NULL;
}

size_t world_read_file(
	unsigned machine, const char *path, uint64_t offset, void *out, size_t length)
{
	struct inode *inode = find_inode(machine, path);
	if (inode == NULL || offset >= inode->size)
		return 0;
	if (length > inode->size - offset)
		length = (size_t)(inode->size - offset);
	read_bytes(inode, out, length, offset);
	return length;
}

/* ---- core/store.h: one sorted list of pairs; a cut may undo the newest commit ---- */

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

static void stores_crashed(unsigned machine)
{
	for (struct store_file *file = store_files; file != NULL; file = file->next)
		if (file->machine == machine && world_pick(2) == 0)
			pairs_copy(&file->now, &file->before);
}

static void stores_emptied(unsigned machine)
{
	for (struct store_file *file = store_files; file != NULL; file = file->next)
		if (file->machine == machine) {
			pairs_free(&file->now);
			pairs_free(&file->before);
		}
}

int store_open(const char *path, struct store **store_out, struct error *error)
{
	struct store_file *file = store_files;
	(void)error;
	while (file != NULL &&
		(file->machine != current_machine() || strcmp(file->path, path) != 0))
		file = file->next;
	if (file == NULL) {
		file = mem_alloc(sizeof(*file));
		file->machine = current_machine();
		snprintf(file->path, sizeof(file->path), "%s", path);
		file->next = store_files;
		store_files = file;
	}
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
	pairs_free(&store->file->before);
	store->file->before = store->file->now;
	store->file->now = store->working;
	store->working = (struct pairs){ 0 };
	return 0;
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
