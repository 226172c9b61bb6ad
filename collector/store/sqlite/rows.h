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
// varint: 7 bits a byte, least significant first. The other form is in packed.h. Reading takes both,
// and checks every value.
#pragma once
#include "collector/store/sqlite/row.h"

// Sorts rows and appends them to out; errors are in out->failed. About 2 to 3 bytes a row, 4 to 8 in
// the first form.
void spy_rows_encode(struct spy_row *rows, size_t n, uint64_t period_ns, struct spy_buf *out);

// Sorts rows and adds up those of one stack, thread and state: returns how many are left. Sums
// saturate.
size_t spy_rows_merge(struct spy_row *rows, size_t n);

// 1 and *ret; 0 at the end; SPY_ERR_INVALID: damaged.
int spy_rows_next(struct spy_rows_reader *r, struct spy_row *ret);
