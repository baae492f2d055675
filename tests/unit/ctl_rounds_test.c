/* How a failover spends the time for which copies stand still. */

#include "ctl/rounds.h"

#include "core/check.h"
#include "unit/test.h"

/* What is left when those rounds have taken all of theirs, and the others nothing. */
static uint64_t left_after(unsigned slow_rounds)
{
	uint64_t left_ms = DECIDE_MS;
	for (unsigned round = 0; round < ROUND_WRITE; round++)
		if (slow_rounds & 1u << round)
			left_ms -= round_ms((enum decide_round)round, left_ms);
	return left_ms;
}

TEST(whichever_rounds_wait_in_vain_the_row_is_written_in_time)
{
	for (unsigned slow = 0; slow < 1u << ROUND_WRITE; slow++)
		EXPECT(round_ms(ROUND_WRITE, left_after(slow)) >= 500);
}

TEST(every_round_has_time_for_a_daemon_that_lives_however_slow_those_before_it_were)
{
	uint64_t left_ms = DECIDE_MS;
	for (unsigned round = 0; round < ROUND_WRITE; round++) {
		unsigned ms = round_ms((enum decide_round)round, left_ms);
		EXPECT(ms >= 1000 || round == ROUND_LOSS);
		left_ms -= ms;
	}
}

TEST(without_delays_a_replica_has_six_seconds_and_a_look_to_catch_up)
{
	EXPECT_INT(5000, round_ms(ROUND_FENCE, DECIDE_MS));
	EXPECT_INT(7000, round_ms(ROUND_CATCH_UP, DECIDE_MS - 200));
	EXPECT_INT(1000, round_ms(ROUND_LOSS, DECIDE_MS - 6500));
}
