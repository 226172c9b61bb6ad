// daemon.h - the agent as a program that runs for ever: discover, sample, push.
//
// One thread discovers and samples; the upload has a thread of its own, and so have the checks for
// hung reads (hung_reads.h). The agent opens no port: its metrics (metrics.h) and a sign of life
// are files in the spool folder.
#pragma once
#include "shared/base/err.h"
#include <stdint.h>

struct spy_daemon_options {
    const char *config;      // path of the YAML configuration; NULL: the defaults
    const char *collector;   // URL instead of collector.url; NULL: that one
    double seconds;          // sample that long, push, and return; 0: until *stop
    const _Atomic int *stop; // the agent returns when it is not 0
    char **argv;             // NULL-terminated, as `podspy agent` got it, for a restart
};

// Runs the agent and returns 0 when it has ended in order, after what was counted is pushed or in
// the spool. An error of the start is returned; a later one is logged.
int spy_daemon_run(const struct spy_daemon_options *options, struct spy_err *err);
