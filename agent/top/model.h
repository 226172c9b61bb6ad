// model.h - what podspy top shows, without a terminal: windows of samples become rows.
//
// The sampling thread folds each window into the model; another thread reads pictures of it. The
// two share a lock that is held while memory is read or written, never while anything is printed,
// and the sampling thread does not wait for it: if the model is being read, spy_top_claim says so,
// and the window is left open. So a slow terminal cannot slow the sampling.
//
// Memory: table.h bounds the places; a window's own arrays are as large as its profile's tables.
//
// Times are wall time of threads: two threads that run all the time make 200 percent.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/regex.h"
#include "shared/profile/profile.h"
#include <sys/types.h>

enum { SPY_TOP_WAITERS_MAX = 8 };

struct spy_top;

struct spy_top_options {
    bool idle, gil; // which samples count, as in struct spy_view
    bool full_filenames;
    // As in struct spy_view; called by the thread that reads pictures.
    const char *(*shorten)(const void *context, const char *filename);
    const void *shorten_context;
};

// What the caller knows besides the samples. Text is not fit for a terminal.
struct spy_top_facts {
    char command[1024], version[24]; // of the first process; version "": not known
    pid_t pid;
    size_t n_pids;                             // given ones
    uint64_t samples, failed, late, behind_ns; // struct spy_sampler_totals
};

struct spy_top_waiter {
    char name[64]; // of a thread; not fit for a terminal
    double percent;
};

struct spy_top_summary {
    struct spy_top_facts facts;          // samples, failed and late: since the reset
    bool begun;                          // a window was folded
    double samples_per_sec, gil, active; // of the latest window; in percent of its time
    uint64_t late_now;                   // rounds skipped in the latest window
    uint32_t threads, processes;         // seen in the latest window
    // Those that waited for the GIL, the longest first.
    uint32_t n_waiters;
    struct spy_top_waiter waiters[SPY_TOP_WAITERS_MAX];
};

int spy_top_new(const struct spy_top_options *options, struct spy_top **ret, struct spy_err *err);
void spy_top_free(struct spy_top *t);

// To be called before a window is closed. False: the model is being read; try again later. True:
// spy_top_fold must follow, which ends the claim.
bool spy_top_claim(struct spy_top *t);
// Folds a closed window of wall_ns nanoseconds, or of as long as its longest series if that is longer.
// SPY_ERR_NOMEM.
int spy_top_fold(struct spy_top *t, const struct spy_profile *p, const struct spy_top_facts *facts,
                 uint64_t wall_ns);
// Sets all times and counts to 0.
void spy_top_reset(struct spy_top *t);

enum spy_top_column {
    SPY_TOP_OWN_PERCENT,
    SPY_TOP_TOTAL_PERCENT,
    SPY_TOP_OWN_TIME,
    SPY_TOP_TOTAL_TIME,
    SPY_TOP_COLUMNS
};

struct spy_top_choice {
    enum spy_top_column sort; // the highest first; equal ones by their own time, then by name
    bool functions;           // a row for each function instead of each line
    size_t first, max;        // of the sorted rows
    struct spy_regex *filter; // rows that match "name filename"; borrowed; NULL: all
};

struct spy_top_row {
    const char *name, *file; // of the picture; file as it is to be shown; not fit for a terminal
    uint32_t line;           // 0: none
    double percents[2];      // own, total; of the latest window
    double secs[2];          // own, total; since the reset
};

// Zeroed at first; reused from one read to the next.
struct spy_top_picture {
    struct spy_top_summary summary;
    struct spy_top_row *rows;
    size_t n, cap;
    size_t n_matching, n_all; // rows that there are with the filter, and without
    bool too_costly;          // the filter was given up for some rows, which are left out
    struct spy_buf text;
};

// Any thread. SPY_ERR_NOMEM.
int spy_top_read(struct spy_top *t, const struct spy_top_choice *c, struct spy_top_picture *ret);
void spy_top_picture_free(struct spy_top_picture *p);
