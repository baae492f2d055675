#ifndef PANDO_TESTS_SIM_MODEL_H
#define PANDO_TESTS_SIM_MODEL_H

/*
 * What users were shown and answered, for as long as a run lasts: the messages by (mailbox,
 * UIDVALIDITY, UID), the numbers of folders. Whatever contradicts it is said and fails the run.
 */

#include "core/str.h"

#include <stdbool.h>
#include <stdint.h>

void model_reset(void);
bool model_failed(void);

/* A folder of a mailbox, by its UIDVALIDITY. */
struct model_folder {
	uint64_t mailbox_id;
	uint32_t uidvalidity;
};

/* SELECT has said so, in an epoch: neither goes down, ever. With `may_be_old`, an earlier epoch
 * than before may be shown: a directory that was put back sent the client to who has not heard yet.
 */
void model_selected(struct model_folder folder, uint32_t uidnext, uint64_t highest_modseq,
	uint64_t epoch, bool may_be_old);
/* A message was shown, or its uid answered to an APPEND: it is that one for ever. */
void model_shown(struct model_folder folder, uint32_t uid, uint64_t mark);
/* An answered change of its flags, or of its being, in an epoch: it is shown so for as long as that
 * epoch lasts. */
void model_flags_answered(struct model_folder folder, uint32_t uid, struct str flags,
	uint64_t epoch, unsigned machine);
void model_expunge_answered(
	struct model_folder folder, uint32_t uid, uint64_t epoch, unsigned machine);
/* The disk of a machine has lost what it answered since then: such changes wait for no other
 * site. */
void model_disk_lost(unsigned machine, uint64_t since_us);
/* A change was asked and never answered, or may have been overtaken. */
void model_flags_unknown(struct model_folder folder, uint32_t uid);
void model_flags_shown(
	struct model_folder folder, uint32_t uid, struct str flags, uint64_t epoch);

#endif
