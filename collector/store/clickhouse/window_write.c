#include "collector/store/clickhouse/window.h"
#include "shared/base/mem.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

enum { SUM = 32, LABELS_BYTES = 64 << 10, NAME_BYTES = 1 << 20 };

struct spy_click_ids {
    uint8_t series[SPY_ID];
    uint8_t (*frames)[SPY_ID];
    uint8_t (*stacks)[SPY_ID];
};

static int sum_bytes(const void *data, size_t len, uint8_t ret[SPY_ID], struct spy_err *err)
{
    uint8_t sum[SUM];
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, sum) < 0)
        return spy_err_set(err, SPY_ERR_IO, 0, "GnuTLS computes no SHA-256 sums");
    memcpy(ret, sum, SPY_ID);
    return 0;
}

void spy_click_ids_of_day(const uint8_t id[SPY_ID], uint32_t day, uint8_t ret[SPY_ID])
{
    memcpy(ret, id, SPY_ID);
    for (size_t i = 0; i < sizeof day; i++)
        ret[SPY_ID - 1 - i] ^= (uint8_t)(day >> (8 * i));
}

static void put_string(struct spy_buf *out, const struct spy_profile *p, uint32_t string)
{
    spy_rowbin_put_text(out, spy_profile_text(p, string), spy_profile_text_len(p, string));
}

// The columns of a frame are also what its id is the sum of.
static void write_frame_row(struct spy_buf *out, const struct spy_profile *p, uint32_t frame)
{
    const struct spy_frame *f = spy_profile_frame_at(p, frame);
    const struct spy_function *function = spy_profile_function_at(p, f->function);
    put_string(out, p, function->name);
    put_string(out, p, function->filename);
    spy_rowbin_put(out, function->start_line, 4);
    spy_rowbin_put(out, function->kind, 1);
    spy_rowbin_put(out, f->line, 4);
}

// So with the labels of a series.
static void put_series_labels(struct spy_buf *out, const struct spy_profile *p)
{
    const struct spy_series *s = spy_profile_series_get(p, 0);
    spy_rowbin_put_length(out, s->n_labels);
    for (uint32_t i = 0; i < s->n_labels; i++)
        put_string(out, p, spy_profile_label_at(p, s->first_label + i)->key);
    spy_rowbin_put_length(out, s->n_labels);
    for (uint32_t i = 0; i < s->n_labels; i++)
        put_string(out, p, spy_profile_label_at(p, s->first_label + i)->value);
}

static int sum_text(struct spy_buf *text, const char *what, uint8_t ret[SPY_ID],
                    struct spy_err *err)
{
    if (text->failed)
        return spy_err_set(err, text->failed == SPY_ERR_LIMIT ? SPY_ERR_INVALID : text->failed, 0,
                           "%s of a profile take more than %zu KiB", what, text->max >> 10);
    return sum_bytes(text->data, text->len, ret, err);
}

static int sum_names(const struct spy_profile *p, struct spy_click_ids *ids, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf labels = SPY_BUF_INIT(LABELS_BYTES);
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(NAME_BYTES);
    spy_buf_putc(&labels, 'l');
    put_series_labels(&labels, p);
    int r = sum_text(&labels, "the labels", ids->series, err);
    for (uint32_t i = 0; i < spy_profile_n_frames(p) && r == 0; i++) {
        spy_buf_reset(&text);
        spy_buf_putc(&text, 'f');
        write_frame_row(&text, p, i);
        r = sum_text(&text, "the names of a frame", ids->frames[i], err);
    }
    return r;
}

// A parent has a smaller id, so its sum is there. That of the root is zero.
static int sum_stacks(const struct spy_profile *p, struct spy_click_ids *ids, struct spy_err *err)
{
    int r = 0;
    for (uint32_t i = 1; i < spy_profile_n_stacks(p) && r == 0; i++) {
        const struct spy_stack *s = spy_profile_stack_at(p, i);
        uint8_t both[2 * SPY_ID];
        memcpy(both, ids->stacks[s->parent], SPY_ID);
        memcpy(both + SPY_ID, ids->frames[s->frame], SPY_ID);
        r = sum_bytes(both, sizeof both, ids->stacks[i], err);
    }
    return r;
}

int spy_click_ids_new(const struct spy_profile *p, struct spy_click_ids **ret, struct spy_err *err)
{
    struct spy_click_ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        return spy_err_nomem(err);
    ids->frames = calloc((size_t)spy_profile_n_frames(p) + 1, SPY_ID);
    ids->stacks = calloc((size_t)spy_profile_n_stacks(p) + 1, SPY_ID);
    int r = ids->frames && ids->stacks ? sum_names(p, ids, err) : spy_err_nomem(err);
    if (r == 0)
        r = sum_stacks(p, ids, err);
    if (r < 0)
        spy_click_ids_free(ids);
    else
        *ret = ids;
    return r;
}

void spy_click_ids_free(struct spy_click_ids *ids)
{
    if (!ids)
        return;
    free(ids->frames);
    free(ids->stacks);
    free(ids);
}

const uint8_t *spy_click_ids_series(const struct spy_click_ids *ids)
{
    return ids->series;
}

// --- rows ---

struct writing {
    const struct spy_profile *p;
    const struct spy_click_ids *ids;
    struct spy_idset *written;
    struct spy_click_rows *rows;
    uint32_t day;
    uint32_t *stacks, *threads; // by id: the number in the window's array, from 1; 0: not there
    uint32_t n_stacks, n_threads;
    struct spy_buf stack_ids, tids, names;
};

static int begin_row(struct writing *w, int table, const uint8_t id[SPY_ID], bool *ret_is_new)
{
    uint8_t of_day[SPY_ID];
    uint32_t at;
    spy_click_ids_of_day(id, w->day, of_day);
    int r = spy_idset_add(w->written, of_day, &at, ret_is_new);
    if (r == 0 && *ret_is_new) {
        spy_rowbin_put(&w->rows->of[table], w->day, 2);
        spy_buf_append(&w->rows->of[table], id, SPY_ID);
    }
    return r;
}

static int put_frame_row(struct writing *w, uint32_t frame)
{
    bool is_new;
    int r = begin_row(w, SPY_CLICK_FRAMES, w->ids->frames[frame], &is_new);
    if (r == 0 && is_new)
        write_frame_row(&w->rows->of[SPY_CLICK_FRAMES], w->p, frame);
    return r;
}

// Frames root first, while the links lead from the leaf to the root.
static int put_stack_row(struct writing *w, uint32_t stack)
{
    struct spy_buf *out = &w->rows->of[SPY_CLICK_STACKS];
    size_t depth = 0;
    bool is_new;
    int r = begin_row(w, SPY_CLICK_STACKS, w->ids->stacks[stack], &is_new);
    if (r < 0 || !is_new)
        return r;
    for (uint32_t at = stack; at; at = spy_profile_stack_at(w->p, at)->parent)
        depth++;
    if (depth > SPY_ROWBIN_MAX / SPY_ID)
        return SPY_ERR_LIMIT;
    spy_rowbin_put_length(out, depth);
    uint8_t *frames = spy_buf_reserve(out, depth * SPY_ID);
    if (!frames)
        return out->failed ? out->failed : SPY_ERR_NOMEM;
    size_t left = depth;
    for (uint32_t at = stack; at && r == 0; at = spy_profile_stack_at(w->p, at)->parent) {
        uint32_t frame = spy_profile_stack_at(w->p, at)->frame;
        memcpy(frames + --left * SPY_ID, w->ids->frames[frame], SPY_ID);
        r = put_frame_row(w, frame);
    }
    spy_buf_commit(out, depth * SPY_ID);
    return r;
}

static int note_sample(struct writing *w, const struct spy_sample *s)
{
    int r = 0;
    if (s->stack && !w->stacks[s->stack]) {
        w->stacks[s->stack] = ++w->n_stacks;
        spy_buf_append(&w->stack_ids, w->ids->stacks[s->stack], SPY_ID);
        r = put_stack_row(w, s->stack);
    }
    if (s->thread && !w->threads[s->thread]) {
        const struct spy_thread *t = spy_profile_thread_at(w->p, s->thread);
        w->threads[s->thread] = ++w->n_threads;
        spy_rowbin_put(&w->tids, t->tid, 8);
        put_string(&w->names, w->p, t->name);
    }
    return r;
}

static int put_series_row(struct writing *w)
{
    bool is_new;
    int r = begin_row(w, SPY_CLICK_SERIES, w->ids->series, &is_new);
    if (r == 0 && is_new)
        put_series_labels(&w->rows->of[SPY_CLICK_SERIES], w->p);
    return r;
}

void spy_click_put_head(struct spy_buf *out, const uint8_t series[SPY_ID],
                        const struct spy_series *w, uint64_t samples, uint32_t rows)
{
    uint64_t known = 0;
    for (unsigned c = 0; c < SPY_COUNTERS; c++)
        known |= (uint64_t)spy_account_knows(&w->account, c) << c;
    spy_buf_append(out, series, SPY_ID);
    spy_rowbin_put(out, spy_min(spy_add_sat(w->start_ns, w->duration_ns), SPY_CLICK_TIME_MAX), 8);
    spy_buf_append(out, w->profile_id, SPY_ID);
    spy_rowbin_put(out, spy_min(w->start_ns, SPY_CLICK_TIME_MAX), 8);
    spy_rowbin_put(out, w->period_ns, 8);
#define PUT(name, ...) spy_rowbin_put(out, w->quality.name, 8);
    SPY_QUALITY(PUT)
#undef PUT
    spy_rowbin_put(out, samples, 8);
    spy_rowbin_put(out, rows, 4);
    spy_rowbin_put(out, known, 1);
    for (unsigned c = 0; c < SPY_COUNTERS; c++)
        spy_rowbin_put(out, w->account.counted[c].sum, 8);
    spy_rowbin_put(out, w->account.running_ns, 8);
    spy_rowbin_put(out, w->account.runnable_ns, 8);
}

void spy_click_put_rolled(struct spy_buf *out, const struct spy_click_rolled *r)
{
    const struct spy_account *account = &r->window->account;
    uint32_t n = r->level == SPY_CLICK_MINUTE || r->windows == 1 ? r->windows : 0;
    spy_rowbin_put(out, spy_click_bucket_day(r->level, r->bucket), 2);
    spy_rowbin_put(out, r->bucket, 4);
    spy_rowbin_put(out, r->windows, 4);
    spy_click_put_head(out, r->series, r->window, r->samples, r->rows);
    for (unsigned c = 0; c < SPY_COUNTERS; c++)
        spy_rowbin_put(out, account->counted[c].of_ns, 8);
    spy_rowbin_put(out, account->period_ns, 8);
    spy_rowbin_put_length(out, n);
    spy_buf_append(out, r->ids, (size_t)n * SPY_ID);
}

static uint64_t sum_counts(const struct spy_profile *p)
{
    uint64_t samples = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        samples = spy_add_sat(samples, spy_profile_sample_at(p, i)->count);
    return samples;
}

// Counters are counted in the whole window, as a reader of its row takes them to be.
static void put_late_head(struct writing *w, int level, struct spy_buf *out)
{
    struct spy_series s = *spy_profile_series_get(w->p, 0);
    s.start_ns = spy_min(s.start_ns, SPY_CLICK_TIME_MAX);
    uint64_t end = spy_min(spy_add_sat(s.start_ns, s.duration_ns), SPY_CLICK_TIME_MAX);
    s.duration_ns = end - s.start_ns;
    for (unsigned c = 0; c < SPY_COUNTERS; c++)
        s.account.counted[c].of_ns = spy_account_knows(&s.account, c) ? s.duration_ns : 0;
    s.account.period_ns = s.period_ns;
    spy_click_put_rolled(
        out, &(struct spy_click_rolled){.level = level,
                                        .bucket = spy_click_bucket(level, s.start_ns, end),
                                        .windows = 1,
                                        .rows = spy_profile_n_samples(w->p),
                                        .samples = sum_counts(w->p),
                                        .series = w->ids->series,
                                        .window = &s,
                                        .ids = s.profile_id});
}

static uint64_t take_column(const struct writing *w, const struct spy_sample *s, int column)
{
    uint64_t period = spy_profile_series_get(w->p, 0)->period_ns;
    switch (column) {
    case 0:
        return w->stacks[s->stack];
    case 1:
        return w->threads[s->thread];
    case 2:
        return s->state;
    case 3:
        return s->count;
    default:
        return s->ns - s->count * period;
    }
}

static void put_sample_columns(struct writing *w, struct spy_buf *out)
{
    static const size_t sizes[] = {4, 4, 1, 8, 8};
    uint32_t n = spy_profile_n_samples(w->p);
    spy_rowbin_put_length(out, w->n_threads);
    spy_buf_append(out, w->tids.data, w->tids.len);
    spy_rowbin_put_length(out, w->n_threads);
    spy_buf_append(out, w->names.data, w->names.len);
    spy_rowbin_put_length(out, w->n_stacks);
    spy_buf_append(out, w->stack_ids.data, w->stack_ids.len);
    for (int c = 0; c < (int)SPY_COUNT(sizes); c++) {
        spy_rowbin_put_length(out, n);
        for (uint32_t i = 0; i < n; i++)
            spy_rowbin_put(out, take_column(w, spy_profile_sample_at(w->p, i), c), sizes[c]);
    }
}

static int put_window_row(struct writing *w, int table, int level)
{
    struct spy_buf *out = &w->rows->of[table];
    size_t before = out->len;
    if (level) {
        put_late_head(w, level, out);
    } else {
        spy_rowbin_put(out, w->day, 2);
        spy_click_put_head(out, w->ids->series, spy_profile_series_get(w->p, 0), sum_counts(w->p),
                           spy_profile_n_samples(w->p));
    }
    put_sample_columns(w, out);
    return out->len - before > SPY_ROWBIN_MAX ? SPY_ERR_LIMIT : 0;
}

static int put_whole_window(struct writing *w, bool is_late)
{
    int r = put_series_row(w);
    for (uint32_t i = 0; i < spy_profile_n_samples(w->p) && r == 0; i++)
        r = note_sample(w, spy_profile_sample_at(w->p, i));
    if (r < 0)
        return r;
    if (is_late) {
        r = put_window_row(w, SPY_CLICK_HOURS, SPY_CLICK_HOUR);
        if (r == 0)
            r = put_window_row(w, SPY_CLICK_MINUTES, SPY_CLICK_MINUTE);
    } else {
        r = put_window_row(w, SPY_CLICK_WINDOWS, SPY_CLICK_WINDOW);
    }
    for (int t = 0; t < SPY_CLICK_TABLES && r == 0; t++)
        r = w->rows->of[t].failed;
    r = r < 0 ? r : w->tids.failed;
    r = r < 0 ? r : w->names.failed;
    return r < 0 ? r : w->stack_ids.failed;
}

int spy_click_put_window(const struct spy_profile *p, const struct spy_click_ids *ids,
                         struct spy_idset *written, bool is_late, struct spy_click_rows *rows,
                         struct spy_err *err)
{
    const struct spy_series *s = spy_profile_series_get(p, 0);
    uint64_t end = spy_min(spy_add_sat(s->start_ns, s->duration_ns), SPY_CLICK_TIME_MAX);
    _cleanup_free_ uint32_t *stacks = calloc((size_t)spy_profile_n_stacks(p) + 1, sizeof *stacks);
    _cleanup_free_ uint32_t *threads =
        calloc((size_t)spy_profile_n_threads(p) + 1, sizeof *threads);
    struct writing w = {.p = p,
                        .ids = ids,
                        .written = written,
                        .rows = rows,
                        .day = spy_click_window_day(spy_min(s->start_ns, end), end),
                        .stacks = stacks,
                        .threads = threads,
                        .stack_ids = SPY_BUF_INIT(SPY_ROWBIN_MAX),
                        .tids = SPY_BUF_INIT(SPY_ROWBIN_MAX),
                        .names = SPY_BUF_INIT(SPY_ROWBIN_MAX)};
    int r = stacks && threads ? put_whole_window(&w, is_late) : SPY_ERR_NOMEM;
    spy_buf_free(&w.stack_ids);
    spy_buf_free(&w.tids);
    spy_buf_free(&w.names);
    if (r == SPY_ERR_LIMIT)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "a window is too large to be stored: it or its stacks take more than "
                           "%d MiB",
                           SPY_ROWBIN_MAX >> 20);
    return r < 0 ? spy_err_nomem(err) : 0;
}
