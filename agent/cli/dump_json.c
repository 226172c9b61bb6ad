// Threads as JSON, with py-spy's keys and some more.
#include "agent/cli/cli.h"
#include "agent/cli/dump.h"
#include "agent/cli/dump_async.h"
#include "shared/formats/format.h"
#include <string.h>

static const char *name_bool(bool b)
{
    return b ? "true" : "false";
}

static void put_json_text(struct spy_buf *out, const char *text)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

// How far the frames of a thread were walked, for spy_python_location and spy_python_entry.
struct walk {
    size_t location, entry, task;
};

static void put_frame_json(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                           size_t i, struct walk *walk, struct spy_buf *out)
{
    const struct spy_py_frame *f = &s->stack.frames[i];
    const struct spy_code *c = spy_codes_at(spy_python_codes(p->python), f->code);
    struct spy_location where = spy_python_location(p->python, s->thread, i, &walk->location);
    struct spy_py_entry entry = spy_python_entry(p->python, s->thread, i, &walk->entry);
    spy_buf_puts(out, "{\"name\": ");
    put_json_text(out, c->name);
    spy_buf_puts(out, ", \"filename\": ");
    put_json_text(out, c->filename);
    spy_buf_puts(out, ", \"module\": null, \"short_filename\": ");
    put_json_text(out, spy_dump_short_filename(p, c->filename));
    spy_buf_printf(out,
                   ", \"line\": %u, \"column\": %u, \"end_line\": %u, \"end_column\": %u, "
                   "\"is_entry\": %s, \"is_shim_entry\": %s, \"locals\": ",
                   f->line, where.column, where.end_line, where.end_column,
                   name_bool(entry.is_entry), name_bool(entry.is_shim));
    spy_dump_locals_json(p->locals, p->python, s->thread, i, out);
    spy_buf_putc(out, '}');
}

static void put_name_json(const struct spy_mixed_name *name, struct spy_buf *out)
{
    spy_buf_puts(out, "{\"name\": ");
    put_json_text(out, name->function);
    spy_buf_puts(out, ", \"filename\": ");
    put_json_text(out, name->file);
    spy_buf_puts(out, ", \"module\": ");
    put_json_text(out, name->file);
    spy_buf_puts(out, ", \"short_filename\": ");
    put_json_text(out, spy_short_filename(name->file));
    spy_buf_printf(out,
                   ", \"line\": %u, \"column\": 0, \"end_line\": 0, \"end_column\": 0, "
                   "\"is_entry\": false, \"is_shim_entry\": false, \"locals\": null}",
                   name->line);
}

static void put_native_json(const struct spy_dump_process *p, uint64_t call, struct spy_buf *out)
{
    struct spy_mixed_name names[SPY_MIXED_NAMES_MAX];
    for (size_t i = 0, n = spy_mixed_names(p->native, call, names); i < n; i++) {
        spy_buf_puts(out, i ? ",\n        " : "");
        put_name_json(&names[i], out);
    }
}

// The process and its ancestors up to the one given, each parent inside of its child.
static void put_family(const struct spy_dump_process *p, struct spy_buf *out)
{
    char cmdline[4096];
    if (!p->family) {
        spy_buf_puts(out, "null");
        return;
    }
    const struct spy_descendant *list = p->family->list;
    size_t depth = 0;
    for (size_t i = p->index;; i = list[i].parent) {
        spy_cli_cmdline(list[i].pid, cmdline, sizeof cmdline);
        spy_buf_printf(out, "{\"pid\": %d, \"command_line\": ", (int)list[i].pid);
        put_json_text(out, cmdline);
        spy_buf_puts(out, i ? ", \"parent\": " : ", \"parent\": null");
        depth++;
        if (!i)
            break;
    }
    while (depth--)
        spy_buf_putc(out, '}');
}

static void put_state(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                      struct spy_buf *out)
{
    bool ok = s->r == 0, known = s->situation.interpreter >= 0;
    bool active = ok && (s->stack.running || s->stack.runnable);
    spy_buf_printf(out,
                   ",\n    \"os_thread_id\": %d,\n    \"active\": %s,\n    \"owns_gil\": %s,\n",
                   (int)spy_dump_tid(s), p->core ? "null" : name_bool(active),
                   name_bool(ok && s->stack.holds_gil));
    spy_buf_printf(out,
                   "    \"waits_gil\": %s,\n    \"drops_gil\": %s,\n    \"collects\": %s,\n"
                   "    \"interpreter\": ",
                   name_bool(ok && s->stack.waits_gil), name_bool(s->drops_gil),
                   name_bool(s->collects));
    if (known)
        spy_buf_printf(out, "%d", (int)s->situation.interpreter);
    else
        spy_buf_puts(out, "null");
    spy_buf_printf(
        out, ",\n    \"error\": %s%s%s,\n    \"truncated\": %s,\n    \"changing\": %s,\n",
        ok ? "" : "\"", ok ? "null" : spy_code_name(s->r), ok ? "" : "\"",
        name_bool(ok && s->stack.truncated), name_bool(ok && s->stack.how == SPY_PY_SALVAGED));
}

// The task stands below the frame of its coroutine, as its caller.
static void put_task_frame_json(const struct spy_dump_process *p, struct spy_buf *out)
{
    spy_buf_puts(out, ",\n        {\"name\": \"task ");
    spy_buf_json(out, p->running->task.name, strlen(p->running->task.name));
    spy_buf_puts(out, "\", \"filename\": \"\", \"module\": null, \"short_filename\": \"\", "
                      "\"line\": 0, \"column\": 0, \"end_line\": 0, \"end_column\": 0, "
                      "\"is_entry\": false, \"is_shim_entry\": false, \"locals\": null}");
}

void spy_dump_thread_json(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                          struct spy_buf *out)
{
    struct walk walk = {0};
    spy_buf_printf(out, "  {\n    \"pid\": %d,\n    \"thread_id\": %llu,\n    \"thread_name\": ",
                   (int)p->pid, (unsigned long long)spy_dump_ident(s));
    put_json_text(out, spy_dump_name(s));
    put_state(p, s, out);
    spy_buf_puts(out, "    \"frames\": [");
    for (size_t i = 0; i < spy_dump_n_frames(s) && !spy_cli_stop; i++) {
        struct spy_mixed_frame f = spy_dump_frame(s, i);
        spy_buf_puts(out, i ? ",\n        " : "\n        ");
        if (f.is_native)
            put_native_json(p, f.call, out);
        else
            put_frame_json(p, s, f.python, &walk, out);
        if (!f.is_native && p->running &&
            spy_dump_running_is_at(p->running, p->python, s->thread, &walk.task))
            put_task_frame_json(p, out);
    }
    spy_buf_puts(out, "\n    ],\n    \"process_info\": ");
    put_family(p, out);
    spy_buf_puts(out, "\n  }");
}
