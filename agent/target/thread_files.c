#include "agent/target/thread_files.h"
#include "agent/target/still.h"
#include "shared/base/descriptors.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const char *const names[SPY_THREAD_FILES] = {[SPY_THREAD_SYSCALL] = "syscall",
                                                    [SPY_THREAD_STAT] = "stat",
                                                    [SPY_THREAD_SCHEDSTAT] = "schedstat",
                                                    [SPY_THREAD_SCHED] = "sched"};

static struct {
    size_t kept;
    int most; // descriptors from this number on are not kept; 0: not asked yet
    struct spy_thread_files *oldest, *youngest; // of the threads that wait and have open files
} budget;

size_t spy_thread_files_kept(void)
{
    return budget.kept;
}

// --- waiting threads ---

static bool is_thread_listed(const struct spy_thread_files *f)
{
    return f->older || f->younger || budget.oldest == f;
}

static void unlist_waiting(struct spy_thread_files *f)
{
    if (!is_thread_listed(f))
        return;
    *(f->older ? &f->older->younger : &budget.oldest) = f->younger;
    *(f->younger ? &f->younger->older : &budget.youngest) = f->older;
    f->older = f->younger = NULL;
}

static void enlist_waiting(struct spy_thread_files *f)
{
    if (is_thread_listed(f))
        return;
    f->older = budget.youngest;
    *(f->older ? &f->older->younger : &budget.oldest) = f;
    budget.youngest = f;
}

static bool has_open(const struct spy_thread_files *f)
{
    for (int i = 0; i < SPY_THREAD_FILES; i++)
        if (f->fd[i] >= 0)
            return true;
    return false;
}

void spy_thread_files_set_busy(struct spy_thread_files *f, bool busy)
{
    if (f->busy == busy)
        return;
    f->busy = busy;
    if (busy)
        unlist_waiting(f);
    else if (has_open(f))
        enlist_waiting(f);
}

void spy_thread_files_init(struct spy_thread_files *f, const struct spy_target *t, pid_t tid)
{
    *f = (struct spy_thread_files){.target = t, .tid = tid};
    for (int i = 0; i < SPY_THREAD_FILES; i++)
        f->fd[i] = -1;
}

void spy_thread_files_done(struct spy_thread_files *f)
{
    unlist_waiting(f);
    for (int i = 0; f->target && i < SPY_THREAD_FILES; i++)
        if (f->fd[i] >= 0) {
            close(f->fd[i]);
            f->fd[i] = -1;
            budget.kept--;
        }
}

// --- reading ---

static bool take_back(void)
{
    if (!budget.oldest)
        return false;
    spy_thread_files_done(budget.oldest);
    return true;
}

static int open_file(const struct spy_thread_files *f, const char *name)
{
    char path[48];
    snprintf(path, sizeof path, "task/%d%s%s", (int)f->tid, *name ? "/" : "", name);
    return openat(spy_target_proc_fd(f->target), path, (*name ? O_RDONLY : O_PATH) | O_CLOEXEC);
}

// The kernel does not list the file, or the whole thread is gone.
static int code_of_failure(struct spy_thread_files *f, enum spy_thread_file which, int sys)
{
    if (sys != ENOENT)
        return spy_code_of_errno(sys);
    int folder = open_file(f, "");
    if (folder < 0)
        return spy_code_of_errno(errno);
    close(folder);
    f->missing[which] = true;
    return SPY_ERR_NOTFOUND;
}

// True if one more file may stay open. A working thread takes the place of a waiting thread.
static bool has_room(const struct spy_thread_files *f)
{
    if (!budget.most)
        budget.most = spy_descriptors_limit() / 2;
    size_t most =
        (size_t)budget.most < SPY_THREAD_FILES_KEPT ? (size_t)budget.most : SPY_THREAD_FILES_KEPT;
    return budget.kept < most || (f->busy && take_back());
}

static ssize_t read_text(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    if (n <= 0)
        return n < 0 ? spy_code_of_errno(errno) : SPY_ERR_GONE;
    text[n] = 0;
    return n;
}

// Moves it to the lowest free number.
static int move_down(int fd)
{
    int low = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (low < 0)
        return fd;
    close(fd);
    return low;
}

ssize_t spy_thread_files_read(struct spy_thread_files *f, enum spy_thread_file which, char *text,
                              size_t size)
{
    if (f->fd[which] >= 0)
        return read_text(f->fd[which], text, size);
    if (!f->target || spy_target_still(f->target) || f->missing[which])
        return SPY_ERR_NOTFOUND;
    bool keep = has_room(f);
    int fd = open_file(f, names[which]);
    while (fd < 0 && (errno == EMFILE || errno == ENFILE) && take_back())
        fd = open_file(f, names[which]);
    if (fd < 0)
        return code_of_failure(f, which, errno);
    ssize_t n = read_text(fd, text, size);
    if (keep && f->busy && fd >= budget.most && take_back())
        fd = move_down(fd);
    if (n < 0 || !keep || fd >= budget.most) {
        close(fd);
        return n;
    }
    f->fd[which] = fd;
    budget.kept++;
    if (!f->busy)
        enlist_waiting(f);
    return n;
}
