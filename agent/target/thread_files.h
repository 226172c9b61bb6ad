// thread_files.h - the small files of one thread (/proc/PID/task/TID), which are read many times a
// second.
//
// A file that stays open costs one pread; it also costs a descriptor, and there may be more threads
// than this process may have files open. So those that stay open come from a budget, which all
// threads of all targets share: SPY_THREAD_FILES_KEPT, and never a number in the upper half of the
// limit (descriptors.h), which belongs to everything else. Past that a file is opened, read and
// closed. Threads that work get theirs before threads that wait: these give theirs back when there
// is none left.
//
// Threads: all calls of the process from one thread at a time.
#pragma once
#include "agent/target/target.h"

enum spy_thread_file {
    SPY_THREAD_SYSCALL,   // what it does just now
    SPY_THREAD_STAT,      // its state letter, among much else
    SPY_THREAD_SCHEDSTAT, // time on a CPU, time waited for one, times it was given one
    SPY_THREAD_SCHED,
    SPY_THREAD_FILES
};

enum { SPY_THREAD_FILES_KEPT = 4096 }; // the kernel keeps up to a page of memory for each

// Its address must not change from init to done.
struct spy_thread_files {
    const struct spy_target *target; // borrowed
    pid_t tid;                       // in the numbering of our /proc
    bool busy;
    int fd[SPY_THREAD_FILES];                 // that are kept open; -1: not
    bool missing[SPY_THREAD_FILES];           // this kernel has no such file
    struct spy_thread_files *older, *younger; // of those that wait and have files open
};

// Opens nothing yet. The thread counts as one that waits.
void spy_thread_files_init(struct spy_thread_files *f, const struct spy_target *t, pid_t tid);
// Closes what is open. May be called again.
void spy_thread_files_done(struct spy_thread_files *f);
// Does the thread work? Its files then stay open in preference to those of threads that wait.
void spy_thread_files_set_busy(struct spy_thread_files *f, bool busy);
// Reads the file from its start into text, at most size - 1 bytes, and ends them with a NUL.
// Returns the length, or SPY_ERR_GONE: the thread has ended, and only then; SPY_ERR_DENIED;
// SPY_ERR_NOTFOUND: no such file in this kernel, or a core file; SPY_ERR_LIMIT: not one descriptor
// is free; other codes of the kernel's (SPY_ERR_IO, SPY_ERR_NOMEM). None of these but SPY_ERR_GONE
// says anything about what the thread does.
ssize_t spy_thread_files_read(struct spy_thread_files *f, enum spy_thread_file which, char *text,
                              size_t size);
// How many are kept open now, of all threads.
size_t spy_thread_files_kept(void);
