#include "collector/store/clickhouse/rowbin.h"
#include <string.h>

const uint8_t *spy_rowbin_bytes(struct spy_rowbin *r, size_t size)
{
    static const uint8_t none[1];
    if (r->is_short || r->is_bad || size > (size_t)(r->end - r->at)) {
        r->is_short = true;
        return NULL;
    }
    const uint8_t *at = r->at ? r->at : none;
    r->at += size;
    return at;
}

uint64_t spy_rowbin_element(const uint8_t *array, size_t i, size_t size)
{
    uint64_t n = 0;
    for (size_t k = 0; k < size; k++)
        n |= (uint64_t)array[i * size + k] << (8 * k);
    return n;
}

uint64_t spy_rowbin_number(struct spy_rowbin *r, size_t size)
{
    const uint8_t *at = spy_rowbin_bytes(r, size);
    return at ? spy_rowbin_element(at, 0, size) : 0;
}

size_t spy_rowbin_length(struct spy_rowbin *r, size_t size)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint64_t byte = spy_rowbin_number(r, 1);
        n |= (byte & 127) << shift;
        if (byte & 128)
            continue;
        if (n > SPY_ROWBIN_MAX / size)
            break;
        return (size_t)n;
    }
    r->is_bad = true;
    return 0;
}

void spy_rowbin_put(struct spy_buf *out, uint64_t number, size_t size)
{
    uint8_t bytes[8];
    for (size_t k = 0; k < size; k++)
        bytes[k] = (uint8_t)(number >> (8 * k));
    spy_buf_append(out, bytes, size);
}

void spy_rowbin_put_length(struct spy_buf *out, size_t n)
{
    uint8_t bytes[10];
    size_t len = 0;
    do
        bytes[len++] = (uint8_t)((n & 127) | (n > 127 ? 128 : 0));
    while (n >>= 7);
    spy_buf_append(out, bytes, len);
}

void spy_rowbin_put_text(struct spy_buf *out, const char *text, size_t len)
{
    spy_rowbin_put_length(out, len);
    spy_buf_append(out, text, len);
}
