#ifndef PANDO_CORE_METRIC_H
#define PANDO_CORE_METRIC_H

/*
 * Counters, gauges and histograms, registered once at start-up, updated from any thread without
 * locks, rendered in Prometheus text format.
 */

#include "core/buf.h"

#include <stdint.h>

struct metric;

/* `name` as in "pando_smtp_messages_total"; `labels` as in "verb=\"DATA\"" or "". Both must outlive
 * the process's use. Registering the same pair again returns the same metric. */
struct metric *metric_counter(const char *name, const char *labels, const char *help);
struct metric *metric_gauge(const char *name, const char *labels, const char *help);
/* A gauge in seconds that is set in microseconds. */
struct metric *metric_gauge_seconds(const char *name, const char *labels, const char *help);
/* Seconds, in buckets from 100 us to 100 s. */
struct metric *metric_histogram(const char *name, const char *labels, const char *help);

void metric_add(struct metric *metric, int64_t amount);
void metric_set(struct metric *metric, int64_t value);
void metric_observe_us(struct metric *metric, uint64_t microseconds);
int64_t metric_value(const struct metric *metric);

void metric_render(struct buf *out);

#endif
