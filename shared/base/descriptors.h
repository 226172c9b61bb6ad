// descriptors.h - how many files this process may have open, and which numbers must stay free.
//
// The kernel gives each file the lowest free number, so the number of a fresh descriptor tells how
// many are open: whoever keeps files that it could do without compares that number with a share of
// the limit, and what must be opened always finds room. spy_descriptors_raise is called before the
// first thread starts; the rest may be called by any.
#pragma once
#include <stdint.h>

// What is never given away: the files, sockets and folders that a program opens to do its work.
enum { SPY_DESCRIPTORS_RESERVE = 64 };

// Opens each of the descriptors 0 to 2 that is closed, so that nothing else gets its number: a log
// line must never land in a lock file. Reading from the new 0 and writing to the new 1 and 2 fail
// with EBADF, and a program that is started finds them closed as they were. To be called first in
// main.
void spy_descriptors_open_std(void);

// Raises the soft limit (1024, where nobody set it) to the hard one.
void spy_descriptors_raise(void);
// In a child that is to become another program: the limit that this one was started with. Async
// signal safe.
void spy_descriptors_restore(void);
// The soft limit now, at most INT_MAX.
int spy_descriptors_limit(void);
// The number from which on only the reserve is left: limit - SPY_DESCRIPTORS_RESERVE, or half of
// the limit where that is less.
int spy_descriptors_spare(void);
