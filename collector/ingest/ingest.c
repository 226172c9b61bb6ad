#include "collector/ingest/ingest.h"
#include "collector/ingest/agents.h"
#include "collector/ingest/unpack.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/otlp/otlp.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

// A step of the decoder (shared/otlp/otlp.h) takes some 30 ns. STEPS allows for processes that run
// the same program: they share stacks, so a sample of 14 bytes walks its whole stack once for each.
enum { STEPS = 4 << 20, STEPS_PER_BYTE = 16 };

#define FUTURE_MAX_NS (3600 * SPY_NS_PER_SEC)
#define SUM_MAX_NS    (UINT64_C(100000000) * SPY_NS_PER_SEC)

static int64_t n_batches, n_profiles, n_known, n_rejected, n_samples, n_bytes, n_agents;
static int64_t ns_running, ns_counted[SPY_COUNTERS];
static int64_t n_outcomes[SPY_INGEST_OUTCOMES];
#define REFUSED "podspy_collector_refused_batches_total"
const struct spy_metric spy_ingest_metrics[] = {
    {"podspy_collector_batches_total", NULL, "Requests with profiles that were stored.",
     SPY_COUNTER, &n_batches},
    {"podspy_collector_profiles_total", NULL, "Profiles in them.", SPY_COUNTER, &n_profiles},
    {"podspy_collector_duplicate_profiles_total", NULL,
     "Profiles among them that were stored before.", SPY_COUNTER, &n_known},
    {"podspy_collector_rejected_profiles_total", NULL,
     "Profiles that were left out of requests, with the reason in the answer.", SPY_COUNTER,
     &n_rejected},
    {"podspy_collector_samples_total", NULL, "Thread-samples in profiles that were stored.",
     SPY_COUNTER, &n_samples},
    {"podspy_collector_received_bytes_total", NULL, "Bytes of all bodies with profiles.",
     SPY_COUNTER, &n_bytes},
    {REFUSED, "reason=\"type\"", "Requests with profiles that were refused.", SPY_COUNTER,
     &n_outcomes[SPY_INGEST_BAD_TYPE]},
    {REFUSED, "reason=\"malformed\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_MALFORMED]},
    {REFUSED, "reason=\"too_large\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_TOO_LARGE]},
    {REFUSED, "reason=\"not_taken\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_NOT_TAKEN]},
    {REFUSED, "reason=\"clock\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_CLOCK]},
    {REFUSED, "reason=\"rate\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_TOO_FAST]},
    {REFUSED, "reason=\"agents\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_BUSY_AGENTS]},
    {REFUSED, "reason=\"store_full\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_FULL]},
    {REFUSED, "reason=\"disk_full\"", NULL, SPY_COUNTER, &n_outcomes[SPY_INGEST_DISK_FULL]},
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
    pthread_cond_t given;  // signalled when memory is given back
    size_t memory;         // bytes that are free for decoding
    bool large_is_decoded; // one at a time
    unsigned n_waiting;    // large bodies that wait to be decoded
};

int spy_ingest_new(const struct spy_ingest_options *options, struct spy_ingest **ret,
                   struct spy_err *err)
{
    struct spy_ingest *in = calloc(1, sizeof *in);
    if (!in)
        return spy_err_nomem(err);
    in->options = *options;
    in->memory = options->memory;
    in->small = (struct spy_otlp_limits){
        .message_bytes = SPY_INGEST_SMALL,
        .profiles = 4096,
        .samples = 1 << 18,
        .stack_depth = 16384,
        .caps = {.strings = 1 << 17, .stacks = 1 << 18, .string_bytes = 4 << 20},
        .arena_bytes = 32 << 20,
        .profile_bytes = 64 << 20,
        .steps = STEPS,
        .steps_per_byte = STEPS_PER_BYTE};
    in->large = (struct spy_otlp_limits){
        .message_bytes = options->body_max * SPY_INGEST_EXPANSION,
        .profiles = 16384,
        .samples = 4 << 20,
        .stack_depth = 16384,
        .caps = {.strings = 1 << 20, .stacks = 4 << 20, .string_bytes = 64 << 20},
        .arena_bytes = options->body_max * SPY_INGEST_EXPANSION * 4,
        .profile_bytes = 256 << 20,
        .steps = STEPS,
        .steps_per_byte = STEPS_PER_BYTE,
        // A step for each byte of the largest body: two seconds if a body may have 16 MiB.
        .steps_most = STEPS + options->body_max * SPY_INGEST_EXPANSION};
    in->agents = spy_agents_new(options->agents_max, SPY_INGEST_AGENT_SECS * SPY_NS_PER_SEC,
                                options->agent_bytes_a_minute);
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->given, NULL);
    if (!in->agents) {
        spy_ingest_free(in);
        return spy_err_nomem(err);
    }
    *ret = in;
    return 0;
}

void spy_ingest_set_retention(struct spy_ingest *in, uint64_t retention_ns)
{
    __atomic_store_n(&in->options.retention_ns, retention_ns, __ATOMIC_RELAXED);
}

void spy_ingest_free(struct spy_ingest *in)
{
    if (!in)
        return;
    spy_agents_free(in->agents);
    pthread_cond_destroy(&in->given);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

int spy_ingest_print_clocks(struct spy_ingest *in, struct spy_buf *out)
{
    enum { AGENTS_SHOWN = 100 }; // each is a time series for whoever scrapes
    return spy_agents_print_clocks(in->agents, AGENTS_SHOWN, out);
}

// --- bytes to profiles ---

struct batch {
    enum spy_otlp_form form;
    struct spy_profile **profiles;
    size_t n;
    struct spy_otlp_rejected rejected;
    uint64_t sender_ns; // the sender's clock; 0: not known
    uint64_t latest_ns; // the end of the latest profile that has a time; 0: none has
    struct spy_ingest *in;
    size_t memory; // its share of in->memory
    bool is_large;
};

static void free_profiles(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        spy_profile_free(b->profiles[i]);
    free(b->profiles);
    b->profiles = NULL;
    b->n = 0;
}

// Waits until the half for small bodies has so much room.
static void take_decode_memory(struct batch *b, size_t bytes)
{
    struct spy_ingest *in = b->in;
    size_t half = in->options.memory / 2;
    pthread_mutex_lock(&in->lock);
    while (in->memory < bytes + half)
        pthread_cond_wait(&in->given, &in->lock);
    in->memory -= bytes;
    pthread_mutex_unlock(&in->lock);
    b->memory = bytes;
}

static void wait_for_large(struct spy_ingest *in, const bool *stop)
{
    struct timespec until;
    while (in->large_is_decoded && !spy_stop_is_set(stop)) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++; // then checks stop
        pthread_cond_clockwait(&in->given, &in->lock, CLOCK_MONOTONIC, &until);
    }
}

// Waits for the other half. Few may wait, as each blocks one of the 16 workers for pushes.
static int take_large_memory(struct batch *b, size_t bytes, const bool *stop, struct spy_err *err)
{
    enum { WAITING_MAX = 8 };
    struct spy_ingest *in = b->in;
    pthread_mutex_lock(&in->lock);
    bool crowded = in->large_is_decoded && in->n_waiting >= WAITING_MAX;
    if (!crowded) {
        in->n_waiting++;
        wait_for_large(in, stop);
        in->n_waiting--;
        b->is_large = !in->large_is_decoded && !spy_stop_is_set(stop);
        in->large_is_decoded = in->large_is_decoded || b->is_large;
        b->memory = b->is_large ? bytes : 0;
    }
    pthread_mutex_unlock(&in->lock);
    return b->is_large ? 0
           : crowded
               ? spy_err_set(err, SPY_ERR_NOMEM, 0, "too many large bodies wait to be decoded")
               : spy_err_set(err, SPY_ERR_GONE, 0, "the collector is ending");
}

static void give_memory(struct batch *b)
{
    struct spy_ingest *in = b->in;
    pthread_mutex_lock(&in->lock);
    if (b->is_large)
        in->large_is_decoded = false;
    else
        in->memory += b->memory;
    pthread_cond_broadcast(&in->given);
    pthread_mutex_unlock(&in->lock);
    b->is_large = false;
    b->memory = 0;
}

static void batch_done(struct batch *b)
{
    free_profiles(b);
    give_memory(b);
}

static const struct {
    const char *name;
    enum spy_otlp_form form;
} types[] = {{"application/x-protobuf", SPY_OTLP_PROTOBUF},
             {"application/protobuf", SPY_OTLP_PROTOBUF},
             {"application/json", SPY_OTLP_JSON}};

static int parse_type(const char *type, enum spy_otlp_form *ret)
{
    size_t n = strcspn(type, "; \t");
    for (size_t i = 0; i < SPY_COUNT(types); i++)
        if (n == strlen(types[i].name) && !strncasecmp(type, types[i].name, n)) {
            *ret = types[i].form;
            return 0;
        }
    return SPY_ERR_UNSUPPORTED;
}

// RFC 9110, 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT". 0: not such a date.
static uint64_t parse_date(const char *date)
{
    struct tm tm = {0};
    const char *end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    time_t t = end && !*end ? timegm(&tm) : 0;
    return t > 0 && t < INT32_MAX * INT64_C(4) ? (uint64_t)t * SPY_NS_PER_SEC : 0;
}

static int check_headers(const struct spy_ingest_body *b, enum spy_encoding *ret,
                         struct batch *batch, struct spy_err *err)
{
    batch->sender_ns = parse_date(b->date);
    if (parse_type(b->content_type, &batch->form) < 0)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Content-Type is '%.60s', not application/x-protobuf or "
                           "application/json",
                           b->content_type);
    if (spy_encoding_parse(b->content_encoding, ret) < 0)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Content-Encoding is '%.60s', not identity, gzip or zstd",
                           b->content_encoding);
    // opentelemetry-proto, docs/specification.md: another version is refused before it is read.
    if (*b->version && strcmp(b->version, "1") != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "otlp-profiles-development-version is '%.20s'; only version 1 is "
                           "understood here",
                           b->version);
    return 0;
}

// A decoded message takes several times its bytes, and each profile some 10 KiB. A body that takes
// more than this is large.
static size_t estimate_memory(const struct spy_ingest *in, size_t len, bool is_large)
{
    enum { TIMES = 64, BASE = 1 << 20 };
    size_t half = in->options.memory / 2, bytes = BASE + TIMES * len;
    return is_large || bytes > half ? half : bytes;
}

static int decode_within(struct spy_ingest *in, const struct spy_ingest_body *body,
                         enum spy_encoding encoding, bool is_large, struct batch *ret,
                         struct spy_err *err)
{
    struct spy_otlp_limits limits = is_large ? in->large : in->small;
    _cleanup_buf_ struct spy_buf plain = SPY_BUF_INIT(limits.message_bytes);
    int r = is_large ? take_large_memory(ret, estimate_memory(in, 0, true), body->stop, err) : 0;
    if (r == 0)
        r = spy_unpack(encoding, body->data, body->len, &plain, err);
    if (r < 0)
        return r;
    if (!is_large)
        take_decode_memory(ret, estimate_memory(in, plain.len, false));
    limits.stop = is_large ? body->stop : NULL;
    limits.arena_bytes = spy_min(limits.arena_bytes, ret->memory / 2);
    limits.profile_bytes = spy_min(limits.profile_bytes, ret->memory / 2);
    const uint8_t *data = plain.data ? plain.data : (const uint8_t *)"";
    return spy_otlp_decode(ret->form, data, plain.len, &limits, &ret->profiles, &ret->n,
                           &ret->rejected, err);
}

// --- what the profiles say ---

enum { TIME_TEXT = 32 };

static void print_time(uint64_t ns, char *out)
{
    time_t t = (time_t)(ns / SPY_NS_PER_SEC);
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
        *out = 0;
}

// A profile without a time is taken as of now.
static void give_time(struct spy_series *s, uint64_t now_ns)
{
    s->start_ns = s->duration_ns < now_ns ? now_ns - s->duration_ns : now_ns;
}

static void leave_out(struct batch *b, struct spy_profile *p, const char *reason)
{
    spy_profile_free(p);
    if (!b->rejected.n++)
        snprintf(b->rejected.reason, sizeof b->rejected.reason, "%s", reason);
}

static int clocks_disagree(uint64_t theirs_ns, uint64_t now_ns, struct spy_err *err)
{
    char theirs[TIME_TEXT], ours[TIME_TEXT];
    print_time(theirs_ns, theirs);
    print_time(now_ns, ours);
    return spy_err_set(err, SPY_ERR_AGAIN, 0,
                       "the profile or its sender has the time %s, this collector's clock shows "
                       "%s: correct whichever is wrong",
                       theirs, ours);
}

static bool is_old(const struct spy_ingest *in, uint64_t end_ns, uint64_t now_ns)
{
    uint64_t most = __atomic_load_n(&in->options.retention_ns, __ATOMIC_RELAXED);
    return most && end_ns < now_ns && now_ns - end_ns > most;
}

// Without the sender's time, a profile with a plausible time confirms this clock.
static bool clocks_agree(const struct spy_ingest *in, const struct batch *b, uint64_t now_ns)
{
    if (b->sender_ns)
        return b->sender_ns < now_ns + FUTURE_MAX_NS && now_ns < b->sender_ns + FUTURE_MAX_NS;
    return b->latest_ns <= now_ns + FUTURE_MAX_NS && !is_old(in, b->latest_ns, now_ns);
}

// A profile far ahead would outlive all retention; a profile past retention would be dropped at once.
// ingest.h says whose clock is trusted. *ret_reason: why the profile is left out; NULL: it is
// accepted. SPY_ERR_AGAIN: no clock is trusted for now.
static int check_time(const struct spy_ingest *in, const struct batch *b,
                      const struct spy_series *s, uint64_t now_ns, const char **ret_reason,
                      struct spy_err *err)
{
    uint64_t sender = b->sender_ns, end = spy_add_sat(s->start_ns, s->duration_ns);
    bool ahead = end > now_ns + FUTURE_MAX_NS;
    bool ahead_of_sender = sender && end > sender + FUTURE_MAX_NS;
    bool old = is_old(in, end, now_ns);
    if ((ahead && !ahead_of_sender) || (old && !clocks_agree(in, b, now_ns)))
        return clocks_disagree(sender ? sender : end, now_ns, err);
    *ret_reason = ahead ? "a profile is more than an hour ahead of its own sender's clock"
                  : old ? "a profile is older than what this collector keeps (retention)"
                        : NULL;
    return 0;
}

static void set_missing_times(struct batch *b, uint64_t now_ns)
{
    for (size_t i = 0; i < b->n; i++) {
        struct spy_series *s = spy_profile_series_at(b->profiles[i], 0);
        uint64_t end = spy_add_sat(s->start_ns, s->duration_ns);
        if (!s->start_ns)
            give_time(s, now_ns);
        else if (end > b->latest_ns)
            b->latest_ns = end;
    }
}

static int check_profile_times(const struct spy_ingest *in, struct batch *b, uint64_t now_ns,
                               struct spy_err *err)
{
    const char *reason;
    size_t kept = 0;
    int r = 0;
    set_missing_times(b, now_ns);
    for (size_t i = 0; i < b->n && r == 0; i++)
        r = check_time(in, b, spy_profile_series_at(b->profiles[i], 0), now_ns, &reason, err);
    for (size_t i = 0; i < b->n && r == 0; i++) {
        struct spy_profile *p = b->profiles[i];
        check_time(in, b, spy_profile_series_at(p, 0), now_ns, &reason, err);
        if (reason)
            leave_out(b, p, reason);
        else
            b->profiles[kept++] = p;
    }
    b->n = r == 0 ? kept : b->n;
    return r;
}

static const char *agent_of(const struct spy_profile *p)
{
    const char *name = spy_profile_series_label(p, 0, SPY_LABEL_NODE);
    if (!name)
        name = spy_profile_series_label(p, 0, SPY_LABEL_HOST);
    return name ? name : "";
}

// The agents of a request's profiles share its bytes.
static enum spy_agents_answer note_agents(struct spy_ingest *in, const struct batch *b,
                                          size_t bytes, uint64_t now_ns)
{
    enum spy_agents_answer a = SPY_AGENTS_OK;
    for (size_t i = 0; i < b->n && a == SPY_AGENTS_OK; i++)
        a = spy_agents_see(in->agents, agent_of(b->profiles[i]), bytes / b->n, now_ns);
    // Date has whole seconds: on the average it was half a second later.
    if (b->sender_ns && b->n && a == SPY_AGENTS_OK)
        spy_agents_note_clock(in->agents, agent_of(b->profiles[0]),
                              (int64_t)(b->sender_ns + SPY_NS_PER_SEC / 2 - now_ns));
    spy_gauge_set(&n_agents, spy_agents_count(in->agents));
    return a;
}

// Leaves out sums that no machine can reach in a window.
static void count_bounded(int64_t *to, uint64_t n)
{
    if (n <= SUM_MAX_NS)
        spy_count(to, (int64_t)n);
}

// Profiles that were stored before were counted then.
static void count_taken(const struct batch *b, size_t known, const bool *is_known)
{
    uint64_t samples = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (is_known[i])
            continue;
        for (uint32_t k = 0; k < spy_profile_n_samples(b->profiles[i]); k++)
            samples = spy_add_sat(samples, spy_profile_sample_at(b->profiles[i], k)->count);
        const struct spy_account *a = &spy_profile_series_get(b->profiles[i], 0)->account;
        count_bounded(&ns_running, a->running_ns);
        for (int c = 0; c < SPY_COUNTERS; c++)
            count_bounded(&ns_counted[c], a->counted[c].sum);
    }
    spy_count(&n_batches, 1);
    spy_count(&n_profiles, (int64_t)b->n);
    spy_count(&n_known, (int64_t)known);
    spy_count(&n_samples, samples < INT64_MAX ? (int64_t)samples : INT64_MAX);
}

// --- the whole way ---

static enum spy_ingest_outcome map_outcome(int r, bool of_store)
{
    switch (r) {
    case SPY_ERR_UNSUPPORTED:
        return SPY_INGEST_BAD_TYPE;
    case SPY_ERR_INVALID:
        return SPY_INGEST_MALFORMED;
    case SPY_ERR_AGAIN:
        return of_store ? SPY_INGEST_UNAVAILABLE : SPY_INGEST_CLOCK;
    case SPY_ERR_LIMIT:
        return of_store ? SPY_INGEST_FULL : SPY_INGEST_TOO_LARGE;
    default:
        return SPY_INGEST_UNAVAILABLE;
    }
}

// The answer's message about the profiles that were left out.
static void print_rejected(const struct batch *b, char *out, size_t size)
{
    *out = 0;
    if (b->rejected.n)
        snprintf(out, size, "%llu of %llu profiles were not taken; the first: %s",
                 (unsigned long long)b->rejected.n, (unsigned long long)(b->rejected.n + b->n),
                 b->rejected.reason);
}

static enum spy_ingest_outcome append_batch(struct spy_ingest *in, struct batch *b,
                                            struct spy_buf *answer, struct spy_err *err)
{
    size_t known = 0;
    char rejected[400];
    struct spy_err why = {0};
    _cleanup_free_ bool *is_known = calloc(b->n + 1, sizeof *is_known);
    int r = is_known ? 0 : spy_err_nomem(&why);
    if (r == 0 && b->n)
        r = spy_store_append(in->options.store, b->profiles, b->n, &known, is_known, &why);
    if (r < 0) {
        *err = why;
        return r == SPY_ERR_LIMIT && why.sys == ENOSPC ? SPY_INGEST_DISK_FULL
                                                       : map_outcome(r, true);
    }
    print_rejected(b, rejected, sizeof rejected);
    if (spy_otlp_encode_response(b->form, b->rejected.n, rejected, answer) < 0) {
        spy_err_nomem(err);
        return SPY_INGEST_UNAVAILABLE;
    }
    count_taken(b, known, is_known);
    return SPY_INGEST_TAKEN;
}

static enum spy_ingest_outcome refuse_agents(const struct spy_ingest *in,
                                             enum spy_agents_answer why, struct spy_err *err)
{
    if (why == SPY_AGENTS_TOO_MANY) {
        spy_err_set(err, SPY_ERR_LIMIT, 0, "more than %u agents push to this collector",
                    in->options.agents_max);
        return SPY_INGEST_BUSY_AGENTS;
    }
    spy_err_set(err, SPY_ERR_LIMIT, 0, "this agent pushes more than %llu MiB a minute",
                (unsigned long long)(in->options.agent_bytes_a_minute >> 20));
    return SPY_INGEST_TOO_FAST;
}

static enum spy_ingest_outcome store_batch_profiles(struct spy_ingest *in, struct batch *b,
                                                    size_t bytes, struct spy_buf *answer,
                                                    struct spy_err *err)
{
    uint64_t now = spy_clock_real_ns();
    int r = check_profile_times(in, b, now, err);
    if (r < 0)
        return map_outcome(r, false);
    if (!b->n && b->rejected.n) {
        spy_err_set(err, SPY_ERR_INVALID, 0, "%s", b->rejected.reason);
        return SPY_INGEST_NOT_TAKEN;
    }
    enum spy_agents_answer agents = note_agents(in, b, bytes, now);
    if (agents != SPY_AGENTS_OK)
        return refuse_agents(in, agents, err);
    return append_batch(in, b, answer, err);
}

static enum spy_ingest_outcome take_batch(struct spy_ingest *in, const struct spy_ingest_body *body,
                                          struct batch *b, struct spy_buf *answer,
                                          struct spy_err *err)
{
    enum spy_encoding encoding;
    int r = check_headers(body, &encoding, b, err);
    if (r < 0)
        return map_outcome(r, false);
    r = decode_within(in, body, encoding, false, b, err);
    if (r == SPY_ERR_LIMIT) {
        batch_done(b);
        r = decode_within(in, body, encoding, true, b, err);
    }
    return r < 0 ? map_outcome(r, false) : store_batch_profiles(in, b, body->len, answer, err);
}

enum spy_ingest_outcome spy_ingest_take(struct spy_ingest *in, const struct spy_ingest_body *body,
                                        struct spy_buf *answer, const char **ret_type,
                                        struct spy_err *err)
{
    _cleanup_(batch_done) struct batch b = {.in = in};
    spy_count(&n_bytes, (int64_t)body->len);
    enum spy_ingest_outcome o = take_batch(in, body, &b, answer, err);
    spy_count(&n_outcomes[o], 1);
    if (o == SPY_INGEST_TAKEN || o == SPY_INGEST_NOT_TAKEN)
        spy_count(&n_rejected, b.rejected.n < INT64_MAX ? (int64_t)b.rejected.n : INT64_MAX);
    *ret_type = b.form == SPY_OTLP_JSON ? "application/json" : "application/x-protobuf";
    return o;
}
