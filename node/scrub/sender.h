#ifndef PANDO_NODE_SCRUB_SENDER_H
#define PANDO_NODE_SCRUB_SENDER_H

#include "core/str.h"

/* The first address of From in an ENVELOPE (RFC 3501 section 7.4.2); empty where there is none. The
 * bytes may be anything. */
void sender_of_envelope(struct str envelope, char *out, size_t size);

#endif
