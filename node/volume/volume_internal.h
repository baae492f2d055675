#ifndef PANDO_NODE_VOLUME_INTERNAL_H
#define PANDO_NODE_VOLUME_INTERNAL_H

/* Between the files of a volume: volume.c (states), replica.c (applying), promote.c, proof.c,
 * unexplained.c, fence.c, submit.c (changes), rebuild.c (a broken index), durability.c (lag, waits,
 * at risk, how far uids may run). */

#include "node/volume/volume.h"

/* ---- volume.c ---- */

/* Puts the numbers where other threads read them, and tells when the replicator has to know. */
void volume_publish(struct volume *volume);
/* Where the log here ends, whoever writes it. */
uint64_t volume_durable_end(const struct volume *volume);
/* The only way from one state to another. */
void volume_enter(struct volume *volume, enum volume_state state);
/* Takes a word that is not the directory's: this copy's own (proof.c). */
void volume_take_desired(struct volume *volume, const struct volume_desired *desired);
/* Above 0, prove_epoch is what is to be written. */
void volume_ask_release(struct volume *volume, uint64_t prove_epoch);
/* The directory wants it, nobody has shown a higher epoch, and the disk is well. */
bool volume_may_be_primary(const struct volume *volume);
/* Somebody else is primary, or is about to be: what is written here is on a branch that may be
 * cut. */
bool volume_is_deposed(const struct volume *volume);
/* No success may be claimed of what waits: deposed, or what was confirmed is lost here. */
bool volume_is_in_doubt(const struct volume *volume);
/* The directory has named a later reign than the one that is served, opened or fenced here. */
bool volume_has_new_reign(const struct volume *volume);

/* ---- replica.c ---- */

/* Everything this reign has written up to `lsn` is in the index. */
void volume_note_applied(struct volume *volume, uint64_t lsn);
/* Applies a step from the index's position towards `end`: 1 when more is left. An error may leave a
 * broken index behind. */
int volume_apply_range(struct volume *volume, uint64_t end) must_check;

/* The next steps, in another turn of the loop. */
void volume_on_apply_timer(void *volume);

/* ---- rebuild.c ---- */

/* Some steps; an index that contradicts the log is thrown away and made again by a replay, once.
 * -EUCLEAN: the log contradicts itself. */
int volume_apply_up_to(struct volume *volume, uint64_t end) must_check;
/* The index is broken: a primary stands still, replays, and goes on (see is_reopening). */
void volume_rebuild(struct volume *volume);
/* For index.on_broken. */
void volume_on_index_broken(void *owner);
/* Opens the index's store if that could not be done before. */
int volume_open_index(struct volume *volume) must_check;

/* ---- submit.c ---- */

/* The changes that a broken index did not take are answered: the replay has them, or the volume has
 * been given up. */
void volume_answer_unseen(struct volume *volume);

/* ---- promote.c ---- */

/* REPLICA, HELD or FENCED -> OPENING: the replicator is asked to let go first. */
void volume_begin_opening(struct volume *volume);
/* Opens the log, which the replicator has let go; says why it cannot. -EAGAIN: not yet. */
int volume_take_log(struct volume *volume) must_check;
/* The log was in the hands of another process, which may have cut it: open files may be of segments
 * that are gone, and the index of a branch that is. What was said of it may not have come. */
void volume_forget_read(struct volume *volume);
/* Above all that was ever given out before this opening, also to a mailbox that is made anew as
 * what made it was lost: by the epoch, and in the 12 bits below by the opening; beyond those, every
 * mailbox's own modseq still rises. */
uint64_t volume_least_modseq(const struct volume *volume);
/* Takes the log, or tries again in a moment; then the reign begins. */
void volume_try_open(struct volume *volume);
/* Applies some of the log that was taken; with all of it the reign begins. */
void volume_apply_opening(struct volume *volume);
/* A copy has acknowledged something: the opening may be complete. */
void volume_check_opening(struct volume *volume);
/* Has the directory told how many uids later reigns are to pass over for what is served now. */
void volume_tell_passed(struct volume *volume);
/* An opening failed: back to REPLICA, and a new try later, each time twice as late. */
void volume_retry_later(struct volume *volume);

/* ---- proof.c ---- */

/* The epoch of the last byte of the log, which is open: one that was only announced has not begun.
 */
uint64_t volume_written_epoch(const struct volume *volume);
/* The log was once confirmed up to `end`: one that ends below it lacks something. */
void volume_know_end(struct volume *volume, uint64_t end);
/* Of a log that does not open: what this machine remembers of it is known to be confirmed. */
void volume_recall(struct volume *volume);
/* The log, which is open, is known to be whole. */
bool volume_is_proven(struct volume *volume);
/* It is not: closes it and has the replicator hear the other copies; where they have all been heard
 * already, only an epoch of its own helps. */
void volume_ask_for_proof(struct volume *volume);
/* What the opening waits for. */
enum volume_wait volume_waits_for(const struct volume *volume);
/* From time to time while OPENING. */
void volume_poll_opening(struct volume *volume);
/* What this machine remembers beside its disk: where the log ends, under which token it stands. */
void volume_remember(struct volume *volume);
/* A later process does not go on by this boot's memory: it asks. */
void volume_forget_proof(struct volume *volume);
/* The log's epoch is above the directory's: true where this copy gave it to itself, and goes on in
 * it. */
bool volume_adopt_own_claim(struct volume *volume);

/* ---- unexplained.c ---- */

/* The directory names this copy in an epoch below one that was heard. */
bool volume_is_unexplained(const struct volume *volume);
/* A replica's word has changed: where it is so, a clock runs. */
void volume_await_explanation(struct volume *volume);
/* From time to time then, until the volume opens to pass that epoch over. */
void volume_poll_unexplained(struct volume *volume);
/* All copies were heard for it: the directory is asked. */
void volume_pass_over(struct volume *volume);

/* ---- fence.c ---- */

/* When everything taken is written: answers the fence and becomes what is desired. */
void volume_finish_fence(struct volume *volume);
/* When the directory has decided, or nobody has for too long: becomes what is desired. */
void volume_finish_hold(struct volume *volume);
/* From time to time while FENCED or HELD. */
void volume_poll_fence(struct volume *volume);
void volume_poll_hold(struct volume *volume);

/* ---- durability.c ---- */

/* Age of the oldest byte that no counted replica has. */
uint64_t volume_lag_ms(const struct volume *volume);
void volume_note_durable(struct volume *volume, uint64_t lsn);
/* Until a counted replica has wait->lsn, or it has been waited for in vain; fill lsn, durability
 * and done before. */
void volume_wait(struct volume *volume, struct ack_wait *wait);
/* Ends the waits that are met, or that have waited long enough. */
void volume_settle_waits(struct volume *volume);
/* A write has failed: what stands on that disk alone is confirmed to nobody any more. */
void volume_on_failed_disk(struct volume *volume);
void volume_on_wait_timer(void *arg);
/* Up to where those copies have the log that are left when one is gone. */
uint64_t volume_left_end(const struct volume *volume);
/* Other copies count than before: what waits for one that has gone is answered at once. */
void volume_recount(struct volume *volume);
/* It serves from now on. */
void volume_compare_copies(struct volume *volume);
/* The volume is given up: no success may be claimed. */
void volume_fail_waits(struct volume *volume);

/* ---- space.c ---- */

/* From time to time, when the index has been saved. */
void volume_look_at_space(struct volume *volume);

/* ---- keeping.c ---- */

enum {
	/* Of one pass: half of what is said free at a time (space.c, DEAD_MAX). */
	KEPT_OVER_MAX = 1 << 15,
};

/* Goes on with the pass over what is kept in the segments below one: what is kept no longer comes
 * to space->over. True when the pass has ended. */
bool volume_look_at_kept(struct volume *volume, uint64_t below_segment);
void volume_forget_kept(struct volume *volume);
/* Another log, or another reign: what was found says nothing any more. */
void volume_forget_space(struct volume *volume);

/* ---- mend.c ---- */

void volume_begin_mending(struct volume *volume);
/* Closes the log, if it is open; who waits for what is mended in it is told. */
void volume_close_log(struct volume *volume);
void volume_end_mending(struct volume *volume);

/* ---- at_risk.c ---- */

/* Up to where another site's copy that counts has the log for sure, as it wrote it. */
uint64_t volume_written_elsewhere(const struct volume *volume);
/* At an opening: lists what no other site may have of what was answered before. */
void volume_find_at_risk(struct volume *volume);
/* No other site has the log beyond `shipped` any more, though one had: a copy was cut, made anew,
 * or is another than was believed. What stands above is at risk again. */
void volume_list_anew(struct volume *volume, uint64_t shipped);
/* The volume goes. */
void volume_end_listing(struct volume *volume);

#endif
