#include "kit.h"
#include "click_server.h"
#include "shared/base/buf.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

const char *kit_kind(void)
{
    const char *kind = getenv("PODSPY_STORE_KIND");
    return kind && *kind ? kind : "sqlite";
}

bool kit_is_sqlite(void)
{
    return !strcmp(kit_kind(), "sqlite");
}

uint64_t kit_rounds(uint64_t n)
{
    return kit_is_sqlite() ? n : n / 5 + 1;
}

// Each place is a database of one server. A place that is closed is dropped at once.
static char *new_database(void)
{
    static unsigned n;
    char *place = NULL;
    assert_true(asprintf(&place, "http://127.0.0.1:%u/?database=t%u&grace=0", click_server_port(),
                         n++) > 0);
    return place;
}

char *kit_folder(void)
{
    if (!kit_is_sqlite())
        return new_database();
    struct statvfs memory;
    bool fits = statvfs("/dev/shm", &memory) == 0 && access("/dev/shm", W_OK) == 0 &&
                (uint64_t)memory.f_bavail * memory.f_frsize >= 256 << 20;
    char *dir = NULL;
    assert_true(asprintf(&dir, "%s/podspy-store-XXXXXX", fits ? "/dev/shm" : "/tmp") > 0);
    assert_non_null(mkdtemp(dir));
    return dir;
}

void kit_remove(char *dir)
{
    if (!kit_is_sqlite()) {
        free(dir);
        return;
    }
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

struct spy_store *kit_open(const char *dir, uint32_t max_series)
{
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    if (spy_store_open(kit_kind(), dir, max_series, SPY_STORE_MEMORY_MAX, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

void kit_close(struct spy_store *s)
{
    spy_store_close(s);
}

uint64_t kit_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    return spy_hash_mix(*seed, 77);
}

void kit_id(uint64_t n, uint8_t out[16])
{
    uint64_t words[2] = {n + 1, ~n};
    memcpy(out, words, 16);
}

static uint32_t text(struct spy_profile *p, const char *s)
{
    uint32_t id;
    assert_int_equal(spy_profile_cstr(p, s, &id), 0);
    return id;
}

struct spy_profile *kit_window(uint64_t id, uint64_t start_s, uint64_t seconds, size_t n_pairs,
                               const char *const *pairs)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_label labels[SPY_LABELS_MAX];
    uint32_t series;
    assert_non_null(p);
    for (size_t i = 0; i < n_pairs; i++)
        labels[i] = (struct spy_label){text(p, pairs[2 * i]), text(p, pairs[2 * i + 1])};
    assert_int_equal(spy_profile_series(p, labels, n_pairs, &series), 0);
    struct spy_series *s = spy_profile_series_at(p, series);
    kit_id(id, s->profile_id);
    s->start_ns = start_s * SEC_NS;
    s->duration_ns = seconds * SEC_NS;
    s->period_ns = SEC_NS / 100;
    return p;
}

static uint32_t stack_of(struct spy_profile *p, const char *stack)
{
    _cleanup_free_ char *copy = strdup(stack);
    char *save = NULL;
    uint32_t at = 0;
    for (char *name = strtok_r(copy, ";", &save); name; name = strtok_r(NULL, ";", &save)) {
        struct spy_function f = {.name = text(p, name), .filename = text(p, "/app/x.py")};
        uint32_t function, frame;
        assert_int_equal(spy_profile_function(p, &f, &function), 0);
        assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, 3}, &frame), 0);
        assert_int_equal(spy_profile_stack(p, at, frame, &at), 0);
    }
    return at;
}

void kit_sample(struct spy_profile *p, const char *stack, uint64_t count)
{
    uint64_t period = spy_profile_series_get(p, 0)->period_ns;
    assert_int_equal(
        spy_profile_add(p, 0, stack_of(p, stack), 0, SPY_STATE_RUNNING, count, count * period), 0);
}

static uint32_t random_stack(struct spy_profile *p, uint64_t *seed)
{
    static const char *const names[] = {"", "f", "g<T>", "h \"q\"", "\xc3\xa9t\xc3\xa9", "main"};
    static const char *const files[] = {"", "/a.py", "/b/c.py", "<string>"};
    uint32_t at = 0;
    for (uint64_t depth = kit_random(seed) % 12; depth; depth--) {
        struct spy_function f = {.name = text(p, names[kit_random(seed) % SPY_COUNT(names)]),
                                 .filename = text(p, files[kit_random(seed) % SPY_COUNT(files)]),
                                 .start_line = (uint32_t)(kit_random(seed) % 3),
                                 .kind = (uint32_t)(kit_random(seed) % 3)};
        uint32_t function, frame;
        if (kit_random(seed) % 50 == 0)
            f.start_line = UINT32_MAX;
        assert_int_equal(spy_profile_function(p, &f, &function), 0);
        struct spy_frame row = {function, (uint32_t)(kit_random(seed) % 4)};
        assert_int_equal(spy_profile_frame(p, row, &frame), 0);
        assert_int_equal(spy_profile_stack(p, at, frame, &at), 0);
    }
    return at;
}

// Small numbers mostly, and the ends of the range.
static uint64_t random_number(uint64_t *seed)
{
    static const uint64_t odd[] = {0, 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, 127, 128};
    uint64_t n = kit_random(seed);
    return n % 8 ? n % 1000 : odd[kit_random(seed) % SPY_COUNT(odd)];
}

static uint32_t random_state(uint64_t *seed)
{
    uint32_t state = (uint32_t)(kit_random(seed) % (SPY_STATE_ALL + 1));
    return spy_state_is_valid(state) ? state : state & ~(uint32_t)SPY_STATE_RUNNING;
}

static void random_samples(struct spy_profile *p, uint64_t *seed)
{
    static const char *const names[] = {"", "MainThread", "worker-1"};
    uint64_t period = spy_profile_series_get(p, 0)->period_ns;
    for (uint64_t n = kit_random(seed) % 60; n; n--) {
        uint64_t tid = kit_random(seed) % 3 ? kit_random(seed) % 4 : random_number(seed);
        uint32_t stack = random_stack(p, seed), thread;
        uint32_t name = text(p, names[kit_random(seed) % SPY_COUNT(names)]);
        assert_int_equal(spy_profile_thread(p, tid, name, &thread), 0);
        uint64_t count = 1 + random_number(seed) % 1000, ns = count * period;
        if (kit_random(seed) % 3 == 0) {
            count = random_number(seed);
            ns = random_number(seed);
        }
        assert_int_equal(spy_profile_add(p, 0, stack, thread, random_state(seed), count, ns), 0);
    }
}

struct spy_profile *kit_random_window(uint64_t id, uint64_t *seed)
{
    char pid[8];
    snprintf(pid, sizeof pid, "%u", (unsigned)(kit_random(seed) % 4));
    const char *pairs[] = {SPY_LABEL_PID, pid, SPY_LABEL_POD, kit_random(seed) % 2 ? "a" : "b\"<",
                           "empty",       ""};
    size_t n = kit_random(seed) % 4;
    struct spy_profile *p =
        kit_window(id, T0 + kit_random(seed) % 1000, kit_random(seed) % 20, n, pairs);
    struct spy_series *s = spy_profile_series_at(p, 0);
    s->start_ns += kit_random(seed) % SEC_NS;
    s->duration_ns += kit_random(seed) % SEC_NS;
    s->period_ns = kit_random(seed) % 5 ? 1 + kit_random(seed) % SEC_NS : 0;
    s->quality =
        (struct spy_quality){random_number(seed), random_number(seed), random_number(seed),
                             random_number(seed), random_number(seed), random_number(seed)};
    for (int c = 0; c < SPY_COUNTERS; c++)
        if (kit_random(seed) % 3)
            s->account.counted[c] = (struct spy_counted){random_number(seed), s->duration_ns};
    random_samples(p, seed);
    spy_profile_note_seen(p);
    return p;
}

size_t kit_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n)
{
    size_t known = 999;
    struct spy_err err = {0};
    if (spy_store_append(s, profiles, n, &known, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    return known;
}

struct spy_select kit_everything(void)
{
    return (struct spy_select){.until_ns = UINT64_MAX};
}

struct spy_profile *kit_query(struct spy_store *s, const struct spy_select *select)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_err err = {0};
    assert_non_null(p);
    if (spy_store_query(s, select, p, &err) < 0)
        fail_msg("%s", err.msg);
    return p;
}

uint64_t kit_total(const struct spy_profile *p)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        n += spy_profile_sample_at(p, i)->count;
    return n;
}

// --- comparison: everything of a profile as sorted lines of text ---

struct lines {
    char **at;
    size_t n, cap;
};

static void put_labels(struct spy_buf *b, const struct spy_profile *p, uint32_t series)
{
    const struct spy_series *s = spy_profile_series_get(p, series);
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        spy_buf_printf(b, "{%s=%s}", spy_profile_text(p, l->key), spy_profile_text(p, l->value));
    }
}

static void put_series(struct spy_buf *b, const struct spy_profile *p, uint32_t i)
{
    const struct spy_series *s = spy_profile_series_get(p, i);
    const struct spy_quality *q = &s->quality;
    put_labels(b, p, i);
    spy_buf_printf(b, " %lu+%lu/%lu %lu %lu %lu %lu %lu %lu ", s->start_ns, s->duration_ns,
                   s->period_ns, q->clean, q->salvaged, q->paused, q->failed, q->lost, q->late);
    for (int k = 0; k < 16; k++)
        spy_buf_printf(b, "%02x", s->profile_id[k]);
    for (int c = 0; c < SPY_COUNTERS; c++)
        spy_buf_printf(b, " %lu/%lu", s->account.counted[c].sum, s->account.counted[c].of_ns);
    spy_buf_printf(b, " %lu %lu", s->account.running_ns, s->account.runnable_ns);
}

static void put_sample(struct spy_buf *b, const struct spy_profile *p, uint32_t i)
{
    const struct spy_sample *s = spy_profile_sample_at(p, i);
    const struct spy_thread *t = spy_profile_thread_at(p, s->thread);
    put_labels(b, p, s->series);
    spy_buf_printf(b, " %lu(%s) %u", t->tid, spy_profile_text(p, t->name), s->state);
    for (uint32_t at = s->stack; at; at = spy_profile_stack_at(p, at)->parent) {
        const struct spy_frame *frame = spy_profile_frame_at(p, spy_profile_stack_at(p, at)->frame);
        const struct spy_function *f = spy_profile_function_at(p, frame->function);
        spy_buf_printf(b, " [%s|%s|%u|%u:%u]", spy_profile_text(p, f->name),
                       spy_profile_text(p, f->filename), f->start_line, f->kind, frame->line);
    }
    spy_buf_printf(b, " = %lu, %lu", s->count, s->ns);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct lines lines_of(const struct spy_profile *p)
{
    uint32_t series = spy_profile_n_series(p), samples = spy_profile_n_samples(p);
    struct lines l = {.n = series + samples};
    l.at = calloc(l.n + 1, sizeof *l.at);
    assert_non_null(l.at);
    for (uint32_t i = 0; i < l.n; i++) {
        struct spy_buf b = SPY_BUF_INIT(1 << 20);
        if (i < series)
            put_series(&b, p, i);
        else
            put_sample(&b, p, i - series);
        assert_int_equal(b.failed, 0);
        l.at[i] = (char *)b.data;
    }
    qsort(l.at, l.n, sizeof *l.at, compare_lines);
    return l;
}

static void lines_free(struct lines *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
}

void kit_assert_same(const struct spy_profile *a, const struct spy_profile *b)
{
    struct lines x = lines_of(a), y = lines_of(b);
    for (size_t i = 0; i < x.n && i < y.n; i++)
        assert_string_equal(x.at[i], y.at[i]);
    assert_int_equal(x.n, y.n);
    lines_free(&x);
    lines_free(&y);
}

struct count {
    size_t windows, processes;
};

static void count_process(void *arg, const struct spy_store_process *p)
{
    struct count *c = arg;
    c->windows += p->windows;
    c->processes++;
}

size_t kit_windows(struct spy_store *s, size_t *ret_processes)
{
    struct spy_select all = kit_everything();
    struct count c = {0};
    struct spy_err err = {0};
    if (spy_store_processes(s, &all, count_process, &c, &err) < 0)
        fail_msg("%s", err.msg);
    if (ret_processes)
        *ret_processes = c.processes;
    return c.windows;
}

// --- windows without stacks ---

struct united {
    struct spy_profile *p;
    size_t n;
    uint64_t windows;
};

static int unite_window(void *arg, const struct spy_store_window *w, struct spy_err *err)
{
    struct united *u = arg;
    int r = 0;
    (void)err;
    assert_in_range(w->series, 0, spy_profile_n_series(u->p) - 1);
    spy_series_unite(spy_profile_series_at(u->p, w->series), w->window);
    for (uint32_t state = 0; state <= SPY_STATE_ALL && r == 0; state++)
        if (w->sums[state].count || w->sums[state].ns)
            r = spy_profile_add(u->p, w->series, 0, 0, state, w->sums[state].count,
                                w->sums[state].ns);
    u->windows += w->windows;
    u->n++;
    return r;
}

// The series of a profile, and its samples by state alone.
static struct spy_profile *without_stacks(const struct spy_profile *from)
{
    struct spy_profile *p = spy_profile_new();
    assert_non_null(p);
    for (uint32_t i = 0; i < spy_profile_n_series(from); i++) {
        const struct spy_series *s = spy_profile_series_get(from, i);
        struct spy_label labels[SPY_LABELS_MAX];
        uint32_t id;
        for (uint32_t k = 0; k < s->n_labels; k++) {
            const struct spy_label *l = spy_profile_label_at(from, s->first_label + k);
            labels[k] = (struct spy_label){text(p, spy_profile_text(from, l->key)),
                                           text(p, spy_profile_text(from, l->value))};
        }
        assert_int_equal(spy_profile_series(p, labels, s->n_labels, &id), 0);
        assert_int_equal(id, i);
        spy_series_unite(spy_profile_series_at(p, id), s);
    }
    for (uint32_t i = 0; i < spy_profile_n_samples(from); i++) {
        const struct spy_sample *s = spy_profile_sample_at(from, i);
        if (s->count || s->ns)
            assert_int_equal(spy_profile_add(p, s->series, 0, 0, s->state, s->count, s->ns), 0);
    }
    return p;
}

static void forget_periods(struct spy_profile *p)
{
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++)
        spy_profile_series_at(p, i)->period_ns = 0;
}

size_t kit_assert_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                          const struct spy_profile *expected)
{
    struct united u = {.p = spy_profile_new()};
    struct spy_profile *sums = without_stacks(expected);
    struct spy_err err = {0};
    assert_non_null(u.p);
    if (spy_store_windows(s, select, step_ns, u.p, unite_window, &u, &err) < 0)
        fail_msg("%s", err.msg);
    if (u.n > spy_profile_n_series(expected)) { // a mean is rounded by the order of its windows
        forget_periods(u.p);
        forget_periods(sums);
    }
    kit_assert_same(sums, u.p);
    assert_true(u.windows >= u.n);
    spy_profile_free(sums);
    spy_profile_free(u.p);
    return u.n;
}
