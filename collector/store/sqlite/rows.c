#include "collector/store/sqlite/rows.h"
#include "collector/store/sqlite/packed.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <stdlib.h>

enum { VARINT_MAX = 10 };
// The flag byte. RUNNABLE came last and found its own bit of the state taken.
enum {
    LOW_STATE = 15,
    NS_IS_PRODUCT = SPY_ROWS_NS_IS_PRODUCT,
    COUNT_IS_ONE = 32,
    IS_RUNNABLE = 64,
    KNOWN_BITS = 127,
};

static int compare_rows(const void *a, const void *b)
{
    const struct spy_row *x = a, *y = b;
    if (x->stack != y->stack)
        return x->stack < y->stack ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return x->state < y->state ? -1 : x->state > y->state;
}

static uint8_t *put_row_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

static uint64_t zigzag_encode(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static bool is_product(const struct spy_row *row, uint64_t period_ns)
{
    uint64_t product;
    return !__builtin_mul_overflow(row->count, period_ns, &product) && product == row->ns;
}

uint8_t spy_rows_kind(const struct spy_row *row, uint64_t period_ns)
{
    return (uint8_t)((row->state & LOW_STATE) | (is_product(row, period_ns) ? NS_IS_PRODUCT : 0) |
                     (row->state & SPY_STATE_RUNNABLE ? IS_RUNNABLE : 0));
}

uint32_t spy_rows_state(uint8_t kind)
{
    return (kind & LOW_STATE) | (kind & IS_RUNNABLE ? SPY_STATE_RUNNABLE : 0u);
}

bool spy_rows_kind_is_valid(uint8_t kind)
{
    return kind <= KNOWN_BITS && !(kind & COUNT_IS_ONE) && spy_state_is_valid(spy_rows_state(kind));
}

void spy_rows_encode(struct spy_row *rows, size_t n, uint64_t period_ns, struct spy_buf *out)
{
    qsort(rows, n, sizeof *rows, compare_rows);
    if (spy_packed_encode(rows, n, period_ns, out))
        return;
    struct spy_row last = {0};
    for (size_t i = 0; i < n; i++) {
        const struct spy_row *row = &rows[i];
        uint8_t bytes[1 + 4 * VARINT_MAX], *at = bytes + 1;
        uint8_t kind = spy_rows_kind(row, period_ns);
        bytes[0] = (uint8_t)(kind | (row->count == 1 ? COUNT_IS_ONE : 0));
        at = put_row_varint(at, (uint64_t)(row->stack - last.stack));
        at = put_row_varint(at, zigzag_encode(row->thread - last.thread));
        if (row->count != 1)
            at = put_row_varint(at, row->count);
        if (!(kind & NS_IS_PRODUCT))
            at = put_row_varint(at, row->ns);
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

void spy_rows_put(struct spy_buf *out, uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    spy_buf_append(out, bytes, (size_t)(put_row_varint(bytes, v) - bytes));
}

bool spy_rows_get(struct spy_rows_reader *r, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 64; shift += 7) {
        uint8_t b = *r->at++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static int read_plain_row(struct spy_rows_reader *r, struct spy_row *ret)
{
    if (r->at >= r->end)
        return 0;
    uint8_t flags = *r->at++;
    uint64_t stack, thread, count = 1, ns;
    if (flags > KNOWN_BITS || !spy_rows_get(r, &stack) || !spy_rows_get(r, &thread) ||
        (!(flags & COUNT_IS_ONE) && !spy_rows_get(r, &count)) ||
        (!(flags & NS_IS_PRODUCT) && !spy_rows_get(r, &ns)))
        return SPY_ERR_INVALID;
    if ((flags & NS_IS_PRODUCT) && __builtin_mul_overflow(count, r->period_ns, &ns))
        return SPY_ERR_INVALID;
    int64_t step = (int64_t)(thread >> 1) ^ -(int64_t)(thread & 1);
    struct spy_row row = {.count = count, .ns = ns};
    row.state = spy_rows_state(flags);
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
