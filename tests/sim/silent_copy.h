#ifndef PANDO_TESTS_SIM_SILENT_COPY_H
#define PANDO_TESTS_SIM_SILENT_COPY_H

/* A replica that leaves off receiving without a word: what no message says, its leader has to
 * notice. Of its own file, as the replicator and the node each have names of their own. */

#include "replicator/replicator.h"

/* It is receiving, and writes nothing just now: whoever has written asks anew. */
bool copy_awaits_more(const struct replicator *replicator, uint32_t volume_id);
/* On the replicator's machine. */
void copy_fall_silent(const struct replicator *replicator, uint32_t volume_id);
void copy_ask_anew(const struct replicator *replicator, uint32_t volume_id);

#endif
