// account.h - what samples say of CPU time, held against what the kernel counted.
//
// The kernel counts for every thread how long it was on a CPU and how long it waited for one
// (schedstat), and for every cgroup how often and how long its CPU limit stopped it (cpu.stat).
// Each window of a series carries these sums beside what its samples say of the same time.
//
// A sum that is not known is not zero: each says which wall time it is of, and that is 0 where
// nobody could read it. So windows with and without a sum add up, and a share is always sum / of.
//
// Shares are CPU seconds per wall second: four busy threads are 400 %.
//
// Threads: pure functions.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct spy_profile;

enum spy_counter {
    SPY_CPU,       // ns that all threads were on a CPU
    SPY_RUNQUEUE,  // ns that they were ready and waited for one
    SPY_THROTTLED, // ns that the CPU limit of its cgroup stopped it; the kernel sums up CPUs
    SPY_PERIODS,   // how many periods of that limit (often 100 ms each) it was stopped in
    SPY_COUNTERS
};

// What each is called in JSON and on the wire.
extern const struct spy_counter_name {
    const char *json, *attribute;
} spy_counter_names[SPY_COUNTERS];

struct spy_counted {
    uint64_t sum;
    uint64_t of_ns; // wall time of the windows that it was counted in; 0: not known
};

struct spy_account {
    struct spy_counted counted[SPY_COUNTERS];
    // What the samples of the windows with a known CPU time say, all threads: time on a CPU (or
    // ready, where the two could not be told apart), and time ready.
    uint64_t running_ns, runnable_ns;
    // The longest time that one sample stands for: what chance can do follows from it. 0: not
    // known, and nothing is put down to chance.
    uint64_t period_ns;
};

static inline bool spy_account_knows(const struct spy_account *a, enum spy_counter c)
{
    return a->counted[c].of_ns > 0;
}
// CPU seconds per wall second; 0 where it is not known.
double spy_account_share(const struct spy_account *a, enum spy_counter c);

// Adds other windows. Sums saturate.
void spy_account_unite(struct spy_account *d, const struct spy_account *s);

// The account of a whole profile. Processes that ran at the same time share its wall time, and
// those of one container (container.id) share its limit, which is counted once. SPY_ERR_NOMEM.
int spy_account_of(const struct spy_profile *p, struct spy_account *ret);

// What a reader should be warned of.
enum spy_account_flag {
    // Samples and kernel differ by over 2 points, over a tenth, and more than chance explains
    // (three
    // standard errors).
    SPY_ACCOUNT_DIFFERS = 1,
    SPY_ACCOUNT_THROTTLED = 2, // its CPU limit stopped it
};
unsigned spy_account_flags(const struct spy_account *a);

// Appends sentences for a person, nothing where nothing is known: "The kernel counted 9.7 % of CPU
// time, the samples say 9.5 %. Waiting for a CPU: 0.4 %."
int spy_account_print(const struct spy_account *a, struct spy_buf *out);
// The same as members of a JSON object, without braces; docs/http-api.md tells them. Sums stop at
// 2^63-1.
int spy_account_json(const struct spy_account *a, struct spy_buf *out);
// Rows of a table of metrics (metrics.h): what samples and the kernel say of all targets.
// running_ns and counted, an array by enum spy_counter, are int64_t in ns.
#define SPY_ACCOUNT_METRICS(program, running_ns, counted)                                          \
    {program "_target_cpu_seconds_total", "source=\"samples\"",                                    \
     "CPU time of what is profiled: by its samples, and as the kernel counted it.",                \
     SPY_COUNTER_NS, &(running_ns)},                                                               \
        {program "_target_cpu_seconds_total", "source=\"kernel\"", NULL, SPY_COUNTER_NS,           \
         &(counted)[SPY_CPU]},                                                                     \
        {program "_target_runqueue_seconds_total", NULL,                                           \
         "Time that threads of what is profiled waited for a CPU.", SPY_COUNTER_NS,                \
         &(counted)[SPY_RUNQUEUE]},                                                                \
        {program "_target_throttled_seconds_total", NULL,                                          \
         "Time that CPU limits stopped what is profiled, summed over processes.", SPY_COUNTER_NS,  \
         &(counted)[SPY_THROTTLED]},                                                               \
    {                                                                                              \
        program "_target_throttled_periods_total", NULL, "Periods of CPU limits with a stop.",     \
            SPY_COUNTER, &(counted)[SPY_PERIODS]                                                   \
    }

// Appends why the flags are set and what it means, a sentence each; nothing without flags.
int spy_account_warn(const struct spy_account *a, struct spy_buf *out);
