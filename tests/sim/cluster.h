#ifndef PANDO_TESTS_SIM_CLUSTER_H
#define PANDO_TESTS_SIM_CLUSTER_H

/*
 * Two or three machines, each with a node's volumes (a copy of every one) and a replicator (the
 * shipped code), a directory that is always right but reaches machines late or not at all, and an
 * operator who fails over. Keeps the history that the checkers read.
 */

#include "sim/world.h"

#include "node/mailbox/deliver_part.h"
#include "node/mailbox/mailbox.h"

enum {
	CLUSTER_MACHINES_MAX = 3,
	CLUSTER_VOLUMES = 2,
	CLUSTER_MAILBOXES = 4,
	CLUSTER_REMOTE_WAIT_MS = 500,
};

/* One delivery to one mailbox, tried until it is answered or given up. */
struct history_entry {
	uint8_t delivery_id[DELIVERY_ID_LENGTH];
	uint32_t volume_id;
	uint64_t mailbox_id;
	enum durability durability;
	bool answered_ok; /* status 0 was seen */
	bool safe;        /* and it was on both machines then */
	uint64_t answered_epoch;
	uint64_t sent_us, answered_us; /* of the last try */
	uint32_t uid;
};

struct history {
	struct history_entry *entries;
	size_t count, capacity;
};

void cluster_start(unsigned machines);
unsigned cluster_machines(void);
/* Deliveries, flag changes and expunges go on at random until told to stop. */
void cluster_start_load(void);
void cluster_stop_load(void);
/* One more delivery, now; its index in the history. */
size_t cluster_deliver(uint32_t volume_id, uint64_t mailbox_id, enum durability durability);
void cluster_crash(unsigned machine);
void cluster_restart(unsigned machine);
/* A machine that is cut off from the directory goes on with what it knows, over restarts too. */
void cluster_cut_off(unsigned machine, bool cut_off);
/* The operator moves a volume: cleanly while its primary is up, now and then blindly, as if it were
 * out of reach; else as the loss of one site. Not clean means: to the best of the other copies,
 * which must all answer. */
void cluster_fail_over(uint32_t volume_id);
/* The directory names a machine primary in the next epoch. */
void cluster_promote(uint32_t volume_id, unsigned machine);

struct volume *cluster_volume(unsigned machine, uint32_t volume_id);
unsigned cluster_primary(uint32_t volume_id);
const struct history *cluster_history(void);

/* Prints what is wrong and returns false. Everything must be up, linked and quiet. */
bool check_all(void);
/* Set by the checkers that watch while it runs (two primaries in an epoch). */
extern bool cluster_failed;

#endif
