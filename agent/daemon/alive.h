// alive.h - the agent's sign of life: the time of SPOOL/alive is that of its latest round.
//
// Probes look at it with `podspy agent --alive`, from another process.
#pragma once
#include "shared/base/err.h"

enum {
    SPY_ALIVE_EVERY_SECS = 5, // how often the agent sets the time
    SPY_ALIVE_MAX_SECS = 60,  // an older time means that the agent hangs
};

// Called in each round. A failure is logged, at the level debug.
void spy_alive_touch(const char *spool_dir);

// *ret_secs: how long ago the latest round was. SPY_ERR_NOTFOUND: there was none yet; SPY_ERR_AGAIN:
// it was more than SPY_ALIVE_MAX_SECS ago, or is as far in the future; SPY_ERR_IO.
int spy_alive_check(const char *spool_dir, long *ret_secs, struct spy_err *err);
