// compress.h - the encodings of HTTP bodies: gzip and zstd.
//
// Threads: pure functions.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"

// compress appends to out; decompress never makes more than out->max bytes, refuses a zstd window
// above 8 MiB, and fails with SPY_ERR_LIMIT on more, SPY_ERR_INVALID on damage or on a truncated
// stream.
enum spy_encoding { SPY_ENCODING_IDENTITY, SPY_ENCODING_GZIP, SPY_ENCODING_ZSTD };
// The value of a Content-Encoding header. SPY_ERR_UNSUPPORTED when it is none of ours.
int spy_encoding_parse(const char *header, enum spy_encoding *ret);
int spy_compress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                 struct spy_err *err);
int spy_decompress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                   struct spy_err *err);
