#include "ctl/backup/manifest.h"
#include "ctl/backup/verify.h"
#include "ctl/backup/volume_file.h"

#include <errno.h>
#include <stdlib.h>

enum { READ_BYTES = 1 << 20 };

static void check_directory(struct verify *verify, const struct backup_set *set)
{
	struct seal_reader *reader;
	struct error error;
	struct buf path = { 0 };
	size_t read = READ_BYTES;
	char *part = mem_alloc(READ_BYTES);
	buf_printf(&path, "%s/%s", set->folder, set->directory.name);
	int code = seal_open(buf_terminated(&path), verify->secret, &reader, &error);
	if (code == 0) {
		while (code == 0 && read == READ_BYTES && verify_go_on(verify, 0))
			code = seal_read(reader, part, READ_BYTES, &read, &error);
		seal_close(&reader);
	}
	if (code < 0)
		verify_fault(verify, set->name, set->directory.name, "%s", error.text);
	free(part);
	buf_deinit(&path);
}

/* Whether a set that is looked at goes on with the volume from here: then it is read with that. */
static bool goes_on(const struct verify *verify, const struct backup_set *set,
	const struct backup_volume *volume)
{
	for (unsigned i = 0; i < verify->chosen_count; i++) {
		const struct backup_set *child = verify->chosen[i];
		const struct backup_volume *after = strcmp(child->parent, set->name) == 0
			? backup_set_volume(child, volume->id)
			: NULL;
		if (after && after->from > 0 && after->from == volume->to)
			return true;
	}
	return false;
}

static void walk_volume(struct verify *verify, const struct backup_set *set,
	struct backup_set *const *chain, unsigned count, const struct backup_volume *volume)
{
	struct volume_source *source;
	struct bytes *bytes;
	struct error error;
	const char *where, *file;
	uint64_t lsn;
	int code = volume_source_open(chain, count, volume->id, verify->secret, &source, &error);
	if (code < 0) {
		verify_fault(verify, set->name, MANIFEST_FILE, "%s", error.text);
		return;
	}
	while (code == 0) {
		code = volume_source_next(source, &bytes, &lsn, &error);
		if (code == 0 && !verify_go_on(verify, bytes->length))
			code = -ENODATA;
		bytes_unref(&bytes);
	}
	if (code != -ENODATA) {
		volume_source_place(source, &where, &file);
		/* No file alone is wrong where a set's end is not what its manifest says. */
		verify_fault(verify, where, file[0] ? file : MANIFEST_FILE, "%s", error.text);
	}
	verify->volumes++;
	verify->groups += volume_source_walk(source)->groups;
	verify->messages += volume_source_walk(source)->messages;
	volume_source_close(&source);
}

static void walk_set(struct verify *verify, const struct backup_set *set)
{
	struct pool *pool = pool_create();
	struct backup_set **chain = NULL;
	struct error error;
	unsigned count;
	for (unsigned i = 0; i < set->volume_count && !filling_is_interrupted(); i++) {
		const struct backup_volume *volume = &set->volumes[i];
		if (goes_on(verify, set, volume))
			continue;
		/* That the chain is broken was said of the set below it. */
		if (!chain &&
			backup_sets_chain(&verify->sets, set->name, pool, &chain, &count, &error) <
				0)
			break;
		walk_volume(verify, set, chain, count, volume);
	}
	pool_destroy(&pool);
}

void verify_logs(struct verify *verify)
{
	for (unsigned i = 0; i < verify->chosen_count; i++)
		for (unsigned k = 0; k < verify->chosen[i]->volume_count; k++)
			if (!goes_on(verify, verify->chosen[i], &verify->chosen[i]->volumes[k]))
				verify->filling.end += verify->chosen[i]->volumes[k].to;
	for (unsigned i = 0; i < verify->chosen_count && !filling_is_interrupted(); i++) {
		check_directory(verify, verify->chosen[i]);
		walk_set(verify, verify->chosen[i]);
	}
}
