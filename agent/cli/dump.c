// podspy dump: the stack of every thread of a process and, if asked for, of its descendants, now; or
// when a core file was written.
#include "agent/cli/dump.h"
#include "agent/cli/attach.h"
#include "agent/cli/cli.h"
#include "agent/cli/dump_async.h"
#include "agent/cli/output.h"
#include "agent/cli/pausing.h"
#include "agent/cli/subject.h"
#include "agent/daemon/hung_reads.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/formats/format.h"
#include <argp.h>
#include <limits.h>
#include <string.h>

enum { KEY_FULL = 300, KEY_REDACT, KEY_SYSROOT, KEY_ASYNC };
enum { OUTPUT_MAX = 256 << 20, NATIVE_PATIENCE_NS = 100000000 };

struct dump {
    struct spy_hung_reads *reads; // of live processes
    const char *process;          // --pid as it was given
    pid_t pid;
    const char *core, *sysroot;
    bool json, full_filenames, subprocesses, native, tasks;
    struct spy_mixer *mixer;        // NULL: no native frames
    size_t n_unmerged;              // threads whose native frames could not be had
    struct spy_dump_locals *locals; // borrowed
    struct spy_packages *packages;  // borrowed
    enum spy_pausing pausing;
    struct spy_err *err;
    size_t n_processes, n_threads; // printed
};

static const struct argp_option dump_options[] = {
    {"pid", 'p', "PID", 0,
     "the process: its id, or a pattern that the command line of one process matches", 0},
    {"core", 'c', "FILE", 0, "a core file instead of a process", 0},
    {"sysroot", KEY_SYSROOT, "DIR", 0, "the files that the core's process had are below DIR", 0},
    {"json", 'j', 0, 0, "as JSON", 0},
    {"subprocesses", 's', 0, 0, "also its descendants", 0},
    {"locals", 'l', 0, 0, "also the variables of each frame; -ll: more of each value", 0},
    {"native", 'n', 0, 0, "native frames of the C stack, too; pauses threads", 0},
    {"async", KEY_ASYNC, 0, 0, "also the asyncio tasks: what each awaits, and who awaits it", 0},
    {"redact", KEY_REDACT, 0, 0, "hide values whose names look like secrets", 0},
    SPY_CLI_PAUSING_OPTIONS("while it is read"),
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {0},
};

static const struct spy_cli_option dump_stored_options[] = {
    {'p', SPY_CLI_TEXT, offsetof(struct dump, process)},
    {'c', SPY_CLI_TEXT, offsetof(struct dump, core)},
    {KEY_SYSROOT, SPY_CLI_TEXT, offsetof(struct dump, sysroot)},
    {'j', SPY_CLI_FLAG, offsetof(struct dump, json)},
    {'s', SPY_CLI_FLAG, offsetof(struct dump, subprocesses)},
    {'n', SPY_CLI_FLAG, offsetof(struct dump, native)},
    {KEY_ASYNC, SPY_CLI_FLAG, offsetof(struct dump, tasks)},
    {KEY_FULL, SPY_CLI_FLAG, offsetof(struct dump, full_filenames)},
    {0},
};

static void check_dump_options(const struct dump *d, const struct argp_state *state)
{
    if (!d->process && !d->core)
        argp_error(state, "give a process: --pid PID, or a core file: --core FILE");
    if (d->process && d->core)
        argp_error(state, "--pid and --core exclude each other");
    if (d->core && d->pausing != SPY_PAUSE_AUTO)
        argp_error(state,
                   "nothing runs in a core file: --blocking and --nonblocking are for processes");
    if (d->core && d->subprocesses)
        argp_error(state, "a core file holds one process: --subprocesses is for processes");
    if (d->native && d->core)
        argp_error(state, "--native pauses threads: leave out --core");
    spy_cli_check_pausing(d->pausing, d->native, state);
    if (d->sysroot && !d->core)
        argp_error(state, "--sysroot is for core files");
}

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
    case SPY_CLI_NONBLOCKING:
    case SPY_CLI_BLOCKING:
        spy_cli_take_pausing(key, &d->pausing, state);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; give the process as --pid PID", arg);
        break;
    case ARGP_KEY_END:
        check_dump_options(d, state);
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

const char *spy_dump_short_filename(const struct spy_dump_process *p, const char *filename)
{
    spy_packages_look_up(p->packages, p->target, filename);
    const char *known = spy_packages_shorten(p->packages, filename);
    return known ? known : spy_short_filename(filename);
}

const char *spy_dump_filename(const struct spy_dump_process *p, const char *filename)
{
    return p->full_filenames ? filename : spy_dump_short_filename(p, filename);
}

// --- threads ---

// Reading a core file may take any time: its disk may be slow.
static struct spy_hung_mark *get_mark(const struct dump *d)
{
    return d->core ? NULL : &d->reads->mark;
}

// Reads a thread again while its memory changes, before it settles for a part of the stack or
// SPY_ERR_TORN.
static int read_thread_stack(const struct dump *d, struct spy_dump_process *p,
                             struct spy_py_thread *th, const struct spy_py_options *o,
                             struct spy_py_stack *ret)
{
    enum { TRIES = 20, FOR_THE_WHOLE = 10 };
    int r = SPY_ERR_TORN;
    bool part = false;
    spy_hung_mark_begin(get_mark(d), p->pid);
    for (int i = 0;
         i < TRIES && (r == SPY_ERR_TORN || (part && i < FOR_THE_WHOLE)) && !spy_cli_stop; i++) {
        r = spy_python_sample(p->python, th, o, ret);
        part = r == 0 && ret->how == SPY_PY_SALVAGED;
    }
    spy_hung_mark_end(get_mark(d));
    return r;
}

// What a thread was doing is known only from before it is held.
static void take_thread_state(struct spy_py_stack *st, const struct spy_py_stack *before)
{
    st->running = before->running;
    st->runnable = before->runnable;
    st->holds_gil = before->holds_gil;
    st->waits_gil = before->waits_gil;
    st->collecting = before->collecting;
}

// Reads the stack once more while the thread is held, so that its variables are those of its frames.
// Returns false if it cannot be held.
static bool hold_thread(const struct dump *d, struct spy_dump_process *p, struct spy_py_thread *th,
                        const struct spy_py_options *o, struct spy_dump_thread *s, int *ret_signal)
{
    struct spy_py_options held = {.pausing = SPY_PAUSE_NEVER};
    struct spy_py_stack before = s->stack;
    pid_t tid = spy_py_thread_tid(th);
    if (s->r < 0 || (!d->locals->level && !p->native) || d->core || d->pausing == SPY_PAUSE_NEVER ||
        !tid || spy_pause_begin(o->pause, tid, ret_signal) < 0)
        return false;
    s->r = read_thread_stack(d, p, th, &held, &s->stack);
    if (p->native)
        spy_dump_native_capture(p, s);
    take_thread_state(&s->stack, &before);
    return true;
}

// Holds the thread for its native frames alone. Before its variables are read, this loads what names
// these frames, which would take long while it is held.
static void read_native(struct dump *d, struct spy_dump_process *p, struct spy_py_thread *th,
                        const struct spy_py_options *o, struct spy_dump_thread *s)
{
    enum { TRIES = 5 };
    bool merged = false;
    for (int i = 0; i < TRIES && s->r == 0 && !merged && !spy_cli_stop; i++) {
        int signal = 0;
        spy_mixed_prepare(p->native, true, true);
        if (hold_thread(d, p, th, o, s, &signal))
            spy_pause_end(o->pause, spy_py_thread_tid(th), signal);
        merged = s->r == 0 && spy_dump_native_merge(p, s);
    }
    d->n_unmerged += s->r == 0 && !merged;
}

// The flag belongs to the interpreter: the thread that holds the GIL collects or, without a GIL, the
// thread that runs while the others are stopped.
static void read_situation(const struct spy_dump_process *p, struct spy_dump_thread *s)
{
    const struct spy_py_stack *st = &s->stack;
    if (!s->system)
        s->situation = spy_python_situation(p->python, s->thread);
    if (s->r < 0)
        return;
    bool free_threaded = spy_python_runtime(p->python)->layout.free_threaded;
    s->drops_gil = st->holds_gil && s->situation.asked_to_drop;
    s->collects = st->collecting && (free_threaded ? st->running : st->holds_gil);
}

static int print_shot(const struct dump *d, struct spy_dump_process *p, struct spy_dump_thread *s,
                      uint64_t deadline, struct spy_buf *out)
{
    spy_hung_mark_begin(get_mark(d), p->pid);
    read_situation(p, s);
    int r = spy_dump_locals_begin(d->locals, p->target, spy_python_runtime(p->python), deadline);
    spy_buf_puts(out, d->json && d->n_threads ? ",\n" : "");
    if (r == 0)
        (d->json ? spy_dump_thread_json : spy_dump_thread_text)(p, s, out);
    spy_dump_locals_end(d->locals);
    spy_hung_mark_end(get_mark(d));
    return r;
}

static int print_thread(struct dump *d, struct spy_dump_process *p, struct spy_py_thread *th,
                        const struct spy_py_options *o, struct spy_buf *out)
{
    struct spy_dump_thread s = {.thread = th};
    int signal = 0, r = 0;
    uint64_t deadline = 0;
    if (p->running)
        spy_dump_running_begin(p->running, th);
    s.r = read_thread_stack(d, p, th, o, &s.stack);
    if (p->native)
        read_native(d, p, th, o, &s);
    bool held = d->locals->level && hold_thread(d, p, th, o, &s, &signal);
    if (held)
        deadline = spy_clock_mono_ns() + SPY_DUMP_HOLD_MS * SPY_NS_PER_MS;
    if (held && p->native)
        spy_dump_native_merge(p, &s);
    if (p->running)
        spy_dump_running_end(p->running, th);
    if (s.r != SPY_ERR_GONE) {
        r = print_shot(d, p, &s, deadline, out);
        d->n_threads++;
    }
    if (held)
        spy_pause_end(o->pause, spy_py_thread_tid(th), signal);
    return r;
}

// After Python's: a thread that Python knows now is not one of these.
static int print_native_threads(struct dump *d, struct spy_dump_process *p, struct spy_pause *pause,
                                struct spy_buf *out)
{
    int r = 0;
    spy_native_threads_settle(p->threads, p->python);
    for (size_t i = 0; i < spy_native_threads_n(p->threads) && r == 0 && !spy_cli_stop; i++) {
        struct spy_dump_thread s;
        spy_hung_mark_begin(get_mark(d), p->pid);
        bool whole = spy_dump_native_read(p, i, pause, &s);
        spy_hung_mark_end(get_mark(d));
        if (s.r == SPY_ERR_GONE)
            continue;
        d->n_unmerged += !whole;
        r = print_shot(d, p, &s, 0, out);
        d->n_threads++;
    }
    return r;
}

static int print_threads(struct dump *d, struct spy_dump_process *p, struct spy_buf *out)
{
    struct spy_pause pause = {.patience_ns = d->native ? NATIVE_PATIENCE_NS : 0};
    struct spy_py_options o = {.pausing = d->pausing, .pause = &pause};
    if (d->json)
        spy_codes_keep_tables(spy_python_codes(p->python));
    size_t n = spy_python_n_threads(p->python), left_out = spy_python_n_left_out(p->python);
    int r = 0;
    for (size_t k = 0; k < n && r == 0 && !spy_cli_stop; k++) {
        // Like py-spy: the oldest thread first as text, the newest first as JSON.
        size_t i = d->json ? n - 1 - k : k;
        r = print_thread(d, p, spy_python_thread(p->python, i), &o, out);
    }
    if (r == 0 && p->native)
        r = print_native_threads(d, p, &pause, out);
    spy_pause_done(&pause);
    if (left_out && !d->json)
        spy_buf_printf(out, "%zu threads left out: those that have not run for the longest time\n",
                       left_out);
    else if (left_out)
        fprintf(stderr, "podspy: %zu threads are left out\n", left_out);
    return r < 0 ? r : out->failed;
}

// --- processes ---

static void close_process(struct spy_dump_process *p)
{
    spy_native_threads_free(p->threads);
    spy_mixed_free(p->native);
    if (p->python)
        spy_python_free(p->python);
    if (p->target)
        spy_target_free(p->target);
    p->python = NULL;
    p->target = NULL;
}

static const char *name_missing(struct spy_core_missing missing)
{
    return missing.differs ? "is another version here (its build id differs)" : "is missing here";
}

// A core leaves out the contents of mapped files. If such a file is missing here, Python cannot be
// found in the core.
static int attach_core(struct spy_dump_process *p, struct spy_err *err)
{
    int r = spy_python_attach(p->target, &p->python, err);
    if (r == 0)
        return 0;
    if (p->about.cut_bytes)
        return spy_err_set(err, r, 0, "%s is cut off: %llu bytes are missing, including Python",
                           p->core, (unsigned long long)p->about.cut_bytes);
    struct spy_core_missing missing = spy_core_missing(p->target);
    if (missing.path[0])
        return spy_err_set(err, r, 0,
                           "no Python is found in %s without the files of its machine (--sysroot "
                           "DIR): the mapped file %s %s",
                           p->core, missing.path, name_missing(missing));
    return spy_err_context(err, r, "%s", p->core);
}

static int open_core(const struct dump *d, struct spy_dump_process *p, struct spy_err *err)
{
    char shown[PATH_MAX];
    p->core = d->core;
    int r = spy_core_open(d->core, d->sysroot, &p->target, &p->about, err);
    if (r < 0)
        return r;
    p->pid = spy_target_pid(p->target);
    r = attach_core(p, err);
    if (r < 0)
        return r;
    spy_cli_print_other(p->pid, spy_python_runtime(p->python));
    r = spy_python_refresh(p->python);
    if (r < 0 || !spy_python_n_threads(p->python))
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "%s does not contain the memory of its interpreter%s", d->core,
                           p->about.cut_bytes
                               ? ": it is cut off; raise ulimit -c"
                               : "; gcore, or 0x33 in /proc/PID/coredump_filter, writes it");
    if (p->about.cut_bytes)
        fprintf(stderr, "podspy: %s is cut off: %llu bytes are missing\n",
                spy_text_show(shown, sizeof shown, d->core),
                (unsigned long long)p->about.cut_bytes);
    return 0;
}

// The names of types and other constants lie in the mapped files.
static void note_missing_values(const struct dump *d, const struct spy_dump_process *p)
{
    char shown[PATH_MAX];
    struct spy_core_missing missing = spy_core_missing(p->target);
    if (d->core && d->locals->level && missing.path[0])
        fprintf(
            stderr,
            "podspy: some values are not known without the files of its machine (--sysroot DIR): "
            "the mapped file %s %s\n",
            spy_text_show(shown, sizeof shown, missing.path), name_missing(missing));
}

static int check_is_same(const struct spy_dump_process *p, struct spy_err *err)
{
    uint64_t start_time = 0, want = p->family ? p->family->list[p->index].start_time : 0;
    if (want && (spy_target_start_time(p->target, &start_time) < 0 || start_time != want))
        return spy_err_set(err, SPY_ERR_GONE, 0, "process %d has ended", (int)p->pid);
    return 0;
}

static int open_process(const struct dump *d, struct spy_dump_process *p, struct spy_err *err)
{
    int r = spy_target_open(p->pid, &p->target, err);
    if (r == 0)
        r = check_is_same(p, err);
    if (r == 0 && d->mixer && !(p->threads = spy_native_threads_new(p->target)))
        r = spy_err_nomem(err);
    if (r < 0)
        return r;
    spy_hung_mark_begin(get_mark(d), p->pid);
    r = spy_python_attach(p->target, &p->python, err);
    if (r == 0 && spy_python_refresh(p->python) < 0)
        r = spy_err_set(err, SPY_ERR_GONE, 0, "process %d has ended", (int)p->pid);
    spy_hung_mark_end(get_mark(d));
    if (r == 0)
        spy_cli_print_other(p->pid, spy_python_runtime(p->python));
    return r;
}

// --- tasks ---

struct tasks_mark {
    struct spy_hung_mark *mark;
    pid_t pid;
};

// A read may take as long as one for each task, not for all of them.
static void begin_next_task(void *arg)
{
    const struct tasks_mark *m = arg;
    spy_hung_mark_end(m->mark);
    spy_hung_mark_begin(m->mark, m->pid);
}

static int print_tasks(struct dump *d, struct spy_dump_process *p, struct spy_buf *out,
                       struct spy_err *err)
{
    _cleanup_(spy_py_tasks_done) struct spy_py_tasks tasks = {0};
    spy_hung_mark_begin(get_mark(d), p->pid);
    struct tasks_mark m = {get_mark(d), p->pid};
    struct spy_py_tasks_step step = {begin_next_task, &m};
    int r = spy_python_tasks(p->python, step, &tasks);
    spy_hung_mark_end(get_mark(d));
    if (r == SPY_ERR_NOMEM)
        return spy_err_nomem(err);
    if (r == SPY_ERR_NOTFOUND && !d->json)
        spy_buf_puts(out, "No event loop: asyncio is not imported\n");
    if (r < 0 && r != SPY_ERR_NOTFOUND)
        fprintf(stderr, "podspy: the tasks of process %d cannot be read: %s\n", (int)p->pid,
                r == SPY_ERR_UNSUPPORTED
                    ? "--async reads CPython 3.8 to 3.15, free-threaded builds excepted"
                    : spy_code_name(r));
    if (r < 0)
        return 0;
    if (tasks.n_changing || tasks.n_unlisted)
        fprintf(stderr, "podspy: of %zu tasks %zu changed too fast to be read%s\n", tasks.n,
                tasks.n_changing, tasks.n_unlisted ? ", and some may be missing" : "");
    if (!d->json)
        return spy_dump_tasks_text(p, &tasks, out) < 0 ? spy_err_nomem(err) : 0;
    spy_dump_tasks_json(p, &tasks, !d->n_threads, out);
    d->n_threads += tasks.n_loops;
    return 0;
}

// Where tasks cannot be read, print_tasks says so.
static void open_running(const struct dump *d, struct spy_dump_process *p,
                         struct spy_dump_running *running)
{
    spy_hung_mark_begin(get_mark(d), p->pid);
    if (d->tasks && spy_python_running_open(p->python, &running->places) == 0)
        p->running = running;
    spy_hung_mark_end(get_mark(d));
}

static void close_running(struct spy_dump_running *running)
{
    spy_python_running_close(running->places);
}

static int print_process(struct dump *d, struct spy_dump_process *p, struct spy_buf *out,
                         struct spy_err *err)
{
    int r = d->core ? open_core(d, p, err) : open_process(d, p, err);
    if (r < 0)
        return r;
    if (d->mixer && !(p->native = spy_mixed_new(d->mixer, p->target, p->python, true)))
        return spy_err_nomem(err);
    if (!d->json)
        spy_dump_header_text(p, !d->n_processes, out);
    d->n_processes++;
    _cleanup_(close_running) struct spy_dump_running running = {0};
    open_running(d, p, &running);
    r = print_threads(d, p, out);
    if (r == 0 && d->tasks)
        r = print_tasks(d, p, out, err);
    if (r == SPY_ERR_NOMEM || out->failed == SPY_ERR_NOMEM)
        return spy_err_nomem(err);
    if (r < 0)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the stacks are larger than %d bytes",
                           OUTPUT_MAX);
    note_missing_values(d, p);
    return 0;
}

static int dump_process(struct dump *d, const struct spy_descendants *family, size_t index,
                        struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(close_process) struct spy_dump_process p = {.pid = d->pid,
                                                          .family = family,
                                                          .index = index,
                                                          .packages = d->packages,
                                                          .locals = d->locals,
                                                          .full_filenames = d->full_filenames};
    if (family)
        p.pid = family->list[index].pid;
    return print_process(d, &p, out, err);
}

// A descendant that is not Python, or has ended since it was listed, is passed by.
static void note_failure(const struct spy_descendants *family, size_t i, int code,
                         const struct spy_err *err)
{
    char shown[sizeof err->msg * 4];
    if (code != SPY_ERR_NOTFOUND && code != SPY_ERR_GONE)
        fprintf(stderr, "podspy: process %d is left out: %s\n", (int)family->list[i].pid,
                spy_text_show(shown, sizeof shown, err->msg));
}

static int dump_family(struct dump *d, struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(spy_descendants_done) struct spy_descendants family = {0};
    struct spy_err first = {0}, other;
    int r = spy_descendants_find(d->pid, &family);
    if (r < 0)
        return spy_err_set(err, r, 0, "the processes of /proc cannot be listed");
    int result = dump_process(d, &family, 0, out, &first);
    for (size_t i = 1; i < family.n && !out->failed && !spy_cli_stop; i++) {
        r = dump_process(d, &family, i, out, &other);
        if (r < 0 && !out->failed)
            note_failure(&family, i, r, &other);
    }
    if (family.n_left_out)
        fprintf(stderr, "podspy: %zu descendants beyond the first %d are left out\n",
                family.n_left_out, SPY_DESCENDANTS_MAX);
    if (result < 0 && d->n_processes && !out->failed) {
        note_failure(&family, 0, result, &first);
        return 0;
    }
    if (result < 0)
        *err = first;
    else if (out->failed)
        *err = other;
    return result < 0 ? result : out->failed;
}

static int print_all(struct dump *d, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    spy_buf_puts(&out, d->json ? "[\n" : "");
    int r = d->subprocesses ? dump_family(d, &out, err) : dump_process(d, NULL, 0, &out, err);
    if (spy_cli_stop && (r == 0 || r == SPY_ERR_GONE))
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted");
    if (r < 0)
        return r;
    spy_buf_puts(&out, d->json ? "\n]\n" : "");
    if (out.failed)
        return spy_err_set(err, out.failed, 0, "the stacks are larger than %d bytes%s", OUTPUT_MAX,
                           d->locals->level ? "; leave out --locals" : "");
    fwrite(out.data, 1, out.len, stdout);
    if (d->n_unmerged)
        fprintf(stderr, "podspy: the native frames of %zu of %zu threads could not be merged\n",
                d->n_unmerged, d->n_threads);
    return spy_cli_flush(err);
}

SPY_CLEANUP(free_mixer, struct spy_mixer, spy_mixer_free)
SPY_CLEANUP(free_packages, struct spy_packages, spy_packages_free)

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
    _cleanup_(free_packages) struct spy_packages *packages = spy_packages_new();
    struct dump d = {.reads = &reads,
                     .locals = &locals,
                     .packages = packages,
                     .pausing = SPY_PAUSE_AUTO,
                     .err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &d);
    spy_cli_catch_signals();
    _cleanup_(free_mixer) struct spy_mixer *mixer =
        d.native ? spy_mixer_new(SPY_NATIVE_CACHE_USUAL) : NULL;
    d.mixer = mixer;
    if (!packages || (d.native && !mixer))
        return spy_err_nomem(err);
    int r = spy_hung_reads_begin(&reads, spy_hung_reads_fail, NULL, err);
    if (r == 0 && d.process)
        r = spy_cli_find_process(d.process, &d.pid, err);
    return r < 0 ? r : print_all(&d, err);
}

const struct spy_command spy_command_dump = {
    .name = "dump",
    .summary = "print the stack of every thread of a process, now",
    .options = dump_options,
    .run = run_dump,
};
