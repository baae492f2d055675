#ifndef PANDO_PROTO_MAIL_UTF7_H
#define PANDO_PROTO_MAIL_UTF7_H

/* Modified UTF-7 of IMAP folder names (RFC 3501 section 5.1.3) from and to UTF-8. */

#include "core/buf.h"

/* Appends the encoded name; bytes that are not UTF-8 become U+FFFD. */
void utf7_encode(struct str utf8, struct buf *out);
/* Appends the name in UTF-8; false (with part of it appended) for anything but the one correct
 * encoding of some text. Raw UTF-8 bytes are let through when valid, as clients of UTF8=ACCEPT send
 * them. */
bool utf7_decode(struct str name, struct buf *out);

/* One code point off *rest (which is not empty); -1 for a malformed byte, which is passed over. */
int32_t utf8_next(struct str *rest);
void utf8_append(struct buf *out, uint32_t code_point);
/* Well-formed, without overlong forms and surrogates. */
bool utf8_is_valid(struct str s) must_check;

#endif
