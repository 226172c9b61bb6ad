// selector.h - the SELECTOR of a query, from its parameters: which series, which time, which
// samples, and how to show them. docs/http-api.md describes it to users.
//
// A parameter is a row of a table. An unknown, empty or wrong parameter is an error that names it.
// Pure functions.
#pragma once
#include "collector/store/store.h"
#include "shared/base/param.h"
#include "shared/formats/filter.h"
#include "shared/formats/format.h"

struct spy_selector {
    struct spy_select select; // borrows the parameters' values
    size_t n_asked; // terms of select that were given; without type= one more follows, which
                    // selects only series of CPU and wall time
    struct spy_filter_options filter;
    struct spy_view view;
    const char *format; // NULL: not given
    uint64_t step_ns;   // 0: not given
    bool by_entry;      // group=entry: stacks begin with a marker of their entry
    bool entries_alone; // set by a query: with by_entry, stacks are that marker alone
    uint32_t steps;     // 0: not given
    char text[256];     // the selection for people: "pod=demo, thread=7", or "anything"
};

enum { SPY_HINT_MAX = 1024 };

// takes: which of `format`, `step`, `steps` and `group` are parameters here. SPY_ERR_INVALID: err
// says what is wrong, and hint (SPY_HINT_MAX bytes) what is right.
enum {
    SPY_TAKES_NEITHER = 0,
    SPY_TAKES_FORMAT = 1,
    SPY_TAKES_STEP = 2,
    SPY_TAKES_STEPS = 4,
    SPY_TAKES_GROUP = 8
};
int spy_selector_parse(const struct spy_param *params, size_t n, unsigned takes, uint64_t now_ns,
                       struct spy_selector *ret, char *hint, struct spy_err *err);

// RFC 3339, Unix seconds, "now", or "-15m" (s, m, h, d) before now.
int spy_time_parse(const char *text, uint64_t now_ns, uint64_t *ret_ns);
// RFC 3339 in UTC, to the second.
enum { SPY_TIME_TEXT = 32 };
void spy_time_print(uint64_t ns, char *out);

// Whether the parameter chooses data (labels, thread, time) rather than how it is shown.
bool spy_selector_chooses(const char *name);
// The name of the parameter that selects by the label `key`, such as "pod"; NULL: there is none.
const char *spy_selector_name(const char *key);
