#include "node/index/index.h"

/* What two indexes that follow from the same log have in common: all of it. */

static uint64_t mix(uint64_t digest, uint64_t value)
{
	digest = (digest ^ value) * 0xff51afd7ed558ccdu;
	return digest ^ digest >> 29;
}

static uint64_t digest_folder(struct folder *folder)
{
	uint64_t digest = str_hash(folder->name);
	if (folder_load(folder) < 0)
		return 0;
	digest = mix(digest, folder->id);
	digest = mix(digest, folder->uidvalidity);
	digest = mix(digest, folder->uidnext);
	digest = mix(digest, folder->highest_modseq);
	digest = mix(digest, folder->unseen_count);
	digest = mix(digest, folder->total_bytes);
	digest = mix(digest, folder->private->modseq_floor);
	for (unsigned i = 0; i < folder->keyword_count; i++)
		digest = mix(digest, str_hash(folder->keywords[i]));
	for (uint32_t i = 0; i < folder->message_count; i++) {
		const struct message *message = &folder->messages[i];
		digest = mix(digest, (uint64_t)message->uid << 32 | message->size);
		digest = mix(digest, message->flags);
		digest = mix(digest, message->modseq);
		digest = mix(digest, message->body_lsn);
		digest = mix(digest, (uint64_t)message->internal_date_s);
		digest = mix(digest, message->summary_length);
	}
	return digest;
}

uint64_t index_digest(struct index *index)
{
	uint64_t digest = 0;
	void *value;
	struct body_range *range;
	/* Mailboxes in any order: sums commute. */
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);) {
		struct mailbox *mailbox = value;
		if (mailbox->folder_count == 0)
			continue; /* not in the log: its first folders were refused */
		uint64_t one = mix(mailbox->id, mailbox->modseq);
		struct str name;
		uint64_t names = 0;
		for (size_t k = 0; map_next(mailbox->subscriptions, &k, &name, NULL);)
			names += str_hash(name);
		one = mix(one, names);
		one = mix(one, str_hash(str_of(mailbox->mark, CHANGE_MARK_LENGTH)));
		one = mix(one, str_hash(mailbox->made_for));
		for (uint32_t k = 0; k < mailbox->folder_count; k++)
			one = mix(one, digest_folder(mailbox->folders[k]));
		digest += mix(one, mailbox->next_folder_id);
	}
	for (uint32_t i = 0; i < index->bodies.segment_count; i++) {
		digest = mix(digest, index->bodies.segments[i].live);
		digest = mix(digest, index->bodies.segments[i].dead);
		digest = mix(digest, index->bodies.segments[i].kept);
	}
	for (uint64_t number = 0; bodies_next_kept(index, number, &range) > 0;
		number = range->number + 1)
		digest = mix(digest, kept_list_digest(&range->kept));
	return bodies_are_right(index) ? mix(digest, index->message_count) | 1 : 0;
}
