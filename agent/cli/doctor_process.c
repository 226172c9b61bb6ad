// podspy doctor -p PID: one process, step by step.
#include "agent/cli/doctor.h"
#include "agent/python/python.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <string.h>
#include <unistd.h>

static enum spy_finding check_exists(struct spy_doctor *d)
{
    struct spy_err err = {0};
    char comm[64] = "", why[sizeof d->text];
    spy_guard_load(d->pid, -1, &d->guard);
    if (spy_doctor_barred(d, SPY_BAR_PROC) || spy_doctor_barred(d, SPY_BAR_HIDDEN))
        return SPY_DOCTOR_STOP;
    int r = spy_target_open(d->pid, &d->target, &err);
    if (r < 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        SPY_DOCTOR_CURE(d, "%s",
                        "give a PID as it is numbered here: run `ps` here to see it. In a "
                        "container, the node's processes are visible only with --pid host "
                        "(Kubernetes: hostPID: true)");
        return SPY_DOCTOR_STOP;
    }
    spy_guard_load(d->pid, spy_target_proc_fd(d->target), &d->guard);
    spy_file_read_small(spy_target_proc_fd(d->target), "comm", comm, sizeof comm);
    comm[strcspn(comm, "\n")] = 0;
    if (!d->guard.known) {
        SPY_DOCTOR_SAY(d, "process %d (%s) has just ended", (int)d->pid, comm);
        return SPY_DOCTOR_STOP;
    }
    if (spy_doctor_barred(d, SPY_BAR_ENDED)) {
        snprintf(why, sizeof why, "%s", d->text);
        SPY_DOCTOR_SAY(d, "process %d (%s): %.200s", (int)d->pid, comm, why);
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "process %d (%s), %u thread%s%s", (int)d->pid, comm, d->guard.threads,
                   d->guard.threads == 1 ? "" : "s",
                   d->guard.state == 'Z' ? ", whose main thread has ended while others run on"
                                         : "");
    return SPY_DOCTOR_OK;
}

static enum spy_finding check_system_call(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_SYSTEM_CALL))
        return SPY_DOCTOR_NO;
    SPY_DOCTOR_SAY(d, "%s",
                   d->rights.reads_files
                       ? "process_vm_readv is forbidden, reading /proc/PID/mem is not"
                       : "process_vm_readv is allowed");
    return SPY_DOCTOR_OK;
}

static enum spy_finding check_user_namespace(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_USERNS))
        return SPY_DOCTOR_NO;
    char ours[64] = "", its[64] = "", name[40];
    ssize_t n = readlink("/proc/self/ns/user", ours, sizeof ours - 1);
    ssize_t m =
        readlinkat(spy_target_proc_fd(d->target),
                   spy_target_file(d->target, "ns/user", name, sizeof name), its, sizeof its - 1);
    if (d->guard.other_userns || (n > 0 && m > 0 && strcmp(ours, its) != 0)) {
        SPY_DOCTOR_SAY(d, "not the same as podspy's");
        return SPY_DOCTOR_OK;
    }
    if (n < 0 || m < 0) {
        SPY_DOCTOR_SAY(d, "unknown: finding out needs the right to trace the process");
        return SPY_DOCTOR_NOTE;
    }
    SPY_DOCTOR_SAY(d, "the same as podspy's");
    return SPY_DOCTOR_OK;
}

static bool is_let_in(const struct spy_doctor *d)
{
    return !d->guard.look_errno && !d->guard.read_errno;
}

// True if our capabilities say nothing about the process, because they hold in another user
// namespace.
static bool is_elsewhere(const struct spy_doctor *d)
{
    struct spy_reason why;
    return spy_bar_holds(SPY_BAR_USERNS, &d->rights, &d->guard, &why);
}

static enum spy_finding check_user(struct spy_doctor *d)
{
    const struct spy_guard *g = &d->guard;
    bool only = is_elsewhere(d);
    if (spy_doctor_barred(d, SPY_BAR_USER))
        return SPY_DOCTOR_NO;
    if (d->rights.can_trace)
        SPY_DOCTOR_SAY(d, "it runs as user %u; podspy has CAP_SYS_PTRACE%s%s", g->uid[1],
                       d->rights.initial_userns ? "" : " in its own user namespace",
                       only ? " only" : "");
    else if (g->uid[1] == d->rights.uid)
        SPY_DOCTOR_SAY(d, "it runs as user %u, as podspy does", g->uid[1]);
    else
        SPY_DOCTOR_SAY(d, "it runs as user %u, podspy as user %u", g->uid[1], d->rights.uid);
    return only ? SPY_DOCTOR_NOTE : SPY_DOCTOR_OK;
}

static enum spy_finding check_capabilities(struct spy_doctor *d)
{
    uint64_t its = d->guard.capabilities;
    if (spy_doctor_barred(d, SPY_BAR_CAPABILITIES))
        return SPY_DOCTOR_NO;
    bool more = its & ~d->rights.capabilities, elsewhere = is_elsewhere(d);
    SPY_DOCTOR_SAY(d, "%s",
                   !its                  ? "it has none"
                   : elsewhere           ? "it has some, in another user namespace than podspy's"
                   : !more               ? "podspy has all that it has"
                   : d->rights.can_trace ? "it has more than podspy, which CAP_SYS_PTRACE overrides"
                                         : "it has some that podspy lacks");
    return (more || elsewhere) && !is_let_in(d) ? SPY_DOCTOR_NOTE : SPY_DOCTOR_OK;
}

static enum spy_finding check_dumpable(struct spy_doctor *d)
{
    enum spy_known known = d->guard.dumpable;
    if (spy_doctor_barred(d, SPY_BAR_DUMPABLE))
        return SPY_DOCTOR_NO;
    if (is_let_in(d)) {
        SPY_DOCTOR_SAY(d, "%s",
                       !d->rights.can_trace ? "yes: it can be read without CAP_SYS_PTRACE"
                       : known == SPY_NO    ? "no, which CAP_SYS_PTRACE overrides"
                       : known == SPY_YES   ? "yes"
                                            : "unknown, and CAP_SYS_PTRACE overrides it");
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "%s",
                   known == SPY_NO ? "no: it changed its user, or asked not to be"
                   : known == SPY_YES
                       ? "its files belong to its own user, as a dumpable process's do"
                       : "unknown: root's files look the same either way");
    return known == SPY_YES ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

static enum spy_finding check_yama(struct spy_doctor *d)
{
    int scope = d->rights.yama;
    if (spy_doctor_barred(d, SPY_BAR_YAMA))
        return SPY_DOCTOR_NO;
    if (scope == SPY_YAMA_UNKNOWN) {
        SPY_DOCTOR_SAY(d, "unknown: there is no /proc/sys");
        return is_let_in(d) ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
    }
    bool passes = !scope || is_let_in(d) || (d->rights.can_trace && !is_elsewhere(d));
    SPY_DOCTOR_SAY(d, "kernel.yama.ptrace_scope is %d%s", scope,
                   !scope                ? ""
                   : !passes             ? ", which CAP_SYS_PTRACE would override"
                   : d->rights.can_trace ? ", which CAP_SYS_PTRACE overrides"
                                         : ", which allows podspy");
    return passes ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

static enum spy_finding check_security_module(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_MODULE))
        return SPY_DOCTOR_NO;
    if (d->rights.label[0])
        SPY_DOCTOR_SAY(d, "podspy is confined as %s", d->rights.label);
    else
        SPY_DOCTOR_SAY(d, "podspy is not confined");
    return SPY_DOCTOR_OK;
}

static enum spy_finding check_python(struct spy_doctor *d)
{
    struct spy_err err = {0};
    spy_hung_mark_begin(&d->reads->mark, d->pid);
    int r = spy_python_attach(d->target, &d->python, &err);
    spy_hung_mark_end(&d->reads->mark);
    if (r == 0) {
        const struct spy_py_runtime *rt = spy_python_runtime(d->python);
        SPY_DOCTOR_SAY(d, "CPython %s, in %s", rt->version, rt->module);
        if (rt->other_module[0])
            SPY_DOCTOR_SAY(d, "CPython %s, in %s, with more threads than CPython %s, in %s",
                           rt->version, rt->module, rt->other_version, rt->other_module);
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "%s", err.msg[0] ? err.msg : spy_code_name(r));
    if (r == SPY_ERR_NOTFOUND)
        SPY_DOCTOR_CURE(d, "give the process that runs Python, not its shell or launcher");
    else if (r == SPY_ERR_UNSUPPORTED)
        SPY_DOCTOR_CURE(d, "this version of podspy does not read that interpreter");
    else if (r == SPY_ERR_AGAIN)
        SPY_DOCTOR_CURE(d, "it is just starting: try again");
    return SPY_DOCTOR_STOP;
}

static enum spy_finding check_threads(struct spy_doctor *d)
{
    spy_hung_mark_begin(&d->reads->mark, d->pid);
    int r = spy_python_refresh(d->python);
    spy_hung_mark_end(&d->reads->mark);
    size_t n = r < 0 ? 0 : spy_python_n_threads(d->python);
    if (!n) {
        SPY_DOCTOR_SAY(d, "%s",
                       r < 0 ? "cannot list them: the process has just ended" : "none yet");
        SPY_DOCTOR_CURE(d, "it is starting or ending: try again");
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "%zu run or ran Python code", n);
    return SPY_DOCTOR_OK;
}

static void report_stack(struct spy_doctor *d, const struct spy_py_thread *th,
                         const struct spy_py_stack *st)
{
    static const char *const how[] = {[SPY_PY_CLEAN] = "without a pause",
                                      [SPY_PY_SALVAGED] = "without a pause",
                                      [SPY_PY_PAUSED] = "with the thread paused"};
    const struct spy_code *c =
        st->n ? spy_codes_at(spy_python_codes(d->python), st->frames[0].code) : NULL;
    SPY_DOCTOR_SAY(d, "thread %d (%s) is %zu frames deep%s%.100s, read %s",
                   (int)spy_py_thread_tid(th), spy_py_thread_name(th), st->n, c ? ", in " : "",
                   c ? c->name : "", how[st->how]);
}

static enum spy_finding report_sample(struct spy_doctor *d)
{
    struct spy_pause pause = {0};
    struct spy_py_options o = {.pausing = SPY_PAUSE_AUTO, .pause = &pause};
    struct spy_py_stack stack;
    int r = SPY_ERR_GONE;
    size_t n = spy_python_n_threads(d->python);
    for (size_t i = 0; i < n && r < 0; i++) {
        struct spy_py_thread *th = spy_python_thread(d->python, i);
        spy_hung_mark_begin(&d->reads->mark, d->pid);
        for (int k = 0; k < 20 && (k == 0 || r == SPY_ERR_TORN); k++)
            r = spy_python_sample(d->python, th, &o, &stack);
        spy_hung_mark_end(&d->reads->mark);
        if (r == 0)
            report_stack(d, th, &stack);
    }
    spy_pause_done(&pause);
    if (r == 0)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_SAY(d, "cannot take one: %s", spy_code_name(r));
    if (r == SPY_ERR_TORN)
        SPY_DOCTOR_CURE(
            d, "try again; if it fails every time, the memory of the interpreter is not what "
               "this version of podspy expects");
    return SPY_DOCTOR_STOP;
}

const struct spy_doctor_check spy_doctor_process[] = {
    {"process", check_exists},
    {"system call", check_system_call},
    {"user namespace", check_user_namespace},
    {"user", check_user},
    {"capabilities", check_capabilities},
    {"dumpable", check_dumpable},
    {"Yama", check_yama},
    {"security module", check_security_module},
};
const size_t spy_doctor_n_process = SPY_COUNT(spy_doctor_process);

const struct spy_doctor_check spy_doctor_python[] = {
    {"pausing", spy_doctor_pausing},
    {"Python", check_python},
    {"threads", check_threads},
    {"sample", report_sample},
};
const size_t spy_doctor_n_python = SPY_COUNT(spy_doctor_python);
