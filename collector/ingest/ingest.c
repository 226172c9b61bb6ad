#include "collector/ingest/ingest.h"
#include "collector/ingest/agents.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/compress.h"
#include "shared/otlp/otlp.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FUTURE_MAX_NS (3600 * SPY_NS_PER_SEC)
#define SUM_MAX_NS    (UINT64_C(100000000) * SPY_NS_PER_SEC)

static int64_t n_batches, n_profiles, n_known, n_samples, n_bytes, n_agents;
static int64_t ns_running, ns_counted[SPY_COUNTERS];
static int64_t n_outcomes[SPY_INGEST_OUTCOMES];
#define REFUSED "podspy_collector_refused_batches_total"
const struct spy_metric spy_ingest_metrics[] = {
    {"podspy_collector_batches_total", NULL, "Requests with profiles that were stored.",
     SPY_COUNTER, &n_batches},
    {"podspy_collector_profiles_total", NULL, "Profiles in them.", SPY_COUNTER, &n_profiles},
    {"podspy_collector_duplicate_profiles_total", NULL,
     "Profiles among them that were stored before.", SPY_COUNTER, &n_known},
    {"podspy_collector_samples_total", NULL, "Thread-samples in profiles that were stored.",
     SPY_COUNTER, &n_samples},
    {"podspy_collector_received_bytes_total", NULL, "Bytes of all bodies with profiles.",
     SPY_COUNTER, &n_bytes},
    {REFUSED, "reason=\"type\"", "Requests with profiles that were refused.", SPY_COUNTER,
     &n_outcomes[SPY_INGEST_BAD_TYPE]},
    {REFUSED, "reason=\"malformed\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_MALFORMED]},
    {REFUSED, "reason=\"too_large\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_TOO_LARGE]},
    {REFUSED, "reason=\"agents\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_BUSY_AGENTS]},
    {REFUSED, "reason=\"store_full\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_FULL]},
    {REFUSED, "reason=\"unavailable\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_UNAVAILABLE]},
    SPY_ACCOUNT_METRICS("podspy_collector", ns_running, ns_counted),
    {"podspy_collector_agents", NULL, "Agents that pushed lately, by their node or host.",
     SPY_GAUGE, &n_agents},
};
const size_t spy_ingest_n_metrics = SPY_COUNT(spy_ingest_metrics);

struct spy_ingest {
    struct spy_ingest_options options;
    struct spy_otlp_limits small, large;
    struct spy_agents *agents;
    pthread_mutex_t lock;
    pthread_cond_t slot_free;
    unsigned slots;
};

int spy_ingest_new(const struct spy_ingest_options *options, struct spy_ingest **ret,
                   struct spy_err *err)
{
    struct spy_ingest *in = calloc(1, sizeof *in);
    if (!in)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    in->options = *options;
    in->slots = SPY_INGEST_SLOTS;
    in->small = (struct spy_otlp_limits){
        .message_bytes = SPY_INGEST_SMALL,
        .profiles = 4096,
        .samples = 1 << 18,
        .stack_depth = 16384,
        .caps = {.strings = 1 << 17, .stacks = 1 << 18, .string_bytes = 4 << 20},
        .arena_bytes = 32 << 20};
    in->large = (struct spy_otlp_limits){
        .message_bytes = options->body_max * SPY_INGEST_EXPANSION,
        .profiles = 16384,
        .samples = 4 << 20,
        .stack_depth = 16384,
        .caps = {.strings = 1 << 20, .stacks = 4 << 20, .string_bytes = 64 << 20},
        .arena_bytes = options->body_max * SPY_INGEST_EXPANSION * 4};
    in->agents = spy_agents_new(options->agents_max, SPY_INGEST_AGENT_SECS * SPY_NS_PER_SEC);
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->slot_free, NULL);
    if (!in->agents) {
        spy_ingest_free(in);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    }
    *ret = in;
    return 0;
}

void spy_ingest_free(struct spy_ingest *in)
{
    if (!in)
        return;
    spy_agents_free(in->agents);
    pthread_cond_destroy(&in->slot_free);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

// --- bytes to profiles ---

struct batch {
    struct spy_profile **profiles;
    size_t n;
};

static void batch_done(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        spy_profile_free(b->profiles[i]);
    free(b->profiles);
}

static int check_headers(const struct spy_ingest_body *b, enum spy_encoding *ret,
                         struct spy_err *err)
{
    static const char *const types[] = {"application/x-protobuf", "application/protobuf"};
    size_t n = strcspn(b->content_type, "; \t");
    bool known = false;
    for (size_t i = 0; i < SPY_COUNT(types); i++)
        known = known || (n == strlen(types[i]) && !strncasecmp(b->content_type, types[i], n));
    if (!known)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Content-Type is '%.60s', not application/x-protobuf", b->content_type);
    if (spy_encoding_parse(b->content_encoding, ret) < 0)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Content-Encoding is '%.60s', not identity, gzip or zstd",
                           b->content_encoding);
    return 0;
}

static int decode_within(const struct spy_otlp_limits *limits, const struct spy_ingest_body *body,
                         enum spy_encoding encoding, struct batch *ret, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf plain = SPY_BUF_INIT(limits->message_bytes);
    int r = spy_decompress(encoding, body->data, body->len, &plain, err);
    if (r < 0)
        return r;
    const uint8_t *data = plain.data ? plain.data : (const uint8_t *)"";
    return spy_otlp_decode(data, plain.len, limits, &ret->profiles, &ret->n, err);
}

static void take_slot(struct spy_ingest *in)
{
    pthread_mutex_lock(&in->lock);
    while (!in->slots)
        pthread_cond_wait(&in->slot_free, &in->lock);
    in->slots--;
    pthread_mutex_unlock(&in->lock);
}

static void give_slot(struct spy_ingest *in)
{
    pthread_mutex_lock(&in->lock);
    in->slots++;
    pthread_cond_signal(&in->slot_free);
    pthread_mutex_unlock(&in->lock);
}

// --- what the profiles say ---

// A time that is far ahead would outlive all retention. Where a profiler gives none, it is now.
static int check_times(struct batch *b, uint64_t now_ns, struct spy_err *err)
{
    for (size_t i = 0; i < b->n; i++)
        for (uint32_t k = 0; k < spy_profile_n_series(b->profiles[i]); k++) {
            struct spy_series *s = spy_profile_series_at(b->profiles[i], k);
            if (!s->start_ns)
                s->start_ns = s->duration_ns < now_ns ? now_ns - s->duration_ns : now_ns;
            if (s->start_ns > now_ns + FUTURE_MAX_NS || s->duration_ns > now_ns ||
                s->start_ns + s->duration_ns > now_ns + FUTURE_MAX_NS)
                return spy_err_set(err, SPY_ERR_INVALID, 0,
                                   "a profile's time is more than an hour ahead of the "
                                   "collector's clock: set the node's clock right");
        }
    return 0;
}

static bool know_agents(struct spy_ingest *in, const struct batch *b, uint64_t now_ns)
{
    bool ok = true;
    for (size_t i = 0; i < b->n && ok; i++) {
        const char *name = spy_profile_series_label(b->profiles[i], 0, SPY_LABEL_NODE);
        if (!name)
            name = spy_profile_series_label(b->profiles[i], 0, SPY_LABEL_HOST);
        ok = spy_agents_see(in->agents, name ? name : "", now_ns);
    }
    spy_gauge_set(&n_agents, spy_agents_count(in->agents));
    return ok;
}

// A sum that no machine counts in a window is not counted here either.
static void count_bounded(int64_t *to, uint64_t n)
{
    if (n <= SUM_MAX_NS)
        spy_count(to, (int64_t)n);
}

// What was stored before was counted then.
static void count_taken(const struct batch *b, size_t known, const bool *is_known)
{
    uint64_t samples = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (is_known[i])
            continue;
        for (uint32_t k = 0; k < spy_profile_n_samples(b->profiles[i]); k++)
            samples += spy_profile_sample_at(b->profiles[i], k)->count;
        const struct spy_account *a = &spy_profile_series_get(b->profiles[i], 0)->account;
        count_bounded(&ns_running, a->running_ns);
        for (int c = 0; c < SPY_COUNTERS; c++)
            count_bounded(&ns_counted[c], a->counted[c].sum);
    }
    spy_count(&n_batches, 1);
    spy_count(&n_profiles, (int64_t)b->n);
    spy_count(&n_known, (int64_t)known);
    spy_count(&n_samples, (int64_t)(samples & INT64_MAX));
}

// --- the whole way ---

static enum spy_ingest_outcome outcome_of(int r, bool of_store)
{
    switch (r) {
    case SPY_ERR_UNSUPPORTED:
        return SPY_INGEST_BAD_TYPE;
    case SPY_ERR_INVALID:
        return SPY_INGEST_MALFORMED;
    case SPY_ERR_LIMIT:
        return of_store ? SPY_INGEST_FULL : SPY_INGEST_TOO_LARGE;
    default:
        return SPY_INGEST_UNAVAILABLE;
    }
}

static enum spy_ingest_outcome store(struct spy_ingest *in, struct batch *b, struct spy_buf *answer,
                                     struct spy_err *err)
{
    uint64_t now = spy_clock_real_ns();
    size_t known = 0;
    _cleanup_free_ bool *is_known = calloc(b->n + 1, sizeof *is_known);
    int r =
        is_known ? check_times(b, now, err) : spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    if (r < 0)
        return outcome_of(r, false);
    if (!know_agents(in, b, now)) {
        spy_err_set(err, SPY_ERR_LIMIT, 0, "more than %u agents push to this collector",
                    in->options.agents_max);
        return SPY_INGEST_BUSY_AGENTS;
    }
    if (b->n)
        r = in->options.store->ops->append(in->options.store, b->profiles, b->n, &known, is_known,
                                           err);
    if (r < 0)
        return outcome_of(r, true);
    if (spy_otlp_encode_response(0, "", answer) < 0)
        return SPY_INGEST_UNAVAILABLE;
    count_taken(b, known, is_known);
    return SPY_INGEST_TAKEN;
}

static enum spy_ingest_outcome take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                    struct spy_buf *answer, struct spy_err *err)
{
    _cleanup_(batch_done) struct batch b = {0};
    enum spy_encoding encoding;
    int r = check_headers(body, &encoding, err);
    if (r < 0)
        return outcome_of(r, false);
    r = decode_within(&in->small, body, encoding, &b, err);
    if (r != SPY_ERR_LIMIT)
        return r < 0 ? outcome_of(r, false) : store(in, &b, answer, err);
    take_slot(in);
    r = decode_within(&in->large, body, encoding, &b, err);
    enum spy_ingest_outcome o = r < 0 ? outcome_of(r, false) : store(in, &b, answer, err);
    give_slot(in);
    return o;
}

enum spy_ingest_outcome spy_ingest_take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                        struct spy_buf *answer, struct spy_err *err)
{
    spy_count(&n_bytes, (int64_t)body->len);
    enum spy_ingest_outcome o = take(in, body, answer, err);
    spy_count(&n_outcomes[o], 1);
    return o;
}
