#include "agent/python/python.h"
#include "agent/python/tids.h"
#include "agent/python/walk.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REFRESH_NS = 250000000 };

struct found {
    uint64_t tstate, interp, next, ident, native;
    pid_t ns_tid;
};

struct spy_python {
    struct spy_target *target;
    struct spy_py_runtime runtime;
    struct spy_codes codes;
    struct spy_py_thread **threads; // oldest first
    struct spy_py_thread **spare;   // room for the next such list
    struct found *found;            // as last read, the newest first
    size_t n_threads, cap_threads, cap_spare, cap_found;
    struct spy_py_scratch scratch;
    bool dirty;
    uint64_t refreshed;  // monotonic
    bool asked_cpu;      // in this round
    uint64_t cpu;        // CPU time of the process, asked before any thread's state; 0: not known
    uint64_t cpu_listed; // when the threads were listed last
    uint64_t sample;     // counts samples: a code object is checked once in each
    uint32_t tid_offset; // see tids.h
};

// Of an interpreter that no symbol names: has it a thread whose whole stack can be walked?
static bool has_stack(struct spy_python *p)
{
    enum { TRIES = 20, TRY_NS = 1000000 };
    struct spy_py_options o = {.pausing = SPY_PY_NEVER_PAUSE};
    struct spy_py_stack st;
    for (int k = 0; k < TRIES && spy_python_refresh(p) == 0; k++) {
        for (size_t i = 0; i < p->n_threads; i++)
            if (spy_python_sample(p, p->threads[i], &o, &st) == 0 && st.n)
                return true;
        spy_clock_sleep_until(spy_clock_mono_ns() + TRY_NS);
    }
    return false;
}

int spy_python_attach(struct spy_target *t, struct spy_python **ret, struct spy_err *err)
{
    struct spy_py_runtime rt;
    int r = spy_py_runtime_find(t, &rt, err);
    if (r < 0)
        return r;
    struct spy_python *p = calloc(1, sizeof *p);
    if (!p)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    p->target = t;
    p->runtime = rt;
    p->dirty = true;
    spy_codes_init(&p->codes, t, &p->runtime.layout);
    if (rt.scanned && !has_stack(p)) {
        spy_python_free(p);
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "there is no Python in process %d",
                           (int)spy_target_pid(t));
    }
    *ret = p;
    return 0;
}

static void thread_free(struct spy_py_thread *th)
{
    if (!th)
        return;
    spy_thread_probe_close(&th->probe);
    if (th->sched_fd >= 0)
        close(th->sched_fd);
    free(th->places);
    free(th->last);
    free(th->frames);
    free(th);
}

void spy_python_free(struct spy_python *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_threads; i++)
        thread_free(p->threads[i]);
    free(p->threads);
    free(p->spare);
    free(p->found);
    spy_codes_done(&p->codes);
    free(p->scratch.copy);
    free(p->scratch.recs);
    free(p->scratch.addrs);
    free(p->scratch.ids);
    free(p->scratch.frames);
    free(p);
}

const struct spy_py_runtime *spy_python_runtime(const struct spy_python *p)
{
    return &p->runtime;
}

struct spy_codes *spy_python_codes(struct spy_python *p)
{
    return &p->codes;
}

// --- the list of threads ---

static int read_thread(const struct spy_python *p, uint64_t interp, uint64_t addr, struct found *f)
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

static struct spy_py_thread *take_known(struct spy_python *p, const struct found *f)
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

static struct spy_py_thread *new_thread(const struct spy_python *p, const struct found *f)
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
    const struct found *list = p->found;
    int r = spy_grow(&p->spare, &p->cap_spare, n + 1, sizeof *p->spare, SPY_PY_THREADS_MAX + 1);
    if (r < 0)
        return r;
    bool fresh = n != p->n_threads;
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
        thread_free(p->threads[i]);
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

static uint64_t cpu_now(struct spy_python *p)
{
    if (!p->asked_cpu)
        p->cpu = spy_target_cpu_ns(p->target);
    p->asked_cpu = true;
    return p->cpu;
}

int spy_python_refresh(struct spy_python *p)
{
    enum { QUIET_TIMES = 8 };
    uint64_t now = spy_clock_mono_ns(), age = now - p->refreshed;
    p->asked_cpu = false;
    p->cpu = 0;
    if (!p->dirty && age < REFRESH_NS)
        return 0;
    uint64_t cpu = cpu_now(p);
    if (!p->dirty && cpu && cpu == p->cpu_listed && age < QUIET_TIMES * (uint64_t)REFRESH_NS)
        return 0;
    p->cpu_listed = cpu;
    size_t n = 0;
    int r = list_all(p, &n);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_GONE : r; // the runtime itself is not there any more
    p->dirty = false;
    p->refreshed = now;
    return replace_threads(p, n);
}

size_t spy_python_n_threads(const struct spy_python *p)
{
    return p->n_threads;
}

struct spy_py_thread *spy_python_thread(struct spy_python *p, size_t i)
{
    return p->threads[i];
}

pid_t spy_py_thread_tid(const struct spy_py_thread *th)
{
    return th->tid;
}

pid_t spy_py_thread_ns_tid(const struct spy_py_thread *th)
{
    return th->ns_tid;
}

uint64_t spy_py_thread_ident(const struct spy_py_thread *th)
{
    return th->ident;
}

bool spy_py_thread_is_main(const struct spy_py_thread *th)
{
    return th->is_main;
}

const char *spy_py_thread_name(const struct spy_py_thread *th)
{
    return th->name;
}

uint64_t *spy_py_thread_user(struct spy_py_thread *th)
{
    return th->user;
}

// --- one sample ---

// The number of times the thread was given a CPU: third number of schedstat
// (Documentation/scheduler/ sched-stats.rst). 0: not known.
static int read_slices(const struct spy_py_thread *th, uint64_t *ret)
{
    char text[80];
    *ret = 0;
    if (th->sched_fd < 0)
        return 0;
    ssize_t n = pread(th->sched_fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return SPY_ERR_GONE;
    text[n] = 0;
    char *at = strchr(text, ' ');
    at = at ? strchr(at + 1, ' ') : NULL;
    *ret = at ? strtoull(at + 1, NULL, 10) : 0;
    return 0;
}

static bool has_run(const struct spy_py_thread *th, uint64_t slices)
{
    uint64_t now;
    return slices && (read_slices(th, &now) < 0 || now != slices);
}

static int scratch_room(struct spy_py_scratch *s)
{
    int r = spy_grow(&s->addrs, &s->addrs_cap, s->n, sizeof *s->addrs, SPY_PY_DEPTH_MAX);
    if (r == 0)
        r = spy_grow(&s->ids, &s->ids_cap, s->n, sizeof *s->ids, SPY_PY_DEPTH_MAX);
    return r ? r : spy_grow(&s->frames, &s->frames_cap, s->n, sizeof *s->frames, SPY_PY_DEPTH_MAX);
}

// The generation is that of the copies of bytecode when the frame was read.
static int64_t unit_of(struct spy_python *p, const struct spy_py_rec *rec, uint32_t generation)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    if (rec->tlbc && rec->id >= 0) {
        uint64_t from = spy_codes_bytecode(&p->codes, rec->id, rec->tlbc, generation);
        return from ? (int64_t)(rec->ip - from) / 2 : INT64_MAX;
    }
    if (l->lasti_bytes)
        return (int64_t)rec->ip < 0 ? -1 : (int64_t)rec->ip * l->lasti_bytes / l->unit_bytes;
    return ((int64_t)(rec->ip - rec->code) - l->co_code) / 2;
}

// Is it the first frame of its chunk? The first chunk of a thread leaves its first slot free.
static bool begins_chunk(const struct spy_py_thread *th, const struct spy_py_rec *rec)
{
    uint64_t at = rec->addr - th->places[rec->place].addr;
    return at == SPY_CHUNK_HEADER || at == SPY_CHUNK_HEADER + 8;
}

// Do neighbouring frames of the data stack touch? `outer` is the next one outwards that lies on it.
static bool touches(const struct spy_python *p, const struct spy_py_thread *th,
                    const struct spy_py_rec *inner, const struct spy_py_rec *outer)
{
    if (inner->place == outer->place)
        return inner->addr == outer->addr + spy_codes_at(&p->codes, outer->id)->frame_bytes;
    return begins_chunk(th, inner);
}

// The frames that are shared with the last stack hung together then: among themselves they need no
// second look.
static bool hangs_together(struct spy_python *p, const struct spy_py_thread *th)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    const struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_rec *inner = NULL;
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        if (i >= s->n && !inner)
            return true;
        if (rec->owner >= l->owner_entry)
            continue;
        if (rec->id < 0)
            return false;
        int64_t unit = unit_of(p, rec, s->tlbc_generation);
        const struct spy_code *code = spy_codes_at(&p->codes, rec->id);
        if (unit < -1 || unit >= code->units)
            return false;
        // A generator that has not begun cannot have called anybody.
        if (i && rec->owner == l->owner_generator && unit < code->first_traceable)
            return false;
        if (!th->places[rec->place].is_chunk)
            continue;
        if (inner && !touches(p, th, inner, rec))
            return false;
        inner = rec;
        if (i >= s->n)
            return true;
    }
    return !inner || s->truncated || begins_chunk(th, inner);
}

// May the codes of the shared frames be taken as they were?
static bool codes_hold(const struct spy_python *p, const struct spy_py_thread *th,
                       struct spy_codes_when when)
{
    const struct spy_py_scratch *s = &p->scratch;
    if (s->tlbc_generation != th->tlbc_generation)
        return false;
    if (when.generation && when.generation == th->generation && !p->codes.miscounted &&
        !p->runtime.layout.interp_next_version)
        return true;
    for (size_t i = s->from; i < th->n_last; i++)
        if (th->last[i].id >= 0 && (i == s->from || th->last[i].id != th->last[i - 1].id) &&
            spy_codes_due(&p->codes, th->last[i].id, when))
            return false;
    return true;
}

static int resolve(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_facts *facts)
{
    struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_layout *l = &p->runtime.layout;
    struct spy_codes_when when = {p->sample, facts->code_generation, facts->next_version};
    int r = 0;
    spy_codes_make_room(&p->codes, spy_py_depth(th, s));
    bool known = th->codes_epoch == p->codes.epoch;
    if (!known || !codes_hold(p, th, when))
        r = spy_py_flatten(th, s);
    if (r == 0)
        r = scratch_room(s);
    if (r < 0)
        return r;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->recs[i].owner < l->owner_entry) {
            s->addrs[n] = s->recs[i].code;
            s->ids[n++] = known ? s->recs[i].id : SPY_CODE_NONE;
        }
    r = spy_codes_resolve(&p->codes, when, s->addrs, s->ids, n);
    for (size_t i = s->n; r == 0 && i-- > 0;) // spread out over the frames that have none
        s->recs[i].id = s->recs[i].owner < l->owner_entry ? s->ids[--n] : SPY_CODE_NONE;
    return r;
}

// Frames that have not begun their function yet, and the interpreter's own, are left out as
// tracebacks leave them out.
static bool is_shown(const struct spy_python *p, const struct spy_py_rec *rec, int64_t unit)
{
    return rec->id >= 0 && (rec->owner == p->runtime.layout.owner_generator ||
                            unit >= spy_codes_at(&p->codes, rec->id)->first_traceable);
}

// Puts the n newest of both lists in the place of the n_before newest of the last stack.
static int keep(struct spy_py_thread *th, const struct spy_py_scratch *s, size_t n, size_t n_before)
{
    size_t depth = spy_py_depth(th, s), n_frames = th->n_frames - n_before + n;
    int r = spy_grow(&th->last, &th->last_cap, depth, sizeof *th->last, SPY_PY_DEPTH_MAX);
    if (r == 0)
        r = spy_grow(&th->frames, &th->frames_cap, n_frames, sizeof *th->frames, SPY_PY_DEPTH_MAX);
    if (r < 0)
        return r;
    if (s->n != s->from && th->n_last != s->from)
        memmove(th->last + s->n, th->last + s->from, (th->n_last - s->from) * sizeof *th->last);
    if (s->n)
        memcpy(th->last, s->recs, s->n * sizeof *s->recs);
    th->n_last = depth;
    if (n != n_before && th->n_frames != n_before)
        memmove(th->frames + n, th->frames + n_before,
                (th->n_frames - n_before) * sizeof *th->frames);
    if (n)
        memcpy(th->frames, s->frames, n * sizeof *s->frames);
    th->n_frames = n_frames;
    return 0;
}

// Keeps the walked stack as the thread's and says how much of it is as it was.
static int take(struct spy_python *p, struct spy_py_thread *th, uint64_t generation,
                struct spy_py_stack *ret)
{
    struct spy_py_scratch *s = &p->scratch;
    bool known = th->has_stack && th->codes_epoch == p->codes.epoch;
    size_t n = 0, n_before = 0, same = 0, old_frames = th->n_frames;
    for (size_t i = 0; i < s->n; i++) {
        struct spy_py_rec *rec = &s->recs[i];
        int64_t unit = unit_of(p, rec, s->tlbc_generation);
        rec->shown = is_shown(p, rec, unit);
        if (rec->shown)
            s->frames[n++] = (struct spy_py_frame){
                rec->id, spy_code_line(spy_codes_at(&p->codes, rec->id), unit)};
    }
    for (size_t i = 0; i < s->from; i++)
        n_before += th->last[i].shown;
    while (known && same < n && same < n_before &&
           !memcmp(&s->frames[n - same - 1], &th->frames[n_before - same - 1], sizeof *s->frames))
        same++;
    known = known && th->stack.truncated == s->truncated;
    int r = keep(th, s, n, n_before);
    if (r < 0)
        return r;
    ret->n_same = known ? same + (th->n_frames - n) : 0;
    ret->unchanged = known && ret->n_same == th->n_frames && th->n_frames == old_frames;
    th->codes_epoch = p->codes.epoch;
    th->generation = generation;
    th->tlbc_generation = s->tlbc_generation;
    th->has_stack = true;
    return 0;
}

// Names are only right where the code objects were known before the stack was read: one that is met
// for the first time is read after it, and may be another's by then. A thread that is held keeps
// its own alive.
static int read_once(struct spy_python *p, struct spy_py_thread *th, bool checked,
                     struct spy_py_facts *facts)
{
    enum { FRESH_MAX = 4 };
    int r = 0;
    for (int i = 0; i < FRESH_MAX && r == 0 && (!i || (checked && p->codes.fresh)); i++) {
        p->sample++;
        r = spy_py_walk(p->target, &p->runtime.layout, th, &p->scratch, checked, facts);
        if (r == 0)
            r = resolve(p, th, facts);
    }
    if (r == 0 && checked && p->codes.fresh)
        r = SPY_ERR_TORN;
    if (r == 0 && !hangs_together(p, th))
        r = SPY_ERR_TORN;
    return r;
}

// Whoever runs a generator is the frame before it. One without stands there for the nanoseconds
// between its yield and the store of the current frame, which even a pause can hit; only in 3.11,
// where C code without any Python below it runs a generator, it may stay so.
static bool outermost_is_generator(const struct spy_python *p, const struct spy_py_thread *th)
{
    enum { CO_GENERATOR = 0x20 };
    const struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_layout *l = &p->runtime.layout;
    size_t n = spy_py_depth(th, s);
    if (!n || s->truncated)
        return false;
    const struct spy_py_rec *rec = spy_py_rec_at(th, s, n - 1);
    if (l->heap_frames && l->f_executing == SPY_PY_ABSENT && rec->id >= 0)
        return spy_code_flags(&p->codes, rec->id) & CO_GENERATOR;
    return rec->owner == l->owner_generator;
}

static int read_held(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_options *o,
                     struct spy_py_facts *facts)
{
    int signal = 0;
    int r = spy_pause_begin(o->pause, th->tid, &signal);
    if (r < 0)
        return r;
    r = read_once(p, th, false, facts);
    spy_pause_end(th->tid, signal);
    return r;
}

static int read_paused(struct spy_python *p, struct spy_py_thread *th,
                       const struct spy_py_options *o, struct spy_py_facts *facts)
{
    enum { MOVE_ON_NS = 50000 }; // held again at once it would still be at the same instruction
    int r = SPY_ERR_TORN;
    for (int i = 0; th->tid && i < SPY_PY_TRIES; i++) {
        if (i)
            spy_clock_sleep_until(spy_clock_mono_ns() + MOVE_ON_NS);
        r = read_held(p, th, o, facts);
        if (r != SPY_ERR_TORN && (r < 0 || !outermost_is_generator(p, th)))
            return r;
    }
    return r == 0 && p->runtime.layout.minor > 11 ? SPY_ERR_TORN : r;
}

static bool wants_pause(const struct spy_py_thread *th, const struct spy_py_options *o)
{
    if (o->pausing == SPY_PY_ALWAYS_PAUSE)
        return true;
    return o->pausing == SPY_PY_MAY_PAUSE && th->torn_rate > 65536 / SPY_PY_TORN_ONE_IN;
}

static int read_clean(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = read_once(p, th, true, facts);
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

static void note_torn(struct spy_py_thread *th, bool torn)
{
    th->torn_rate += ((torn ? 65536 : 0) - th->torn_rate) / 64;
}

static int read_stack(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                      const struct spy_py_options *o, struct spy_py_facts *facts,
                      enum spy_py_how *how)
{
    // Where reads fail often, those that succeed favour what lasts long, and some may be wrong:
    // they are not shown, and only made one time in 16 to learn when it works again.
    enum { STILL_TRY = 16 };
    int r = SPY_ERR_TORN;
    if (!spy_target_is_live(p->target)) { // a core: nothing changes, and nothing is paused
        *how = SPY_PY_CLEAN;
        return read_once(p, th, false, facts);
    }
    *how = SPY_PY_PAUSED;
    if (running && wants_pause(th, o)) {
        if (o->pausing == SPY_PY_MAY_PAUSE && p->sample % STILL_TRY == 0)
            note_torn(th, read_clean(p, th, facts) == SPY_ERR_TORN);
        r = read_paused(p, th, o, facts);
    }
    if (r == 0 || r == SPY_ERR_GONE)
        return r;
    *how = SPY_PY_CLEAN;
    for (int i = 0; i < SPY_PY_TRIES; i++) {
        r = read_clean(p, th, facts);
        if (i == 0 && note)
            note_torn(th, r == SPY_ERR_TORN);
        if (r != SPY_ERR_TORN)
            return r;
    }
    r = SPY_ERR_TORN;
    if (o->pausing == SPY_PY_NEVER_PAUSE)
        return r;
    *how = SPY_PY_PAUSED;
    int paused = read_paused(p, th, o, facts);
    return paused == SPY_ERR_DENIED || paused == SPY_ERR_AGAIN ? SPY_ERR_TORN : paused;
}

static bool waits_for_gil(const struct spy_py_layout *l, const struct spy_py_thread *th,
                          const struct spy_thread_state *state)
{
    enum { SYS_FUTEX_X86_64 = 202, SYS_FUTEX_AARCH64 = 98 };
#if defined(__x86_64__)
    bool futex = state->syscall == SYS_FUTEX_X86_64;
#else
    bool futex = state->syscall == SYS_FUTEX_AARCH64;
#endif
    if (state->running || !futex)
        return false;
    return th->gil && !l->runtime_is_head && state->args[0] - th->gil < SPY_GIL_SIZE;
}

// No thread of the system runs it: it is about to be started, or a subinterpreter at rest.
static bool is_unbound(const struct spy_py_thread *th)
{
    return !th->ident || (!th->tid && !th->ns_tid);
}

// Nothing of the process has run since it was seen waiting. Where a hypervisor takes the CPU away
// the clock can miss a moment, so the thread's own count is asked now and then.
static bool is_quiet(struct spy_python *p, struct spy_py_thread *th)
{
    enum { QUIET_MAX = 64 };
    uint64_t cpu = cpu_now(p);
    if (!cpu || th->cpu != cpu || th->n_quiet++ >= QUIET_MAX) {
        th->n_quiet = 0;
        return false;
    }
    return true;
}

// The thread has ended, or is not the one any more that it was: another may be in the same place
// with the same numbers, so that it must not be known again.
static int lost(struct spy_python *p, struct spy_py_thread *th)
{
    p->dirty = true;
    th->ended = true;
    return SPY_ERR_GONE;
}

// What its state says, and its slices when it has just begun to wait. The state must be the younger
// of the two, or what the thread does between them would pass for nothing.
static int read_state(struct spy_python *p, struct spy_py_thread *th, bool was_waiting,
                      uint64_t *slices, struct spy_thread_state *ret)
{
    *ret = (struct spy_thread_state){.running = true, .syscall = -1};
    if (th->probe.fd >= 0) {
        int r = spy_thread_probe_read(&th->probe, ret);
        if (r == SPY_ERR_GONE)
            return lost(p, th);
    }
    if (!ret->running && !was_waiting && read_slices(th, slices) == 0 && th->probe.fd >= 0)
        spy_thread_probe_read(&th->probe, ret);
    if (th->above && th->above->n_frames) // it waits for what it called in the other interpreter
        *ret = (struct spy_thread_state){.syscall = -1};
    return 0;
}

static int give(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_facts *facts,
                uint64_t slices, struct spy_py_stack *stack, struct spy_py_stack *ret)
{
    int r = take(p, th, facts->code_generation, stack);
    if (r < 0) {
        th->has_stack = false;
        return r;
    }
    spy_py_places_fit(th);
    bool newest = p->n_threads && th == p->threads[p->n_threads - 1];
    p->dirty = p->dirty || facts->next != th->next || (newest && facts->head != th->tstate);
    stack->frames = th->frames;
    stack->n = th->n_frames;
    stack->truncated = p->scratch.truncated;
    stack->holds_gil = facts->holds_gil;
    // Whoever collects holds the GIL; without one all others are stopped meanwhile.
    stack->collecting =
        facts->collecting && (p->runtime.layout.free_threaded ? stack->running : facts->holds_gil);
    th->slices = slices;
    th->cpu = p->cpu;
    th->stack = *stack;
    if (th->shares && !stack->n)
        return SPY_ERR_GONE; // the other state of this thread has the frames
    *ret = *stack;
    return 0;
}

// One that ran a moment ago most likely still does. Where its newest frame went on between the two
// reads of it, that is seen from them, and the system need not be asked. SPY_ERR_AGAIN: ask.
static int sample_runner(struct spy_python *p, struct spy_py_thread *th,
                         const struct spy_py_options *o, bool *ret_torn, struct spy_py_stack *ret)
{
    struct spy_py_facts facts;
    struct spy_thread_state state;
    if (!th->has_stack || !th->stack.running || th->above || wants_pause(th, o))
        return SPY_ERR_AGAIN;
    int r = read_clean(p, th, &facts);
    *ret_torn = r == SPY_ERR_TORN;
    if (r == SPY_ERR_TORN)
        note_torn(th, true);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_AGAIN : r == SPY_ERR_GONE ? lost(p, th) : r;
    if (!facts.moved && th->probe.fd >= 0) {
        r = spy_thread_probe_read(&th->probe, &state);
        if (r < 0 || !state.running)
            return SPY_ERR_AGAIN;
    }
    note_torn(th, false);
    struct spy_py_stack stack = {.running = true, .how = SPY_PY_CLEAN};
    return give(p, th, &facts, 0, &stack, ret);
}

int spy_python_sample(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_stack *ret)
{
    if (is_unbound(th)) {
        p->dirty = true;
        return SPY_ERR_GONE;
    }
    uint64_t slices = 0;
    bool was_waiting = th->has_stack && !th->stack.running;
    bool kept = was_waiting && th->codes_epoch == p->codes.epoch;
    if (!kept || !is_quiet(p, th)) {
        if (was_waiting && read_slices(th, &slices) < 0)
            return lost(p, th);
        kept = kept && slices && slices == th->slices;
    }
    // It has not been given a CPU since it was seen waiting: nothing can have changed.
    if (kept) {
        th->cpu = p->cpu;
        *ret = th->stack;
        ret->unchanged = true;
        ret->n_same = ret->n;
        return th->shares && !ret->n ? SPY_ERR_GONE : 0;
    }
    bool torn = false;
    int r = sample_runner(p, th, o, &torn, ret);
    if (r != SPY_ERR_AGAIN) {
        p->dirty = p->dirty || r == SPY_ERR_GONE;
        return r;
    }
    struct spy_thread_state state;
    r = read_state(p, th, was_waiting, &slices, &state);
    if (r < 0)
        return r;
    struct spy_py_facts facts;
    struct spy_py_stack stack = {.running = state.running,
                                 .waits_gil = waits_for_gil(&p->runtime.layout, th, &state)};
    r = read_stack(p, th, state.running, state.running && !torn, o, &facts, &stack.how);
    // It was given a CPU meanwhile: then it was a running one that was read.
    if (r == 0 && !state.running && !th->above && has_run(th, slices)) {
        stack.running = true;
        r = read_stack(p, th, true, true, o, &facts, &stack.how);
    }
    if (r < 0) {
        th->has_stack = false;
        return r == SPY_ERR_GONE ? lost(p, th) : r;
    }
    return give(p, th, &facts, slices, &stack, ret);
}

struct spy_location spy_python_location(struct spy_python *p, const struct spy_py_thread *th,
                                        size_t i, size_t *at)
{
    while (*at < th->n_last && !th->last[*at].shown)
        ++*at;
    if (i >= th->n_frames || *at == th->n_last)
        return (struct spy_location){0};
    const struct spy_py_rec *rec = &th->last[(*at)++];
    struct spy_location l =
        spy_code_location(spy_codes_at(&p->codes, rec->id), unit_of(p, rec, th->tlbc_generation));
    // A copy of bytecode may have to be looked up again, and may be another's by now.
    return l.line == th->frames[i].line ? l : (struct spy_location){0};
}
