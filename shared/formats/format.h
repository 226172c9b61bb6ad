// format.h - a profile as something a person or a tool reads.
//
// A format is a row of spy_formats: a name, a media type and one function that prints a whole
// profile. A new format is a new row and a new file.
//
// docs/formats.md tells users what each looks like: labels, the tree of "json", what "svg" can do.
//
// All formats count what spy_view chooses: it filters samples (idle, gil) and decides which extra
// outermost frames (process, thread) a stack gets. They never change the profile.
//
// Threads: pure functions over a profile nobody changes meanwhile.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

struct spy_filter;
struct spy_timeline;
enum spy_processes { SPY_PROCESSES_AUTO, SPY_PROCESSES_NO, SPY_PROCESSES_YES };

struct spy_view {
    const char *title;   // shown by formats that have a title; NULL: "podspy"
    bool idle;           // also samples that were not running: those that waited, and the runnable
    bool gil;            // only samples that held the GIL
    bool no_native;      // leave native frames out
    bool no_lines;       // merge frames of one function, whatever their line
    bool function_lines; // show a function's first line instead of the current one (py-spy -F)
    bool threads;        // an outer frame for each thread
    enum spy_processes
        processes;       // an outer frame for each process; auto: when there is more than one
    bool full_filenames; // else shortened: see spy_short_filename
    uint32_t max_nodes;  // bound on tree nodes; 0: 20000 in svg and json, none in collapsed,
                         // which speedscope never has. The smallest are folded
                         // into their parent's "(N smaller)" marker, so that totals stay right
    const struct spy_filter *filter; // of this very profile; borrowed; NULL: none. See filter.h
    // The order of this very profile's samples, for formats that show it; borrowed; NULL: it is not
    // known, and such a format says so.
    const struct spy_timeline *timeline;
    bool command_line; // who asks does so by options (--idle), not by parameters (idle=1)
    size_t memory;     // bytes that the tree of a document may take; 0: no bound of its own
    const bool *stop;  // shared/base/stop.h: the document is not wanted any more; NULL: none
};

// Is this sample chosen by the view?
bool spy_view_has(const struct spy_view *v, const struct spy_sample *s);

// Where the view chooses none of the profile's samples: why, as a sentence that says what to ask
// for, appended to out. Nothing is appended where it chooses some.
int spy_view_why_empty(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out);

struct spy_format {
    const char *name;       // as in format= and -f
    const char *also;       // another name for it, py-spy's; or NULL
    const char *media_type; // Content-Type
    const char *extension;  // without the dot
    bool ordered;           // shows the order of the samples, where the view has a timeline
    // Appends the document to out. 0, SPY_ERR_LIMIT (out's cap, or the view's memory),
    // SPY_ERR_NOMEM, SPY_ERR_GONE (the view's stop).
    int (*print)(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                 struct spy_err *err);
};

// By either name, in any case: "svg", "flamegraph", "speedscope", "collapsed", "raw", "json". NULL:
// no such format.
const struct spy_format *spy_format_find(const char *name);
// All rows, for help texts and messages. *ret_n is their number.
const struct spy_format *spy_format_list(size_t *ret_n);
// Every name that spy_format_find knows, `between` standing between two. Cut at size; returns out.
const char *spy_format_names(char *out, size_t size, const char *between);

// A borrowed tail of filename for people: what follows the last "site-packages/" or
// "dist-packages/" or
// "/lib/pythonX.Y/", else the last two components. Never empty unless filename is.
const char *spy_short_filename(const char *filename);
