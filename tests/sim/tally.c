#include "sim/tally.h"

#include "core/check.h"
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NAMES_MAX = 96 };

struct row {
	const char *name;
	uint64_t count;
};

static struct counts {
	struct row rows[TALLY_SECTIONS][NAMES_MAX];
	struct disk_tally disk;
} * counts;

void tally_init(void)
{
	counts = mmap(
		NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(counts != MAP_FAILED);
}

void tally_add_disk(void)
{
	const struct disk_tally *run = world_disk_tally();
	struct disk_tally *all = &counts->disk;
	all->without_room += run->without_room;
	all->without_descriptor += run->without_descriptor;
	all->failed += run->failed;
	for (unsigned i = 0; i < DISK_CALLS; i++)
		for (unsigned k = 0; k < MOMENTS; k++)
			all->deaths[i][k] += run->deaths[i][k];
}

void tally_add(enum tally_section section, const char *name, uint64_t count)
{
	struct row *rows;
	unsigned i = 0;
	if (counts == NULL)
		return; /* of a test that prints none */
	rows = counts->rows[section];
	/* Called from one place it is the same pointer, millions of times. */
	while (i < NAMES_MAX && rows[i].name != NULL && rows[i].name != name)
		i++;
	if (i == NAMES_MAX || rows[i].name == NULL)
		for (i = 0;
			i < NAMES_MAX && rows[i].name != NULL && strcmp(rows[i].name, name) != 0;)
			i++;
	CHECK(i < NAMES_MAX);
	if (rows[i].name == NULL)
		rows[i].name = name;
	rows[i].count += count;
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void print_section(enum tally_section section, const char *title)
{
	struct row *rows = counts->rows[section];
	unsigned count = 0;
	while (count < NAMES_MAX && rows[count].name != NULL)
		count++;
	qsort(rows, count, sizeof(struct row), compare_rows);
	printf("%s\n", title);
	for (unsigned i = 0; i < NAMES_MAX && rows[i].name != NULL; i++)
		printf("  %12llu  %s\n", (unsigned long long)rows[i].count, rows[i].name);
}

static void print_disk(void)
{
	static const char *const names[DISK_CALLS] = { [DISK_OPEN] = "open",
		[DISK_CREATE] = "create",
		[DISK_READ] = "read",
		[DISK_SUBMIT] = "write, begun",
		[DISK_WRITE] = "write, done",
		[DISK_OVERWRITE] = "write at once, in place",
		[DISK_GROW] = "write at once, at the end",
		[DISK_SYNC] = "sync",
		[DISK_ALLOCATE] = "allocate",
		[DISK_TRUNCATE] = "truncate",
		[DISK_ZERO] = "zero",
		[DISK_MAKE_DIRECTORY] = "mkdir",
		[DISK_LIST] = "list",
		[DISK_REMOVE] = "unlink",
		[DISK_RENAME] = "rename",
		[DISK_LOCK] = "lock",
		[DISK_STORE_OPEN] = "store, open",
		[DISK_STORE_COMMIT] = "store, commit" };
	const struct disk_tally *tally = &counts->disk;
	printf("disk calls refused for want of room %llu, of a descriptor %llu; failed %llu\n",
		(unsigned long long)tally->without_room,
		(unsigned long long)tally->without_descriptor, (unsigned long long)tally->failed);
	printf("machines that died before, within, after a disk call\n");
	for (unsigned i = 0; i < DISK_CALLS; i++)
		printf("  %6llu %6llu %6llu  %s\n",
			(unsigned long long)tally->deaths[i][MOMENT_BEFORE],
			(unsigned long long)tally->deaths[i][MOMENT_WITHIN],
			(unsigned long long)tally->deaths[i][MOMENT_AFTER], names[i]);
}

void tally_print(void)
{
	print_section(TALLY_FAULT, "faults tried");
	print_disk();
	print_section(TALLY_CHECK, "checked");
}
