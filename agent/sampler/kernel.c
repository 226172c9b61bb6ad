#include "agent/sampler/kernel.h"
#include "shared/base/clock.h"
#include "shared/base/err.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_FEW_NS  (100 * SPY_NS_PER_MS)
#define LOOK_MANY_NS SPY_NS_PER_SEC
#define THREADS_NS   (2 * SPY_NS_PER_SEC)
#define A_THREAD_NS                                                                                \
    (20 * SPY_NS_PER_MS) // between polls, for each thread: reading one takes microseconds
#define TICK_NS (10 * SPY_NS_PER_MS) // how far schedstat may be behind
enum { LOST_PART = 10, LATE_PART = 20 };

// The counts of one thread when it was last read.
struct seen {
    pid_t tid;
    uint64_t cpu, delay;
};

struct threads {
    struct seen *list; // by tid
    size_t n, cap;
};

struct spy_kernel {
    uint64_t began;      // 0: it does not count
    uint64_t cpu;        // when it began
    uint64_t polled_cpu; // at the last poll
    uint64_t polled;     // when that was
    uint64_t poll_at;    // when the next is due
    struct threads now, before;
    uint64_t read_at, read_cpu; // when the threads were read, and the process's CPU time then
    bool complete;              // all of them, each time since it began
    uint64_t live_cpu, delay;   // growth of all threads since it began
    struct spy_limits_reading limits;
};

struct spy_kernel *spy_kernel_new(void)
{
    return calloc(1, sizeof(struct spy_kernel));
}

void spy_kernel_free(struct spy_kernel *k)
{
    if (!k)
        return;
    free(k->now.list);
    free(k->before.list);
    free(k);
}

void spy_kernel_forget(struct spy_kernel *k)
{
    if (!k)
        return;
    k->began = 0;
    k->now.n = 0;
}

bool spy_kernel_has_begun(const struct spy_kernel *k)
{
    return k && k->began;
}

// --- threads ---

static bool take_number(const char **at, uint64_t *ret)
{
    uint64_t n = 0;
    if (!isdigit((unsigned char)**at))
        return false;
    for (; isdigit((unsigned char)**at); ++*at)
        if (__builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(**at - '0'), &n))
            return false;
    *ret = n;
    return true;
}

bool spy_kernel_schedstat(const char *text, uint64_t *ret_cpu, uint64_t *ret_delay)
{
    uint64_t cpu, delay;
    if (!take_number(&text, &cpu) || *text++ != ' ' || !take_number(&text, &delay) ||
        (*text && *text != ' ' && *text != '\n'))
        return false;
    *ret_cpu = cpu;
    *ret_delay = delay;
    return true;
}

static int compare_seen(const void *a, const void *b)
{
    pid_t x = ((const struct seen *)a)->tid, y = ((const struct seen *)b)->tid;
    return x < y ? -1 : x > y;
}

// One entry of getdents64(2).
struct entry {
    uint64_t inode, offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

static int read_task(int dirfd, const char *name, struct threads *list)
{
    char path[64], text[80];
    struct seen s = {.tid = (pid_t)strtol(name, NULL, 10)};
    snprintf(path, sizeof path, "%.32s/schedstat", name);
    if (s.tid <= 0 || spy_file_read_small(dirfd, path, text, sizeof text) < 0)
        return 0; // "." and "..", or it has just ended
    if (!spy_kernel_schedstat(text, &s.cpu, &s.delay))
        return SPY_ERR_TORN;
    int r =
        spy_grow(&list->list, &list->cap, list->n + 1, sizeof *list->list, SPY_KERNEL_THREADS_MAX);
    if (r == 0)
        list->list[list->n++] = s;
    return r;
}

// Lists all threads; *list is sorted. SPY_ERR_LIMIT: too many. opendir() would allocate.
static int read_all_tasks(const struct spy_target *t, struct threads *list)
{
    _Alignas(struct entry) char bytes[4096];
    _cleanup_close_ int fd =
        openat(spy_target_proc_fd(t), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t n = 0;
    int r = fd < 0 ? SPY_ERR_GONE : 0;
    list->n = 0;
    while (r == 0 && (n = syscall(SYS_getdents64, fd, bytes, sizeof bytes)) > 0)
        for (ssize_t at = 0; at < n && r == 0;) {
            const struct entry *e = (const void *)(bytes + at);
            r = read_task(fd, e->name, list);
            at += e->size;
        }
    if (r < 0 || n < 0 || !list->n)
        return r < 0 ? r : SPY_ERR_GONE;
    qsort(list->list, list->n, sizeof *list->list, compare_seen);
    return 0;
}

// No thread can grow by more than the time that has passed. A sum that shrank belongs to another
// thread with the same number.
static uint64_t bound_growth(uint64_t now, uint64_t before, uint64_t elapsed)
{
    uint64_t d = now >= before ? now - before : now;
    return d < elapsed ? d : elapsed;
}

// Adds what each thread did since it was last read, or all that a new one did. Both lists are
// sorted.
static void add_growth(struct spy_kernel *k, uint64_t elapsed)
{
    static const struct seen none;
    for (size_t i = 0, j = 0; i < k->now.n; i++) {
        const struct seen *s = &k->now.list[i];
        while (j < k->before.n && k->before.list[j].tid < s->tid)
            j++;
        bool known = j < k->before.n && k->before.list[j].tid == s->tid;
        const struct seen *b = known ? &k->before.list[j] : &none;
        k->live_cpu += bound_growth(s->cpu, b->cpu, elapsed + TICK_NS);
        k->delay += bound_growth(s->delay, b->delay, elapsed);
    }
}

static void poll_threads(struct spy_kernel *k, const struct spy_target *t, uint64_t now,
                         uint64_t cpu)
{
    struct threads last = k->before;
    k->before = k->now;
    k->now = last;
    if (read_all_tasks(t, &k->now) < 0) {
        k->now.n = 0;
        k->complete = false;
    } else if (k->complete) {
        add_growth(k, now - k->read_at);
    }
    k->read_at = now;
    k->read_cpu = cpu;
}

// --- from one moment to another ---

static uint64_t cpu_of(const struct spy_target *t)
{
    // The clock goes by the pid, which belongs to another process once the open /proc/PID is empty.
    bool there =
        t && spy_target_proc_fd(t) >= 0 && faccessat(spy_target_proc_fd(t), "stat", F_OK, 0) == 0;
    return there ? spy_target_cpu_ns(t) : 0;
}

static void plan_look(struct spy_kernel *k, uint64_t now, bool few)
{
    k->poll_at = now + (few ? LOOK_FEW_NS : LOOK_MANY_NS);
}

// Starts the sums again; what was last read of the threads stays.
static void begin_sums(struct spy_kernel *k, uint64_t now, uint64_t cpu)
{
    k->began = k->polled = now;
    k->cpu = k->polled_cpu = cpu;
    k->live_cpu = k->delay = 0;
    k->complete = k->now.n > 0;
    plan_look(k, now, true);
}

void spy_kernel_begin(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                      uint64_t now_ns)
{
    if (!k)
        return;
    uint64_t cpu = cpu_of(t);
    spy_kernel_forget(k);
    if (!cpu) // a running process has used some
        return;
    poll_threads(k, t, now_ns, cpu);
    begin_sums(k, now_ns, cpu);
    spy_limits_read(limits, spy_target_proc_fd(t), &k->limits);
}

void spy_kernel_poll(struct spy_kernel *k, const struct spy_target *t, uint64_t now_ns, bool few)
{
    if (!k || !k->began || now_ns < k->poll_at)
        return;
    plan_look(k, now_ns, few);
    uint64_t cpu = spy_target_cpu_ns(t);
    if (cpu < k->polled_cpu)
        return; // it is gone
    k->polled = now_ns;
    k->polled_cpu = cpu;
    uint64_t gap = k->now.n * A_THREAD_NS;
    if (k->complete && cpu != k->read_cpu &&
        now_ns - k->read_at > (gap > THREADS_NS ? gap : THREADS_NS))
        poll_threads(k, t, now_ns, cpu);
}

static void take_cpu(const struct spy_kernel *k, uint64_t cpu, uint64_t now, uint64_t of_ns,
                     struct spy_counted *ret)
{
    if (cpu < k->cpu) { // it is gone: the last poll will do if it was recent
        if (now - k->polled > (now - k->began) / LATE_PART)
            return;
        cpu = k->polled_cpu;
    }
    *ret = (struct spy_counted){cpu - k->cpu, of_ns};
}

// Threads that ended took their sums with them. The CPU time they used is known: the rest of the
// process's.
static bool most_still_live(const struct spy_kernel *k, uint64_t cpu)
{
    uint64_t all = cpu - k->cpu, behind = k->now.n * TICK_NS;
    uint64_t lost = all > k->live_cpu ? all - k->live_cpu : 0;
    return lost <= all / LOST_PART + behind;
}

void spy_kernel_take(struct spy_kernel *k, const struct spy_target *t, struct spy_limits *limits,
                     uint64_t now_ns, uint64_t of_ns, struct spy_account *ret)
{
    *ret = (struct spy_account){0};
    if (!k || !k->began)
        return;
    uint64_t cpu = cpu_of(t);
    take_cpu(k, cpu, now_ns, of_ns, &ret->counted[SPY_CPU]);
    if (cpu < k->cpu) {
        spy_kernel_forget(k);
        return;
    }
    // While no thread ran, no sum grew: a thread's waiting is added when it gets a CPU.
    if (cpu != k->read_cpu || !k->complete)
        poll_threads(k, t, now_ns, cpu);
    if (k->complete && most_still_live(k, cpu))
        ret->counted[SPY_RUNQUEUE] = (struct spy_counted){k->delay, of_ns};
    struct spy_limits_reading reading;
    struct spy_throttle grown_by;
    spy_limits_read(limits, spy_target_proc_fd(t), &reading);
    if (spy_limits_growth(&k->limits, &reading, &grown_by)) {
        ret->counted[SPY_THROTTLED] = (struct spy_counted){grown_by.ns, of_ns};
        ret->counted[SPY_PERIODS] = (struct spy_counted){grown_by.periods, of_ns};
    }
    k->limits = reading;
    begin_sums(k, now_ns, cpu);
}
