#include "ctl/backup/manifest.h"

#include "core/encode.h"

static void append_name(struct buf *out, const char *name)
{
	buf_printf(out, "\"%s\": ", name);
}

static void append_text(struct buf *out, const char *name, const char *text)
{
	append_name(out, name);
	encode_json(out, str_from(text ? text : ""));
}

static void append_number(struct buf *out, const char *name, uint64_t value)
{
	append_name(out, name);
	buf_printf(out, "%llu", (unsigned long long)value);
}

static void append_hex(struct buf *out, const char *name, const void *bytes, size_t length)
{
	append_name(out, name);
	buf_append_byte(out, '"');
	encode_hex(out, bytes, length);
	buf_append_byte(out, '"');
}

/* JSON's readers keep 53 bits of a number. */
static void append_chain(struct buf *out, const char *name, uint64_t chain)
{
	append_name(out, name);
	buf_printf(out, "\"%016llx\"", (unsigned long long)chain);
}

static void append_file(struct buf *out, const struct backup_file *file)
{
	append_text(out, "file", file->name);
	buf_append_literal(out, ", ");
	append_number(out, "bytes", file->sealed.bytes);
	buf_append_literal(out, ", ");
	append_hex(out, "sha256", file->sealed.sha256, SEAL_SHA256_LENGTH);
}

static void append_files(struct buf *out, const struct backup_volume *volume)
{
	buf_append_literal(out, "\"files\": [");
	for (unsigned i = 0; i < volume->file_count; i++) {
		const struct backup_file *file = &volume->files[i];
		buf_append_str(out, i ? STR(",\n   {") : STR("\n   {"));
		append_file(out, file);
		buf_append_literal(out, ", ");
		append_number(out, "from", file->from);
		buf_append_literal(out, ", ");
		append_number(out, "to", file->to);
		buf_append_literal(out, "}");
	}
	buf_append_literal(out, "]");
}

static void append_volume(struct buf *out, const struct backup_volume *volume)
{
	append_number(out, "id", volume->id);
	buf_append_literal(out, ", ");
	append_text(out, "name", volume->name);
	buf_append_literal(out, ", ");
	append_number(out, "from", volume->from);
	buf_append_literal(out, ", ");
	append_number(out, "to", volume->to);
	buf_append_literal(out, ",\n   ");
	append_chain(out, "from_chain", volume->from_chain);
	buf_append_literal(out, ", ");
	append_chain(out, "to_chain", volume->to_chain);
	buf_append_literal(out, ",\n   ");
	append_number(out, "epoch", volume->epoch);
	buf_append_literal(out, ", ");
	append_hex(out, "reign", volume->reign, BACKUP_REIGN_LENGTH);
	buf_append_literal(out, ",\n   ");
	append_text(out, "source", volume->source);
	buf_append_literal(out, ", ");
	append_text(out, "problem", volume->problem);
	buf_append_literal(out, ",\n   ");
	append_files(out, volume);
}

static void append_parent(struct buf *out, const struct backup_set *set)
{
	append_name(out, "parent");
	if (!set->parent[0]) {
		buf_append_literal(out, "null");
		return;
	}
	buf_append_literal(out, "{");
	append_text(out, "name", set->parent);
	buf_append_literal(out, ", ");
	append_hex(out, "sha256", set->parent_sums, SEAL_SHA256_LENGTH);
	buf_append_literal(out, "}");
}

static void append_head(struct buf *out, const struct backup_set *set)
{
	char recipient[BACKUP_KEY_TEXT_MAX];
	backup_public_format(&set->recipient, recipient);
	append_number(out, "format", 1);
	buf_append_literal(out, ",\n ");
	append_text(out, "name", set->name);
	buf_append_literal(out, ",\n ");
	append_number(out, "moment_s", (uint64_t)set->moment_s);
	buf_append_literal(out, ", ");
	append_name(out, "moment");
	buf_append_byte(out, '"');
	encode_time(out, set->moment_s * 1000000);
	buf_append_literal(out, "\",\n ");
	append_text(out, "cluster", set->cluster);
	buf_append_literal(out, ",\n ");
	append_parent(out, set);
	buf_append_literal(out, ",\n ");
	append_text(out, "recipient", recipient);
}

void manifest_encode(const struct backup_set *set, struct buf *out)
{
	buf_append_literal(out, "{");
	append_head(out, set);
	buf_append_literal(out, ",\n \"directory\": {");
	append_file(out, &set->directory);
	buf_append_literal(out, ", ");
	append_number(out, "revision", set->directory_revision);
	buf_append_literal(out, "},\n \"volumes\": [");
	for (unsigned i = 0; i < set->volume_count; i++) {
		buf_append_str(out, i ? STR(",\n  {") : STR("\n  {"));
		append_volume(out, &set->volumes[i]);
		buf_append_literal(out, "}");
	}
	buf_append_literal(out, "]}\n");
}

/* As sha256sum(1) writes it and `sha256sum --check` reads it. */
static void append_sum(struct buf *out, const char *name, const uint8_t digest[SEAL_SHA256_LENGTH])
{
	encode_hex(out, digest, SEAL_SHA256_LENGTH);
	buf_printf(out, "  %s\n", name);
}

void sums_encode(
	const struct backup_set *set, const uint8_t manifest[SEAL_SHA256_LENGTH], struct buf *out)
{
	append_sum(out, MANIFEST_FILE, manifest);
	append_sum(out, set->directory.name, set->directory.sealed.sha256);
	for (unsigned i = 0; i < set->volume_count; i++)
		for (unsigned k = 0; k < set->volumes[i].file_count; k++) {
			const struct backup_file *file = &set->volumes[i].files[k];
			append_sum(out, file->name, file->sealed.sha256);
		}
}
