#ifndef PANDO_NODE_VOLUME_H
#define PANDO_NODE_VOLUME_H

/*
 * One volume on this node: its role, its log where it is primary, its index, and who waits for what
 * to become how durable. Knows nothing of threads: volumes.c puts it on a worker, the simulation on
 * a simulated loop. Everything runs on `loop`.
 *
 * States and what is allowed in each:
 *
 *   REPLICA    the replicator writes the log; groups it reports are applied to the index
 *   OPENING    to be primary: the log is proven to be whole (promote.c), opened, the rest applied,
 *              the reign begins
 *   PRIMARY    serves sessions and deliveries
 *   FENCED     was primary, or is named and not yet opened; takes nothing, serves nothing, opens
 *              nothing, keeps the log until it is told what to become, or for FENCE_MS_MAX; then
 *              it has to prove itself anew
 *   HELD       a replica that acknowledges nothing more, so that a promotion can be decided by
 *              where the replicas stand; holds the log until the directory has a new epoch, or
 *              for FENCE_MS_MAX, and its log says so to whoever opens it meanwhile
 *   CLOSED     being destroyed
 *
 * Edges: REPLICA -> OPENING -> PRIMARY -> FENCED -> REPLICA | OPENING; OPENING -> REPLICA | FENCED;
 * REPLICA -> HELD -> REPLICA | OPENING; REPLICA -> FENCED; any but PRIMARY -> CLOSED.
 */

#include "core/timer.h"
#include "core/witness.h"
#include "node/index/index.h"
#include "node/volume/volumes.h"
#include "spool/log_mend.h"
#include "spool/log_reader.h"
#include "spool/log_state.h"
#include "spool/volume_log.h"

#include <stdatomic.h>

enum volume_state {
	VOLUME_REPLICA,
	VOLUME_OPENING,
	VOLUME_PRIMARY,
	VOLUME_FENCED,
	VOLUME_HELD,
	VOLUME_CLOSED
};

struct volume_replica {
	uint32_t node_id;
	uint8_t slot;   /* the class of its epochs */
	bool counted;   /* at another site: its acknowledgement is what `remote` means */
	/* Of struct directory_volume; is_seeding: it counts as no copy, so it is not counted. */
	uint64_t copy;
	bool is_seeding;
	/* It is in step when it has this: the durable end of when it had what stood here before. */
	uint64_t fill_lsn;
	bool connected;
	uint64_t acked_lsn;
	/* Its log is another one than the leader's: it counts for nothing, and acked_lsn is 0. */
	bool diverged;
	uint64_t moved_us; /* when acked_lsn last changed */
	/* In step while acked_lsn is not below it: the durable end when it connected, or when it
	 * stirred after a stall; UINT64_MAX while stalled. */
	uint64_t in_step_lsn;
	/* Since when room waits for it to have this much (space.c), 0: it does not; and that it is
	 * left behind. */
	uint64_t lacks_since_us, lacks_lsn;
	bool is_left_behind;
};

/* What the directory wants of this volume on this node. */
struct volume_desired {
	bool primary;
	bool is_live; /* what the directory itself says now, no copy of it */
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	/* Of struct directory_volume; `slot` is the class of this copy. */
	uint64_t token, clean_after;
	uint64_t incarnation, uid_slacks, freed_epoch, freed_lsn;
	uint8_t slot;
	unsigned replica_count;
	struct volume_replica replicas[VOLUME_COPIES_MAX];
};

/* A reign that a copy gives itself: compare-and-swap on the expected row. */
struct volume_claim {
	/* All other copies have answered, as replicas: nobody writes, whomever the row names. A
	 * directory that was put back may name another than who was given the last epoch. */
	bool is_heard;
	uint64_t expected_epoch, epoch, token, end_lsn;
	uint8_t expected_reign[GROUP_REIGN_LENGTH], reign[GROUP_REIGN_LENGTH];
};

struct volume_events {
	/* The replicator is to close its side of this volume; answer with volume_released and
	 * volume->question. Above 0, `prove_epoch` is the epoch that is to be written, or with
	 * volume->passes_over, passed over: first all other copies are heard. */
	void (*release)(void *arg, struct volume *volume, uint64_t prove_epoch);
	/* The directory is to give this copy an epoch of its own, as `claim` says, if it still
	 * names this node, or all have been heard, and can be written; otherwise nothing
	 * happens. */
	void (*claim)(void *arg, struct volume *volume, const struct volume_claim *claim);
	/* Of a replica: the replicator is to give the room of these bodies back, which the index
	 * here, applied up to volume->index.applied_lsn, says are free; answer with volume_punched
	 * and the number. They are good until it returns. */
	void (*punch)(void *arg, struct volume *volume, uint64_t number,
		const struct body_at *bodies, size_t count);
	/* The replicator is to find what other copies have of this damaged range, passing over the
	 * first `passed_over` that could answer; answer with volume_mend_with. */
	void (*mend)(void *arg, struct volume *volume, const struct log_damage *damage,
		unsigned passed_over);
	/* Durable end or state have changed: tell the replicator. */
	void (*changed)(void *arg, struct volume *volume);
	void *arg;
};

struct volume_options {
	struct loop *loop;
	struct disk *disk;
	uint32_t id;
	uint32_t node_id; /* of this node; 0: nobody asks whose copy it is */
	const char *log_directory, *index_path; /* copied */
	const char *witness_path;               /* copied; NULL: no memory beside the disk */
	uint64_t remote_wait_ms_max;
	/* How long silent copies are waited for before an opening goes on without them. */
	uint64_t alone_after_ms;
	/* How long a dead body keeps its room: somebody may be reading it. */
	uint64_t free_wait_ms;
	/* How much of that waits for a copy that is away, when it has been for so long. */
	uint64_t retained_bytes_max, stale_after_ms;
	/* CHECKPOINT_MS, where time is not the simulation's; 0: that. */
	uint64_t checkpoint_ms;
	/* How often a mailbox may be filled up (node/mailbox/rate.h); 0: as often as it is. */
	uint64_t write_quotas_per_day;
	/* Bodies are refused: what is left on the disk is for other records. NULL: never. */
	const atomic_bool *is_short_of_room;
	struct volume_events events;
};

/* Somebody who waits until the log is durable elsewhere up to `lsn`. */
struct ack_wait {
	struct list link;
	uint64_t lsn;
	uint64_t deadline_us; /* when it is given up, replica or not */
	enum durability durability;
	/* status 0, or -EAGAIN for `strict` that was not met; `at_risk`: on one site only. */
	void (*done)(struct ack_wait *wait, int status, bool at_risk);
};

/* Somebody who waits for the volume to stand still. Embedded in its owner. */
struct end_wait {
	struct list link;
	/* status 0: nothing is added while the fence or hold lasts, and the log is durable up to
	 * `end` (which says something where volume_is_proven_end); -ESTALE: the volume went on
	 * instead; another: the log cannot be opened. */
	void (*done)(struct end_wait *wait, int status, uint64_t end);
};

/* When a byte became durable here, until a counted replica has it too. */
struct lag_sample {
	uint64_t lsn, time_us;
};

/* A message answered with success while it was on one site only. */
struct at_risk {
	uint64_t lsn, mailbox_id;
	uint8_t delivery_id[DELIVERY_ID_LENGTH];
	uint32_t uid;
	int64_t since_us;
};

enum {
	/* Listed by name; beyond it they are counted. */
	AT_RISK_LISTED_MAX = 100000,
	/* Unshipped log that a start looks through to list what is in it: a quarter of a second.
	 * Bodies are passed over. */
	AT_RISK_SCAN_MAX = 256 << 20,
	/* Between two checkpoints: what a start has to replay at most; at full load a few hundred
	 * MB. */
	CHECKPOINT_MS = 5000,
	/* Between two parts of a replay the worker's other volumes have their turn: a timer of 0
	 * would come again in the same one. */
	APPLY_PAUSE_MS = 1,
	/* A replica that could not read what it received, for want of a descriptor: news would come
	 * with the next mail only. */
	APPLY_AGAIN_MS = 1000,
	/* While answers wait, their volume is looked at this often at least. */
	LOOK_MS = 100,
	/* When it was not looked at for this long, this process did not run: a turn of the loop
	 * takes milliseconds, ten times that under a heavy load. */
	LATE_MS_MAX = LOOK_MS + 250,
	/* A disk that has taken something within this is not asked again before a message is
	 * answered that stands on it alone: a copy that is away costs no second write per message.
	 */
	DISK_KNOWN_MS = 100,
	/* How often an opening that waits for others looks whether it may go on. */
	PROVE_LOOK_MS = 500,
	/* While another process lets go of the log: a sync or two. */
	LOCK_RETRY_MS = 20,
	/* Who reads a message waits for one answer of the replicator, which passes over a copy that
	 * does not answer after 2 s: as long, and a person has not given up yet. */
	MEND_WAIT_MS_MAX = 5000,
	/* After one that failed: a mailbox with much that is lost is not read at its pace. */
	MEND_AGAIN_MS = 10000,
	/* After an opening that failed, and doubled each time: a second is nothing beside a
	 * failover, and a disk that stays broken costs one look a minute. */
	OPEN_RETRY_MS_MIN = 1000,
	OPEN_RETRY_MS_MAX = 60000,
	/* A fence or hold that is not followed by a promotion ends after this. */
	FENCE_MS_MAX = HELD_MS_MAX,
	/* How late that may be noticed. */
	FENCE_POLL_MS = 500,
	/* A copy that is being filled has been in step when it lacks no more than was written while
	 * the last of it was on its way: what a line takes in a few hundredths of a second. */
	FILLED_WITHIN = 1 << 20,
	/* Unshipped commits whose age is known one by one; those beyond take the age of the newest
	 * kept. */
	LAG_SAMPLES_MAX = 4096,
};

/* Why an opening does not go on. */
enum volume_wait {
	WAIT_NONE,
	WAIT_COPIES, /* the other copies are heard */
	WAIT_LOST,   /* what is known to have been confirmed is nowhere to be had: alone by hand */
	WAIT_CLAIM,  /* the directory is to give it an epoch */
	WAIT_EPOCH,  /* of which there is none left: EPOCH_MAX */
	WAIT_ACKS,   /* the other copies are to have the first records of this opening */
	WAIT_EXPLAINED, /* the directory is to know of an epoch that was heard (any state) */
};

/* The answer to question number `question`; another number is of an earlier one. With `opening`
 * above 0 all other copies have been heard, and the log ends at (end, chain) with all that any of
 * them has. */
struct volume_release {
	uint64_t question, end, chain;
	uint32_t opening;
};

/* What an opening waits for, and what it was told. */
struct volume_opening {
	bool is_proving;  /* the replicator asks the other copies */
	bool is_proven;   /* it has, and they had nothing more: the log ends at (end, chain) */
	uint64_t end, chain;
	uint32_t number;  /* of this opening within its epoch; 0: the same as before */
	uint64_t since_us;
	bool is_applying; /* the log is whole, and is being read */
	bool has_failed; /* its first records were refused: it is begun anew */
	/* They have all been heard, and yet this epoch is not this copy's to begin. */
	bool is_heard;
	/* Not all have answered; what those have that did has been fetched, up to here. */
	bool is_ready, has_what_row_knows;
	bool is_unread; /* the vector could not be read just now: that says nothing then */
	uint64_t ready_end, ready_epoch; /* and of what the last bytes there are; 0: of nothing */
	uint64_t least_unclean; /* epochs_least_unclean of that */
	/* The first records of a proven opening: served when all copies have them; 0: does not
	 * apply. */
	uint64_t ack_lsn;
};

/* Numbers that other threads may read. */
struct volume_numbers {
	atomic_int state;
	/* What is here of `epoch` may be shipped as (epoch, reign), which do not change while this
	 * is true. */
	atomic_bool writes;
	atomic_bool is_proven; /* where it ends counts (volume_is_proven_end) */
	atomic_bool has_failed; /* volume_has_failed; then answered_* is what counts */
	atomic_bool is_index_usable;
	atomic_int waits_for; /* enum volume_wait, while OPENING */
	/* The highest epoch anybody has shown. */
	atomic_uint_fast64_t seen;
	/* 1 + the address at which a replica's log cannot be read; 0: it can. */
	atomic_uint_fast64_t damaged;
	atomic_uint_fast64_t reign[2], incarnation;
	/* epoch: of the last bytes of the log here; 0: none, or not read yet. */
	atomic_uint_fast64_t epoch, durable_lsn, applied_lsn, leader_lsn, messages, at_risk;
	/* Of a volume that has failed: volume_answered_epoch, answered_end of struct volume. */
	atomic_uint_fast64_t answered_epoch, answered_lsn;
	/* Of the log that is written here: damaged ranges that other copies have mended, and 1
	 * while the last one that was met could not be; since the process began. */
	atomic_uint_fast64_t mended, not_mended;
	/* Of the log here: bytes of messages that are shown; that no mailbox shows any more; and of
	 * those that may go, whose room has not come back yet. */
	atomic_uint_fast64_t live_bytes, dead_bytes, free_bytes;
	/* And of those that no mailbox shows and some mailbox may recover. */
	atomic_uint_fast64_t kept_bytes;
	/* Of the log at durable_lsn, while `writes`; read both by volume_numbers_end. */
	atomic_uint_fast64_t durable_chain;
	atomic_uint end_stamp; /* odd while they change */
	atomic_uint_fast64_t leader_time_us;
	/* The log says of itself that it is whole from here on only: one that ends below is being
	 * filled, or has lost some of what it had. */
	atomic_uint_fast64_t whole_from;
	/* Of all mailboxes that were ever in the log here; never lower while the process runs. */
	atomic_uint_fast64_t highest_mailbox_id;
	/* What the directory should say at least, as struct directory_volume means it; never lower
	 * while the process runs. */
	atomic_uint_fast64_t uid_slacks;
	/* So too, of this epoch; 0: nothing. */
	atomic_uint_fast64_t freed_lsn;
	/* Age of the oldest byte that no other site has. */
	atomic_uint_fast64_t lag_ms;
	/* Every UID here is below it; never lower while the process runs. */
	atomic_uint_fast64_t highest_uidnext;
	/* Copies that were being filled and have been in step, as the directory is to say; 0: none.
	 */
	atomic_uint_fast64_t filled_copies[VOLUME_COPIES_MAX];
	/* Ids of the replicas that are stalled; 0: none. */
	atomic_uint_fast32_t stalled_nodes[VOLUME_COPIES_MAX];
};

/* Room that comes back (space.c). */
struct volume_space {
	/* Dead ones that are to be said free when every copy has the log up to mark_lsn, and not
	 * before a while: somebody may be reading them. */
	uint64_t *dead;
	size_t dead_count;
	uint64_t mark_lsn, since_us;
	/* Of those that were kept: index.bodies.dead_bytes counts all others. */
	uint64_t dead_over_bytes;
	bool is_full_of_over; /* there may be any number more */
	/* Of index.bodies when they were found: one that has been shown again since is of a later
	 * mark. */
	uint64_t revived;
	bool is_freeing; /* the log is being told */
	/* Of a pass over the kept ones (keeping.c): the next range, when it began, and those that
	 * are kept no longer. */
	uint64_t kept_next, kept_since_us;
	bool is_passing;
	struct body_at *over;
	size_t over_count;
	uint64_t over_bytes;
	/* Free ones whose room is coming back just now. */
	struct body_at *punched;
	size_t punched_count;
	uint64_t number, asked_us; /* of a replica's question; 0: none */
	bool makes_no_holes;       /* the file system: it has said so */
};

/* The domains that keep what is expunged from their mailboxes (keeping.c). */
struct volume_keeping {
	struct directory_keeping *domains; /* rising by id, on the heap */
	size_t count;
	bool is_fresh; /* until the directory itself has said so, nothing that is kept goes */
};

/* Somebody who waits until the log can be read at `lsn`. Embedded in its owner; not to be given up.
 */
struct mend_wait {
	struct list link;
	uint64_t lsn; /* private */
	/* A scrub: nobody waits for what it asks. It is not held up because a reader's has failed,
	 * and does not hold one up when it fails. */
	bool is_scrub;
	/* 0: read again; a negative errno: it cannot be mended now. May come at once. */
	void (*done)(struct mend_wait *wait, int status);
};

/* What is being mended in the log of a primary (mend.c). */
struct volume_mend {
	struct list waits;
	/* IDLE: nothing; LOCATING: where; FETCHING: the replicator asks other copies; WRITING. */
	enum { MEND_IDLE, MEND_LOCATING, MEND_FETCHING, MEND_WRITING } state;
	uint64_t lsn;             /* of whom it is done for */
	bool is_for_scrub;
	unsigned passed_over, ranges;
	struct log_locate locate;
	struct timer *timer;
	uint64_t again_us; /* before it nothing is tried: it has just failed */
};

struct volume {
	struct volume_options options;
	struct index index;
	enum volume_state state;
	struct volume_log *log;
	struct log_reader *reader;
	struct volume_desired desired;
	bool has_desired, is_releasing, writes;
	bool was_served; /* since the log was opened last */
	bool is_unread;  /* a replica that could not read what it has received, which was said */
	bool is_published;
	bool branch_is_checked; /* the index belongs to the log as it is now */
	uint64_t reign_epoch; /* of the last opening */
	uint64_t opened_end;  /* where the log ended then */
	uint64_t purged_end;  /* of the last PURGE that may be in the log */
	/* What ends above it was answered to nobody as done: when the disk has failed no copy lacks
	 * anything that was confirmed here if it has this much (volume_answered_epoch). */
	uint64_t answered_end;
	/* Highest epoch anybody has shown; below it nothing may be written. */
	uint64_t highest_epoch;
	struct witness_file *witness;
	struct volume_opening opening;
	struct volume_space space;
	struct volume_keeping keeping;
	struct volume_mend mend;
	struct mend_wait replay_wait; /* of an opening that has met damage */
	uint64_t replay_mended; /* 1 + where that was last; 0: nowhere */
	uint64_t question; /* of the last event `release` */
	/* The log here must reach this to count as whole: what is known to have been confirmed. */
	uint64_t known_end;
	/* The log says of itself that it is whole from here on only (spool/log_state.h). */
	uint64_t whole_from;
	/* Since when an epoch above the directory's is known (unexplained.c); 0: there is none.
	 * passes_over: OPENING only to have it passed over. */
	uint64_t unexplained_since_us;
	bool passes_over;
	/* A copy elsewhere has confirmed what is lost here: no success is claimed until it is back.
	 */
	bool is_behind;
	/* An opening of this process that is on no copy's branch: another machine's memory was
	 * taken for its own (volume_behind). What it wrote is kept as salvage. 0: none. */
	uint64_t abandoned_incarnation;
	/* What the directory has been asked for last (epoch 0: nothing), and where the log ended
	 * then: nobody else is given that epoch. */
	struct volume_claim claim;
	/* The last claim could not be made: said once. */
	bool has_no_epoch;
	/* The most that the directory has said; never lower, whatever comes back older. */
	uint64_t uid_slacks;
	/* A later reign has to pass over so many half slacks to begin above what this one gives. */
	uint64_t halves_needed;
	/* The directory's own last word; `desired` may be ahead of it. */
	uint64_t row_epoch;
	uint8_t row_reign[GROUP_REIGN_LENGTH];
	/* Somebody decides by where it stands: a fence or hold that was asked for. */
	bool is_asked;
	/* Under which it stands still, as the last one who asked for that was told; 0: none. */
	uint64_t token;
	uint64_t token_end;  /* where its log ended then: a shorter one is another */
	uint64_t reader_end; /* durable bytes of the replica's log */
	struct volume_replica replicas[VOLUME_COPIES_MAX];
	unsigned replica_count;
	/* When an answer of a counted replica was last to be hoped for: it was in step, or began to
	 * catch up; 0: never. One that has just gone may be the first sign that this whole site is
	 * going: answers wait for it as if it were still there. */
	uint64_t hope_us;
	struct list waits;   /* ack_wait by lsn */
	uint64_t looked_us;  /* when they were last looked at */
	uint64_t disk_refused_us; /* when it could not be asked, for want of something else */
	uint64_t disk_known_us; /* when the disk has last said that it has what it was given */
	struct list pending; /* changes on their way to the log */
	struct timer *wait_timer, *checkpoint_timer;
	struct timer *apply_timer; /* runs while there is more to apply */
	struct timer *place_timer; /* looks whether the log is where it was */
	struct timer *retry_timer; /* OPENING: the lock; FENCED, HELD: polls; REPLICA: a new try */
	struct lag_sample *lag_samples; /* a ring of LAG_SAMPLES_MAX */
	size_t lag_first, lag_count;
	struct metric *lag_seconds;
	struct at_risk *at_risk;
	size_t at_risk_first, at_risk_count, at_risk_capacity;
	uint64_t at_risk_total;
	/* Up to here the log could not be read for the list: counted as one until a copy has it. */
	uint64_t unlisted_end;
	/* Up to here the log was read for it: also mail whose answer still waited then. */
	uint64_t listed_end;
	struct at_risk_listing *listing; /* under way (at_risk.c); NULL: none */
	struct map *pending_deliveries; /* dedupe key -> pending_change on its way */
	/* Changes that are in the log and that a broken index did not take: answered when the log
	 * has been replayed. */
	struct list unseen;
	struct task broken_task;
	bool broken_is_posted;
	bool is_reopening; /* FENCED only to be opened anew: nobody has asked for that */
	/* A replay from the log's start failed: another one is made only when the log has changed
	 * or the volume is opened anew. */
	bool contradicts_log;
	uint64_t retry_ms; /* after the last failed opening; 0: there was none */
	bool is_stopping;  /* FENCED for the end of the process */
	/* FENCED and HELD. */
	struct list end_waits;
	uint64_t still_since_us, hold_epoch;
	bool is_let_go; /* HELD: follows again as soon as the hold that is being written is there */
	struct volume_numbers numbers;
};

/* The directory's word on what is kept, or with `is_fresh` false that of a copy which may be old;
 * `domains` is copied. */
void volume_set_keeping(struct volume *volume, const struct directory_keeping *domains,
	size_t count, bool is_fresh);
/* For how many days this domain keeps what is expunged; 0: not at all, as far as is known. */
unsigned volume_days_kept(const struct volume *volume, uint64_t domain_id);
/* What an action says that lets messages of this mailbox go for good. */
void volume_keep(const struct volume *volume, const struct mailbox *mailbox, struct action *action);
/* Until when it can be recovered, in seconds since 1970; 0: not, or not any more. */
int64_t volume_kept_until(const struct volume *volume, const struct kept_message *kept);

/* The log, which is open here, cannot be read at `lsn`: what stood there is fetched from another
 * copy and written back, and `wait` (NULL: nobody does) is told. */
void volume_mend(struct volume *volume, uint64_t lsn, struct mend_wait *wait);
/* The replicator's answer to the event `mend`: groups that begin at `lsn` (one reference is taken),
 * none where the segment ends there elsewhere; NULL: no other copy than those that were passed over
 * has it. */
void volume_mend_with(struct volume *volume, uint64_t lsn, struct bytes *groups);
/* The replicator has answered a question of the event `punch`. -EAGAIN: not now. */
void volume_punched(struct volume *volume, uint64_t number, int status);
/* On any thread: durable_lsn and the chain of one moment. */
void volume_numbers_end(
	const struct volume_numbers *numbers, uint64_t *lsn_out, uint64_t *chain_out);

struct volume *volume_create(const struct volume_options *options);
/* Checkpoints, closes the log, frees. Nothing may be in flight: drain by volume_fence first. */
void volume_destroy(struct volume **volume);

/* The directory's word, at start and after every change. */
void volume_set_desired(struct volume *volume, const struct volume_desired *desired);
/* The replicator has closed its side (or is not there). */
void volume_released(struct volume *volume, const struct volume_release *release);
/* The proof waits for somebody; `is_ready`: what those have that answer has been fetched, and the
 * log ends at `end`. Some copy has said that it has it up to `known_end`. */
void volume_proving(struct volume *volume, bool is_ready, uint64_t end, uint64_t known_end);
/* The operator's word for an opening that waits: go on without the copies that are silent. With
 * `by_itself` the directory is away, and the epoch is this copy's own word until it is back.
 * -EALREADY: it is served; -ESTALE: it is not to be served here; -EAGAIN: it is being opened;
 * -ERANGE: there is no later epoch. */
int volume_open_alone(struct volume *volume, bool by_itself) must_check;
/* The replica's log here is durable up to `lsn`, and whole where that is `whole_from` or more; the
 * primary's was durable up to `leader_end` at `time_us`; 0: it was not heard. */
void volume_received(struct volume *volume, uint64_t lsn, uint64_t whole_from, uint64_t leader_end,
	uint64_t time_us);
void volume_was_cut(struct volume *volume, uint64_t lsn);
/* Of a replica: who writes its log is not heard any more. It may be cut, and grow past where it
 * ended, before he is heard again. */
void volume_unheard(struct volume *volume);
/* What a primary knows beside its log cannot be read there any more. */
void volume_mend_state(struct volume *volume);
void volume_acked(struct volume *volume, uint32_t node_id, uint64_t lsn, bool connected);
/* Where both logs should be the same, the replica's has another chain: what it has confirmed counts
 * no more, until it is connected again. */
void volume_diverged(struct volume *volume, uint32_t node_id);
/* Somebody has shown a higher epoch: stop writing below it, whatever the directory copy says. */
void volume_higher_epoch(struct volume *volume, uint64_t epoch);
/* Node `node_id` has acknowledged `epoch` up to `end`, which the log here does not have: what this
 * volume once confirmed is lost on this machine. It stops, and serves when that is fetched. */
void volume_behind(struct volume *volume, uint32_t node_id, uint64_t epoch, uint64_t end);
/* Before it is destroyed, of one whose log is not open: it stays so. */
void volume_close(struct volume *volume);
/* Takes nothing more; `wait` (may be NULL) is told when everything taken is durable. With
 * `lasting`, a FENCE record ends the log, so that the promise outlives a restart and the next
 * primary knows that it lacks nothing. One that is named and just being opened, or waits to be
 * tried again, stands still too: its proof ends, and what this machine remembers of it proves
 * nothing any more. -ESTALE for `wait` at once where the volume is not to be primary. */
void volume_fence(struct volume *volume, bool lasting, struct end_wait *wait);
/* Before it is destroyed, of one whose log is open: `wait` is told, with whatever status, as soon
 * as everything taken is durable, and nothing is begun any more. Who decides by where it stands is
 * not waited for. */
void volume_stop(struct volume *volume, struct end_wait *wait);
/* Where the log of a volume that stands still ends is where everything that it ever confirmed
 * ends: it was served since it was opened, or is a replica. */
bool volume_is_proven_end(const struct volume *volume);
/* Its disk has failed under it: nothing more is written here before its log is opened anew. */
bool volume_has_failed(const struct volume *volume);
/* The epoch of what ends at `answered_end`, of a volume that has its log. A reign that was
 * announced and whose first group never came to the disk has answered nothing that a copy could
 * lack. */
uint64_t volume_answered_epoch(const struct volume *volume);
/* A replica of `epoch` stops acknowledging, over restarts too: `wait` is told when nothing more can
 * come into its log. -ESTALE at once for a volume that is no replica or knows a later epoch. */
void volume_hold(struct volume *volume, uint64_t epoch, struct end_wait *wait);
/* A hold that an earlier command has left is over, its token void: the copy follows again. For who
 * has fenced the primary, so that nothing comes but what the fence has ended. One that is just
 * being written ends when it is: a hold that is asked for before that goes on. */
void volume_unhold(struct volume *volume);

/* ---- for operations and deliveries ---- */

/* A change on its way: append, apply, wait for durability, done. Embedded in its owner. */
struct pending_change {
	struct volume_append append;
	struct change change;
	struct pool *pool;       /* everything in change; destroyed when done */
	struct buf encoded;
	enum record_type record_type; /* 0: CHANGE */
	enum durability durability;
	bool waits_for_replica;  /* false: local durability is enough (flags, folders) */
	bool is_own;             /* the volume's: nobody is answered, so no copy must have it */
	struct volume *volume;
	struct list link;
	struct ack_wait wait;
	struct apply_result result; /* action_statuses: one for each action, of the pool */
	/* status 0 (applied; `at_risk` when on one site only), or negative: -EIO, -ENOSPC (not
	 * applied), -EAGAIN (applied, strict not met), -EROFS (not the primary: not applied, or on
	 * a branch that may be cut; or applied by a replay, so that its result is not known). */
	void (*done)(struct pending_change *pending, int status, bool at_risk);
};

/* Submits the change with up to two records in front of it (message, summary; may be empty: type
 * 0). Fill change, pool, durability, waits_for_replica and done before. The body bytes stay alive
 * until done. */
void volume_submit(struct volume *volume, struct pending_change *pending, struct str message,
	struct str summary);
/* Before numbers are taken for a change (ahead.h): what is ahead is what the changes on their way
 * hold, and nothing of those that were refused. Take, and submit or release, in one go. */
void volume_reserve(struct volume *volume);
/* The change that took numbers since volume_reserve is not submitted. */
void volume_release_reserved(struct volume *volume);
/* A delivery of this key is on its way. */
bool volume_has_pending_delivery(const struct volume *volume, const uint8_t key[16]);
/* Distance from the CHANGE record back to the MESSAGE record of volume_submit. */
uint64_t volume_body_back(size_t message_length, size_t summary_length);
/* The next modseq of a mailbox, taken. */
uint64_t volume_next_modseq(struct volume *volume, struct mailbox *mailbox);
/* False when `strict` cannot be met now: no counted replica is connected and moving. */
bool volume_has_live_replica(const struct volume *volume);
bool volume_has_replica(const struct volume *volume);
/* Where with `count` more the uids of a folder would run so far ahead of some copy that a reign
 * which begins there gives them again: deliveries and copies wait until the copies, or the
 * directory, have moved. */
bool volume_is_uid_slack_used(struct volume *volume, struct folder *folder, uint32_t count);
void volume_add_at_risk(struct volume *volume, const struct at_risk *entry);
/* Up to here another site has the log, as far as is known: what follows would be lost with this. */
uint64_t volume_shipped_end(const struct volume *volume);
/* Where what the first answer that waits for another site stands for ends; UINT64_MAX: none waits.
 */
uint64_t volume_first_wait(const struct volume *volume);

#endif
