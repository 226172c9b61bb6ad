#include "collector/query/activity.h"
#include "collector/query/timeline.h"
#include "shared/base/mem.h"
#include <stdlib.h>

// One series; busy: samples that ran or were ready to, by step.
struct doing {
    struct spy_step_counts counts;
    uint64_t *busy;
};

struct activity {
    const struct spy_question *question;
    const struct spy_selector *selector;
    struct spy_profile *known; // all series
    uint64_t step_ns;
    struct doing *series; // by number in known
    size_t n, cap;
};

static void free_activity(struct activity *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->series[i].busy);
    free(a->series);
    spy_profile_free(a->known);
}

static int reach_series(struct activity *a, uint32_t series, struct spy_err *err)
{
    size_t held =
        a->cap * sizeof *a->series + (series + 1u) * a->selector->steps * sizeof(uint64_t);
    if (held > a->question->memory / 2)
        return spy_err_set(
            err, SPY_ERR_LIMIT, 0,
            "too many processes and steps: narrow the selection, or leave steps out");
    if (spy_grow(&a->series, &a->cap, series + 1u, sizeof *a->series, SIZE_MAX / 2) < 0)
        return spy_err_nomem(err);
    for (; a->n <= series; a->n++) {
        a->series[a->n] =
            (struct doing){.busy = calloc(a->selector->steps, sizeof *a->series->busy)};
        if (!a->series[a->n].busy)
            return spy_err_nomem(err);
    }
    return 0;
}

static int take_busy_window(void *arg, const struct spy_store_window *w, struct spy_err *err)
{
    struct activity *a = arg;
    int r = reach_series(a, w->series, err);
    if (r < 0)
        return r;
    struct doing *d = &a->series[w->series];
    uint64_t from = a->selector->select.from_ns, start = w->window->start_ns;
    uint64_t step = start > from ? (start - from) / a->step_ns : 0;
    uint64_t *busy = &d->busy[spy_min(step, a->selector->steps - 1)];
    for (uint32_t state = 0; state <= SPY_STATE_ALL; state++) {
        uint64_t count = w->sums[state].count;
        spy_step_count(&d->counts, state, count);
        if (state & (SPY_STATE_RUNNING | SPY_STATE_RUNNABLE))
            *busy = spy_add_sat(*busy, count);
    }
    return 0;
}

// --- into the answer ---

static json_t *describe_labels(struct spy_profile *p, uint32_t series)
{
    const struct spy_series *s = spy_profile_series_at(p, series);
    json_t *o = json_object();
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        json_object_set_new(o, spy_profile_text(p, l->key),
                            json_string(spy_profile_text(p, l->value)));
    }
    return o;
}

static void add_to_member(json_t *to, const char *name, uint64_t n)
{
    uint64_t sum = spy_add_sat((uint64_t)json_integer_value(json_object_get(to, name)), n);
    json_object_set_new(to, name, json_integer((json_int_t)spy_min(sum, INT64_MAX)));
}

static json_t *reach_member(json_t *o, const char *name, json_t *(*make)(void))
{
    if (!json_object_get(o, name))
        json_object_set_new(o, name, make());
    return json_object_get(o, name);
}

// Series of one process that differ only in its problem are one process, so numbers are added.
static void add_doing(json_t *process, const struct doing *d, size_t steps)
{
    json_t *states = reach_member(process, "states", json_object);
    json_t *gil = reach_member(process, "gil", json_object);
    json_t *activity = reach_member(process, "activity", json_array);
    for (int i = 0; i < SPY_ACTIVITIES; i++)
        add_to_member(states, spy_activity_names[i], d->counts.activities[i]);
    add_to_member(gil, "holds", d->counts.holds);
    add_to_member(gil, "waits", d->counts.waits);
    add_to_member(process, "gc", d->counts.collects);
    bool is_new = !json_array_size(activity);
    for (size_t i = 0; i < steps; i++) {
        uint64_t before = is_new ? 0 : (uint64_t)json_integer_value(json_array_get(activity, i));
        uint64_t sum = spy_min(spy_add_sat(before, d->busy[i]), INT64_MAX);
        if (is_new)
            json_array_append_new(activity, json_integer((json_int_t)sum));
        else
            json_array_set_new(activity, i, json_integer((json_int_t)sum));
    }
}

int spy_activity_add(const struct spy_question *q, const struct spy_selector *s,
                     spy_activity_find_fn find, void *arg, struct spy_err *err)
{
    _cleanup_(free_activity) struct activity a = {
        .question = q, .selector = s, .known = spy_profile_new()};
    if (!a.known)
        return spy_err_nomem(err);
    struct spy_select select = s->select;
    uint64_t all = select.until_ns - select.from_ns;
    a.step_ns = all / s->steps + (all % s->steps != 0);
    select.memory = q->memory / 2;
    select.rows_max = q->rows_max;
    int r = spy_store_windows(q->store, &select, a.step_ns, a.known, take_busy_window, &a, err);
    for (uint32_t i = 0; r == 0 && i < a.n; i++) {
        json_t *labels = describe_labels(a.known, i), *process = find(arg, labels);
        if (process)
            add_doing(process, &a.series[i], s->steps);
        json_decref(labels);
    }
    return r;
}
