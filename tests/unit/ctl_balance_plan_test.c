/* What a balance proposes, by what stands where. */

#include "ctl/balance_plan.h"

#include "unit/layout_world.h"
#include "unit/test.h"

static void plan_text(struct buf *out)
{
	struct balance_plan plan;
	balance_plan_make(&world.layout, &plan);
	for (unsigned i = 0; i < balance_plan_count(&plan); i++) {
		const struct balance_step *step = balance_plan_step(&plan, i);
		buf_printf(out, "%s%s%s %s %s>%s", i > 0 ? ", " : "",
			step->what == BALANCE_SERVE ? "serve" : "copy",
			step->what == BALANCE_COPY && step->is_primary ? " and serve" : "",
			world.volumes[step->volume].name, world.nodes[step->from].name,
			world.nodes[step->to].name);
	}
	balance_plan_deinit(&plan);
}

static void expect(const char *wanted)
{
	struct buf text = { 0 };
	plan_text(&text);
	EXPECT_STR(str_from(wanted), buf_str(&text));
	buf_deinit(&text);
}

TEST(nodes_that_carry_alike_are_left_alone)
{
	BEGIN("a1", "a2", "b1", "b2");
	world_add("a1 b1");
	world_add("a2 b2");
	expect("");
	/* One of three more is no more even elsewhere. */
	world_add("a1 b1");
	expect("");
}

TEST(a_node_that_has_joined_gets_its_part_with_the_fewest_moves)
{
	BEGIN("a1", "a2", "a3", "b1");
	for (unsigned i = 0; i < 3; i++)
		world_add("a1 b1");
	for (unsigned i = 0; i < 3; i++)
		world_add("a2 b1");
	expect("copy and serve v0 a1>a3, copy and serve v3 a2>a3");
}

TEST(what_has_a_copy_there_is_served_there_and_nothing_is_copied)
{
	BEGIN("a1", "a2", "b1");
	for (unsigned i = 0; i < 4; i++)
		world_add("a1 a2 b1");
	expect("serve v0 a1>a2, serve v1 a1>a2");
}

TEST(copies_are_evened_where_nobody_is_served)
{
	BEGIN("a1", "b1", "b2");
	for (unsigned i = 0; i < 4; i++)
		world_add("a1 b1");
	expect("copy v0 b1>b2, copy v1 b1>b2");
}

TEST(of_two_that_even_as_much_the_smaller_is_copied)
{
	BEGIN("a1", "b1", "b2");
	for (unsigned i = 0; i < 4; i++)
		world_add("a1 b1")->bytes = (4 - i) << 10;
	world.nodes[0].bytes = world.nodes[1].bytes = 10 << 10;
	expect("copy v3 b1>b2, copy v2 b1>b2");
}

TEST(mailboxes_and_bytes_weigh_too)
{
	BEGIN("a1", "a2", "b1");
	for (unsigned i = 0; i < 4; i++) {
		struct layout_volume *volume = world_add(i < 2 ? "a1 a2 b1" : "a2 a1 b1");
		volume->mailboxes = i < 2 ? 500 : 10;
		world.nodes[volume->copies[0].node].mailboxes += volume->mailboxes;
	}
	/* Two and two are served, and one of the two big ones changes place with a small one. */
	expect("serve v0 a1>a2, serve v2 a2>a1");
	/* Of so few nobody is a burden. */
	for (unsigned i = 0; i < 4; i++)
		world.volumes[i].mailboxes = i < 2 ? 5 : 0;
	world.nodes[0].mailboxes = 10;
	world.nodes[1].mailboxes = 0;
	expect("");
}

TEST(nothing_goes_where_it_cannot)
{
	BEGIN("a1", "a2", "b1");
	struct layout_volume *volume = NULL;
	for (unsigned i = 0; i < 4; i++)
		volume = world_add("a1 b1");
	world.nodes[1].free_bytes = 1 << 30;
	expect("");
	world.nodes[1].free_bytes = 1ull << 50;
	world.nodes[1].silent = "pando-node";
	expect("");
	world.nodes[1].silent = NULL;
	for (unsigned i = 0; i < 3; i++)
		world.volumes[i].is_served = false;
	expect("copy and serve v3 a1>a2");
	volume->copies[1].state = COPY_SEEDING;
	expect("");
}

TEST(nothing_leaves_its_site)
{
	BEGIN("a1", "b1", "b2");
	for (unsigned i = 0; i < 2; i++)
		world_add("a1 b1");
	for (unsigned i = 0; i < 2; i++)
		world_add("a1 b2");
	expect("");
}

TEST(the_commands_are_those_that_an_operator_types)
{
	BEGIN("a1", "a2", "b1");
	world_add("a1 b1");
	struct buf commands = { 0 };
	struct balance_step step = { BALANCE_COPY, 0, 0, 1, true, "" };
	balance_append_commands(&world.layout, &step, &commands);
	EXPECT_STR(STR("pando copy add v0 a2 --wait\npando failover v0 --to site-a\n"
		       "pando copy remove v0 a1\n"),
		buf_str(&commands));
	buf_clear(&commands);
	step.what = BALANCE_SERVE;
	balance_append_commands(&world.layout, &step, &commands);
	EXPECT_STR(STR("pando failover v0 --to site-a\n"), buf_str(&commands));
	buf_deinit(&commands);
}

TEST(no_copy_is_proposed_where_the_volume_has_no_number_for_the_node)
{
	BEGIN("a1", "a2", "b1");
	for (unsigned i = 0; i < 4; i++)
		world_use_numbers(world_add("a1 b1"), 0);
	expect("");
	world.volumes[1].number_node_ids[VOLUME_COPIES_MAX - 1] = world.nodes[1].id;
	expect("copy and serve v1 a1>a2");
}
