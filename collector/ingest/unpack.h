// unpack.h - the bytes of a body. Inside of collector/ingest.
//
// The whole body is there, so gzip is unpacked by libdeflate, which takes half the time of zlib, and
// a zstd frame that says how long its contents are is unpacked in one piece.
//
// Threads: pure functions.
#pragma once
#include "shared/base/compress.h"

// Unpacks the body to out, which must be empty. Errors as of spy_decompress.
int spy_unpack(enum spy_encoding e, const uint8_t *data, size_t len, struct spy_buf *out,
               struct spy_err *err);
