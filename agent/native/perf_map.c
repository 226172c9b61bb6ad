#include "agent/native/perf_map.h"
#include "agent/target/files.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENCLOSING_TRIES = 16 };

// A hexadecimal number and the blank behind it. False: there is none.
static bool take_hex(char **at, uint64_t *ret)
{
    char *end;
    if (**at == ' ' || **at == '-' || **at == '+' || **at == '\n')
        return false;
    *ret = strtoull(*at, &end, 16);
    if (end == *at || *end != ' ')
        return false;
    *at = end + 1;
    return true;
}

static int add_entry(struct spy_perf_map *m, char *line)
{
    struct spy_perf_map_entry e = {.order = (uint32_t)m->n};
    uint64_t size;
    char *at = line;
    if (!take_hex(&at, &e.start) || !take_hex(&at, &size) || !*at || !size ||
        __builtin_add_overflow(e.start, size, &e.end))
        return 0;
    int r = spy_grow(&m->list, &m->cap, m->n + 1, sizeof *m->list, SPY_PERF_MAP_LINES_MAX);
    if (r < 0)
        return r;
    e.name = (uint32_t)(at - m->text);
    m->list[m->n++] = e;
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct spy_perf_map_entry *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

int spy_perf_map_parse(char *text, size_t len, struct spy_perf_map *ret)
{
    struct spy_perf_map m = {.text = text};
    char *end = text + len;
    int r = 0;
    for (char *line = text, *next; r == 0 && line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (!next)
            break; // the last line may not be written yet
        *next = 0;
        r = add_entry(&m, line);
    }
    if (r == SPY_ERR_NOMEM) {
        spy_perf_map_done(&m);
        return r;
    }
    if (m.n)
        qsort(m.list, m.n, sizeof *m.list, compare_entries);
    *ret = m;
    return 0;
}

void spy_perf_map_done(struct spy_perf_map *m)
{
    free(m->list);
    free(m->text);
    *m = (struct spy_perf_map){0};
}

const char *spy_perf_map_find(const struct spy_perf_map *m, uint64_t address)
{
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->list[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (size_t i = lo, n = 0; i-- > 0 && n < ENCLOSING_TRIES; n++)
        if (address < m->list[i].end)
            return m->text + m->list[i].name;
    return NULL;
}

// The number that the process has in its own PID namespace: the last of NSpid (proc(5)).
static int find_inner_pid(const struct spy_target *t)
{
    char name[32], status[4096];
    if (spy_file_read_small(spy_target_proc_fd(t), spy_target_file(t, "status", name, sizeof name),
                            status, sizeof status) < 0)
        return -1;
    char *at = strstr(status, "\nNStgid:");
    if (!at)
        return spy_target_pid(t);
    at[1 + strcspn(at + 1, "\n")] = 0;
    char *last = strrchr(at, '\t');
    return last ? (int)strtol(last, NULL, 10) : -1;
}

static char *read_map_text(int fd, size_t len, size_t *ret_len)
{
    char *text = malloc(len + 1);
    size_t done = 0;
    while (text && done < len) {
        ssize_t n = pread(fd, text + done, len - done, (off_t)done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (text)
        text[done] = 0;
    *ret_len = done;
    return text;
}

bool spy_perf_map_renew(struct spy_perf_map *m, const struct spy_target *t)
{
    uint64_t now = spy_clock_mono_ns();
    struct spy_perf_map fresh;
    struct stat st;
    char path[48];
    if (!spy_target_is_live(t) || (m->checked_ns && now - m->checked_ns < SPY_PERF_MAP_CHECK_NS))
        return false;
    m->checked_ns = now;
    snprintf(path, sizeof path, "/tmp/perf-%d.map", find_inner_pid(t));
    _cleanup_close_ int fd = spy_target_open_file(t, path);
    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size == m->size)
        return false;
    size_t len = 0;
    char *text = read_map_text(fd, spy_min((size_t)st.st_size, SPY_PERF_MAP_BYTES_MAX), &len);
    if (!text || spy_perf_map_parse(text, len, &fresh) < 0)
        return false;
    free(m->list);
    free(m->text);
    *m = fresh;
    m->size = (uint64_t)st.st_size;
    m->checked_ns = now;
    return true;
}
