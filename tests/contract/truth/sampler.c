// Samples one process in several modes at once and writes the raw stacks of each mode to a file:
// what the test of truth feeds to its checker.
//     truth_sampler PID SAMPLES GAP_US MODE=FILE...    MODE: never, may or always pause; aside
//
// aside is the default mode at 2000 samples a second, in which the sampler goes to the CPU of a
// thread that it would have to pause (agent/sampler/follow.h): it only does so before a sleep of
// its own.
//
// Which mode takes the next sample is drawn, so that all of them meet the same target: what else
// the machine does, and what a pause does to the target's caches, is shared. The gaps count from
// the end of a sample and are exponential: whatever period the target has, or the pauses would give
// it, no phase of it is met more often than another. It ends when each mode has SAMPLES, or one has
// failed 60 times as often.
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include "shared/formats/format.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODES_MAX = 4, FAILED_MAX = 60, ASIDE = 3, ASIDE_RATE = 2000 };

struct mode {
    const char *name, *file;
    struct spy_sampler *sampler;
    bool sleeps; // in its rounds
};

static const char *const mode_names[MODES_MAX] = {
    [SPY_PAUSE_NEVER] = "never",
    [SPY_PAUSE_AUTO] = "may",
    [SPY_PAUSE_ALWAYS] = "always",
    [ASIDE] = "aside",
};

// text is MODE=FILE; it is cut in two.
static int start(struct mode *m, char *text, pid_t pid, struct spy_err *err)
{
    unsigned pausing = 0;
    m->name = strsep(&text, "=");
    m->file = text;
    while (pausing < MODES_MAX && strcmp(mode_names[pausing], m->name) != 0)
        pausing++;
    if (!m->file || pausing == MODES_MAX)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "%s is no MODE=FILE", m->name);
    struct spy_sampler_options options = {.profile_bytes = 1u << 30};
    int r = spy_sampler_new(&options, &m->sampler, err);
    m->sleeps = pausing == ASIDE;
    struct spy_sampler_process p = {.pid = pid,
                                    .rate = m->sleeps ? ASIDE_RATE : 0,
                                    .pausing = m->sleeps ? SPY_PAUSE_AUTO : pausing};
    return r < 0 ? r : spy_sampler_add(m->sampler, &p, err);
}

static bool wants_more(const struct mode *modes, int n, uint64_t samples, pid_t pid)
{
    bool more = false;
    for (int i = 0; i < n; i++) {
        struct spy_sampler_totals t = spy_sampler_totals(modes[i].sampler);
        if (spy_sampler_ended(modes[i].sampler, pid) || t.failed > samples * FAILED_MAX)
            return false;
        more = more || t.samples < samples;
    }
    return more;
}

// One that needs many attempts for a sample is drawn as much more often.
static const struct mode *draw(const struct mode *modes, int n, struct spy_rand *rand)
{
    double weights[MODES_MAX], sum = 0;
    for (int i = 0; i < n; i++) {
        struct spy_sampler_totals t = spy_sampler_totals(modes[i].sampler);
        weights[i] = (double)(t.samples + t.failed + 1) / (double)(t.samples + 1);
        sum += weights[i];
    }
    double at = spy_rand_unit(rand) * sum;
    int i = 0;
    while (i < n - 1 && at >= weights[i])
        at -= weights[i++];
    return &modes[i];
}

static void sample(const struct mode *modes, int n, uint64_t samples, pid_t pid, double gap_ns)
{
    uint64_t give_up = spy_clock_mono_ns() + 300 * SPY_NS_PER_SEC;
    struct spy_rand rand = {0};
    while (wants_more(modes, n, samples, pid) && spy_clock_mono_ns() < give_up) {
        const struct mode *m = draw(modes, n, &rand);
        // One round, which ends past the deadline; or those of a while.
        uint64_t length = m->sleeps ? 4 * SPY_NS_PER_SEC / ASIDE_RATE : 2000;
        spy_sampler_run(m->sampler, spy_clock_mono_ns() + length, NULL);
        double gap = -log(1 - spy_rand_unit(&rand)) * gap_ns;
        spy_clock_sleep_until(spy_clock_mono_ns() + (uint64_t)gap);
    }
}

static struct spy_quality quality_of(struct spy_profile *p)
{
    struct spy_quality sum = {0};
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_quality *q = &spy_profile_series_at(p, i)->quality;
        sum.clean += q->clean;
        sum.salvaged += q->salvaged;
        sum.paused += q->paused;
        sum.failed += q->failed;
    }
    return sum;
}

// Writes the stacks to the mode's file, and its counts as a line of JSON to standard output.
static int finish(const struct mode *m, struct spy_err *err)
{
    struct spy_buf out = SPY_BUF_INIT(1u << 30);
    struct spy_profile *p = spy_sampler_close(m->sampler);
    struct spy_quality q = quality_of(p);
    int r = spy_format_find("raw")->print(p, &(struct spy_view){.idle = true}, &out, err);
    FILE *f = fopen(m->file, "w");
    if (r == 0 && (!f || fwrite(out.data, 1, out.len, f) != out.len))
        r = spy_err_set(err, SPY_ERR_IO, errno, "cannot write %s", m->file);
    if (f)
        fclose(f);
    spy_buf_free(&out);
    printf("{\"mode\": \"%s\", \"clean\": %llu, \"salvaged\": %llu, \"paused\": %llu, "
           "\"failed\": %llu}\n",
           m->name, (unsigned long long)q.clean, (unsigned long long)q.salvaged,
           (unsigned long long)q.paused, (unsigned long long)q.failed);
    return r;
}

int main(int argc, char **argv)
{
    struct mode modes[MODES_MAX] = {0};
    struct spy_err err = {0};
    int n = argc - 4, r = 0;
    if (n < 1 || n > MODES_MAX)
        return 2;
    pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
    for (int i = 0; i < n && r == 0; i++)
        r = start(&modes[i], argv[4 + i], pid, &err);
    if (r == 0)
        sample(modes, n, strtoull(argv[2], NULL, 10), pid, strtod(argv[3], NULL) * 1e3);
    for (int i = 0; i < n && r == 0; i++)
        r = finish(&modes[i], &err);
    for (int i = 0; i < n; i++)
        spy_sampler_free(modes[i].sampler);
    if (r < 0)
        fprintf(stderr, "truth_sampler: %s\n", err.msg);
    return r < 0 ? 1 : 0;
}
