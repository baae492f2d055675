#include "sim/history.h"

#include "sim/cluster_internal.h"

#include <stdlib.h>

static struct history history;
static bool has_losses;

const struct history *cluster_history(void)
{
	return &history;
}

void history_reset(void)
{
	free(history.entries);
	history = (struct history){ 0 };
	has_losses = false;
}

struct history_entry *history_entry(size_t index)
{
	return &history.entries[index];
}

size_t history_add(uint32_t volume_id, uint64_t mailbox_id, enum durability durability)
{
	if (history.count == history.capacity) {
		history.capacity = history.capacity ? history.capacity * 2 : 1024;
		history.entries =
			mem_resize(history.entries, history.capacity * sizeof(*history.entries));
	}
	struct history_entry *entry = &history.entries[history.count];
	*entry = (struct history_entry){ .volume_id = volume_id,
		.mailbox_id = mailbox_id,
		.durability = durability };
	for (size_t i = 0; i < DELIVERY_ID_LENGTH; i++)
		entry->delivery_id[i] = (uint8_t)world_pick(256);
	return history.count++;
}

/* ---- lost disks ---- */

bool history_has_losses(void)
{
	return has_losses;
}

static bool has(unsigned machine, const struct history_entry *entry)
{
	uint8_t key[16];
	if (!world_is_running(machine))
		return false;
	dedupe_key(entry->delivery_id, entry->mailbox_id, key);
	return dedupe_has(&cluster_volume(machine, entry->volume_id)->index.dedupe, key);
}

/* Copies that have been filled again hold it again. */
static void find_holders(struct history_entry *entry)
{
	for (unsigned m = 0; m < cluster_machines(); m++)
		if (!(entry->holders >> m & 1) && has(m, entry))
			entry->holders |= 1u << m;
}

void history_disk_lost(unsigned machine, uint64_t since_us)
{
	has_losses = true;
	for (size_t i = 0; i < history.count; i++) {
		struct history_entry *entry = &history.entries[i];
		if (!entry->safe || entry->answered_us < since_us)
			continue;
		find_holders(entry);
		entry->holders &= ~(1u << machine);
		entry->excused |= entry->holders == 0;
	}
}

void history_promoted(uint32_t volume_id, unsigned from, unsigned to, bool clean)
{
	for (size_t i = 0; i < history.count && has_losses && !clean; i++) {
		struct history_entry *entry = &history.entries[i];
		if (!entry->safe || entry->volume_id != volume_id)
			continue;
		find_holders(entry);
		entry->excused |= (entry->holders & ~(1u << from)) == 0 && from != to;
	}
}

void history_claimed(uint32_t volume_id, unsigned by)
{
	for (size_t i = 0; i < history.count && has_losses; i++) {
		struct history_entry *entry = &history.entries[i];
		if (!entry->safe || entry->volume_id != volume_id)
			continue;
		find_holders(entry);
		entry->excused |= !(entry->holders >> by & 1);
	}
}

/* ---- at risk ---- */

static bool is_listed(const struct volume *volume, const struct history_entry *entry)
{
	for (size_t i = 0; i < volume->at_risk_count; i++)
		if (memcmp(volume->at_risk[volume->at_risk_first + i].delivery_id,
			    entry->delivery_id, DELIVERY_ID_LENGTH) == 0)
			return true;
	return false;
}

/* Lists that were made anew by a restart or in a later epoch say nothing of what was before. */
static bool may_say(const struct volume *volume, const struct history_entry *entry)
{
	return volume->state == VOLUME_PRIMARY && volume->desired.epoch == entry->answered_epoch &&
		volume->at_risk_total == volume->at_risk_count;
}

void history_look_at_risk(struct history_entry *entry)
{
	if (!entry->answered_ok || entry->safe || entry->durability == DURABILITY_LOCAL ||
		!world_is_running(entry->answered_by))
		return;
	const struct volume *volume = cluster_volume(entry->answered_by, entry->volume_id);
	if (!may_say(volume, entry) || is_listed(volume, entry))
		return;
	entry->safe = true;
	entry->holders = 1u << entry->answered_by;
	for (unsigned k = 0; k < volume->replica_count; k++)
		if (volume->replicas[k].acked_lsn >= entry->answered_lsn)
			entry->holders |= 1u << (volume->replicas[k].node_id - 1);
}
