// podspy doctor without a process: what this host or container allows an agent.
#include "agent/cli/doctor.h"
#include "agent/sampler/priority.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define INITIAL_PID_NAMESPACE "pid:[4026531836]" // PROC_PID_INIT_INO of the kernel

static enum spy_finding check_proc(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_PROC) || spy_doctor_barred(d, SPY_BAR_HIDDEN))
        return SPY_DOCTOR_NO;
    SPY_DOCTOR_SAY(d, "%s",
                   d->rights.hidepid ? "hidepid hides nothing from CAP_SYS_PTRACE"
                                     : "hides no processes");
    return SPY_DOCTOR_OK;
}

static enum spy_finding check_pid_namespace(struct spy_doctor *d)
{
    char link[64] = "";
    bool pod = getenv("KUBERNETES_SERVICE_HOST") != NULL;
    if (readlink("/proc/self/ns/pid", link, sizeof link - 1) < 0) {
        SPY_DOCTOR_SAY(d, "unknown: /proc is not mounted");
        return SPY_DOCTOR_NOTE;
    }
    bool all = !strcmp(link, INITIAL_PID_NAMESPACE);
    SPY_DOCTOR_SAY(d, "%s",
                   all ? "the machine's own: all processes are visible"
                       : "its own: only the processes in it are visible");
    if (all)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "%s",
                    pod ? "for the node's pods: hostPID: true; beside one service "
                          "shareProcessNamespace: true is enough"
                        : "for the machine's processes: docker run --pid host");
    return SPY_DOCTOR_NOTE;
}

static enum spy_finding check_capability(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_USER))
        return d->rights.uid == 0 ? SPY_DOCTOR_NO : SPY_DOCTOR_NOTE;
    if (spy_doctor_barred(d, SPY_BAR_USERNS))
        return SPY_DOCTOR_NOTE;
    SPY_DOCTOR_SAY(d, "user %u, with CAP_SYS_PTRACE", d->rights.uid);
    return SPY_DOCTOR_OK;
}

static enum spy_finding check_host_yama(struct spy_doctor *d)
{
    if (spy_doctor_barred(d, SPY_BAR_YAMA))
        return SPY_DOCTOR_NO;
    if (d->rights.yama == SPY_YAMA_UNKNOWN) {
        SPY_DOCTOR_SAY(d, "unknown: there is no /proc/sys");
        return SPY_DOCTOR_NOTE;
    }
    SPY_DOCTOR_SAY(d, "kernel.yama.ptrace_scope is %d%s", d->rights.yama,
                   d->rights.yama ? ", which CAP_SYS_PTRACE overrides" : "");
    return SPY_DOCTOR_OK;
}

// Only Yama and security modules can keep podspy from reading its own child.
static bool find_bar_of_child(const struct spy_rights *r, struct spy_reason *ret)
{
    struct spy_guard g;
    pid_t podspy = getpid(), child = fork();
    if (child < 0)
        return false;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == podspy)
            pause();
        _exit(0);
    }
    spy_guard_load(child, -1, &g);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return (g.look_errno || g.read_errno) && spy_reason_find(r, &g, ret);
}

static enum spy_finding check_host_system_call(struct spy_doctor *d)
{
    struct spy_reason why;
    if (spy_doctor_barred(d, SPY_BAR_SYSTEM_CALL))
        return SPY_DOCTOR_NO;
    if (!find_bar_of_child(&d->rights, &why)) {
        SPY_DOCTOR_SAY(
            d, "%s",
            d->rights.reads_files
                ? "process_vm_readv is forbidden: /proc/PID/mem is read instead, one call "
                  "for each piece"
                : "process_vm_readv works");
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "process_vm_readv fails even on podspy's own child: %s", why.text);
    SPY_DOCTOR_CURE(d, "%s", why.cure);
    return SPY_DOCTOR_NO;
}

static enum spy_finding check_sampling_thread(struct spy_doctor *d)
{
    struct spy_priority p;
    spy_priority_init(&p);
    SPY_DOCTOR_SAY(d, "%s", spy_priority_meaning(p.kind));
    SPY_DOCTOR_CURE(d, "%s", spy_priority_cure(p.kind));
    return p.kind >= SPY_PRIORITY_FIFO ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

const struct spy_doctor_check spy_doctor_here[] = {
    {"/proc", check_proc},
    {"PID namespace", check_pid_namespace},
    {"capability", check_capability},
    {"Yama", check_host_yama},
    {"system call", check_host_system_call},
    {"pausing", spy_doctor_pausing},
    {"sampling thread", check_sampling_thread},
};
const size_t spy_doctor_n_here = SPY_COUNT(spy_doctor_here);
