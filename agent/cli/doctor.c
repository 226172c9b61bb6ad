// podspy doctor: why a process, or all of a node, can or cannot be profiled.
#include "agent/cli/doctor.h"
#include "agent/cli/cli.h"
#include "agent/python/python.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <argp.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_CONFIG = 300 };

const struct argp_option spy_cli_doctor_options[] = {
    {"pid", 'p', "PID", 0, "ask about this process; without it, about what an agent needs here", 0},
    {"config", KEY_CONFIG, "FILE", 0, "the agent's YAML configuration", 0},
    {0},
};

struct arguments {
    pid_t pid;
    const char *config;
    struct spy_err *err;
};

static int parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'p':
        if (spy_cli_pid(arg, &a->pid, a->err) < 0)
            argp_error(state, "%s", a->err->msg);
        break;
    case KEY_CONFIG:
        a->config = arg;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; give a process as --pid PID", arg);
        break;
    case ARGP_KEY_END:
        if (a->pid && a->config)
            argp_error(state, "--config is of the agent: it does not go with --pid");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// --- what both tables ask ---

bool spy_doctor_may_trace(void)
{
    char status[4096];
    if (spy_file_read_small(AT_FDCWD, "/proc/self/status", status, sizeof status) < 0)
        return false;
    const char *line = strstr(status, "\nCapEff:");
    return line && strtoull(line + strlen("\nCapEff:"), NULL, 16) >> CAP_SYS_PTRACE & 1;
}

int spy_doctor_yama(void)
{
    char text[16] = "";
    spy_file_read_small(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    return text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : 0;
}

void spy_doctor_confined(char *out, size_t size)
{
    char status[4096], profile[128] = "";
    out[0] = 0;
    spy_file_read_small(AT_FDCWD, "/proc/self/attr/current", profile, sizeof profile);
    profile[strcspn(profile, "\n")] = 0;
    if (*profile && strncmp(profile, "unconfined", strlen("unconfined")) != 0)
        snprintf(out, size, "AppArmor profile %.100s", profile);
    else if (spy_file_read_small(AT_FDCWD, "/proc/self/status", status, sizeof status) > 0 &&
             strstr(status, "\nSeccomp:\t2"))
        snprintf(out, size, "seccomp profile");
}

// --- telling ---

static void print_finding(const struct spy_doctor *d, const char *name, enum spy_finding f)
{
    static const char *const words[] = {[SPY_DOCTOR_OK] = "ok",
                                        [SPY_DOCTOR_NOTE] = "note",
                                        [SPY_DOCTOR_NO] = "NO",
                                        [SPY_DOCTOR_STOP] = "NO"};
    printf("%-5s%s: %s\n", words[f], name, d->text);
    if (*d->cure && f != SPY_DOCTOR_OK)
        printf("     -> %s\n", d->cure);
}

// How many findings are a NO.
static unsigned examine(struct spy_doctor *d, const struct spy_doctor_check *checks, size_t n)
{
    unsigned bad = 0;
    enum spy_finding f = SPY_DOCTOR_OK;
    for (size_t i = 0; i < n && f != SPY_DOCTOR_STOP; i++) {
        d->text[0] = d->cure[0] = 0;
        f = checks[i].run(d);
        print_finding(d, checks[i].name, f);
        bad += f >= SPY_DOCTOR_NO;
    }
    return bad;
}

static void doctor_done(struct spy_doctor *d)
{
    spy_python_free(d->python);
    spy_target_free(d->target);
    spy_agent_config_free(&d->config);
}

int spy_cli_doctor(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = spy_cli_doctor_options,
        .parser = parse_option,
        .doc = "Tells step by step why a process can or cannot be profiled, and the exact setting "
               "to change; without a process, whether an agent can work here.",
    };
    struct arguments a = {.err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    _cleanup_(spy_cli_reads_end) struct spy_cli_reads reads = {.every = NULL};
    _cleanup_(doctor_done) struct spy_doctor d = {
        .pid = a.pid, .config_path = a.config, .reads = &reads};
    int r = spy_cli_reads_begin(&reads, spy_cli_reads_fail, NULL, err);
    if (r < 0)
        return r;
    unsigned bad = a.pid ? examine(&d, spy_doctor_process, spy_doctor_n_process)
                         : examine(&d, spy_doctor_agent, spy_doctor_n_agent);
    if (bad)
        printf("\n%u of these must be changed.\n", bad);
    else
        printf("\n%s\n", a.pid ? "It can be profiled." : "An agent can work here.");
    if (fflush(stdout) != 0)
        return spy_err_set(err, SPY_ERR_IO, 0, "cannot write to standard output");
    return bad ? SPY_EXIT_FAILED : SPY_EXIT_OK;
}
