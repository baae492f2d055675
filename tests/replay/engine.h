#ifndef PANDO_TESTS_REPLAY_ENGINE_H
#define PANDO_TESTS_REPLAY_ENGINE_H

/*
 * A protocol engine that replay scripts drive. Each replay program links the runner, the world and
 * the engines it lists in replay_engines.
 */

#include "replay/world.h"

struct replay_engine {
	const char *name; /* as in the first line of a script */
	/* Called once before the first connection. `arguments` is the rest of the script's first
	 * line. */
	void (*start)(struct str arguments);
	/* A new connection from a client; `arguments` is the rest of the `connect` line. */
	struct stream *(*connect)(struct str arguments);
	/* A line `do ...` of the script: false when it makes no sense. NULL: there are none. */
	bool (*command)(struct str text);
	/* After the last line: everything must be released. NULL: nothing is. */
	void (*stop)(void);
};

/* Ends with NULL. */
extern const struct replay_engine *const replay_engines[];

#endif
