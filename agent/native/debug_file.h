// debug_file.h - the file that has the symbols which were stripped from another one.
//
// Looked for in the target's root: /usr/lib/debug/.build-id/NN/NNNN.debug, then what .gnu_debuglink
// names, beside the file, in .debug beside it, and below /usr/lib/debug. Taken only with the same
// build id; where the file has none, with the checksum of its .gnu_debuglink.
#pragma once
#include "agent/native/elf_file.h"
#include "agent/target/target.h"

// path is that of the stripped file in the target's root. A descriptor, or -1.
int spy_debug_file_open(const struct spy_target *t, const struct spy_elf *stripped,
                        const char *path);
