// podspy dump: the stack of every thread of one process, now or when its core file was written.
#include "agent/cli/cli.h"
#include "agent/cli/output.h"
#include "agent/cli/subject.h"
#include "agent/daemon/hung_reads.h"
#include "agent/python/python.h"
#include "agent/target/core.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/formats/format.h"
#include <argp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_NONBLOCKING = 300, KEY_BLOCKING, KEY_FULL };
enum { OUTPUT_MAX = 256 << 20 };

struct dump {
    struct spy_hung_reads *reads; // of a live process
    pid_t pid;
    struct spy_target *target; // borrowed
    const char *core;          // the file; NULL: a live process
    struct spy_core about;
    bool json, full_filenames;
    enum spy_pausing pausing;
    struct spy_err *err;
};

const struct argp_option spy_cli_dump_options[] = {
    {"pid", 'p', "PID", 0, "the process, in decimal or 0x hexadecimal", 0},
    {"core", 'c', "FILE", 0, "a core file instead of a process", 0},
    {"json", 'j', 0, 0, "as JSON", 0},
    {"nonblocking", KEY_NONBLOCKING, 0, 0, "never pause a thread", 0},
    {"blocking", KEY_BLOCKING, 0, 0, "pause each thread while it is read", 0},
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {0},
};

static int parse_option(int key, char *arg, struct argp_state *state)
{
    struct dump *d = state->input;
    switch (key) {
    case 'p':
        if (spy_cli_pid(arg, &d->pid, d->err) < 0)
            argp_error(state, "%s", d->err->msg);
        break;
    case 'c':
        d->core = arg;
        break;
    case 'j':
        d->json = true;
        break;
    case KEY_NONBLOCKING:
    case KEY_BLOCKING:
        if (d->pausing != SPY_PAUSE_AUTO)
            argp_error(state, "--blocking and --nonblocking exclude each other");
        d->pausing = key == KEY_BLOCKING ? SPY_PAUSE_ALWAYS : SPY_PAUSE_NEVER;
        break;
    case KEY_FULL:
        d->full_filenames = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; give the process as --pid PID", arg);
        break;
    case ARGP_KEY_END:
        if (!d->pid && !d->core)
            argp_error(state, "give a process: --pid PID, or a core file: --core FILE");
        if (d->pid && d->core)
            argp_error(state, "--pid and --core exclude each other");
        if (d->core && d->pausing != SPY_PAUSE_AUTO)
            argp_error(state, "nothing runs in a core file: --blocking and --nonblocking are for "
                              "processes");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// One thread as it was read; r tells why there is no stack.
struct shot {
    const struct spy_py_thread *thread;
    struct spy_py_stack stack;
    int r;
};

static const char *state_name(const struct spy_py_stack *st)
{
    return !st->running && !st->runnable ? "idle" : st->holds_gil ? "active+gil" : "active";
}

// Of a core nothing says whether a thread ran; py-spy shows only the holder of the GIL there.
static void print_title(const struct dump *d, const struct shot *s, struct spy_buf *out)
{
    const char *name = spy_py_thread_name(s->thread);
    spy_buf_printf(out, "Thread %d", (int)spy_py_thread_tid(s->thread));
    if (!d->core)
        spy_buf_printf(out, " (%s)", s->r < 0 ? "unknown" : state_name(&s->stack));
    else if (s->r == 0 && s->stack.holds_gil)
        spy_buf_puts(out, " (gil)");
    if (!d->core || name[0]) {
        spy_buf_puts(out, ": \"");
        spy_buf_shown(out, name);
        spy_buf_putc(out, '"');
    }
    spy_buf_putc(out, '\n');
}

static const char *file_of(const struct dump *d, const struct spy_code *c)
{
    return d->full_filenames ? c->filename : spy_short_filename(c->filename);
}

static const char *reason_of(int code)
{
    return code == SPY_ERR_LIMIT
               ? "too many files are open, raise the limit (ulimit -n), so its state is not known"
           : code == SPY_ERR_AGAIN ? "its thread is not known yet"
                                   : spy_code_name(code);
}

static void print_text(const struct dump *d, struct spy_python *py, const struct shot *s,
                       struct spy_buf *out)
{
    print_title(d, s, out);
    if (s->r < 0)
        spy_buf_printf(out, "    (its stack could not be read: %s)\n", reason_of(s->r));
    if (s->r == 0 && s->stack.how == SPY_PY_SALVAGED)
        spy_buf_puts(out, "    (newer frames change too fast to be read without --blocking)\n");
    for (size_t i = 0; s->r == 0 && i < s->stack.n; i++) {
        const struct spy_py_frame *f = &s->stack.frames[i];
        const struct spy_code *c = spy_codes_at(spy_python_codes(py), f->code);
        spy_buf_puts(out, "    ");
        spy_buf_shown(out, c->name);
        spy_buf_puts(out, " (");
        spy_buf_shown(out, file_of(d, c));
        spy_buf_printf(out, ":%u)\n", f->line);
    }
    if (s->r == 0 && s->stack.truncated)
        spy_buf_puts(out, "    (deeper frames left out)\n");
}

static void put_json(struct spy_buf *out, const char *text)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

static void json_frame(const struct spy_code *c, uint32_t line, struct spy_location where,
                       struct spy_buf *out)
{
    spy_buf_puts(out, "        {\"name\": ");
    put_json(out, c->name);
    spy_buf_puts(out, ", \"filename\": ");
    put_json(out, c->filename);
    spy_buf_puts(out, ", \"module\": null, \"short_filename\": ");
    put_json(out, spy_short_filename(c->filename));
    spy_buf_printf(out,
                   ", \"line\": %u, \"column\": %u, \"end_line\": %u, \"end_column\": %u, "
                   "\"locals\": null}",
                   line, where.column, where.end_line, where.end_column);
}

static void print_json(const struct dump *d, struct spy_python *py, const struct shot *s,
                       struct spy_buf *out)
{
    bool ok = s->r == 0;
    spy_buf_printf(out, "  {\n    \"pid\": %d,\n    \"thread_id\": %llu,\n    \"thread_name\": ",
                   (int)d->pid, (unsigned long long)spy_py_thread_ident(s->thread));
    put_json(out, spy_py_thread_name(s->thread));
    spy_buf_printf(out,
                   ",\n    \"os_thread_id\": %d,\n    \"active\": %s,\n    \"owns_gil\": %s,\n",
                   (int)spy_py_thread_tid(s->thread),
                   d->core                                         ? "null"
                   : ok && (s->stack.running || s->stack.runnable) ? "true"
                                                                   : "false",
                   ok && s->stack.holds_gil ? "true" : "false");
    spy_buf_printf(out,
                   "    \"error\": %s%s%s,\n    \"truncated\": %s,\n    \"changing\": %s,\n"
                   "    \"frames\": [",
                   ok ? "" : "\"", ok ? "null" : spy_code_name(s->r), ok ? "" : "\"",
                   ok && s->stack.truncated ? "true" : "false",
                   ok && s->stack.how == SPY_PY_SALVAGED ? "true" : "false");
    for (size_t i = 0, at = 0; ok && i < s->stack.n && !spy_cli_stop; i++) {
        const struct spy_py_frame *f = &s->stack.frames[i];
        spy_buf_puts(out, i ? ",\n" : "\n");
        json_frame(spy_codes_at(spy_python_codes(py), f->code), f->line,
                   spy_python_location(py, s->thread, i, &at), out);
    }
    spy_buf_puts(out, "\n    ],\n    \"process_info\": null\n  }");
}

// Whose Python it is: text that the process chose, and one empty line after it.
static void print_process(const struct dump *d, const struct spy_python *py, const char *command,
                          const char *program, struct spy_buf *out)
{
    spy_buf_printf(out, "Process %d: ", (int)d->pid);
    spy_buf_shown(out, command);
    spy_buf_printf(out, "\nPython v%s (", spy_python_runtime(py)->version);
    spy_buf_shown(out, program);
    spy_buf_puts(out, ")\n\n");
}

static void print_core_header(const struct dump *d, const struct spy_python *py,
                              struct spy_buf *out)
{
    const char *name = d->about.signal ? sigabbrev_np(d->about.signal) : NULL;
    if (name)
        spy_buf_printf(out, "Signal %d (SIG%s): ", d->about.signal, name);
    else
        spy_buf_printf(out, "Signal %d: ", d->about.signal);
    spy_buf_shown(out, d->core);
    spy_buf_putc(out, '\n');
    print_process(d, py, d->about.args, spy_python_runtime(py)->module, out);
}

static void print_header(const struct dump *d, const struct spy_python *py, struct spy_buf *out)
{
    if (d->core) {
        print_core_header(d, py, out);
        return;
    }
    char cmdline[4096], name[32], exe[PATH_MAX];
    spy_cli_cmdline(d->pid, cmdline, sizeof cmdline);
    ssize_t n =
        readlinkat(spy_target_proc_fd(d->target),
                   spy_target_file(d->target, "exe", name, sizeof name), exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    print_process(d, py, cmdline, exe, out);
}

// A core file's bytes are read where it lies, and take the time that takes.
static struct spy_hung_mark *mark_of(const struct dump *d)
{
    return d->core ? NULL : &d->reads->mark;
}

// A thread is read again when its memory was changing; only then is a part of its stack the answer,
// or "could not be read".
static int shoot(const struct dump *d, struct spy_python *py, struct spy_py_thread *th,
                 const struct spy_py_options *o, struct spy_py_stack *ret)
{
    enum { TRIES = 20, FOR_THE_WHOLE = 10 };
    int r = SPY_ERR_TORN;
    bool part = false;
    spy_hung_mark_begin(mark_of(d), d->pid);
    for (int i = 0;
         i < TRIES && (r == SPY_ERR_TORN || (part && i < FOR_THE_WHOLE)) && !spy_cli_stop; i++) {
        r = spy_python_sample(py, th, o, ret);
        part = r == 0 && ret->how == SPY_PY_SALVAGED;
    }
    spy_hung_mark_end(mark_of(d));
    return r;
}

static int print_threads(const struct dump *d, struct spy_python *py, struct spy_buf *out)
{
    struct spy_pause pause = {0};
    struct spy_py_options o = {.pausing = d->pausing, .pause = &pause};
    if (d->json)
        spy_codes_keep_tables(spy_python_codes(py));
    size_t n = spy_python_n_threads(py), printed = 0;
    for (size_t k = 0; k < n && !spy_cli_stop; k++) {
        // As py-spy does: the oldest first as text, the newest first as JSON.
        struct spy_py_thread *th = spy_python_thread(py, d->json ? n - 1 - k : k);
        struct shot s = {.thread = th};
        s.r = shoot(d, py, th, &o, &s.stack);
        if (s.r == SPY_ERR_GONE)
            continue;
        if (d->json && printed++)
            spy_buf_puts(out, ",\n");
        (d->json ? print_json : print_text)(d, py, &s, out);
    }
    if (spy_python_n_left_out(py) && !d->json)
        spy_buf_printf(out, "%zu threads left out: those that have not run for the longest\n",
                       spy_python_n_left_out(py));
    else if (spy_python_n_left_out(py))
        fprintf(stderr, "podspy: %zu threads are left out\n", spy_python_n_left_out(py));
    spy_pause_done(&pause);
    return out->failed;
}

SPY_CLEANUP(target_done, struct spy_target, spy_target_free)
SPY_CLEANUP(python_done, struct spy_python, spy_python_free)

// What a core leaves out lies in the files that were mapped: where one of those is not here, that
// is why there is no Python to be found.
static int attach_core(const struct dump *d, struct spy_target *t, struct spy_python **ret,
                       struct spy_err *err)
{
    int r = spy_python_attach(t, ret, err);
    if (r == 0)
        return 0;
    const char *missing = spy_core_missing(t);
    if (d->about.cut_bytes)
        return spy_err_set(err, r, 0,
                           "%s is cut off: %llu bytes are missing, and Python among them", d->core,
                           (unsigned long long)d->about.cut_bytes);
    if (missing[0])
        return spy_err_set(
            err, r, 0,
            "the Python in %s cannot be found or read: the file %s that was mapped is "
            "not here, or another version of it is",
            d->core, missing);
    return spy_err_context(err, r, "%s", d->core);
}

static int attach_process(const struct dump *d, struct spy_target *t, struct spy_python **ret,
                          struct spy_err *err)
{
    spy_hung_mark_begin(mark_of(d), d->pid);
    int r = spy_python_attach(t, ret, err);
    spy_hung_mark_end(mark_of(d));
    return r;
}

static int attach(struct dump *d, struct spy_target **t, struct spy_python **py,
                  struct spy_err *err)
{
    char shown[PATH_MAX];
    if (!d->core)
        spy_cli_resolve_thread(&d->pid);
    int r = d->core ? spy_core_open(d->core, t, &d->about, err) : spy_target_open(d->pid, t, err);
    if (r < 0)
        return r;
    d->target = *t;
    d->pid = spy_target_pid(*t);
    r = d->core ? attach_core(d, *t, py, err) : attach_process(d, *t, py, err);
    if (r < 0)
        return r;
    spy_cli_note_other(d->pid, spy_python_runtime(*py));
    spy_hung_mark_begin(mark_of(d), d->pid);
    r = spy_python_refresh(*py);
    spy_hung_mark_end(mark_of(d));
    if (d->core && (r < 0 || !spy_python_n_threads(*py)))
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "%s does not hold the memory of its interpreter%s", d->core,
                           d->about.cut_bytes ? ": it is cut off" : "");
    if (r < 0)
        return spy_err_set(err, r, 0, "process %d has ended", (int)d->pid);
    if (d->about.cut_bytes)
        fprintf(stderr, "podspy: %s is cut off: %llu bytes are missing\n",
                spy_text_show(shown, sizeof shown, d->core),
                (unsigned long long)d->about.cut_bytes);
    return 0;
}

static int print_all(const struct dump *d, struct spy_python *py, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    if (d->json)
        spy_buf_puts(&out, "[\n");
    else
        print_header(d, py, &out);
    int r = print_threads(d, py, &out);
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted");
    spy_buf_puts(&out, d->json ? "\n]\n" : "");
    if (r < 0 || out.failed)
        return spy_err_set(err, out.failed, 0, "the stacks are larger than %d bytes", OUTPUT_MAX);
    if (out.len)
        fwrite(out.data, 1, out.len, stdout);
    return spy_cli_flush(err);
}

int spy_cli_dump(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = spy_cli_dump_options,
        .parser = parse_option,
        .args_doc = "-p PID\n--core FILE",
        .doc = "Prints the stack of every thread of a Python process.",
    };
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    struct dump d = {.reads = &reads, .pausing = SPY_PAUSE_AUTO, .err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &d);
    spy_cli_catch_signals();
    _cleanup_(target_done) struct spy_target *t = NULL;
    _cleanup_(python_done) struct spy_python *py = NULL;
    int r = spy_hung_reads_begin(&reads, spy_hung_reads_fail, NULL, err);
    if (r == 0)
        r = attach(&d, &t, &py, err);
    return r < 0 ? r : print_all(&d, py, err);
}
