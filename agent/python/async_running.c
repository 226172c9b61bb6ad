#include "agent/python/async_inside.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { TASKS_MAX = 4096 }; // that run, of one interpreter

struct spy_py_running_places {
    struct spy_async a;
    uint64_t interp, current; // the last interpreter, and its dict from loops to tasks
};

// The loop that runs in a thread; 0: none. Since 3.13 it is in the thread state; before, in a dict of
// it: the loop itself or, up to 3.11, an object that begins with it.
static uint64_t find_loop(struct spy_async *a, const struct spy_py_identity *id)
{
    uint64_t at = a->publishes ? a->published.ts_running_loop : a->at.ts_running_loop, dict;
    uint64_t loop = 0;
    if (a->publishes || a->at.ts_running_loop != SPY_PY_ABSENT) {
        if (spy_async_word(a, id->tstate + at, &loop) < 0 || !loop)
            return 0;
    } else if (spy_async_word(a, id->tstate + a->at.ts_dict, &dict) < 0 || !dict ||
               spy_async_find_name(a, dict, "__asyncio_running_event_loop__", &loop) < 0) {
        return 0;
    }
    if (spy_async_kind_of(a, loop) == SPY_ASYNC_LOOP_HOLDER &&
        spy_async_word(a, loop + a->header, &loop) < 0)
        return 0;
    return loop && !spy_async_is_none(a, loop) ? loop : 0;
}

// In a dict {loop: task}.
static uint64_t find_in_current(struct spy_async *a, uint64_t dict, uint64_t loop)
{
    struct spy_value_dict d;
    uint64_t key, value;
    a->values.reads_left = SPY_PY_VALUE_READS;
    if (spy_value_open_dict(&a->values, dict, &d) < 0)
        return 0;
    for (int i = 0; i < TASKS_MAX && spy_value_next_entry(&a->values, &d, &key, &value) > 0; i++)
        if (key == loop)
            return value;
    return 0;
}

static uint64_t find_current(struct spy_async *a, uint64_t interp)
{
    uint64_t module, current;
    return spy_async_module(a, interp, &module) == 0 &&
                   spy_async_find_name(a, module, "_current_tasks", &current) == 0
               ? current
               : 0;
}

static uint64_t find_running(struct spy_async *a, const struct spy_py_identity *id, uint64_t loop,
                             uint64_t current)
{
    uint64_t task = 0;
    if (!a->publishes)
        return current ? find_in_current(a, current, loop) : 0;
    return spy_async_word(a, id->tstate + a->published.ts_running_task, &task) == 0 ? task : 0;
}

int spy_async_loops(struct spy_async *a)
{
    struct spy_py_tasks *out = a->out;
    uint64_t interp = 0, current = 0;
    for (size_t i = 0; i < a->p->n_threads; i++) {
        const struct spy_py_identity *id = &a->p->threads[i]->id;
        uint64_t loop = find_loop(a, id);
        if (!loop)
            continue;
        if (!a->publishes && id->interp != interp) {
            interp = id->interp;
            current = find_current(a, interp);
        }
        int r = spy_grow(&out->loops, &out->cap_loops, out->n_loops + 1, sizeof *out->loops,
                         SPY_PY_LOOPS_MAX);
        if (r < 0)
            return r == SPY_ERR_LIMIT ? 0 : r;
        out->loops[out->n_loops++] =
            (struct spy_py_loop){.addr = loop,
                                 .ident = id->ident,
                                 .tid = id->tid,
                                 .running = find_running(a, id, loop, current)};
    }
    return 0;
}

int spy_python_running_open(struct spy_python *p, struct spy_py_running_places **ret)
{
    struct spy_py_running_places *places = calloc(1, sizeof *places);
    int r = places ? spy_async_begin(&places->a, p, NULL) : SPY_ERR_NOMEM;
    if (r < 0) {
        spy_python_running_close(places);
        return r;
    }
    *ret = places;
    return 0;
}

void spy_python_running_close(struct spy_py_running_places *places)
{
    if (places)
        spy_async_end(&places->a);
    free(places);
}

int spy_python_running(struct spy_py_running_places *places, const struct spy_py_thread *th,
                       struct spy_py_running *ret)
{
    struct spy_async *a = &places->a;
    memset(a->types, 0, sizeof a->types);
    spy_async_forget(a);
    uint64_t loop = find_loop(a, &th->id);
    if (loop && !a->publishes && places->interp != th->id.interp) {
        places->current = find_current(a, th->id.interp);
        places->interp = th->id.interp;
    }
    uint64_t task = loop ? find_running(a, &th->id, loop, places->current) : 0;
    uint64_t coroutine = task ? spy_async_coroutine(a, task) : 0;
    uint64_t frame = coroutine ? spy_async_frame(a, coroutine) : 0;
    if (!frame)
        return SPY_ERR_NOTFOUND;
    ret->task = task;
    ret->frame = frame;
    spy_async_name(a, task, ret->name, sizeof ret->name);
    return 0;
}
