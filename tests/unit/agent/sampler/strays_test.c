// A thread that was asked to stop, and does so only when it is not waited for any more, stands
// still until the sampler lets it go. How long that is must not hang on the rate: the sampler has
// to look after it in the middle of its sleeps.
//
// The clock is made up, so that the answer is the deadlines the sampler asks of it and not how busy
// the machine is. The thread, and what ptrace does to it, are real.
#include "agent/target/pause.h"
#include "children.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>

enum {
    RATE = 10,              // its sleeps are 50 ms and longer
    LOOK_EVERY_NS = 500000, // what is promised
    REAL_NAP_NS = 200000,   // the real thread needs real time to stop
    STOPS_AT_LOOK = 20,     // the thread stops only then, and once it was to be sampled again
    LOOKS_MAX = 80000,      // some tens of seconds of real time
};

static struct {
    uint64_t now;
    pid_t tid; // the thread that stops late; 0: none yet
    bool asked, let_go;
    bool looked;     // since the clock was asked to sleep last
    unsigned woken;  // looks since then
    bool sampled;    // again, while it was one
    bool unreleased; // it was to be sampled, and nobody had looked at it but after the sleep
    unsigned looks;  // at the stray
    unsigned sleeps; // while there was one
    uint64_t longest_with, longest_without;
} seen;

// CMakeLists.txt puts these in front of the real ones.
uint64_t __wrap_spy_clock_mono_ns(void);
int __wrap_spy_clock_sleep_until(uint64_t deadline_ns);
int __wrap_spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal);
void __wrap_spy_pause_reap(struct spy_pause *p);
void __real_spy_pause_reap(struct spy_pause *p);

uint64_t __wrap_spy_clock_mono_ns(void)
{
    return seen.now;
}

int __wrap_spy_clock_sleep_until(uint64_t deadline_ns)
{
    uint64_t length = deadline_ns > seen.now ? deadline_ns - seen.now : 0;
    bool stray = seen.tid && !seen.let_go;
    uint64_t *longest = stray ? &seen.longest_with : &seen.longest_without;
    *longest = length > *longest ? length : *longest;
    if (stray) {
        assert_true(seen.looked); // no two sleeps without a look in between
        seen.looked = false;
        seen.woken = 0;
        seen.sleeps++;
        nanosleep(&(struct timespec){.tv_nsec = REAL_NAP_NS}, NULL);
    }
    seen.now += length;
    return 0;
}

// The first that is asked is seized, but told to stop much later: so it does not stop in time.
int __wrap_spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal)
{
    (void)ret_signal;
    seen.sampled |= tid == seen.tid;
    seen.unreleased |= tid == seen.tid && !seen.let_go && seen.woken < 2;
    if (seen.tid)
        return SPY_ERR_DENIED;
    assert_int_equal(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
    seen.tid = tid;
    p->strays[p->n_strays++] = tid;
    return SPY_ERR_AGAIN;
}

void __wrap_spy_pause_reap(struct spy_pause *p)
{
    seen.looked = true;
    seen.woken++;
    seen.looks += p->n_strays > 0;
    if (seen.looks >= STOPS_AT_LOOK && seen.sampled && !seen.asked) {
        seen.asked = true;
        assert_int_equal(ptrace(PTRACE_INTERRUPT, seen.tid, 0, 0), 0);
    }
    __real_spy_pause_reap(p);
    seen.let_go = seen.tid && !p->n_strays;
}

static int tracer_of(pid_t tid)
{
    char path[40], line[256];
    int tracer = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (tracer < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, "TracerPid:", 10))
            tracer = (int)strtol(line + 10, NULL, 10);
    fclose(f);
    return tracer;
}

static void a_thread_that_stops_late_is_released_between_two_rounds(void **state)
{
    (void)state;
    struct child c = start_steady();
    struct spy_sampler *s = new_sampler(0);
    seen.now = SPY_NS_PER_SEC;
    add_process(s, c.pid, RATE, SPY_PAUSE_ALWAYS);
    while (!seen.let_go && seen.looks < LOOKS_MAX)
        run_for(s, 1);
    print_message("let go at look %u, longest sleep until then %llu us\n", seen.looks,
                  (unsigned long long)seen.longest_with / 1000);
    assert_true(seen.let_go);
    assert_int_equal(tracer_of(seen.tid), 0);
    assert_true(seen.longest_with <= LOOK_EVERY_NS);
    assert_true(seen.sleeps >= STOPS_AT_LOOK / 2); // others are looks at samples
    assert_true(seen.sampled && !seen.unreleased);
    run_for(s, 1); // and without one it sleeps to the end
    assert_true(seen.longest_without > SPY_NS_PER_SEC / RATE / 4);
    assert_true(spy_sampler_totals(s).samples > 0);
    spy_sampler_free(s);
    end_child(&c);
}

RUN(T(a_thread_that_stops_late_is_released_between_two_rounds))
