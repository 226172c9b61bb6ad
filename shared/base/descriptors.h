// descriptors.h - how many files this process may have open, and which numbers must stay free.
//
// The kernel gives each file the lowest free number, so the number of a new descriptor shows how many
// are open. Code that caches open files compares that number with a share of the limit, so that files
// that must be opened always find room. spy_descriptors_raise is called before the first thread
// starts; the others may be called by any thread.
#pragma once
#include <stdint.h>

// Descriptors that caches leave free: for the files, sockets and folders of normal work.
enum { SPY_DESCRIPTORS_RESERVE = 64 };

// Opens those of the descriptors 0 to 2 that are closed, so that no other file gets their numbers: a
// log line must never be written to a lock file. Reading from the new 0 and writing to the new 1 and
// 2 fail with EBADF, and child programs find them closed, as they were. To be called first in main.
void spy_descriptors_open_std(void);

// Raises the soft limit (1024 by default) to the hard limit.
void spy_descriptors_raise(void);
// Restores the limit that this program was started with, in a child before exec. Async signal safe.
void spy_descriptors_restore(void);
// The current soft limit, at most INT_MAX.
int spy_descriptors_limit(void);
// The first number of the reserve: limit - SPY_DESCRIPTORS_RESERVE, or half of the limit if that is
// less.
int spy_descriptors_spare(void);
