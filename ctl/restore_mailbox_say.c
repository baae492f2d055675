/* What `pando restore --mailbox` tells: to people, and to scripts. */

#include "core/encode.h"
#include "ctl/output.h"
#include "ctl/restore_mailbox.h"

#include <stdio.h>

static const struct {
	enum bring_state state;
	const char *column;
} columns[] = {
	{ BRING_STORED, "#brought" },
	{ BRING_STANDS, "#stands" },
	{ BRING_THERE, "#there" },
	{ BRING_BEFORE, "#before" },
	{ BRING_FREED, "#freed" },
	{ BRING_DAMAGED, "#damaged" },
	{ BRING_REFUSED, "#refused" },
};

static const char *trouble(const struct bring_message *message)
{
	switch (message->state) {
	case BRING_FREED:
		return "it was expunged after the backup's moment, and its room given back before "
		       "its volume was read: sets from before the last whole one may have it "
		       "(--set)";
	case BRING_DAMAGED: return "it is damaged in the backup";
	case BRING_REFUSED: return message->why;
	default: return NULL;
	}
}

static void list_folders(const struct mailbox_restore *mailbox, struct table *table)
{
	*table = (struct table){ .column_count = 3 + array_length(columns),
		.columns = { "folder", "into", "#messages" } };
	for (size_t i = 0; i < array_length(columns); i++)
		table->columns[3 + i] = columns[i].column;
	for (unsigned i = 0; i < mailbox->folder_count; i++) {
		const struct bring_folder *folder = &mailbox->folders[i];
		table_add_str(table, folder->folder.name);
		table_add_str(table, folder->target);
		table_addf(table, "%u", folder->message_count);
		for (size_t column = 0; column < array_length(columns); column++)
			table_addf(table, "%u", folder->counts[columns[column].state]);
	}
}

static void list_troubles(const struct mailbox_restore *mailbox, struct table *table)
{
	*table = (struct table){ .column_count = 3, .columns = { "folder", "#uid", "why" } };
	for (unsigned i = 0; i < mailbox->folder_count; i++)
		for (uint32_t m = 0; m < mailbox->folders[i].message_count; m++) {
			const struct bring_message *message = &mailbox->folders[i].messages[m];
			if (!trouble(message))
				continue;
			table_add_str(table, mailbox->folders[i].folder.name);
			table_addf(table, "%u", message->message.uid);
			table_add(table, trouble(message));
		}
	/* What was asked for by its UID. With UIDs there is one folder. */
	for (unsigned i = 0; i < mailbox->uids.count; i++) {
		uint32_t first = mailbox->uids.ranges[i].first, last = mailbox->uids.ranges[i].last;
		if (mailbox->has_range[i])
			continue;
		table_add(table, command_option(mailbox->restore.command, "folder"));
		table_addf(table, "%u", first);
		if (first == last)
			table_add(table, "the backup has no such message");
		else
			table_addf(table, "the backup has none of %u:%u", first, last);
	}
}

static void print_json(const struct mailbox_restore *mailbox, const struct table *folders,
	const struct table *troubles)
{
	const struct bring *bring = &mailbox->bring;
	struct buf out = { 0 };
	buf_printf(&out,
		"{\"set\": \"%s\", \"moment\": \"%s\", \"mailbox\": ", mailbox->restore.set->name,
		restore_moment(&mailbox->restore));
	encode_json(&out, str_from(mailbox->address));
	buf_append_literal(&out, ", \"into\": ");
	encode_json(&out, str_from(bring->to_address));
	buf_printf(&out, ", \"is_another_mailbox\": %s, \"dry_run\": %s, \"folders\": ",
		bring->is_same ? "false" : "true", bring->is_dry_run ? "true" : "false");
	table_append_json(folders, &out);
	buf_append_literal(&out, ", \"problems\": ");
	table_append_json(troubles, &out);
	buf_append_literal(&out, "}\n");
	fwrite(buf_str(&out).bytes, 1, buf_length(&out), stdout);
	buf_deinit(&out);
}

static void print_text(const struct mailbox_restore *mailbox, const struct table *folders,
	const struct table *troubles)
{
	const struct bring *bring = &mailbox->bring;
	const uint64_t *counts = mailbox->counts;
	printf("backup of %s, set %s\n", restore_moment(&mailbox->restore),
		mailbox->restore.set->name);
	if (mailbox->was_removed)
		printf("%s had been removed by then\n", mailbox->address);
	if (!bring->is_same)
		printf("%s is another mailbox now than in the backup: it gets the mail\n",
			bring->to_address);
	else if (strcasecmp(bring->to_address, mailbox->address) != 0)
		printf("%s is %s now\n", mailbox->address, bring->to_address);
	table_print(folders, false, "the backup has no such mail");
	printf("%llu message%s %s\n", (unsigned long long)counts[BRING_STORED],
		counts[BRING_STORED] == 1 ? "" : "s",
		bring->is_dry_run ? "would be brought back" : "brought back");
	if (counts[BRING_STANDS] > 0)
		printf("%llu %s\n", (unsigned long long)counts[BRING_STANDS],
			counts[BRING_STANDS] == 1 ? "stands where it stood"
						  : "stand where they stood");
	if (counts[BRING_THERE] > 0)
		printf("%llu %s in the target folder already\n",
			(unsigned long long)counts[BRING_THERE],
			counts[BRING_THERE] == 1 ? "is" : "are");
	if (counts[BRING_BEFORE] > 0)
		printf("%llu were brought back before, and have been moved or expunged since: "
		       "--into another folder brings them again\n",
			(unsigned long long)counts[BRING_BEFORE]);
	if (table_rows(troubles) > 0)
		table_print(troubles, false, "");
}

int restore_mailbox_say(struct mailbox_restore *mailbox)
{
	struct table folders, troubles;
	list_folders(mailbox, &folders);
	list_troubles(mailbox, &troubles);
	unsigned failed = table_rows(&troubles);
	restore_wipe(&mailbox->restore);
	if (command_json(mailbox->restore.command))
		print_json(mailbox, &folders, &troubles);
	else
		print_text(mailbox, &folders, &troubles);
	if (mailbox->counts[BRING_WANTED] > 0 && mailbox->bring.is_dry_run)
		command_complain("of %llu messages it could not be looked at whether they would be "
				 "brought back",
			(unsigned long long)mailbox->counts[BRING_WANTED]);
	else if (mailbox->counts[BRING_WANTED] > 0)
		command_complain("%llu messages are still to be brought back: the same command "
				 "goes on with them",
			(unsigned long long)mailbox->counts[BRING_WANTED]);
	if (failed > 0)
		command_complain(
			"%u message%s could not be brought back", failed, failed == 1 ? "" : "s");
	table_deinit(&folders);
	table_deinit(&troubles);
	return failed > 0 ? EXIT_FAILED : EXIT_DONE;
}
