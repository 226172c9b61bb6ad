// metrics.h - counters and gauges, printed as Prometheus text.
//
// A metric is a static variable of the module that counts; the module lists its metrics in one
// table and the program prints the tables it has. Counting is one relaxed atomic operation: any
// thread, also in the hot path.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// SPY_COUNTER_NS: its value is nanoseconds and is printed as seconds.
enum spy_metric_kind { SPY_COUNTER, SPY_GAUGE, SPY_COUNTER_NS };

struct spy_metric {
    const char *name;   // podspy_agent_..., counters end in _total, base units
    const char *labels; // without braces, e.g. `reason="torn"`, or NULL
    const char *help;   // of the first row of a name; NULL for its further label sets
    enum spy_metric_kind kind;
    int64_t *value;
};

// Stays at INT64_MAX once it is there: a counter never goes down, whatever is added to it.
static inline void spy_count(int64_t *value, int64_t n)
{
    int64_t before = __atomic_load_n(value, __ATOMIC_RELAXED), after;
    do {
        if (__builtin_add_overflow(before, n, &after))
            after = INT64_MAX;
    } while (!__atomic_compare_exchange_n(value, &before, after, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
}
static inline void spy_gauge_set(int64_t *value, int64_t n)
{
    __atomic_store_n(value, n, __ATOMIC_RELAXED);
}
static inline int64_t spy_metric_get(const int64_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

// Appends rows in the Prometheus text format, version 0.0.4. Rows of one name stand together.
int spy_metrics_print(const struct spy_metric *rows, size_t n, struct spy_buf *out);
