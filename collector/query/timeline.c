// timeline.c - a selection step by step: samples by state, how they came to be, what was lost, and
// what the kernel counted.
#include "collector/query/timeline.h"
#include "collector/query/answer_json.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_timelines;
enum { STEPS = 60, STEPS_MAX = 1500, STEP_SECS = 10 };

static void free_timeline(struct spy_timeline *t)
{
    for (size_t i = 0; t->steps && i < t->n; i++)
        free(t->steps[i].series);
    free(t->steps);
    spy_profile_free(t->known);
}

void spy_step_count(struct spy_step_counts *c, uint32_t state, uint64_t count)
{
    uint64_t *activity = &c->activities[spy_state_activity(state)];
    *activity = spy_add_sat(*activity, count);
    c->holds = spy_add_sat(c->holds, state & SPY_STATE_GIL_HOLDS ? count : 0);
    c->waits = spy_add_sat(c->waits, state & SPY_STATE_GIL_WAITS ? count : 0);
    c->collects = spy_add_sat(c->collects, state & SPY_STATE_GC ? count : 0);
}

// A process has a gap in a step without its windows, between steps with them.
static int count_gaps(struct spy_timeline *t)
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

static int make_steps(struct spy_timeline *t, struct spy_answer *a, struct spy_err *err)
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

static json_t *describe_step(const struct spy_step *s)
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

static int print_timeline(const struct spy_timeline *t, struct spy_answer *a, struct spy_err *err)
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

size_t spy_timeline_rows(const struct spy_timeline *t)
{
    enum { TIMES = 4 };
    size_t all = t->question->rows_max ? t->question->rows_max : SPY_STORE_ROWS_MAX;
    return all < SIZE_MAX / TIMES ? all * TIMES : SIZE_MAX;
}

static bool chooses_stacks(const struct spy_filter_options *f)
{
    return f->n_include || f->n_exclude || f->n_threads;
}

static int answer_steps(struct spy_timeline *t, struct spy_selector *s, struct spy_answer *a,
                        struct spy_err *err)
{
    const struct spy_question *q = t->question;
    int r = make_steps(t, a, err);
    if (r < 0)
        return r;
    s->select.stop = s->filter.stop = s->view.stop = q->stop;
    r = chooses_stacks(&s->filter) ? spy_timeline_merge(t, err) : spy_timeline_list(t, err);
    if (r < 0)
        return r;
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
    _cleanup_(free_timeline) struct spy_timeline t = {.question = q, .selector = &s};
    return answer_steps(&t, &s, a, err);
}

const struct spy_query spy_query_timeline = {
    .path = "/timeline",
    .kind = "timeline",
    .n_asked = &n_timelines,
    .answer = answer_timeline,
};
