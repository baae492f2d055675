#include "node/session/imap_verbs.h"

#include "core/metric.h"

#include <stdio.h>
#include <stdlib.h>

enum { BOTH = IMAP_AUTHENTICATED | IMAP_SELECTED };

/* In order of name, for the search below. */
static const struct imap_verb verbs[] = {
	{ "APPEND", BOTH, IMAP_SYNC_ALL, false, cmd_append },
	{ "CAPABILITY", BOTH, IMAP_SYNC_ALL, false, cmd_capability },
	{ "CHECK", IMAP_SELECTED, IMAP_SYNC_ALL, false, cmd_check },
	{ "CLOSE", IMAP_SELECTED, IMAP_SYNC_ALL, false, cmd_close },
	{ "COPY", IMAP_SELECTED, IMAP_SYNC_ALL, true, cmd_copy },
	{ "CREATE", BOTH, IMAP_SYNC_ALL, false, cmd_create },
	{ "DELETE", BOTH, IMAP_SYNC_ALL, false, cmd_delete },
	{ "ENABLE", BOTH, IMAP_SYNC_ALL, false, cmd_enable },
	{ "EXAMINE", BOTH, IMAP_SYNC_ALL, false, cmd_examine },
	{ "EXPUNGE", IMAP_SELECTED, IMAP_SYNC_ALL, true, cmd_expunge },
	{ "FETCH", IMAP_SELECTED, IMAP_SYNC_NO_EXPUNGE, true, cmd_fetch },
	{ "ID", BOTH, IMAP_SYNC_ALL, false, cmd_id },
	{ "IDLE", BOTH, IMAP_SYNC_ALL, false, cmd_idle },
	{ "LIST", BOTH, IMAP_SYNC_ALL, false, cmd_list },
	{ "LOGOUT", BOTH, IMAP_SYNC_ALL, false, cmd_logout },
	{ "LSUB", BOTH, IMAP_SYNC_ALL, false, cmd_lsub },
	{ "MOVE", IMAP_SELECTED, IMAP_SYNC_ALL, true, cmd_move },
	{ "NAMESPACE", BOTH, IMAP_SYNC_ALL, false, cmd_namespace },
	{ "NOOP", BOTH, IMAP_SYNC_ALL, false, cmd_noop },
	{ "RENAME", BOTH, IMAP_SYNC_ALL, false, cmd_rename },
	{ "SEARCH", IMAP_SELECTED, IMAP_SYNC_NO_EXPUNGE, true, cmd_search },
	{ "SELECT", BOTH, IMAP_SYNC_ALL, false, cmd_select },
	{ "STATUS", BOTH, IMAP_SYNC_ALL, false, cmd_status },
	{ "STORE", IMAP_SELECTED, IMAP_SYNC_NO_EXPUNGE, true, cmd_store },
	{ "SUBSCRIBE", BOTH, IMAP_SYNC_ALL, false, cmd_subscribe },
	{ "UNSELECT", IMAP_SELECTED, IMAP_SYNC_ALL, false, cmd_unselect },
	{ "UNSUBSCRIBE", BOTH, IMAP_SYNC_ALL, false, cmd_unsubscribe },
};

static int compare_name(const void *key, const void *row)
{
	return strcmp(key, ((const struct imap_verb *)row)->name);
}

const struct imap_verb *imap_verb_find(struct str name)
{
	char upper[16];
	if (name.length >= sizeof(upper))
		return NULL;
	for (size_t i = 0; i < name.length; i++)
		upper[i] = ascii_upper(name.bytes[i]);
	upper[name.length] = 0;
	return bsearch(upper, verbs, array_length(verbs), sizeof(verbs[0]), compare_name);
}

struct metric *imap_verb_metric(const struct imap_verb *verb)
{
	/* A thread's own copy of the registry's answers. */
	static _Thread_local struct metric *metrics[array_length(verbs)];
	size_t index = (size_t)(verb - verbs);

	if (!metrics[index]) {
		char *labels = mem_alloc(32);
		snprintf(labels, 32, "verb=\"%s\"", verb->name);
		metrics[index] = metric_counter("pando_imap_commands_total", labels,
			"IMAP commands after authentication.");
	}
	return metrics[index];
}
