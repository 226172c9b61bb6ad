// For held_target.py: spins, and notes how long the thread stood still whenever it was stopped. A
// stop counts as a voluntary switch of context, and nothing else here does, so that other programs
// that take the CPU are told apart. What the thread waits for a CPU, before it can stop and after it
// was released, is not in its time.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STOPS_MAX = 1 << 16, GAP_NS = 2000 };

// What native.py reads.
struct shared {
    uint64_t n;
    uint64_t ns[STOPS_MAX];
};

static struct shared *shared;
static int schedstat;

// 0, or -1: the file cannot be mapped, or the system counts no waits.
int held_open(const char *path);
void held_spin(int us);

int held_open(const char *path)
{
    schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (schedstat < 0 || fd < 0 || ftruncate(fd, sizeof *shared) < 0)
        return -1;
    void *at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    shared = at == MAP_FAILED ? NULL : at;
    return shared ? 0 : -1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static long count_switches(void)
{
    struct rusage use;
    getrusage(RUSAGE_THREAD, &use);
    return use.ru_nvcsw;
}

// Nanoseconds that the thread waited for a CPU so far (schedstat, second number).
static uint64_t waited_ns(void)
{
    char text[80], *rest;
    ssize_t n = pread(schedstat, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    strtoull(text, &rest, 10);
    return strtoull(rest, NULL, 10);
}

static void note_stop(uint64_t gap, uint64_t waited)
{
    if (shared->n < STOPS_MAX)
        shared->ns[shared->n++] = gap > waited ? gap - waited : 0;
}

void held_spin(int us)
{
    uint64_t last = now_ns(), end = last + (uint64_t)us * 1000, waited = waited_ns();
    long switches = count_switches();
    for (last = now_ns(); last < end;) {
        uint64_t now = now_ns(), gap = now - last;
        last = now;
        if (gap < GAP_NS)
            continue;
        uint64_t waited_after = waited_ns();
        long after = count_switches();
        if (after != switches)
            note_stop(gap, waited_after - waited);
        switches = after;
        waited = waited_after;
        last = now_ns();
    }
}
