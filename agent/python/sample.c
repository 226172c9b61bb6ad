#include "agent/python/attempt.h"
#include "agent/python/stack.h"
#include "agent/python/thread_states.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    return read_slices(th, &now) < 0 || now != slices;
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
    return th->has_stack && !th->stack.running && th->codes_epoch == p->codes.epoch;
}

static bool all_wait(struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads && !p->resting; i++)
        if (!waits(p, p->threads[i]))
            return false;
    p->resting = true;
    return true;
}

// By their own counts, which the kernel keeps up to date also of one that has just woken up.
static bool none_has_run(const struct spy_python *p)
{
    for (size_t i = 0; i < p->n_threads; i++)
        if (!p->threads[i]->slices || has_run(p->threads[i], p->threads[i]->slices))
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
    if (!th->has_stack || !th->stack.running || th->above || spy_py_attempt_wants_pause(th, o))
        return SPY_ERR_AGAIN;
    int r = spy_py_attempt_clean(p, th, &facts);
    *ret_torn = r == SPY_ERR_TORN;
    if (r == SPY_ERR_TORN)
        spy_py_attempt_note(th, true);
    if (r < 0)
        return r == SPY_ERR_TORN ? SPY_ERR_AGAIN : r == SPY_ERR_GONE ? lost(p, th) : r;
    if (!facts.moved && th->probe.fd >= 0) {
        r = spy_thread_probe_read(&th->probe, &state);
        if (r < 0 || !state.running)
            return SPY_ERR_AGAIN;
    }
    spy_py_attempt_note(th, false);
    struct spy_py_stack stack = {.running = true, .how = SPY_PY_CLEAN};
    return give(p, th, &facts, 0, &stack, ret);
}

bool spy_python_is_quiet(struct spy_python *p)
{
    return !p->dirty && p->n_threads && all_wait(p) && none_has_run(p);
}

int spy_python_sample(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *o, struct spy_py_stack *ret)
{
    p->resting = false;
    if (is_unbound(th)) {
        p->dirty = true;
        return SPY_ERR_GONE;
    }
    uint64_t slices = 0;
    bool was_waiting = th->has_stack && !th->stack.running;
    if (was_waiting && read_slices(th, &slices) < 0)
        return lost(p, th);
    // It has not been given a CPU since it was seen waiting: nothing can have changed.
    if (waits(p, th) && slices && slices == th->slices) {
        *ret = th->stack;
        ret->unchanged = true;
        ret->n_same = ret->n;
        return th->shares && !ret->n ? SPY_ERR_GONE : 0;
    }
    bool torn = false;
    th->at_rest = false;
    th->hasty = spy_py_attempt_is_hasty(th, o);
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
    th->at_rest = !state.running && !th->above && slices;
    r = spy_py_attempt(p, th, state.running, state.running && !torn, o, &facts, &stack.how);
    // It was given a CPU meanwhile: then it was a running one that was read.
    if (r == 0 && th->at_rest && has_run(th, slices)) {
        th->at_rest = false;
        stack.running = true;
        r = spy_py_attempt(p, th, true, true, o, &facts, &stack.how);
    }
    if (r < 0) {
        th->has_stack = false;
        return r == SPY_ERR_GONE ? lost(p, th) : r;
    }
    return give(p, th, &facts, slices, &stack, ret);
}
