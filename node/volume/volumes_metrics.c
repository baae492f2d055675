#include "node/volume/volumes_internal.h"

#include "core/metric.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* What Prometheus is told of each volume. */

enum {
	/* Scrapers come every 15 seconds; at a second nothing that lasts is missed. */
	MEASURE_MS = 1000,
	/* Between the files of one volume and those of the next: a volume of a terabyte has 16,000,
	 * some 30 ms of a pool thread. */
	FILES_MS = 1000,
};

struct slot_metrics {
	struct metric *states[VOLUME_STATES];
	struct metric *epoch, *messages, *live, *dead, *kept, *at_risk, *mended, *not_mended;
	struct metric *replicas, *connected, *stalled, *verified, *diverged;
	struct metric *lag_bytes, *lag_messages, *lag_seconds;
	struct metric *retained, *freed;
};

struct volumes_meter {
	struct volumes *volumes;
	struct timer *timer, *files_timer;
	size_t next_slot;
};

/* ---- numbers ---- */

/* Labels live as long as the process, as metrics want it. */
static const char *label(const struct slot *slot, const char *state)
{
	struct buf text = { 0 };
	buf_printf(&text, "volume=\"%s\"", slot->name);
	if (state)
		buf_printf(&text, ",state=\"%s\"", state);
	char *kept = str_to_heap(buf_str(&text));
	buf_deinit(&text);
	return kept;
}

static struct slot_metrics *metrics_of(struct slot *slot)
{
	if (slot->metrics || !slot->name[0])
		return slot->metrics;
	const char *volume = label(slot, NULL);
	struct slot_metrics *metrics = slot->metrics = mem_alloc(sizeof(*metrics));
	for (int i = 0; i < VOLUME_STATES; i++)
		metrics->states[i] = metric_gauge("pando_volume_state",
			label(slot, volumes_state_name(i)), "1 in this state, else 0");
	metrics->epoch = metric_gauge(
		"pando_volume_epoch", volume, "Epoch of the last bytes of the log here");
	metrics->messages = metric_gauge("pando_volume_messages", volume, "Messages in the index");
	metrics->live = metric_gauge("pando_volume_live_bytes", volume,
		"Of the log: messages that a mailbox shows, each counted once");
	metrics->dead = metric_gauge("pando_volume_dead_bytes", volume,
		"Of the log: messages that no mailbox shows any more");
	metrics->kept = metric_gauge("pando_volume_kept_bytes", volume,
		"Of the log: expunged messages that can be recovered");
	metrics->at_risk = metric_gauge("pando_volume_at_risk_messages", volume,
		"Messages accepted here while no other site had them");
	metrics->mended = metric_gauge("pando_volume_mended_ranges", volume,
		"Damaged ranges of the log written here that other copies have mended");
	metrics->not_mended = metric_gauge("pando_volume_not_mended", volume,
		"1 while the last damage that was met in the log written here is not mended");
	metrics->replicas = metric_gauge("pando_volume_replicas", volume,
		"Replicas that the primary ought to have; 0 where it is not primary");
	metrics->connected = metric_gauge("pando_volume_replicas_connected", volume,
		"Replicas that are connected to the primary");
	metrics->stalled = metric_gauge("pando_volume_replicas_stalled", volume,
		"Replicas that are connected and do not move");
	metrics->verified = metric_gauge("pando_volume_replicas_verified", volume,
		"Replicas that are connected and whose log is the primary's by its chain");
	metrics->diverged = metric_gauge("pando_volume_replicas_diverged", volume,
		"Replicas whose log is another one than the primary's: they count for nothing");
	metrics->lag_bytes = metric_gauge(
		"pando_volume_lag_bytes", volume, "Log that the farthest connected replica lacks");
	metrics->lag_messages = metric_gauge(
		"pando_volume_lag_messages", volume, "Accepted messages that no other site has");
	metrics->lag_seconds = metric_gauge_seconds("pando_volume_lag_seconds", volume,
		"Age of the oldest byte that no other site has");
	metrics->retained = metric_gauge("pando_volume_retained_bytes", volume,
		"Room that the volume's log takes on the disk");
	metrics->freed = metric_gauge("pando_volume_freed_bytes", volume,
		"Length of the log whose room has been given back");
	return metrics;
}

static void measure_replicas(const struct slot *slot, bool is_primary, struct slot_metrics *metrics)
{
	const struct volume_numbers *numbers = &slot->volume->numbers;
	uint64_t durable = atomic_load(&numbers->durable_lsn), lag = 0;
	unsigned connected = 0, stalled = 0, verified = 0, diverged = 0;
	for (unsigned i = 0; i < slot->replica_count && is_primary; i++) {
		const struct slot_replica *replica = &slot->replicas[i];
		verified += replica->connected && replica->verdict == COPY_VERIFIED;
		diverged += replica->verdict == COPY_DIVERGED;
		if (!replica->connected)
			continue;
		connected++;
		stalled += volumes_is_stalled(slot, replica->node_id);
		if (durable > replica->acked_lsn && durable - replica->acked_lsn > lag)
			lag = durable - replica->acked_lsn;
	}
	metric_set(metrics->replicas, is_primary ? slot->replica_count : 0);
	metric_set(metrics->connected, connected);
	metric_set(metrics->stalled, stalled);
	metric_set(metrics->verified, verified);
	metric_set(metrics->diverged, diverged);
	metric_set(metrics->lag_bytes, (int64_t)lag);
	metric_set(metrics->lag_messages, lag ? (int64_t)atomic_load(&numbers->at_risk) : 0);
	metric_set(metrics->lag_seconds,
		is_primary ? (int64_t)atomic_load(&numbers->lag_ms) * 1000 : 0);
}

static void measure(struct slot *slot)
{
	const struct volume_numbers *numbers = &slot->volume->numbers;
	struct slot_metrics *metrics = metrics_of(slot);
	int state = atomic_load(&numbers->state);
	if (!metrics)
		return;
	for (int i = 0; i < VOLUME_STATES; i++)
		metric_set(metrics->states[i], slot->is_member && i == state);
	/* One that was let go is in no state and no epoch, until the process ends. */
	metric_set(metrics->epoch,
		slot->is_member ? (int64_t)atomic_load(&numbers->epoch) : 0);
	metric_set(metrics->messages, (int64_t)atomic_load(&numbers->messages));
	metric_set(metrics->live, (int64_t)atomic_load(&numbers->live_bytes));
	metric_set(metrics->dead, (int64_t)atomic_load(&numbers->dead_bytes));
	metric_set(metrics->kept, (int64_t)atomic_load(&numbers->kept_bytes));
	metric_set(metrics->at_risk,
		state == VOLUME_PRIMARY ? (int64_t)atomic_load(&numbers->at_risk) : 0);
	metric_set(metrics->mended, (int64_t)atomic_load(&numbers->mended));
	metric_set(metrics->not_mended,
		state == VOLUME_PRIMARY ? (int64_t)atomic_load(&numbers->not_mended) : 0);
	measure_replicas(slot, state == VOLUME_PRIMARY, metrics);
}

static void on_timer(void *arg)
{
	struct volumes_meter *meter = arg;
	void *value;
	for (size_t i = 0; map_next(meter->volumes->slots, &i, NULL, &value);)
		measure(value);
	timer_start(meter->timer, MEASURE_MS);
}

/* ---- files ---- */

struct files_look {
	struct volumes_meter *meter;
	struct slot *slot;
	char directory[512];
	uint64_t bytes;
	bool failed;
};

/* Pool thread. Segments only: what salvage keeps is not the log. */
static void files_work(void *arg)
{
	struct files_look *look = arg;
	DIR *directory = opendir(look->directory);
	const struct dirent *entry;
	look->failed = directory == NULL;
	while (directory && (entry = readdir(directory)) != NULL) {
		struct str name = str_from(entry->d_name);
		struct stat found;
		if (name.length == 20 && str_ends_with(name, STR(".log")) &&
			fstatat(dirfd(directory), entry->d_name, &found, 0) == 0)
			look->bytes += (uint64_t)found.st_blocks * 512;
	}
	if (directory)
		closedir(directory);
}

static void files_done(void *arg)
{
	struct files_look *look = arg;
	struct slot_metrics *metrics = metrics_of(look->slot);
	uint64_t durable = atomic_load(&look->slot->volume->numbers.durable_lsn);
	if (metrics && !look->failed) {
		metric_set(metrics->retained, (int64_t)look->bytes);
		metric_set(metrics->freed,
			durable > look->bytes ? (int64_t)(durable - look->bytes) : 0);
	}
	timer_start(look->meter->files_timer, FILES_MS);
	free(look);
}

static void on_files_timer(void *arg)
{
	struct volumes_meter *meter = arg;
	void *value;
	if (!map_next(meter->volumes->slots, &meter->next_slot, NULL, &value)) {
		meter->next_slot = 0;
		timer_start(meter->files_timer, FILES_MS);
		return;
	}
	struct files_look *look = mem_alloc(sizeof(*look));
	look->meter = meter;
	look->slot = value;
	snprintf(look->directory, sizeof(look->directory), "%s/volumes/%u",
		meter->volumes->config->data_dir, look->slot->id);
	loop_work(meter->volumes->front, files_work, files_done, look);
}

void volumes_measure(struct volumes *volumes)
{
	struct volumes_meter *meter = mem_alloc(sizeof(*meter));
	meter->volumes = volumes;
	meter->timer = timer_new(volumes->front, on_timer, meter);
	meter->files_timer = timer_new(volumes->front, on_files_timer, meter);
	timer_start(meter->timer, 0);
	timer_start(meter->files_timer, 0);
}
