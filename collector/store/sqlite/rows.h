// rows.h - the samples of one window as one value. Inside of store/sqlite.
//
// Sorted by stack, thread, state; each sample is
//
//     byte     bits 0-3 state but RUNNABLE, bit 4: ns is count * period_ns of the window, bit 5:
//              count is 1, bit 6: RUNNABLE (not in rows that podspy 0.1 wrote)
//     varint   stack id minus that of the sample before
//     varint   thread id minus that of the sample before, zigzag
//     varint   count, unless bit 5
//     varint   ns, unless bit 4
//
// varint: 7 bits a byte, least significant first. Reading checks every value.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stdint.h>

struct spy_row {
    int64_t stack, thread; // ids of the store
    uint32_t state;
    uint64_t count, ns;
};

// Sorts rows and appends them to out; errors are in out->failed. About 4 to 8 bytes a row.
void spy_rows_encode(struct spy_row *rows, size_t n, uint64_t period_ns, struct spy_buf *out);

// Sorts rows and adds up those of one stack, thread and state: returns how many are left. Sums
// saturate.
size_t spy_rows_merge(struct spy_row *rows, size_t n);

struct spy_rows_reader {
    const uint8_t *at, *end;
    uint64_t period_ns;
    struct spy_row last;
};
// 1 and *ret; 0 at the end; SPY_ERR_INVALID: damaged.
int spy_rows_next(struct spy_rows_reader *r, struct spy_row *ret);

// One varint, for other values.
void spy_rows_put(struct spy_buf *out, uint64_t v);
bool spy_rows_get(struct spy_rows_reader *r, uint64_t *ret);
