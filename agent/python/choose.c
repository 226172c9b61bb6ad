#include "agent/python/choose.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { ASKED = 2048 }; // at a refresh; each costs some microseconds

struct rank {
    uint64_t ran, cpu_ns;
    uint32_t index;
    bool known;
};

static void ask_thread(const struct spy_python *p, struct spy_py_found *f)
{
    struct spy_thread_probe probe;
    struct spy_thread_sched sched;
    spy_thread_probe_init(&probe, p->target, f->tid);
    if (f->tid && spy_thread_probe_sched(&probe, &sched) == 0) {
        if (!f->ran || f->slices != sched.slices || f->cpu_ns != sched.on_cpu_ns)
            f->ran = p->refreshed;
        f->slices = sched.slices;
        f->cpu_ns = sched.on_cpu_ns;
    }
    f->ran = f->ran ? f->ran : p->refreshed;
    spy_thread_probe_done(&probe);
}

static void ask_others(struct spy_python *p, size_t n)
{
    size_t in_turn = n < ASKED ? n : ASKED;
    for (size_t i = 0; i < n; i++) {
        struct spy_py_found *f = &p->found[i];
        size_t after = i >= p->asked ? i - p->asked : i + n - p->asked;
        if (!f->known && (!f->ran || after < in_turn))
            ask_thread(p, f);
    }
    p->asked = (p->asked + in_turn) % n;
}

static int by_rank(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->ran != y->ran)
        return x->ran < y->ran ? 1 : -1;
    if (x->known != y->known)
        return x->known ? -1 : 1;
    if (x->cpu_ns != y->cpu_ns)
        return x->cpu_ns < y->cpu_ns ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

void spy_py_choose(struct spy_python *p, size_t n)
{
    _cleanup_free_ struct rank *ranks = calloc(n, sizeof *ranks);
    p->asked = p->asked < n ? p->asked : 0;
    ask_others(p, n);
    for (size_t i = 0; ranks && i < n; i++) {
        const struct spy_py_found *f = &p->found[i];
        ranks[i] = (struct rank){.ran = f->known ? f->known->last.ran : f->ran,
                                 .cpu_ns = f->cpu_ns,
                                 .index = (uint32_t)i,
                                 .known = f->known};
    }
    if (ranks)
        qsort(ranks, n, sizeof *ranks, by_rank);
    for (size_t i = SPY_PY_THREADS_MAX; i < n; i++)
        p->found[ranks ? ranks[i].index : i].left_out = true;
}
