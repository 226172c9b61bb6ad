// podspy top: what running programs spend their time on, now.
#include "agent/cli/attach.h"
#include "agent/cli/cli.h"
#include "agent/cli/family.h"
#include "agent/cli/pausing.h"
#include "agent/cli/program.h"
#include "agent/cli/top_program.h"
#include "agent/daemon/hung_reads.h"
#include "agent/sampler/sampler.h"
#include "agent/top/terminal.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_DELAY = 400, KEY_ALL, KEY_FULL };
enum { PIDS_MAX = 256, PROFILE_BYTES = 8 << 20 };
#define FIRST_NS  (300 * SPY_NS_PER_MS) // the first window: something is on the screen soon
#define UPDATE_NS (100 * SPY_NS_PER_MS)

struct top_options {
    const char *processes[PIDS_MAX]; // ids and patterns
    size_t n_processes;
    char **program; // NULL-terminated, or NULL
    double rate, delay;
    bool all, subprocesses, idle, gil, native, full_filenames;
    enum spy_pausing pausing;
    struct spy_err *err;
};

static const struct argp_option top_options[] = {
    {"pid", 'p', "PID", 0,
     "the process to watch: its id, or a pattern that the command line of one process matches; "
     "may be repeated",
     0},
    {"all", KEY_ALL, 0, 0, "every Python process that may be read", 0},
    {"rate", 'r', "RATE", 0, "samples a second, 1 to 10000 (default 100)", 0},
    {"delay", KEY_DELAY, "SECS", 0, "seconds between two screens (default 1)", 0},
    {"subprocesses", 's', 0, 0, "also its descendants, all in one table", 0},
    {"gil", 'g', 0, 0, "only threads that hold the GIL", 0},
    {"idle", 'i', 0, 0, "also threads that wait", 0},
    {"native", 'n', 0, 0, "native frames of the C stack, too; pauses threads", 0},
    SPY_CLI_PAUSING_OPTIONS("for each sample"),
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {0},
};

static const struct spy_cli_option top_stored_options[] = {
    {KEY_ALL, SPY_CLI_FLAG, offsetof(struct top_options, all)},
    {'s', SPY_CLI_FLAG, offsetof(struct top_options, subprocesses)},
    {'g', SPY_CLI_FLAG, offsetof(struct top_options, gil)},
    {'i', SPY_CLI_FLAG, offsetof(struct top_options, idle)},
    {'n', SPY_CLI_FLAG, offsetof(struct top_options, native)},
    {KEY_FULL, SPY_CLI_FLAG, offsetof(struct top_options, full_filenames)},
    {0},
};

static int add_watched(struct top_options *o, const char *text)
{
    if (o->n_processes == PIDS_MAX)
        return spy_err_set(o->err, SPY_ERR_USAGE, 0, "--pid is given more than %d times", PIDS_MAX);
    o->processes[o->n_processes++] = text;
    return 0;
}

static int parse_top_option(int key, char *arg, struct argp_state *state)
{
    struct top_options *o = state->input;
    int r = 0;
    switch (key) {
    case 'p':
        r = add_watched(o, arg);
        break;
    case 'r':
        r = spy_cli_number("--rate", arg, 1, 10000, &o->rate, o->err);
        break;
    case KEY_DELAY:
        r = spy_cli_number("--delay", arg, 0.1, 3600, &o->delay, o->err);
        break;
    case SPY_CLI_NONBLOCKING:
    case SPY_CLI_BLOCKING:
        spy_cli_take_pausing(key, &o->pausing, state);
        break;
    case ARGP_KEY_ARG: // the first argument that is not an option begins the program
        o->program = &state->argv[state->next - 1];
        state->next = state->argc;
        break;
    case ARGP_KEY_END:
        if ((o->n_processes || o->all) == (o->program != NULL))
            argp_error(state, "give either --pid PID, --all or a program to run");
        spy_cli_check_pausing(o->pausing, o->native, state);
        break;
    default:
        r = spy_cli_store(top_stored_options, key, arg, o, o->err);
        if (r == SPY_ERR_NOTFOUND)
            return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", o->err->msg);
    return 0;
}

// --- watching ---

struct watch {
    const struct top_options *o;
    pid_t pids[PIDS_MAX]; // the given ones; the first is the program's, if there is one
    size_t n_pids;
    struct spy_unread unread;
    int output; // of the program; -1: none
    struct spy_sampler *sampler;
    struct spy_family *family;
    struct spy_packages *packages; // NULL: not needed
    struct spy_top *model;
    struct spy_top_terminal *terminal; // NULL: not begun
    uint64_t window_ns;                // when the window began
    bool shown;                        // a window was closed
    bool ended;                        // all processes have
    bool stuck;                        // the terminal takes nothing, and its thread waits for it
    uint64_t asked_ns;                 // when the program was asked to end; 0: it was not
};

static int wait_for_first(struct watch *w, struct spy_err *err)
{
    int r = spy_family_wait(w->family, err);
    if (r == SPY_ERR_GONE && w->o->program)
        return spy_err_set(err, r, 0, "the program ended before it was sampled");
    return r;
}

static void note_watched(struct watch *w, struct spy_top_facts *ret)
{
    const struct spy_python *py = spy_sampler_python(w->sampler, w->pids[0]);
    struct spy_sampler_totals t = spy_sampler_totals(w->sampler);
    snprintf(ret->command, sizeof ret->command, "%s", spy_family_command(w->family));
    if (py)
        snprintf(ret->version, sizeof ret->version, "%s", spy_python_runtime(py)->version);
    ret->pid = w->pids[0];
    ret->n_pids = w->n_pids;
    ret->samples = t.samples;
    ret->failed = t.failed;
    ret->late = t.late;
    ret->behind_ns = t.behind_ns;
}

// Closes the window and shows it, unless the model is being read.
static void close_window(struct watch *w)
{
    struct spy_top_facts facts = {0};
    if (!spy_top_claim(w->model))
        return;
    uint64_t now = spy_clock_mono_ns();
    const struct spy_profile *p = spy_sampler_close(w->sampler);
    note_watched(w, &facts);
    spy_top_fold(w->model, p, &facts, now - w->window_ns);
    spy_sampler_reset(w->sampler);
    w->window_ns = now;
    w->shown = true;
    spy_top_terminal_wake(w->terminal);
}

static void watch_until_end(struct watch *w)
{
    // A window holds some rounds.
    double secs = w->o->delay > 3 / w->o->rate ? w->o->delay : 3 / w->o->rate;
    uint64_t delay_ns = (uint64_t)(secs * (double)SPY_NS_PER_SEC);
    uint64_t due = w->window_ns + (delay_ns < FIRST_NS ? delay_ns : FIRST_NS);
    while (!spy_cli_stop && !w->ended) {
        uint64_t until = spy_clock_mono_ns() + UPDATE_NS;
        spy_sampler_run(w->sampler, until < due ? until : due, &spy_cli_stop);
        spy_top_output_bound(w->output);
        w->ended = spy_family_update(w->family, NULL) < 0 || spy_family_ended(w->family);
        if (spy_clock_mono_ns() < due)
            continue;
        close_window(w);
        due = w->window_ns + delay_ns;
        if (due < spy_clock_mono_ns()) // it could not be closed
            due = spy_clock_mono_ns() + 20 * SPY_NS_PER_MS;
    }
}

// --- from start to end ---

// From the drawing thread: as if SIGTERM had come, which ends the sleep of the sampling thread.
static void ask_to_finish(void *arg)
{
    (void)arg;
    kill(getpid(), SIGTERM);
}

// The give_up of hung_reads.h, on the checking thread.
static void leave_hung_read(void *arg, pid_t pid)
{
    struct watch *w = arg;
    if (w->terminal)
        spy_top_terminal_end(w->terminal);
    spy_hung_reads_fail(NULL, pid);
}

static int prepare_watch(struct watch *w, struct spy_hung_reads *reads, struct spy_err *err)
{
    const struct top_options *o = w->o;
    struct spy_sampler_options sampler = {.mark = &reads->mark,
                                          .profile_bytes = PROFILE_BYTES,
                                          .window_bytes = 8 * PROFILE_BYTES,
                                          .command_of = spy_cli_cmdline,
                                          .inlines = true};
    sampler.packages = w->packages = o->full_filenames ? NULL : spy_packages_new();
    struct spy_top_options model = {.idle = o->idle,
                                    .gil = o->gil,
                                    .full_filenames = o->full_filenames,
                                    .shorten = w->packages ? spy_packages_shorten : NULL,
                                    .shorten_context = w->packages};
    int r = spy_sampler_new(&sampler, &w->sampler, err);
    struct spy_family_options family = {.sampler = w->sampler,
                                        .rate = (uint32_t)o->rate,
                                        .pausing = o->pausing,
                                        .natives = spy_natives_of(o->native, o->idle),
                                        .descendants = o->subprocesses,
                                        .program = o->program ? w->pids[0] : 0,
                                        .unread = &w->unread};
    if (r == 0)
        r = spy_family_new(&family, &w->family, err);
    if (r == 0)
        r = spy_top_new(&model, &w->model, err);
    if (r == 0)
        r = spy_hung_reads_begin(reads, leave_hung_read, w, err);
    for (size_t i = 0; i < w->n_pids && r == 0; i++)
        r = spy_family_add(w->family, w->pids[i], err);
    return r;
}

static void print_end(const struct watch *w)
{
    if (w->ended)
        fprintf(stderr, "process %d%s ended\n", (int)w->pids[0],
                w->n_pids > 1 ? " and the others" : "");
    for (size_t i = 0; i < w->n_pids; i++) {
        const char *problem = spy_sampler_problem(w->sampler, w->pids[i]);
        if (problem && !spy_sampler_ended(w->sampler, w->pids[i]))
            fprintf(stderr, "Process %d has no samples: %s\n", (int)w->pids[i], problem);
    }
    if (w->o->native)
        fprintf(stderr, "Native frames: %llu of %llu samples could not be merged\n",
                (unsigned long long)spy_sampler_totals(w->sampler).unmerged,
                (unsigned long long)spy_sampler_totals(w->sampler).native);
    spy_unread_say(&w->unread);
    if (spy_family_n_left_out(w->family))
        fprintf(stderr, "%zu descendants beyond the first %d were left out\n",
                spy_family_n_left_out(w->family), SPY_SAMPLER_PROCESSES_MAX);
}

// Leaves the last screen behind, as text. A short window would say little of the shares.
static int finish_screen(struct watch *w)
{
    if (!w->shown || spy_clock_mono_ns() - w->window_ns > FIRST_NS)
        close_window(w);
    w->stuck = !spy_top_terminal_end(w->terminal);
    if (w->stuck)
        return SPY_EXIT_FAILED;
    if (spy_top_terminal_is_broken(w->terminal))
        return SPY_EXIT_PIPE;
    int r = spy_top_terminal_print(w->terminal);
    print_end(w);
    return r == SPY_ERR_GONE ? SPY_EXIT_PIPE : SPY_EXIT_OK;
}

// Keys that do nothing would be a puzzle.
static void print_bare(const struct watch *w)
{
    const char *term = getenv("TERM");
    if (isatty(STDOUT_FILENO) && spy_top_terminal_is_plain(w->terminal) && term &&
        strcmp(term, "dumb"))
        fprintf(stderr, "podspy: terminfo does not know this terminal: plain text, without keys\n");
}

static int watch_and_show(struct watch *w, struct spy_err *err)
{
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    int r = prepare_watch(w, &reads, err);
    if (r == 0)
        r = wait_for_first(w, err);
    const struct spy_top_terminal_options terminal = {.top = w->model, .quit = ask_to_finish};
    if (r == 0)
        r = spy_top_terminal_new(&terminal, &w->terminal, err);
    if (r < 0)
        return r;
    w->window_ns = spy_clock_mono_ns();
    print_bare(w);
    watch_until_end(w);
    return finish_screen(w);
}

// Asks the program to end, unless the terminal has signalled it already.
static void end_program(struct watch *w)
{
    if (spy_program_ended(w->pids[0]))
        return;
    bool in_group = getpgid(w->pids[0]) == getpgrp();
    w->asked_ns = spy_cli_stop ? spy_cli_signalled_ns() : spy_clock_mono_ns();
    if (!spy_cli_stop || !in_group || !spy_cli_stopped_by_terminal())
        spy_program_signal(w->pids[0], spy_cli_stop ? spy_cli_stop : SIGTERM);
}

// The exit status is the program's own, unless podspy failed or has ended it for q.
static int choose_status(struct watch *w, int result, struct spy_err *err)
{
    int wait_status = 0;
    char how[32];
    bool quit = w->terminal && spy_top_terminal_was_quit(w->terminal);
    if (result < 0) // the program may take long to end
        spy_cli_print_error(err, result);
    if (spy_program_wait(w->pids[0], w->asked_ns ? w->asked_ns : spy_clock_mono_ns(),
                         &wait_status) < 0)
        return SPY_EXIT_FAILED;
    int status = spy_program_status(wait_status);
    if (status && !w->asked_ns) {
        fprintf(stderr, "The program ended %s.\n", spy_program_how(wait_status, how, sizeof how));
        spy_top_output_show(w->output);
    }
    if (result < 0)
        return status && !w->asked_ns ? status : SPY_EXIT_FAILED;
    return result != SPY_EXIT_OK || quit ? result : status;
}

static void free_watch(struct watch *w)
{
    if (w->stuck) // the drawing thread, which waits for the terminal, uses all this
        _exit(SPY_EXIT_FAILED);
    spy_top_terminal_free(w->terminal);
    spy_family_free(w->family);
    spy_sampler_free(w->sampler);
    spy_top_free(w->model);
    spy_packages_free(w->packages);
    spy_unread_free(&w->unread);
    if (w->output >= 0)
        close(w->output);
}

static int choose_watched(struct watch *w, struct spy_err *err)
{
    const struct top_options *o = w->o;
    int r = o->all ? spy_cli_find_all(w->pids, PIDS_MAX, &w->n_pids, &w->unread, err) : 0;
    for (size_t i = 0, j = 0; i < o->n_processes && r == 0; i++, j = 0) {
        pid_t pid;
        r = spy_cli_find_process(o->processes[i], &pid, err);
        while (r == 0 && j < w->n_pids && w->pids[j] != pid)
            j++;
        if (r == 0 && j == w->n_pids && j < PIDS_MAX) // it was not given before
            w->pids[w->n_pids++] = pid;
    }
    if (r < 0)
        spy_unread_say(&w->unread);
    return r;
}

static int start_watching(struct watch *w, struct spy_err *err)
{
    spy_cli_catch_signals();
    if (!w->o->program)
        return choose_watched(w, err);
    w->n_pids = 1;
    int r = spy_top_output_open(&w->output, err);
    return r == 0 ? spy_program_start_apart(w->o->program, w->output, &w->pids[0], err) : r;
}

static int run_top(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = top_options,
        .parser = parse_top_option,
        .args_doc = "-p PID\n--all\n[--] PROGRAM [ARGS...]",
        .doc = "Shows what a program spends its time on, as it runs. ? explains the keys.",
    };
    struct top_options o = {.rate = 100, .delay = 1, .pausing = SPY_PAUSE_AUTO, .err = err};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o);
    _cleanup_(free_watch) struct watch w = {.o = &o, .output = -1};
    int r = start_watching(&w, err);
    if (r < 0)
        return r;
    r = watch_and_show(&w, err);
    if (!o.program)
        return r;
    end_program(&w);
    return choose_status(&w, r, err);
}

const struct spy_command spy_command_top = {
    .name = "top",
    .summary = "show what a program spends its time on, as it runs",
    .options = top_options,
    .words = "PROGRAM",
    .run = run_top,
};
