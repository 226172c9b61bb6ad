// recording.h - one recording: what the command line asks for, and what is known while it runs. For
// the files record*.c of agent/cli.
//
//     record.c            the options, and how the command ends
//     record_run.c        from the first sample to the last
//     record_write.c      the files that it writes
//     record_fit.c        what does not fit into a file is merged and folded
//     record_report.c     its first and last lines
//     record_progress.c   the line on a terminal
#pragma once
#include "agent/cli/family.h"
#include "agent/cli/output.h"
#include "agent/cli/unread.h"
#include "agent/sampler/sampler.h"
#include "shared/formats/filter.h"
#include "shared/formats/format.h"

// WINDOW: at that size a profile takes no more new stacks (window_bytes of sampler.h).
enum { SPY_RECORD_GIVEN_MAX = 256, SPY_RECORD_WINDOW_MIB = 128 };

// What the command line asks for.
struct spy_record {
    const char *processes[SPY_RECORD_GIVEN_MAX]; // each --pid: an id or a pattern
    size_t n_processes;
    bool all;       // every Python process
    char **program; // NULL-terminated, or NULL
    const char *output, *format;
    double seconds; // 0: until it ends or a signal arrives
    double rotate;  // seconds of each file; 0: one file
    double rate;
    bool subprocesses, threads, idle, gil, function, no_lines, full_filenames, hide_progress;
    bool native, gil_blame;
    enum spy_pausing pausing;
    struct spy_filter_options filter;
    struct spy_err *err;
};

// Why a recording ended.
enum spy_record_end { SPY_END_SIGNAL, SPY_END_DURATION, SPY_END_ENDED, SPY_END_BLOCKED };

// A recording from start to end.
struct spy_recording {
    const struct spy_record *rec;
    pid_t pid;                             // the program's, or the first of pids
    pid_t pids[SPY_SAMPLER_PROCESSES_MAX]; // the processes that were given
    size_t n_pids;
    struct spy_buf notes;     // of the view, from unread
    struct spy_unread unread; // what was to be sampled and could not be read
    const struct spy_format *format;
    struct spy_output output;
    struct spy_sampler *sampler;
    struct spy_family *family;
    struct spy_timeline *timeline; // NULL: the format does not show the order
    struct spy_packages *packages; // NULL: not needed
    bool lived;                    // the process was alive, not a zombie, at the start
    uint64_t asked_ns;             // when the program was asked to end; 0: it was not
    bool unsampled;                // it ended, or podspy was asked to end, before the first sample
    uint64_t until_ns, rotate_ns;  // when the time is up, the file complete; UINT64_MAX: never
    unsigned n_asked;              // of spy_cli_snapshots, those that were answered
    unsigned n_files;              // of --rotate, written and complete
    struct spy_sampler_totals before; // when the window of the next file began
};
