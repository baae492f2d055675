#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "node/salvage/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Through the folders of all volumes. */
struct look {
	struct salvage *salvage;
	uint32_t *ids;
	size_t id_count, next;
	struct found *found;
	size_t count, capacity;
	uint64_t settings_ended; /* when it began */
	void (*done)(struct look *look);
	void (*on_json)(void *arg, struct str json);
	void *arg;
};

int64_t salvage_now_s(void)
{
	return clock_wall_us() / 1000000;
}

void salvage_folder_of(const struct salvage *salvage, uint32_t volume_id, char out[512])
{
	snprintf(out, 512, "%s/volumes/%u", salvage->config->data_dir, volume_id);
}

/* ---- looking ---- */

static void on_file(void *arg, const char *file)
{
	struct look *look = arg;
	struct tail_name name;
	if (!tail_parse_name(file, &name))
		return;
	if (look->count == look->capacity) {
		look->capacity = look->capacity * 2 + 16;
		look->found = mem_resize(look->found, look->capacity * sizeof(*look->found));
	}
	look->found[look->count++] = (struct found){
		.volume_id = look->ids[look->next], .name = name };
}

static void remove_old(struct found *found, const char *folder, int64_t now)
{
	const struct salvage_report *report = &found->report;
	found->is_old = !found->is_unread && report->state != SALVAGE_OPEN &&
		report->ended_s + SALVAGE_KEPT_S < now;
	if (found->is_old)
		found->removed = salvage_remove(folder, &found->name);
}

/* On a pool thread: a folder may be on a slow disk. */
static void run_look(void *arg)
{
	struct look *look = arg;
	char path[512];
	int64_t now = salvage_now_s();
	for (; look->next < look->id_count; look->next++) {
		size_t first = look->count;
		salvage_folder_of(look->salvage, look->ids[look->next], path);
		/* A volume without a folder has no files. */
		(void)!disk_list_directory(path, on_file, look);
		for (size_t i = first; i < look->count; i++) {
			struct found *found = &look->found[i];
			int result = salvage_report_read(
				look->salvage->disk, path, &found->name, &found->report);
			/* One that is not valid says nothing: the tail is open. */
			found->is_unread = result < 0 && result != -EBADMSG;
			if (look->on_json == NULL)
				remove_old(found, path, now);
		}
	}
}

static void look_end(struct look *look)
{
	free(look->ids);
	free(look->found);
	free(look);
}

static void on_looked(void *arg)
{
	struct look *look = arg;
	look->done(look);
}

static void look_begin(struct salvage *salvage, void (*done)(struct look *look),
	void (*on_json)(void *arg, struct str json), void *arg)
{
	struct look *look = mem_alloc(sizeof(*look));
	*look = (struct look){ .salvage = salvage,
		.done = done,
		.on_json = on_json,
		.arg = arg,
		.settings_ended = salvage->settings_ended };
	look->ids = volumes_ids(salvage->volumes, &look->id_count);
	loop_work(salvage->loop, run_look, on_looked, look);
}

/* ---- what is to be done ---- */

static void say_removed(struct salvage *salvage, const struct found *found)
{
	const struct tail_name *name = &found->name;
	if (found->removed == 0)
		log_info("salvage_removed", "volume=%u epoch=%llu from=%llu to=%llu",
			found->volume_id, (unsigned long long)name->epoch,
			(unsigned long long)name->from, (unsigned long long)name->to);
	else if (!salvage->removing_failed)
		log_warn("salvage_not_removed", "volume=%u epoch=%llu from=%llu to=%llu reason=%s",
			found->volume_id, (unsigned long long)name->epoch,
			(unsigned long long)name->from, (unsigned long long)name->to,
			log_quote(str_from(strerror(-found->removed))));
	salvage->removing_failed = found->removed < 0;
}

/* What the look has read may be older than the operator's word. */
static bool is_outdated(const struct look *look)
{
	return look->salvage->settings > 0 ||
		look->settings_ended != look->salvage->settings_ended;
}

static void on_look_found(struct look *look)
{
	struct salvage *salvage = look->salvage;
	const struct found *next = NULL;
	int64_t now = salvage_now_s(), open = 0, waits_s = 0;
	for (size_t i = 0; i < look->count; i++) {
		const struct found *found = &look->found[i];
		const struct salvage_report *report = &found->report;
		if (found->is_unread) {
			open++;
			continue;
		}
		if (report->state == SALVAGE_OPEN) {
			open++;
			if (report->since_s != 0 && now - report->since_s > waits_s)
				waits_s = now - report->since_s;
			if (next == NULL && report->next_s <= now &&
				volumes_log_end(salvage->volumes, found->volume_id) > 0)
				next = found;
		} else if (found->is_old) {
			say_removed(salvage, found);
		}
	}
	metric_set(salvage->open, open);
	salvage->open_count = open;
	salvage->waits_s = waits_s;
	if (is_outdated(look))
		timer_start(salvage->look_timer, salvage->settings > 0 ? SALVAGE_LOOK_MS : 0);
	else if (next != NULL && salvage->work == NULL && directory_is_loaded(salvage->directory))
		work_begin(salvage, next);
	else
		timer_start(salvage->look_timer, SALVAGE_LOOK_MS);
	look_end(look);
}

void salvage_look(void *arg)
{
	look_begin(arg, on_look_found, NULL, NULL);
}

int salvage_create(struct loop *loop, const struct config *config, struct directory *directory,
	struct volumes *volumes, struct salvage **salvage_out, struct error *error)
{
	struct salvage *salvage = mem_alloc(sizeof(*salvage));
	*salvage = (struct salvage){
		.loop = loop, .config = config, .directory = directory, .volumes = volumes
	};
	*salvage_out = salvage;
	int result = disk_create(loop, IO_BACKEND_POSIX, &salvage->disk, error);
	if (result == 0)
		result = tls_context_create(
			&(struct tls_options){ .certificate_file = config->node_certificate,
				.key_file = config->node_key,
				.ca_file = config->cluster_ca,
				.cluster = true },
			&salvage->tls, error);
	if (result < 0)
		return result;
	salvage->open = metric_gauge("pando_salvage_open_tails", "",
		"Tails that were cut off logs here and are not home yet");
	salvage->look_timer = timer_new(loop, salvage_look, salvage);
	salvage->behind_timer = timer_new(loop, work_look_again, salvage);
	timer_start(salvage->look_timer, SALVAGE_LOOK_MS);
	return 0;
}

void salvage_stop(struct salvage *salvage)
{
	atomic_store(&salvage->stop, true);
}

/* ---- what `pando` asks ---- */

void salvage_status(const struct salvage *salvage, struct buf *json_out)
{
	buf_printf(json_out, "\"salvage\": {\"open\": %lld, \"waits_s\": %lld}",
		(long long)salvage->open_count, (long long)salvage->waits_s);
}

static void append_json(const struct found *found, struct buf *out)
{
	const struct salvage_report *report = &found->report;
	const struct tail_name *name = &found->name;
	buf_printf(out,
		"{\"volume\": %u, \"epoch\": %llu, \"from_lsn\": %llu, \"bytes\": %llu, "
		"\"file\": \"",
		found->volume_id, (unsigned long long)name->epoch, (unsigned long long)name->from,
		(unsigned long long)(name->to - name->from));
	tail_append_name(out, name, "log");
	buf_printf(out, "\", \"state\": \"%s\", ",
		found->is_unread ? "unread" : salvage_state_name(report->state));
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = { { "tries", report->tries }, { "since_s", (uint64_t)report->since_s },
		{ "next_s", (uint64_t)report->next_s }, { "ended_s", (uint64_t)report->ended_s },
		{ "messages", report->messages }, { "stored", report->stored },
		{ "present", report->present }, { "kept", report->kept },
		{ "failed", report->failed }, { "flags", report->flags },
		{ "expunges", report->expunges }, { "moves", report->moves },
		{ "folders", report->folders }, { "subscriptions", report->subscriptions },
		{ "carried", report->carried }, { "left", report->left },
		{ "damaged_at", report->damaged_at } };
	for (size_t i = 0; i < array_length(numbers); i++)
		buf_printf(out, "\"%s\": %llu, ", numbers[i].name,
			(unsigned long long)numbers[i].value);
	buf_append_literal(out, "\"reason\": ");
	encode_json(out, str_from(report->reason));
	buf_append_byte(out, '}');
}

static void on_look_listed(struct look *look)
{
	struct buf json = { 0 };
	buf_append_literal(&json, "{\"salvage\": [");
	for (size_t i = 0; i < look->count; i++) {
		buf_append_str(&json, i > 0 ? STR(", ") : STR(""));
		append_json(&look->found[i], &json);
	}
	buf_append_literal(&json, "]}");
	look->on_json(look->arg, buf_str(&json));
	buf_deinit(&json);
	look_end(look);
}

void salvage_list(struct salvage *salvage, void (*done)(void *arg, struct str json), void *arg)
{
	look_begin(salvage, on_look_listed, done, arg);
}

struct setting {
	struct salvage *salvage;
	struct found found;
	enum salvage_state state;
	int status;
	void (*done)(void *arg, int status);
	void *arg;
};

static void run_set(void *arg)
{
	struct setting *setting = arg;
	struct salvage_report *report = &setting->found.report;
	struct disk *disk = setting->salvage->disk;
	struct disk_file *file = NULL;
	char folder[512];
	const struct tail_name *name = &setting->found.name;
	salvage_folder_of(setting->salvage, setting->found.volume_id, folder);
	char *path = tail_path(folder, name, "log");
	setting->status = disk_file_open(disk, path, false, &file);
	disk_file_close(&file);
	free(path);
	if (setting->status < 0)
		return;
	(void)!salvage_report_read(disk, folder, name, report);
	report->state = setting->state;
	report->next_s = report->since_s = 0;
	report->tries = 0;
	report->ended_s = setting->state == SALVAGE_OPEN ? 0 : salvage_now_s();
	setting->status = salvage_report_write(disk, folder, name, report);
}

static void on_set(void *arg)
{
	struct setting *setting = arg;
	struct salvage *salvage = setting->salvage;
	salvage->settings--;
	salvage->settings_ended++;
	if (salvage->work == NULL)
		timer_start(salvage->look_timer, 0);
	setting->done(setting->arg, setting->status);
	free(setting);
}

static void on_not_set(void *arg)
{
	(void)arg;
}

static bool parse_tail(struct str text, struct found *found)
{
	ptrdiff_t colon = str_find_byte(text, ':');
	uint64_t volume_id;
	char file[96];
	if (colon < 0 || !str_to_u64(str_first(text, (size_t)colon), UINT32_MAX, &volume_id))
		return false;
	found->volume_id = (uint32_t)volume_id;
	snprintf(file, sizeof(file), STR_FORMAT, STR_ARG(str_from_index(text, (size_t)colon + 1)));
	return tail_parse_name(file, &found->name);
}

void salvage_set_state(struct salvage *salvage, struct str tail, enum salvage_state state,
	void (*done)(void *arg, int status), void *arg)
{
	struct setting *setting = mem_alloc(sizeof(*setting));
	*setting = (struct setting){ .salvage = salvage, .state = state, .done = done, .arg = arg };
	if (!parse_tail(tail, &setting->found) ||
		!volumes_hold(salvage->volumes, setting->found.volume_id))
		setting->status = -EINVAL;
	else if (work_is_on(salvage, &setting->found))
		setting->status = -EBUSY;
	salvage->settings++;
	loop_work(salvage->loop, setting->status < 0 ? on_not_set : run_set, on_set, setting);
}
