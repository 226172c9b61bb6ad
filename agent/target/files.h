// files.h - files of a target, by the target's own paths. They are looked up inside the target's
// root, so that none of its links can lead out of it.
#pragma once
#include "agent/target/target.h"

// Where such paths begin: the target's root, or its working directory. Of a core file its system
// root (core.h), else this machine's root; it has no working directory. A descriptor for the
// functions below, or a negative code.
int spy_target_open_root(const struct spy_target *t, bool absolute);
// 1: something lies at this path below root; 0: nothing does; SPY_ERR_UNSUPPORTED: this system
// cannot tell (openat2(2) is missing or forbidden).
int spy_target_has_file(int root, const char *path);
// A regular file of a target, for reading. A descriptor, or -1: there is none, or it may not be
// read.
int spy_target_open_file(const struct spy_target *t, const char *path);
