#include "node/volume/volumes_internal.h"

#include <stdlib.h>

/*
 * Who may go on: when the directory has changed, each worker is told by what the owners of the
 * mailboxes that the change was about are let in now. A list for all of them, gone with the last.
 */

struct owner {
	uint64_t mailbox_id, access;
};

struct access_news {
	atomic_uint readers;
	bool is_all; /* these are all mailboxes there are, rising by id */
	size_t count;
	struct owner owners[];
};

static void tell(struct mailbox *mailbox, uint64_t access)
{
	mailbox_tell_access(mailbox, access, directory_access_end(access));
}

static int compare_owners(const void *a, const void *b)
{
	const struct owner *left = a, *right = b;
	return (left->mailbox_id > right->mailbox_id) - (left->mailbox_id < right->mailbox_id);
}

/* Of all mailboxes only those that somebody looks at, or is about to. */
static void tell_all(const struct index *index, const struct access_news *news)
{
	void *value;
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);) {
		struct mailbox *mailbox = value;
		struct owner wanted = { .mailbox_id = mailbox->id };
		if (list_is_empty(&mailbox->sessions) && mailbox->folder_count > 0)
			continue;
		const struct owner *owner = bsearch(&wanted, news->owners, news->count,
			sizeof(*news->owners), compare_owners);
		tell(mailbox, owner ? owner->access : ACCESS_NONE);
	}
}

static void run_tell(struct worker_call *call)
{
	struct access_news *news = call->arg;
	const struct index *index = &call->slot->volume->index;
	if (news->is_all)
		tell_all(index, news);
	for (size_t i = 0; !news->is_all && i < news->count; i++) {
		struct mailbox *mailbox = index_find_mailbox(index, news->owners[i].mailbox_id);
		if (mailbox != NULL)
			tell(mailbox, news->owners[i].access);
	}
	if (atomic_fetch_sub(&news->readers, 1) == 1)
		free(news);
}

static struct access_news *news_create(size_t count)
{
	return mem_alloc(sizeof(struct access_news) + count * sizeof(struct owner));
}

static struct access_news *collect_all(const struct directory *directory)
{
	const struct directory_mailbox *mailbox;
	size_t position = 0, count = 0;
	while (directory_next_mailbox(directory, &position) != NULL)
		count++;
	struct access_news *news = news_create(count);
	news->is_all = true;
	position = 0;
	while ((mailbox = directory_next_mailbox(directory, &position)) != NULL)
		news->owners[news->count++] = (struct owner){ mailbox->id,
			directory_access(directory, mailbox->id) };
	qsort(news->owners, news->count, sizeof(*news->owners), compare_owners);
	return news;
}

static struct access_news *collect(const struct directory *directory)
{
	struct directory_news what = directory_news(directory);
	if (what.is_all)
		return collect_all(directory);
	struct access_news *news = news_create(what.count);
	for (size_t i = 0; i < what.count; i++)
		news->owners[news->count++] = (struct owner){ what.mailbox_ids[i],
			directory_access(directory, what.mailbox_ids[i]) };
	return news;
}

void volumes_access_changed(struct volumes *volumes)
{
	struct directory_news what = directory_news(volumes->directory);
	void *value;
	/* Without volumes there are no sessions. */
	if ((!what.is_all && what.count == 0) || map_count(volumes->slots) == 0)
		return;
	struct access_news *news = collect(volumes->directory);
	atomic_store(&news->readers, (unsigned)map_count(volumes->slots));
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		struct worker_call *call = slot_call(value, run_tell);
		call->arg = news;
		slot_send(call);
	}
}
