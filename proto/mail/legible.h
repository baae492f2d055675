#ifndef PANDO_PROTO_MAIL_LEGIBLE_H
#define PANDO_PROTO_MAIL_LEGIBLE_H

/*
 * What text shows is what it is: which characters keep that from being true (ICU inside). RFC 6532
 * lets every character beyond ASCII into an address; these are what RFC 5198 section 2 and RFC 8264
 * section 9 take out of text that people compare by eye. Any thread.
 */

#include "core/buf.h"

enum { LEGIBLE = -1, LEGIBLE_MALFORMED = -2 };

/* The first character that would act on a screen instead of standing there: a control (C0, C1; an
 * escape sequence begins with one), a line or paragraph separator, a bidirectional control, which
 * shows what follows in another order. LEGIBLE: none; LEGIBLE_MALFORMED: not UTF-8. */
int32_t legible_find_control(struct str utf8);
/* The same, or one by which two names differ that look alike or that have no fixed look: white
 * space, zero width and other format characters, what is ignored where it cannot be shown,
 * unassigned and private ones. */
int32_t legible_find_unseen(struct str utf8);

/* Appends `text` as it can be shown: what legible_find_control finds as \xNN or \uNNNN, and so the
 * bytes that are not UTF-8. `keeps_lines`: a line feed stays. */
void legible_append(struct buf *out, struct str text, bool keeps_lines);

#endif
