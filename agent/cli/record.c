// podspy record: sample one program for a while and write what it did.
#include "agent/cli/cli.h"
#include "agent/cli/reads.h"
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEY_NONBLOCKING = 300, KEY_BLOCKING, KEY_NOLINENO, KEY_FULL, KEY_HIDEPROGRESS };
enum { OUTPUT_MAX = 1 << 30 };

struct record {
    pid_t pid;
    char **program; // NULL-terminated, or NULL
    const char *output, *format;
    double seconds; // 0: until it ends or a signal comes
    double rate;
    bool threads, idle, gil, function, no_lines, full_filenames, hide_progress;
    enum spy_sampler_pausing pausing;
    struct spy_err *err;
};

const struct argp_option spy_cli_record_options[] = {
    {"pid", 'p', "PID", 0, "the process to sample, in decimal or 0x hexadecimal", 0},
    {"output", 'o', "FILE", 0, "where to write; - is standard output", 0},
    {"format", 'f', "FORMAT", 0, "flamegraph (default), speedscope or raw", 0},
    {"duration", 'd', "SECS", 0, "stop after that long (default: until it ends or Ctrl-C)", 0},
    {"rate", 'r', "RATE", 0, "samples a second, 1 to 1000 (default 100)", 0},
    {"threads", 't', 0, 0, "show each thread by itself", 0},
    {"gil", 'g', 0, 0, "only threads that hold the GIL", 0},
    {"idle", 'i', 0, 0, "also threads that wait", 0},
    {"function", 'F', 0, 0, "merge by function: show its first line", 0},
    {"nolineno", KEY_NOLINENO, 0, 0, "no line numbers", 0},
    {"nonblocking", KEY_NONBLOCKING, 0, 0, "never pause a thread", 0},
    {"blocking", KEY_BLOCKING, 0, 0, "pause each thread for each sample", 0},
    {"full-filenames", KEY_FULL, 0, 0, "file names in full", 0},
    {"hideprogress", KEY_HIDEPROGRESS, 0, OPTION_HIDDEN, 0, 0},
    {0},
};

static int parse_option(int key, char *arg, struct argp_state *state)
{
    struct record *rec = state->input;
    int r = 0;
    switch (key) {
    case 'p':
        r = spy_cli_pid(arg, &rec->pid, rec->err);
        break;
    case 'o':
        rec->output = arg;
        break;
    case 'f':
        rec->format = arg;
        break;
    case 'd':
        if (strcmp(arg, "unlimited") != 0)
            r = spy_cli_number("--duration", arg, 0.001, 1e9, &rec->seconds, rec->err);
        break;
    case 'r':
        r = spy_cli_number("--rate", arg, 1, 1000, &rec->rate, rec->err);
        break;
    case 't':
        rec->threads = true;
        break;
    case 'g':
        rec->gil = true;
        break;
    case 'i':
        rec->idle = true;
        break;
    case 'F':
        rec->function = true;
        break;
    case KEY_NOLINENO:
        rec->no_lines = true;
        break;
    case KEY_NONBLOCKING:
    case KEY_BLOCKING:
        if (rec->pausing != SPY_SAMPLER_MAY_PAUSE)
            argp_error(state, "--blocking and --nonblocking exclude each other");
        rec->pausing = key == KEY_BLOCKING ? SPY_SAMPLER_ALWAYS_PAUSE : SPY_SAMPLER_NEVER_PAUSE;
        break;
    case KEY_FULL:
        rec->full_filenames = true;
        break;
    case KEY_HIDEPROGRESS:
        rec->hide_progress = true;
        break;
    case ARGP_KEY_ARG: // the first word that is no option begins the program
        rec->program = &state->argv[state->next - 1];
        state->next = state->argc;
        break;
    case ARGP_KEY_END:
        if (!rec->pid == !rec->program)
            argp_error(state, "give either --pid PID or a program to run");
        if (rec->function && rec->no_lines)
            argp_error(state, "--function and --nolineno exclude each other");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", rec->err->msg);
    return 0;
}

// --- the program ---

// As sudo's caller with the groups of that user, not as root: what is profiled should run as it
// does without a profiler.
static int become_caller(void)
{
    const char *uid_text = getenv("SUDO_UID"), *gid_text = getenv("SUDO_GID");
    if (!uid_text || !gid_text || geteuid() != 0)
        return 0;
    uid_t uid = (uid_t)strtoul(uid_text, NULL, 10);
    gid_t gid = (gid_t)strtoul(gid_text, NULL, 10);
    const struct passwd *user = getpwuid(uid);
    int r = user ? initgroups(user->pw_name, gid) : setgroups(1, &gid);
    return r < 0 || setgid(gid) < 0 || setuid(uid) < 0 ? -1 : 0;
}

// What the child tells its parent when it could not become the program.
struct exec_failure {
    int sys;
    bool caller; // it failed at becoming the user who called sudo
};

_Noreturn static void be_program(char **program, int tell)
{
    struct exec_failure f = {0};
    signal(SIGPIPE, SIG_DFL); // an ignored signal would stay so through exec
    f.caller = become_caller() < 0;
    if (!f.caller) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); // also where podspy is killed it does not outlive it
        execvp(program[0], program);
    }
    f.sys = errno;
    _exit(write(tell, &f, sizeof f) == sizeof f ? 127 : 126);
}

static int start_program(const struct record *rec, pid_t *ret, struct spy_err *err)
{
    struct exec_failure f;
    int ends[2]; // the writing one closes as the program begins
    if (pipe2(ends, O_CLOEXEC) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot start %s", rec->program[0]);
    _cleanup_close_ int from = ends[0];
    pid_t pid = fork();
    if (pid == 0)
        be_program(rec->program, ends[1]);
    int sys = errno;
    close(ends[1]);
    if (pid < 0)
        return spy_err_set(err, SPY_ERR_IO, sys, "cannot start %s", rec->program[0]);
    ssize_t n;
    while ((n = read(from, &f, sizeof f)) < 0 && errno == EINTR)
        ;
    if (n != sizeof f) {
        *ret = pid;
        return 0;
    }
    waitpid(pid, NULL, 0);
    return spy_err_set(err, SPY_ERR_NOTFOUND, f.sys,
                       f.caller ? "cannot become the user who called sudo to run %s"
                                : "cannot run %s",
                       rec->program[0]);
}

// A child that has ended stays a zombie until it is waited for; its status is the reason to stop.
static bool program_ended(pid_t child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child;
}

static void end_program(pid_t child)
{
    if (!program_ended(child))
        kill(child, SIGTERM);
    for (int i = 0; i < 100 && !program_ended(child); i++)
        usleep(10000);
    if (!program_ended(child))
        kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

// --- sampling ---

enum why { WHY_SIGNAL, WHY_DURATION, WHY_ENDED, WHY_BLOCKED };

static void show_progress(const struct record *rec, struct spy_sampler *s)
{
    struct spy_sampler_totals t = spy_sampler_totals(s);
    if (rec->hide_progress || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rpodspy> %llu samples, %llu errors", (unsigned long long)t.samples,
            (unsigned long long)t.failed);
    if (t.behind_ns > SPY_NS_PER_SEC)
        fprintf(stderr,
                ", %.2fs behind in sampling, results may be inaccurate. Try reducing the "
                "sampling rate",
                (double)t.behind_ns / (double)SPY_NS_PER_SEC);
}

// A process given by its id must be one that can be profiled: its first refusal is final, unless it
// is only starting. A program just started gets the time that an interpreter needs.
static int wait_for_python(const struct record *rec, struct spy_sampler *s, pid_t pid,
                           struct spy_err *err)
{
    uint64_t patience = (rec->program ? 10 : 1) * SPY_NS_PER_SEC;
    uint64_t give_up = spy_clock_mono_ns() + patience;
    while (!spy_cli_stop) {
        spy_sampler_run(s, spy_clock_mono_ns() + 10 * SPY_NS_PER_MS, &spy_cli_stop);
        if (spy_sampler_attached(s, pid))
            return 0;
        if (spy_sampler_ended(s, pid) || (rec->program && program_ended(pid)) ||
            spy_clock_mono_ns() > give_up)
            break;
    }
    const char *problem = spy_sampler_problem(s, pid);
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted before anything was sampled");
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "%s", problem ? problem : "the program has ended");
}

static enum why sample(const struct record *rec, struct spy_sampler *s, pid_t pid)
{
    uint64_t end = spy_clock_mono_ns() + (uint64_t)(rec->seconds * (double)SPY_NS_PER_SEC);
    for (;;) {
        uint64_t until = spy_clock_mono_ns() + 200 * SPY_NS_PER_MS;
        if (rec->seconds > 0 && until > end)
            until = end;
        spy_sampler_run(s, until, &spy_cli_stop);
        show_progress(rec, s);
        if (spy_cli_stop)
            return WHY_SIGNAL;
        if (spy_sampler_ended(s, pid) || (rec->program && program_ended(pid)))
            return WHY_ENDED;
        if (rec->seconds > 0 && spy_clock_mono_ns() >= end)
            return WHY_DURATION;
    }
}

// --- output ---

static void default_name(const struct record *rec, const struct spy_format *f, char *out,
                         size_t size)
{
    char who[128], when[40];
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S%z", &tm);
    if (rec->program) {
        const char *slash = strrchr(rec->program[0], '/');
        snprintf(who, sizeof who, "%.100s", slash ? slash + 1 : rec->program[0]);
    } else {
        snprintf(who, sizeof who, "%d", (int)rec->pid);
    }
    snprintf(out, size, "%s-%s.%s", who, when, f->extension);
}

// Before the first sample: a wrong name shall not cost what was sampled.
static int check_output(const struct record *rec, struct spy_err *err)
{
    char folder[PATH_MAX];
    struct stat st;
    const char *path = rec->output ? rec->output : ".";
    if (!strcmp(path, "-"))
        return 0;
    if (rec->output && stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return spy_err_set(err, SPY_ERR_IO, EISDIR, "cannot write %s", path);
    } else if (rec->output) {
        snprintf(folder, sizeof folder, "%s", path);
        path = dirname(folder);
    }
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot write %s; give another --output",
                           rec->output ? rec->output : "into this folder");
    return 0;
}

static int write_output(const char *path, const struct spy_buf *b, struct spy_err *err)
{
    _cleanup_close_ int fd = -1;
    if (!strcmp(path, "-"))
        fd = dup(STDOUT_FILENO);
    else
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || spy_file_write_all(fd, b->data, b->len) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot write %s", path);
    return 0;
}

static int finish(const struct record *rec, struct spy_sampler *s, const struct spy_format *f,
                  const char *title, enum why why, struct spy_err *err)
{
    static const char *const reasons[] = {[WHY_SIGNAL] = "Control-C pressed",
                                          [WHY_DURATION] = "the time is over",
                                          [WHY_ENDED] = "the program has ended",
                                          [WHY_BLOCKED] = "it cannot be read any more"};
    struct spy_view view = {.title = title,
                            .idle = rec->idle,
                            .gil = rec->gil,
                            .no_lines = rec->no_lines,
                            .function_lines = rec->function,
                            .threads = rec->threads,
                            .full_filenames = rec->full_filenames};
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    char name[PATH_MAX];
    int r = f->print(spy_sampler_close(s), &view, &out, err);
    if (r < 0)
        return r;
    default_name(rec, f, name, sizeof name);
    const char *path = rec->output ? rec->output : name;
    r = write_output(path, &out, err);
    if (r < 0)
        return r;
    struct spy_sampler_totals t = spy_sampler_totals(s);
    fprintf(stderr, "%sStopped sampling because %s\n", isatty(STDERR_FILENO) ? "\n" : "",
            reasons[why]);
    fprintf(stderr, "Wrote %s data to '%s'. Samples: %llu Errors: %llu\n", rec->format, path,
            (unsigned long long)t.samples, (unsigned long long)t.failed);
    if (!t.samples)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no sample was taken: try a longer --duration or a higher --rate");
    return SPY_EXIT_OK;
}

SPY_CLEANUP(sampler_done, struct spy_sampler, spy_sampler_free)

// All that a recording consists of.
struct recording {
    const struct record *rec;
    struct spy_sampler *sampler;
    const struct spy_format *format;
    const char *title;
};

// On the thread that looks at reads, while the other one is in a read that does not end.
static void write_and_fail(void *arg, pid_t pid)
{
    const struct recording *r = arg;
    struct spy_err err = {0};
    spy_sampler_hung(r->sampler);
    if (spy_sampler_totals(r->sampler).samples &&
        finish(r->rec, r->sampler, r->format, r->title, WHY_BLOCKED, &err) < 0)
        fprintf(stderr, "Error: %s\n", err.msg);
    spy_cli_reads_fail(NULL, pid);
}

static int record(const struct record *rec, pid_t pid, const struct spy_format *f,
                  struct spy_err *err)
{
    _cleanup_(sampler_done) struct spy_sampler *s = NULL;
    _cleanup_(spy_cli_reads_end) struct spy_cli_reads reads = {.every = NULL};
    char cmdline[1024], text_pid[16];
    spy_cli_cmdline(pid, cmdline, sizeof cmdline);
    snprintf(text_pid, sizeof text_pid, "%d", (int)pid);
    const char *const labels[][2] = {{SPY_LABEL_PID, text_pid}, {SPY_LABEL_COMMAND, cmdline}};
    struct spy_sampler_process process = {.pid = pid,
                                          .rate = (uint32_t)rec->rate,
                                          .pausing = rec->pausing,
                                          .labels = labels,
                                          .n_labels = SPY_COUNT(labels)};
    struct recording all = {.rec = rec, .format = f, .title = cmdline};
    int r = spy_sampler_new(&(struct spy_sampler_options){.watch = &reads.watch}, &s, err);
    all.sampler = s;
    if (r == 0)
        r = spy_cli_reads_begin(&reads, write_and_fail, &all, err);
    if (r == 0)
        r = spy_sampler_add(s, &process, err);
    if (r == 0)
        r = wait_for_python(rec, s, pid, err);
    if (r == 0)
        r = check_output(rec, err);
    if (r < 0)
        return r;
    if (!rec->hide_progress && rec->seconds > 0)
        fprintf(stderr,
                "Sampling process %g times a second for %g seconds. Press Control-C to exit.\n",
                rec->rate, rec->seconds);
    else if (!rec->hide_progress)
        fprintf(stderr, "Sampling process %g times a second. Press Control-C to exit.\n",
                rec->rate);
    enum why why = sample(rec, s, pid);
    spy_cli_cmdline(pid, cmdline, sizeof cmdline);
    return finish(rec, s, f, cmdline[0] ? cmdline : "podspy record", why, err);
}

int spy_cli_record(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = spy_cli_record_options,
        .parser = parse_option,
        .args_doc = "-p PID\n[--] PROGRAM [ARGS...]",
        .doc = "Samples a program and writes a flamegraph, a speedscope profile or raw stacks.",
    };
    struct record rec = {
        .rate = 100, .format = "flamegraph", .pausing = SPY_SAMPLER_MAY_PAUSE, .err = err};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &rec);
    const struct spy_format *f = spy_format_find(rec.format);
    if (!f)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "'%s' is not a format; there are flamegraph, speedscope and raw",
                           rec.format);
    spy_cli_catch_signals();
    if (!rec.program)
        return record(&rec, rec.pid, f, err);
    pid_t child = 0;
    int r = check_output(&rec, err); // before it is started for nothing
    if (r == 0)
        r = start_program(&rec, &child, err);
    if (r < 0)
        return r;
    r = record(&rec, child, f, err);
    end_program(child);
    return r;
}
