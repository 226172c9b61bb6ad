// top_program.h - the output of the program that top starts, kept away from the screen. Inside of
// agent/cli.
//
// It goes to a file without a name. When that is large it is emptied, and the program
// continues at its beginning: the end of the output is what says why a program failed.
#pragma once
#include "shared/base/err.h"

// Makes the file. SPY_ERR_IO.
int spy_top_output_open(int *ret, struct spy_err *err);
void spy_top_output_bound(int output); // to be called some times a second
// Prints its last lines on stderr, fit for a terminal.
void spy_top_output_show(int output);
