// Any bytes become a JSON string that a JSON reader takes, and a label that is valid UTF-8 on one
// line; spy_utf8_len agrees with the C library.
#include "shared/base/buf.h"
#include "tests/fuzz/fuzz.h"
#include <jansson.h>
#include <string.h>

static void check_label(const char *text, size_t size)
{
    struct spy_buf b = SPY_BUF_INIT(1 << 20);
    size_t max = size ? (uint8_t)text[0] : 9;
    MUST(spy_buf_text(&b, text, size, max) == 0);
    MUST(b.len <= 3 * max + 3);
    for (size_t i = 0, n; i < b.len; i += n) {
        n = spy_utf8_len((char *)b.data + i, b.len - i);
        MUST(n && b.data[i] >= 0x20);
    }
    spy_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct spy_buf b = SPY_BUF_INIT(16 << 20);
    spy_buf_puts(&b, "[\"");
    MUST(spy_buf_json(&b, text, size) == 0);
    spy_buf_puts(&b, "\"]");
    json_t *j = json_loadb((char *)b.data, b.len, JSON_ALLOW_NUL, NULL);
    MUST(j);
    const char *back = json_string_value(json_array_get(j, 0));
    size_t len = json_string_length(json_array_get(j, 0)), at = 0;
    for (size_t i = 0, n; i < size; i += n ? n : 1) { // what was valid comes back as it was
        n = spy_utf8_len(text + i, size - i);
        MUST(at + (n ? n : 3) <= len);
        MUST(!memcmp(back + at, n ? text + i : "\xef\xbf\xbd", n ? n : 3));
        at += n ? n : 3;
    }
    MUST(at == len);
    json_decref(j);
    spy_buf_free(&b);
    check_label(text, size);
    return 0;
}
