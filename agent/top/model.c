#include "agent/top/model.h"
#include "agent/top/table.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 2000, TEXT_MAX = 4 << 20 };
#define FILTER_NS (200 * SPY_NS_PER_MS) // the most time that one read spends on a filter

struct frame_places {
    uint32_t line, function; // indices into the tables; SPY_MAP_NONE: not looked up yet
};

struct spy_top {
    struct spy_top_options options;
    pthread_mutex_t lock; // of all below
    struct spy_top_table lines, functions;
    struct spy_top_summary summary;
    struct spy_top_facts base; // the totals at the reset
    uint64_t wall_ns;          // of the latest window
    const struct spy_top_place **order;
    size_t cap_order;
};

int spy_top_new(const struct spy_top_options *options, struct spy_top **ret, struct spy_err *err)
{
    struct spy_top *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_nomem(err);
    t->options = *options;
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

void spy_top_free(struct spy_top *t)
{
    if (!t)
        return;
    spy_top_table_free(&t->lines);
    spy_top_table_free(&t->functions);
    pthread_mutex_destroy(&t->lock);
    free(t->order);
    free(t);
}

bool spy_top_claim(struct spy_top *t)
{
    return pthread_mutex_trylock(&t->lock) == 0;
}

void spy_top_reset(struct spy_top *t)
{
    pthread_mutex_lock(&t->lock);
    spy_top_table_free(&t->lines);
    spy_top_table_free(&t->functions);
    struct spy_top_facts *now = &t->summary.facts;
    t->base.samples += now->samples;
    t->base.failed += now->failed;
    t->base.late += now->late;
    now->samples = now->failed = now->late = 0;
    pthread_mutex_unlock(&t->lock);
}

// --- a window ---

// What a window says of one thread.
struct thread_times {
    uint64_t waits_ns;
    bool seen;
};

static void find_frame_places(struct spy_top *t, const struct spy_profile *p, uint32_t frame,
                              struct frame_places *ret)
{
    const struct spy_frame *f = spy_profile_frame_at(p, frame);
    const struct spy_function *fn = spy_profile_function_at(p, f->function);
    const char *name = spy_profile_text(p, fn->name), *file = spy_profile_text(p, fn->filename);
    ret->line = spy_top_table_find(&t->lines, name, file, f->line);
    ret->function = spy_top_table_find(&t->functions, name, file, 0);
}

static void fold_stack(struct spy_top *t, const struct spy_profile *p, const struct spy_sample *s,
                       struct frame_places *places)
{
    t->lines.sample++;
    t->functions.sample++;
    for (uint32_t stack = s->stack; stack; stack = spy_profile_stack_at(p, stack)->parent) {
        uint32_t frame = spy_profile_stack_at(p, stack)->frame;
        if (places[frame].line == SPY_MAP_NONE)
            find_frame_places(t, p, frame, &places[frame]);
        spy_top_table_count(&t->lines, places[frame].line, s->ns, stack == s->stack);
        spy_top_table_count(&t->functions, places[frame].function, s->ns, stack == s->stack);
    }
}

static double percent_of(uint64_t ns, uint64_t wall_ns)
{
    return wall_ns ? 100.0 * (double)ns / (double)wall_ns : 0;
}

// Keeps the longest waits, in their order.
static void insert_waiter(struct spy_top_summary *s, const char *name, double percent)
{
    uint32_t kept = s->n_waiters < SPY_TOP_WAITERS_MAX ? s->n_waiters : SPY_TOP_WAITERS_MAX, i = 0;
    s->n_waiters++;
    while (i < kept && s->waiters[i].percent >= percent)
        i++;
    if (i == SPY_TOP_WAITERS_MAX)
        return;
    if (kept == SPY_TOP_WAITERS_MAX)
        kept--;
    memmove(&s->waiters[i + 1], &s->waiters[i], (kept - i) * sizeof s->waiters[0]);
    snprintf(s->waiters[i].name, sizeof s->waiters[i].name, "%s", name);
    s->waiters[i].percent = percent;
}

static void sum_threads(struct spy_top *t, const struct spy_profile *p,
                        const struct thread_times *threads)
{
    struct spy_top_summary *s = &t->summary;
    s->threads = s->n_waiters = 0;
    for (uint32_t i = 0; i < spy_profile_n_threads(p); i++) {
        const char *name = spy_profile_text(p, spy_profile_thread_at(p, i)->name);
        s->threads += threads[i].seen;
        if (threads[i].waits_ns)
            insert_waiter(s, *name ? name : "(no name)",
                          percent_of(threads[i].waits_ns, t->wall_ns));
    }
    s->processes = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++)
        s->processes += spy_profile_series_get(p, i)->period_ns != 0;
}

static void fold_samples(struct spy_top *t, const struct spy_profile *p,
                         struct frame_places *places, struct thread_times *threads)
{
    const struct spy_view view = {.idle = t->options.idle, .gil = t->options.gil};
    uint64_t gil_ns = 0, active_ns = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        struct thread_times *th = &threads[s->thread];
        th->seen = true;
        th->waits_ns += s->state & SPY_STATE_GIL_WAITS ? s->ns : 0;
        gil_ns += s->state & SPY_STATE_GIL_HOLDS ? s->ns : 0;
        active_ns += s->state & SPY_STATE_RUNNING ? s->ns : 0;
        if (spy_view_has(&view, s))
            fold_stack(t, p, s, places);
    }
    t->summary.gil = percent_of(gil_ns, t->wall_ns);
    t->summary.active = percent_of(active_ns, t->wall_ns);
    sum_threads(t, p, threads);
}

static void note_facts(struct spy_top *t, const struct spy_top_facts *facts)
{
    struct spy_top_summary *s = &t->summary;
    uint64_t samples = s->facts.samples, late = s->facts.late;
    s->facts = *facts;
    s->facts.samples -= t->base.samples;
    s->facts.failed -= t->base.failed;
    s->facts.late -= t->base.late;
    s->late_now = s->facts.late - late;
    s->samples_per_sec = t->wall_ns ? (double)(s->facts.samples - samples) *
                                          (double)SPY_NS_PER_SEC / (double)t->wall_ns
                                    : 0;
    s->begun = true;
}

static int fold_window(struct spy_top *t, const struct spy_profile *p)
{
    size_t n_frames = spy_profile_n_frames(p);
    _cleanup_free_ struct frame_places *places = malloc((n_frames + 1) * sizeof *places);
    _cleanup_free_ struct thread_times *threads =
        calloc(spy_profile_n_threads(p) + 1, sizeof *threads);
    if (!places || !threads || spy_top_table_begin(&t->lines) < 0 ||
        spy_top_table_begin(&t->functions) < 0)
        return SPY_ERR_NOMEM;
    memset(places, 0xff, n_frames * sizeof *places);
    fold_samples(t, p, places, threads);
    return 0;
}

static uint64_t longest_series(const struct spy_profile *p)
{
    uint64_t longest = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        uint64_t ns = spy_profile_series_get(p, i)->duration_ns;
        longest = ns > longest ? ns : longest;
    }
    return longest;
}

int spy_top_fold(struct spy_top *t, const struct spy_profile *p, const struct spy_top_facts *facts,
                 uint64_t wall_ns)
{
    uint64_t longest = longest_series(p);
    t->wall_ns = longest > wall_ns ? longest : wall_ns;
    int r = fold_window(t, p);
    note_facts(t, facts);
    pthread_mutex_unlock(&t->lock);
    return r;
}

// --- a picture ---

struct sorting {
    enum spy_top_column column;
    uint64_t window; // the latest
};

static uint64_t key_of_place(const struct spy_top_place *p, enum spy_top_column column,
                             uint64_t window)
{
    bool now = p->window == window;
    switch (column) {
    case SPY_TOP_OWN_PERCENT:
        return now ? p->own_now : 0;
    case SPY_TOP_TOTAL_PERCENT:
        return now ? p->total_now : 0;
    case SPY_TOP_OWN_TIME:
        return p->own_all;
    default:
        return p->total_all;
    }
}

static int compare_places(const void *a, const void *b, void *arg)
{
    const struct spy_top_place *x = *(const struct spy_top_place *const *)a,
                               *y = *(const struct spy_top_place *const *)b;
    const struct sorting *s = arg;
    const enum spy_top_column columns[] = {s->column, SPY_TOP_OWN_TIME, SPY_TOP_TOTAL_TIME};
    for (size_t i = 0; i < SPY_COUNT(columns); i++) {
        uint64_t kx = key_of_place(x, columns[i], s->window),
                 ky = key_of_place(y, columns[i], s->window);
        if (kx != ky)
            return kx < ky ? 1 : -1;
    }
    int r = strcmp(x->name, y->name);
    r = r ? r : strcmp(x->file, y->file);
    return r ? r : (x->line > y->line) - (x->line < y->line);
}

static bool matches_filter(struct spy_regex *filter, const struct spy_top_place *p,
                           uint64_t give_up_ns, struct spy_top_picture *ret)
{
    char text[1536];
    if (!filter)
        return true;
    int n = snprintf(text, sizeof text, "%s %s", p->name, p->file);
    int r = spy_clock_mono_ns() < give_up_ns ? spy_regex_search(filter, text, (size_t)n)
                                             : SPY_ERR_LIMIT;
    ret->too_costly = ret->too_costly || r < 0;
    return r == 1;
}

// Fills t->order with the rows that there are, sorted.
static int sort_shown_places(struct spy_top *t, const struct spy_top_choice *c,
                             struct spy_top_picture *ret)
{
    const struct spy_top_table *table = c->functions ? &t->functions : &t->lines;
    struct sorting sorting = {c->sort, table->window};
    uint64_t give_up = spy_clock_mono_ns() + FILTER_NS;
    int r = spy_grow(&t->order, &t->cap_order, table->n, sizeof *t->order, SPY_TOP_PLACES_MAX);
    if (r < 0)
        return r;
    for (size_t i = 0; i < table->n; i++) {
        const struct spy_top_place *p = &table->places[i];
        if (!p->total_all)
            continue;
        ret->n_all++;
        if (matches_filter(c->filter, p, give_up, ret))
            t->order[ret->n_matching++] = p;
    }
    if (ret->n_matching)
        qsort_r(t->order, ret->n_matching, sizeof *t->order, compare_places, &sorting);
    return 0;
}

static const char *shorten_place(const struct spy_top *t, const char *file)
{
    const struct spy_top_options *o = &t->options;
    if (o->full_filenames)
        return file;
    const char *known = o->shorten ? o->shorten(o->shorten_context, file) : NULL;
    return known ? known : spy_short_filename(file);
}

// name and file get their addresses once the text no longer moves.
static int copy_place(const struct spy_top *t, const struct spy_top_place *p, uint64_t window,
                      struct spy_top_picture *ret)
{
    int r = spy_grow(&ret->rows, &ret->cap, ret->n + 1, sizeof *ret->rows, ROWS_MAX);
    const char *file = shorten_place(t, p->file);
    if (r < 0 || spy_buf_append(&ret->text, p->name, strlen(p->name) + 1) < 0 ||
        spy_buf_append(&ret->text, file, strlen(file) + 1) < 0)
        return SPY_ERR_NOMEM;
    struct spy_top_row *row = &ret->rows[ret->n++];
    *row = (struct spy_top_row){.line = p->line};
    for (int i = 0; i < 2; i++) {
        row->percents[i] =
            percent_of(key_of_place(p, SPY_TOP_OWN_PERCENT + (unsigned)i, window), t->wall_ns);
        row->secs[i] = (double)key_of_place(p, SPY_TOP_OWN_TIME + (unsigned)i, window) /
                       (double)SPY_NS_PER_SEC;
    }
    return 0;
}

static void set_row_texts(struct spy_top_picture *p)
{
    const char *at = spy_buf_str(&p->text);
    for (size_t i = 0; i < p->n; i++) {
        p->rows[i].name = at;
        at += strlen(at) + 1;
        p->rows[i].file = at;
        at += strlen(at) + 1;
    }
}

static int take_picture(struct spy_top *t, const struct spy_top_choice *c,
                        struct spy_top_picture *ret)
{
    uint64_t window = c->functions ? t->functions.window : t->lines.window;
    ret->summary = t->summary;
    int r = sort_shown_places(t, c, ret);
    for (size_t i = c->first; i < ret->n_matching && r == 0; i++) {
        if (ret->n == c->max || ret->n == ROWS_MAX)
            break;
        r = copy_place(t, t->order[i], window, ret);
    }
    return r;
}

int spy_top_read(struct spy_top *t, const struct spy_top_choice *c, struct spy_top_picture *ret)
{
    ret->text.max = TEXT_MAX;
    spy_buf_reset(&ret->text);
    ret->n = ret->n_matching = ret->n_all = 0;
    ret->too_costly = false;
    pthread_mutex_lock(&t->lock);
    int r = take_picture(t, c, ret);
    pthread_mutex_unlock(&t->lock);
    set_row_texts(ret);
    return r;
}

void spy_top_picture_free(struct spy_top_picture *p)
{
    free(p->rows);
    spy_buf_free(&p->text);
}
