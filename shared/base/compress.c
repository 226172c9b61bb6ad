#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { ZSTD_LEVEL = 3, ZSTD_WINDOW_LOG_MAX = 23, STEP = 65536 };

int spy_encoding_parse(const char *header, enum spy_encoding *ret)
{
    static const struct {
        const char *name;
        enum spy_encoding encoding;
    } rows[] = {{"", SPY_ENCODING_IDENTITY},
                {"identity", SPY_ENCODING_IDENTITY},
                {"gzip", SPY_ENCODING_GZIP},
                {"zstd", SPY_ENCODING_ZSTD}};
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (!strcasecmp(header ? header : "", rows[i].name)) {
            *ret = rows[i].encoding;
            return 0;
        }
    return SPY_ERR_UNSUPPORTED;
}

static int fail_full(const struct spy_buf *out, struct spy_err *err)
{
    if (out->failed == SPY_ERR_NOMEM)
        return spy_err_nomem(err);
    return spy_err_set(err, SPY_ERR_LIMIT, 0, "the body is larger than %zu bytes", out->max);
}

// Makes room for the next piece; NULL when the cap is reached.
static uint8_t *next_piece(struct spy_buf *out, size_t *ret_room)
{
    size_t left = out->max - out->len;
    *ret_room = left < STEP ? left : STEP;
    return *ret_room ? spy_buf_reserve(out, *ret_room) : NULL;
}

static int deflate_all(const void *data, size_t len, struct spy_buf *out, struct spy_err *err)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len}; // NOLINT: zlib's API
    if (len > UINT32_MAX || deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot compress %zu bytes", len);
    int z_result = Z_OK;
    uint8_t *to = NULL;
    size_t room;
    while (z_result == Z_OK && (to = next_piece(out, &room))) {
        z.next_out = to;
        z.avail_out = (uInt)room;
        z_result = deflate(&z, Z_FINISH);
        spy_buf_commit(out, room - z.avail_out);
        if (z_result == Z_BUF_ERROR)
            z_result = Z_OK; // the piece was full
    }
    deflateEnd(&z);
    return z_result == Z_STREAM_END ? 0 : fail_full(out, err);
}

int spy_compress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                 struct spy_err *err)
{
    if (e == SPY_ENCODING_IDENTITY)
        return spy_buf_append(out, data, len) == 0 ? 0 : fail_full(out, err);
    if (e == SPY_ENCODING_GZIP)
        return deflate_all(data, len, out, err);
    size_t bound = ZSTD_compressBound(len), left = out->max - out->len;
    size_t room = bound < left ? bound : left;
    uint8_t *to = spy_buf_reserve(out, room);
    if (!to)
        return fail_full(out, err);
    size_t n = ZSTD_compress(to, room, data, len, ZSTD_LEVEL);
    if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
        return fail_full(out, err);
    if (ZSTD_isError(n))
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "zstd: %s", ZSTD_getErrorName(n));
    spy_buf_commit(out, n);
    return 0;
}

static int inflate_all(const void *data, size_t len, struct spy_buf *out, struct spy_err *err)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len}; // NOLINT: zlib's API
    if (len > UINT32_MAX || inflateInit2(&z, 15 + 16) != Z_OK)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot unpack %zu bytes", len);
    int z_result = Z_OK;
    size_t room;
    while (z_result == Z_OK || z_result == Z_BUF_ERROR) {
        uint8_t spill, *to = next_piece(out, &room);
        z.next_out = to ? to : &spill;
        z.avail_out = to ? (uInt)room : 1;
        uInt in_before = z.avail_in, out_before = z.avail_out;
        z_result = inflate(&z, Z_NO_FLUSH);
        uInt made = out_before - z.avail_out;
        if (!to && made) {
            inflateEnd(&z);
            return fail_full(out, err);
        }
        if (to)
            spy_buf_commit(out, made);
        if (!made && in_before == z.avail_in && z_result != Z_STREAM_END)
            break;                                  // the input ended too early
        if (z_result == Z_STREAM_END && z.avail_in) // RFC 1952, section 2.2: members in a row
            z_result = inflateReset(&z);
    }
    bool whole = z_result == Z_STREAM_END && !z.avail_in;
    inflateEnd(&z);
    return whole ? 0 : spy_err_set(err, SPY_ERR_INVALID, 0, "the gzip body is damaged or cut off");
}

static int zstd_all(const void *data, size_t len, struct spy_buf *out, struct spy_err *err)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d)
        return spy_err_nomem(err);
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    ZSTD_inBuffer in = {data, len, 0};
    size_t left = 1, room;
    int r = 0;
    while (r == 0) {
        uint8_t spill, *to = next_piece(out, &room);
        ZSTD_outBuffer o = {to ? to : &spill, to ? room : 1, 0};
        size_t before = in.pos;
        left = ZSTD_decompressStream(d, &o, &in);
        if (ZSTD_isError(left))
            r = spy_err_set(err, SPY_ERR_INVALID, 0, "zstd: %s", ZSTD_getErrorName(left));
        else if (!to && o.pos)
            r = fail_full(out, err);
        else if (to)
            spy_buf_commit(out, o.pos);
        if (!o.pos && in.pos == before)
            break;
        if (!left && in.pos == in.size)
            break;
    }
    ZSTD_freeDCtx(d);
    if (r == 0 && (left || in.pos != in.size || !len))
        r = spy_err_set(err, SPY_ERR_INVALID, 0, "the zstd body is damaged or cut off");
    return r;
}

int spy_decompress(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out,
                   struct spy_err *err)
{
    if (e == SPY_ENCODING_IDENTITY)
        return spy_buf_append(out, data, len) == 0 ? 0 : fail_full(out, err);
    return e == SPY_ENCODING_GZIP ? inflate_all(data, len, out, err)
                                  : zstd_all(data, len, out, err);
}
