// podspy dump: the stack of every thread of one process, now or when its core file was written.
#include "agent/cli/attach.h"
#include "agent/cli/cli.h"
#include "agent/cli/dump_locals.h"
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

enum { KEY_NONBLOCKING = 300, KEY_BLOCKING, KEY_FULL, KEY_REDACT };
enum { OUTPUT_MAX = 256 << 20 };

struct dump {
    struct spy_hung_reads *reads; // of a live process
    const char *process;          // --pid as it was given
    pid_t pid;
    struct spy_target *target; // borrowed
    const char *core;          // the file; NULL: a live process
    struct spy_core about;
    bool json, full_filenames;
    struct spy_dump_locals *locals; // borrowed
    enum spy_pausing pausing;
    struct spy_err *err;
};

static const struct argp_option dump_options[] = {
    {"pid", 'p', "PID", 0,
     "the process: its id, or a pattern that the command line of one process matches", 0},
    {"core", 'c', "FILE", 0, "a core file instead of a process", 0},
    {"json", 'j', 0, 0, "as JSON", 0},
    {"locals", 'l', 0, 0, "also the variables of each frame; -ll: more of each value", 0},
    {"redact", KEY_REDACT, 0, 0, "hide values whose names look like secrets", 0},
    {"nonblocking", KEY_NONBLOCKING, 0, 0, "never pause a thread", 0},
    {"blocking", KEY_BLOCKING, 0, 0, "pause each thread while it is read", 0},
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {0},
};

static const struct spy_cli_option dump_stored_options[] = {
    {'p', SPY_CLI_TEXT, offsetof(struct dump, process)},
    {'c', SPY_CLI_TEXT, offsetof(struct dump, core)},
    {'j', SPY_CLI_FLAG, offsetof(struct dump, json)},
    {KEY_FULL, SPY_CLI_FLAG, offsetof(struct dump, full_filenames)},
    {0},
};

static int parse_dump_option(int key, char *arg, struct argp_state *state)
{
    struct dump *d = state->input;
    int r = 0;
    switch (key) {
    case 'l':
        d->locals->level += d->locals->level < SPY_PY_VALUE_LEVEL_MAX;
        break;
    case KEY_REDACT:
        d->locals->redact = true;
        break;
    case KEY_NONBLOCKING:
    case KEY_BLOCKING:
        if (d->pausing != SPY_PAUSE_AUTO)
            argp_error(state, "--blocking and --nonblocking exclude each other");
        d->pausing = key == KEY_BLOCKING ? SPY_PAUSE_ALWAYS : SPY_PAUSE_NEVER;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; give the process as --pid PID", arg);
        break;
    case ARGP_KEY_END:
        if (!d->process && !d->core)
            argp_error(state, "give a process: --pid PID, or a core file: --core FILE");
        if (d->process && d->core)
            argp_error(state, "--pid and --core exclude each other");
        if (d->core && d->pausing != SPY_PAUSE_AUTO)
            argp_error(state, "nothing runs in a core file: --blocking and --nonblocking are for "
                              "processes");
        break;
    default:
        r = spy_cli_store(dump_stored_options, key, arg, d, d->err);
        if (r == SPY_ERR_NOTFOUND)
            return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", d->err->msg);
    return 0;
}

// One thread as it was read; r: why there is no stack.
struct shot {
    const struct spy_py_thread *thread;
    struct spy_py_stack stack;
    int r;
};

static const char *name_state(const struct spy_py_stack *st)
{
    return !st->running && !st->runnable ? "idle" : st->holds_gil ? "active+gil" : "active";
}

// A core does not tell which threads were running; like py-spy, this marks the holder of the GIL.
static void print_thread_title(const struct dump *d, const struct shot *s, struct spy_buf *out)
{
    const char *name = spy_py_thread_name(s->thread);
    spy_buf_printf(out, "Thread %d", (int)spy_py_thread_tid(s->thread));
    if (!d->core)
        spy_buf_printf(out, " (%s)", s->r < 0 ? "unknown" : name_state(&s->stack));
    else if (s->r == 0 && s->stack.holds_gil)
        spy_buf_puts(out, " (gil)");
    if (!d->core || name[0]) {
        spy_buf_puts(out, ": \"");
        spy_buf_shown(out, name);
        spy_buf_putc(out, '"');
    }
    spy_buf_putc(out, '\n');
}

static const char *choose_filename(const struct dump *d, const struct spy_code *c)
{
    return d->full_filenames ? c->filename : spy_short_filename(c->filename);
}

static const char *name_failure(int code)
{
    return code == SPY_ERR_LIMIT
               ? "too many files are open, raise the limit (ulimit -n), so its state is unknown"
           : code == SPY_ERR_AGAIN ? "its thread is not known yet"
                                   : spy_code_name(code);
}

static void print_thread_text(const struct dump *d, struct spy_python *py, const struct shot *s,
                              struct spy_buf *out)
{
    print_thread_title(d, s, out);
    if (s->r < 0)
        spy_buf_printf(out, "    (its stack could not be read: %s)\n", name_failure(s->r));
    if (s->r == 0 && s->stack.how == SPY_PY_SALVAGED)
        spy_buf_puts(out, "    (newer frames change too fast to be read without --blocking)\n");
    for (size_t i = 0; s->r == 0 && i < s->stack.n; i++) {
        const struct spy_py_frame *f = &s->stack.frames[i];
        const struct spy_code *c = spy_codes_at(spy_python_codes(py), f->code);
        spy_buf_puts(out, "    ");
        spy_buf_shown(out, c->name);
        spy_buf_puts(out, " (");
        spy_buf_shown(out, choose_filename(d, c));
        spy_buf_printf(out, ":%u)\n", f->line);
        spy_dump_locals_text(d->locals, py, s->thread, i, out);
    }
    if (s->r == 0 && s->stack.truncated)
        spy_buf_puts(out, "    (deeper frames left out)\n");
}

static void put_json_text(struct spy_buf *out, const char *text)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

static void print_frame_json(const struct spy_code *c, uint32_t line, struct spy_location where,
                             struct spy_buf *out)
{
    spy_buf_puts(out, "        {\"name\": ");
    put_json_text(out, c->name);
    spy_buf_puts(out, ", \"filename\": ");
    put_json_text(out, c->filename);
    spy_buf_puts(out, ", \"module\": null, \"short_filename\": ");
    put_json_text(out, spy_short_filename(c->filename));
    spy_buf_printf(out,
                   ", \"line\": %u, \"column\": %u, \"end_line\": %u, \"end_column\": %u, "
                   "\"locals\": ",
                   line, where.column, where.end_line, where.end_column);
}

static void print_thread_json(const struct dump *d, struct spy_python *py, const struct shot *s,
                              struct spy_buf *out)
{
    bool ok = s->r == 0;
    spy_buf_printf(out, "  {\n    \"pid\": %d,\n    \"thread_id\": %llu,\n    \"thread_name\": ",
                   (int)d->pid, (unsigned long long)spy_py_thread_ident(s->thread));
    put_json_text(out, spy_py_thread_name(s->thread));
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
        print_frame_json(spy_codes_at(spy_python_codes(py), f->code), f->line,
                         spy_python_location(py, s->thread, i, &at), out);
        spy_dump_locals_json(d->locals, py, s->thread, i, out);
        spy_buf_putc(out, '}');
    }
    spy_buf_puts(out, "\n    ],\n    \"process_info\": null\n  }");
}

// The process and its Python, and an empty line. The texts are chosen by the process.
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

static void print_dump_header(const struct dump *d, const struct spy_python *py,
                              struct spy_buf *out)
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

// Reading a core file may take any time: its disk may be slow.
static struct spy_hung_mark *get_mark(const struct dump *d)
{
    return d->core ? NULL : &d->reads->mark;
}

// Reads a thread again while its memory changes, before it settles for a part of the stack or
// SPY_ERR_TORN.
static int read_thread_stack(const struct dump *d, struct spy_python *py, struct spy_py_thread *th,
                             const struct spy_py_options *o, struct spy_py_stack *ret)
{
    enum { TRIES = 20, FOR_THE_WHOLE = 10 };
    int r = SPY_ERR_TORN;
    bool part = false;
    spy_hung_mark_begin(get_mark(d), d->pid);
    for (int i = 0;
         i < TRIES && (r == SPY_ERR_TORN || (part && i < FOR_THE_WHOLE)) && !spy_cli_stop; i++) {
        r = spy_python_sample(py, th, o, ret);
        part = r == 0 && ret->how == SPY_PY_SALVAGED;
    }
    spy_hung_mark_end(get_mark(d));
    return r;
}

// What a thread was doing is known only from before it is held.
static void take_state(struct spy_py_stack *st, const struct spy_py_stack *before)
{
    st->running = before->running;
    st->runnable = before->runnable;
    st->holds_gil = before->holds_gil;
    st->waits_gil = before->waits_gil;
    st->collecting = before->collecting;
}

// Reads the stack once more while the thread is held, so that its variables are those of its frames.
// Returns false if it cannot be held.
static bool hold_thread(const struct dump *d, struct spy_python *py, struct spy_py_thread *th,
                        const struct spy_py_options *o, struct shot *s, int *ret_signal)
{
    struct spy_py_options held = {.pausing = SPY_PAUSE_NEVER};
    struct spy_py_stack before = s->stack;
    pid_t tid = spy_py_thread_tid(th);
    if (s->r < 0 || !d->locals->level || d->core || d->pausing == SPY_PAUSE_NEVER || !tid ||
        spy_pause_begin(o->pause, tid, ret_signal) < 0)
        return false;
    s->r = read_thread_stack(d, py, th, &held, &s->stack);
    take_state(&s->stack, &before);
    return true;
}

static int print_thread(const struct dump *d, struct spy_python *py, struct spy_py_thread *th,
                        const struct spy_py_options *o, bool first, struct spy_buf *out)
{
    struct shot s = {.thread = th};
    int signal = 0;
    uint64_t deadline = 0;
    s.r = read_thread_stack(d, py, th, o, &s.stack);
    bool held = hold_thread(d, py, th, o, &s, &signal);
    if (held)
        deadline = spy_clock_mono_ns() + SPY_DUMP_HOLD_MS * SPY_NS_PER_MS;
    int r = 0;
    if (s.r != SPY_ERR_GONE) {
        spy_hung_mark_begin(get_mark(d), d->pid);
        r = spy_dump_locals_begin(d->locals, d->target, spy_python_runtime(py), deadline);
        spy_buf_puts(out, d->json && !first ? ",\n" : "");
        if (r == 0)
            (d->json ? print_thread_json : print_thread_text)(d, py, &s, out);
        spy_dump_locals_end(d->locals);
        spy_hung_mark_end(get_mark(d));
    }
    if (held)
        spy_pause_end(o->pause, spy_py_thread_tid(th), signal);
    return r < 0 ? r : s.r != SPY_ERR_GONE;
}

static int print_threads(const struct dump *d, struct spy_python *py, struct spy_buf *out)
{
    struct spy_pause pause = {0};
    struct spy_py_options o = {.pausing = d->pausing, .pause = &pause};
    if (d->json)
        spy_codes_keep_tables(spy_python_codes(py));
    size_t n = spy_python_n_threads(py), printed = 0;
    for (size_t k = 0; k < n && !spy_cli_stop; k++) {
        // Like py-spy: the oldest thread first as text, the newest first as JSON.
        struct spy_py_thread *th = spy_python_thread(py, d->json ? n - 1 - k : k);
        int r = print_thread(d, py, th, &o, !printed, out);
        if (r < 0)
            return r;
        printed += r > 0;
    }
    if (spy_python_n_left_out(py) && !d->json)
        spy_buf_printf(out, "%zu threads left out: those that have not run for the longest time\n",
                       spy_python_n_left_out(py));
    else if (spy_python_n_left_out(py))
        fprintf(stderr, "podspy: %zu threads are left out\n", spy_python_n_left_out(py));
    spy_pause_done(&pause);
    return out->failed;
}

SPY_CLEANUP(free_target, struct spy_target, spy_target_free)
SPY_CLEANUP(free_python, struct spy_python, spy_python_free)

// A core leaves out the contents of mapped files. If such a file is missing here, Python cannot be
// found in the core.
static int attach_core(const struct dump *d, struct spy_target *t, struct spy_python **ret,
                       struct spy_err *err)
{
    int r = spy_python_attach(t, ret, err);
    if (r == 0)
        return 0;
    const char *missing = spy_core_missing(t);
    if (d->about.cut_bytes)
        return spy_err_set(err, r, 0, "%s is cut off: %llu bytes are missing, including Python",
                           d->core, (unsigned long long)d->about.cut_bytes);
    if (missing[0])
        return spy_err_set(
            err, r, 0,
            "the Python in %s cannot be found or read: the mapped file %s is missing here, "
            "or is another version",
            d->core, missing);
    return spy_err_context(err, r, "%s", d->core);
}

static int attach_process(const struct dump *d, struct spy_target *t, struct spy_python **ret,
                          struct spy_err *err)
{
    spy_hung_mark_begin(get_mark(d), d->pid);
    int r = spy_python_attach(t, ret, err);
    spy_hung_mark_end(get_mark(d));
    return r;
}

static int attach_subject(struct dump *d, struct spy_target **t, struct spy_python **py,
                          struct spy_err *err)
{
    char shown[PATH_MAX];
    int r = d->core ? spy_core_open(d->core, t, &d->about, err)
                    : spy_cli_find_process(d->process, &d->pid, err);
    if (r == 0 && !d->core)
        r = spy_target_open(d->pid, t, err);
    if (r < 0)
        return r;
    d->target = *t;
    d->pid = spy_target_pid(*t);
    r = d->core ? attach_core(d, *t, py, err) : attach_process(d, *t, py, err);
    if (r < 0)
        return r;
    spy_cli_print_other(d->pid, spy_python_runtime(*py));
    spy_hung_mark_begin(get_mark(d), d->pid);
    r = spy_python_refresh(*py);
    spy_hung_mark_end(get_mark(d));
    if (d->core && (r < 0 || !spy_python_n_threads(*py)))
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "%s does not contain the memory of its interpreter%s", d->core,
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
        print_dump_header(d, py, &out);
    int r = print_threads(d, py, &out);
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted");
    spy_buf_puts(&out, d->json ? "\n]\n" : "");
    if (r == SPY_ERR_NOMEM || out.failed == SPY_ERR_NOMEM)
        return spy_err_nomem(err);
    if (r < 0 || out.failed)
        return spy_err_set(err, out.failed, 0, "the stacks are larger than %d bytes", OUTPUT_MAX);
    if (out.len)
        fwrite(out.data, 1, out.len, stdout);
    return spy_cli_flush(err);
}

static int run_dump(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = dump_options,
        .parser = parse_dump_option,
        .args_doc = "-p PID\n--core FILE",
        .doc = "Prints the stack of every thread of a Python process.",
    };
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    _cleanup_(spy_dump_locals_done) struct spy_dump_locals locals = {0};
    struct dump d = {.reads = &reads, .locals = &locals, .pausing = SPY_PAUSE_AUTO, .err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &d);
    spy_cli_catch_signals();
    _cleanup_(free_target) struct spy_target *t = NULL;
    _cleanup_(free_python) struct spy_python *py = NULL;
    int r = spy_hung_reads_begin(&reads, spy_hung_reads_fail, NULL, err);
    if (r == 0)
        r = attach_subject(&d, &t, &py, err);
    return r < 0 ? r : print_all(&d, py, err);
}

const struct spy_command spy_command_dump = {
    .name = "dump",
    .summary = "print the stack of every thread of a process, now",
    .options = dump_options,
    .run = run_dump,
};
