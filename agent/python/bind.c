#include "agent/python/bind.h"
#include "agent/python/tids.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdlib.h>

// A thread whose number is known is asked only if it has ended.
static void infer_tids(struct spy_python *p, size_t n)
{
    _cleanup_free_ uint64_t *idents = calloc(n + 1, sizeof *idents);
    _cleanup_free_ pid_t *ns_tids = calloc(n + 1, sizeof *ns_tids);
    if (!idents || !ns_tids)
        return;
    for (size_t i = 0; i < n; i++)
        if (!p->found[i].ns_tid || !spy_threads_find(p->tids, p->n_tids, p->found[i].ns_tid))
            idents[i] = p->found[i].ident;
    spy_py_tids(p->target, p->tids, p->n_tids, idents, ns_tids, n, &p->tid_offset);
    for (size_t i = 0; i < n; i++)
        if (idents[i])
            p->found[i].ns_tid = ns_tids[i];
}

static bool is_bound(const struct spy_py_found *found, size_t n, pid_t tid)
{
    for (size_t i = 0; i < n; i++)
        if (found[i].tid == tid)
            return true;
    return false;
}

// A forked child may still hold its parent's number. The one thread that is left over then belongs
// to the state that has no thread.
static void bind_odd(const struct spy_python *p, size_t n, struct spy_py_found *odd)
{
    for (size_t k = 0; k < p->n_tids; k++) {
        const struct spy_tid *t = &p->tids[k];
        if ((p->n_tids == 1 || t->tid == spy_target_pid(p->target)) &&
            !is_bound(p->found, n, t->tid)) {
            odd->tid = t->tid;
            odd->ns_tid = t->ns_tid;
            return;
        }
    }
}

// Python's native id is in the numbering of the target's own PID namespace.
void spy_py_bind(struct spy_python *p, size_t n)
{
    p->bound = spy_clock_mono_ns();
    p->unlisted = p->unbound = spy_threads_update(p->target, &p->tids, &p->n_tids) < 0;
    if (p->unlisted)
        return;
    if (p->runtime.layout.ts_native_id == SPY_PY_ABSENT)
        infer_tids(p, n);
    struct spy_py_found *odd = NULL;
    size_t n_odd = 0;
    for (size_t i = 0; i < n; i++) {
        struct spy_py_found *f = &p->found[i];
        const struct spy_tid *t = spy_threads_find(p->tids, p->n_tids, f->ns_tid);
        f->tid = t ? t->tid : 0;
        if (!t && f->ident) {
            odd = f;
            n_odd++;
        }
    }
    if (n_odd == 1)
        bind_odd(p, n, odd);
    p->unbound = n_odd > 1 || (odd && !odd->tid);
}

static uint32_t find_bound(const struct spy_python *p, pid_t tid)
{
    uint32_t at = SPY_MAP_FIRST, k;
    do
        k = spy_map_next(&p->seen, (uint64_t)tid, &at);
    while (k != SPY_MAP_NONE && p->threads[k]->id.tid != tid);
    return k;
}

void spy_py_bind_shared(struct spy_python *p)
{
    spy_map_clear(&p->seen);
    for (size_t i = 0; i < p->n_threads; i++) { // even if memory runs out before all are bound
        p->threads[i]->id.shares = false;
        p->threads[i]->id.above = NULL;
    }
    for (size_t i = p->n_threads; i-- > 0;) {
        struct spy_py_thread *th = p->threads[i];
        uint32_t k = th->id.tid ? find_bound(p, th->id.tid) : SPY_MAP_NONE;
        th->id.shares = k != SPY_MAP_NONE;
        th->id.above = th->id.shares ? p->threads[k] : NULL;
        if (th->id.shares)
            th->id.above->id.shares = true;
        else if (th->id.tid && spy_map_add(&p->seen, (uint64_t)th->id.tid, (uint32_t)i) < 0)
            return;
    }
}
