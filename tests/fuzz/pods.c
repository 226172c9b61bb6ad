// What a Kubernetes API server sends: a list cut into its items, and lines of a watch.
#include "agent/discover/pods.h"
#include "agent/discover/split.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static void check(const struct spy_pod *pod)
{
    MUST(pod->n <= SPY_POD_CONTAINERS_MAX && *pod->uid && *pod->name);
    MUST(pod->labels.rate <= 1000 && pod->labels.n_problems <= SPY_LABEL_PROBLEMS);
    MUST(strlen(pod->service) < sizeof pod->service);
    for (size_t i = 0; i < pod->n; i++) {
        size_t n = strlen(pod->containers[i].id);
        MUST(n == 0 || n == 64);
        spy_labels_choose(&pod->labels, pod->containers[i].name);
    }
}

static void on_item(void *arg, const char *item, size_t len)
{
    struct spy_pods *pods = arg;
    struct spy_pod *pod = NULL;
    bool full = false;
    if (spy_pod_parse(item, len, "podspy.dev", &pod, NULL) < 0)
        return;
    check(pod);
    spy_pods_put(pods, pod, &full);
}

static void feed(const char *text, size_t len, size_t step)
{
    struct spy_split split;
    struct spy_pods pods = {0};
    spy_split_init(&split, on_item, &pods);
    for (size_t at = 0; at < len; at += step)
        if (spy_split_feed(&split, text + at, len - at < step ? len - at : step) < 0)
            break;
    for (size_t i = 1; i < pods.n; i++)
        MUST(strcmp(pods.all[i - 1]->uid, pods.all[i]->uid) < 0);
    for (size_t i = 0; i < pods.n; i++)
        MUST(spy_pods_find(&pods, pods.all[i]->uid) == pods.all[i]);
    spy_split_free(&split);
    spy_pods_free(&pods);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_watch_event e = {0};
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    size--;
    feed(text, size, 1 + data[0] % 64);
    if (spy_watch_parse(text, size, "podspy.dev", &e, NULL) < 0)
        return 0;
    bool has_pod = e.kind == SPY_WATCH_PUT || e.kind == SPY_WATCH_DELETE;
    MUST(has_pod == (e.pod != NULL));
    MUST(e.version[strspn(e.version, "0123456789")] == 0);
    if (e.pod)
        check(e.pod);
    spy_pod_unref(e.pod);
    return 0;
}
