#include "agent/target/switches.h"
#include "shared/base/clock.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { TEXT_MAX = 4096 }; // with kernel.sched_schedstats both keys stand in the first 3 KiB

// The value of the line that begins with this key: "key   :   value".
static const char *find_value(const char *lines, const char *key)
{
    const char *line = strstr(lines, key);
    if (!line)
        return NULL;
    line += strlen(key);
    line += strspn(line, " ");
    return *line == ':' ? line + 1 : NULL;
}

// Milliseconds with six digits behind the point.
static bool parse_ms(const char *text, uint64_t *ret)
{
    enum { DIGITS = 6 };
    char *point, *end;
    uint64_t ms = strtoull(text, &point, 10);
    if (*point != '.' || ms > UINT64_MAX / 2000000)
        return false;
    uint64_t ns = strtoull(point + 1, &end, 10);
    if (end != point + 1 + DIGITS || ns > 999999)
        return false;
    *ret = ms * 1000000 + ns;
    return true;
}

bool spy_thread_switches_parse(const char *text, struct spy_thread_switches *ret)
{
    // The first line has the thread's name, at most 15 bytes, whatever they are: shorter than this.
    const char *lines = strstr(text, "\n--------------------");
    const char *updated = lines ? find_value(lines, "\nse.exec_start ") : NULL;
    const char *switches = updated ? find_value(updated, "\nnr_switches ") : NULL;
    uint64_t ns;
    if (!switches || !parse_ms(updated, &ns))
        return false;
    *ret = (struct spy_thread_switches){.n = strtoull(switches, NULL, 10), .updated_ns = ns};
    return true;
}

int spy_thread_probe_switches(struct spy_thread_probe *p, struct spy_thread_switches *ret)
{
    char text[TEXT_MAX];
    ssize_t n = spy_thread_files_read(&p->files, SPY_THREAD_SCHED, text, sizeof text);
    if (n < 0)
        return (int)n;
    return spy_thread_switches_parse(text, ret) ? 0 : SPY_ERR_TORN;
}

// --- the calling thread ---

void spy_own_switches_init(struct spy_own_switches *o)
{
    *o = (struct spy_own_switches){.fd = open("/proc/thread-self/sched", O_RDONLY | O_CLOEXEC)};
}

void spy_own_switches_done(struct spy_own_switches *o)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}

static uint64_t count_own_switches(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_THREAD, &used) < 0)
        return 0;
    return (uint64_t)used.ru_nvcsw + (uint64_t)used.ru_nivcsw;
}

void spy_own_switches_woke(struct spy_own_switches *o, uint64_t now_ns)
{
    o->woke_ns = now_ns;
    o->n_woke = count_own_switches();
    o->slack_ns = 0;
}

static bool read_own_switches(int fd, struct spy_thread_switches *ret)
{
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = 0;
    return spy_thread_switches_parse(text, ret);
}

// Ticks move our own time on: it is read as soon as it is asked for, and kept. If the sleep was
// followed by another stay off the CPU, nobody noted when that ended, and a tick since then is
// taken for it: the threads that were pushed aside count as waiting for a CPU then.
static bool note_coming(struct spy_own_switches *o)
{
    enum { SAME_INSTANT_NS = 50000 }; // for a context switch and the return from the sleep
    struct spy_thread_switches own;
    if (o->slack_ns && o->n_came == count_own_switches())
        return true;
    if (!read_own_switches(o->fd, &own))
        return false;
    uint64_t since = own.n == o->n_woke ? spy_clock_mono_ns() - o->woke_ns : 0;
    o->came_ns = own.updated_ns;
    o->slack_ns = since + SAME_INSTANT_NS;
    o->n_came = own.n;
    return true;
}

// Both moments are then the same on that CPU's clock.
bool spy_own_switches_took_cpu(struct spy_own_switches *o, uint64_t updated_ns)
{
    return note_coming(o) && updated_ns + o->slack_ns > o->came_ns &&
           updated_ns < o->came_ns + o->slack_ns;
}
