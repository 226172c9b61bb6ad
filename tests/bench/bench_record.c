// What a long recording costs, by simulation: `bench_record [HOURS]` fills a profile and a timeline
// as `podspy record -r 100` would in that time (48 h), and prints the memory and the size of each
// format's file.
//
// steady: a thread that is in one of 5000 stacks, 10 to 40 frames deep, and changes with every
// second sample, and seven that wait. churn: besides, ten threads a second come and go.
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include "shared/profile/timeline.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// As record has them (agent/cli/recording.h, record_run.c).
enum { RATE = 100, STACKS = 5000, FUNCTIONS = 800, WINDOW_MIB = 128, TIMELINE_MIB = 64 };

struct recording {
    struct spy_profile *profile;
    struct spy_timeline *timeline;
    struct spy_rand rand;
    uint32_t series, stacks[STACKS], threads[8];
    uint64_t samples, no_room;
};

static void must(int r)
{
    if (r < 0) {
        fprintf(stderr, "bench_record: %s\n", spy_code_name(r));
        exit(1);
    }
}

static size_t read_rss_mib(const char *key)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key)))
            kib = strtoul(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return kib >> 10;
}

static uint32_t add_frame(struct recording *r, uint64_t number)
{
    struct spy_function f = {.start_line = 10};
    char name[64], file[64];
    uint32_t id, frame;
    snprintf(name, sizeof name, "Class%u.method_%u", (unsigned)(number % 90), (unsigned)number);
    snprintf(file, sizeof file, "/srv/app/package/module_%u.py", (unsigned)(number % 70));
    must(spy_profile_cstr(r->profile, name, &f.name));
    must(spy_profile_cstr(r->profile, file, &f.filename));
    must(spy_profile_function(r->profile, &f, &id));
    must(spy_profile_frame(
        r->profile, (struct spy_frame){id, 10 + (uint32_t)(spy_rand_next(&r->rand) % 9)}, &frame));
    return frame;
}

// A stack that branches off another, as calls do.
static void add_stack(struct recording *r, uint32_t i)
{
    uint32_t stack = i ? r->stacks[spy_rand_next(&r->rand) % i] : 0;
    uint64_t up = spy_rand_next(&r->rand) % 20, depth = 10 + spy_rand_next(&r->rand) % 15;
    for (; up && stack; up--)
        stack = spy_profile_stack_at(r->profile, stack)->parent;
    for (; depth; depth--) {
        uint32_t frame = add_frame(r, spy_rand_next(&r->rand) % FUNCTIONS);
        must(spy_profile_stack(r->profile, stack, frame, &stack));
    }
    r->stacks[i] = stack;
}

static uint32_t add_thread(struct recording *r, uint64_t tid)
{
    uint32_t name, thread = 0;
    must(spy_profile_cstr(r->profile, "ThreadPoolExecutor-0_0", &name));
    return spy_profile_thread(r->profile, tid, name, &thread) == 0 ? thread : UINT32_MAX;
}

static void count_sample(struct recording *r, uint32_t stack, uint32_t thread, uint32_t state,
                         uint64_t n, uint64_t now)
{
    int x = thread == UINT32_MAX
                ? SPY_ERR_LIMIT
                : spy_profile_add(r->profile, r->series, stack, thread, state, n, 0);
    r->samples += x == 0 ? n : 0;
    r->no_room += x < 0 ? n : 0;
    if (x == 0)
        spy_timeline_add(r->timeline, r->series, stack, thread, state, n, now);
}

static uint32_t choose_stack(struct recording *r)
{
    double u = spy_rand_unit(&r->rand);
    return r->stacks[(uint32_t)(u * u * u * STACKS) % STACKS];
}

static void simulate_second(struct recording *r, uint64_t second, bool churn)
{
    uint64_t now = (second + 1) * SPY_NS_PER_SEC;
    for (int i = 0; i < RATE / 2; i++)
        count_sample(r, choose_stack(r), r->threads[0], SPY_STATE_RUNNING, 2, now);
    for (int i = 1; i < 8; i++)
        count_sample(r, r->stacks[i], r->threads[i], 0, RATE, now);
    for (uint64_t i = 0; churn && i < 10; i++)
        count_sample(r, choose_stack(r), add_thread(r, 100 + second * 10 + i), SPY_STATE_RUNNING,
                     10, now);
    if (spy_profile_memory(r->profile) > (size_t)WINDOW_MIB << 20)
        spy_profile_stop_growing(r->profile);
}

static void begin_recording(struct recording *r)
{
    struct spy_label pid;
    r->profile = spy_profile_new();
    r->timeline = spy_timeline_new((size_t)TIMELINE_MIB << 20);
    must(r->profile && r->timeline ? 0 : SPY_ERR_NOMEM);
    must(spy_profile_cstr(r->profile, SPY_LABEL_PID, &pid.key));
    must(spy_profile_cstr(r->profile, "1234", &pid.value));
    must(spy_profile_series(r->profile, &pid, 1, &r->series));
    for (uint32_t i = 0; i < STACKS; i++)
        add_stack(r, i);
    for (uint32_t i = 0; i < 8; i++)
        r->threads[i] = add_thread(r, 1234 + i);
}

static void print_format(const struct recording *r, const struct spy_format *f)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1u << 30);
    struct spy_view view = {
        .idle = true, .command_line = true, .timeline = f->ordered ? r->timeline : NULL};
    uint64_t begin = spy_clock_mono_ns();
    int x = f->print(r->profile, &view, &out, NULL);
    bool merged = f->ordered && spy_timeline_is_full(r->timeline);
    printf("  %-12s %8.1f MB  %6.2f s  %s%s\n", f->name, (double)out.len / 1e6,
           (double)(spy_clock_mono_ns() - begin) / 1e9, x < 0 ? spy_code_name(x) : "",
           merged ? "merged: the order is too large to keep" : "");
}

static void run_recording(uint64_t hours, bool churn)
{
    struct recording r = {0};
    size_t n;
    begin_recording(&r);
    for (uint64_t s = 0; s < hours * 3600; s++)
        simulate_second(&r, s, churn);
    struct spy_series *e = spy_profile_series_at(r.profile, r.series);
    e->start_ns = 1;
    e->duration_ns = hours * 3600 * SPY_NS_PER_SEC;
    e->period_ns = SPY_NS_PER_SEC / RATE;
    spy_profile_weigh(r.profile);
    printf("%s, %llu h at %d Hz: %llu samples, %llu without room; profile %zu MiB, %u runs in "
           "order%s, resident %zu MiB\n",
           churn ? "churn" : "steady", (unsigned long long)hours, RATE,
           (unsigned long long)r.samples, (unsigned long long)r.no_room,
           spy_profile_memory(r.profile) >> 20, spy_timeline_n(r.timeline),
           spy_timeline_is_full(r.timeline) ? " (full)" : "", read_rss_mib("VmRSS:"));
    const struct spy_format *const *formats = spy_format_list(&n);
    for (size_t i = 0; i < n; i++)
        print_format(&r, formats[i]);
    printf("  at most %zu MiB resident while a file was printed\n", read_rss_mib("VmHWM:"));
    spy_timeline_free(r.timeline);
    spy_profile_free(r.profile);
}

int main(int argc, char **argv)
{
    setlinebuf(stdout);
    uint64_t hours = argc > 1 ? strtoull(argv[1], NULL, 10) : 48;
    run_recording(hours < 1000 ? hours : 1000, false);
    run_recording(hours < 1000 ? hours : 1000, true);
    return 0;
}
