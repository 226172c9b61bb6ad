// retention_clock.h - the time that retention goes by, where the system's clock may be wrong.
//
// Old data is dropped by the clock, so a clock that jumps two days ahead would drop all there is.
// The system's clock is believed only as far as what has been seen bears it out: the time that has
// passed since it was believed last, and the latest window that came. Behind that, retention waits;
// a clock that is behind drops less and needs no care. Where a collector was off for days, the
// first windows that come bear the clock out.
#pragma once
#include <stdint.h>

// Zero: nothing has been seen.
struct spy_retention_clock {
    uint64_t trusted_ns; // Unix time that was borne out, at mono_ns of CLOCK_BOOTTIME
    uint64_t mono_ns;
};

// real_ns: the system's clock; seen_ns: the end of the latest window, or a time that was trusted
// before a restart, whichever is later; 0: none. Returns the time to go by, at most real_ns, and at
// most SPY_RETENTION_SLACK_NS past what is borne out.
uint64_t spy_retention_now(struct spy_retention_clock *c, uint64_t real_ns, uint64_t mono_ns,
                           uint64_t seen_ns);
#define SPY_RETENTION_SLACK_NS (3600 * UINT64_C(1000000000))
