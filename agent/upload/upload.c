#include "agent/upload/upload.h"
#include "agent/upload/push.h"
#include "agent/upload/spool.h"
#include "shared/base/backoff.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include "shared/otlp/otlp.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS      (30 * SPY_NS_PER_SEC)
#define BODY_MAX        (16ull << 20)
#define LABELS_MAX      (2 * (size_t)SPY_SPOOL_LEDGER_MAX) // of one window, packed
#define BACKOFF_BASE_NS SPY_NS_PER_SEC
#define BACKOFF_CAP_NS  (60 * SPY_NS_PER_SEC)
#define LOG_EVERY_NS    (60 * SPY_NS_PER_SEC)
#define CHECK_NS        (500 * SPY_NS_PER_MS) // between two checks whether files have changed

// --- metrics ---

static struct {
    int64_t outcomes[SPY_PUSH_OUTCOMES];
    int64_t bytes, sent, rejected, refused, rejected_profiles, reported;
} counts;

#define REQUESTS "podspy_agent_upload_requests_total"
#define WINDOWS  "podspy_agent_upload_windows_total"
#define SAMPLES  "podspy_agent_upload_lost_samples_total"
const struct spy_metric spy_upload_metrics[] = {
    {REQUESTS, "result=\"stored\"", "Requests to the collector, by how they ended.", SPY_COUNTER,
     &counts.outcomes[SPY_PUSH_STORED]},
    {REQUESTS, "result=\"rejected\"", NULL, SPY_COUNTER, &counts.outcomes[SPY_PUSH_REJECTED]},
    {REQUESTS, "result=\"denied\"", NULL, SPY_COUNTER, &counts.outcomes[SPY_PUSH_DENIED]},
    {REQUESTS, "result=\"busy\"", NULL, SPY_COUNTER, &counts.outcomes[SPY_PUSH_BUSY]},
    {REQUESTS, "result=\"unreachable\"", NULL, SPY_COUNTER, &counts.outcomes[SPY_PUSH_UNREACHABLE]},
    {REQUESTS, "result=\"strange\"", NULL, SPY_COUNTER, &counts.outcomes[SPY_PUSH_STRANGE]},
    {WINDOWS, "result=\"sent\"", "Windows by what became of them.", SPY_COUNTER, &counts.sent},
    {WINDOWS, "result=\"rejected\"", NULL, SPY_COUNTER, &counts.rejected},
    {WINDOWS, "result=\"refused\"", NULL, SPY_COUNTER, &counts.refused},
    {WINDOWS, "result=\"dropped\"", NULL, SPY_COUNTER, &spy_spool_counts.dropped},
    {WINDOWS, "result=\"damaged\"", NULL, SPY_COUNTER, &spy_spool_counts.damaged},
    {"podspy_agent_upload_bytes_total", NULL, "Compressed bytes that the collector acknowledged.",
     SPY_COUNTER, &counts.bytes},
    {"podspy_agent_upload_rejected_profiles_total", NULL,
     "Profiles in acknowledged requests that the collector did not take.", SPY_COUNTER,
     &counts.rejected_profiles},
    {SAMPLES, NULL, "Samples that were taken and then lost.", SPY_COUNTER,
     &spy_spool_counts.lost_samples},
    {"podspy_agent_upload_reported_samples_total", NULL,
     "Lost samples that a spooled window reports; a window dropped later reports them again.",
     SPY_COUNTER, &counts.reported},
    {"podspy_agent_spool_windows", NULL, "Windows that wait for the collector.", SPY_GAUGE,
     &spy_spool_counts.windows},
    {"podspy_agent_spool_bytes", NULL, "Bytes of the spool on disk.", SPY_GAUGE,
     &spy_spool_counts.bytes},
};
const size_t spy_upload_n_metrics = SPY_COUNT(spy_upload_metrics);

struct spy_upload {
    char *url, *ca_file, *token_file, *cert_file, *key_file; // copies of the options
    uint64_t body_bytes;
    struct spy_push *push; // the thread's, but for abort
    struct spy_backoff backoff;
    uint64_t logged[SPY_PUSH_OUTCOMES], read_logged;
    bool failing; // the last try failed; the thread's

    pthread_mutex_t lock; // for all below
    pthread_cond_t work, idle;
    struct spy_spool *spool;
    bool stop, hurry;
    pthread_t thread;
    bool started;
};

// --- the thread ---

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SPY_NS_PER_SEC),
                             .tv_nsec = (long)(ns % SPY_NS_PER_SEC)};
}

static void log_failure(struct spy_upload *u, const struct spy_push_result *r)
{
    static const char *const words[SPY_PUSH_OUTCOMES] = {
        [SPY_PUSH_REJECTED] = "the collector rejected a window: it is dropped and counted as lost",
        [SPY_PUSH_DENIED] = "the collector refuses this agent: check token and certificate; "
                            "windows wait in the spool",
        [SPY_PUSH_BUSY] = "the collector cannot take windows now: they wait in the spool",
        [SPY_PUSH_UNREACHABLE] = "the collector cannot be reached: windows wait in the spool",
        [SPY_PUSH_STRANGE] = "this is not a collector's answer: check collector.url; windows wait "
                             "in the spool",
    };
    if (!spy_log_due(&u->logged[r->outcome], LOG_EVERY_NS))
        return;
    pthread_mutex_lock(&u->lock);
    size_t waiting = spy_spool_n(u->spool);
    pthread_mutex_unlock(&u->lock);
    spy_log(SPY_LOG_WARN, words[r->outcome], SPY_S("url", u->url), SPY_I("status", r->status),
            SPY_S("reason", r->reason), SPY_I("windows", waiting));
}

static void count_result(struct spy_upload *u, const struct spy_push_result *r, size_t len)
{
    spy_count(&counts.outcomes[r->outcome], 1);
    if (r->outcome != SPY_PUSH_STORED) {
        u->failing |= r->outcome != SPY_PUSH_REJECTED;
        log_failure(u, r);
        spy_count(&counts.rejected, r->outcome == SPY_PUSH_REJECTED);
        return;
    }
    spy_count(&counts.sent, 1);
    spy_count(&counts.bytes, (int64_t)len);
    if (r->changed_to_gzip)
        spy_log(SPY_LOG_INFO, "the collector takes gzip and refuses zstd: gzip is sent from now on",
                SPY_S("url", u->url));
    if (r->rejected || *r->reason) {
        spy_count(&counts.rejected_profiles, (int64_t)r->rejected);
        if (spy_log_due(&u->logged[SPY_PUSH_STORED], LOG_EVERY_NS))
            spy_log(SPY_LOG_WARN,
                    r->rejected ? "the collector did not take all profiles of a window"
                                : "the collector took a window with a warning",
                    SPY_I("profiles", r->rejected), SPY_S("reason", r->reason));
    }
    if (u->failing)
        spy_log(SPY_LOG_INFO, "the collector takes windows again", SPY_S("url", u->url));
    u->failing = false;
    // The next failure is logged at once; only a wrong token stays at one line a minute.
    u->logged[SPY_PUSH_UNREACHABLE] = u->logged[SPY_PUSH_BUSY] = 0;
}

// Waits for the next try. A changed file or a flush ends the wait, unless the collector set it.
static void back_off(struct spy_upload *u, uint64_t wait_ns, bool is_fixed)
{
    uint64_t until = spy_clock_mono_ns() + wait_ns, now;
    while (!u->stop && (now = spy_clock_mono_ns()) < until) {
        if (u->hurry && !is_fixed) {
            u->hurry = false;
            spy_backoff_reset(&u->backoff);
            break;
        }
        struct timespec next = to_timespec(until - now < CHECK_NS ? until : now + CHECK_NS);
        pthread_cond_timedwait(&u->work, &u->lock, &next);
        if (!is_fixed && spy_push_files_changed(u->push))
            break;
    }
}

// Sends the oldest window once. The lock is held at the call and at the return.
static void send_one(struct spy_upload *u, uint64_t seq, struct spy_buf *body)
{
    struct spy_push_result r;
    pthread_mutex_unlock(&u->lock);
    spy_push_send(u->push, body->data ? body->data : (const uint8_t *)"", body->len, &r);
    bool aborted = __atomic_load_n(&u->stop, __ATOMIC_RELAXED) && r.outcome != SPY_PUSH_STORED;
    if (!aborted)
        count_result(u, &r, body->len);
    pthread_mutex_lock(&u->lock);
    spy_spool_settle(u->spool, seq,
                     r.outcome == SPY_PUSH_STORED     ? SPY_SPOOL_SENT
                     : r.outcome == SPY_PUSH_REJECTED ? SPY_SPOOL_LOST
                                                      : SPY_SPOOL_KEEP);
    if (r.outcome == SPY_PUSH_STORED || r.outcome == SPY_PUSH_REJECTED)
        spy_backoff_reset(&u->backoff);
    else
        back_off(u, spy_backoff_failed(&u->backoff, r.retry_after_ns), r.retry_after_ns != 0);
}

static void *run_sender(void *arg)
{
    struct spy_upload *u = arg;
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    pthread_mutex_lock(&u->lock);
    while (!u->stop) {
        uint64_t seq;
        struct spy_err err = {0};
        spy_buf_reset(&body);
        int r = spy_spool_next(u->spool, &seq, &body, &err);
        if (r == 0) {
            send_one(u, seq, &body);
        } else if (r == SPY_ERR_NOTFOUND) {
            spy_buf_free(&body); // a large window is not kept in memory
            u->hurry = false;
            pthread_cond_broadcast(&u->idle);
            pthread_cond_wait(&u->work, &u->lock);
        } else {
            if (spy_log_due(&u->read_logged, LOG_EVERY_NS))
                spy_log(SPY_LOG_ERROR, "windows wait in the spool", SPY_S("error", err.msg));
            back_off(u, spy_backoff_failed(&u->backoff, 0), false);
        }
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

// --- a window on its way into the spool ---

struct window {
    struct spy_upload *u;
    struct spy_profile *p;
    uint32_t *series; // of each row, ascending
    struct spy_spool_row *rows;
    size_t n;
    struct spy_buf labels, raw, body;
    int result; // of the last part that was not spooled
    struct spy_err *err;
};

static void window_free(struct window *w)
{
    free(w->series);
    free(w->rows);
    spy_buf_free(&w->labels);
    spy_buf_free(&w->raw);
    spy_buf_free(&w->body);
}

static bool is_active(const struct spy_series *s, uint64_t samples)
{
    return samples || !spy_quality_is_zero(&s->quality);
}

// Losses that no window has reported become quality.lost of their series.
static uint64_t *take_losses(struct window *w, struct spy_err *err)
{
    struct spy_upload *u = w->u;
    pthread_mutex_lock(&u->lock);
    const struct spy_losses *l = spy_spool_losses(u->spool);
    size_t room = (size_t)spy_profile_n_series(w->p) + l->n;
    uint64_t *lost = calloc(room + 1, sizeof *lost);
    for (size_t i = 0; lost && i < l->n; i++) {
        uint32_t id;
        // Losses that do not fit now stay for the next window.
        if (spy_losses_unpack(w->p, l->rows[i].labels, l->rows[i].len, &id) < 0)
            continue;
        struct spy_series *s = spy_profile_series_at(w->p, id);
        lost[id] = l->rows[i].samples;
        s->quality.lost = spy_add_sat(s->quality.lost, lost[id]);
    }
    pthread_mutex_unlock(&u->lock);
    if (!lost)
        spy_err_nomem(err);
    return lost;
}

// A series that has only losses gets the time of the others, so that the losses have a time.
static void give_times(struct spy_profile *p)
{
    uint64_t start = 0, duration = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (s->start_ns > start) {
            start = s->start_ns;
            duration = s->duration_ns;
        }
    }
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        struct spy_series *s = spy_profile_series_at(p, i);
        if (s->start_ns || !s->quality.lost)
            continue;
        s->start_ns = start ? start : spy_clock_real_ns();
        s->duration_ns = duration;
    }
}

static int add_row(struct window *w, uint32_t id, uint64_t samples, uint64_t lost)
{
    struct spy_series *s = spy_profile_series_at(w->p, id);
    size_t before = w->labels.len;
    memset(s->profile_id, 0, sizeof s->profile_id);
    if (!is_active(s, samples))
        return 0;
    if (spy_random_bytes(s->profile_id, sizeof s->profile_id) < 0)
        return SPY_ERR_IO;
    struct spy_spool_row *row = &w->rows[w->n];
    memcpy(row->profile_id, s->profile_id, sizeof row->profile_id);
    row->samples = samples;
    row->lost = lost;
    int r = spy_losses_pack(w->p, id, &w->labels);
    row->labels_len = (uint32_t)(w->labels.len - before);
    w->series[w->n++] = id;
    return r;
}

static int list_series(struct window *w, struct spy_err *err)
{
    _cleanup_free_ uint64_t *lost = take_losses(w, err);
    uint32_t n = spy_profile_n_series(w->p);
    _cleanup_free_ uint64_t *samples = calloc(n + 1u, sizeof *samples);
    w->series = calloc(n + 1u, sizeof *w->series);
    w->rows = calloc(n + 1u, sizeof *w->rows);
    if (!lost || !samples || !w->series || !w->rows)
        return spy_err_nomem(err);
    for (uint32_t i = 0; i < spy_profile_n_samples(w->p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(w->p, i);
        samples[s->series] = spy_add_sat(samples[s->series], s->count);
    }
    give_times(w->p);
    int r = 0;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_row(w, i, samples[i], lost[i]);
    size_t from = 0;
    for (size_t i = 0; i < w->n; i++) { // after the loop, since the buffer moves as it grows
        w->rows[i].labels = w->labels.data ? w->labels.data + from : (const uint8_t *)"";
        from += w->rows[i].labels_len;
    }
    return r < 0 ? spy_err_set(err, r, 0, "cannot prepare the window: %s", spy_code_name(r)) : 0;
}

// Encodes and compresses rows [from, to).
static int encode_rows(struct window *w, size_t from, size_t to, struct spy_err *err)
{
    const struct spy_otlp_limits *limits = &spy_otlp_default_limits;
    uint64_t samples = 0, ledger = 0;
    for (size_t i = from; i < to; i++) {
        samples += w->rows[i].samples < limits->samples ? w->rows[i].samples : limits->samples;
        ledger += sizeof w->rows[i] + w->rows[i].labels_len;
    }
    // Equal samples become one on the wire, so the sum is only an upper bound.
    if (to - from > limits->profiles)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the window has too many series");
    if (ledger > SPY_SPOOL_LEDGER_MAX)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the window has too many labels");
    if (samples > limits->samples && spy_profile_n_samples(w->p) > limits->samples)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the window has too many samples");
    spy_buf_reset(&w->raw);
    spy_buf_reset(&w->body);
    int r = spy_otlp_encode(w->p, w->series + from, to - from, &w->raw, err);
    if (r == 0)
        r = spy_compress(SPY_ENCODING_ZSTD, w->raw.data, w->raw.len, &w->body, err);
    if (r == 0 && w->body.len > w->u->body_bytes)
        r = spy_err_set(err, SPY_ERR_LIMIT, 0, "one series makes a request of %zu bytes, over %llu",
                        w->body.len, (unsigned long long)w->u->body_bytes);
    return r;
}

// Spools rows [from, to) as one request, or as two halves where one is too large.
static void spool_rows(struct window *w, size_t from, size_t to)
{
    struct spy_upload *u = w->u;
    struct spy_err err = {0};
    int r = encode_rows(w, from, to, &err);
    if (r == SPY_ERR_LIMIT && to - from > 1) {
        size_t middle = from + (to - from) / 2;
        spool_rows(w, from, middle);
        spool_rows(w, middle, to);
        return;
    }
    uint64_t reported = 0;
    for (size_t i = from; i < to; i++)
        reported += w->rows[i].lost;
    pthread_mutex_lock(&u->lock);
    if (r == 0)
        r = spy_spool_append(u->spool, w->rows + from, to - from, w->body.data, w->body.len, &err);
    for (size_t i = from; r < 0 && i < to; i++)
        spy_spool_lose(u->spool, &w->rows[i]);
    if (r < 0)
        spy_spool_save(u->spool);
    pthread_cond_signal(&u->work);
    pthread_mutex_unlock(&u->lock);
    if (r < 0) {
        w->result = spy_err_set(w->err, r, 0, "%s", err.msg);
        spy_count(&counts.refused, 1);
    } else {
        spy_count(&counts.reported, (int64_t)reported);
    }
}

// A window that cannot be listed is lost as a whole, which is recorded with the memory of one series.
static void lose_window(struct window *w)
{
    struct spy_spool *s = w->u->spool;
    spy_buf_free(&w->labels);
    pthread_mutex_lock(&w->u->lock);
    for (uint32_t id = 0; id < spy_profile_n_series(w->p); id++) {
        struct spy_spool_row row = {.labels = (const uint8_t *)""};
        for (uint32_t i = 0; i < spy_profile_n_samples(w->p); i++) {
            const struct spy_sample *sample = spy_profile_sample_at(w->p, i);
            if (sample->series == id)
                row.samples = spy_add_sat(row.samples, sample->count);
        }
        spy_buf_reset(&w->labels);
        if (spy_losses_pack(w->p, id, &w->labels) == 0 && w->labels.len) {
            row.labels = w->labels.data;
            row.labels_len = (uint32_t)w->labels.len;
        }
        spy_spool_lose(s, &row);
    }
    spy_spool_save(s);
    pthread_mutex_unlock(&w->u->lock);
}

int spy_upload_window(struct spy_upload *u, struct spy_profile *p, struct spy_err *err)
{
    size_t raw = spy_otlp_default_limits.message_bytes;
    _cleanup_(window_free) struct window w = {.u = u,
                                              .p = p,
                                              .err = err,
                                              .labels = SPY_BUF_INIT(LABELS_MAX),
                                              .raw = SPY_BUF_INIT(raw),
                                              .body = SPY_BUF_INIT(2 * raw)};
    int r = list_series(&w, err);
    if (r < 0) {
        lose_window(&w);
        spy_count(&counts.refused, 1);
        return r;
    }
    if (w.n)
        spool_rows(&w, 0, w.n);
    return w.result;
}

// --- life ---

static int copy_options(struct spy_upload *u, const struct spy_upload_options *o,
                        struct spy_push_options *ret)
{
    const struct {
        const char *from;
        char **to;
    } strings[] = {{o->url, &u->url},
                   {o->ca_file, &u->ca_file},
                   {o->token_file, &u->token_file},
                   {o->cert_file, &u->cert_file},
                   {o->key_file, &u->key_file}};
    for (size_t i = 0; i < SPY_COUNT(strings); i++)
        if (strings[i].from && !(*strings[i].to = strdup(strings[i].from)))
            return SPY_ERR_NOMEM;
    *ret = (struct spy_push_options){.url = u->url,
                                     .ca_file = u->ca_file,
                                     .token_file = u->token_file,
                                     .cert_file = u->cert_file,
                                     .key_file = u->key_file,
                                     .timeout_ns = o->timeout_ns ? o->timeout_ns : TIMEOUT_NS,
                                     .compression = o->compression};
    u->body_bytes = o->body_bytes ? o->body_bytes : BODY_MAX;
    return 0;
}

static int init_locks(struct spy_upload *u)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&u->lock, NULL);
    if (pthread_condattr_init(&monotonic))
        return SPY_ERR_NOMEM;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->work, &monotonic);
    pthread_cond_init(&u->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return 0;
}

static int start_sender(struct spy_upload *u, struct spy_err *err)
{
    int sys = spy_thread_start(&u->thread, run_sender, u);
    u->started = sys == 0;
    return sys ? spy_err_set(err, SPY_ERR_NOMEM, sys, "cannot start the upload's thread") : 0;
}

int spy_upload_new(const struct spy_upload_options *options, struct spy_upload **ret,
                   struct spy_err *err)
{
    struct spy_push_options push;
    struct spy_upload *u = calloc(1, sizeof *u);
    if (!u || init_locks(u) < 0 || copy_options(u, options, &push) < 0) {
        spy_upload_free(u);
        return spy_err_nomem(err);
    }
    u->backoff = (struct spy_backoff){.base_ns = BACKOFF_BASE_NS, .cap_ns = BACKOFF_CAP_NS};
    int r = spy_push_new(&push, &u->push, err);
    if (r == 0)
        r = spy_spool_open(options->spool_dir, options->spool_bytes, &u->spool, err);
    if (r == 0)
        r = start_sender(u, err);
    if (r < 0) {
        spy_upload_free(u);
        return r;
    }
    *ret = u;
    return 0;
}

int spy_upload_flush(struct spy_upload *u, uint64_t timeout_ns)
{
    struct timespec until = to_timespec(spy_clock_mono_ns() + timeout_ns);
    int waited = 0;
    pthread_mutex_lock(&u->lock);
    u->hurry = true;
    pthread_cond_signal(&u->work);
    while (spy_spool_n(u->spool) && !waited)
        waited = pthread_cond_timedwait(&u->idle, &u->lock, &until);
    int r = spy_spool_n(u->spool) ? SPY_ERR_AGAIN : 0;
    pthread_mutex_unlock(&u->lock);
    return r;
}

void spy_upload_free(struct spy_upload *u)
{
    if (!u)
        return;
    if (u->started) {
        pthread_mutex_lock(&u->lock);
        __atomic_store_n(&u->stop, true, __ATOMIC_RELAXED);
        spy_push_abort(u->push);
        pthread_cond_signal(&u->work);
        pthread_mutex_unlock(&u->lock);
        pthread_join(u->thread, NULL);
    }
    spy_push_free(u->push);
    spy_spool_close(u->spool);
    free(u->url);
    free(u->ca_file);
    free(u->token_file);
    free(u->cert_file);
    free(u->key_file);
    pthread_cond_destroy(&u->work);
    pthread_cond_destroy(&u->idle);
    pthread_mutex_destroy(&u->lock);
    free(u);
}
