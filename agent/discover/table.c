#include "agent/discover/table.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The place where pid is or would be.
static size_t find_pid_place(const struct spy_table *t, pid_t pid)
{
    size_t lo = 0, hi = t->n;
    if (hi && t->all[hi - 1]->pid < pid)
        return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->all[mid]->pid < pid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct spy_entry *spy_table_find(const struct spy_table *t, pid_t pid)
{
    size_t i = find_pid_place(t, pid);
    return i < t->n && t->all[i]->pid == pid ? t->all[i] : NULL;
}

struct spy_entry *spy_table_add(struct spy_table *t, pid_t pid)
{
    size_t i = find_pid_place(t, pid);
    if (i < t->n && t->all[i]->pid == pid)
        return t->all[i];
    if (spy_grow(&t->all, &t->cap, t->n + 1, sizeof(struct spy_entry *), SPY_TABLE_MAX) < 0)
        return NULL;
    struct spy_entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->pid = pid;
    memmove(t->all + i + 1, t->all + i, (t->n - i) * sizeof(struct spy_entry *));
    t->all[i] = e;
    t->n++;
    return e;
}

void spy_table_sweep(struct spy_table *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->all[i]->gone)
            free(t->all[i]);
        else
            t->all[kept++] = t->all[i];
    }
    t->n = kept;
}

void spy_member_free(struct spy_member *m)
{
    if (m && m->stat >= 0)
        close(m->stat);
    free(m);
}

void spy_table_free(struct spy_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        spy_member_free(t->all[i]->in);
        free(t->all[i]);
    }
    free(t->all);
    *t = (struct spy_table){0};
}
