#include "agent/discover/pods.h"
#include "agent/discover/proc.h"
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_pod_json(json_t **j)
{
    json_decref(*j);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static void copy_json_text(char *out, size_t size, const char *s)
{
    spy_proc_clean(out, size, s, strlen(s));
}

#define TAKE(to, object, key) copy_json_text(to, sizeof(to), text_of(object, key))

// --- what owns it ---

static bool strip_end(char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    if (!k || n < k + 2 || name[n - k - 1] != '-' || strcmp(name + n - k, end) != 0)
        return false;
    name[n - k - 1] = 0;
    return true;
}

// A CronJob names its Jobs NAME-TIME: minutes since 1970, seconds before Kubernetes 1.21. A number
// that is not such a time (a date, a build) belongs to the name.
static void strip_time(char *name)
{
    char *dash = strrchr(name, '-');
    size_t n = dash ? strspn(dash + 1, "0123456789") : 0;
    if (!n || dash == name || dash[1 + n] || (n != 8 && n != 10))
        return;
    unsigned long long t = strtoull(dash + 1, NULL, 10);
    unsigned long long minutes = n == 8 ? t : t / 60;
    if (minutes > 25000000 && minutes < 70000000) // 2017 to 2103
        *dash = 0;
}

static const json_t *controller_of(const json_t *meta)
{
    size_t i;
    json_t *owner;
    json_array_foreach(json_object_get(meta, "ownerReferences"), i, owner)
    {
        if (json_is_true(json_object_get(owner, "controller")))
            return owner;
    }
    return NULL;
}

static void set_pod_service(struct spy_pod *pod, const json_t *meta, const json_t *spec)
{
    const json_t *owner = controller_of(meta);
    const char *kind = text_of(owner, "kind");
    const char *hash = text_of(json_object_get(meta, "labels"), "pod-template-hash");
    bool named = *text_of(owner, "name") && strcmp(kind, "Node") != 0;
    copy_json_text(pod->service, sizeof pod->service, named ? text_of(owner, "name") : pod->name);
    if (strcmp(kind, "ReplicaSet") == 0)
        strip_end(pod->service, hash);
    else if (strcmp(kind, "Job") == 0)
        strip_time(pod->service);
    else if (*pod->mirror) // the kubelet adds its node's name
        strip_end(pod->service, text_of(spec, "nodeName"));
}

// --- containers ---

static const struct {
    const char *spec, *status;
} container_lists[] = {
    {"containers", "containerStatuses"},
    {"initContainers", "initContainerStatuses"},
    {"ephemeralContainers", "ephemeralContainerStatuses"},
};

// "containerd://ID". An id other than 64 hex digits cannot be found in cgroups and is left out.
static void take_pod_id(char id[65], const char *text)
{
    const char *at = strstr(text, "://");
    size_t n = 0;
    at = at ? at + 3 : "";
    while (isxdigit((unsigned char)at[n]))
        n++;
    if (n == 64 && !at[n])
        memcpy(id, at, 65);
}

static void take_state(struct spy_pod_container *c, const json_t *state)
{
    const char *key;
    json_t *value;
    copy_json_text(c->state, sizeof c->state, "not started");
    json_object_foreach((json_t *)state, key, value)
    {
        const char *reason = text_of(value, "reason");
        copy_json_text(c->state, sizeof c->state,
                       strcmp(key, "running") == 0 ? ""
                       : *reason                   ? reason
                                                   : key);
    }
}

static const json_t *by_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        if (strcmp(text_of(item, "name"), name) == 0)
            return item;
    }
    return NULL;
}

static void take_containers(struct spy_pod *pod, size_t max, const json_t *specs,
                            const json_t *statuses)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)specs, i, item)
    {
        if (pod->n == max)
            return;
        struct spy_pod_container *c = &pod->containers[pod->n++];
        const json_t *status = by_name(statuses, text_of(item, "name"));
        TAKE(c->name, item, "name");
        TAKE(c->image, item, "image");
        take_pod_id(c->id, text_of(status, "containerID"));
        take_state(c, json_object_get(status, "state"));
    }
}

// --- the pod ---

static int read_pod(const json_t *object, const char *prefix, struct spy_pod **ret,
                    struct spy_err *err)
{
    const json_t *meta = json_object_get(object, "metadata"), *spec, *status;
    spec = json_object_get(object, "spec");
    status = json_object_get(object, "status");
    json_t *annotations = json_object_get(meta, "annotations"), *value;
    if (!*text_of(meta, "uid") || !*text_of(meta, "name"))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the object is not a pod: it has no name or uid");
    size_t max = 0;
    for (size_t i = 0; i < SPY_COUNT(container_lists); i++)
        max += json_array_size(json_object_get(spec, container_lists[i].spec));
    max = max < SPY_POD_CONTAINERS_MAX ? max : SPY_POD_CONTAINERS_MAX;
    struct spy_pod *pod = calloc(1, sizeof *pod + max * sizeof pod->containers[0]);
    if (!pod)
        return spy_err_nomem(err);
    pod->refs = 1;
    TAKE(pod->uid, meta, "uid");
    TAKE(pod->name, meta, "name");
    TAKE(pod->namespace_name, meta, "namespace");
    TAKE(pod->mirror, annotations, "kubernetes.io/config.mirror");
    set_pod_service(pod, meta, spec);
    spy_labels_init(&pod->labels);
    const char *key;
    json_object_foreach(annotations, key, value)
    {
        if (json_is_string(value))
            spy_labels_set(&pod->labels, prefix, key, json_string_value(value));
    }
    for (size_t i = 0; i < SPY_COUNT(container_lists); i++)
        take_containers(pod, max, json_object_get(spec, container_lists[i].spec),
                        json_object_get(status, container_lists[i].status));
    *ret = pod;
    return 0;
}

static json_t *load_object(const char *text, size_t len, struct spy_err *err)
{
    json_error_t why;
    json_t *object = json_loadb(text, len, 0, &why);
    if (json_is_object(object))
        return object;
    spy_err_set(err, SPY_ERR_INVALID, 0,
                "the Kubernetes API does not answer with a JSON object: %.100s",
                object ? "something else" : why.text);
    json_decref(object);
    return NULL;
}

int spy_pod_parse(const char *text, size_t len, const char *prefix, struct spy_pod **ret,
                  struct spy_err *err)
{
    _cleanup_(free_pod_json) json_t *object = load_object(text, len, err);
    return object ? read_pod(object, prefix, ret, err) : SPY_ERR_INVALID;
}

static const struct {
    const char *name;
    enum spy_watch_kind kind;
} kinds[] = {
    {"ADDED", SPY_WATCH_PUT},         {"MODIFIED", SPY_WATCH_PUT}, {"DELETED", SPY_WATCH_DELETE},
    {"BOOKMARK", SPY_WATCH_BOOKMARK}, {"ERROR", SPY_WATCH_ERROR},
};

static int kind_of(const json_t *line, enum spy_watch_kind *ret)
{
    for (size_t i = 0; i < SPY_COUNT(kinds); i++) {
        if (strcmp(text_of(line, "type"), kinds[i].name) == 0) {
            *ret = kinds[i].kind;
            return 0;
        }
    }
    return SPY_ERR_INVALID;
}

int spy_watch_parse(const char *text, size_t len, const char *prefix, struct spy_watch_event *ret,
                    struct spy_err *err)
{
    _cleanup_(free_pod_json) json_t *line = load_object(text, len, err);
    if (!line)
        return SPY_ERR_INVALID;
    struct spy_watch_event e = {0};
    if (kind_of(line, &e.kind) < 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "a watch event of a type that is not known: '%.40s'",
                           text_of(line, "type"));
    const json_t *object = json_object_get(line, "object");
    const char *version = text_of(json_object_get(object, "metadata"), "resourceVersion");
    if (strlen(version) < sizeof e.version && version[strspn(version, "0123456789")] == 0)
        snprintf(e.version, sizeof e.version, "%s", version);
    if (e.kind == SPY_WATCH_ERROR) {
        json_int_t code = json_integer_value(json_object_get(object, "code"));
        e.status = code > 0 && code < 1000 ? (int)code : 0;
        TAKE(e.message, object, "message");
    }
    if (e.kind == SPY_WATCH_PUT || e.kind == SPY_WATCH_DELETE) {
        int r = read_pod(object, prefix, &e.pod, err);
        if (r < 0)
            return r;
    }
    *ret = e;
    return 0;
}

static struct spy_pod *ref_pod(struct spy_pod *pod)
{
    __atomic_add_fetch(&pod->refs, 1, __ATOMIC_RELAXED);
    return pod;
}

void spy_pod_unref(struct spy_pod *pod)
{
    if (pod && __atomic_sub_fetch(&pod->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(pod);
}

static bool is_equal_pod(const struct spy_pod *a, const struct spy_pod *b)
{
    size_t from = offsetof(struct spy_pod, uid); // all is zeroed before it is filled
    return a->n == b->n && memcmp((const char *)a + from, (const char *)b + from,
                                  sizeof *a - from + a->n * sizeof a->containers[0]) == 0;
}

// --- lists ---

static size_t find_pod_place(const struct spy_pods *p, const char *uid)
{
    size_t lo = 0, hi = p->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(p->all[mid]->uid, uid) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool spy_pods_put(struct spy_pods *p, struct spy_pod *pod, bool *ret_full)
{
    size_t i = find_pod_place(p, pod->uid);
    bool known = i < p->n && strcmp(p->all[i]->uid, pod->uid) == 0;
    if (known && is_equal_pod(p->all[i], pod)) {
        spy_pod_unref(pod);
        return false;
    }
    if (known) {
        spy_pod_unref(p->all[i]);
        p->all[i] = pod;
        return true;
    }
    if (spy_grow(&p->all, &p->cap, p->n + 1, sizeof(struct spy_pod *), SPY_PODS_MAX) < 0) {
        spy_pod_unref(pod);
        *ret_full = true;
        return false;
    }
    memmove(p->all + i + 1, p->all + i, (p->n - i) * sizeof(struct spy_pod *));
    p->all[i] = pod;
    p->n++;
    return true;
}

struct spy_pod *spy_pods_same(const struct spy_pods *p, struct spy_pod *pod)
{
    size_t i = find_pod_place(p, pod->uid);
    if (i == p->n || strcmp(p->all[i]->uid, pod->uid) != 0 || !is_equal_pod(p->all[i], pod))
        return pod;
    spy_pod_unref(pod);
    return ref_pod(p->all[i]);
}

bool spy_pods_remove(struct spy_pods *p, const char *uid)
{
    size_t i = find_pod_place(p, uid);
    if (i == p->n || strcmp(p->all[i]->uid, uid) != 0)
        return false;
    spy_pod_unref(p->all[i]);
    p->n--;
    memmove(p->all + i, p->all + i + 1, (p->n - i) * sizeof(struct spy_pod *));
    return true;
}

int spy_pods_copy(const struct spy_pods *from, struct spy_pods *ret)
{
    struct spy_pods p = {.n = from->n, .cap = from->n};
    p.all = calloc(from->n ? from->n : 1, sizeof(struct spy_pod *));
    if (!p.all)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < p.n; i++)
        p.all[i] = ref_pod(from->all[i]);
    *ret = p;
    return 0;
}

void spy_pods_free(struct spy_pods *p)
{
    for (size_t i = 0; i < p->n; i++)
        spy_pod_unref(p->all[i]);
    free(p->all);
    *p = (struct spy_pods){0};
}

struct spy_pod *spy_pods_find(const struct spy_pods *p, const char *uid)
{
    size_t i = find_pod_place(p, uid);
    if (i < p->n && strcmp(p->all[i]->uid, uid) == 0)
        return p->all[i];
    for (i = 0; i < p->n && *uid; i++)
        if (strcmp(p->all[i]->mirror, uid) == 0)
            return p->all[i];
    return NULL;
}

const struct spy_pod_container *spy_pods_container(const struct spy_pods *p, const char *id,
                                                   struct spy_pod **ret_pod)
{
    for (size_t i = 0; i < p->n && *id; i++) {
        for (size_t k = 0; k < p->all[i]->n; k++) {
            if (strcmp(p->all[i]->containers[k].id, id) == 0) {
                *ret_pod = p->all[i];
                return &p->all[i]->containers[k];
            }
        }
    }
    return NULL;
}
