#include "agent/cli/pids.h"
#include "shared/base/mem.h"
#include <stdint.h>
#include <stdlib.h>

enum { LISTED_MAX = 1 << 22 }; // the kernel's PID_MAX_LIMIT

pid_t spy_pids_next(DIR *proc)
{
    for (struct dirent *e; (e = readdir(proc));) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (!*end && pid > 0 && pid <= INT32_MAX)
            return (pid_t)pid;
    }
    return 0;
}

static int compare_pids(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return (x > y) - (x < y);
}

int spy_pids_list(struct spy_pids *p, DIR *proc)
{
    p->n = 0;
    rewinddir(proc);
    for (pid_t pid; (pid = spy_pids_next(proc));) {
        int r = spy_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, LISTED_MAX);
        if (r < 0)
            return r;
        p->list[p->n++] = pid;
    }
    if (p->n)
        qsort(p->list, p->n, sizeof *p->list, compare_pids);
    return 0;
}

bool spy_pids_has(const struct spy_pids *p, pid_t pid)
{
    return p->n && bsearch(&pid, p->list, p->n, sizeof pid, compare_pids);
}

void spy_pids_done(struct spy_pids *p)
{
    free(p->list);
    *p = (struct spy_pids){0};
}
