#ifndef PANDO_NODE_VOLUMES_INTERNAL_H
#define PANDO_NODE_VOLUMES_INTERNAL_H

/* Between volumes.c (threads), slots.c, replicator_link.c, volumes_report.c, volumes_metrics.c and
 * volumes_end.c; all on the front thread but for what volumes tell from their workers. */

#include "core/map.h"
#include "node/volume/volume.h"
#include "proto/cluster/message.h"

#include <pthread.h>
#include <semaphore.h>

struct worker {
	struct loop *loop;
	struct disk *disk;
	pthread_t thread;
	sem_t ready;
	enum io_backend backend;
	struct error error;
	bool failed;
};

/* A volume as the front thread holds it. Never goes while the process runs. */
struct slot {
	struct volumes *volumes;
	struct worker *worker;
	uint32_t id;
	struct volume *volume; /* the worker's; the front reads volume->numbers */
	struct task changed_task;
	atomic_bool release_wanted;
	bool release_sent;
	/* What the replicator has been told. */
	uint64_t told_durable;
	int told_state;
	struct volume_replica replicas[VOLUME_COPIES_MAX]; /* as last reported */
	unsigned replica_count;
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	char name[64];
	bool wants_primary;
	struct slot_metrics *metrics; /* NULL until the volume has a name */
};

enum { VOLUME_STATES = VOLUME_CLOSED + 1 };

struct replicator_link;
struct slot_metrics;

struct volumes {
	struct loop *front;
	const struct config *config;
	struct directory *directory;
	struct worker *workers;
	unsigned worker_count;
	struct map *slots; /* u64 id -> struct slot */
	struct replicator_link *link;
	struct timer *start_timer;
	bool may_use_copy; /* the wait for a fresh directory is over */
	uint32_t node_id;
};

/* ---- calls on a worker ---- */

struct worker_call {
	struct task task;
	struct slot *slot;
	void (*run)(struct worker_call *call);
	uint64_t a, b, c;
	bool flag;
	void *arg;
	struct volume_desired desired;
};

/* Runs on the slot's worker; the call is freed afterwards. */
struct worker_call *slot_call(struct slot *slot, void (*run)(struct worker_call *call));
void slot_send(struct worker_call *call);

/* What a volume tells its slot; and the slot's own part of it. */
struct volume_events slot_events(struct slot *slot);
void slot_init(struct slot *slot);

/* As `pando status` and the metrics call it. */
const char *volumes_state_name(int state);
/* The primary here waits for this replica no more (durability.c). */
bool volumes_is_stalled(const struct slot *slot, uint32_t node_id);

struct slot *volumes_find_slot(const struct volumes *volumes, uint32_t volume_id);

/* ---- replicator_link.c ---- */

struct replicator_link *replicator_link_create(struct volumes *volumes);
/* Asks the replicator to say everything it knows: at connection, and when there are new slots. */
void replicator_link_greet(struct replicator_link *link);
/* Something about the slot has changed that the replicator should know. */
void replicator_link_tell(struct replicator_link *link, struct slot *slot);

#endif
