#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail_file(struct spy_err *err, const char *what, const char *path)
{
    int sys = errno;
    return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot %s %s", what, path);
}

int spy_file_read(int dirfd, const char *path, struct spy_buf *out, struct spy_err *err)
{
    _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_file(err, "open", path);
    for (;;) {
        size_t room = out->max - out->len;
        size_t want = room < 65536
                          ? room + 1
                          : 65536; // one byte more than fits shows that the file is too long
        struct spy_buf probe = *out;
        probe.max = SIZE_MAX - 1;
        uint8_t *p = spy_buf_reserve(&probe, want);
        out->data = probe.data;
        out->cap = probe.cap;
        if (!p)
            return spy_err_nomem(err);
        *p = 0; // the text stays terminated on failure
        ssize_t n = read(fd, p, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_file(err, "read", path);
        if ((size_t)n > room) {
            *p = 0;
            return spy_err_set(err, SPY_ERR_LIMIT, 0, "%s is larger than %zu bytes", path,
                               out->max);
        }
        out->len += (size_t)n;
        out->data[out->len] = 0;
        if (n == 0)
            return 0;
    }
}

ssize_t spy_file_read_small(int dirfd, const char *path, char *out, size_t size)
{
    _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return spy_code_of_errno(errno);
    size_t len = 0;
    while (len < size - 1) {
        ssize_t n = read(fd, out + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return spy_code_of_errno(errno);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    out[len] = 0;
    return (ssize_t)len;
}

int spy_file_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EAGAIN) // another process made the shared file non-blocking
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (n < 0 && errno != EINTR)
            return -1;
        if (n < 0)
            continue;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

static void sync_folder_of(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir)
        return;
    memcpy(dir, path, n);
    dir[n] = 0;
    _cleanup_close_ int fd =
        open(slash ? (n ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd);
}

int spy_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                          struct spy_err *err)
{
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.tmp.XXXXXX", path) >= (int)sizeof tmp)
        return spy_err_set(err, SPY_ERR_INVALID, ENAMETOOLONG, "cannot write %s", path);
    _cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return fail_file(err, "write", path);
    if (fchmod(fd, mode) < 0 || spy_file_write_all(fd, data, len) < 0 || fsync(fd) < 0 ||
        rename(tmp, path) < 0) {
        int r = fail_file(err, "write", path);
        unlink(tmp);
        return r;
    }
    sync_folder_of(path);
    return 0;
}

int spy_file_mkdirs(const char *path, mode_t mode, struct spy_err *err)
{
    char part[PATH_MAX];
    struct stat st;
    size_t len = strlen(path);
    if (!len || len >= sizeof part)
        return spy_err_set(err, SPY_ERR_INVALID, len ? ENAMETOOLONG : ENOENT,
                           "cannot make folder '%s'", path);
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        char c = part[i];
        part[i] = 0;
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return fail_file(err, "make folder", path);
        part[i] = c;
    }
    if (stat(path, &st) < 0)
        return fail_file(err, "make folder", path);
    if (!S_ISDIR(st.st_mode))
        return spy_err_set(err, SPY_ERR_INVALID, ENOTDIR, "cannot make folder %s", path);
    return 0;
}

int spy_file_open_below(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

int spy_file_open_regular(int path_fd)
{
    struct stat st;
    char path[40];
    if (fstat(path_fd, &st) < 0)
        return spy_code_of_errno(errno);
    if (!S_ISREG(st.st_mode))
        return SPY_ERR_INVALID;
    snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? spy_code_of_errno(errno) : fd;
}
