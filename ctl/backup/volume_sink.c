#include "ctl/backup/volume_file.h"

#include "core/buf.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct volume_sink {
	char *folder;
	uint32_t volume_id;
	struct backup_public to;
	struct seal_writer *writer; /* NULL: the next groups begin a file */
	uint64_t next, file_bytes, file_bytes_max;
	struct buf files; /* struct sink_file each; the last one is being written while `writer` */
};

struct sink_file {
	char name[BACKUP_NAME_MAX];
	struct backup_file file;
};

int volume_sink_create(const char *folder, uint32_t volume_id, uint64_t from,
	const struct backup_public *to, struct volume_sink **sink_out, struct error *error)
{
	(void)error;
	struct volume_sink *sink = mem_alloc(sizeof(*sink));
	*sink = (struct volume_sink){ .folder = str_to_heap(str_from(folder)),
		.volume_id = volume_id,
		.to = *to,
		.next = from,
		.file_bytes_max = VOLUME_FILE_BYTES_MAX };
	*sink_out = sink;
	return 0;
}

void volume_sink_set_file_bytes(struct volume_sink *sink, uint64_t bytes)
{
	sink->file_bytes_max = bytes;
}

static struct sink_file *file_at(const struct volume_sink *sink, unsigned index)
{
	return (struct sink_file *)(void *)(sink->files.memory + sink->files.start) + index;
}

static unsigned file_count(const struct volume_sink *sink)
{
	return (unsigned)(buf_length(&sink->files) / sizeof(struct sink_file));
}

static int begin_file(struct volume_sink *sink, struct error *error)
{
	struct sink_file file = { .file = { .from = sink->next } };
	struct buf path = { 0 };
	snprintf(file.name, sizeof(file.name), "volume-%lu-%04u.pbk",
		(unsigned long)sink->volume_id, file_count(sink) + 1);
	buf_printf(&path, "%s/%s", sink->folder, file.name);
	int code = seal_create(buf_terminated(&path), &sink->to, &sink->writer, error);
	buf_deinit(&path);
	if (code == 0) {
		buf_append(&sink->files, &file, sizeof(file));
		sink->file_bytes = 0;
	}
	return code;
}

static int end_file(struct volume_sink *sink, struct error *error)
{
	struct backup_file *file = &file_at(sink, file_count(sink) - 1)->file;
	file->to = sink->next;
	return seal_finish(&sink->writer, &file->sealed, error);
}

int volume_sink_write(struct volume_sink *sink, uint64_t lsn, struct str groups, uint64_t next,
	struct error *error)
{
	uint8_t head[VOLUME_FILE_HEAD_LENGTH];
	int code = 0;
	if (groups.length == 0 || groups.length > segment_length || lsn < sink->next ||
		next < lsn || next - lsn < groups.length)
		return error_set(error, -EINVAL,
			"what was to be written of volume %lu at %llu does not go on from %llu",
			(unsigned long)sink->volume_id, (unsigned long long)lsn,
			(unsigned long long)sink->next);
	if (sink->writer && sink->file_bytes >= sink->file_bytes_max)
		code = end_file(sink, error);
	if (code == 0 && !sink->writer)
		code = begin_file(sink, error);
	put_le64(head, lsn);
	put_le32(head + 8, (uint32_t)groups.length);
	if (code == 0)
		code = seal_write(sink->writer, str_of(head, sizeof(head)), error);
	if (code == 0)
		code = seal_write(sink->writer, groups, error);
	if (code == 0) {
		sink->next = next;
		sink->file_bytes += groups.length;
	}
	return code;
}

int volume_sink_finish(struct volume_sink **sink, struct pool *pool, struct backup_file **files_out,
	unsigned *count_out, struct error *error)
{
	struct volume_sink *s = *sink;
	int code = s->writer ? end_file(s, error) : 0;
	unsigned count = file_count(s);
	struct backup_file *files = pool_alloc(pool, count * sizeof(*files));
	for (unsigned i = 0; code == 0 && i < count; i++) {
		files[i] = file_at(s, i)->file;
		files[i].name = pool_copy_terminated(pool, str_from(file_at(s, i)->name));
	}
	volume_sink_abandon(sink);
	if (code == 0) {
		*files_out = files;
		*count_out = count;
	}
	return code;
}

void volume_sink_abandon(struct volume_sink **sink)
{
	if (!*sink)
		return;
	seal_abandon(&(*sink)->writer);
	buf_deinit(&(*sink)->files);
	free((*sink)->folder);
	free(*sink);
	*sink = NULL;
}
