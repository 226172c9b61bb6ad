#include "agent/cli/output.h"
#include "agent/cli/cli.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int make_name(const char *who, const char *extension, struct spy_output *o)
{
    char when[40];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S%z", &tm);
    const char *slash = strrchr(who, '/');
    return snprintf(o->path, sizeof o->path, "%.100s-%s.%s", slash ? slash + 1 : who, when,
                    extension);
}

static int report_bad_path(const struct spy_output *o, int sys, struct spy_err *err)
{
    char copy[PATH_MAX];
    struct stat st;
    snprintf(copy, sizeof copy, "%s", o->path);
    if (sys == ENOENT && stat(dirname(copy), &st) < 0)
        return spy_err_set(
            err, SPY_ERR_IO, 0,
            "cannot write %.150s: its folder does not exist; create it, or give another "
            "--output",
            o->path);
    if (sys == EISDIR)
        return spy_err_set(err, SPY_ERR_IO, 0,
                           "cannot write %.150s: it is a folder; give --output a file", o->path);
    char why[80];
    return spy_err_set(err, SPY_ERR_IO, 0, "cannot write %.130s: %s; give another --output",
                       o->path, strerror_r(sys, why, sizeof why));
}

// Only opening the file is a sure test: the folder may be on a read-only or full file system, or on
// /proc, where no file can be created.
static int check_path(const struct spy_output *o, struct spy_err *err)
{
    struct stat st;
    if (stat(o->path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return report_bad_path(o, EISDIR, err);
        return faccessat(AT_FDCWD, o->path, W_OK, AT_EACCESS) < 0 ? report_bad_path(o, errno, err)
                                                                  : 0;
    }
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    if (lstat(o->path, &st) == 0) // a dangling link
        flags &= ~O_EXCL;
    _cleanup_close_ int fd = open(o->path, flags, 0666);
    if (fd < 0)
        return report_bad_path(o, errno, err);
    if (flags & O_EXCL)
        unlink(o->path);
    return 0;
}

int spy_output_choose(const char *given, const char *who, const char *extension,
                      struct spy_output *ret, struct spy_err *err)
{
    struct spy_output o;
    int n = given ? snprintf(o.path, sizeof o.path, "%s", given) : make_name(who, extension, &o);
    if (!n)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "--output is empty; give a file, or - for standard output");
    if (n >= (int)sizeof o.path)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "--output is longer than a path can be");
    int r = strcmp(o.path, "-") != 0 ? check_path(&o, err) : 0;
    if (r == 0)
        *ret = o;
    return r;
}

int spy_output_number(struct spy_output *o, unsigned number, const char *extension,
                      struct spy_err *err)
{
    struct stat st;
    char all[PATH_MAX];
    size_t len = strlen(o->path), tail = strlen(extension) + 1;
    if (!strcmp(o->path, "-") || (stat(o->path, &st) == 0 && !S_ISREG(st.st_mode)))
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "several files are to be written: %.150s is not "
                           "the name of a file; give another --output",
                           o->path);
    bool known =
        len > tail && o->path[len - tail] == '.' && !strcmp(o->path + len - tail + 1, extension);
    const char *slash = strrchr(o->path, '/'), *dot = strrchr(o->path, '.');
    bool other = dot && dot > (slash ? slash + 1 : o->path);
    size_t head = known ? len - tail : other ? (size_t)(dot - o->path) : len;
    int n = snprintf(all, sizeof all, "%.*s.%04u%s", (int)head, o->path, number, o->path + head);
    if (n >= (int)sizeof all)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "--output is longer than a path can be");
    memcpy(o->path, all, (size_t)n + 1);
    return 0;
}

static int write_in_place(const char *path, const struct spy_buf *b)
{
    bool out = !strcmp(path, "-");
    int fd = out ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int r = fd < 0 ? -1 : spy_file_write_all(fd, b->data, b->len), sys = errno;
    if (fd >= 0 && close(fd) < 0 &&
        r == 0) { // quotas and file servers may report errors only at close
        r = -1;
        sys = errno;
    }
    return r < 0 ? sys : 0;
}

static mode_t new_file_mode(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

// The errno, or 0. Only a regular file, or none yet, can be replaced.
static int replace_whole(const char *path, const struct spy_buf *b)
{
    struct stat st = {0};
    struct spy_err err = {0};
    char real[PATH_MAX];
    bool old = stat(path, &st) == 0;
    if (old ? !S_ISREG(st.st_mode) || !realpath(path, real) : lstat(path, &st) == 0)
        return EINVAL;
    if (spy_file_write_atomic(old ? real : path, b->data, b->len,
                              old ? st.st_mode & 07777 : new_file_mode(), &err) < 0)
        return err.sys ? err.sys : EIO;
    if (old && st.st_uid != geteuid() && chown(real, st.st_uid, st.st_gid) < 0)
        return 0; // it is ours then
    return 0;
}

static bool may_be_in_place(int sys)
{
    return sys == EINVAL || sys == EACCES || sys == EPERM || sys == EROFS || sys == ENAMETOOLONG;
}

int spy_output_write(const struct spy_output *o, const struct spy_buf *b, struct spy_err *err)
{
    bool out = !strcmp(o->path, "-");
    int sys = out ? EINVAL : replace_whole(o->path, b);
    if (may_be_in_place(sys))
        sys = write_in_place(o->path, b);
    if (!sys)
        return 0;
    if (out && sys == EPIPE)
        return SPY_ERR_GONE;
    return spy_err_set(err, SPY_ERR_IO, sys, "cannot write %.150s",
                       out ? "to standard output" : o->path);
}

// The write that failed may have been an earlier one, whose errno is lost.
static bool has_reader(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) < 1 || !(p.revents & (POLLERR | POLLHUP));
}

int spy_cli_flush(struct spy_err *err)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return SPY_EXIT_OK;
    if (errno == EPIPE || !has_reader())
        return SPY_EXIT_PIPE;
    return spy_err_set(err, SPY_ERR_IO, errno, "cannot write to standard output");
}
