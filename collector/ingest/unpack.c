#include "collector/ingest/unpack.h"
#include <endian.h>
#include <libdeflate.h>
#include <string.h>
#include <zstd.h>

enum { GZIP_LEAST = 18, ROOM_LEAST = 4096, FACTOR = 4 };

// RFC 1952, 2.3.1: the last four bytes are the length of the last member, modulo 2^32. It is a hint,
// as the sender may write what it likes.
static size_t guess_length(const uint8_t *data, size_t len)
{
    uint32_t says = 0;
    if (len >= GZIP_LEAST)
        memcpy(&says, data + len - sizeof says, sizeof says);
    says = le32toh(says);
    return says > ROOM_LEAST ? says : ROOM_LEAST;
}

// One member, at the end of out. Where it does not fit, out gets FACTOR times the room.
static int unpack_member(struct libdeflate_decompressor *d, const uint8_t **data, size_t *len,
                         struct spy_buf *out, struct spy_err *err)
{
    size_t room = guess_length(*data, *len), left = out->max - out->len, read = 0, made = 0;
    for (;; room *= FACTOR) {
        room = room < left ? room : left;
        uint8_t *to = spy_buf_reserve(out, room);
        if (!to)
            return spy_err_nomem(err);
        enum libdeflate_result r =
            libdeflate_gzip_decompress_ex(d, *data, *len, to, room, &read, &made);
        if (r == LIBDEFLATE_SUCCESS)
            break;
        if (r != LIBDEFLATE_INSUFFICIENT_SPACE)
            return spy_err_set(err, SPY_ERR_INVALID, 0, "the gzip body is damaged or cut off");
        if (room == left)
            return spy_err_set(err, SPY_ERR_LIMIT, 0, "the body is larger than %zu bytes",
                               out->max);
    }
    spy_buf_commit(out, made);
    *data += read;
    *len -= read;
    return 0;
}

static int unpack_gzip(const uint8_t *data, size_t len, struct spy_buf *out, struct spy_err *err)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (!d)
        return spy_err_nomem(err);
    int r;
    do // RFC 1952, section 2.2: members in a row
        r = unpack_member(d, &data, &len, out, err);
    while (r == 0 && len);
    libdeflate_free_decompressor(d);
    return r;
}

// False: not one frame of known length that fits, or damaged.
static bool unpack_frame(const uint8_t *data, size_t len, struct spy_buf *out)
{
    unsigned long long says = ZSTD_getFrameContentSize(data, len);
    if (says == ZSTD_CONTENTSIZE_ERROR || says == ZSTD_CONTENTSIZE_UNKNOWN || says > out->max ||
        ZSTD_findFrameCompressedSize(data, len) != len)
        return false;
    uint8_t *to = spy_buf_reserve(out, (size_t)says);
    size_t n = to ? ZSTD_decompress(to, (size_t)says, data, len) : 0;
    if (!to || ZSTD_isError(n))
        return false;
    spy_buf_commit(out, n);
    return true;
}

int spy_unpack(enum spy_encoding e, const uint8_t *data, size_t len, struct spy_buf *out,
               struct spy_err *err)
{
    if (e == SPY_ENCODING_GZIP)
        return unpack_gzip(data, len, out, err);
    if (e == SPY_ENCODING_ZSTD && unpack_frame(data, len, out))
        return 0;
    return spy_decompress(e, data, len, out, err);
}
