#include "agent/cli/record_progress.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <unistd.h>

void spy_record_progress(const struct spy_recording *r)
{
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    if (r->rec->hide_progress || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[Kpodspy> %llu samples, %llu errors", (unsigned long long)t.samples,
            (unsigned long long)t.failed);
    if (t.behind_ns > SPY_NS_PER_SEC)
        fprintf(stderr,
                ", %.2fs behind in sampling, results may be inaccurate. Try reducing the "
                "sampling rate",
                (double)t.behind_ns / (double)SPY_NS_PER_SEC);
}
