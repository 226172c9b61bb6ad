// label_set.h - the labels of a process: pairs of key and value. Inside of agent/sampler.
#pragma once
#include "shared/profile/profile.h"
#include <stddef.h>

enum { SPY_LABEL_SET_MAX = 40 };

// Zeroed: it is empty.
struct spy_label_set {
    char *pairs[SPY_LABEL_SET_MAX][2]; // owned
    size_t n;
};

void spy_label_set_free(struct spy_label_set *l);
// Sets the value of a key; both are copied. SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_label_set_put(struct spy_label_set *l, const char *key, const char *value);
// "": there is no such key. Borrowed.
const char *spy_label_set_get(const struct spy_label_set *l, const char *key);
void spy_label_set_drop(struct spy_label_set *l, const char *key);
// The series with these labels and, if type is not NULL, with that sample type. The codes of
// profile.h.
int spy_label_set_intern(const struct spy_label_set *l, struct spy_profile *p, const char *type,
                         uint32_t *ret);
