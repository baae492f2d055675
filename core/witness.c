#include "core/witness.h"

#include "core/digest.h"
#include "core/encode.h"
#include "core/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint32_t witness_magic = 0x31545750; /* "PWT1" */

enum { SLOT_LENGTH = 64, FILE_LENGTH = 2 * SLOT_LENGTH };

struct witness_file {
	uint8_t *map;
	uint64_t boot, sequence;
};

/* The kernel's random name of this boot, shortened; 0 when there is none: then nothing that is read
 * counts. */
static uint64_t boot_of_machine(void)
{
	char text[64];
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (fd >= 0)
		close(fd);
	return length > 0 ? digest64(0, text, (size_t)length) : 0;
}

static bool slot_read(const uint8_t *slot, uint64_t *sequence_out, uint64_t *boot_out,
	struct witness *out)
{
	if (get_le32(slot) != witness_magic ||
		get_le32(slot + 4) != crc32c(0, slot + 8, SLOT_LENGTH - 8))
		return false;
	*sequence_out = get_le64(slot + 8);
	*boot_out = get_le64(slot + 16);
	*out = (struct witness){ get_le64(slot + 24), get_le64(slot + 32), get_le64(slot + 40),
		get_le64(slot + 48) };
	return true;
}

int witness_open(const char *path, struct witness_file **file_out)
{
	*file_out = NULL;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* Allocated, not only lengthened: a full folder shows here and not as a signal later. */
	int result = -posix_fallocate(fd, 0, FILE_LENGTH);
	void *map = result < 0
		? MAP_FAILED
		: mmap(NULL, FILE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (result == 0 && map == MAP_FAILED)
		result = -errno;
	close(fd);
	if (result < 0)
		return result;
	struct witness_file *file = mem_alloc(sizeof(*file));
	struct witness ignored;
	uint64_t boot;
	file->map = map;
	file->boot = boot_of_machine();
	for (size_t i = 0; i < 2; i++) {
		uint64_t sequence = 0;
		if (slot_read(file->map + i * SLOT_LENGTH, &sequence, &boot, &ignored) &&
			sequence > file->sequence)
			file->sequence = sequence;
	}
	*file_out = file;
	return 0;
}

void witness_close(struct witness_file **file)
{
	if (*file == NULL)
		return;
	munmap((*file)->map, FILE_LENGTH);
	free(*file);
	*file = NULL;
}

bool witness_read(const struct witness_file *file, struct witness *witness_out)
{
	uint64_t newest = 0, sequence, boot;
	struct witness witness;
	for (size_t i = 0; file != NULL && i < 2; i++) {
		if (!slot_read(file->map + i * SLOT_LENGTH, &sequence, &boot, &witness) ||
			boot != file->boot || boot == 0 || sequence <= newest)
			continue;
		newest = sequence;
		*witness_out = witness;
	}
	return newest > 0;
}

void witness_write(struct witness_file *file, const struct witness *witness)
{
	if (file == NULL)
		return;
	uint8_t *slot = file->map + ++file->sequence % 2 * SLOT_LENGTH;
	put_le32(slot, 0);
	put_le64(slot + 8, file->sequence);
	put_le64(slot + 16, file->boot);
	put_le64(slot + 24, witness->incarnation);
	put_le64(slot + 32, witness->end);
	put_le64(slot + 40, witness->chain);
	put_le64(slot + 48, witness->token);
	put_le64(slot + 56, 0);
	put_le32(slot + 4, crc32c(0, slot + 8, SLOT_LENGTH - 8));
	/* Whoever reads after a kill sees the stores in this order: they are of one page. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	put_le32(slot, witness_magic);
}

void witness_forget(struct witness_file *file)
{
	if (file != NULL)
		memset(file->map, 0, FILE_LENGTH);
}
