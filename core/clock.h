#ifndef PANDO_CORE_CLOCK_H
#define PANDO_CORE_CLOCK_H

/* The only source of time. A simulated world links another implementation. */

#include <stdint.h>

/* Monotonic, stops in suspend: for timeouts and measurements. */
uint64_t clock_mono_us(void);
/* Microseconds since 1970-01-01 UTC: for dates people see. */
int64_t clock_wall_us(void);
/* For what runs alone, as a command does; nobody who has a loop sleeps. */
void clock_sleep_ms(unsigned ms);

#endif
