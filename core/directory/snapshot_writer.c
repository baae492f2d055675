#include "core/directory/snapshot_writer.h"

#include "core/directory/snapshot_file.h"
#include "core/log.h"
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Whoever holds the file, a backup as a rule, is done soon. */
	RETRY_MS_MIN = 1000,
	/* A disk that is full stays so for long; a try costs little. */
	RETRY_MS_MAX = 60 * 1000,
	/* Rows that wait: some tens of megabytes. A full read brings what the directory has. */
	WAITING_ROWS_MAX = 100000,
};

struct snapshot_writer {
	struct loop *loop;
	void (*on_behind)(void *arg);
	void *arg;
	char *path;
	/* The pool thread owns these while is_writing is set. */
	struct sql *sql;                      /* NULL: the file could not be opened yet */
	struct directory_batch *first, *last; /* the first is the one being written */
	int status;
	struct error error;
	bool is_writing, is_closed;
	bool is_unread; /* what it holds could not be read yet */
	bool is_behind; /* only a full batch brings the file up to date */
	size_t waiting_rows;
	uint64_t retry_ms; /* 0: the last write went well, or the opening */
	struct timer *retry;
};

static size_t batch_weight(const struct directory_batch *batch)
{
	return batch_row_count(batch) + batch_changed_count(batch);
}

static void drop_first(struct snapshot_writer *writer)
{
	struct directory_batch *batch = writer->first;

	writer->first = batch->next;
	writer->waiting_rows -= batch_weight(batch);
	batch_destroy(&batch);
}

static void drop_all(struct snapshot_writer *writer)
{
	CHECK(!writer->is_writing);
	while (writer->first)
		drop_first(writer);
	CHECK(writer->waiting_rows == 0);
}

/* The file may have been refused so far, or be found damaged only now. */
static int apply_first(struct snapshot_writer *writer, struct error *error)
{
	struct error reason = { 0 };
	int code = writer->sql ? 0 : snapshot_open(writer->path, &writer->sql, error);

	if (code < 0)
		return code;
	code = snapshot_apply(writer->sql, writer->first, &reason);
	if (code != -EUCLEAN)
		return code < 0 ? error_set(error, code, "%s", reason.text) : 0;
	code = snapshot_replace(writer->path, &reason, &writer->sql, error);
	return code < 0 ? code : snapshot_apply(writer->sql, writer->first, error);
}

static void writer_free(struct snapshot_writer *writer)
{
	/* The first that cannot be written ends it: what follows would not fit. */
	while (writer->first && apply_first(writer, NULL) == 0)
		drop_first(writer);
	drop_all(writer);
	sql_close(&writer->sql);
	free(writer->path);
	free(writer);
}

static void write_first(void *arg)
{
	struct snapshot_writer *writer = arg;
	writer->status = apply_first(writer, &writer->error);
}

static void on_written(void *arg);

static void write_next(struct snapshot_writer *writer)
{
	if (writer->is_writing || !writer->first || timer_is_running(writer->retry))
		return;
	writer->is_writing = true;
	loop_work(writer->loop, write_first, on_written, writer);
}

/* The daemon's memory is right and its file is not: what is missing is asked for in one piece. */
static void fall_behind(struct snapshot_writer *writer)
{
	drop_all(writer);
	writer->is_behind = true;
	writer->on_behind(writer->arg);
}

static void write_failed(struct snapshot_writer *writer)
{
	if (writer->retry_ms == 0)
		log_error("directory_snapshot_failed",
			"revision=%llu effect=\"a restart without PostgreSQL would know less\" "
			"next=\"it is tried again\" reason=%s",
			(unsigned long long)writer->first->revision,
			log_quote(str_from(writer->error.text)));
	writer->retry_ms = timer_next_wait_ms(writer->retry_ms, RETRY_MS_MIN, RETRY_MS_MAX);
	timer_start(writer->retry, writer->retry_ms);
}

static void on_written(void *arg)
{
	struct snapshot_writer *writer = arg;

	CHECK(writer->is_writing && writer->first);
	writer->is_writing = false;
	if (writer->status == 0) {
		if (writer->retry_ms != 0)
			log_info("directory_snapshot_written", "revision=%llu",
				(unsigned long long)writer->first->revision);
		writer->retry_ms = 0;
		drop_first(writer);
	}
	if (writer->is_closed) {
		writer_free(writer);
		return;
	}
	if (writer->status == -ESTALE) {
		log_warn("directory_snapshot_behind", "revision=%llu next=\"all is read anew\"",
			(unsigned long long)writer->first->revision);
		fall_behind(writer);
	} else if (writer->status < 0) {
		write_failed(writer);
	}
	write_next(writer);
}

static void on_retry(void *arg)
{
	struct snapshot_writer *writer = arg;

	if (writer->is_behind && !writer->first)
		writer->on_behind(writer->arg);
	else if (writer->waiting_rows > WAITING_ROWS_MAX && !writer->first->full)
		fall_behind(writer);
	write_next(writer);
}

void snapshot_writer_put(struct snapshot_writer *writer, struct directory_batch *batch)
{
	batch->next = NULL;
	writer->is_unread = false; /* whoever gives it knows more */
	if (batch->full) {
		/* It holds all that waits, but what is being written. */
		writer->is_behind = false;
		if (!writer->is_writing)
			drop_all(writer);
	} else if (writer->is_behind || (writer->retry_ms != 0 && !writer->is_writing &&
						writer->waiting_rows > WAITING_ROWS_MAX)) {
		drop_all(writer);
		batch_destroy(&batch);
		writer->is_behind = true; /* on_retry asks */
		if (!timer_is_running(writer->retry))
			timer_start(writer->retry, RETRY_MS_MIN);
		return;
	}
	if (writer->first)
		writer->last->next = batch;
	else
		writer->first = batch;
	writer->last = batch;
	writer->waiting_rows += batch_weight(batch);
	write_next(writer);
}

/* Once: what follows from it is seen by what is tried again. */
static void tell_refused(struct snapshot_writer *writer, const char *reason)
{
	if (writer->retry_ms == 0)
		log_error("directory_snapshot_refused",
			"path=%s effect=\"%s\" action=\"mend what the reason says (room on its "
			"disk, descriptors, the account's rights): it is tried again\" reason=%s",
			writer->path,
			writer->is_unread ? "nothing is known until PostgreSQL answers or it can "
					    "be read"
					  : "what it holds is served, and nothing new is "
					    "written to it",
			log_quote(str_from(reason)));
	writer->retry_ms = RETRY_MS_MIN;
}

struct directory_batch *snapshot_writer_read(struct snapshot_writer *writer)
{
	struct directory_batch *batch = NULL;
	struct error error = { 0 };

	if (!writer->is_unread)
		return NULL;
	CHECK(!writer->is_writing && !writer->first);
	sql_close(&writer->sql);
	int code = snapshot_open_and_read(writer->path, &writer->sql, &batch, &error);
	writer->is_unread = code < 0 && snapshot_read_only(writer->path, &batch, NULL) < 0;
	if (code < 0)
		tell_refused(writer, error.text);
	if (batch && batch->revision == 0)
		batch_destroy(&batch);
	return batch;
}

struct snapshot_writer *snapshot_writer_open(struct loop *loop, const char *path,
	void (*on_behind)(void *arg), void *arg, struct directory_batch **batch_out)
{
	struct snapshot_writer *writer = mem_alloc(sizeof(*writer));

	writer->loop = loop;
	writer->on_behind = on_behind;
	writer->arg = arg;
	writer->path = str_to_heap(str_from(path));
	writer->retry = timer_new(loop, on_retry, writer);
	writer->is_unread = true;
	*batch_out = snapshot_writer_read(writer);
	return writer;
}

void snapshot_writer_close(struct snapshot_writer **writer_pointer)
{
	struct snapshot_writer *writer = *writer_pointer;

	if (!writer)
		return;
	*writer_pointer = NULL;
	writer->is_closed = true;
	timer_destroy(&writer->retry);
	if (!writer->is_writing)
		writer_free(writer);
}
