// thread_files.h - the small files of one thread (/proc/PID/task/TID), which are read many times a
// second.
//
// A file that stays open costs one pread per read, but also a descriptor, and there may be more
// threads than this process may have open files. So open files come from a budget that all threads
// of all targets share: SPY_THREAD_FILES_KEPT, and never a descriptor in the upper half of the
// limit (descriptors.h), which belongs to everything else. Past the budget a file is opened, read
// and closed. Threads that work take precedence: threads that wait give their files back when none
// is left.
//
// Threads: all calls of the process from one thread at a time.
#pragma once
#include "agent/target/target.h"

enum spy_thread_file {
    SPY_THREAD_SYSCALL,   // what it is doing
    SPY_THREAD_STAT,      // its state letter, among much else
    SPY_THREAD_SCHEDSTAT, // time on a CPU, time waiting for one, how often it was given one
    SPY_THREAD_SCHED,
    SPY_THREAD_FILES
};

enum { SPY_THREAD_FILES_KEPT = 4096 }; // the kernel keeps up to a page of memory for each

// Its address must not change from init to done.
struct spy_thread_files {
    const struct spy_target *target; // borrowed
    pid_t tid;                       // in the numbering of our /proc
    bool busy;
    int fd[SPY_THREAD_FILES];                 // kept open; -1: not
    bool missing[SPY_THREAD_FILES];           // this kernel has no such file
    struct spy_thread_files *older, *younger; // list of threads that wait and have open files
};

// Opens nothing yet. The thread counts as waiting.
void spy_thread_files_init(struct spy_thread_files *f, const struct spy_target *t, pid_t tid);
// Closes what is open. May be called again.
void spy_thread_files_done(struct spy_thread_files *f);
// Says whether the thread works. If so, its files stay open in preference to those of waiting
// threads.
void spy_thread_files_set_busy(struct spy_thread_files *f, bool busy);
// Reads the file from its start into text, at most size - 1 bytes, and ends it with a NUL. Returns
// the length, or SPY_ERR_GONE: the thread has ended, and only then; SPY_ERR_DENIED;
// SPY_ERR_NOTFOUND: no such file in this kernel, or a core file; SPY_ERR_LIMIT: no free descriptor;
// or another code of the kernel's (SPY_ERR_IO, SPY_ERR_NOMEM). Only SPY_ERR_GONE says anything
// about the thread.
ssize_t spy_thread_files_read(struct spy_thread_files *f, enum spy_thread_file which, char *text,
                              size_t size);
// How many files are kept open now, for all threads.
size_t spy_thread_files_kept(void);
