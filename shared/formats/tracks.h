// tracks.h - the samples that a view chooses, apart for each thread of each process, for formats
// that show one thread beside the other. Inside of shared/formats.
//
// Where the view has a timeline that holds the whole recording, a track's samples are its runs in
// their order in time; else they are the profile's, merged, in no order that means anything.
#pragma once
#include "shared/formats/format.h"
#include "shared/profile/timeline.h"

struct spy_track {
    uint32_t series, thread;
    char *name;        // "gunicorn worker 1 (12), thread 13 "MainThread""
    uint32_t *samples; // for spy_tracks_sample
    size_t n, cap;
};

struct spy_tracks {
    const struct spy_profile *profile;   // borrowed, as is the timeline
    const struct spy_timeline *timeline; // NULL: the samples are merged
    struct spy_process_names *names;     // owned
    struct spy_track *list;              // sorted by name
    size_t n, cap;
    bool by_time; // some sample has a time; else there are only counts
};

// SPY_ERR_NOMEM, SPY_ERR_LIMIT, SPY_ERR_GONE (the view's stop). ret is good for spy_tracks_done in
// any case.
int spy_tracks_collect(const struct spy_profile *p, const struct spy_view *v,
                       struct spy_tracks *ret);
void spy_tracks_done(struct spy_tracks *t);

// One of a track's samples.
struct spy_sample spy_tracks_sample(const struct spy_tracks *t, uint32_t i);
