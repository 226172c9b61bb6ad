#include "agent/upload/spool_file.h"
#include "shared/base/compress.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define MAGIC "SPYSPL1\n"

struct header {
    char magic[8];
    uint64_t head_sum; // of everything below, and of the ledger
    uint64_t body_sum;
    uint64_t took;
    uint32_t ledger_len, n_rows;
    uint64_t body_len;
};
_Static_assert(sizeof(struct header) == SPY_SPOOL_HEADER, "the header has no padding");

struct row {
    uint8_t profile_id[16];
    uint64_t samples, lost;
    uint32_t labels_len, zero;
};

static uint64_t head_sum(const uint8_t *data, size_t ledger_len)
{
    size_t from = offsetof(struct header, body_sum);
    return spy_hash_bytes(data + from, sizeof(struct header) - from + ledger_len);
}

int spy_spool_pack(const struct spy_spool_row *rows, size_t n, uint64_t took, const void *body,
                   size_t len, struct spy_buf *out, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf ledger = SPY_BUF_INIT(SPY_SPOOL_LEDGER_MAX);
    for (size_t i = 0; i < n; i++) {
        struct row r = {
            .samples = rows[i].samples, .lost = rows[i].lost, .labels_len = rows[i].labels_len};
        memcpy(r.profile_id, rows[i].profile_id, sizeof r.profile_id);
        spy_buf_append(&ledger, &r, sizeof r);
        spy_buf_append(&ledger, rows[i].labels, rows[i].labels_len);
    }
    if (ledger.failed || n > SPY_SPOOL_ROWS_MAX)
        return spy_err_set(err, ledger.failed ? ledger.failed : SPY_ERR_LIMIT, 0,
                           "the labels of %zu series are too much for one spool file", n);
    size_t at = out->len;
    struct header h = {.magic = MAGIC,
                       .body_sum = spy_hash_bytes(body, len),
                       .took = took,
                       .n_rows = (uint32_t)n,
                       .body_len = len};
    spy_buf_append(out, &h, sizeof h);
    int r = spy_compress(SPY_ENCODING_ZSTD, ledger.data ? ledger.data : (const uint8_t *)"",
                         ledger.len, out, err);
    if (r < 0)
        return r;
    h.ledger_len = (uint32_t)(out->len - at - sizeof h);
    memcpy(out->data + at, &h, sizeof h);
    h.head_sum = head_sum(out->data + at, h.ledger_len);
    memcpy(out->data + at, &h, sizeof h);
    spy_buf_append(out, body, len);
    return out->failed ? spy_err_set(err, out->failed, 0, "the window is too large to be spooled")
                       : 0;
}

uint64_t spy_spool_took(const uint8_t *data, size_t len)
{
    struct header h;
    if (len < sizeof h)
        return 0;
    memcpy(&h, data, sizeof h);
    return memcmp(h.magic, MAGIC, sizeof h.magic) ? 0 : h.took;
}

static int read_rows(const struct header *h, struct spy_spool_view *v)
{
    size_t at = 0;
    v->rows = calloc(h->n_rows + 1u, sizeof *v->rows);
    if (!v->rows)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < h->n_rows; i++) {
        struct row r;
        if (v->ledger.len - at < sizeof r)
            return SPY_ERR_INVALID;
        memcpy(&r, v->ledger.data + at, sizeof r);
        at += sizeof r;
        if (v->ledger.len - at < r.labels_len)
            return SPY_ERR_INVALID;
        struct spy_spool_row *to = &v->rows[v->n_rows++];
        memcpy(to->profile_id, r.profile_id, sizeof to->profile_id);
        to->samples = r.samples;
        to->lost = r.lost;
        to->labels = v->ledger.data + at;
        to->labels_len = r.labels_len;
        at += r.labels_len;
    }
    return at == v->ledger.len ? 0 : SPY_ERR_INVALID;
}

int spy_spool_unpack(const uint8_t *data, size_t len, struct spy_spool_view *ret,
                     struct spy_err *err)
{
    struct header h;
    *ret = (struct spy_spool_view){.ledger = SPY_BUF_INIT(SPY_SPOOL_LEDGER_MAX)};
    if (len < sizeof h)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "it is cut off");
    memcpy(&h, data, sizeof h);
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "it is not a spool file of this version");
    if (len - sizeof h < h.ledger_len || head_sum(data, h.ledger_len) != h.head_sum ||
        h.n_rows > SPY_SPOOL_ROWS_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "its head is damaged");
    int r = spy_decompress(SPY_ENCODING_ZSTD, data + sizeof h, h.ledger_len, &ret->ledger, err);
    if (r < 0)
        return r;
    r = read_rows(&h, ret);
    if (r < 0) {
        ret->n_rows = 0;
        return spy_err_set(err, r, 0, "its ledger cannot be parsed");
    }
    ret->took = h.took;
    const uint8_t *body = data + sizeof h + h.ledger_len;
    size_t left = len - sizeof h - h.ledger_len;
    if (left != h.body_len || spy_hash_bytes(body, left) != h.body_sum)
        return spy_err_set(err, SPY_ERR_TORN, 0, "its body is damaged");
    ret->body = body;
    ret->body_len = left;
    return 0;
}

void spy_spool_view_free(struct spy_spool_view *v)
{
    free(v->rows);
    spy_buf_free(&v->ledger);
    *v = (struct spy_spool_view){0};
}
