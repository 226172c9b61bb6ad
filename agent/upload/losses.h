// losses.h - samples that were taken and then lost, by the labels of their series. Inside of
// agent/upload.
//
// A set of labels is carried as one string of bytes ("packed"): for each label, in the profile's
// order (sorted by key), a 32-bit length and the key, a 32-bit length and the value. Two series
// have the same labels exactly when these bytes are equal.
//
// Bound: SPY_LOSSES_MAX rows; losses of further series are added up in one row that has only
// the node's labels and a podspy.problem that says so. Not thread safe.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/profile/profile.h"

enum { SPY_LOSSES_MAX = 4096 };

struct spy_loss {
    uint8_t *labels; // packed; owned
    uint32_t len;
    uint64_t hash, samples;
};

struct spy_losses {
    struct spy_loss *rows;
    size_t n, cap;
};

// Adds samples to the row of these labels (saturating). 0 samples: nothing. 0 or SPY_ERR_NOMEM.
int spy_losses_add(struct spy_losses *l, const uint8_t *labels, uint32_t len, uint64_t samples);
// Takes at most samples away; a row that reaches 0 is removed.
void spy_losses_sub(struct spy_losses *l, const uint8_t *labels, uint32_t len, uint64_t samples);
uint64_t spy_losses_get(const struct spy_losses *l, const uint8_t *labels, uint32_t len);
void spy_losses_free(struct spy_losses *l);

// The labels of a series, appended to out.
int spy_losses_pack(const struct spy_profile *p, uint32_t series, struct spy_buf *out);
// Finds or adds the series with these labels in p. SPY_ERR_INVALID when the bytes are
// not packed labels; else as spy_profile_series.
int spy_losses_unpack(struct spy_profile *p, const uint8_t *labels, uint32_t len, uint32_t *ret);
