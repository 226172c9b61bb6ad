// maps_load.h - the mappings of a target.
#pragma once
#include "agent/target/maps.h"
#include "agent/target/target.h"

// Fills *ret from /proc/PID/maps, or from the core file. SPY_ERR_DENIED; SPY_ERR_GONE, also for a
// process without memory (a zombie, a kernel thread); SPY_ERR_LIMIT.
int spy_maps_load(const struct spy_target *t, struct spy_maps *ret, struct spy_err *err);
