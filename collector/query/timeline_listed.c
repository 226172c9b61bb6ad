// timeline_listed.c - the steps of a timeline from one list of the windows, without their stacks.
#include "collector/query/timeline.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { CELLS_MAX = 1 << 28 };

// One process in one step.
struct cell {
    uint32_t step, series;
    struct spy_series begun; // the windows that begin here, united; labels are not used
};

struct laying {
    struct spy_timeline *t;
    struct spy_view view;
    struct cell *cells;
    size_t n, cap;
    struct spy_map by_place;
};

static void laying_done(struct laying *l)
{
    free(l->cells);
    spy_map_free(&l->by_place);
}

static int find_cell(struct laying *l, uint32_t step, uint32_t series, struct cell **ret)
{
    uint64_t hash = spy_hash_mix(step, series);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&l->by_place, hash, &at)) != SPY_MAP_NONE;)
        if (l->cells[i].step == step && l->cells[i].series == series) {
            *ret = &l->cells[i];
            return 0;
        }
    int r = spy_grow(&l->cells, &l->cap, l->n + 1, sizeof *l->cells, CELLS_MAX);
    if (r == 0)
        r = spy_map_add(&l->by_place, hash, (uint32_t)l->n);
    if (r < 0)
        return r;
    *ret = &l->cells[l->n];
    l->cells[l->n++] = (struct cell){.step = step, .series = series};
    return 0;
}

static int hold_cells(const struct laying *l, struct spy_err *err)
{
    size_t memory = l->cap * sizeof *l->cells + spy_map_memory(&l->by_place);
    return memory <= l->t->question->memory / 2
               ? 0
               : spy_err_set(
                     err, SPY_ERR_LIMIT, 0,
                     "too many processes and steps: narrow the selection, or ask for longer "
                     "steps");
}

static uint32_t find_step(const struct spy_timeline *t, uint64_t ns)
{
    uint64_t step = t->steps[0].until_ns - t->steps[0].from_ns;
    if (ns <= t->steps[0].from_ns)
        return 0;
    return (uint32_t)spy_min((ns - t->steps[0].from_ns) / step, t->n - 1);
}

static void count_window(struct laying *l, struct spy_step_counts *c,
                         const struct spy_store_window *w)
{
    for (uint32_t state = 0; state <= SPY_STATE_ALL; state++) {
        const struct spy_sample s = {.state = state, .count = w->sums[state].count};
        if (s.count && spy_view_has(&l->view, &s))
            spy_step_count(c, state, s.count);
    }
}

static int lay_window(void *arg, const struct spy_store_window *w, struct spy_err *err)
{
    struct laying *l = arg;
    uint64_t start = w->window->start_ns, length = w->window->duration_ns;
    uint32_t first = find_step(l->t, start);
    uint32_t last = find_step(l->t, spy_add_sat(start, length ? length - 1 : 0));
    struct cell *cell = NULL;
    int r = 0;
    for (uint32_t step = last + 1; step-- > first && r == 0;)
        r = find_cell(l, step, w->series, &cell);
    if (r < 0)
        return spy_err_nomem(err);
    spy_series_unite(&cell->begun, w->window);
    count_window(l, &l->t->steps[first].counts, w);
    return hold_cells(l, err);
}

static int compare_cells(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    return x->series < y->series ? -1 : x->series > y->series;
}

// Sums up n cells of one step.
static int fill_step(struct spy_timeline *t, struct spy_step *step, const struct cell *cells,
                     size_t n)
{
    step->series = calloc(n + 1, sizeof *step->series);
    if (!step->series)
        return SPY_ERR_NOMEM;
    spy_profile_reset_window(t->known);
    for (size_t i = 0; i < n; i++) {
        step->series[step->n_series++] = cells[i].series;
        spy_series_unite(spy_profile_series_at(t->known, cells[i].series), &cells[i].begun);
        spy_quality_add(&step->quality, &cells[i].begun.quality);
    }
    return spy_profile_account(t->known, &step->account);
}

static int fill_steps(struct laying *l)
{
    size_t at = 0;
    int r = 0;
    if (l->n)
        qsort(l->cells, l->n, sizeof *l->cells, compare_cells);
    for (size_t i = 0; i < l->t->n && r == 0; i++) {
        size_t first = at;
        while (at < l->n && l->cells[at].step == i)
            at++;
        r = fill_step(l->t, &l->t->steps[i], l->cells + first, at - first);
    }
    return r;
}

int spy_timeline_list(struct spy_timeline *t, struct spy_err *err)
{
    _cleanup_(laying_done) struct laying l = {.t = t, .view = t->selector->view};
    struct spy_select select = t->selector->select;
    uint64_t step = t->steps[0].until_ns - t->steps[0].from_ns;
    select.memory = t->question->memory / 2;
    select.rows_max = spy_timeline_rows(t);
    l.view.idle = true; // states are what is asked for
    int r = spy_store_windows(t->question->store, &select, step, t->known, lay_window, &l, err);
    return r == 0 && fill_steps(&l) < 0 ? spy_err_nomem(err) : r;
}
