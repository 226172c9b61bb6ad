// usage.c - what the collector itself takes: memory, CPU time, disk. Metrics.
#include "collector/cli/routes.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 4096 };

static int64_t read_resident_bytes(void)
{
    char text[128], *end;
    _cleanup_close_ int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = 0;
    strtoll(text, &end, 10); // the size
    return strtoll(end, NULL, 10) * sysconf(_SC_PAGESIZE);
}

// What the files in the data folder take on the disk: the store is all of it but some KiB.
static int64_t sum_data_bytes(const char *dir)
{
    _cleanup_closedir_ DIR *d = opendir(dir);
    int64_t sum = 0;
    struct stat st;
    struct dirent *e;
    for (int i = 0; d && i < FILES_MAX && (e = readdir(d)); i++)
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += (int64_t)st.st_blocks * 512;
    return sum;
}

static int64_t cpu_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * (int64_t)SPY_NS_PER_SEC + t.tv_nsec;
}

void spy_usage_print(const struct spy_collector *c, struct spy_buf *out)
{
    struct statvfs disk = {0};
    const char *dir = c->config.store.dir;
    statvfs(dir, &disk);
    int64_t started = (int64_t)(c->started_ns / SPY_NS_PER_SEC), cpu = cpu_ns(),
            resident = read_resident_bytes(), memory = (int64_t)c->memory.total,
            data = sum_data_bytes(dir),
            data_max = (int64_t)__atomic_load_n(&c->config.retention.max_gib, __ATOMIC_RELAXED)
                       << 30,
            free_bytes = (int64_t)(disk.f_bavail * disk.f_frsize),
            size = (int64_t)(disk.f_blocks * disk.f_frsize);
    const struct spy_metric rows[] = {
        {"podspy_collector_start_time_seconds", NULL, "When it started, as Unix time.", SPY_GAUGE,
         &started},
        {"podspy_collector_cpu_seconds_total", NULL, "CPU time that it took.", SPY_COUNTER_NS,
         &cpu},
        {"podspy_collector_resident_memory_bytes", NULL, "Memory that it holds.", SPY_GAUGE,
         &resident},
        {"podspy_collector_memory_limit_bytes", NULL, "Memory that it divides: limits.memory_mib.",
         SPY_GAUGE, &memory},
        {"podspy_collector_data_bytes", NULL, "Disk space that the data folder's files take.",
         SPY_GAUGE, &data},
        {"podspy_collector_data_max_bytes", NULL, "Bound of the store: retention.max_gib.",
         SPY_GAUGE, &data_max},
        {"podspy_collector_disk_free_bytes", NULL,
         "Free space of the file system with the data folder.", SPY_GAUGE, &free_bytes},
        {"podspy_collector_disk_size_bytes", NULL, "Size of that file system.", SPY_GAUGE, &size},
    };
    spy_metrics_print(rows, SPY_COUNT(rows), out);
}
