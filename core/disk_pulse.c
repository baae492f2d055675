#include "core/disk_pulse.h"

#include "core/check.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PULSE_BYTES = 4096 };

struct disk_pulse {
	struct loop *loop;
	char *path;
	uint64_t asked_us; /* 0: nothing is under way */
	int answer, status;
	char block[PULSE_BYTES];
};

struct disk_pulse *disk_pulse_create(struct loop *loop, const char *folder, const char *program)
{
	struct disk_pulse *pulse = mem_alloc(sizeof(*pulse));
	struct buf path = { 0 };
	buf_printf(&path, "%s/.pulse-%s", folder, program);
	pulse->loop = loop;
	pulse->path = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return pulse;
}

static int write_block(const struct disk_pulse *pulse)
{
	int fd = open(pulse->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_DSYNC, 0600);
	if (fd < 0)
		return -errno;
	ssize_t written = pwrite(fd, pulse->block, sizeof(pulse->block), 0);
	int result = written < 0 ? -errno : 0;
	close(fd);
	return result;
}

static void run(void *arg)
{
	struct disk_pulse *pulse = arg;
	pulse->answer = write_block(pulse);
}

/* What a disk, or the file system on it, says that has failed; all else is of the machine or the
 * folder. */
static bool is_of_the_disk(int result)
{
	switch (-result) {
	case EIO:
	case ENXIO:
	case ENODEV:
	case EREMOTEIO:
	case EBADMSG:
	case EUCLEAN:
	case ETIMEDOUT:
	case ESTALE: return true;
	default: return false;
	}
}

static void on_answer(void *arg)
{
	struct disk_pulse *pulse = arg;
	int status = is_of_the_disk(pulse->answer) ? pulse->answer : 0;
	pulse->asked_us = 0;
	if (status < 0 && pulse->status == 0)
		log_error("disk_fails", "file=%s reason=%s hint=\"pando check\"", pulse->path,
			log_quote(str_from(strerror(-status))));
	else if (status == 0 && pulse->status < 0)
		log_info("disk_takes_writes", "file=%s", pulse->path);
	pulse->status = status;
}

void disk_pulse_ask(struct disk_pulse *pulse)
{
	if (pulse->asked_us != 0)
		return;
	pulse->asked_us = clock_mono_us();
	loop_work(pulse->loop, run, on_answer, pulse);
}

int disk_pulse_status(const struct disk_pulse *pulse)
{
	bool hangs = pulse->asked_us != 0 &&
		clock_mono_us() - pulse->asked_us > PULSE_HANGS_MS * 1000ull;
	return hangs ? -ETIMEDOUT : pulse->status;
}
