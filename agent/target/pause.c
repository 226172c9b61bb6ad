#include "agent/target/pause.h"
#include "shared/base/clock.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

// Waits for the stop. A stop that delivers a signal keeps the thread just as still; the signal is
// handed on at the detach. A group stop shows as an event stop too and outlives the detach, as it
// should.
static int wait_stop(pid_t tid, int flags, int *ret_signal)
{
    int status;
    pid_t got = waitpid(tid, &status, __WALL | flags);
    if (got < 0)
        return errno == EINTR ? SPY_ERR_AGAIN : SPY_ERR_GONE;
    if (got == 0)
        return SPY_ERR_AGAIN;
    if (!WIFSTOPPED(status))
        return SPY_ERR_GONE;
    *ret_signal = status >> 16 == PTRACE_EVENT_STOP ? 0 : WSTOPSIG(status);
    return 0;
}

// One that did not stop in time before is still seized and about to stop.
static bool take_stray(struct spy_pause *p, pid_t tid)
{
    for (size_t i = 0; i < p->n_strays; i++)
        if (p->strays[i] == tid) {
            p->strays[i] = p->strays[--p->n_strays];
            return true;
        }
    return false;
}

static int seize(pid_t tid)
{
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
        return spy_code_of_errno(errno);
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0) {
        // It is ending: there is nothing to stop, and nothing more to detach from.
        ptrace(PTRACE_DETACH, tid, 0, 0);
        return SPY_ERR_GONE;
    }
    return 0;
}

static uint64_t patience(struct spy_pause *p, uint64_t now)
{
    if (now - p->second > SPY_NS_PER_SEC) {
        p->second = now;
        p->vain_ns = 0;
    }
    return p->vain_ns < SPY_PAUSE_VAIN_NS ? SPY_PAUSE_WAIT_NS : SPY_PAUSE_LEAST_NS;
}

int spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal)
{
    if (p->n_strays == SPY_PAUSE_STRAYS_MAX)
        return SPY_ERR_AGAIN;
    if (!take_stray(p, tid)) {
        int r = seize(tid);
        if (r < 0)
            return r;
    }
    uint64_t start = spy_clock_mono_ns(), deadline = start + patience(p, start);
    for (int spins = 0;; spins++) {
        int r = wait_stop(tid, WNOHANG, ret_signal);
        if (r != SPY_ERR_AGAIN)
            return r;
        if (spins > 64) {
            if (spy_clock_mono_ns() > deadline)
                break;
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
    }
    p->vain_ns += spy_clock_mono_ns() - start;
    p->strays[p->n_strays++] = tid;
    return SPY_ERR_AGAIN;
}

void spy_pause_end(pid_t tid, int signal)
{
    ptrace(PTRACE_DETACH, tid, 0, (void *)(intptr_t)signal); // NOLINT: ptrace's own convention
}

void spy_pause_reap(struct spy_pause *p)
{
    for (size_t i = p->n_strays; i-- > 0;) {
        int signal = 0;
        int r = wait_stop(p->strays[i], WNOHANG, &signal);
        if (r == SPY_ERR_AGAIN)
            continue;
        if (r == 0)
            spy_pause_end(p->strays[i], signal);
        p->strays[i] = p->strays[--p->n_strays];
    }
}
