#include "core/vitals.h"

#include "core/clock.h"
#include "core/disk_pulse.h"
#include "core/encode.h"
#include "core/metric.h"
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

enum {
	/* Between two looks for the metrics: scrapers come no more often, and a disk that fills in
	 * less is noticed by those who write. */
	LOOK_MS = 10000,
	/* Volumes, index and queue; cluster and public. */
	WATCHED_MAX = 4,
};

struct watched_certificate {
	const char *use, *file, *host_name;
	const struct tls_context *tls;
	bool is_authority;
	struct metric *not_after;
};

struct watched_disk {
	const char *use;
	char *path;
	struct disk_pulse *pulse;
	struct metric *free_bytes, *size_bytes, *failing;
};

struct vitals {
	struct loop *loop;
	const char *program;
	const struct directory *directory;
	struct timer *timer;
	struct metric *age;
	unsigned certificate_count, disk_count;
	struct watched_certificate certificates[WATCHED_MAX];
	struct watched_disk disks[WATCHED_MAX];
};

/* For the life of the process, as metrics want it. */
static const char *label(const char *name, const char *value)
{
	struct buf text = { 0 };
	buf_printf(&text, "%s=\"%s\"", name, value);
	char *kept = str_to_heap(buf_str(&text));
	buf_deinit(&text);
	return kept;
}

static bool read_certificate(
	const struct watched_certificate *watched, struct tls_certificate *certificate_out)
{
	return watched->is_authority ? tls_context_authority(watched->tls, certificate_out)
				     : tls_context_certificate(watched->tls, certificate_out);
}

struct room {
	uint64_t free_bytes, size_bytes;
	bool is_read_only; /* mounted so, or by the kernel after an error of the disk */
};

/* 0 or -errno. */
static int read_disk(const struct watched_disk *disk, struct room *room_out)
{
	struct statvfs found;
	if (statvfs(disk->path, &found) != 0)
		return -errno;
	*room_out = (struct room){ .free_bytes = (uint64_t)found.f_bavail * found.f_frsize,
		.size_bytes = (uint64_t)found.f_blocks * found.f_frsize,
		.is_read_only = (found.f_flag & ST_RDONLY) != 0 };
	return 0;
}

static void look(struct vitals *vitals)
{
	struct room room = { 0 };
	for (unsigned i = 0; i < vitals->disk_count; i++) {
		const struct watched_disk *disk = &vitals->disks[i];
		metric_set(disk->failing, disk_pulse_status(disk->pulse) < 0);
		disk_pulse_ask(disk->pulse);
		if (read_disk(disk, &room) == 0) {
			metric_set(disk->free_bytes, (int64_t)room.free_bytes);
			metric_set(disk->size_bytes, (int64_t)room.size_bytes);
		}
	}
	if (vitals->directory)
		metric_set(vitals->age, (int64_t)directory_age_ms(vitals->directory) * 1000);
}

static void on_timer(void *arg)
{
	struct vitals *vitals = arg;
	look(vitals);
	timer_start(vitals->timer, LOOK_MS);
}

struct vitals *vitals_create(struct loop *loop, const char *program)
{
	struct vitals *vitals = mem_alloc(sizeof(*vitals));
	vitals->program = program;
	vitals->loop = loop;
	vitals->timer = timer_new(loop, on_timer, vitals);
	timer_start(vitals->timer, 0);
	struct buf labels = { 0 };
	buf_printf(&labels, "program=\"%s\",version=\"%s\"", program, PANDO_VERSION);
	metric_set(metric_gauge("pando_build_info", str_to_heap(buf_str(&labels)),
			   "1, with the program and its version as labels"),
		1);
	buf_deinit(&labels);
	return vitals;
}

static void watch_certificate(struct vitals *vitals, const struct watched_certificate *wanted)
{
	struct tls_certificate certificate;
	CHECK(vitals->certificate_count < WATCHED_MAX);
	struct watched_certificate *watched = &vitals->certificates[vitals->certificate_count++];
	*watched = *wanted;
	watched->not_after = metric_gauge("pando_certificate_not_after_timestamp_seconds",
		label("use", watched->use), "When the certificate in use ends, since 1970");
	/* A context never changes. */
	if (read_certificate(watched, &certificate))
		metric_set(watched->not_after, certificate.not_after_s);
}

void vitals_watch_certificate(struct vitals *vitals, const char *use, const char *file,
	const struct tls_context *tls, const char *host_name)
{
	struct tls_certificate authority;
	watch_certificate(vitals,
		&(struct watched_certificate){
			.use = use, .file = file, .tls = tls, .host_name = host_name });
	if (tls_context_authority(tls, &authority))
		watch_certificate(vitals,
			&(struct watched_certificate){ .use = "authority",
				.file = "cluster_ca",
				.tls = tls,
				.is_authority = true });
}

void vitals_watch_disk(struct vitals *vitals, const char *use, const char *path)
{
	CHECK(vitals->disk_count < WATCHED_MAX);
	struct watched_disk *disk = &vitals->disks[vitals->disk_count++];
	disk->use = use;
	disk->path = str_to_heap(str_from(path));
	disk->pulse = disk_pulse_create(vitals->loop, path, vitals->program);
	disk->free_bytes = metric_gauge("pando_disk_free_bytes", label("use", use),
		"Room that is left for this account on the disk of what is kept");
	disk->size_bytes = metric_gauge(
		"pando_disk_size_bytes", label("use", use), "Size of the disk of what is kept");
	disk->failing = metric_gauge("pando_disk_failing", label("use", use),
		"1 while the disk refuses what is written to it, or hangs");
}

void vitals_watch_directory(struct vitals *vitals, const struct directory *directory)
{
	vitals->directory = directory;
	vitals->age = metric_gauge_seconds("pando_directory_age_seconds", "",
		"Since the directory's database last answered; up to 20 when all is well");
}

/* ---- for `pando` ---- */

static void append_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\": ", key);
	encode_json(out, str_from(text));
}

static void report_certificate(
	const struct watched_certificate *watched, bool first, struct buf *out)
{
	struct tls_certificate certificate;
	if (!read_certificate(watched, &certificate))
		return;
	buf_append_str(out, first ? STR("{") : STR(", {"));
	append_text(out, "use", watched->use);
	buf_append_literal(out, ", ");
	append_text(out, "file", watched->file);
	buf_append_literal(out, ", ");
	append_text(out, "name", certificate.name);
	buf_append_literal(out, ", ");
	append_text(out, "role", certificate.role);
	if (watched->host_name) {
		buf_append_literal(out, ", ");
		append_text(out, "host_name", watched->host_name);
		buf_printf(out, ", \"is_for_host\": %s",
			tls_context_is_for(watched->tls, watched->host_name) ? "true" : "false");
	}
	buf_printf(out, ", \"not_before\": %lld, \"not_after\": %lld, \"is_replaced\": %s}",
		(long long)certificate.not_before_s, (long long)certificate.not_after_s,
		certificate.is_replaced ? "true" : "false");
}

static void report_disk(const struct watched_disk *disk, bool first, struct buf *out)
{
	struct room room = { 0 };
	int result = read_disk(disk, &room);
	buf_append_str(out, first ? STR("{") : STR(", {"));
	append_text(out, "use", disk->use);
	buf_append_literal(out, ", ");
	append_text(out, "path", disk->path);
	if (result < 0) {
		buf_append_literal(out, ", ");
		append_text(out, "error", strerror(-result));
		buf_append_literal(out, "}");
		return;
	}
	buf_printf(out, ", \"free_bytes\": %llu, \"size_bytes\": %llu, \"read_only\": %s",
		(unsigned long long)room.free_bytes, (unsigned long long)room.size_bytes,
		room.is_read_only ? "true" : "false");
	int failure = disk_pulse_status(disk->pulse);
	if (failure < 0) {
		buf_append_literal(out, ", ");
		append_text(out, "failure", strerror(-failure));
	}
	buf_append_literal(out, "}");
}

void vitals_report(struct vitals *vitals, struct buf *json_out)
{
	append_text(json_out, "program", vitals->program);
	buf_append_literal(json_out, ", \"version\": \"" PANDO_VERSION "\"");
	if (vitals->directory) {
		struct server_identity server = directory_server(vitals->directory);
		buf_printf(json_out,
			", \"directory_fresh\": %s, \"directory_age_ms\": %llu, "
			"\"directory_revision\": %llu, \"directory_system\": %llu, "
			"\"directory_timeline\": %u",
			directory_is_fresh(vitals->directory) ? "true" : "false",
			(unsigned long long)directory_age_ms(vitals->directory),
			(unsigned long long)directory_revision(vitals->directory),
			(unsigned long long)server.system, server.timeline);
	}
	buf_append_literal(json_out, ", \"certificates\": [");
	size_t empty = buf_length(json_out);
	for (unsigned i = 0; i < vitals->certificate_count; i++)
		report_certificate(
			&vitals->certificates[i], buf_length(json_out) == empty, json_out);
	buf_append_literal(json_out, "], \"disks\": [");
	empty = buf_length(json_out);
	for (unsigned i = 0; i < vitals->disk_count; i++)
		report_disk(&vitals->disks[i], buf_length(json_out) == empty, json_out);
	buf_append_byte(json_out, ']');
}
