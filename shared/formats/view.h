// view.h - which samples of a profile are shown, and how their stacks are distinguished.
//
// All formats count the samples that the view chooses (idle, gil, filter) and give each stack the
// outermost frames that the view asks for (process, thread). A view never changes the profile.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

struct spy_filter;
struct spy_timeline;
enum spy_processes { SPY_PROCESSES_AUTO, SPY_PROCESSES_NO, SPY_PROCESSES_YES };

struct spy_view {
    const char *title;   // shown by formats that have a title; NULL: "podspy"
    bool idle;           // also samples of threads that were not running: waiting or runnable
    bool gil;            // only samples that held the GIL
    bool no_native;      // leave native frames out
    bool no_lines;       // merge the frames of a function, whatever their line
    bool function_lines; // show a function's first line instead of the current one (py-spy -F)
    bool threads;        // an outer frame for each thread
    bool states;         // in trees: an innermost frame for each state that a stack was in
    // Below the frame of a process's parent, if that is in the profile (SPY_LABEL_PARENT_PID), and so
    // on outwards. For processes of one machine.
    bool ancestors;
    enum spy_processes processes; // an outer frame for each process; AUTO: if there are several
    bool full_filenames;          // else shortened
    // The short name of a file, which lives as long as filename; NULL: not known. Without this, and
    // for what is not known, spy_short_filename shortens.
    const char *(*shorten)(const void *context, const char *filename);
    const void *shorten_context; // borrowed
    // The most tree nodes; 0: 20000 in svg and json, no bound in collapsed. speedscope has none.
    // The smallest nodes are folded into their parent's "(N smaller)" marker, so totals stay right.
    uint32_t max_nodes;
    // The profile compares two (spy_profile_merge): counts are of the base, ns are counts of what is
    // compared with it. A node then weighs its shares of the two, so each side has one half.
    bool compares;
    const struct spy_filter *filter; // of this very profile; borrowed; NULL: none. See filter.h
    // The order of this very profile's samples, for formats that show it; borrowed; NULL: the order
    // is unknown, and such a format says so.
    const struct spy_timeline *timeline;
    // What the samples lack, as lines that each end with a newline: svg, speedscope, pprof and json
    // carry them. NULL: nothing to say.
    const char *notes;
    bool command_line; // hints name options (--idle) instead of query parameters (idle=1)
    size_t memory;     // the most bytes the tree may take; 0: only the bound on nodes
    const bool *stop;  // shared/base/stop.h: give up, the document is not wanted; NULL: none
};

// True if the view chooses this sample.
bool spy_view_has(const struct spy_view *v, const struct spy_sample *s);

// If the view chooses no sample of the profile, appends a sentence to out that gives the reason and
// what to ask for instead; else appends nothing. 0, SPY_ERR_NOMEM, SPY_ERR_LIMIT.
int spy_view_why_empty(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out);

// The frames of a stack that the view shows, innermost first.
struct spy_view_frames {
    uint32_t *list; // frames of the profile; owned
    size_t n, cap;
};
int spy_view_frames(const struct spy_profile *p, const struct spy_view *v, uint32_t stack,
                    struct spy_view_frames *ret);
// The line that the view shows of a frame; 0: none.
uint32_t spy_view_line(const struct spy_profile *p, const struct spy_view *v,
                       const struct spy_frame *frame);
