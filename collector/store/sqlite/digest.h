// digest.h - a stack by what it says: 128 bits that are equal for stacks of any profiles with the
// same frames. Inside of store/sqlite.
//
// Most stacks of a window were stored with an earlier one. By its digest such a stack is found at
// once, where its 30 frames would each cost a look into a large table. The key is random and never
// leaves the process, so a sender cannot make two stacks that are taken for one.
//
// Threads: pure functions.
#pragma once
#include "shared/profile/profile.h"

struct spy_digest {
    uint64_t low, high;
};

// The digests of all stacks of p, by their ids: *ret to free(). SPY_ERR_NOMEM.
int spy_digest_stacks(const struct spy_profile *p, uint64_t key, struct spy_digest **ret);
