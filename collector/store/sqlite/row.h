// row.h - a sample of a window, its flags in one byte, numbers of few bytes, and what reads rows.
// Inside of store/sqlite: both forms of rows.h use it.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct spy_row {
    int64_t stack, thread; // ids of the store
    uint32_t state;
    uint64_t count, ns;
};

enum { SPY_PACKED_THREADS = 64, SPY_PACKED_KINDS = 16 }; // more are written in the first form

// at, end and period_ns are the caller's to set, the rest is zero.
struct spy_rows_reader {
    const uint8_t *at, *end;
    uint64_t period_ns;
    struct spy_row last;
    // What packed.h has read before the first row.
    bool has_begun, is_packed;
    uint8_t k_stack, k_count, kinds[SPY_PACKED_KINDS];
    unsigned n_held, thread_bits, kind_bits;
    uint64_t held; // n_held bits that were taken from `at`
    uint64_t n_left, n_threads, n_kinds;
    int64_t threads[SPY_PACKED_THREADS];
};
enum { SPY_ROW_NUMBER_MAX = 10 }; // bytes of a number

// A number, 7 bits a byte, least significant first. _write: to `at`, which has room for it; returns
// where the next one begins. _get: false if it is not whole.
uint8_t *spy_row_write_number(uint8_t *at, uint64_t v);
void spy_row_put_number(struct spy_buf *out, uint64_t v);
bool spy_row_get_number(struct spy_rows_reader *r, uint64_t *ret);

// The flag byte of rows.h: what it says without bit 5, and its bits.
enum {
    SPY_ROW_LOW_STATE = 15,
    SPY_ROW_NS_IS_PRODUCT = 16,
    SPY_ROW_COUNT_IS_ONE = 32,
    SPY_ROW_IS_RUNNABLE = 64, // came last and found its own bit of the state taken
    SPY_ROW_KNOWN_BITS = 127,
};
uint8_t spy_row_kind(const struct spy_row *row, uint64_t period_ns);
uint32_t spy_row_state(uint8_t kind);
bool spy_row_kind_is_valid(uint8_t kind);
