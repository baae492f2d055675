#ifndef PANDO_NODE_VOLUMES_H
#define PANDO_NODE_VOLUMES_H

/*
 * All volumes of a node and their worker threads, as the front thread (listeners, LMTP, IMAP login,
 * directory) sees them. A session of one mailbox moves to the worker of its volume.
 */

#include "core/bytes.h"
#include "core/directory/directory.h"
#include "core/net.h"

struct config;

struct volumes;
struct volume;

enum {
	/* Random: no two messages of all routers have the same. */
	DELIVERY_ID_LENGTH = 16,
};

/* Something that is to run on a volume's worker. Embedded in its owner. */
struct volume_call {
	void (*run)(struct volume_call *call, struct volume *volume); /* on the worker */
	/* private */
	struct task task;
	void *slot;
};
/* False when this node does not hold the volume: `run` is not called. */
bool volumes_call(struct volumes *volumes, uint32_t volume_id, struct volume_call *call) must_check;
bool volumes_hold(const struct volumes *volumes, uint32_t volume_id);
unsigned volumes_count(const struct volumes *volumes);
struct loop *volumes_front(const struct volumes *volumes);

/* Moves a detached stream to the volume's worker and calls start(volume, stream, arg) there; start
 * is called with volume NULL (on the front thread, stream attached nowhere) when this node does not
 * serve the volume now. */
void volumes_hand_over(struct volumes *volumes, uint32_t volume_id, struct stream *stream,
	void (*start)(struct volume *volume, struct stream *stream, void *arg), void *arg);

/* ---- for node/main.c and control.c ---- */

/* Starts the workers and the link to the replicator (run_dir/replicator.sock). Volumes appear with
 * the first volumes_reconcile. */
int volumes_create(struct loop *front, const struct config *config, struct directory *directory,
	struct volumes **volumes_out, struct error *error) must_check;
/* Fences and checkpoints everything, stops the workers. */
void volumes_destroy(struct volumes **volumes);
/* After every change of the directory. Until the directory is fresh, or a few seconds have passed
 * without it, a copy on disk is not acted upon: it may name a primary that
 * was replaced meanwhile. */
void volumes_reconcile(struct volumes *volumes);
/* After every change of the directory, too: sessions whose owner may not go on end, on the workers,
 * which look at the mailboxes that the change was about and at no others. */
void volumes_access_changed(struct volumes *volumes);
/* All volumes that want to be primary are. */
bool volumes_are_settled(const struct volumes *volumes);

/* Keeps the metrics of all volumes up to date from now on. Once, for the life of the process. */
void volumes_measure(struct volumes *volumes);
/* Takes removed mailboxes whose time is over out of the volumes that are served here, from now on.
 * Once, for the life of the process. */
void volumes_purge(struct volumes *volumes);
/* For `pando status`: appends members of an object, without braces. */
void volumes_status(struct volumes *volumes, struct buf *json_out);
/* JSON for `pando at-risk`: messages accepted while no other site had them, and what the logs of
 * volumes served here have above what another site has, by mailbox. Called back on the front
 * thread, once. */
void volumes_at_risk(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg);
/* Of the volumes in `list`, ID:LSN,ID:LSN,..., what the log here has above that address, which is
 * where a copy ends. -EINVAL for a malformed list. */
int volumes_above(struct volumes *volumes, struct str list,
	void (*done)(void *arg, struct str json), void *arg) must_check;
/* Mailboxes that the volumes served here hold: those that were made for this address; with an empty
 * one those that stand under the number of one of the directory's and are another, by their marks.
 */
void volumes_mailboxes(struct volumes *volumes, struct str made_for,
	void (*done)(void *arg, struct str json), void *arg);
/* How a volume is made to stand still: a primary is fenced, a replica held (see volume.h). */
enum volumes_end {
	VOLUMES_FENCE,
	VOLUMES_HOLD,
	/* A hold that was left by another command ends (volume_unhold). */
	VOLUMES_UNHOLD,
	/* Nothing is made to stand still: under which token does it? */
	VOLUMES_CONFIRM,
};
/* For many volumes at once, `list` being ID:EPOCH,ID:EPOCH,...; of each the answer has the durable
 * end and the log's chain there (two copies with another one there differ), the epoch and
 * opening that wrote it, the token under which it stands still (of the last
 * answer: all before are void) and the highest epoch it knows of, or an error. A volume that takes
 * longer than a few seconds does not hold up the answer. -EINVAL for a malformed list. */
int volumes_end(struct volumes *volumes, enum volumes_end how, struct str list,
	void (*done)(void *arg, struct str json), void *arg) must_check;

/* The ids of all volumes that are held here, on the heap. */
uint32_t *volumes_ids(const struct volumes *volumes, size_t *count_out);
/* Where the log of a volume ends here, durably; 0: not held, or not read yet. */
uint64_t volumes_log_end(const struct volumes *volumes, uint32_t volume_id);
/* The copy of a volume that is held here, for who looks through its log (node/scrub/). */
struct volumes_copy {
	const char *name;     /* of the volume; "": not known yet */
	bool is_primary;      /* its log is written here; else it is a replica */
	uint64_t end;         /* the log is durable up to here; 0: not read yet */
};
/* False where this node holds none, or its log is just moving from one writer to another. */
bool volumes_find_copy(
	const struct volumes *volumes, uint32_t volume_id, struct volumes_copy *copy_out);
/* Of a replica: what stands at `lsn` has rotted and is to be mended, if another copy has it. */
void volumes_mend_replica(struct volumes *volumes, uint32_t volume_id, uint64_t lsn);
/* JSON for `pando check`: folders of copies that this node holds no more. */
void volumes_kept(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg);
/* `pando open --alone`: see volume_open_alone. -ENOENT: not held here. */
int volumes_open_alone(struct volumes *volumes, uint32_t volume_id,
	void (*done)(void *arg, int status), void *arg) must_check;

/* Worker side. */
struct loop *volume_loop(const struct volume *volume);
uint32_t volume_id(const struct volume *volume);

#endif
