// podspy record: sample one program for a while and write what it did.
#include "agent/cli/account.h"
#include "agent/cli/cli.h"
#include "agent/cli/family.h"
#include "agent/cli/output.h"
#include "agent/cli/program.h"
#include "agent/cli/subject.h"
#include "agent/daemon/hung_reads.h"
#include "agent/discover/proc.h"
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/formats/filter.h"
#include "shared/formats/format.h"
#include <argp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_NONBLOCKING = 300,
    KEY_BLOCKING,
    KEY_NOLINENO,
    KEY_FULL,
    KEY_HIDEPROGRESS,
    KEY_INCLUDE,
    KEY_EXCLUDE
};
enum { OUTPUT_MAX = 1 << 30, TIMELINE_MIB = 64, PIDS_MAX = 256 };

struct record {
    pid_t pids[PIDS_MAX];
    size_t n_pids;
    char **program; // NULL-terminated, or NULL
    const char *output, *format;
    double seconds; // 0: until it ends or a signal arrives
    double rate;
    bool subprocesses, threads, idle, gil, function, no_lines, full_filenames, hide_progress;
    enum spy_pausing pausing;
    struct spy_filter_options filter;
    struct spy_err *err;
};

static const struct argp_option record_options[] = {
    {"pid", 'p', "PID", 0, "the process to sample, in decimal or 0x hexadecimal; may be repeated",
     0},
    {"output", 'o', "FILE", 0, "where to write; - is standard output", 0},
    {"format", 'f', "FORMAT", 0, "what to write, flamegraph by default", 0},
    {"duration", 'd', "SECS", 0,
     "stop after that long, and ask a started program to end (default: until it ends or Ctrl-C)",
     0},
    {"rate", 'r', "RATE", 0, "samples a second, 1 to 1000 (default 100)", 0},
    {"subprocesses", 's', 0, 0, "also its descendants, each below a frame of its own", 0},
    {"threads", 't', 0, 0, "show each thread by itself", 0},
    {"gil", 'g', 0, 0, "only threads that hold the GIL", 0},
    {"idle", 'i', 0, 0, "also threads that wait", 0},
    {"function", 'F', 0, 0, "merge by function: show its first line", 0},
    {"nolineno", KEY_NOLINENO, 0, 0, "no line numbers", 0},
    {"include", KEY_INCLUDE, "REGEX", 0, "only stacks with a frame like this; may be repeated", 0},
    {"exclude", KEY_EXCLUDE, "REGEX", 0, "no stacks with a frame like this; may be repeated", 0},
    {"nonblocking", KEY_NONBLOCKING, 0, 0, "never pause a thread", 0},
    {"blocking", KEY_BLOCKING, 0, 0, "pause each thread for each sample", 0},
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {"hideprogress", KEY_HIDEPROGRESS, 0, OPTION_HIDDEN, 0, 0},
    {0},
};

static const struct spy_cli_option record_stored_options[] = {
    {'o', SPY_CLI_TEXT, offsetof(struct record, output)},
    {'f', SPY_CLI_TEXT, offsetof(struct record, format)},
    {'s', SPY_CLI_FLAG, offsetof(struct record, subprocesses)},
    {'t', SPY_CLI_FLAG, offsetof(struct record, threads)},
    {'g', SPY_CLI_FLAG, offsetof(struct record, gil)},
    {'i', SPY_CLI_FLAG, offsetof(struct record, idle)},
    {'F', SPY_CLI_FLAG, offsetof(struct record, function)},
    {KEY_NOLINENO, SPY_CLI_FLAG, offsetof(struct record, no_lines)},
    {KEY_FULL, SPY_CLI_FLAG, offsetof(struct record, full_filenames)},
    {KEY_HIDEPROGRESS, SPY_CLI_FLAG, offsetof(struct record, hide_progress)},
    {0},
};

static int add_pid(struct record *rec, const char *text)
{
    if (rec->n_pids == PIDS_MAX)
        return spy_err_set(
            rec->err, SPY_ERR_USAGE, 0,
            "--pid is given more than %d times; --subprocesses follows the children of a process",
            PIDS_MAX);
    return spy_cli_pid(text, &rec->pids[rec->n_pids++], rec->err);
}

// An expression that cannot be used is refused before sampling.
static int add_expression(const char *option, const char *text, const char **list, size_t *n,
                          struct spy_err *err)
{
    if (*n == SPY_FILTER_MAX)
        return spy_err_set(
            err, SPY_ERR_USAGE, 0,
            "%s is given more than %d times; one expression can hold several, joined by |", option,
            SPY_FILTER_MAX);
    const struct spy_filter_options alone = {.include = {text}, .n_include = 1};
    struct spy_profile *p = spy_profile_new();
    struct spy_filter *f = NULL;
    int r = p ? spy_filter_new(&alone, p, &f, err) : SPY_ERR_NOMEM;
    spy_filter_free(f);
    spy_profile_free(p);
    list[(*n)++] = text;
    return r < 0 ? spy_err_context(err, r, "%s '%s'", option, text) : 0;
}

static int parse_record_option(int key, char *arg, struct argp_state *state)
{
    struct record *rec = state->input;
    struct spy_filter_options *filter = &rec->filter;
    int r = 0;
    switch (key) {
    case 'p':
        r = add_pid(rec, arg);
        break;
    case KEY_INCLUDE:
        r = add_expression("--include", arg, filter->include, &filter->n_include, rec->err);
        break;
    case KEY_EXCLUDE:
        r = add_expression("--exclude", arg, filter->exclude, &filter->n_exclude, rec->err);
        break;
    case 'd':
        if (strcmp(arg, "unlimited") != 0)
            r = spy_cli_number("--duration", arg, 0.001, 1e9, &rec->seconds, rec->err);
        break;
    case 'r':
        r = spy_cli_number("--rate", arg, 1, 1000, &rec->rate, rec->err);
        break;
    case KEY_NONBLOCKING:
    case KEY_BLOCKING:
        if (rec->pausing != SPY_PAUSE_AUTO)
            argp_error(state, "--blocking and --nonblocking exclude each other");
        rec->pausing = key == KEY_BLOCKING ? SPY_PAUSE_ALWAYS : SPY_PAUSE_NEVER;
        break;
    case ARGP_KEY_ARG: // the first argument that is not an option begins the program
        rec->program = &state->argv[state->next - 1];
        state->next = state->argc;
        break;
    case ARGP_KEY_END:
        if (!rec->n_pids == !rec->program)
            argp_error(state, "give either --pid PID or a program to run");
        if (rec->function && rec->no_lines)
            argp_error(state, "--function and --nolineno exclude each other");
        break;
    default:
        r = spy_cli_store(record_stored_options, key, arg, rec, rec->err);
        if (r == SPY_ERR_NOTFOUND)
            return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", rec->err->msg);
    return 0;
}

// --- sampling ---

enum why { WHY_SIGNAL, WHY_DURATION, WHY_ENDED, WHY_BLOCKED };

// A recording from start to end.
struct recording {
    const struct record *rec;
    pid_t pid; // the program's, or the first that was given
    const struct spy_format *format;
    struct spy_output output;
    struct spy_sampler *sampler;
    struct spy_family *family;
    struct spy_timeline *timeline; // NULL: the format does not show the order
    bool lived;                    // the process was alive, not a zombie, at the start
    uint64_t asked_ns;             // when the program was asked to end; 0: it was not
    bool unsampled;                // it ended, or podspy was asked to end, before the first sample
};

static void print_progress(const struct recording *r)
{
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    if (r->rec->hide_progress || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[Kpodspy> %llu samples, %llu errors", (unsigned long long)t.samples,
            (unsigned long long)t.failed);
    if (t.behind_ns > SPY_NS_PER_SEC)
        fprintf(stderr,
                ", %.2fs behind in sampling, results may be inaccurate. Try reducing the "
                "sampling rate",
                (double)t.behind_ns / (double)SPY_NS_PER_SEC);
}

// A started program stays a zombie until it is waited for.
static bool has_ended(const struct recording *r)
{
    if (r->rec->program && !r->rec->subprocesses)
        return spy_program_ended(r->pid);
    return spy_family_ended(r->family);
}

static int fail_without_samples(struct recording *r, enum why why, struct spy_err *err)
{
    r->unsampled = why == WHY_SIGNAL || why == WHY_ENDED;
    if (why == WHY_SIGNAL)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted before the first sample");
    if (why == WHY_ENDED)
        return spy_err_set(err, SPY_ERR_GONE, 0, "process %d ended before it was sampled",
                           (int)r->pid);
    uint64_t failed = spy_sampler_totals(r->sampler).failed;
    if (failed && r->rec->pausing == SPY_PAUSE_NEVER)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no stack could be read in %llu attempts: try without --nonblocking",
                           (unsigned long long)failed);
    if (failed)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no stack could be read in %llu attempts: podspy doctor --pid %d may "
                           "say why",
                           (unsigned long long)failed, (int)r->pid);
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                       "no sample was taken: try a longer --duration or a higher --rate");
}

// For a process given by its id the first refusal is final, unless the process is just starting. A
// program that podspy has started gets the time that an interpreter needs to start.
static int wait_for_python(struct recording *r, struct spy_err *err)
{
    uint64_t patience = (r->rec->program ? 10 : 1) * SPY_NS_PER_SEC;
    uint64_t give_up = spy_clock_mono_ns() + patience;
    bool ended = false;
    while (!spy_cli_stop && !ended && spy_clock_mono_ns() <= give_up) {
        spy_sampler_run(r->sampler, spy_clock_mono_ns() + 10 * SPY_NS_PER_MS, &spy_cli_stop);
        int x = spy_family_update(r->family, err);
        if (x < 0 || spy_family_attached(r->family))
            return x;
        ended = has_ended(r) || spy_sampler_ended(r->sampler, r->pid);
    }
    const char *problem = spy_sampler_problem(r->sampler, r->pid);
    if (spy_cli_stop)
        return fail_without_samples(r, WHY_SIGNAL, err);
    if (ended && (r->lived || r->rec->program))
        return fail_without_samples(r, WHY_ENDED, err);
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "%s", problem ? problem : "the program has ended");
}

static enum why sample_until_end(struct recording *r)
{
    double seconds = r->rec->seconds;
    uint64_t end = spy_clock_mono_ns() + (uint64_t)(seconds * (double)SPY_NS_PER_SEC);
    for (;;) {
        uint64_t until = spy_clock_mono_ns() + (r->rec->subprocesses ? 100 : 200) * SPY_NS_PER_MS;
        if (seconds > 0 && until > end)
            until = end;
        spy_sampler_run(r->sampler, until, &spy_cli_stop);
        print_progress(r);
        if (spy_cli_stop)
            return WHY_SIGNAL;
        if (spy_family_update(r->family, NULL) < 0 || has_ended(r))
            return WHY_ENDED;
        if (seconds > 0 && spy_clock_mono_ns() >= end)
            return WHY_DURATION;
    }
}

// --- output ---

static const char *name_stop_reason(enum why why)
{
    switch (why) {
    case WHY_DURATION:
        return "the time is up";
    case WHY_ENDED:
        return "the program has ended";
    case WHY_BLOCKED:
        return "it can no longer be read";
    default:
        return spy_cli_stop == SIGTERM  ? "SIGTERM came"
               : spy_cli_stop == SIGHUP ? "SIGHUP came"
                                        : "Control-C pressed";
    }
}

static int print_profile(const struct recording *r, struct spy_view *view,
                         const struct spy_profile *p, struct spy_buf *out, struct spy_err *err)
{
    int x = r->format->print(p, view, out, err);
    if (x != SPY_ERR_LIMIT || !view->timeline)
        return x;
    view->timeline = NULL; // equal stacks merged take much less room
    spy_buf_reset(out);
    return r->format->print(p, view, out, err);
}

// Prints the last lines on stderr.
static void print_summary(const struct recording *r, const struct spy_view *view,
                          const struct spy_profile *p, enum why why)
{
    _cleanup_buf_ struct spy_buf empty = SPY_BUF_INIT(512);
    char shown[PATH_MAX];
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    fprintf(stderr, "%sStopped sampling because %s\n", isatty(STDERR_FILENO) ? "\n" : "",
            name_stop_reason(why));
    fprintf(stderr, "Wrote %s data to '%s'. Samples: %llu Errors: %llu\n", r->rec->format,
            spy_text_show(shown, sizeof shown, r->output.path), (unsigned long long)t.samples,
            (unsigned long long)t.failed);
    if (t.left_out)
        fprintf(stderr,
                "%llu of these errors are threads beyond the first %d: those that had not run for "
                "the longest time were left out\n",
                (unsigned long long)t.left_out, SPY_PY_THREADS_MAX);
    if (spy_family_n_left_out(r->family))
        fprintf(stderr, "%zu descendants beyond the first %d were left out\n",
                spy_family_n_left_out(r->family), SPY_SAMPLER_PROCESSES_MAX);
    for (size_t i = 0; i < r->rec->n_pids; i++) {
        const char *problem = spy_sampler_problem(r->sampler, r->rec->pids[i]);
        if (problem)
            fprintf(stderr, "Process %d has no samples: %s\n", (int)r->rec->pids[i], problem);
    }
    spy_cli_print_account(spy_sampler_account(r->sampler));
    if (spy_view_why_empty(p, view, &empty) == 0 && empty.len)
        fprintf(stderr, "%s\n", spy_buf_str(&empty));
    if (r->timeline && (!view->timeline || spy_timeline_is_full(r->timeline)))
        fprintf(stderr,
                "The order of so many samples is too large to keep: equal samples are merged, and "
                "speedscope's Time Order is not their order. Record for a shorter time, or with "
                "-f flamegraph.\n");
}

SPY_CLEANUP(free_filter, struct spy_filter, spy_filter_free)

static int write_recording(struct recording *r, enum why why, struct spy_err *err)
{
    const struct record *rec = r->rec;
    const char *command = spy_family_command(r->family);
    struct spy_view view = {.title = *command ? command : "podspy record",
                            .idle = rec->idle,
                            .gil = rec->gil,
                            .no_lines = rec->no_lines,
                            .function_lines = rec->function,
                            .threads = rec->threads,
                            .processes = rec->subprocesses ? SPY_PROCESSES_YES : SPY_PROCESSES_AUTO,
                            .ancestors = rec->subprocesses,
                            .full_filenames = rec->full_filenames,
                            .timeline = r->timeline,
                            .command_line = true};
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    const struct spy_profile *p = spy_sampler_close(r->sampler);
    if (!spy_sampler_totals(r->sampler).samples)
        return fail_without_samples(r, why, err);
    _cleanup_(free_filter) struct spy_filter *filter = NULL;
    int x = 0;
    if (rec->filter.n_include || rec->filter.n_exclude)
        x = spy_filter_new(&rec->filter, p, &filter, err);
    view.filter = filter;
    if (x == 0)
        x = print_profile(r, &view, p, &out, err);
    if (x == 0)
        x = spy_output_write(&r->output, &out, err);
    if (x == SPY_ERR_GONE)
        return SPY_EXIT_PIPE;
    if (x == 0)
        print_summary(r, &view, p, why);
    return x;
}

// --- from start to end ---

static int choose_output(struct recording *r, struct spy_err *err)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)r->rec->pids[0]);
    return spy_output_choose(r->rec->output, r->rec->program ? r->rec->program[0] : pid,
                             r->format->extension, &r->output, err);
}

// The give_up of hung_reads.h: it runs on the checking thread while the sampling thread is in the
// read that hangs.
static void write_and_fail(void *arg, pid_t pid)
{
    struct recording *r = arg;
    struct spy_err err = {0};
    spy_sampler_set_hung(r->sampler);
    bool has_samples = spy_sampler_totals(r->sampler).samples;
    int x = has_samples && !r->output.path[0] ? choose_output(r, &err) : 0;
    if (x == 0 && has_samples)
        x = write_recording(r, WHY_BLOCKED, &err);
    if (x < 0)
        spy_cli_print_error(&err, err.code);
    spy_hung_reads_fail(NULL, pid);
}

static void free_recording(struct recording *r)
{
    spy_family_free(r->family);
    spy_sampler_free(r->sampler);
    spy_timeline_free(r->timeline);
}

static int prepare_recording(struct recording *r, struct spy_hung_reads *reads, struct spy_err *err)
{
    const struct record *rec = r->rec;
    struct spy_sampler_options options = {.mark = &reads->mark, .command_of = spy_cli_cmdline};
    if (r->format->ordered)
        options.timeline = r->timeline = spy_timeline_new((size_t)TIMELINE_MIB << 20);
    int x = spy_sampler_new(&options, &r->sampler, err);
    struct spy_family_options family = {.sampler = r->sampler,
                                        .rate = (uint32_t)rec->rate,
                                        .pausing = rec->pausing,
                                        .descendants = rec->subprocesses};
    if (x == 0)
        x = spy_family_new(&family, &r->family, err);
    if (x == 0)
        x = spy_hung_reads_begin(reads, write_and_fail, r, err);
    if (x == 0)
        x = spy_family_add(r->family, r->pid, err);
    for (size_t i = 1; i < rec->n_pids && x == 0; i++)
        x = spy_family_add(r->family, rec->pids[i], err);
    if (x == 0)
        r->lived = spy_family_is_alive(r->family, r->pid);
    return x;
}

// Signals the program, unless it has ended or the terminal has signalled it already.
static void signal_program(struct recording *r, bool by_signal)
{
    if (!r->rec->program || r->asked_ns || spy_program_ended(r->pid))
        return;
    r->asked_ns = by_signal ? spy_cli_signalled_ns() : spy_clock_mono_ns();
    bool in_group = getpgid(r->pid) == getpgrp(); // a terminal signals the whole group
    if (!by_signal || !in_group || !spy_cli_stopped_by_terminal())
        spy_program_signal(r->pid, by_signal ? spy_cli_stop : SIGTERM);
}

static void print_start_line(const struct record *rec)
{
    if (!rec->hide_progress && rec->seconds > 0)
        fprintf(stderr,
                "Sampling process %g times a second for %g seconds. Press Control-C to exit.\n",
                rec->rate, rec->seconds);
    else if (!rec->hide_progress)
        fprintf(stderr, "Sampling process %g times a second. Press Control-C to exit.\n",
                rec->rate);
}

static int sample_and_write(struct recording *r, enum why *why, struct spy_err *err)
{
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    int x = prepare_recording(r, &reads, err);
    if (x == 0)
        x = wait_for_python(r, err);
    if (x == 0 && !r->output.path[0]) // a process that cannot be read is reported first
        x = choose_output(r, err);
    if (x == 0) {
        const struct spy_python *py = spy_sampler_python(r->sampler, r->pid);
        if (py) // with --subprocesses a descendant may be the first that is read
            spy_cli_print_other(r->pid, spy_python_runtime(py));
        print_start_line(r->rec);
        *why = sample_until_end(r);
    }
    signal_program(r, spy_cli_stop); // before its profile is written: time may be short
    return x == 0 ? write_recording(r, *why, err) : x;
}

// The exit status is the program's own, unless podspy itself failed, or ended the program because
// the time was up. A recording with nothing to write is a failure.
static int choose_exit_code(struct recording *r, int result, enum why why, struct spy_err *err)
{
    char how[32];
    uint64_t asked_ns = r->asked_ns ? r->asked_ns : spy_clock_mono_ns();
    int wait_status = 0;
    bool failed = result < 0 && !r->unsampled;
    if (failed) // the program may take long to end
        spy_cli_print_error(err, result);
    if (spy_program_wait(r->pid, asked_ns, &wait_status) < 0 || failed)
        return SPY_EXIT_FAILED;
    int status = spy_program_status(wait_status);
    if (result == SPY_EXIT_OK)
        return why == WHY_DURATION ? SPY_EXIT_OK : status;
    if (r->unsampled && !spy_cli_stop)
        spy_err_set(err, SPY_ERR_GONE, 0, "the program ended %s before it was sampled",
                    spy_program_how(wait_status, how, sizeof how));
    if (!r->unsampled || !status)
        return result;
    spy_cli_print_error(err, result);
    return status;
}

// Adds the names of all formats to the help of --format.
static char *add_format_names(int key, const char *text, void *input)
{
    char names[128], *list = NULL;
    (void)input;
    if (key != 'f')
        return (char *)(uintptr_t)text;
    spy_format_names(names, sizeof names, ", ");
    return asprintf(&list, "%s; one of %s", text, names) < 0 ? (char *)(uintptr_t)text : list;
}

static int start_recording(struct recording *r, struct spy_err *err)
{
    const struct record *rec = r->rec;
    char names[128];
    r->format = spy_format_find(rec->format);
    if (!r->format)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "'%.40s' is not a format; there are %s",
                           rec->format, spy_format_names(names, sizeof names, ", "));
    if ((rec->program || rec->output) && choose_output(r, err) < 0)
        return err->code;
    spy_cli_catch_signals();
    if (rec->program)
        return spy_program_start(rec->program, &r->pid, err);
    r->pid = rec->pids[0];
    spy_cli_resolve_thread(&r->pid);
    return 0;
}

static int run_record(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = record_options,
        .parser = parse_record_option,
        .args_doc = "-p PID\n[--] PROGRAM [ARGS...]",
        .doc = "Samples a program and writes its profile, a flamegraph by default.",
        .help_filter = add_format_names,
    };
    struct record rec = {
        .rate = 100, .format = "flamegraph", .pausing = SPY_PAUSE_AUTO, .err = err};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &rec);
    for (size_t i = 1; i < rec.n_pids; i++) // start_recording does the first
        spy_cli_resolve_thread(&rec.pids[i]);
    _cleanup_(free_recording) struct recording r = {.rec = &rec};
    enum why why = WHY_SIGNAL;
    int x = start_recording(&r, err);
    if (x < 0)
        return x;
    x = sample_and_write(&r, &why, err);
    return rec.program ? choose_exit_code(&r, x, why, err) : x;
}

const struct spy_command spy_command_record = {
    .name = "record",
    .summary = "sample a program and write its profile, a flamegraph by default",
    .options = record_options,
    .words = "PROGRAM",
    .run = run_record,
};
