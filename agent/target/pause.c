#include "agent/target/pause.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// True if it is the first thread of a process that we started.
static bool is_child(pid_t tid)
{
    char path[40], status[2048];
    int tgid = 0, ppid = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    if (spy_file_read_small(AT_FDCWD, path, status, sizeof status) < 0)
        return false;
    const char *at = strstr(status, "\nTgid:"), *up = strstr(status, "\nPPid:");
    return at && up && sscanf(at, "\nTgid: %d", &tgid) == 1 &&
           sscanf(up, "\nPPid: %d", &ppid) == 1 && tgid == tid && ppid == getpid();
}
#ifndef sigev_notify_thread_id // timer_create(2); not named by older glibc
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
    POLLS = 12,      // as long as a running thread takes, at a third of a microsecond each
    VAIN_WAITS = 10, // a second
    NAP_NS = 20000,  // between polls without a timer
};

// The signal that a stop delivers; 0: none.
static int signal_of(const siginfo_t *info)
{
    return info->si_status >> 8 == PTRACE_EVENT_STOP ? 0 : info->si_status & 0xff;
}

// A thread that ended while it was seized stays a zombie, and keeps its whole process from ending,
// until its tracer has waited for it (ptrace(2), "Death under ptrace"). False: a main thread whose
// other threads are still about to end.
static bool reap_ended(pid_t tid)
{
    return waitpid(tid, NULL, __WALL | WNOHANG) != 0;
}

// Waits for the stop. A stop that delivers a signal keeps the thread just as still; the signal is
// passed on at the detach. A group stop shows as an event stop, too, and outlives the detach, as it
// should.
//
// Only stops are waited for: the exit status of a child belongs to the code that started it.
static int wait_stop(pid_t tid, int flags, int *ret_signal)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)tid, &info, WSTOPPED | __WALL | flags) < 0) {
        if (errno == EINTR)
            return SPY_ERR_AGAIN;
        return is_child(tid) || reap_ended(tid) ? SPY_ERR_GONE : SPY_ERR_AGAIN;
    }
    if (!info.si_pid)
        return SPY_ERR_AGAIN;
    *ret_signal = signal_of(&info);
    return 0;
}

static void add_stray(struct spy_pause *p, pid_t tid)
{
    if (p->n_strays < SPY_PAUSE_STRAYS_MAX)
        p->strays[p->n_strays++] = tid;
}

// A thread that did not stop in time before is still seized and about to stop.
static bool take_stray(struct spy_pause *p, pid_t tid)
{
    for (size_t i = 0; i < p->n_strays; i++)
        if (p->strays[i] == tid) {
            p->strays[i] = p->strays[--p->n_strays];
            return true;
        }
    return false;
}

static int seize_thread(struct spy_pause *p, pid_t tid)
{
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
        return spy_code_of_errno(errno);
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0) {
        add_stray(p, tid); // it is ending
        return SPY_ERR_GONE;
    }
    return 0;
}

static uint64_t allow_wait(struct spy_pause *p, uint64_t now)
{
    if (now - p->second > SPY_NS_PER_SEC) {
        p->second = now;
        p->vain_ns = 0;
    }
    uint64_t wait = p->patience_ns ? p->patience_ns : SPY_PAUSE_WAIT_NS;
    uint64_t vain = p->patience_ns ? p->patience_ns * VAIN_WAITS : SPY_PAUSE_VAIN_NS;
    return p->vain_ns < vain ? wait : SPY_PAUSE_LEAST_NS;
}

// --- waiting asleep ---

// The handler's only use is to end a system call.
static void on_timer(int signal)
{
    (void)signal;
}

// A program that blocks all signals in its threads must not block this signal in this thread.
static bool has_timer(struct spy_pause *p)
{
    if (p->timing != SPY_PAUSE_UNTRIED)
        return p->timing == SPY_PAUSE_TIMED;
    struct sigaction action = {.sa_handler = on_timer}; // without SA_RESTART
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMAX};
    event.sigev_notify_thread_id = gettid();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    bool works = sigaction(SIGRTMAX, &action, NULL) == 0 &&
                 pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0 &&
                 timer_create(CLOCK_MONOTONIC, &event, &p->timer) == 0;
    p->timing = works ? SPY_PAUSE_TIMED : SPY_PAUSE_UNTIMED;
    return works;
}

// Repeats, because the first signal may come just before the wait begins.
static void set_timer(struct spy_pause *p, uint64_t ns)
{
    struct timespec t = {.tv_nsec = (long)ns};
    timer_settime(p->timer, 0, &(struct itimerspec){t, t}, NULL);
}

static int wait_until_stopped(struct spy_pause *p, pid_t tid, uint64_t deadline, int *ret_signal)
{
    bool timed = has_timer(p);
    uint64_t now = spy_clock_mono_ns();
    int r = SPY_ERR_AGAIN;
    if (timed && now < deadline)
        set_timer(p, deadline - now);
    for (; r == SPY_ERR_AGAIN && now < deadline; now = spy_clock_mono_ns()) {
        if (!timed)
            nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
        r = wait_stop(tid, timed ? 0 : WNOHANG, ret_signal);
    }
    if (timed)
        set_timer(p, 0);
    return r;
}

int spy_pause_begin(struct spy_pause *p, pid_t tid, int *ret_signal)
{
    if (p->n_strays == SPY_PAUSE_STRAYS_MAX)
        return SPY_ERR_AGAIN;
    if (!take_stray(p, tid)) {
        int r = seize_thread(p, tid);
        if (r < 0)
            return r;
    }
    int r = SPY_ERR_AGAIN;
    for (int i = 0; i < POLLS && r == SPY_ERR_AGAIN; i++)
        r = wait_stop(tid, WNOHANG, ret_signal);
    if (r != SPY_ERR_AGAIN)
        return r;
    uint64_t start = spy_clock_mono_ns();
    r = wait_until_stopped(p, tid, start + allow_wait(p, start), ret_signal);
    if (r != SPY_ERR_AGAIN)
        return r;
    p->vain_ns += spy_clock_mono_ns() - start;
    add_stray(p, tid);
    return SPY_ERR_AGAIN;
}

static bool detach_thread(pid_t tid, int signal)
{
    // NOLINTNEXTLINE: ptrace's own convention
    return ptrace(PTRACE_DETACH, tid, 0, (void *)(intptr_t)signal) == 0;
}

void spy_pause_end(struct spy_pause *p, pid_t tid, int signal)
{
    if (!detach_thread(tid, signal)) // it was killed while it was held
        add_stray(p, tid);
}

void spy_pause_reap(struct spy_pause *p)
{
    for (size_t i = p->n_strays; i-- > 0;) {
        int signal = 0;
        int r = wait_stop(p->strays[i], WNOHANG, &signal);
        if (r == SPY_ERR_AGAIN || (r == 0 && !detach_thread(p->strays[i], signal)))
            continue;
        p->strays[i] = p->strays[--p->n_strays];
    }
}

void spy_pause_reap_late(void)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WSTOPPED | __WALL | WNOHANG) == 0 && info.si_pid) {
        detach_thread(info.si_pid, signal_of(&info));
        info = (siginfo_t){0};
    }
    while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WALL | WNOHANG) == 0 && info.si_pid &&
           !is_child(info.si_pid) && reap_ended(info.si_pid))
        info = (siginfo_t){0};
}

void spy_pause_done(struct spy_pause *p)
{
    enum { TIMES = 1000, NAP_MS = 1 };
    for (int i = 0; i < TIMES && p->n_strays; i++) {
        spy_pause_reap(p);
        if (p->n_strays)
            nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000}, NULL);
    }
    if (p->timing == SPY_PAUSE_TIMED)
        timer_delete(p->timer);
    p->timing = SPY_PAUSE_UNTRIED;
}
