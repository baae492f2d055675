/* Making a directory, and moving one from its file to PostgreSQL, or to another PostgreSQL. */

#include "core/directory/schema.h"
#include "core/directory/servers.h"
#include "core/directory/write_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int directory_init_postgres(
	const char *conninfo, const char *memory_path, unsigned *applied_out, struct error *error)
{
	struct sql *sql = NULL;
	int code = sql_open_postgres(conninfo, memory_path, &sql, NULL, error);
	if (code == 0)
		code = schema_migrate(sql, false, applied_out, error);
	sql_close(&sql);
	return code;
}

int directory_init_file(const char *path, unsigned *applied_out, struct error *error)
{
	struct sql *sql = NULL;
	int code = sql_open_file(path, true, &sql, error);
	if (code == 0)
		code = schema_migrate(sql, false, applied_out, error);
	sql_close(&sql);
	return code;
}

static int check_empty(struct sql *to, struct error *error)
{
	struct sql_result *result = NULL;
	int code = sql_query(to, "select count(*) from counter", NULL, 0, &result, error);
	if (code == 0 && sql_value_u64(result, 0, 0) > 0)
		code = error_set(error, -EEXIST,
			"the PostgreSQL directory is not empty: nothing was copied. Point "
			"`directory` at it "
			"to use it, or initialise another database");
	sql_result_free(&result);
	return code;
}

int directory_move_to_postgres(
	const char *path, const char *conninfo, size_t *rows_out, struct error *error)
{
	struct sql *from = NULL, *to = NULL;
	struct directory_copied copied;
	int code = sql_open_file(path, false, &from, error);
	if (code == 0)
		code = sql_script(from, "begin", error);
	if (code == 0)
		code = sql_open_postgres(conninfo, NULL, &to, NULL, error);
	if (code == 0)
		code = sql_script(to, SCHEMA_BEGIN_WRITING(IDLE_TIMEOUT), error);
	if (code == 0)
		code = check_empty(to, error);
	if (code == 0)
		code = directory_copy(from, to, &copied, error);
	if (code == 0)
		code = sql_script(to, "commit", error);
	if (code == 0)
		*rows_out = copied.rows;
	sql_close(&to);
	sql_close(&from);
	return code;
}

/* ---- from one PostgreSQL to another, by a dump ---- */

/* 0 when the server is another one than that which was seen before, and may be written. */
static int check_successor(
	const struct servers *servers, struct server_identity known, struct error *error)
{
	int code = servers_check_writable(servers, error);
	if (code < 0)
		return code;
	const struct server *server = &servers->list[servers->chosen];
	if (known.system == 0)
		return error_set(error, -ENOENT,
			"no server of the directory has been seen from here before %s: it is "
			"believed as it is",
			server->host);
	if (server->identity.system != known.system)
		return 0;
	if (server->identity.timeline >= known.timeline)
		return error_set(error, -EEXIST,
			"%s is the directory's server already: nothing was changed", server->host);
	return error_set(error, -EROFS,
		"%s is on timeline %u, and the directory has been on %u already: an old server is "
		"not taken back. What it has is brought into a new one by pg_dump",
		server->host, server->identity.timeline, known.timeline);
}

static int write_succession(struct directory_writer *writer, const char *value, struct error *error)
{
	char id[24];
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_next_id(writer, "policy", id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"insert into policy (id, name, value) values ($1, 'server', $2) "
			"on conflict (name) do update set value = excluded.value",
			SQL_VALUES(id, value), NULL);
	if (code == 0)
		code = writer_audit(writer, "directory adopt", value, error);
	return writer_leave(writer, own, code, error);
}

int directory_adopt_server(
	const char *conninfo, const char *memory_path, char host_out[128], struct error *error)
{
	struct servers servers;
	struct directory_writer writer = { 0 };
	struct server_identity known;
	char value[96];
	int code = servers_recall(memory_path, &known);
	if (code < 0)
		return error_set(error, code, "cannot read %s: %s", memory_path, strerror(-code));
	code = servers_ask(conninfo, NULL, &servers, error);
	if (code < 0)
		return code;
	code = check_successor(&servers, known, error);
	if (code == 0) {
		const struct server *server = &servers.list[servers.chosen];
		snprintf(host_out, 128, "%s", server->host);
		snprintf(value, sizeof(value), "%llu %u after %llu %u",
			(unsigned long long)server->identity.system, server->identity.timeline,
			(unsigned long long)known.system, known.timeline);
	}
	servers_release(&servers);
	if (code == 0)
		code = sql_open_postgres(conninfo, NULL, &writer.sql, NULL, error);
	if (code == 0)
		code = write_succession(&writer, value, error);
	sql_close(&writer.sql);
	buf_deinit(&writer.loads);
	return code;
}
