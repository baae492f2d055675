/* What a node's answers say of what was cut off there. Nobody is asked, and no time passes: both
 * are written below. */

#include "ctl/tails.h"

#include "core/clock.h"
#include "core/pool.h"
#include "unit/test.h"

#include <errno.h>
#include <string.h>

static struct {
	const char *salvage, *status; /* NULL: no answer in time */
	const char *refusal;          /* of `salvage` */
	const char *salvage_later;    /* what it says when it is asked again */
	unsigned asked;
	struct pool *pool;
} node;

static uint64_t now_us;

uint64_t clock_mono_us(void)
{
	return now_us;
}

void clock_sleep_ms(unsigned ms)
{
	now_us += ms * 1000u;
}

void ask_all(struct asker *asker, struct question *questions, unsigned count, unsigned timeout_ms)
{
	(void)asker;
	EXPECT_INT(1, count);
	EXPECT(timeout_ms > 0);
	bool is_salvage = strcmp(questions->request, "salvage") == 0;
	const char *text = is_salvage ? node.salvage : node.status;
	if (is_salvage && node.asked++ > 0)
		text = node.salvage_later;
	questions->answer = text ? json_parse(node.pool, str_from(text)) : NULL;
	questions->answered = text || (is_salvage && node.refusal);
	if (!text)
		error_set(&questions->error, -ETIMEDOUT, "%s",
			is_salvage && node.refusal ? node.refusal : "no answer in time");
}

static struct tails tails_of(uint32_t volume_id, unsigned patience_ms)
{
	struct tails tails;
	node.pool = pool_create();
	node.asked = 0;
	tails_ask(NULL, "127.0.0.1:1", volume_id, patience_ms, &tails);
	pool_destroy(&node.pool);
	return tails;
}

#define TWO_TAILS \
	"{\"salvage\": [{\"volume\": 1, \"state\": \"done\"}, {\"volume\": 2, \"state\": " \
	"\"open\"}]}"

TEST(tails_are_counted_of_one_volume_or_of_all)
{
	node.status = "{}";
	node.salvage = TWO_TAILS;
	EXPECT_INT(TAILS_OPEN, tails_of(0, 0).found);
	EXPECT_INT(1, tails_of(2, 0).open);
	EXPECT_INT(TAILS_NONE, tails_of(1, 0).found);
	/* Its disk does not say what has become of it. */
	node.salvage = "{\"salvage\": [{\"volume\": 1, \"state\": \"unread\"}]}";
	EXPECT_INT(TAILS_OPEN, tails_of(1, 0).found);
	node.salvage = "{\"salvage\": []}";
	EXPECT_INT(TAILS_NONE, tails_of(0, 0).found);
}

TEST(a_node_that_lives_and_does_not_say_it_is_not_taken_for_one_without_tails)
{
	node.status = "{}";
	node.salvage = node.salvage_later = NULL;
	struct tails tails = tails_of(0, 0);
	EXPECT_INT(TAILS_NOT_TOLD, tails.found);
	EXPECT(strstr(tails.error.text, "no answer in time") != NULL);
	/* It is asked again. */
	node.salvage_later = TWO_TAILS;
	EXPECT_INT(TAILS_OPEN, tails_of(0, 1000).found);
	EXPECT_INT(2, node.asked);
	/* An answer that says nothing of it, or a refusal. */
	node.salvage = node.salvage_later = "{}";
	EXPECT_INT(TAILS_NOT_TOLD, tails_of(0, 0).found);
	node.salvage = node.salvage_later = node.status = NULL;
	node.refusal = "unknown request";
	EXPECT_INT(TAILS_NOT_TOLD, tails_of(0, 0).found);
	node.refusal = NULL;
}

TEST(a_node_that_answers_nothing_is_silent)
{
	node.salvage = node.status = NULL;
	EXPECT_INT(TAILS_SILENT, tails_of(0, 60000).found);
	EXPECT_INT(1, node.asked);
}
