#include "node/volume/volume_internal.h"

#include "core/clock.h"

#include <stdlib.h>

/*
 * What is expunged and can be recovered for a while: how long the directory says, by domain. An
 * expunge says in the log that it is kept, and when that was; whether the time is over is decided
 * here, at the primary, by the setting of that day and this machine's clock, and becomes true with
 * the FREE in the log. So all copies keep alike, and a setting that is lowered lets go of what it
 * kept before. Of a mailbox that is gone nothing is kept.
 */

enum {
	/* Of one look, every five seconds: a few milliseconds. A terabyte of which every range
	 * keeps something is passed over in three hours, and a day is the least that is kept. */
	KEPT_RANGES_PER_LOOK = 128,
	DAY_S = 86400,
};

void volume_set_keeping(struct volume *volume, const struct directory_keeping *domains,
	size_t count, bool is_fresh)
{
	struct volume_keeping *keeping = &volume->keeping;
	free(keeping->domains);
	keeping->domains = mem_alloc((count + 1) * sizeof(*domains));
	if (count > 0)
		memcpy(keeping->domains, domains, count * sizeof(*domains));
	keeping->count = count;
	keeping->is_fresh |= is_fresh;
	/* What was found to be over was so by another word. */
	volume_forget_kept(volume);
	volume->space.dead_count = 0;
}

unsigned volume_days_kept(const struct volume *volume, uint64_t domain_id)
{
	const struct volume_keeping *keeping = &volume->keeping;
	size_t low = 0, high = keeping->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (keeping->domains[middle].domain_id < domain_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < keeping->count && keeping->domains[low].domain_id == domain_id
		? keeping->domains[low].days
		: 0;
}

void volume_keep(const struct volume *volume, const struct mailbox *mailbox, struct action *action)
{
	if (mailbox->domain_id == 0 || volume_days_kept(volume, mailbox->domain_id) == 0)
		return;
	action->kept_at_s = clock_wall_us() / 1000000;
	action->kept_domain = mailbox->domain_id;
}

int64_t volume_kept_until(const struct volume *volume, const struct kept_message *kept)
{
	const struct mailbox *mailbox = index_find_mailbox(&volume->index, kept->mailbox_id);
	unsigned days = volume_days_kept(volume, kept->domain_id);
	int64_t until = kept->expunged_s + (int64_t)days * DAY_S;
	if (mailbox == NULL || mailbox_mark_number(mailbox) != kept->mark)
		return 0;
	return days > 0 && until > clock_wall_us() / 1000000 ? until : 0;
}

/* ---- what is over ---- */

static bool is_over(const struct volume *volume, const struct body_range *range, uint32_t offset)
{
	uint32_t count;
	const struct kept_message *kept = kept_list_of(&range->kept, offset, &count);
	for (uint32_t i = 0; i < count; i++)
		if (volume_kept_until(volume, &kept[i]) != 0)
			return false;
	return true;
}

static void look_at_range(struct volume *volume, const struct body_range *range)
{
	struct volume_space *space = &volume->space;
	for (uint32_t i = 0; i < range->kept.count && space->over_count < KEPT_OVER_MAX; i++) {
		uint32_t offset = range->kept.messages[i].offset;
		const struct body *body = body_range_find(range, offset);
		if (i > 0 && range->kept.messages[i - 1].offset == offset)
			continue;
		if (body == NULL || body->references != 0 || !is_over(volume, range, offset))
			continue;
		if (space->over == NULL)
			space->over = mem_alloc(KEPT_OVER_MAX * sizeof(*space->over));
		space->over[space->over_count++] =
			(struct body_at){ body_range_lsn(range, offset), body->length };
		space->over_bytes += body->length;
	}
}

void volume_forget_kept(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	free(space->over);
	space->over = NULL;
	space->over_count = 0;
	space->over_bytes = space->kept_next = space->kept_since_us = 0;
	space->is_passing = false;
}

bool volume_look_at_kept(struct volume *volume, uint64_t below_segment)
{
	struct volume_space *space = &volume->space;
	uint64_t end = below_segment * BODY_RANGES_PER_SEGMENT, now = clock_mono_us();
	struct body_range *range;
	bool has_ended = false;
	if (volume->index.bodies.kept_range_count == 0 || !volume->keeping.is_fresh)
		return false;
	if (!space->is_passing) {
		if (space->kept_since_us != 0 &&
			now - space->kept_since_us < volume->options.free_wait_ms * 1000)
			return false;
		volume_forget_kept(volume);
		space->is_passing = true;
		space->kept_since_us = now;
	}
	for (unsigned i = 0; !has_ended && i < KEPT_RANGES_PER_LOOK; i++) {
		has_ended = space->over_count == KEPT_OVER_MAX ||
			bodies_next_kept(&volume->index, space->kept_next, &range) <= 0 ||
			range->number >= end;
		if (has_ended)
			break;
		look_at_range(volume, range);
		space->kept_next = range->number + 1;
	}
	space->is_passing = !has_ended;
	bodies_trim(&volume->index.bodies);
	return has_ended;
}
