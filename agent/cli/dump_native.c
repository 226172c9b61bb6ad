// Native frames among the Python frames of a thread.
#include "agent/cli/dump.h"

pid_t spy_dump_tid(const struct spy_dump_thread *s)
{
    return s->system ? s->system->tid : spy_py_thread_tid(s->thread);
}

uint64_t spy_dump_ident(const struct spy_dump_thread *s)
{
    return s->system ? 0 : spy_py_thread_ident(s->thread);
}

const char *spy_dump_name(const struct spy_dump_thread *s)
{
    return s->system ? s->system->name : spy_py_thread_name(s->thread);
}

size_t spy_dump_n_frames(const struct spy_dump_thread *s)
{
    return s->r < 0 ? 0 : s->mixed ? s->n_mixed : s->stack.n;
}

struct spy_mixed_frame spy_dump_frame(const struct spy_dump_thread *s, size_t i)
{
    return s->mixed ? s->mixed[i] : (struct spy_mixed_frame){.python = (uint32_t)i};
}

void spy_dump_native_capture(const struct spy_dump_process *p, const struct spy_dump_thread *s)
{
    spy_mixed_prepare(p->native, true, true);
    if (s->r == 0)
        spy_mixed_capture(p->native, spy_py_thread_tid(s->thread));
}

// n: the number of frames in s->mixed, or a code.
static bool take_native_frames(const struct spy_dump_process *p, struct spy_dump_thread *s, int n)
{
    struct spy_mixed_name names[SPY_MIXED_NAMES_MAX];
    if (n < 0)
        s->mixed = NULL;
    for (int i = 0; i < n; i++)
        if (s->mixed[i].is_native)
            spy_mixed_names(p->native, s->mixed[i].call, names); // loads what names it
    s->n_mixed = n < 0 ? 0 : (size_t)n;
    return n >= 0;
}

bool spy_dump_native_merge(const struct spy_dump_process *p, struct spy_dump_thread *s)
{
    int n = spy_mixed_merge(p->native, p->python, s->thread, &s->stack, &s->mixed);
    return take_native_frames(p, s, n);
}

bool spy_dump_native_read(const struct spy_dump_process *p, size_t i, struct spy_pause *pause,
                          struct spy_dump_thread *ret)
{
    enum { TRIES = 5 };
    *ret = (struct spy_dump_thread){.system = spy_native_threads_at(p->threads, i),
                                    .situation.interpreter = -1};
    ret->r = spy_native_threads_look(p->threads, i, NULL);
    ret->stack.running = ret->r == 0 && ret->system->running;
    ret->stack.runnable = ret->r == 0 && ret->system->runnable;
    int n = ret->r;
    for (int tries = 0; tries < TRIES && (!tries || n < 0) && n != SPY_ERR_GONE; tries++)
        n = spy_native_threads_stack(p->threads, i, p->native, pause, &ret->mixed);
    if (n == SPY_ERR_GONE)
        ret->r = n;
    return take_native_frames(p, ret, n);
}
