// sums.h - what the windows of a roll-up sum up to, as one value. Inside of store/sqlite.
//
// varints (rows.h): windows, samples, start_ns, duration_ns, period_ns, the quality counters, each
// counter of the kernel with the wall time it was counted in, running_ns, runnable_ns, the account's
// period_ns. Behind them the 16 bytes of the profile_id while there is a single window.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

struct spy_sums {
    uint64_t windows, samples;
    struct spy_series series; // the windows united; labels are not used
};

// Adds other windows. Sums saturate.
void spy_sums_add(struct spy_sums *d, const struct spy_sums *s);
void spy_sums_encode(const struct spy_sums *s, struct spy_buf *out); // errors: out->failed
// SPY_ERR_INVALID: damaged.
int spy_sums_decode(const uint8_t *data, size_t len, struct spy_sums *ret);
