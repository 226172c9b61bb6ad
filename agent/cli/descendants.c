#include "agent/cli/descendants.h"
#include "agent/cli/pids.h"
#include "agent/discover/proc.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { LISTED_MAX = 1 << 22 };

struct listing {
    struct listed {
        pid_t pid, parent;
        uint64_t start_time;
    } * list;
    size_t n, cap;
};

static int list_one_running(struct listing *l, int proc, pid_t pid)
{
    struct spy_proc_stat s;
    if (spy_proc_stat_peek(proc, pid, &s) < 0 || spy_proc_dead(&s))
        return 0;
    int r = spy_grow(&l->list, &l->cap, l->n + 1, sizeof *l->list, LISTED_MAX);
    if (r == 0)
        l->list[l->n++] = (struct listed){pid, s.ppid, s.start_time};
    return r;
}

static int compare_parents(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static int list_running(struct listing *l)
{
    _cleanup_closedir_ DIR *proc = opendir("/proc");
    if (!proc)
        return SPY_ERR_IO;
    int r = 0;
    for (pid_t pid; r == 0 && (pid = spy_pids_next(proc));)
        r = list_one_running(l, dirfd(proc), pid);
    if (l->n)
        qsort(l->list, l->n, sizeof *l->list, compare_parents);
    return r;
}

// The first listed child of a process, or where it would be.
static size_t find_children(const struct listing *l, pid_t parent)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->list[mid].parent < parent)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int add_descendant(struct spy_descendants *d, struct spy_descendant new)
{
    if (d->n == SPY_DESCENDANTS_MAX) {
        d->n_left_out++;
        return 0;
    }
    int r = spy_grow(&d->list, &d->cap, d->n + 1, sizeof *d->list, SPY_DESCENDANTS_MAX);
    if (r == 0)
        d->list[d->n++] = new;
    return r;
}

// Where to look for the next child of a process of the list.
struct level {
    size_t process, next;
};

// Each process is listed with one parent. If numbers were reused meanwhile, the process itself may
// be listed below its own descendants: it is not entered twice.
static int add_all_below(struct spy_descendants *d, const struct listing *l)
{
    _cleanup_free_ struct level *path = calloc(SPY_DESCENDANTS_MAX, sizeof *path);
    if (!path)
        return SPY_ERR_NOMEM;
    size_t depth = 1;
    path[0] = (struct level){0, find_children(l, d->list[0].pid)};
    int r = 0;
    while (r == 0 && depth) {
        struct level *at = &path[depth - 1];
        const struct listed *child = at->next < l->n ? &l->list[at->next++] : NULL;
        if (!child || child->parent != d->list[at->process].pid) {
            depth--;
            continue;
        }
        if (child->pid == d->list[0].pid)
            continue;
        size_t n = d->n;
        r = add_descendant(d, (struct spy_descendant){child->pid, child->start_time, at->process});
        if (d->n > n && depth < SPY_DESCENDANTS_MAX)
            path[depth++] = (struct level){n, find_children(l, child->pid)};
    }
    return r;
}

int spy_descendants_find(pid_t pid, struct spy_descendants *ret)
{
    struct listing l = {0};
    *ret = (struct spy_descendants){0};
    int r = list_running(&l);
    if (r == 0)
        r = add_descendant(ret, (struct spy_descendant){.pid = pid});
    if (r == 0)
        r = add_all_below(ret, &l);
    free(l.list);
    if (r < 0)
        spy_descendants_done(ret);
    return r;
}

void spy_descendants_done(struct spy_descendants *d)
{
    free(d->list);
    *d = (struct spy_descendants){0};
}
