#include "collector/cli/memory.h"
#include "collector/http/http.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    BODIES_HELD = 16,
    SMALL_MIN = 8 * MIB,
    SMALL_MAX = 32 * MIB,
    LARGE_MIN = 160 * MIB
};

struct spy_memory spy_memory_divide(size_t total, size_t body_max)
{
    struct spy_memory m = {.total = total,
                           .bodies = spy_min(total / 8, BODIES_HELD * body_max),
                           .decoding = total / 4,
                           .answers = spy_min(total / 8, (size_t)512 * MIB),
                           .store = total / 8,
                           .question = spy_min(total / 64, SMALL_MAX)};
    m.bodies = m.bodies < 2 * body_max ? 2 * body_max : m.bodies;
    m.question = m.question < SMALL_MIN ? SMALL_MIN : m.question;
    size_t small = SPY_HTTP_QUESTIONS_AT_ONCE * m.question;
    size_t questions = total / 8 * 3, pool = questions > small ? questions - small : 0;
    m.large_at_once = pool < LARGE_MIN * SPY_HTTP_LARGE_AT_ONCE ? 1 : SPY_HTTP_LARGE_AT_ONCE;
    m.large = pool / m.large_at_once > m.question ? pool / m.large_at_once : m.question;
    return m;
}

// Reads a number of bytes; "max" and what cannot be read: no limit.
static size_t read_limit(const char *dir, const char *file)
{
    char path[PATH_MAX], text[64];
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path ||
        spy_file_read_small(AT_FDCWD, path, text, sizeof text) <= 0)
        return SIZE_MAX;
    return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : SIZE_MAX;
}

// The least limit of the group and those around it. A group that a container does not see is the
// mounted root for it.
static size_t limit_below(const char *mount, char *group, const char *file)
{
    size_t limit = read_limit(mount, file);
    char dir[PATH_MAX];
    for (char *end = group + strlen(group); end && end > group; end = strrchr(group, '/')) {
        *end = 0;
        if (snprintf(dir, sizeof dir, "%s%s", mount, group) < (int)sizeof dir)
            limit = spy_min(limit, read_limit(dir, file));
    }
    return limit;
}

// A line of /proc/self/cgroup: "0::/path", or "4:memory:/path" in version 1 (cgroups(7)).
static size_t limit_of_line(char *line, const char *root)
{
    char mount[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return SIZE_MAX;
    *group++ = 0;
    if (!controllers[1])
        return limit_below(root, group, "memory.max");
    if (strcmp(controllers + 1, "memory") != 0)
        return SIZE_MAX;
    snprintf(mount, sizeof mount, "%s/memory", root);
    return limit_below(mount, group, "memory.limit_in_bytes");
}

size_t spy_memory_limit_of(const char *groups, const char *root)
{
    size_t limit = SIZE_MAX;
    for (const char *at = groups; *at;) {
        char line[PATH_MAX];
        size_t n = strcspn(at, "\n");
        if (n < sizeof line) {
            memcpy(line, at, n);
            line[n] = 0;
            limit = spy_min(limit, limit_of_line(line, root));
        }
        at += n + (at[n] != 0);
    }
    return limit;
}

size_t spy_memory_default(void)
{
    char groups[8192] = "";
    if (spy_file_read_small(AT_FDCWD, "/proc/self/cgroup", groups, sizeof groups) < 0)
        *groups = 0;
    size_t machine = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    return spy_min(spy_memory_limit_of(groups, "/sys/fs/cgroup"), machine) / 4 * 3;
}

void spy_memory_configure(void)
{
    mallopt(M_ARENA_MAX, 4);              // each arena keeps free memory of its own
    mallopt(M_MMAP_THRESHOLD, 256 << 10); // large blocks go back to the system when they are freed
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
}
