#include "agent/target/files.h"
#include "agent/target/still.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int spy_target_open_root(const struct spy_target *t, bool absolute)
{
    char name[32];
    const struct spy_still *s = spy_target_still(t);
    int fd;
    if (s && s->root >= 0)
        fd = absolute ? fcntl(s->root, F_DUPFD_CLOEXEC, 0) : -1;
    else if (s)
        fd = absolute ? open("/", O_PATH | O_CLOEXEC) : -1;
    else
        fd = openat(spy_target_proc_fd(t),
                    spy_target_file(t, absolute ? "root" : "cwd", name, sizeof name),
                    O_PATH | O_CLOEXEC);
    return fd < 0 ? SPY_ERR_NOTFOUND : fd;
}

int spy_target_has_file(int root, const char *path)
{
    _cleanup_close_ int fd = spy_file_open_below(root, path);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EMFILE || errno == ENFILE))
        return SPY_ERR_UNSUPPORTED;
    return fd >= 0;
}

int spy_target_open_file(const struct spy_target *t, const char *path)
{
    _cleanup_close_ int root = spy_target_open_root(t, true);
    _cleanup_close_ int fd = root < 0 ? -1 : spy_file_open_below(root, path);
    return fd < 0 ? -1 : spy_file_open_regular(fd);
}
