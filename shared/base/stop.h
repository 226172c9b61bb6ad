// stop.h - a flag that one thread sets and another checks in its long loops.
#pragma once
#include <stdbool.h>
#include <stddef.h>

static inline void spy_stop_set(bool *stop)
{
    __atomic_store_n(stop, true, __ATOMIC_RELAXED);
}

// NULL: never set.
static inline bool spy_stop_is_set(const bool *stop)
{
    return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}
