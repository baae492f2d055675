#ifndef PANDO_PROTO_MAIL_CHARSET_H
#define PANDO_PROTO_MAIL_CHARSET_H

/*
 * Text of any charset as UTF-8 (ICU inside), encoded words of headers, and substring search that
 * ignores case, width and composition, close to i;unicode-casemap (RFC 5051).
 */

#include "core/buf.h"
#include "core/pool.h"

bool charset_is_known(struct str name);
/* Appends `bytes` in UTF-8; what is malformed becomes U+FFFD. An unknown charset is
 * read as UTF-8. */
void charset_to_utf8(struct str name, struct str bytes, struct buf *out);
/* Appends a header field (or several) in UTF-8: unfolded, encoded words (RFC 2047) decoded. Raw
 * 8-bit text is taken as UTF-8 when it is that, else as Windows-1252. */
void charset_decode_header(struct str value, struct buf *out);

/* A compiled search string. */
struct text_needle;
struct text_needle *text_needle_create(struct pool *pool, struct str utf8);
/* An empty needle is found everywhere. */
bool text_needle_is_in(const struct text_needle *needle, struct str utf8);

#endif
