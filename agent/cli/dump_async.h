// dump_async.h - the asyncio tasks of a process, for dump. Inside of agent/cli.
#pragma once
#include "agent/python/async.h"

struct spy_dump_process; // dump.h

// The tasks of a thread that run while it is read: begin, read the stack, end. NULL places: none.
struct spy_dump_running {
    struct spy_py_running_places *places;
    struct spy_py_running before, task;
    bool is_before, is_known; // is_known: `task` ran before the stack was read, and after
};
void spy_dump_running_begin(struct spy_dump_running *r, const struct spy_py_thread *th);
void spy_dump_running_end(struct spy_dump_running *r, const struct spy_py_thread *th);
// To be called for each frame of the thread's stack in turn, innermost first: true if it is that of
// the coroutine of the task that runs. *at is 0 with the first frame, and then what the previous
// frame left there.
bool spy_dump_running_is_at(const struct spy_dump_running *r, const struct spy_python *py,
                            const struct spy_py_thread *th, size_t *at);

// Who awaits whom, from those who await down. Zero-initialised at first.
struct spy_dump_branch {
    uint32_t task, depth;
    bool again; // it was given before, with all below it
};
struct spy_dump_tree {
    uint32_t *first, *awaited; // task i awaits awaited[first[i] .. first[i + 1] - 1]
    bool *shown;
    struct spy_dump_branch *stack;
    size_t n_stack, cap_stack;
};
int spy_dump_tree_build(const struct spy_py_tasks *tasks, struct spy_dump_tree *ret); // NOMEM
void spy_dump_tree_done(struct spy_dump_tree *tree);
// Begins at a task. SPY_ERR_NOMEM.
int spy_dump_tree_begin(struct spy_dump_tree *tree, uint32_t task);
// 1: the next task, below the one before or beside it; 0: there is none; SPY_ERR_NOMEM.
int spy_dump_tree_next(struct spy_dump_tree *tree, struct spy_dump_branch *ret);

// Prints all loops and their tasks. SPY_ERR_NOMEM.
int spy_dump_tasks_text(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                        struct spy_buf *out);
// Elements of the list in JSON, each with what separates it from the one before if `first` is false.
void spy_dump_tasks_json(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                         bool first, struct spy_buf *out);
