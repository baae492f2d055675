#include "core/directory/schema.h"

#include <string.h>

const struct directory_table directory_tables[KIND_COUNT] = {
	[KIND_SITE] = { "site", 1, { "name" } },
	[KIND_NODE] = { "node", 6, { "site_id", "name", "lmtp", "imap", "control", "replicator" } },
	[KIND_ROUTER] = { "router", 4, { "site_id", "name", "control", "queue" } },
	[KIND_VOLUME] = { "volume", 13,
		{ "name", "epoch", "reign", "primary_node_id", "durability", "unclean",
			"epoch_start_lsn", "token", "clean_after", "incarnation", "uid_slacks",
			"freed_epoch", "freed_lsn" } },
	[KIND_VOLUME_COPY] = { "volume_copy", 5,
		{ "volume_id", "node_id", "preferred", "slot", "seeding" } },
	[KIND_DOMAIN] = { "domain", 2, { "name", "keep_expunged_days" } },
	[KIND_MAILBOX] = { "mailbox", 7,
		{ "address", "domain_id", "volume_id", "durability", "enabled", "quota_bytes",
			"mark" } },
	[KIND_ALIAS] = { "alias", 2, { "address", "target" } },
	[KIND_CREDENTIAL] = { "credential", 1, { "scram" } },
	[KIND_POLICY] = { "policy", 2, { "name", "value" } },
};

enum directory_kind directory_kind_of(const char *name)
{
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		if (strcmp(directory_tables[kind].name, name) == 0)
			return kind;
	return KIND_COUNT;
}

static void append_nulls(struct buf *out, unsigned from)
{
	for (unsigned i = from; i < DIRECTORY_COLUMNS_MAX; i++)
		buf_append_literal(out, ", cast(null as text)");
}

static void append_tables(struct buf *out, unsigned kind_count, const char *condition)
{
	for (unsigned kind = 0; kind < kind_count; kind++) {
		const struct directory_table *table = &directory_tables[kind];
		buf_printf(out, " union all select '%s', id", table->name);
		for (unsigned i = 0; i < table->column_count; i++)
			buf_printf(out, ", cast(%s as text)", table->columns[i]);
		append_nulls(out, table->column_count);
		buf_printf(out, " from %s", table->name);
		if (condition)
			buf_printf(out,
				" where id in (select row_id from change where kind = '%s' and %s)",
				table->name, condition);
	}
}

static void append_newest_revision(struct buf *out)
{
	buf_append_literal(out, "select cast('revision' as text) as kind, coalesce((select "
				"max(revision) from change), 0) as id, "
				"(select mark from change order by revision desc limit 1)");
}

void schema_full_statement(struct buf *out)
{
	append_newest_revision(out);
	append_nulls(out, 1);
	append_tables(out, KIND_COUNT, NULL);
}

void schema_places_statement(struct buf *out)
{
	append_newest_revision(out);
	append_nulls(out, 1);
	append_tables(out, KIND_DOMAIN, NULL);
}

void schema_delta_statement(struct buf *out)
{
	append_newest_revision(out);
	buf_append_literal(out, ", (select mark from change where revision = cast($1 as bigint))");
	append_nulls(out, 2);
	buf_append_literal(out, " union all select 'changed', row_id, kind");
	append_nulls(out, 1);
	buf_append_literal(
		out, " from change where revision > cast($1 as bigint) group by row_id, kind");
	append_tables(out, KIND_COUNT, "revision > cast($1 as bigint)");
}

void schema_snapshot_statement(struct buf *out)
{
	buf_append_literal(out,
		"select cast('revision' as text) as kind, (select revision from snapshot) as id, "
		"(select mark from snapshot)");
	append_nulls(out, 1);
	append_tables(out, KIND_COUNT, NULL);
}

static int apply(struct sql *sql, const struct migration *migration, struct error *error)
{
	struct buf text = { 0 };
	/* One simple query with several statements is one transaction in PostgreSQL; SQLite wants
	 * it said. */
	buf_printf(&text, "%s%s\ninsert into migration (number, name) values (%d, '%s');%s",
		sql_is_postgres(sql) ? LOCK_TIMEOUT ";\n" : "begin immediate;\n", migration->text,
		migration->number, migration->name, sql_is_postgres(sql) ? "" : "\ncommit;");
	struct error reason = { 0 };
	int code = sql_script(sql, buf_terminated(&text), &reason);
	if (code < 0)
		error_set(error, code, "migration %s failed: %s", migration->name, reason.text);
	buf_deinit(&text);
	return code;
}

static int migrate(struct sql *sql, bool tables_only, unsigned *applied_out, struct error *error)
{
	const struct migration *migration =
		sql_is_postgres(sql) ? migrations_postgres : migrations_sqlite;
	unsigned applied = 0;
	int code = 0;
	if (sql_is_postgres(sql))
		code = sql_script(sql, "create schema if not exists pando", error);
	if (code == 0)
		code = sql_script(sql,
			"create table if not exists migration (number integer primary key, name "
			"text not null)",
			error);
	struct sql_result *result = NULL;
	if (code == 0)
		code = sql_query(sql, "select coalesce(max(number), 0) from migration", NULL, 0,
			&result, error);
	if (code < 0)
		return code;
	int newest = (int)sql_value_u64(result, 0, 0);
	sql_result_free(&result);
	for (; migration->number && code == 0; migration++) {
		if (migration->number <= newest || (tables_only && strstr(migration->name, "feed")))
			continue;
		code = apply(sql, migration, error);
		applied += code == 0;
	}
	if (applied_out)
		*applied_out = applied;
	return code;
}

/* Of two that begin with nothing the second would stumble over the first one's tables; so would one
 * that is run again at once over the session of its predecessor, which was killed. */
#define MIGRATE_ALONE                                                                              \
	"set lock_timeout = '30s'; select pg_advisory_lock(707166545); set lock_timeout = 0"

int schema_migrate(struct sql *sql, bool tables_only, unsigned *applied_out, struct error *error)
{
	struct error unlocked;
	if (!sql_is_postgres(sql))
		return migrate(sql, tables_only, applied_out, error);
	int code = sql_script(sql, MIGRATE_ALONE, error);
	if (code < 0)
		return code;
	code = migrate(sql, tables_only, applied_out, error);
	/* Its session's end would do the same. */
	(void)!sql_script(sql, "select pg_advisory_unlock(707166545)", &unlocked);
	return code;
}
