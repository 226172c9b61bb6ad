// descendants.h - the processes below another at one moment. Inside of agent/cli; family.h follows
// them as they come and go.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPY_DESCENDANTS_MAX = 4096 };

struct spy_descendant {
    pid_t pid;
    uint64_t start_time; // clock ticks since boot: with the pid, its identity
    size_t parent;       // index of the parent in the list
};

struct spy_descendants {
    struct spy_descendant *list; // owned
    size_t n, cap;
    size_t n_left_out; // past SPY_DESCENDANTS_MAX
};

// The list begins with pid itself, and each process is followed by all below it. Zombies are left
// out. SPY_ERR_NOMEM, SPY_ERR_IO (no /proc).
int spy_descendants_find(pid_t pid, struct spy_descendants *ret);
void spy_descendants_done(struct spy_descendants *d);
