#include "agent/discover/kube.h"
#include "agent/discover/note.h"
#include "agent/discover/split.h"
#include "shared/base/backoff.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include "shared/http/url.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_MAX_BYTES = 2 << 20,
    REFUSAL_MAX = 8 << 10,
    LIST_SECONDS = 60,
    WATCH_SECONDS = 240, // and up to 60 more, so that the nodes do not all come at once
    QUIET_SECONDS = 130, // a bookmark comes every minute
    PAGE = 500,
    PAGES = 64,
    POLL_MS = 1000,
    PATH_TEXT_MAX = 4000,
    RELIST_AFTER = 3,
};

#define SHORT_NS        (1 * SPY_NS_PER_SEC) // a watch that ends sooner is a failure
#define BACKOFF_BASE_NS (500 * SPY_NS_PER_MS)
#define BACKOFF_CAP_NS  (8 * SPY_NS_PER_SEC)

struct spy_kube {
    struct spy_access access;
    pthread_t thread;
    bool started;
    bool stop; // atomic
    struct spy_client *client;
    struct spy_client_loop *loop;
    struct spy_notes *notes;

    // the thread's own
    char version[SPY_VERSION_TEXT]; // watch from here; "": list first
    bool from_cache;                // the API server may answer a list from its cache
    struct spy_backoff backoff;

    pthread_mutex_t lock;
    bool changed;              // under lock, as are all below
    struct spy_kube_view view; // pods here are ours
};

static bool is_stopped(const struct spy_kube *k)
{
    return __atomic_load_n(&k->stop, __ATOMIC_RELAXED);
}

// --- transfers ---

// An answer under way.
struct answer {
    struct spy_kube *k;
    struct spy_transfer *transfer;
    struct spy_split *list; // of a list; NULL: this is a watch
    struct spy_buf line;    // of a watch
    bool gone;
    bool begun, heard, silent; // of a watch: it was granted; a line came; no line came any more
    struct spy_err err;        // what was wrong in the body; code 0: nothing
};

static void free_answer(struct answer *a)
{
    spy_transfer_free(a->transfer);
    spy_buf_free(&a->line);
}

// Runs the transfers until t has its answer, or until the deadline. t may be NULL.
static void run_transfers(struct spy_kube *k, const struct spy_transfer *t, uint64_t deadline_ns)
{
    while (!is_stopped(k) && !(t && spy_transfer_answer(t))) {
        uint64_t now = spy_clock_mono_ns();
        if (now >= deadline_ns)
            return;
        spy_notes_run(k->notes);
        uint64_t ms = (deadline_ns - now) / SPY_NS_PER_MS + 1;
        spy_client_loop_run(k->loop, ms < POLL_MS ? (unsigned)ms : POLL_MS);
    }
}

static int set_refused(const struct spy_client_answer *got, struct spy_err *err)
{
    json_t *body = json_loadb(spy_buf_str(&got->body), got->body.len, 0, NULL);
    const char *said = json_string_value(json_object_get(body, "message"));
    int r = got->status == 410 ? SPY_ERR_GONE : SPY_ERR_IO;
    const char *hint = got->status == 401 ? ": is the token of this cluster?"
                       : got->status == 403
                           ? ": the agent's account needs get, list and watch on pods"
                           : "";
    spy_err_set(err, r, 0, "Kubernetes answers with status %d%s%s%.110s", got->status, hint,
                said ? ": " : "", said ? said : "");
    json_decref(body);
    return r;
}

// 0, or what went wrong with the request or in its body.
static int judge_answer(struct answer *a, struct spy_err *err)
{
    const struct spy_client_answer *got = spy_transfer_answer(a->transfer);
    if (!got)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "stopped");
    a->silent = got->timed_out;
    if (a->gone)
        return spy_err_set(err, SPY_ERR_GONE, 0, "the watch is too old");
    if (a->err.code) {
        if (err)
            *err = a->err;
        return a->err.code;
    }
    if (got->status && got->status != 200)
        return set_refused(got, err);
    if (got->outcome == SPY_CLIENT_UNREACHABLE)
        return spy_err_set(err, SPY_ERR_IO, 0, "Kubernetes at %.80s: %.130s", a->k->access.url,
                           got->reason);
    return 0;
}

static bool on_data(void *arg, const char *data, size_t len);
static void on_begin(void *arg);

// Sends a request and waits for its answer. path begins with "/api".
static int send_request(struct spy_kube *k, struct answer *a, const char *path, int secs,
                        struct spy_err *err)
{
    static const char *const headers[] = {"Accept: application/json"};
    char url[4608];
    snprintf(url, sizeof url, "%s%s", k->access.url, path);
    struct spy_client_request request = {.url = url,
                                         .headers = headers,
                                         .n_headers = SPY_COUNT(headers),
                                         .timeout_ms = (unsigned)secs * 1000,
                                         .quiet_secs = QUIET_SECONDS,
                                         .answer_max = REFUSAL_MAX,
                                         .on_data = on_data,
                                         .on_begin = a->list ? NULL : on_begin,
                                         .arg = a};
    int r = spy_client_loop_start(k->loop, &request, &a->transfer, err);
    if (r < 0)
        return spy_err_context(err, r, "Kubernetes");
    run_transfers(k, a->transfer, UINT64_MAX);
    return judge_answer(a, err);
}

// --- the view ---

static void publish_state(struct spy_kube *k, int r, const struct spy_err *err)
{
    pthread_mutex_lock(&k->lock);
    bool failing = r < 0;
    if (failing != k->view.failing || (failing && strcmp(err->msg, k->view.err.msg) != 0)) {
        k->view.failing = failing;
        k->view.err = failing ? *err : (struct spy_err){0};
        k->changed = true;
    }
    pthread_mutex_unlock(&k->lock);
}

static void note_problems(struct spy_kube *k, const struct spy_pod *pod)
{
    for (unsigned i = 0; i < pod->labels.n_problems; i++)
        spy_notes_add(k->notes, pod, pod->labels.problems[i]);
}

static void apply_event(struct spy_kube *k, const struct spy_watch_event *e)
{
    bool changed, full = false;
    const struct spy_pod *pod = e->pod;
    if (e->kind == SPY_WATCH_PUT)
        note_problems(k, pod);
    pthread_mutex_lock(&k->lock);
    if (e->kind == SPY_WATCH_PUT)
        changed = spy_pods_put(&k->view.pods, e->pod, &full);
    else
        changed = spy_pods_remove(&k->view.pods, pod->uid);
    k->changed |= changed || full;
    k->view.full |= full;
    pthread_mutex_unlock(&k->lock);
    if (e->kind == SPY_WATCH_DELETE)
        spy_pod_unref(e->pod);
}

static void count_skipped(struct spy_kube *k, size_t n)
{
    if (!n)
        return;
    pthread_mutex_lock(&k->lock);
    k->view.skipped += n;
    k->changed = true;
    pthread_mutex_unlock(&k->lock);
}

// --- list ---

struct listing {
    struct spy_kube *k;
    struct spy_pods pods;
    size_t skipped;
    bool full;
};

static void take_pod(void *arg, const char *item, size_t len)
{
    struct listing *l = arg;
    struct spy_pod *pod;
    if (spy_pod_parse(item, len, l->k->access.prefix, &pod, NULL) < 0) {
        l->skipped++;
        return;
    }
    note_problems(l->k, pod);
    // Only this thread changes the view, so reading it here needs no lock.
    spy_pods_put(&l->pods, spy_pods_same(&l->k->view.pods, pod), &l->full);
}

static void publish_list(struct spy_kube *k, struct listing *l)
{
    pthread_mutex_lock(&k->lock);
    struct spy_pods old = k->view.pods;
    k->view.pods = l->pods;
    k->view.synced = true;
    k->view.full = l->full;
    k->view.skipped = l->skipped;
    k->changed = true;
    pthread_mutex_unlock(&k->lock);
    l->pods = (struct spy_pods){0};
    spy_pods_free(&old);
}

static int write_list_path(const struct spy_kube *k, const char *more, struct spy_buf *out)
{
    spy_buf_puts(out, "/api/v1/pods?fieldSelector=spec.nodeName%3D");
    spy_url_put_value(out, k->access.node);
    spy_buf_printf(out, "&limit=%d", PAGE);
    if (*more) {
        spy_buf_puts(out, "&continue=");
        spy_url_put_value(out, more);
    } else if (k->from_cache) {
        spy_buf_puts(out, "&resourceVersion=0");
    }
    return out->failed;
}

// Reads the fields around the items.
static int read_answer_head(const struct spy_split *s, char version[SPY_VERSION_TEXT], char *more,
                            size_t more_size, struct spy_err *err)
{
    json_t *head = json_loadb(spy_buf_str(&s->head), s->head.len, 0, NULL);
    json_t *meta = json_object_get(head, "metadata");
    const char *v = json_string_value(json_object_get(meta, "resourceVersion"));
    const char *c = json_string_value(json_object_get(meta, "continue"));
    c = c ? c : "";
    int r = 0;
    if (!v || !*v || strlen(v) >= SPY_VERSION_TEXT || v[strspn(v, "0123456789")] ||
        strlen(c) >= more_size)
        r = spy_err_set(err, SPY_ERR_INVALID, 0,
                        "Kubernetes answers with something that is not a list of pods");
    if (r == 0) {
        snprintf(version, SPY_VERSION_TEXT, "%s", v);
        snprintf(more, more_size, "%s", c);
    }
    json_decref(head);
    return r;
}

static int list_page(struct listing *l, char version[SPY_VERSION_TEXT], char *more,
                     size_t more_size, struct spy_err *err)
{
    struct spy_split split;
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(PATH_TEXT_MAX);
    _cleanup_(free_answer) struct answer a = {.k = l->k, .list = &split};
    spy_split_init(&split, take_pod, l);
    int r = write_list_path(l->k, more, &path);
    if (r < 0)
        spy_err_set(err, r, 0, "the name of the node is too long for a request");
    if (r == 0)
        r = send_request(l->k, &a, spy_buf_str(&path), LIST_SECONDS, err);
    if (r == 0)
        r = read_answer_head(&split, version, more, more_size, err);
    l->skipped += split.skipped;
    spy_split_free(&split);
    return r;
}

static int list_pods(struct spy_kube *k, struct spy_err *err)
{
    struct listing l = {.k = k};
    char version[SPY_VERSION_TEXT] = "", more[2048] = "";
    int r, pages = 0;
    do
        r = list_page(&l, version, more, sizeof more, err);
    while (r == 0 && *more && ++pages < PAGES);
    if (r == 0) {
        publish_list(k, &l);
        memcpy(k->version, version, sizeof version);
        k->from_cache = true;
    }
    spy_pods_free(&l.pods);
    return r;
}

// --- watch ---

static void take_line(struct answer *a, const char *text, size_t len)
{
    struct spy_watch_event e;
    struct spy_kube *k = a->k;
    if (spy_watch_parse(text, len, k->access.prefix, &e, &a->err) < 0)
        return;
    a->heard = true;
    if (e.kind == SPY_WATCH_ERROR) {
        a->gone = e.status == 410;
        spy_err_set(&a->err, SPY_ERR_IO, 0, "Kubernetes ends the watch: %d %.150s", e.status,
                    e.message);
        return;
    }
    if (e.pod)
        apply_event(k, &e);
    if (*e.version)
        memcpy(k->version, e.version, sizeof k->version);
}

static bool read_lines(struct answer *a, const char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(data + at, '\n', len - at);
        size_t n = end ? (size_t)(end - data) - at : len - at;
        spy_buf_append(&a->line, data + at, n); // past its bound it is marked as failed
        at += n + (end != NULL);
        if (!end)
            break;
        if (a->line.failed)
            count_skipped(a->k, 1);
        else if (a->line.len)
            take_line(a, spy_buf_str(&a->line), a->line.len);
        spy_buf_reset(&a->line);
        if (a->err.code)
            return false;
    }
    return true;
}

static bool on_data(void *arg, const char *data, size_t len)
{
    struct answer *a = arg;
    if (is_stopped(a->k))
        return false;
    if (!a->list)
        return read_lines(a, data, len);
    if (spy_split_feed(a->list, data, len) == 0)
        return true;
    spy_err_set(&a->err, SPY_ERR_LIMIT, 0, "Kubernetes answers with something that is not a list");
    return false;
}

// The API answers again, though nothing may change for long.
static void on_begin(void *arg)
{
    struct answer *a = arg;
    a->begun = true;
    publish_state(a->k, 0, NULL);
}

static int watch_pods(struct spy_kube *k, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(PATH_TEXT_MAX);
    _cleanup_(free_answer) struct answer a = {.k = k, .line = SPY_BUF_INIT(LINE_MAX_BYTES)};
    int seconds = WATCH_SECONDS + (int)(60 * spy_rand_unit(&k->backoff.rand));
    spy_buf_puts(&path,
                 "/api/v1/pods?watch=1&allowWatchBookmarks=true&fieldSelector=spec.nodeName%3D");
    spy_url_put_value(&path, k->access.node);
    spy_buf_printf(&path, "&resourceVersion=%s&timeoutSeconds=%d", k->version, seconds);
    uint64_t began = spy_clock_mono_ns();
    int r = path.failed ? path.failed : send_request(k, &a, spy_buf_str(&path), seconds + 30, err);
    if (a.begun && a.silent)
        r = 0; // the next watch shows whether the server is there
    if (a.heard || (a.begun && spy_clock_mono_ns() - began >= SHORT_NS))
        spy_backoff_reset(&k->backoff);
    else if (r == 0)
        r = spy_err_set(err, SPY_ERR_IO, 0, "Kubernetes ends a watch as soon as it begins");
    return r;
}

// --- the thread ---

static void wait_to_retry(struct spy_kube *k)
{
    run_transfers(k, NULL, spy_clock_mono_ns() + spy_backoff_failed(&k->backoff, 0));
}

static void list_or_watch(struct spy_kube *k)
{
    struct spy_err err = {0};
    bool watching = *k->version;
    int r = watching ? watch_pods(k, &err) : list_pods(k, &err);
    if (is_stopped(k))
        return;
    publish_state(k, r == SPY_ERR_GONE ? 0 : r, &err);
    if (r == 0)
        return;
    unsigned failures = k->backoff.failures;
    // A watch that is refused again and again may start at a version that the API server never had:
    // its data was restored from a backup.
    if (r == SPY_ERR_GONE || r == SPY_ERR_INVALID || failures >= RELIST_AFTER)
        k->version[0] = 0;
    k->from_cache = r != SPY_ERR_GONE; // its cache may be as old as the version that was too old
    if (r == SPY_ERR_GONE && !failures)
        k->backoff.failures = 1; // a new list at once
    else
        wait_to_retry(k);
}

static void *run_kube(void *arg)
{
    struct spy_kube *k = arg;
    while (!is_stopped(k))
        list_or_watch(k);
    return NULL;
}

// --- start and end ---

static int start_kube_watch(struct spy_kube *k, struct spy_err *err)
{
    struct spy_client_options o = spy_access_client_options(&k->access);
    int r = spy_client_new(&o, &k->client, err);
    if (r == 0)
        r = spy_client_loop_new(k->client, &k->loop, err);
    if (r == 0 && !(k->notes = spy_notes_new(&k->access, k->loop)))
        r = spy_err_nomem(err);
    int sys = r == 0 ? spy_thread_start(&k->thread, run_kube, k) : 0;
    k->started = r == 0 && sys == 0;
    return sys ? spy_err_set(err, spy_code_of_errno(sys), sys, "cannot start the Kubernetes thread")
               : r;
}

int spy_kube_new(const struct spy_access *access, struct spy_kube **ret, struct spy_err *err)
{
    struct spy_kube *k = calloc(1, sizeof *k);
    if (!k)
        return spy_err_nomem(err);
    pthread_mutex_init(&k->lock, NULL);
    k->access = *access;
    k->from_cache = true;
    k->backoff = (struct spy_backoff){
        .base_ns = BACKOFF_BASE_NS, .cap_ns = BACKOFF_CAP_NS, .half_fixed = true};
    int r = start_kube_watch(k, err);
    if (r < 0) {
        spy_kube_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void spy_kube_free(struct spy_kube *k)
{
    if (!k)
        return;
    __atomic_store_n(&k->stop, true, __ATOMIC_RELAXED);
    if (k->started) {
        spy_client_loop_wake(k->loop);
        pthread_join(k->thread, NULL);
    }
    spy_notes_free(k->notes);
    spy_client_loop_free(k->loop);
    spy_client_free(k->client);
    spy_pods_free(&k->view.pods);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

bool spy_kube_take(struct spy_kube *k, struct spy_kube_view *ret)
{
    struct spy_kube_view v;
    pthread_mutex_lock(&k->lock);
    bool taken = k->changed;
    if (taken) {
        v = k->view;
        taken = spy_pods_copy(&k->view.pods, &v.pods) == 0;
        k->changed = !taken;
    }
    pthread_mutex_unlock(&k->lock);
    if (taken)
        *ret = v;
    return taken;
}
