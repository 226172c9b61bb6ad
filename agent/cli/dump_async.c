// The asyncio tasks of a process: those that threads run, and what both forms of output need.
#include "agent/cli/dump_async.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

// --- running tasks ---

void spy_dump_running_begin(struct spy_dump_running *r, const struct spy_py_thread *th)
{
    r->is_known = false;
    r->is_before = r->places && spy_python_running(r->places, th, &r->before) == 0;
}

// The thread runs meanwhile: only a task that ran before the read and after it ran during it.
void spy_dump_running_end(struct spy_dump_running *r, const struct spy_py_thread *th)
{
    r->is_known = r->is_before && spy_python_running(r->places, th, &r->task) == 0 &&
                  r->task.task == r->before.task && r->task.frame == r->before.frame;
}

bool spy_dump_running_is_at(const struct spy_dump_running *r, const struct spy_python *py,
                            const struct spy_py_thread *th, size_t *at)
{
    size_t n = spy_python_n_links(th);
    while (*at < n && !spy_python_link(py, th, *at).shown)
        ++*at;
    if (*at == n)
        return false;
    struct spy_py_link link = spy_python_link(py, th, (*at)++);
    return r->is_known && link.addr == r->task.frame;
}

// --- the tree ---

int spy_dump_tree_build(const struct spy_py_tasks *tasks, struct spy_dump_tree *ret)
{
    size_t n = tasks->n;
    ret->first = calloc(n + 2, sizeof *ret->first);
    ret->awaited = calloc(tasks->n_awaiters + 1, sizeof *ret->awaited);
    ret->shown = calloc(n + 1, sizeof *ret->shown);
    if (!ret->first || !ret->awaited || !ret->shown)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < tasks->n_awaiters; i++)
        ret->first[tasks->awaiters[i] + 2]++;
    for (size_t i = 2; i < n + 2; i++)
        ret->first[i] += ret->first[i - 1];
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < tasks->list[i].n_awaiters; k++)
            ret->awaited[ret->first[tasks->awaiters[tasks->list[i].first_awaiter + k] + 1]++] =
                (uint32_t)i;
    return 0;
}

void spy_dump_tree_done(struct spy_dump_tree *tree)
{
    free(tree->first);
    free(tree->awaited);
    free(tree->shown);
    free(tree->stack);
}

// Puts those that task i awaits on the stack, the last first.
static int push_awaited(struct spy_dump_tree *t, uint32_t i, uint32_t depth)
{
    uint32_t from = t->first[i], to = t->first[i + 1];
    int r =
        spy_grow(&t->stack, &t->cap_stack, t->n_stack + (to - from), sizeof *t->stack, UINT32_MAX);
    for (uint32_t k = to; r == 0 && k-- > from;)
        t->stack[t->n_stack++] = (struct spy_dump_branch){t->awaited[k], depth, false};
    return r;
}

int spy_dump_tree_begin(struct spy_dump_tree *t, uint32_t i)
{
    t->n_stack = 0;
    int r = spy_grow(&t->stack, &t->cap_stack, 1, sizeof *t->stack, UINT32_MAX);
    if (r == 0)
        t->stack[t->n_stack++] = (struct spy_dump_branch){i, 0, false};
    return r;
}

int spy_dump_tree_next(struct spy_dump_tree *t, struct spy_dump_branch *ret)
{
    if (!t->n_stack)
        return 0;
    *ret = t->stack[--t->n_stack];
    ret->again = t->shown[ret->task];
    if (ret->again)
        return 1;
    t->shown[ret->task] = true;
    int r = push_awaited(t, ret->task, ret->depth + 1);
    return r < 0 ? r : 1;
}
