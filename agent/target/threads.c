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

int spy_thread_probe_open(const struct spy_target *t, pid_t tid, struct spy_thread_probe *ret)
{
    char path[48], text[8];
    if (spy_target_still(t))
        return SPY_ERR_NOTFOUND;
    snprintf(path, sizeof path, "task/%d/syscall", (int)tid);
    struct spy_thread_probe p = {.tid = tid};
    p.fd = openat(spy_target_proc_fd(t), path, O_RDONLY | O_CLOEXEC);
    if (p.fd >= 0 && pread(p.fd, text, sizeof text, 0) <= 0) {
        close(p.fd);
        p.fd = -1;
    }
    if (p.fd < 0) {
        snprintf(path, sizeof path, "task/%d/stat", (int)tid);
        p.is_stat = true;
        p.fd = openat(spy_target_proc_fd(t), path, O_RDONLY | O_CLOEXEC);
    }
    if (p.fd < 0)
        return spy_code_of_errno(errno);
    *ret = p;
    return 0;
}

void spy_thread_probe_close(struct spy_thread_probe *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

// "PID (comm) S ...": comm may hold anything, so the last ')' counts.
static void parse_stat(const char *text, struct spy_thread_state *s)
{
    const char *end = strrchr(text, ')');
    s->running = end && end[1] == ' ' && end[2] == 'R';
}

static void parse_syscall(const char *text, struct spy_thread_state *s)
{
    if (!strncmp(text, "running", 7)) {
        s->running = true;
        return;
    }
    char *at;
    s->syscall = strtoll(text, &at, 10);
    for (int i = 0; i < 6 && s->syscall >= 0; i++)
        s->args[i] = strtoull(at, &at, 16);
}

int spy_thread_probe_read(const struct spy_thread_probe *p, struct spy_thread_state *ret)
{
    char text[512];
    ssize_t n = pread(p->fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return n < 0 ? spy_code_of_errno(errno) : SPY_ERR_GONE;
    text[n] = 0;
    struct spy_thread_state s = {.syscall = -1};
    if (p->is_stat)
        parse_stat(text, &s);
    else
        parse_syscall(text, &s);
    *ret = s;
    return 0;
}

// The last number of the NSpid line; without that line (no PID namespaces) it is tid itself.
static int read_ns_tid(int dirfd, const char *name, pid_t tid, pid_t *ret)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "%.32s/status", name);
    ssize_t n = spy_file_read_small(dirfd, path, text, sizeof text);
    if (n < 0)
        return (int)n;
    *ret = tid;
    const char *line = strstr(text, "\nNSpid:");
    if (line) {
        const char *end = strchrnul(line + 1, '\n');
        while (end > line && end[-1] != '\t' && end[-1] != ' ')
            end--;
        *ret = (pid_t)strtol(end, NULL, 10);
    }
    return 0;
}

static int list_still(const struct spy_still *s, struct spy_tid **ret, size_t *ret_n)
{
    struct spy_tid *list = calloc(s->n_tids + 1, sizeof *list);
    if (!list)
        return SPY_ERR_NOMEM;
    if (s->n_tids)
        memcpy(list, s->tids, s->n_tids * sizeof *list);
    *ret = list;
    *ret_n = s->n_tids;
    return 0;
}

int spy_threads_list(const struct spy_target *t, struct spy_tid **ret, size_t *ret_n)
{
    if (spy_target_still(t))
        return list_still(spy_target_still(t), ret, ret_n);
    int fd = openat(spy_target_proc_fd(t), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return spy_code_of_errno(errno);
    _cleanup_closedir_ DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return SPY_ERR_NOMEM;
    }
    _cleanup_free_ struct spy_tid *list = NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        struct spy_tid entry = {.tid = tid};
        if (tid <= 0 || read_ns_tid(fd, e->d_name, tid, &entry.ns_tid) < 0)
            continue; // "." and "..", or it has just ended
        int r = spy_grow(&list, &cap, n + 1, sizeof *list, SPY_TIDS_MAX);
        if (r < 0)
            return r;
        list[n++] = entry;
    }
    if (!n)
        return SPY_ERR_GONE;
    *ret = spy_steal(&list);
    *ret_n = n;
    return 0;
}
