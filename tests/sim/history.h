#ifndef PANDO_TESTS_SIM_HISTORY_H
#define PANDO_TESTS_SIM_HISTORY_H

/* What clients were told, and which machines' disks are to have it: what the checkers go by. */

#include "node/mailbox/deliver_part.h"

#include <stdbool.h>
#include <stdint.h>

/* One delivery to one mailbox, tried until it is answered or given up. */
struct history_entry {
	uint8_t delivery_id[DELIVERY_ID_LENGTH];
	uint32_t volume_id;
	uint64_t mailbox_id;
	enum durability durability;
	bool is_append;   /* of a user: known by its uid */
	bool answered_ok; /* status 0 was seen */
	/* It was on two sites when that was said, or is not listed as at risk any more. */
	bool safe;
	/* The disks of all that held it were lost, or of all but one that was then passed over. */
	bool excused;
	unsigned holders; /* a bit for each machine that is to have it */
	unsigned answered_by; /* the machine */
	uint64_t answered_epoch;
	uint64_t sent_us, answered_us; /* of the last try */
	uint64_t took_us; /* the try that was answered first with success */
	uint32_t uid;   /* 0: not told */
	/* A router's queue has taken it; which routers' disks are to have it, a bit each. */
	bool queued, queue_excused;
	bool handed_over; /* and has it no more */
	unsigned queue_holders;
	bool was_home; /* a home was seen to have stored it */
	uint64_t queued_us, queued_epoch;
	unsigned found; /* in the INBOX, when all was read at the end */
};

struct history {
	struct history_entry *entries;
	size_t count, capacity;
};

const struct history *cluster_history(void);
void history_reset(void);
/* The new entry's index. */
size_t history_add(uint32_t volume_id, uint64_t mailbox_id, enum durability durability);
struct history_entry *history_entry(size_t index);

/* Success was answered by a machine; uid 0: it was not told. */
void history_answered(struct history_entry *entry, unsigned machine, uint32_t uid);
/* How often a machine's index has it. */
unsigned history_count_in_index(unsigned machine, const struct history_entry *entry);

/* Whether a mailbox has mail that may not be lost, answered before then in that epoch or an
 * earlier one. */
bool history_has_safe(uint64_t mailbox_id, uint64_t before_us, uint64_t epoch);

/* The disk of a machine has lost what was answered since then. */
void history_disk_lost(unsigned machine, uint64_t since_us);
/* Disks have been lost in this run. */
bool history_has_losses(void);
/* A volume goes to another machine; `clean`: with all that its primary has. */
void history_promoted(uint32_t volume_id, unsigned from, unsigned to, bool clean);
/* A copy gave itself an epoch, without those that are silent. */
void history_claimed(uint32_t volume_id, unsigned by);
/* What the primary that answered does not list as at risk (any more) is safe. */
void history_look_at_risk(struct history_entry *entry);

#endif
