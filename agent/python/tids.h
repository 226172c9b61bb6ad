// tids.h - the system's thread behind a pthread_self(), for interpreters that do not keep its
// number (up to 3.10). Inside of agent/python.
#pragma once
#include "agent/target/threads.h"

// The C library keeps the number in its own structure, whose address pthread_self() is: glibc at
// 720 (x86-64), musl at 48, others elsewhere. The place is learned: it is the offset at which each
// of the structures holds the number of a thread of the process, each another. *offset is 0 at
// first and what was learned later. ret[i] becomes the number, in the target's own numbering, of
// the thread idents[i]; 0 where it could not be told. `tids` is as spy_threads_list gives it.
void spy_py_tids(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                 const uint64_t *idents, pid_t *ret, size_t n, uint32_t *offset);
