// account.h - samples held against the kernel's clock, told at the end of a recording. Inside of
// agent/cli.
#pragma once
#include "shared/profile/account.h"

// A line on stderr with what the kernel counted and what the samples say, and one for each warning;
// nothing where the CPU time is not known.
void spy_cli_tell_account(const struct spy_account *a);
