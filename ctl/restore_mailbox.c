/* `pando restore --mailbox`: messages of one mailbox out of a backup, into the living one. */

#include "ctl/restore_mailbox.h"

#include "core/encode.h"
#include "ctl/backup/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the mailbox in the backup ---- */

static bool take_row(struct mailbox_restore *mailbox, const struct sql_result *result)
{
	if (sql_rows(result) == 0)
		return false;
	mailbox->id = sql_value_u64(result, 0, 0);
	mailbox->volume_id = (uint32_t)sql_value_u64(result, 0, 1);
	return decode_hex(str_from(sql_value(result, 0, 2)), mailbox->mark, sizeof(mailbox->mark));
}

/* The one that has the address now, by its mark, under the address that it had then. */
static int find_by_mark(
	struct mailbox_restore *mailbox, struct sql *sql, bool *found_out, struct error *error)
{
	static const char *const query = "select id, volume_id, mark, address from mailbox where "
					 "mark = $1";
	struct mailbox_place place;
	struct sql_result *result = NULL;
	int code = directory_find_place(
		mailbox->restore.command->writer, mailbox->address, &place, error);
	*found_out = false;
	if (code == -ENOENT)
		return 0;
	if (code == 0)
		code = sql_query(sql, query, SQL_VALUES(place.mark), &result, error);
	*found_out = code == 0 && take_row(mailbox, result);
	if (*found_out)
		mailbox->address = pool_copy_terminated(
			mailbox->bring.pool, str_from(sql_value(result, 0, 3)));
	sql_result_free(&result);
	return code;
}

static int find_in_directory(struct mailbox_restore *mailbox, struct sql *sql, struct error *error)
{
	static const char *const queries[] = {
		"select id, volume_id, mark from mailbox where lower(address) = lower($1)",
		"select id, volume_id, mark from removed_mailbox where lower(address) = lower($1) "
		"order by removed_at desc",
	};
	struct sql_result *result = NULL;
	struct buf canonical = { 0 };
	bool found = false;
	int code = 0;
	directory_canonical_address(mailbox->address, &canonical);
	for (size_t i = 0; i < array_length(queries) && code == 0 && !found; i++) {
		code = sql_query(
			sql, queries[i], SQL_VALUES(buf_terminated(&canonical)), &result, error);
		found = code == 0 && take_row(mailbox, result);
		mailbox->was_removed = found && i > 0;
		sql_result_free(&result);
	}
	buf_deinit(&canonical);
	if (code == 0 && !found)
		code = find_by_mark(mailbox, sql, &found, error);
	if (code == 0 && !found)
		code = error_set(error, -ENOENT,
			"the backup of %s has no mailbox %s: --set NAME looks into another set of "
			"it",
			restore_moment(&mailbox->restore), mailbox->address);
	return code;
}

static int find_in_backup(struct mailbox_restore *mailbox, struct error *error)
{
	struct restore *restore = &mailbox->restore;
	const char *path = restore_path(restore, "directory.sqlite");
	struct sql *sql = NULL;
	int code = unpack_directory(restore->set, &restore->secret, path, error);
	if (code == 0)
		code = sql_open_file(path, false, &sql, error);
	if (code == 0)
		code = find_in_directory(mailbox, sql, error);
	sql_close(&sql);
	return code;
}

/* ---- the living one ---- */

static int take_mark(const struct mailbox_place *place, const char *address, uint8_t *mark_out,
	struct error *error)
{
	return decode_hex(str_from(place->mark), mark_out, MAILBOX_MARK_LENGTH)
		? 0
		: error_set(error, -EUCLEAN, "the directory's mark of %s is none", address);
}

/* The same mailbox, whatever its address is by now. -ENOENT: it is not there any more. */
static int find_same(struct mailbox_restore *mailbox, struct error *error)
{
	struct directory_writer *writer = mailbox->restore.command->writer;
	struct bring *bring = &mailbox->bring;
	struct mailbox_place place;
	struct buf now = { 0 };
	const char *address = NULL;
	int code = directory_mailbox_address(writer, mailbox->id, &now, error);
	if (code == 0) {
		address = pool_copy_terminated(bring->pool, buf_str(&now));
		code = directory_find_place(writer, address, &place, error);
	}
	buf_deinit(&now);
	if (code == 0)
		code = take_mark(&place, address, bring->to_mark, error);
	if (code == 0 && memcmp(bring->to_mark, bring->from_mark, sizeof(bring->to_mark)) != 0)
		return -ENOENT;
	bring->is_same = code == 0;
	bring->to_address = address;
	return code;
}

/* The one that has the address, if that was said to be right. */
static int find_other(struct mailbox_restore *mailbox, struct error *error)
{
	const struct command *command = mailbox->restore.command;
	struct bring *bring = &mailbox->bring;
	struct mailbox_place place;
	const char *address = mailbox->address;
	int code = directory_find_place(command->writer, address, &place, error);
	bring->to_address = address;
	if (code == -ENOENT)
		return error_set(error, code,
			"there is no mailbox %s now to bring mail back into: `pando mailbox "
			"restore` puts back one that was removed, `pando mailbox add` makes one",
			address);
	if (code == 0)
		code = take_mark(&place, address, bring->to_mark, error);
	if (code == 0 && !command_has(command, "other-mailbox"))
		code = error_set(error, -EEXIST,
			"nothing was brought: %s is another mailbox now than in the backup, maybe "
			"somebody else's. --other-mailbox brings the mail into it",
			address);
	return code;
}

static int find_living(struct mailbox_restore *mailbox, struct error *error)
{
	memcpy(mailbox->bring.from_mark, mailbox->mark, sizeof(mailbox->bring.from_mark));
	int code = find_same(mailbox, error);
	return code == -ENOENT ? find_other(mailbox, error) : code;
}

/* ---- which messages ---- */

static bool is_meant(const struct mailbox_restore *mailbox, const struct view_folder *folder)
{
	const struct command *command = mailbox->restore.command;
	bool any = !command_has(command, "folder"), named = false;
	for (unsigned i = 0; i < command->option_count; i++)
		if (strcmp(command->options[i].name, "folder") == 0)
			named |= pick_is_folder(command->options[i].value, folder->name);
	return any || named;
}

static struct str target_of(const struct mailbox_restore *mailbox, struct str folder)
{
	return mailbox->into
		? pool_printf(mailbox->bring.pool, "%s/" STR_FORMAT, mailbox->into, STR_ARG(folder))
		: folder;
}

static void choose_messages(struct mailbox_restore *mailbox, const struct view_folder *folder)
{
	struct pool *pool = mailbox->bring.pool;
	struct bring_folder *chosen = &mailbox->folders[mailbox->folder_count];
	*chosen = (struct bring_folder){ .folder = *folder,
		.target = target_of(mailbox, folder->name),
		.messages =
			pool_alloc(pool, (folder->message_count + 1) * sizeof(*chosen->messages)) };
	for (uint32_t i = 0; i < folder->message_count; i++) {
		struct view_message message = view_message(folder, i);
		for (unsigned range = 0; range < mailbox->uids.count; range++)
			mailbox->has_range[range] |=
				pick_is_in_range(&mailbox->uids, range, message.uid);
		if (pick_has_uid(&mailbox->uids, message.uid))
			chosen->messages[chosen->message_count++] =
				(struct bring_message){ .message = message };
	}
	mailbox->folder_count += chosen->message_count > 0;
}

/* A name that is none in the backup is told before anything is brought. */
static int check_names(
	struct mailbox_restore *mailbox, const struct view_mailbox *found, struct error *error)
{
	const struct command *command = mailbox->restore.command;
	for (unsigned i = 0; i < command->option_count; i++) {
		const char *name = command->options[i].value;
		struct view_folder folder;
		bool is_there = strcmp(command->options[i].name, "folder") != 0;
		for (uint32_t at = 0; !is_there && view_next_folder(found, &at, &folder);)
			is_there = pick_is_folder(name, folder.name);
		if (!is_there)
			return error_set(error, -ENOENT,
				"the backup of %s has no folder `%s` of %s",
				restore_moment(&mailbox->restore), name, mailbox->address);
	}
	return 0;
}

/* A home would refuse it for each message alone. */
static int check_targets(const struct mailbox_restore *mailbox, struct error *error)
{
	for (unsigned i = 0; i < mailbox->folder_count; i++) {
		struct str name = mailbox->folders[i].folder.name;
		if (mailbox->folders[i].target.length > PICK_FOLDER_NAME_MAX)
			return error_set(error, -EINVAL,
				"a name below the folder where it goes would be longer than %d "
				"bytes, give a shorter one with --into: " STR_FORMAT,
				PICK_FOLDER_NAME_MAX, STR_ARG(name));
	}
	return 0;
}

static int choose(struct mailbox_restore *mailbox, struct error *error)
{
	struct view_mailbox found;
	struct view_folder folder;
	unsigned count = 0;
	const struct backup_volume *volume =
		backup_set_volume(mailbox->restore.set, mailbox->volume_id);
	bool is_there = view_find_mailbox(mailbox->bring.view, mailbox->id, mailbox->mark, &found);
	if (!is_there && volume->problem[0])
		return error_set(error, -ENODATA,
			"the backup of %s has no mail of %s, as it is not of all mail of volume "
			"%s: --set NAME looks into another set",
			restore_moment(&mailbox->restore), mailbox->address, volume->name);
	/* One that never got anything is not in its volume's log. */
	if (!is_there)
		return command_has(mailbox->restore.command, "folder")
			? error_set(
				  error, -ENOENT, "the backup has no mail of %s", mailbox->address)
			: 0;
	int result = check_names(mailbox, &found, error);
	for (uint32_t at = 0; view_next_folder(&found, &at, &folder);)
		count++;
	mailbox->folders = pool_alloc(mailbox->bring.pool, (count + 1) * sizeof(*mailbox->folders));
	for (uint32_t at = 0; result == 0 && view_next_folder(&found, &at, &folder);)
		if (is_meant(mailbox, &folder))
			choose_messages(mailbox, &folder);
	if (result == 0)
		result = check_targets(mailbox, error);
	if (result < 0)
		mailbox->folder_count = 0;
	return result;
}

/* ---- unpacking, bringing ---- */

static bool on_unpacked(void *arg, uint64_t done, uint64_t total)
{
	restore_show(arg, "MiB unpacked", done >> 20, total >> 20);
	return true;
}

static bool on_replayed(void *arg, uint64_t done, uint64_t total)
{
	restore_show(arg, "MiB replayed", done >> 20, total >> 20);
	return true;
}

static int open_view(struct mailbox_restore *mailbox, struct error *error)
{
	struct restore *restore = &mailbox->restore;
	const struct backup_volume *volume = backup_set_volume(restore->set, mailbox->volume_id);
	const char *folder = restore_path(restore, "volume");
	if (!volume)
		return error_set(error, -ENOENT,
			"the backup of %s has nothing of the volume that %s was on: --set NAME "
			"looks into another set",
			restore_moment(restore), mailbox->address);
	(void)restore_say_short(restore, volume);
	if (volume->problem[0] && volume->to == 0)
		return error_set(error, -ENODATA,
			"the backup of %s has nothing of volume %s, which %s was on: --set NAME "
			"looks into another set",
			restore_moment(restore), volume->name, mailbox->address);
	int code = unpack_volume(restore->chain, restore->chain_count, volume->id, &restore->secret,
		folder, on_unpacked, restore, error);
	if (code == 0)
		code = view_open(folder, volume->id, volume->to, on_replayed, restore,
			&mailbox->bring.view, error);
	return code;
}

static int bring_all(struct mailbox_restore *mailbox, struct error *error)
{
	int result = 0;
	for (unsigned i = 0; i < mailbox->folder_count; i++) {
		struct bring_folder *folder = &mailbox->folders[i];
		if (result == 0)
			result = bring_folder(&mailbox->bring, folder, error);
		else
			folder->counts[BRING_WANTED] = folder->message_count;
		for (unsigned state = 0; state < BRING_STATES; state++)
			mailbox->counts[state] += folder->counts[state];
	}
	return result;
}

static int run(struct mailbox_restore *mailbox, struct error *error)
{
	struct restore *restore = &mailbox->restore;
	struct bring *bring = &mailbox->bring;
	int result = find_in_backup(mailbox, error);
	if (result == 0)
		result = find_living(mailbox, error);
	if (result == 0)
		result = open_view(mailbox, error);
	if (result == 0)
		result = choose(mailbox, error);
	if (result == 0)
		result = living_way_open(
			&restore->command->config, restore->cluster.directory, &bring->way, error);
	return result == 0 ? bring_all(mailbox, error) : result;
}

/* ---- the command ---- */

static int read_options(struct mailbox_restore *mailbox)
{
	const struct command *command = mailbox->restore.command;
	unsigned folders = 0;
	for (unsigned i = 0; i < command->option_count; i++) {
		const struct option *option = &command->options[i];
		folders += strcmp(option->name, "folder") == 0;
		if (strcmp(option->name, "uid") == 0 &&
			!pick_add_uids(&mailbox->uids, option->value))
			return command_usage(command,
				"--uid wants UIDs and ranges of them, as 3,7:9, %d at most",
				PICK_RANGES_MAX);
	}
	if (mailbox->uids.count > 0 && folders != 1)
		return command_usage(
			command, "a UID says something with its folder only: add one --folder");
	const char *into = command_option(command, "into");
	const char *flaw = into ? pick_check_folder(str_from(into)) : NULL;
	if (flaw)
		return command_usage(command, "--into names a folder, and this name %s", flaw);
	if (into && command_has(command, "missing"))
		return command_usage(command,
			"--missing brings messages back to their own folders, --into to another");
	return EXIT_DONE;
}

static void set_target(struct mailbox_restore *mailbox)
{
	const struct command *command = mailbox->restore.command;
	struct buf target = { 0 };
	mailbox->bring.to_own = command_has(command, "missing");
	mailbox->into = command_option(command, "into");
	if (mailbox->into || mailbox->bring.to_own)
		return;
	pick_append_target(mailbox->restore.set->moment_s, &target);
	mailbox->into = pool_copy_terminated(mailbox->bring.pool, buf_str(&target));
	buf_deinit(&target);
}

int restore_mailbox(struct command *command)
{
	struct mailbox_restore mailbox = { .address = command_option(command, "mailbox") };
	struct restore *restore = &mailbox.restore;
	struct error error = { 0 };
	restore->command = command;
	int code = read_options(&mailbox);
	if (code == EXIT_DONE)
		code = restore_open_sets(command, restore);
	if (code == EXIT_DONE)
		code = restore_open_scratch(restore, restore_room(restore));
	if (code == EXIT_DONE)
		code = restore_open_cluster(restore);
	if (code == EXIT_DONE) {
		mailbox.bring.restore = restore;
		mailbox.bring.pool = restore->pool;
		mailbox.bring.is_dry_run = command_has(command, "dry-run");
		set_target(&mailbox);
		int result = run(&mailbox, &error);
		if (result == 0 || mailbox.folder_count > 0)
			code = restore_mailbox_say(&mailbox);
		if (result < 0)
			code = command_fail(&error);
	}
	living_close(&mailbox.bring.living);
	living_way_close(&mailbox.bring.way);
	view_close(&mailbox.bring.view);
	restore_close(restore);
	return code;
}
