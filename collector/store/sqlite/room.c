// room.c - reserves room on the disk, so that old data can be dropped when the disk is full.
//
// Deleting needs room too: in the WAL, and in the database when the WAL is written back. So blocks
// are allocated for both files in advance. A push that makes the database longer is committed only
// if its blocks are allocated, so the WAL can always be written back. The WAL is restarted, not
// truncated: it keeps HELD_WAL bytes even when others fill the disk.
#include "collector/store/sqlite/sqlite.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BUSY_AGAIN_NS (10 * SPY_NS_PER_SEC)
enum {
    RESTART_MS = 300, // for readers to end
    PAGE = SPY_SQLITE_PAGE,
    CHUNK = 64 * PAGE, // by which the database file grows; a deletion needs no more
    WAL_PAGES = 1000,  // from here on the WAL is written back, as in SQLite
    MIB = 1 << 20,
    HELD_WAL = SPY_SQLITE_HELD_WAL
};

struct spy_sqlite_room spy_sqlite_room(uint64_t max_bytes)
{
    uint64_t wal = max_bytes / 8;
    wal = wal > 512 * MIB ? 512 * MIB : wal;
    uint64_t database = (max_bytes - wal) / CHUNK * CHUNK; // the file's size is a multiple of it
    return (struct spy_sqlite_room){database / PAGE, wal, spy_min(wal / 2, HELD_WAL)};
}

static struct spy_sqlite_room room_of(const struct spy_sqlite *s)
{
    return spy_sqlite_room(s->max_bytes ? s->max_bytes : UINT64_MAX);
}

// Makes a file at least `size` long, with blocks for what is added. On a filesystem that cannot
// allocate, nothing is reserved.
static int lengthen_file(int fd, uint64_t size)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size >= size)
        return 0;
    int e = posix_fallocate(fd, st.st_size, (off_t)size - st.st_size);
    return e == ENOSPC || e == EDQUOT ? SPY_ERR_LIMIT : 0;
}

static uint64_t round_up(uint64_t size)
{
    return (size + CHUNK - 1) / CHUNK * CHUNK;
}

int spy_sqlite_hold_database(struct spy_sqlite *s, int64_t before, struct spy_err *err)
{
    int chunk = CHUNK;
    int64_t pages;
    int r = spy_db_number(s->writer, "PRAGMA page_count", &pages, err);
    if (r < 0)
        return r;
    uint64_t need = (uint64_t)pages * PAGE, most = room_of(s).database * PAGE;
    uint64_t want = spy_min(round_up(need + CHUNK), most);
    r = lengthen_file(s->db_fd, want > need ? want : need);
    if (r == 0) // SQLite cuts the file to a multiple of it when it writes the WAL back
        sqlite3_file_control(s->writer, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
    return r == 0 || pages <= before
               ? 0
               : spy_err_set(err, r, ENOSPC, "the disk of %s is full", s->path);
}

void spy_sqlite_hold_wal(struct spy_sqlite *s)
{
    _cleanup_free_ char *path = NULL;
    uint64_t held = room_of(s).held;
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA journal_size_limit=%" PRIu64, held);
    spy_db_exec(s->writer, sql, NULL);
    if (asprintf(&path, "%s-wal", s->path) < 0) {
        path = NULL;
        return;
    }
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC); // SQLite's locks are on other files
    if (fd >= 0)
        lengthen_file(fd, held); // SQLite ignores zeroes at its end
}

void spy_sqlite_restart_wal(struct spy_sqlite *s)
{
    // SQLite restarts a WAL that is written back only when no reader uses it.
    // This process's readers end soon. Another's, which makes a backup, is not waited for.
    if (spy_clock_mono_ns() < s->wal_busy_until)
        return;
    int code = SQLITE_BUSY;
    bool is_ours = true;
    spy_stop_set(&s->hurry);
    sqlite3_busy_timeout(s->writer, RESTART_MS);
    for (int i = 0; code == SQLITE_BUSY && is_ours && i < SPY_SQLITE_BUSY_MS / RESTART_MS; i++) {
        is_ours = spy_sqlite_has_readers(s);
        code = sqlite3_wal_checkpoint_v2(s->writer, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
        is_ours = is_ours || spy_sqlite_has_readers(s);
    }
    sqlite3_busy_timeout(s->writer, SPY_SQLITE_BUSY_MS);
    __atomic_store_n(&s->hurry, false, __ATOMIC_RELAXED);
    s->wal_busy_until = code == SQLITE_BUSY && !is_ours ? spy_clock_mono_ns() + BUSY_AGAIN_NS : 0;
    s->wal_pages = 0;
}

bool spy_sqlite_is_disk_low(const struct spy_sqlite *s)
{
    struct statvfs fs;
    return fstatvfs(s->db_fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < room_of(s).wal;
}

void spy_sqlite_bound_wal(struct spy_sqlite *s)
{
    uint64_t pages = (uint64_t)s->wal_pages;
    if (pages < spy_min(WAL_PAGES, room_of(s).held / 2 / PAGE))
        return;
    sqlite3_wal_checkpoint_v2(s->writer, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (pages >= (spy_sqlite_is_disk_low(s) ? room_of(s).held : room_of(s).wal) / 2 / PAGE)
        spy_sqlite_restart_wal(s);
    spy_sqlite_hold_database(s, INT64_MAX, NULL); // the file was cut
}

// Replaces ftruncate(2) for SQLite. When SQLite opens a database it truncates the WAL's index
// (podspy.db-shm) to three bytes and extends it again, which fails on a full disk. Zeroes mean the
// same to SQLite and keep the blocks.
static int truncate_or_clear(int fd, off_t size)
{
    enum { SHM_CUT = 3, SHM_KEPT = 64 << 10 };
    static const char zeroes[PAGE];
    struct stat st;
    if (size != SHM_CUT || fstat(fd, &st) < 0 || st.st_size <= SHM_CUT)
        return ftruncate(fd, size);
    if (st.st_size > SHM_KEPT && ftruncate(fd, SHM_KEPT) < 0)
        return -1;
    for (off_t at = 0; at < st.st_size && at < SHM_KEPT; at += PAGE)
        if (pwrite(fd, zeroes, PAGE, at) != PAGE)
            return ftruncate(fd, size);
    return 0;
}

static void replace_ftruncate(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    if (vfs && vfs->iVersion >= 3 && vfs->xSetSystemCall)
        vfs->xSetSystemCall(vfs, "ftruncate", (sqlite3_syscall_ptr)truncate_or_clear);
}

void spy_sqlite_keep_index(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, replace_ftruncate);
}

// Writes the WAL back. The file keeps its blocks, for a start on a full disk, but loses its header, so
// that a restored copy of podspy.db is read as it is.
void spy_sqlite_close_writer(struct spy_sqlite *s)
{
    static const char nothing[32];
    _cleanup_free_ char *path = NULL;
    int keep = 1;
    if (!s->max_bytes || asprintf(&path, "%s-wal", s->path) < 0)
        path = NULL;
    bool kept =
        path &&
        sqlite3_wal_checkpoint_v2(s->writer, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL) ==
            SQLITE_OK &&
        spy_db_exec(s->writer, "PRAGMA journal_size_limit=-1", NULL) == 0 &&
        sqlite3_file_control(s->writer, "main", SQLITE_FCNTL_PERSIST_WAL, &keep) == SQLITE_OK;
    sqlite3_close(s->writer);
    s->writer = NULL;
    _cleanup_close_ int fd = kept ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && pwrite(fd, nothing, sizeof nothing, 0) == sizeof nothing)
        fsync(fd);
}
