#include "ctl/restore_wait.h"

#include "core/clock.h"

#include <errno.h>

enum { TRY_AGAIN_MS = 1000 };

struct wait {
	struct restore *restore;
	struct living_way *way;
	const char *address;
	bool is_told;
};

/* By the directory; "its node" where that does not say it. */
static const char *home_of(const struct wait *wait)
{
	const struct directory *directory = wait->restore->cluster.directory;
	const struct directory_volume *volume = NULL;
	const struct directory_node *node = NULL;
	struct mailbox_place place;
	struct error error;
	if (directory_find_place(wait->restore->command->writer, wait->address, &place, &error) ==
		0)
		volume = directory_find_volume(directory, place.volume_id);
	if (volume)
		node = directory_find_node(directory, volume->primary_node_id);
	return node ? node->name : "its node";
}

static void say_who(const struct wait *wait, struct buf *out)
{
	const char *router = living_way_router_away(wait->way);
	if (router)
		buf_printf(out, "the router %s does not answer", router);
	else
		buf_printf(
			out, "the home of %s at %s does not answer", wait->address, home_of(wait));
}

static void tell(void *arg)
{
	struct wait *wait = arg;
	struct buf who = { 0 };
	if (wait->is_told)
		return;
	wait->is_told = true;
	say_who(wait, &who);
	restore_wipe(wait->restore);
	command_complain("%s, it is waited for: `pando status`", buf_terminated(&who));
	buf_deinit(&who);
}

static int give_up(const struct wait *wait, struct error *error)
{
	struct error why = *error;
	struct buf who = { 0 };
	say_who(wait, &who);
	error_set(error, -ETIMEDOUT, "%s (%s): `pando status`", buf_terminated(&who), why.text);
	buf_deinit(&who);
	return -ETIMEDOUT;
}

int restore_wait_open(struct restore *restore, struct living_way *way, unsigned patience_ms,
	const uint8_t mark[MAILBOX_MARK_LENGTH], const char *address, struct living **living_out,
	struct error *error)
{
	struct wait wait = { .restore = restore, .way = way, .address = address };
	uint64_t end_us = clock_mono_us() + (uint64_t)patience_ms * 1000;
	int result;
	living_way_watch(way, tell, &wait, end_us);
	for (;;) {
		result = living_open(way, mark, address, living_out, error);
		if (result != -ECONNRESET)
			break;
		tell(&wait);
		if (clock_mono_us() + TRY_AGAIN_MS * 1000 >= end_us)
			break;
		clock_sleep_ms(TRY_AGAIN_MS);
	}
	living_way_watch(way, NULL, NULL, 0);
	return result == -ECONNRESET ? give_up(&wait, error) : result;
}
