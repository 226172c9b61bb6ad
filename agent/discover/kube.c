#include "agent/discover/kube.h"
#include "agent/discover/note.h"
#include "agent/discover/split.h"
#include "shared/base/clock.h"
#include "shared/trust/trust.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
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
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 8000,
    SPIN_MS = 1000,
    RELIST_AFTER = 3,
};

#define SHORT_NS (1 * SPY_NS_PER_SEC) // a watch that ends sooner is a failure

struct spy_kube {
    struct spy_access access;
    pthread_t thread;
    bool started;
    bool stop; // atomic
    CURLM *multi;
    struct spy_rand rand;
    struct spy_notes *notes;

    // of the thread alone
    char version[SPY_VERSION_TEXT]; // watch from here; "": list first
    bool from_cache;                // any list will do, the API server's cache has one
    unsigned failures;              // in a row

    pthread_mutex_t lock;
    bool changed;              // under lock, as is what follows
    struct spy_kube_view view; // pods here are ours
};

static bool stopped(const struct spy_kube *k)
{
    return __atomic_load_n(&k->stop, __ATOMIC_RELAXED);
}

// --- transfers ---

// One answer under way.
struct answer {
    struct spy_kube *k;
    CURL *easy;
    struct curl_slist *headers;
    struct spy_buf refusal; // the body when the status is not 200
    struct spy_split *list; // of a list
    struct spy_buf line;    // of a watch
    bool over, gone;
    bool begun, heard; // of a watch: it was granted; a line came
    CURLcode code;
    char why[CURL_ERROR_SIZE];
    struct spy_err err; // what was wrong in the body; code 0: nothing
};

static void answer_done(struct answer *a)
{
    if (a->easy)
        curl_multi_remove_handle(a->k->multi, a->easy);
    curl_easy_cleanup(a->easy);
    curl_slist_free_all(a->headers);
    spy_buf_free(&a->refusal);
    spy_buf_free(&a->line);
}

static void read_ends(struct spy_kube *k, struct answer *a)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(k->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        if (a && m->easy_handle == a->easy) {
            a->over = true;
            a->code = m->data.result;
        } else {
            spy_notes_ended(k->notes, m->easy_handle, m->data.result);
        }
    }
}

// Lets the transfers go on until a is over, or until the time when there is none.
static void spin(struct spy_kube *k, struct answer *a, uint64_t deadline_ns)
{
    while (!stopped(k) && !(a && a->over)) {
        int running;
        uint64_t now = spy_clock_mono_ns();
        if (now >= deadline_ns)
            return;
        spy_notes_send(k->notes, k->multi);
        curl_multi_perform(k->multi, &running);
        read_ends(k, a);
        if (a && a->over)
            return;
        uint64_t ms = (deadline_ns - now) / SPY_NS_PER_MS + 1;
        curl_multi_poll(k->multi, NULL, 0, (int)(ms < SPIN_MS ? ms : SPIN_MS), NULL);
    }
}

static int refused(struct answer *a, long status, struct spy_err *err)
{
    json_t *body = json_loadb(spy_buf_str(&a->refusal), a->refusal.len, 0, NULL);
    const char *said = json_string_value(json_object_get(body, "message"));
    int r = status == 410 ? SPY_ERR_GONE : SPY_ERR_IO;
    const char *hint = status == 401   ? ": is the token of this cluster?"
                       : status == 403 ? ": the agent's account needs get, list and watch on pods"
                                       : "";
    spy_err_set(err, r, 0, "Kubernetes answers with status %ld%s%s%.110s", status, hint,
                said ? ": " : "", said ? said : "");
    json_decref(body);
    return r;
}

// 0, or what went wrong with the request or in its body.
static int judge_answer(struct answer *a, struct spy_err *err)
{
    long status = 0;
    if (!a->over)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "stopped");
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (a->gone)
        return spy_err_set(err, SPY_ERR_GONE, 0, "the watch is too old");
    if (a->err.code) {
        if (err)
            *err = a->err;
        return a->err.code;
    }
    if (status && status != 200)
        return refused(a, status, err);
    if (a->code != CURLE_OK)
        return spy_err_set(err, SPY_ERR_IO, 0, "Kubernetes at %.80s: %.130s", a->k->access.url,
                           a->code == CURLE_ABORTED_BY_CALLBACK ? SPY_TRUST_NOT_A_SERVER
                           : *a->why                            ? a->why
                                                                : curl_easy_strerror(a->code));
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);

static int ask(struct spy_kube *k, struct answer *a, const char *path, long seconds,
               struct spy_err *err)
{
    int r = spy_access_request(&k->access, path, NULL, &a->easy, &a->headers, err);
    if (r < 0)
        return r;
    curl_easy_setopt(a->easy, CURLOPT_TIMEOUT, seconds);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_TIME, (long)QUIET_SECONDS);
    curl_easy_setopt(a->easy, CURLOPT_ERRORBUFFER, a->why);
    curl_easy_setopt(a->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(a->easy, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(a->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(a->easy, CURLOPT_HEADERDATA, a);
    if (curl_multi_add_handle(k->multi, a->easy) != CURLM_OK)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "no memory for a request to Kubernetes");
    spin(k, a, UINT64_MAX);
    return judge_answer(a, err);
}

// --- what is known ---

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

static void apply(struct spy_kube *k, const struct spy_watch_event *e)
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

static void skip(struct spy_kube *k, size_t n)
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

static void on_item(void *arg, const char *item, size_t len)
{
    struct listing *l = arg;
    struct spy_pod *pod;
    if (spy_pod_parse(item, len, l->k->access.prefix, &pod, NULL) < 0) {
        l->skipped++;
        return;
    }
    note_problems(l->k, pod);
    // Only this thread changes what is known, so reading it here needs no lock.
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

static int list_path(const struct spy_kube *k, const char *more, struct spy_buf *out)
{
    char *node = curl_easy_escape(NULL, k->access.node, 0);
    char *next = curl_easy_escape(NULL, more, 0);
    spy_buf_printf(out, "/api/v1/pods?fieldSelector=spec.nodeName%%3D%s&limit=%d", node ? node : "",
                   PAGE);
    if (*more)
        spy_buf_printf(out, "&continue=%s", next ? next : "");
    else if (k->from_cache)
        spy_buf_puts(out, "&resourceVersion=0");
    int r = node && next ? out->failed : SPY_ERR_NOMEM;
    curl_free(node);
    curl_free(next);
    return r;
}

// Reads what stands around the items.
static int read_head(const struct spy_split *s, char version[SPY_VERSION_TEXT], char *more,
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
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(4000);
    struct answer a = {.k = l->k, .refusal = SPY_BUF_INIT(REFUSAL_MAX), .list = &split};
    spy_split_init(&split, on_item, l);
    int r = list_path(l->k, more, &path);
    if (r < 0)
        spy_err_set(err, r, 0, "the name of the node is too long for a request");
    if (r == 0)
        r = ask(l->k, &a, spy_buf_str(&path), LIST_SECONDS, err);
    if (r == 0)
        r = read_head(&split, version, more, more_size, err);
    l->skipped += split.skipped;
    answer_done(&a);
    spy_split_free(&split);
    return r;
}

static int list(struct spy_kube *k, struct spy_err *err)
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

static void on_line(struct answer *a, const char *text, size_t len)
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
        apply(k, &e);
    if (*e.version)
        memcpy(k->version, e.version, sizeof k->version);
}

static size_t on_watch(struct answer *a, const char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(data + at, '\n', len - at);
        size_t n = end ? (size_t)(end - data) - at : len - at;
        spy_buf_append(&a->line, data + at, n); // past its bound it is marked as failed
        at += n + (end != NULL);
        if (!end)
            break;
        if (a->line.failed)
            skip(a->k, 1);
        else if (a->line.len)
            on_line(a, spy_buf_str(&a->line), a->line.len);
        spy_buf_reset(&a->line);
        if (a->err.code)
            return 0;
    }
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    long status = 0;
    size *= n;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (stopped(a->k))
        return 0;
    if (status != 200)
        return spy_buf_append(&a->refusal, data, size) < 0 ? 0 : size;
    if (!a->list)
        return on_watch(a, data, size);
    if (spy_split_feed(a->list, data, size) == 0)
        return size;
    spy_err_set(&a->err, SPY_ERR_LIMIT, 0, "Kubernetes answers with something that is not a list");
    return 0;
}

// An answer begins: the API is there again, though nothing may change for long.
static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    long status = 0;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!a->list && status == 200 && size * n >= 2 && data[0] == '\r') {
        a->begun = true;
        publish_state(a->k, 0, NULL);
    }
    return size * n;
}

static int watch(struct spy_kube *k, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(4000);
    struct answer a = {
        .k = k, .refusal = SPY_BUF_INIT(REFUSAL_MAX), .line = SPY_BUF_INIT(LINE_MAX_BYTES)};
    char *node = curl_easy_escape(NULL, k->access.node, 0);
    int seconds = WATCH_SECONDS + (int)(60 * spy_rand_unit(&k->rand));
    spy_buf_printf(&path,
                   "/api/v1/pods?watch=1&allowWatchBookmarks=true&fieldSelector=spec.nodeName%%3D%s"
                   "&resourceVersion=%s&timeoutSeconds=%d",
                   node ? node : "", k->version, seconds);
    curl_free(node);
    uint64_t began = spy_clock_mono_ns();
    int r = node ? ask(k, &a, spy_buf_str(&path), seconds + 30, err) : SPY_ERR_NOMEM;
    if (a.begun && a.code == CURLE_OPERATION_TIMEDOUT)
        r = 0; // silence: the next watch tells whether there is anybody
    if (a.heard || (a.begun && spy_clock_mono_ns() - began >= SHORT_NS))
        k->failures = 0;
    else if (r == 0)
        r = spy_err_set(err, SPY_ERR_IO, 0, "Kubernetes ends a watch as soon as it is begun");
    answer_done(&a);
    return r;
}

// --- the thread ---

static void back_off(struct spy_kube *k)
{
    uint64_t ms = BACKOFF_MIN_MS;
    for (unsigned i = 0; i < k->failures && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    ms = ms / 2 + (uint64_t)((double)(ms / 2) * spy_rand_unit(&k->rand));
    spin(k, NULL, spy_clock_mono_ns() + ms * SPY_NS_PER_MS);
}

static void step(struct spy_kube *k)
{
    struct spy_err err = {0};
    bool watching = *k->version;
    int r = watching ? watch(k, &err) : list(k, &err);
    if (stopped(k))
        return;
    publish_state(k, r == SPY_ERR_GONE ? 0 : r, &err);
    if (r == 0)
        return;
    // A watch that is refused again and again may stand where the API server never was: one whose
    // data was put back from a copy.
    if (r == SPY_ERR_GONE || r == SPY_ERR_INVALID || k->failures >= RELIST_AFTER)
        k->version[0] = 0;
    k->from_cache = r != SPY_ERR_GONE; // its cache may be as old as what was too old
    if (r != SPY_ERR_GONE || k->failures)
        back_off(k);
    k->failures++;
}

static void *run(void *arg)
{
    struct spy_kube *k = arg;
    while (!stopped(k))
        step(k);
    return NULL;
}

// --- start and end ---

// Signals are for the thread that samples.
static int start_thread(struct spy_kube *k)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int sys = pthread_create(&k->thread, NULL, run, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return sys;
}

int spy_kube_new(const struct spy_access *access, struct spy_kube **ret, struct spy_err *err)
{
    struct spy_kube *k = calloc(1, sizeof *k);
    if (!k)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "no memory");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_mutex_init(&k->lock, NULL);
    k->access = *access;
    k->from_cache = true;
    k->multi = curl_multi_init();
    k->notes = spy_notes_new(&k->access);
    int sys = k->multi && k->notes ? start_thread(k) : ENOMEM;
    k->started = sys == 0;
    if (sys) {
        spy_kube_free(k);
        return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot start the Kubernetes thread");
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
        curl_multi_wakeup(k->multi);
        pthread_join(k->thread, NULL);
    }
    spy_notes_free(k->notes, k->multi);
    curl_multi_cleanup(k->multi);
    spy_pods_free(&k->view.pods);
    pthread_mutex_destroy(&k->lock);
    free(k);
    curl_global_cleanup();
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
