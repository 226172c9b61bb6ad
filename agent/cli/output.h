// output.h - the output of a command: a file or standard output. Inside of agent/cli.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct spy_output {
    char path[PATH_MAX]; // "-": standard output
};

// given: the path the user gave; NULL: a file in the current folder, named after `who`, the time
// and the extension. Checks that the file can be written, so that a recording of hours is not lost;
// the check creates a new file and removes it again. SPY_ERR_USAGE, SPY_ERR_IO; the message says
// what to do.
int spy_output_choose(const char *given, const char *who, const char *extension,
                      struct spy_output *ret, struct spy_err *err);

// Puts a number into the name, before the extension: profile.0003.svg. SPY_ERR_USAGE: the path is
// not that of a file (a pipe, a device), or too long.
int spy_output_number(struct spy_output *o, unsigned number, const char *extension,
                      struct spy_err *err);

// Replaces the file at once, so that a reader sees the old content or the new, and a full disk
// leaves the old; a file in a folder that cannot be changed is overwritten in place. A link stays,
// and so do owner and mode. SPY_ERR_GONE: standard output has no reader any more (EPIPE), which
// needs no message. SPY_ERR_IO.
int spy_output_write(const struct spy_output *o, const struct spy_buf *b, struct spy_err *err);

// Ends a command that printed to stdout: SPY_EXIT_OK; SPY_EXIT_PIPE, without a message, if stdout
// has no reader any more; or SPY_ERR_IO.
int spy_cli_flush(struct spy_err *err);
