// tids.h - finds the system's thread by its pthread_self(), for interpreters that do not keep its
// number (up to 3.10). Inside of agent/python.
#pragma once
#include "agent/target/threads.h"

// The C library keeps the number in its own structure, at whose address pthread_self() points:
// glibc at offset 720 (x86-64), musl at 48, others elsewhere. The offset is learned: each structure
// holds the number of a different thread of the process there. *offset is 0 at first, and then what
// was learned. ret[i] becomes the number of thread idents[i], in the target's own numbering; 0: not
// known. `tids` is from spy_threads_list.
void spy_py_tids(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                 const uint64_t *idents, pid_t *ret, size_t n, uint32_t *offset);
