#include "spool/log_told.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/digest.h"
#include "core/encode.h"

#include <errno.h>

static const uint32_t told_magic = 0x324c5450; /* "PTL2" */

enum { TOLD_LENGTH = 32, FLAG_FAILED = 1 };

int log_told_open(struct disk *disk, const char *directory, struct log_told_file *file_out)
{
	struct buf path = { 0 };
	uint8_t bytes[TOLD_LENGTH];
	*file_out = (struct log_told_file){ 0 };
	buf_printf(&path, "%s/told", directory);
	int result = disk_file_open(disk, buf_terminated(&path), true, &file_out->file);
	buf_deinit(&path);
	if (result < 0)
		return result;
	/* With the block by which a disk is asked (log_probe.c): a full disk must not refuse that.
	 */
	(void)!disk_file_allocate(file_out->file, TOLD_FILE_BYTES);
	result = disk_read_now(file_out->file, bytes, sizeof(bytes), 0);
	if (result == 0 && get_le32(bytes) == told_magic &&
		get_le32(bytes + 24) == crc32c(0, bytes, 24))
		file_out->told = (struct told){ get_le64(bytes + 8), get_le64(bytes + 16),
			get_le32(bytes + 4) & FLAG_FAILED };
	return result == -ENODATA ? 0 : result;
}

void log_told_close(struct log_told_file *file)
{
	disk_file_close(&file->file);
}

int log_told_write(struct log_told_file *file, const struct told *told, bool durable)
{
	uint8_t bytes[TOLD_LENGTH] = { 0 };
	put_le32(bytes, told_magic);
	put_le32(bytes + 4, told->failed ? FLAG_FAILED : 0);
	put_le64(bytes + 8, told->lsn);
	put_le64(bytes + 16, told->chain);
	put_le32(bytes + 24, crc32c(0, bytes, 24));
	file->written_us = clock_mono_us();
	int result = disk_write_now(file->file, bytes, sizeof(bytes), 0);
	if (result == 0 && durable)
		result = disk_sync_now(file->file);
	if (result == 0)
		file->told = *told;
	return result;
}
