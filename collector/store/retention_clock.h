// retention_clock.h - the time that retention uses, as the system's clock may be wrong.
//
// Retention drops old data by the clock, so a clock that jumps two days ahead would drop everything.
// The system's clock is therefore trusted only as far as there is evidence for it: the time elapsed
// since it was last trusted, and the latest window received. Until there is evidence, retention
// waits. A clock that is behind drops less and needs no care. After a collector was off for days, the
// first windows received are the evidence.
#pragma once
#include <stdint.h>

// Zero: nothing has been seen.
struct spy_retention_clock {
    uint64_t trusted_ns; // Unix time that was trusted at mono_ns of CLOCK_BOOTTIME
    uint64_t mono_ns;
};

// real_ns: the system's clock; seen_ns: the end of the latest window, or a time that was trusted
// before a restart, whichever is later; 0: none. Returns the time to use: at most real_ns, and at
// most SPY_RETENTION_SLACK_NS past the trusted time.
uint64_t spy_retention_now(struct spy_retention_clock *c, uint64_t real_ns, uint64_t mono_ns,
                           uint64_t seen_ns);
#define SPY_RETENTION_SLACK_NS (3600 * UINT64_C(1000000000))
