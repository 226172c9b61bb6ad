// Threads as text, laid out as py-spy does it.
#include "agent/cli/cli.h"
#include "agent/cli/dump.h"
#include "agent/cli/dump_async.h"
#include "shared/base/text.h"
#include "shared/formats/format.h"
#include <limits.h>
#include <string.h>
#include <unistd.h>

// --- what stands before the threads ---

// The process and its Python. The texts are chosen by the process.
static void put_process_head(const struct spy_dump_process *p, const char *command,
                             const char *program, struct spy_buf *out)
{
    spy_buf_printf(out, "Process %d: ", (int)p->pid);
    spy_buf_shown(out, command);
    spy_buf_printf(out, "\nPython v%s (", spy_python_runtime(p->python)->version);
    spy_buf_shown(out, program);
    spy_buf_puts(out, ")\n");
}

static void put_core_header(const struct spy_dump_process *p, struct spy_buf *out)
{
    int signal = p->about.signal;
    const char *name = signal ? sigabbrev_np(signal) : NULL;
    if (name)
        spy_buf_printf(out, "Signal %d (SIG%s): ", signal, name);
    else
        spy_buf_printf(out, "Signal %d: ", signal);
    spy_buf_shown(out, p->core);
    spy_buf_putc(out, '\n');
    put_process_head(p, p->about.args, spy_python_runtime(p->python)->module, out);
}

static void put_parent(const struct spy_dump_process *p, struct spy_buf *out)
{
    char cmdline[4096];
    if (!p->family || !p->index)
        return;
    pid_t parent = p->family->list[p->family->list[p->index].parent].pid;
    spy_cli_cmdline(parent, cmdline, sizeof cmdline);
    spy_buf_printf(out, "Parent Process %d: ", (int)parent);
    spy_buf_shown(out, cmdline);
    spy_buf_putc(out, '\n');
}

void spy_dump_header_text(const struct spy_dump_process *p, bool first, struct spy_buf *out)
{
    enum { RULE = 80 };
    char cmdline[4096], name[32], exe[PATH_MAX];
    if (!first)
        spy_buf_printf(out, "\n%.*s\n", RULE,
                       "----------------------------------------"
                       "----------------------------------------");
    if (p->core) {
        put_core_header(p, out);
    } else {
        spy_cli_cmdline(p->pid, cmdline, sizeof cmdline);
        ssize_t n =
            readlinkat(spy_target_proc_fd(p->target),
                       spy_target_file(p->target, "exe", name, sizeof name), exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = 0;
        put_process_head(p, cmdline, exe, out);
        put_parent(p, out);
    }
    spy_buf_putc(out, '\n');
}

// --- a thread ---

static const char *name_state(const struct spy_py_stack *st)
{
    return !st->running && !st->runnable ? "idle" : st->holds_gil ? "active+gil" : "active";
}

// " [waits for the GIL, interpreter 1]"
static void put_situation(const struct spy_dump_thread *s, struct spy_buf *out)
{
    char interpreter[32];
    snprintf(interpreter, sizeof interpreter, "interpreter %d", (int)s->situation.interpreter);
    const struct {
        bool is_so;
        const char *text;
    } facts[] = {{s->r == 0 && s->stack.waits_gil, "waits for the GIL"},
                 {s->drops_gil, "is asked to drop the GIL"},
                 {s->collects, "collects garbage"},
                 {s->situation.interpreter > 0, interpreter},
                 {s->system != NULL, "not known to Python"}};
    const char *between = " [";
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        if (!facts[i].is_so)
            continue;
        spy_buf_printf(out, "%s%s", between, facts[i].text);
        between = ", ";
    }
    spy_buf_puts(out, between[0] == ',' ? "]" : "");
}

// In a core file it is not known which threads were running; like py-spy, this marks the holder of
// the GIL.
static void put_thread_title(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                             struct spy_buf *out)
{
    const char *name = spy_dump_name(s);
    spy_buf_printf(out, "Thread %d", (int)spy_dump_tid(s));
    if (!p->core)
        spy_buf_printf(out, " (%s)", s->r < 0 ? "unknown" : name_state(&s->stack));
    else if (s->r == 0 && s->stack.holds_gil)
        spy_buf_puts(out, " (gil)");
    if (!p->core || name[0]) {
        spy_buf_puts(out, ": \"");
        spy_buf_shown(out, name);
        spy_buf_putc(out, '"');
    }
    put_situation(s, out);
    spy_buf_putc(out, '\n');
}

static const char *name_failure(int code)
{
    return code == SPY_ERR_LIMIT
               ? "too many files are open, raise the limit (ulimit -n), so its state is unknown"
           : code == SPY_ERR_AGAIN ? "its thread is not known yet"
                                   : spy_code_name(code);
}

void spy_dump_put_frame(const struct spy_dump_process *p, const struct spy_py_frame *f,
                        const char *indent, struct spy_buf *out)
{
    const struct spy_code *c = spy_codes_at(spy_python_codes(p->python), f->code);
    spy_buf_puts(out, indent);
    spy_buf_shown(out, c->name);
    spy_buf_puts(out, " (");
    spy_buf_shown(out, spy_dump_filename(p, c->filename));
    spy_buf_printf(out, ":%u)\n", f->line);
}

static void put_native_name(const struct spy_dump_process *p, const struct spy_mixed_name *name,
                            struct spy_buf *out)
{
    spy_buf_puts(out, "    ");
    spy_buf_shown(out, name->function);
    spy_buf_puts(out, " (");
    spy_buf_shown(out, p->full_filenames ? name->file : spy_short_filename(name->file));
    if (name->line)
        spy_buf_printf(out, ":%u", name->line);
    spy_buf_puts(out, ")\n");
}

static void put_native_frame(const struct spy_dump_process *p, uint64_t call, struct spy_buf *out)
{
    struct spy_mixed_name names[SPY_MIXED_NAMES_MAX];
    for (size_t i = 0, n = spy_mixed_names(p->native, call, names); i < n; i++)
        put_native_name(p, &names[i], out);
}

static void put_task_line(const struct spy_dump_process *p, struct spy_buf *out)
{
    spy_buf_puts(out, "    task ");
    spy_buf_shown(out, p->running->task.name);
    spy_buf_putc(out, '\n');
}

void spy_dump_thread_text(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                          struct spy_buf *out)
{
    put_thread_title(p, s, out);
    if (s->r < 0) {
        spy_buf_printf(out, "    (its stack could not be read: %s)\n", name_failure(s->r));
        return;
    }
    if (s->stack.how == SPY_PY_SALVAGED)
        spy_buf_puts(out, "    (newer frames change too fast to be read without --blocking)\n");
    size_t at = 0;
    for (size_t i = 0; i < spy_dump_n_frames(s); i++) {
        struct spy_mixed_frame f = spy_dump_frame(s, i);
        if (f.is_native) {
            put_native_frame(p, f.call, out);
            continue;
        }
        spy_dump_put_frame(p, &s->stack.frames[f.python], "    ", out);
        spy_dump_locals_text(p->locals, p->python, s->thread, f.python, out);
        if (p->running && spy_dump_running_is_at(p->running, p->python, s->thread, &at))
            put_task_line(p, out);
    }
    if (s->stack.truncated)
        spy_buf_puts(out, "    (deeper frames left out)\n");
}
