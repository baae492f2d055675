#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What was cut off logs here and is kept: the files `salvage-<epoch>-<from>-<to>.log` of all
 * volumes (spool/log_cut.c), for `pando salvage list`. */

struct salvage_request {
	struct volumes *volumes;
	uint32_t *ids; /* of the volumes, one after the other */
	size_t count, next;
	struct buf json;
	bool any;
	void (*done)(void *arg, struct str json);
	void *arg;
};

static void on_file(void *arg, const char *name)
{
	struct salvage_request *request = arg;
	unsigned long long epoch, from, to;
	int length = 0;
	if (sscanf(name, "salvage-%llu-%16llx-%16llx.log%n", &epoch, &from, &to, &length) != 3 ||
		name[length] != '\0' || length == 0)
		return;
	buf_printf(&request->json, "%s{\"volume\": %u, \"epoch\": %llu, \"from_lsn\": %llu, ",
		request->any ? ", " : "", request->ids[request->next], epoch, from);
	buf_printf(&request->json, "\"bytes\": %llu, \"file\": ", to - from);
	encode_json(&request->json, str_from(name));
	buf_append_byte(&request->json, '}');
	request->any = true;
}

/* On a pool thread: a folder may be on a slow disk. */
static void run_list(void *arg)
{
	struct salvage_request *request = arg;
	char path[512];
	for (; request->next < request->count; request->next++) {
		snprintf(path, sizeof(path), "%s/volumes/%u", request->volumes->config->data_dir,
			request->ids[request->next]);
		/* A volume without a folder has no files. */
		(void)!disk_list_directory(path, on_file, request);
	}
}

static void on_listed(void *arg)
{
	struct salvage_request *request = arg;
	buf_append_literal(&request->json, "]}");
	request->done(request->arg, buf_str(&request->json));
	buf_deinit(&request->json);
	free(request->ids);
	free(request);
}

void volumes_salvage(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg)
{
	struct salvage_request *request = mem_alloc(sizeof(*request));
	void *value;
	*request = (struct salvage_request){ .volumes = volumes, .done = done, .arg = arg };
	request->ids = mem_alloc((map_count(volumes->slots) + 1) * sizeof(*request->ids));
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);)
		request->ids[request->count++] = ((struct slot *)value)->id;
	buf_append_literal(&request->json, "{\"salvage\": [");
	loop_work(volumes->front, run_list, on_listed, request);
}
