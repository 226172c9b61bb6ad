// The first byte chooses the encoding and the cap, which is never passed. What was unpacked packs
// and unpacks to itself.
#ifdef UNPACK // the collector's own way
#include "collector/ingest/unpack.h"
#else
#include "shared/base/compress.h"
#define UNPACK spy_decompress
#endif
#include "tests/fuzz/fuzz.h"
#include <string.h>

static void again(enum spy_encoding e, const struct spy_buf *b)
{
    struct spy_buf packed = SPY_BUF_INIT(1 << 20), back = SPY_BUF_INIT(b->len);
    MUST(spy_compress(e, b->data, b->len, &packed, NULL) == 0);
    MUST(spy_decompress(e, packed.data, packed.len, &back, NULL) == 0);
    MUST(back.len == b->len && (!b->len || !memcmp(back.data, b->data, b->len)));
    spy_buf_free(&packed);
    spy_buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    enum spy_encoding e = (enum spy_encoding)(data[0] % 3);
    struct spy_buf out = SPY_BUF_INIT(data[0] & 0x80 ? 200000 : 100);
    struct spy_err err = {0};
    int r = UNPACK(e, data + 1, size - 1, &out, &err);
    MUST(out.len <= out.max && out.cap <= 2 * out.max + 64);
    MUST(r == 0 || (r == err.code && err.msg[0]));
    if (r == 0)
        again(e, &out);
    spy_buf_free(&out);
    return 0;
}
