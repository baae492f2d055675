#ifndef PANDO_TESTS_SIM_CLUSTER_H
#define PANDO_TESTS_SIM_CLUSTER_H

/*
 * Two or three machines (and two of routers, routers.h), each with a node's volumes (a copy of
 * every one) and a replicator (the shipped code), a directory that is always right but reaches
 * machines late or not at all, and an operator who fails over. Keeps the history that the checkers
 * read.
 */

#include "sim/world.h"

#include "node/mailbox/mailbox.h"
#include "sim/history.h"

enum {
	CLUSTER_MACHINES_MAX = 3,
	/* Machines behind those of the nodes, how many these ever are. */
	CLUSTER_ROUTER_FIRST = CLUSTER_MACHINES_MAX,
	CLUSTER_ROUTERS = 2,
	CLUSTER_VOLUMES = 2,
	CLUSTER_MAILBOXES = 4,
	/* The first of a volume, which sessions change that no user knows of. */
	CLUSTER_SHARED_MAILBOXES = 2,
	CLUSTER_REMOTE_WAIT_MS = 500,
	CLUSTER_ALONE_AFTER_MS = 5000,
	CLUSTER_FREE_WAIT_MS = 1000,
	/* So that room comes back within a run, too, while a copy is away. */
	CLUSTER_CHECKPOINT_MS = 1000,
	/* No room is kept for who is away: little is expunged in a run. */
	CLUSTER_RETAINED_BYTES_MAX = 1,
	/* Of the last mailbox of a volume: full in the middle of a run. */
	CLUSTER_QUOTA_BYTES = 400000,
};

struct cluster_mailbox {
	enum durability durability;
	uint64_t quota_bytes;
};
struct cluster_mailbox cluster_mailbox(uint64_t id);

void cluster_start(unsigned machines);
/* Of machines that start from now on; 0, as after cluster_start: without a limit. */
void cluster_limit_filling(uint64_t bytes_s);
/* The two are at one site; each machine begins at one of its own. */
void cluster_put_together(unsigned machine, unsigned other);
unsigned cluster_machines(void);
/* Deliveries, flag changes and expunges go on at random until told to stop. */
void cluster_start_load(void);
void cluster_stop_load(void);
/* One more delivery, now; its index in the history. */
size_t cluster_deliver(uint32_t volume_id, uint64_t mailbox_id, enum durability durability);
void cluster_crash(unsigned machine);
/* What of its processes does not run. */
void cluster_restart(unsigned machine);
/* A machine that is cut off from the directory goes on with what it knows, over restarts too. */
void cluster_cut_off(unsigned machine, bool cut_off);
/* The operator moves a volume: cleanly while its primary is up, now and then blindly, as if it were
 * out of reach; else as the loss of one site. Not clean means: to the best of the other copies,
 * which must all answer. */
void cluster_fail_over(uint32_t volume_id);
/* The directory names a machine primary in the next epoch. */
void cluster_promote(uint32_t volume_id, unsigned machine);
/* The operator looks at volumes that are closed: one that waits is opened alone, another one moves
 * to the copy that has most of all that run. How many there were. */
unsigned cluster_open_closed(void);

/* `pando copy reseed`: the machine, which is no primary, is to throw its copy away. */
void cluster_reseed(uint32_t volume_id, unsigned machine);
/* So lately that answers are on their way which it has confirmed before. */
bool cluster_has_just_thrown(uint32_t volume_id, unsigned machine);

/* ---- directories that are not right ---- */

/* Remembers the directory as it is now; puts it back, restored from a backup. */
void cluster_keep_directory(void);
void cluster_put_back_directory(void);
/* A second server that can be written comes to be: each machine follows one of them, drawn anew,
 * and each command of the operator goes to either. Then there is one again: the one that knows of
 * the later epoch. */
void cluster_split_directory(void);
void cluster_join_directory(void);

/* All machines run and reach each other and one directory that is right; every volume is served,
 * and its copies are in step. */
bool cluster_is_whole(void);

struct volume *cluster_volume(unsigned machine, uint32_t volume_id);
unsigned cluster_primary(uint32_t volume_id);

/* Prints what is wrong and returns false. Everything must be up, linked and quiet. */
bool check_all(void);
/* Reads all rows of all indexes: those that rotted are noticed when they are read, and the index is
 * made anew; what then stays closed is looked at by the operator. */
void check_read_indexes(void);
/* The same of what users have read at the end (user.h). */
bool check_read(void);
/* Set by the checkers that watch while it runs (two primaries in an epoch). */
extern bool cluster_failed;

#endif
