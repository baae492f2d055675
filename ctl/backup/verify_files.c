#include "core/map.h"
#include "ctl/backup/file.h"
#include "ctl/backup/manifest.h"
#include "ctl/backup/verify.h"

#include <dirent.h>
#include <errno.h>

static bool on_read(void *arg, size_t bytes)
{
	return verify_go_on(arg, bytes);
}

static void check_file(
	struct verify *verify, const struct backup_set *set, const struct backup_file *file)
{
	struct sealed found;
	struct error error;
	struct buf path = { 0 };
	if (filling_is_interrupted())
		return;
	buf_printf(&path, "%s/%s", set->folder, file->name);
	int code = file_digest(buf_terminated(&path), on_read, verify, &found, &error);
	buf_deinit(&path);
	if (code == -EINTR)
		return;
	if (code == -ENOENT)
		verify_fault(verify, set->name, file->name, "it is missing");
	else if (code < 0)
		verify_fault(verify, set->name, file->name, "%s", error.text);
	else if (found.bytes != file->sealed.bytes)
		verify_fault(verify, set->name, file->name, "it has %llu bytes, and had %llu",
			(unsigned long long)found.bytes, (unsigned long long)file->sealed.bytes);
	else if (memcmp(found.sha256, file->sealed.sha256, SEAL_SHA256_LENGTH) != 0)
		verify_fault(verify, set->name, file->name, "its digest is another one");
	verify->files++;
	verify->bytes += code == 0 ? found.bytes : 0;
}

/* Reading the set compared these two with each other. */
static void count_text(struct verify *verify, const struct backup_set *set, const char *name)
{
	struct sealed found;
	struct error error;
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", set->folder, name);
	if (file_digest(buf_terminated(&path), NULL, NULL, &found, &error) < 0)
		verify_fault(verify, set->name, name, "%s", error.text);
	else
		verify->bytes += found.bytes;
	verify->files++;
	buf_deinit(&path);
}

static struct map *names_of(struct backup_set *set)
{
	struct map *names = map_create();
	map_set(names, STR(MANIFEST_FILE), set);
	map_set(names, STR(SUMS_FILE), set);
	map_set(names, str_from(set->directory.name), set);
	for (unsigned i = 0; i < set->volume_count; i++)
		for (unsigned k = 0; k < set->volumes[i].file_count; k++)
			map_set(names, str_from(set->volumes[i].files[k].name), set);
	return names;
}

static void check_folder(struct verify *verify, struct backup_set *set)
{
	struct map *names = names_of(set);
	DIR *folder = opendir(set->folder);
	if (folder)
		errno = 0;
	for (struct dirent *entry; folder && (entry = readdir(folder)); errno = 0)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			!map_get(names, str_from(entry->d_name)))
			verify_fault(
				verify, set->name, entry->d_name, "it does not belong to the set");
	if (errno != 0 || !folder)
		verify_fault(
			verify, set->name, "", "its folder cannot be read: %s", strerror(errno));
	if (folder)
		closedir(folder);
	map_destroy(&names);
}

static void check_parent(struct verify *verify, const struct backup_set *set)
{
	struct backup_set *parent;
	struct error error;
	if (!set->parent[0])
		return;
	if (backup_sets_parent(&verify->sets, set, &parent, &error) < 0) {
		verify_fault(verify, set->name, MANIFEST_FILE, "%s", error.text);
		return;
	}
	for (unsigned i = 0; i < set->volume_count; i++) {
		const struct backup_volume *volume = &set->volumes[i];
		const struct backup_volume *before = backup_set_volume(parent, volume->id);
		if (volume->from > 0 &&
			(!before || before->to != volume->from ||
				before->to_chain != volume->from_chain))
			verify_fault(verify, set->name, MANIFEST_FILE,
				"volume %s does not go on from where it ends in the set %s",
				volume->name, parent->name);
	}
}

void verify_files(struct verify *verify)
{
	for (unsigned i = 0; i < verify->chosen_count; i++)
		verify->filling.end += backup_set_bytes(verify->chosen[i]);
	for (unsigned i = 0; i < verify->chosen_count; i++) {
		struct backup_set *set = verify->chosen[i];
		check_parent(verify, set);
		check_folder(verify, set);
		count_text(verify, set, MANIFEST_FILE);
		count_text(verify, set, SUMS_FILE);
		check_file(verify, set, &set->directory);
		for (unsigned v = 0; v < set->volume_count; v++)
			for (unsigned k = 0; k < set->volumes[v].file_count; k++)
				check_file(verify, set, &set->volumes[v].files[k]);
	}
}
