#include "ctl/backup/volume_file.h"

#include "core/buf.h"
#include "core/encode.h"

#include <errno.h>
#include <stdlib.h>

/* What one set of the chain has of the volume. */
struct part {
	const struct backup_set *set;
	const struct backup_volume *volume;
};

struct volume_source {
	const struct backup_secret *secret;
	struct part *parts;
	unsigned part_count, part;  /* `part` is being read */
	unsigned file;              /* of it */
	struct seal_reader *reader; /* NULL: that file was not begun */
	struct volume_walk walk;
};

/* Each set goes on where, and from what, the one before it ends. */
static int check_parts(const struct volume_source *source, struct error *error)
{
	for (unsigned i = 1; i < source->part_count; i++) {
		const struct backup_volume *before = source->parts[i - 1].volume;
		const struct backup_volume *after = source->parts[i].volume;
		if (after->from != before->to || after->from_chain != before->to_chain)
			return error_set(error, -EUCLEAN,
				"volume %s goes on in the set %s from elsewhere than where the "
				"set %s ends",
				after->name, source->parts[i].set->name,
				source->parts[i - 1].set->name);
	}
	return 0;
}

static int collect_parts(struct volume_source *source, struct backup_set *const *chain,
	unsigned count, uint32_t volume_id, struct error *error)
{
	unsigned first = count;
	const struct backup_volume *volume;
	source->parts = mem_alloc(count * sizeof(*source->parts));
	do {
		first--;
		volume = backup_set_volume(chain[first], volume_id);
		if (!volume && first == count - 1)
			return error_set(error, -ENOENT, "the set %s has no volume %lu",
				chain[first]->name, (unsigned long)volume_id);
		if (!volume)
			return error_set(error, -EUCLEAN,
				"the set %s has no volume %lu, from which the set %s goes on",
				chain[first]->name, (unsigned long)volume_id,
				chain[first + 1]->name);
		source->parts[first] = (struct part){ chain[first], volume };
	} while (volume->from > 0 && first > 0);
	if (volume->from > 0)
		return error_set(
			error, -EUCLEAN, "no set holds the begin of volume %s", volume->name);
	source->part_count = count - first;
	memmove(source->parts, source->parts + first, source->part_count * sizeof(struct part));
	return check_parts(source, error);
}

int volume_source_open(struct backup_set *const *chain, unsigned count, uint32_t volume_id,
	const struct backup_secret *secret, struct volume_source **source_out, struct error *error)
{
	CHECK(count > 0);
	struct volume_source *source = mem_alloc(sizeof(*source));
	*source = (struct volume_source){ .secret = secret, .walk = { .volume = volume_id } };
	int code = collect_parts(source, chain, count, volume_id, error);
	if (code < 0)
		volume_source_close(&source);
	else
		*source_out = source;
	return code;
}

static int refuse(const struct volume_source *source, struct error *error, const char *why)
{
	const struct part *part = &source->parts[source->part];
	return error_set(error, -EUCLEAN, "%s/%s: %s", part->set->folder,
		part->volume->files[source->file].name, why);
}

static int open_file(struct volume_source *source, struct error *error)
{
	const struct part *part = &source->parts[source->part];
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", part->set->folder, part->volume->files[source->file].name);
	int code = seal_open(buf_terminated(&path), source->secret, &source->reader, error);
	buf_deinit(&path);
	return code;
}

static int end_file(struct volume_source *source, struct error *error)
{
	const struct backup_file *file = &source->parts[source->part].volume->files[source->file];
	if (!volume_walk_reaches(&source->walk, file->to))
		return refuse(source, error, "it does not end where its manifest says");
	seal_close(&source->reader);
	source->file++;
	return 0;
}

/* What the log is at a set's end, its manifest says by three names. */
static int end_part(struct volume_source *source, struct error *error)
{
	const struct part *part = &source->parts[source->part];
	const struct backup_volume *volume = part->volume;
	const struct volume_walk *walk = &source->walk;
	/* A set with nothing of it says what its parent said. */
	bool is_there = volume->file_count > 0;
	if (walk->chain != volume->to_chain || !volume_walk_reaches(walk, volume->to) ||
		(is_there &&
			(walk->epoch != volume->epoch ||
				memcmp(walk->reign, volume->reign, BACKUP_REIGN_LENGTH) != 0)))
		return error_set(error, -EUCLEAN,
			"volume %s does not end in the set %s with what its manifest says",
			volume->name, part->set->name);
	source->part++;
	source->file = 0;
	return 0;
}

/* *bytes_out stays NULL at the end of the file. */
static int read_groups(struct volume_source *source, struct bytes **bytes_out, uint64_t *lsn_out,
	struct error *error)
{
	uint8_t head[VOLUME_FILE_HEAD_LENGTH];
	size_t read;
	int code = seal_read(source->reader, head, sizeof(head), &read, error);
	if (code < 0 || read == 0)
		return code;
	uint32_t length = read == sizeof(head) ? get_le32(head + 8) : 0;
	if (length == 0 || length > segment_length || length % GROUP_ALIGNMENT != 0)
		return refuse(source, error, "something stands in it where groups should begin");
	struct bytes *bytes = bytes_create(length);
	code = seal_read(source->reader, bytes->data, length, &read, error);
	if (code == 0 && read < length)
		code = refuse(source, error, "it ends within a group");
	*lsn_out = get_le64(head);
	struct error why;
	if (code == 0 && volume_walk_groups(&source->walk, *lsn_out, bytes->data, length, &why) < 0)
		code = refuse(source, error, why.text);
	if (code < 0)
		bytes_unref(&bytes);
	*bytes_out = bytes;
	return code;
}

int volume_source_next(struct volume_source *source, struct bytes **bytes_out, uint64_t *lsn_out,
	struct error *error)
{
	int code = 0;
	*bytes_out = NULL;
	while (code == 0 && !*bytes_out) {
		if (source->part == source->part_count)
			return -ENODATA;
		bool is_over = source->file == source->parts[source->part].volume->file_count;
		if (!source->reader) {
			code = is_over ? end_part(source, error) : open_file(source, error);
			continue;
		}
		code = read_groups(source, bytes_out, lsn_out, error);
		if (code == 0 && !*bytes_out)
			code = end_file(source, error);
	}
	return code;
}

void volume_source_place(
	const struct volume_source *source, const char **set_out, const char **file_out)
{
	unsigned at = source->part < source->part_count ? source->part : source->part_count - 1;
	const struct part *part = &source->parts[at];
	*set_out = part->set->name;
	*file_out = source->part == at && source->file < part->volume->file_count
		? part->volume->files[source->file].name
		: "";
}

const struct volume_walk *volume_source_walk(const struct volume_source *source)
{
	return &source->walk;
}

void volume_source_close(struct volume_source **source)
{
	if (!*source)
		return;
	seal_close(&(*source)->reader);
	free((*source)->parts);
	free(*source);
	*source = NULL;
}
