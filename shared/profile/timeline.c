#include "shared/profile/timeline.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { COUNT_MAX = (1 << 24) - 1, TRACK_SHARE = 128 }; // bytes of the bound for each track
#define MS 1000000u

// 16 bytes, as there are millions.
struct packed {
    uint32_t track, stack;
    uint32_t state : 8, count : 24;
    uint32_t at_ms;
};

// One thread of one series.
struct track {
    uint32_t series, thread;
    uint32_t last; // its latest run
};

struct spy_timeline {
    struct packed *runs;
    size_t n, cap, bytes_max;
    struct track *tracks;
    size_t n_tracks, cap_tracks;
    struct spy_map map; // of (series, thread) -> track
    uint64_t began;
    bool full;
};

_Static_assert(sizeof(struct packed) == 16, "what the header says");
_Static_assert(SPY_STATE_ALL < 1 << 8, "a state has 8 bits");

struct spy_timeline *spy_timeline_new(size_t bytes_max)
{
    struct spy_timeline *t = calloc(1, sizeof *t);
    if (t)
        t->bytes_max = bytes_max;
    return t;
}

void spy_timeline_free(struct spy_timeline *t)
{
    if (!t)
        return;
    free(t->runs);
    free(t->tracks);
    spy_map_free(&t->map);
    free(t);
}

static uint32_t find_track(const struct spy_timeline *t, uint64_t hash, uint32_t series,
                           uint32_t thread)
{
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&t->map, hash, &at)) != SPY_MAP_NONE;)
        if (t->tracks[i].series == series && t->tracks[i].thread == thread)
            return i;
    return SPY_MAP_NONE;
}

static int add_track(struct spy_timeline *t, uint64_t hash, uint32_t series, uint32_t thread,
                     uint32_t *ret)
{
    int r = spy_grow(&t->tracks, &t->cap_tracks, t->n_tracks + 1, sizeof *t->tracks,
                     t->bytes_max / TRACK_SHARE);
    if (r == 0)
        r = spy_map_add(&t->map, hash, (uint32_t)t->n_tracks);
    if (r < 0)
        return r;
    t->tracks[t->n_tracks] = (struct track){series, thread, UINT32_MAX};
    *ret = (uint32_t)t->n_tracks++;
    return 0;
}

static int add_run(struct spy_timeline *t, const struct packed *run)
{
    size_t max = t->bytes_max / sizeof *t->runs;
    int r =
        spy_grow(&t->runs, &t->cap, t->n + 1, sizeof *t->runs, max < UINT32_MAX ? max : UINT32_MAX);
    if (r == 0)
        t->runs[t->n++] = *run;
    return r;
}

// Adds to the thread's latest run if it has the same stack and state; returns how many it could take.
static uint32_t lengthen_last(struct spy_timeline *t, const struct packed *run, uint64_t count)
{
    uint32_t last = t->tracks[run->track].last;
    struct packed *p = last == UINT32_MAX ? NULL : &t->runs[last];
    if (!p || p->stack != run->stack || p->state != run->state)
        return 0;
    uint32_t room = COUNT_MAX - p->count;
    uint32_t more = count < room ? (uint32_t)count : room;
    p->count = (p->count + more) & COUNT_MAX;
    return more;
}

void spy_timeline_add(struct spy_timeline *t, uint32_t series, uint32_t stack, uint32_t thread,
                      uint32_t state, uint64_t count, uint64_t now_ns)
{
    uint64_t hash = spy_hash_mix(series, thread);
    uint32_t track = t->full ? SPY_MAP_NONE : find_track(t, hash, series, thread);
    if (!t->began)
        t->began = now_ns;
    if (!t->full && track == SPY_MAP_NONE)
        t->full = add_track(t, hash, series, thread, &track) < 0;
    uint64_t ms = (now_ns - t->began) / MS;
    if (t->full || ms > UINT32_MAX) {
        t->full = true;
        return;
    }
    struct packed run = {track, stack, state & 0xff, 0, (uint32_t)ms};
    count -= lengthen_last(t, &run, count);
    while (count && !t->full) {
        run.count = (count < COUNT_MAX ? (uint32_t)count : COUNT_MAX) & COUNT_MAX;
        count -= run.count;
        t->full = add_run(t, &run) < 0;
        if (!t->full)
            t->tracks[track].last = (uint32_t)t->n - 1;
    }
}

void spy_timeline_reset(struct spy_timeline *t)
{
    t->n = t->n_tracks = 0;
    t->began = 0;
    t->full = false;
    spy_map_clear(&t->map);
}

bool spy_timeline_is_full(const struct spy_timeline *t)
{
    return t->full;
}

uint32_t spy_timeline_n(const struct spy_timeline *t)
{
    return (uint32_t)t->n;
}

struct spy_run spy_timeline_at(const struct spy_timeline *t, uint32_t i)
{
    const struct packed *p = &t->runs[i];
    const struct track *k = &t->tracks[p->track];
    return (struct spy_run){.series = k->series,
                            .thread = k->thread,
                            .stack = p->stack,
                            .state = p->state,
                            .count = p->count,
                            .at_ns = (uint64_t)p->at_ms * MS};
}
