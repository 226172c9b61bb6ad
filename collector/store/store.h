// store.h - what the collector keeps. A backend is a table of functions (sqlite/ now).
//
// The unit is a window: one series over some seconds, with its profile_id, as it came from an
// agent. A window is stored once, however often it is sent. What append returned 0 for is durable.
//
// Threads: append and the queries may be called from any thread at the same time; each blocks its
// caller.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/profile/profile.h"

// A selection of series by their labels: of each name that is given one of the values must match
// ('*' stands for any text), and of time: windows that overlap [from_ns, until_ns).
enum { SPY_SELECT_MAX = 64 };
struct spy_select {
    uint64_t from_ns, until_ns;
    struct spy_select_term {
        const char *keys[3]; // labels that may hold it, e.g. k8s.node.name or host.name; NULL: none
        const char *value;
    } terms[SPY_SELECT_MAX]; // terms with the same keys[0] are alternatives
    size_t n;
};

// One process in an answer about what there is.
struct spy_store_process {
    const char *labels_json; // {"k8s.pod.name": "x", ...}
    uint64_t first_ns, last_ns;
    uint64_t period_ns;         // of the latest window
    struct spy_quality quality; // sums
    uint64_t windows, samples;
    const struct spy_thread_name {
        uint64_t tid;
        const char *name;
    } * threads; // of the latest window
    size_t n_threads;
};
typedef void (*spy_store_process_fn)(void *arg, const struct spy_store_process *process);

struct spy_store;
struct spy_store_ops {
    // profiles[i] hold one series each (as spy_otlp_decode makes them). *ret_known: how many were
    // stored before. SPY_ERR_LIMIT: the store is full; SPY_ERR_IO.
    int (*append)(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                  size_t *ret_known, struct spy_err *err);
    // Adds what is selected to `into`. SPY_ERR_LIMIT: more than SPY_STORE_ROWS_MAX rows; narrow it.
    int (*query)(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                 struct spy_err *err);
    // The processes that are selected, each once, latest first; at most 10000.
    int (*processes)(struct spy_store *s, const struct spy_select *select, spy_store_process_fn fn,
                     void *arg, struct spy_err *err);
    // Drops what is older than raw_ns, and the oldest windows while the store is larger than
    // max_bytes.
    int (*expire)(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                  struct spy_err *err);
    int (*check)(struct spy_store *s, struct spy_err *err); // can it be written?
    void (*close)(struct spy_store *s);
};
struct spy_store {
    const struct spy_store_ops *ops;
};
enum { SPY_STORE_ROWS_MAX = 8 << 20 };

// dir exists. SPY_ERR_INVALID: the file there is no store of ours, or of a later version.
int spy_store_sqlite_open(const char *dir, uint32_t max_series, struct spy_store **ret,
                          struct spy_err *err);
