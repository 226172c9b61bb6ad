#include "tests/data/synthetic.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A failure here means no memory: the test cannot go on.
static void must(int r)
{
    if (r < 0)
        abort();
}

static uint32_t str(struct spy_profile *p, const char *s)
{
    uint32_t id = 0;
    must(spy_profile_cstr(p, s, &id));
    return id;
}

struct call {
    const char *name, *file;
    uint32_t line, kind;
};

static uint32_t push(struct spy_profile *p, uint32_t parent, const struct call *c)
{
    uint32_t fn = 0, frame = 0, stack = 0;
    struct spy_function f = {str(p, c->name), str(p, c->file), c->line > 5 ? c->line - 5 : c->line,
                             c->kind};
    must(spy_profile_function(p, &f, &fn));
    must(spy_profile_frame(p, (struct spy_frame){fn, c->line}, &frame));
    must(spy_profile_stack(p, parent, frame, &stack));
    return stack;
}

#define APP  "/srv/shop/app/"
#define SITE "/usr/lib/python3/dist-packages/"

enum { MAX_DEPTH = 8 };
static const struct {
    struct call calls[MAX_DEPTH];
    unsigned process, thread;
    uint32_t state;
    uint64_t count;
} rich[] = {
    {{{"<module>", SITE "gunicorn/__main__.py", 7, 0},
      {"run", SITE "gunicorn/app/base.py", 71, 0},
      {"handle_request", SITE "gunicorn/workers/sync.py", 176, 0},
      {"checkout", APP "views.py", 41, 0},
      {"busy_70", APP "work.py", 12, 0}},
     0,
     0,
     3,
     700},
    {{{"<module>", SITE "gunicorn/__main__.py", 7, 0},
      {"run", SITE "gunicorn/app/base.py", 71, 0},
      {"handle_request", SITE "gunicorn/workers/sync.py", 176, 0},
      {"checkout", APP "views.py", 42, 0},
      {"busy_30", APP "work.py", 20, 0}},
     0,
     0,
     3,
     200},
    {{{"<module>", SITE "gunicorn/__main__.py", 7, 0},
      {"run", SITE "gunicorn/app/base.py", 71, 0},
      {"handle_request", SITE "gunicorn/workers/sync.py", 176, 0},
      {"checkout", APP "views.py", 42, 0},
      {"busy_30", APP "work.py", 21, 0}},
     0,
     0,
     1,
     100},
    {{{"<module>", SITE "gunicorn/__main__.py", 7, 0},
      {"run", SITE "gunicorn/app/base.py", 71, 0},
      {"wait", "/usr/lib/python3.11/selectors.py", 415, 0},
      {"epoll_wait", "/lib/x86_64-linux-gnu/libc.so.6", 0, 1}},
     0,
     0,
     0,
     900},
    {{{"Thread._bootstrap", "/usr/lib/python3.11/threading.py", 995, 0},
      {"Thread.run", "/usr/lib/python3.11/threading.py", 982, 0},
      {"walk", APP "tree.py", 9, 0},
      {"walk", APP "tree.py", 9, 0},
      {"walk", APP "tree.py", 9, 0},
      {"sorted", "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", 0, 1}},
     0,
     1,
     5,
     120},
    {{{"Thread._bootstrap", "/usr/lib/python3.11/threading.py", 995, 0},
      {"Thread.run", "/usr/lib/python3.11/threading.py", 982, 0},
      {"[garbage collection]", "", 0, 2}},
     0,
     1,
     9,
     40},
    {{{"</script><script>alert(1)</script>", APP "<img src=x onerror=alert(1)>.py", 3, 0},
      {"]]> & \"quoted\" 'both'", APP "odd;name.py", 4, 0},
      {"bell\x07 esc\x1b[31m tab\t nl\n end", APP "ctl.py", 5, 0}},
     1,
     2,
     3,
     210},
    {{{"</script><script>alert(1)</script>", APP "<img src=x onerror=alert(1)>.py", 3, 0},
      {"\xf0\x9f\x90\x8d snake_\xe6\xbc\xa2\xe5\xad\x97", APP "emoji.py", 6, 0},
      {"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae"
       "flip",
       APP "rtl.py", 8, 0}},
     1,
     2,
     1,
     160},
    {{{"[truncated]", "", 0, 2}, {"deep", APP "tree.py", 30, 0}}, 2, 3, 1, 60},
    {{{0}}, 2, 3, 1, 15}, // a thread without any Python frame
};

static const char *const rich_labels[3][4] = {
    {"shop-1", "101", "gunicorn: worker", "shop"},
    {"shop-1", "102", "gunicorn: <worker> & co", "shop"},
    {"batch-7", "77", "python3 -m batch", "batch"},
};

static uint32_t make_series(struct spy_profile *p, unsigned i)
{
    static const char *const keys[] = {SPY_LABEL_POD, SPY_LABEL_PID, SPY_LABEL_COMMAND,
                                       SPY_LABEL_SERVICE};
    struct spy_label labels[4];
    uint32_t id = 0;
    for (size_t k = 0; k < 4; k++)
        labels[k] = (struct spy_label){str(p, keys[k]), str(p, rich_labels[i][k])};
    must(spy_profile_series(p, labels, 4, &id));
    struct spy_series *s = spy_profile_series_at(p, id);
    memset(s->profile_id, (int)i + 1, sizeof s->profile_id);
    s->start_ns = 1790000000 * SPY_NS_PER_SEC;
    s->duration_ns = 25 * SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    s->quality = (struct spy_quality){2000, 30, 20, 5, 1, 2};
    return id;
}

struct spy_profile *test_profile_rich(void)
{
    static const struct {
        uint64_t tid;
        const char *name;
    } threads[] = {{101, "MainThread"}, {140, "<pool> & 1"}, {102, "MainThread"}, {77, "main"}};
    uint32_t series[3], thread_ids[SPY_COUNT(threads)];
    struct spy_profile *p = spy_profile_new();
    if (!p)
        return NULL;
    for (unsigned i = 0; i < 3; i++)
        series[i] = make_series(p, i);
    for (size_t i = 0; i < SPY_COUNT(threads); i++)
        must(spy_profile_thread(p, threads[i].tid, str(p, threads[i].name), &thread_ids[i]));
    for (size_t i = 0; i < SPY_COUNT(rich); i++) {
        uint32_t stack = 0;
        for (size_t k = 0; k < MAX_DEPTH && rich[i].calls[k].name; k++)
            stack = push(p, stack, &rich[i].calls[k]);
        must(spy_profile_add(p, series[rich[i].process], stack, thread_ids[rich[i].thread],
                             rich[i].state, rich[i].count, 0));
    }
    spy_profile_weigh(p);
    return p;
}

// --- random ---

static uint32_t below(struct spy_rand *r, uint32_t n)
{
    return (uint32_t)(spy_rand_next(r) % n);
}

static uint32_t random_text(struct spy_profile *p, struct spy_rand *r)
{
    static const char *const parts[] = {"f",   "\xc3\xa9", "<b>", "\"",   "\\",
                                        "/",   ";",        "\n",  " ",    "\xf0\x9f\x90\x8d",
                                        "lib", "%s",       "]]>", "\x01", "\xff"};
    char text[128] = "";
    size_t len = 0;
    for (uint32_t n = below(r, 8); n; n--)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s",
                                parts[below(r, SPY_COUNT(parts))]);
    return str(p, text);
}

static uint32_t random_series(struct spy_profile *p, struct spy_rand *r)
{
    struct spy_label labels[3];
    char pid[24];
    uint32_t id = 0;
    snprintf(pid, sizeof pid, "%u", below(r, 100000));
    labels[0] = (struct spy_label){str(p, SPY_LABEL_PID), str(p, pid)};
    labels[1] = (struct spy_label){str(p, SPY_LABEL_POD), random_text(p, r)};
    labels[2] = (struct spy_label){str(p, "other"), random_text(p, r)};
    must(spy_profile_series(p, labels, 1 + below(r, 3), &id));
    struct spy_series *s = spy_profile_series_at(p, id);
    for (size_t i = 0; i < sizeof s->profile_id; i++)
        s->profile_id[i] = (uint8_t)(spy_rand_next(r) | 1);
    s->start_ns = 1 + spy_rand_next(r) % (1ull << 60);
    s->duration_ns = spy_rand_next(r) % (1ull << 40);
    s->period_ns = 1 + below(r, 1000000000);
    s->quality = (struct spy_quality){below(r, 9), below(r, 9), below(r, 2),
                                      below(r, 9), below(r, 2), below(r, 9)};
    for (int c = 0; c < SPY_COUNTERS && s->duration_ns; c++)
        if (below(r, 2))
            s->account.counted[c] = (struct spy_counted){below(r, 1000000), s->duration_ns};
    return id;
}

static uint32_t random_stack(struct spy_profile *p, struct spy_rand *r, uint32_t size)
{
    uint32_t stack = below(r, spy_profile_n_stacks(p)), fn = 0, frame = 0;
    for (uint32_t n = below(r, 6); n; n--) {
        struct spy_function f = {random_text(p, r), random_text(p, r), below(r, size), below(r, 3)};
        if (f.kind == SPY_FRAME_MARKER)
            f.filename = 0;
        must(spy_profile_function(p, &f, &fn));
        must(spy_profile_frame(p, (struct spy_frame){fn, below(r, size)}, &frame));
        must(spy_profile_stack(p, stack, frame, &stack));
    }
    return stack;
}

struct spy_profile *test_profile_random(uint64_t seed, uint32_t size)
{
    static const uint32_t states[] = {0, 1, 3, 4, 5, 9, 11, 12, 16, 18};
    struct spy_rand r = {{seed * 0x9e3779b97f4a7c15u + 1, seed + 77}};
    struct spy_profile *p = spy_profile_new();
    if (!p)
        return NULL;
    for (uint32_t n = 1 + below(&r, 3); n; n--)
        random_series(p, &r);
    for (uint32_t n = below(&r, size); n; n--) {
        uint32_t thread = 0;
        if (below(&r, 4))
            must(spy_profile_thread(p, below(&r, 3) ? below(&r, 9) : spy_rand_next(&r),
                                    random_text(p, &r), &thread));
        must(spy_profile_add(p, below(&r, spy_profile_n_series(p)), random_stack(p, &r, size),
                             thread, states[below(&r, SPY_COUNT(states))], 1 + below(&r, 1000), 0));
    }
    spy_profile_weigh(p);
    return p;
}

// --- large ---

// The stack number n of a service: 64 of them share all but their last 6 frames, which fork in two
// at each; 12 frames are common to all.
static uint32_t service_stack(struct spy_profile *p, uint64_t n)
{
    uint64_t group = n >> 6, shared = 14 + spy_hash_mix(group, 1) % 41;
    uint32_t at = 0;
    for (uint64_t d = 0; d < shared + 6; d++) {
        uint64_t path = d < shared ? group : n >> (shared + 5 - d);
        uint64_t which = d < 12 ? d : spy_hash_mix(path, d) % 2000;
        char name[64], file[96];
        snprintf(name, sizeof name, "Handler%" PRIu64 ".method_%" PRIu64, which / 20, which);
        snprintf(file, sizeof file, SITE "service/module_%" PRIu64 ".py", which / 20);
        at = push(p, at, &(struct call){name, file, (uint32_t)(which % 20 * 30 + path % 3), 0});
    }
    return at;
}

struct spy_profile *test_profile_large(uint32_t frames)
{
    struct spy_profile *p = spy_profile_new();
    if (!p)
        return NULL;
    uint32_t series = make_series(p, 0), thread = 0;
    must(spy_profile_thread(p, 101, str(p, "MainThread"), &thread));
    uint32_t hay = push(p, 0, &(struct call){"haystack", APP "hay.py", 3, 0});
    for (unsigned i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "needle_%02u", i);
        uint32_t needle = push(p, hay, &(struct call){name, APP "hay.py", 7, 0});
        must(spy_profile_add(p, series, needle, thread, SPY_STATE_RUNNING, 1, 0));
    }
    for (uint64_t n = 0; spy_profile_n_stacks(p) + 60 < frames; n++)
        must(spy_profile_add(p, series, service_stack(p, n), thread, SPY_STATE_RUNNING,
                             1 + spy_hash_mix(n, 2) % 200, 0));
    spy_profile_weigh(p);
    return p;
}

// --- looking at one ---

void test_profile_totals(const struct spy_profile *p, uint64_t *ret_count, uint64_t *ret_ns)
{
    *ret_count = *ret_ns = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        *ret_count += spy_profile_sample_at(p, i)->count;
        *ret_ns += spy_profile_sample_at(p, i)->ns;
    }
}

static void spell_text(struct spy_buf *b, const struct spy_profile *p, uint32_t string)
{
    spy_buf_putc(b, '\'');
    spy_buf_json(b, spy_profile_text(p, string), spy_profile_text_len(p, string));
    spy_buf_puts(b, "' ");
}

static void spell_sample(struct spy_buf *b, const struct spy_profile *p, const struct spy_sample *s)
{
    const struct spy_series *series = spy_profile_series_get(p, s->series);
    const struct spy_thread *t = spy_profile_thread_at(p, s->thread);
    for (uint32_t i = 0; i < series->n_labels; i++) {
        spell_text(b, p, spy_profile_label_at(p, series->first_label + i)->key);
        spell_text(b, p, spy_profile_label_at(p, series->first_label + i)->value);
    }
    spy_buf_printf(b, "thread %" PRIu64 " ", t->tid);
    spell_text(b, p, t->name);
    for (uint32_t k = s->stack; k; k = spy_profile_stack_at(p, k)->parent) {
        const struct spy_frame *f = spy_profile_frame_at(p, spy_profile_stack_at(p, k)->frame);
        const struct spy_function *fn = spy_profile_function_at(p, f->function);
        spell_text(b, p, fn->name);
        spell_text(b, p, fn->filename);
        spy_buf_printf(b, "%u %u %u < ", f->line, fn->start_line, fn->kind);
    }
    spy_buf_printf(b, "state %u count %" PRIu64 " ns %" PRIu64, s->state, s->count, s->ns);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *test_profile_spelled(const struct spy_profile *p)
{
    size_t n = spy_profile_n_samples(p);
    char **lines = calloc(n + 1, sizeof *lines);
    struct spy_buf all = SPY_BUF_INIT(64 << 20);
    for (uint32_t i = 0; lines && i < n; i++) {
        struct spy_buf b = SPY_BUF_INIT(1 << 20);
        spell_sample(&b, p, spy_profile_sample_at(p, i));
        must(b.failed);
        lines[i] = (char *)b.data;
    }
    if (lines)
        qsort(lines, n, sizeof *lines, compare_lines);
    must(spy_buf_puts(&all, ""));
    for (size_t i = 0; lines && i < n; i++) {
        must(spy_buf_printf(&all, "%s\n", lines[i]));
        free(lines[i]);
    }
    free(lines);
    return (char *)all.data;
}
