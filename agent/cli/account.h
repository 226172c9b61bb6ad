// account.h - the samples compared with the kernel's clock, at the end of a recording. Inside of
// agent/cli.
#pragma once
#include "shared/profile/account.h"

// Prints a line on stderr with the kernel's CPU time and the samples', and a line with warnings;
// nothing if the CPU time is unknown.
void spy_cli_print_account(const struct spy_account *a);
