// Tasks as text: a tree for each loop, from those who await down to those that are awaited.
#include "agent/cli/cli.h"
#include "agent/cli/dump.h"
#include "agent/cli/dump_async.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"

enum { INDENT_MAX = 40 }; // levels; deeper ones stand as far to the right

static void put_indent(struct spy_buf *out, uint32_t depth)
{
    for (uint32_t i = 0; i < depth && i < INDENT_MAX; i++)
        spy_buf_puts(out, "  ");
}

static void put_task_name(struct spy_buf *out, const char *text)
{
    spy_buf_putc(out, '"');
    spy_buf_shown(out, text);
    spy_buf_putc(out, '"');
}

static void put_wait(const struct spy_py_tasks *tasks, const struct spy_py_task *t,
                     struct spy_buf *out)
{
    spy_buf_printf(out, "awaits %s", spy_py_waits_name(t->waits));
    for (size_t i = 0; t->waits == SPY_PY_WAITS_TASK && i < tasks->n; i++)
        if (tasks->list[i].addr == t->waiter) {
            spy_buf_putc(out, ' ');
            put_task_name(out, spy_py_tasks_text(tasks, tasks->list[i].name));
            return;
        }
    if (t->detail) {
        spy_buf_puts(out, " (");
        spy_buf_shown(out, spy_py_tasks_text(tasks, t->detail));
        spy_buf_putc(out, ')');
    }
}

static void put_task_state(const struct spy_py_tasks *tasks, const struct spy_py_task *t,
                           struct spy_buf *out)
{
    if (t->changing)
        spy_buf_puts(out, "changes too fast to be read");
    else if (t->state == SPY_PY_TASK_RUNNING)
        spy_buf_puts(out, "runs: see the stack of its thread");
    else if (t->state == SPY_PY_TASK_READY)
        spy_buf_puts(out, "is ready to run");
    else
        put_wait(tasks, t, out);
    spy_buf_puts(out, t->cancelling ? ", is being cancelled\n" : "\n");
}

static void put_task_frames(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                            const struct spy_py_task *t, uint32_t depth, struct spy_buf *out)
{
    for (uint32_t i = 0; i < t->n_frames && !spy_cli_stop; i++) {
        const struct spy_py_frame *f = &tasks->frames[t->first_frame + i];
        put_indent(out, depth);
        if (f->code < 0) {
            spy_buf_puts(out, "        (not known)\n");
            continue;
        }
        spy_dump_put_frame(p, f, "        ", out);
    }
}

static void put_task(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                     struct spy_dump_branch b, struct spy_buf *out)
{
    const struct spy_py_task *t = &tasks->list[b.task];
    put_indent(out, b.depth);
    spy_buf_puts(out, "    task ");
    put_task_name(out, spy_py_tasks_text(tasks, t->name));
    if (b.again) {
        spy_buf_puts(out, ": see above\n");
        return;
    }
    spy_buf_puts(out, ": ");
    put_task_state(tasks, t, out);
    if (t->truncated) {
        put_indent(out, b.depth);
        spy_buf_puts(out, "        (inner frames left out)\n");
    }
    if (t->ends) {
        put_indent(out, b.depth);
        spy_buf_puts(out, "        (");
        spy_buf_shown(out, spy_py_tasks_text(tasks, t->ends));
        spy_buf_puts(out, ": its frames cannot be read)\n");
    }
    put_task_frames(p, tasks, t, b.depth, out);
}

static int put_tree(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                    struct spy_dump_tree *tree, uint32_t i, struct spy_buf *out)
{
    struct spy_dump_branch b;
    int r = spy_dump_tree_begin(tree, i);
    while (r == 0 && !spy_cli_stop && !out->failed && (r = spy_dump_tree_next(tree, &b)) > 0) {
        put_task(p, tasks, b, out);
        r = 0;
    }
    return r;
}

static void put_loop_title(const struct spy_py_tasks *tasks, const struct spy_py_loop *loop,
                           size_t n, struct spy_buf *out)
{
    spy_buf_puts(out, "Event loop ");
    spy_buf_shown(out, spy_py_tasks_text(tasks, loop->type));
    if (loop->ident)
        spy_buf_printf(out, " of thread %d", (int)loop->tid);
    else
        spy_buf_puts(out, " (does not run)");
    spy_buf_printf(out, ": %zu task%s\n", n, n == 1 ? "" : "s");
}

// First the tasks that no other awaits; then those that await each other in a circle.
static int put_loop(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                    const struct spy_py_loop *loop, struct spy_dump_tree *tree, struct spy_buf *out)
{
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; i < tasks->n; i++)
        n += tasks->list[i].loop == loop->addr;
    put_loop_title(tasks, loop, n, out);
    for (int circles = 0; circles < 2; circles++)
        for (size_t i = 0; i < tasks->n && r == 0; i++)
            if (tasks->list[i].loop == loop->addr && !tree->shown[i] &&
                (circles || !tasks->list[i].n_awaiters))
                r = put_tree(p, tasks, tree, (uint32_t)i, out);
    return r;
}

int spy_dump_tasks_text(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                        struct spy_buf *out)
{
    _cleanup_(spy_dump_tree_done) struct spy_dump_tree tree = {0};
    int r = spy_dump_tree_build(tasks, &tree);
    for (size_t i = 0; i < tasks->n_loops && r == 0 && !spy_cli_stop; i++)
        r = put_loop(p, tasks, &tasks->loops[i], &tree, out);
    if (tasks->n_unlisted || tasks->truncated)
        spy_buf_puts(out, "(more tasks are left out)\n");
    return r;
}
