// rows.h - the samples of one window as one value. Inside of store/sqlite.
//
// Sorted by stack, thread, state, in one of two forms. Up to version 3 of the schema, and since then
// where a window has few rows or many threads, each sample is
//
//     byte     bits 0-3 state but RUNNABLE, bit 4: ns is count * period_ns of the window, bit 5:
//              count is 1, bit 6: RUNNABLE (not in rows that podspy 0.1 wrote)
//     varint   stack id minus that of the sample before
//     varint   thread id minus that of the sample before, zigzag
//     varint   count, unless bit 5
//     varint   ns, unless bit 4
//
// varint: 7 bits a byte, least significant first. The other form is in packed.h. Reading takes both, and
// checks every value.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct spy_row {
    int64_t stack, thread; // ids of the store
    uint32_t state;
    uint64_t count, ns;
};

// Sorts rows and appends them to out; errors are in out->failed. About 1.5 to 3 bytes a row, 4 to 8 in
// the first form.
void spy_rows_encode(struct spy_row *rows, size_t n, uint64_t period_ns, struct spy_buf *out);

// Sorts rows and adds up those of one stack, thread and state: returns how many are left. Sums
// saturate.
size_t spy_rows_merge(struct spy_row *rows, size_t n);

enum { SPY_PACKED_THREADS = 64, SPY_PACKED_KINDS = 16 }; // more are written in the first form

// at, end and period_ns are the caller's to set, the rest is zero.
struct spy_rows_reader {
    const uint8_t *at, *end;
    uint64_t period_ns;
    struct spy_row last;
    // Of packed.h, from the first row on.
    bool has_begun, is_packed;
    uint8_t k_stack, k_count, kinds[SPY_PACKED_KINDS];
    unsigned n_held, thread_bits, kind_bits;
    uint64_t held; // n_held bits that were taken from `at`
    uint64_t n_left, n_threads, n_kinds;
    int64_t threads[SPY_PACKED_THREADS];
};
// 1 and *ret; 0 at the end; SPY_ERR_INVALID: damaged.
int spy_rows_next(struct spy_rows_reader *r, struct spy_row *ret);

// One varint, for other values.
void spy_rows_put(struct spy_buf *out, uint64_t v);
bool spy_rows_get(struct spy_rows_reader *r, uint64_t *ret);

// The flag byte without bit 5.
enum { SPY_ROWS_NS_IS_PRODUCT = 16 };
uint8_t spy_rows_kind(const struct spy_row *row, uint64_t period_ns);
uint32_t spy_rows_state(uint8_t kind);
bool spy_rows_kind_is_valid(uint8_t kind);
