#include "core/disk.h"
#include "sim/internal.h"

#include "core/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Disks of simulated machines. A file has pages as they are now and as they would survive a power
 * cut; the difference is kept by sector (512 bytes), and a cut keeps a random part of it. A durable
 * write that is in flight when the power goes is torn the same way. A kill loses only what was on
 * its way. What else befalls a call is decided in disk_faults.c.
 */

enum { PAGE = 4096, SECTOR = 512, SECTORS = PAGE / SECTOR };

struct page {
	char now[PAGE], durable[PAGE];
	uint8_t dirty; /* a bit per sector */
};

struct inode {
	struct list link;
	unsigned machine;
	uint64_t number;
	char path[WORLD_PATH_MAX];
	uint64_t size, durable_size;
	struct page **pages;
	size_t page_count;
	struct disk_lock *lock_holder;
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
	unsigned process;
};

static struct list inodes, writes;
static bool fails_next[MACHINES_MAX];
static uint64_t lies_us[MACHINES_MAX]; /* how late what was synced is on the disk */
static uint64_t next_inode_number;
static uint64_t slow_us[MACHINES_MAX];

void world_fail_next_write(unsigned machine, bool fails)
{
	fails_next[machine] = fails;
}

void world_slow_disk(unsigned machine, uint64_t maximum_us)
{
	slow_us[machine] = maximum_us;
}

void world_let_disk_lie(unsigned machine, uint64_t delay_us)
{
	lies_us[machine] = delay_us;
}

/* A write on its way to the disk. */
struct write {
	struct list link;
	struct disk_op *op;
	struct inode *inode;
	unsigned machine, process;
	uint64_t offset;
	struct buf bytes;
};

static void free_inode(struct inode *inode)
{
	list_remove(&inode->link);
	for (size_t i = 0; i < inode->page_count; i++)
		free(inode->pages[i]);
	free(inode->pages);
	free(inode);
}

void disk_world_reset(void)
{
	if (inodes.next != NULL) {
		list_for_each_safe (entry, following, &inodes)
			free_inode(list_entry(entry, struct inode, link));
	}
	list_init(&inodes);
	list_init(&writes);
	memset(fails_next, 0, sizeof(fails_next));
	memset(lies_us, 0, sizeof(lies_us));
	memset(slow_us, 0, sizeof(slow_us));
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

static struct inode *make_inode(unsigned machine, const char *path)
{
	struct inode *inode = mem_alloc(sizeof(*inode));
	inode->machine = machine;
	inode->number = ++next_inode_number;
	snprintf(inode->path, sizeof(inode->path), "%s", path);
	list_append(&inodes, &inode->link);
	return inode;
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
	if (length > 0 && inode->size < offset + length)
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

static void put_on_disk(struct inode *inode, uint64_t offset, uint64_t length)
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

/* A disk that lies has it in its cache for a while. */
static void on_cache_written(void *arg)
{
	uint64_t number = *(uint64_t *)arg;
	free(arg);
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->number == number)
			put_on_disk(inode, 0, inode->size);
	}
}

static void sync_range(struct inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t lie_us = inode->machine < MACHINES_MAX ? lies_us[inode->machine] : 0;
	if (lie_us == 0)
		put_on_disk(inode, offset, length);
	else
		world_call_after_us(world_pick(lie_us), on_cache_written,
			mem_copy(&inode->number, sizeof(inode->number)));
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

static void write_free(struct write *write)
{
	list_remove(&write->link);
	buf_deinit(&write->bytes);
	free(write);
}

static void locks_released(unsigned machine, unsigned process)
{
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == machine && inode->lock_holder != NULL &&
			inode->lock_holder->process == process)
			inode->lock_holder = NULL;
	}
}

void disk_process_killed(unsigned machine, unsigned process)
{
	list_for_each_safe (entry, following, &writes) {
		struct write *write = list_entry(entry, struct write, link);
		size_t length = buf_length(&write->bytes);
		if (write->machine != machine || write->process != process)
			continue;
		if (world_pick(2) == 0)
			length = world_pick(length + 1) / SECTOR * SECTOR;
		write_bytes(write->inode, buf_str(&write->bytes).bytes, length, write->offset);
		write_free(write);
	}
	locks_released(machine, process);
}

void disk_machine_crashed(unsigned machine)
{
	list_for_each_safe (entry, following, &writes) {
		struct write *write = list_entry(entry, struct write, link);
		if (write->machine != machine)
			continue;
		write_bytes(write->inode, buf_str(&write->bytes).bytes, buf_length(&write->bytes),
			write->offset);
		write_free(write);
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
	}
	for (unsigned p = 0; p < PROCESSES_MAX; p++)
		locks_released(machine, p);
	stores_machine_crashed(machine);
}

/* ---- other disks ---- */

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
		copy->number = ++next_inode_number;
		copy->lock_holder = NULL;
		copy->pages = mem_alloc((inode->page_count + 1) * sizeof(*copy->pages));
		for (size_t i = 0; i < inode->page_count; i++)
			copy->pages[i] = inode->pages[i]
				? mem_copy(inode->pages[i], sizeof(struct page))
				: NULL;
		list_append(&inodes, &copy->link);
	}
}

void world_empty_files(unsigned machine)
{
	CHECK(!world_is_on(machine));
	free_inodes_of(machine);
}

void world_empty_disk(unsigned machine)
{
	world_empty_files(machine);
	stores_empty(machine);
}

void world_keep_disk(unsigned machine)
{
	free_inodes_of(KEPT + machine);
	copy_inodes(machine, KEPT + machine);
}

uint8_t world_rot(unsigned machine, const char *path, uint64_t offset)
{
	struct inode *inode = find_inode(machine, path);
	CHECK(inode != NULL && offset < inode->size);
	struct page *page = page_of(inode, offset, true);
	page->now[offset % PAGE] ^= 1;
	page->durable[offset % PAGE] ^= 1;
	return (uint8_t)page->now[offset % PAGE];
}

void world_forge(unsigned machine, const char *path, uint64_t offset,
	void (*change)(void *arg, uint8_t *bytes), void *arg)
{
	struct inode *inode = find_inode(machine, path);
	CHECK(inode != NULL && offset < inode->size);
	struct page *page = page_of(inode, offset, true);
	change(arg, (uint8_t *)page->now + offset % PAGE);
	memcpy(page->durable, page->now, PAGE);
}

bool world_pick_file(
	unsigned machine, const char *prefix, char path_out[WORLD_PATH_MAX], uint64_t *size_out)
{
	uint64_t seen = 0;
	list_for_each (entry, &inodes)
	{
		const struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine != machine || inode->size == 0 ||
			strncmp(inode->path, prefix, strlen(prefix)) != 0 ||
			world_pick(++seen) != 0)
			continue;
		snprintf(path_out, WORLD_PATH_MAX, "%s", inode->path);
		*size_out = inode->size;
	}
	return seen > 0;
}

/* Its indexes are gone: they are made again from what the logs have. */
void world_put_back_disk(unsigned machine)
{
	world_empty_disk(machine);
	copy_inodes(KEPT + machine, machine);
}

void world_put_back_files(unsigned machine)
{
	world_empty_files(machine);
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
	struct fate fate = disk_begin(machine, inode ? DISK_OPEN : DISK_CREATE);
	if (inode == NULL && fate_is_done(&fate))
		inode = make_inode(machine, path);
	int result = disk_end(&fate, 0);
	if (result < 0)
		return result;
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
	struct fate fate = disk_begin(write->machine, DISK_WRITE);
	size_t length = buf_length(&write->bytes);
	op->result = (int64_t)length;
	if (fails_next[write->machine]) {
		fails_next[write->machine] = false;
		op->result = -EIO;
		length = world_pick(length);
	} else if (fate.result < 0 || fate.dies) {
		op->result = fate.result;
		length = fate_part(&fate, length);
	}
	write_bytes(write->inode, buf_str(&write->bytes).bytes, length, write->offset);
	sync_range(write->inode, write->offset, length);
	write_free(write);
	/* The result is in the operation. */
	(void)!disk_end(&fate, 0);
	op->done(op);
}

void disk_write(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_SUBMIT);
	struct write *write = mem_alloc(sizeof(*write));
	write->op = op;
	write->inode = file->inode;
	write->machine = file->inode->machine;
	write->process = file->disk->loop->process;
	write->offset = offset;
	for (unsigned i = 0; i < vector_count; i++)
		buf_append(&write->bytes, vectors[i].iov_base, vectors[i].iov_len);
	list_append(&writes, &write->link);
	uint64_t delay_us = 50 + world_pick(world_pick(20) == 0 ? 50000 : 1000);
	if (slow_us[write->machine] > 0)
		delay_us += world_pick(slow_us[write->machine]);
	event_add(file->disk->loop, delay_us, on_write_done, write);
	(void)!disk_end(&fate, 0);
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
	struct fate fate = disk_begin(file->inode->machine, DISK_READ);
	bool is_there = offset + length <= file->inode->size;
	if (is_there)
		read_bytes(file->inode, bytes, length, offset);
	return disk_end(&fate, is_there ? 0 : -ENODATA);
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
	bool grows = offset + length > file->inode->size;
	struct fate fate = disk_begin(file->inode->machine, grows ? DISK_GROW : DISK_OVERWRITE);
	write_bytes(file->inode, bytes, fate_part(&fate, length), offset);
	return disk_end(&fate, 0);
}

int disk_sync_now(struct disk_file *file)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_SYNC);
	sync_range(file->inode, 0, fate_part(&fate, file->inode->size));
	return disk_end(&fate, 0);
}

int64_t disk_file_size(struct disk_file *file)
{
	return (int64_t)file->inode->size;
}

int disk_file_allocate(struct disk_file *file, uint64_t length)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_ALLOCATE);
	uint64_t size = file->inode->size;
	/* Pages that were never written are zeroes. */
	if (size < length)
		file->inode->size = file->inode->durable_size =
			size + fate_part(&fate, length - size);
	return disk_end(&fate, 0);
}

static void truncate(struct inode *inode, uint64_t length)
{
	uint64_t size = inode->size;
	inode->size = inode->durable_size = length;
	for (size_t i = length / PAGE; length < size && i < inode->page_count; i++) {
		struct page *page = inode->pages[i];
		size_t keep = i == length / PAGE ? length % PAGE : 0;
		if (page == NULL)
			continue;
		memset(page->now + keep, 0, PAGE - keep);
		memset(page->durable + keep, 0, PAGE - keep);
		if (keep == 0)
			page->dirty = 0;
	}
}

int disk_file_truncate(struct disk_file *file, uint64_t length)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_TRUNCATE);
	/* File systems keep the order of such changes: it has happened or it has not. */
	if (fate_is_done(&fate))
		truncate(file->inode, length);
	return disk_end(&fate, 0);
}

int disk_file_drop_cache(struct disk_file *file)
{
	return disk_sync_now(file);
}

int disk_read_stored(struct disk_file *file, void *bytes, size_t length, uint64_t offset)
{
	return disk_read_now(file, bytes, length, offset);
}

/* What no page is written for is zero already. */
static void zero_range(struct inode *inode, uint64_t offset, uint64_t length)
{
	static const char zeroes[PAGE];
	for (uint64_t at = offset; at < offset + length; at += PAGE - at % PAGE) {
		uint64_t part = PAGE - at % PAGE;
		if (part > offset + length - at)
			part = offset + length - at;
		if (page_of(inode, at, false) != NULL)
			write_bytes(inode, zeroes, part, at);
	}
}

int disk_file_zero(struct disk_file *file, uint64_t offset, uint64_t length)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_ZERO);
	length = fate_part(&fate, length);
	zero_range(file->inode, offset, length);
	if (fate.effect == EFFECT_WHOLE)
		sync_range(file->inode, offset, length);
	return disk_end(&fate, 0);
}

int disk_file_punch(struct disk_file *file, uint64_t offset, uint64_t length)
{
	struct fate fate = disk_begin(file->inode->machine, DISK_ZERO);
	length = fate_part(&fate, length);
	zero_range(file->inode, offset, length);
	return disk_end(&fate, 0);
}

/* The names of files hold their directories: one that is empty is not seen. */
static bool directory_exists(const char *path)
{
	size_t length = strlen(path);
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == current_machine() &&
			strncmp(inode->path, path, length) == 0 && inode->path[length] == '/')
			return true;
	}
	return false;
}

int disk_make_directory(const char *path)
{
	if (directory_exists(path))
		return 0;
	struct fate fate = disk_begin(current_machine(), DISK_MAKE_DIRECTORY);
	return disk_end(&fate, 0);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of the names of files, in order: a directory in it is told once. */
static void tell_entries(
	const char *const *names, size_t count, void (*fn)(void *arg, const char *name), void *arg)
{
	char told[WORLD_PATH_MAX] = "", name[WORLD_PATH_MAX];
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(names[i], "/"), names[i]);
		if (strcmp(name, told) == 0)
			continue;
		memcpy(told, name, sizeof(told));
		fn(arg, name);
	}
}

int disk_list_directory(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
	const char *names[256];
	size_t count = 0, length = strlen(path);
	struct fate fate = disk_begin(current_machine(), DISK_LIST);
	int result = disk_end(&fate, 0);
	if (result < 0)
		return result;
	list_for_each (entry, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == current_machine() &&
			strncmp(inode->path, path, length) == 0 && inode->path[length] == '/') {
			CHECK(count < array_length(names));
			names[count++] = inode->path + length + 1;
		}
	}
	qsort(names, count, sizeof(*names), compare_names);
	tell_entries(names, count, fn, arg);
	return 0;
}

static void remove_inode(struct inode *inode)
{
	/* Kept in memory: a write on its way may still name it. */
	list_remove(&inode->link);
	inode->path[0] = '\0';
}

void world_remove_files(unsigned machine, const char *prefix)
{
	list_for_each_safe (entry, following, &inodes) {
		struct inode *inode = list_entry(entry, struct inode, link);
		if (inode->machine == machine && strncmp(inode->path, prefix, strlen(prefix)) == 0)
			remove_inode(inode);
	}
}

/* A directory is there as long as a file in it is. */
int disk_remove_directory(const char *path)
{
	struct fate fate = disk_begin(current_machine(), DISK_REMOVE);
	return disk_end(&fate, directory_exists(path) ? -ENOTEMPTY : 0);
}

int disk_remove_file(const char *path)
{
	struct inode *inode = find_inode(current_machine(), path);
	if (inode == NULL)
		return -ENOENT;
	struct fate fate = disk_begin(current_machine(), DISK_REMOVE);
	if (fate_is_done(&fate))
		remove_inode(inode);
	return disk_end(&fate, 0);
}

static void rename_directory(const char *from, const char *to)
{
	size_t length = strlen(from);
	list_for_each (entry, &inodes)
	{
		struct inode *inode = list_entry(entry, struct inode, link);
		char rest[WORLD_PATH_MAX];
		if (inode->machine != current_machine() ||
			strncmp(inode->path, from, length) != 0 || inode->path[length] != '/')
			continue;
		snprintf(rest, sizeof(rest), "%s", inode->path + length);
		int written = snprintf(inode->path, sizeof(inode->path), "%s%s", to, rest);
		CHECK(written > 0 && (size_t)written < sizeof(inode->path));
	}
}

int64_t disk_space_free(const char *path)
{
	(void)path;
	return machine_has_room(current_machine()) ? 1ll << 40 : 0;
}

int disk_rename(const char *from, const char *to)
{
	struct inode *inode = find_inode(current_machine(), from);
	struct inode *target = find_inode(current_machine(), to);
	if (inode == NULL && !directory_exists(from))
		return -ENOENT;
	if (inode == NULL && directory_exists(to))
		return -ENOTEMPTY; /* there is none that is empty */
	struct fate fate = disk_begin(current_machine(), DISK_RENAME);
	if (inode == NULL) {
		if (fate_is_done(&fate))
			rename_directory(from, to);
		return disk_end(&fate, 0);
	}
	if (fate_is_done(&fate)) {
		if (target != NULL)
			remove_inode(target);
		snprintf(inode->path, sizeof(inode->path), "%s", to);
	}
	return disk_end(&fate, 0);
}

int disk_lock_take(const char *path, struct disk_lock **lock_out)
{
	struct fate fate = disk_begin(current_machine(), DISK_LOCK);
	int result = disk_end(&fate, 0);
	struct inode *inode = find_inode(current_machine(), path);
	if (result < 0)
		return result;
	if (inode == NULL)
		inode = make_inode(current_machine(), path);
	if (inode->lock_holder != NULL)
		return -EAGAIN;
	*lock_out = mem_alloc(sizeof(**lock_out));
	(*lock_out)->inode = inode;
	(*lock_out)->process = current_process();
	inode->lock_holder = *lock_out;
	return 0;
}

bool disk_lock_is_at(const struct disk_lock *lock, const char *path)
{
	return find_inode(current_machine(), path) == lock->inode;
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
