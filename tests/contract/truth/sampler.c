// Samples one process as fast as it goes, or with a gap, and prints raw stacks: what the test of
// truth feeds to its checker.
//     truth_sampler PID SAMPLES never|may|always GAP_US
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include "shared/formats/format.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int mode_of(const char *text)
{
    return !strcmp(text, "never") ? SPY_SAMPLER_NEVER_PAUSE
           : !strcmp(text, "may") ? SPY_SAMPLER_MAY_PAUSE
                                  : SPY_SAMPLER_ALWAYS_PAUSE;
}

int main(int argc, char **argv)
{
    struct spy_err err = {0};
    struct spy_sampler *s = NULL;
    if (argc != 5)
        return 2;
    pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
    uint64_t want = strtoull(argv[2], NULL, 10), gap = strtoull(argv[4], NULL, 10) * 1000;
    struct spy_sampler_process p = {.pid = pid, .pausing = (unsigned)mode_of(argv[3])};
    if (spy_sampler_new(&(struct spy_sampler_options){.profile_bytes = 1u << 30}, &s, &err) < 0 ||
        spy_sampler_add(s, &p, &err) < 0)
        return 1;
    uint64_t give_up = spy_clock_mono_ns() + 300 * SPY_NS_PER_SEC, cpu = spy_clock_cpu_ns();
    struct spy_rand rand;
    spy_rand_seed(&rand);
    while (spy_sampler_totals(s).samples < want && spy_clock_mono_ns() < give_up &&
           !spy_sampler_ended(s, pid)) {
        uint64_t now = spy_clock_mono_ns();
        spy_sampler_run(s, now + 2000, NULL); // one round: it ends past the deadline
        if (gap)
            spy_clock_sleep_until(now + (uint64_t)((0.5 + spy_rand_unit(&rand)) * (double)gap));
    }
    struct spy_buf out = SPY_BUF_INIT(1u << 30);
    struct spy_sampler_totals t = spy_sampler_totals(s);
    cpu = spy_clock_cpu_ns() - cpu;
    spy_format_find("raw")->print(spy_sampler_close(s), &(struct spy_view){.idle = true}, &out,
                                  &err);
    fwrite(out.data, 1, out.len, stdout);
    fprintf(stderr,
            "{\"samples\": %llu, \"clean\": %llu, \"paused\": %llu, \"failed\": %llu, "
            "\"cpu_us_per_sample\": %.2f}\n",
            (unsigned long long)t.samples, (unsigned long long)t.clean,
            (unsigned long long)t.paused, (unsigned long long)t.failed,
            t.samples ? (double)cpu / 1e3 / (double)t.samples : 0);
    spy_buf_free(&out);
    spy_sampler_free(s);
    return 0;
}
