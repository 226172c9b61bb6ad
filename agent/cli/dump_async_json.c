// Loops and their tasks as JSON: an element of the list for each loop.
#include "agent/cli/cli.h"
#include "agent/cli/dump.h"
#include "agent/cli/dump_async.h"
#include <string.h>

static void put_text_or_null(struct spy_buf *out, const char *text)
{
    if (!text[0]) {
        spy_buf_puts(out, "null");
        return;
    }
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

static void put_quoted_json(struct spy_buf *out, const char *text)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

static void put_task_frame(const struct spy_dump_process *p, const struct spy_py_frame *f,
                           struct spy_buf *out)
{
    const struct spy_code *c =
        f->code < 0 ? NULL : spy_codes_at(spy_python_codes(p->python), f->code);
    spy_buf_puts(out, "{\"name\": ");
    put_quoted_json(out, c ? c->name : "");
    spy_buf_puts(out, ", \"filename\": ");
    put_quoted_json(out, c ? c->filename : "");
    spy_buf_puts(out, ", \"short_filename\": ");
    put_quoted_json(out, c ? spy_dump_short_filename(p, c->filename) : "");
    spy_buf_printf(out, ", \"line\": %u}", f->line);
}

static const char *name_task_state(const struct spy_py_task *t)
{
    static const char *const names[] = {[SPY_PY_TASK_AWAITING] = "awaiting",
                                        [SPY_PY_TASK_READY] = "ready",
                                        [SPY_PY_TASK_RUNNING] = "running"};
    return t->changing ? "changing" : names[t->state];
}

static void put_waits_for(const struct spy_py_tasks *tasks, const struct spy_py_task *t,
                          struct spy_buf *out)
{
    if (t->waits == SPY_PY_WAITS_NOTHING) {
        spy_buf_puts(out, "null");
        return;
    }
    spy_buf_printf(out, "{\"kind\": \"%s\", \"class\": ", spy_py_waits_name(t->waits));
    put_text_or_null(out, spy_py_tasks_text(tasks, t->detail));
    if (t->waits == SPY_PY_WAITS_TASK)
        spy_buf_printf(out, ", \"task\": %llu}", (unsigned long long)t->waiter);
    else
        spy_buf_puts(out, ", \"task\": null}");
}

static void put_task_json(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                          const struct spy_py_task *t, struct spy_buf *out)
{
    spy_buf_printf(out, "\n      {\"id\": %llu, \"name\": ", (unsigned long long)t->addr);
    put_quoted_json(out, spy_py_tasks_text(tasks, t->name));
    spy_buf_printf(out, ", \"state\": \"%s\", \"cancelling\": %s, \"truncated\": %s, ",
                   name_task_state(t), t->cancelling ? "true" : "false",
                   t->truncated ? "true" : "false");
    spy_buf_puts(out, "\"waits_for\": ");
    put_waits_for(tasks, t, out);
    spy_buf_puts(out, ", \"awaited_by\": [");
    for (uint32_t i = 0; i < t->n_awaiters; i++)
        spy_buf_printf(out, "%s%llu", i ? ", " : "",
                       (unsigned long long)tasks->list[tasks->awaiters[t->first_awaiter + i]].addr);
    spy_buf_puts(out, "], \"ends_in\": ");
    put_text_or_null(out, spy_py_tasks_text(tasks, t->ends));
    spy_buf_puts(out, ", \"frames\": [");
    for (uint32_t i = 0; i < t->n_frames && !spy_cli_stop; i++) {
        spy_buf_puts(out, i ? ",\n        " : "\n        ");
        put_task_frame(p, &tasks->frames[t->first_frame + i], out);
    }
    spy_buf_puts(out, "]}");
}

void spy_dump_tasks_json(const struct spy_dump_process *p, const struct spy_py_tasks *tasks,
                         bool first, struct spy_buf *out)
{
    for (size_t k = 0; k < tasks->n_loops && !spy_cli_stop; k++) {
        const struct spy_py_loop *loop = &tasks->loops[k];
        bool none = true;
        spy_buf_printf(out, "%s  {\n    \"pid\": %d,\n    \"loop\": {\"id\": %llu, \"class\": ",
                       first ? "" : ",\n", (int)p->pid, (unsigned long long)loop->addr);
        put_text_or_null(out, spy_py_tasks_text(tasks, loop->type));
        if (loop->ident)
            spy_buf_printf(out, ", \"os_thread_id\": %d},\n", (int)loop->tid);
        else
            spy_buf_puts(out, ", \"os_thread_id\": null},\n");
        spy_buf_printf(out, "    \"incomplete\": %s,\n    \"tasks\": [",
                       tasks->n_unlisted || tasks->truncated ? "true" : "false");
        for (size_t i = 0; i < tasks->n && !spy_cli_stop && !out->failed; i++) {
            if (tasks->list[i].loop != loop->addr)
                continue;
            spy_buf_puts(out, none ? "" : ",");
            put_task_json(p, tasks, &tasks->list[i], out);
            none = false;
        }
        spy_buf_puts(out, "\n    ]\n  }");
        first = false;
    }
}
