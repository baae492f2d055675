/* Which copy has more of a volume. */

#include "ctl/position.h"

#include "core/check.h"
#include "unit/test.h"

struct row {
	struct position a, b;
	int order;
};

TEST(the_later_opening_has_more_where_both_are_known_else_the_longer_log)
{
	static const struct row rows[] = {
		{ { 9, 100, 0, true }, { 8, 900, 5, true }, 1 },
		{ { 9, 100, 2, true }, { 9, 900, 1, true }, 1 },
		{ { 9, 100, 1, true }, { 9, 90, 1, true }, 1 },
		{ { 9, 100, 1, true }, { 9, 100, 1, true }, 0 },
		/* An old primary whose log does not open says nothing of its opening. */
		{ { 9, 100, 0, false }, { 9, 90, 2, true }, 1 },
		{ { 9, 90, 0, false }, { 9, 100, 2, true }, -1 },
		{ { 9, 100, 0, false }, { 9, 100, 2, true }, 0 },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		EXPECT_INT(rows[i].order, position_compare(&rows[i].a, &rows[i].b));
		EXPECT_INT(-rows[i].order, position_compare(&rows[i].b, &rows[i].a));
	}
}
