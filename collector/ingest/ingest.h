// ingest.h - a body that an agent pushed -> stored profiles.
//
// Unpack, decode, look whether its times can be, hand it to the store. What is taken is durable
// when spy_ingest_take returns. A profile that cannot be taken is left out and told in the answer
// (partial success), and the others are taken; when none is left, the request is refused. All other
// refusals are of the request as a whole and store nothing of it. So a request may be sent again
// after any of them: what bears the same profile_id is stored once.
//
// Times. A profile more than an hour ahead, or one that retention would drop at once, tells of a
// clock that is wrong: the sender's, the collector's, or that of the node when the profile was
// made. The Date header of the request tells which: where it agrees with the profile, the
// collector's clock may be the wrong one, and the request is refused for now (SPY_INGEST_CLOCK),
// so that nothing is lost; where it agrees with the collector, the profile is left out for good.
// Without it a profile ahead is refused for now. So is a profile that is too old, unless another
// profile of the request could be of now, which confirms the collector's clock: then the old
// profile is left out. OTLP
// senders try again after the status that stands for SPY_INGEST_CLOCK (503), and after no 400.
//
// Memory is bounded whatever the body is: most bodies are small and take a part of one half of
// options.memory, by their unpacked size; those for which there is no room wait. One that does not
// fit into SPY_INGEST_SMALL, or into its part, is decoded again with the other half, one at a time,
// and eight wait at most (SPY_INGEST_UNAVAILABLE beyond that).
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
    SPY_INGEST_AGENT_SECS = 600 // an agent that was silent for longer is not counted any more
};

enum spy_ingest_outcome {
    SPY_INGEST_TAKEN,
    SPY_INGEST_BAD_TYPE, // Content-Type or Content-Encoding is none of ours
    SPY_INGEST_MALFORMED,
    SPY_INGEST_TOO_LARGE,   // when unpacked, or too much in it
    SPY_INGEST_BUSY_AGENTS, // more agents than limits.agents
    SPY_INGEST_TOO_FAST,    // an agent pushes more than limits.agent_mib_per_minute
    SPY_INGEST_FULL,        // the store is, by its bounds
    SPY_INGEST_DISK_FULL,
    SPY_INGEST_NOT_TAKEN,   // none of its profiles could be taken
    SPY_INGEST_CLOCK,       // two clocks disagree: later
    SPY_INGEST_UNAVAILABLE, // the store or the memory failed; it may go better later
    SPY_INGEST_OUTCOMES
};

struct spy_ingest_options {
    struct spy_store *store; // borrowed
    size_t body_max;
    size_t memory; // bytes for decoding
    uint32_t agents_max;
    uint64_t agent_bytes_a_minute; // as they are sent; 0: no bound
    uint64_t retention_ns;         // what ended longer ago is not taken; 0: no bound
};

struct spy_ingest;
int spy_ingest_new(const struct spy_ingest_options *options, struct spy_ingest **ret,
                   struct spy_err *err);
void spy_ingest_free(struct spy_ingest *in);

struct spy_ingest_body {
    const char *content_type, *content_encoding; // headers; "" when not sent
    const char *date;    // of the sender's clock, as HTTP writes it; "" when not sent
    const char *version; // otlp-profiles-development-version; "" when not sent: it means "1"
    const uint8_t *data;
    size_t len;
    const bool *stop; // shared/base/stop.h: a large one is given up; or NULL
};
// TAKEN: an ExportProfilesServiceResponse in the form of the request is appended to answer, and
// *ret_type is its media type. Else err says what is wrong.
enum spy_ingest_outcome spy_ingest_take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                        struct spy_buf *answer, const char **ret_type,
                                        struct spy_err *err);

extern const struct spy_metric spy_ingest_metrics[];
extern const size_t spy_ingest_n_metrics;
