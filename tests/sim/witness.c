#include "core/witness.h"

#include "sim/internal.h"

#include <stdio.h>
#include <string.h>

/* The memory of a machine beside its disk: it outlives a process, and is gone with the power. */

enum { FILES_MAX = 64 };

struct witness_file {
	unsigned machine;
	char path[64];
	struct witness witness, kept;
	bool written, was_written;
};

static struct witness_file files[FILES_MAX];
static unsigned file_count;

void witness_world_reset(void)
{
	file_count = 0;
}

void witness_power_cut(unsigned machine)
{
	for (unsigned i = 0; i < file_count; i++)
		if (files[i].machine == machine)
			files[i].written = false;
}

void world_keep_memory(unsigned machine)
{
	for (unsigned i = 0; i < file_count; i++)
		if (files[i].machine == machine) {
			files[i].kept = files[i].witness;
			files[i].was_written = files[i].written;
		}
}

void world_put_back_memory(unsigned machine)
{
	for (unsigned i = 0; i < file_count; i++)
		if (files[i].machine == machine) {
			files[i].witness = files[i].kept;
			files[i].written = files[i].was_written;
		}
}

int witness_open(const char *path, struct witness_file **file_out)
{
	unsigned machine = current_machine(), i = 0;
	while (i < file_count &&
		(files[i].machine != machine || strcmp(files[i].path, path) != 0))
		i++;
	if (i == file_count) {
		CHECK(file_count < FILES_MAX && strlen(path) < sizeof(files[i].path));
		files[file_count++] = (struct witness_file){ .machine = machine };
		snprintf(files[i].path, sizeof(files[i].path), "%s", path);
	}
	*file_out = &files[i];
	return 0;
}

void witness_close(struct witness_file **file)
{
	*file = NULL;
}

bool witness_read(const struct witness_file *file, struct witness *witness_out)
{
	if (file == NULL || !file->written)
		return false;
	*witness_out = file->witness;
	return true;
}

void witness_write(struct witness_file *file, const struct witness *witness)
{
	if (file == NULL)
		return;
	file->witness = *witness;
	file->written = true;
}

void witness_forget(struct witness_file *file)
{
	if (file != NULL)
		file->written = false;
}
