#include "ctl/backup/take.h"

#include "core/clock.h"
#include "ctl/backup/volume_file.h"

#include <errno.h>
#include <stdio.h>

enum {
	/* A replica that is a little behind has caught up, a volume that changes hands has changed
	 * them: so often all copies are asked without getting any further. */
	ROUNDS_MAX = 6,
	/* After a volume for which that was in vain: what is away for one is for the next. */
	ROUNDS_VAIN_MAX = 2,
	ROUND_MS = 500,
};

/* One volume, being read. */
struct reading {
	struct taking *taking;
	const struct wanted *wanted;
	struct fetch fetch;
	struct volume_sink *sink; /* NULL: nothing has come yet */
	uint64_t from, from_chain;
	bool is_anew; /* at 0, as the log is another one than the parent's */
	bool is_all;  /* a copy has said that this is the log, up to where it is wanted */
	const struct directory_node *source;
	struct buf sources; /* whose parts they are, by name */
	struct error why;   /* the copy that is asked first comes no further */
	/* Another log than the parent's stands at some copy. */
	bool is_stale;
	/* The copy that has most of what is missing, where none has all. */
	const struct directory_node *best;
	uint64_t best_end;
};

static int on_groups(void *arg, uint64_t lsn, struct str groups, uint64_t next, struct error *error)
{
	struct reading *reading = arg;
	struct taking *taking = reading->taking;
	int code = 0;
	if (!reading->sink)
		code = volume_sink_create(taking->set.folder, reading->fetch.volume, reading->from,
			&taking->set.recipient, &reading->sink, error);
	if (code == 0)
		code = volume_sink_write(reading->sink, lsn, groups, next, error);
	taking->done += groups.length;
	take_draw(taking, reading->wanted->volume->name, false);
	return code;
}

/* Whom to ask as `turn`: the primary first if it serves, else last, as it is away. NULL: nobody. */
static const struct directory_node *source_at(
	const struct reading *reading, unsigned turn, bool *is_primary_out)
{
	const struct directory_volume *volume = reading->wanted->volume;
	const struct directory *directory = reading->taking->cluster.directory;
	unsigned at = reading->wanted->is_primarys ? turn : turn + 1;
	*is_primary_out = at == 0 || at > volume->replica_count;
	if (*is_primary_out)
		return directory_find_node(directory, volume->primary_node_id);
	if (volume->replica_seeding[at - 1])
		return NULL;
	return directory_find_node(directory, volume->replica_node_ids[at - 1]);
}

static void note_source(struct reading *reading, uint64_t before)
{
	struct str known = buf_str(&reading->sources), name = str_from(reading->source->name);
	if (reading->fetch.lsn == before && known.length > 0)
		return;
	if (str_ends_with(known, name))
		return;
	if (known.length > 0)
		buf_append_literal(&reading->sources, ", ");
	buf_append_str(&reading->sources, name);
}

static int fetch_from(
	struct reading *reading, const struct directory_node *source, struct error *error)
{
	uint64_t before = reading->fetch.lsn;
	reading->source = source;
	int code = fetch_run(reading->taking->fetcher, source->replicator, &reading->fetch, error);
	if (code == 0 || reading->fetch.lsn > before)
		note_source(reading, before);
	return code;
}

/* What the parent has of it stands, in its set; a restore takes what is here. */
static void begin_anew(struct reading *reading)
{
	reading->is_anew = true;
	reading->taking->total += reading->from;
	reading->from = reading->from_chain = 0;
	reading->fetch.lsn = reading->fetch.chain = 0;
}

/* A replica that has not heard of a failover may have what is cut off of it when it does. A reign
 * begins with a group of its own, so that a primary's log ends in its epoch; and no epoch is in two
 * logs. */
static bool is_the_primarys(const struct reading *reading, struct error *why)
{
	const struct wanted *wanted = reading->wanted;
	if (!wanted->is_primarys || wanted->end == 0 || reading->fetch.epoch == wanted->epoch)
		return true;
	error_set(why, -ESTALE, "%s has another log there than the one that is served",
		reading->source->name);
	return false;
}

/* Asks copy after copy. 0: all is here; an error that ends the backup; -EAGAIN: none had it. */
static int ask_all_copies(struct reading *reading, struct error *error)
{
	for (unsigned i = 0; i <= reading->wanted->volume->replica_count; i++) {
		struct error why = { 0 };
		bool is_primary;
		const struct directory_node *source = source_at(reading, i, &is_primary);
		if (!source)
			continue;
		int code = fetch_from(reading, source, &why);
		/* The primary's word; of a replica it may be the replica that is wrong. */
		if (code == -ESTALE && is_primary && !reading->sink && !reading->is_anew) {
			begin_anew(reading);
			code = fetch_from(reading, source, &why);
		}
		if (code == 0 && (is_primary || is_the_primarys(reading, &why)))
			return 0;
		if (reading->fetch.is_refused_here) {
			*error = why;
			return code;
		}
		if (i == 0 || !reading->why.text[0])
			reading->why = why;
		reading->is_stale = reading->is_stale || code == -ESTALE;
		if (reading->fetch.offered > reading->best_end) {
			reading->best = source;
			reading->best_end = reading->fetch.offered;
		}
	}
	return -EAGAIN;
}

static int read_all(struct reading *reading, struct error *error)
{
	int code = -EAGAIN;
	unsigned rounds = reading->taking->was_in_vain ? ROUNDS_VAIN_MAX : ROUNDS_MAX;
	for (unsigned round = 0; round < rounds; round++) {
		uint64_t before = reading->fetch.lsn;
		code = ask_all_copies(reading, error);
		reading->is_all = code == 0;
		if (code == 0 || reading->fetch.is_refused_here)
			return code;
		if (reading->fetch.lsn > before)
			round = 0;
		if (reading->is_stale && !reading->sink && !reading->is_anew)
			begin_anew(reading); /* its primary is away, and no copy has the parent's */
		clock_sleep_ms(ROUND_MS);
	}
	reading->taking->was_in_vain = true;
	/* No copy has all: better than nothing is what one of them has. */
	if (reading->best && reading->best_end > reading->fetch.lsn) {
		struct error why = { 0 };
		reading->fetch.end = reading->best_end;
		code = fetch_from(reading, reading->best, &why);
		if (reading->fetch.is_refused_here) {
			*error = why;
			return code;
		}
	}
	return 0;
}

static const char *problem_of(const struct reading *reading)
{
	const struct wanted *wanted = reading->wanted;
	struct pool *pool = reading->taking->pool;
	/* What came after the set's moment, and was asked for later, may be missing. */
	bool has_moment = wanted->end > wanted->least_end &&
		reading->fetch.epoch == wanted->epoch && reading->fetch.lsn >= wanted->least_end;
	if (reading->is_all || reading->fetch.lsn > wanted->end || has_moment)
		return wanted->problem;
	const char *why = reading->why.text;
	bool is_damaged = strstr(why, "not readable") != NULL;
	struct str text = pool_printf(pool, "read up to %llu of %llu: %s%s%s%s",
		(unsigned long long)reading->fetch.lsn, (unsigned long long)wanted->end,
		why[0] ? why : "it has no copy that counts", is_damaged ? ": `pando scrub " : "",
		is_damaged ? wanted->volume->name : "",
		is_damaged ? " --now` finds what is damaged, and mends it where a copy has it"
			   : "");
	return pool_copy_terminated(pool, text);
}

static void begin(struct reading *reading)
{
	const struct wanted *wanted = reading->wanted;
	const struct backup_volume *before = wanted->before;
	reading->fetch = (struct fetch){ .volume = wanted->volume->id,
		.end = wanted->end,
		.on_groups = on_groups,
		.arg = reading };
	if (!before)
		return;
	reading->from = reading->fetch.lsn = before->to;
	reading->from_chain = reading->fetch.chain = before->to_chain;
	reading->fetch.epoch = before->epoch;
	memcpy(reading->fetch.reign, before->reign, BACKUP_REIGN_LENGTH);
	/* Shorter than it was: its tail was cut off, and what stands there now is another one. */
	if (wanted->is_primarys && before->to > wanted->end)
		begin_anew(reading);
}

int take_volume(struct taking *taking, const struct wanted *wanted, struct backup_volume *volume,
	struct error *error)
{
	struct reading reading = { .taking = taking, .wanted = wanted };
	int code = 0;
	begin(&reading);
	take_draw(taking, wanted->volume->name, true);
	/* Else a replica has less than the parent has, and the primary is away. */
	if (reading.fetch.lsn <= wanted->end)
		code = read_all(&reading, error);
	*volume = (struct backup_volume){ .id = wanted->volume->id,
		.name = wanted->volume->name,
		.from = reading.from,
		.from_chain = reading.from_chain,
		.to = reading.fetch.lsn,
		.to_chain = reading.fetch.chain,
		.epoch = reading.fetch.epoch,
		.source = pool_copy_terminated(taking->pool, buf_str(&reading.sources)),
		.problem = problem_of(&reading) };
	memcpy(volume->reign, reading.fetch.reign, BACKUP_REIGN_LENGTH);
	if (code == 0 && reading.sink)
		code = volume_sink_finish(
			&reading.sink, taking->pool, &volume->files, &volume->file_count, error);
	volume_sink_abandon(&reading.sink);
	buf_deinit(&reading.sources);
	return code;
}
