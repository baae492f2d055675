#include "core/metric.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_SECONDS, KIND_HISTOGRAM };

/* Upper bounds in microseconds: 1-2-5 steps from 100 us to 100 s. */
static const uint64_t bucket_bounds_us[] = { 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000,
	100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 20000000, 50000000,
	100000000 };

enum { BUCKETS = array_length(bucket_bounds_us) + 1 };

struct metric {
	const char *name, *labels, *help;
	enum kind kind;
	atomic_int_least64_t value; /* of seconds, and the sum of a histogram: in microseconds */
	atomic_int_least64_t buckets[BUCKETS];
	struct metric *next;
};

static struct metric *first_metric;
static struct metric **last_link = &first_metric;
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct metric *metric_register(
	const char *name, const char *labels, const char *help, enum kind kind)
{
	pthread_mutex_lock(&registry_mutex);
	struct metric *metric = first_metric;
	while (metric != NULL &&
		!(strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0))
		metric = metric->next;
	if (metric == NULL) {
		metric = mem_alloc(sizeof(*metric));
		metric->name = name;
		metric->labels = labels;
		metric->help = help;
		metric->kind = kind;
		*last_link = metric;
		last_link = &metric->next;
	}
	pthread_mutex_unlock(&registry_mutex);
	return metric;
}

struct metric *metric_counter(const char *name, const char *labels, const char *help)
{
	return metric_register(name, labels, help, KIND_COUNTER);
}

struct metric *metric_gauge(const char *name, const char *labels, const char *help)
{
	return metric_register(name, labels, help, KIND_GAUGE);
}

struct metric *metric_gauge_seconds(const char *name, const char *labels, const char *help)
{
	return metric_register(name, labels, help, KIND_SECONDS);
}

struct metric *metric_histogram(const char *name, const char *labels, const char *help)
{
	return metric_register(name, labels, help, KIND_HISTOGRAM);
}

void metric_add(struct metric *metric, int64_t amount)
{
	atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
	atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe_us(struct metric *metric, uint64_t microseconds)
{
	size_t bucket = 0;
	while (bucket < BUCKETS - 1 && microseconds > bucket_bounds_us[bucket])
		bucket++;
	atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&metric->value, (int64_t)microseconds, memory_order_relaxed);
}

int64_t metric_value(const struct metric *metric)
{
	return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

static void render_sample(struct buf *out, const struct metric *metric, const char *suffix,
	const char *extra_label, double value)
{
	bool labelled = metric->labels[0] || extra_label[0];
	buf_printf(out, "%s%s%s%s%s%s%s %.17g\n", metric->name, suffix, labelled ? "{" : "",
		metric->labels, metric->labels[0] && extra_label[0] ? "," : "", extra_label,
		labelled ? "}" : "", value);
}

static void render_histogram(struct buf *out, const struct metric *metric)
{
	int64_t total = 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		char label[40];
		total += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
		if (i < BUCKETS - 1)
			snprintf(label, sizeof(label), "le=\"%g\"",
				(double)bucket_bounds_us[i] / 1e6);
		else
			snprintf(label, sizeof(label), "le=\"+Inf\"");
		render_sample(out, metric, "_bucket", label, (double)total);
	}
	render_sample(out, metric, "_sum", "", (double)metric_value(metric) / 1e6);
	render_sample(out, metric, "_count", "", (double)total);
}

void metric_render(struct buf *out)
{
	static const char *const kinds[] = { "counter", "gauge", "gauge", "histogram" };
	pthread_mutex_lock(&registry_mutex);
	for (struct metric *metric = first_metric; metric != NULL; metric = metric->next) {
		bool described = false;
		for (struct metric *m = first_metric; m != metric && !described; m = m->next)
			described = strcmp(m->name, metric->name) == 0;
		if (!described) {
			/* The format wants all samples of one name together. */
			buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
				metric->name, kinds[metric->kind]);
			for (struct metric *m = metric; m != NULL; m = m->next) {
				if (strcmp(m->name, metric->name) != 0)
					continue;
				if (m->kind == KIND_HISTOGRAM)
					render_histogram(out, m);
				else
					render_sample(out, m, "", "",
						(double)metric_value(m) /
							(m->kind == KIND_SECONDS ? 1e6 : 1));
			}
		}
	}
	pthread_mutex_unlock(&registry_mutex);
}
