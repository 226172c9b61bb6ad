// querier.h - the methods of querier.v1.QuerierService that Grafana's Pyroscope data source calls.
//
// A method reads a protobuf message and writes one; docs/grafana.md describes them to users. This
// room does not know HTTP. The errors of a method:
//
//     SPY_ERR_INVALID      the message is damaged, or a field is wrong
//     SPY_ERR_UNSUPPORTED  a field asks for what is not done here
//     SPY_ERR_LIMIT        the selection exceeds memory or rows_max, or the answer is too large
//     SPY_ERR_GONE         stop was set
//     others               the store failed, or there is no memory
//
// Where nothing matches, the answer is empty, as Grafana expects it.
//
// Threads: all may be called from any thread.
#pragma once
#include "collector/store/store.h"
#include "shared/base/buf.h"

enum { SPY_QUERIER_BODY_MAX = 1 << 18 };

struct spy_querier_call {
    struct spy_store *store; // borrowed
    const uint8_t *body;     // the request's message
    size_t len;
    size_t memory;    // bytes that answering may use, without the answer
    size_t rows_max;  // samples and windows that may be read; 0: SPY_STORE_ROWS_MAX
    const bool *stop; // shared/base/stop.h; NULL: none
    uint64_t now_ns;
};

// A method; its row ends the file that answers it, and querier.c lists the rows.
struct spy_querier_method {
    const char *path; // "/querier.v1.QuerierService/LabelNames"
    // Appends the answer's message to out.
    int (*answer)(const struct spy_querier_call *c, struct spy_buf *out, struct spy_err *err);
    int64_t *n_asked;
};

extern const struct spy_querier_method spy_querier_profile_types; // labels.c
extern const struct spy_querier_method spy_querier_label_names;   // labels.c
extern const struct spy_querier_method spy_querier_label_values;  // labels.c
extern const struct spy_querier_method spy_querier_series;        // series.c
extern const struct spy_querier_method spy_querier_stacktraces;   // stacktraces.c

extern const struct spy_querier_method *const spy_querier_methods[]; // ends with NULL

// Answers by the method with this path, and counts the question. SPY_ERR_NOTFOUND: there is none.
int spy_querier_answer(const char *path, const struct spy_querier_call *c, struct spy_buf *out,
                       struct spy_err *err);
// The Connect protocol's name of an error: "invalid_argument".
const char *spy_querier_code(int code, unsigned *ret_status);

// Appends podspy_collector_grafana_requests_total as Prometheus text.
void spy_querier_print_metrics(struct spy_buf *out);
