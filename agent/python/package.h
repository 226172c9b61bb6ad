// package.h - the short names of source files, as py-spy shows them: what stands above the topmost
// package is cut. A package is a folder with an __init__.py; the search goes upwards from the file
// and ends at the first folder without one. A file in no package keeps only its last component.
//
// The folders are looked at in the target's own root, or, for a relative name, in the target's
// working directory. One look serves all files of a folder, and its result outlives the target. A
// path that several targets show is looked up in the first. Looking into another's folders may take
// as long as its file systems do: mark it (hung_mark.h). The agent never does it.
//
// Threads: any. What they share is locked, but not while folders are looked at.
#pragma once
#include "agent/target/target.h"

enum {
    SPY_PACKAGES_MAX = 1 << 16,       // folders that are remembered; files of others are not known
    SPY_PACKAGES_BYTES_MAX = 8 << 20, // of their names
    SPY_PACKAGES_DEPTH_MAX = 32,      // packages inside of each other
};

struct spy_packages;

struct spy_packages *spy_packages_new(void); // NULL: no memory
void spy_packages_free(struct spy_packages *p);
// Looks the folder of this file up, unless that was done before. What cannot be looked up stays not
// known: the target has ended, its root may not be opened, there is no memory.
void spy_packages_look_up(struct spy_packages *p, const struct spy_target *t, const char *filename);
// The short name, a tail of filename; NULL: not known. A name that is not a path, as <string>, is
// its own short name. `packages` is a struct spy_packages: the formats, which call this, do not know
// the type.
const char *spy_packages_shorten(const void *packages, const char *filename);
