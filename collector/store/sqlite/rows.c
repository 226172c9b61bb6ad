#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/packed.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <stdlib.h>

static int compare_rows(const void *a, const void *b)
{
    const struct spy_row *x = a, *y = b;
    if (x->stack != y->stack)
        return x->stack < y->stack ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->state < y->state ? -1 : x->state > y->state;
}

static uint64_t zigzag_encode(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

void spy_rows_encode(struct spy_row *rows, size_t n, uint64_t period_ns, struct spy_buf *out)
{
    qsort(rows, n, sizeof *rows, compare_rows);
    if (spy_packed_encode(rows, n, period_ns, out))
        return;
    struct spy_row last = {0};
    for (size_t i = 0; i < n; i++) {
        const struct spy_row *row = &rows[i];
        uint8_t bytes[1 + 4 * SPY_ROW_NUMBER_MAX], *at = bytes + 1;
        uint8_t kind = spy_row_kind(row, period_ns);
        bytes[0] = (uint8_t)(kind | (row->count == 1 ? SPY_ROW_COUNT_IS_ONE : 0));
        at = spy_row_write_number(at, (uint64_t)(row->stack - last.stack));
        at = spy_row_write_number(at, zigzag_encode(row->thread - last.thread));
        if (row->count != 1)
            at = spy_row_write_number(at, row->count);
        if (!(kind & SPY_ROW_NS_IS_PRODUCT))
            at = spy_row_write_number(at, row->ns);
        spy_buf_append(out, bytes, (size_t)(at - bytes));
        last = *row;
    }
}

size_t spy_rows_merge(struct spy_row *rows, size_t n)
{
    size_t kept = 0;
    qsort(rows, n, sizeof *rows, compare_rows);
    for (size_t i = 0; i < n; i++)
        if (kept && compare_rows(&rows[kept - 1], &rows[i]) == 0) {
            rows[kept - 1].count = spy_add_sat(rows[kept - 1].count, rows[i].count);
            rows[kept - 1].ns = spy_add_sat(rows[kept - 1].ns, rows[i].ns);
        } else {
            rows[kept++] = rows[i];
        }
    return kept;
}

// Most numbers have one byte.
static inline bool get_number(struct spy_rows_reader *r, uint64_t *ret)
{
    if (r->at == r->end || *r->at & 0x80)
        return spy_row_get_number(r, ret);
    *ret = *r->at++;
    return true;
}

static int read_plain_row(struct spy_rows_reader *r, struct spy_row *ret)
{
    if (r->at >= r->end)
        return 0;
    uint8_t flags = *r->at++;
    uint64_t stack, thread, count = 1, ns;
    if (flags > SPY_ROW_KNOWN_BITS || !get_number(r, &stack) || !get_number(r, &thread) ||
        (!(flags & SPY_ROW_COUNT_IS_ONE) && !get_number(r, &count)) ||
        (!(flags & SPY_ROW_NS_IS_PRODUCT) && !get_number(r, &ns)))
        return SPY_ERR_INVALID;
    if ((flags & SPY_ROW_NS_IS_PRODUCT) && __builtin_mul_overflow(count, r->period_ns, &ns))
        return SPY_ERR_INVALID;
    int64_t step = (int64_t)(thread >> 1) ^ -(int64_t)(thread & 1);
    struct spy_row row = {.count = count, .ns = ns};
    row.state = spy_row_state(flags);
    if (!spy_state_is_valid(row.state) || stack > INT64_MAX ||
        __builtin_add_overflow(r->last.stack, (int64_t)stack, &row.stack) ||
        __builtin_add_overflow(r->last.thread, step, &row.thread) || row.thread < 0)
        return SPY_ERR_INVALID;
    r->last = *ret = row;
    return 1;
}

int spy_rows_next(struct spy_rows_reader *r, struct spy_row *ret)
{
    int begun = 0;
    if (!r->has_begun) {
        r->has_begun = true;
        r->is_packed = r->at < r->end && *r->at == SPY_PACKED_MARK;
        begun = r->is_packed ? spy_packed_begin(r) : 0;
    }
    return begun < 0 ? begun : r->is_packed ? spy_packed_next(r, ret) : read_plain_row(r, ret);
}
