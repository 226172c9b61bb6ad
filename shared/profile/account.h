// account.h - CPU time by the samples, compared with CPU time by the kernel.
//
// The kernel counts for every thread how long it was on a CPU and how long it waited for one
// (schedstat), and for every cgroup how often and how long its CPU limit stopped it (cpu.stat).
// Each window of a series carries these sums beside the time that its samples show.
//
// An unknown sum is not zero: each sum comes with the wall time it was counted in, which is 0 if the
// sum could not be read. So windows with and without a sum add up, and a share is always sum / of.
//
// Shares are CPU seconds per wall second: four busy threads are 400 %.
//
// Threads: pure functions.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stdint.h>

enum spy_counter {
    SPY_CPU,       // ns that all threads were on a CPU
    SPY_RUNQUEUE,  // ns that they were ready and waited for one
    SPY_THROTTLED, // ns that the CPU limit of its cgroup stopped it; the kernel sums up CPUs
    SPY_PERIODS,   // how many periods of that limit (often 100 ms each) it was stopped in
    SPY_COUNTERS
};

// Their names in JSON and on the wire.
extern const struct spy_counter_name {
    const char *json, *attribute;
} spy_counter_names[SPY_COUNTERS];

struct spy_counted {
    uint64_t sum;
    uint64_t of_ns; // wall time of the windows in which it was counted; 0: not known
};

struct spy_account {
    struct spy_counted counted[SPY_COUNTERS];
    // By the samples, over all threads: time on a CPU (or ready, where the two cannot be
    // distinguished) in the windows whose SPY_CPU is known, and time ready in those whose
    // SPY_RUNQUEUE is known, so that each is compared with a count of the same windows.
    uint64_t running_ns, runnable_ns;
    // The longest time that one sample stands for, from which the error of sampling follows. 0: not
    // known; no difference is then attributed to chance.
    uint64_t period_ns;
};

static inline bool spy_account_knows(const struct spy_account *a, enum spy_counter c)
{
    return a->counted[c].of_ns > 0;
}
// CPU seconds per wall second; 0 if not known.
double spy_account_share(const struct spy_account *a, enum spy_counter c);

// Adds other windows. Sums saturate.
void spy_account_unite(struct spy_account *d, const struct spy_account *s);

// Reasons to warn a reader.
enum spy_account_flag {
    // Samples and kernel differ by over 2 points, over a tenth, and more than chance explains
    // (three standard errors).
    SPY_ACCOUNT_DIFFERS = 1,
    SPY_ACCOUNT_THROTTLED = 2, // its CPU limit stopped it
};
unsigned spy_account_flags(const struct spy_account *a);

// Appends sentences for people, or nothing if nothing is known: "The kernel counted 9.7 % of CPU
// time, the samples say 9.5 %. Waiting for a CPU: 0.4 %."
int spy_account_print(const struct spy_account *a, struct spy_buf *out);
// The same as members of a JSON object, without braces; docs/http-api.md lists them. Sums stop at
// 2^63-1.
int spy_account_json(const struct spy_account *a, struct spy_buf *out);
// Rows of a table of metrics (metrics.h): CPU time of all targets, by samples and by the kernel.
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

// Appends a sentence for each flag: why it is set and what it means. Nothing without flags.
int spy_account_warn(const struct spy_account *a, struct spy_buf *out);
