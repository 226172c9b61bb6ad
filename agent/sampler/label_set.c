#include "agent/sampler/label_set.h"
#include "shared/base/err.h"
#include <stdlib.h>
#include <string.h>

static size_t find_key(const struct spy_label_set *l, const char *key)
{
    size_t i = 0;
    while (i < l->n && strcmp(l->pairs[i][0], key))
        i++;
    return i;
}

void spy_label_set_free(struct spy_label_set *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->pairs[i][0]);
        free(l->pairs[i][1]);
    }
    l->n = 0;
}

int spy_label_set_put(struct spy_label_set *l, const char *key, const char *value)
{
    size_t i = find_key(l, key);
    if (i == SPY_LABEL_SET_MAX)
        return SPY_ERR_LIMIT;
    char *k = i == l->n ? strdup(key) : l->pairs[i][0], *v = strdup(value);
    if (!k || !v) {
        if (i == l->n)
            free(k);
        free(v);
        return SPY_ERR_NOMEM;
    }
    if (i == l->n)
        l->n++;
    else
        free(l->pairs[i][1]);
    l->pairs[i][0] = k;
    l->pairs[i][1] = v;
    return 0;
}

const char *spy_label_set_get(const struct spy_label_set *l, const char *key)
{
    size_t i = find_key(l, key);
    return i < l->n ? l->pairs[i][1] : "";
}

void spy_label_set_drop(struct spy_label_set *l, const char *key)
{
    size_t i = find_key(l, key);
    if (i == l->n)
        return;
    free(l->pairs[i][0]);
    free(l->pairs[i][1]);
    memmove(&l->pairs[i], &l->pairs[i + 1], (--l->n - i) * sizeof l->pairs[0]);
}

int spy_label_set_intern(const struct spy_label_set *l, struct spy_profile *p, const char *type,
                         uint32_t *ret)
{
    struct spy_label labels[SPY_LABEL_SET_MAX + 1];
    size_t n = l->n;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = spy_profile_cstr(p, l->pairs[i][0], &labels[i].key);
        if (r == 0)
            r = spy_profile_cstr(p, l->pairs[i][1], &labels[i].value);
    }
    if (r == 0 && type)
        r = spy_profile_cstr(p, SPY_LABEL_SAMPLE_TYPE, &labels[n].key);
    if (r == 0 && type)
        r = spy_profile_cstr(p, type, &labels[n++].value);
    return r < 0 ? r : spy_profile_series(p, labels, n, ret);
}
