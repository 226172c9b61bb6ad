// Any bytes decode to profiles that hang together, within the limits, or to an error with a
// message; FORM is protobuf or, in otlp_json, JSON. What was decoded encodes again, and comes back
// the same from there.
#include "shared/otlp/otlp.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

#ifndef FORM
#define FORM SPY_OTLP_PROTOBUF
#endif

static void check(const struct spy_profile *p, const struct spy_otlp_limits *l)
{
    MUST(spy_profile_n_series(p) == 1);
    MUST(!l->caps.stacks || spy_profile_n_stacks(p) <= l->caps.stacks);
    for (uint32_t i = 1; i < spy_profile_n_stacks(p); i++)
        MUST(spy_profile_stack_at(p, i)->parent < i);
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++)
        MUST(spy_profile_sample_at(p, i)->stack < spy_profile_n_stacks(p));
    const struct spy_series *s = spy_profile_series_get(p, 0);
    MUST(s->start_ns <= INT64_MAX && s->start_ns + s->duration_ns <= INT64_MAX);
}

static void again(const struct spy_profile *p)
{
    struct spy_buf b = SPY_BUF_INIT(64 << 20);
    struct spy_profile **list;
    struct spy_err err = {0};
    size_t n;
    MUST(spy_otlp_encode(p, NULL, 0, &b, &err) == 0);
    MUST(spy_otlp_decode(SPY_OTLP_PROTOBUF, b.data, b.len, &spy_otlp_default_limits, &list, &n,
                         NULL, &err) == 0);
    MUST(n == 1 && spy_profile_n_samples(list[0]) <= spy_profile_n_samples(p));
    MUST(!memcmp(spy_profile_series_get(list[0], 0)->profile_id,
                 spy_profile_series_get(p, 0)->profile_id, 16));
    spy_profile_free(list[0]);
    free(list);
    spy_buf_free(&b);
}

// Tight limits for half of the inputs.
static struct spy_otlp_limits limits_of(const uint8_t *data, size_t size)
{
    struct spy_otlp_limits l = spy_otlp_default_limits;
    if (size && data[size - 1] & 1) {
        l.arena_bytes = 4096 + 64u * data[size - 1];
        l.profiles = 3;
        l.samples = 50;
        l.stack_depth = 20;
        l.caps.stacks = 100;
        l.steps = 500;
        l.steps_per_byte = 1;
    }
    return l;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_otlp_limits l = limits_of(data, size);
    struct spy_profile **list;
    struct spy_otlp_rejected rejected = {0};
    struct spy_err err = {0};
    size_t n;
    int r = spy_otlp_decode(FORM, data, size, &l, &list, &n, &rejected, &err);
    MUST(r == 0 || (r == err.code && err.msg[0]));
    if (r == 0) {
        MUST(n + rejected.n <= l.profiles && !rejected.n == !rejected.reason[0]);
        for (size_t i = 0; i < n; i++) {
            check(list[i], &l);
            if (i < 4)
                again(list[i]);
            spy_profile_free(list[i]);
        }
        free(list);
    }
    uint64_t number;
    char message[16];
    spy_otlp_decode_response(data, size, &number, message, sizeof message);
    return 0;
}
