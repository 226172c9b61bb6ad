// Any bytes as a file of the spool. Sums stand in the fuzzer's way, so the input is also tried with
// the right ones put in, as if someone who can write the folder had made the file.
#include "agent/upload/losses.h"
#include "agent/upload/spool_file.h"
#include "shared/base/compress.h"
#include "shared/base/map.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack(const uint8_t *data, size_t size)
{
    struct spy_spool_view v = {0};
    struct spy_err err = {0};
    int r = spy_spool_unpack(data, size, &v, &err);
    if (r == 0 && v.body_len > size)
        abort();
    if (r < 0 && r != SPY_ERR_TORN && v.n_rows)
        abort();
    struct spy_profile *p = spy_profile_new();
    for (size_t i = 0; p && i < v.n_rows && i < 64; i++) {
        uint32_t id;
        spy_losses_unpack(p, v.rows[i].labels, v.rows[i].labels_len, &id);
    }
    spy_profile_free(p);
    spy_spool_view_free(&v);
}

// The input as a ledger, packed, in a file whose sums are right.
static void unpack_with_sums(const uint8_t *data, size_t size)
{
    struct spy_buf file = SPY_BUF_INIT(1 << 20);
    uint8_t head[SPY_SPOOL_HEADER] = "SPYSPL1\n";
    uint32_t n_rows = size ? data[0] : 0;
    uint64_t sum = spy_hash_bytes("", 0);
    memcpy(head + 16, &sum, sizeof sum);
    spy_buf_append(&file, head, sizeof head);
    spy_compress(SPY_ENCODING_ZSTD, data + (size ? 1 : 0), size ? size - 1 : 0, &file, NULL);
    if (!file.failed) {
        uint32_t ledger_len = (uint32_t)(file.len - sizeof head);
        memcpy(file.data + 32, &ledger_len, sizeof ledger_len);
        memcpy(file.data + 36, &n_rows, sizeof n_rows);
        sum = spy_hash_bytes(file.data + 16, file.len - 16);
        memcpy(file.data + 8, &sum, sizeof sum);
        unpack(file.data, file.len);
    }
    spy_buf_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unpack(data, size);
    unpack_with_sums(data, size);
    return 0;
}
