// packed.h - the form of rows.h with bits instead of bytes. Inside of store/sqlite.
//
//     byte     0x80; a row of the plain form never begins with it
//     varint   number of rows, 1 at least
//     varint   number of threads, up to SPY_PACKED_THREADS; their ids, ascending, each minus the last
//     varint   number of kinds, up to SPY_PACKED_KINDS; each a byte: the flags of the plain form
//              without bit 5
//     varint   stack id of the first row
//     byte     k of the stacks; byte: k of the counts
//
// and for each row, in bits, least significant first:
//
//     index of the thread, index of the kind    in as many bits as the largest needs
//     stack id minus that of the row before     Rice code with k
//     count - 1                                 Rice code with k
//     ns, unless bit 4 of the kind              a long number
//
// Rice code of v: v >> k ones, a zero, the k low bits; 16 ones: a long number follows. Long number: the
// number of its bits minus 1 in 6 bits, then these bits. The last byte is filled up with zeroes.
#pragma once
#include "collector/store/sqlite/row.h"

enum { SPY_PACKED_MARK = 0x80, SPY_PACKED_ROWS_MIN = 16 };

// Appends the rows, which are sorted as in rows.h. False: they do not fit this form, or are so few
// that it would be longer; nothing was appended.
bool spy_packed_encode(const struct spy_row *rows, size_t n, uint64_t period_ns,
                       struct spy_buf *out);
// Reads what stands before the rows. SPY_ERR_INVALID: damaged.
int spy_packed_begin(struct spy_rows_reader *r);
// As spy_rows_next.
int spy_packed_next(struct spy_rows_reader *r, struct spy_row *ret);
