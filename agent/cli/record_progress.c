#include "agent/cli/record_progress.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <unistd.h>

static bool shows_progress(const struct spy_recording *r)
{
    return !r->rec->hide_progress && isatty(STDERR_FILENO);
}

void spy_record_clear_progress(const struct spy_recording *r)
{
    if (shows_progress(r))
        fputs("\r\033[K", stderr);
}

static void print_time_left(uint64_t until_ns)
{
    uint64_t now = spy_clock_mono_ns();
    unsigned long long s = until_ns > now ? (until_ns - now - 1) / SPY_NS_PER_SEC + 1 : 0;
    if (until_ns != UINT64_MAX)
        fprintf(stderr, ", %llu:%02llu:%02llu left", s / 3600, s / 60 % 60, s % 60);
}

void spy_record_progress(const struct spy_recording *r)
{
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    if (!shows_progress(r))
        return;
    double due = (double)(t.rounds + t.late);
    fprintf(stderr, "\r\033[Kpodspy> %llu samples, %llu errors, %.1f%% late",
            (unsigned long long)t.samples, (unsigned long long)t.failed,
            due > 0 ? 100 * (double)t.late / due : 0);
    if (r->rec->rotate > 0)
        fprintf(stderr, ", file %u", r->n_files + 1);
    print_time_left(r->until_ns);
    if (t.behind_ns > SPY_NS_PER_SEC)
        fprintf(stderr,
                ", %.2fs behind in sampling, results may be inaccurate. Try reducing the "
                "sampling rate",
                (double)t.behind_ns / (double)SPY_NS_PER_SEC);
}
