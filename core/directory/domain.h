#ifndef PANDO_CORE_DIRECTORY_DOMAIN_H
#define PANDO_CORE_DIRECTORY_DOMAIN_H

/*
 * A mail domain has one canonical form, in which it is stored and compared: ASCII in lower case.
 * Labels of other scripts (U-labels, RFC 5890) become A-labels, by UTS #46 as it is for lookups,
 * non-transitional: "ß" and "ss" are two letters. So "Bücher.example" and "xn--bcher-kva.example"
 * are one domain, however a client writes it. ICU inside. Any thread.
 */

#include "core/str.h"

enum { DOMAIN_LENGTH_MAX = 255 }; /* RFC 5321 section 4.5.3.1.2 */

/* Writes the canonical form and returns it. Empty: it is too long, or a label is no valid one of an
 * internationalised domain name (RFC 5891). Of plain ASCII nothing else is checked. */
struct str domain_canonical(struct str domain, char out[DOMAIN_LENGTH_MAX]);

#endif
