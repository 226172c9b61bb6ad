#include "shared/base/descriptors.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

static struct rlimit started_with; // all 0: never raised

void spy_descriptors_raise(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= l.rlim_max)
        return;
    started_with = l;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) < 0)
        started_with.rlim_max = 0;
}

void spy_descriptors_restore(void)
{
    if (started_with.rlim_max)
        setrlimit(RLIMIT_NOFILE, &started_with);
}

int spy_descriptors_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return 1024;
    return l.rlim_cur < INT_MAX ? (int)l.rlim_cur : INT_MAX;
}

int spy_descriptors_spare(void)
{
    int limit = spy_descriptors_limit();
    return limit > 2 * SPY_DESCRIPTORS_RESERVE ? limit - SPY_DESCRIPTORS_RESERVE : limit / 2;
}

void spy_descriptors_open_std(void)
{
    // Opened in the wrong direction, as gnulib's stdopen does, so that writing fails visibly.
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        // The lowest free number is this one. /dev may be missing, but there is always a root.
        if (open("/dev/null", modes[fd] | O_CLOEXEC) < 0 && open("/", O_PATH | O_CLOEXEC) < 0)
            return;
    }
}
