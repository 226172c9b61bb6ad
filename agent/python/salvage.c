#include "agent/python/salvage.h"
#include "agent/python/read.h"
#include "agent/python/stack.h"
#include "agent/python/unwind.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    READS = 12,       // reads that must agree
    READS_HEAP = 32,  // where each frame is a span
    READS_MAX = 4,    // times as many at most for one sample
    APART = 2048,     // most turns of an empty loop between two reads: some microseconds
    READ_NS = 250000, // if reads take longer on average, nothing is salvaged
};

// What all reads so far have in common: the outermost `same` frames of the first read, and, if
// `called`, the frame that these called.
struct common {
    size_t seen, same, depth; // depth: of the deepest stack
    size_t strange;           // reads with another outermost frame
    bool called;
};

static size_t count_wanted_reads(const struct spy_python *p)
{
    return p->runtime.layout.heap_frames ? READS_HEAP : READS;
}

static bool is_same_outer_frame(const struct spy_py_rec *a, const struct spy_py_rec *b)
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

// Narrows what is common to what this read, whose chain is s->recs, has as well.
static void narrow_common(const struct spy_py_layout *l, const struct spy_py_read *b,
                          const struct spy_py_thread *th, struct spy_py_scratch *s,
                          struct common *c)
{
    size_t i = 0, same = 0;
    for (; i < c->same && i < s->n; i++) {
        struct spy_py_rec *first = outer_rec(s->kept, s->n_kept, i),
                          *now = outer_rec(s->recs, s->n, i);
        if (!is_same_outer_frame(first, now))
            break;
        first->place = now->place; // a place may have another index now
        if (first->ip != now->ip || !spy_py_read_frame_stayed(l, b, th, s, now) ||
            !spy_py_read_frame_ran(l, b, th, s, now))
            break;
        same = i + 1;
    }
    bool has_next = same < s->n_kept && same < s->n;
    struct spy_py_rec *first = has_next ? outer_rec(s->kept, s->n_kept, same) : NULL,
                      *now = has_next ? outer_rec(s->recs, s->n, same) : NULL;
    bool called =
        has_next && is_same_outer_frame(first, now) && spy_py_read_frame_ran(l, b, th, s, now);
    if (called)
        first->place = now->place;
    c->called = called && (same < c->same || c->called);
    c->same = same;
    c->depth = s->n > c->depth ? s->n : c->depth;
}

// True if this chain ends in the frame that the others ended in, or that the last stack ended in.
static bool has_outermost(const struct spy_py_thread *th, const struct spy_py_scratch *s,
                          const struct common *c)
{
    const struct spy_py_rec *outermost = c->seen           ? &s->kept[s->n_kept - 1]
                                         : th->last.n_recs ? &th->last.recs[th->last.n_recs - 1]
                                                           : NULL;
    return !outermost || outermost->addr == s->recs[s->n - 1].addr;
}

// Adds one more read. A chain that was cut at a frame which had ended has another outermost frame
// and is ignored. If many do, the thread has another outermost frame now.
static int add_read(struct spy_python *p, struct spy_py_thread *th, struct spy_py_read *b,
                    struct common *c, struct spy_py_facts *facts)
{
    struct spy_py_scratch *s = &p->scratch;
    p->sample++;
    int r = spy_py_unwind_unvalidated(p->target, &p->runtime.layout, th, s, b, facts);
    if (r == 0)
        r = spy_py_unwind_flatten(th, s);
    if (r < 0 || !s->n)
        return r < 0 ? r : SPY_ERR_TORN;
    if (!has_outermost(th, s, c) && ++c->strange <= count_wanted_reads(p))
        return SPY_ERR_TORN;
    if (c->strange > count_wanted_reads(p))
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

static int gather_reads(struct spy_python *p, struct spy_py_thread *th, struct common *c,
                        struct spy_py_facts *facts)
{
    struct spy_py_read b;
    uint64_t began = spy_clock_mono_ns();
    size_t wanted = count_wanted_reads(p);
    int r = 0;
    for (size_t i = 0; i < READS_MAX * wanted && c->seen < wanted; i++) {
        r = add_read(p, th, &b, c, facts);
        if (r < 0 && r != SPY_ERR_TORN)
            return r;
        if (spy_clock_mono_ns() - began > wanted * READ_NS)
            return SPY_ERR_TORN;
        wait_a_little(&p->rand);
    }
    return c->seen == wanted ? 0 : SPY_ERR_TORN;
}

// Makes the chain of what is common. If nothing moved in all reads, the thread stands still, most
// likely right where its newest frame begins or ends, since no read of it was valid.
static size_t take_common(struct spy_py_thread *th, struct spy_py_scratch *s,
                          const struct common *c)
{
    size_t n = c->same + c->called - (c->same && c->same == c->depth);
    memcpy(s->recs, s->kept + (s->n_kept - n), n * sizeof *s->recs);
    s->n = n;
    s->from = th->last.n_recs;
    return n;
}

int spy_py_salvage(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts,
                   bool *ret_whole)
{
    enum { FRESH_MAX = 4 };
    int r = 0;
    for (int i = 0; i < FRESH_MAX && r == 0; i++) {
        struct common c = {0};
        r = gather_reads(p, th, &c, facts);
        if (r < 0 || !take_common(th, &p->scratch, &c))
            return r < 0 ? r : SPY_ERR_TORN;
        r = spy_py_stack_resolve(p, th, facts);
        if (r < 0)
            return r;
        *ret_whole = c.depth == p->scratch.n;
        if (!p->codes.fresh)
            return spy_py_stack_validate(p, th);
    }
    return SPY_ERR_TORN;
}
