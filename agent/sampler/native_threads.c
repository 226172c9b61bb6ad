#include "agent/sampler/native_threads.h"
#include "agent/target/switches.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct spy_native_thread thread;
    struct spy_thread_probe probe;
    struct spy_thread_sched sched; // when last looked at
    bool is_settled, is_seen, was_looked_at;
    bool is_python; // in this round
};

struct spy_native_threads {
    const struct spy_target *target;
    struct entry *list[SPY_NATIVE_THREADS_MAX]; // by rising tid
    size_t n;
    struct spy_python *python; // of the latest refresh
    uint64_t noted;            // when
    bool has_changed;          // since its threads were looked at
    bool is_uncertain;         // any of them may be Python's
};

static void free_native_thread(struct entry *e)
{
    spy_thread_probe_done(&e->probe);
    free(e);
}

void spy_native_threads_free(struct spy_native_threads *l)
{
    for (size_t i = 0; l && i < l->n; i++)
        free_native_thread(l->list[i]);
    free(l);
}

// --- Python's threads ---

static int by_pid(const void *a, const void *b)
{
    const pid_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

// Sorted. An idle subinterpreter has a thread state that belongs to no thread: its ident is 0.
static pid_t *list_python_tids(struct spy_python *python, size_t *ret_n, bool *ret_uncertain)
{
    size_t n = python ? spy_python_n_threads(python) : 0;
    pid_t *tids = calloc(n + 1, sizeof *tids);
    *ret_n = n;
    *ret_uncertain = python && spy_python_n_left_out(python);
    for (size_t i = 0; tids && i < n; i++) {
        const struct spy_py_thread *th = spy_python_thread(python, i);
        tids[i] = spy_py_thread_tid(th);
        *ret_uncertain |= !tids[i] && spy_py_thread_ident(th);
    }
    if (tids)
        qsort(tids, n, sizeof *tids, by_pid);
    return tids;
}

static bool is_in_tids(pid_t tid, const pid_t *tids, size_t n)
{
    return n && bsearch(&tid, tids, n, sizeof *tids, by_pid);
}

// --- the list ---

static int by_tid_of_thread(const void *a, const void *b)
{
    const struct entry *const *x = a, *const *y = b;
    return by_pid(&(*x)->thread.tid, &(*y)->thread.tid);
}

static struct entry *find_native_thread(const struct spy_native_threads *l, size_t n, pid_t tid)
{
    const struct entry wanted = {.thread.tid = tid}, *key = &wanted;
    struct entry **found =
        n ? bsearch(&key, l->list, n, sizeof(struct entry *), by_tid_of_thread) : NULL;
    return found ? *found : NULL;
}

static void read_thread_comm(const struct spy_native_threads *l, struct spy_native_thread *th)
{
    char path[48];
    snprintf(path, sizeof path, "task/%d/comm", (int)th->tid);
    ssize_t n = spy_file_read_small(spy_target_proc_fd(l->target), path, th->name, sizeof th->name);
    th->name[n > 0 ? strcspn(th->name, "\n") : 0] = 0;
}

static void add_native_thread(struct spy_native_threads *l, pid_t tid)
{
    struct entry *e = l->n < SPY_NATIVE_THREADS_MAX ? calloc(1, sizeof *e) : NULL;
    if (!e)
        return;
    e->thread.tid = tid;
    e->is_seen = true;
    spy_thread_probe_init(&e->probe, l->target, tid);
    l->list[l->n++] = e;
}

// Drops what Python knows and what has ended.
static void drop_native_threads(struct spy_native_threads *l, const pid_t *tids, size_t n,
                                bool unseen)
{
    size_t left = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct entry *e = l->list[i];
        if ((unseen && !e->is_seen) || is_in_tids(e->thread.tid, tids, n)) {
            l->has_changed |= e->is_settled;
            free_native_thread(e);
        } else {
            l->list[left++] = e;
        }
    }
    l->n = left;
}

// Reads the system's list, without what Python knows already. What cannot be read stays as it was.
static void note_threads(struct spy_native_threads *l, struct spy_python *python)
{
    _cleanup_free_ struct spy_tid *system = NULL;
    size_t n_system = 0, n = 0;
    bool ignored;
    if (spy_threads_list(l->target, &system, &n_system) < 0)
        return;
    _cleanup_free_ pid_t *tids = list_python_tids(python, &n, &ignored);
    if (!tids)
        return;
    size_t n_known = l->n;
    for (size_t i = 0; i < n_known; i++)
        l->list[i]->is_seen = false;
    for (size_t i = 0; i < n_system; i++) {
        struct entry *e = find_native_thread(l, n_known, system[i].tid);
        if (e)
            e->is_seen = true;
        else if (!is_in_tids(system[i].tid, tids, n))
            add_native_thread(l, system[i].tid);
    }
    drop_native_threads(l, tids, n, true);
    qsort(l->list, l->n, sizeof(struct entry *), by_tid_of_thread);
}

struct spy_native_threads *spy_native_threads_new(const struct spy_target *t)
{
    struct spy_native_threads *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->target = t;
    note_threads(l, NULL);
    return l;
}

void spy_native_threads_settle(struct spy_native_threads *l, struct spy_python *python)
{
    size_t n = 0;
    _cleanup_free_ pid_t *tids = l->n ? list_python_tids(python, &n, &l->is_uncertain) : NULL;
    if (!tids)
        return;
    drop_native_threads(l, tids, n, false);
    for (size_t i = 0; i < l->n; i++) {
        struct entry *e = l->list[i];
        l->has_changed |= !e->is_settled;
        e->is_settled = true;
        read_thread_comm(l, &e->thread);
    }
}

// A thread of a library may run Python code now and then.
static void mark_python_threads(struct spy_native_threads *l, struct spy_python *python)
{
    size_t n = l->n ? spy_python_n_threads(python) : 0;
    for (size_t i = 0; i < l->n; i++)
        l->list[i]->is_python = false;
    for (size_t i = 0; i < n; i++) {
        pid_t tid = spy_py_thread_tid(spy_python_thread(python, i));
        struct entry *e = find_native_thread(l, l->n, tid);
        if (e)
            e->is_python = true;
    }
}

void spy_native_threads_refresh(struct spy_native_threads *l, struct spy_python *python,
                                uint64_t now)
{
    if (!l)
        return;
    if (!l->noted || now - l->noted >= SPY_NATIVE_THREADS_AGE_NS) {
        spy_native_threads_settle(l, python);
        note_threads(l, python);
        l->noted = now;
    }
    mark_python_threads(l, python);
    l->python = python;
}

size_t spy_native_threads_n(const struct spy_native_threads *l)
{
    return !l || l->is_uncertain ? 0 : l->n;
}

struct spy_native_thread *spy_native_threads_at(struct spy_native_threads *l, size_t i)
{
    return &l->list[i]->thread;
}

// --- one of them ---

// *ret_code is that of reading what the kernel counts, which goes to *ret_now.
static bool has_thread_run(struct entry *e, struct spy_thread_sched *ret_now, int *ret_code)
{
    *ret_code = spy_thread_probe_sched(&e->probe, ret_now);
    return *ret_code < 0 || !e->was_looked_at || e->thread.running || e->thread.runnable ||
           ret_now->slices != e->sched.slices || ret_now->on_cpu_ns != e->sched.on_cpu_ns;
}

bool spy_native_threads_are_quiet(struct spy_native_threads *l)
{
    struct spy_thread_sched now;
    int ignored;
    bool quiet = !l || !l->has_changed;
    if (l)
        l->has_changed = false;
    for (size_t i = 0; quiet && i < spy_native_threads_n(l); i++)
        quiet = !l->list[i]->is_settled || !has_thread_run(l->list[i], &now, &ignored);
    return quiet;
}

// Asked of a thread that is ready to run, see switches.h.
static bool waits_for_cpu(struct entry *e, struct spy_own_switches *self)
{
    struct spy_thread_switches taken;
    struct spy_thread_sched now;
    if (spy_thread_probe_sched(&e->probe, &now) < 0 ||
        spy_thread_probe_switches(&e->probe, &taken) < 0 || !now.slices || now.slices != taken.n)
        return false;
    return !self || !spy_own_switches_took_cpu(self, taken.updated_ns);
}

int spy_native_threads_look(struct spy_native_threads *l, size_t i, struct spy_own_switches *self)
{
    struct entry *e = l->list[i];
    struct spy_thread_state state;
    struct spy_thread_sched now = {0};
    int r;
    if (e->is_python || !e->is_settled)
        return SPY_ERR_GONE;
    if (has_thread_run(e, &now, &r))
        e->thread.has_stack = false;
    e->was_looked_at = r == 0;
    e->sched = now;
    r = spy_thread_probe_state(&e->probe, &state);
    bool is_ready = r == 0 && state.running;
    e->thread.runnable = is_ready && waits_for_cpu(e, self);
    e->thread.running = is_ready && !e->thread.runnable;
    spy_thread_files_set_busy(&e->probe.files, is_ready);
    return r;
}

int spy_native_threads_stack(struct spy_native_threads *l, size_t i, struct spy_mixed *mixed,
                             struct spy_pause *pause, const struct spy_mixed_frame **ret)
{
    pid_t tid = l->list[i]->thread.tid;
    int signal = 0, r = spy_pause_begin(pause, tid, &signal);
    if (r < 0)
        return r;
    spy_mixed_prepare(mixed, true, true);
    spy_mixed_capture(mixed, tid);
    spy_pause_end(pause, tid, signal);
    return spy_mixed_alone(mixed, ret);
}

static int intern_native_thread(const struct spy_intern *in, struct spy_native_thread *th)
{
    uint32_t name;
    if (th->epoch == in->epoch)
        return 0;
    int r = spy_profile_cstr(in->profile, th->name, &name);
    if (r == 0)
        r = spy_profile_thread(in->profile, (uint64_t)th->tid, name, &th->thread);
    if (r == 0)
        th->epoch = in->epoch;
    th->has_stack = false;
    return r;
}

int spy_native_threads_sample(struct spy_native_threads *l, size_t i, const struct spy_intern *in,
                              struct spy_mixed *mixed, struct spy_pause *pause,
                              struct spy_own_switches *self, bool all,
                              struct spy_native_sample *ret)
{
    static const struct spy_py_stack no_python;
    struct spy_native_thread *th = &l->list[i]->thread;
    const struct spy_mixed_frame *frames = NULL;
    *ret = (struct spy_native_sample){0};
    int r = spy_native_threads_look(l, i, self), n = 0;
    if (r < 0 || (!all && !th->running && !th->runnable))
        return r < 0 ? r : SPY_ERR_GONE;
    r = intern_native_thread(in, th);
    ret->is_wanted = all || th->running;
    if (ret->is_wanted && !th->has_stack) {
        spy_hung_mark_begin(in->mark, spy_target_pid(in->target));
        n = spy_native_threads_stack(l, i, mixed, pause, &frames);
        spy_hung_mark_end(in->mark);
    }
    ret->unmerged = n < 0 ? n : 0;
    if (n == SPY_ERR_TORN) // Python knows it by now
        spy_python_note_change(l->python);
    if (n == SPY_ERR_GONE || n == SPY_ERR_TORN)
        return n;
    if (r == 0 && !th->has_stack)
        r = spy_intern_mixed(in, mixed, &no_python, frames, n, &th->stack);
    th->has_stack = r == 0 && n >= 0 && ret->is_wanted && !th->running && !th->runnable;
    ret->stack = th->stack;
    ret->thread = th->thread;
    ret->state = (th->running ? SPY_STATE_RUNNING : 0u) | (th->runnable ? SPY_STATE_RUNNABLE : 0u);
    return r;
}
