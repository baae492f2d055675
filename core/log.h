#ifndef PANDO_CORE_LOG_H
#define PANDO_CORE_LOG_H

/*
 * Structured lines on standard error: `<time> <level> <program> event key=value ...`, one write
 * each, from any thread. Where standard error is the journal of systemd, which knows time and
 * program, a line is `<priority>event key=value ...`, so that `journalctl -p warning` finds it. Log
 * once, where an error is absorbed. Values with spaces or controls are quoted by log_quote. Session
 * id and queue id come first.
 */

#include "core/check.h"
#include "core/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* `program` must outlive all logging. */
void log_setup(const char *program, enum log_level minimum);
void log_event(enum log_level level, const char *event, const char *format, ...) printf_like(3, 4);

#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)

/* A printable form of a peer's bytes for a log value: quoted and escaped when needed, cut at 120
 * bytes. The result lives in one of 8 thread-local slots used in turn. */
const char *log_quote(struct str s);

#endif
