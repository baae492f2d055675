#ifndef PANDO_CTL_FILLING_H
#define PANDO_CTL_FILLING_H

/* How far a filling is, as a person at a terminal sees it: of one copy, or of many together. */

#include <stdbool.h>
#include <stdint.h>

enum {
	/* Between two looks at a copy that is being filled: a person sees it move. */
	FILL_LOOK_MS = 500,
};

struct filling {
	uint64_t begun_us;
	uint64_t has, end; /* bytes, of what is filled and of what it is filled from */
	bool shows_bar;
	const char *what; /* said behind the bar; NULL: nothing */
	/* private */
	uint64_t last_us, last_has;
	double bytes_per_s; /* smoothed over some looks */
};

/* `is_json`: nothing is drawn. */
void filling_start(struct filling *filling, bool is_json);
/* The same, and from now on an interrupt (SIGINT) ends the looking alone: the filling goes on
 * without it. */
void filling_begin(struct filling *filling, bool is_json);
bool filling_is_interrupted(void);
void filling_note(struct filling *filling, uint64_t has, uint64_t end);
/* `away`: the node that is not connected, or NULL. */
void filling_draw(const struct filling *filling, const char *away);
void filling_end(const struct filling *filling);
uint64_t filling_ms(const struct filling *filling);
unsigned filling_percent(uint64_t has, uint64_t end);

#endif
