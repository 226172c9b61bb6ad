// timeline.c - a selection step by step: samples by state, how they came to be, what was lost, and
// what the kernel counted.
//
// A window counts in the step in which it begins, whole, so the steps add up to what /profiles counts
// (which takes windows that only overlap the selected time: they are in the first step). The store
// selects windows that overlap a time, so a step is what overlaps it without what overlaps the
// instant of its beginning. Several threads take steps.
#include "collector/query/answer_json.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/base/thread.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_timelines;
enum { STEPS = 60, STEPS_MAX = 1500, STEP_SECS = 10, WORKERS_MAX = 4 };

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

struct counts {
    uint64_t activities[SPY_ACTIVITIES], holds, waits, collects;
};

struct step {
    uint64_t from_ns, until_ns;
    struct counts counts;
    struct spy_quality quality;
    struct spy_account account;
    uint32_t *series; // in `known`, of the processes with windows here; owned
    size_t n_series;
    uint64_t gaps;
};

struct timeline {
    const struct spy_question *question;
    const struct spy_selector *selector;
    struct step *steps;
    size_t n, workers;
    pthread_mutex_t lock; // of what follows
    size_t next;
    struct spy_profile *known; // all series
    bool failed;
    struct spy_err err; // the first failure
    char hint[SPY_HINT_MAX];
};

static void free_timeline(struct timeline *t)
{
    for (size_t i = 0; t->steps && i < t->n; i++)
        free(t->steps[i].series);
    free(t->steps);
    spy_profile_free(t->known);
    pthread_mutex_destroy(&t->lock);
}

// --- one step ---

static int add_step_series(struct spy_profile *into, const struct spy_profile *from, uint32_t id,
                           uint32_t *ret)
{
    struct spy_label labels[SPY_LABELS_MAX];
    const struct spy_series *s = spy_profile_series_get(from, id);
    int r = 0;
    for (uint32_t i = 0; i < s->n_labels && r == 0; i++) {
        const struct spy_label *l = spy_profile_label_at(from, s->first_label + i);
        r = spy_profile_cstr(into, spy_profile_text(from, l->key), &labels[i].key);
        if (r == 0)
            r = spy_profile_cstr(into, spy_profile_text(from, l->value), &labels[i].value);
    }
    return r < 0 ? r : spy_profile_series(into, labels, s->n_labels, ret);
}

static uint64_t subtract(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0; // a window may have come between two queries
}

static void add_counts(struct counts *c, const struct spy_profile *p, const struct spy_view *view)
{
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (!spy_view_has(view, s))
            continue;
        uint64_t *activity = &c->activities[spy_state_activity(s->state)];
        *activity = spy_add_sat(*activity, s->count);
        c->holds = spy_add_sat(c->holds, s->state & SPY_STATE_GIL_HOLDS ? s->count : 0);
        c->waits = spy_add_sat(c->waits, s->state & SPY_STATE_GIL_WAITS ? s->count : 0);
        c->collects = spy_add_sat(c->collects, s->state & SPY_STATE_GC ? s->count : 0);
    }
}

static void subtract_counts(struct counts *from, const struct counts *what)
{
    for (int i = 0; i < SPY_ACTIVITIES; i++)
        from->activities[i] = subtract(from->activities[i], what->activities[i]);
    from->holds = subtract(from->holds, what->holds);
    from->waits = subtract(from->waits, what->waits);
    from->collects = subtract(from->collects, what->collects);
}

// Windows of a series do not overlap: what began before is what comes first.
static void subtract_window(struct spy_series *from, const struct spy_series *what)
{
    uint64_t end = spy_add_sat(from->start_ns, from->duration_ns),
             cut = spy_add_sat(what->start_ns, what->duration_ns);
#define SUBTRACT(name, ...) from->quality.name = subtract(from->quality.name, what->quality.name);
    SPY_QUALITY(SUBTRACT)
#undef SUBTRACT
    for (int i = 0; i < SPY_COUNTERS; i++) {
        struct spy_counted *c = &from->account.counted[i];
        c->sum = subtract(c->sum, what->account.counted[i].sum);
        c->of_ns = subtract(c->of_ns, what->account.counted[i].of_ns);
    }
    from->account.running_ns = subtract(from->account.running_ns, what->account.running_ns);
    from->account.runnable_ns = subtract(from->account.runnable_ns, what->account.runnable_ns);
    from->start_ns = cut < end ? cut : 0;
    from->duration_ns = subtract(end, cut);
}

static int query_step(const struct timeline *t, uint64_t from_ns, uint64_t until_ns,
                      struct spy_profile *p, struct counts *counts, struct spy_err *err)
{
    const struct spy_selector *s = t->selector;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    struct spy_select select = s->select;
    struct spy_view view = s->view;
    select.from_ns = from_ns;
    select.until_ns = until_ns;
    int r = spy_store_query(t->question->store, &select, p, err);
    if (r == 0)
        r = spy_filter_new(&s->filter, p, &filter, err);
    view.filter = filter;
    view.idle = true; // states are what is asked for
    if (r == 0)
        add_counts(counts, p, &view);
    return r;
}

// Takes away what began before the step.
static int subtract_earlier(const struct timeline *t, struct step *step, struct spy_profile *p,
                            struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *before = spy_profile_new();
    struct counts counts = {0};
    int r = before ? query_step(t, step->from_ns, step->from_ns, before, &counts, err)
                   : spy_err_nomem(err);
    if (r < 0)
        return r;
    subtract_counts(&step->counts, &counts);
    for (uint32_t i = 0; i < spy_profile_n_series(before); i++) {
        uint32_t same;
        if (add_step_series(p, before, i, &same) < 0)
            return spy_err_nomem(err);
        subtract_window(spy_profile_series_at(p, same), spy_profile_series_get(before, i));
    }
    return 0;
}

static int note_series(struct timeline *t, struct step *step, const struct spy_profile *p)
{
    uint32_t n = spy_profile_n_series(p);
    int r = 0;
    step->series = calloc(n + 1u, sizeof *step->series);
    if (!step->series)
        return SPY_ERR_NOMEM;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_step_series(t->known, p, i, &step->series[i]);
    pthread_mutex_unlock(&t->lock);
    step->n_series = n;
    return r;
}

static int take_step(struct timeline *t, struct step *step, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    int r = p ? query_step(t, step->from_ns, step->until_ns, p, &step->counts, err)
              : spy_err_nomem(err);
    if (r == 0 && (r = note_series(t, step, p)) < 0)
        return spy_err_set(err, r, 0, "out of memory");
    if (r == 0 && step != t->steps)
        r = subtract_earlier(t, step, p, err);
    for (uint32_t i = 0; r == 0 && i < spy_profile_n_series(p); i++)
        spy_quality_add(&step->quality, &spy_profile_series_get(p, i)->quality);
    if (r == 0 && spy_profile_account(p, &step->account) < 0)
        r = spy_err_nomem(err);
    return r;
}

// --- all steps ---

static struct step *take_next(struct timeline *t)
{
    pthread_mutex_lock(&t->lock);
    struct step *step = !t->failed && t->next < t->n ? &t->steps[t->next++] : NULL;
    pthread_mutex_unlock(&t->lock);
    return step;
}

static void *work_on_steps(void *arg)
{
    struct timeline *t = arg;
    struct spy_err err = {0};
    for (struct step *step; (step = take_next(t));)
        if (take_step(t, step, &err) < 0) {
            pthread_mutex_lock(&t->lock);
            if (!t->failed)
                t->err = err;
            t->failed = true;
            pthread_mutex_unlock(&t->lock);
        }
    return NULL;
}

static void run_workers(struct timeline *t)
{
    pthread_t threads[WORKERS_MAX];
    size_t n = 0;
    while (n + 1 < t->workers && spy_thread_start(&threads[n], work_on_steps, t) == 0)
        n++;
    work_on_steps(t);
    while (n)
        pthread_join(threads[--n], NULL);
}

// A process has a gap in a step without its windows, between steps with them.
static int count_gaps(struct timeline *t)
{
    size_t n = spy_profile_n_series(t->known);
    _cleanup_free_ size_t *last = calloc(n + 1, sizeof *last); // plus one; 0: not seen yet
    if (!last)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->steps[i].n_series; k++) {
            size_t *seen = &last[t->steps[i].series[k]];
            for (size_t gap = *seen ? *seen : i; gap < i; gap++)
                t->steps[gap].gaps++;
            *seen = i + 1;
        }
    return 0;
}

static int make_steps(struct timeline *t, struct spy_answer *a, struct spy_err *err)
{
    const struct spy_select *s = &t->selector->select;
    uint64_t all = s->until_ns - s->from_ns, tens = STEP_SECS * SPY_NS_PER_SEC;
    uint64_t step = t->selector->step_ns;
    if (!step)
        step = (all / STEPS / tens + (all % (STEPS * tens) != 0)) * tens;
    t->n = (size_t)(all / step + (all % step != 0));
    if (t->n > STEPS_MAX) {
        snprintf(a->hint, SPY_HINT_MAX, "at most %d steps are answered: set a longer step",
                 STEPS_MAX);
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the parameter step is too short");
    }
    t->steps = calloc(t->n + 1, sizeof *t->steps);
    t->known = spy_profile_new();
    if (!t->steps || !t->known)
        return spy_err_nomem(err);
    for (size_t i = 0; i < t->n; i++) {
        t->steps[i].from_ns = s->from_ns + i * step;
        t->steps[i].until_ns = i + 1 < t->n ? s->from_ns + (i + 1) * step : s->until_ns;
    }
    return 0;
}

// --- the answer ---

static json_int_t json_count(uint64_t n)
{
    return n < INT64_MAX ? (json_int_t)n : INT64_MAX;
}

static json_t *describe_quality(const struct spy_quality *q)
{
    json_t *o = json_object();
#define SET(name, ...) json_object_set_new(o, #name, json_integer(json_count(q->name)));
    SPY_QUALITY(SET)
#undef SET
    return o;
}

static json_t *describe_step(const struct step *s)
{
    char from[SPY_TIME_TEXT];
    json_t *states = json_object();
    for (int i = 0; i < SPY_ACTIVITIES; i++)
        json_object_set_new(states, spy_activity_names[i],
                            json_integer(json_count(s->counts.activities[i])));
    spy_time_print(s->from_ns, from);
    json_t *o =
        json_pack("{s:s, s:o, s:{s:I, s:I}, s:I, s:I, s:I, s:o}", "from", from, "states", states,
                  "gil", "holds", json_count(s->counts.holds), "waits", json_count(s->counts.waits),
                  "gc", json_count(s->counts.collects), "processes", (json_int_t)s->n_series,
                  "gaps", json_count(s->gaps), "quality", describe_quality(&s->quality));
    spy_answer_account(&s->account, o);
    return o;
}

static int print_timeline(const struct timeline *t, struct spy_answer *a, struct spy_err *err)
{
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    json_t *list = json_array();
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(list, describe_step(&t->steps[i]));
    spy_time_print(t->selector->select.from_ns, from);
    spy_time_print(t->selector->select.until_ns, until);
    uint64_t step = t->steps[0].until_ns - t->steps[0].from_ns;
    json_t *root = json_pack("{s:s, s:s, s:f, s:I, s:o}", "from", from, "until", until,
                             "step_seconds", (double)step / 1e9, "processes",
                             (json_int_t)spy_profile_n_series(t->known), "steps", list);
    return spy_answer_json(root, a, err);
}

// The bound of one step: all together may read some more than another question, as steps are not alike.
static size_t bound_rows(const struct timeline *t)
{
    enum { TIMES = 4, LEAST = 1024 };
    size_t all = t->question->rows_max ? t->question->rows_max : SPY_STORE_ROWS_MAX;
    size_t rows = all * TIMES / t->n;
    return rows > LEAST ? rows : LEAST;
}

static int answer_steps(struct timeline *t, struct spy_selector *s, struct spy_answer *a,
                        struct spy_err *err)
{
    const struct spy_question *q = t->question;
    int r = make_steps(t, a, err);
    if (r < 0)
        return r;
    t->workers = spy_min(spy_min(q->workers ? q->workers : 1, WORKERS_MAX), t->n);
    s->select.stop = s->filter.stop = s->view.stop = q->stop;
    s->select.memory = q->memory / t->workers;
    s->select.rows_max = bound_rows(t);
    run_workers(t);
    if (t->failed) {
        if (err)
            *err = t->err;
        return t->err.code;
    }
    if (!spy_profile_n_series(t->known))
        return spy_query_not_found(q->store, s, a->hint, err);
    return count_gaps(t) < 0 ? spy_err_nomem(err) : print_timeline(t, a, err);
}

static int answer_timeline(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    int r = spy_selector_parse(q->params, q->n_params, SPY_TAKES_STEP, q->now_ns, &s, a->hint, err);
    if (r < 0)
        return r;
    _cleanup_(free_timeline) struct timeline t = {
        .question = q, .selector = &s, .lock = PTHREAD_MUTEX_INITIALIZER};
    return answer_steps(&t, &s, a, err);
}

const struct spy_query spy_query_timeline = {
    .path = "/timeline",
    .kind = "timeline",
    .n_asked = &n_timelines,
    .answer = answer_timeline,
};
