#ifndef PANDO_CTL_MOVE_H
#define PANDO_CTL_MOVE_H

/* The steps of a failover over all its volumes at once; failover.c says which and tells the result.
 */

#include "ctl/cluster.h"
#include "ctl/output.h"
#include "ctl/position.h"
#include "ctl/unshipped.h"

/* One copy of the volume, as its node has said. */
struct candidate {
	uint32_t node_id;
	const char *name; /* of the node, the directory's; NULL: it is in none */
	bool eligible; /* where the command wants it; the others are asked what they have */
	bool is_fit;   /* can serve it, as far as its node says (preflight.c); else why not */
	char unfit[16];
	bool leaves; /* at the site or node that is left: no more is asked of it than of the old
			primary */
	bool answers;
	bool is_seeding; /* no choice but with accept_loss, and nobody waits for it */
	bool has_any; /* of the volume, as far as it says: to promote nothing is to lose all */
	/* It stands still under `token`, and its log ends as the primary was fenced. */
	bool stands, ends_fenced;
	bool refuses;   /* its node answers and could not make it stand still */
	bool serves;    /* it says that it is the primary */
	bool has_failed; /* its disk takes nothing more: `position` is where what it confirmed ends
			  */
	bool is_broken; /* it says that it has lost some of what it had, or is being filled */
	/* The last that it said, also where it answers no more. */
	struct position position;
	uint64_t leader_lsn, leader_age_ms, token, seen_epoch, least_unclean;
	uint8_t slot;
	/* Its node's last `status`, and of it the volume's entry; NULL: it did not answer. The
	 * cluster's. */
	const struct json *status, *entry;
};

struct move {
	const struct directory_volume *volume;
	struct candidate candidates[VOLUME_COPIES_MAX];
	unsigned candidate_count;
	/* The old primary. old_writes: it writes and says so. One that answers but writes nothing
	 * (its disk has failed, its log or index cannot be opened or is not proven to be whole, or
	 * it has seen a later epoch) is passed over as a dead one is; what it has counts where its
	 * epoch says that it is known. `fenced`: it wrote, and stands still. */
	struct candidate old;
	bool old_writes, fenced;
	uint64_t at_risk;
	bool lag_known; /* as the chosen copy heard last from its primary */
	uint64_t last_lag_bytes, last_lag_age_ms;
	/* What the old primary has above the chosen copy, in the words of its node (`changes` of
	 * volumes_above); NULL: nobody could be asked, or nothing. The cluster's. */
	const struct json *loss;
	/* The decision; chosen_node_id 0: none. */
	uint32_t chosen_node_id;
	struct position chosen; /* where that copy's log ends */
	uint64_t epoch;
	uint64_t above_epoch; /* every epoch that anybody has heard of */
	bool clean, given_back, promoted, served;
	bool unconfirmed; /* somebody stands still for this no longer: nothing may be written */
	uint64_t served_after_ms;
	char waits_for[128]; /* not served yet: what its new node says */
	char problem[256];   /* why it does not move; empty when it does */
};

struct plan {
	struct cluster *cluster;
	struct move *moves;
	unsigned count;
	bool must_be_clean; /* a volume that cannot move without loss stays */
	bool accept_loss;   /* a living old primary whose replica does not catch up is left all the
			       same */
	struct table preflight; /* what fails, in rows */
	uint64_t started_us;
	uint64_t decide_by_us; /* 0: nothing stands still for this yet */
	uint64_t asked_ms, fenced_ms, promoted_ms, served_ms;
};

/* Where to: `to_site_id`, `node_id` alone, or (0) anywhere; but not to what is left. */
struct move_wish {
	uint32_t to_site_id, node_id, from_site_id, from_node_id;
};

void plan_add(
	struct plan *plan, const struct directory_volume *volume, const struct move_wish *wish);
void plan_free(struct plan *plan);

/* Asks old primaries and candidates where they stand, and decides as far as can be known. */
void plan_look(struct plan *plan);
/* Looks whether the candidates can serve: those that cannot are no choice, and a volume that has no
 * other does not move. `read_only`: why the directory cannot be written; an empty text: it can. */
void plan_preflight(struct plan *plan, const struct error *read_only);
/* Fences the old primaries that answer and waits, bounded, for a candidate to have everything.
 * Where that cannot be had, holds the replicas, so that where they stand is where they stay, and
 * decides by that. */
void plan_fence(struct plan *plan);
/* A volume that another copy has more of, or of which a replica could not be asked, does not move
 * (unless it moves clean, or loss is accepted): its problem names that node. */
void plan_compare(struct plan *plan);
/* Asks old primaries that answer what they have above the chosen copies, by mailbox. */
void plan_count_loss(struct plan *plan);
/* Rows of (volume, node): replicas that did not answer, of volumes that move or would. */
void plan_list_silent(const struct plan *plan, struct table *table);
/* What may be missing at the new primary, in words; and by mailbox, in rows of the columns that
 * PLAN_LOSS_COLUMNS names. */
void move_describe_loss(const struct move *move, struct buf *out);
#define PLAN_LOSS_COLUMNS \
	"volume", "mailbox", "#messages", "#copies", "#flags", "#expunges", "#folders", \
		"#subscriptions"
void plan_list_losses(const struct plan *plan, struct unshipped_names *names, struct table *table);
/* Asks all that stand still for this once more: who has restarted or gone on since stands still no
 * longer for what it said, and its volume does not move. */
void plan_confirm(struct plan *plan);
/* Changes the directory for every move without a problem; a fenced volume that cannot move is given
 * back to its old primary under a new epoch, unless another copy has more of it. A volume whose row
 * is another than was seen stays as it is, and the others move. Writes nothing when what stands
 * still for this may stand still no longer. */
int plan_promote(
	struct plan *plan, struct directory_writer *writer, struct error *error) must_check;
/* Takes back the holds of volumes that stay where they are, when it is known that they do. */
void plan_let_go(struct plan *plan);
/* Until the new primaries serve, bounded. */
void plan_wait(struct plan *plan);
/* All of it, from the fence on, when plan_look and plan_preflight have looked. The volumes are
 * taken. */
int plan_carry_out(
	struct plan *plan, struct directory_writer *writer, struct error *error) must_check;

#endif
