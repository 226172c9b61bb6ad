#include "agent/target/memory.h"
#include "shared/base/descriptors.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

// The kernel lets every process read itself: if that fails, the call itself is forbidden.
static bool call_is_forbidden(int sys)
{
    static _Atomic int known; // 0: not asked yet
    enum { WORKS = 1, FORBIDDEN };
    if (sys != EPERM && sys != ENOSYS)
        return false;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (!answer) {
        char from = 0, to;
        struct iovec local = {&to, 1}, remote = {&from, 1};
        ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        answer = n < 0 && (errno == EPERM || errno == ENOSYS) ? FORBIDDEN : WORKS;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == FORBIDDEN;
}

static int open_mem(pid_t tid, int proc_fd)
{
    char path[32];
    snprintf(path, sizeof path, "task/%d/mem", (int)tid);
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd >= spy_descriptors_spare()) {
        close(fd);
        fd = -1;
        errno = EMFILE;
    } else if (fd < 0 && errno == ENOENT) {
        errno = ESRCH;
    }
    return fd;
}

static ssize_t read_pieces(int fd, const struct iovec *local, const struct iovec *remote, size_t n)
{
    ssize_t total = 0;
    for (size_t i = 0; i < n; i++) {
        ssize_t got =
            pread(fd, local[i].iov_base, local[i].iov_len, (off_t)(uintptr_t)remote[i].iov_base);
        total += got > 0 ? got : 0;
        if (got < 0 && !total) {
            if (errno == EIO || errno == EINVAL || errno == EOVERFLOW)
                errno = EFAULT;
            return -1;
        }
        if (got != (ssize_t)local[i].iov_len)
            break;
    }
    return total;
}

// The file belongs to the memory that the process had when it was opened, and reads nothing once
// that memory is gone: the process has ended or has executed another program.
static ssize_t read_through_file(pid_t tid, int proc_fd, int *mem_fd, const struct iovec *local,
                                 const struct iovec *remote, size_t n)
{
    for (int tries = 0; tries < 2; tries++) {
        if (*mem_fd < 0 && (*mem_fd = open_mem(tid, proc_fd)) < 0)
            return -1;
        ssize_t got = read_pieces(*mem_fd, local, remote, n);
        if (got || !n || !local[0].iov_len)
            return got;
        close(*mem_fd);
        *mem_fd = -1;
    }
    errno = ESRCH;
    return -1;
}

ssize_t spy_memory_read(pid_t tid, int proc_fd, int *mem_fd, const struct iovec *local,
                        const struct iovec *remote, size_t n)
{
    if (__builtin_expect(*mem_fd < 0, 1)) {
        ssize_t got = process_vm_readv(tid, local, n, remote, n, 0);
        if (__builtin_expect(got >= 0, 1) || !call_is_forbidden(errno))
            return got;
    }
    return read_through_file(tid, proc_fd, mem_fd, local, remote, n);
}
