// podspy doctor: why a process, or all of a node, can or cannot be profiled.
#include "agent/cli/doctor.h"
#include "agent/cli/cli.h"
#include "agent/cli/output.h"
#include "agent/cli/subject.h"
#include "agent/python/python.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <argp.h>
#include <string.h>

enum { KEY_CONFIG = 300 };

static const struct argp_option doctor_options[] = {
    {"pid", 'p', "PID", 0, "check this process; without it, what an agent needs here", 0},
    {"config", KEY_CONFIG, "FILE", 0, "the agent's YAML configuration", 0},
    {0},
};

struct arguments {
    pid_t pid;
    const char *config;
    struct spy_err *err;
};

static const struct spy_cli_option doctor_stored_options[] = {
    {'p', SPY_CLI_PID, offsetof(struct arguments, pid)},
    {KEY_CONFIG, SPY_CLI_TEXT, offsetof(struct arguments, config)},
    {0},
};

static int parse_doctor_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    int r = 0;
    switch (key) {
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; give a process as --pid PID", arg);
        break;
    case ARGP_KEY_END:
        if (a->pid && a->config)
            argp_error(state, "--config is for the agent: it cannot be given with --pid");
        break;
    default:
        r = spy_cli_store(doctor_stored_options, key, arg, a, a->err);
        if (r == SPY_ERR_NOTFOUND)
            return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", a->err->msg);
    return 0;
}

// --- for the tables ---

bool spy_doctor_barred(struct spy_doctor *d, enum spy_bar bar)
{
    struct spy_reason why;
    if (!spy_bar_holds(bar, &d->rights, d->pid ? &d->guard : NULL, &why))
        return false;
    SPY_DOCTOR_SAY(d, "%s", why.text);
    SPY_DOCTOR_CURE(d, "%s", why.cure);
    return true;
}

enum spy_finding spy_doctor_pausing(struct spy_doctor *d)
{
    if (d->rights.trace_errno) {
        SPY_DOCTOR_SAY(
            d, "ptrace is refused (%s): stacks that change while they are read are shown in part",
            strerror(d->rights.trace_errno));
        SPY_DOCTOR_CURE(d, "docker: --cap-add SYS_PTRACE or --security-opt seccomp=unconfined; "
                           "Kubernetes: capabilities.add: [SYS_PTRACE] or seccompProfile: {type: "
                           "Unconfined}");
        return SPY_DOCTOR_NOTE;
    }
    if (d->pid && d->guard.tracer) {
        SPY_DOCTOR_SAY(
            d, "process %d traces it: stacks that change while they are read are shown in part",
            (int)d->guard.tracer);
        SPY_DOCTOR_CURE(d, "end that debugger or strace while you profile");
        return SPY_DOCTOR_NOTE;
    }
    SPY_DOCTOR_SAY(d, "ptrace is allowed");
    return SPY_DOCTOR_OK;
}

// --- running the checks ---

static void print_finding(const struct spy_doctor *d, const char *name, enum spy_finding f)
{
    static const char *const words[] = {[SPY_DOCTOR_OK] = "ok",
                                        [SPY_DOCTOR_NOTE] = "note",
                                        [SPY_DOCTOR_NO] = "NO",
                                        [SPY_DOCTOR_STOP] = "NO"};
    char shown[4 * sizeof d->text]; // the target chooses names in it
    printf("%-5s%s: %s\n", words[f], name, spy_text_show(shown, sizeof shown, d->text));
    if (*d->cure && f != SPY_DOCTOR_OK)
        printf("     -> %s\n", spy_text_show(shown, sizeof shown, d->cure));
}

// Runs the checks and prints their findings; returns how many are a NO.
static unsigned run_checks(struct spy_doctor *d, const struct spy_doctor_check *checks, size_t n)
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

static unsigned check_process(struct spy_doctor *d)
{
    unsigned bad = run_checks(d, spy_doctor_process, spy_doctor_n_process);
    bad = bad ? bad : run_checks(d, spy_doctor_python, spy_doctor_n_python);
    return bad ? bad : run_checks(d, spy_doctor_native, spy_doctor_n_native);
}

static unsigned check_place(struct spy_doctor *d)
{
    unsigned bad = run_checks(d, spy_doctor_here, spy_doctor_n_here);
    return bad + run_checks(d, spy_doctor_agent, spy_doctor_n_agent);
}

static void free_doctor(struct spy_doctor *d)
{
    spy_python_free(d->python);
    spy_target_free(d->target);
    spy_doctor_free_agent(d);
}

static int run_doctor(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = doctor_options,
        .parser = parse_doctor_option,
        .doc =
            "Explains step by step why a process can or cannot be profiled, and which setting to "
            "change; without a process, whether an agent can work here.",
    };
    struct arguments a = {.err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.pid)
        spy_cli_resolve_thread(&a.pid);
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    _cleanup_(free_doctor) struct spy_doctor d = {
        .pid = a.pid, .config_path = a.config, .reads = &reads};
    int r = spy_hung_reads_begin(&reads, spy_hung_reads_fail, NULL, err);
    if (r < 0)
        return r;
    spy_rights_load(&d.rights);
    unsigned bad = a.pid ? check_process(&d) : check_place(&d);
    if (bad)
        printf("\n%u of these must be changed.\n", bad);
    else
        printf("\n%s\n", a.pid ? "It can be profiled." : spy_doctor_works_here);
    r = spy_cli_flush(err);
    return r == SPY_EXIT_OK && bad ? SPY_EXIT_FAILED : r;
}

const struct spy_command spy_command_doctor = {
    .name = "doctor",
    .summary = "explain why a process, or all of a node, can or cannot be profiled",
    .options = doctor_options,
    .run = run_doctor,
};
