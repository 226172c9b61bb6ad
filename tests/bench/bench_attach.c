// bench_attach PID N LIMIT: milliseconds to find the interpreter of a process, and its threads.
// Prints the version, the median and the worst of N times, and how many took longer than LIMIT:
// "3.11.2 0.14 0.31 0".
#include "agent/python/python.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int attach(pid_t pid, char *version, size_t size)
{
    struct spy_target *t;
    struct spy_python *p = NULL;
    struct spy_err err = {0};
    int r = spy_target_open(pid, &t, &err);
    if (r < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return r;
    }
    r = spy_python_attach(t, &p, &err);
    if (r == 0)
        r = spy_python_refresh(p);
    if (r < 0)
        fprintf(stderr, "%s\n", err.msg);
    else
        snprintf(version, size, "%s", spy_python_runtime(p)->version);
    spy_python_free(p);
    spy_target_free(t);
    return r;
}

int main(int argc, char **argv)
{
    enum { TIMES_MAX = 10000 };
    static uint64_t took[TIMES_MAX];
    char version[24];
    int over = 0;
    int n = argc == 4 ? (int)strtol(argv[2], NULL, 10) : 0;
    if (n < 1 || n > TIMES_MAX) {
        fprintf(stderr, "usage: bench_attach PID N LIMIT\n");
        return 2;
    }
    for (int i = 0; i < n; i++) {
        uint64_t before = spy_clock_mono_ns();
        if (attach((pid_t)strtol(argv[1], NULL, 10), version, sizeof version) < 0)
            return 1;
        took[i] = spy_clock_mono_ns() - before;
        over += (double)took[i] / 1e6 > strtod(argv[3], NULL);
    }
    qsort(took, (size_t)n, sizeof *took, compare);
    printf("%s %.2f %.2f %d\n", version, (double)took[n / 2] / 1e6, (double)took[n - 1] / 1e6,
           over);
    return 0;
}
