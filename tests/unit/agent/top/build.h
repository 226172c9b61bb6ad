// build.h - small profiles for the tests of agent/top.
#pragma once
#include "shared/profile/profile.h"
#include "tests/unit/test.h"

// A profile with one series; samples are added by add_stack.
static inline struct spy_profile *new_profile(uint32_t *ret_series)
{
    struct spy_profile *p = spy_profile_new();
    assert_int_equal(spy_profile_series(p, NULL, 0, ret_series), 0);
    return p;
}

// Counts ns for a stack of n frames, the innermost last: names[i] at lines[i] of "/x/pkg/f.py".
static inline void add_stack(struct spy_profile *p, uint32_t thread, uint32_t state, uint64_t ns,
                             size_t n, const char *const *names, const uint32_t *lines)
{
    uint32_t stack = 0, frame, function;
    for (size_t i = 0; i < n; i++) {
        struct spy_function f = {0};
        assert_int_equal(spy_profile_cstr(p, names[i], &f.name), 0);
        assert_int_equal(spy_profile_cstr(p, "/x/pkg/f.py", &f.filename), 0);
        assert_int_equal(spy_profile_function(p, &f, &function), 0);
        assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, lines[i]}, &frame), 0);
        assert_int_equal(spy_profile_stack(p, stack, frame, &stack), 0);
    }
    assert_int_equal(spy_profile_add(p, 0, stack, thread, state, 1, ns), 0);
}

static inline uint32_t add_thread(struct spy_profile *p, uint64_t tid, const char *name)
{
    uint32_t text, thread;
    assert_int_equal(spy_profile_cstr(p, name, &text), 0);
    assert_int_equal(spy_profile_thread(p, tid, text, &thread), 0);
    return thread;
}
