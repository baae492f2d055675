#ifndef PANDO_NODE_VOLUME_INTERNAL_H
#define PANDO_NODE_VOLUME_INTERNAL_H

/* Between volume.c (states), submit.c (changes) and durability.c (lag, waits, at risk). */

#include "node/volume/volume.h"

/* ---- volume.c ---- */

/* Puts the numbers where other threads read them, and tells that they have changed. */
void volume_publish(struct volume *volume);
/* When everything taken is written: answers the fence and becomes what is desired. */
void volume_finish_fence(struct volume *volume);
/* Everything this reign has written up to `lsn` is in the index. */
void volume_note_applied(struct volume *volume, uint64_t lsn);

/* ---- durability.c ---- */

/* Age of the oldest byte that no counted replica has. */
uint64_t volume_lag_ms(const struct volume *volume);
void volume_note_durable(struct volume *volume, uint64_t lsn);
/* How long an answer waits that begins to wait now: from the last sight of a replica on. */
uint64_t volume_wait_deadline(const struct volume *volume);
/* Ends the waits that are met, or that have waited long enough. */
void volume_settle_waits(struct volume *volume);
void volume_on_wait_timer(void *arg);
/* The volume is given up: no success may be claimed. */
void volume_fail_waits(struct volume *volume);
/* At the start of a reign: lists what a replica may lack of what was answered before this start. */
void volume_find_at_risk(struct volume *volume, bool is_new_reign);

#endif
