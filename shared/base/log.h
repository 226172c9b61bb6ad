// log.h - structured log lines on stderr, logfmt or JSON.
//
//     spy_log(SPY_LOG_WARN, "push failed", SPY_S("url", url), SPY_I("status", 401));
//     -> time=2026-11-24T05:30:00.123Z level=warn msg="push failed" url=https://... status=401
//
// A line is one write(2), so lines of several threads do not mix. Values are escaped. A line has at
// most SPY_LOG_MAX bytes and is always whole: the message is cut at SPY_LOG_MAX / 8 bytes, and a field
// that does not fit is left out with all that follow. Thread safe. Events of single samples or
// requests are counted, not logged. The cause of a failure is in the field `error`.
#pragma once
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum spy_log_level { SPY_LOG_ERROR, SPY_LOG_WARN, SPY_LOG_INFO, SPY_LOG_DEBUG };
enum { SPY_LOG_MAX = 4096 };

struct spy_field {
    const char *key;
    const char *str; // used when not NULL
    int64_t num;
};

static inline const char *spy_log_text(const char *s) // a function: v may be an array
{
    return s ? s : "";
}
#define SPY_S(k, v) ((struct spy_field){.key = (k), .str = spy_log_text(v)})
#define SPY_I(k, v) ((struct spy_field){.key = (k), .num = (int64_t)(v)})

// Set the lowest level that is printed (--log-level, default info) and the format (--log-format,
// default logfmt). To be called at the start, before other threads run. SPY_ERR_USAGE: err lists what
// the option takes.
int spy_log_set_level(const char *name, struct spy_err *err);
int spy_log_set_format(const char *name, struct spy_err *err);

void spy_log_fields(enum spy_log_level level, const char *msg, const struct spy_field *fields,
                    size_t n);
#define spy_log(level, msg, ...)                                                                   \
    spy_log_fields(level, msg, (const struct spy_field[]){__VA_ARGS__},                            \
                   sizeof((const struct spy_field[]){__VA_ARGS__}) / sizeof(struct spy_field))

// True at most once in interval_ns for each *state, which starts as 0: so a repeating failure is
// logged once a minute. Thread safe.
int spy_log_due(uint64_t *state, uint64_t interval_ns);
