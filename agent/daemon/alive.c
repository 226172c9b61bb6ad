#include "agent/daemon/alive.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

static bool make_path(const char *spool_dir, char path[static PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/alive", spool_dir) < PATH_MAX;
}

void spy_alive_touch(const char *spool_dir)
{
    static uint64_t last;
    char path[PATH_MAX];
    if (!spy_log_due(&last, SPY_ALIVE_EVERY_SECS * SPY_NS_PER_SEC) || !make_path(spool_dir, path))
        return;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && futimens(fd, NULL) < 0)
        spy_log(SPY_LOG_DEBUG, "cannot set the time of the alive file", SPY_S("path", path));
}

int spy_alive_check(const char *spool_dir, long *ret_secs, struct spy_err *err)
{
    char path[PATH_MAX];
    struct stat st;
    if (!make_path(spool_dir, path))
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "push.spool_dir is too long");
    if (lstat(path, &st) < 0 && errno == ENOENT)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no agent has made a round here yet: there is no %.150s (give the "
                           "agent's --config)",
                           path);
    if (lstat(path, &st) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot look at %.150s", path);
    long secs = (long)(time(NULL) - st.st_mtime);
    if (labs(secs) > SPY_ALIVE_MAX_SECS)
        return spy_err_set(err, SPY_ERR_AGAIN, 0,
                           "the agent's latest round was %ld s ago, by the time of %.150s: it "
                           "hangs or has ended",
                           secs, path);
    *ret_secs = secs;
    return 0;
}
