// bench_sampler PID SECONDS RATE: what a thread-sample of PID costs, in this process's own CPU
// time, and what the cheapest read of it costs: one process_vm_readv of 4 KiB. RATE 0 is as fast as
// it goes; else the cost of just waking up that often for one such read is told, too. Samples are
// taken in the default mode. Prints one line of JSON.
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { FLOOR_READS = 20000, FLOOR_BYTES = 4096, ATTACH_SECONDS = 5 };

SPY_CLEANUP(sampler_done, struct spy_sampler, spy_sampler_free)

static int fail(const char *what, const struct spy_err *err)
{
    fprintf(stderr, "bench_sampler: %s: %s\n", what, err->msg);
    return 1;
}

// The start of a page of the target that is in memory for sure: its stack's, below the environment.
static uint64_t readable_page(pid_t pid)
{
    char path[40], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    _cleanup_fclose_ FILE *maps = fopen(path, "re");
    uint64_t from, to;
    while (maps && fgets(line, sizeof line, maps)) {
        char *end;
        from = strtoull(line, &end, 16);
        to = *end == '-' ? strtoull(end + 1, NULL, 16) : 0;
        if (strstr(line, "[stack]") && to - from >= FLOOR_BYTES)
            return to - FLOOR_BYTES;
    }
    return 0;
}

// Nanoseconds of CPU of one read, the fastest of ten series; 0: not readable.
static double floor_ns(pid_t pid)
{
    static char page[FLOOR_BYTES];
    uint64_t addr = readable_page(pid);
    struct iovec local = {page, sizeof page};
    struct iovec remote = {(void *)(uintptr_t)addr, sizeof page}; // NOLINT: another's address
    double best = 0;
    for (int series = 0; addr && series < 10; series++) {
        uint64_t before = spy_clock_cpu_ns();
        for (int i = 0; i < FLOOR_READS / 10; i++)
            if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof page)
                return 0;
        double ns = (double)(spy_clock_cpu_ns() - before) / (FLOOR_READS / 10.0);
        best = series == 0 || ns < best ? ns : best;
    }
    return best;
}

// Nanoseconds of CPU of waking up and reading once, at that rate; 0: not measured.
static double timer_ns(pid_t pid, uint32_t rate)
{
    enum { SECONDS = 2 };
    static char page[FLOOR_BYTES];
    struct iovec local = {page, sizeof page};
    struct iovec remote = {(void *)(uintptr_t)readable_page(pid), sizeof page}; // NOLINT: as above
    uint64_t due = spy_clock_mono_ns(), before = spy_clock_cpu_ns();
    for (uint32_t i = 0; i < rate * SECONDS; i++) {
        due += SPY_NS_PER_SEC / rate;
        spy_clock_sleep_until(due);
        if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof page)
            return 0;
    }
    return rate ? (double)(spy_clock_cpu_ns() - before) / (rate * SECONDS) : 0;
}

// The depth that most samples of the profile have.
static uint32_t usual_depth(const struct spy_profile *p)
{
    uint64_t most = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        uint32_t depth = 0;
        for (uint32_t at = s->stack; at; at = spy_profile_stack_at(p, at)->parent)
            depth++;
        if (s->count > most) {
            most = s->count;
            found = depth;
        }
    }
    return found;
}

static void run_for(struct spy_sampler *s, double seconds)
{
    spy_sampler_run(s, spy_clock_mono_ns() + (uint64_t)(seconds * (double)SPY_NS_PER_SEC), NULL);
}

static int attach(struct spy_sampler *s, pid_t pid)
{
    uint64_t give_up = spy_clock_mono_ns() + ATTACH_SECONDS * SPY_NS_PER_SEC;
    while (!spy_sampler_attached(s, pid)) {
        if (spy_clock_mono_ns() > give_up || spy_sampler_ended(s, pid)) {
            const char *problem = spy_sampler_problem(s, pid);
            fprintf(stderr, "bench_sampler: %s\n", problem ? problem : "cannot attach");
            return 1;
        }
        run_for(s, 0.02);
    }
    run_for(s, 0.5); // caches fill
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_sampler PID SECONDS RATE\n");
        return 2;
    }
    pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    struct spy_sampler_process process = {
        .pid = pid, .rate = (uint32_t)strtoul(argv[3], NULL, 10), .pausing = SPY_PAUSE_AUTO};
    struct spy_err err = {0};
    _cleanup_(sampler_done) struct spy_sampler *s = NULL;
    if (spy_sampler_new(&(struct spy_sampler_options){0}, &s, &err) < 0)
        return fail("no sampler", &err);
    if (spy_sampler_add(s, &process, &err) < 0)
        return fail("cannot sample", &err);
    if (attach(s, pid) != 0)
        return 1;
    struct spy_sampler_totals before = spy_sampler_totals(s);
    uint64_t cpu = spy_clock_cpu_ns();
    run_for(s, seconds);
    cpu = spy_clock_cpu_ns() - cpu;
    struct spy_sampler_totals after = spy_sampler_totals(s);
    uint64_t samples = after.samples - before.samples;
    uint32_t depth = usual_depth(spy_sampler_close(s));
    printf("{\"samples\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"paused\": %" PRIu64
           ", \"depth\": %u, \"us_per_sample\": %.3f, \"floor_us\": %.3f, \"timer_us\": %.3f}\n",
           samples, after.failed - before.failed, after.paused - before.paused, depth,
           samples ? (double)cpu / 1e3 / (double)samples : 0.0, floor_ns(pid) / 1e3,
           timer_ns(pid, process.rate) / 1e3);
    return 0;
}
