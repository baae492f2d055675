#ifndef PANDO_TESTS_SIM_ROT_H
#define PANDO_TESTS_SIM_ROT_H

/*
 * Bytes that rot at rest, on one machine of a run, so that a good copy exists; and indexes that are
 * not of the log beside them. Remembers where, for the checkers.
 */

#include <stdbool.h>
#include <stdint.h>

/* Before a run: chooses the machine. */
void rot_reset(void);
/* Which machine rots. */
unsigned rot_machine(void);
/* A byte of a log's segment, often of a header; of a file beside the segments; a row of an index.
 */
void rot_log(unsigned machine);
void rot_beside_log(unsigned machine);
void rot_index(unsigned machine);
/* Whether bytes of that range of a volume's log are rotten there, and not mended. */
bool rot_is_in(unsigned machine, uint32_t volume_id, uint64_t from, uint64_t to);
/* Some have been, in this run. */
bool rot_was_in(uint32_t volume_id);
/* Something of a log has rotted in this run; of an index. */
bool rot_has_been(void);
bool rot_of_index_has_been(void);

/* An index is kept; put back while its machine is off; or another machine's is put there. */
void index_keep(unsigned machine);
void index_put_back(unsigned machine);
void index_swap(unsigned machine);

#endif
