#ifndef PANDO_TESTS_UNIT_DIRECTORY_WORLD_H
#define PANDO_TESTS_UNIT_DIRECTORY_WORLD_H

/* Both sides of a directory in one process: the operator's writer and a daemon's follower, on a
 * standalone file or a PostgreSQL database that may be wiped. */

#include "core/directory/directory.h"
#include "core/directory/directory_write.h"
#include "core/timer.h"
#include "unit/test.h"

#define SCRAM \
	"SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=" \
	":" \
	"CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA="

struct world {
	struct loop *loop;
	struct timer *timer;
	struct config config;
	struct directory *directory;
	struct directory_writer *writer;
	char folder[64];
	unsigned changes;
	/* Of the last change. */
	bool is_news_all;
	uint64_t news[8];
	size_t news_count;
	uint64_t access; /* what has_other_access waits to see changed */
	bool is_postgres;
	/* wait_until's condition. */
	bool (*holds)(struct world *world);
	unsigned polls;
};

/* `postgres`: its URL; NULL: a file in a folder of its own. */
void open_world(struct world *world, const char *postgres);
void close_world(struct world *world);
/* Starts the follower. */
void open_directory(struct world *world);
/* Runs the loop until holds() is true, 3 seconds at most. */
bool wait_until(struct world *world, bool (*holds)(struct world *world));
void expect_done(int code, const struct error *error);
/* Two sites with a node each, a volume from the first to the second, one mailbox. */
void fill(struct directory_writer *writer);

#endif
