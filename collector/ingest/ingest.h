// ingest.h - from a pushed body to stored profiles.
//
// Decompresses, decodes, checks the times, and appends to the store. Accepted profiles are durable
// when spy_ingest_take returns. A profile that cannot be accepted is left out and reported in the
// answer (partial success); if none is left, the request is refused. All other refusals concern the
// whole request and store nothing of it. A request may be sent again after any refusal: profiles
// with the same profile_id are stored once.
//
// Times. A profile more than an hour ahead, or past retention_ns, means
// that a clock is wrong: the sender's, the collector's, or the node's when the profile was made. The
// request's Date header decides:
//
//     Date agrees with the profile     the collector's clock may be wrong: the request is refused
//                                      for now (SPY_INGEST_CLOCK), so that nothing is lost
//     Date agrees with the collector   the profile is left out for good
//     no Date, profile ahead           refused for now
//     no Date, profile too old         refused for now, unless another profile of the request has a
//                                      plausible time, which confirms the collector's clock: then
//                                      the old profile is left out
//
// OTLP senders retry after 503, the status for SPY_INGEST_CLOCK, but not after 400.
//
// Memory is bounded whatever the body holds. Most bodies are small: they take a share of one half of
// options.memory, by their unpacked size, and wait if there is no room. A body that exceeds
// SPY_INGEST_SMALL, or its share, is decoded again with the other half, one at a time. Eight such
// bodies wait at most (SPY_INGEST_UNAVAILABLE beyond that).
//
// Threads: spy_ingest_take may be called from any thread.
#pragma once
#include "collector/store/store.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"

enum {
    SPY_INGEST_SMALL = 1 << 20, // unpacked bytes
    SPY_INGEST_EXPANSION = 4,   // a body may unpack to this many times body_max
    SPY_INGEST_AGENT_SECS = 600 // an agent that is silent for longer is no longer counted
};

enum spy_ingest_outcome {
    SPY_INGEST_TAKEN,
    SPY_INGEST_BAD_TYPE, // Content-Type or Content-Encoding is not supported
    SPY_INGEST_MALFORMED,
    SPY_INGEST_TOO_LARGE,   // unpacked, or in the number of its entries
    SPY_INGEST_BUSY_AGENTS, // more agents than limits.agents
    SPY_INGEST_TOO_FAST,    // an agent pushes more than limits.agent_mib_per_minute
    SPY_INGEST_FULL,        // the store has reached a bound of its own
    SPY_INGEST_DISK_FULL,
    SPY_INGEST_NOT_TAKEN,   // none of its profiles was accepted
    SPY_INGEST_CLOCK,       // two clocks disagree: retry later
    SPY_INGEST_UNAVAILABLE, // the store or the memory failed; a retry may succeed
    SPY_INGEST_OUTCOMES
};

struct spy_ingest_options {
    struct spy_store *store; // borrowed
    size_t body_max;
    size_t memory; // bytes for decoding
    uint32_t agents_max;
    uint64_t agent_bytes_a_minute; // as sent, compressed; 0: no bound
    uint64_t retention_ns;         // profiles that ended longer ago are not accepted; 0: no bound
};

struct spy_ingest;
int spy_ingest_new(const struct spy_ingest_options *options, struct spy_ingest **ret,
                   struct spy_err *err);
void spy_ingest_free(struct spy_ingest *in);
void spy_ingest_set_retention(struct spy_ingest *in, uint64_t retention_ns); // any thread

struct spy_ingest_body {
    const char *content_type, *content_encoding; // headers; "" when not sent
    const char *date;                            // the Date header; "" when not sent
    const char *version; // otlp-profiles-development-version; "" when not sent, which means "1"
    const uint8_t *data;
    size_t len;
    const bool *stop; // shared/base/stop.h: gives up a large body; or NULL
};
// SPY_INGEST_TAKEN: appends an ExportProfilesServiceResponse in the form of the request to answer,
// and sets *ret_type to its media type. Otherwise err says what is wrong.
enum spy_ingest_outcome spy_ingest_take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                        struct spy_buf *answer, const char **ret_type,
                                        struct spy_err *err);

// Appends the metric of how far the clocks of agents are ahead, where there are at most 100.
int spy_ingest_print_clocks(struct spy_ingest *in, struct spy_buf *out);
extern const struct spy_metric spy_ingest_metrics[];
extern const size_t spy_ingest_n_metrics;
