#include "agent/target/maps.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS_BYTES_MAX = 16 << 20 };

static int add_path(struct spy_maps *m, const char *path, uint32_t *ret)
{
    size_t len = strlen(path) + 1;
    if (!m->paths_len) { // the empty path comes first
        int r = spy_grow(&m->paths, &m->paths_cap, 1, 1, PATHS_BYTES_MAX);
        if (r < 0)
            return r;
        m->paths[0] = 0;
        m->paths_len = 1;
    }
    if (len == 1) {
        *ret = 0;
        return 0;
    }
    // Mappings of one file follow each other and share the text.
    if (m->n && !strcmp(spy_maps_path(m, &m->list[m->n - 1]), path)) {
        *ret = m->list[m->n - 1].path;
        return 0;
    }
    int r = spy_grow(&m->paths, &m->paths_cap, m->paths_len + len, 1, PATHS_BYTES_MAX);
    if (r < 0)
        return r;
    memcpy(m->paths + m->paths_len, path, len);
    *ret = (uint32_t)m->paths_len;
    m->paths_len += len;
    return 0;
}

int spy_maps_add(struct spy_maps *m, const struct spy_mapping *mapping, const char *path)
{
    struct spy_mapping e = *mapping;
    int r = spy_grow(&m->list, &m->cap, m->n + 1, sizeof *m->list, SPY_MAPS_MAX);
    if (r == 0)
        r = add_path(m, path, &e.path);
    if (r == 0)
        m->list[m->n++] = e;
    return r;
}

// One line: "start-end perms offset dev inode   path". Skips lines that do not parse.
static int add_line(struct spy_maps *m, char *line)
{
    struct spy_mapping e = {0};
    char perms[5];
    int at = 0;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %" SCNu64 " %n", &e.start, &e.end,
               perms, &e.offset, &e.inode, &at) < 5)
        return 0;
    e.readable = perms[0] == 'r';
    e.writable = perms[1] == 'w';
    e.executable = perms[2] == 'x';
    return spy_maps_add(m, &e, at ? line + at : "");
}

int spy_maps_parse(char *text, struct spy_maps *ret)
{
    struct spy_maps m = {0};
    int r = 0;
    char *rest = text, *line;
    while (r == 0 && (line = strsep(&rest, "\n")))
        r = add_line(&m, line);
    if (r < 0) {
        spy_maps_free(&m);
        return r;
    }
    *ret = m;
    return 0;
}

void spy_maps_free(struct spy_maps *m)
{
    free(m->list);
    free(m->paths);
    *m = (struct spy_maps){0};
}

const char *spy_maps_path(const struct spy_maps *m, const struct spy_mapping *mapping)
{
    return m->paths + mapping->path;
}

const struct spy_mapping *spy_maps_find(const struct spy_maps *m, uint64_t addr)
{
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (addr < m->list[mid].start)
            hi = mid;
        else if (addr >= m->list[mid].end)
            lo = mid + 1;
        else
            return &m->list[mid];
    }
    return NULL;
}
