// Bodies are unpacked as shared/base/compress.c does it, whatever they claim about their length.
#include "collector/ingest/unpack.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>

enum { LONG = 300000 };

static struct spy_buf packed(enum spy_encoding e, size_t len)
{
    struct spy_buf out = SPY_BUF_INIT(1 << 22);
    _cleanup_free_ char *text = malloc(len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + i * i / 7 % 23);
    assert_int_equal(spy_compress(e, text, len, &out, NULL), 0);
    return out;
}

// Both ways, with the same cap: the result must be the same, and so must the bytes.
static int unpack_both(enum spy_encoding e, const uint8_t *data, size_t len, size_t max)
{
    _cleanup_buf_ struct spy_buf a = SPY_BUF_INIT(max), b = SPY_BUF_INIT(max);
    struct spy_err err = {0};
    int r = spy_unpack(e, data, len, &a, &err);
    assert_int_equal(r, spy_decompress(e, data, len, &b, NULL));
    assert_true(r == 0 || err.msg[0]);
    if (r == 0) {
        assert_int_equal(a.len, b.len);
        assert_memory_equal(spy_buf_str(&a), spy_buf_str(&b), a.len);
    }
    return r;
}

static void both_encodings_give_the_same_bytes_and_errors(void **state)
{
    static const size_t lengths[] = {0, 1, 4095, 4096, 4097, LONG};
    (void)state;
    for (int e = SPY_ENCODING_IDENTITY; e <= SPY_ENCODING_ZSTD; e++)
        for (size_t i = 0; i < SPY_COUNT(lengths); i++) {
            _cleanup_buf_ struct spy_buf b = packed((enum spy_encoding)e, lengths[i]);
            const uint8_t *data = b.data ? b.data : (const uint8_t *)"";
            assert_int_equal(unpack_both((enum spy_encoding)e, data, b.len, 1 << 20), 0);
            assert_int_equal(unpack_both((enum spy_encoding)e, data, b.len, lengths[i]), 0);
            if (lengths[i])
                assert_int_equal(unpack_both((enum spy_encoding)e, data, b.len, lengths[i] - 1),
                                 SPY_ERR_LIMIT);
            for (size_t cut = 0; e && cut < b.len && cut < 40; cut++)
                assert_int_equal(unpack_both((enum spy_encoding)e, data, cut, 1 << 20),
                                 SPY_ERR_INVALID);
        }
}

static void members_in_a_row_are_one_body(void **state)
{
    (void)state;
    for (int e = SPY_ENCODING_GZIP; e <= SPY_ENCODING_ZSTD; e++) {
        _cleanup_buf_ struct spy_buf b = packed((enum spy_encoding)e, LONG);
        _cleanup_buf_ struct spy_buf more = packed((enum spy_encoding)e, 77);
        assert_int_equal(spy_buf_append(&b, more.data, more.len), 0);
        assert_int_equal(unpack_both((enum spy_encoding)e, b.data, b.len, 1 << 20), 0);
        assert_int_equal(spy_buf_puts(&b, "garbage"), 0);
        assert_int_equal(unpack_both((enum spy_encoding)e, b.data, b.len, 1 << 20),
                         SPY_ERR_INVALID);
    }
}

// RFC 1952 checks the length, so a wrong one is damage; it must cost no more than the cap.
static void a_wrong_length_is_damage(void **state)
{
    static const uint32_t says[] = {0, 1, LONG - 1, LONG + 1, 1 << 20, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(says); i++) {
        _cleanup_buf_ struct spy_buf b = packed(SPY_ENCODING_GZIP, LONG);
        memcpy(b.data + b.len - 4, &says[i], 4);
        assert_int_equal(unpack_both(SPY_ENCODING_GZIP, b.data, b.len, 1 << 20), SPY_ERR_INVALID);
    }
}

RUN(T(both_encodings_give_the_same_bytes_and_errors), T(members_in_a_row_are_one_body),
    T(a_wrong_length_is_damage))
