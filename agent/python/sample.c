#include "agent/python/aside.h"
#include "agent/python/attempt.h"
#include "agent/python/on_cpu.h"
#include "agent/python/stack.h"
#include "agent/python/thread_name.h"
#include "agent/python/thread_states.h"

// The number of times the thread was given a CPU; 0: this system does not tell. SPY_ERR_GONE, or
// why it could not be asked just now.
static int read_slices(struct spy_py_thread *th, uint64_t *ret)
{
    struct spy_thread_sched sched = {.slices = 0};
    int r = spy_py_sched(th, &sched);
    *ret = sched.slices;
    return r == SPY_ERR_GONE || spy_py_could_not_ask(r) ? r : 0;
}

// 1: it was given a CPU since it had been given `slices`; 0: it was not; or a code of read_slices.
static int has_run(struct spy_py_thread *th, uint64_t slices)
{
    uint64_t now;
    int r = read_slices(th, &now);
    return r < 0 ? r : now != slices;
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

static bool waits(const struct spy_python *p, const struct spy_py_thread *th)
{
    return th->outlived ||
           (th->has_stack && !th->stack.running && th->codes_epoch == p->codes.epoch);
}

static bool all_wait(struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads && !p->resting; i++)
        if (!waits(p, p->threads[i]) || spy_py_waits_often(p->threads[i]))
            return false;
    p->resting = true;
    return true;
}

// By their own counts, which the kernel keeps up to date also of one that has just woken up.
static bool none_has_run(const struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads; i++)
        if (!p->threads[i]->outlived &&
            (!p->threads[i]->slices || has_run(p->threads[i], p->threads[i]->slices) != 0))
            return false;
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

// Nothing is known of it now. A thread that could not be asked has not ended.
static int failed(struct spy_python *p, struct spy_py_thread *th, int r)
{
    th->has_stack = false;
    return r == SPY_ERR_GONE ? lost(p, th) : r;
}

// What the system says that it does. Of a core file nothing is known: it counts as running. Of a
// live process a failure says nothing, least of all that the thread runs.
static int ask_state(struct spy_python *p, struct spy_py_thread *th, struct spy_thread_state *ret)
{
    if (!th->tid && spy_target_is_live(p->target))
        return p->unlisted ? SPY_ERR_AGAIN : SPY_ERR_GONE; // nothing runs what is left of it
    int r = spy_thread_probe_state(&th->probe, ret);
    if (r == SPY_ERR_NOTFOUND) {
        *ret = (struct spy_thread_state){.running = true, .syscall = -1};
        return 0;
    }
    return r == SPY_ERR_GONE ? lost(p, th) : r;
}

// Has a thread that was asleep and has not run since been woken up? It waits for a CPU then.
static bool is_woken(struct spy_py_thread *th)
{
    struct spy_thread_state state;
    return spy_py_waits_often(th) && spy_thread_probe_state(&th->probe, &state) == 0 &&
           state.running;
}

// Does it wait for what it called in the other interpreter? The oldest thread states are sampled
// first, so that the other may not have been looked at yet.
static bool waits_for_above(struct spy_python *p, struct spy_py_thread *th,
                            const struct spy_py_options *o)
{
    struct spy_py_stack ignored;
    if (!th->above)
        return false;
    if (!th->above->has_stack)
        spy_python_sample(p, th->above, o, &ignored); // which has none above it
    return th->above->n_frames;
}

// What its state says, and its slices when it has just begun to wait. The state must be the younger
// of the two, or what the thread does between them would pass for nothing.
static int read_state(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, bool was_waiting, uint64_t *slices,
                      struct spy_thread_state *ret)
{
    int r = ask_state(p, th, ret);
    if (r < 0)
        return r;
    if (!ret->running && !was_waiting) {
        r = read_slices(th, slices);
        if (r == 0)
            r = ask_state(p, th, ret);
        if (r < 0)
            return r;
    }
    if (waits_for_above(p, th, o))
        *ret = (struct spy_thread_state){.syscall = -1};
    return 0;
}

static int give(struct spy_python *p, struct spy_py_thread *th, const struct spy_py_facts *facts,
                uint64_t slices, struct spy_py_stack *stack, struct spy_py_stack *ret)
{
    int r = spy_py_stack_take(p, th, facts->code_generation, stack);
    if (r < 0) {
        th->has_stack = false;
        return r;
    }
    spy_py_places_fit(&th->places);
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
    th->ran = p->refreshed;
    th->stack = *stack;
    if (!th->named)
        spy_py_thread_find_name(p, th, p->refreshed);
    spy_thread_files_set_busy(&th->probe.files, stack->running || stack->runnable);
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
    if (!th->has_stack || !th->stack.running || th->above || spy_py_attempt_wants_pause(th, o) ||
        spy_py_aside_wanted(th, o) || spy_py_attempt_needs_looks(p, th, o))
        return SPY_ERR_AGAIN;
    int r = spy_py_attempt_clean(p, th, &facts);
    *ret_torn = r == SPY_ERR_TORN;
    if (r == SPY_ERR_TORN)
        spy_py_attempt_note(th, true);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_AGAIN : r == SPY_ERR_GONE ? lost(p, th) : r;
    if (!facts.moved && (ask_state(p, th, &state) < 0 || !state.running))
        return SPY_ERR_AGAIN;
    spy_py_attempt_note(th, false);
    uint64_t slices = 0;
    enum spy_py_cpu cpu = SPY_PY_ON_CPU;
    r = facts.moved ? 0 : spy_py_cpu_of(th, o, &slices, &cpu);
    if (r < 0)
        return failed(p, th, r);
    bool runnable = cpu == SPY_PY_RUNNABLE;
    struct spy_py_stack stack = {.running = !runnable, .runnable = runnable, .how = SPY_PY_CLEAN};
    return give(p, th, &facts, runnable ? slices : 0, &stack, ret);
}

bool spy_python_is_quiet(struct spy_python *p)
{
    bool renamed = p->renamed;
    p->renamed = false;
    return !renamed && !p->dirty && p->n_threads && all_wait(p) && none_has_run(p);
}

int spy_python_sample(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_stack *ret)
{
    p->resting = false;
    if (th->outlived)
        return SPY_ERR_GONE;
    if (is_unbound(th)) {
        p->dirty = true;
        return SPY_ERR_GONE;
    }
    uint64_t slices = 0;
    bool was_waiting = th->has_stack && !th->stack.running;
    int r = was_waiting ? read_slices(th, &slices) : 0;
    if (r < 0)
        return failed(p, th, r);
    // It has not been given a CPU since it was seen waiting: nothing can have changed.
    if (waits(p, th) && slices && slices == th->slices) {
        th->stack.runnable = th->stack.runnable || is_woken(th);
        *ret = th->stack;
        ret->unchanged = true;
        ret->n_same = ret->n;
        return th->shares && !ret->n ? SPY_ERR_GONE : 0;
    }
    bool torn = false;
    th->at_rest = false;
    th->hasty = spy_py_attempt_is_hasty(th, o);
    r = sample_runner(p, th, o, &torn, ret);
    if (r != SPY_ERR_AGAIN) {
        p->dirty = p->dirty || r == SPY_ERR_GONE;
        return r;
    }
    struct spy_thread_state state;
    r = read_state(p, th, o, was_waiting, &slices, &state);
    struct spy_py_facts facts;
    enum spy_py_cpu cpu = SPY_PY_ON_CPU;
    if (r == 0 && state.running)
        r = spy_py_cpu_of(th, o, &slices, &cpu);
    if (r < 0)
        return failed(p, th, r);
    // A thread that this program has pushed aside is read as it stands, unless all are to be
    // paused.
    bool aside = cpu == SPY_PY_HELD_UP && o->pausing != SPY_PY_ALWAYS_PAUSE;
    bool moves = state.running && cpu != SPY_PY_RUNNABLE && !aside;
    struct spy_py_stack stack = {.running = state.running && cpu != SPY_PY_RUNNABLE,
                                 .runnable = cpu == SPY_PY_RUNNABLE,
                                 .waits_gil = waits_for_gil(&p->runtime.layout, th, &state)};
    th->at_rest = !moves && !th->above && slices;
    r = SPY_ERR_TORN;
    if (state.running && !th->above && spy_py_aside_wanted(th, o))
        r = spy_py_aside_read(p, th, o, &facts);
    if (r == SPY_ERR_TORN && state.running && th->at_rest)
        r = spy_py_attempt_still(p, th, &facts);
    if (r == SPY_ERR_TORN)
        r = spy_py_attempt(p, th, moves, moves && !torn, o, &facts, &stack.how);
    // It was given a CPU meanwhile: then it was a running one that was read.
    int ran = (r == 0 || r == SPY_ERR_TORN) && th->at_rest ? has_run(th, slices) : 0;
    if (ran > 0) {
        th->at_rest = false;
        stack.running = true;
        stack.runnable = stack.waits_gil = false;
        r = spy_py_attempt(p, th, true, true, o, &facts, &stack.how);
    }
    if (r < 0 || ran < 0)
        return failed(p, th, r < 0 ? r : ran);
    return give(p, th, &facts, slices, &stack, ret);
}
