// podspy doctor -p PID: one process, step by step.
#include "agent/cli/doctor.h"
#include "agent/python/python.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATUS_MAX = 8192 };

// A line of /proc/PID/status, without its name; false: not there.
static bool status_line(const struct spy_doctor *d, const char *name, char *out, size_t size)
{
    char status[STATUS_MAX], mark[32];
    if (spy_file_read_small(spy_target_proc_fd(d->target), "status", status, sizeof status) < 0)
        return false;
    snprintf(mark, sizeof mark, "\n%s:\t", name);
    const char *at = strstr(status, mark);
    if (!at)
        return false;
    at += strlen(mark);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
    return true;
}

// Real, effective and saved user, in our numbering.
static bool users_of(const struct spy_doctor *d, unsigned ret[3])
{
    char line[128];
    return status_line(d, "Uid", line, sizeof line) &&
           sscanf(line, "%u %u %u", &ret[0], &ret[1], &ret[2]) == 3;
}

static enum spy_finding exists(struct spy_doctor *d)
{
    struct spy_err err = {0};
    char state[64] = "", comm[64] = "";
    int r = spy_target_open(d->pid, &d->target, &err);
    if (r < 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        SPY_DOCTOR_CURE(d, "%s",
                        "give a PID as it is numbered here: `ps` in this place shows it. In a "
                        "container, only with --pid host (Kubernetes: hostPID: true) are the "
                        "node's processes seen");
        return SPY_DOCTOR_STOP;
    }
    spy_file_read_small(spy_target_proc_fd(d->target), "comm", comm, sizeof comm);
    comm[strcspn(comm, "\n")] = 0;
    if (status_line(d, "State", state, sizeof state) && state[0] == 'Z') {
        SPY_DOCTOR_SAY(d, "process %d (%s) has ended; its parent has not taken notice (a zombie)",
                       (int)d->pid, comm);
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "process %d (%s), state %s", (int)d->pid, comm, state);
    return SPY_DOCTOR_OK;
}

static enum spy_finding user(struct spy_doctor *d)
{
    unsigned of[3], me = getuid();
    if (!users_of(d, of)) {
        SPY_DOCTOR_SAY(d, "it has just ended");
        return SPY_DOCTOR_STOP;
    }
    if (spy_doctor_may_trace()) {
        SPY_DOCTOR_SAY(d, "it runs as user %u; podspy has CAP_SYS_PTRACE", of[1]);
        return SPY_DOCTOR_OK;
    }
    if (of[0] == me && of[1] == me && of[2] == me) {
        SPY_DOCTOR_SAY(d, "it runs as user %u, as podspy does", me);
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "it runs as user %u, podspy as user %u without CAP_SYS_PTRACE", of[1], me);
    SPY_DOCTOR_CURE(d, "%s",
                    me ? "run as root (sudo podspy ...) or as that user"
                       : "add the capability: docker run --cap-add SYS_PTRACE; Kubernetes: "
                         "securityContext.capabilities.add: [SYS_PTRACE]");
    return SPY_DOCTOR_NO;
}

static enum spy_finding yama(struct spy_doctor *d)
{
    int scope = spy_doctor_yama();
    bool can = spy_doctor_may_trace();
    SPY_DOCTOR_SAY(d, "kernel.yama.ptrace_scope is %d%s", scope,
                   scope && can && scope < 3 ? ", which CAP_SYS_PTRACE passes" : "");
    if (!scope || (can && scope < 3))
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "%s",
                    scope == 3 ? "3 forbids it to everybody until the machine is started anew with "
                                 "another value"
                               : "run as root, or: sysctl kernel.yama.ptrace_scope=0");
    // With 1, what a debugger of its own started may be read all the same.
    return scope == 1 ? SPY_DOCTOR_NOTE : SPY_DOCTOR_NO;
}

static enum spy_finding user_namespace(struct spy_doctor *d)
{
    char ours[64] = "", its[64] = "";
    ssize_t n = readlink("/proc/self/ns/user", ours, sizeof ours - 1);
    ssize_t m = readlinkat(spy_target_proc_fd(d->target), "ns/user", its, sizeof its - 1);
    if (n < 0 || m < 0) {
        SPY_DOCTOR_SAY(d, "which one it is in cannot be told without the right to trace it");
        return SPY_DOCTOR_NOTE;
    }
    bool same = !strcmp(ours, its);
    SPY_DOCTOR_SAY(d, same ? "the same as podspy's" : "another one than podspy's, below it");
    return SPY_DOCTOR_OK; // what is not below us does not let itself be asked
}

// The files of a process that must not be dumped belong to root (proc(5)).
static enum spy_finding dumpable(struct spy_doctor *d)
{
    struct stat st;
    unsigned of[3];
    if (fstatat(spy_target_proc_fd(d->target), "stat", &st, 0) < 0 || !users_of(d, of)) {
        SPY_DOCTOR_SAY(d, "it has just ended");
        return SPY_DOCTOR_STOP;
    }
    if (st.st_uid == of[1]) {
        SPY_DOCTOR_SAY(d, of[1] ? "yes" : "as far as can be told of root's");
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "no: it changed its user, has capabilities of its file, or asked not to be "
                      "(PR_SET_DUMPABLE)");
    if (spy_doctor_may_trace())
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "only CAP_SYS_PTRACE reads such a process: run as root (sudo podspy ...)");
    return SPY_DOCTOR_NO;
}

static enum spy_finding denied(struct spy_doctor *d, const struct spy_err *err)
{
    char confined[160];
    spy_doctor_confined(confined, sizeof confined);
    SPY_DOCTOR_SAY(d, "%s", err->msg);
    if (spy_doctor_may_trace() && *confined)
        SPY_DOCTOR_CURE(d,
                        "podspy runs under a %s, which may forbid process_vm_readv: Kubernetes: "
                        "seccompProfile RuntimeDefault with SYS_PTRACE, AppArmor unconfined; "
                        "docker: --security-opt apparmor=unconfined",
                        confined);
    else
        SPY_DOCTOR_CURE(d, "see what is marked above");
    return SPY_DOCTOR_STOP;
}

static enum spy_finding python(struct spy_doctor *d)
{
    struct spy_err err = {0};
    spy_watch_begin(&d->reads->watch, d->pid);
    int r = spy_python_attach(d->target, &d->python, &err);
    spy_watch_end(&d->reads->watch);
    if (r == 0) {
        const struct spy_py_runtime *rt = spy_python_runtime(d->python);
        SPY_DOCTOR_SAY(d, "CPython %s, in %s", rt->version, rt->module);
        return SPY_DOCTOR_OK;
    }
    if (r == SPY_ERR_DENIED)
        return denied(d, &err);
    SPY_DOCTOR_SAY(d, "%s", err.msg[0] ? err.msg : spy_code_name(r));
    if (r == SPY_ERR_NOTFOUND)
        SPY_DOCTOR_CURE(d, "give the process that runs Python: `ps --forest` shows the children of "
                           "a shell or a launcher");
    else if (r == SPY_ERR_UNSUPPORTED)
        SPY_DOCTOR_CURE(d, "this version of podspy does not read that interpreter");
    else if (r == SPY_ERR_AGAIN)
        SPY_DOCTOR_CURE(d, "it is just starting: ask again");
    return SPY_DOCTOR_STOP;
}

static enum spy_finding threads(struct spy_doctor *d)
{
    spy_watch_begin(&d->reads->watch, d->pid);
    int r = spy_python_refresh(d->python);
    spy_watch_end(&d->reads->watch);
    size_t n = r < 0 ? 0 : spy_python_n_threads(d->python);
    if (!n) {
        SPY_DOCTOR_SAY(d, "%s", r < 0 ? "they could not be listed: it has just ended" : "none yet");
        SPY_DOCTOR_CURE(d, "it is starting or ending: ask again");
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "%zu run or ran Python code", n);
    return SPY_DOCTOR_OK;
}

static void say_stack(struct spy_doctor *d, const struct spy_py_thread *th,
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

static enum spy_finding sample(struct spy_doctor *d)
{
    struct spy_pause pause = {0};
    struct spy_py_options o = {.pausing = SPY_PY_MAY_PAUSE, .pause = &pause};
    struct spy_py_stack stack;
    int r = SPY_ERR_GONE;
    size_t n = spy_python_n_threads(d->python);
    for (size_t i = 0; i < n && r < 0; i++) {
        struct spy_py_thread *th = spy_python_thread(d->python, i);
        spy_watch_begin(&d->reads->watch, d->pid);
        for (int k = 0; k < 20 && (k == 0 || r == SPY_ERR_TORN); k++)
            r = spy_python_sample(d->python, th, &o, &stack);
        spy_watch_end(&d->reads->watch);
        if (r == 0)
            say_stack(d, th, &stack);
    }
    for (int i = 0; i < 1000 && pause.n_strays; i++) {
        spy_pause_reap(&pause);
        usleep(1000);
    }
    if (r == 0)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_SAY(d, "none could be taken: %s", spy_code_name(r));
    if (r == SPY_ERR_TORN)
        SPY_DOCTOR_CURE(d,
                        "ask again; if that lasts, its memory is not what this version of podspy "
                        "expects of that interpreter");
    return SPY_DOCTOR_STOP;
}

const struct spy_doctor_check spy_doctor_process[] = {
    {"process", exists},    {"user", user},
    {"Yama", yama},         {"user namespace", user_namespace},
    {"dumpable", dumpable}, {"Python", python},
    {"threads", threads},   {"sample", sample},
};
const size_t spy_doctor_n_process = SPY_COUNT(spy_doctor_process);
