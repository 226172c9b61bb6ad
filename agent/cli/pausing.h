// pausing.h - the options that say whether threads are paused, of record, top and dump. Inside of
// agent/cli.
#pragma once
#include "agent/target/pause.h"
#include <argp.h>
#include <stdbool.h>

enum { SPY_CLI_NONBLOCKING = 500, SPY_CLI_BLOCKING }; // keys

// Their rows among a command's argp_options. when: what a thread is paused for, "for each sample".
#define SPY_CLI_PAUSING_OPTIONS(when)                                                              \
    {"nonblocking", SPY_CLI_NONBLOCKING, 0, 0, "never pause a thread", 0},                         \
    {                                                                                              \
        "blocking", SPY_CLI_BLOCKING, 0, 0, "pause each thread " when, 0                           \
    }

// Takes one of the keys. Both end the program with a usage error (argp_error) where the options
// contradict each other; the second is called once all options are known.
void spy_cli_take_pausing(int key, enum spy_pausing *pausing, const struct argp_state *state);
void spy_cli_check_pausing(enum spy_pausing pausing, bool native, const struct argp_state *state);
