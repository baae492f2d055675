#include "unit/backup_fixture.h"

#include "core/cipher.h"
#include "ctl/backup/volume_file.h"
#include "unit/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void backup_fixture_setup(struct backup_fixture *f)
{
	*f = (struct backup_fixture){ .folder = "/tmp/pando-backup-XXXXXX", .pool = pool_create() };
	EXPECT(mkdtemp(f->folder) != NULL);
	x25519_draw(f->secret.bytes, f->secret.public.bytes);
}

void backup_fixture_teardown(struct backup_fixture *f)
{
	char command[128];
	pool_destroy(&f->pool);
	snprintf(command, sizeof(command), "rm -r %s", f->folder);
	EXPECT_INT(0, system(command));
}

const char *fixture_path(struct backup_fixture *f, const char *name)
{
	return pool_printf(f->pool, "%s/%s", f->folder, name).bytes;
}

void fixture_write(struct backup_fixture *f, const char *name, struct str bytes)
{
	FILE *file = fopen(fixture_path(f, name), "wbe");
	CHECK(file != NULL);
	EXPECT_INT(bytes.length, fwrite(bytes.bytes, 1, bytes.length, file));
	EXPECT_INT(0, fclose(file));
}

struct str fixture_read(struct backup_fixture *f, const char *name)
{
	struct stat status;
	const char *path = fixture_path(f, name);
	CHECK(stat(path, &status) == 0);
	char *bytes = pool_alloc(f->pool, (size_t)status.st_size + 1);
	FILE *file = fopen(path, "rbe");
	CHECK(file != NULL);
	EXPECT_INT(status.st_size, fread(bytes, 1, (size_t)status.st_size, file));
	fclose(file);
	return str_of(bytes, (size_t)status.st_size);
}

uint64_t made_log_add(struct made_log *log, size_t body_length, struct buf *out)
{
	struct buf body = { 0 };
	uint8_t header[RECORD_HEADER_LENGTH];
	uint64_t used = GROUP_HEADER_LENGTH + record_padded(body_length);
	if (log->end % segment_length + group_padded(used) > segment_length)
		log->end = (segment_of(log->end) + 1) * segment_length;
	struct group group = { .lsn = log->end,
		.previous_lsn = log->has_begun ? log->last : log->end,
		.chain = log->chain,
		.epoch = log->epoch,
		.volume = log->volume,
		.used = (uint32_t)used,
		.record_count = 1 };
	memcpy(group.reign, log->reign, sizeof(group.reign));
	for (size_t i = 0; i < body_length; i++)
		buf_append_byte(&body, (char)(i * 7 + log->end / GROUP_ALIGNMENT));
	record_header_encode(log->end + GROUP_HEADER_LENGTH, log->epoch, RECORD_MESSAGE,
		buf_str(&body), STR(""), header);
	buf_clear(out);
	group_header_encode(&group, (uint8_t *)buf_reserve(out, GROUP_HEADER_LENGTH));
	buf_commit(out, GROUP_HEADER_LENGTH);
	buf_append(out, header, sizeof(header));
	buf_append_str(out, buf_str(&body));
	while (buf_length(out) < group_padded(used))
		buf_append_byte(out, '\0');
	buf_deinit(&body);
	log->chain = group_chain_after(buf_str(out), &group);
	log->last = log->end;
	log->end += group_padded(used);
	log->has_begun = true;
	return log->last;
}

struct backup_set *fixture_set(
	struct backup_fixture *f, const char *name, const struct backup_set *parent)
{
	struct backup_set *set = pool_alloc(f->pool, sizeof(*set));
	struct seal_writer *writer;
	struct error error;
	uint64_t minute;
	set->folder = fixture_path(f, name);
	EXPECT_INT(0, mkdir(set->folder, 0700));
	snprintf(set->name, sizeof(set->name), "%s", name);
	set->cluster = "a cluster";
	/* Of "20261127T101500Z-1f3a9c02" the minute says enough here. */
	EXPECT(str_to_u64(str_of(name + 11, 2), 60, &minute));
	set->moment_s = 1795774440 + (int64_t)minute * 60;
	if (parent) {
		snprintf(set->parent, sizeof(set->parent), "%s", parent->name);
		memcpy(set->parent_sums, parent->sums, sizeof(set->parent_sums));
	}
	set->recipient = f->secret.public;
	set->directory.name = "directory.pbk";
	set->directory_revision = 12;
	CHECK(seal_create(pool_printf(f->pool, "%s/directory.pbk", set->folder).bytes,
		      &set->recipient, &writer, &error) == 0);
	EXPECT_INT(0, seal_write(writer, STR("all of it"), &error));
	EXPECT_INT(0, seal_finish(&writer, &set->directory.sealed, &error));
	return set;
}

void fixture_add_volume(struct backup_fixture *f, struct backup_set *set, struct made_log *log,
	unsigned count, uint64_t file_bytes)
{
	struct backup_volume *all = pool_alloc(f->pool, (set->volume_count + 1) * sizeof(*all));
	struct backup_volume *volume = &all[set->volume_count];
	struct volume_sink *sink;
	struct buf group = { 0 };
	struct error error = { 0 };
	if (set->volume_count > 0)
		memcpy(all, set->volumes, set->volume_count * sizeof(*all));
	set->volumes = all;
	set->volume_count++;
	*volume = (struct backup_volume){ .id = log->volume,
		.name = pool_printf(f->pool, "volume%u", log->volume).bytes,
		.from = log->end,
		.from_chain = log->chain,
		.source = "a node",
		.problem = "" };
	CHECK(volume_sink_create(
		      set->folder, log->volume, log->end, &set->recipient, &sink, &error) == 0);
	volume_sink_set_file_bytes(sink, file_bytes);
	for (unsigned i = 0; i < count; i++) {
		uint64_t lsn = made_log_add(log, 5000, &group);
		EXPECT_INT(0, volume_sink_write(sink, lsn, buf_str(&group), log->end, &error));
	}
	EXPECT_INT(
		0, volume_sink_finish(&sink, f->pool, &volume->files, &volume->file_count, &error));
	volume->to = log->end;
	volume->to_chain = log->chain;
	volume->epoch = log->epoch;
	memcpy(volume->reign, log->reign, sizeof(volume->reign));
	buf_deinit(&group);
}
