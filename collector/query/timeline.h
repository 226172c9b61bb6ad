// timeline.h - the steps of /timeline, and the two ways to fill them. Inside of collector/query.
//
// A window counts in the step in which it begins, whole, so the steps add up to what /profiles counts
// (which takes windows that only overlap the selected time: they are in the first step). A process is
// in each step that one of its windows overlaps.
//
// Threads: a timeline belongs to one.
#pragma once
#include "collector/query/query.h"

struct spy_step_counts {
    uint64_t activities[SPY_ACTIVITIES], holds, waits, collects;
};

struct spy_step {
    uint64_t from_ns, until_ns;
    struct spy_step_counts counts;
    struct spy_quality quality;
    struct spy_account account;
    uint32_t *series; // in `known`, of the processes with windows here; owned
    size_t n_series;
    uint64_t gaps;
};

struct spy_timeline {
    const struct spy_question *question;
    const struct spy_selector *selector;
    struct spy_step *steps;
    size_t n;
    struct spy_profile *known; // all series
};

// Adds samples of one state. In timeline.c, as the next.
void spy_step_count(struct spy_step_counts *c, uint32_t state, uint64_t count);
// How many samples and windows all steps together may read.
size_t spy_timeline_rows(const struct spy_timeline *t);

// Each fills all steps but their gaps. Errors as of query.h.
// timeline_listed.c: from one list of the windows, for a question that takes every stack and thread.
int spy_timeline_list(struct spy_timeline *t, struct spy_err *err);
// timeline_merged.c: from the stacks of each step.
int spy_timeline_merge(struct spy_timeline *t, struct spy_err *err);
