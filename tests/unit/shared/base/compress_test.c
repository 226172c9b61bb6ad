#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static const enum spy_encoding encodings[] = {SPY_ENCODING_IDENTITY, SPY_ENCODING_GZIP,
                                              SPY_ENCODING_ZSTD};

static void pack(enum spy_encoding e, const void *data, size_t len, struct spy_buf *out)
{
    *out = SPY_BUF_INIT(len * 2 + 1000);
    assert_int_equal(spy_compress(e, data, len, out, NULL), 0);
}

static void decompression_restores_the_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 65535, 65536, 65537, 1000000};
    _cleanup_free_ uint8_t *data = malloc(1000000);
    for (size_t i = 0; i < 1000000; i++)
        data[i] = (uint8_t)(i * i >> 7 ^ i);
    for (size_t i = 0; i < SPY_COUNT(sizes); i++)
        for (size_t k = 0; k < SPY_COUNT(encodings); k++) {
            _cleanup_buf_ struct spy_buf z, b = SPY_BUF_INIT(sizes[i]); // exactly what it takes
            pack(encodings[k], data, sizes[i], &z);
            assert_int_equal(spy_decompress(encodings[k], z.data, z.len, &b, NULL), 0);
            assert_int_equal(b.len, sizes[i]);
            assert_memory_equal(b.len ? b.data : data, data, sizes[i]);
            assert_int_equal(b.len ? b.data[b.len] : 0, 0);
        }
}

static void one_byte_over_the_cap_is_refused(void **state)
{
    (void)state;
    static uint8_t data[70000];
    for (size_t k = 0; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf z, b = SPY_BUF_INIT(sizeof data - 1);
        struct spy_err e = {0};
        pack(encodings[k], data, sizeof data, &z);
        assert_int_equal(spy_decompress(encodings[k], z.data, z.len, &b, &e), SPY_ERR_LIMIT);
        assert_true(b.len <= b.max);
        assert_non_null(strstr(e.msg, "69999"));
    }
}

static void a_bomb_is_stopped_at_the_cap(void **state)
{
    (void)state;
    enum { BIG = 64 << 20 };
    _cleanup_free_ uint8_t *zeroes = calloc(1, BIG);
    for (size_t k = 1; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf z, b = SPY_BUF_INIT(1 << 20);
        pack(encodings[k], zeroes, BIG, &z);
        assert_true(z.len < 200000);
        assert_int_equal(spy_decompress(encodings[k], z.data, z.len, &b, NULL), SPY_ERR_LIMIT);
        assert_true(b.cap <= 4 << 20);
    }
}

static void every_truncation_and_trailing_byte_is_damage(void **state)
{
    (void)state;
    for (size_t k = 1; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf z;
        pack(encodings[k], "some text that is long enough to be cut", 39, &z);
        for (size_t n = 0; n <= z.len + 1; n++) {
            _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
            _cleanup_free_ uint8_t *part = calloc(1, n + 1);
            memcpy(part, z.data, n < z.len ? n : z.len);
            int r = spy_decompress(encodings[k], part, n, &b, NULL);
            assert_int_equal(r, n == z.len ? 0 : SPY_ERR_INVALID);
        }
    }
}

static void damage_is_found_by_the_checksum_or_survived(void **state)
{
    (void)state;
    for (size_t k = 1; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf z;
        pack(encodings[k], "abcabcabcabcabcabcxyz", 21, &z);
        for (size_t i = 0; i < z.len * 8; i++) {
            _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
            z.data[i / 8] ^= (uint8_t)(1 << i % 8);
            spy_decompress(encodings[k], z.data, z.len, &b, NULL);
            assert_true(b.len <= 1000);
            z.data[i / 8] ^= (uint8_t)(1 << i % 8);
        }
    }
}

static void members_and_frames_in_a_row_are_one_body(void **state)
{
    (void)state;
    for (size_t k = 1; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf z, more, b = SPY_BUF_INIT(1000);
        pack(encodings[k], "one ", 4, &z);
        pack(encodings[k], "two", 3, &more);
        assert_int_equal(spy_buf_append(&z, more.data, more.len), 0);
        assert_int_equal(spy_decompress(encodings[k], z.data, z.len, &b, NULL), 0);
        assert_string_equal(spy_buf_str(&b), "one two");
    }
}

static void a_zstd_window_above_8_mib_is_refused(void **state)
{
    (void)state;
    for (int log = 23; log <= 24; log++) {
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1000);
        struct spy_err e = {0};
        char z[500];
        ZSTD_CCtx *c = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, log);
        ZSTD_inBuffer in = {"abc", 3, 0};
        ZSTD_outBuffer out = {z, sizeof z, 0};
        // Flushed first, so that the frame states its window and not a size.
        ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush);
        assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
        ZSTD_freeCCtx(c);
        assert_int_equal(spy_decompress(SPY_ENCODING_ZSTD, z, out.pos, &b, &e),
                         log == 23 ? 0 : SPY_ERR_INVALID);
    }
}

static void compressing_into_a_small_buffer_is_an_error(void **state)
{
    (void)state;
    uint8_t noise[2000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * 2654435761u >> 11);
    for (size_t k = 0; k < SPY_COUNT(encodings); k++) {
        _cleanup_buf_ struct spy_buf tight = SPY_BUF_INIT(50), small = SPY_BUF_INIT(60);
        assert_int_equal(spy_compress(encodings[k], noise, sizeof noise, &tight, NULL),
                         SPY_ERR_LIMIT);
        assert_int_equal(spy_compress(encodings[k], "abc", 3, &small, NULL), 0);
    }
}

static void magic_bytes_identify_the_encoding(void **state)
{
    (void)state;
    enum spy_encoding e = SPY_ENCODING_ZSTD;
    assert_int_equal(spy_encoding_parse(NULL, &e), 0);
    assert_int_equal(e, SPY_ENCODING_IDENTITY);
    assert_int_equal(spy_encoding_parse("GZip", &e), 0);
    assert_int_equal(e, SPY_ENCODING_GZIP);
    assert_int_equal(spy_encoding_parse("zstd", &e), 0);
    assert_int_equal(e, SPY_ENCODING_ZSTD);
    assert_int_equal(spy_encoding_parse("br", &e), SPY_ERR_UNSUPPORTED);
    assert_int_equal(spy_encoding_parse("gzip, zstd", &e), SPY_ERR_UNSUPPORTED);
    assert_int_equal(e, SPY_ENCODING_ZSTD);
}

RUN(T(decompression_restores_the_bytes), T(one_byte_over_the_cap_is_refused),
    T(a_bomb_is_stopped_at_the_cap), T(every_truncation_and_trailing_byte_is_damage),
    T(damage_is_found_by_the_checksum_or_survived), T(members_and_frames_in_a_row_are_one_body),
    T(a_zstd_window_above_8_mib_is_refused), T(compressing_into_a_small_buffer_is_an_error),
    T(magic_bytes_identify_the_encoding))
