// clock.h - time in nanoseconds, and the random numbers that jitter needs. Thread safe.
#pragma once
#include <stdint.h>
#include <sys/types.h>

#define SPY_NS_PER_SEC 1000000000ull
#define SPY_NS_PER_MS  1000000ull

uint64_t spy_clock_mono_ns(void);       // CLOCK_MONOTONIC
uint64_t spy_clock_boot_ns(void);       // CLOCK_BOOTTIME: as monotonic, and counts suspended time
uint64_t spy_clock_real_ns(void);       // since the Unix epoch
uint64_t spy_clock_cpu_ns(void);        // CPU time of this whole process
uint64_t spy_clock_thread_cpu_ns(void); // CPU time of the calling thread
// CPU time of another process, of any user; 0: it is not in our PID namespace.
uint64_t spy_clock_process_cpu_ns(pid_t pid);
// Sleeps until CLOCK_MONOTONIC reaches deadline_ns. 0, or SPY_ERR_AGAIN when a signal came first.
int spy_clock_sleep_until(uint64_t deadline_ns);

// Random numbers for jitter, never for secrets. Zeroed at first: it then seeds itself.
struct spy_rand {
    uint64_t s[2];
};
uint64_t spy_rand_next(struct spy_rand *r);
double spy_rand_unit(struct spy_rand *r);      // uniform in [0, 1)
int spy_random_bytes(void *out, unsigned len); // getrandom(2); for ids and tokens
