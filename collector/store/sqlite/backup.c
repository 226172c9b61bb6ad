// backup.c - a copy of a store that a collector may be writing.
//
// It reads one commit, as a query of another process. In WAL mode that keeps nobody from writing; the
// WAL only grows meanwhile, as it cannot be restarted. The copy is written beside its place and moved
// there when it is whole and on the disk.
#include "collector/store/sqlite/db.h"
#include "collector/store/sqlite/schema.h"
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { STEP_PAGES = 1024 };

SPY_CLEANUP(connection_done, sqlite3, sqlite3_close)
#define _cleanup_connection_ _cleanup_(connection_done)

static int open_source(const char *path, sqlite3 **ret, struct spy_err *err)
{
    int64_t application = 0, tables;
    if (access(path, F_OK) < 0)
        return spy_err_set(err, SPY_ERR_NOTFOUND, errno, "there is no store %s", path);
    int code = sqlite3_open_v2(path, ret, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return spy_err_set(err, SPY_ERR_IO, 0, "cannot open the store %s: %s", path,
                           sqlite3_errstr(code));
    sqlite3_busy_timeout(*ret, SPY_SQLITE_BUSY_MS);
    sqlite3_db_config(*ret, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    int r = spy_db_number(*ret, "PRAGMA application_id", &application, err);
    if (r == 0 && application != SPY_SCHEMA_APPLICATION)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is a database of another program", path);
    if (r == 0) // from here on it sees this commit
        r = spy_db_exec(*ret, "BEGIN", err);
    return r < 0 ? r : spy_db_number(*ret, "SELECT count(*) FROM sqlite_master", &tables, err);
}

// Makes the file, so that it is nobody else's.
static int open_copy(const char *path, sqlite3 **ret, struct spy_err *err)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot make %s", path);
    int code = sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    return code == SQLITE_OK
               ? 0
               : spy_err_set(err, SPY_ERR_IO, 0, "cannot make %s: %s", path, sqlite3_errstr(code));
}

static int copy_pages(sqlite3 *from, sqlite3 *to, struct spy_err *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b)
        return spy_db_failed(to, err, "copying");
    int code;
    do
        code = sqlite3_backup_step(b, STEP_PAGES);
    while (code == SQLITE_OK);
    int finished = sqlite3_backup_finish(b);
    if (code == SQLITE_DONE && finished == SQLITE_OK)
        return 0;
    return spy_db_failed(sqlite3_errcode(to) != SQLITE_OK ? to : from, err, "copying");
}

// One file: the copy would else begin in WAL mode, with files beside it.
static int finish_copy(sqlite3 *to, const char *path, struct spy_err *err)
{
    int r = spy_db_exec(to, "PRAGMA journal_mode=DELETE", err);
    _cleanup_close_ int fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (r == 0 && (fd < 0 || fsync(fd) < 0))
        r = spy_err_set(err, SPY_ERR_IO, errno, "cannot write %s", path);
    return r;
}

static int copy_database(const char *from, const char *to, struct spy_err *err)
{
    _cleanup_connection_ sqlite3 *source = NULL, *copy = NULL;
    int r = open_source(from, &source, err);
    if (r == 0)
        r = open_copy(to, &copy, err);
    if (r == 0)
        r = copy_pages(source, copy, err);
    return r < 0 ? r : finish_copy(copy, to, err);
}

static int move_into_place(const char *from, const char *path, const char *dir, struct spy_err *err)
{
    if (rename(from, path) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot make %s", path);
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0
               ? 0
               : spy_err_set(err, SPY_ERR_IO, errno, "cannot write %s to the disk", dir);
}

int spy_sqlite_backup_dir(const char *dir, const char *to, struct spy_err *err)
{
    char from[PATH_MAX], path[PATH_MAX], part[PATH_MAX];
    if (snprintf(from, sizeof from, "%s/podspy.db", dir) >= (int)sizeof from ||
        snprintf(path, sizeof path, "%s/podspy.db", to) >= (int)sizeof path ||
        snprintf(part, sizeof part, "%s/podspy.db.part", to) >= (int)sizeof part)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the name of a folder is too long");
    int r = spy_file_mkdirs(to, 0700, err);
    if (r < 0)
        return r;
    if (access(path, F_OK) == 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s exists already: name another folder, or move it away", path);
    r = copy_database(from, part, err);
    if (r == 0)
        r = move_into_place(part, path, to, err);
    if (r < 0)
        unlink(part);
    return r;
}
