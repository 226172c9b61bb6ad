// ingest.h - a body that an agent pushed -> stored profiles.
//
// Unpack, decode, look whether its times can be, hand it to the store. What is taken is durable
// when spy_ingest_take returns. A request is taken whole or not at all.
//
// Memory is bounded whatever the body is: most bodies are small and are decoded inside of
// SPY_INGEST_SMALL; one that does not fit there is decoded again with the full limits, in one of
// SPY_INGEST_SLOTS that others wait for.
//
// Threads: spy_ingest_take may be called from any thread.
#pragma once
#include "collector/store/store.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"

enum {
    SPY_INGEST_SMALL = 1 << 20, // unpacked bytes
    SPY_INGEST_SLOTS = 2,
    SPY_INGEST_EXPANSION = 4,   // a body may unpack to this many times body_max
    SPY_INGEST_AGENT_SECS = 600 // an agent that was silent for longer is not counted any more
};

enum spy_ingest_outcome {
    SPY_INGEST_TAKEN,
    SPY_INGEST_BAD_TYPE, // Content-Type or Content-Encoding is none of ours
    SPY_INGEST_MALFORMED,
    SPY_INGEST_TOO_LARGE,   // when unpacked, or too much in it
    SPY_INGEST_BUSY_AGENTS, // more agents than limits.agents
    SPY_INGEST_FULL,        // the store is
    SPY_INGEST_UNAVAILABLE, // the store or the memory failed; it may go better later
    SPY_INGEST_OUTCOMES
};

struct spy_ingest_options {
    struct spy_store *store; // borrowed
    size_t body_max;
    uint32_t agents_max;
};

struct spy_ingest;
int spy_ingest_new(const struct spy_ingest_options *options, struct spy_ingest **ret,
                   struct spy_err *err);
void spy_ingest_free(struct spy_ingest *in);

struct spy_ingest_body {
    const char *content_type, *content_encoding; // "" when not sent
    const uint8_t *data;
    size_t len;
};
// TAKEN: an ExportProfilesServiceResponse is appended to answer. Else err says what is wrong.
enum spy_ingest_outcome spy_ingest_take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                        struct spy_buf *answer, struct spy_err *err);

extern const struct spy_metric spy_ingest_metrics[];
extern const size_t spy_ingest_n_metrics;
