#include "agent/target/target.h"
#include "agent/target/still.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct spy_target {
    pid_t pid;
    int proc_fd, pidfd;      // -1 when it is not a live process
    struct spy_still *still; // NULL: a live process
};

int spy_target_open(pid_t pid, struct spy_target **ret, struct spy_err *err)
{
    if (pid <= 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%d is not a process id", (int)pid);
    struct spy_target *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    t->pid = pid;
    t->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    t->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->proc_fd < 0) {
        int sys = errno;
        spy_target_free(t);
        if (sys == ENOENT)
            return spy_err_set(err, SPY_ERR_GONE, 0, "there is no process %d", (int)pid);
        return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot open %s", path);
    }
    *ret = t;
    return 0;
}

void spy_target_free(struct spy_target *t)
{
    if (!t)
        return;
    if (t->proc_fd >= 0)
        close(t->proc_fd);
    if (t->pidfd >= 0)
        close(t->pidfd);
    spy_still_free(t->still);
    free(t);
}

int spy_target_of_still(struct spy_still *s, struct spy_target **ret)
{
    struct spy_target *t = calloc(1, sizeof *t);
    if (!t) {
        spy_still_free(s);
        return SPY_ERR_NOMEM;
    }
    *t = (struct spy_target){.pid = s->pid, .proc_fd = -1, .pidfd = -1, .still = s};
    *ret = t;
    return 0;
}

struct spy_still *spy_target_still(const struct spy_target *t)
{
    return t->still;
}

bool spy_target_is_live(const struct spy_target *t)
{
    return !t->still || t->still->as_live;
}

pid_t spy_target_pid(const struct spy_target *t)
{
    return t->pid;
}

int spy_target_proc_fd(const struct spy_target *t)
{
    return t->proc_fd;
}

int spy_target_pidfd(const struct spy_target *t)
{
    return t->pidfd;
}

// Field 22 of stat; the name, field 2, stands in parentheses and may hold any character.
int spy_target_start_time(const struct spy_target *t, uint64_t *ret)
{
    enum { AFTER_NAME = 20 };
    char text[1024];
    ssize_t n = spy_file_read_small(t->proc_fd, "stat", text, sizeof text);
    if (n < 0)
        return SPY_ERR_GONE;
    char *at = strrchr(text, ')');
    for (int i = 0; at && i < AFTER_NAME; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return SPY_ERR_TORN;
    *ret = strtoull(at + 1, NULL, 10);
    return 0;
}

bool spy_target_alive(const struct spy_target *t)
{
    if (t->still)
        return true;
    if (t->pidfd >= 0) {
        struct pollfd p = {.fd = t->pidfd, .events = POLLIN};
        return poll(&p, 1, 0) == 0;
    }
    return faccessat(t->proc_fd, "stat", F_OK, 0) == 0;
}

uint64_t spy_target_cpu_ns(const struct spy_target *t)
{
    return t->still ? 0 : spy_clock_process_cpu_ns(t->pid); // a core's number may be another's now
}

// EFAULT: not mapped. ESRCH also comes for a zombie, which has no memory any more.
static int code_of_read(int sys)
{
    return sys == EFAULT ? SPY_ERR_TORN : spy_code_of_errno(sys);
}

int spy_target_read(const struct spy_target *t, uint64_t addr, void *to, size_t len)
{
    if (__builtin_expect(t->still != NULL, 0))
        return spy_still_read(t->still, addr, to, len);
    struct iovec local = {to, len}, remote = {(void *)(uintptr_t)addr, len}; // NOLINT
    ssize_t n = process_vm_readv(t->pid, &local, 1, &remote, 1, 0);
    if (n < 0)
        return code_of_read(errno);
    return (size_t)n == len ? 0 : SPY_ERR_TORN;
}

static int read_still_spans(struct spy_still *s, const struct spy_span *spans, size_t n,
                            size_t *ret_done)
{
    int r = 0;
    size_t i = 0;
    while (i < n && (r = spy_still_read(s, spans[i].addr, spans[i].to, spans[i].len)) == 0)
        i++;
    if (ret_done)
        *ret_done = i;
    return r;
}

int spy_target_read_spans(const struct spy_target *t, const struct spy_span *spans, size_t n,
                          size_t *ret_done)
{
    struct iovec local[SPY_SPANS_MAX], remote[SPY_SPANS_MAX];
    if (n > SPY_SPANS_MAX)
        return SPY_ERR_LIMIT;
    if (__builtin_expect(t->still != NULL, 0))
        return read_still_spans(t->still, spans, n, ret_done);
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        local[i] = (struct iovec){spans[i].to, spans[i].len};
        remote[i] = (struct iovec){(void *)(uintptr_t)spans[i].addr, spans[i].len}; // NOLINT
        total += spans[i].len;
    }
    ssize_t got = process_vm_readv(t->pid, local, n, remote, n, 0);
    if (got >= 0 && (size_t)got == total) {
        if (ret_done)
            *ret_done = n;
        return 0;
    }
    if (ret_done) {
        size_t done = 0, left = got > 0 ? (size_t)got : 0;
        while (done < n && spans[done].len <= left)
            left -= spans[done++].len;
        *ret_done = done;
    }
    return got < 0 ? code_of_read(errno) : SPY_ERR_TORN;
}

int spy_target_read_u64(const struct spy_target *t, uint64_t addr, uint64_t *ret)
{
    return spy_target_read(t, addr, ret, sizeof *ret);
}

static int yama_scope(void)
{
    char text[16] = "";
    spy_file_read_small(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    return text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : 0; // one digit
}

int spy_target_explain_denied(const struct spy_target *t, struct spy_err *err)
{
    if (geteuid() == 0)
        return spy_err_set(err, SPY_ERR_DENIED, 0,
                           "not allowed to read process %d: root without CAP_SYS_PTRACE; add the "
                           "capability (docker: --cap-add SYS_PTRACE; Kubernetes: "
                           "securityContext.capabilities.add: [SYS_PTRACE])",
                           (int)t->pid);
    if (yama_scope() > 0)
        return spy_err_set(err, SPY_ERR_DENIED, 0,
                           "not allowed to read process %d: run as root (sudo podspy ...), since "
                           "kernel.yama.ptrace_scope is %d",
                           (int)t->pid, yama_scope());
    return spy_err_set(
        err, SPY_ERR_DENIED, 0,
        "not allowed to read process %d: run as its user or as root (sudo podspy ...)",
        (int)t->pid);
}
