// A made-up /proc in a folder of its own, for tests whose content matters.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char fake[64];

static inline void fake_file(pid_t pid, const char *name, const char *text, size_t len)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%d", fake, (int)pid);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%d/%s", fake, (int)pid, name);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, len, f) != len)
        abort();
    fclose(f);
}

// Of the first thread: that of the process itself is dear where there are many threads, and not
// read.
static inline void fake_stat(pid_t pid, const char *text, size_t len)
{
    char path[160], name[32];
    static const char *const folders[] = {"%s/%d", "%s/%d/task", "%s/%d/task/%d"};
    for (size_t i = 0; i < SPY_COUNT(folders); i++) {
        snprintf(path, sizeof path, folders[i], fake, (int)pid, (int)pid); // NOLINT
        mkdir(path, 0755);
    }
    snprintf(name, sizeof name, "task/%d/stat", (int)pid);
    fake_file(pid, name, text, len);
}

static inline void fake_process(pid_t pid, pid_t ppid, uint64_t start, const char *args,
                                const char *cgroup)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "%d (python3) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %llu 0 0 0 1 2 3\n",
                     (int)pid, (int)ppid, (unsigned long long)start);
    fake_stat(pid, text, (size_t)n);
    n = snprintf(text, sizeof text, "Tgid:\t%d\nUid:\t0\t0\t0\t0\nNSpid:\t%d\t7\n", (int)pid,
                 (int)pid);
    fake_file(pid, "status", text, (size_t)n);
    fake_file(pid, "cmdline", args, strlen(args));
    fake_file(pid, "cgroup", cgroup, strlen(cgroup));
}

static inline int fake_open(void **state)
{
    (void)state;
    snprintf(fake, sizeof fake, "/tmp/podspy-proc.XXXXXX");
    return mkdtemp(fake) ? 0 : -1;
}

static inline void fake_end(pid_t pid)
{
    static const char *const names[] = {"status", "cmdline", "cgroup"};
    char folder[96], path[160];
    snprintf(folder, sizeof folder, "%s/%d", fake, (int)pid);
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/task/%d/stat", folder, (int)pid);
    unlink(path);
    snprintf(path, sizeof path, "%s/task/%d", folder, (int)pid);
    rmdir(path);
    snprintf(path, sizeof path, "%s/task", folder);
    rmdir(path);
    rmdir(folder);
}

static inline int fake_close(void **state)
{
    (void)state;
    for (pid_t pid = 1; pid < 100; pid++)
        fake_end(pid);
    return rmdir(fake);
}
