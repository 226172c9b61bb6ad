#include "agent/cli/program.h"
#include "agent/cli/caller.h"
#include "agent/cli/signals.h"
#include "agent/target/pause.h"
#include "shared/base/clock.h"
#include "shared/base/descriptors.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Signals within this time are one event: timeout(1) signals its child and then the whole group.
#define ONE_EVENT_NS (250 * SPY_NS_PER_MS)
#define SAY_AFTER_NS (200 * SPY_NS_PER_MS)

// --- start ---

// Under sudo the program runs as the user who called sudo, with that user's groups, as it would
// without a profiler.
static int become_caller(void)
{
    const char *uid_text = getenv("SUDO_UID"), *gid_text = getenv("SUDO_GID");
    if (!uid_text || !gid_text || geteuid() != 0)
        return 0;
    uid_t uid = (uid_t)strtoul(uid_text, NULL, 10);
    gid_t gid = (gid_t)strtoul(gid_text, NULL, 10);
    return spy_caller_set_groups(uid, gid) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ? -1 : 0;
}

// What the child sends its parent when it cannot exec the program.
struct exec_failure {
    int sys;
    bool caller; // it could not become the user who called sudo
};

static void redirect_program(int output)
{
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(empty, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
}

_Noreturn static void exec_program(char **argv, int output, pid_t podspy, int tell)
{
    struct exec_failure f = {0};
    spy_cli_release_signals();
    if (output >= 0)
        redirect_program(output);
    spy_descriptors_restore();
    f.caller = become_caller() < 0;
    if (!f.caller) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); // dies with podspy, even on SIGKILL
        if (getppid() != podspy)
            _exit(126);
        execvp(argv[0], argv);
    }
    f.sys = errno;
    _exit(write(tell, &f, sizeof f) == sizeof f ? 127 : 126);
}

int spy_program_start_apart(char **argv, int output, pid_t *ret, struct spy_err *err)
{
    struct exec_failure f;
    int ends[2]; // the writing end closes on exec
    if (pipe2(ends, O_CLOEXEC) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot start %s", argv[0]);
    _cleanup_close_ int from = ends[0];
    pid_t podspy = getpid(), pid = fork();
    if (pid == 0)
        exec_program(argv, output, podspy, ends[1]);
    int sys = errno;
    close(ends[1]);
    if (pid < 0)
        return spy_err_set(err, SPY_ERR_IO, sys, "cannot start %s", argv[0]);
    ssize_t n;
    while ((n = read(from, &f, sizeof f)) < 0 && errno == EINTR)
        ;
    if (n != sizeof f) {
        *ret = pid;
        return 0;
    }
    waitpid(pid, NULL, 0);
    return spy_err_set(
        err, SPY_ERR_NOTFOUND, f.sys,
        f.caller ? "cannot become the user who called sudo to run %s" : "cannot run %s", argv[0]);
}

int spy_program_start(char **argv, pid_t *ret, struct spy_err *err)
{
    return spy_program_start_apart(argv, -1, ret, err);
}

// --- end ---

// The child stays a zombie (WNOWAIT) for spy_program_wait. Although only exits are asked for, the
// kernel also reports a child that its tracer has stopped: a thread whose pause took effect late.
bool spy_program_ended(pid_t pid)
{
    siginfo_t info = {0};
    int r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return r < 0 ? errno == ECHILD
                 : info.si_code == CLD_EXITED || info.si_code == CLD_KILLED ||
                       info.si_code == CLD_DUMPED;
}

// A shell without job control starts background commands with SIGINT ignored (POSIX, sh, 2.11).
static bool ignores_signal(pid_t pid, int number)
{
    char path[40], status[8192];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (spy_file_read_small(AT_FDCWD, path, status, sizeof status) < 0)
        return false;
    const char *line = strstr(status, "\nSigIgn:");
    return line && strtoull(line + strlen("\nSigIgn:"), NULL, 16) >> (number - 1) & 1;
}

void spy_program_signal(pid_t pid, int number)
{
    if (!spy_program_ended(pid))
        kill(pid, ignores_signal(pid, number) ? SIGTERM : number);
}

static void print_waiting(pid_t pid)
{
    fprintf(
        stderr,
        "Waiting for the program (process %d) to end. %s Control-C or SIGTERM ends it at once.\n",
        (int)pid, spy_cli_stop ? "A second" : "A");
}

// Sleeps until the process ends, one of the signals arrives, or ns have passed. The caller has
// blocked the signals, so none can arrive just before the sleep. The sleep is short, because a
// thread whose pause takes effect late has to be released.
static void sleep_for_end(int pidfd, uint64_t ns, const sigset_t *open_mask)
{
    enum { WITHOUT_PIDFD_NS = 20000000, LATE_NS = 100000000 }; // pidfd: Linux 5.3
    if (ns > LATE_NS)
        ns = LATE_NS;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 && ns > WITHOUT_PIDFD_NS)
        ns = WITHOUT_PIDFD_NS;
    struct timespec t = {.tv_sec = (time_t)(ns / SPY_NS_PER_SEC),
                         .tv_nsec = (long)(ns % SPY_NS_PER_SEC)};
    ppoll(&p, pidfd >= 0, &t, open_mask);
}

static int print_left(pid_t pid)
{
    fprintf(stderr, "The program (process %d) cannot be ended%s: podspy ends without it\n",
            (int)pid, kill(pid, 0) < 0 && errno == EPERM ? ", it is another user's" : "");
    return SPY_ERR_DENIED;
}

int spy_program_wait(pid_t pid, uint64_t asked_ns, int *ret_status)
{
    sigset_t block, old;
    int r = 0;
    bool said = false, killed = false;
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGHUP);
    sigprocmask(SIG_BLOCK, &block, &old);
    for (uint64_t begin = spy_clock_mono_ns(); r == 0 && !spy_program_ended(pid);) {
        if (spy_cli_signalled_ns() > asked_ns + ONE_EVENT_NS) {
            asked_ns = spy_cli_signalled_ns();
            if (killed || kill(pid, SIGKILL) < 0)
                r = print_left(pid);
            killed = true;
            continue;
        }
        if (!said && spy_clock_mono_ns() - begin >= SAY_AFTER_NS) {
            print_waiting(pid);
            said = true;
        }
        spy_pause_reap_late();
        sleep_for_end(pidfd, SAY_AFTER_NS, &old);
    }
    while (r == 0 && (waitpid(pid, ret_status, 0) < 0 ? errno == EINTR : WIFSTOPPED(*ret_status)))
        ;
    sigprocmask(SIG_SETMASK, &old, NULL);
    return r;
}

int spy_program_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

const char *spy_program_how(int wait_status, char *out, size_t size)
{
    int number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    const char *name = number ? sigabbrev_np(number) : NULL;
    if (name)
        snprintf(out, size, "by SIG%s", name);
    else if (number)
        snprintf(out, size, "by signal %d", number);
    else
        snprintf(out, size, "with status %d", WEXITSTATUS(wait_status));
    return out;
}
