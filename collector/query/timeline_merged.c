// timeline_merged.c - the steps of a timeline whose question chooses samples by their stack or thread:
// each step is a question of all its samples.
//
// The store selects windows that overlap a time, so a step is what overlaps it without what overlaps
// the instant of its beginning. Several threads take steps.
#include "collector/query/timeline.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include <pthread.h>
#include <stdlib.h>

enum { WORKERS_MAX = 4 };

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

struct merging {
    struct spy_timeline *t;
    struct spy_select select;
    size_t workers;
    pthread_mutex_t lock; // of what follows and of t->known
    size_t next;
    bool failed;
    struct spy_err err; // the first failure
};

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

static void add_counts(struct spy_step_counts *c, const struct spy_profile *p,
                       const struct spy_view *view)
{
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (spy_view_has(view, s))
            spy_step_count(c, s->state, s->count);
    }
}

static void subtract_counts(struct spy_step_counts *from, const struct spy_step_counts *what)
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

static int query_step(const struct merging *m, uint64_t from_ns, uint64_t until_ns,
                      struct spy_profile *p, struct spy_step_counts *counts, struct spy_err *err)
{
    const struct spy_selector *s = m->t->selector;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    struct spy_select select = m->select;
    struct spy_view view = s->view;
    select.from_ns = from_ns;
    select.until_ns = until_ns;
    int r = spy_store_query(m->t->question->store, &select, p, err);
    if (r == 0)
        r = spy_filter_new(&s->filter, p, &filter, err);
    view.filter = filter;
    view.idle = true; // states are what is asked for
    if (r == 0)
        add_counts(counts, p, &view);
    return r;
}

// Takes away what began before the step.
static int subtract_earlier(const struct merging *m, struct spy_step *step, struct spy_profile *p,
                            struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *before = spy_profile_new();
    struct spy_step_counts counts = {0};
    int r = before ? query_step(m, step->from_ns, step->from_ns, before, &counts, err)
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

static int note_series(struct merging *m, struct spy_step *step, const struct spy_profile *p)
{
    uint32_t n = spy_profile_n_series(p);
    int r = 0;
    step->series = calloc(n + 1u, sizeof *step->series);
    if (!step->series)
        return SPY_ERR_NOMEM;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_step_series(m->t->known, p, i, &step->series[i]);
    pthread_mutex_unlock(&m->lock);
    step->n_series = n;
    return r;
}

static int take_step(struct merging *m, struct spy_step *step, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    int r = p ? query_step(m, step->from_ns, step->until_ns, p, &step->counts, err)
              : spy_err_nomem(err);
    if (r == 0 && (r = note_series(m, step, p)) < 0)
        return spy_err_set(err, r, 0, "out of memory");
    if (r == 0 && step != m->t->steps)
        r = subtract_earlier(m, step, p, err);
    for (uint32_t i = 0; r == 0 && i < spy_profile_n_series(p); i++)
        spy_quality_add(&step->quality, &spy_profile_series_get(p, i)->quality);
    if (r == 0 && spy_profile_account(p, &step->account) < 0)
        r = spy_err_nomem(err);
    return r;
}

static struct spy_step *take_next(struct merging *m)
{
    pthread_mutex_lock(&m->lock);
    struct spy_step *step = !m->failed && m->next < m->t->n ? &m->t->steps[m->next++] : NULL;
    pthread_mutex_unlock(&m->lock);
    return step;
}

static void *work_on_steps(void *arg)
{
    struct merging *m = arg;
    struct spy_err err = {0};
    for (struct spy_step *step; (step = take_next(m));)
        if (take_step(m, step, &err) < 0) {
            pthread_mutex_lock(&m->lock);
            if (!m->failed)
                m->err = err;
            m->failed = true;
            pthread_mutex_unlock(&m->lock);
        }
    return NULL;
}

static void run_workers(struct merging *m)
{
    pthread_t threads[WORKERS_MAX];
    size_t n = 0;
    while (n + 1 < m->workers && spy_thread_start(&threads[n], work_on_steps, m) == 0)
        n++;
    work_on_steps(m);
    while (n)
        pthread_join(threads[--n], NULL);
}

// The bound of one step: all together may read some more than another question, as steps are not
// alike.
static size_t bound_rows(const struct spy_timeline *t)
{
    enum { LEAST = 1024 };
    size_t rows = spy_timeline_rows(t) / t->n;
    return rows > LEAST ? rows : LEAST;
}

int spy_timeline_merge(struct spy_timeline *t, struct spy_err *err)
{
    const struct spy_question *q = t->question;
    struct merging m = {.t = t, .select = t->selector->select, .lock = PTHREAD_MUTEX_INITIALIZER};
    m.workers = spy_min(spy_min(q->workers ? q->workers : 1, WORKERS_MAX), t->n);
    m.select.memory = q->memory / m.workers;
    m.select.rows_max = bound_rows(t);
    run_workers(&m);
    pthread_mutex_destroy(&m.lock);
    if (m.failed && err)
        *err = m.err;
    return m.failed ? m.err.code : 0;
}
