#include "collector/query/load.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/base/thread.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKERS_MAX = 8,
    LISTED_MAX = 10000, // processes that the store lists; beyond that some would be missing
    CHUNK_PODS = 48,    // of one query
    WINDOWS_MIN = 1024  // below this one thread is as fast
};

// Windows of one pod; without a name: of processes that belong to no pod.
struct pod {
    char *name; // owned
    uint64_t windows;
};

struct pods {
    struct pod *list;
    size_t n, cap, listed;
    uint64_t windows;
    bool failed, has_pattern;
};

static void free_pods(struct pods *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i].name);
    free(p->list);
}

static void note_pod(void *arg, const struct spy_store_process *process)
{
    struct pods *p = arg;
    json_t *labels = json_loads(process->labels_json, 0, NULL);
    const char *name = json_string_value(json_object_get(labels, SPY_LABEL_POD));
    struct pod pod = {.name = name ? strdup(name) : NULL, .windows = process->windows};
    p->has_pattern = p->has_pattern || (name && strchr(name, '*'));
    p->failed = p->failed || (name && !pod.name) ||
                spy_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, LISTED_MAX) < 0;
    if (p->failed)
        free(pod.name);
    else
        p->list[p->n++] = pod;
    p->listed++;
    p->windows += process->windows;
    json_decref(labels);
}

static int compare_pods(const void *a, const void *b)
{
    const struct pod *x = a, *y = b;
    return x->name && y->name ? strcmp(x->name, y->name) : (x->name != NULL) - (y->name != NULL);
}

// Makes one of the processes of a pod. Neighbours by name are mostly of one service, so that their
// stacks are the same.
static void sort_pods(struct pods *p)
{
    size_t n = 0;
    if (p->n)
        qsort(p->list, p->n, sizeof *p->list, compare_pods);
    for (size_t i = 0; i < p->n; i++)
        if (n && compare_pods(&p->list[n - 1], &p->list[i]) == 0) {
            p->list[n - 1].windows += p->list[i].windows;
            free(p->list[i].name);
        } else {
            p->list[n++] = p->list[i];
        }
    p->n = n;
}

// --- threads ---

struct loading {
    const struct spy_question *question;
    const struct spy_selector *selector;
    const struct pods *pods;
    uint64_t
        chunk_windows; // of one query: as few as there are threads, as each looks up its stacks
    size_t next, rows_max, memory; // next: atomic, the first pod that nobody has taken
    bool stop;                     // atomic: some query failed
};

struct loader {
    struct loading *loading;
    struct spy_profile *into; // owned
    struct spy_err err;
    pthread_t thread;
};

// The selection without its terms for pods, and with these pods.
static void select_pods(const struct loading *l, size_t first, size_t n, struct spy_select *ret)
{
    const struct spy_select *all = &l->selector->select;
    *ret = *all;
    ret->n = 0;
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->terms[i].keys[0], SPY_LABEL_POD) != 0)
            ret->terms[ret->n++] = all->terms[i];
    for (size_t i = first; i < first + n; i++)
        ret->terms[ret->n++] =
            (struct spy_select_term){.keys = {SPY_LABEL_POD}, .value = l->pods->list[i].name};
    ret->rows_max = l->rows_max;
    ret->memory = l->memory;
}

static size_t count_chunk(const struct loading *l, size_t first)
{
    size_t n = 0;
    uint64_t windows = 0;
    while (first + n < l->pods->n && n < CHUNK_PODS && windows < l->chunk_windows)
        windows += l->pods->list[first + n++].windows;
    return n;
}

static bool take_chunk(struct loading *l, size_t *ret_first, size_t *ret_n)
{
    size_t first = __atomic_load_n(&l->next, __ATOMIC_RELAXED);
    do
        *ret_n = count_chunk(l, first);
    while (*ret_n && !__atomic_compare_exchange_n(&l->next, &first, first + *ret_n, false,
                                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *ret_first = first;
    return *ret_n > 0;
}

static void *load_chunks(void *arg)
{
    struct loader *w = arg;
    struct spy_select select;
    size_t first, n;
    while (!spy_stop_is_set(&w->loading->stop) && take_chunk(w->loading, &first, &n)) {
        select_pods(w->loading, first, n, &select);
        if (spy_store_query(w->loading->question->store, &select, w->into, &w->err) < 0)
            spy_stop_set(&w->loading->stop);
    }
    return NULL;
}

// The first part takes in the others, and becomes *ret.
static int unite_parts(struct loader *loaders, size_t n, struct spy_profile **ret,
                       struct spy_err *err)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        if (loaders[i].err.code < 0) {
            r = loaders[i].err.code;
            if (err)
                *err = loaders[i].err;
        }
    for (size_t i = 1; i < n && r == 0; i++) {
        r = spy_profile_unite(loaders[0].into, loaders[i].into);
        spy_profile_free(spy_steal(&loaders[i].into));
        if (r < 0)
            spy_err_set(err, r, 0, "%s", spy_code_name(r));
    }
    if (r == 0)
        *ret = spy_steal(&loaders[0].into);
    for (size_t i = 0; i < n; i++)
        spy_profile_free(loaders[i].into);
    return r;
}

// The caller is one of the workers.
static int run_loaders(struct loading *l, size_t n, struct spy_profile **ret, struct spy_err *err)
{
    struct loader loaders[WORKERS_MAX] = {0};
    size_t made = 0, started = 0;
    while (made < n && (loaders[made].into = spy_profile_new_capped(&spy_store_query_caps)))
        loaders[made++].loading = l;
    if (!made)
        return spy_err_nomem(err);
    while (started + 1 < made &&
           spy_thread_start(&loaders[started].thread, load_chunks, &loaders[started]) == 0)
        started++;
    load_chunks(&loaders[made - 1]);
    for (size_t i = 0; i < started; i++)
        pthread_join(loaders[i].thread, NULL);
    return unite_parts(loaders, made, ret, err);
}

static bool can_be_divided(struct pods *p)
{
    sort_pods(p);
    return !p->failed && !p->has_pattern && p->listed < LISTED_MAX && p->n > 1 &&
           p->windows >= WINDOWS_MIN;
}

// The parts are united at the end, which makes the first as large as all: each may have its share of
// half the memory.
static int load_divided(const struct spy_question *q, const struct spy_selector *s,
                        const struct pods *pods, struct spy_profile **ret, struct spy_err *err)
{
    size_t workers = spy_min(spy_min(q->workers, WORKERS_MAX), pods->n);
    struct loading l = {.question = q,
                        .selector = s,
                        .pods = pods,
                        .chunk_windows = pods->windows / workers + 1,
                        .rows_max = s->select.rows_max};
    l.memory = s->select.memory / 2 / workers;
    return run_loaders(&l, workers, ret, err);
}

static int load_whole(const struct spy_question *q, const struct spy_selector *s,
                      struct spy_profile **ret, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new_capped(&spy_store_query_caps);
    int r = p ? spy_store_query(q->store, &s->select, p, err) : spy_err_nomem(err);
    if (r == 0)
        *ret = spy_steal(&p);
    return r;
}

// What does not fit when it is divided may fit whole, and else gets the error of the whole.
int spy_load_selected(const struct spy_question *q, const struct spy_selector *s,
                      struct spy_profile **ret, struct spy_err *err)
{
    _cleanup_(free_pods) struct pods pods = {0};
    if (q->workers > 1 && s->select.n + CHUNK_PODS <= SPY_SELECT_MAX &&
        spy_store_processes(q->store, &s->select, note_pod, &pods, NULL) == 0 &&
        can_be_divided(&pods)) {
        int r = load_divided(q, s, &pods, ret, err);
        if (r != SPY_ERR_LIMIT)
            return r;
    }
    return load_whole(q, s, ret, err);
}
