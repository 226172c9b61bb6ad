// rowbin.h - RowBinary, ClickHouse's plainest binary form of rows. Inside of store/clickhouse.
//
// Numbers are little-endian, a String is a length (LEB128) and bytes, an Array a length and its
// elements, a FixedString its bytes alone. ClickHouse's documentation: Interfaces, Formats, RowBinary.
//
// Threads: any; a reader belongs to one.
#pragma once
#include "shared/base/buf.h"

// Reads from bytes that may end inside of a row: then `is_short`, and every further read gives 0.
// `is_bad`: a length that no row of ours has.
struct spy_rowbin {
    const uint8_t *at, *end;
    bool is_short, is_bad;
};

enum { SPY_ROWBIN_MAX = 64 << 20 }; // bytes of one value, and of one row

// size bytes, borrowed, or NULL.
const uint8_t *spy_rowbin_bytes(struct spy_rowbin *r, size_t size);
// A number of 1, 2, 4 or 8 bytes.
uint64_t spy_rowbin_number(struct spy_rowbin *r, size_t size);
// The length of a String or an Array whose elements take at least `size` bytes each.
size_t spy_rowbin_length(struct spy_rowbin *r, size_t size);
// Element i of an Array of numbers of that size, which spy_rowbin_bytes returned.
uint64_t spy_rowbin_element(const uint8_t *array, size_t i, size_t size);

void spy_rowbin_put(struct spy_buf *out, uint64_t number, size_t size);
void spy_rowbin_put_length(struct spy_buf *out, size_t n);
void spy_rowbin_put_text(struct spy_buf *out, const char *text, size_t len);
