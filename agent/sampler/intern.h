// intern.h - frames and stacks put into a profile. Inside of agent/sampler.
//
// What a code object or a native function became is kept with it: once all are known, nothing is
// allocated. The functions return the codes of profile.h.
#pragma once
#include "agent/python/package.h"
#include "agent/sampler/hung_mark.h"
#include "agent/sampler/mixed.h"
#include "shared/profile/profile.h"

struct spy_intern {
    struct spy_profile *profile;
    uint32_t epoch;          // of the profile, not 0: ids of another epoch are not valid in it
    uint32_t outside;        // the stack of a thread that runs no Python code
    struct spy_codes *codes; // of the process
    // Where the files of new code objects are looked up, in the root of the target; NULL: nowhere.
    struct spy_packages *packages;
    struct spy_hung_mark *mark;
    struct spy_target *target;
};

int spy_intern_marker(struct spy_profile *p, const char *text, uint32_t *ret_frame);
// `stack` has the outermost n_same frames of st.
int spy_intern_stack(const struct spy_intern *in, const struct spy_py_stack *st, uint32_t stack,
                     size_t n_same, uint32_t *ret);
// The stack of the outermost n frames of a stack of `depth` frames.
uint32_t spy_intern_outer(const struct spy_intern *in, uint32_t stack, size_t depth, size_t n);
// The n frames that were merged from st and its native stack.
int spy_intern_mixed(const struct spy_intern *in, struct spy_mixed *mixed,
                     const struct spy_py_stack *st, const struct spy_mixed_frame *frames, int n,
                     uint32_t *ret);
// The state of the sample: enum spy_state bits.
uint32_t spy_intern_state(const struct spy_py_stack *st);
