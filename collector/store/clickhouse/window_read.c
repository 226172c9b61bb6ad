#include "collector/store/clickhouse/window.h"
#include "shared/base/mem.h"
#include <string.h>

int spy_click_end_row(const struct spy_rowbin *r, struct spy_err *err)
{
    if (r->is_bad)
        return spy_err_set(err, SPY_ERR_IO, 0,
                           "ClickHouse holds a row that no collector wrote: an array is too long");
    return r->is_short ? SPY_ERR_TORN : 0;
}

int spy_click_read_head(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err)
{
    struct spy_series *w = &ret->window;
    *ret = (struct spy_click_window){.windows = 1};
    ret->series = spy_rowbin_bytes(r, SPY_ID);
    ret->end_ns = spy_rowbin_number(r, 8);
    ret->profile_id = spy_rowbin_bytes(r, SPY_ID);
    w->start_ns = spy_rowbin_number(r, 8);
    w->duration_ns = ret->end_ns > w->start_ns ? ret->end_ns - w->start_ns : 0;
    w->period_ns = spy_rowbin_number(r, 8);
#define READ(name, ...) w->quality.name = spy_rowbin_number(r, 8);
    SPY_QUALITY(READ)
#undef READ
    ret->samples = spy_rowbin_number(r, 8);
    ret->rows = (uint32_t)spy_rowbin_number(r, 4);
    unsigned known = (unsigned)spy_rowbin_number(r, 1);
    for (unsigned c = 0; c < SPY_COUNTERS; c++) {
        uint64_t sum = spy_rowbin_number(r, 8); // with its time, 0 where it was not counted
        if (known >> c & 1)
            w->account.counted[c] = (struct spy_counted){sum, w->duration_ns};
    }
    w->account.running_ns = spy_rowbin_number(r, 8);
    w->account.runnable_ns = spy_rowbin_number(r, 8);
    w->account.period_ns = w->period_ns;
    if (ret->profile_id)
        memcpy(w->profile_id, ret->profile_id, SPY_ID);
    return spy_click_end_row(r, err);
}

int spy_click_read_rolled(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err)
{
    uint32_t bucket = (uint32_t)spy_rowbin_number(r, 4);
    uint32_t windows = (uint32_t)spy_rowbin_number(r, 4);
    int result = spy_click_read_head(r, ret, err);
    if (result < 0)
        return result;
    struct spy_series *w = &ret->window;
    ret->bucket = bucket;
    ret->windows = windows;
    for (unsigned c = 0; c < SPY_COUNTERS; c++)
        w->account.counted[c].of_ns = spy_rowbin_number(r, 8);
    w->account.period_ns = spy_rowbin_number(r, 8);
    size_t n = spy_rowbin_length(r, SPY_ID);
    const uint8_t *ids = spy_rowbin_bytes(r, n * SPY_ID);
    if (ids && n && windows == 1)
        memcpy(w->profile_id, ids, SPY_ID);
    return spy_click_end_row(r, err);
}

int spy_click_read_threads(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err)
{
    ret->n_threads = spy_rowbin_length(r, 8);
    ret->tids = spy_rowbin_bytes(r, ret->n_threads * 8);
    size_t names = spy_rowbin_length(r, 1);
    ret->names = (struct spy_rowbin){.at = r->at, .end = r->at};
    for (size_t i = 0; i < names && !r->is_short && !r->is_bad; i++)
        spy_rowbin_bytes(r, spy_rowbin_length(r, 1));
    ret->names.end = r->at;
    r->is_bad |= !r->is_short && names != ret->n_threads;
    return spy_click_end_row(r, err);
}

static const uint8_t *read_array(struct spy_rowbin *r, size_t size, size_t *ret_n)
{
    *ret_n = spy_rowbin_length(r, size);
    return spy_rowbin_bytes(r, *ret_n * size);
}

// All arrays of samples have one length.
static const uint8_t *read_column(struct spy_rowbin *r, size_t size, size_t expected)
{
    size_t n;
    const uint8_t *at = read_array(r, size, &n);
    r->is_bad |= !r->is_short && n != expected;
    return at;
}

int spy_click_read_rows(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err)
{
    ret->stacks = read_array(r, SPY_ID, &ret->n_stacks);
    ret->stack = read_array(r, 4, &ret->n_rows);
    ret->thread = read_column(r, 4, ret->n_rows);
    ret->state = read_column(r, 1, ret->n_rows);
    ret->count = read_column(r, 8, ret->n_rows);
    ret->extra = read_column(r, 8, ret->n_rows);
    return spy_click_end_row(r, err);
}

int spy_click_read_states(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err)
{
    ret->state = read_array(r, 1, &ret->n_rows);
    ret->count = read_column(r, 8, ret->n_rows);
    ret->extra = read_column(r, 8, ret->n_rows);
    return spy_click_end_row(r, err);
}

bool spy_click_row(const struct spy_click_window *w, size_t i, struct spy_sample *ret)
{
    ret->stack = (uint32_t)spy_rowbin_element(w->stack, i, 4);
    ret->thread = (uint32_t)spy_rowbin_element(w->thread, i, 4);
    ret->state = w->state[i];
    ret->count = spy_rowbin_element(w->count, i, 8);
    ret->ns = ret->count * w->window.period_ns + spy_rowbin_element(w->extra, i, 8);
    return ret->stack <= w->n_stacks && ret->thread <= w->n_threads &&
           spy_state_is_valid(ret->state);
}
