#include "collector/store/sqlite/row.h"
#include "shared/profile/profile.h"

static bool is_product(const struct spy_row *row, uint64_t period_ns)
{
    uint64_t product;
    return !__builtin_mul_overflow(row->count, period_ns, &product) && product == row->ns;
}

uint8_t spy_row_kind(const struct spy_row *row, uint64_t period_ns)
{
    return (uint8_t)((row->state & SPY_ROW_LOW_STATE) |
                     (is_product(row, period_ns) ? SPY_ROW_NS_IS_PRODUCT : 0) |
                     (row->state & SPY_STATE_RUNNABLE ? SPY_ROW_IS_RUNNABLE : 0));
}

uint32_t spy_row_state(uint8_t kind)
{
    return (kind & SPY_ROW_LOW_STATE) | (kind & SPY_ROW_IS_RUNNABLE ? SPY_STATE_RUNNABLE : 0u);
}

bool spy_row_kind_is_valid(uint8_t kind)
{
    return kind <= SPY_ROW_KNOWN_BITS && !(kind & SPY_ROW_COUNT_IS_ONE) &&
           spy_state_is_valid(spy_row_state(kind));
}

uint8_t *spy_row_write_number(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

void spy_row_put_number(struct spy_buf *out, uint64_t v)
{
    uint8_t bytes[SPY_ROW_NUMBER_MAX];
    spy_buf_append(out, bytes, (size_t)(spy_row_write_number(bytes, v) - bytes));
}

bool spy_row_get_number(struct spy_rows_reader *r, uint64_t *ret)
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
