#include "sim/history.h"

#include "sim/cluster_internal.h"
#include "sim/model.h"
#include "sim/rot.h"

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

unsigned history_count_in_index(unsigned machine, const struct history_entry *entry)
{
	struct volume *volume = cluster_volume(machine, entry->volume_id);
	struct mailbox *mailbox = index_find_mailbox(&volume->index, entry->mailbox_id);
	struct folder *inbox = mailbox ? mailbox_find_folder(mailbox, STR("INBOX")) : NULL;
	uint8_t key[16];
	unsigned count = 0;
	dedupe_key(entry->delivery_id, entry->mailbox_id, key);
	if (!entry->is_append && !dedupe_has(&volume->index.dedupe, key))
		return 0;
	/* Only LMTP has answered it: its uid was not told. */
	if (entry->uid == 0)
		return !entry->is_append;
	if (inbox == NULL || folder_load(inbox) < 0)
		return 0;
	for (uint32_t i = folder_find_uid(inbox, entry->uid);
		i < inbox->message_count && inbox->messages[i].uid == entry->uid; i++)
		count++;
	return count;
}

bool history_has_safe(uint64_t mailbox_id, uint64_t before_us, uint64_t epoch)
{
	for (size_t i = 0; i < history.count; i++) {
		const struct history_entry *entry = &history.entries[i];
		if (entry->mailbox_id == mailbox_id && entry->safe && !entry->excused &&
			entry->answered_us < before_us && entry->answered_epoch <= epoch)
			return true;
	}
	return false;
}

/* ---- lost disks ---- */

bool history_has_losses(void)
{
	return has_losses;
}

/* An index that was kept while its log was lost says what the log had. */
static bool has(unsigned machine, const struct history_entry *entry)
{
	if (!world_is_running(machine))
		return false;
	const struct volume *volume = cluster_volume(machine, entry->volume_id);
	/* A machine that dies while it starts has none yet. */
	return volume != NULL && volume->numbers.durable_lsn >= volume->index.applied_lsn &&
		history_count_in_index(machine, entry) > 0;
}

/* Copies that have been filled again hold it again; one that has cut off what was damaged, and is
 * not filled again yet, holds it no more. */
static void find_holders(struct history_entry *entry)
{
	for (unsigned m = 0; m < cluster_machines(); m++) {
		bool is_cut = rot_has_been() && m == rot_machine() && world_is_running(m);
		if (has(m, entry))
			entry->holders |= 1u << m;
		else if (is_cut)
			entry->holders &= ~(1u << m);
	}
}

void history_disk_lost(unsigned machine, uint64_t since_us)
{
	has_losses = true;
	model_disk_lost(machine, since_us);
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
	for (size_t i = 0; i < history.count && (has_losses || rot_has_been()); i++) {
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
	for (size_t i = 0; i < volume->at_risk_count; i++) {
		const struct at_risk *risk = &volume->at_risk[volume->at_risk_first + i];
		if (entry->is_append ? risk->mailbox_id == entry->mailbox_id &&
					       risk->uid == entry->uid
				     : memcmp(risk->delivery_id, entry->delivery_id,
					       DELIVERY_ID_LENGTH) == 0)
			return true;
	}
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
	find_holders(entry);
	watch_safe(entry);
}

void history_answered(struct history_entry *entry, unsigned machine, uint32_t uid)
{
	if (!world_is_running(machine))
		return;
	entry->answered_us = world_now_us();
	if (!entry->answered_ok)
		entry->took_us = entry->answered_us - entry->sent_us;
	entry->answered_ok = true;
	entry->answered_by = machine;
	entry->answered_epoch = cluster_volume(machine, entry->volume_id)->desired.epoch;
	if (uid != 0)
		entry->uid = uid;
	history_look_at_risk(entry);
}
