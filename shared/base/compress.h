// compress.h - the encodings of HTTP bodies: gzip and zstd.
//
// Threads: pure functions.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"

enum spy_encoding { SPY_ENCODING_IDENTITY, SPY_ENCODING_GZIP, SPY_ENCODING_ZSTD };
// Parses the value of a Content-Encoding header. SPY_ERR_UNSUPPORTED: an unknown encoding.
int spy_encoding_parse(const char *header, enum spy_encoding *ret);
// Both append to out. spy_decompress fails with SPY_ERR_LIMIT on more than out->max bytes or a zstd
// window above 8 MiB, and with SPY_ERR_INVALID on a damaged or truncated stream.
int spy_compress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                 struct spy_err *err);
int spy_decompress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                   struct spy_err *err);
