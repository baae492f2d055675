#ifndef PANDO_TESTS_SIM_CLUSTER_INTERNAL_H
#define PANDO_TESTS_SIM_CLUSTER_INTERNAL_H

/* Between cluster.c (machines and directory), operator.c (failovers) and load.c. */

#include "sim/cluster.h"

#include "core/config.h"
#include "node/session/imap_login.h"
#include "node/session/lmtp_session.h"
#include "node/volume/volumes_internal.h"
#include "replicator/replicator.h"

/* The directory's truth. */
struct truth {
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	unsigned primary;
	uint64_t token, clean_after;
	uint64_t incarnation, uid_slacks, freed_epoch, freed_lsn;
	/* Of each machine: the number of its copy (0: nobody numbers it), that it is being filled,
	 * and when it was last told to throw away what it had. */
	uint64_t copies[CLUSTER_MACHINES_MAX];
	bool is_seeding[CLUSTER_MACHINES_MAX];
	uint64_t thrown_us[CLUSTER_MACHINES_MAX];
};
/* Whether a copy that ends there has all without which room came back. */
bool truth_is_reached(const struct truth *truth, uint64_t epoch, uint64_t end);

/* As its node knows it: a node that starts anew has another one, with the same replicator. */
struct machine {
	unsigned number;
	struct loop *loop;
	struct disk *disk;
	struct config config;
	struct worker worker;
	struct volumes volumes;
	struct slot slots[CLUSTER_VOLUMES];
	struct replicator *replicator; /* another process, which may be dead */
	struct meant meant;
	struct lmtp_front lmtp;
	struct imap_front imap;
	struct listener *lmtp_listener, *imap_listener;
};

extern struct machine *machines[CLUSTER_MACHINES_MAX];
extern struct loop *replicator_loops[CLUSTER_MACHINES_MAX];
extern unsigned machine_count;
extern struct truth truths[CLUSTER_VOLUMES];

/* Where clients live: the machine behind the last of the cluster. */
struct loop *cluster_client_loop(void);
/* What a machine knows of the directory. */
const struct truth *cluster_known(unsigned machine, unsigned v);
struct directory *directory_of(unsigned machine);

/* The change feed reaches a machine a little later; runs as an event of that machine. */
void cluster_spread(unsigned machine, unsigned v, uint64_t delay_us);
/* The class of a machine's copy of a volume: the first primary has 1. */
unsigned cluster_slot(unsigned v, unsigned machine);
/* The volume goes to a machine, in an epoch above all that was heard of those that run. */
void cluster_name(unsigned v, unsigned target, uint64_t token, uint64_t clean_after, bool complete);
void load_reset(void);
/* There were two of it, or it was put back: an epoch may have two reigns. */
bool cluster_directory_has_lied(void);

/* ---- watch.c ---- */

void watch_start(void);
/* An answer is called safe: a second site has the bytes. */
void watch_safe(const struct history_entry *entry);

#endif
