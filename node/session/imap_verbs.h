#ifndef PANDO_NODE_IMAP_VERBS_H
#define PANDO_NODE_IMAP_VERBS_H

/* The table of commands after authentication. */

#include "node/session/imap_session.h"

struct metric;

/* NULL: no such command. */
const struct imap_verb *imap_verb_find(struct str name);
/* The counter of a verb's commands. */
struct metric *imap_verb_metric(const struct imap_verb *verb);

#endif
