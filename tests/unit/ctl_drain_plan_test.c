/* What a drain plans, by what stands where. */

#include "ctl/drain_plan.h"

#include "unit/layout_world.h"
#include "unit/test.h"

#include <stdlib.h>

static struct drain_wish wish;
static bool may_take[NODES_MAX];

/* Copies may go anywhere, and nothing is passed over. */
static void wish_for_all(void)
{
	wish = (struct drain_wish){ .may_take = may_take };
	for (unsigned i = 0; i < NODES_MAX; i++)
		may_take[i] = true;
}

static unsigned node_named(const char *name)
{
	unsigned at = 0;
	while (at < world.layout.node_count && strcmp(world.nodes[at].name, name) != 0)
		at++;
	return at;
}

static void plan_text(const char *node, struct buf *out)
{
	static const char *const names[] = { "refused", "fill", "wait", "move", "let go" };
	struct drain_plan plan;
	wish.node = node_named(node);
	drain_plan_make(&world.layout, &wish, &plan);
	for (unsigned i = 0; i < drain_plan_count(&plan); i++) {
		const struct drain_step *step = drain_plan_step(&plan, i);
		buf_printf(out, "%s%s %s", i > 0 ? ", " : "", names[step->what],
			step->what == DRAIN_REFUSED ? step->why : world.nodes[step->node].name);
	}
	drain_plan_deinit(&plan);
}

static void expect(const char *node, const char *wanted)
{
	struct buf text = { 0 };
	plan_text(node, &text);
	EXPECT_STR(str_from(wanted), buf_str(&text));
	buf_deinit(&text);
}

static void expect_says(const char *node, const char *words)
{
	struct buf text = { 0 };
	plan_text(node, &text);
	if (str_find(buf_str(&text), str_from(words)) < 0)
		EXPECT_STR(str_from(words), buf_str(&text));
	buf_deinit(&text);
}

TEST(a_copy_is_made_anew_at_the_site_that_loses_it_and_let_go_of_then)
{
	BEGIN("a1", "a2", "b1", "b2");
	wish_for_all();
	world_add("a1 b1");
	expect("b1", "fill b2, let go b1");
	expect("b2", "");
}

TEST(what_it_serves_moves_to_its_own_site_when_the_copy_there_counts)
{
	BEGIN("a1", "a2", "b1");
	wish_for_all();
	world_add("a1 b1");
	expect("a1", "fill a2, move a2, let go a1");
}

TEST(a_copy_is_let_go_of_at_once_where_two_sites_have_the_volume_without_it)
{
	BEGIN("a1", "a2", "b1", "b2", "b3");
	wish_for_all();
	world_add("a1 b1 b2");
	expect("b1", "let go b1");
	world_add("a1 a2 b1");
	expect("a2", "let go a2");
	expect("a1", "fill a2, move a2, move a2, let go a1, let go a1");
}

TEST(a_third_site_keeps_its_copy_where_another_node_there_can_have_it)
{
	BEGIN("a1", "b1", "c1", "c2");
	wish_for_all();
	world_add("a1 b1 c1");
	expect("c1", "fill c2, let go c1");
	may_take[3] = false;
	expect("c1", "let go c1");
}

TEST(another_site_takes_over_where_its_own_has_no_other_node)
{
	BEGIN("a1", "a2", "b1", "c1");
	wish_for_all();
	world_add("a1 b1");
	expect("b1", "fill c1, let go b1");
}

TEST(nothing_is_left_on_one_site_unless_that_is_accepted)
{
	BEGIN("a1", "a2", "b1");
	wish_for_all();
	world_add("a1 b1");
	expect_says(
		"b1", "refused mail would be at site-a only, and no other node may take a copy");
	wish.accepts_one_copy = true;
	expect("b1", "fill a2, let go b1");
	may_take[1] = false;
	expect("b1", "let go b1");
}

TEST(the_last_copy_is_never_let_go_of)
{
	BEGIN("a1", "b1");
	wish_for_all();
	world_add("a1");
	may_take[1] = false;
	wish.accepts_one_copy = true;
	expect_says("a1", "refused nobody else would have it");
	may_take[1] = true;
	expect("a1", "fill b1, move b1, let go a1");
}

TEST(the_node_with_the_fewest_copies_is_chosen_then_the_one_with_most_room)
{
	BEGIN("a1", "b1", "b2", "b3");
	wish_for_all();
	world_add("a1 b1");
	world_add("a1 b2");
	expect("b1", "fill b3, let go b1");
	world_add("a1 b3");
	expect("b1", "fill b2, let go b1");
	world.nodes[3].free_bytes *= 2;
	expect("b1", "fill b3, let go b1");
}

TEST(what_it_gives_to_a_node_is_counted_for_the_next_volume)
{
	BEGIN("a1", "b1", "b2", "b3");
	wish_for_all();
	for (unsigned i = 0; i < 3; i++)
		world_add("a1 b1");
	expect("b1", "fill b2, fill b3, fill b2, let go b1, let go b1, let go b1");
	/* Room for one and what stays free beside it, at each. */
	world.nodes[2].free_bytes = world.nodes[3].free_bytes = layout_room(1 << 30);
	expect_says("b1",
		"refused site-b would have no copy, and b3 has room for 1024 MiB, and 2304 MiB");
}

TEST(moves_are_shared_among_those_that_can_serve)
{
	BEGIN("a1", "a2", "a3", "b1");
	wish_for_all();
	for (unsigned i = 0; i < 2; i++)
		world_add("a1 a2 a3 b1");
	expect("a1", "move a2, move a3, let go a1, let go a1");
}

TEST(a_node_that_is_needed_and_silent_is_a_reason_to_refuse)
{
	BEGIN("a1", "b1", "b2");
	wish_for_all();
	struct layout_volume *volume = world_add("a1 b1");
	world.nodes[2].silent = "pando-replicator";
	expect_says("b1", "pando-replicator of b2 does not answer");
	/* Which one is drained does not matter, as long as it serves nothing. */
	world.nodes[2].silent = NULL;
	world.nodes[1].silent = "pando-node";
	expect("b1", "fill b2, let go b1");
	volume->copies[1].state = COPY_BEHIND;
	expect("b1", "fill b2, let go b1");
	volume->copies[1].state = COPY_IN_STEP;
	world.nodes[2].silent = "pando-node";
	volume->copies[volume->copy_count++] = (struct layout_copy){ 2, COPY_SEEDING };
	expect_says("b1", "refused pando-node of b2, which has a copy of it, does not answer");
	wish.patience = DRAIN_GOING_ON;
	expect("b1", "wait b2, let go b1");
}

TEST(who_is_to_serve_answers)
{
	BEGIN("a1", "a2", "b1");
	wish_for_all();
	world_add("a1 a2 b1");
	world.nodes[1].silent = "pando-node";
	/* Its replicator has it in step, and somebody else can serve. */
	expect("a1", "move b1, let go a1");
	world.nodes[2].silent = "pando-node";
	expect_says("a1", "refused pando-node of a2, which is to serve it, does not answer");
	wish.patience = DRAIN_GOING_ON;
	expect("a1", "wait a2");
}

TEST(a_volume_that_is_not_served_does_not_leave)
{
	BEGIN("a1", "a2", "b1");
	wish_for_all();
	struct layout_volume *volume = world_add("a1 a2 b1");
	volume->is_served = false;
	expect_says("a1", "refused it is not served now");
	wish.patience = DRAIN_SETTLING;
	expect_says("a1", "refused it is not served now");
	volume->is_settling = true;
	expect("a1", "wait a1");
}

TEST(a_move_that_was_killed_is_completed_and_no_copy_is_begun_before)
{
	BEGIN("a1", "a2", "b1");
	wish_for_all();
	world_add("a1 a2 b1")->is_served = false;
	world.volumes[0].is_fenced = true;
	expect("a1", "move a2, let go a1");
	world.layout.volume_count = 0;
	world_add("a1 b1")->is_served = false;
	world.volumes[0].is_fenced = true;
	expect_says("a1", "refused it is not served now");
	wish.patience = DRAIN_SETTLING;
	expect("a1", "wait a1");
}

TEST(a_copy_that_is_not_in_step_counts_for_nothing_where_it_is_needed)
{
	BEGIN("a1", "b1", "b2");
	wish_for_all();
	world_add("a1 b1 b2?");
	expect_says("b1", "refused its copy at b2 is not in step: see `pando lag`");
	wish.patience = DRAIN_SETTLING;
	expect("b1", "wait b2, let go b1");
	world.nodes[2].silent = "pando-node";
	expect_says("b1", "refused pando-node of b2, which has a copy of it, does not answer");
	wish.patience = DRAIN_NOW;
	world.layout.volume_count = 0;
	world.nodes[2].silent = NULL;
	world_add("b1 a1 b2?");
	/* Nor where it is not needed. */
	expect_says("b2", "let go b2");
}

TEST(a_filling_that_stands_already_is_waited_for_and_not_begun_twice)
{
	BEGIN("a1", "b1", "b2", "b3");
	wish_for_all();
	world_add("a1 b1 b3+");
	expect("b1", "wait b3, let go b1");
	expect("b3", "let go b3");
	/* One that is not needed is waited for by nobody. */
	world.layout.volume_count = 0;
	world_add("a1 b1 b2 b3+");
	expect("b1", "let go b1");
}

TEST(copies_go_where_the_operator_says)
{
	BEGIN("a1", "a2", "b1", "b2", "c1");
	wish_for_all();
	world_add("a1 b1");
	may_take[0] = may_take[1] = may_take[2] = may_take[3] = false;
	expect("b1", "fill c1, let go b1");
	/* And what it serves, too. */
	expect("a1", "fill c1, move c1, let go a1");
}

TEST(a_node_that_can_be_given_no_number_of_a_volume_is_not_asked_for_a_copy)
{
	BEGIN("a1", "b1", "b2", "b3");
	wish_for_all();
	struct layout_volume *volume = world_add("a1 b1");
	world_use_numbers(volume, 1);
	expect("b1", "fill b2, let go b1");
	world_use_numbers(volume, 0);
	expect_says("b1",
		"refused mail would be at site-a only, and b3 has had no copy of it, "
		"while 8 others have");
	/* Who has had one gets it back. */
	volume->number_node_ids[VOLUME_COPIES_MAX - 1] = world.nodes[3].id;
	expect("b1", "fill b3, let go b1");
	/* Where none at its site can have one, and two others have it. */
	world.layout.volume_count = 0;
	BEGIN("a1", "b1", "c1", "c2");
	world_use_numbers(world_add("a1 b1 c1"), 0);
	expect("c1", "let go c1");
}

TEST(the_numbers_that_a_drain_gives_are_counted_before_it_begins)
{
	BEGIN("a1", "b1", "b2");
	wish_for_all();
	world_use_numbers(world_add("b1"), 2);
	expect("b1", "fill b2, fill a1, move b2, let go b1");
	world_use_numbers(&world.volumes[0], 1);
	expect_says("b1", "refused mail would be at site-b only, and a1 has had no copy of it");
}

/* ---- killed anywhere ---- */

static uint32_t dice_state;

static unsigned dice(unsigned sides)
{
	dice_state = dice_state * 1664525u + 1013904223u;
	return (dice_state >> 16) % sides;
}

static unsigned count_sites(const struct layout_volume *volume)
{
	unsigned seen = 0;
	for (unsigned i = 0; i < volume->copy_count; i++)
		if (volume->copies[i].state != COPY_SEEDING)
			seen |= 1u << (world.nodes[volume->copies[i].node].site_id - 'a');
	return (seen & 1) + (seen >> 1 & 1) + (seen >> 2 & 1);
}

static void remove_copy(struct layout_volume *volume, unsigned node)
{
	unsigned at = 0;
	while (volume->copies[at].node != node)
		at++;
	EXPECT(at > 0); /* never the primary's */
	volume->copies[at] = volume->copies[--volume->copy_count];
	world.nodes[node].copies--;
}

static void do_step(const struct drain_step *step)
{
	struct layout_volume *volume = &world.volumes[step->volume];
	for (unsigned i = 0; i < volume->copy_count; i++) {
		struct layout_copy *copy = &volume->copies[i];
		if (copy->node != step->node)
			continue;
		if (step->what == DRAIN_WAIT)
			copy->state = COPY_IN_STEP;
		if (step->what == DRAIN_MOVE) {
			EXPECT_INT(COPY_IN_STEP, copy->state);
			struct layout_copy old = volume->copies[0];
			volume->copies[0] = *copy;
			*copy = old;
		}
	}
	if (step->what == DRAIN_FILL) {
		EXPECT(layout_copy_at(volume, step->node) == NULL);
		volume->copies[volume->copy_count++] =
			(struct layout_copy){ step->node, COPY_SEEDING };
		world.nodes[step->node].copies++;
	}
	if (step->what == DRAIN_LET_GO)
		remove_copy(volume, step->node);
}

/* One step of the stage, then all is looked at anew, as by a command that begins. */
static bool go_one_step(void)
{
	struct drain_plan plan;
	drain_plan_make(&world.layout, &wish, &plan);
	enum drain_what stage = drain_plan_stage(&plan);
	unsigned in_stage = 0;
	EXPECT(stage != DRAIN_REFUSED);
	while (in_stage < drain_plan_count(&plan) &&
		drain_plan_step(&plan, in_stage)->what == stage)
		in_stage++;
	bool goes_on = in_stage > 0 && stage != DRAIN_REFUSED;
	if (goes_on)
		do_step(drain_plan_step(&plan, dice(in_stage)));
	drain_plan_deinit(&plan);
	return goes_on;
}

static void build_some_cluster(void)
{
	static const char *const names[] = { "a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2" };
	world_begin(names, 6 + dice(3));
	wish_for_all();
	for (unsigned i = 0; i < 4; i++) {
		char copies[64] = "";
		unsigned taken = 0, count = 2 + dice(2);
		for (unsigned k = 0; k < count; k++) {
			unsigned node = dice(world.layout.node_count);
			if (taken & 1u << node)
				continue;
			taken |= 1u << node;
			size_t length = strlen(copies);
			snprintf(copies + length, sizeof(copies) - length, "%s%s",
				length ? " " : "", names[node]);
		}
		world_add(copies);
	}
	wish.node = dice(world.layout.node_count);
}

TEST(a_drain_that_is_killed_after_any_step_goes_on_and_no_volume_is_at_fewer_sites)
{
	unsigned drained = 0;
	for (unsigned seed = 1; seed <= 400; seed++) {
		unsigned before[VOLUMES_MAX], copies[VOLUMES_MAX], steps = 0;
		dice_state = seed;
		build_some_cluster();
		struct drain_plan plan;
		drain_plan_make(&world.layout, &wish, &plan);
		bool is_refused = drain_plan_stage(&plan) == DRAIN_REFUSED;
		drain_plan_deinit(&plan);
		if (is_refused)
			continue;
		for (unsigned i = 0; i < world.layout.volume_count; i++) {
			before[i] = count_sites(&world.volumes[i]);
			copies[i] = world.volumes[i].copy_count;
		}
		while (go_one_step() && ++steps < 100)
			for (unsigned i = 0; i < world.layout.volume_count; i++) {
				unsigned least = before[i] < DRAIN_SITES ? before[i] : DRAIN_SITES;
				EXPECT(count_sites(&world.volumes[i]) >= least);
				/* Two beside those that it had, where it had one site. */
				EXPECT(world.volumes[i].copy_count <= copies[i] + 2);
			}
		EXPECT(steps < 100);
		EXPECT_INT(0, world.nodes[wish.node].copies);
		drained++;
	}
	EXPECT(drained > 100);
}
