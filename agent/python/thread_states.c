#include "agent/python/thread_states.h"
#include "agent/python/bind.h"
#include "agent/python/choose.h"
#include "agent/python/cycle.h"
#include "agent/python/thread_name.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { REFRESH_NS = 250000000 };

// --- listing ---

static int read_thread_state(const struct spy_python *p, uint64_t interp, uint64_t addr,
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

// New threads are put in front, so a list that changes while it is read lacks the newest at worst.
// A state whose memory was freed shows another interp, and ends the list.
static int list_interpreter(struct spy_python *p, uint64_t interp, size_t *n)
{
    uint64_t addr;
    struct spy_py_cycle c = {0};
    int r = spy_target_read_u64(p->target, interp + p->runtime.layout.interp_threads_head, &addr);
    while (r == 0 && addr && *n < SPY_PY_LISTED_MAX && !spy_py_cycle_closes(&c, addr)) {
        r = spy_grow(&p->found, &p->cap_found, *n + 1, sizeof *p->found, SPY_PY_LISTED_MAX);
        if (r == 0) {
            p->found[*n] = (struct spy_py_found){.tstate = addr};
            r = read_thread_state(p, interp, addr, &p->found[*n]);
        }
        if (r == 0)
            addr = p->found[(*n)++].next;
    }
    return r == SPY_ERR_TORN ? 0 : r;
}

static int list_all_interpreters(struct spy_python *p, size_t *n)
{
    uint64_t interp;
    int r = 0;
    if (p->runtime.interp)
        interp = p->runtime.interp;
    else
        r = spy_target_read_u64(p->target, p->runtime.addr + p->runtime.layout.runtime_interp_head,
                                &interp);
    struct spy_py_cycle c = {0};
    for (int i = 0;
         r == 0 && interp && i < SPY_PY_INTERPRETERS_MAX && !spy_py_cycle_closes(&c, interp); i++) {
        r = list_interpreter(p, interp, n);
        if (r == 0)
            r = spy_target_read_u64(p->target, interp + p->runtime.layout.interp_next, &interp);
    }
    return r;
}

// Interpreters list the newest thread first.
static void put_oldest_first(struct spy_py_found *found, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct spy_py_found f = found[i];
        found[i] = found[n - 1 - i];
        found[n - 1 - i] = f;
    }
}

// --- binding to the system's threads ---

static void open_thread(const struct spy_python *p, struct spy_py_thread *th)
{
    if (!th->id.tid || th->id.tid == th->id.probe.files.tid)
        return;
    th->id.is_main = th->id.tid == spy_target_pid(p->target);
    spy_py_thread_name_by_system(p, th);
    spy_thread_probe_done(&th->id.probe);
    spy_thread_probe_init(&th->id.probe, p->target, th->id.tid);
    struct spy_thread_state state;
    th->id.outlived =
        th->id.is_main && spy_thread_probe_state(&th->id.probe, &state) == SPY_ERR_GONE;
}

// --- what is kept of them ---

void spy_py_thread_free(struct spy_py_thread *th)
{
    if (!th)
        return;
    spy_thread_probe_done(&th->id.probe);
    spy_py_places_done(&th->learned.places);
    free(th->last.recs);
    free(th->last.frames);
    free(th);
}

int spy_py_thread_lost(struct spy_python *p, struct spy_py_thread *th)
{
    p->dirty = true;
    th->id.ended = true;
    return SPY_ERR_GONE;
}

static uint64_t hash_found(const struct spy_py_found *f)
{
    return spy_hash_mix(spy_hash_mix(f->tstate, f->ident), f->native);
}

static bool is_same_state(const struct spy_py_thread *th, const struct spy_py_found *f)
{
    return th && !th->id.ended && th->id.tstate == f->tstate && th->id.interp == f->interp &&
           th->id.ident == f->ident && th->id.native == f->native;
}

static void take_known(struct spy_py_thread **place, struct spy_py_found *f)
{
    f->known = *place;
    f->known->id.next = f->next;
    f->tid = f->known->id.tid;
    f->ns_tid = f->known->id.ns_tid;
    *place = NULL;
}

// Moves the known records out of p->threads. Mostly nothing has changed, and each is in its old
// place. Without memory, the rest are made again.
static void find_known(struct spy_python *p, size_t n)
{
    size_t same = 0;
    while (same < n && same < p->n_threads && is_same_state(p->threads[same], &p->found[same])) {
        take_known(&p->threads[same], &p->found[same]);
        same++;
    }
    spy_map_clear(&p->seen);
    for (size_t i = same; i < p->n_threads; i++) {
        const struct spy_py_thread *th = p->threads[i];
        struct spy_py_found key = {
            .tstate = th->id.tstate, .ident = th->id.ident, .native = th->id.native};
        if (spy_map_add(&p->seen, hash_found(&key), (uint32_t)i) < 0)
            return;
    }
    for (size_t i = same; i < n; i++) {
        struct spy_py_found *f = &p->found[i];
        uint32_t at = SPY_MAP_FIRST, k;
        while (!f->known && (k = spy_map_next(&p->seen, hash_found(f), &at)) != SPY_MAP_NONE)
            if (is_same_state(p->threads[k], f))
                take_known(&p->threads[k], f);
    }
}

// Finds what was seen of the threads that are not sampled.
static void find_left_out(struct spy_python *p, size_t n)
{
    spy_map_clear(&p->seen);
    for (size_t i = 0; i < p->n_left; i++)
        if (spy_map_add(&p->seen, hash_found(&p->left[i]), (uint32_t)i) < 0)
            return;
    for (size_t i = 0; i < n && p->n_left; i++) {
        struct spy_py_found *f = &p->found[i];
        uint32_t at = SPY_MAP_FIRST, k;
        while (!f->known && !f->ran &&
               (k = spy_map_next(&p->seen, hash_found(f), &at)) != SPY_MAP_NONE) {
            const struct spy_py_found *l = &p->left[k];
            if (l->tstate != f->tstate || l->interp != f->interp || l->ident != f->ident ||
                l->native != f->native)
                continue;
            f->ns_tid = l->ns_tid;
            f->tid = l->tid;
            f->slices = l->slices;
            f->cpu_ns = l->cpu_ns;
            f->ran = l->ran;
        }
    }
}

static bool has_new(const struct spy_python *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!p->found[i].known && !p->found[i].ran)
            return true;
    return n != p->n_threads + p->n_left;
}

static uint64_t find_gil(const struct spy_python *p, uint64_t interp)
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

static uint64_t find_collecting(const struct spy_python *p, uint64_t interp)
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
    th->id.tstate = f->tstate;
    th->id.interp = f->interp;
    th->id.ident = f->ident;
    th->id.native = f->native;
    th->id.ns_tid = f->ns_tid;
    th->id.gil = find_gil(p, f->interp);
    spy_py_facts_choose(&p->runtime.layout, f->interp, th->id.gil, find_collecting(p, f->interp),
                        &th->id.facts);
    return th;
}

static void keep_left_out(struct spy_python *p, size_t n)
{
    size_t most = n > SPY_PY_THREADS_MAX ? n - SPY_PY_THREADS_MAX : 0;
    int r = spy_grow(&p->left, &p->cap_left, most, sizeof *p->left, SPY_PY_LISTED_MAX);
    p->n_left = 0;
    for (size_t i = 0; most && i < n; i++) {
        struct spy_py_found *f = &p->found[i];
        if (!f->left_out)
            continue;
        if (f->known) {
            f->slices = f->known->last.slices;
            f->ran = f->known->last.ran;
            spy_py_thread_free(f->known);
            f->known = NULL;
        }
        if (r == 0)
            p->left[p->n_left++] = *f;
    }
}

// p->spare becomes the list, and what is left in the old list is freed.
static void swap_lists(struct spy_python *p, size_t n)
{
    for (size_t i = 0; i < p->n_threads; i++)
        spy_py_thread_free(p->threads[i]);
    struct spy_py_thread **now = p->spare;
    size_t cap = p->cap_spare;
    p->spare = p->threads;
    p->cap_spare = p->cap_threads;
    p->threads = now;
    p->cap_threads = cap;
    p->n_threads = n;
}

// Fills p->spare with the records of the threads that are sampled. Without memory, with the first
// of them.
static int fill_spare(struct spy_python *p, size_t n, size_t *ret_n)
{
    int r = 0;
    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        struct spy_py_found *f = &p->found[i];
        if (f->left_out)
            continue;
        struct spy_py_thread *th = f->known ? f->known : r == 0 ? new_thread(p, f) : NULL;
        if (!th) {
            r = SPY_ERR_NOMEM;
            continue;
        }
        th->id.tid = f->tid;
        th->id.ns_tid = f->ns_tid;
        p->spare[(*ret_n)++] = th;
    }
    return r;
}

static int replace_threads(struct spy_python *p, size_t n)
{
    size_t made, most = n < SPY_PY_THREADS_MAX ? n : SPY_PY_THREADS_MAX;
    int r = spy_grow(&p->spare, &p->cap_spare, most + 1, sizeof *p->spare, SPY_PY_THREADS_MAX + 1);
    if (r < 0)
        return r;
    p->resting = false;
    put_oldest_first(p->found, n);
    find_known(p, n);
    find_left_out(p, n);
    if (has_new(p, n) || (p->unbound && p->refreshed - p->bound >= REFRESH_NS))
        spy_py_bind(p, n);
    if (n > most)
        spy_py_choose(p, n);
    keep_left_out(p, n);
    r = fill_spare(p, n, &made);
    swap_lists(p, made);
    spy_py_bind_shared(p);
    for (size_t i = 0; i < made; i++)
        open_thread(p, p->threads[i]);
    spy_py_thread_find_names(p, p->refreshed);
    return r;
}

void spy_python_note_change(struct spy_python *p)
{
    p->dirty = true;
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
    int r = list_all_interpreters(p, &n);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_GONE : r; // the runtime itself is gone
    p->dirty = false;
    p->refreshed = p->listed = now;
    return replace_threads(p, n);
}
