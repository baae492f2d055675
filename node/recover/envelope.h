#ifndef PANDO_NODE_RECOVER_ENVELOPE_H
#define PANDO_NODE_RECOVER_ENVELOPE_H

/* What a person knows a message by, out of an ENVELOPE (RFC 3501 section 7.4.2). */

#include "core/pool.h"

/* In UTF-8, of the pool, ENVELOPE_TEXT_MAX bytes at most; empty where the envelope does not say it.
 */
enum { ENVELOPE_TEXT_MAX = 300 };
void envelope_read(
	struct str envelope, struct pool *pool, struct str *from_out, struct str *subject_out);

#endif
