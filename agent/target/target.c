#include "agent/target/target.h"
#include "agent/target/memory.h"
#include "agent/target/reasons.h"
#include "agent/target/still.h"
#include "shared/base/clock.h"
#include "shared/base/descriptors.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <dirent.h>
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
    pid_t
        reader; // the thread by whose number memory is read: pid, unless the main thread has ended
    int proc_fd, pidfd;      // -1 when it is not a live process
    int mem_fd;              // -1 unless its memory is read through a file (memory.h)
    struct spy_still *still; // NULL: a live process
};

int spy_target_open(pid_t pid, struct spy_target **ret, struct spy_err *err)
{
    if (pid <= 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%d is not a process id", (int)pid);
    struct spy_target *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_nomem(err);
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    t->pid = t->reader = pid;
    t->mem_fd = -1;
    t->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    t->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->proc_fd < 0 || t->proc_fd >= spy_descriptors_spare()) {
        int sys = t->proc_fd < 0 ? errno : EMFILE;
        spy_target_free(t);
        if (sys == EMFILE)
            return spy_err_set(err, SPY_ERR_LIMIT, 0,
                               "process %d is left out: too many files are open; raise the limit "
                               "of %d (ulimit -n, LimitNOFILE= of systemd)",
                               (int)pid, spy_descriptors_limit());
        if (sys == ENOENT || spy_code_of_errno(sys) == SPY_ERR_DENIED)
            return spy_reason_explain(pid, -1, err);
        return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot open %s", path);
    }
    if (!spy_proc_is_ours()) { // the pid would be another process there
        spy_target_free(t);
        return spy_reason_explain(pid, -1, err);
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
    if (t->mem_fd >= 0)
        close(t->mem_fd);
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
    *t = (struct spy_target){
        .pid = s->pid, .reader = s->pid, .proc_fd = -1, .pidfd = -1, .mem_fd = -1, .still = s};
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

// Field 22 of stat; the name, field 2, stands in parentheses and may hold any character.
int spy_target_start_time(const struct spy_target *t, uint64_t *ret)
{
    enum { AFTER_NAME = 20 };
    char name[32], text[1024];
    snprintf(name, sizeof name, "task/%d/stat", (int)t->pid); // the process's sums up all threads
    ssize_t n = spy_file_read_small(t->proc_fd, name, text, sizeof text);
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

// --- memory ---

// EFAULT: not mapped. ESRCH: the thread has ended, and its memory with it if it was the last.
// ENOSYS: from a filter of system calls, or a kernel built without this call.
static int code_of_read(int sys)
{
    return sys == EFAULT ? SPY_ERR_TORN : sys == ENOSYS ? SPY_ERR_DENIED : spy_code_of_errno(sys);
}

static bool has_memory(const struct spy_target *t, pid_t tid)
{
    char byte;
    _cleanup_close_ int mem_fd = -1;
    struct iovec local = {&byte, 1}, nowhere = {NULL, 1};
    return spy_memory_read(tid, t->proc_fd, &mem_fd, &local, &nowhere, 1) >= 0 || errno != ESRCH;
}

static bool is_ours(const struct spy_target *t, pid_t tid)
{
    char path[24];
    snprintf(path, sizeof path, "task/%d", (int)tid);
    return tid == t->pid || faccessat(t->proc_fd, path, F_OK, 0) == 0;
}

int spy_target_find_memory(const struct spy_target *t)
{
    enum { TRIED_MAX = 1024 }; // threads that are about to end have none
    int fd = t->still ? -1 : openat(t->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return SPY_ERR_GONE;
    _cleanup_closedir_ DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return SPY_ERR_NOMEM;
    }
    struct dirent *e;
    for (int i = 0; i < TRIED_MAX && (e = readdir(dir)); i++) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        if (tid <= 0 || !has_memory(t, tid) || !is_ours(t, tid))
            continue;
        ((struct spy_target *)t)->reader = tid; // what is read does not depend on it
        return 0;
    }
    return SPY_ERR_GONE;
}

const char *spy_target_file(const struct spy_target *t, const char *name, char *out, size_t size)
{
    if (t->reader == t->pid)
        snprintf(out, size, "%s", name);
    else
        snprintf(out, size, "task/%d/%s", (int)t->reader, name);
    return out;
}

static ssize_t read_memory(const struct spy_target *t, const struct iovec *local,
                           const struct iovec *remote, size_t n)
{
    enum { TRIES = 4 };
    int *mem_fd = &((struct spy_target *)t)->mem_fd; // what is read does not depend on it
    for (int i = 0; i < TRIES; i++) {
        ssize_t got = spy_memory_read(t->reader, t->proc_fd, mem_fd, local, remote, n);
        int sys = got < 0 ? errno : 0;
        if (sys != ESRCH && __builtin_expect(t->reader == t->pid || is_ours(t, t->reader), 1)) {
            errno = sys;
            return got;
        }
        if (spy_target_find_memory(t) < 0)
            break;
    }
    errno = ESRCH;
    return -1;
}

int spy_target_read(const struct spy_target *t, uint64_t addr, void *to, size_t len)
{
    if (__builtin_expect(t->still != NULL, 0))
        return spy_still_read(t->still, addr, to, len);
    struct iovec local = {to, len}, remote = {(void *)(uintptr_t)addr, len}; // NOLINT
    ssize_t n = read_memory(t, &local, &remote, 1);
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
    ssize_t got = read_memory(t, local, remote, n);
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

int spy_target_explain_denied(const struct spy_target *t, struct spy_err *err)
{
    return spy_reason_explain(t->pid, t->proc_fd, err);
}
