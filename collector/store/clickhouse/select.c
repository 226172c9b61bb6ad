// select.c - a selection: labels are matched here, with the globs of every other store, and the series
// that match travel as a table of ids.
#include "collector/store/clickhouse/click.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PICKED_MAX = 256 << 20, VALUE_MAX = 64 << 10, SQL_BYTES = 2 << 10 };

void spy_click_picked_free(struct spy_click_picked *p)
{
    spy_buf_free(&p->rows);
}

struct spy_click_text spy_click_next_text(struct spy_rowbin *r)
{
    struct spy_click_text t = {.len = spy_rowbin_length(r, 1)};
    t.at = (const char *)spy_rowbin_bytes(r, t.len);
    return t;
}

static size_t read_texts(struct spy_rowbin *r, struct spy_click_text *ret)
{
    size_t n = spy_rowbin_length(r, 1);
    r->is_bad |= n > SPY_LABELS_MAX;
    for (size_t i = 0; i < n && !r->is_bad && !r->is_short; i++)
        ret[i] = spy_click_next_text(r);
    return n;
}

int spy_click_read_labels(struct spy_rowbin *r, struct spy_click_labels *ret, struct spy_err *err)
{
    ret->n = read_texts(r, ret->keys);
    size_t n = read_texts(r, ret->values);
    r->is_bad |= !r->is_short && n != ret->n;
    return spy_click_end_row(r, err);
}

// --- which series ---

struct picking {
    const struct spy_select *select;
    struct spy_buf *rows, value;
    struct spy_idset seen;
};

static bool is_text(const struct spy_click_text *t, const char *text)
{
    return strlen(text) == t->len && !memcmp(t->at, text, t->len);
}

static const struct spy_click_text *find_label_text(const struct spy_click_labels *l,
                                                    const char *key)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_text(&l->keys[i], key))
            return &l->values[i];
    return NULL;
}

static bool matches_value(struct picking *p, const struct spy_click_text *value, const char *wanted)
{
    if (!strchr(wanted, '*'))
        return is_text(value, wanted);
    spy_buf_reset(&p->value);
    spy_buf_append(&p->value, value->at, value->len);
    return !p->value.failed && spy_glob_matches(wanted, spy_buf_str(&p->value));
}

static bool matches_term(struct picking *p, const struct spy_select_term *t,
                         const struct spy_click_labels *l)
{
    bool has_any = false;
    for (size_t k = 0; k < SPY_COUNT(t->keys); k++) {
        const struct spy_click_text *value = t->keys[k] ? find_label_text(l, t->keys[k]) : NULL;
        if (value && t->value && matches_value(p, value, t->value))
            return true;
        has_any |= value != NULL;
    }
    return !t->value && !has_any;
}

// Terms with the same first key are alternatives.
static bool matches_labels(struct picking *p, const struct spy_click_labels *l)
{
    const struct spy_select *s = p->select;
    for (size_t i = 0; i < s->n; i++) {
        bool any = false;
        for (size_t k = 0; k < s->n && !any; k++)
            any = !strcmp(s->terms[i].keys[0], s->terms[k].keys[0]) &&
                  matches_term(p, &s->terms[k], l);
        if (!any)
            return false;
    }
    return true;
}

static int pick_series_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct picking *p = arg;
    struct spy_click_labels labels;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    uint32_t at;
    bool is_new = false;
    int result = spy_click_read_labels(r, &labels, err);
    if (result < 0 || !matches_labels(p, &labels))
        return result;
    if (spy_idset_add(&p->seen, id, &at, &is_new) < 0)
        return spy_err_nomem(err);
    size_t most = p->select->memory ? p->select->memory / 4 : PICKED_MAX;
    if (is_new)
        spy_buf_append(p->rows, id, SPY_ID);
    return p->rows->failed || spy_idset_memory(&p->seen) > most
               ? spy_err_set(err, SPY_ERR_LIMIT, 0,
                             "the labels select too many series: narrow the selection")
               : 0;
}

uint64_t spy_click_first_end(struct spy_click *s, const struct spy_select *select)
{
    uint64_t horizon = __atomic_load_n(&s->horizon_ns, __ATOMIC_RELAXED);
    uint64_t from = select->from_ns > horizon ? select->from_ns : horizon;
    return spy_min(from, SPY_CLICK_TIME_MAX);
}

int spy_click_pick_series(struct spy_click *s, const struct spy_select *select,
                          struct spy_click_picked *ret, struct spy_err *err)
{
    struct picking p = {.select = select, .rows = &ret->rows, .value = SPY_BUF_INIT(VALUE_MAX)};
    char sql[160];
    if (select->n > SPY_SELECT_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "more than %d values in a selection",
                           SPY_SELECT_MAX);
    ret->rows = SPY_BUF_INIT(PICKED_MAX);
    ret->is_all = !select->n;
    if (ret->is_all)
        return 0;
    snprintf(sql, sizeof sql,
             "SELECT id, keys, values FROM series WHERE day >= %u FORMAT RowBinary",
             spy_click_window_day(0, spy_click_first_end(s, select)));
    int r = spy_click_call(s->link,
                           &(struct spy_click_call){
                               .sql = sql, .row = pick_series_row, .arg = &p, .stop = select->stop},
                           err);
    spy_idset_free(&p.seen);
    spy_buf_free(&p.value);
    return r;
}

// A window of no length counts as the instant it begins at. Windows have no longest length, so days
// after the selection are looked at, too; there the small columns of PREWHERE say that nothing fits.
void spy_click_put_select(struct spy_click *s, struct spy_buf *sql, const char *columns,
                          const char *table, const struct spy_select *select,
                          const struct spy_click_picked *picked)
{
    uint64_t from = spy_min(select->from_ns, SPY_CLICK_TIME_MAX);
    uint64_t until = spy_min(select->until_ns, SPY_CLICK_TIME_MAX);
    uint64_t end = spy_click_first_end(s, select);
    spy_buf_printf(sql,
                   "SELECT %s FROM %s PREWHERE day >= %u AND end_ns >= %" PRIu64
                   " AND start_ns < %" PRIu64 " AND (end_ns > %" PRIu64 " OR start_ns = %" PRIu64
                   ")",
                   columns, table, spy_click_window_day(0, end), end, until, from, from);
    if (!picked->is_all)
        spy_buf_puts(sql, " AND series IN (SELECT id FROM picked)");
}
