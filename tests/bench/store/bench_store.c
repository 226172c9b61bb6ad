// bench_store.c - how fast the store takes windows and answers, and what it costs on disk.
//
//     bench_store [WINDOWS [APPENDERS [FOLDER]]]     default 4000 windows, 4 appenders, a new
//     folder
//
// The windows are like a gunicorn fleet's: 200 processes of 10 services, 10 s at 100 Hz, 8 threads,
// stacks of depth 20 to 60 of which a service has 3000 and a window sees up to 300.
//
//     bench_store fill FOLDER [PROCESSES [WINDOWS [STACKS]]]     default 50 processes, 360 windows
//     of each (one hour), 200 stacks a window
//
// fills a folder with windows that end now, for a collector to answer from.
#include "collector/store/store.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SERVICES = 10,
    PROCESS_THREADS = 8,
    STACKS = 3000,
    BATCH = 10,
    APPENDERS_MAX = 64,
};
static struct {
    uint64_t start_ns, processes, window_stacks;
} fleet = {1700000000ull * SPY_NS_PER_SEC, 200, 300};

static void must(int r, const struct spy_err *err, const char *what)
{
    if (r == 0)
        return;
    fprintf(stderr, "bench_store: %s: %s\n", what, err ? err->msg : spy_code_name(r));
    exit(1);
}

static uint32_t text(struct spy_profile *p, const char *s)
{
    uint32_t id = 0;
    must(spy_profile_cstr(p, s, &id), NULL, "a string");
    return id;
}

// The stack number n of a service. 64 stacks share all but their last 6 frames, which fork in two
// at each; 12 frames are common to all.
static uint32_t stack(struct spy_profile *p, unsigned service, uint64_t n)
{
    uint64_t group = n >> 6, shared = 14 + spy_hash_mix(group, 1) % 41;
    uint32_t at = 0;
    for (uint64_t d = 0; d < shared + 6; d++) {
        uint64_t path = d < shared ? group : n >> (shared + 5 - d);
        uint64_t which = d < 12 ? d : spy_hash_mix(path, d) % 2000;
        char name[64], file[96];
        snprintf(name, sizeof name, "Handler%lu.method_%lu", which / 20, which);
        snprintf(file, sizeof file, "/usr/lib/python3/dist-packages/service_%u/module_%lu.py",
                 service, which / 20);
        struct spy_function f = {.name = text(p, name),
                                 .filename = text(p, file),
                                 .start_line = (uint32_t)(which % 20 * 30)};
        uint32_t function = 0, frame = 0;
        must(spy_profile_function(p, &f, &function), NULL, "a function");
        struct spy_frame row = {function, f.start_line + (uint32_t)(path % 3)};
        must(spy_profile_frame(p, row, &frame), NULL, "a frame");
        must(spy_profile_stack(p, at, frame, &at), NULL, "a stack");
    }
    return at;
}

static struct spy_profile *window(uint64_t n)
{
    struct spy_profile *p = spy_profile_new();
    unsigned process = (unsigned)(n % fleet.processes), service = process % SERVICES;
    char pod[32], pid[16], name[32];
    uint32_t series = 0, threads[PROCESS_THREADS];
    snprintf(pod, sizeof pod, "service-%u-%u", service, process);
    snprintf(pid, sizeof pid, "%u", 1000 + process);
    struct spy_label labels[] = {{text(p, SPY_LABEL_POD), text(p, pod)},
                                 {text(p, SPY_LABEL_NAMESPACE), text(p, "shop")},
                                 {text(p, SPY_LABEL_PID), text(p, pid)}};
    must(spy_profile_series(p, labels, SPY_COUNT(labels), &series), NULL, "a series");
    struct spy_series *s = spy_profile_series_at(p, series);
    memcpy(s->profile_id, (uint64_t[2]){n, 1}, 16);
    s->start_ns = fleet.start_ns + n / fleet.processes * 10 * SPY_NS_PER_SEC;
    s->duration_ns = 10 * SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    for (unsigned i = 0; i < PROCESS_THREADS; i++) {
        snprintf(name, sizeof name, "ThreadPool_%u", i);
        must(spy_profile_thread(p, 1000 + process * 10 + i, text(p, name), &threads[i]), NULL,
             "a thread");
    }
    for (uint64_t i = 0; i < fleet.window_stacks; i++) {
        uint64_t r = spy_hash_mix(n, i), count = 1 + (r >> 32) % 50;
        must(spy_profile_add(p, series, stack(p, service, r % STACKS), threads[r % PROCESS_THREADS],
                             r % 2, count, count * s->period_ns),
             NULL, "a sample");
    }
    return p;
}

struct appender {
    pthread_t thread;
    struct spy_store *store;
    struct spy_profile **windows;
    size_t n;
};

static void *append(void *arg)
{
    struct appender *a = arg;
    struct spy_err err = {0};
    for (size_t i = 0, known, n; i < a->n; i += n) {
        n = a->n - i < BATCH ? a->n - i : BATCH;
        must(spy_store_append(a->store, a->windows + i, n, &known, NULL, &err), &err, "append");
    }
    return NULL;
}

static double seconds_since(uint64_t then)
{
    return (double)(spy_clock_mono_ns() - then) / 1e9;
}

static void bench_append(struct spy_store *store, struct spy_profile **windows, size_t n,
                         size_t appenders, uint64_t samples)
{
    struct appender a[APPENDERS_MAX];
    uint64_t then = spy_clock_mono_ns(), cpu = spy_clock_cpu_ns();
    for (size_t i = 0; i < appenders; i++) {
        size_t first = n * i / appenders;
        a[i] = (struct appender){
            .store = store, .windows = windows + first, .n = n * (i + 1) / appenders - first};
        must(pthread_create(&a[i].thread, NULL, append, &a[i]), NULL, "a thread");
    }
    for (size_t i = 0; i < appenders; i++)
        pthread_join(a[i].thread, NULL);
    double s = seconds_since(then), c = (double)(spy_clock_cpu_ns() - cpu) / 1e9;
    printf("append: %.0f windows/s, %.0f sample rows/s, %.1f us of CPU a window, "
           "%.2f us of CPU a row\n",
           (double)n / s, (double)samples / s, c * 1e6 / (double)n, c * 1e6 / (double)samples);
}

static void bench_query(struct spy_store *store, const char *what, const struct spy_select *select)
{
    struct spy_err err = {0};
    struct spy_profile *p = spy_profile_new();
    uint64_t then = spy_clock_mono_ns();
    must(spy_store_query(store, select, p, &err), &err, "query");
    printf("query %s: %.1f ms, %u samples in the answer\n", what, seconds_since(then) * 1e3,
           spy_profile_n_samples(p));
    spy_profile_free(p);
}

static void count(void *arg, const struct spy_store_process *p)
{
    (void)p;
    ++*(size_t *)arg;
}

static void bench_reads(struct spy_store *store)
{
    struct spy_err err = {0};
    struct spy_select all = {.until_ns = UINT64_MAX}, one = all, glob = all;
    size_t n = 0;
    one.terms[one.n++] = (struct spy_select_term){{SPY_LABEL_POD}, "service-3-13"};
    glob.terms[glob.n++] = (struct spy_select_term){{SPY_LABEL_POD}, "service-3-*"};
    bench_query(store, "one pod of 200", &one);
    bench_query(store, "20 pods of 200 by *", &glob);
    bench_query(store, "everything", &all);
    uint64_t then = spy_clock_mono_ns();
    must(spy_store_processes(store, &all, count, &n, &err), &err, "processes");
    printf("processes: %.1f ms for %zu\n", seconds_since(then) * 1e3, n);
}

static void bench_expire(struct spy_store *store, size_t windows)
{
    struct spy_err err = {0};
    uint64_t seconds = windows / fleet.processes * 10, then = spy_clock_mono_ns();
    uint64_t now = fleet.start_ns + seconds * SPY_NS_PER_SEC;
    must(spy_store_expire(store, now, seconds / 2 * SPY_NS_PER_SEC, UINT64_MAX, &err), &err,
         "expire");
    printf("expire half: %.1f ms\n", seconds_since(then) * 1e3);
}

static void remove_store(const char *dir)
{
    static const char *const names[] = {"podspy.db", "podspy.db-wal", "podspy.db-shm",
                                        "podspy.lock"};
    char path[4096];
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static off_t size_of(const char *dir)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/podspy.db", dir);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static struct spy_store *open_store(const char *dir)
{
    struct spy_err err = {0};
    struct spy_store *store = NULL;
    must(spy_store_open("sqlite", dir, 1000000, SPY_STORE_MEMORY_MAX, &store, &err), &err, "open");
    return store;
}

static uint64_t number_at(int argc, char **argv, int i, uint64_t otherwise)
{
    return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

static int fill(int argc, char **argv)
{
    struct spy_err err = {0};
    struct spy_profile *batch[BATCH];
    fleet.processes = number_at(argc, argv, 3, 50);
    uint64_t each = number_at(argc, argv, 4, 360), known = 0;
    fleet.window_stacks = number_at(argc, argv, 5, 200);
    fleet.start_ns = spy_clock_real_ns() - each * 10 * SPY_NS_PER_SEC;
    if (argc < 3 || !fleet.processes || each > 100000 || fleet.processes > 100000)
        return 2;
    struct spy_store *store = open_store(argv[2]);
    for (uint64_t i = 0; i < each * fleet.processes; i += BATCH) {
        for (size_t k = 0; k < BATCH; k++)
            batch[k] = window(i + k);
        must(spy_store_append(store, batch, BATCH, &known, NULL, &err), &err, "append");
        for (size_t k = 0; k < BATCH; k++)
            spy_profile_free(batch[k]);
    }
    spy_store_close(store);
    printf("%s: %lu windows of %lu processes, %lu stacks each, %.1f MiB\n", argv[2],
           each * fleet.processes, fleet.processes, fleet.window_stacks,
           (double)size_of(argv[2]) / 1048576);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "fill"))
        return fill(argc, argv);
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 4000;
    size_t appenders = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    char made[] = "podspy-bench-XXXXXX", *dir = argc > 3 ? argv[3] : made;
    if (!n || n > 1000000 || !appenders || appenders > APPENDERS_MAX) {
        fprintf(stderr, "usage: bench_store [WINDOWS [APPENDERS [FOLDER]]]\n");
        return 2;
    }
    if (dir == made && !mkdtemp(made)) {
        perror("bench_store: mkdtemp");
        return 1;
    }
    struct spy_profile **windows = calloc(n, sizeof(struct spy_profile *));
    must(windows ? 0 : SPY_ERR_NOMEM, NULL, "memory");
    uint64_t samples = 0;
    for (size_t i = 0; i < n; i++) {
        windows[i] = window(i);
        samples += spy_profile_n_samples(windows[i]);
    }
    struct spy_store *store = open_store(dir);
    bench_append(store, windows, n / 2, appenders, samples / 2); // dictionaries fill
    printf("warm ");
    bench_append(store, windows + n / 2, n - n / 2, appenders, samples - samples / 2);
    bench_reads(store);
    spy_store_close(store);
    printf(
        "disk: %.1f bytes a sample row, dictionaries included (%.1f MiB, %lu rows, %zu windows)\n",
        (double)size_of(dir) / (double)samples, (double)size_of(dir) / 1048576, samples, n);
    store = open_store(dir);
    bench_expire(store, n);
    spy_store_close(store);
    for (size_t i = 0; i < n; i++)
        spy_profile_free(windows[i]);
    free(windows);
    if (dir == made)
        remove_store(dir);
    return 0;
}
