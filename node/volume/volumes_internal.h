#ifndef PANDO_NODE_VOLUMES_INTERNAL_H
#define PANDO_NODE_VOLUMES_INTERNAL_H

/* Between volumes.c (threads), slots.c, replicator_link.c, claims.c, volumes_access.c,
 * volumes_marks.c, volumes_metrics.c, volumes_report.c, volumes_at_risk.c and volumes_end.c; all on
 * the front thread but for what volumes tell from their workers. */

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

/* A replica of a volume that is served here, as the replicator sees it. */
struct slot_replica {
	uint32_t node_id;
	bool connected;
	uint64_t copy; /* its number, as it said; 0: it did not */
	uint64_t acked_lsn;
	uint64_t connected_us; /* since when */
	enum copy_verdict verdict;
	int64_t verdict_since_us; /* wall clock: since when without a break */
	uint64_t verified_lsn;    /* where it was last seen to be this log */
};

/* Another copy, as the directory says (struct directory_volume). */
struct slot_other {
	uint32_t node_id;
	uint64_t copy;
	bool is_seeding;
};

/* A volume as the front thread holds it. Never goes while the process runs. */
struct slot {
	struct volumes *volumes;
	struct worker *worker;
	uint32_t id;
	struct volume *volume; /* the worker's; the front reads volume->numbers */
	struct task changed_task;
	/* The volume's last question to the replicator, RELEASE or (above 0) PROVE; set after the
	 * state that it belongs to. */
	atomic_uint_fast64_t prove_epoch, question;
	atomic_bool passes_over; /* of prove_epoch */
	uint64_t sent_question; /* that the replicator knows of; 0: none */
	uint64_t over_question; /* up to here all are answered, or void */
	/* Asked once more of a replicator that came later, which only keeps off; 0: none. */
	uint64_t answered_question;
	/* What the replicator has been told. */
	uint64_t told_durable, told_damaged;
	int told_state;
	bool told_writes;
	/* What the replicator says that a proof waits for. */
	char waits_for[256];
	bool is_claiming; /* the directory is being asked (claims.c) */
	bool has_more_to_tell; /* something has changed since it was asked */
	bool is_untold;   /* it did not take what it had to hear: told again by the clock alone */
	bool told_untold; /* the log knows */
	/* The furthest freed place of the volume that this process knows: a directory that is put
	 * back hears it again. And the latest epoch that it has seen in it. */
	uint64_t freed_epoch, freed_lsn, seen_epoch;
	/* What this node has named itself in last. */
	uint64_t claimed_epoch;
	uint8_t claimed_reign[REIGN_LENGTH];
	enum copy_verdict verdict; /* of the replica here, by its leader */
	struct slot_replica replicas[VOLUME_COPIES_MAX]; /* as last reported */
	unsigned replica_count;
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	char name[64];
	uint64_t told_keeping; /* of volumes.keeping_number; 0: nothing */
	bool wants_primary;
	bool is_member; /* this node has a copy of it, as the directory says */
	struct slot_other others[VOLUME_COPIES_MAX];
	unsigned other_count;
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
	struct timer *start_timer, *tell_timer, *room_timer;
	atomic_bool is_short_of_room; /* volumes_room.c; read by the workers */
	bool may_use_copy; /* the wait for a fresh directory is over */
	uint32_t node_id;
	/* What the directory says is kept, for volumes_tell_keeping; it has a new number when it is
	 * another, or is no old copy any more. */
	struct directory_keeping *keepings;
	size_t keeping_count;
	bool keeping_is_fresh;
	uint64_t keeping_number;
};

/* ---- volumes_room.c ---- */

void volumes_watch_room(struct volumes *volumes);

/* ---- calls on a worker ---- */

struct worker_call {
	struct task task;
	struct slot *slot;
	void (*run)(struct worker_call *call);
	uint64_t a, b, c, d;
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

/* Of a list ID:NUMBER,ID:NUMBER,... 1 with the first pair, which is taken off; 0 at its end;
 * -EINVAL when malformed. */
struct volumes_pair {
	uint32_t volume_id;
	uint64_t number;
};
int volumes_next_pair(struct str *list, struct volumes_pair *pair_out) must_check;

struct slot *volumes_find_slot(const struct volumes *volumes, uint32_t volume_id);

/* ---- volumes_keeping.c ---- */

/* After every change of the directory: each volume hears what is kept, if that has changed. */
void volumes_tell_keeping(struct volumes *volumes);

/* ---- claims.c ---- */

/* The directory gives the slot's copy an epoch, if it can be written and names this node still. */
void slot_claim(struct slot *slot, const struct volume_claim *claim);
/* What the directory has to hear of a volume that is served here: that it is, and in which epoch,
 * where its own is behind. What it does not take it hears again, also when nothing else happens. */
void slot_tell_directory(struct slot *slot);
/* The timer's: all that has not been told. */
void volumes_tell_again(void *volumes);

/* ---- replicator_link.c ---- */

struct replicator_link *replicator_link_create(struct volumes *volumes);
/* Asks the replicator to say everything it knows: at connection, and when there are new slots. */
void replicator_link_greet(struct replicator_link *link);
/* Something about the slot has changed that the replicator should know. */
void replicator_link_tell(struct replicator_link *link, struct slot *slot);
/* Sends MESSAGE_MEND, or answers that nobody is in reach. */
void replicator_link_mend(struct replicator_link *link, struct slot *slot,
	const struct cluster_message *message);
/* Of a replica: a scrub has found it damaged at `lsn`. Nothing happens where nobody is in reach. */
void replicator_link_scrub(struct replicator_link *link, struct slot *slot, uint64_t lsn);
/* Of a replica, whose log the replicator holds: sends MESSAGE_PUNCH, or answers that it is not now.
 */
void replicator_link_punch(struct replicator_link *link, struct slot *slot,
	const struct cluster_message *message);

#endif
