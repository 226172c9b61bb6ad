// otlp.h - a profile as OTLP Profiles bytes and back.
//
// The wire is opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest of
// opentelemetry-proto 1.10, March 2026 (see docs/wire.md), in protobuf or JSON. One series of the
// profile is one ResourceProfiles with one scope and one Profile: sample_type samples/count,
// period_type wall/nanoseconds, period = period_ns, profile_id 16 bytes. thread.id, thread.name,
// podspy.thread.state, podspy.gil and podspy.gc are attributes of a sample, quality counters
// (podspy.samples.clean, .salvaged, .paused, .failed, .lost, .late) attributes of the Profile. A
// marker frame is a function with filename "" and system_name "podspy:marker"; a native one has
// system_name "podspy:native" or, from others, a mapping.
//
// Threads: pure functions.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

// Appends a request with these n series of the profile to out; series NULL: with all. Series without
// a profile_id are left out, and so are strings, functions and stacks that no sample of the series
// refers to. 0, SPY_ERR_LIMIT (out's cap), SPY_ERR_NOMEM.
int spy_otlp_encode(const struct spy_profile *p, const uint32_t *series, size_t n,
                    struct spy_buf *out, struct spy_err *err);

struct spy_otlp_limits {
    size_t message_bytes; // of the (decompressed) request
    uint32_t profiles;    // Profile messages in one request
    uint32_t samples;     // in one request
    uint32_t stack_depth; // deeper stacks lose their outermost frames and get a "[truncated]" root
    struct spy_profile_caps caps; // of each profile that is made
    size_t arena_bytes;           // other memory that decoding may use
    // A few bytes can refer to a large part of the dictionary, so the result has its own bounds, over
    // all profiles of a request; 0: none.
    size_t profile_bytes; // memory of the profiles
    // Steps (frames walked, entries made, 16 bytes of text copied): so many, plus so many for each
    // byte of the request, but at most steps_most (0: no bound), as a long text has many bytes.
    uint64_t steps;
    unsigned steps_per_byte;
    uint64_t steps_most;
    const bool *stop; // shared/base/stop.h: ends it with SPY_ERR_GONE; or NULL
};
extern const struct spy_otlp_limits spy_otlp_default_limits;

enum spy_otlp_form { SPY_OTLP_PROTOBUF, SPY_OTLP_JSON };

// Profiles of a request that are rejected: malformed, with values that are neither times nor counts
// (bytes of a heap profile), with a negative value, or of a resource that does not identify its
// process.
struct spy_otlp_rejected {
    uint64_t n;
    char reason[240]; // of the first
};

// Decodes a request. Each Profile message becomes a profile of its own with one series, so two may
// bear the same labels. *ret: *ret_n profiles, each to be freed with spy_profile_free, and the array
// with free() (NULL when *ret_n is 0). rejected: counts the profiles that are left out; NULL: the
// first such profile fails the request.
//
// From other profilers: values in a unit of time fill ns, counts fill count; the other is derived
// from the period, and time without a period counts one sample a millisecond. A sample type that is
// neither samples nor CPU or wall time becomes the label SPY_LABEL_SAMPLE_TYPE; so does the second
// of two such types in one scope, which describe the same samples. process.executable.name (or
// .path) becomes process.command if there is neither that nor service.name. profile.frame.type of a
// location is the kind of its frames. A Profile without an id (OTLP allows that) gets one from a hash
// of the request, so that the same bytes sent again have the same id. Text is repaired as profile.h
// says.
//
// SPY_ERR_INVALID: malformed, with what is wrong in err; SPY_ERR_UNSUPPORTED: (rejected NULL)
// values that are not accepted; SPY_ERR_LIMIT: too much; SPY_ERR_NOMEM.
int spy_otlp_decode(enum spy_otlp_form form, const uint8_t *data, size_t len,
                    const struct spy_otlp_limits *limits, struct spy_profile ***ret, size_t *ret_n,
                    struct spy_otlp_rejected *rejected, struct spy_err *err);

// Appends ExportProfilesServiceResponse, the collector's answer. rejected 0 and an empty message make
// an empty response, which means that everything was accepted. SPY_ERR_LIMIT (out's cap),
// SPY_ERR_NOMEM.
int spy_otlp_encode_response(enum spy_otlp_form form, uint64_t rejected, const char *message,
                             struct spy_buf *out);
// Reads *ret_rejected and message (cut to size) from such an answer in protobuf. SPY_ERR_INVALID: the
// bytes are not such an answer.
int spy_otlp_decode_response(const uint8_t *data, size_t len, uint64_t *ret_rejected, char *message,
                             size_t size);
