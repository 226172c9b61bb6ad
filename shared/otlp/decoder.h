// decoder.h - decoding a request into profiles. Inside of shared/otlp.
//
//     decode.c      the request, its profiles and samples
//     resource.c    the labels of a Resource, which identify the process
//     attribute.c   the dictionary's attributes
//     dictionary.c  the dictionary's strings, functions and stacks
//     nesting.c     checks the nesting before anything is unpacked
//     older.c       requests as pdata wrote them up to 0.147
//     json.c        the JSON form, read into the same messages
//
// Entries of the dictionary are read once for a request, or once for each profile that refers to
// them, never once for each reference. The work for each profile is counted in steps, which are
// bounded by the length of the request.
#pragma once
#include "shared/base/arena.h"
#include "shared/otlp/otlp.h"
#include <jansson.h>
#include <podspy_otlp.pb-c.h>
#include <stdbool.h>
#include <xxhash.h>

enum { SPY_OTLP_STEP_BYTES = 16 }; // bytes of text that count as one step

// For an entry of the dictionary: its id in the profile with this number (from 1).
struct spy_otlp_memo {
    uint32_t profile, id;
};

// An attribute of the dictionary, read once.
struct spy_otlp_attribute {
    bool is_read;
    bool has_value;
    const char *key, *text; // text: "" where the value is not text
    int64_t number;
    struct spy_otlp_memo string; // text in the profile
};

struct spy_otlp_decoder {
    const struct spy_otlp_limits *limits;
    const Spy__Otlp__ProfilesDictionary *d;
    struct spy_profile *p;                              // being filled; the memos hold ids of it
    uint32_t number;                                    // of p
    struct spy_otlp_memo *strings, *functions, *stacks; // functions: one for each kind
    struct spy_otlp_attribute *attributes;
    struct spy_otlp_memo *locations; // frames; of locations that have one
    // The stack made last, from its root on: each location, and the stack that ends with it.
    struct spy_otlp_step_of_path {
        int32_t location;
        uint32_t stack;
    } * path;
    size_t n_path, path_cap;
    uint32_t path_profile; // the profile whose stacks they are
    uint8_t *kinds;        // of locations: enum spy_frame_kind + 1; 0: not read yet
    uint64_t samples;      // so far, of all profiles
    uint64_t steps, steps_max;
    size_t made_bytes;  // held by the profiles that are done
    XXH128_hash_t body; // of the whole request
    struct spy_err *err;
};

// The labels of a Resource, as they are given to each of its profiles.
struct spy_otlp_labels {
    struct {
        const char *key, *value;
    } rows[SPY_LABELS_MAX];
    size_t n;
    uint64_t steps; // counted for each profile
};

// Returns SPY_ERR_INVALID: the request is malformed; what: in which way.
int spy_otlp_bad(struct spy_otlp_decoder *c, const char *what);
// Returns r, the result of adding to the profile, with a message.
int spy_otlp_failed(struct spy_otlp_decoder *c, int r);
// Counts n steps. SPY_ERR_LIMIT: more than the length of the request allows.
int spy_otlp_step(struct spy_otlp_decoder *c, uint64_t n);
// Adds text to the profile; its length counts as steps.
int spy_otlp_intern(struct spy_otlp_decoder *c, const char *text, uint32_t *ret);

// A string of the dictionary; NULL when index is out of range.
const char *spy_otlp_text(const struct spy_otlp_decoder *c, int32_t index);
// The attribute of the dictionary, read.
int spy_otlp_attribute(struct spy_otlp_decoder *c, int32_t index, struct spy_otlp_attribute **ret);
// Its text as a string of c->p.
int spy_otlp_attribute_string(struct spy_otlp_decoder *c, struct spy_otlp_attribute *a,
                              uint32_t *ret);
// A string value, inline or by index: *ret is NULL when the value is something else.
// SPY_ERR_INVALID: the index is out of range.
int spy_otlp_string_value(struct spy_otlp_decoder *c, const Spy__Otlp__AnyValue *v,
                          const char **ret);
// A value as a number; for text, the number that it begins with.
int64_t spy_otlp_number(const Spy__Otlp__AnyValue *v);

// Reads the labels of a Resource; numbers are printed into the arena. SPY_ERR_INVALID: it does not
// identify a process; *ret then holds some of them.
int spy_otlp_labels(struct spy_otlp_decoder *c, const Spy__Otlp__Resource *resource,
                    struct spy_arena *arena, struct spy_otlp_labels *ret);

// The stack of c->p for entry `index` of the stack table; made on first use.
int spy_otlp_stack(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret);
// SPY_ERR_LIMIT once the profiles take more memory than the limits say.
int spy_otlp_check_memory(struct spy_otlp_decoder *c);

// A field of a packed message.
struct spy_otlp_field {
    uint64_t number;
    unsigned wire;              // its wire type
    const uint8_t *tag, *value; // tag: where it begins
    size_t len;                 // of the value, where the wire type is 2
};
// Reads the field at *at and moves *at past it. False: there is no field, or it is damaged.
bool spy_otlp_next_field(const uint8_t **at, const uint8_t *end, struct spy_otlp_field *ret);

// Up to release 0.147 of the official Go library (pdata/pprofile) the fields of a Sample had other
// numbers: values 2, attribute_indices 3, link_index 4. Returns whether the request uses them.
bool spy_otlp_is_older(const uint8_t *data, size_t len);
// Renumbers them to the current numbers, in place.
void spy_otlp_renumber(uint8_t *data, size_t len);

// Whether unpacking these bytes could overflow the call stack.
bool spy_otlp_nests_too_deep(const uint8_t *data, size_t len);

// Reads the JSON form into the message. Its memory comes from the arena and from *ret_text, which the
// message borrows from: json_decref it afterwards. SPY_ERR_INVALID, SPY_ERR_LIMIT (also when
// the arena is used up), SPY_ERR_NOMEM.
int spy_otlp_from_json(const char *data, size_t len, struct spy_arena *arena,
                       Spy__Otlp__ExportProfilesServiceRequest **ret, json_t **ret_text,
                       struct spy_err *err);
