#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Folders of copies that this node holds no more: of volumes that the directory names it for no
 * longer, and those that the replicator has set aside (replicator/aside.c). For `pando check`. */

struct kept_request {
	struct volumes *volumes;
	struct buf members; /* uint32_t each: volumes with a copy here */
	struct buf folders; /* names, each ended by a zero byte */
	struct buf json;
	char folder[640]; /* that is being looked through */
	uint64_t bytes;
	bool any;
	void (*done)(void *arg, struct str json);
	void *arg;
};

static bool is_member(const struct kept_request *request, unsigned volume)
{
	struct str ids = buf_str(&request->members);
	for (size_t i = 0; i < ids.length; i += sizeof(uint32_t)) {
		uint32_t id;
		memcpy(&id, ids.bytes + i, sizeof(id));
		if (id == volume)
			return true;
	}
	return false;
}

/* Of a name: the volume whose copy is kept there; 0: none is. */
static unsigned volume_of(const struct kept_request *request, const char *name)
{
	unsigned volume = 0;
	unsigned long long number;
	int length = 0;
	if (sscanf(name, "removed-%u-%llu%n", &volume, &number, &length) == 2 && length > 0 &&
		name[length] == '\0')
		return volume;
	length = 0;
	if (sscanf(name, "%u%n", &volume, &length) != 1 || length == 0 || name[length] != '\0' ||
		is_member(request, volume))
		return 0;
	return volume;
}

static void on_folder(void *arg, const char *name)
{
	struct kept_request *request = arg;
	buf_append(&request->folders, name, strlen(name) + 1);
}

/* As much as it takes on the disk: files may have holes. */
static void on_file(void *arg, const char *name)
{
	enum { BLOCK_BYTES = 512 };
	struct kept_request *request = arg;
	char path[1024];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s", request->folder, name);
	if (stat(path, &status) == 0)
		request->bytes += (uint64_t)status.st_blocks * BLOCK_BYTES;
}

static void look_at(struct kept_request *request, const char *name)
{
	unsigned volume = volume_of(request, name);
	if (volume == 0)
		return;
	request->bytes = 0;
	snprintf(request->folder, sizeof(request->folder), "%s/volumes/%s",
		request->volumes->config->data_dir, name);
	if (disk_list_directory(request->folder, on_file, request) < 0)
		return;
	buf_printf(&request->json, "%s{\"volume\": %u, \"bytes\": %llu, \"folder\": ",
		request->any ? ", " : "", volume, (unsigned long long)request->bytes);
	encode_json(&request->json, str_from(request->folder));
	buf_append_byte(&request->json, '}');
	request->any = true;
}

/* On a pool thread: a folder may be on a slow disk. */
static void run_look(void *arg)
{
	struct kept_request *request = arg;
	char path[512];
	snprintf(path, sizeof(path), "%s/volumes", request->volumes->config->data_dir);
	if (disk_list_directory(path, on_folder, request) < 0)
		return;
	struct str all = buf_str(&request->folders);
	for (size_t at = 0; at < all.length; at += strlen(all.bytes + at) + 1)
		look_at(request, all.bytes + at);
}

static void on_looked(void *arg)
{
	struct kept_request *request = arg;
	buf_append_literal(&request->json, "]}");
	request->done(request->arg, buf_str(&request->json));
	buf_deinit(&request->json);
	buf_deinit(&request->folders);
	buf_deinit(&request->members);
	free(request);
}

void volumes_kept(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg)
{
	struct kept_request *request = mem_alloc(sizeof(*request));
	void *value;
	*request = (struct kept_request){ .volumes = volumes, .done = done, .arg = arg };
	buf_append_literal(&request->json, "{\"kept\": [");
	/* Before the directory is known, every folder would seem to be nobody's. */
	if (volumes->node_id == 0) {
		on_looked(request);
		return;
	}
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		const struct slot *slot = value;
		if (slot->is_member)
			buf_append(&request->members, &slot->id, sizeof(slot->id));
	}
	loop_work(volumes->front, run_look, on_looked, request);
}
