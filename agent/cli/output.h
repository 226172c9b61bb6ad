// output.h - where record writes to. Inside of agent/cli.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct spy_output {
    char path[PATH_MAX]; // "-": standard output
};

// given: what the user named, or NULL: a name in this folder is made of `who`, the time and the
// extension. Finds out whether it can be written before hours are spent on what goes there: a file
// that is not there yet is made and removed again. SPY_ERR_USAGE, SPY_ERR_IO; the message says what
// to do.
int spy_output_choose(const char *given, const char *who, const char *extension,
                      struct spy_output *ret, struct spy_err *err);

// SPY_ERR_GONE: nobody reads standard output any more (EPIPE), which is not worth a word.
// SPY_ERR_IO.
int spy_output_write(const struct spy_output *o, const struct spy_buf *b, struct spy_err *err);

// The end of a command that printed to stdout. SPY_EXIT_OK, SPY_EXIT_PIPE without a word where
// nobody reads it any more, or SPY_ERR_IO.
int spy_cli_flush(struct spy_err *err);
