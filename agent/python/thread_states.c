#include "agent/python/thread_states.h"
#include "agent/python/tids.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REFRESH_NS = 250000000 };

// --- listing ---

static int read_thread(const struct spy_python *p, uint64_t interp, uint64_t addr,
                       struct spy_py_found *f)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint8_t b[512];
    uint64_t native = 0;
    int r = spy_target_read(p->target, addr, b, l->ts_size);
    if (r < 0)
        return r;
    memcpy(&f->interp, b + l->ts_interp, 8);
    memcpy(&f->next, b + l->ts_next, 8);
    memcpy(&f->ident, b + l->ts_thread_id, 8);
    if (l->ts_native_id != SPY_PY_ABSENT)
        memcpy(&native, b + l->ts_native_id, 8);
    f->tstate = addr;
    f->native = native;
    f->ns_tid = native < INT32_MAX ? (pid_t)native : 0;
    return f->interp == interp ? 0 : SPY_ERR_TORN;
}

// New threads are put in front, so a list that changes while it is read is at worst short of the
// newest; one whose memory was freed shows another interp and ends the walk.
static int list_interpreter(struct spy_python *p, uint64_t interp, size_t *n)
{
    uint64_t addr;
    int r = spy_target_read_u64(p->target, interp + p->runtime.layout.interp_threads_head, &addr);
    while (r == 0 && addr && *n < SPY_PY_THREADS_MAX) {
        r = spy_grow(&p->found, &p->cap_found, *n + 1, sizeof *p->found, SPY_PY_THREADS_MAX);
        if (r == 0)
            r = read_thread(p, interp, addr, &p->found[*n]);
        if (r == 0)
            addr = p->found[(*n)++].next;
    }
    return r == SPY_ERR_TORN ? 0 : r;
}

static int list_all(struct spy_python *p, size_t *n)
{
    uint64_t interp;
    int r = 0;
    if (p->runtime.interp)
        interp = p->runtime.interp;
    else
        r = spy_target_read_u64(p->target, p->runtime.addr + p->runtime.layout.runtime_interp_head,
                                &interp);
    for (int i = 0; r == 0 && interp && i < SPY_PY_INTERPRETERS_MAX; i++) {
        r = list_interpreter(p, interp, n);
        if (r == 0)
            r = spy_target_read_u64(p->target, interp + p->runtime.layout.interp_next, &interp);
    }
    return r;
}

// --- binding to the system's threads ---

static bool has_thread(const struct spy_python *p, pid_t tid)
{
    for (size_t i = 0; i < p->n_threads; i++)
        if (p->threads[i]->tid == tid)
            return true;
    return false;
}

// Of the states of one thread, the one of the newest interpreter comes last and runs on top.
static void find_lower(struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads; i++) {
        struct spy_py_thread *th = p->threads[i];
        th->above = NULL;
        th->shares = false;
        for (size_t k = 0; k < p->n_threads; k++)
            if (k != i && th->tid && p->threads[k]->tid == th->tid) {
                th->shares = true;
                if (k > i)
                    th->above = p->threads[k];
            }
    }
}

static void infer_tids(struct spy_python *p, const struct spy_tid *tids, size_t n)
{
    _cleanup_free_ uint64_t *idents = calloc(p->n_threads + 1, sizeof *idents);
    _cleanup_free_ pid_t *ns_tids = calloc(p->n_threads + 1, sizeof *ns_tids);
    if (!idents || !ns_tids)
        return;
    for (size_t i = 0; i < p->n_threads; i++)
        idents[i] = p->threads[i]->ident;
    spy_py_tids(p->target, tids, n, idents, ns_tids, p->n_threads, &p->tid_offset);
    for (size_t i = 0; i < p->n_threads; i++)
        p->threads[i]->ns_tid = ns_tids[i];
}

// Python's native id is in the numbering of the target's own PID namespace. Two thread states can
// have one thread: a subinterpreter runs on top of the frames of whoever called it. A forked child
// may still hold its parent's number there; the one thread that is left over then belongs to the
// state that has none.
static void match_tids(struct spy_python *p)
{
    _cleanup_free_ struct spy_tid *tids = NULL;
    size_t n;
    if (spy_threads_list(p->target, &tids, &n) < 0)
        return;
    if (p->runtime.layout.ts_native_id == SPY_PY_ABSENT)
        infer_tids(p, tids, n);
    struct spy_py_thread *odd = NULL;
    size_t n_odd = 0;
    for (size_t i = 0; i < p->n_threads; i++) {
        struct spy_py_thread *th = p->threads[i];
        th->tid = 0;
        for (size_t k = 0; k < n && th->ns_tid && !th->tid; k++)
            if (tids[k].ns_tid == th->ns_tid)
                th->tid = tids[k].tid;
        if (!th->tid && th->ident) {
            odd = th;
            n_odd++;
        }
    }
    for (size_t k = 0; k < n && n_odd == 1 && !odd->tid; k++)
        if (!has_thread(p, tids[k].tid) && (n == 1 || tids[k].tid == spy_target_pid(p->target))) {
            odd->tid = tids[k].tid;
            odd->ns_tid = tids[k].ns_tid;
        }
    find_lower(p);
}

static void name_thread(const struct spy_python *p, struct spy_py_thread *th)
{
    char path[48];
    snprintf(path, sizeof path, "task/%d/comm", (int)th->tid);
    ssize_t n = th->is_main ? -1
                            : spy_file_read_small(spy_target_proc_fd(p->target), path, th->name,
                                                  sizeof th->name);
    if (n > 0)
        th->name[strcspn(th->name, "\n")] = 0;
    else
        snprintf(th->name, sizeof th->name, "%s", th->is_main ? "MainThread" : "");
}

static void open_thread(const struct spy_python *p, struct spy_py_thread *th)
{
    char path[48];
    if (!th->tid || th->probe.fd >= 0)
        return;
    th->is_main = th->tid == spy_target_pid(p->target);
    name_thread(p, th);
    if (spy_thread_probe_open(p->target, th->tid, &th->probe) < 0)
        th->probe.fd = -1;
    snprintf(path, sizeof path, "task/%d/schedstat", (int)th->tid);
    th->sched_fd = openat(spy_target_proc_fd(p->target), path, O_RDONLY | O_CLOEXEC);
}

// --- what is kept of them ---

void spy_py_thread_free(struct spy_py_thread *th)
{
    if (!th)
        return;
    spy_thread_probe_close(&th->probe);
    if (th->sched_fd >= 0)
        close(th->sched_fd);
    free(th->places.list);
    free(th->last);
    free(th->frames);
    free(th);
}

static struct spy_py_thread *take_known(struct spy_python *p, const struct spy_py_found *f)
{
    for (size_t i = 0; i < p->n_threads; i++) {
        struct spy_py_thread *th = p->threads[i];
        if (th && !th->ended && th->tstate == f->tstate && th->interp == f->interp &&
            th->ident == f->ident && th->native == f->native) {
            p->threads[i] = NULL;
            return th;
        }
    }
    return NULL;
}

static uint64_t gil_of(const struct spy_python *p, uint64_t interp)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint64_t gil;
    if (l->runtime_is_head)
        return p->runtime.current;
    if (l->runtime_gil != SPY_PY_ABSENT)
        return p->runtime.addr + l->runtime_gil;
    if (l->interp_gil == SPY_PY_ABSENT)
        return 0;
    return spy_target_read_u64(p->target, interp + l->interp_gil, &gil) == 0 ? gil : 0;
}

static uint64_t collecting_of(const struct spy_python *p, uint64_t interp)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    if (l->runtime_gc_collecting != SPY_PY_ABSENT)
        return p->runtime.addr + l->runtime_gc_collecting;
    return l->interp_gc_collecting == SPY_PY_ABSENT ? 0 : interp + l->interp_gc_collecting;
}

static struct spy_py_thread *new_thread(const struct spy_python *p, const struct spy_py_found *f)
{
    struct spy_py_thread *th = calloc(1, sizeof *th);
    if (!th)
        return NULL;
    th->tstate = f->tstate;
    th->interp = f->interp;
    th->ident = f->ident;
    th->native = f->native;
    th->ns_tid = f->ns_tid;
    th->gil = gil_of(p, f->interp);
    th->collecting = collecting_of(p, f->interp);
    th->probe.fd = th->sched_fd = -1;
    spy_py_facts_plan(&p->runtime.layout, th);
    return th;
}

static int replace_threads(struct spy_python *p, size_t n)
{
    const struct spy_py_found *list = p->found;
    int r = spy_grow(&p->spare, &p->cap_spare, n + 1, sizeof *p->spare, SPY_PY_THREADS_MAX + 1);
    if (r < 0)
        return r;
    bool fresh = n != p->n_threads;
    p->resting = false;
    for (size_t i = 0; i < n; i++) { // the interpreter lists the newest first
        struct spy_py_thread *th = take_known(p, &list[n - 1 - i]);
        fresh = fresh || !th;
        p->spare[i] = th ? th : new_thread(p, &list[n - 1 - i]);
        if (!p->spare[i]) { // no memory: what was made up to here is the list
            n = i;
            r = SPY_ERR_NOMEM;
            break;
        }
        p->spare[i]->next = list[n - 1 - i].next;
    }
    for (size_t i = 0; i < p->n_threads; i++)
        spy_py_thread_free(p->threads[i]);
    struct spy_py_thread **now = p->spare;
    size_t cap = p->cap_spare;
    p->spare = p->threads;
    p->cap_spare = p->cap_threads;
    p->threads = now;
    p->cap_threads = cap;
    p->n_threads = n;
    if (fresh)
        match_tids(p);
    for (size_t i = 0; i < n; i++)
        open_thread(p, p->threads[i]);
    return r;
}

int spy_python_refresh(struct spy_python *p)
{
    enum { QUIET_TIMES = 8 };
    uint64_t now = spy_clock_mono_ns(), age = now - p->refreshed;
    if (!p->dirty && age < REFRESH_NS)
        return 0;
    uint64_t cpu = spy_target_cpu_ns(p->target);
    if (!p->dirty && cpu && cpu == p->cpu_listed &&
        now - p->listed < QUIET_TIMES * (uint64_t)REFRESH_NS) {
        p->refreshed = now;
        return 0;
    }
    p->cpu_listed = cpu;
    size_t n = 0;
    int r = list_all(p, &n);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_GONE : r; // the runtime itself is not there any more
    p->dirty = false;
    p->refreshed = p->listed = now;
    return replace_threads(p, n);
}
