/* What the router reads back from its own log, and IMAP before the login. */

#include "core/buf.h"
#include "router/imap_command.h"
#include "router/queue_record.h"
#include "unit/test.h"

static const uint8_t mark[SMTP_MARK_LENGTH] = "fifteen letters";

static struct queue_record_recipient recipients[] = {
	{ .public = { QUEUE_HOME, 7, "u1@example.org", "U1@example.org", "rfc822;x",
		  SMTP_NOTIFY_FAILURE, false, "4.4.1 away", mark },
		.state = QUEUE_PENDING,
		.delay_told = true },
	{ .public = { QUEUE_RELAY, 0, "a@b.example", "a@b.example", "", 0, false, "", NULL },
		.state = QUEUE_FAILED },
};

static struct queue_record added(void)
{
	return (struct queue_record){
		.delivery_id = { 1, 2, 3 },
		.accepted_wall_us = 123456789,
		.ret = SMTP_RET_HDRS,
		.utf8 = true,
		.wants_copy = true,
		.owner = "router-b",
		.sender = "s@b.example",
		.envid = "e",
		.body_length = 99,
		.recipient_count = 2,
		.recipients = recipients,
	};
}

TEST(a_queue_record_comes_back_as_it_was)
{
	struct queue_record record = added(), back;
	struct pool *pool = pool_create();
	struct buf bytes = { 0 };
	queue_record_encode(&record, &bytes);
	EXPECT(queue_record_decode(buf_str(&bytes), pool, &back));
	EXPECT(!back.is_change && back.delivery_id[2] == 3 && back.accepted_wall_us == 123456789);
	EXPECT(back.ret == SMTP_RET_HDRS && back.utf8 && !back.eight_bit && back.wants_copy);
	EXPECT_STR(STR("router-b"), str_from(back.owner));
	EXPECT_STR(STR("s@b.example"), str_from(back.sender));
	EXPECT_INT(2, back.recipient_count);
	EXPECT_INT(7, back.recipients[0].public.mailbox_id);
	EXPECT_STR(STR("rfc822;x"), str_from(back.recipients[0].public.orcpt));
	EXPECT_STR(STR("4.4.1 away"), str_from(back.recipients[0].public.reply));
	EXPECT_INT(QUEUE_PENDING, back.recipients[0].state);
	EXPECT(back.recipients[0].delay_told && !back.recipients[1].delay_told);
	EXPECT_INT(QUEUE_RELAY, back.recipients[1].public.kind);
	EXPECT_INT(QUEUE_FAILED, back.recipients[1].state);
	EXPECT(memcmp(back.recipients[0].public.mark, mark, sizeof(mark)) == 0);
	EXPECT(back.recipients[1].public.mark == NULL);
	buf_deinit(&bytes);
	pool_destroy(&pool);
}

/* So that the version before reads it too. */
TEST(a_queue_record_without_marks_is_of_the_version_before)
{
	struct queue_record record = added(), back;
	struct queue_record_recipient plain[array_length(recipients)];
	struct pool *pool = pool_create();
	struct buf bytes = { 0 };

	memcpy(plain, recipients, sizeof(plain));
	plain[0].public.mark = NULL;
	record.recipients = plain;
	queue_record_encode(&record, &bytes);
	EXPECT_INT(2, buf_str(&bytes).bytes[0]);
	EXPECT(queue_record_decode(buf_str(&bytes), pool, &back));
	EXPECT_INT(7, back.recipients[0].public.mailbox_id);
	EXPECT(back.recipients[0].public.mark == NULL);
	buf_deinit(&bytes);
	pool_destroy(&pool);
}

TEST(every_cut_of_a_queue_record_is_refused)
{
	struct queue_record_change change = {
		.recipient = 1, .state = QUEUE_BOUNCED, .reply = "550 5.1.1"
	};
	struct queue_record records[] = {
		added(),
		{ .is_change = true, .finished = true, .change_count = 1, .changes = &change },
	};
	for (size_t i = 0; i < array_length(records); i++) {
		struct buf bytes = { 0 };
		struct queue_record back;
		queue_record_encode(&records[i], &bytes);
		struct pool *pool = pool_create();
		EXPECT(queue_record_decode(buf_str(&bytes), pool, &back));
		for (size_t length = 0; length < buf_length(&bytes); length++)
			EXPECT(!queue_record_decode(
				str_first(buf_str(&bytes), length), pool, &back));
		buf_append_byte(&bytes, 0);
		EXPECT(!queue_record_decode(buf_str(&bytes), pool, &back));
		pool_destroy(&pool);
		buf_deinit(&bytes);
	}
}

static const struct {
	const char *name, *text;
	bool good;
	const char *tag, *verb, *first, *second;
} commands[] = {
	{ "atoms are taken", "a1 LOGIN user secret", true, "a1", "LOGIN", "user", "secret" },
	{ "quoted strings are taken", "a1 LOGIN \"us er\" \"se\\\"cr\\\\et\"", true, "a1", "LOGIN",
		"us er", "se\"cr\\et" },
	{ "literals are taken", "a1 LOGIN {4}\r\nuser {6+}\r\nse cre", true, "a1", "LOGIN", "user",
		"se cre" },
	{ "an empty quoted string is one", "a1 LOGIN \"\" \"\"", true, "a1", "LOGIN", "", "" },
	{ "a missing command is refused", "a1", false, "a1", NULL, NULL, NULL },
	{ "a missing tag is refused", " LOGIN a b", false, "*", NULL, NULL, NULL },
	{ "a plus is no tag", "a+ LOGIN a b", false, "*", NULL, NULL, NULL },
	{ "an open quote is refused", "a1 LOGIN \"user", false, "a1", NULL, NULL, NULL },
	{ "a short literal is refused", "a1 LOGIN {9}\r\nuser", false, "a1", NULL, NULL, NULL },
	{ "a space at the end is refused", "a1 NOOP ", false, "a1", NULL, NULL, NULL },
	{ "an ID list is passed over", "a1 ID (\"name\" \"x\")", true, "a1", "ID", NULL, NULL },
};

TEST(imap_commands_are_cut)
{
	for (size_t i = 0; i < array_length(commands); i++) {
		struct imap_command command;
		struct buf scratch = { 0 };
		test_row(commands[i].name);
		bool good = imap_parse_command(str_from(commands[i].text), &scratch, &command);
		EXPECT(good == commands[i].good);
		EXPECT_STR(str_from(commands[i].tag), command.tag);
		if (good && commands[i].good) {
			EXPECT_STR(str_from(commands[i].verb), command.name);
			EXPECT_INT(commands[i].first ? 2 : 0, command.argument_count);
		}
		if (good && commands[i].first) {
			EXPECT_STR(str_from(commands[i].first), command.arguments[0]);
			EXPECT_STR(str_from(commands[i].second), command.arguments[1]);
		}
		buf_deinit(&scratch);
	}
	test_row(NULL);
}

TEST(imap_literals_are_collected_wherever_they_are_split)
{
	struct str whole = STR("a LOGIN {4}\r\nuser {6+}\r\nsecret\r\n");
	for (size_t first = 0; first <= whole.length; first++) {
		struct imap_collector collector = { 0 };
		struct buf input = { 0 };
		unsigned waits = 0;
		enum imap_scan scan = IMAP_MORE;
		buf_append_str(&input, str_first(whole, first));
		while ((scan = imap_collect(&collector, &input)) == IMAP_CONTINUE)
			waits++;
		buf_append_str(&input, str_from_index(whole, first));
		while (scan != IMAP_COMMAND &&
			(scan = imap_collect(&collector, &input)) == IMAP_CONTINUE)
			waits++;
		EXPECT_INT(IMAP_COMMAND, scan);
		EXPECT_INT(1, waits);
		EXPECT_STR(str_first(whole, whole.length - 2), buf_str(&collector.text));
		imap_collector_deinit(&collector);
		buf_deinit(&input);
	}
}

TEST(imap_commands_have_a_limit)
{
	struct imap_collector collector = { 0 };
	struct buf input = { 0 };
	buf_append_literal(&input, "a LOGIN {100000}\r\n");
	EXPECT_INT(IMAP_TOO_LONG, imap_collect(&collector, &input));
	imap_collector_reset(&collector);
	buf_clear(&input);
	for (unsigned i = 0; i <= IMAP_COMMAND_MAX; i++)
		buf_append_byte(&input, 'x');
	EXPECT_INT(IMAP_TOO_LONG, imap_collect(&collector, &input));
	imap_collector_deinit(&collector);
	buf_deinit(&input);
}
