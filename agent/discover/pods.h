// pods.h - the pods of this node, reduced to what discovery needs of them. Inside of
// agent/discover.
//
// Source of the shapes: the Kubernetes API, core/v1 Pod and meta/v1 WatchEvent. What owners write
// into a pod is hostile: texts are cut and cleaned, and whatever is past a bound is left out.
//
// A spy_pod never changes once it is made: a change is a new one. So the thread that watches and
// the agent's loop share them, counted by reference, and two lists differ where pointers do.
#pragma once
#include "agent/discover/labels.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum { SPY_PODS_MAX = 1024, SPY_POD_CONTAINERS_MAX = 64, SPY_VERSION_TEXT = 64 };

struct spy_pod_container {
    char name[64];
    char id[65]; // 64 hex digits; "": not made yet
    char image[256];
    char state[64]; // "": it runs; else why it does not: "CrashLoopBackOff", "Completed"
};

struct spy_pod {
    unsigned refs; // atomic
    char uid[64], name[254], namespace_name[64];
    char mirror[64];   // of a static pod: the uid that its cgroups bear; else ""
    char service[256]; // what owns it: the Deployment, StatefulSet, Job, ...; else its own name
    struct spy_labels labels; // its annotations
    size_t n;
    struct spy_pod_container containers[]; // init and ephemeral ones too
};

struct spy_pods {
    struct spy_pod **all; // sorted by uid
    size_t n, cap;
};

enum spy_watch_kind { SPY_WATCH_PUT, SPY_WATCH_DELETE, SPY_WATCH_BOOKMARK, SPY_WATCH_ERROR };

struct spy_watch_event {
    enum spy_watch_kind kind;
    struct spy_pod *pod;            // of put and delete; the taker's
    char version[SPY_VERSION_TEXT]; // resourceVersion to continue from; "": not given
    int status;                     // of error: 410 when the version is too old
    char message[160];              // of error
};

// One Pod object. prefix is of the annotations. SPY_ERR_INVALID when it is not a Pod,
// SPY_ERR_NOMEM.
int spy_pod_parse(const char *text, size_t len, const char *prefix, struct spy_pod **ret,
                  struct spy_err *err);
// One line of a watch.
int spy_watch_parse(const char *text, size_t len, const char *prefix, struct spy_watch_event *ret,
                    struct spy_err *err);
void spy_pod_unref(struct spy_pod *pod); // NULL-safe

// Takes ownership of pod. True when that changed the list; equal pods change nothing. With
// SPY_PODS_MAX pods there already, or without memory, pod is dropped and *ret_full set.
bool spy_pods_put(struct spy_pods *p, struct spy_pod *pod, bool *ret_full);
// Takes ownership of pod and returns the equal pod of p in its place, if there is one.
struct spy_pod *spy_pods_same(const struct spy_pods *p, struct spy_pod *pod);
bool spy_pods_remove(struct spy_pods *p, const char *uid);
int spy_pods_copy(const struct spy_pods *from, struct spy_pods *ret); // 0 or SPY_ERR_NOMEM
void spy_pods_free(struct spy_pods *p);                               // leaves *p zeroed
// Borrowed, or NULL. uid may be what the cgroups of a static pod say.
struct spy_pod *spy_pods_find(const struct spy_pods *p, const char *uid);
const struct spy_pod_container *spy_pods_container(const struct spy_pods *p, const char *id,
                                                   struct spy_pod **ret_pod);
