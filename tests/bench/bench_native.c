// bench_native PID [N]: what a native sample of a live process costs. Holds its main thread N times
// (2000), unwinds and names each stack, and prints microseconds of CPU of the two
// halves: while the thread is held, and afterwards. With a third argument it prints the last stack
// first. Instructions: run it under callgrind with --toggle-collect=spy_native_unwind.
#include "agent/native/native.h"
#include "agent/target/pause.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 1024, USUAL_TIMES = 2000, WARM_TIMES = 200, PAUSE_US = 1000 };

enum part { PAUSE, CAPTURE, UNWIND, NAMES, N_PARTS };
static const char *const part_names[] = {"pause", "capture", "unwind", "names"};

struct sums {
    uint64_t ns[N_PARTS], frames, whole, samples;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SPY_NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void end_part(struct sums *s, enum part part, uint64_t *ns)
{
    s->ns[part] += cpu_ns() - *ns;
    *ns = cpu_ns();
}

static void print_frames(struct spy_native *n, const struct spy_native_frame *frames, int n_frames)
{
    struct spy_native_symbol symbol;
    for (int i = 0; i < n_frames; i++) {
        if (spy_native_symbol(n, frames[i].call, &symbol) < 0)
            symbol = (struct spy_native_symbol){.module = "?"};
        printf("%3d %016lx %s (%s)%s\n", i, (unsigned long)frames[i].address,
               symbol.name ? symbol.name : "?", symbol.module,
               frames[i].by_frame_pointer ? " by frame pointer" : "");
    }
}

static int take_sample(struct spy_native *n, pid_t pid, struct sums *s, bool print)
{
    static struct spy_pause pause_state;
    static struct spy_native_snapshot snapshot;
    static struct spy_native_frame frames[FRAMES];
    struct spy_native_symbol symbol;
    enum spy_native_end end;
    int sig;
    uint64_t ns = cpu_ns();
    int r = spy_pause_begin(&pause_state, pid, &sig);
    if (r < 0)
        return r == SPY_ERR_AGAIN ? 0 : r;
    end_part(s, PAUSE, &ns);
    r = spy_native_capture(n, pid, &snapshot);
    end_part(s, CAPTURE, &ns);
    spy_pause_end(&pause_state, pid, sig);
    end_part(s, PAUSE, &ns);
    int got = r < 0 ? r : spy_native_unwind(n, &snapshot, frames, FRAMES, &end);
    end_part(s, UNWIND, &ns);
    if (got < 0)
        return got;
    for (int i = 0; i < got; i++)
        spy_native_symbol(n, frames[i].call, &symbol);
    end_part(s, NAMES, &ns);
    s->frames += (uint64_t)got;
    s->whole += end == SPY_NATIVE_OUTERMOST;
    s->samples++;
    if (print)
        print_frames(n, frames, got);
    return 0;
}

static void print_sums(const struct sums *s)
{
    double n = s->samples ? (double)s->samples : 1, total = 0;
    double frames = s->frames ? (double)s->frames : 1;
    for (int i = 0; i < N_PARTS; i++) {
        printf("%-8s %7.2f us\n", part_names[i], (double)s->ns[i] / n / 1e3);
        total += (double)s->ns[i] / n / 1e3;
    }
    printf("all      %7.2f us a sample; %.1f frames, %.1f %% whole\n", total, frames / n,
           100 * (double)s->whole / n);
    printf("a frame: %.0f ns to unwind, %.0f ns to name\n", (double)s->ns[UNWIND] / frames,
           (double)s->ns[NAMES] / frames);
}

int main(int argc, char **argv)
{
    struct spy_target *t;
    struct spy_err err = {0};
    struct sums sums = {0};
    pid_t pid = argc > 1 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
    long times = argc > 2 ? strtol(argv[2], NULL, 10) : USUAL_TIMES;
    if (spy_target_open(pid, &t, &err) < 0) {
        fprintf(stderr, "%s\nusage: bench_native PID [N [print]]\n", err.msg);
        return 2;
    }
    struct spy_native_cache *cache = spy_native_cache_new(SPY_NATIVE_CACHE_USUAL);
    struct spy_native *n = cache ? spy_native_new(cache, t) : NULL;
    if (!n)
        return 1;
    int r = 0;
    for (long i = 0; r == 0 && i < times + WARM_TIMES; i++) {
        if (i == WARM_TIMES)
            sums = (struct sums){0};
        r = take_sample(n, pid, &sums, argc > 3 && i == times + WARM_TIMES - 1);
        usleep(PAUSE_US);
    }
    print_sums(&sums);
    spy_native_free(n);
    spy_native_cache_free(cache);
    spy_target_free(t);
    return r < 0;
}
