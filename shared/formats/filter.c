#include "shared/formats/filter.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 8192, TEXT_BETWEEN = 32768 };

struct spy_filter {
    bool *stacks, *threads; // by id: does it pass? NULL: all do
};

// Goes back to the last '*' only, so the time is bounded by the product of the lengths.
bool spy_glob_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == 0;
}

// --- stacks ---

struct expressions {
    const char *texts[SPY_FILTER_MAX];
    regex_t list[SPY_FILTER_MAX];
    size_t n, matched; // bytes since they were compiled
};

static void expressions_done(struct expressions *e)
{
    while (e->n)
        regfree(&e->list[--e->n]);
}

static int compile_all(const char *const *texts, size_t n, struct expressions *e,
                       struct spy_err *err)
{
    int r = 0;
    e->matched = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = spy_regex_compile(texts[i], REG_NOSUB, &e->list[e->n], err);
        e->texts[i] = texts[i];
        e->n += r == 0;
    }
    return r;
}

// glibc keeps every state that matching has met, and never forgets one: so it is made to.
static int forget_states(struct expressions *e, size_t len)
{
    size_t n = e->n;
    if ((e->matched += len) < TEXT_BETWEEN)
        return 0;
    expressions_done(e);
    return compile_all(e->texts, n, e, NULL);
}

static bool any_matches(const struct expressions *e, const char *text)
{
    for (size_t i = 0; i < e->n; i++)
        if (regexec(&e->list[i], text, 0, NULL, 0) == 0)
            return true;
    return false;
}

enum { INCLUDED = 1, EXCLUDED = 2 };

static int look_at_functions(const struct spy_profile *p, struct expressions *include,
                             struct expressions *exclude, uint8_t *out)
{
    char text[TEXT_MAX];
    int r = 0;
    for (uint32_t i = 0; i < spy_profile_n_functions(p) && r == 0; i++) {
        const struct spy_function *f = spy_profile_function_at(p, i);
        int len = snprintf(text, sizeof text, "%.4000s %.4000s", spy_profile_text(p, f->name),
                           spy_profile_text(p, f->filename));
        out[i] = (uint8_t)((any_matches(include, text) ? INCLUDED : 0) |
                           (any_matches(exclude, text) ? EXCLUDED : 0));
        r = forget_states(include, (size_t)len);
        if (r == 0)
            r = forget_states(exclude, (size_t)len);
    }
    return r;
}

// Parents have smaller ids, so one sweep hands down what was found outside.
static int look_at_stacks(const struct spy_profile *p, struct expressions *include,
                          struct expressions *exclude, struct spy_filter *f)
{
    uint32_t n = spy_profile_n_stacks(p);
    _cleanup_free_ uint8_t *functions = calloc((size_t)spy_profile_n_functions(p) + 1, 1);
    _cleanup_free_ uint8_t *found = calloc((size_t)n + 1, 1);
    f->stacks = calloc((size_t)n + 1, sizeof *f->stacks);
    if (!functions || !found || !f->stacks)
        return SPY_ERR_NOMEM;
    int r = look_at_functions(p, include, exclude, functions);
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

static bool thread_passes(const struct spy_filter_options *o, const struct spy_profile *p,
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

static int look_at_threads(const struct spy_filter_options *o, const struct spy_profile *p,
                           struct spy_filter *f)
{
    f->threads = calloc((size_t)spy_profile_n_threads(p) + 1, sizeof *f->threads);
    if (!f->threads)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < spy_profile_n_threads(p); i++)
        f->threads[i] = thread_passes(o, p, spy_profile_thread_at(p, i));
    return 0;
}

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

int spy_filter_new(const struct spy_filter_options *o, const struct spy_profile *p,
                   struct spy_filter **ret, struct spy_err *err)
{
    _cleanup_(expressions_done) struct expressions include = {.n = 0}, exclude = {.n = 0};
    _cleanup_(filter_done) struct spy_filter *f = calloc(1, sizeof *f);
    if (!f)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    int r = compile_all(o->include, o->n_include, &include, err);
    if (r == 0)
        r = compile_all(o->exclude, o->n_exclude, &exclude, err);
    if (r < 0)
        return r;
    if (include.n || exclude.n)
        r = look_at_stacks(p, &include, &exclude, f);
    if (r == 0 && o->n_threads)
        r = look_at_threads(o, p, f);
    if (r < 0)
        return spy_err_set(err, r, 0, "out of memory");
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
