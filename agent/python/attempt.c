#include "agent/python/attempt.h"
#include "agent/python/frame.h"
#include "agent/python/salvage.h"
#include "agent/python/stack.h"
#include "agent/python/unwind.h"
#include "shared/base/clock.h"

static int unwind_thread(struct spy_python *p, struct spy_py_thread *th, bool checked,
                         struct spy_py_facts *facts)
{
    p->sample++;
    return spy_py_unwind(p->target, &p->runtime.layout, th, &p->scratch, checked, facts);
}

static int unwind_and_resolve(struct spy_python *p, struct spy_py_thread *th, bool checked,
                              struct spy_py_facts *facts)
{
    int r = unwind_thread(p, th, checked, facts);
    return r < 0 ? r : spy_py_stack_resolve(p, th, facts);
}

// Names are right only if the code objects were known before the stack was read: an unknown one is
// read after it, and its memory may hold another by then.
static int read_running(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    enum { FRESH_MAX = 4 };
    int r = 0;
    for (int i = 0; i < FRESH_MAX && r == 0 && (!i || p->codes.fresh); i++)
        r = unwind_and_resolve(p, th, true, facts);
    if (r == 0 && p->codes.fresh)
        return SPY_ERR_TORN;
    return r < 0 ? r : spy_py_stack_validate(p, th);
}

// The thread stands still, so its code objects are alive.
static int read_still(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = unwind_and_resolve(p, th, false, facts);
    return r < 0 ? r : spy_py_stack_validate(p, th);
}

// The frame outside a generator's is the caller that runs it. A generator without a caller exists
// for a few instructions, which even a pause can hit: since 3.12 between its yield and the store of
// the current frame; in 3.11 while a call of the interpreter from C has linked its _PyCFrame but
// not yet filled it in (_PyEval_EvalFrameDefault), so that it still shows the frame of an earlier
// call at the same depth of the C stack. Up to 3.11 it is lasting where C code runs a generator and
// has no Python below it: in 3.11 the call before that one has no frame either then.
static bool outermost_is_generator(const struct spy_python *p, const struct spy_py_thread *th)
{
    enum { CO_GENERATOR = 0x20 };
    const struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_layout *l = &p->runtime.layout;
    size_t n = spy_py_depth(th, s);
    if (!n || s->truncated)
        return false;
    const struct spy_py_rec *rec = spy_py_rec_at(th, s, n - 1);
    // A compiled frame (frame.h) says that it runs before it has its caller.
    bool unsaid = l->f_executing == SPY_PY_ABSENT || (int32_t)rec->ip < 0;
    if (l->heap_frames && unsaid && rec->id >= 0)
        return spy_code_flags(&p->codes, rec->id) & CO_GENERATOR;
    uint64_t caller = 0;
    if (rec->owner != l->owner_generator)
        return false;
    return l->cframe_previous == SPY_PY_ABSENT ||
           spy_target_read_u64(p->target, th->learned.cframe_previous + l->ts_frame, &caller) < 0 ||
           caller;
}

// If all code objects are settled (code.h), the thread continues as soon as its frames are copied,
// and they are checked as in a read without a pause. Else they are read and checked while the
// thread is held and so keeps them alive.
static int read_held(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_options *o,
                     struct spy_py_facts *facts)
{
    int signal = 0;
    int r = spy_pause_begin(o->pause, th->id.tid, &signal);
    if (r < 0)
        return r;
    r = unwind_thread(p, th, false, facts);
    if (r == 0 && o->hold)
        o->hold->act(o->hold->arg, th->id.tid);
    bool settled = r == 0 && spy_py_stack_is_settled(p, th, facts);
    if (settled)
        spy_pause_end(o->pause, th->id.tid, signal);
    if (r == 0)
        r = spy_py_stack_resolve(p, th, facts);
    if (r == 0)
        r = settled && p->codes.fresh ? SPY_ERR_TORN : spy_py_stack_validate(p, th);
    if (!settled)
        spy_pause_end(o->pause, th->id.tid, signal);
    return r;
}

static int read_paused(struct spy_python *p, struct spy_py_thread *th,
                       const struct spy_py_options *o, struct spy_py_facts *facts)
{
    enum { MOVE_ON_NS = 50000 }; // held again at once, it would be at the same instruction
    int r = SPY_ERR_TORN;
    for (int i = 0; th->id.tid && i < SPY_PY_TRIES; i++) {
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
    return th->learned.torn_rate > 65536 / SPY_PY_TORN_ONE_IN;
}

static bool is_on_trial(const struct spy_py_thread *th)
{
    return th->learned.n_read_running < SPY_PY_TRIAL;
}

bool spy_py_attempt_wants_pause(const struct spy_python *p, const struct spy_py_thread *th,
                                const struct spy_py_options *o)
{
    if (o->pausing != SPY_PAUSE_AUTO)
        return o->pausing == SPY_PAUSE_ALWAYS;
    return spy_py_attempt_is_torn_often(th) ||
           (is_on_trial(th) && spy_py_keeps_popped(&p->runtime.layout));
}

bool spy_py_attempt_is_strict(const struct spy_py_thread *th, const struct spy_py_options *o)
{
    return o->pausing == SPY_PAUSE_NEVER && (is_on_trial(th) || spy_py_attempt_is_torn_often(th));
}

bool spy_py_attempt_needs_repeats(const struct spy_python *p, const struct spy_py_thread *th,
                                  const struct spy_py_options *o)
{
    return spy_py_keeps_popped(&p->runtime.layout) && spy_py_attempt_is_strict(th, o);
}

int spy_py_attempt_clean(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = read_running(p, th, facts);
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

int spy_py_attempt_still(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts)
{
    int r = read_still(p, th, facts);
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

void spy_py_attempt_count(struct spy_py_thread *th, const struct spy_py_options *o, bool torn,
                          bool moved)
{
    enum { STILL_READS = 16 };
    struct spy_py_learned *learned = &th->learned;
    learned->torn_rate += ((torn ? 65536 : 0) - learned->torn_rate) / 64;
    bool still = o->pausing == SPY_PAUSE_NEVER && !torn && !moved;
    if (still && ++learned->n_read_still % STILL_READS)
        return;
    learned->n_read_running += learned->n_read_running < SPY_PY_TRIAL;
}

// How often the thread is read without a pause. Without `note` the first try was made already.
// Where that fails often and there will be no pause, the try that succeeds of many would favour
// states that last long. Where a popped frame keeps its code and a first try failed, a later try
// may be valid and of no instant: a pause is better, or the part that is proven.
static int count_tries(const struct spy_python *p, const struct spy_py_thread *th, bool running,
                       bool note, const struct spy_py_options *o)
{
    bool only_first = spy_py_attempt_is_strict(th, o) || spy_py_keeps_popped(&p->runtime.layout);
    return running && only_first ? note : SPY_PY_TRIES;
}

static int salvage_part(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts,
                        enum spy_py_how *how)
{
    bool whole = false;
    int r = spy_py_salvage(p, th, facts, &whole);
    *how = whole ? SPY_PY_CLEAN : SPY_PY_SALVAGED;
    return r == 0 && outermost_is_generator(p, th) ? SPY_ERR_TORN : r;
}

// Another process traces the thread, tracing is not allowed, or it did not stop in time.
static bool pause_was_refused(int r)
{
    return r == SPY_ERR_DENIED || r == SPY_ERR_AGAIN;
}

int spy_py_attempt(struct spy_python *p, struct spy_py_thread *th, bool running, bool note,
                   const struct spy_py_options *o, struct spy_py_facts *facts, enum spy_py_how *how)
{
    // Where reads fail often, those that succeed favour states that last long, and some may be
    // wrong: they are not given, and made only once in 16 samples, to learn when reads work again,
    // and in each sample until it is known how often they fail.
    enum { STILL_TRY = 16 };
    struct spy_py_options never = *o;
    never.pausing = SPY_PAUSE_NEVER;
    int r = SPY_ERR_TORN;
    if (!spy_target_is_live(p->target)) { // a core file: nothing changes, and nothing can be paused
        *how = SPY_PY_CLEAN;
        return read_still(p, th, facts);
    }
    *how = SPY_PY_PAUSED;
    if ((running || (o->hold && o->hold->waiting)) && spy_py_attempt_wants_pause(p, th, o)) {
        if (o->pausing == SPY_PAUSE_AUTO && (is_on_trial(th) || p->sample % STILL_TRY == 0))
            spy_py_attempt_count(th, o, spy_py_attempt_clean(p, th, facts) == SPY_ERR_TORN, true);
        r = read_paused(p, th, o, facts);
        if (pause_was_refused(r)) { // nothing that may be wrong is given then either
            o = &never;
            p->scratch.strict = spy_py_attempt_is_strict(th, o);
        }
    }
    if (r == 0 || r == SPY_ERR_GONE)
        return r;
    bool proven = !running || !spy_py_attempt_needs_repeats(p, th, o);
    *how = SPY_PY_CLEAN;
    for (int i = 0, n = count_tries(p, th, running, note, o); i < n; i++) {
        r = spy_py_attempt_clean(p, th, facts);
        if (i == 0 && note)
            spy_py_attempt_count(th, o, r == SPY_ERR_TORN, r == 0 && facts->moved);
        if (r != SPY_ERR_TORN && (r < 0 || proven))
            return r;
    }
    if (o->pausing != SPY_PAUSE_NEVER) {
        *how = SPY_PY_PAUSED;
        r = read_paused(p, th, o, facts);
        if (!pause_was_refused(r))
            return r;
    }
    return salvage_part(p, th, facts, how);
}
