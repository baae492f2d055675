/* What a failover decides by what copies have said: a volume of epoch 5, served by one, with two
 * replicas at other sites. */

#include "ctl/decide.h"

#include "core/check.h"
#include "unit/test.h"

#include <string.h>

enum { EPOCH = 5, END = 1000, B = 0, C = 1 };

static const struct directory_volume volume = { .id = 1, .name = "v1", .epoch = EPOCH };

struct story {
	struct plan plan;
	struct move move;
};

static struct candidate replica(uint32_t node_id, const char *name, uint64_t end)
{
	return (struct candidate){ .node_id = node_id,
		.name = name,
		.eligible = true,
		.is_fit = true,
		.answers = true,
		.stands = true,
		.has_any = true,
		.ends_fenced = end == END,
		.slot = (uint8_t)(node_id % VOLUME_COPIES_MAX),
		.position = { EPOCH, end, 1, true } };
}

/* The primary is fenced, both replicas are held and have all of it. */
static void begin(struct story *story)
{
	*story = (struct story){
		.move = { .volume = &volume,
			.candidate_count = 2,
			.candidates = { replica(2, "node-b", END), replica(3, "node-c", END) },
			.old = replica(1, "node-a", END),
			.old_writes = true,
			.fenced = true }
	};
	story->plan.moves = &story->move;
	story->plan.count = 1;
}

static void decide(struct story *story)
{
	move_choose(&story->plan, &story->move, true);
	plan_compare(&story->plan);
}

/* Of the copy to which the next reign is given. */
static uint64_t clean_after(const struct story *story)
{
	return move_clean_after(&story->move, move_chosen(&story->move));
}

static void fall_silent(struct candidate *candidate)
{
	candidate->answers = candidate->stands = false;
}

TEST(all_in_step_and_in_sight_goes_on_counting)
{
	struct story story;
	begin(&story);
	decide(&story);
	EXPECT(story.move.clean && !story.move.problem[0]);
	EXPECT_INT(EPOCH, clean_after(&story));
	EXPECT(story.move.epoch > EPOCH);
}

TEST(a_copy_out_of_sight_or_that_knows_of_a_later_epoch_ends_the_counting)
{
	for (int is_silent = 0; is_silent < 2; is_silent++) {
		struct story story;
		begin(&story);
		if (is_silent)
			fall_silent(&story.move.candidates[C]);
		else
			story.move.candidates[C].seen_epoch = EPOCH + 3;
		decide(&story);
		EXPECT(story.move.clean && !story.move.problem[0]);
		EXPECT_INT(0, clean_after(&story));
		/* Given back it is in the same place: another reign may have begun from this fence.
		 */
		EXPECT_INT(0, move_clean_after(&story.move, &story.move.old));
		EXPECT(is_silent || story.move.epoch > EPOCH + 3);
	}
}

TEST(it_is_given_back_from_its_fence_where_all_copies_stand)
{
	struct story story;
	begin(&story);
	story.move.candidates[B] = replica(2, "node-b", END - 100);
	story.move.candidates[C] = replica(3, "node-c", END - 100);
	decide(&story);
	EXPECT(!story.move.clean);
	EXPECT(move_may_give_back(&story.plan, &story.move));
	EXPECT_INT(EPOCH, move_clean_after(&story.move, &story.move.old));
	story.move.old.ends_fenced = false;
	EXPECT_INT(0, move_clean_after(&story.move, &story.move.old));
}

TEST(it_is_not_given_back_below_what_a_copy_has_or_had_when_it_fell_silent)
{
	for (int is_silent = 0; is_silent < 2; is_silent++) {
		struct story story;
		begin(&story);
		story.move.candidates[B] = replica(2, "node-b", END - 100);
		story.move.candidates[C] = replica(3, "node-c", END + 50);
		if (is_silent)
			fall_silent(&story.move.candidates[C]);
		EXPECT(!move_may_give_back(&story.plan, &story.move));
		EXPECT(strstr(story.move.problem, "node-c has more of it than its primary"));
		/* Who accepts loss has been told. */
		story.plan.accept_loss = true;
		EXPECT(move_may_give_back(&story.plan, &story.move));
	}
}

TEST(a_copy_of_a_later_reign_stops_a_clean_move_past_it)
{
	for (int is_silent = 0; is_silent < 2; is_silent++) {
		struct story story;
		begin(&story);
		story.move.candidates[C].position.epoch = EPOCH + 2;
		story.move.candidates[C].eligible = false;
		if (is_silent)
			fall_silent(&story.move.candidates[C]);
		decide(&story);
		EXPECT(strstr(story.move.problem, "node-c has more of it"));
		EXPECT(!move_may_give_back(&story.plan, &story.move));
	}
}

TEST(a_lost_primary_waits_for_whoever_is_silent_and_is_passed_over_by_name)
{
	struct story story;
	begin(&story);
	story.move.old = (struct candidate){ .node_id = 1, .name = "node-a" };
	story.move.old_writes = story.move.fenced = false;
	fall_silent(&story.move.candidates[C]);
	decide(&story);
	EXPECT(strstr(story.move.problem, "node-c could not be asked"));
	story.move.problem[0] = '\0';
	story.plan.accept_loss = true;
	decide(&story);
	EXPECT(!story.move.problem[0] && move_unheard(&story.move) == &story.move.candidates[C]);
	/* One that answers and does not stand is not called silent. */
	story.plan.accept_loss = false;
	story.move.candidates[C].refuses = true;
	decide(&story);
	EXPECT(strstr(story.move.problem, "node-c did not stand still"));
}

TEST(a_primary_whose_disk_failed_is_left_where_a_copy_has_all_that_it_confirmed)
{
	for (int lacks = 0; lacks < 2; lacks++) {
		struct story story;
		begin(&story);
		story.move.old.has_failed = true;
		story.move.old_writes = story.move.fenced = false;
		story.move.old.position.end_lsn = lacks ? END + 1 : END;
		decide(&story);
		EXPECT(!story.move.clean);
		EXPECT_INT(lacks, strstr(story.move.problem, "node-a has more of it") != NULL);
	}
}

TEST(a_target_whose_disk_fails_before_it_has_written_is_left_for_a_copy_of_the_epoch_before)
{
	struct story story;
	begin(&story);
	story.move.old.has_failed = true;
	story.move.old_writes = story.move.fenced = false;
	story.move.old.position = (struct position){ EPOCH - 1, END, 1, true };
	for (unsigned i = B; i <= C; i++)
		story.move.candidates[i].position = story.move.old.position;
	decide(&story);
	EXPECT(!story.move.problem[0] && story.move.chosen_node_id != 0);
	EXPECT(story.move.above_epoch >= EPOCH);
}

TEST(one_that_was_left_behind_is_no_choice_before_it_has_caught_up)
{
	static const struct directory_volume freed = {
		.id = 1, .name = "v1", .epoch = EPOCH, .freed_epoch = EPOCH, .freed_lsn = END - 10
	};
	struct story story;
	begin(&story);
	story.move.volume = &freed;
	story.move.old = (struct candidate){ .node_id = 1, .name = "node-a" };
	story.move.old_writes = story.move.fenced = false;
	story.move.candidates[B].position.end_lsn = END - 11;
	story.move.candidates[C].eligible = false;
	decide(&story);
	EXPECT(strstr(story.move.problem, "node-b was away for too long (stale)"));
	EXPECT_INT(0, story.move.chosen_node_id);
	/* Who has come past that place is as good as any. */
	story.move.problem[0] = '\0';
	story.move.candidates[B].position.end_lsn = END;
	decide(&story);
	EXPECT(!story.move.problem[0] && story.move.chosen_node_id == 2);
	/* So is a log that goes on behind it, and none that ended in an epoch before. */
	story.move.candidates[B].position = (struct position){ EPOCH - 1, 2 * END, 1, true };
	decide(&story);
	EXPECT(strstr(story.move.problem, "stale"));
	story.move.problem[0] = '\0';
	story.plan.accept_loss = true;
	decide(&story);
	EXPECT(!story.move.problem[0] && story.move.chosen_node_id == 2);
}

TEST(a_dry_run_over_a_living_primary_names_who_is_no_choice_yet)
{
	struct story story;
	begin(&story);
	story.move.fenced = false;
	story.move.candidates[B].is_seeding = true;
	story.move.candidates[C].eligible = false;
	move_choose(&story.plan, &story.move, false);
	plan_compare(&story.plan);
	EXPECT(strstr(story.move.problem, "node-b is still being filled"));
}

TEST(one_that_is_being_filled_is_no_choice_and_not_waited_for)
{
	struct story story;
	begin(&story);
	story.move.candidates[C].is_seeding = true;
	story.move.candidates[B].eligible = false;
	decide(&story);
	EXPECT(strstr(story.move.problem, "node-c is still being filled"));
	fall_silent(&story.move.candidates[C]);
	EXPECT(move_unheard(&story.move) == NULL);
}
