#include "shared/formats/filter.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/base/stop.h"
#include "shared/base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 8192 };

struct spy_filter {
    bool *stacks, *threads; // by id: true if it passes; NULL: all do
};

// --- cost ---

// Reading the clock costs more than most searches, so it is read once for so many bytes.
struct cost {
    const bool *stop;
    uint64_t until_ns; // of the thread's CPU time
    size_t bytes;      // searched since the clock was read
    struct spy_err *err;
};

static int check_cost(struct cost *c, size_t len)
{
    enum { BYTES = 8192 };
    c->bytes += len;
    if (c->bytes < BYTES)
        return 0;
    c->bytes = 0;
    if (spy_stop_is_set(c->stop))
        return spy_err_set(c->err, SPY_ERR_GONE, 0, "nobody waits for the answer");
    if (spy_clock_thread_cpu_ns() < c->until_ns)
        return 0;
    return spy_err_set(c->err, SPY_ERR_INVALID, 0,
                       "include, exclude and thread take more than %d seconds: simplify them, or "
                       "narrow the selection",
                       SPY_FILTER_CPU_SECS);
}

// --- stacks ---

struct expressions {
    struct spy_regex *list[SPY_FILTER_MAX];
    const char *const *texts;
    size_t n;
};

static void free_expressions(struct expressions *e)
{
    while (e->n)
        spy_regex_free(e->list[--e->n]);
}

static int compile_expressions(const char *const *texts, size_t n, struct expressions *e,
                               struct spy_err *err)
{
    int r = 0;
    e->texts = texts;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = spy_regex_new(texts[i], &e->list[e->n], err);
        e->n += r == 0;
    }
    return r;
}

// 1: one matches; 0: none does; negative: the error.
static int search_expressions(const struct expressions *e, const char *text, size_t len,
                              struct cost *cost)
{
    int r = 0;
    for (size_t i = 0; i < e->n && r == 0; i++) {
        r = check_cost(cost, len);
        if (r == 0)
            r = spy_regex_search(e->list[i], text, len);
        if (r == SPY_ERR_LIMIT)
            r = spy_err_set(cost->err, SPY_ERR_INVALID, 0,
                            "the expression '%.100s' takes too many steps: simplify it",
                            e->texts[i]);
    }
    return r;
}

enum { INCLUDED = 1, EXCLUDED = 2 };

static int match_functions(const struct spy_profile *p, const struct expressions *include,
                           const struct expressions *exclude, struct cost *cost, uint8_t *out)
{
    char text[TEXT_MAX];
    for (uint32_t i = 0; i < spy_profile_n_functions(p); i++) {
        const struct spy_function *f = spy_profile_function_at(p, i);
        size_t len =
            (size_t)snprintf(text, sizeof text, "%.4000s %.4000s", spy_profile_text(p, f->name),
                             spy_profile_text(p, f->filename));
        int in = search_expressions(include, text, len, cost);
        int ex = in < 0 ? in : search_expressions(exclude, text, len, cost);
        if (ex < 0)
            return ex;
        out[i] = (uint8_t)((in ? INCLUDED : 0) | (ex ? EXCLUDED : 0));
    }
    return 0;
}

// Parents have smaller ids, so one pass hands the findings down from outer frames to inner ones.
static int match_stacks(const struct spy_profile *p, const struct expressions *include,
                        const struct expressions *exclude, struct cost *cost, struct spy_filter *f)
{
    uint32_t n = spy_profile_n_stacks(p);
    _cleanup_free_ uint8_t *functions = calloc((size_t)spy_profile_n_functions(p) + 1, 1);
    _cleanup_free_ uint8_t *found = calloc((size_t)n + 1, 1);
    f->stacks = calloc((size_t)n + 1, sizeof *f->stacks);
    if (!functions || !found || !f->stacks)
        return SPY_ERR_NOMEM;
    int r = match_functions(p, include, exclude, cost, functions);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n; i++) {
        if (i) {
            const struct spy_stack *s = spy_profile_stack_at(p, i);
            found[i] = found[s->parent] | functions[spy_profile_frame_at(p, s->frame)->function];
        }
        f->stacks[i] = (!include->n || found[i] & INCLUDED) && !(found[i] & EXCLUDED);
    }
    return 0;
}

// --- threads ---

static bool has_thread(const struct spy_filter_options *o, const struct spy_profile *p,
                       const struct spy_thread *t)
{
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)t->tid);
    for (size_t i = 0; i < o->n_threads; i++)
        if (spy_glob_matches(o->threads[i], number) ||
            spy_glob_matches(o->threads[i], spy_profile_text(p, t->name)))
            return true;
    return false;
}

static int match_threads(const struct spy_filter_options *o, const struct spy_profile *p,
                         struct cost *cost, struct spy_filter *f)
{
    int r = 0;
    f->threads = calloc((size_t)spy_profile_n_threads(p) + 1, sizeof *f->threads);
    if (!f->threads)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < spy_profile_n_threads(p) && r == 0; i++) {
        f->threads[i] = has_thread(o, p, spy_profile_thread_at(p, i));
        r = check_cost(cost, 64 * o->n_threads);
    }
    return r;
}

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

int spy_filter_new(const struct spy_filter_options *o, const struct spy_profile *p,
                   struct spy_filter **ret, struct spy_err *err)
{
    _cleanup_(free_expressions) struct expressions include = {.n = 0}, exclude = {.n = 0};
    _cleanup_(filter_done) struct spy_filter *f = calloc(1, sizeof *f);
    struct spy_err why = {0};
    struct cost cost = {.stop = o->stop, .err = &why};
    cost.until_ns = spy_clock_thread_cpu_ns() + SPY_FILTER_CPU_SECS * SPY_NS_PER_SEC;
    if (!f)
        return spy_err_nomem(err);
    int r = compile_expressions(o->include, o->n_include, &include, err);
    if (r == 0)
        r = compile_expressions(o->exclude, o->n_exclude, &exclude, err);
    if (r < 0)
        return r;
    if (include.n || exclude.n)
        r = match_stacks(p, &include, &exclude, &cost, f);
    if (r == 0 && o->n_threads)
        r = match_threads(o, p, &cost, f);
    if (r < 0)
        return spy_err_set(err, r, 0, "%s", why.msg[0] ? why.msg : "out of memory");
    *ret = spy_steal(&f);
    return 0;
}

void spy_filter_free(struct spy_filter *f)
{
    if (!f)
        return;
    free(f->stacks);
    free(f->threads);
    free(f);
}

bool spy_filter_has(const struct spy_filter *f, const struct spy_sample *s)
{
    return (!f->stacks || f->stacks[s->stack]) && (!f->threads || f->threads[s->thread]);
}
