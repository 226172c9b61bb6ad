#include "agent/python/unwind.h"
#include "agent/python/cycle.h"
#include "agent/python/frame.h"
#include "agent/python/read.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    MISSES = 12,      // reads of one sample that may lack a frame
    SLOW = 4,         // reads of one sample that may take too long
    SLOW_NS = 40000,  // a read that takes longer, plus 1 ns a byte, was interrupted
    SLOWER_NS = 2000, // so was a read that takes that much longer than twice the usual,
    STRICT_NS = 1000, // or, in a strict sample (thread.h), than the usual
    BOTTOM_SURE = 3,  // how often in a row a new outermost frame must be met
};

static int push_recs(struct spy_py_scratch *s, const struct spy_py_rec *recs, size_t n)
{
    int r = spy_grow(&s->recs, &s->cap, s->n + n, sizeof *s->recs, SPY_PY_CHAIN_MAX);
    if (r < 0)
        return r;
    if (n)
        memcpy(s->recs + s->n, recs, n * sizeof *recs);
    s->n += n;
    return 0;
}

// Copies recs of the thread's last stack, which may have none.
static int push_last(struct spy_py_scratch *s, const struct spy_py_thread *th, size_t from,
                     size_t to)
{
    return from == to ? 0 : push_recs(s, th->last.recs + from, to - from);
}

int spy_py_unwind_flatten(const struct spy_py_thread *th, struct spy_py_scratch *s)
{
    size_t from = s->from;
    s->from = th->last.n_recs;
    return push_last(s, th, from, th->last.n_recs);
}

static bool is_same_rec(const struct spy_py_rec *a, const struct spy_py_rec *b)
{
    return a->addr == b->addr && a->code == b->code && a->ip == b->ip && a->place == b->place &&
           a->tlbc == b->tlbc && a->owner == b->owner;
}

// Finds the frame of the last stack that is at addr, most often the next.
static size_t find_last_rec(const struct spy_py_thread *th, size_t next, uint64_t addr)
{
    enum { WINDOW = 24 };
    for (size_t i = next; i < th->last.n_recs && i < next + WINDOW; i++)
        if (th->last.recs[i].addr == addr)
            return i;
    return SIZE_MAX;
}

// What an unwind shares with the thread's last stack.
struct shared {
    size_t from, next; // last.recs[from..next-1] were unwound latest, and are not in recs yet
    size_t n, entries; // frames unwound; how many of them are entries from C
};

// Adds one frame. A frame that is as in the last stack is not copied but counted.
static int add_rec(struct spy_py_thread *th, struct spy_py_scratch *s, struct shared *w,
                   struct spy_py_rec *rec)
{
    size_t i = find_last_rec(th, w->next, rec->addr);
    if (i != SIZE_MAX && (i == w->next || w->from == w->next) &&
        is_same_rec(rec, &th->last.recs[i])) {
        w->from = w->from == w->next ? i : w->from;
        w->next = i + 1;
        return 0;
    }
    int r = push_last(s, th, w->from, w->next);
    if (r < 0)
        return r;
    if (i != SIZE_MAX) {
        rec->id = rec->code == th->last.recs[i].code ? th->last.recs[i].id : SPY_CODE_NONE;
        w->next = i + 1;
    }
    w->from = w->next;
    return push_recs(s, rec, 1);
}

static struct spy_py_rec make_rec(const struct spy_py_layout *l, uint64_t addr, size_t place,
                                  const uint8_t *f)
{
    return (struct spy_py_rec){.addr = addr,
                               .code = spy_py_word(f, l->f_code) & ~(uint64_t)l->f_code_tag,
                               .ip = spy_py_frame_instruction(l, f),
                               .place = (uint32_t)place,
                               .id = SPY_CODE_NONE,
                               .tlbc = spy_py_frame_tlbc(l, f),
                               .owner = spy_py_frame_owner(l, f)};
}

// Completes rec if it is a compiled frame; f is its copy, at `at` in the place. NOTFOUND: its frame
// object is not in the copy. TORN: a frame that has ended, since no other has this owner.
static int note_compiled(const struct spy_py_layout *l, struct spy_py_place *p, const uint8_t *f,
                         uint32_t at, struct spy_py_rec *rec)
{
    uint64_t inset = p->is_chunk ? 0 : spy_py_frame_inset(l, rec->addr, f);
    if (inset > at)
        return SPY_ERR_NOTFOUND;
    if (spy_py_frame_is_compiled(l, rec->addr, f, inset)) {
        rec->owner = SPY_PY_OWNER_OBJECT;
        rec->ip = spy_py_frame_own_line(l, f, inset);
        spy_py_place_use(p, at - (uint32_t)inset, (uint32_t)inset + l->f_size);
        return spy_py_frame_has_stopped(l, f, inset) ? SPY_ERR_TORN : 0;
    }
    return rec->owner == SPY_PY_OWNER_OBJECT ? SPY_ERR_TORN : 0;
}

static void begin_unwind(struct spy_py_thread *th, struct spy_py_scratch *s)
{
    s->n = 0;
    s->from = th->last.n_recs;
    s->truncated = false;
    th->learned.n_top = 0;
    spy_py_places_begin(&th->learned.places);
}

static bool is_too_deep(const struct shared *w)
{
    return w->n - w->entries == SPY_PY_DEPTH_MAX || w->n == SPY_PY_CHAIN_MAX;
}

// Skips from cur over frames that are as in the last stack, which is most of a deep stack. Returns
// the first frame that differs or needs a full step of the unwind.
static uint64_t skip_same(const struct spy_py_layout *l, struct spy_py_thread *th,
                          const struct spy_py_scratch *s, struct shared *w, size_t place,
                          uint64_t cur)
{
    struct spy_py_place *p = &th->learned.places.list[place];
    uint64_t tag = l->f_code_tag;
    bool flag = l->f_executing != SPY_PY_ABSENT;
    for (; w->next < th->last.n_recs && !is_too_deep(w); w->next++, w->n++) {
        const struct spy_py_rec *r = &th->last.recs[w->next];
        uint64_t at = cur - p->addr;
        if (r->addr != cur || r->place != place || cur < p->addr || at + l->f_size > p->len)
            break;
        const uint8_t *f = s->copy + p->at + at;
        uint64_t previous = spy_py_word(f, l->f_previous);
        if ((spy_py_word(f, l->f_code) & ~tag) != r->code ||
            spy_py_frame_instruction(l, f) != r->ip || spy_py_frame_owner(l, f) != r->owner ||
            spy_py_frame_tlbc(l, f) != r->tlbc || previous == cur ||
            !spy_py_frame_may_lie_at(previous) || (flag && f[l->f_executing] != l->executing))
            break;
        spy_py_place_use(p, (uint32_t)at, l->f_size);
        w->entries += r->owner >= l->owner_entry;
        cur = previous;
    }
    return cur;
}

// Unwinds the copy from cur outwards to base. SPY_ERR_NOTFOUND: frame *ret_miss is not in the copy.
static int unwind_copy(const struct spy_py_layout *l, struct spy_py_thread *th,
                       struct spy_py_scratch *s, uint64_t cur, uint64_t base, uint64_t *ret_miss)
{
    size_t hint = 0, none = th->last.is_valid ? 0 : th->last.n_recs;
    struct shared w = {.from = none, .next = none};
    struct spy_py_cycle cycle = {0};
    begin_unwind(th, s);
    for (; cur && cur != base; w.n++) {
        if (w.n >= SPY_PY_TOP && w.next > w.from)
            cur = skip_same(l, th, s, &w, hint, cur);
        if (!cur || cur == base)
            break;
        if (spy_py_cycle_closes(&cycle,
                                cur)) // up to 3.10: ended frames, in a free list
            return SPY_ERR_TORN;
        if (is_too_deep(&w)) {
            s->truncated = true;
            break;
        }
        struct spy_py_place *p = spy_py_places_find(&th->learned.places, cur, l->f_size, &hint);
        if (!p && w.n && cur == th->learned.places.cut && s->n_copy > SPY_PY_COPY_MAX / 2) {
            s->truncated = true;
            break;
        }
        if (!p) {
            *ret_miss = cur;
            return SPY_ERR_NOTFOUND;
        }
        uint32_t at = (uint32_t)(cur - p->addr);
        const uint8_t *f = s->copy + p->at + at;
        // A frame that has called another runs; only the newest may be beginning or ending.
        if (w.n && l->f_executing != SPY_PY_ABSENT && f[l->f_executing] != l->executing)
            return SPY_ERR_TORN;
        spy_py_place_use(p, at, l->f_size);
        if (w.n < SPY_PY_TOP)
            th->learned.top[th->learned.n_top++] = cur;
        struct spy_py_rec rec = make_rec(l, cur, hint, f);
        w.entries += rec.owner >= l->owner_entry;
        int r = note_compiled(l, p, f, at, &rec);
        if (r == SPY_ERR_NOTFOUND)
            *ret_miss = cur;
        if (r == 0)
            r = add_rec(th, s, &w, &rec);
        if (r < 0)
            return r;
        uint64_t previous = spy_py_word(f, l->f_previous);
        // A compiled frame of up to 3.10 becomes the current one before it has its caller.
        bool unlinked = l->heap_frames && !w.n && !previous && !spy_py_frame_runs(l, f);
        if (previous == cur || !spy_py_frame_may_lie_at(previous) || unlinked)
            return SPY_ERR_TORN;
        cur = previous;
    }
    // The rest is shared with the last stack, to its end.
    if (w.next == th->last.n_recs && !s->truncated) {
        s->from = w.from;
        return 0;
    }
    return push_last(s, th, w.from, w.next);
}

// Finds where the unwind starts. NOTFOUND: the _PyCFrame has moved; learned.cframe is right now.
static int find_current_frame(const struct spy_py_layout *l, const struct spy_py_read *b,
                              struct spy_py_thread *th, uint64_t *ret)
{
    if (l->ts_cframe == SPY_PY_ABSENT) {
        *ret = spy_py_word(b->tstate, l->ts_frame);
        return 0;
    }
    uint64_t cframe = spy_py_word(b->tstate, l->ts_cframe);
    if (!cframe)
        return SPY_ERR_TORN;
    if (cframe != th->learned.cframe) {
        th->learned.cframe = cframe;
        return SPY_ERR_NOTFOUND;
    }
    *ret = spy_py_word(b->cframe, l->ts_frame);
    if (l->cframe_previous != SPY_PY_ABSENT)
        th->learned.cframe_previous = spy_py_word(b->cframe, l->cframe_previous);
    return 0;
}

// True if this read was interrupted, so that its parts are further apart than usual. A thread whose
// calls take microseconds may have returned to the same place by another way meanwhile. A stack
// that is read twice as a whole takes far longer than calls anyway, and is valid if all of it was
// the same before and after.
static bool took_too_long(struct spy_py_thread *th, const struct spy_py_read *b,
                          const struct spy_py_scratch *s)
{
    if (b->whole)
        return false;
    uint64_t took = b->took_ns, usual = th->learned.usual_ns ? th->learned.usual_ns : took;
    uint64_t counted = took < 2 * usual ? took : 2 * usual;
    bool same = s->n_copy == th->learned.usual_copy;
    th->learned.usual_ns = same ? usual - usual / 16 + counted / 16 : took;
    th->learned.usual_copy = s->n_copy;
    // What is usual for this number of bytes must be known.
    if (s->strict && (!same || took > usual + STRICT_NS))
        return true;
    return took > SLOW_NS + s->n_copy || took > 2 * usual + SLOWER_NS;
}

// A frame that has ended has no caller. Up to 3.3 nothing else shows that it has ended, nor does a
// compiled frame (frame.h) before it is marked. A stack that is cut there has another outermost
// frame than the thread had, but seldom the same twice.
static bool has_true_bottom(const struct spy_py_layout *l, struct spy_py_thread *th,
                            const struct spy_py_scratch *s, bool checked)
{
    size_t n = spy_py_depth(th, s);
    if (!n || s->truncated)
        return true;
    const struct spy_py_rec *outermost = spy_py_rec_at(th, s, n - 1);
    bool compiled =
        l->heap_frames ? (int32_t)outermost->ip < 0 : outermost->owner == SPY_PY_OWNER_OBJECT;
    if (!compiled && !(l->heap_frames && l->f_executing == SPY_PY_ABSENT))
        return true;
    uint64_t bottom = outermost->addr;
    if (bottom != th->learned.bottom)
        th->learned.bottom_seen = 0;
    th->learned.bottom = bottom;
    th->learned.bottom_seen =
        checked ? th->learned.bottom_seen + (th->learned.bottom_seen < BOTTOM_SURE) : BOTTOM_SURE;
    return th->learned.bottom_seen == BOTTOM_SURE;
}

// The thread state may have been freed. And the thread that starts a new one makes its state, up to
// 3.11 with its own numbers, until the new thread puts in its own.
static bool is_of_thread(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         const uint8_t *tstate)
{
    return spy_py_word(tstate, l->ts_interp) == th->id.interp &&
           spy_py_word(tstate, l->ts_thread_id) == th->id.ident &&
           (l->ts_native_id == SPY_PY_ABSENT ||
            spy_py_word(tstate, l->ts_native_id) == th->id.native);
}

// Unwinds what was read. If a frame is not in the copy, learns its place: NOTFOUND, read again.
static int unwind_or_learn(const struct spy_target *t, const struct spy_py_layout *l,
                           struct spy_py_thread *th, struct spy_py_scratch *s,
                           const struct spy_py_read *b, uint64_t cur)
{
    uint64_t base = l->ts_base == SPY_PY_ABSENT ? 0 : spy_py_word(b->tstate, l->ts_base), miss = 0;
    if (!spy_py_frame_may_lie_at(cur))
        return SPY_ERR_TORN;
    int r = unwind_copy(l, th, s, cur, base, &miss);
    if (r != SPY_ERR_NOTFOUND)
        return r;
    uint64_t chunk = l->heap_frames ? 0 : spy_py_word(b->tstate, l->ts_chunk);
    int learned = spy_py_places_learn(t, l, &th->learned.places, s->copy, chunk, base, miss);
    return learned < 0 ? learned : SPY_ERR_NOTFOUND;
}

// *ret_cur: where the unwind starts.
static int read_batch(const struct spy_target *t, const struct spy_py_layout *l,
                      struct spy_py_thread *th, struct spy_py_scratch *s, bool twice,
                      struct spy_py_read *b, uint64_t *ret_cur)
{
    int r = spy_py_read_frames(t, l, th, s, twice, b);
    if (r < 0)
        return r;
    return is_of_thread(l, th, b->tstate) ? find_current_frame(l, b, th, ret_cur) : SPY_ERR_GONE;
}

static int unwind_once(const struct spy_target *t, const struct spy_py_layout *l,
                       struct spy_py_thread *th, struct spy_py_scratch *s, bool checked,
                       struct spy_py_read *b, bool *ret_moved)
{
    uint64_t cur = 0;
    int r = read_batch(t, l, th, s, checked, b, &cur);
    if (r < 0)
        return r;
    if (checked && !s->off_cpu && took_too_long(th, b, s))
        return SPY_ERR_AGAIN;
    if (checked && !spy_py_read_same_current(l, b, cur))
        return SPY_ERR_TORN;
    r = unwind_or_learn(t, l, th, s, b, cur);
    if (r == 0 && checked)
        r = spy_py_read_compare(l, b, th, s, ret_moved);
    return r == 0 && !has_true_bottom(l, th, s, checked) ? SPY_ERR_TORN : r;
}

static void take_facts(const struct spy_py_layout *l, const struct spy_py_thread *th,
                       struct spy_py_scratch *s, const struct spy_py_read *b,
                       struct spy_py_facts *ret)
{
    *ret = spy_py_facts_decode(l, &th->id.facts, th->id.tstate, th->id.interp, b->facts);
    ret->next = spy_py_word(b->tstate, l->ts_next);
    s->tlbc_generation = ret->tlbc_generation;
}

int spy_py_unwind_unvalidated(const struct spy_target *t, const struct spy_py_layout *l,
                              struct spy_py_thread *th, struct spy_py_scratch *s,
                              struct spy_py_read *b, struct spy_py_facts *ret)
{
    uint64_t cur = 0;
    int r = SPY_ERR_NOTFOUND;
    for (int misses = MISSES; r == SPY_ERR_NOTFOUND && misses > 0; misses--) {
        r = read_batch(t, l, th, s, true, b, &cur);
        if (r == 0)
            r = unwind_or_learn(t, l, th, s, b, cur);
    }
    if (r < 0)
        return r == SPY_ERR_NOTFOUND ? SPY_ERR_TORN : r;
    take_facts(l, th, s, b, ret);
    return 0;
}

int spy_py_unwind(const struct spy_target *t, const struct spy_py_layout *l,
                  struct spy_py_thread *th, struct spy_py_scratch *s, bool checked,
                  struct spy_py_facts *ret)
{
    struct spy_py_read b;
    bool moved = false;
    int r = SPY_ERR_NOTFOUND, misses = MISSES, slow = SLOW;
    // A slow read says nothing about the target, but if all are slow, more reads are useless.
    while ((r == SPY_ERR_NOTFOUND && misses-- > 0) || (r == SPY_ERR_AGAIN && slow-- > 0))
        r = unwind_once(t, l, th, s, checked, &b, &moved);
    if (r < 0)
        return r == SPY_ERR_NOTFOUND || r == SPY_ERR_AGAIN ? SPY_ERR_TORN : r;
    take_facts(l, th, s, &b, ret);
    ret->moved = moved;
    return 0;
}
