// memory.h - how the collector's memory is divided. Inside of collector/cli.
//
// Three eighths go to questions, two to decoding bodies, and one each to bodies that are held, to
// answers that are being sent, and to what is always in use (SQLite's caches, interned names,
// threads). No part takes from another, so questions never take the room of a push.
#pragma once
#include <stddef.h>

struct spy_memory {
    size_t total;
    size_t bodies, decoding, answers, store;
    size_t question, large; // of each small and each large question that is being answered
    unsigned large_at_once;
};

// total: bytes; body_max: of one body, for which there is always room.
struct spy_memory spy_memory_divide(size_t total, size_t body_max);
// Three quarters of what the cgroup of this process allows (memory.max of version 2, or
// memory.limit_in_bytes of version 1; of it and of those around it), or of the machine's memory
// where that is less.
size_t spy_memory_default(void);
// The same for a process whose /proc/self/cgroup says `groups`, where cgroups are mounted at
// `root`; SIZE_MAX: no limit. For tests.
size_t spy_memory_limit_of(const char *groups, const char *root);
// Makes the allocator return most freed memory to the kernel.
void spy_memory_configure(void);
