#include "core/directory/write_internal.h"

#include "core/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Who moves which volumes now. Advisory locks of the session that also writes the result: whoever
 * has lost the locks, with his session, can write nothing either. Their keys are pairs, (MOVES, the
 * volume's id), so they meet neither the feed's lock nor each other's volumes.
 */

#define MOVES "707166544"

enum {
	/* A command that was killed this moment: the server notices an idle connection's end in
	 * milliseconds, one that waits for a lock in `client_connection_check_interval`. */
	MOVES_WAIT_MS = 1500,
	MOVES_LOOK_MS = 50,
};

/*
 * How the server learns that a command is no more. Its machine is dead, or cut off: five seconds of
 * silence and five more questions, or ten with an answer that it has not taken, which is as long as
 * what it has fenced may be decided upon (DECIDE_MS of ctl/rounds.h): it could write nothing any
 * more. It hangs: between two statements it asks and decides for 15 s at most, or waits 10 s until
 * all is served; several times that. Servers that do not know one of these yet go without it.
 */
#define WATCH_SESSION \
	"select set_config(s.name, wanted.value, false) from (values " \
	"('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '1'), " \
	"('tcp_keepalives_count', '5'), ('tcp_user_timeout', '10000'), " \
	"('client_connection_check_interval', '500'), ('idle_session_timeout', '60000')) " \
	"as wanted (name, value) " \
	"join pg_settings s on s.name = wanted.name"

/* One command at a time looks at the locks: of two that want the same volumes in another order, one
 * gets all. Nobody keeps this one for longer than three statements. */
#define BEGIN_LOOK \
	"begin; set local lock_timeout = '5s'; select pg_advisory_xact_lock(" MOVES ", 0)"

#define TRY_ALL \
	"select count(*) from (select pg_try_advisory_lock(" MOVES ", id) as is_taken " \
	"from unnest($1::int4[]) as id) as taken where not is_taken"

#define WHO_HAS_ONE \
	"select v.name, a.application_name, host(a.client_addr), l.pid, " \
	"extract(epoch from clock_timestamp() - a.backend_start)::int8 from pg_locks l " \
	"join volume v on v.id = l.objid::int8 left join pg_stat_activity a on a.pid = l.pid " \
	"where l.locktype = 'advisory' and l.objsubid = 2 and l.granted " \
	"and l.classid = " MOVES " and l.pid <> pg_backend_pid() " \
	"and l.database = (select oid from pg_database where datname = current_database()) " \
	"and l.objid::int8 = any ($1::int8[]) order by v.name limit 1"

/* Its copies by their ids, which are never given again: one that was filled anew is another one. */
#define COPIES_OF(volume_id) \
	"(select coalesce(string_agg(c.id::text, ' ' order by c.id), '') " \
	"from volume_copy c where c.volume_id = " volume_id ")"

/* As an array of PostgreSQL, in the order of the ids. */
#define READ_COPIES \
	"select coalesce(array_agg(" COPIES_OF("seen.id") " order by seen.at), '{}')::text " \
	"from unnest($1::int8[]) with ordinality as seen (id, at)"

/* A move changes the epoch, the coming and going of a copy does not. */
#define CHANGED_SINCE \
	"select v.name, v.epoch <> seen.epoch from volume v " \
	"join unnest($1::int8[], $2::int8[], $3::text[]) as seen (id, epoch, copies) " \
	"on v.id = seen.id where v.epoch <> seen.epoch " \
	"or " COPIES_OF("v.id") " <> seen.copies order by v.name limit 1"

/* Shows in pg_stat_activity; longer names are cut there. */
static int say_who(struct directory_writer *writer, const char *doing, struct error *error)
{
	char who[64], host[64] = "", name[256];
	writer_who(who);
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	snprintf(name, sizeof(name), "%s@%s pid %d: %s", who, host, (int)getpid(), doing);
	return writer_query(writer, error, "select set_config('application_name', $1, false)",
		SQL_VALUES(name), NULL);
}

static int busy(const struct sql_result *who, struct error *error)
{
	if (sql_rows(who) == 0)
		return error_set(error, -EBUSY,
			"another command was moving these volumes until now: nothing was changed, "
			"run the command again");
	const char *name = sql_value(who, 0, 1), *address = sql_value(who, 0, 2);
	const char *age = sql_value(who, 0, 4);
	return error_set(error, -EBUSY,
		"volume %s is being moved by another command, `%s`%s%s, since %s s: wait until it "
		"has ended, or end it there. Its hold ends with its connection: within 10 s where "
		"its machine is dead, within 60 s where it hangs, at once by `select "
		"pg_terminate_backend(%s)` in the directory's PostgreSQL",
		sql_value(who, 0, 0), name && name[0] ? name : "?", address ? " from " : "",
		address ? address : "", age ? age : "?", sql_value(who, 0, 3));
}

/* Within the transaction that BEGIN_LOOK has begun. */
static int take_all(struct directory_writer *writer, struct moves *moves, struct error *error)
{
	struct sql_result *result = NULL;
	const char *ids = buf_terminated(&moves->ids);
	int code = writer_query(writer, error, TRY_ALL, SQL_VALUES(ids), &result);
	bool is_all = code == 0 && sql_value_u64(result, 0, 0) == 0;
	sql_result_free(&result);
	if (code < 0 || is_all)
		return code;
	code = writer_query(writer, error, WHO_HAS_ONE, SQL_VALUES(ids), &result);
	if (code == 0)
		code = sql_script(writer->sql, "select pg_advisory_unlock_all()", error);
	if (code == 0)
		code = busy(result, error);
	sql_result_free(&result);
	return code;
}

static int try_to_take(
	struct directory_writer *writer, struct moves *moves, struct error *error)
{
	int code = sql_script(writer->sql, BEGIN_LOOK, error);
	if (code == 0)
		code = take_all(writer, moves, error);
	/* The locks are the session's, and stay. */
	int ended = sql_script(writer->sql, "commit", code == 0 ? error : NULL);
	return code < 0 ? code : ended;
}

static int read_copies(struct directory_writer *writer, struct buf *out, struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error, READ_COPIES,
		SQL_VALUES(buf_terminated(&writer->moves.ids)), &result);
	if (code == 0) {
		buf_clear(out);
		buf_printf(out, "%s", sql_value(result, 0, 0));
	}
	sql_result_free(&result);
	return code;
}

static int check_unchanged(
	struct directory_writer *writer, struct moves *moves, struct error *error)
{
	struct sql_result *result = NULL;
	int code = 0;
	/* What is taken first is what later holds are compared with. */
	if (buf_length(&moves->copies) == 0)
		code = read_copies(writer, &moves->copies, error);
	if (code == 0)
		code = writer_query(writer, error, CHANGED_SINCE,
			SQL_VALUES(buf_terminated(&moves->ids), buf_terminated(&moves->epochs),
				buf_terminated(&moves->copies)),
			&result);
	if (code == 0 && sql_rows(result) > 0)
		code = error_set(error, -ESTALE,
			sql_is_true(sql_value(result, 0, 1))
				? "volume %s was moved by somebody else a moment ago: nothing was "
				  "changed, see `pando status` before you run it again"
				: "a copy of volume %s came, went or was made anew by another "
				  "command a moment ago: nothing was changed, run the command "
				  "again",
			sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

int writer_note_copies(struct directory_writer *writer, struct buf *copies_out, struct error *error)
{
	return buf_length(&writer->moves.doing) > 0 ? read_copies(writer, copies_out, error) : 0;
}

void writer_keep_copies(struct directory_writer *writer, const struct buf *copies)
{
	if (buf_length(copies) == 0)
		return;
	buf_clear(&writer->moves.copies);
	buf_append_str(&writer->moves.copies, buf_str(copies));
}

int writer_take_moves(struct directory_writer *writer, struct error *error)
{
	struct moves *moves = &writer->moves;
	uint64_t give_up_us = clock_mono_us() + MOVES_WAIT_MS * 1000u;
	int code = directory_check_writable(writer, error);
	if (code == 0)
		code = sql_script(writer->sql, WATCH_SESSION, error);
	if (code == 0)
		code = say_who(writer, buf_terminated(&moves->doing), error);
	if (code < 0)
		return code;
	while ((code = try_to_take(writer, moves, error)) == -EBUSY &&
		clock_mono_us() < give_up_us)
		clock_sleep_ms(MOVES_LOOK_MS);
	if (code == 0)
		code = check_unchanged(writer, moves, error);
	moves->are_lost = code < 0;
	return code;
}

void writer_forget_moves(struct directory_writer *writer)
{
	buf_deinit(&writer->moves.doing);
	buf_deinit(&writer->moves.ids);
	buf_deinit(&writer->moves.epochs);
	buf_deinit(&writer->moves.copies);
	writer->moves = (struct moves){ 0 };
}

int directory_begin_moves(struct directory_writer *writer, const char *doing,
	const struct volume_seen *volumes, unsigned count, struct error *error)
{
	if (!sql_is_postgres(writer->sql))
		return 0;
	CHECK(buf_length(&writer->moves.doing) == 0);
	buf_printf(&writer->moves.doing, "%s", doing);
	for (unsigned i = 0; i < count; i++) {
		char separator = i > 0 ? ',' : '{';
		buf_printf(&writer->moves.ids, "%c%u", separator, volumes[i].volume_id);
		buf_printf(&writer->moves.epochs, "%c%llu", separator,
			(unsigned long long)volumes[i].epoch);
	}
	buf_append_literal(&writer->moves.ids, "}");
	buf_append_literal(&writer->moves.epochs, "}");
	int code = writer_take_moves(writer, error);
	if (code < 0)
		writer_forget_moves(writer);
	return code;
}
