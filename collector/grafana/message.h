// message.h - what the methods share: messages, times, the selected data. Inside of
// collector/grafana.
//
//     querier.c      the list of methods
//     message.c      this
//     matchers.c     label selectors of PromQL
//     types.c        profile types
//     labels.c       ProfileTypes, LabelNames and LabelValues
//     series.c       SelectSeries
//     stacktraces.c  SelectMergeStacktraces
//     levels.c       a tree of functions as a flame graph's levels
#pragma once
#include "collector/grafana/matchers.h"
#include "collector/grafana/querier.h"
#include "collector/grafana/types.h"
#include <podspy_querier.pb-c.h>

// Memory for one request's message.
struct spy_message {
    struct spy_arena arena;
    ProtobufCMessage *m;
};
void spy_message_free(struct spy_message *m);
#define _cleanup_message_ _cleanup_(spy_message_free)
// Reads the call's body as this kind of message. SPY_ERR_INVALID: it is damaged; SPY_ERR_LIMIT.
int spy_message_read(const struct spy_querier_call *c, const ProtobufCMessageDescriptor *kind,
                     struct spy_message *ret, struct spy_err *err);
// Appends a message. SPY_ERR_LIMIT: out's cap, or the bound on an answer; SPY_ERR_NOMEM.
int spy_message_write(const ProtobufCMessage *m, struct spy_buf *out, struct spy_err *err);

// Sets the time range from milliseconds; 0 and 0 are the last hour. SPY_ERR_INVALID: start is not
// before end.
int spy_range_parse(int64_t start, int64_t end, uint64_t now_ns, struct spy_select *select,
                    struct spy_err *err);

// What a question about samples selects.
struct spy_selection {
    struct spy_type_asked type;
    struct spy_matchers matchers;
    struct spy_select select;
};
// Fills all but the time range. *ret must be freed with spy_selection_free, and stay where it is.
int spy_selection_parse(const struct spy_querier_call *c, const char *type, const char *selector,
                        struct spy_selection *ret, struct spy_err *err);
void spy_selection_free(struct spy_selection *s);

// The labels of a series of a profile; they borrow from it.
size_t spy_series_labels(const struct spy_profile *p, uint32_t series,
                         struct spy_named ret[SPY_LABELS_MAX]);
// For the time range of s->select: reads the data; *ret_has: by series, whether it matches. The
// caller frees *ret and *ret_has (with free).
int spy_selection_load(const struct spy_querier_call *c, struct spy_selection *s,
                       struct spy_profile **ret, bool **ret_has, struct spy_err *err);
