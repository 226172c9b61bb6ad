#include "agent/python/attempt.h"
#include "agent/python/frame.h"
#include "agent/python/salvage.h"
#include "agent/python/stack.h"
#include "shared/base/clock.h"

static int walk(struct spy_python *p, struct spy_py_thread *th, bool checked,
                struct spy_py_facts *facts)
{
    p->sample++;
    return spy_py_walk(p->target, &p->runtime.layout, th, &p->scratch, checked, facts);
}

static int walk_and_resolve(struct spy_python *p, struct spy_py_thread *th, bool checked,
                            struct spy_py_facts *facts)
{
    int r = walk(p, th, checked, facts);
    return r < 0 ? r : spy_py_stack_resolve(p, th, facts);
}

static int judge(struct spy_python *p, const struct spy_py_thread *th)
{
    return spy_py_stack_hangs_together(p, th) ? 0 : SPY_ERR_TORN;
}

// Names are only right where the code objects were known before the stack was read: one that is met
// for the first time is read after it, and may be another's by then.
static int read_free(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    enum { FRESH_MAX = 4 };
    int r = 0;
    for (int i = 0; i < FRESH_MAX && r == 0 && (!i || p->codes.fresh); i++)
        r = walk_and_resolve(p, th, true, facts);
    if (r == 0 && p->codes.fresh)
        return SPY_ERR_TORN;
    return r < 0 ? r : judge(p, th);
}

// Of what stands still: its code objects are alive.
static int read_still(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = walk_and_resolve(p, th, false, facts);
    return r < 0 ? r : judge(p, th);
}

// Whoever runs a generator is the frame before it. One without is met for a few instructions, which
// even a pause can hit: from 3.12 on between its yield and the store of the current frame; in 3.11
// where a call of the interpreter from C has put its _PyCFrame in place and not yet filled it in
// (_PyEval_EvalFrameDefault), so that the frame of an earlier call at the same depth of the C stack
// stands in it. Up to 3.11 one stays so where C code without any Python below it runs a generator:
// in 3.11 that is where the call before that one has no frame either.
static bool outermost_is_generator(const struct spy_python *p, const struct spy_py_thread *th)
{
    enum { CO_GENERATOR = 0x20 };
    const struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_layout *l = &p->runtime.layout;
    size_t n = spy_py_depth(th, s);
    if (!n || s->truncated)
        return false;
    const struct spy_py_rec *rec = spy_py_rec_at(th, s, n - 1);
    // A compiled one (frame.h) says that it runs before it has its caller.
    bool unsaid = l->f_executing == SPY_PY_ABSENT || (int32_t)rec->ip < 0;
    if (l->heap_frames && unsaid && rec->id >= 0)
        return spy_code_flags(&p->codes, rec->id) & CO_GENERATOR;
    uint64_t caller = 0;
    if (rec->owner != l->owner_generator)
        return false;
    return l->cframe_previous == SPY_PY_ABSENT ||
           spy_target_read_u64(p->target, th->cframe_previous + l->ts_frame, &caller) < 0 || caller;
}

// Where all code objects are as they have long been, the thread is let go as soon as its frames are
// copied, and they are checked as those of a read without a pause. Else they are read and checked
// while the thread that runs them is held and so keeps them alive.
static int read_held(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_options *o,
                     struct spy_py_facts *facts)
{
    int signal = 0;
    int r = spy_pause_begin(o->pause, th->tid, &signal);
    if (r < 0)
        return r;
    r = walk(p, th, false, facts);
    bool settled = r == 0 && spy_py_stack_is_settled(p, th, facts);
    if (settled)
        spy_pause_end(o->pause, th->tid, signal);
    if (r == 0)
        r = spy_py_stack_resolve(p, th, facts);
    if (r == 0)
        r = settled && p->codes.fresh ? SPY_ERR_TORN : judge(p, th);
    if (!settled)
        spy_pause_end(o->pause, th->tid, signal);
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
    return r == 0 && !p->runtime.layout.heap_frames ? SPY_ERR_TORN : r;
}

bool spy_py_attempt_is_torn_often(const struct spy_py_thread *th)
{
    return th->torn_rate > 65536 / SPY_PY_TORN_ONE_IN;
}

bool spy_py_attempt_wants_pause(const struct spy_py_thread *th, const struct spy_py_options *o)
{
    return o->pausing == SPY_PY_ALWAYS_PAUSE ||
           (o->pausing == SPY_PY_MAY_PAUSE && spy_py_attempt_is_torn_often(th));
}

bool spy_py_attempt_is_hasty(const struct spy_py_thread *th, const struct spy_py_options *o)
{
    return o->pausing == SPY_PY_NEVER_PAUSE && spy_py_attempt_is_torn_often(th);
}

bool spy_py_attempt_needs_looks(const struct spy_python *p, const struct spy_py_thread *th,
                                const struct spy_py_options *o)
{
    return spy_py_keeps_popped(&p->runtime.layout) && spy_py_attempt_is_hasty(th, o);
}

int spy_py_attempt_clean(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = read_free(p, th, facts);
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

int spy_py_attempt_still(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = read_still(p, th, facts);
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

void spy_py_attempt_note(struct spy_py_thread *th, bool torn)
{
    th->torn_rate += ((torn ? 65536 : 0) - th->torn_rate) / 64;
}

// How often it is read without a pause. Where that fails often and there will be no pause,
// whichever of many tries succeeds would be one at a state that lasts long: there the first one
// counts. Without `note` that was made already.
static int count_tries(const struct spy_py_thread *th, bool running, bool note,
                       const struct spy_py_options *o)
{
    return running && spy_py_attempt_is_hasty(th, o) ? note : SPY_PY_TRIES;
}

static int salvage_part(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts,
                        enum spy_py_how *how)
{
    bool whole = false;
    int r = spy_py_salvage(p, th, facts, &whole);
    *how = whole ? SPY_PY_CLEAN : SPY_PY_SALVAGED;
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

// Another tracer has it, tracing is not allowed, or it did not stop in time.
static bool was_refused(int r)
{
    return r == SPY_ERR_DENIED || r == SPY_ERR_AGAIN;
}

int spy_py_attempt(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                   const struct spy_py_options *o, struct spy_py_facts *facts, enum spy_py_how *how)
{
    // Where reads fail often, those that succeed favour what lasts long, and some may be wrong:
    // they are not shown, and only made one time in 16 to learn when it works again.
    enum { STILL_TRY = 16 };
    struct spy_py_options never = *o;
    never.pausing = SPY_PY_NEVER_PAUSE;
    int r = SPY_ERR_TORN;
    if (!spy_target_is_live(p->target)) { // a core: nothing changes, and nothing is paused
        *how = SPY_PY_CLEAN;
        return read_still(p, th, facts);
    }
    *how = SPY_PY_PAUSED;
    if (running && spy_py_attempt_wants_pause(th, o)) {
        if (o->pausing == SPY_PY_MAY_PAUSE && p->sample % STILL_TRY == 0)
            spy_py_attempt_note(th, spy_py_attempt_clean(p, th, facts) == SPY_ERR_TORN);
        r = read_paused(p, th, o, facts);
        if (was_refused(r)) { // then nothing that may be wrong is shown either
            o = &never;
            th->hasty = spy_py_attempt_is_hasty(th, o);
        }
    }
    if (r == 0 || r == SPY_ERR_GONE)
        return r;
    bool proven = !running || !spy_py_attempt_needs_looks(p, th, o);
    *how = SPY_PY_CLEAN;
    for (int i = 0, n = count_tries(th, running, note, o); i < n; i++) {
        r = spy_py_attempt_clean(p, th, facts);
        if (i == 0 && note)
            spy_py_attempt_note(th, r == SPY_ERR_TORN);
        if (r != SPY_ERR_TORN && (r < 0 || proven))
            return r;
    }
    if (o->pausing != SPY_PY_NEVER_PAUSE) {
        *how = SPY_PY_PAUSED;
        r = read_paused(p, th, o, facts);
        if (!was_refused(r))
            return r;
    }
    return salvage_part(p, th, facts, how);
}
