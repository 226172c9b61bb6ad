// Detects a linked list that runs in a cycle: those of a target that is hostile, and those that
// were read while they changed. Brent's algorithm: remembers the address of the last power of two
// of steps.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Zero-initialized before the first step.
struct spy_py_cycle {
    uint64_t met;
    size_t steps, next;
};

// To be asked at each address of the list. True within three times the steps to the end of the
// cycle's first round; never true of a list whose addresses all differ.
static inline bool spy_py_cycle_closes(struct spy_py_cycle *c, uint64_t addr)
{
    if (c->steps && addr == c->met)
        return true;
    if (c->steps++ == c->next) {
        c->next = 2 * c->steps;
        c->met = addr;
    }
    return false;
}
