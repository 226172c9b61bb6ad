// decoder.h - a request on its way into profiles. Inside of shared/otlp.
//
//     decode.c      the request, its profiles, samples and attributes
//     dictionary.c  what the dictionary holds for them: strings, functions, stacks
//     nesting.c     a look at the bytes before anything is unpacked
#pragma once
#include "shared/otlp/otlp.h"
#include <podspy_otlp.pb-c.h>
#include <stdbool.h>
#include <xxhash.h>

struct spy_otlp_decoder {
    const struct spy_otlp_limits *limits;
    const Spy__Otlp__ProfilesDictionary *d;
    struct spy_profile *p;                  // being filled; the dictionary's ids below are of it
    uint32_t *strings, *functions, *stacks; // dictionary index -> id + 1; 0: not yet
    uint64_t samples, frames;               // so far, of all profiles
    size_t made_bytes;                      // held by the profiles that are done
    XXH128_hash_t body;                     // of the whole request
    struct spy_err *err;
};

// SPY_ERR_INVALID: the request is malformed; what: how.
int spy_otlp_bad(struct spy_otlp_decoder *c, const char *what);
// r, with a message: what the profile said to something that was added to it.
int spy_otlp_failed(struct spy_otlp_decoder *c, int r);

// A string of the dictionary; NULL when index is out of range.
const char *spy_otlp_text(const struct spy_otlp_decoder *c, int32_t index);
// The stack of c->p that entry index of the stack table is; made when it is not there yet.
int spy_otlp_stack(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret);
// SPY_ERR_LIMIT once the profiles or the frames walked for them are more than the limits say.
int spy_otlp_check_budget(struct spy_otlp_decoder *c);

// Whether unpacking these bytes could end the stack.
bool spy_otlp_nests_too_deep(const uint8_t *data, size_t len);
