#include "core/directory/snapshot_file.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	/* Files kept of one snapshot, each of the size of the directory (tens of megabytes for
	 * 100,000 mailboxes): enough to see that a disk damages one after the other, and not so
	 * many that such a disk is filled by them. */
	ASIDE_MAX = 8,
};

/* SQLite's log goes with its file: a new one must not find it. It goes first, so that a crash in
 * between leaves no log for the new file; the file itself ends the move. */
static const char *const endings[] = { "-wal", "-shm", "" };

bool snapshot_is_unusable(int code)
{
	return code == -EUCLEAN || code == -EBADMSG || code == -EPROTONOSUPPORT;
}

static int prepare_file(struct sql *sql, struct error *error)
{
	int code = schema_migrate(sql, true, NULL, error);
	if (code == 0)
		code = sql_script(sql,
			"create table if not exists snapshot (revision bigint not null, mark text "
			"not null, digest text not null)",
			error);
	/* A file of an earlier form has no digest: it is made anew. */
	if (code == 0)
		code = sql_query(sql, "select digest from snapshot limit 1", NULL, 0, NULL, error);
	/* Rows that a migration finds in each other's way are of no form that there has been. */
	if (code == -EEXIST || code == -EBUSY)
		code = -EPROTONOSUPPORT;
	return code;
}

static int open_file(const char *path, struct sql **sql_out, struct error *error)
{
	int code = sql_open_file(path, true, sql_out, error);
	if (code == 0 && (code = prepare_file(*sql_out, error)) < 0)
		sql_close(sql_out);
	return code;
}

/* A name of which no part is taken: what was set aside before is evidence, and may have been good.
 */
static int choose_name(const char *path, struct buf *name_out)
{
	struct buf part = { 0 };
	bool is_free = false;

	for (unsigned number = 1; number <= ASIDE_MAX && !is_free; number++) {
		buf_clear(name_out);
		buf_printf(name_out, "%s.unusable", path);
		if (number > 1)
			buf_printf(name_out, "-%u", number);
		is_free = true;
		for (unsigned i = 0; i < array_length(endings); i++) {
			struct stat status;
			buf_clear(&part);
			buf_printf(&part, "%s%s", buf_terminated(name_out), endings[i]);
			is_free &= lstat(buf_terminated(&part), &status) != 0 && errno == ENOENT;
		}
	}
	buf_deinit(&part);
	return is_free ? 0 : -EEXIST;
}

static int move_to(const char *path, const char *name)
{
	int code = 0;

	for (unsigned i = 0; i < array_length(endings) && code == 0; i++) {
		struct buf from = { 0 }, to = { 0 };
		bool is_file = endings[i][0] == '\0';
		buf_printf(&from, "%s%s", path, endings[i]);
		buf_printf(&to, "%s%s", name, endings[i]);
		if (rename(buf_terminated(&from), buf_terminated(&to)) != 0 &&
			(is_file || errno != ENOENT))
			code = -errno;
		buf_deinit(&from);
		buf_deinit(&to);
	}
	return code;
}

static int set_aside(const char *path, const struct error *reason, struct error *error)
{
	struct buf name = { 0 };
	int code = choose_name(path, &name);

	if (code < 0)
		error_set(error, code,
			"unusable, and %u such files are kept beside it: look at the disk, and "
			"remove them (%s)",
			(unsigned)ASIDE_MAX, reason->text);
	else if ((code = move_to(path, buf_terminated(&name))) < 0)
		error_set(error, code, "unusable, and cannot be set aside: %s (%s)",
			strerror(-code), reason->text);
	else
		log_error("directory_snapshot_damaged",
			"path=%s kept_as=%s next=\"all is read anew\" reason=%s", path,
			buf_terminated(&name), log_quote(str_from(reason->text)));
	buf_deinit(&name);
	return code;
}

int snapshot_replace(
	const char *path, const struct error *reason, struct sql **sql, struct error *error)
{
	sql_close(sql);
	int code = set_aside(path, reason, error);
	return code < 0 ? code : open_file(path, sql, error);
}

int snapshot_open(const char *path, struct sql **sql_out, struct error *error)
{
	struct error reason = { 0 };
	int code = open_file(path, sql_out, &reason);

	if (snapshot_is_unusable(code))
		return snapshot_replace(path, &reason, sql_out, error);
	return code < 0 ? error_set(error, code, "%s", reason.text) : 0;
}

int snapshot_open_and_read(const char *path, struct sql **sql_out,
	struct directory_batch **batch_out, struct error *error)
{
	struct error reason = { 0 };
	int code = snapshot_open(path, sql_out, error);

	if (code < 0)
		return code;
	code = batch_read(*sql_out, BATCH_SNAPSHOT, 0, "", batch_out, &reason);
	if (code == 0)
		return 0;
	if (!snapshot_is_unusable(code)) {
		sql_close(sql_out);
		return error_set(error, code, "%s", reason.text);
	}
	code = snapshot_replace(path, &reason, sql_out, error);
	if (code == 0)
		*batch_out = batch_create(true);
	return code;
}

int snapshot_read_only(const char *path, struct directory_batch **batch_out, struct error *error)
{
	struct sql *sql = NULL;
	int code = sql_open_file_to_read(path, &sql, error);

	if (code == 0)
		code = batch_read(sql, BATCH_SNAPSHOT, 0, "", batch_out, error);
	sql_close(&sql);
	return code;
}
