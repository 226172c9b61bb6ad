#include "agent/target/threads.h"
#include "agent/target/still.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void spy_thread_probe_init(struct spy_thread_probe *p, const struct spy_target *t, pid_t tid)
{
    p->is_stat = false;
    spy_thread_files_init(&p->files, t, tid);
}

void spy_thread_probe_done(struct spy_thread_probe *p)
{
    spy_thread_files_done(&p->files);
}

// "PID (comm) S ...": comm may hold any character, so the last ')' counts. False: it has ended.
static bool parse_stat(const char *text, struct spy_thread_state *s)
{
    const char *end = strrchr(text, ')');
    char state = end && end[1] == ' ' ? end[2] : '?';
    s->running = state == 'R';
    return state != 'Z' && state != 'X';
}

// A main thread that has ended has no stack left (collect_syscall, lib/syscall.c).
static bool parse_syscall(const char *text, struct spy_thread_state *s)
{
    if (!strncmp(text, "running", 7)) {
        s->running = true;
        return true;
    }
    if (!strcmp(text, "-1 0x0 0x0\n"))
        return false;
    char *at;
    s->syscall = strtoll(text, &at, 10);
    for (int i = 0; i < 6 && s->syscall >= 0; i++)
        s->args[i] = strtoull(at, &at, 16);
    return true;
}

int spy_thread_probe_state(struct spy_thread_probe *p, struct spy_thread_state *ret)
{
    char text[512];
    struct spy_thread_state s = {.syscall = -1};
    ssize_t n = SPY_ERR_NOTFOUND;
    if (!p->is_stat) {
        n = spy_thread_files_read(&p->files, SPY_THREAD_SYSCALL, text, sizeof text);
        p->is_stat = n == SPY_ERR_NOTFOUND || n == SPY_ERR_DENIED;
    }
    if (p->is_stat)
        n = spy_thread_files_read(&p->files, SPY_THREAD_STAT, text, sizeof text);
    if (n < 0)
        return (int)n;
    if (!(p->is_stat ? parse_stat : parse_syscall)(text, &s))
        return SPY_ERR_GONE;
    *ret = s;
    return 0;
}

int spy_thread_probe_cpu(struct spy_thread_probe *p, int *ret)
{
    enum { AFTER_NAME = 37 };
    char text[1024];
    ssize_t n = spy_thread_files_read(&p->files, SPY_THREAD_STAT, text, sizeof text);
    if (n < 0)
        return (int)n;
    char *at = strrchr(text, ')');
    for (int i = 0; at && i < AFTER_NAME; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return SPY_ERR_NOTFOUND;
    *ret = (int)strtol(at + 1, NULL, 10);
    return 0;
}

int spy_thread_probe_sched(struct spy_thread_probe *p, struct spy_thread_sched *ret)
{
    char text[80], *at = text;
    ssize_t n = spy_thread_files_read(&p->files, SPY_THREAD_SCHEDSTAT, text, sizeof text);
    if (n < 0)
        return (int)n;
    struct spy_thread_sched s;
    s.on_cpu_ns = strtoull(at, &at, 10);
    s.waited_ns = strtoull(at, &at, 10);
    s.slices = strtoull(at, &at, 10);
    *ret = s;
    return 0;
}

// The last number of the NSpid line, which is its only number if the process is in our PID
// namespace. Without that line (no PID namespaces) it is tid itself.
static int read_ns_tid(int dirfd, const char *path, pid_t tid, pid_t *ret, bool *ret_only)
{
    enum { LARGE = 1 << 20 }; // the line before names up to 65536 groups
    char small[4096], *text = small;
    _cleanup_free_ char *large = NULL;
    ssize_t n = spy_file_read_small(dirfd, path, small, sizeof small);
    if (n == sizeof small - 1 && !strstr(small, "\nNSpid:\t")) {
        text = large = malloc(LARGE);
        n = large ? spy_file_read_small(dirfd, path, large, LARGE) : SPY_ERR_NOMEM;
    }
    if (n < 0)
        return (int)n;
    *ret = tid;
    *ret_only = true;
    const char *line = strstr(text, "\nNSpid:\t");
    if (line) {
        const char *first = line + strlen("\nNSpid:\t"), *end = strchrnul(first, '\n');
        while (end > first && end[-1] != '\t' && end[-1] != ' ')
            end--;
        *ret = (pid_t)strtol(end, NULL, 10);
        *ret_only = end == first;
    }
    return 0;
}

static int by_ns_tid(const void *a, const void *b)
{
    const struct spy_tid *x = a, *y = b;
    return (x->ns_tid > y->ns_tid) - (x->ns_tid < y->ns_tid);
}

static int by_tid(const void *a, const void *b)
{
    const struct spy_tid *x = a, *y = b;
    return (x->tid > y->tid) - (x->tid < y->tid);
}

const struct spy_tid *spy_threads_find(const struct spy_tid *list, size_t n, pid_t ns_tid)
{
    return n ? bsearch(&(struct spy_tid){.ns_tid = ns_tid}, list, n, sizeof *list, by_ns_tid)
             : NULL;
}

static int list_still(const struct spy_still *s, struct spy_tid **ret, size_t *ret_n)
{
    struct spy_tid *list = calloc(s->n_tids + 1, sizeof *list);
    if (!list)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < s->n_tids; i++)
        list[i] = (struct spy_tid){s->tids[i], s->tids[i]};
    qsort(list, s->n_tids, sizeof *list, by_ns_tid);
    free(*ret);
    *ret = list;
    *ret_n = s->n_tids;
    return 0;
}

// Lists all threads by their numbers in our namespace. Their own numbers are 0.
static int list_folder(DIR *dir, struct spy_tid **ret, size_t *ret_n)
{
    _cleanup_free_ struct spy_tid *list = NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *e; n < SPY_TIDS_MAX && (e = readdir(dir));) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        if (tid <= 0)
            continue; // "." and ".."
        int r = spy_grow(&list, &cap, n + 1, sizeof *list, SPY_TIDS_MAX);
        if (r < 0)
            return r;
        list[n++] = (struct spy_tid){.tid = tid};
    }
    if (!n)
        return SPY_ERR_GONE;
    *ret = spy_steal(&list);
    *ret_n = n;
    return 0;
}

// Gives each thread its own number, and drops threads that have ended. `known` is sorted by tid.
// Each number costs an open file, so in a process of our own namespace, where both are the same,
// only one is read.
static int number_threads(const struct spy_target *t, int task, const struct spy_tid *known,
                          size_t n_known, struct spy_tid *list, size_t *n)
{
    bool only;
    pid_t leader;
    size_t left = 0;
    int r = read_ns_tid(spy_target_proc_fd(t), "status", spy_target_pid(t), &leader, &only);
    for (size_t i = 0; r == 0 && i < *n; i++) {
        char path[32];
        bool ignored;
        const struct spy_tid *found =
            n_known ? bsearch(&list[i], known, n_known, sizeof *known, by_tid) : NULL;
        struct spy_tid entry = found ? *found : (struct spy_tid){list[i].tid, list[i].tid};
        snprintf(path, sizeof path, "%d/status", (int)entry.tid);
        if (!only && !found)
            r = read_ns_tid(task, path, entry.tid, &entry.ns_tid, &ignored);
        if (r == 0)
            list[left++] = entry;
        else if (r == SPY_ERR_GONE)
            r = 0;
    }
    *n = left;
    return r == 0 && !left ? SPY_ERR_GONE : r;
}

int spy_threads_update(const struct spy_target *t, struct spy_tid **list, size_t *n)
{
    if (spy_target_still(t))
        return list_still(spy_target_still(t), list, n);
    int fd = openat(spy_target_proc_fd(t), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return spy_code_of_errno(errno);
    _cleanup_closedir_ DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return SPY_ERR_NOMEM;
    }
    _cleanup_free_ struct spy_tid *now = NULL;
    size_t n_now = 0;
    int r = list_folder(dir, &now, &n_now);
    if (*n)
        qsort(*list, *n, sizeof **list, by_tid);
    if (r == 0)
        r = number_threads(t, fd, *list, *n, now, &n_now);
    struct spy_tid **result = r == 0 ? &now : list;
    size_t n_result = r == 0 ? n_now : *n;
    if (n_result)
        qsort(*result, n_result, sizeof **result, by_ns_tid);
    if (r < 0)
        return r;
    free(*list);
    *list = spy_steal(&now);
    *n = n_now;
    return 0;
}

int spy_threads_list(const struct spy_target *t, struct spy_tid **ret, size_t *ret_n)
{
    struct spy_tid *list = NULL;
    size_t n = 0;
    int r = spy_threads_update(t, &list, &n);
    if (r < 0)
        return r;
    *ret = list;
    *ret_n = n;
    return 0;
}

ssize_t spy_threads_read_file(int dir, const char *name, char *out, size_t size)
{
    enum { TRIED_MAX = 64 }; // threads that are about to end have none
    ssize_t n = spy_file_read_small(dir, name, out, size);
    int fd = n ? -1 : openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !tasks)
        close(fd);
    struct dirent *e;
    for (int i = 0; tasks && n == 0 && i < TRIED_MAX && (e = readdir(tasks)); i++) {
        char path[64];
        snprintf(path, sizeof path, "%.20s/%.32s", e->d_name, name);
        ssize_t got = e->d_name[0] == '.' ? 0 : spy_file_read_small(fd, path, out, size);
        n = got > 0 ? got : 0;
    }
    return n;
}
