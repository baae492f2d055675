#include "proto/disk/change.h"

#include "change.pb-c.h"
#include "proto/packed.h"

/* Values are copied between our structs and protobuf-c's, whose types stay in this file. */

static Pando__Disk__AddedMessage **pack_added(struct pool *pool, const struct action *from)
{
	Pando__Disk__AddedMessage **list = pool_alloc(pool, from->added_count * sizeof(*list));
	for (size_t i = 0; i < from->added_count; i++) {
		const struct added_message *added = &from->added[i];
		Pando__Disk__AddedMessage *to = list[i] = pool_alloc(pool, sizeof(*to));
		pando__disk__added_message__init(to);
		to->uid = added->uid;
		to->size = added->size;
		to->flags = added->flags;
		to->body_lsn = added->body_lsn;
		to->body_back = added->body_back;
		to->internal_date_s = added->internal_date_s;
		to->summary_length = added->summary_length;
	}
	return list;
}

static Pando__Disk__Keyword **pack_keywords(struct pool *pool, const struct action *from)
{
	Pando__Disk__Keyword **list = pool_alloc(pool, from->keyword_count * sizeof(*list));
	for (size_t i = 0; i < from->keyword_count; i++) {
		Pando__Disk__Keyword *to = list[i] = pool_alloc(pool, sizeof(*to));
		pando__disk__keyword__init(to);
		to->index = from->keywords[i].index;
		to->name = packed_from_str(from->keywords[i].name);
	}
	return list;
}

static Pando__Disk__NewFolder **pack_folders(struct pool *pool, const struct action *from)
{
	Pando__Disk__NewFolder **list = pool_alloc(pool, from->folder_count * sizeof(*list));
	for (size_t i = 0; i < from->folder_count; i++) {
		Pando__Disk__NewFolder *to = list[i] = pool_alloc(pool, sizeof(*to));
		pando__disk__new_folder__init(to);
		to->id = from->folders[i].id;
		to->name = packed_from_str(from->folders[i].name);
		to->uidvalidity = from->folders[i].uidvalidity;
		to->special_use = from->folders[i].special_use;
	}
	return list;
}

static Pando__Disk__Action *pack_action(struct pool *pool, const struct action *from)
{
	Pando__Disk__Action *to = pool_alloc(pool, sizeof(*to));
	pando__disk__action__init(to);
	to->kind = from->kind;
	to->mailbox = from->mailbox_id;
	to->modseq = from->modseq;
	to->folder = from->folder_id;
	to->source_folder = from->source_folder_id;
	to->n_added = from->added_count;
	to->added = pack_added(pool, from);
	to->delivery_id = packed_from_str(from->delivery_id);
	to->n_keywords = from->keyword_count;
	to->keywords = pack_keywords(pool, from);
	to->n_uid_ranges = from->uid_range_count * 2;
	to->uid_ranges = pool_alloc(pool, from->uid_range_count * 2 * sizeof(uint32_t));
	for (size_t i = 0; i < from->uid_range_count; i++) {
		to->uid_ranges[2 * i] = from->uids[i].first;
		to->uid_ranges[2 * i + 1] = from->uids[i].last;
	}
	to->mode = from->mode;
	to->flags = from->flags;
	to->conditional = from->conditional;
	to->unchanged_since = from->unchanged_since;
	to->n_folders = from->folder_count;
	to->folders = pack_folders(pool, from);
	to->name = packed_from_str(from->name);
	to->subscribed = from->subscribed;
	to->uid_slack = from->uid_slack;
	to->mark = packed_from_str(from->mark);
	to->n_bodies = from->body_count;
	to->bodies = from->bodies;
	to->kept_at_s = from->kept_at_s;
	to->kept_domain = from->kept_domain;
	to->recovers = from->recovers;
	return to;
}

void change_encode(const struct change *change, struct buf *out)
{
	struct pool *pool = pool_create();
	Pando__Disk__Change packed;
	pando__disk__change__init(&packed);
	packed.n_actions = change->action_count;
	packed.actions = pool_alloc(pool, change->action_count * sizeof(*packed.actions));
	for (size_t i = 0; i < change->action_count; i++)
		packed.actions[i] = pack_action(pool, &change->actions[i]);
	size_t length = pando__disk__change__get_packed_size(&packed);
	pando__disk__change__pack(&packed, (uint8_t *)buf_reserve(out, length));
	buf_commit(out, length);
	pool_destroy(&pool);
}

static void unpack_lists(struct pool *pool, const Pando__Disk__Action *from, struct action *to)
{
	to->added_count = from->n_added;
	to->added = pool_alloc(pool, from->n_added * sizeof(*to->added));
	for (size_t i = 0; i < from->n_added; i++)
		to->added[i] = (struct added_message){ .uid = from->added[i]->uid,
			.size = from->added[i]->size,
			.flags = from->added[i]->flags,
			.body_lsn = from->added[i]->body_lsn,
			.body_back = from->added[i]->body_back,
			.internal_date_s = from->added[i]->internal_date_s,
			.summary_length = from->added[i]->summary_length };
	to->keyword_count = from->n_keywords;
	to->keywords = pool_alloc(pool, from->n_keywords * sizeof(*to->keywords));
	for (size_t i = 0; i < from->n_keywords; i++)
		to->keywords[i] = (struct action_keyword){ from->keywords[i]->index,
			packed_to_str(from->keywords[i]->name) };
	to->uid_range_count = from->n_uid_ranges / 2;
	to->uids = pool_alloc(pool, to->uid_range_count * sizeof(*to->uids));
	for (size_t i = 0; i < to->uid_range_count; i++)
		to->uids[i] =
			(struct uid_range){ from->uid_ranges[2 * i], from->uid_ranges[2 * i + 1] };
	to->body_count = from->n_bodies;
	to->bodies = pool_alloc(pool, from->n_bodies * sizeof(*to->bodies));
	for (size_t i = 0; i < from->n_bodies; i++)
		to->bodies[i] = from->bodies[i];
	to->folder_count = from->n_folders;
	to->folders = pool_alloc(pool, from->n_folders * sizeof(*to->folders));
	for (size_t i = 0; i < from->n_folders; i++)
		to->folders[i] = (struct action_folder){ from->folders[i]->id,
			packed_to_str(from->folders[i]->name), from->folders[i]->uidvalidity,
			from->folders[i]->special_use };
}

bool change_decode(struct str bytes, struct pool *pool, struct change *change_out)
{
	ProtobufCAllocator allocator = packed_allocator(pool);
	Pando__Disk__Change *packed =
		pando__disk__change__unpack(&allocator, bytes.length, (const uint8_t *)bytes.bytes);
	if (packed == NULL)
		return false;
	change_out->action_count = packed->n_actions;
	change_out->actions = pool_alloc(pool, packed->n_actions * sizeof(*change_out->actions));
	for (size_t i = 0; i < packed->n_actions; i++) {
		const Pando__Disk__Action *from = packed->actions[i];
		struct action *to = &change_out->actions[i];
		if (from->n_uid_ranges % 2 != 0)
			return false;
		to->kind = (enum action_kind)from->kind;
		to->mailbox_id = from->mailbox;
		to->modseq = from->modseq;
		to->folder_id = from->folder;
		to->source_folder_id = from->source_folder;
		to->delivery_id = packed_to_str(from->delivery_id);
		to->mode = from->mode;
		to->flags = from->flags;
		to->conditional = from->conditional;
		to->unchanged_since = from->unchanged_since;
		to->name = packed_to_str(from->name);
		to->subscribed = from->subscribed;
		to->uid_slack = from->uid_slack;
		to->mark = packed_to_str(from->mark);
		to->kept_at_s = from->kept_at_s;
		to->kept_domain = from->kept_domain;
		to->recovers = from->recovers;
		unpack_lists(pool, from, to);
	}
	return true;
}
