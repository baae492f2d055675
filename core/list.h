#ifndef PANDO_CORE_LIST_H
#define PANDO_CORE_LIST_H

/* An intrusive, circular, doubly linked list. A zeroed `struct list` is not
 * valid: list_init first. */

#include "core/check.h"

#include <stdbool.h>

struct list {
	struct list *next;
	struct list *previous;
};

static inline void list_init(struct list *head)
{
	head->next = head->previous = head;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_append(struct list *head, struct list *entry)
{
	entry->previous = head->previous;
	entry->next = head;
	head->previous->next = entry;
	head->previous = entry;
}

/* Leaves the entry as a list of its own, so that removing twice does no harm. */
static inline void list_remove(struct list *entry)
{
	entry->previous->next = entry->next;
	entry->next->previous = entry->previous;
	list_init(entry);
}

/* All of `other` behind the last of `head`, in their order; `other` is empty then. */
static inline void list_append_all(struct list *head, struct list *other)
{
	if (list_is_empty(other))
		return;
	other->next->previous = head->previous;
	head->previous->next = other->next;
	other->previous->next = head;
	head->previous = other->previous;
	list_init(other);
}

#define list_entry(entry, type, member) container_of(entry, type, member)
#define list_for_each(entry, head)                                                                 \
	for (struct list *entry = (head)->next; entry != (head); entry = entry->next)
/* The current entry may be removed in the body. */
#define list_for_each_safe(entry, following, head)                                                 \
	for (struct list *entry = (head)->next, *following = entry->next; entry != (head);         \
		entry = following, following = entry->next)

#endif
