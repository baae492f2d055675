#include "core/directory/directory.h"

#include "core/clock.h"
#include "core/db.h"
#include "core/directory/contents.h"
#include "core/directory/server_watch.h"
#include "core/directory/snapshot_writer.h"
#include "core/log.h"
#include "core/rand.h"
#include "core/timer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The follower. PostgreSQL: find the right server (servers.h), connect, LISTEN, fetch what changed
 * since our revision, and again at every notification; everything when our revision is unknown
 * there. Standalone: the same reads from the file, whenever SQLite's data_version says that another
 * process has committed.
 */

enum {
	/* A server that has just restarted takes connections again in about this time. */
	RETRY_MS_MIN = 100,
	/* PostgreSQL back after an outage is found within this; one connection attempt costs it
	 * little. */
	RETRY_MS_MAX = 1000,
	/* A notification lost with a half-dead connection costs at most this, and a read that takes
	 * longer counts as a dead connection. */
	CHECK_MS = 10000,
	/* On a standby there is no LISTEN. */
	STANDBY_POLL_MS = 500,
	/* How long a daemon may go on with an old server, or with a standby, while the right one is
	 * there. One connection to each host costs them little. */
	LOOK_MS = 10000,
	STANDBY_LOOK_MS = 2000,
	/* One pragma on an open file: microseconds. */
	FILE_POLL_MS = 200,
};

struct directory {
	struct directory_head head; /* first: contents.c finds it here */
	struct loop *loop;
	char *source; /* connection string; NULL when standalone */
	char *file_path;
	void (*on_change)(void *arg);
	void *arg;
	uint64_t revision;
	char mark[64];
	bool loaded, fresh, told_unreachable, told_standby;
	struct task announce;
	struct timer *timer;

	/* PostgreSQL. */
	struct db *db;
	struct server_watch *servers;
	char host[128];                /* that db is connected to */
	struct server_identity server; /* the right one, as last seen */
	uint64_t looked_us;
	bool listening, fetching, fetch_again;
	bool writable; /* this connection is to a writable server */
	uint64_t retry_ms;
	uint64_t fetch_started_us;
	uint64_t heard_us; /* when the source last answered */

	/* Standalone. */
	struct sql *file;
	uint64_t data_version;

	/* PostgreSQL: the file that a restart begins with; whether only a full read helps it. */
	struct snapshot_writer *snapshot;
	bool snapshot_behind, fetching_full;
};

static void fetch(struct directory *directory);

static void announce(void *arg)
{
	struct directory *directory = arg;
	directory->on_change(directory->arg);
}

static void free_directory(struct directory *directory)
{
	loop_cancel_deferred(directory->loop, &directory->announce);
	snapshot_writer_close(&directory->snapshot);
	sql_close(&directory->file);
	server_watch_destroy(&directory->servers);
	contents_deinit(&directory->head.contents);
	free(directory->source);
	free(directory->file_path);
	free(directory);
}

/* Takes the batch into memory and, with a snapshot file, on its way there. True when it brought
 * news, and on_change has been called. */
static bool take_batch(struct directory *directory, struct directory_batch *batch)
{
	contents_apply(&directory->head.contents, batch);
	directory->revision = batch->revision;
	memcpy(directory->mark, batch->mark, sizeof(directory->mark));
	bool news = batch->full || batch_changed_count(batch) > 0 || !directory->loaded;
	directory->loaded = true;
	if (news)
		log_info("directory_applied", "revision=%llu full=%d rows=%zu",
			(unsigned long long)batch->revision, batch->full, batch_row_count(batch));
	directory->snapshot_behind &= !batch->full;
	if (directory->snapshot && news)
		snapshot_writer_put(directory->snapshot, batch);
	else
		batch_destroy(&batch);
	if (news)
		directory->on_change(directory->arg);
	return news;
}

/* Once per outage. */
static void tell_unreachable(struct directory *directory, const char *reason)
{
	if (!directory->told_unreachable && directory->loaded)
		log_warn("directory_unreachable",
			"revision=%llu effect=\"the last copy is served\" reason=%s",
			(unsigned long long)directory->revision, log_quote(str_from(reason)));
	else if (!directory->told_unreachable)
		log_error("directory_never_reached",
			"effect=\"nothing is served\" action=\"%s\" reason=%s",
			directory->source ? "start PostgreSQL, check `directory` in the "
					    "configuration, run `pando init`"
					  : "run `pando init --standalone`; let this account "
					    "write in the file's folder; make room there",
			log_quote(str_from(reason)));
	directory->told_unreachable = true;
}

static void disconnect(struct directory *directory)
{
	db_destroy(&directory->db);
	directory->fresh = directory->fetching = directory->fetch_again = false;
	directory->listening = directory->writable = false;
}

static void take_snapshot(struct directory *directory, struct directory_batch *batch)
{
	contents_apply(&directory->head.contents, batch);
	directory->revision = batch->revision;
	memcpy(directory->mark, batch->mark, sizeof(directory->mark));
	directory->loaded = true;
	directory->told_unreachable = false; /* or as somebody who serves nothing */
	log_info("directory_snapshot_loaded", "revision=%llu rows=%zu",
		(unsigned long long)batch->revision, batch_row_count(batch));
	loop_defer(directory->loop, &directory->announce);
	batch_destroy(&batch);
}

/* Until there is something to serve the snapshot is as good a source as PostgreSQL. */
static void read_snapshot_again(struct directory *directory)
{
	struct directory_batch *batch =
		directory->loaded ? NULL : snapshot_writer_read(directory->snapshot);
	if (batch)
		take_snapshot(directory, batch);
}

static void lost(struct directory *directory, const char *reason)
{
	read_snapshot_again(directory);
	tell_unreachable(directory, reason);
	disconnect(directory);
	timer_start(directory->timer, directory->retry_ms + rand_u64() % (directory->retry_ms / 2));
	directory->retry_ms = timer_next_wait_ms(directory->retry_ms, RETRY_MS_MIN, RETRY_MS_MAX);
}

static void on_fetched(void *arg, struct db_result *result, const char *error)
{
	struct directory *directory = arg;
	bool was_full = directory->fetching_full;
	directory->fetching = false;
	if (!result) {
		lost(directory, error);
		return;
	}
	directory->heard_us = clock_mono_us();
	struct directory_batch *batch = batch_create(was_full);
	unsigned columns = db_result_columns(result);
	for (unsigned row = 0; row < db_result_rows(result); row++) {
		const char *cells[DIRECTORY_CELLS] = { NULL };
		for (unsigned i = 0; i < DIRECTORY_CELLS && i < columns; i++)
			cells[i] = db_result_value(result, row, i);
		batch_add(batch, cells, directory->mark);
	}
	if (batch->stale) {
		log_info("directory_reload", "revision=%llu",
			(unsigned long long)directory->revision);
		batch_destroy(&batch);
		directory->revision = 0;
		fetch(directory);
		return;
	}
	bool was_fresh = directory->fresh;
	if (!was_fresh)
		log_info("directory_connected", "revision=%llu writable=%d",
			(unsigned long long)batch->revision, directory->writable);
	directory->fresh = true;
	directory->told_unreachable = false;
	directory->retry_ms = RETRY_MS_MIN;
	if (!take_batch(directory, batch) && !was_fresh)
		directory->on_change(directory->arg);
	if (directory->fetch_again)
		fetch(directory);
}

static void fetch(struct directory *directory)
{
	struct buf text = { 0 };
	char revision[24];
	if (directory->fetching) {
		directory->fetch_again = true;
		return;
	}
	directory->fetching = true;
	directory->fetching_full = directory->revision == 0 || directory->snapshot_behind;
	directory->fetch_again = false;
	directory->fetch_started_us = clock_mono_us();
	snprintf(revision, sizeof(revision), "%llu", (unsigned long long)directory->revision);
	const char *values[] = { revision };
	if (directory->fetching_full)
		schema_full_statement(&text);
	else
		schema_delta_statement(&text);
	db_query(directory->db, buf_terminated(&text), values, directory->fetching_full ? 0 : 1,
		on_fetched, directory);
	buf_deinit(&text);
}

static void on_prepared(void *arg, struct db_result *result, const char *error)
{
	struct directory *directory = arg;
	if (!result)
		lost(directory, error);
}

static void on_listening(void *arg, struct db_result *result, const char *error)
{
	struct directory *directory = arg;
	directory->listening = directory->writable = result != NULL;
	if (!result && !directory->told_standby)
		log_info("directory_standby", "reason=%s", log_quote(str_from(error)));
	directory->told_standby = !result;
	fetch(directory);
	timer_start(directory->timer, directory->listening ? CHECK_MS : STANDBY_POLL_MS);
}

static void on_open(void *arg)
{
	struct directory *directory = arg;
	db_query(directory->db, "set search_path = pando", NULL, 0, on_prepared, directory);
	db_query(directory->db, "listen pando_change", NULL, 0, on_listening, directory);
}

static void on_notify(void *arg)
{
	struct directory *directory = arg;
	if (directory->listening)
		fetch(directory);
}

static void on_close(void *arg, const char *reason)
{
	lost(arg, reason);
}

/* ---- which server ---- */

static void on_chosen(void *arg, const struct server *server, const char *conninfo)
{
	static const struct db_handler handler = { on_open, on_notify, on_close };
	struct directory *directory = arg;
	const char *host = server->host;
	bool writable = server->state == SERVER_WRITABLE;
	directory->looked_us = clock_mono_us();
	/* A standby's own note of its timeline lags behind. */
	if (server->state != SERVER_STANDBY)
		directory->server = server->identity;
	if (directory->db) {
		/* A standby is left for a server that writes, and nothing for a standby. */
		if (strcmp(host, directory->host) == 0 || !writable)
			return;
		log_info("directory_moves", "from=%s to=%s", directory->host, host);
		disconnect(directory);
		timer_stop(directory->timer);
	}
	snprintf(directory->host, sizeof(directory->host), "%s", host);
	directory->db = db_create(directory->loop, conninfo, "any", &handler, directory);
}

static void on_none(void *arg, const char *reason)
{
	struct directory *directory = arg;
	directory->looked_us = clock_mono_us();
	if (!directory->db)
		lost(directory, reason);
}

/* Of several hosts another one may be the right one by now. */
static void look_again(struct directory *directory)
{
	uint64_t wait_ms = directory->writable ? LOOK_MS : STANDBY_LOOK_MS;
	if (clock_mono_us() - directory->looked_us >= wait_ms * 1000)
		server_watch_ask(directory->servers);
}

/* Standalone: reads what another process has committed, if anything. */
static void read_file(struct directory *directory)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	struct directory_batch *batch = NULL;
	if (!directory->file &&
		sql_open_file(directory->file_path, false, &directory->file, &error) < 0)
		goto failed;
	if (sql_query(directory->file, "pragma data_version", NULL, 0, &result, &error) < 0)
		goto failed;
	uint64_t version = sql_value_u64(result, 0, 0);
	sql_result_free(&result);
	directory->heard_us = clock_mono_us();
	if (version == directory->data_version)
		return;
	enum batch_source source = directory->revision ? BATCH_DELTA : BATCH_FULL;
	if (batch_read(directory->file, source, directory->revision, directory->mark, &batch,
		    &error) < 0)
		goto failed;
	if (batch->stale) {
		batch_destroy(&batch);
		if (batch_read(directory->file, BATCH_FULL, 0, "", &batch, &error) < 0)
			goto failed;
	}
	directory->data_version = version;
	directory->told_unreachable = false;
	take_batch(directory, batch);
	return;
failed:
	tell_unreachable(directory, error.text);
	sql_close(&directory->file);
	directory->data_version = 0;
}

static void on_timer(void *arg)
{
	struct directory *directory = arg;
	if (!directory->source) {
		read_file(directory);
		timer_start(directory->timer, FILE_POLL_MS);
		return;
	}
	if (!directory->db) {
		server_watch_ask(directory->servers);
		return;
	}
	look_again(directory);
	if (directory->fetching &&
		clock_mono_us() - directory->fetch_started_us > (uint64_t)CHECK_MS * 1000) {
		lost(directory, "no answer in time");
		return;
	}
	if (!directory->listening && !directory->fetching) {
		/* The standby may have been promoted. */
		db_query(directory->db, "listen pando_change", NULL, 0, on_listening, directory);
		return;
	}
	if (!directory->fetching)
		fetch(directory);
	timer_start(directory->timer, directory->listening ? CHECK_MS : STANDBY_POLL_MS);
}

/* Where nothing is connected, the next fetch asks for everything. */
static void on_snapshot_behind(void *arg)
{
	struct directory *directory = arg;

	directory->snapshot_behind = true;
	if (directory->fresh)
		fetch(directory);
}

static void load_snapshot(struct directory *directory, const char *path)
{
	struct directory_batch *batch;
	directory->snapshot =
		snapshot_writer_open(directory->loop, path, on_snapshot_behind, directory, &batch);
	if (batch)
		take_snapshot(directory, batch);
}

/* What was seen of the servers stands beside the snapshot. */
static void watch_servers(struct directory *directory, const char *snapshot_path)
{
	static const struct server_watch_handler handler = { on_chosen, on_none };
	struct buf memory = { 0 };
	buf_printf(&memory, "%s.server", snapshot_path);
	directory->servers = server_watch_create(
		directory->loop, directory->source, buf_terminated(&memory), &handler, directory);
	buf_deinit(&memory);
}

void directory_file_path(const struct config *config, struct buf *out)
{
	buf_printf(out, "%s/directory/directory.sqlite", config->data_dir);
}

struct directory *directory_open(struct loop *loop, const struct config *config,
	const char *snapshot_path, void (*on_change)(void *arg), void *arg)
{
	struct directory *directory = mem_alloc(sizeof(*directory));
	directory->loop = loop;
	directory->on_change = on_change;
	directory->arg = arg;
	directory->retry_ms = RETRY_MS_MIN;
	directory->heard_us = clock_mono_us();
	directory->announce.run = announce;
	directory->announce.arg = directory;
	contents_init(&directory->head.contents);
	if (strcmp(config->directory, "standalone") == 0) {
		struct buf path = { 0 };
		directory_file_path(config, &path);
		directory->file_path = str_to_heap(buf_str(&path));
		buf_deinit(&path);
	} else {
		load_snapshot(directory, snapshot_path);
		directory->source = str_to_heap(str_from(config->directory));
		watch_servers(directory, snapshot_path);
	}
	directory->timer = timer_new(loop, on_timer, directory);
	timer_start(directory->timer, 0);
	return directory;
}

void directory_close(struct directory **directory_pointer)
{
	struct directory *directory = *directory_pointer;
	if (!directory)
		return;
	*directory_pointer = NULL;
	db_destroy(&directory->db);
	timer_destroy(&directory->timer);
	free_directory(directory);
}

bool directory_is_fresh(const struct directory *directory)
{
	return directory->source ? directory->fresh : directory->loaded;
}

bool directory_is_loaded(const struct directory *directory)
{
	return directory->loaded;
}

uint64_t directory_revision(const struct directory *directory)
{
	return directory->revision;
}

uint64_t directory_age_ms(const struct directory *directory)
{
	return (clock_mono_us() - directory->heard_us) / 1000;
}

struct server_identity directory_server(const struct directory *directory)
{
	return directory->server;
}
