#include "node/index/index.h"

#include "core/log.h"
#include "proto/disk/record.h"

#include <errno.h>

/*
 * Applying is deterministic: the same changes in the same order give the same index, whether they
 * come from an operation just made durable, from a replica's stream or from the log at start-up.
 */

static void tell_folder_sessions(struct folder *folder)
{
	list_for_each_safe (entry, following, &folder->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, folder_link);
		session->on_change(session);
	}
}

static void raise_modseq(struct folder *folder, uint64_t modseq)
{
	struct mailbox *mailbox = folder->mailbox;
	if (folder->highest_modseq < modseq)
		folder->highest_modseq = modseq;
	if (mailbox->modseq < modseq) {
		mailbox->modseq = modseq;
		mailbox_mark_dirty(mailbox);
	}
	folder_mark_header_dirty(folder);
}

static int apply_keywords(struct folder *folder, const struct action *action)
{
	int result = 0;
	for (size_t i = 0; i < action->keyword_count && result == 0; i++)
		result = folder_set_keyword(folder, action->keywords[i].index,
			action->keywords[i].name, action->modseq);
	return result;
}

/* -ENOENT when a change before this one has deleted it. */
static int find_folder(struct index *index, const struct action *action, uint32_t folder_id,
	struct folder **folder_out)
{
	struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
	*folder_out = mailbox ? mailbox_folder_by_id(mailbox, folder_id) : NULL;
	if (*folder_out == NULL)
		return -ENOENT;
	int result = folder_load(*folder_out);
	CHECK(result != -ENOENT); /* which would mean something else here */
	return result;
}

/* Before anything is changed. A copy of what is gone by now has no ground. */
static int check_added(
	struct index *index, const struct folder *folder, const struct action *action)
{
	uint32_t uidnext = folder->uidnext;
	const struct kept_message *kept;
	int result = 0;
	for (size_t i = 0; i < action->added_count; i++) {
		const struct added_message *added = &action->added[i];
		if (added->uid < uidnext || added->uid == UINT32_MAX)
			return -EUCLEAN;
		uidnext = added->uid + 1;
		if (result == 0 && action->recovers)
			result = bodies_find_kept(index, added->body_lsn, action->mailbox_id,
				mailbox_mark_number(folder->mailbox), &kept);
		if (result == 0 && added->body_lsn != 0)
			result = bodies_has(index, added->body_lsn);
	}
	return result;
}

static int take_body(struct index *index, const struct added_message *added, uint64_t mailbox_id,
	uint64_t lsn)
{
	int result = added->body_lsn != 0
		? bodies_refer(index, added->body_lsn, mailbox_id)
		: bodies_store(index, lsn - added->body_back,
			  body_length(added->size, added->summary_length), mailbox_id);
	/* It was there a moment ago: else it means something that it is not. */
	return result == -ENOENT ? -EUCLEAN : result;
}

static int apply_add(struct index *index, const struct action *action, uint64_t lsn)
{
	struct folder *folder;
	int result = find_folder(index, action, action->folder_id, &folder);
	if (result == 0)
		result = check_added(index, folder, action);
	if (result < 0)
		return result;
	result = apply_keywords(folder, action);
	if (result < 0)
		return result;
	for (size_t i = 0; i < action->added_count; i++) {
		const struct added_message *added = &action->added[i];
		struct message message = { .uid = added->uid,
			.size = added->size,
			.flags = added->flags,
			.modseq = action->modseq,
			.body_lsn = added->body_lsn ? added->body_lsn : lsn - added->body_back,
			.internal_date_s = added->internal_date_s,
			.summary_length = added->summary_length };
		result = take_body(index, added, action->mailbox_id, lsn);
		if (result < 0)
			return result;
		CHECK(folder->message_count == 0 ||
			folder->messages[folder->message_count - 1].uid < added->uid);
		folder_push_message(folder, &message);
		folder_mark_dirty(folder, added->uid);
		folder->uidnext = added->uid + 1;
		index_note_uidnext(index, folder->uidnext);
		folder->recent_count++;
		folder->unseen_count += !(added->flags & MESSAGE_SEEN);
		folder->total_bytes += added->size;
		index->message_count++;
	}
	if (action->delivery_id.length == CHANGE_DELIVERY_ID_LENGTH) {
		uint8_t key[16];
		dedupe_key((const uint8_t *)action->delivery_id.bytes, action->mailbox_id, key);
		if (!dedupe_has(&index->dedupe, key))
			dedupe_add(&index->dedupe, key);
	}
	folder->append_counter++;
	raise_modseq(folder, action->modseq);
	tell_folder_sessions(folder);
	return 0;
}

/* The body of a message that goes for good; where the log says that it is kept, as it is now. */
static int release_body(struct folder *folder, const struct action *action,
	const struct message *message, struct buf *texts)
{
	struct kept_message kept = { .mailbox_id = folder->mailbox->id,
		.domain_id = action->kept_domain,
		.mark = mailbox_mark_number(folder->mailbox),
		.expunged_s = action->kept_at_s };
	if (action->kept_at_s == 0)
		return bodies_release(folder->mailbox->index, message->body_lsn, NULL);
	kept_describe(&kept, folder, message, texts);
	return bodies_release(folder->mailbox->index, message->body_lsn, &kept);
}

static int apply_expunge(struct index *index, const struct action *action, uint32_t folder_id)
{
	struct folder *folder;
	struct buf texts = { 0 };
	int result = find_folder(index, action, folder_id, &folder);
	if (result < 0)
		return result;
	/* One pass that closes all gaps: ranges and messages both rise. */
	uint32_t kept =
		action->uid_range_count ? folder_find_uid(folder, action->uids[0].first) : 0;
	size_t range = 0;
	uint32_t i = kept, removed = 0;
	for (; i < folder->message_count && range < action->uid_range_count; i++) {
		const struct message *message = &folder->messages[i];
		while (range < action->uid_range_count && action->uids[range].last < message->uid)
			range++;
		if (range < action->uid_range_count && action->uids[range].first <= message->uid) {
			result = release_body(folder, action, message, &texts);
			if (result < 0)
				break;
			folder_mark_dirty(folder, message->uid);
			folder->recent_count -= message->uid >= folder->first_recent_uid;
			folder->unseen_count -= !(message->flags & MESSAGE_SEEN);
			folder->total_bytes -= message->size;
			index->message_count--;
			removed++;
		} else {
			folder->messages[kept++] = *message;
		}
	}
	buf_deinit(&texts);
	if (result < 0)
		return result;
	if (removed > 0)
		memmove(&folder->messages[kept], &folder->messages[i],
			(folder->message_count - i) * sizeof(*folder->messages));
	CHECK(removed <= folder->message_count);
	folder->message_count -= removed;
	folder->expunge_counter += removed > 0;
	raise_modseq(folder, action->modseq);
	if (removed > 0)
		tell_folder_sessions(folder);
	return 0;
}

static bool is_refused(const struct action *action, uint64_t modseq)
{
	return action->conditional && modseq > action->unchanged_since;
}

uint64_t action_flags_after(const struct action *action, uint64_t flags, uint64_t modseq)
{
	if (is_refused(action, modseq))
		return flags;
	switch ((enum store_mode)action->mode) {
	case STORE_ADD: return flags | action->flags;
	case STORE_REMOVE: return flags & ~action->flags;
	case STORE_REPLACE: return action->flags;
	}
	return flags;
}

static int apply_flags(struct index *index, const struct action *action, struct apply_result *out)
{
	struct folder *folder;
	int result = find_folder(index, action, action->folder_id, &folder);
	if (result < 0)
		return result;
	uint64_t keywords_before = folder->keyword_counter;
	result = apply_keywords(folder, action);
	if (result < 0)
		return result;
	bool changed = folder->keyword_counter != keywords_before;
	for (size_t r = 0; r < action->uid_range_count; r++) {
		uint32_t i = folder_find_uid(folder, action->uids[r].first);
		for (; i < folder->message_count && folder->messages[i].uid <= action->uids[r].last;
			i++) {
			struct message *message = &folder->messages[i];
			if (is_refused(action, message->modseq)) {
				if (out != NULL) {
					out->failed_uids = mem_resize(out->failed_uids,
						(out->failed_count + 1) *
							sizeof(*out->failed_uids));
					out->failed_uids[out->failed_count++] = message->uid;
				}
				continue;
			}
			uint64_t flags =
				action_flags_after(action, message->flags, message->modseq);
			/* A store that changes nothing leaves the modseq alone (RFC 7162
			 * section 3.1.3 allows both; clients then fetch less). */
			if (flags == message->flags)
				continue;
			folder->unseen_count += !(flags & MESSAGE_SEEN);
			folder->unseen_count -= !(message->flags & MESSAGE_SEEN);
			message->flags = flags;
			message->modseq = action->modseq;
			folder_mark_dirty(folder, message->uid);
			changed = true;
		}
	}
	if (changed) {
		folder->flag_counter++;
		raise_modseq(folder, action->modseq);
		tell_folder_sessions(folder);
	}
	return 0;
}

/* A mailbox comes to be; from now on it is this one, whoever is given its id later. */
static int apply_mark(struct mailbox *mailbox, const struct action *action)
{
	if (action->mark.length != CHANGE_MARK_LENGTH)
		return -EUCLEAN;
	memcpy(mailbox->mark, action->mark.bytes, CHANGE_MARK_LENGTH);
	mailbox_set_made_for(mailbox, action->name);
	if (mailbox->index->highest_mailbox_id < mailbox->id)
		mailbox->index->highest_mailbox_id = mailbox->id;
	return 0;
}

static int apply_folders(struct index *index, const struct action *action)
{
	struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
	if (mailbox == NULL)
		mailbox = index_make_mailbox(index, action->mailbox_id);
	int status = mailbox->folder_count == 0 ? apply_mark(mailbox, action) : 0;
	if (status < 0)
		return status;
	for (size_t i = 0; i < action->folder_count; i++) {
		const struct action_folder *new = &action->folders[i];
		if (mailbox_folder_by_id(mailbox, new->id) != NULL)
			return -EUCLEAN;
		if (mailbox->next_folder_id <= new->id)
			mailbox->next_folder_id = new->id + 1;
		if (mailbox_find_folder(mailbox, new->name) != NULL) {
			/* Parents may be there by now; the last is the one that was asked for. */
			if (i + 1 == action->folder_count)
				status = -EEXIST;
			continue;
		}
		struct folder *folder = mailbox_add_folder(mailbox, new->id, new->name);
		folder->uidvalidity = new->uidvalidity;
		folder->uidnext = folder->first_recent_uid = index_first_uid(index);
		folder->special_use = (enum special_use)new->special_use;
		if (mailbox->last_uidvalidity < new->uidvalidity)
			mailbox->last_uidvalidity = new->uidvalidity;
		/* The folders every mailbox begins with are subscribed. */
		if (new->special_use != SPECIAL_NONE || new->id == 1)
			map_set(mailbox->subscriptions, new->name, mailbox->subscriptions);
		raise_modseq(folder, action->modseq);
	}
	mailbox_mark_dirty(mailbox);
	return status;
}

static int apply_delete(struct index *index, const struct action *action)
{
	struct folder *folder;
	struct buf texts = { 0 };
	int result = find_folder(index, action, action->folder_id, &folder);
	if (result < 0)
		return result;
	list_for_each_safe (entry, following, &folder->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, folder_link);
		list_remove(&session->folder_link);
		session->folder = NULL;
		session->on_gone(session, true);
	}
	for (uint32_t i = 0; i < folder->message_count && result == 0; i++)
		result = release_body(folder, action, &folder->messages[i], &texts);
	buf_deinit(&texts);
	if (result < 0)
		return result;
	index->message_count -= folder->message_count;
	folder_note_removed(folder);
	mailbox_mark_dirty(folder->mailbox);
	mailbox_drop_folder(folder);
	return 0;
}

static int apply_rename(struct index *index, const struct action *action)
{
	struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
	if (mailbox == NULL)
		return -ENOENT;
	for (size_t i = 0; i < action->folder_count; i++) {
		if (mailbox_folder_by_id(mailbox, action->folders[i].id) == NULL)
			return -ENOENT;
		if (mailbox_find_folder(mailbox, action->folders[i].name) != NULL)
			return -EEXIST;
	}
	for (size_t i = 0; i < action->folder_count; i++) {
		struct folder *folder = mailbox_folder_by_id(mailbox, action->folders[i].id);
		folder_set_name(folder, action->folders[i].name);
		raise_modseq(folder, action->modseq);
	}
	mailbox_sort_folders(mailbox);
	return 0;
}

static int apply_subscribe(struct index *index, const struct action *action)
{
	struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
	if (mailbox == NULL)
		return -ENOENT;
	if (action->subscribed)
		map_set(mailbox->subscriptions, action->name, mailbox->subscriptions);
	else
		map_remove(mailbox->subscriptions, action->name);
	mailbox_mark_dirty(mailbox);
	return 0;
}

/* An unclean promotion, or an opening that was agreed with the other copies: what clients were told
 * may be of a branch that is lost. Numbers that it may have given out are passed over, and
 * everything that is here counts as changed. */
static int apply_uid_slack(struct index *index, const struct action *action)
{
	void *value;
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);) {
		struct mailbox *mailbox = value;
		uint64_t modseq = action->modseq > mailbox->modseq ? action->modseq
								   : mailbox->modseq + 1;
		for (uint32_t k = 0; k < mailbox->folder_count; k++) {
			struct folder *folder = mailbox->folders[k];
			uint32_t room = UINT32_MAX - folder->uidnext;
			folder->uidnext += action->uid_slack < room ? action->uid_slack : room;
			index_note_uidnext(index, folder->uidnext);
			folder->private->modseq_floor = modseq;
			if (folder->private->loaded)
				folder_raise_to_floor(folder);
			folder->flag_counter++;
			raise_modseq(folder, modseq);
		}
	}
	index->slack_epoch = action->modseq >> 40;
	index->slack_count += action->uid_slack / UID_SLACK;
	index->half_slack_count += action->uid_slack % UID_SLACK / (UID_SLACK / 2);
	return 0;
}

/* Nobody is to be served by it any more: all that is left of it is that its number was given. */
static int apply_purge(struct index *index, const struct action *action)
{
	struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
	int result = 0;
	if (mailbox == NULL || action->mark.length != CHANGE_MARK_LENGTH ||
		memcmp(mailbox->mark, action->mark.bytes, CHANGE_MARK_LENGTH) != 0)
		return -ENOENT;
	mailbox_tell_gone(mailbox);
	for (uint32_t i = 0; i < mailbox->folder_count && result == 0; i++) {
		struct folder *folder = mailbox->folders[i];
		result = folder_load(folder);
		for (uint32_t k = 0; k < folder->message_count && result == 0; k++)
			result = bodies_release(index, folder->messages[k].body_lsn, NULL);
	}
	CHECK(result != -ENOENT);
	if (result < 0)
		return result;
	for (uint32_t i = 0; i < mailbox->folder_count; i++) {
		index->message_count -= mailbox->folders[i]->message_count;
		folder_note_removed(mailbox->folders[i]);
	}
	index_drop_mailbox(mailbox);
	return 0;
}

static int apply_free(struct index *index, const struct action *action)
{
	int result = 0;
	for (size_t i = 0; i < action->body_count && result == 0; i++)
		result = bodies_free(index, action->bodies[i]);
	return result;
}

static int apply_action(struct index *index, const struct action *action, uint64_t lsn,
	struct apply_result *result)
{
	int status;
	switch (action->kind) {
	case ACTION_ADD: return apply_add(index, action, lsn);
	case ACTION_MOVE:
		status = apply_add(index, action, lsn);
		if (status < 0)
			return status;
		status = apply_expunge(index, action, action->source_folder_id);
		/* The source may be gone, and its messages with it. */
		return status == -ENOENT ? 0 : status;
	case ACTION_FLAGS: return apply_flags(index, action, result);
	case ACTION_EXPUNGE: return apply_expunge(index, action, action->folder_id);
	case ACTION_FOLDERS: return apply_folders(index, action);
	case ACTION_DELETE: return apply_delete(index, action);
	case ACTION_RENAME: return apply_rename(index, action);
	case ACTION_SUBSCRIBE: return apply_subscribe(index, action);
	case ACTION_UID_SLACK: return apply_uid_slack(index, action);
	case ACTION_FREE: return apply_free(index, action);
	case ACTION_PURGE: return apply_purge(index, action);
	}
	return -EUCLEAN; /* written by a later version */
}

int index_apply(struct index *index, const struct change *change, uint64_t lsn,
	struct apply_result *result)
{
	for (size_t i = 0; i < change->action_count; i++) {
		int status = apply_action(index, &change->actions[i], lsn, result);
		bool lost_ground = status == -ENOENT || status == -EEXIST;
		if (status < 0 && !lost_ground) {
			index_break(index, strerror(-status));
			return status;
		}
		if (result != NULL && lost_ground)
			result->status = status;
		if (result != NULL && result->action_statuses != NULL)
			result->action_statuses[i] = status;
	}
	return 0;
}

int index_apply_groups(struct index *index, struct str bytes, uint64_t lsn)
{
	struct pool *pool = pool_create();
	int status = index->is_broken ? -EUCLEAN : 0;
	CHECK(lsn >= index->applied_lsn); /* what is applied twice is there twice */
	while (status == 0 && bytes.length > 0) {
		struct group group;
		struct record record;
		size_t position = GROUP_HEADER_LENGTH;
		if (!group_header_decode(bytes, lsn, index->volume_id, &group)) {
			status = -EBADMSG;
			break;
		}
		while (status == 0 && group_next_record(&group, bytes, &position, &record)) {
			struct change change;
			if (record.type != RECORD_CHANGE)
				continue;
			if (change_decode(record.body, pool, &change)) {
				status = index_apply(index, &change, record.lsn, NULL);
			} else {
				status = -EUCLEAN;
				index_break(index, "a change that cannot be read");
			}
		}
		pool_reset(pool);
		if (status < 0) {
			log_error("apply_failed", "volume=%u lsn=%llu reason=%s", index->volume_id,
				(unsigned long long)lsn, log_quote(str_from(strerror(-status))));
			break;
		}
		lsn += group_padded(group.used);
		bytes = str_from_index(bytes, group_padded(group.used));
		index->applied_lsn = lsn;
		index->applied_epoch = group.epoch;
		index->applied_incarnation = group.incarnation;
		memcpy(index->applied_reign, group.reign, EPOCH_REIGN_LENGTH);
	}
	pool_destroy(&pool);
	return status;
}
