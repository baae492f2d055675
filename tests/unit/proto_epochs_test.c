#include "proto/disk/epochs.h"

#include "unit/test.h"

#include <errno.h>

static struct epoch_entry entry(
	uint64_t epoch, uint32_t opening, uint64_t start_lsn, uint64_t incarnation)
{
	struct epoch_entry made = { .epoch = epoch,
		.start_lsn = start_lsn,
		.incarnation = incarnation,
		.opening = opening };
	memset(made.reign, (int)epoch, sizeof(made.reign));
	return made;
}

TEST(the_next_epoch_of_a_class_is_the_least_one_above)
{
	static const struct {
		uint64_t above;
		unsigned slot;
		uint64_t next;
	} rows[] = { { 1, 1, 9 }, { 1, 2, 2 }, { 1, 0, 8 }, { 8, 0, 16 }, { 9, 2, 10 },
		{ 9, 1, 17 }, { 15, 7, 23 }, { 0, 1, 1 } };
	for (size_t i = 0; i < array_length(rows); i++)
		EXPECT_INT(rows[i].next, epochs_next(rows[i].above, rows[i].slot));
	/* Two copies never come to one number, whatever each has seen. */
	for (uint64_t a = 0; a < 50; a++)
		for (uint64_t b = 0; b < 50; b++)
			EXPECT(epochs_next(a, 1) != epochs_next(b, 2));
}

TEST(an_unclean_reign_is_half_a_slack_beyond_what_openings_have_passed_over)
{
	struct epochs epochs = { 0 };
	EXPECT_INT(1, epochs_least_unclean(&epochs, 0));
	/* Half slacks passed over, in all, at most: 2, 3, 4, 5; then 8 at least in epoch 5. */
	struct epoch_entry entries[] = { entry(2, 0, 0, 11), entry(2, 1, 4096, 12),
		entry(2, 2, 8192, 13), entry(2, 2, 12288, 14), entry(2, 7, 16384, 15),
		entry(5, 0, 20480, 16), entry(5, 1, 24576, 17), entry(9, 0, 28672, 18),
		entry(9, 1, 32768, 19) };
	static const uint64_t least[] = { 3, 3, 4, 4, 4, 6, 6, 10, 10 };
	for (size_t i = 0; i < array_length(entries); i++) {
		EXPECT(epochs_add(&epochs, &entries[i]));
		EXPECT_INT(least[i], epochs_least_unclean(&epochs, entries[i].start_lsn + 1));
	}
	/* What stands behind the end has been cut off. */
	EXPECT_INT(3, epochs_least_unclean(&epochs, 8192));
	EXPECT_INT(1, epochs_least_unclean(&epochs, 0));
	epochs_deinit(&epochs);
}

TEST(an_opening_that_all_agreed_to_begins_anew_and_a_restart_does_not)
{
	struct epochs epochs = { 0 };
	EXPECT(epochs_opened(&epochs) == NULL);
	struct epoch_entry entries[] = { entry(1, 0, 0, 11), entry(1, 0, 4096, 12),
		entry(1, 1, 8192, 13), entry(1, 1, 12288, 14) };
	static const uint64_t begins[] = { 0, 0, 8192, 8192 };
	for (size_t i = 0; i < array_length(entries); i++) {
		EXPECT(epochs_add(&epochs, &entries[i]));
		EXPECT_INT(begins[i], epochs_opened(&epochs)->start_lsn);
	}
	EXPECT_INT(1, epochs_opening(&epochs, 12289, 1));
	EXPECT_INT(0, epochs_opening(&epochs, 12289, 2));
	/* One that was announced has written nothing. */
	EXPECT_INT(0, epochs_opening(&epochs, 8192, 1));
	struct epoch_entry next = entry(10, 0, 16384, 15);
	EXPECT(epochs_add(&epochs, &next));
	EXPECT_INT(16384, epochs_opened(&epochs)->start_lsn);
	epochs_deinit(&epochs);
}

TEST(a_log_without_bytes_is_a_prefix_of_any_whatever_was_announced_to_it)
{
	struct epochs announced = { 0 }, written = { 0 };
	struct epoch_entry first = entry(1, 0, 0, 1), later = entry(9, 0, 0, 2);
	uint64_t common = 7;
	EXPECT(epochs_add(&announced, &first));
	EXPECT(epochs_add(&written, &later));
	EXPECT_INT(0, epochs_common_end(&announced, 0, &written, 8192, &common));
	EXPECT_INT(0, common);
	EXPECT_INT(-ENOENT, epochs_common_end(&announced, 4096, &written, 8192, &common));
	epochs_deinit(&announced);
	epochs_deinit(&written);
}
