#include "agent/python/salvage.h"
#include "agent/python/batch.h"
#include "agent/python/stack.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    LOOKS = 12,       // reads that must agree
    LOOKS_HEAP = 32,  // and where each frame is a span
    LOOKS_MAX = 4,    // times as many are read for one sample
    APART = 2048,     // turns of an empty loop between two of them at most: some microseconds
    LOOK_NS = 250000, // with more time for each nothing is salvaged: reads take too long
};

// What all looks so far have in common: of the first one's frames the outermost `same`, and the one
// that they called where `called` says so.
struct common {
    size_t seen, same, depth; // depth: of the deepest look
    size_t strange;           // looks with another outermost frame
    bool called;
};

static size_t wanted_looks(const struct spy_python *p)
{
    return p->runtime.layout.heap_frames ? LOOKS_HEAP : LOOKS;
}

static bool is_same_frame(const struct spy_py_rec *a, const struct spy_py_rec *b)
{
    return a->addr == b->addr && a->code == b->code && a->owner == b->owner && a->tlbc == b->tlbc;
}

// The i-th frame from the outermost of a list of n.
static struct spy_py_rec *outer_rec(struct spy_py_rec *recs, size_t n, size_t i)
{
    return &recs[n - 1 - i];
}

static int begin_common(struct spy_py_scratch *s, struct common *c)
{
    int r = spy_grow(&s->kept, &s->kept_cap, s->n, sizeof *s->kept, SPY_PY_CHAIN_MAX);
    if (r < 0)
        return r;
    memcpy(s->kept, s->recs, s->n * sizeof *s->kept);
    s->n_kept = s->n;
    *c = (struct common){.same = s->n, .depth = s->n, .strange = c->strange};
    return 0;
}

// Narrows what is common down to what this look, whose chain is s->recs, has as well.
static void narrow_common(const struct spy_py_layout *l, const struct spy_py_batch *b,
                          const struct spy_py_thread *th, struct spy_py_scratch *s,
                          struct common *c)
{
    size_t i = 0, same = 0;
    for (; i < c->same && i < s->n; i++) {
        struct spy_py_rec *first = outer_rec(s->kept, s->n_kept, i),
                          *now = outer_rec(s->recs, s->n, i);
        if (!is_same_frame(first, now))
            break;
        first->place = now->place; // a place may have got another number
        if (first->ip != now->ip || !spy_py_batch_stayed(l, b, th, s, now) ||
            !spy_py_batch_ran(l, b, th, s, now))
            break;
        same = i + 1;
    }
    bool has_next = same < s->n_kept && same < s->n;
    struct spy_py_rec *first = has_next ? outer_rec(s->kept, s->n_kept, same) : NULL,
                      *now = has_next ? outer_rec(s->recs, s->n, same) : NULL;
    bool called = has_next && is_same_frame(first, now) && spy_py_batch_ran(l, b, th, s, now);
    if (called)
        first->place = now->place;
    c->called = called && (same < c->same || c->called);
    c->same = same;
    c->depth = s->n > c->depth ? s->n : c->depth;
}

// Does this look end in the frame that the others ended in, or in that of the thread's last stack?
static bool has_outermost(const struct spy_py_thread *th, const struct spy_py_scratch *s,
                          const struct common *c)
{
    const struct spy_py_rec *outermost = c->seen      ? &s->kept[s->n_kept - 1]
                                         : th->n_last ? &th->last[th->n_last - 1]
                                                      : NULL;
    return !outermost || outermost->addr == s->recs[s->n - 1].addr;
}

// One more read. A stack that was cut at a frame which had ended has another outermost frame: it
// says nothing. Where many say so, the outermost frame is another now.
static int take_look(struct spy_python *p, struct spy_py_thread *th, struct spy_py_batch *b,
                     struct common *c, struct spy_py_facts *facts)
{
    struct spy_py_scratch *s = &p->scratch;
    p->sample++;
    int r = spy_py_walk_unjudged(p->target, &p->runtime.layout, th, s, b, facts);
    if (r == 0)
        r = spy_py_flatten(th, s);
    if (r < 0 || !s->n)
        return r < 0 ? r : SPY_ERR_TORN;
    if (!has_outermost(th, s, c) && ++c->strange <= wanted_looks(p))
        return SPY_ERR_TORN;
    if (c->strange > wanted_looks(p))
        *c = (struct common){0};
    if (!c->seen)
        r = begin_common(s, c);
    if (r < 0)
        return r;
    narrow_common(&p->runtime.layout, b, th, s, c);
    c->seen++;
    return 0;
}

static void wait_a_little(struct spy_rand *rand)
{
    for (volatile uint64_t left = spy_rand_next(rand) % APART; left; left--)
        ;
}

static int gather_looks(struct spy_python *p, struct spy_py_thread *th, struct common *c,
                        struct spy_py_facts *facts)
{
    struct spy_py_batch b;
    uint64_t began = spy_clock_mono_ns();
    size_t wanted = wanted_looks(p);
    int r = 0;
    for (size_t i = 0; i < LOOKS_MAX * wanted && c->seen < wanted; i++) {
        r = take_look(p, th, &b, c, facts);
        if (r < 0 && r != SPY_ERR_TORN)
            return r;
        if (spy_clock_mono_ns() - began > wanted * LOOK_NS)
            return SPY_ERR_TORN;
        wait_a_little(&p->rand);
    }
    return c->seen == wanted ? 0 : SPY_ERR_TORN;
}

// Makes the chain of what is common. Where nothing moved in all looks, the thread stands still, and
// most likely right where its newest frame begins or ends, since no read of it hung together.
static size_t take_common(struct spy_py_thread *th, struct spy_py_scratch *s,
                          const struct common *c)
{
    size_t n = c->same + c->called - (c->same && c->same == c->depth);
    memcpy(s->recs, s->kept + (s->n_kept - n), n * sizeof *s->recs);
    s->n = n;
    s->from = th->n_last;
    return n;
}

int spy_py_salvage(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts,
                   bool *ret_whole)
{
    enum { FRESH_MAX = 4 };
    int r = 0;
    for (int i = 0; i < FRESH_MAX && r == 0; i++) {
        struct common c = {0};
        r = gather_looks(p, th, &c, facts);
        if (r < 0 || !take_common(th, &p->scratch, &c))
            return r < 0 ? r : SPY_ERR_TORN;
        r = spy_py_stack_resolve(p, th, facts);
        if (r < 0)
            return r;
        *ret_whole = c.depth == p->scratch.n;
        if (!p->codes.fresh)
            return spy_py_stack_hangs_together(p, th) ? 0 : SPY_ERR_TORN;
    }
    return SPY_ERR_TORN;
}
