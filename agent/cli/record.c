// podspy record: sample programs for a while and write what they did. See recording.h.
#include "agent/cli/attach.h"
#include "agent/cli/cli.h"
#include "agent/cli/pausing.h"
#include "agent/cli/program.h"
#include "agent/cli/record_run.h"
#include "agent/cli/record_write.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <argp.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_NOLINENO = 300,
    KEY_FULL,
    KEY_HIDEPROGRESS,
    KEY_INCLUDE,
    KEY_EXCLUDE,
    KEY_ALL,
    KEY_ROTATE,
    KEY_GIL_BLAME
};

static const struct argp_option record_options[] = {
    {"pid", 'p', "PID", 0,
     "the process to sample: its id, or a pattern that the command line of one process matches; "
     "may be repeated",
     0},
    {"all", KEY_ALL, 0, 0, "every Python process that may be read", 0},
    {"output", 'o', "FILE", 0, "where to write; - is standard output", 0},
    {"format", 'f', "FORMAT", 0, "what to write, flamegraph by default", 0},
    {"duration", 'd', "SECS", 0,
     "stop after that long, and ask a started program to end (default: until it ends or Ctrl-C)",
     0},
    {"rotate", KEY_ROTATE, "SECS", 0, "write a file for each SECS: FILE.0001, FILE.0002, ...", 0},
    {"rate", 'r', "RATE", 0, "samples a second, 1 to 10000 (default 100)", 0},
    {"subprocesses", 's', 0, 0, "also its descendants, each below a frame of its own", 0},
    {"threads", 't', 0, 0, "show each thread by itself", 0},
    {"gil", 'g', 0, 0, "only threads that hold the GIL", 0},
    {"gil-blame", KEY_GIL_BLAME, 0, 0,
     "what threads that hold the GIL did while others waited for it, for as long as those waited",
     0},
    {"idle", 'i', 0, 0, "also threads that wait", 0},
    {"native", 'n', 0, 0, "native frames of the C stack, too; pauses threads", 0},
    {"function", 'F', 0, 0, "merge by function: show its first line", 0},
    {"nolineno", KEY_NOLINENO, 0, 0, "no line numbers", 0},
    {"include", KEY_INCLUDE, "REGEX", 0, "only stacks with a frame like this; may be repeated", 0},
    {"exclude", KEY_EXCLUDE, "REGEX", 0, "no stacks with a frame like this; may be repeated", 0},
    SPY_CLI_PAUSING_OPTIONS("for each sample"),
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {"hideprogress", KEY_HIDEPROGRESS, 0, OPTION_HIDDEN, 0, 0},
    {0},
};

static const struct spy_cli_option record_stored_options[] = {
    {'o', SPY_CLI_TEXT, offsetof(struct spy_record, output)},
    {'f', SPY_CLI_TEXT, offsetof(struct spy_record, format)},
    {'s', SPY_CLI_FLAG, offsetof(struct spy_record, subprocesses)},
    {'t', SPY_CLI_FLAG, offsetof(struct spy_record, threads)},
    {'g', SPY_CLI_FLAG, offsetof(struct spy_record, gil)},
    {'i', SPY_CLI_FLAG, offsetof(struct spy_record, idle)},
    {'n', SPY_CLI_FLAG, offsetof(struct spy_record, native)},
    {'F', SPY_CLI_FLAG, offsetof(struct spy_record, function)},
    {KEY_GIL_BLAME, SPY_CLI_FLAG, offsetof(struct spy_record, gil_blame)},
    {KEY_NOLINENO, SPY_CLI_FLAG, offsetof(struct spy_record, no_lines)},
    {KEY_FULL, SPY_CLI_FLAG, offsetof(struct spy_record, full_filenames)},
    {KEY_ALL, SPY_CLI_FLAG, offsetof(struct spy_record, all)},
    {KEY_HIDEPROGRESS, SPY_CLI_FLAG, offsetof(struct spy_record, hide_progress)},
    {0},
};

static int add_process(struct spy_record *rec, const char *text)
{
    if (rec->n_processes == SPY_RECORD_GIVEN_MAX)
        return spy_err_set(
            rec->err, SPY_ERR_USAGE, 0,
            "--pid is given more than %d times; --subprocesses follows the children of a process",
            SPY_RECORD_GIVEN_MAX);
    rec->processes[rec->n_processes++] = text;
    return 0;
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
    struct spy_record *rec = state->input;
    struct spy_filter_options *filter = &rec->filter;
    int r = 0;
    switch (key) {
    case 'p':
        r = add_process(rec, arg);
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
        r = spy_cli_number("--rate", arg, 1, 10000, &rec->rate, rec->err);
        break;
    case KEY_ROTATE:
        r = spy_cli_number("--rotate", arg, 0.1, 1e9, &rec->rotate, rec->err);
        break;
    case SPY_CLI_NONBLOCKING:
    case SPY_CLI_BLOCKING:
        spy_cli_take_pausing(key, &rec->pausing, state);
        break;
    case ARGP_KEY_ARG: // the first argument that is not an option begins the program
        rec->program = &state->argv[state->next - 1];
        state->next = state->argc;
        break;
    case ARGP_KEY_END:
        if ((rec->n_processes > 0) + rec->all + (rec->program != NULL) != 1)
            argp_error(state, "give either --pid PID, --all, or a program to run");
        if (rec->function && rec->no_lines)
            argp_error(state, "--function and --nolineno exclude each other");
        if (rec->gil_blame && (rec->gil || rec->idle))
            argp_error(state, "--gil-blame shows holders of the GIL, whatever they did: leave out "
                              "--gil and --idle");
        spy_cli_check_pausing(rec->pausing, rec->native, state);
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

// --- from start to end ---

// The exit status is the program's own, unless podspy itself failed, or ended the program because
// the time was up. A recording with nothing to write is a failure.
static int choose_exit_code(struct spy_recording *r, int result, enum spy_record_end why,
                            struct spy_err *err)
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
        return why == SPY_END_DURATION ? SPY_EXIT_OK : status;
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

static bool was_given(const struct spy_recording *r, pid_t pid)
{
    for (size_t i = 0; i < r->n_pids; i++)
        if (r->pids[i] == pid)
            return true;
    return false;
}

static int find_processes(struct spy_recording *r, struct spy_err *err)
{
    const struct spy_record *rec = r->rec;
    int x =
        rec->all ? spy_cli_find_all(r->pids, SPY_COUNT(r->pids), &r->n_pids, &r->unread, err) : 0;
    for (size_t i = 0; i < rec->n_processes && x == 0; i++) {
        pid_t pid;
        x = spy_cli_find_process(rec->processes[i], &pid, err);
        if (x == 0 && !was_given(r, pid))
            r->pids[r->n_pids++] = pid;
    }
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted before the first sample");
    if (x < 0)
        spy_unread_say(&r->unread);
    r->pid = r->pids[0];
    return x;
}

static int start_recording(struct spy_recording *r, struct spy_err *err)
{
    const struct spy_record *rec = r->rec;
    char names[128];
    r->format = spy_format_find(rec->format);
    if (!r->format)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "'%.40s' is not a format; there are %s",
                           rec->format, spy_format_names(names, sizeof names, ", "));
    if ((rec->program || rec->output) && spy_record_choose_output(r, err) < 0)
        return err->code;
    spy_cli_catch_signals();
    spy_cli_catch_snapshots();
    if (rec->program)
        return spy_program_start(rec->program, &r->pid, err);
    return find_processes(r, err);
}

static int run_record(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = record_options,
        .parser = parse_record_option,
        .args_doc = "-p PID\n--all\n[--] PROGRAM [ARGS...]",
        .doc = "Samples a program and writes its profile, a flamegraph by default.",
        .help_filter = add_format_names,
    };
    struct spy_record rec = {
        .rate = 100, .format = "flamegraph", .pausing = SPY_PAUSE_AUTO, .err = err};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &rec);
    _cleanup_(spy_recording_done) struct spy_recording r = {.rec = &rec,
                                                            .notes = SPY_BUF_INIT(4096)};
    enum spy_record_end why = SPY_END_SIGNAL;
    int x = start_recording(&r, err);
    if (x < 0)
        return x;
    x = spy_record_run(&r, &why, err);
    return rec.program ? choose_exit_code(&r, x, why, err) : x;
}

const struct spy_command spy_command_record = {
    .name = "record",
    .summary = "sample a program and write its profile, a flamegraph by default",
    .options = record_options,
    .words = "PROGRAM",
    .run = run_record,
};
