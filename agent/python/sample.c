#include "agent/python/aside.h"
#include "agent/python/attempt.h"
#include "agent/python/on_cpu.h"
#include "agent/python/stack.h"
#include "agent/python/thread_name.h"
#include "agent/python/thread_states.h"

// How often the thread was given a CPU; 0: this system does not say. SPY_ERR_GONE, or why it could
// not be asked just now.
static int read_slices(struct spy_py_thread *th, uint64_t *ret)
{
    struct spy_thread_sched sched = {.slices = 0};
    int r = spy_py_sched(th, &sched);
    *ret = sched.slices;
    return r == SPY_ERR_GONE || spy_py_could_not_ask(r) ? r : 0;
}

// 1: the thread was given a CPU since it had been given one `slices` times; 0: it was not; or a
// code of read_slices.
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
    return th->id.gil && !l->runtime_is_head && state->args[0] - th->id.gil < SPY_GIL_SIZE;
}

// No system thread runs this state: its thread is about to start, or its subinterpreter is idle.
static bool is_unbound(const struct spy_py_thread *th)
{
    return !th->id.ident || (!th->id.tid && !th->id.ns_tid);
}

static bool was_waiting_last(const struct spy_python *p, const struct spy_py_thread *th)
{
    return th->id.outlived ||
           (th->last.is_valid && !th->last.stack.running && th->last.codes_epoch == p->codes.epoch);
}

static bool were_all_waiting(struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads && !p->resting; i++)
        if (!was_waiting_last(p, p->threads[i]) || spy_py_waits_often(p->threads[i]))
            return false;
    p->resting = true;
    return true;
}

// Goes by the threads' own counts, which the kernel updates even for a thread that has just woken.
static bool none_has_run(const struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads; i++)
        if (!p->threads[i]->id.outlived &&
            (!p->threads[i]->last.slices ||
             has_run(p->threads[i], p->threads[i]->last.slices) != 0))
            return false;
    return true;
}

// What the thread does now is not known. A thread that could not be asked has not ended.
static int fail_sample(struct spy_python *p, struct spy_py_thread *th, int r)
{
    spy_py_stack_forget(th);
    return r == SPY_ERR_GONE ? spy_py_thread_lost(p, th) : r;
}

// What the thread does, according to the system. A thread of a core file counts as running, since
// nothing is known of it. Where asking about a live process fails, that says nothing about the
// thread.
static int ask_state(struct spy_python *p, struct spy_py_thread *th, struct spy_thread_state *ret)
{
    if (!th->id.tid && spy_target_is_live(p->target))
        return p->unlisted ? SPY_ERR_AGAIN : SPY_ERR_GONE; // nothing runs what is left of it
    int r = spy_thread_probe_state(&th->id.probe, ret);
    if (r == SPY_ERR_NOTFOUND) {
        *ret = (struct spy_thread_state){.running = true, .syscall = -1};
        return 0;
    }
    return r == SPY_ERR_GONE ? spy_py_thread_lost(p, th) : r;
}

// True if a thread that was asleep has been woken but has not run since: it waits for a CPU.
static bool is_woken(struct spy_py_thread *th)
{
    struct spy_thread_state state;
    return spy_py_waits_often(th) && spy_thread_probe_state(&th->id.probe, &state) == 0 &&
           state.running;
}

// True if the thread waits for what it called in another interpreter. The oldest thread states are
// sampled first, so the other state may not have been sampled yet in this round.
static bool waits_for_above(struct spy_python *p, struct spy_py_thread *th,
                            const struct spy_py_options *o)
{
    struct spy_py_stack ignored;
    if (!th->id.above)
        return false;
    struct spy_py_options unheld = *o;
    unheld.hold = NULL; // its own sample is still to come
    if (!th->id.above->last.is_valid)
        spy_python_sample(p, th->id.above, &unheld, &ignored); // which has none above it
    return th->id.above->last.n_frames;
}

// The thread's state, and its slices if it has just begun to wait. The state must be read after the
// slices, or what the thread does between the two would be missed.
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

// Keeps the stack and gives it to the caller.
static int give_stack(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_facts *facts, uint64_t slices, struct spy_py_stack *stack,
                      struct spy_py_stack *ret)
{
    stack->holds_gil = facts->holds_gil;
    // Whoever collects holds the GIL; without a GIL all others are stopped meanwhile.
    stack->collecting =
        facts->collecting && (p->runtime.layout.free_threaded ? stack->running : facts->holds_gil);
    int r = spy_py_stack_keep(p, th, facts, slices, stack);
    if (r < 0)
        return r;
    spy_py_places_fit(&th->learned.places);
    bool newest = p->n_threads && th == p->threads[p->n_threads - 1];
    p->dirty = p->dirty || facts->next != th->id.next || (newest && facts->head != th->id.tstate);
    if (!th->id.name.looked_up)
        spy_py_thread_find_name(p, th, p->refreshed);
    spy_thread_files_set_busy(&th->id.probe.files, stack->running || stack->runnable);
    if (th->id.shares && !stack->n)
        return SPY_ERR_GONE; // the other state of this thread has the frames
    *ret = *stack;
    return 0;
}

// A thread that ran a moment ago most likely still runs. If its newest frame moved on between the
// two copies of it, that proves it, and the system need not be asked. SPY_ERR_AGAIN: ask the
// system.
static int sample_runner(struct spy_python *p, struct spy_py_thread *th,
                         const struct spy_py_options *o, bool *ret_torn, struct spy_py_stack *ret)
{
    struct spy_py_facts facts;
    struct spy_thread_state state;
    if (!th->last.is_valid || !th->last.stack.running || th->id.above ||
        spy_py_attempt_wants_pause(p, th, o) || spy_py_aside_wanted(th, o) ||
        spy_py_attempt_needs_repeats(p, th, o))
        return SPY_ERR_AGAIN;
    int r = spy_py_attempt_clean(p, th, &facts);
    *ret_torn = r == SPY_ERR_TORN;
    if (r == SPY_ERR_TORN)
        spy_py_attempt_count(th, o, true, false);
    if (r < 0)
        return r == SPY_ERR_TORN   ? SPY_ERR_AGAIN
               : r == SPY_ERR_GONE ? spy_py_thread_lost(p, th)
                                   : r;
    if (!facts.moved && (ask_state(p, th, &state) < 0 || !state.running))
        return SPY_ERR_AGAIN;
    spy_py_attempt_count(th, o, false, facts.moved);
    uint64_t slices = 0;
    enum spy_py_cpu cpu = SPY_PY_ON_CPU;
    r = facts.moved ? 0 : spy_py_cpu_of(th, o, &slices, &cpu);
    if (r < 0)
        return fail_sample(p, th, r);
    bool runnable = cpu == SPY_PY_RUNNABLE;
    struct spy_py_stack stack = {.running = !runnable, .runnable = runnable, .how = SPY_PY_CLEAN};
    return give_stack(p, th, &facts, runnable ? slices : 0, &stack, ret);
}

bool spy_python_is_quiet(struct spy_python *p)
{
    bool renamed = p->renamed;
    p->renamed = false;
    return !renamed && !p->dirty && p->n_threads && were_all_waiting(p) && none_has_run(p);
}

static bool must_hold_waiting(const struct spy_py_options *o)
{
    return o->hold && o->hold->waiting;
}

int spy_python_sample(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_stack *ret)
{
    p->resting = false;
    if (th->id.outlived)
        return SPY_ERR_GONE;
    if (is_unbound(th)) {
        p->dirty = true;
        return SPY_ERR_GONE;
    }
    uint64_t slices = 0;
    bool was_waiting = th->last.is_valid && !th->last.stack.running;
    int r = was_waiting ? read_slices(th, &slices) : 0;
    if (r < 0)
        return fail_sample(p, th, r);
    // It was not given a CPU since it was last seen waiting: nothing can have changed.
    if (was_waiting_last(p, th) && slices && slices == th->last.slices && !must_hold_waiting(o)) {
        if (!th->last.stack.runnable && is_woken(th))
            spy_py_stack_set_runnable(th);
        *ret = th->last.stack;
        ret->unchanged = true;
        ret->n_same = ret->n;
        return th->id.shares && !ret->n ? SPY_ERR_GONE : 0;
    }
    bool torn = false, strict = spy_py_attempt_is_strict(th, o);
    p->scratch.off_cpu = false;
    p->scratch.strict = strict;
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
        return fail_sample(p, th, r);
    // A thread that this program has pushed off its CPU stands still and is read so, unless all are
    // to be paused.
    bool aside = cpu == SPY_PY_HELD_UP && o->pausing != SPY_PAUSE_ALWAYS;
    // What a held thread shows besides its frames cannot be had of a thread that only stands still.
    bool moves = state.running && ((cpu != SPY_PY_RUNNABLE && (!aside || o->hold)) ||
                                   (o->hold && o->hold->runnable));
    struct spy_py_stack stack = {.running = state.running && cpu != SPY_PY_RUNNABLE,
                                 .runnable = cpu == SPY_PY_RUNNABLE,
                                 .waits_gil = waits_for_gil(&p->runtime.layout, th, &state)};
    p->scratch.off_cpu = !moves && !th->id.above && slices && !must_hold_waiting(o);
    p->scratch.strict = strict; // read_state may have sampled another thread
    r = SPY_ERR_TORN;
    if (state.running && !th->id.above && spy_py_aside_wanted(th, o))
        r = spy_py_aside_read(p, th, o, &facts);
    if (r == SPY_ERR_TORN && state.running && p->scratch.off_cpu)
        r = spy_py_attempt_still(p, th, &facts);
    if (r == SPY_ERR_TORN)
        r = spy_py_attempt(p, th, moves, moves && !torn, o, &facts, &stack.how);
    // It was given a CPU meanwhile: what was read was a running thread.
    int ran = (r == 0 || r == SPY_ERR_TORN) && p->scratch.off_cpu ? has_run(th, slices) : 0;
    if (ran > 0) {
        p->scratch.off_cpu = false;
        stack.running = true;
        stack.runnable = stack.waits_gil = false;
        r = spy_py_attempt(p, th, true, true, o, &facts, &stack.how);
    }
    if (r < 0 || ran < 0)
        return fail_sample(p, th, r < 0 ? r : ran);
    return give_stack(p, th, &facts, slices, &stack, ret);
}
