// Native frames among the Python frames of a thread.
#include "agent/cli/dump.h"

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

bool spy_dump_native_merge(const struct spy_dump_process *p, struct spy_dump_thread *s)
{
    struct spy_mixed_name names[SPY_MIXED_NAMES_MAX];
    int n = spy_mixed_merge(p->native, p->python, s->thread, &s->stack, &s->mixed);
    if (n < 0)
        s->mixed = NULL;
    for (int i = 0; i < n; i++)
        if (s->mixed[i].is_native)
            spy_mixed_names(p->native, s->mixed[i].call, names); // loads what names it
    s->n_mixed = n < 0 ? 0 : (size_t)n;
    return n >= 0;
}
