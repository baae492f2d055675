#ifndef PANDO_TESTS_SIM_MAIL_H
#define PANDO_TESTS_SIM_MAIL_H

/* Messages whose every byte follows from a number, so that whoever reads one knows which it is. */

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* The same mark again gives the same message. */
void mail_write(uint64_t mark, struct buf *out);
size_t mail_length(uint64_t mark);
/* The mark in a header that a FETCH has brought; UINT64_MAX: none. */
uint64_t mail_mark(struct str text);
/* Whether this is the whole message of that mark, behind what the server puts in front. */
bool mail_is(struct str message, uint64_t mark);

#endif
