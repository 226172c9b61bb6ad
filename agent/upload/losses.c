#include "agent/upload/losses.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define OTHERS "losses of more processes than are listed one by one"

struct text {
    const char *s;
    uint32_t len;
};

static bool read_packed_text(const uint8_t **at, const uint8_t *end, struct text *ret)
{
    uint32_t len;
    if ((size_t)(end - *at) < sizeof len)
        return false;
    memcpy(&len, *at, sizeof len);
    *at += sizeof len;
    if ((size_t)(end - *at) < len)
        return false;
    *ret = (struct text){(const char *)*at, len};
    *at += len;
    return true;
}

static void put_text(struct spy_buf *out, const char *s, uint32_t len)
{
    spy_buf_append(out, &len, sizeof len);
    spy_buf_append(out, s, len);
}

static bool is_key(struct text t, const char *key)
{
    return t.len == strlen(key) && !memcmp(t.s, key, t.len);
}

static struct spy_loss *find_loss(const struct spy_losses *l, const uint8_t *labels, uint32_t len)
{
    uint64_t hash = spy_hash_bytes(labels, len);
    for (size_t i = 0; i < l->n; i++) {
        struct spy_loss *row = &l->rows[i];
        if (row->hash == hash && row->len == len && !memcmp(row->labels, labels, len))
            return row;
    }
    return NULL;
}

static int push_row(struct spy_losses *l, const uint8_t *labels, uint32_t len, uint64_t samples)
{
    // A machine is one node, so very few rows are past the bound; twice the bound is for safety.
    int r = spy_grow(&l->rows, &l->cap, l->n + 1, sizeof *l->rows, 2 * SPY_LOSSES_MAX);
    uint8_t *copy = r == 0 ? malloc(len + 1u) : NULL;
    if (!copy)
        return SPY_ERR_NOMEM;
    memcpy(copy, labels, len);
    l->rows[l->n++] = (struct spy_loss){copy, len, spy_hash_bytes(labels, len), samples};
    return 0;
}

// Appends the labels that name the node, and a label that says what this row is.
static void labels_of_others(const uint8_t *labels, uint32_t len, struct spy_buf *out)
{
    const uint8_t *at = labels, *end = labels + len;
    struct text key, value;
    while (at < end && read_packed_text(&at, end, &key) && read_packed_text(&at, end, &value))
        if (is_key(key, SPY_LABEL_HOST) || is_key(key, SPY_LABEL_NODE)) {
            put_text(out, key.s, key.len);
            put_text(out, value.s, value.len);
        }
    put_text(out, SPY_LABEL_PROBLEM, sizeof SPY_LABEL_PROBLEM - 1);
    put_text(out, OTHERS, sizeof OTHERS - 1);
}

int spy_losses_add(struct spy_losses *l, const uint8_t *labels, uint32_t len, uint64_t samples)
{
    if (!samples)
        return 0;
    _cleanup_buf_ struct spy_buf others = SPY_BUF_INIT((size_t)len + 1024);
    struct spy_loss *row = find_loss(l, labels, len);
    if (!row && l->n >= SPY_LOSSES_MAX) {
        labels_of_others(labels, len, &others);
        if (others.failed)
            return others.failed;
        labels = others.data;
        len = (uint32_t)others.len;
        row = find_loss(l, labels, len);
    }
    if (!row)
        return push_row(l, labels, len, samples);
    if (__builtin_add_overflow(row->samples, samples, &row->samples))
        row->samples = UINT64_MAX;
    return 0;
}

void spy_losses_sub(struct spy_losses *l, const uint8_t *labels, uint32_t len, uint64_t samples)
{
    struct spy_loss *row = find_loss(l, labels, len);
    if (!row)
        return;
    row->samples -= samples < row->samples ? samples : row->samples;
    if (row->samples)
        return;
    free(row->labels);
    *row = l->rows[--l->n];
}

uint64_t spy_losses_get(const struct spy_losses *l, const uint8_t *labels, uint32_t len)
{
    const struct spy_loss *row = find_loss(l, labels, len);
    return row ? row->samples : 0;
}

void spy_losses_free(struct spy_losses *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->rows[i].labels);
    free(l->rows);
    *l = (struct spy_losses){0};
}

int spy_losses_pack(const struct spy_profile *p, uint32_t series, struct spy_buf *out)
{
    const struct spy_series *s = spy_profile_series_get(p, series);
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        put_text(out, spy_profile_text(p, l->key), (uint32_t)spy_profile_text_len(p, l->key));
        put_text(out, spy_profile_text(p, l->value), (uint32_t)spy_profile_text_len(p, l->value));
    }
    return out->failed;
}

int spy_losses_unpack(struct spy_profile *p, const uint8_t *labels, uint32_t len, uint32_t *ret)
{
    struct spy_label list[SPY_LABELS_MAX];
    const uint8_t *at = labels, *end = labels + len;
    size_t n = 0;
    while (at < end) {
        struct text key, value;
        if (n == SPY_LABELS_MAX || !read_packed_text(&at, end, &key) ||
            !read_packed_text(&at, end, &value))
            return SPY_ERR_INVALID;
        int r = spy_profile_string(p, key.s, key.len, &list[n].key);
        if (r == 0)
            r = spy_profile_string(p, value.s, value.len, &list[n].value);
        if (r < 0)
            return r;
        n++;
    }
    return spy_profile_series(p, list, n, ret);
}
