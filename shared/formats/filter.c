#include "shared/formats/filter.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 8192, TEXT_BETWEEN = 32768 };

struct spy_filter {
    bool *stacks, *threads; // by id: does it pass? NULL: all do
};

// --- what an expression costs ---
//
// glibc copies x for x+ and x{n}, so nested ones grow by their product, and knows back-references
// only by trying all ways. So the nodes that will come of an expression are counted first.

struct count {
    size_t total[SPY_REGEX_MAX + 2]; // nodes of each group that is open
    size_t depth, last;              // last: of the latest item, which a repetition multiplies
};

// The end of a bracket expression that begins at `at` (POSIX, 9.3.5), or of the text.
static const char *after_bracket(const char *at)
{
    at += at[1] == '^' ? 2 : 1;
    at += *at == ']';
    for (; *at && *at != ']'; at++)
        if (*at == '[' && at[1] && strchr(".:=", at[1])) {
            const char end[] = {at[1], ']', 0};
            const char *found = strstr(at + 2, end);
            if (!found)
                return at + strlen(at);
            at = found + 1;
        }
    return *at ? at + 1 : at;
}

// How often x stands in what x{n,m} becomes; *at goes behind it.
static size_t repetitions(const char **at)
{
    size_t most = 1;
    while (**at == '{' || **at == ',') {
        char *end;
        size_t n = strtoul(*at + 1, &end, 10);
        most = n > most ? n : most;
        *at = end;
    }
    *at += **at == '}';
    return most < SPY_REGEX_NODES ? most + 1 : SPY_REGEX_NODES;
}

static void add_item(struct count *c, size_t nodes)
{
    c->last = nodes;
    c->total[c->depth] += nodes;
}

static void repeat_item(struct count *c, size_t times)
{
    size_t more = (c->last + 1) * times;
    c->total[c->depth] += more - c->last;
    c->last = more;
}

static void open_group(struct count *c)
{
    c->total[++c->depth] = 1;
    c->last = 0;
}

static void close_group(struct count *c)
{
    size_t inside = c->total[c->depth];
    if (c->depth) // else it is a character like others
        c->depth--;
    else
        inside = 1;
    add_item(c, inside);
}

static const char *count_one(struct count *c, const char *at)
{
    switch (*at) {
    case '(':
        open_group(c);
        return at + 1;
    case ')':
        close_group(c);
        return at + 1;
    case '+':
        repeat_item(c, 2);
        return at + 1;
    case '*':
    case '?':
        repeat_item(c, 1);
        return at + 1;
    case '{':
        repeat_item(c, repetitions(&at));
        return at;
    case '[':
        add_item(c, 1);
        return after_bracket(at);
    case '\\':
        add_item(c, 1);
        return at + (at[1] ? 2 : 1);
    default:
        add_item(c, 1);
        return at + 1;
    }
}

static const char *too_expensive(const char *text)
{
    struct count c = {.depth = 0};
    if (strlen(text) > SPY_REGEX_MAX)
        return "it is longer than 512 bytes";
    for (const char *at = text; *at;) {
        if (*at == '\\' && isdigit((unsigned char)at[1]))
            return "it has a back-reference";
        at = count_one(&c, at);
        if (c.last > SPY_REGEX_NODES || c.total[c.depth] > SPY_REGEX_NODES)
            return "its repetitions come to too much";
    }
    return NULL;
}

int spy_regex_compile(const char *text, regex_t *ret, struct spy_err *err)
{
    const char *why = too_expensive(text);
    if (why)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "'%.80s' is no expression to use here: %s",
                           text, why);
    int code = regcomp(ret, text, REG_EXTENDED | REG_NOSUB);
    if (code) {
        char reason[120];
        regerror(code, ret, reason, sizeof reason);
        return spy_err_set(err, SPY_ERR_INVALID, 0, "'%.80s' is no regular expression: %s", text,
                           reason);
    }
    return 0;
}

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
        r = spy_regex_compile(texts[i], &e->list[e->n], err);
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
