#include "collector/query/entry_find.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/base/stop.h"
#include <stdlib.h>
#include <string.h>

enum { CPU_SECS = 2 }; // for the expressions of the configuration

// What is known of a function before any stack is looked at.
struct traits {
    const struct spy_dispatcher *dispatcher; // NULL: it is not a dispatcher
    enum spy_entry_way way;
    bool is_module; // the code of a whole module, which an import runs
};

struct finding {
    const struct spy_question *q;
    const struct spy_profile *p;
    struct spy_regex *modules[SPY_ENTRY_PATTERNS_MAX], *functions[SPY_ENTRY_PATTERNS_MAX];
    size_t n_patterns;
    struct traits *traits; // by function
    uint32_t *index;       // by function: index into the list + 1
    uint32_t *under;       // by stack: the dispatcher that led to it, a function + 1; 0: none did
    struct spy_entries *to;
    struct spy_err *err;
};

static const struct spy_dispatcher own_dispatcher = {"own", SPY_ENTRY_OWN, "", ""};

static void finding_done(struct finding *f)
{
    for (size_t i = 0; i < f->n_patterns; i++) {
        spy_regex_free(f->modules[i]);
        spy_regex_free(f->functions[i]);
    }
    free(f->traits);
    free(f->index);
    free(f->under);
}

static int compile_patterns(struct finding *f)
{
    const struct spy_question *q = f->q;
    int r = 0;
    for (size_t i = 0; i < q->n_entry_patterns && i < SPY_ENTRY_PATTERNS_MAX && r == 0; i++) {
        f->n_patterns = i + 1;
        r = spy_regex_new(q->entry_patterns[i].module, &f->modules[i], f->err);
        if (r == 0)
            r = spy_regex_new(q->entry_patterns[i].function, &f->functions[i], f->err);
    }
    return r;
}

// 1: a pattern of the configuration matches; 0: none does; negative: the error.
static int search_patterns(const struct finding *f, const char *module, const char *name)
{
    int r = 0;
    for (size_t i = 0; i < f->n_patterns && r == 0; i++) {
        r = spy_regex_search(f->functions[i], name, strlen(name));
        if (r == 1)
            r = spy_regex_search(f->modules[i], module, strlen(module));
    }
    return r == SPY_ERR_LIMIT
               ? spy_err_set(f->err, SPY_ERR_INVALID, 0,
                             "an expression of entries in the collector's configuration takes too "
                             "many steps: simplify it")
               : r;
}

static int find_traits(const struct finding *f, uint32_t id, struct traits *ret)
{
    char module[SPY_ENTRY_MODULE_MAX];
    const struct spy_function *fn = spy_profile_function_at(f->p, id);
    const char *name = spy_profile_text(f->p, fn->name);
    if (fn->kind != SPY_FRAME_PYTHON)
        return 0;
    spy_entry_module(spy_profile_text(f->p, fn->filename), module, sizeof module);
    int r = search_patterns(f, module, name);
    if (r < 0)
        return r;
    ret->dispatcher = r ? &own_dispatcher : spy_entry_dispatcher(module, name);
    ret->way = spy_entry_way(module, spy_profile_text(f->p, fn->filename));
    ret->is_module = !strcmp(name, "<module>");
    return 0;
}

static int check_work(const struct finding *f, uint64_t until_ns)
{
    if (spy_stop_is_set(f->q->stop))
        return spy_err_set(f->err, SPY_ERR_GONE, 0, "nobody waits for the answer");
    if (f->n_patterns && spy_clock_thread_cpu_ns() > until_ns)
        return spy_err_set(f->err, SPY_ERR_INVALID, 0,
                           "the expressions of entries in the collector's configuration take more "
                           "than %d seconds: simplify them, or narrow the selection",
                           CPU_SECS);
    return 0;
}

static int find_all_traits(const struct finding *f)
{
    enum { CHECK_EVERY = 64 };
    uint64_t until_ns = spy_clock_thread_cpu_ns() + CPU_SECS * SPY_NS_PER_SEC;
    int r = 0;
    for (uint32_t i = 0; i < spy_profile_n_functions(f->p) && r == 0; i++) {
        r = find_traits(f, i, &f->traits[i]);
        if (r == 0 && i % CHECK_EVERY == 0)
            r = check_work(f, until_ns);
    }
    return r;
}

enum step { STEP_ENDS, STEP_LEADS_ON, STEP_IS_ENTRY };

// What `callee` is, under the dispatcher whose call led to it.
static enum step classify_step(const struct finding *f, uint32_t dispatcher, uint32_t callee)
{
    const struct spy_dispatcher *d = f->traits[dispatcher].dispatcher;
    const struct traits *t = &f->traits[callee];
    if (d->kind == SPY_ENTRY_OWN)
        return STEP_IS_ENTRY;
    if (t->is_module || spy_profile_function_at(f->p, dispatcher)->filename ==
                            spy_profile_function_at(f->p, callee)->filename)
        return STEP_ENDS;
    bool is_whole = d->kind == SPY_ENTRY_APP && t->way == SPY_ENTRY_WAY_FRAMEWORK;
    return t->way == SPY_ENTRY_WAY_OWN || is_whole ? STEP_IS_ENTRY : STEP_LEADS_ON;
}

static int note_entry(const struct finding *f, uint32_t dispatcher, uint32_t callee, uint32_t *ret)
{
    struct spy_entries *e = f->to;
    if (!f->index[callee]) {
        int r = spy_grow(&e->list, &e->cap, e->n + 1, sizeof *e->list, SPY_ENTRIES_MAX);
        if (r < 0)
            return r;
        const struct spy_dispatcher *d = f->traits[dispatcher].dispatcher;
        e->list[e->n++] = (struct spy_entry){callee, d->kind, d->framework};
        f->index[callee] = (uint32_t)e->n;
    }
    *ret = f->index[callee];
    return 0;
}

static int find_in_stack(const struct finding *f, uint32_t stack)
{
    struct spy_entries *e = f->to;
    const struct spy_stack *s = spy_profile_stack_at(f->p, stack);
    uint32_t callee = spy_profile_frame_at(f->p, s->frame)->function, under = f->under[s->parent];
    e->of_stack[stack] = e->of_stack[s->parent];
    f->under[stack] = under;
    if (spy_profile_function_at(f->p, callee)->kind != SPY_FRAME_PYTHON)
        return 0;
    if (f->traits[callee].dispatcher) {
        f->under[stack] = callee + 1;
        return 0;
    }
    enum step step = under ? classify_step(f, under - 1, callee) : STEP_ENDS;
    if (step != STEP_LEADS_ON)
        f->under[stack] = 0;
    e->begins[stack] = step == STEP_IS_ENTRY;
    return step == STEP_IS_ENTRY ? note_entry(f, under - 1, callee, &e->of_stack[stack]) : 0;
}

// Parents have smaller ids, so one pass hands the findings down from outer frames to inner ones.
static int find_in_stacks(const struct finding *f)
{
    int r = 0;
    for (uint32_t i = 1; i < f->to->n_stacks && r == 0; i++)
        r = find_in_stack(f, i);
    return r;
}

int spy_entries_find(const struct spy_question *q, const struct spy_profile *p,
                     struct spy_entries *ret, struct spy_err *err)
{
    struct spy_entries e = {.n_stacks = spy_profile_n_stacks(p)};
    _cleanup_(finding_done) struct finding f = {.q = q, .p = p, .to = &e, .err = err};
    size_t n = (size_t)e.n_stacks + 1, n_functions = (size_t)spy_profile_n_functions(p) + 1;
    f.traits = calloc(n_functions, sizeof *f.traits);
    f.index = calloc(n_functions, sizeof *f.index);
    f.under = calloc(n, sizeof *f.under);
    e.of_stack = calloc(n, sizeof *e.of_stack);
    e.begins = calloc(n, sizeof *e.begins);
    bool has_room = f.traits && f.index && f.under && e.of_stack && e.begins;
    int r = has_room ? compile_patterns(&f) : spy_err_nomem(err);
    if (r == 0)
        r = find_all_traits(&f);
    if (r == 0 && (r = find_in_stacks(&f)) < 0)
        spy_err_set(err, r, 0, "the entries do not fit in memory");
    if (r < 0)
        spy_entries_done(&e);
    else
        *ret = e;
    return r;
}

void spy_entries_done(struct spy_entries *e)
{
    free(e->list);
    free(e->of_stack);
    free(e->begins);
    *e = (struct spy_entries){0};
}
