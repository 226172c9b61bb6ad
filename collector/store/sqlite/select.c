// select.c - a selection as SQL. Values are always bound; the text is made of constants and
// numbers of parameters.
#include "collector/store/sqlite/sqlite.h"
#include <string.h>

enum { TERM_PARAMETERS = 4, FIRST_TERM = 3, SQL_MAX = 64 << 10 };

static bool same_key(const struct spy_select *s, size_t a, size_t b)
{
    return !strcmp(s->terms[a].keys[0], s->terms[b].keys[0]);
}

static bool is_first_of_key(const struct spy_select *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (same_key(s, k, i))
            return false;
    return true;
}

static bool is_exact(const struct spy_select_term *t)
{
    return t->value && !strchr(t->value, '*');
}

// Whether both are values of the same labels, so that one search finds both.
static bool go_together(const struct spy_select_term *a, const struct spy_select_term *b)
{
    for (int k = 0; k < 3; k++)
        if (!a->keys[k] != !b->keys[k] || (a->keys[k] && strcmp(a->keys[k], b->keys[k]) != 0))
            return false;
    return is_exact(a) && is_exact(b);
}

static bool goes_with_earlier(const struct spy_select *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (go_together(&s->terms[k], &s->terms[i]))
            return true;
    return false;
}

static size_t find_parameter(size_t term)
{
    return FIRST_TERM + TERM_PARAMETERS * term;
}

// A term, with those that go together with it: pods are named by the dozen (query/load.c), and each
// search would be done for each window.
static void put_term(struct spy_buf *sql, const struct spy_select *s, size_t i)
{
    size_t p = find_parameter(i);
    const struct spy_select_term *t = &s->terms[i];
    spy_buf_printf(sql, "w.series %s (SELECT series FROM labels WHERE key IN (?%zu, ?%zu, ?%zu)",
                   t->value ? "IN" : "NOT IN", p, p + 1, p + 2);
    if (t->value && !is_exact(t))
        spy_buf_printf(sql, " AND spy_glob(?%zu, value)", p + 3);
    if (is_exact(t)) {
        spy_buf_printf(sql, " AND value IN (?%zu", p + 3);
        for (size_t k = i + 1; k < s->n; k++)
            if (go_together(t, &s->terms[k]))
                spy_buf_printf(sql, ", ?%zu", find_parameter(k) + 3);
        spy_buf_putc(sql, ')');
    }
    spy_buf_putc(sql, ')');
}

static void put_alternatives(struct spy_buf *sql, const struct spy_select *s, size_t first)
{
    spy_buf_puts(sql, " AND (");
    for (size_t i = first; i < s->n; i++) {
        if (!same_key(s, first, i) || goes_with_earlier(s, i))
            continue;
        spy_buf_puts(sql, i > first ? " OR " : "");
        put_term(sql, s, i);
    }
    spy_buf_puts(sql, ")");
}

static void bind_selection(sqlite3_stmt *q, const struct spy_select *s)
{
    sqlite3_bind_int64(q, 1, spy_db_time(s->from_ns));
    sqlite3_bind_int64(q, 2, spy_db_time(s->until_ns));
    for (size_t i = 0; i < s->n; i++) {
        int p = (int)find_parameter(i);
        for (int k = 0; k < 3 && s->terms[i].keys[k]; k++)
            sqlite3_bind_text(q, p + k, s->terms[i].keys[k], -1, SQLITE_TRANSIENT);
        if (s->terms[i].value)
            sqlite3_bind_text(q, p + 3, s->terms[i].value, -1, SQLITE_TRANSIENT);
    }
}

int spy_sqlite_select(sqlite3 *db, const char *head, const struct spy_select *select,
                      const char *tail, sqlite3_stmt **ret, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf sql = SPY_BUF_INIT(SQL_MAX);
    if (select->n > SPY_SELECT_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "more than %d values in a selection",
                           SPY_SELECT_MAX);
    spy_buf_puts(&sql, head);
    // A window of no length counts as the instant it begins at.
    spy_buf_puts(&sql, " WHERE w.end_ns >= ?1 AND w.start_ns < ?2"
                       " AND (w.end_ns > ?1 OR w.start_ns = ?1)");
    for (size_t i = 0; i < select->n; i++)
        if (is_first_of_key(select, i))
            put_alternatives(&sql, select, i);
    spy_buf_puts(&sql, tail);
    if (sql.failed)
        return spy_err_set(err, sql.failed, 0, "out of memory");
    int r = spy_db_prepare(db, spy_buf_str(&sql), ret, err);
    if (r == 0)
        bind_selection(*ret, select);
    return r;
}
