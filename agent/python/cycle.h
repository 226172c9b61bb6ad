// cycle.h - detects a cycle in a linked list of the target, which may be hostile or change while it
// is read. Inside of agent/python. Brent's algorithm: remembers the address at the last power of
// two of steps.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Zero-initialized before the first step.
struct spy_py_cycle {
    uint64_t met;
    size_t steps, next;
};

// Call it at each address of the list. True within three times the steps to the end of the first
// round of the cycle; never true if all addresses differ.
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
