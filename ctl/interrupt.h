#ifndef PANDO_CTL_INTERRUPT_H
#define PANDO_CTL_INTERRUPT_H

/*
 * A command that is to put something away, or give something back, before it ends: SIGINT, SIGTERM
 * and SIGHUP are noted, it looks where it can stop, puts away, and ends as it was told to. Whoever
 * sends the same one again does not wait for that.
 */

#include <stdbool.h>

void interrupt_begin(void);
bool interrupt_is_noted(void);
/* Ends the process by the signal that was noted, if one was. */
void interrupt_obey(void);

#endif
