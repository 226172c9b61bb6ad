// query.h - questions about stored data, answered as documents.
//
// This room does not know HTTP: parameters in, a document or an error with a hint out. The errors:
//
//     SPY_ERR_INVALID   a parameter is wrong
//     SPY_ERR_NOTFOUND  nothing matches; the hint lists what there is
//     SPY_ERR_LIMIT     the selection exceeds memory or rows_max, or the document is too large
//     SPY_ERR_GONE      stop was set
//     others            the store failed, or there is no memory
//
// Threads: all may be called from any thread.
#pragma once
#include "collector/query/selector.h"
#include "collector/store/store.h"
#include "shared/base/buf.h"
#include "shared/base/metrics.h"

// A dispatcher of the collector's configuration: PCRE2 expressions that are searched in the dotted
// module and the name of a function.
struct spy_entry_pattern {
    const char *module, *function;
};
enum { SPY_ENTRY_PATTERNS_MAX = 64 };

struct spy_question {
    struct spy_store *store; // borrowed
    const struct spy_param *params;
    size_t n_params;
    const char *accept; // the Accept header, "" when there is none
    size_t memory;      // bytes that answering may use, without the body
    size_t rows_max;    // samples and windows that may be read; 0: SPY_STORE_ROWS_MAX
    unsigned workers;   // threads that read the store, pods apart (load.h); 0: one, all at once
    const bool *stop;   // shared/base/stop.h: the client has gone; NULL: none
    uint64_t now_ns;
    const struct spy_entry_pattern *entry_patterns; // borrowed
    size_t n_entry_patterns;                        // SPY_ENTRY_PATTERNS_MAX at most
};

struct spy_answer {
    const char *media_type;  // static
    const char *policy;      // Content-Security-Policy; static, or NULL
    struct spy_buf *body;    // the caller's
    char hint[SPY_HINT_MAX]; // on failure; may be ""
};

// A query. Its row ends the file that answers it, and query.c lists the rows.
struct spy_query {
    const char *path; // "/top"
    const char *kind; // the label in podspy_collector_queries_total; NULL: not shown there
    int64_t *n_asked;
    int (*answer)(const struct spy_question *q, struct spy_answer *a, struct spy_err *err);
};

// profile.c: one merged profile, printed in the format that was asked for; without format= as svg
// where Accept names HTML or SVG, as a browser's does, else as json.
extern const struct spy_query spy_query_profiles;
// pods.c: the known pods, containers and processes. JSON.
extern const struct spy_query spy_query_pods;
// top.c: the functions that took the most time, by self and total. JSON; max_nodes limits their
// number (1000).
extern const struct spy_query spy_query_top;
// diff.c: two selections compared, as svg or JSON.
extern const struct spy_query spy_query_diff;
// stacks.c: each thread's stacks in the latest window of its process, as JSON or text.
extern const struct spy_query spy_query_stacks;
// entries.c: shares by endpoint, task and job. JSON; max_nodes limits their number (1000).
extern const struct spy_query spy_query_entries;
// timeline.c: samples by state, quality and the kernel's account for each step of time. JSON.
extern const struct spy_query spy_query_timeline;
// index.c: the pods and their links as a page of plain HTML, for whoever has no scripts. It is the
// answer to / as well where the program is built without the page (collector/web).
extern const struct spy_query spy_query_index, spy_query_root;

extern const struct spy_query *const spy_queries[]; // ends with NULL

// Answers by the row with this path, which must be there, and counts the question.
int spy_query_answer(const char *path, const struct spy_question *q, struct spy_answer *a,
                     struct spy_err *err);
// Appends podspy_collector_queries_total as Prometheus text.
void spy_query_print_metrics(struct spy_buf *out);

// For a selection without a match: fills err with what was selected and hint with what there is.
// Returns SPY_ERR_NOTFOUND, or the store's error.
int spy_query_not_found(struct spy_store *store, const struct spy_selector *s, char *hint,
                        struct spy_err *err);

// Whether the time range is in the past and given in absolute terms. Then the answer hardly changes:
// only windows that an agent could not push in time come later.
bool spy_query_is_closed(const struct spy_question *q);

// For the files of this room: loads the selected data as one profile, with the filter of its samples;
// the caller frees both. Fills hint on failure.
int spy_query_load(const struct spy_question *q, struct spy_selector *s, struct spy_profile **ret,
                   struct spy_filter **ret_filter, char *hint, struct spy_err *err);

struct spy_format;
// The Content-Security-Policy of a format: its own script and style by their hashes. NULL: the strict
// one of http.h. Static.
const char *spy_query_policy(const struct spy_format *format);
