#include "shared/base/clock.h"
#include "shared/base/err.h"
#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * SPY_NS_PER_SEC + (uint64_t)t.tv_nsec;
}

uint64_t spy_clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t spy_clock_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

uint64_t spy_clock_real_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t spy_clock_cpu_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t spy_clock_thread_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t spy_clock_process_cpu_ns(pid_t pid)
{
    enum { SCHED = 2, BITS = 3 }; // what clock_getcpuclockid(3) would ask the kernel for each time
    clockid_t clock = (clockid_t)(~(uint32_t)pid << BITS | SCHED);
    struct timespec t;
    return clock_gettime(clock, &t) == 0 ? (uint64_t)t.tv_sec * SPY_NS_PER_SEC + (uint64_t)t.tv_nsec
                                         : 0;
}

int spy_clock_sleep_until(uint64_t deadline_ns)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / SPY_NS_PER_SEC),
                         .tv_nsec = (long)(deadline_ns % SPY_NS_PER_SEC)};
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) ? SPY_ERR_AGAIN : 0;
}

int spy_random_bytes(void *out, unsigned len)
{
    unsigned char *p = out;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno != EINTR)
            return SPY_ERR_IO;
        if (n > 0) {
            p += n;
            len -= (unsigned)n;
        }
    }
    return 0;
}

static void seed_rand(struct spy_rand *r)
{
    if (spy_random_bytes(r, sizeof *r) < 0 || !(r->s[0] | r->s[1])) {
        r->s[0] = spy_clock_mono_ns() | 1;
        r->s[1] = spy_clock_real_ns();
    }
}

// xorshift128+ (S. Vigna, "Further scramblings of Marsaglia's xorshift generators").
uint64_t spy_rand_next(struct spy_rand *r)
{
    if (!(r->s[0] | r->s[1]))
        seed_rand(r);
    uint64_t a = r->s[0], b = r->s[1];
    r->s[0] = b;
    a ^= a << 23;
    r->s[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return r->s[1] + b;
}

double spy_rand_unit(struct spy_rand *r)
{
    return (double)(spy_rand_next(r) >> 11) * 0x1p-53;
}
