#include "collector/cli/collector.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// A folder that was there, such as a volume's root, may be open to others; the keys in it are not.
static void close_to_others(const char *dir)
{
    struct stat st;
    if (stat(dir, &st) == 0 && st.st_mode & 077 && chmod(dir, 0700) < 0)
        spy_log(SPY_LOG_WARN, "cannot restrict the data folder to its owner", SPY_S("dir", dir));
}

int spy_data_open(const char *dir, int *ret_lock, struct spy_err *err)
{
    char path[PATH_MAX];
    int r = spy_file_mkdirs(dir, 0700, err);
    if (r < 0)
        return spy_err_context(err, r, "the data folder (--data, store.dir)");
    close_to_others(dir);
    if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return spy_err_set(err, SPY_ERR_IO, errno,
                           "cannot write in the data folder %s: choose another with --data", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return spy_err_set(err, SPY_ERR_DENIED, 0,
                           "another collector runs on the data folder %s: stop it, or choose "
                           "another with --data",
                           dir);
    }
    *ret_lock = fd;
    return 0;
}

static bool ports_path(const char *dir, char *path)
{
    return snprintf(path, PATH_MAX, "%s/ports.json", dir) < PATH_MAX;
}

static void put_port(struct spy_buf *b, const char *name, unsigned port)
{
    if (port)
        spy_buf_printf(b, ", \"%s\": %u", name, port);
    else
        spy_buf_printf(b, ", \"%s\": null", name);
}

int spy_data_write_ports(const char *dir, unsigned https, unsigned http, struct spy_err *err)
{
    char path[PATH_MAX];
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(200);
    if (!ports_path(dir, path))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    spy_buf_printf(&b, "{\"pid\": %d", (int)getpid());
    put_port(&b, "https", https);
    put_port(&b, "http", http);
    spy_buf_puts(&b, "}\n");
    return spy_file_write_atomic(path, b.data, b.len, 0600, err);
}

void spy_data_remove_ports(const char *dir)
{
    char path[PATH_MAX];
    if (ports_path(dir, path))
        unlink(path);
}
