// series.c - SelectSeries: what a selection weighs in each step of time, by labels.
//
// A step is (t - step, t] for each multiple t of the step in the range, so the same question a minute
// later has the same steps. A window that steps share counts in each by its part of the window.
#include "collector/grafana/message.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_series;

enum {
    STEP_MIN_SECS = 15,
    STEPS_MAX = 11000, // as Prometheus
    GROUP_BY_MAX = 8,
    GROUPS_MAX = 20000,
    LIMIT_MAX = 5000,
    MESSAGE_SHARE = 4, // a fourth of the memory for groups, the rest for reading
};

struct group {
    const char **values; // of the labels, borrowed from the arena
    double *points;      // by step
    bool *known;         // by step: a window lies in it
    double total;
};

struct collecting {
    const struct spy_querier_call *c;
    struct spy_selection *s;
    const Spy__Querier__SelectSeriesRequest *asked;
    struct spy_arena *arena;
    struct spy_err *err;
    uint64_t first_ns, step_ns; // the first step begins at first_ns
    size_t n_steps;
    struct group *groups;
    size_t n, cap;
    struct spy_map by_values;
    struct spy_profile *p; // the series
    uint32_t *group_of;    // by series
    size_t group_of_cap;
};

static void collecting_done(struct collecting *k)
{
    free(k->groups);
    free(k->group_of);
    spy_profile_free(k->p);
    spy_map_free(&k->by_values);
}

static int too_many_series(struct collecting *k)
{
    return spy_err_set(k->err, SPY_ERR_LIMIT, 0,
                       "too many series and steps: narrow the selection, group by fewer labels, or "
                       "ask for longer steps");
}

// --- groups ---

static bool has_values(const struct collecting *k, const struct group *g, const char *const *values)
{
    for (size_t i = 0; i < k->asked->n_group_by; i++)
        if (strcmp(g->values[i], values[i]) != 0)
            return false;
    return true;
}

static const char *copy_text(struct collecting *k, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = spy_arena_alloc(k->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static int add_group(struct collecting *k, const char *const *values, size_t *ret)
{
    int r = k->n < GROUPS_MAX
                ? spy_grow(&k->groups, &k->cap, k->n + 1, sizeof *k->groups, GROUPS_MAX)
                : SPY_ERR_LIMIT;
    if (r < 0)
        return r == SPY_ERR_NOMEM ? spy_err_nomem(k->err) : too_many_series(k);
    struct group g = {.values =
                          spy_arena_alloc(k->arena, (k->asked->n_group_by + 1) * sizeof *g.values),
                      .points = spy_arena_alloc(k->arena, k->n_steps * sizeof *g.points),
                      .known = spy_arena_alloc(k->arena, k->n_steps)};
    if (!g.values || !g.points || !g.known)
        return too_many_series(k);
    for (size_t i = 0; i < k->asked->n_group_by; i++)
        if (!(g.values[i] = copy_text(k, values[i])))
            return too_many_series(k);
    *ret = k->n++;
    k->groups[*ret] = g;
    return 0;
}

// The group of a series.
static int find_group(struct collecting *k, const struct spy_profile *p, uint32_t series,
                      size_t *ret)
{
    struct spy_named labels[SPY_LABELS_MAX];
    const char *values[GROUP_BY_MAX];
    uint64_t hash = 0;
    size_t n = spy_series_labels(p, series, labels);
    for (size_t i = 0; i < k->asked->n_group_by; i++) {
        values[i] = spy_label_value(labels, n, k->asked->group_by[i]);
        hash = spy_hash_mix(hash, spy_hash_bytes(values[i], strlen(values[i])));
    }
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&k->by_values, hash, &at)) != SPY_MAP_NONE;)
        if (has_values(k, &k->groups[i], values)) {
            *ret = i;
            return 0;
        }
    int r = add_group(k, values, ret);
    if (r == 0 && (r = spy_map_add(&k->by_values, hash, (uint32_t)*ret)) < 0)
        spy_err_nomem(k->err);
    return r;
}

// --- reading ---

enum { NOT_MATCHED = UINT32_MAX - 1, NOT_SEEN = UINT32_MAX };

// The group of a series, or NOT_MATCHED.
static int match_group(struct collecting *k, uint32_t series, uint32_t *ret)
{
    struct spy_named labels[SPY_LABELS_MAX];
    size_t n = spy_series_labels(k->p, series, labels), group = 0;
    int r = spy_matchers_match(&k->s->matchers, labels, n, k->err);
    *ret = NOT_MATCHED;
    if (r <= 0)
        return r;
    r = find_group(k, k->p, series, &group);
    if (r == 0)
        *ret = (uint32_t)group;
    return r;
}

static int find_group_once(struct collecting *k, uint32_t series, uint32_t *ret)
{
    size_t known = k->group_of_cap;
    int r = spy_grow(&k->group_of, &k->group_of_cap, (size_t)series + 1, sizeof *k->group_of,
                     SPY_STORE_ROWS_MAX);
    if (r < 0)
        return r == SPY_ERR_NOMEM ? spy_err_nomem(k->err) : too_many_series(k);
    for (; known < k->group_of_cap; known++)
        k->group_of[known] = NOT_SEEN;
    if (k->group_of[series] == NOT_SEEN)
        r = match_group(k, series, &k->group_of[series]);
    *ret = k->group_of[series];
    return r;
}

static double weigh_window(const struct collecting *k, const struct spy_store_window *w)
{
    double weight = 0;
    for (uint32_t state = 0; state <= SPY_STATE_ALL; state++) {
        const struct spy_sample s = {
            .state = state, .count = w->sums[state].count, .ns = w->sums[state].ns};
        weight += (double)spy_type_weigh(&k->s->type, &s);
    }
    return weight;
}

// Divides a window's weight by time; what lies outside of all steps is left out.
static void share_weight(struct collecting *k, struct group *g, const struct spy_series *w,
                         double weight)
{
    uint64_t start = w->start_ns, length = w->duration_ns ? w->duration_ns : 1;
    uint64_t end = spy_add_sat(start, length), all = k->first_ns + k->n_steps * k->step_ns;
    for (uint64_t at = start > k->first_ns ? start : k->first_ns; at < end && at < all;) {
        uint64_t step = (at - k->first_ns) / k->step_ns;
        uint64_t until = spy_min(k->first_ns + (step + 1) * k->step_ns, end);
        g->points[step] += weight * ((double)(until - at) / (double)length);
        g->known[step] = true;
        at = until;
    }
}

static int collect_window(void *arg, const struct spy_store_window *w, struct spy_err *err)
{
    struct collecting *k = arg;
    uint32_t group = NOT_MATCHED;
    k->err = err;
    int r = find_group_once(k, w->series, &group);
    if (r == 0 && group != NOT_MATCHED)
        share_weight(k, &k->groups[group], w->window, weigh_window(k, w));
    return r;
}

// Windows are read without their stacks, so more of them may be read than for a flame graph.
static int collect_steps(struct collecting *k)
{
    enum { TIMES = 4 };
    struct spy_err *err = k->err;
    size_t max = k->c->rows_max ? k->c->rows_max : SPY_STORE_ROWS_MAX;
    k->s->select.from_ns = k->first_ns;
    k->s->select.until_ns = k->first_ns + k->n_steps * k->step_ns;
    k->s->select.rows_max = max < SIZE_MAX / TIMES ? max * TIMES : SIZE_MAX;
    k->p = spy_profile_new();
    if (!k->p)
        return spy_err_nomem(err);
    int r = spy_store_windows(k->c->store, &k->s->select, k->step_ns, k->p, collect_window, k, err);
    k->err = err;
    return r;
}

// --- the answer ---

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->total < y->total ? 1 : x->total > y->total ? -1 : 0;
}

static void sum_groups(struct collecting *k)
{
    for (size_t i = 0; i < k->n; i++)
        for (size_t step = 0; step < k->n_steps; step++)
            k->groups[i].total += k->groups[i].points[step];
    if (k->n)
        qsort(k->groups, k->n, sizeof *k->groups, compare_groups);
}

static Spy__Querier__Point *make_point(struct collecting *k, const struct group *g, size_t step)
{
    Spy__Querier__Point *p = spy_arena_alloc(k->arena, sizeof *p);
    if (!p)
        return NULL;
    spy__querier__point__init(p);
    p->value = g->points[step];
    p->timestamp = (int64_t)((k->first_ns + (step + 1) * k->step_ns) / SPY_NS_PER_MS);
    return p;
}

static Spy__Querier__LabelPair *make_pair(struct collecting *k, const struct group *g, size_t i)
{
    Spy__Querier__LabelPair *p = spy_arena_alloc(k->arena, sizeof *p);
    if (!p)
        return NULL;
    spy__querier__label_pair__init(p);
    p->name = k->asked->group_by[i];
    p->value = (char *)(uintptr_t)g->values[i]; // NOLINT: only read
    return p;
}

// NULL: out of memory.
static Spy__Querier__Series *make_series(struct collecting *k, const struct group *g)
{
    size_t n = k->asked->n_group_by;
    Spy__Querier__Series *s = spy_arena_alloc(k->arena, sizeof *s);
    Spy__Querier__LabelPair **labels = spy_arena_alloc(k->arena, (n + 1) * sizeof *labels);
    Spy__Querier__Point **points = spy_arena_alloc(k->arena, k->n_steps * sizeof *points);
    if (!s || !labels || !points)
        return NULL;
    spy__querier__series__init(s);
    s->labels = labels;
    s->points = points;
    for (; s->n_labels < n; s->n_labels++)
        if (!(labels[s->n_labels] = make_pair(k, g, s->n_labels)))
            return NULL;
    for (size_t step = 0; step < k->n_steps; step++)
        if (g->known[step] && !(points[s->n_points++] = make_point(k, g, step)))
            return NULL;
    return s;
}

static int write_series(struct collecting *k, struct spy_buf *out)
{
    Spy__Querier__SelectSeriesResponse answer = SPY__QUERIER__SELECT_SERIES_RESPONSE__INIT;
    int64_t limit =
        k->asked->limit > 0 && k->asked->limit < LIMIT_MAX ? k->asked->limit : LIMIT_MAX;
    sum_groups(k);
    size_t n = k->n < (size_t)limit ? k->n : (size_t)limit;
    answer.series = spy_arena_alloc(k->arena, (n + 1) * sizeof *answer.series);
    for (size_t i = 0; answer.series && i < n; i++)
        if (!(answer.series[answer.n_series++] = make_series(k, &k->groups[i])))
            return too_many_series(k);
    return answer.series ? spy_message_write(&answer.base, out, k->err) : too_many_series(k);
}

// --- the question ---

static int check_names(const Spy__Querier__SelectSeriesRequest *asked, struct spy_err *err)
{
    if (asked->n_group_by > GROUP_BY_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "group_by names more than %d labels",
                           GROUP_BY_MAX);
    for (size_t i = 0; i < asked->n_group_by; i++) {
        const char *name = asked->group_by[i];
        size_t left = strlen(name), n;
        for (n = left; n && left; left -= n, name += n)
            n = spy_utf8_len(name, left);
        if (!*asked->group_by[i] || left)
            return spy_err_set(err, SPY_ERR_INVALID, 0,
                               "group_by holds what is not a label's name");
    }
    return 0;
}

static int check_series_asked(const Spy__Querier__SelectSeriesRequest *asked, struct spy_err *err)
{
    if (asked->aggregation || asked->stack_trace_selector.len)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "a step is the sum of its samples: no average, no stack_trace_selector");
    if (!(asked->step >= STEP_MIN_SECS && asked->step <= 86400 * 366))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "step is %g seconds; it takes %d and more, as windows are about 10 "
                           "seconds long",
                           asked->step, STEP_MIN_SECS);
    return check_names(asked, err);
}

// The steps that end in the range; a range without a step's end is one step.
static int set_steps(struct collecting *k)
{
    const struct spy_select *s = &k->s->select;
    uint64_t step = (uint64_t)llround(k->asked->step * 1000) * SPY_NS_PER_MS;
    uint64_t first = (s->from_ns + step - 1) / step * step, last = s->until_ns / step * step;
    k->step_ns = step;
    k->first_ns = first >= step ? first - step : 0;
    k->n_steps = last >= k->first_ns + step ? (size_t)((last - k->first_ns) / step) : 0;
    if (!k->n_steps) {
        k->first_ns = s->from_ns;
        k->step_ns = s->until_ns - s->from_ns;
        k->n_steps = 1;
    }
    return k->n_steps <= STEPS_MAX ? 0
                                   : spy_err_set(k->err, SPY_ERR_INVALID, 0,
                                                 "the range has %zu steps; at most %d are answered",
                                                 k->n_steps, STEPS_MAX);
}

static int answer_series(const struct spy_querier_call *c, struct spy_buf *out, struct spy_err *err)
{
    _cleanup_message_ struct spy_message m = {0};
    _cleanup_(spy_selection_free) struct spy_selection s = {0};
    _cleanup_arena_ struct spy_arena arena = SPY_ARENA_INIT(c->memory / MESSAGE_SHARE);
    _cleanup_(collecting_done) struct collecting k = {.c = c, .s = &s, .arena = &arena, .err = err};
    int r = spy_message_read(c, &spy__querier__select_series_request__descriptor, &m, err);
    if (r < 0)
        return r;
    k.asked = (void *)m.m;
    r = check_series_asked(k.asked, err);
    if (r == 0)
        r = spy_selection_parse(c, k.asked->profile_type_id, k.asked->label_selector, &s, err);
    if (r == 0)
        r = spy_range_parse(k.asked->start, k.asked->end, c->now_ns, &s.select, err);
    if (r == 0)
        r = set_steps(&k);
    if (r == 0)
        r = collect_steps(&k);
    return r < 0 ? r : write_series(&k, out);
}

const struct spy_querier_method spy_querier_series = {
    .path = "/querier.v1.QuerierService/SelectSeries",
    .answer = answer_series,
    .n_asked = &n_series,
};
