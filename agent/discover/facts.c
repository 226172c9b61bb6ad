#include "agent/discover/facts.h"
#include "shared/base/file.h"
#include <unistd.h>

int spy_facts_open(struct spy_facts *f, int proc, pid_t pid)
{
    f->have = 0;
    f->dir = spy_proc_open(proc, pid);
    return f->dir < 0 ? f->dir : spy_proc_stat_read(f->dir, pid, &f->stat);
}

void spy_facts_close(struct spy_facts *f)
{
    if (f->dir >= 0)
        close(f->dir);
    f->dir = -1;
}

const struct spy_proc_status *spy_facts_status(struct spy_facts *f)
{
    if (!(f->have & SPY_HAVE_STATUS) && spy_proc_status_read(f->dir, &f->status) < 0)
        return NULL;
    f->have |= SPY_HAVE_STATUS;
    return &f->status;
}

const struct spy_proc_args *spy_facts_args(struct spy_facts *f)
{
    if (!(f->have & SPY_HAVE_ARGS) && spy_proc_args_read(f->dir, &f->args) < 0)
        return NULL;
    f->have |= SPY_HAVE_ARGS;
    return &f->args;
}

const struct spy_cgroup *spy_facts_container(struct spy_facts *f)
{
    if (f->have & SPY_HAVE_CGROUP)
        return &f->container;
    ssize_t n = spy_file_read_small(f->dir, "cgroup", f->cgroup, sizeof f->cgroup);
    if (n < 0)
        return NULL;
    f->cgroup_len = (size_t)n;
    spy_cgroup_parse(f->cgroup, f->cgroup_len, &f->container);
    f->have |= SPY_HAVE_CGROUP;
    return &f->container;
}
