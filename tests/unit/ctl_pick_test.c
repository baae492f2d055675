/* Which messages of a backup are meant, where they go, and under which id. */

#include "ctl/backup/pick.h"
#include "unit/test.h"

static const struct pick_message message = {
	.mark = { 1, 2, 3 }, .folder_id = 4, .uidvalidity = 5, .uid = 6
};

static bool is_same_id(const struct pick_message *other, const char *target)
{
	uint8_t one[CHANGE_DELIVERY_ID_LENGTH], two[CHANGE_DELIVERY_ID_LENGTH];
	pick_id(&message, STR("Back/INBOX"), one);
	pick_id(other, str_from(target), two);
	return memcmp(one, two, sizeof(one)) == 0;
}

TEST(an_id_follows_from_the_message_and_the_place_it_goes_to)
{
	struct pick_message same = message, other;
	EXPECT(is_same_id(&same, "Back/INBOX"));
	EXPECT(!is_same_id(&same, "Back/Inbox"));
	EXPECT(!is_same_id(&same, ""));
	other = message, other.mark[15] = 1;
	EXPECT(!is_same_id(&other, "Back/INBOX"));
	other = message, other.folder_id++;
	EXPECT(!is_same_id(&other, "Back/INBOX"));
	other = message, other.uidvalidity++;
	EXPECT(!is_same_id(&other, "Back/INBOX"));
	other = message, other.uid++;
	EXPECT(!is_same_id(&other, "Back/INBOX"));
}

TEST(a_sample_has_about_so_many_and_is_another_one_of_another_set)
{
	struct pick_message one = message;
	unsigned taken = 0, both = 0, all = 0;
	for (one.uid = 1; one.uid <= 10000; one.uid++) {
		bool is_taken = pick_is_sampled(&one, STR("set one"), 10);
		taken += is_taken;
		both += is_taken && pick_is_sampled(&one, STR("set two"), 10);
		all += pick_is_sampled(&one, STR("set one"), 100);
	}
	EXPECT(taken > 800 && taken < 1200);
	EXPECT(both < 200);
	EXPECT_INT(10000, all);
}

TEST(what_has_no_target_goes_below_the_date_of_its_set)
{
	struct buf out = { 0 };
	pick_append_target(1795774500, &out);
	EXPECT_STR(STR("Restored 2026-11-27"), buf_str(&out));
	buf_deinit(&out);
}

TEST(uids_are_numbers_and_ranges)
{
	static const char *const wrong[] = { "", "0", "a", "3:", "7:3", "1,", "1:2:3", "-1",
		"4294967296" };
	struct pick_uids uids = { 0 };
	EXPECT(pick_has_uid(&uids, 77));
	EXPECT(pick_add_uids(&uids, "3,7:9"));
	EXPECT(pick_add_uids(&uids, "12"));
	EXPECT(pick_has_uid(&uids, 3) && pick_has_uid(&uids, 7) && pick_has_uid(&uids, 9));
	EXPECT(pick_has_uid(&uids, 12));
	EXPECT(!pick_has_uid(&uids, 4) && !pick_has_uid(&uids, 10) && !pick_has_uid(&uids, 77));
	for (size_t i = 0; i < array_length(wrong); i++) {
		struct pick_uids none = { 0 };
		test_row(wrong[i]);
		EXPECT(!pick_add_uids(&none, wrong[i]));
	}
}

TEST(a_target_has_a_name_that_a_home_takes)
{
	static const char *const good[] = { "Back", "Back/of 2026",
		"Zur\xc3\xbc"
		"ck" };
	static const char *const wrong[] = { "", "/", "/Back", "Back/", "Back//more", "Ba*ck",
		"100%", "Ba\nck",
		"Ba\x7f"
		"ck",
		"Ba\xc2\x85"
		"ck",
		"Ba\xff"
		"ck" };
	char text[PICK_FOLDER_NAME_MAX + 1];
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < array_length(good); i++) {
		test_row(good[i]);
		EXPECT(!pick_check_folder(str_from(good[i])));
	}
	for (size_t i = 0; i < array_length(wrong); i++) {
		test_row(wrong[i]);
		EXPECT(pick_check_folder(str_from(wrong[i])));
	}
	test_row(NULL);
	EXPECT(!pick_check_folder(str_of(text, PICK_FOLDER_NAME_MAX)));
	EXPECT(pick_check_folder(str_of(text, PICK_FOLDER_NAME_MAX + 1)));
}

TEST(a_folder_is_meant_by_its_name_and_inbox_in_any_case)
{
	EXPECT(pick_is_folder("inbox", STR("INBOX")));
	EXPECT(pick_is_folder("Work/2026", STR("Work/2026")));
	EXPECT(!pick_is_folder("work/2026", STR("Work/2026")));
	EXPECT(!pick_is_folder("Work", STR("Work/2026")));
}
