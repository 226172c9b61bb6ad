#include "collector/store/sqlite/packed.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "shared/profile/profile.h"
#include <string.h>

enum { UNARY_MAX = 16, K_MAX = 40, FLUSH = 32, HALF = 32, LONG_BITS = 6 };

static unsigned width_of(uint64_t v) // in bits; 0: none
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

// --- writing ---

struct bits {
    struct spy_buf *out;
    uint64_t held;
    unsigned n; // bits held, below FLUSH between calls
};

static void put_bits(struct bits *b, uint64_t v, unsigned n) // n <= HALF
{
    b->held |= v << b->n;
    b->n += n;
    if (b->n < FLUSH)
        return;
    uint8_t bytes[FLUSH / 8];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(b->held >> 8 * i);
    spy_buf_append(b->out, bytes, sizeof bytes);
    b->held >>= FLUSH;
    b->n -= FLUSH;
}

static void put_wide(struct bits *b, uint64_t v, unsigned n) // n <= 64
{
    unsigned low = n < HALF ? n : HALF;
    put_bits(b, v & (((uint64_t)1 << low) - 1), low);
    if (n > HALF)
        put_bits(b, v >> HALF, n - HALF);
}

static void put_long(struct bits *b, uint64_t v)
{
    unsigned n = v ? width_of(v) : 1;
    put_bits(b, n - 1, LONG_BITS);
    put_wide(b, v, n);
}

static void put_rice(struct bits *b, uint64_t v, unsigned k)
{
    uint64_t ones = v >> k;
    if (ones >= UNARY_MAX) {
        put_bits(b, (1u << UNARY_MAX) - 1, UNARY_MAX);
        put_long(b, v);
        return;
    }
    put_bits(b, ((uint64_t)1 << ones) - 1, (unsigned)ones + 1);
    put_wide(b, v & (((uint64_t)1 << k) - 1), k);
}

static void end_bits(struct bits *b)
{
    for (; b->n; b->n -= b->n < 8 ? b->n : 8, b->held >>= 8) {
        uint8_t byte = (uint8_t)b->held;
        spy_buf_append(b->out, &byte, 1);
    }
}

static uint64_t rice_bits(uint64_t v, unsigned k)
{
    return v >> k < UNARY_MAX ? (v >> k) + 1 + k : UNARY_MAX + LONG_BITS + width_of(v);
}

// What both columns of Rice codes hold.
static uint64_t stack_step(const struct spy_row *rows, size_t i)
{
    return i ? (uint64_t)(rows[i].stack - rows[i - 1].stack) : 0;
}

static uint64_t count_step(const struct spy_row *rows, size_t i)
{
    return rows[i].count - 1;
}

// The first k that needs no more bits than the next.
static unsigned choose_k(const struct spy_row *rows, size_t n,
                         uint64_t (*step)(const struct spy_row *rows, size_t i))
{
    uint64_t least = UINT64_MAX;
    for (unsigned k = 0; k <= K_MAX; k++) {
        uint64_t bits = 0;
        for (size_t i = 0; i < n; i++)
            bits += rice_bits(step(rows, i), k);
        if (bits >= least)
            return k - 1;
        least = bits;
    }
    return K_MAX;
}

struct tables {
    int64_t threads[SPY_PACKED_THREADS];
    uint8_t kinds[SPY_PACKED_KINDS];
    size_t n_threads, n_kinds;
};

static size_t place_of_thread(const struct tables *t, int64_t thread)
{
    size_t from = 0, to = t->n_threads;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (t->threads[middle] < thread)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool note_thread_id(struct tables *t, int64_t thread)
{
    size_t at = place_of_thread(t, thread);
    if (at < t->n_threads && t->threads[at] == thread)
        return true;
    if (t->n_threads == SPY_PACKED_THREADS)
        return false;
    memmove(&t->threads[at + 1], &t->threads[at], (t->n_threads - at) * sizeof t->threads[0]);
    t->threads[at] = thread;
    t->n_threads++;
    return true;
}

static size_t place_of_kind(const struct tables *t, uint8_t kind)
{
    size_t i = 0;
    while (i < t->n_kinds && t->kinds[i] != kind)
        i++;
    return i;
}

static bool add_kind(struct tables *t, uint8_t kind)
{
    size_t at = place_of_kind(t, kind);
    if (at == SPY_PACKED_KINDS)
        return false;
    t->kinds[at] = kind;
    t->n_kinds += at == t->n_kinds;
    return true;
}

static void put_tables(const struct tables *t, struct spy_buf *out)
{
    int64_t last = 0;
    spy_row_put_number(out, t->n_threads);
    for (size_t i = 0; i < t->n_threads; last = t->threads[i++])
        spy_row_put_number(out, (uint64_t)(t->threads[i] - last));
    spy_row_put_number(out, t->n_kinds);
    spy_buf_append(out, t->kinds, t->n_kinds);
}

bool spy_packed_encode(const struct spy_row *rows, size_t n, uint64_t period_ns,
                       struct spy_buf *out)
{
    struct tables t = {.n_threads = 0};
    if (n < SPY_PACKED_ROWS_MIN)
        return false;
    for (size_t i = 0; i < n; i++)
        if (rows[i].stack < 0 || rows[i].thread < 0 || !note_thread_id(&t, rows[i].thread) ||
            !add_kind(&t, spy_row_kind(&rows[i], period_ns)))
            return false;
    if (4 * t.n_threads > n) // each is written out
        return false;
    uint8_t mark = SPY_PACKED_MARK;
    uint8_t ks[] = {(uint8_t)choose_k(rows, n, stack_step), (uint8_t)choose_k(rows, n, count_step)};
    unsigned threads = width_of(t.n_threads - 1), kinds = width_of(t.n_kinds - 1);
    struct bits b = {.out = out};
    spy_buf_append(out, &mark, 1);
    spy_row_put_number(out, n);
    put_tables(&t, out);
    spy_row_put_number(out, (uint64_t)rows[0].stack);
    spy_buf_append(out, ks, sizeof ks);
    for (size_t i = 0; i < n; i++) {
        uint8_t kind = spy_row_kind(&rows[i], period_ns);
        put_bits(&b, place_of_thread(&t, rows[i].thread), threads);
        put_bits(&b, place_of_kind(&t, kind), kinds);
        put_rice(&b, stack_step(rows, i), ks[0]);
        put_rice(&b, count_step(rows, i), ks[1]);
        if (!(kind & SPY_ROW_NS_IS_PRODUCT))
            put_long(&b, rows[i].ns);
    }
    end_bits(&b);
    return true;
}

// --- reading ---

static void hold_bits(struct spy_rows_reader *r)
{
    for (; r->n_held <= 56 && r->at < r->end; r->n_held += 8)
        r->held |= (uint64_t)*r->at++ << r->n_held;
}

static bool get_bits(struct spy_rows_reader *r, unsigned n, uint64_t *ret) // n <= HALF
{
    if (r->n_held < n)
        hold_bits(r);
    if (r->n_held < n)
        return false;
    *ret = r->held & (((uint64_t)1 << n) - 1);
    r->held >>= n;
    r->n_held -= n;
    return true;
}

static bool get_wide(struct spy_rows_reader *r, unsigned n, uint64_t *ret) // n <= 64
{
    uint64_t low = 0, high = 0;
    if (!get_bits(r, n < HALF ? n : HALF, &low) || (n > HALF && !get_bits(r, n - HALF, &high)))
        return false;
    *ret = low | high << HALF;
    return true;
}

static bool get_long(struct spy_rows_reader *r, uint64_t *ret)
{
    uint64_t n = 0;
    return get_bits(r, LONG_BITS, &n) && get_wide(r, (unsigned)n + 1, ret);
}

static bool get_rice(struct spy_rows_reader *r, unsigned k, uint64_t *ret)
{
    uint64_t skipped, low = 0;
    if (r->n_held <= UNARY_MAX)
        hold_bits(r);
    // What is not held is zero, so that ones end there.
    unsigned ones = (unsigned)__builtin_ctzll(~r->held | (uint64_t)1 << UNARY_MAX);
    if (!get_bits(r, ones < UNARY_MAX ? ones + 1 : ones, &skipped))
        return false;
    if (ones == UNARY_MAX)
        return get_long(r, ret);
    if (!get_wide(r, k, &low))
        return false;
    *ret = (uint64_t)ones << k | low;
    return true;
}

static bool get_threads(struct spy_rows_reader *r)
{
    uint64_t n, step;
    int64_t last = 0;
    if (!spy_row_get_number(r, &n) || !n || n > SPY_PACKED_THREADS)
        return false;
    for (r->n_threads = 0; r->n_threads < n; r->threads[r->n_threads++] = last)
        if (!spy_row_get_number(r, &step) || step > INT64_MAX ||
            __builtin_add_overflow(last, (int64_t)step, &last))
            return false;
    return true;
}

static bool get_kinds(struct spy_rows_reader *r)
{
    uint64_t n;
    if (!spy_row_get_number(r, &n) || !n || n > SPY_PACKED_KINDS || (size_t)(r->end - r->at) < n)
        return false;
    for (r->n_kinds = 0; r->n_kinds < n; r->n_kinds++) {
        uint8_t kind = *r->at++;
        if (!spy_row_kind_is_valid(kind))
            return false;
        r->kinds[r->n_kinds] = kind;
    }
    return true;
}

int spy_packed_begin(struct spy_rows_reader *r)
{
    uint64_t first;
    r->at++; // the mark
    if (!spy_row_get_number(r, &r->n_left) || !r->n_left || !get_threads(r) || !get_kinds(r) ||
        !spy_row_get_number(r, &first) || first > INT64_MAX || r->end - r->at < 2)
        return SPY_ERR_INVALID;
    r->last.stack = (int64_t)first;
    r->k_stack = *r->at++;
    r->k_count = *r->at++;
    r->thread_bits = width_of(r->n_threads - 1);
    r->kind_bits = width_of(r->n_kinds - 1);
    return r->k_stack > K_MAX || r->k_count > K_MAX ? SPY_ERR_INVALID : 0;
}

static bool get_row(struct spy_rows_reader *r, struct spy_row *row)
{
    uint64_t thread = 0, kind = 0, stack = 0, count = 0;
    if (!get_bits(r, r->thread_bits, &thread) || thread >= r->n_threads ||
        !get_bits(r, r->kind_bits, &kind) || kind >= r->n_kinds ||
        !get_rice(r, r->k_stack, &stack) || !get_rice(r, r->k_count, &count))
        return false;
    row->count = count + 1;
    row->thread = r->threads[thread];
    row->state = spy_row_state(r->kinds[kind]);
    bool has_ns = r->kinds[kind] & SPY_ROW_NS_IS_PRODUCT
                      ? !__builtin_mul_overflow(row->count, r->period_ns, &row->ns)
                      : get_long(r, &row->ns);
    return has_ns && stack <= INT64_MAX &&
           !__builtin_add_overflow(r->last.stack, (int64_t)stack, &row->stack);
}

int spy_packed_next(struct spy_rows_reader *r, struct spy_row *ret)
{
    struct spy_row row = {0};
    if (!r->n_left) // only the zeroes that fill the last byte may be left
        return r->at == r->end && r->n_held < 8 && !r->held ? 0 : SPY_ERR_INVALID;
    if (!get_row(r, &row))
        return SPY_ERR_INVALID;
    r->n_left--;
    r->last = *ret = row;
    return 1;
}
