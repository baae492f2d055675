#ifndef PANDO_CTL_CLUSTER_H
#define PANDO_CTL_CLUSTER_H

/* The cluster as the directory describes it, and its daemons as they answer. */

#include "ctl/ask.h"
#include "ctl/command.h"

#include "core/buf.h"

enum {
	/* Before a failover: a daemon that lives answers well within this even when it is busy, and
	 * one that is taken for dead by mistake makes a clean move an unclean one. A site that is
	 * dead beyond refusing connections holds a failover up for this long, which leaves it under
	 * two seconds. */
	ASK_LOOK_MS = 1000,
	/* For reports: nothing waits for them but a person. */
	ASK_MS = 3000,
};

struct cluster {
	struct directory *directory;
	struct asker *asker;
};

/* 0 or an exit code with the sentence printed. */
int cluster_open(struct command *command, struct cluster *cluster) must_check;
/* For looking only: with the directory away, as it was when `pando` last read or changed it, but
 * for volumes that a node says it serves in a later epoch; and says so. Then command->writer is
 * NULL. */
int cluster_open_to_look(struct command *command, struct cluster *cluster) must_check;
/* What that goes on with, after this command has changed the directory. Best effort. */
void cluster_keep_places(struct command *command);
/* Frees what nodes have answered so far: for who asks again and again. */
int cluster_forget_answers(const struct command *command, struct cluster *cluster) must_check;
void cluster_close(struct cluster *cluster);

const char *cluster_site_name(const struct cluster *cluster, uint32_t site_id);
const struct directory_site *cluster_find_site(const struct cluster *cluster, const char *name);
const struct directory_volume *cluster_find_volume(const struct cluster *cluster, const char *name);

/* Says that there is no site, node or volume (`what`) of this name, and which is the nearest;
 * EXIT_FAILED. */
int cluster_no_such(const struct cluster *cluster, const char *what, const char *name);

/* The node has a copy of it, as primary or replica. */
bool cluster_holds(const struct directory_volume *volume, uint32_t node_id);
/* Its replicator has something to do: some volume with a copy there has another one elsewhere. */
bool cluster_replicates(const struct cluster *cluster, const struct directory_node *node);

/* The directory names a copy of it at another site than its primary's, and it is not just being
 * filled. */
bool cluster_has_copy_elsewhere(
	const struct cluster *cluster, const struct directory_volume *volume);
/* Says so where a volume, as the directory, which is open, has it now, has none and is to be kept
 * at two sites by its `durability`: what was asked for and cannot be had is not passed over in
 * silence. */
void cluster_warn_alone(struct command *command, const char *name, const char *durability);

/* No other command changes the volume, or moves it, until this one (`doing`, for the others) has
 * ended. 0 or an exit code with the sentence printed. */
int cluster_take_volume(struct command *command, const struct directory_volume *volume,
	const char *doing) must_check;

/* One question per node or router, in the directory's order; free() the array. */
struct question *cluster_ask_nodes(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out);
struct question *cluster_ask_routers(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out);
/* The same of the nodes' replicators; one without anything to do is not asked: its answer is NULL
 * and its address empty. */
struct question *cluster_ask_replicators(
	struct cluster *cluster, const char *request, unsigned timeout_ms, unsigned *count_out);

/* What a node answered, or NULL; `nodes` are all nodes' questions. */
const struct json *cluster_answer_of(
	const struct cluster *cluster, const struct question *nodes, uint32_t node_id);
/* The entry of a volume in a node's `status` answer, or NULL. */
const struct json *status_volume(const struct json *status, uint32_t volume_id);
/* What the volume's primary says of it; NULL when it does not answer or is not primary. */
const struct json *cluster_primary_of(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume);
/* What a primary says of the replica at the node of this name, or NULL; `primary` may be NULL. */
const struct json *status_peer(const struct json *primary, const char *node);
/* A copy, as its node says, has lost some of what it had, or is being filled. `volume` may be NULL.
 */
bool status_is_filled(const struct json *volume);

/* The highest number of a mailbox that a volume of these nodes has seen, and which volume. */
uint64_t status_highest_mailbox_id(
	const struct question *nodes, unsigned count, uint32_t *volume_id_out);
/* The same of all nodes that answer at once, for a number that is to be given; 0 where none can be
 * asked. Who is away is passed over: should a number be given twice, the mailboxes' marks differ.
 * The directory is open. */
uint64_t cluster_highest_mailbox_id(struct command *command);

#endif
