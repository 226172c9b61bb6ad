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

static inline void fake_process(pid_t pid, pid_t ppid, uint64_t start, const char *args,
                                const char *cgroup)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "%d (python3) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %llu 0 0 0 1 2 3\n",
                     (int)pid, (int)ppid, (unsigned long long)start);
    fake_file(pid, "stat", text, (size_t)n);
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
    static const char *const names[] = {"stat", "status", "cmdline", "cgroup"};
    char path[160];
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%d/%s", fake, (int)pid, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/%d", fake, (int)pid);
    rmdir(path);
}

static inline int fake_close(void **state)
{
    (void)state;
    for (pid_t pid = 1; pid < 100; pid++)
        fake_end(pid);
    return rmdir(fake);
}
