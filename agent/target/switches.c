#include "agent/target/switches.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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

int spy_own_switches_open(void)
{
    return open("/proc/thread-self/sched", O_RDONLY | O_CLOEXEC);
}

int spy_own_switches_read(int fd, struct spy_thread_switches *ret)
{
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return n < 0 ? spy_code_of_errno(errno) : SPY_ERR_GONE;
    text[n] = 0;
    return spy_thread_switches_parse(text, ret) ? 0 : SPY_ERR_TORN;
}

// Both moments are then the same on that CPU's clock, except for ticks, which move our own.
bool spy_own_switches_took_cpu(int fd, uint64_t woke_ns, uint64_t updated_ns, uint64_t now)
{
    enum { SAME_INSTANT_NS = 50000 }; // for a context switch and the return from the sleep
    struct spy_thread_switches own;
    if (spy_own_switches_read(fd, &own) < 0)
        return false;
    uint64_t slack = now - woke_ns + SAME_INSTANT_NS;
    return updated_ns + slack > own.updated_ns && updated_ns < own.updated_ns + slack;
}
