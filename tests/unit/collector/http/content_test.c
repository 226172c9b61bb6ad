// How bodies are sent: the coding, the entity tag, the memory that is held.
#include "collector/http/content.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <string.h>

static void the_encoding_follows_the_weights_of_accept_encoding(void **state)
{
    (void)state;
    enum { NONE = SPY_ENCODING_IDENTITY, GZIP = SPY_ENCODING_GZIP, ZSTD = SPY_ENCODING_ZSTD };
    static const struct {
        const char *header;
        int want;
    } rows[] = {
        {"", NONE},
        {"gzip", GZIP},
        {"GZip", GZIP},
        {"x-gzip", GZIP},
        {"zstd", ZSTD},
        {"gzip, deflate, br, zstd", ZSTD},
        {"gzip;q=1.0, zstd;q=0.5", GZIP},
        {"gzip ; q=0.2 , zstd\t;\tQ=0.3", ZSTD},
        {"gzip;q=0", NONE},
        {"gzip;q=0, zstd;q=0.000", NONE},
        {"gzip;q=0.001", GZIP},
        {"identity, gzip;q=0.5", NONE},
        {"identity;q=0, gzip", GZIP},
        {"identity;q=0", NONE}, // nothing is left: sent as it is
        {"*", GZIP},
        {"*;q=0", NONE},
        {"*;q=0, zstd", ZSTD},
        {"gzip;q=0, *", NONE},
        {"br, deflate", NONE},
        {"gzipped, xzstd", NONE},
        {"gzip;level=9;q=0", NONE},
        {"gzip;q=", NONE},
        {"gzip;q=nan, zstd;q=-1", NONE},
        {",, ,gzip", GZIP},
        {";q=1,;,gzip;", GZIP},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if ((int)spy_content_choose(rows[i].header) != rows[i].want)
            fail_msg("'%s' chose %d", rows[i].header, (int)spy_content_choose(rows[i].header));
}

static void an_etag_matches_by_its_whole_text(void **state)
{
    (void)state;
    assert_true(spy_content_is_known("\"abc\"", "\"abc\""));
    assert_true(spy_content_is_known("W/\"abc\"", "\"abc\""));
    assert_true(spy_content_is_known("\"x\", \"abc\" , \"y\"", "\"abc\""));
    assert_true(spy_content_is_known(" *", "\"abc\""));
    assert_false(spy_content_is_known("", "\"abc\""));
    assert_false(spy_content_is_known("\"abcd\"", "\"abc\""));
    assert_false(spy_content_is_known("\"dabc\"", "\"abc\""));
    assert_false(spy_content_is_known("*", ""));
}

static struct spy_http_request get(const char *accept_encoding)
{
    return (struct spy_http_request){
        .method = "GET", .accept_encoding = accept_encoding, .if_none_match = "", .may_wait = true};
}

static struct spy_http_response answer_of(size_t len)
{
    struct spy_http_response res = {
        .status = 200, .content_type = "application/json", .body = SPY_BUF_INIT(1 << 24)};
    for (size_t i = 0; i < len; i++)
        spy_buf_putc(&res.body, (char)('a' + i * i % 7));
    return res;
}

static void a_body_is_compressed_where_that_saves_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *header, *coding, *type;
        size_t len;
        bool waits;
    } rows[] = {
        {"gzip", "gzip", "application/json", 100000, true},
        {"zstd", "zstd", "text/plain; charset=utf-8", 100000, true},
        {"zstd", "zstd", "image/svg+xml", 600, true},
        {"gzip", NULL, "application/json", 500, true},
        {"", NULL, "application/json", 100000, true},
        {"gzip", "gzip", "application/proto", 100000, true},
        {"gzip", NULL, "application/x-protobuf", 100000, true},
        {"gzip", NULL, "application/protobuf", 100000, true}, // acknowledgements of pushes
        {"gzip", "gzip", "application/json", 30000, false},
        {"gzip", NULL, "application/json", 100000, false}, // others wait for their bytes meanwhile
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_http_request req = get(rows[i].header);
        struct spy_http_response res = answer_of(rows[i].len), before = answer_of(rows[i].len);
        req.may_wait = rows[i].waits;
        res.content_type = rows[i].type;
        spy_content_prepare(&req, &res);
        assert_int_equal(!res.content_encoding, !rows[i].coding);
        if (rows[i].coding) {
            struct spy_buf back = SPY_BUF_INIT(1 << 24);
            enum spy_encoding e;
            assert_string_equal(res.content_encoding, rows[i].coding);
            assert_int_equal(spy_encoding_parse(res.content_encoding, &e), 0);
            assert_int_equal(spy_decompress(e, res.body.data, res.body.len, &back, NULL), 0);
            assert_int_equal(back.len, before.body.len);
            assert_memory_equal(back.data, before.body.data, back.len);
            assert_in_range(res.body.len, 10, rows[i].len / 2);
            assert_int_equal(res.body.cap, res.body.len + 1); // no more is held than is sent
            spy_buf_free(&back);
        } else {
            assert_int_equal(res.body.len, rows[i].len);
        }
        spy_buf_free(&res.body);
        spy_buf_free(&before.body);
    }
}

static void a_matching_etag_gets_304(void **state)
{
    (void)state;
    struct spy_http_request req = get("gzip"), other = get("zstd");
    struct spy_http_response first = answer_of(9000), again = answer_of(9000),
                             changed = answer_of(9001), packed = answer_of(9000);
    spy_content_prepare(&req, &first);
    assert_int_equal(first.status, 200);
    assert_int_equal(strlen(first.etag), 34);
    req.if_none_match = other.if_none_match = first.etag;
    spy_content_prepare(&req, &again);
    assert_int_equal(again.status, 304);
    assert_int_equal(again.body.len, 0);
    assert_string_equal(again.etag, first.etag);
    spy_content_prepare(&req, &changed);
    assert_int_equal(changed.status, 200);
    spy_content_prepare(&other, &packed); // other bytes, so another tag
    assert_int_equal(packed.status, 200);
    assert_string_not_equal(packed.etag, first.etag);
    spy_buf_free(&first.body);
    spy_buf_free(&changed.body);
    spy_buf_free(&packed.body);
}

static void errors_and_pushes_have_no_etag(void **state)
{
    (void)state;
    struct spy_http_request req = get("gzip"), push = get("");
    struct spy_http_response res = answer_of(2000), stored = answer_of(2000);
    req.if_none_match = push.if_none_match = "*";
    push.method = "POST";
    spy_content_prepare(&push, &stored);
    assert_int_equal(stored.status, 200);
    spy_http_error(&res, 404, "no", "none");
    spy_content_prepare(&req, &res);
    assert_int_equal(res.status, 404);
    assert_string_equal(res.etag, "");
    assert_string_equal(stored.etag, "");
    spy_buf_free(&res.body);
    spy_buf_free(&stored.body);
}

static void a_constant_answer_is_sent_in_the_form_that_is_accepted(void **state)
{
    (void)state;
    static const struct spy_http_constant both = {"whole", "gz", 5, 2, "\"1\"", "\"1-gzip\""};
    static const struct spy_http_constant whole = {"whole", NULL, 5, 0, "\"2\"", "\"2-gzip\""};
    static const struct {
        const char *accept, *known;
        const struct spy_http_constant *of;
        unsigned status;
        const char *coding, *etag;
    } rows[] = {
        {"zstd, gzip", "", &both, 200, "gzip", "\"1-gzip\""},
        {"gzip;q=0.5, identity", "", &both, 200, NULL, "\"1\""},
        {"zstd", "", &both, 200, NULL, "\"1\""},
        {"", "", &both, 200, NULL, "\"1\""},
        {"gzip", "", &whole, 200, NULL, "\"2\""},
        {"gzip", "\"1-gzip\"", &both, 304, "gzip", "\"1-gzip\""},
        {"gzip", "\"1\"", &both, 200, "gzip", "\"1-gzip\""},
        {"", "\"0\", \"1\"", &both, 304, NULL, "\"1\""},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_http_request req = get(rows[i].accept);
        struct spy_http_response res = {.status = 200, .constant = rows[i].of};
        req.if_none_match = rows[i].known;
        spy_content_prepare(&req, &res);
        assert_int_equal(res.status, rows[i].status);
        assert_string_equal(res.etag, rows[i].etag);
        assert_int_equal(!res.content_encoding, !rows[i].coding);
        assert_ptr_equal(res.sent, rows[i].coding ? rows[i].of->packed : rows[i].of->data);
        assert_int_equal(res.sent_len, res.status == 304 ? 0 : rows[i].coding ? 2 : 5);
        assert_int_equal(res.varies, rows[i].of == &both);
    }
}

// A packed answer that is one too many becomes an error, which is not packed.
static void an_error_discards_the_whole_answer(void **state)
{
    (void)state;
    struct spy_http_request req = get("gzip");
    struct spy_http_response res = answer_of(9000);
    res.max_age = 300;
    spy_content_prepare(&req, &res);
    assert_string_equal(res.content_encoding, "gzip");
    spy_http_error(&res, 503, "too much", "later");
    assert_null(res.content_encoding);
    assert_string_equal(res.etag, "");
    assert_int_equal(res.max_age, 0);
    spy_buf_free(&res.body);
}

RUN(T(the_encoding_follows_the_weights_of_accept_encoding), T(an_etag_matches_by_its_whole_text),
    T(a_body_is_compressed_where_that_saves_bytes), T(a_matching_etag_gets_304),
    T(errors_and_pushes_have_no_etag), T(an_error_discards_the_whole_answer),
    T(a_constant_answer_is_sent_in_the_form_that_is_accepted))
