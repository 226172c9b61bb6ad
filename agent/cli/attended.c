// podspy attended: runs another command of podspy until standard input ends.
//
// kubectl exec leaves a program running when its user presses Control-C or loses the connection;
// but standard input then ends, and this command ends what it started. A recording so ends in
// order, and what it writes to standard output still arrives if somebody waits for it.
#include "agent/cli/cli.h"
#include "shared/base/descriptors.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct attended {
    pid_t pid;
    int from;   // the command's standard output
    bool alone; // standard input has ended, or standard output has no reader: it was asked to end
    bool no_reader;
    uint64_t sent; // bytes
};

_Noreturn static void exec_attended(char **argv, pid_t podspy, int out)
{
    int none = open("/dev/null", O_RDONLY);
    spy_cli_release_signals();
    spy_descriptors_restore();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == podspy && none >= 0 && dup2(none, STDIN_FILENO) >= 0 &&
        dup2(out, STDOUT_FILENO) >= 0) {
        if (none > STDERR_FILENO)
            close(none);
        execv("/proc/self/exe", argv);
    }
    _exit(126);
}

static int start_attended(struct attended *a, char **argv, struct spy_err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot start podspy %s", argv[1]);
    pid_t podspy = getpid(), pid = fork();
    if (pid == 0)
        exec_attended(argv, podspy, ends[1]);
    int sys = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return spy_err_set(err, SPY_ERR_IO, sys, "cannot start podspy %s", argv[1]);
    }
    a->from = ends[0];
    a->pid = pid;
    return 0;
}

static void ask_to_end(struct attended *a)
{
    if (!a->alone)
        kill(a->pid, SIGTERM);
    a->alone = true;
}

// What arrives has no meaning; only the end has.
static void watch_input(struct attended *a)
{
    char nothing[4096];
    ssize_t n = read(STDIN_FILENO, nothing, sizeof nothing);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        ask_to_end(a);
}

// Returns false when the command's output has ended.
static bool pass_output(struct attended *a)
{
    char data[65536];
    ssize_t n = read(a->from, data, sizeof data);
    if (n < 0)
        return errno == EINTR;
    if (n > 0 && !a->no_reader) {
        a->no_reader = spy_file_write_all(STDOUT_FILENO, data, (size_t)n) < 0;
        a->sent += a->no_reader ? 0 : (uint64_t)n;
    }
    if (a->no_reader)
        ask_to_end(a);
    return n > 0;
}

static void attend(struct attended *a)
{
    for (bool open = true; open;) {
        struct pollfd p[] = {{.fd = a->from, .events = POLLIN},
                             {.fd = a->alone ? -1 : STDIN_FILENO, .events = POLLIN}};
        if (spy_cli_stop)
            ask_to_end(a);
        if (poll(p, SPY_COUNT(p), 500) < 0)
            continue;
        if (p[1].revents)
            watch_input(a);
        if (p[0].revents)
            open = pass_output(a);
    }
}

// The first argument begins the command, whose options are its own.
static int parse_attended_option(int key, char *arg, struct argp_state *state)
{
    int *at = state->input;
    (void)arg;
    if (key == ARGP_KEY_ARG) {
        *at = state->next - 1;
        state->next = state->argc;
    } else if (key == ARGP_KEY_NO_ARGS) {
        argp_error(state, "give a command of podspy: attended record ...");
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int run_attended(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .parser = parse_attended_option,
        .args_doc = "COMMAND [OPTIONS]",
        .doc =
            "Runs `podspy COMMAND` and asks it to end (SIGTERM) once standard input ends. Standard "
            "output is passed on, and at the end its length is printed on standard error.",
    };
    int at = 0;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &at);
    struct attended a = {.from = -1};
    int status = 0;
    spy_cli_catch_signals();
    argv[at - 1] = (char[]){"podspy"};
    int r = start_attended(&a, argv + at - 1, err);
    if (r < 0)
        return r;
    attend(&a);
    close(a.from);
    while (waitpid(a.pid, &status, 0) < 0 && errno == EINTR)
        ;
    fprintf(stderr, "podspy: %llu bytes were sent\n", (unsigned long long)a.sent);
    return a.no_reader           ? SPY_EXIT_PIPE
           : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                 : WEXITSTATUS(status);
}

const struct spy_command spy_command_attended = {
    .name = "attended",
    .summary = "run another command until standard input ends",
    .run = run_attended,
};
