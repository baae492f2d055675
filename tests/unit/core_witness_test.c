#include "core/witness.h"

#include "unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static struct witness_file *reopen(struct witness_file **file)
{
	witness_close(file);
	EXPECT_INT(0, witness_open(path, file));
	return *file;
}

static void setup(struct witness_file **file_out)
{
	snprintf(path, sizeof(path), "/tmp/pando-witness-%d", (int)getpid());
	unlink(path);
	*file_out = NULL;
	reopen(file_out);
}

static void change_byte(long offset)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;
	EXPECT(pread(fd, &byte, 1, offset) == 1);
	byte ^= 1;
	EXPECT(pwrite(fd, &byte, 1, offset) == 1);
	close(fd);
}

TEST(what_was_written_last_is_read_by_the_next_process)
{
	struct witness_file *file;
	struct witness read;
	setup(&file);
	EXPECT(!witness_read(file, &read));
	for (uint64_t i = 1; i <= 5; i++)
		witness_write(file, &(struct witness){ i, i * 4096, i * 7, i * 9 });
	EXPECT(witness_read(reopen(&file), &read));
	EXPECT(read.incarnation == 5 && read.end == 5 * 4096 && read.chain == 35 &&
		read.token == 45);
	/* It goes on from there. */
	witness_write(file, &(struct witness){ 6, 1, 2, 3 });
	EXPECT(witness_read(reopen(&file), &read) && read.incarnation == 6);
	witness_close(&file);
	unlink(path);
}

TEST(a_slot_that_is_half_written_leaves_the_one_before)
{
	struct witness_file *file;
	struct witness read;
	setup(&file);
	witness_write(file, &(struct witness){ 1, 4096, 0, 0 });
	witness_write(file, &(struct witness){ 2, 8192, 0, 0 });
	witness_close(&file);
	change_byte(24); /* of the second's slot, which is the first in the file */
	EXPECT(witness_read(reopen(&file), &read) && read.incarnation == 1);
	witness_close(&file);
	unlink(path);
}

TEST(what_another_boot_wrote_or_was_forgotten_says_nothing)
{
	struct witness_file *file;
	struct witness read;
	setup(&file);
	witness_write(file, &(struct witness){ 1, 4096, 0, 0 });
	witness_forget(file);
	EXPECT(!witness_read(reopen(&file), &read));
	witness_write(file, &(struct witness){ 2, 4096, 0, 0 });
	EXPECT(witness_read(file, &read));
	witness_close(&file);
	/* The name of the boot, in the one slot that is written: its sum is wrong then too. */
	change_byte(64 + 16);
	EXPECT(!witness_read(reopen(&file), &read));
	witness_close(&file);
	unlink(path);
	EXPECT(!witness_read(NULL, &read));
	witness_write(NULL, &read);
	EXPECT(witness_open("/nonexistent/witness", &file) < 0 && file == NULL);
}
